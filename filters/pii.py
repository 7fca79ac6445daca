"""Personal data and secrets in texts: found exactly, counted per kind, and named without being copied.

`filters.pii_kinds` says what each kind is. The functions there are called only at the anchors of `filters.pii_anchors`, which
one compiled pass over the Arrow buffers finds: a text without anchors is never a Python string.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters import pii_kinds
from filters.registry import SPANS
from synth.config import Config
from synth.errors import RecipeError, fail

# In the order of the numbers in `filters.pii_anchors`.
FINDERS: dict[str, pii_kinds.Finder] = {
    "email": pii_kinds.email,
    "phone": pii_kinds.phone,
    "ipv4": pii_kinds.ipv4,
    "ipv6": pii_kinds.ipv6,
    "iban": pii_kinds.iban,
    "card": pii_kinds.card,
    "ssn": pii_kinds.ssn,
    "aws_key": pii_kinds.aws_key,
    "github_token": pii_kinds.github_token,
    "jwt": pii_kinds.jwt,
    "private_key": pii_kinds.private_key,
    "api_key": pii_kinds.api_key,
}
KINDS = tuple(FINDERS)
PRIORITY = (  # of two that overlap, the one whose kind comes first
    *("private_key", "jwt", "github_token", "aws_key", "api_key", "email"),
    *("iban", "card", "ssn", "ipv6", "ipv4", "phone"),
)
PLACEHOLDERS = {kind: f"<{kind.upper()}>" for kind in KINDS}  # what a mask writes
COLUMNS = {kind: f"pii_{kind}" for kind in KINDS}  # the scores, and the rules that spans name
SCORES = pa.schema(
    [
        *((column, pa.int64()) for column in COLUMNS.values()),
        ("pii_checked", pa.int64()),
        ("pii_found", pa.int64()),
        ("pii_kinds", pa.large_string()),
        ("pii_spans", SPANS),
    ]
)
_BYTES_PER_ANCHOR, _MIN_ROOM = 64, 1024  # how much room is made for anchors at first


class PiiOptions(Config):
    """The rule `pii` has no options."""


@dataclass(frozen=True)
class Found:
    """One find: `text` stands in the UTF-8 bytes of its document from `start_byte` to `end_byte`."""

    kind: str
    start_byte: int
    end_byte: int
    text: str


def score(table: pa.Table, options: PiiOptions) -> pa.Table:
    """How many of each kind stand in `text`, as `pii_<kind>`; `pii_found`: all of them; `pii_checked`: 1 where there is
    anything but blanks; `pii_kinds`: as in "email 2; phone 1", null when nothing was found; `pii_spans`: where each find
    stands. None of them holds what was found.
    """
    texts = table["text"]
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    return pa.concat_tables([SCORES.empty_table(), *map(_chunk_scores, chunks)]).combine_chunks()


def find_pii(text: str) -> list[Found]:
    """All finds in a text, in its order, none overlapping another."""
    data = text.encode()
    batch = _Batch.of_array(pa.array([text], pa.large_string()))
    found = [span for _, pairs in _candidates(batch, _anchors(batch)) for span in spans(data, pairs)]
    return [Found(kind, start, end, data[start:end].decode()) for kind, start, end in found]


def masked(text: str, kinds: Collection[str] = KINDS) -> str:
    """The text with a placeholder for each find of these kinds. RecipeError when one is no kind."""
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise fail(RecipeError, "no such kind of personal data", given=", ".join(unknown), allowed=", ".join(KINDS))
    data, parts, done = text.encode(), list[bytes](), 0
    for found in find_pii(text):
        if found.kind in kinds:
            parts += [data[done : found.start_byte], PLACEHOLDERS[found.kind].encode()]
            done = found.end_byte
    return b"".join([*parts, data[done:]]).decode()


def spans(data: bytes, anchors: Iterable[tuple[int, int]]) -> list[tuple[str, int, int]]:
    """(kind, start, end) of the finds at these anchors (number of the kind, byte), in order. Within a kind the first one wins
    over one that begins inside it, between kinds PRIORITY does."""
    by_kind: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, at in anchors:
        kind = KINDS[number]
        taken = by_kind[kind]
        if not taken or at >= taken[-1][1]:
            span = FINDERS[kind](data, at)
            if span is not None and (not taken or span[0] >= taken[-1][1]):
                taken.append(span)
    kept: list[tuple[str, int, int]] = []
    for kind in PRIORITY:
        kept = _merged(kept, [(kind, *span) for span in by_kind[kind]]) if by_kind.get(kind) else kept
    return kept


def _merged(kept: list[tuple[str, int, int]], more: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Both, in order of their starts, without those of `more` that overlap one that is kept. Both are sorted: linear."""
    free, at = [], 0
    for one in more:
        while at < len(kept) and kept[at][2] <= one[1]:
            at += 1
        if at == len(kept) or kept[at][1] >= one[2]:
            free.append(one)
    return sorted([*kept, *free], key=lambda span: span[1])


