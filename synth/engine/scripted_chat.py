"""What the scripted server answers: a pure function from the body of a chat request. Its manual is synth.engine.scripted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from synth.digest import digest, hash_share
from synth.engine import scripted_text as text
from synth.engine.scripted_markers import BadRequest, markers_in, without_markers
from synth.errors import fail

SCRIPT_VERSION = 1
"""Raise by hand when any answer changes: it is part of the identity of a scripted model."""

SCRIPTS: tuple[str, ...] = ("plain", "thinker", "weak", "strong")
"""Names of the answering scripts."""

ENGINE_VERSION = f"scripted-{SCRIPT_VERSION}"
"""What the server reports as its version."""

ReasoningField = Literal["reasoning", "reasoning_content", "tags", "open_tag_in_prompt", "channels"]
"""Where an answer's reasoning stands: in a field of the message, or in its content between delimiters."""

BudgetRule = Literal["ignore", "enforce", "refuse"]
"""What the server does with `thinking_token_budget` in a request."""

_MOST_CHOICES = 64
_MOST_THOUGHT_TOKENS = 4000  # what `think_cut` writes when `max_tokens` is higher
_DELIMITERS: dict[str, tuple[str, str]] = {
    "tags": ("<think>\n", "\n</think>\n\n"),
    "open_tag_in_prompt": ("", "\n</think>\n\n"),
    "channels": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
}
_REFUSALS = (
    "I'm sorry, but I can't help with that request.",
    "I am sorry, but I cannot assist with this.",
    "Sorry, I can't comply with that request.",
    "I cannot fulfill this request. As an AI language model, I am unable to provide that content.",
)
_LEAKS = ("</think>", "<|im_end|>")


