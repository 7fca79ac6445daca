"""What an answer is: thinking and answer separated, and the outcome judged, in this one place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator

from synth.ask import Outcome

_THINK_OPEN = re.compile(r"\A\s*<think(?:ing)?>")
_THINK_CLOSE = re.compile(r"</think(?:ing)?>")
# Delimiters of chat templates and of reasoning. In an answer they are always an accident.
_CONTROL = re.compile(r"</?think(?:ing)?>|<\|[A-Za-z_]{2,40}\|>|\[/?INST\]|<(?:start|end)_of_turn>|</s>")
_REFUSAL = re.compile(
    r"\A\W*(?:i(?:'|’)?m sorry,? (?:but )?i (?:can(?:'|’)?t|cannot|am unable|won(?:'|’)?t)"
    r"|i (?:can(?:'|’)?t|cannot|am unable to|won(?:'|’)?t) (?:assist|help|fulfil|comply|provide|create|write|generate)"
    r"|sorry,? (?:but )?i (?:can(?:'|’)?t|cannot)"
    r"|as an ai(?: language)? (?:model|assistant),? i)",
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


def judge(message: Mapping[str, Any], finish_reason: str | None, schema: Mapping[str, Any] | None) -> Judged:
    """Separate thinking from answer and name the outcome. `message` is a chat completion's message."""
    content = message.get("content") or ""
    reasoning = message.get("reasoning") or message.get("reasoning_content") or None
    closed = True
    if opening := _THINK_OPEN.match(content):
        closing = _THINK_CLOSE.search(content, opening.end())
        closed = closing is not None
        reasoning = content[opening.end() : closing.start() if closing else None].strip()
        content = content[closing.end() :] if closing else ""
    text = content.strip()
    if not closed or (finish_reason == "length" and not text and reasoning):
        return Judged(text, reasoning, "thinking_overflow")
    parsed, outcome = _judge_text(text, finish_reason, schema)
    return Judged(text, reasoning, outcome, parsed)


def _judge_text(text: str, finish_reason: str | None, schema: Mapping[str, Any] | None) -> tuple[Any, Outcome]:
    if finish_reason == "length":
        return None, "repetition" if loops(text) else "truncated_answer"
    if not text:
        return None, "empty_answer"
    if _CONTROL.search(text):
        return None, "tag_leak"
    if _REFUSAL.match(text):
        return None, "refused"
    if loops(text):
        return None, "repetition"
    if schema is None:
        return None, "ok"
    parsed = parse(text, schema)
    return (None, "wrong_schema") if parsed is None else (parsed, "ok")


def parse(text: str, schema: Mapping[str, Any]) -> Any:
    """The JSON value of `text` if it fits `schema`; None otherwise (a schema that allows null is not useful here)."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if _validator(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)).is_valid(value) else None


@lru_cache(maxsize=64)
def _validator(schema: bytes) -> Draft202012Validator:
    return Draft202012Validator(orjson.loads(schema))


def loops(text: str) -> bool:
    """Whether some run of words stands at least four times back to back, twelve words in all or more."""
    words = text.split()
    if len(words) < _LOOP_WORDS:
        return False
    grams = len(words) - 3
    if len(set(zip(words, words[1:], words[2:], words[3:], strict=False))) > 0.9 * grams:
        return False  # a loop of twelve words or more repeats its 4-grams; nearly all are distinct here
    for period in range(1, min(_LONGEST_PERIOD_WORDS, len(words) // _LOOP_REPEATS) + 1):
        needed = max(period * (_LOOP_REPEATS - 1), _LOOP_WORDS - period)
        run = 0
        for left, right in zip(words, words[period:], strict=False):
            run = run + 1 if left == right else 0
            if run >= needed:
                return True
    return False