@dataclass(frozen=True)
class _Batch:
    """Documents as they lie in one buffer; a null is an empty one."""

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of_array(cls, texts: pa.Array) -> _Batch:
        texts = texts.cast(pa.large_string())
        _, offsets, values = texts.buffers()
        if values is None or offsets is None or not len(texts):
            return cls(np.frombuffer(b"", np.uint8), np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64))
        edges = np.frombuffer(offsets, np.int64, len(texts) + 1, 8 * texts.offset)
        ends = np.where(texts.is_null().to_numpy(zero_copy_only=False), edges[:-1], edges[1:])
        return cls(np.frombuffer(values, np.uint8), edges[:-1].copy(), ends)


def _chunk_scores(texts: pa.Array) -> pa.Table:
    batch = _Batch.of_array(texts)
    anchors = _anchors(batch)
    counts = np.zeros((len(texts), len(KINDS)), np.int64)
    evidence: list[str | None] = [None] * len(texts)
    places: list[tuple[str, int, int]] = []
    for document, pairs in _candidates(batch, anchors):
        found = spans(batch.data[batch.starts[document] : batch.ends[document]].tobytes(), pairs)
        places += found
        kinds = Counter(kind for kind, _, _ in found)
        for kind, count in kinds.items():
            counts[document, KINDS.index(kind)] = count
        evidence[document] = "; ".join(f"{kind} {kinds[kind]}" for kind in KINDS if kinds[kind]) or None
    total = counts.sum(axis=1)
    columns = [*counts.T, anchors.checked.astype(np.int64), total, pa.array(evidence, pa.large_string())]
    return pa.table([*map(pa.array, columns), _span_lists(places, total)], schema=SCORES)


def _span_lists(places: list[tuple[str, int, int]], counts: NDArray[np.int64]) -> pa.Array:
    """The finds of all documents, one after the other, as lists of as many as each document has."""
    kinds, starts, ends = (list(column) for column in zip(*places, strict=True)) if places else ([], [], [])
    columns = [
        pa.array(starts, pa.int64()),
        pa.array(ends, pa.int64()),
        pa.array([COLUMNS[kind] for kind in kinds], pa.string()),
        pa.array([PLACEHOLDERS[kind] for kind in kinds], pa.string()),
    ]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.StructArray.from_arrays(columns, fields=list(SPANS.value_type))
    )


@dataclass(frozen=True)
class _Anchors:
    """Of a batch: where its anchors are, of which kind, in which document; which documents have anything but blanks."""

    positions: NDArray[np.int64]
    kinds: NDArray[np.int8]
    documents: NDArray[np.int64]
    checked: NDArray[np.bool_]


def _anchors(batch: _Batch) -> _Anchors:
    from filters.pii_anchors import anchors  # numba takes a second to load

    room = max(_MIN_ROOM, len(batch.data) // _BYTES_PER_ANCHOR)
    positions, kinds, documents, checked, count = anchors(batch.data, batch.starts, batch.ends, room)
    if count > room:
        positions, kinds, documents, checked, _ = anchors(batch.data, batch.starts, batch.ends, count)
    return _Anchors(positions, kinds, documents, checked)


def _candidates(batch: _Batch, anchors: _Anchors) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Each document that has anchors: its number, and (number of the kind, byte of the document) of each of them."""
    edges = np.flatnonzero(np.diff(anchors.documents, prepend=-1, append=-1))
    for first, last in pairwise(edges.tolist()):
        document = int(anchors.documents[first])
        places = anchors.positions[first:last] - batch.starts[document]
        yield document, list(zip(anchors.kinds[first:last].tolist(), places.tolist(), strict=True))
