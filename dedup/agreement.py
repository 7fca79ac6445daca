"""Whether near pairs say the same: the facts of their texts, read once for each content that is near another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from dedup.contents import Contents, text_blocks
from dedup.facts import FactStreams, fact_streams, first_lacking, is_cut_off, missing

if TYPE_CHECKING:
    from dedup.pairs_kernels import Bools, Edges, Int32s

_SHOWN_FACTS = 5


class Agreement:
    """Compares the facts of contents, whose texts it reads when they are first asked for."""

    def __init__(self, texts: pa.ChunkedArray, contents: Contents, workers: int) -> None:
        self._texts = texts
        self._workers = workers
        self._rows = contents.first_rows
        self._facts: FactStreams | None = None

    def of_edges(self, edges: Edges) -> Bools:
        """For each edge whether all numbers and names of the one are the other's. The first call names every content that a
        later one names."""
        if self._facts is None:
            self._facts = self._read(np.union1d(edges.ones, edges.others))
        lacking = first_lacking(self._facts, edges.ones, edges.others)
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
        blocks = text_blocks(self._texts, self._rows[numbers])
        named = (one._replace(places=numbers[one.places].astype(np.int64)) for one in blocks)
        return fact_streams(named, len(self._rows), self._workers)

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
