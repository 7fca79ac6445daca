"""One document as a person judges it: its seed, what was asked word for word, what was answered, and what became of it.

`sample` makes a JSON value of rows; the other functions turn that value into text for a terminal or a pipe.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from rich.table import Table
from rich.text import Text

from synth.rows import SEED_MARK

SEED_CHARS = 400  # of a seed inside a prompt
TEXT_CHARS = 600  # of what a model wrote, and of the seed beside it
_COPIED_CHARS = 120  # of the source's own text inside a document
_SLACK = 60
_MESSAGE_CHARS = 8000  # of a message, whatever it holds

_DROP = ("step", "rule", "reason", "score", "threshold", "partner_id", "evidence")
_VERDICT = ("rung", "judge", "outcome", "score")
_TOKENS = ("prompt_tokens", "completion_tokens", "reasoning_tokens")
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

Row = Mapping[str, Any]


def sample(
    document: Row, seed: Row, asks: Mapping[str, Row], drops: Iterable[Row], verdicts: Iterable[Row]
) -> dict[str, Any]:
    """A row of DOCUMENT with its row of SEED, its asks by id, and all drops and verdicts about it, as a JSON value."""
    ordered = sorted(drops, key=lambda drop: (STEPS.index(drop["step"]), drop["rule_order"]))
    return {
        "id": document["id"],
        "family": document["family"],
        "seed": {name: seed[name] for name in ("id", "source_id", "source", "text")},
        "source_text": _span(seed["text"], document["seed_span"]),
        "text": document["text"],
        "parts": _parts(document),
        "axes": orjson.loads(document["axes"] or "{}"),
        "drops": [{name: drop[name] for name in _DROP} for drop in ordered],
        "verdicts": [
            {**{name: one[name] for name in _VERDICT}, "evidence": _json(one["evidence"])} for one in verdicts
        ],
        "asks": [_asked(asks[ask_id], seed["text"]) for ask_id in _text_first(document)],
    }


def _text_first(document: Row) -> list[str]:
    """The document's asks, those whose answers stand in its text before the others."""
    return list(dict.fromkeys([*document["written_by"], *document["ask_ids"]]))


STEPS = ("generate", "keep", "resolve")
"""The steps that drop documents, in their order."""


def _span(text: str, span: Mapping[str, int] | None) -> str:
    return text.encode()[span["start_byte"] : span["end_byte"]].decode() if span else text


def _parts(document: Row) -> list[dict[str, str]]:
    """The document's text by who wrote it, in order."""
    raw = document["text"].encode()
    spans = document["parts"] or [{"role": "generated", "start_byte": 0, "end_byte": len(raw)}]
    return [{"role": one["role"], "text": raw[one["start_byte"] : one["end_byte"]].decode()} for one in spans]


def _json(value: str | None) -> Any:
    return orjson.loads(value) if value else None


def _asked(ask: Row, seed_text: str) -> dict[str, Any]:
    """One ask, in its order; `escaped` control tokens of its messages were made harmless before they were sent."""
    kept = ("role", "model", "sample_index", "outcome", "completion", "reasoning", "escaped", *_TOKENS)
    said = {"sampling": orjson.loads(ask["sampling"]), "messages": messages(ask["prompt"], seed_text)}
    return {**{name: ask[name] for name in kept}, **said}


def messages(prompt: str, seed_text: str) -> list[dict[str, str]]:
    """The messages of a row of ASK, the seed's text back in the place of its mark. A prompt that holds the text had no mark."""
    found: list[dict[str, str]] = orjson.loads(prompt)
    if any(seed_text in one["content"] for one in found):
        return found
    return [{**one, "content": one["content"].replace(SEED_MARK, seed_text)} for one in found]


def counted_as(drop: Row) -> str:
    """The word under which a drop is counted: a gate's own, else the rule."""
    return str(drop["reason"] if drop["step"] == "keep" else drop["rule"])


def shorten(text: str, characters: int) -> str:
    """The text, or its start and end with how much was left out between them, where that makes it clearly shorter."""
    if len(text) <= characters + _SLACK:
        return text
    end = characters // 3
    start = characters - end
    return f"{text[:start]} […{len(text) - characters:,} characters…] {text[-end:]}"


def visible(text: str) -> str:
    """The text without control characters, which a terminal would obey."""
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


def prompt_lines(value: Mapping[str, Any]) -> list[str]:
    """The first ask of each role as it was sent, with the seed's text shortened in the middle."""
    if not value["asks"]:
        return ["nothing was asked"]
    first = {ask["role"]: ask for ask in reversed(value["asks"])}
    roles = dict.fromkeys(ask["role"] for ask in value["asks"])
    return [line for role in roles for line in _asked_lines(first[role], value)]


