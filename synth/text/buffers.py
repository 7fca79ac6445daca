"""Arrow text columns as plain bytes: what a compiled kernel reads, without a Python object per text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

BATCH_TEXTS = 8192  # texts of one call of a kernel, which holds results and scratch for no more than these


class TextBytes(NamedTuple):
    """Texts as one run of UTF-8: text k is `data[starts[k] : ends[k]]`. A null is a text of no bytes."""

    data: NDArray[np.uint8]  # the column's own buffer, not a copy; read-only
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


def text_bytes(texts: pa.Array | pa.ChunkedArray, batch_texts: int = BATCH_TEXTS) -> Iterator[TextBytes]:
    """The texts in the order given, at most `batch_texts` of them at a time. `texts` is string or large_string, of any
    chunks and slices. TypeError for another type; ValueError, which names the first such text, for one that is not UTF-8.
    """
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        raise TypeError(f"texts must be string or large_string, not {texts.type}")
    before = 0
    for chunk in texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]:
        for first in range(0, len(chunk), batch_texts):
            batch = chunk.slice(first, batch_texts)
            _validate(batch, before + first)
            yield _batch(batch)
        before += len(chunk)


def _validate(texts: pa.Array, before: int) -> None:
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        wrong = before + next((row for row in range(len(texts)) if not _is_valid(texts.slice(row, 1))), 0)
        raise ValueError(f"text {wrong} of the column (counted from 0) is not UTF-8: {error}") from None


def _is_valid(text: pa.Array) -> bool:
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _batch(texts: pa.Array) -> TextBytes:
    _, offsets, data = texts.buffers()
    width = np.dtype(np.int64 if pa.types.is_large_string(texts.type) else np.int32)
    edges = np.frombuffer(offsets, width, len(texts) + 1, texts.offset * width.itemsize)
    starts, ends = edges[:-1].astype(np.int64), edges[1:].astype(np.int64)
    if texts.null_count:  # what a null's offsets enclose is not a text, and was not validated
        ends = np.where(texts.is_valid().to_numpy(zero_copy_only=False), ends, starts)
    found = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    found.flags.writeable = False  # a kernel is compiled once for all columns, not once more for mutable ones
    return TextBytes(found, starts, ends)
