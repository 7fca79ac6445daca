"""What an answer is called: its thinking taken off (see synth.engine.thinking), its outcome judged, its JSON read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator

from synth.ask import Outcome
from synth.engine.thinking import TAG, separate

# Finish reasons of an answer that is not whole: OpenAI's word, and those that compatible servers use besides.
_CUT = ("length", "max_tokens", "model_length", "abort", "error")
# Delimiters of thinking and of chat templates. In an answer they are always an accident.
_CONTROL = re.compile(
    rf"{TAG.pattern}|<[|｜][^\s<>|｜]{{2,60}}[|｜]>|<\|(?:turn|channel|tool_call)>|<(?:turn|channel|tool_call)\|>"
    r"|<(?:start|end)_of_turn>|</s>|\[/?INST\]|<</?SYS>>"
)
# What is left of channels when the server strips special tokens: Harmony's header words glued together, Gemma's label.
_GLUED_HEADERS = ("assistantfinal", "assistantanalysis", "assistantcommentary")
_LABEL = "thought\n"
_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*)\n?[ \t]*```", re.DOTALL | re.IGNORECASE)

# A refusal speaks of itself and of the request. Each pattern asks for both, because answers are also letters, stories and
# dialogues, in which people are sorry and cannot help things.
_CANNOT = (
    r"i (?:(?:simply|just) )?(?:can['’]t|cannot|can not|(?:won['’]t|will not)(?: be able to)?|(?:must|have to) decline to)"
    r"|i(?:['’]m| am) (?:unable|not able) to"
)
_END = r"(?=\s*(?:[.,;:!?—–]|-\s|\Z)|\s+(?:because|as|since|due to|at this time)\b)"
_REQUEST = (
    r"(?:(?:this|that|these|those|your|the|such|any)(?: [\w-]+){0,2}? (?:requests?|tasks?|topics?|questions?|query|prompts?"
    rf"|content|conversations?|discussions?|activity|activities)\b|requests? (?:that|for|of|like)\b|(?:this|that|it){_END})"
)
_MAKE = r"(?:writ|creat|generat|produc|compos|draft|provid)"
_MATTER = (
    r"(?:(?:[\w-]+,? ){0,3}?(?:content|information|instructions|guidance|assistance)\b"
    r"|(?:medical|legal|financial|professional) advice\b)"
)
_ACT = (
    rf"(?:(?:assist|help)(?: you)? (?:with|in) (?:{_REQUEST}|{_MAKE}ing\b)|assist(?: you)?{_END}|fulfill? {_REQUEST}"
    rf"|comply(?:{_END}| with {_REQUEST})|{_MAKE}e? (?:{_REQUEST}|{_MATTER})"
    rf"|(?:continue|proceed|engage|participate) (?:with|in) {_REQUEST}"
    r"|(?:answer|respond to|process|complete|discuss|support) (?:this|that|your|the|such)(?: [\w-]+)?"
    r" (?:requests?|questions?|topics?|query|prompts?)\b"
    r"|(?:access|browse) (?:the internet|the web|external|real-time|links|urls|websites))"
)
# After an apology, or where it opens with regret, less is needed.
_ACT_SORRY = (
    rf"(?:{_ACT}|(?:create|generate|produce|fulfill?|comply|assist)\b|provide (?!for\b)"
    r"|write (?:a|an|the|any|this|that)\b)"
)
_SORRY = (
    r"(?:(?:(?:i['’]m|i am)(?: [\w-]+)? sorry|sorry|(?:my )?apologies|i apologi[sz]e)(?: for [^.,;!?\n]{1,60})?"
    r"(?:\s*[.,;:!—–-]+)?\s+(?:(?:but|however|unfortunately),? )?(?:as an ai[^.,;!?\n]{0,30},? )?"
    r"|(?:unfortunately|regrettably|i['’]m afraid|i am afraid),? (?:that )?)"
)
_POLITE = (
    r"(?:i (?:understand|appreciate|recogni[sz]e)|thank you for|thanks for|while i|although i)\b[^.!?\n]{1,150}?,? "
    r"(?:but |however,? )?"
)
_MACHINE = (
    r"(?:ai|artificial intelligence|(?:large )?language model)(?: language)?(?: model| assistant| system| chatbot)?"
)
_REFUSAL = re.compile(
    rf"[\s*_#>]*(?:{_SORRY}(?:{_CANNOT}) {_ACT_SORRY}|(?:{_POLITE})?(?:{_CANNOT}) {_ACT}"
    rf"|as an? {_MACHINE}(?: (?:developed|created|trained|made|designed) by [\w ]{{1,30}})?,? (?:i\b|my\b)"
    rf"|(?:i['’]m|i am) (?:just |only )?an? (?:ai (?:language )?model|ai assistant|(?:large )?language model)\b[^.!?\n]{{0,60}}?"
    r"\bi (?:can['’]t|cannot|don['’]t|do not)\b"
    r"|i (?:must|have to|need to)(?: [\w-]+)? decline (?:this|that|your|the)(?: [\w-]+)? request\b"
    rf"|i(?:['’]m not| am not| do not feel| don['’]t feel) comfortable (?:with {_REQUEST}|{_MAKE}ing (?:{_REQUEST}|{_MATTER}))"
    r"|i (?:do not|don['’]t) have (?:access to (?:the internet|real-time|live|external|current)"
    r"|the (?:ability|capability) to (?:access|browse|provide|generate|create|view|open))\b"
    rf"|it (?:would be|is|['’]s) (?:not appropriate|inappropriate|unethical|irresponsible) for me to (?:assist|help|{_MAKE}e?)\b"
    r"|(?:this|your|the) (?:request|prompt|question) (?:violates|goes against|conflicts with|is against)"
    r" (?:my|our|the|openai['’]s)(?: [\w-]+){0,2}? (?:polic(?:y|ies)|guidelines|principles|programming)\b"
    r"|my (?:programming|guidelines) (?:do not|does not|don['’]t|doesn['’]t|prevents?|prohibits?|forbids?)\b)",
    re.IGNORECASE,
)
_LONGEST_PERIOD_WORDS = 60
_LOOP_REPEATS = 4
_LOOP_WORDS = 12


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer taken apart. `parsed` is set only when a schema was given and fits."""

    text: str
    reasoning: str | None
    outcome: Outcome
    parsed: Any = None


