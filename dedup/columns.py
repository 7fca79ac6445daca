"""Columns of texts as their normalised bytes, a batch at a time, and the digests of these."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dedup.text import fold
from synth.text.buffers import TextBytes, text_bytes

if TYPE_CHECKING:
    from dedup.kernels import Integers, Scratch, Tokens

_Made = TypeVar("_Made")

_BATCH_BYTES = 1 << 20  # texts of one call of a kernel
_BEHIND = 8  # bytes behind a token that a kernel may read


class Workspace:
    """Arrays that a thread fills anew for each batch. To ask the system for them each time costs a seventh of all time."""

    def __init__(self) -> None:
        self._data, self._ends = np.empty(0, np.uint8), np.empty(0, np.int64)
        self._hashes = np.empty(0, np.uint64)
        self._scratch: Scratch | None = None

    def tokens(self, texts: TextBytes) -> Tokens:
        """Room for the tokens of these texts."""
        from dedup.kernels import ROOM, Tokens

        count = len(texts.starts)
        room = int((texts.ends - texts.starts).sum()) * 3 // 2 + ROOM * count
        if room > len(self._data):
            self._data, self._ends = np.empty(room, np.uint8), np.empty(room // 2, np.int64)
        return Tokens(self._data, self._ends, *np.empty((4, count), np.int64))

    def hashes(self, texts: Tokens) -> NDArray[np.uint64]:
        """Room for the shingles of all of these texts, until the next batch."""
        count = int(texts.counts.sum())
        if count > len(self._hashes):
            self._hashes = np.empty(count, np.uint64)
        return self._hashes

    def scratch(self, texts: Tokens) -> Scratch:
        """Room for any one of these texts."""
        from dedup.kernels import scratch_for

        most = int(texts.counts.max())
        if self._scratch is None or most > len(self._scratch.tokens):
            self._scratch = scratch_for(most)
        return self._scratch


def exact_digests(texts: pa.Array | pa.ChunkedArray, workers: int = 1) -> pa.StringArray:
    """`exact_digest` of each text, on so many threads; a null counts as "". Errors as for `minhash_signatures`."""
    found = each_batch(texts, lambda _, batch, space: digests_of(tokens_of(batch, space)), workers)
    return pa.array([digest for digests in found for digest in digests], pa.string())


def each_batch(
    texts: pa.Array | pa.ChunkedArray, work: Callable[[int, TextBytes, Workspace], _Made], workers: int = 1
) -> list[_Made]:
    """What `work` makes of the number of the first text of a batch, the batch, and a workspace that is its alone until it
    returns; in the order of the texts, on so many threads."""
    spaces = deque(Workspace() for _ in range(max(workers, 1)))

    def one(numbered: tuple[int, TextBytes]) -> _Made:
        space = spaces.pop()
        try:
            return work(*numbered, space)
        finally:
            spaces.append(space)

    if workers <= 1:
        return [*map(one, _batches(texts))]
    with ThreadPoolExecutor(workers) as pool:
        return [*pool.map(one, _batches(texts))]


def tokens_of(texts: TextBytes, space: Workspace) -> Tokens:
    """The texts' normalised form. Where that depends on neighbouring code points, Python's `fold` says it first."""
    from dedup.code_points import code_points, folded_code_points
    from dedup.kernels import normalise_all

    tokens = space.tokens(texts)
    normalise_all(*texts, code_points(), tokens)
    slow = np.flatnonzero(tokens.stops < 0)
    if not slow.size:
        return tokens
    bounds = zip(texts.starts[slow].tolist(), texts.ends[slow].tolist(), strict=True)
    folded = [fold(texts.data[start:end].tobytes().decode()).encode() for start, end in bounds]
    edges = np.cumsum([0, *map(len, folded)])
    again = TextBytes(np.frombuffer(b"".join(folded), np.uint8), edges[:-1], edges[1:])
    others = Workspace().tokens(again)
    normalise_all(*again, folded_code_points(), others)
    return _filled(tokens, slow, others)


def _filled(tokens: Tokens, gaps: Integers, others: Tokens) -> Tokens:
    """`tokens` with the texts numbered `gaps` as `others` has them."""
    bytes_, ends = max(int(tokens.stops.max()), 0) + _BEHIND, int((tokens.firsts + tokens.counts).max())
    more, more_ends = int(others.stops.max()) + _BEHIND, int((others.firsts + others.counts).max())
    tokens.begins[gaps], tokens.stops[gaps] = others.begins + bytes_, others.stops + bytes_
    tokens.firsts[gaps], tokens.counts[gaps] = others.firsts + ends, others.counts
    return tokens._replace(
        data=np.concatenate([tokens.data[:bytes_], others.data[:more]]),
        ends=np.concatenate([tokens.ends[:ends], others.ends[:more_ends] + bytes_]),
    )


def digests_of(tokens: Tokens) -> list[str]:
    """The SHA-256 in hex of each text."""
    view = tokens.data.data
    bounds = zip(tokens.begins.tolist(), tokens.stops.tolist(), strict=True)
    return [hashlib.sha256(view[begin:stop]).hexdigest() for begin, stop in bounds]


def _batches(texts: pa.Array | pa.ChunkedArray) -> Iterator[tuple[int, TextBytes]]:
    """The number of the first text, and the texts, about _BATCH_BYTES of them."""
    first = 0
    for data, starts, ends in text_bytes(texts):
        # A text belongs to the batch in which its last byte lies, so that no text is cut.
        numbers = np.cumsum(ends - starts) // _BATCH_BYTES
        cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(starts)]
        for begin, end in pairwise(cuts):
            if end > begin:
                yield first + begin, TextBytes(data, starts[begin:end], ends[begin:end])
        first += len(starts)
