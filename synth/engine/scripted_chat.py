"""What the scripted server answers: a pure function from the body of a chat request. Markers as in synth.engine.scripted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from synth.digest import digest
from synth.engine import scripted_text as text
from synth.errors import UserError, fail

SCRIPT_VERSION = 1
"""Raise by hand when any answer changes: it is part of the identity of a scripted model."""

SCRIPTS: tuple[str, ...] = ("plain",)
"""Names of the answering scripts."""

ENGINE_VERSION = f"scripted-{SCRIPT_VERSION}"
"""What the server reports as its version."""

OUTCOMES = ("refuse", "empty", "truncate", "loop", "bad_json", "think", "think_open", "leak", "copy")
"""Values of the directive `outcome`."""

_MOST_CHOICES = 64

_DIRECTIVE = re.compile(r"\[\[scripted:\s*(outcome|echo|near|status)=(.*?)\s*\]\]", re.DOTALL)
_ANY_DIRECTIVE = re.compile(r"\[\[scripted:.*?\]\]", re.DOTALL)
_REFUSALS = (
    "I'm sorry, but I can't help with that request.",
    "I am sorry, but I cannot assist with this.",
    "Sorry, I can't comply with that request.",
    "I cannot fulfill this request. As an AI language model, I am unable to provide that content.",
)
_LEAKS = ("</think>", "<|im_end|>")


class BadRequest(UserError):
    """A request that no try will make right: answered with 400."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One parsed chat request. `key` is the ask's identity, `directives` the markers found in its messages."""

    key: str
    messages: tuple[str, ...]
    last_user: str
    schema: Mapping[str, Any] | None
    max_tokens: int | None
    choices: int
    model: str
    directives: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """One choice. `content` is None when the reasoning used up `max_tokens`. Counts are tokens; `tokens` is both parts."""

    content: str | None
    reasoning: str | None
    finish_reason: str
    tokens: int
    reasoning_tokens: int


def parse_request(body: Any, script: str = "plain") -> ChatRequest:
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
    return ChatRequest(
        key=digest([SCRIPT_VERSION, script, ask]),
        messages=messages,
        last_user=messages[users[-1]] if users else messages[-1],
        schema=_schema(body.get("response_format") or {}),
        max_tokens=cut,
        choices=choices,
        model=str(body.get("model") or f"scripted-{script}"),
        directives=_directives(messages),
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


def _directives(messages: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for message in messages:
        if "[[scripted:" not in message:
            continue
        for name, value in _DIRECTIVE.findall(message):
            found.setdefault(name, value)
        if len(_DIRECTIVE.findall(message)) != len(_ANY_DIRECTIVE.findall(message)):
            raise fail(BadRequest, "unknown [[scripted: …]] marker", allowed="outcome=, echo=, near=, status=")
    if found.get("outcome", OUTCOMES[0]) not in OUTCOMES:
        raise fail(BadRequest, "unknown scripted outcome", given=found["outcome"], allowed=", ".join(OUTCOMES))
    status = found.get("status", "500")
    if not status.isdigit() or not 400 <= int(status) <= 599:
        raise fail(BadRequest, "a scripted status must be an HTTP error", given=status, allowed="400 to 599")
    return found


def answer(request: ChatRequest, choice: int = 0, canned: Mapping[str, Any] | None = None) -> Answer:
    """The answer to choice number `choice`. `canned` maps a piece of text to the answer of asks that contain it."""
    for piece, given in (canned or {}).items():
        if any(piece in message for message in request.messages):
            return _limited(given if isinstance(given, str) else orjson.dumps(given).decode(), None, request.max_tokens)
    if "echo" in request.directives:
        return _limited(request.directives["echo"], None, request.max_tokens)
    key = f"{request.key}:{choice}"
    outcome = request.directives.get("outcome", "")
    draws = text.Draws(key + ":outcome")
    if outcome == "refuse":
        return _limited(_REFUSALS[draws.below(len(_REFUSALS))], None, request.max_tokens)
    if outcome == "empty":
        return _limited("", None, request.max_tokens)
    reasoning = None
    content = _usual(request, key, outcome)
    if outcome in ("think", "think_open"):
        reasoning = text.prose(draws, text.topics_of(request.last_user), 30, 80)
    if outcome == "think_open":
        return _limited(f"<think>\n{reasoning}", None, request.max_tokens, cut=True)
    if outcome == "truncate":
        half = text.cut_tokens(content, text.count_tokens(content) // 2)
        return _limited(half, None, request.max_tokens, cut=True)
    if outcome == "bad_json":
        content = content[:-1] + " and so on"
    return _limited(content, reasoning, request.max_tokens)


def _limited(content: str, reasoning: str | None, max_tokens: int | None, cut: bool = False) -> Answer:
    """Reasoning and answer together within `max_tokens`; `cut` says that it was cut before."""
    thought = text.count_tokens(reasoning) if reasoning else 0
    said = text.count_tokens(content)
    if max_tokens is None or thought + said <= max_tokens:
        return Answer(content, reasoning, "length" if cut else "stop", thought + said, thought)
    if reasoning is not None and thought >= max_tokens:
        return Answer(None, text.cut_tokens(reasoning, max_tokens), "length", max_tokens, max_tokens)
    return Answer(text.cut_tokens(content, max_tokens - thought), reasoning, "length", max_tokens, thought)


def _usual(request: ChatRequest, key: str, outcome: str) -> str:
    """Text, or the JSON text of a value for the schema; `near`, loop, leak and copy shape each string of it."""
    pool = request.directives.get("near")
    write = _writing(request, key, outcome, pool)
    place = key if pool is None else f"near:{pool}"
    if request.schema is None:
        return write(text.Draws(place), "text")
    words = text.topics_of(text.passage_of(_ANY_DIRECTIVE.sub("", request.last_user)))
    return orjson.dumps(text.conforming_value(request.schema, place, write, words)).decode()


def _writing(request: ChatRequest, key: str, outcome: str, pool: str | None) -> text.Writing:
    passage = text.passage_of(_ANY_DIRECTIVE.sub("", request.last_user))
    topics = text.topics_of("" if pool else passage)
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
        return written

    return write


def completion(request: ChatRequest, answers: Sequence[Answer], prompt_tokens: int) -> dict[str, Any]:
    """The body of a 200, as OpenAI (and vLLM for reasoning) shape it. It has no time in it: equal asks, equal bytes."""
    choices = [
        {
            "index": at,
            "message": {"role": "assistant", "content": one.content, "reasoning_content": one.reasoning},
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
