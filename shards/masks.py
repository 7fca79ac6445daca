"""Masks: what filters found is replaced in the texts that a trainer reads, and nothing of it is left in their rows.

A placeholder stands for a value, such as somebody's address: it replaces the value wherever it stands in the row's text and
thoughts, also where it was not found a second time. A span without a replacement removes its own bytes only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from synth.errors import IntegrityError, fail

_DO = "delete the object of score that these spans lie in, and run again"


class Cut(NamedTuple):
    """Bytes that go, from `start` up to `end`, and what is written instead."""

    start: int
    end: int
    replacement: str


@dataclass(frozen=True)
class Masked:
    """Texts with their spans replaced, and how many places that were."""

    documents: pa.Table
    changed: int  # documents
    places: int


def mask_documents(documents: pa.Table, spans: pa.Table, reasoning_spans: pa.Table) -> Masked:
    """`documents` (id, text, parts, reasoning and whatever else) without what stands in the spans (rows.SPAN).

    Offsets of `parts` follow the text; a part of which nothing is left is not listed. Where a span crosses the border of two
    parts, its replacement belongs to the first. IntegrityError when a span does not fit its text or names no document.
    """
    by_document = _by_document(spans), _by_document(reasoning_spans)
    places = {doc_id: at for at, doc_id in enumerate(documents["id"].to_pylist())}
    wanted = sorted({*by_document[0], *by_document[1]})
    for doc_id in wanted:
        if doc_id not in places:
            raise fail(IntegrityError, "a span names a document that is not there", given=doc_id, do=_DO)
    at = [places[doc_id] for doc_id in wanted]
    old = documents.select(["text", "parts", "reasoning"]).take(pa.array(at, pa.int64())).to_pylist()
    new = [
        _masked(doc_id, row, by_document[0].get(doc_id, []), by_document[1].get(doc_id, []))
        for doc_id, row in zip(wanted, old, strict=True)
    ]
    table = _replaced(documents, at, [row for row, _ in new]) if new else documents
    return Masked(table, len(new), sum(count for _, count in new))


def _by_document(spans: pa.Table) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for span in spans.to_pylist():
        found.setdefault(span["doc_id"], []).append(span)
    return found


def _replaced(documents: pa.Table, at: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The documents with other rows at these places. What was there stands in no buffer of a row that is taken from it."""
    order = list(range(len(documents)))
    for number, place in enumerate(at):
        order[place] = len(documents) + number
    for name in rows[0]:
        column = documents[name]
        new = pa.array([row[name] for row in rows], column.type)
        both = pa.concat_arrays([*column.chunks, new]).take(pa.array(order, pa.int64()))
        documents = documents.set_column(documents.column_names.index(name), documents.field(name), both)
    return documents


def _masked(
    doc_id: str, row: Mapping[str, Any], spans: Iterable[Mapping[str, Any]], thoughts: Iterable[Mapping[str, Any]]
) -> tuple[dict[str, Any], int]:
    """One document's row without its spans; how many places were replaced."""
    text = row["text"].encode()
    reasoning = None if row["reasoning"] is None else row["reasoning"].encode()
    own = [_cut(text, span, doc_id, "text") for span in spans]
    thought = [_cut(reasoning or b"", span, doc_id, "reasoning") for span in thoughts]
    values = {text[cut.start : cut.end]: cut.replacement for cut in own}
    values |= {(reasoning or b"")[cut.start : cut.end]: cut.replacement for cut in thought}
    cuts = united([*own, *_elsewhere(text, own, values)])
    moved = _Moved(cuts)
    parts = [
        {**part, **{name: moved(part[name]) for name in ("start_byte", "end_byte")}} for part in row["parts"] or []
    ]
    new: dict[str, Any] = {"text": replace(text, cuts).decode(), "reasoning": None}
    new["parts"] = [part for part in parts if part["start_byte"] < part["end_byte"]]
    if reasoning is not None:
        cuts = united([*thought, *_elsewhere(reasoning, thought, values)])
        new["reasoning"] = replace(reasoning, cuts).decode()
        return new, len(moved.starts) + len(cuts)
    return new, len(moved.starts)


def _cut(data: bytes, span: Mapping[str, Any], doc_id: str, field: str) -> Cut:
    """A span as a cut. IntegrityError when it is not made of whole characters of `data`."""
    start, end = span["start_byte"], span["end_byte"]
    if not (0 <= start < end <= len(data)) or _inside(data, start) or _inside(data, end):
        raise fail(
            IntegrityError,
            f"a span of the rule {span['rule']!r} does not fit the {field} of document {doc_id}",
            given=f"bytes {start} to {end}",
            allowed=f"whole characters within {len(data)} bytes",
            do=_DO,
        )
    return Cut(start, end, span["replacement"] or "")


def _inside(data: bytes, at: int) -> bool:
    """Whether `at` lies within a character."""
    return at < len(data) and data[at] & 0xC0 == 0x80


def _elsewhere(data: bytes, cuts: Sequence[Cut], values: Mapping[bytes, str]) -> Iterator[Cut]:
    """Where the values stand beside the cuts. Those without a replacement are looked for nowhere."""
    rest = replace(data, [cut._replace(replacement="\0") for cut in united(cuts)])  # short where there are many values
    for value, replacement in values.items():
        at = data.find(value) if replacement and value in rest else -1
        while at >= 0:
            yield Cut(at, at + len(value), replacement)
            at = data.find(value, at + len(value))


def united(cuts: Iterable[Cut]) -> list[Cut]:
    """The cuts in order, those that overlap as one, with the replacement of the longest of them (of equally long ones: the
    first). Those that only touch stay two."""
    done: list[Cut] = []
    longest = 0
    for cut in sorted(set(cuts), key=lambda cut: (cut.start, -cut.end, cut.replacement)):
        size = cut.end - cut.start
        if done and cut.start < done[-1].end:
            last = done[-1]
            replacement = cut.replacement if size > longest else last.replacement
            done[-1] = Cut(last.start, max(last.end, cut.end), replacement)
            longest = max(longest, size)
        else:
            done.append(cut)
            longest = size
    return done


def replace(data: bytes, cuts: Sequence[Cut]) -> bytes:
    """The bytes with each cut's replacement in its place. The cuts are sorted and do not overlap."""
    pieces, at = [], 0
    for cut in cuts:
        pieces += [data[at : cut.start], cut.replacement.encode()]
        at = cut.end
    return b"".join([*pieces, data[at:]])


class _Moved:
    """Where a byte of the old text lies in the new one; a byte within a cut lies behind the replacement."""

    def __init__(self, cuts: Sequence[Cut]) -> None:
        self.starts = [cut.start for cut in cuts]
        self._cuts = cuts
        self._grown = [0]
        for cut in cuts:
            self._grown.append(self._grown[-1] + len(cut.replacement.encode()) - (cut.end - cut.start))

    def __call__(self, at: int) -> int:
        before = bisect_left(self.starts, at)  # cuts that begin before it
        if before and at < self._cuts[before - 1].end:
            return self._cuts[before - 1].end + self._grown[before]
        return at + self._grown[before]