def _asked_lines(ask: Row, value: Mapping[str, Any]) -> list[str]:
    lines = [_sampling_line(ask)]
    for message in ask["messages"]:
        content = _seed_shortened(message["content"], value)
        lines += [f"[{message['role']}]", *visible(shorten(content, _MESSAGE_CHARS)).splitlines()]
    if ask["escaped"]:
        lines.append(f"({ask['escaped']} control tokens were broken up before it was sent)")
    return lines


def _seed_shortened(content: str, value: Mapping[str, Any]) -> str:
    """A message in which the seed, the part of it that the document comes from, or a part that is all of the message is short."""
    whole: str = value["seed"]["text"]
    if content in whole:
        return shorten(content, SEED_CHARS)
    for text in filter(None, dict.fromkeys((whole, value["source_text"]))):
        content = content.replace(text, shorten(text, SEED_CHARS))
    return content


def _sampling_line(ask: Row) -> str:
    sampling = ", ".join(f"{name} {number}" for name, number in ask["sampling"].items())
    return f"to the role {ask['role']} ({ask['model']}), {sampling}:"


def fate_lines(value: Mapping[str, Any]) -> list[str]:
    """What became of a sample: its drops with score, threshold and evidence, its verdicts, its axes, and what it took."""
    lines = [f"dropped by {drop['step']}: {_drop_line(drop)}" for drop in value["drops"]]
    lines += [f"verdict {one['rung']}: {one['outcome']}{_scored(one)}{_evidence(one)}" for one in value["verdicts"]]
    if value["axes"]:
        lines.append("axes: " + ", ".join(f"{name} = {word}" for name, word in value["axes"].items()))
    lines.append(f"asks: {asks_line(value['asks'])}")
    return [visible(line) for line in lines]


def _drop_line(drop: Row) -> str:
    bound = "" if drop["score"] is None else f" ({drop['rule']} {drop['score']:.4g}{_threshold(drop)})"
    reason = drop["reason"] if drop["step"] == "keep" else f"{drop['rule']}: {drop['reason']}"
    partner = f"; the document that stays: {drop['partner_id'][:16]}" if drop["partner_id"] else ""
    return f"{reason}{bound}{partner}{_evidence(drop)}"


def _threshold(drop: Row) -> str:
    return "" if drop["threshold"] is None else f"; threshold {drop['threshold']:.4g}"


def _scored(verdict: Row) -> str:
    return "" if verdict["score"] is None else f" ({verdict['score']:.4g})"


def _evidence(row: Row) -> str:
    found = row["evidence"]
    if not found:
        return ""
    text = found if isinstance(found, str) else orjson.dumps(found).decode()
    return f"; evidence: {shorten(text, SEED_CHARS)}"


def asks_line(asks: Sequence[Row]) -> str:
    """Who was asked how often, and the tokens read and written: `writer 2 (410 read, 95 written)`."""
    if not asks:
        return "none"
    count = Counter(ask["role"] for ask in asks)
    totals = ((role, *tokens([ask for ask in asks if ask["role"] == role])) for role in sorted(count))
    return ", ".join(
        f"{role} {count[role]} ({read:,} tokens read, {written:,} written)" for role, read, written in totals
    )


def tokens(asks: Iterable[Row]) -> tuple[int, int]:
    """Tokens read, and tokens written (reasoning included), of rows of ASK."""
    listed = list(asks)
    read, written, thought = (sum(ask[name] or 0 for ask in listed) for name in _TOKENS)
    return read, written + thought


def side_by_side(value: Mapping[str, Any]) -> Table:
    """Seed and document in two columns, for a wide terminal."""
    table = Table("seed", "document", expand=True, padding=(0, 1), show_lines=False)
    seed, text = _texts(value)
    table.add_row(Text(seed), Text(text))
    return table


def one_after_another(value: Mapping[str, Any]) -> list[str]:
    """Seed and document as lines."""
    seed, text = _texts(value)
    return ["seed:", *_indented(seed), "document:", *_indented(text)]


def _texts(value: Mapping[str, Any]) -> tuple[str, str]:
    """Seed and document, shortened: what was copied from the source more than what is new."""
    limits = {"source": _COPIED_CHARS}
    text = "".join(shorten(one["text"], limits.get(one["role"], TEXT_CHARS)) for one in value["parts"])
    return visible(shorten(value["source_text"], TEXT_CHARS)), visible(text)


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()] or ["  (nothing)"]