def judge(
    message: Mapping[str, Any],
    finish_reason: str | None,
    schema: Mapping[str, Any] | None,
    leaked: Callable[[str], bool] | None = None,
    thinking_asked: bool = True,
) -> Judged:
    """Separate thinking from answer and name the outcome. `message` is a chat completion's message.

    `leaked` tells whether an answer holds control tokens of this model's tokenizer; the well-known ones are found without.
    """
    apart = separate(message, thinking_asked)
    text, parsed = apart.answer, None
    outcome: Outcome
    if finish_reason == "content_filter" or _declines(message):
        outcome = "refused"
    elif not apart.closed:
        outcome = "thinking_overflow"
    elif finish_reason in _CUT:
        outcome = _cut(text, apart.reasoning, message)
    else:
        outcome = _fault(text, leaked) or "ok"
        if outcome == "ok" and schema is not None:
            parsed = parse(text, schema)
            outcome = "wrong_schema" if parsed is None else "ok"
    return Judged(text, apart.reasoning, outcome, parsed)


def _declines(message: Mapping[str, Any]) -> bool:
    """Whether the server itself says that the model refused."""
    content = message.get("content")
    parts = content if isinstance(content, list) else ()
    return bool(message.get("refusal")) or any(
        isinstance(part, Mapping) and part.get("type") == "refusal" for part in parts
    )


def _cut(text: str, reasoning: str | None, message: Mapping[str, Any]) -> Outcome:
    """The outcome of a message that the length limit ended.

    Without any content the tokens were spent on thinking, even where the server withholds it. Content that is blank, with
    no thinking beside it, is an answer that began with blanks: constrained decoding may write them until it is cut.
    """
    if not text:
        return "thinking_overflow" if reasoning or not message.get("content") else "truncated_answer"
    return "repetition" if loops(text) else "truncated_answer"


def _fault(text: str, leaked: Callable[[str], bool] | None) -> Outcome | None:
    """What makes a whole answer unusable, whatever was asked for; None if nothing does."""
    if not text:
        return "empty_answer"
    if _holds_control(text) or (leaked is not None and leaked(text)):
        return "tag_leak"
    if _REFUSAL.match(text):
        return "refused"
    return "repetition" if loops(text) else None


def _holds_control(text: str) -> bool:
    if ("<" in text or "[" in text or "◁" in text) and _CONTROL.search(text):
        return True
    return text.startswith(_LABEL) or any(glued in text for glued in _GLUED_HEADERS)


def parse(text: str, schema: Mapping[str, Any]) -> Any:
    """The JSON value of `text` if it fits `schema`; None otherwise (a schema that allows null is not useful here).

    A fenced code block is accepted if it is the whole text; prose around the value is not.
    """
    fenced = _FENCED.fullmatch(text) if text.startswith("```") else None
    try:
        value = orjson.loads(fenced[1] if fenced else text)
        return value if _validator(orjson.dumps(schema)).is_valid(value) else None
    except (orjson.JSONDecodeError, RecursionError):  # a recursive schema follows the value down
        return None


@lru_cache(maxsize=64)
def _validator(schema: bytes) -> Draft202012Validator:
    return Draft202012Validator(orjson.loads(schema))


def loops(text: str) -> bool:
    """Whether some run of words stands at least four times back to back, twelve words in all or more.

    A text of which more than nine tenths of the 4-grams are distinct does not loop: a short stumble in it is none.
    """
    words = text.split()
    if len(words) < _LOOP_WORDS:
        return False
    grams = len(words) - 3
    if len(set(zip(words, words[1:], words[2:], words[3:], strict=False))) > 0.9 * grams:
        return False
    for period in range(1, min(_LONGEST_PERIOD_WORDS, len(words) // _LOOP_REPEATS) + 1):
        needed = max(period * (_LOOP_REPEATS - 1), _LOOP_WORDS - period)
        run = 0
        for left, right in zip(words, words[period:], strict=False):
            run = run + 1 if left == right else 0
            if run >= needed:
                return True
    return False
