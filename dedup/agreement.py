"""Whether near pairs say the same: the facts of their texts, read once for each content that is near another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from dedup.contents import Contents
from dedup.facts import FactStreams, facts_in, first_lacking, is_cut_off, missing
from dedup.jobs import Jobs, spans_of

if TYPE_CHECKING:
    from dedup.pairs_kernels import Bools, Edges, Int32s, Uint64s
    from dedup.signatures import Int64s

_SHOWN_FACTS = 5
BLOCK_ROWS = 2048  # whose texts one job reads
_EDGES = 1 << 16  # compared by one job


class Agreement:
    """Compares the facts of contents, whose texts it reads when they are first asked for."""

    def __init__(self, table: pa.Table, contents: Contents, jobs: Jobs) -> None:
        self._table = table
        self._texts = table["text"]
        self._jobs = jobs
        self._rows = contents.first_rows
        self._facts: FactStreams | None = None

    def of_edges(self, edges: Edges) -> Bools:
        """For each edge whether all numbers and names of the one are the other's. The first call names every content that a
        later one names."""
        if self._facts is None:
            self._facts = self._read(np.union1d(edges.ones, edges.others))
        parts = self._jobs.ranges(lacking_facts, len(edges.ones), _EDGES, self._facts, edges.ones, edges.others)
        lacking = np.concatenate([np.empty(0, np.int32), *parts])
        agreeing = lacking < 0
        for edge in self._perhaps_cut_off(self._facts, edges.ones, lacking):
            agreeing[edge] = is_cut_off(self._text(edges.ones[edge]), self._text(edges.others[edge]))
        return agreeing

    def evidence(self, ones: Int32s, others: Int32s) -> list[str]:
        """For each pair that differs, as JSON, the first facts of the one that the other lacks; an empty list of them when
        they all stand there in another order."""
        assert self._facts is not None
        numbers = missing(self._facts, ones, others, _SHOWN_FACTS)
        return [
            orjson.dumps({"lacking": self._written(int(one), row[row >= 0])}).decode()
            for one, row in zip(ones, numbers, strict=True)
        ]

    def _read(self, numbers: Int32s) -> FactStreams:
        """The facts of these contents; the others have none."""
        rows = self._rows[numbers]
        order = np.argsort(rows, kind="stable")
        numbers, rows = numbers[order], rows[order]
        starts, ends = np.zeros((2, len(self._rows)), np.int64)
        columns: list[list[Any]] = [[], [], []]
        total, first = 0, 0
        for counts, *found in self._jobs.each(facts_of, spans_of(len(self._table), BLOCK_ROWS), self._table, rows):
            own = numbers[first : first + len(counts)]
            ends[own] = total + np.cumsum(counts)
            starts[own] = ends[own] - counts
            for column, part in zip(columns, found, strict=True):
                column.append(part)
            total, first = total + int(counts.sum()), first + len(counts)
        kinds = (np.uint64, np.int32, np.int32)
        hashes, firsts, lasts = (self._jobs.joined(one, kind) for one, kind in zip(columns, kinds, strict=True))
        return FactStreams(hashes, firsts, lasts, starts, ends)

    def _perhaps_cut_off(self, facts: FactStreams, ones: Int32s, lacking: Int32s) -> list[int]:
        """Edges whose ones lack nothing but their last fact, which ends their text."""
        last = facts.ends[ones] - 1
        edges = np.flatnonzero((lacking >= 0) & (facts.starts[ones] + lacking == last))
        sizes = np.asarray(pc.fill_null(pc.binary_length(self._texts), 0)) if len(edges) else np.empty(0, np.int64)
        is_end = facts.last_bytes[last[edges]] == sizes[self._rows[ones[edges]]]
        return [int(edge) for edge in edges[is_end]]

    def _text(self, content: np.int32) -> str:
        return str(self._texts[int(self._rows[content])])

    def _written(self, content: int, numbers: Int32s) -> list[str]:
        assert self._facts is not None
        text = self._texts[int(self._rows[content])].as_py().encode()
        places = self._facts.starts[content] + numbers
        bounds = zip(self._facts.first_bytes[places].tolist(), self._facts.last_bytes[places].tolist(), strict=True)
        return [text[start:end].decode() for start, end in bounds]


def facts_of(first: int, last: int, table: pa.Table, wanted: Int64s) -> tuple[Int64s, Uint64s, Int32s, Int32s]:
    """The job: of the `wanted` rows (ascending) from `first` to `last` how many facts each has; their hashes, first and last
    bytes."""
    begin, end = np.searchsorted(wanted, [first, last]).tolist()
    texts, picks = table["text"].slice(first, last - first), wanted[begin:end] - first
    return facts_in(texts if len(picks) == len(texts) else texts.take(pa.array(picks)))


def lacking_facts(first: int, last: int, facts: FactStreams, ones: Int32s, others: Int32s) -> Int32s:
    """The job: `first_lacking` of the pairs `first` to `last`."""
    return first_lacking(facts, ones[first:last], others[first:last])