@dataclass(frozen=True, slots=True)
class ScriptedModel:
    """What is served. `other` is a model of the same script that answers differently."""

    script: str = "plain"
    other: bool = False
    reasoning_field: ReasoningField = "reasoning"
    thinking_budget: BudgetRule = "ignore"

    @property
    def name(self) -> str:
        """Its name in /v1/models."""
        return f"scripted-{self.script}-other" if self.other else f"scripted-{self.script}"


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One parsed chat request. `key` is the ask's identity, `markers` what was found in its messages.

    `thinks` says that reasoning comes before the answer, of at most `thinking_tokens`.
    """

    key: str
    messages: tuple[str, ...]
    last_user: str
    schema: Mapping[str, Any] | None
    max_tokens: int | None
    choices: int
    model: str
    markers: Mapping[str, str]
    served: ScriptedModel
    thinks: bool
    thinking_tokens: int | None


@dataclass(frozen=True, slots=True)
class Answer:
    """One choice. `content` is None when the reasoning used up `max_tokens`. Counts are tokens; `tokens` is both parts."""

    content: str | None
    reasoning: str | None
    finish_reason: str
    tokens: int
    reasoning_tokens: int
    reasoning_field: ReasoningField = "reasoning_content"


_PLAIN = ScriptedModel()


def parse_request(body: Any, served: ScriptedModel = _PLAIN) -> ChatRequest:
    """Read a request body; BadRequest says what is wrong with it."""
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        raise fail(BadRequest, "a chat request needs a list of messages", given=str(body)[:80])
    if body.get("stream"):
        raise fail(BadRequest, "streaming is not scripted", do="leave `stream` out")
    messages = tuple(map(_content, body["messages"]))
    users = [at for at, message in enumerate(body["messages"]) if message["role"] == "user"]
    ask = {name: value for name, value in body.items() if name not in _NOT_THE_ASK}
    cut = _whole_number(body, "max_completion_tokens", None) or _whole_number(body, "max_tokens", None)
    choices = _whole_number(body, "n", 1)
    if choices is None or choices > _MOST_CHOICES:
        raise fail(BadRequest, "`n` is out of range", given=choices, allowed=f"1 to {_MOST_CHOICES}")
    switches = body.get("chat_template_kwargs")
    return ChatRequest(
        key=digest([SCRIPT_VERSION, served.script + ("-other" if served.other else ""), ask]),
        messages=messages,
        last_user=messages[users[-1]] if users else messages[-1],
        schema=_schema(body.get("response_format") or {}),
        max_tokens=cut,
        choices=choices,
        model=str((None if served.other else body.get("model")) or served.name),
        markers=markers_in(messages),
        served=served,
        thinks=served.script == "thinker"
        and not (isinstance(switches, dict) and switches.get("enable_thinking") is False),
        thinking_tokens=_thinking_tokens(body, served.thinking_budget),
    )


_NOT_THE_ASK = frozenset(("model", "n", "max_tokens", "max_completion_tokens", "stream"))


def _content(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) and "role" in message else None
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "\n".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str):
        raise fail(BadRequest, "a message needs a role and text as its content", given=str(message)[:80])
    return content


def _whole_number(body: Mapping[str, Any], name: str, default: int | None) -> int | None:
    value = body.get(name)
    if value is None:
        return default
    if type(value) is not int or value < 1:
        raise fail(BadRequest, f"`{name}` must be a whole number from 1", given=value)
    return value


def _thinking_tokens(body: Mapping[str, Any], rule: BudgetRule) -> int | None:
    value = body.get("thinking_token_budget")
    if value is None or rule == "ignore":
        return None
    if rule == "refuse":
        raise fail(BadRequest, "`thinking_token_budget` is not supported by this server", do="leave it out")
    if type(value) is not int or value < 0:
        raise fail(BadRequest, "`thinking_token_budget` must be a whole number from 0", given=value)
    return value


def _schema(response_format: Mapping[str, Any]) -> Mapping[str, Any] | None:
    kind = response_format.get("type", "text")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object", "properties": {"text": {"type": "string"}}}
    schema = (response_format.get("json_schema") or {}).get("schema")
    if kind != "json_schema" or not isinstance(schema, dict):
        raise fail(BadRequest, "unknown response_format", given=str(response_format)[:80])
    return schema


def is_hard(request: ChatRequest) -> bool:
    """Whether the marker `hard=P` makes this ask one of the share P that the script `weak` gets wrong."""
    return hash_share("hard", request.key) < float(request.markers.get("hard", "0"))


def answer(
    request: ChatRequest, choice: int = 0, canned: Mapping[str, Any] | None = None, fault: str | None = None
) -> Answer:
    """The answer to choice number `choice`. `canned` maps a piece of text to the answer of asks that contain it.

    `fault`, one of ANSWER_FAULTS, comes before everything that the markers and `canned` say.
    """
    key = f"{request.key}:{choice}"
    given = _given(request, canned or {}) if fault is None else None
    outcome = "" if given is not None else fault or _outcome(request)
    draws = text.Draws(key + ":outcome")
    if outcome in ("think_cut", "null_content"):
        return _only_thought(request, draws, shown=outcome == "think_cut")
    if outcome == "think_open":
        return _limited(f"<think>\n{_thoughts(request, draws)}", None, request.max_tokens, cut=True)
    content = _written(request, key, outcome, draws) if given is None else given
    thinker = request.served.script == "thinker"
    reasoning = (
        _reasoning(request, key) if request.thinks else _thoughts(request, draws) if outcome == "think" else None
    )
    field = request.served.reasoning_field if thinker else "reasoning_content"
    return _limited(content, reasoning, request.max_tokens, outcome == "truncate", field)


def _given(request: ChatRequest, canned: Mapping[str, Any]) -> str | None:
    for piece, given in canned.items():
        if any(piece in message for message in request.messages):
            return given if isinstance(given, str) else orjson.dumps(given).decode()
    return request.markers.get("echo")


def _outcome(request: ChatRequest) -> str:
    if request.served.script == "weak" and "weak" in request.markers and is_hard(request):
        return request.markers["weak"]
    return request.markers.get("outcome", "")


def _written(request: ChatRequest, key: str, outcome: str, draws: text.Draws) -> str:
    if outcome == "refuse":
        return _REFUSALS[draws.below(len(_REFUSALS))]
    if outcome == "empty":
        return ""
    content = _usual(request, key, outcome)
    if outcome == "truncate":
        return text.cut_tokens(content, text.count_tokens(content) // 2)
    return content[:-1] + " and so on" if outcome == "bad_json" else content


def _thoughts(request: ChatRequest, draws: text.Draws) -> str:
    return text.prose(draws, text.topics_of(request.last_user), 30, 80)


def _thought_tokens(request: ChatRequest, draws: text.Draws, tokens: int) -> str:
    """Reasoning of exactly so many tokens."""
    return text.cut_tokens(text.prose(draws, text.topics_of(request.last_user), tokens, tokens + 22), tokens)


def _reasoning(request: ChatRequest, key: str) -> str | None:
    """What the script `thinker` thinks: 30-200 tokens, or what the budget allows."""
    draws = text.Draws(key + ":think")
    tokens = draws.between(30, 200)
    if request.thinking_tokens is not None:
        tokens = min(tokens, request.thinking_tokens)
    return _thought_tokens(request, draws, tokens) or None


def _only_thought(request: ChatRequest, draws: text.Draws, shown: bool) -> Answer:
    """Thinking that used up `max_tokens` before any answer."""
    tokens = min(request.max_tokens or draws.between(30, 200), _MOST_THOUGHT_TOKENS)
    reasoning = _thought_tokens(request, draws, tokens) if shown else None
    return Answer(None, reasoning, "length", tokens, tokens, "reasoning")


def _limited(
    content: str,
    reasoning: str | None,
    max_tokens: int | None,
    cut: bool = False,
    field: ReasoningField = "reasoning_content",
) -> Answer:
    """Reasoning and answer together within `max_tokens`; `cut` says that it was cut before."""
    thought = text.count_tokens(reasoning) if reasoning else 0
    said = text.count_tokens(content)
    if max_tokens is None or thought + said <= max_tokens:
        return Answer(content, reasoning, "length" if cut else "stop", thought + said, thought, field)
    if reasoning is not None and thought >= max_tokens:
        return Answer(None, text.cut_tokens(reasoning, max_tokens), "length", max_tokens, max_tokens, field)
    return Answer(text.cut_tokens(content, max_tokens - thought), reasoning, "length", max_tokens, thought, field)


def _usual(request: ChatRequest, key: str, outcome: str) -> str:
    """Text, or the JSON text of a value for the schema; `near`, loop, leak and copy shape each string of it."""
    pool = request.markers.get("near")
    write = _writing(request, key, outcome, pool)
    place = key if pool is None else f"near:{pool}"
    if request.schema is None:
        return write(text.Draws(place), "text")
    words = text.topics_of(text.passage_of(without_markers(request.last_user)))
    return orjson.dumps(text.conforming_value(request.schema, place, write, words)).decode()


def _writing(request: ChatRequest, key: str, outcome: str, pool: str | None) -> text.Writing:
    passage = text.passage_of(without_markers(request.last_user))
    topics = text.topics_of("" if pool else passage)
    verdict = _verdict(request)
    changes = iter(() if pool is None else (2,) if request.schema is None else (1,))

    def write(draws: text.Draws, name: str) -> str:
        if outcome == "copy":
            return passage
        if outcome == "loop":
            return " ".join([text.prose(draws, topics, 6, 28)] * 12)
        if pool is None or text.is_question_field(name):
            written = text.field_text(draws, name, topics)
        else:
            written = text.prose(draws, topics, *((200, 250) if request.schema is None else (40, 70)))
        # A changed word breaks five shingles: only the first string of a JSON value gets one, so that the whole stays alike.
        written = text.change_words(written, text.Draws(f"{key}:{written}"), next(changes, 0))
        if outcome == "leak":
            half = len(written) // 2
            written = written[:half] + _LEAKS[draws.below(len(_LEAKS))] + written[half:]
        return f"{verdict} {written}" if verdict else written

    return write


def _verdict(request: ChatRequest) -> str:
    """The word that the strings of `weak` and `strong` begin with; none in other scripts."""
    script = request.served.script
    if script not in ("weak", "strong"):
        return ""
    return "WRONG" if script == "weak" and is_hard(request) else "RIGHT"


def _message(one: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": one.content}
    if one.reasoning_field not in _DELIMITERS:
        return {**message, one.reasoning_field: one.reasoning}
    if one.reasoning is not None:
        opening, closing = _DELIMITERS[one.reasoning_field]
        message["content"] = opening + one.reasoning + ("" if one.content is None else closing + one.content)
    return {**message, "reasoning_content": None}


def completion(request: ChatRequest, answers: Sequence[Answer], prompt_tokens: int) -> dict[str, Any]:
    """The body of a 200, as OpenAI (and vLLM for reasoning) shape it. It has no time in it: equal asks, equal bytes."""
    choices = [
        {
            "index": at,
            "message": _message(one),
            "finish_reason": one.finish_reason,
            "logprobs": None,
        }
        for at, one in enumerate(answers)
    ]
    tokens = sum(one.tokens for one in answers)
    return {
        "id": f"chatcmpl-{request.key[:24]}",
        "object": "chat.completion",
        "created": 0,
        "model": request.model,
        "system_fingerprint": ENGINE_VERSION,
        "choices": choices,
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": prompt_tokens + tokens,
            "completion_tokens_details": {"reasoning_tokens": sum(one.reasoning_tokens for one in answers)},
        },
    }
