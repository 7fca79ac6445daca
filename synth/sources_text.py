"""Plain text files: one text each, or several with something between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa

from synth.errors import SourceError, SynthError, fail
from synth.sources_columns import Batch, not_utf8, utf8_fault
from synth.sources_readers import BATCH_BYTES, BATCH_ROWS, BYTE_ORDER_MARK, MAX_LINE_BYTES, decompressed, opened

_READ_BYTES = 2**20


def read_text(separator: str | None, file: Path) -> Iterator[Batch]:
    """The texts of a file. Without a separator that is all of it, as it is; with one, the pieces between that are not blank,
    without the line breaks at their ends."""
    texts: list[str] = []
    size_bytes = number = 0
    for number, raw in enumerate(_pieces(separator, file), start=1):
        where = str(file) if separator is None else f"{file}, text {number}"
        texts.append(_decoded(raw, where))
        size_bytes += len(raw)
        if len(texts) == BATCH_ROWS or size_bytes >= BATCH_BYTES:
            yield _batch(texts, number, file)
            texts, size_bytes = [], 0
    if texts:
        yield _batch(texts, number, file)


def _batch(texts: list[str], last: int, file: Path) -> Batch:
    first = last - len(texts) + 1
    return Batch({"text": pa.array(texts, pa.large_string())}, lambda row: f"{file}, text {first + row}")


def _decoded(raw: bytes, where: str) -> str:
    if fault := utf8_fault(raw):
        raise not_utf8(where, fault)
    return raw.decode()


def _pieces(separator: str | None, file: Path) -> Iterator[bytes]:
    with decompressed(file), opened(file) as stream:
        if separator is None:
            yield _whole(stream, file)
            return
        for piece in _between(stream, separator, file):
            if piece.strip():
                yield bytes(piece.strip(b"\r\n"))


def _whole(stream: IO[bytes], file: Path) -> bytes:
    data = stream.read(MAX_LINE_BYTES + 1)
    if len(data) > MAX_LINE_BYTES:
        raise _too_long(file, None)
    return data.removeprefix(BYTE_ORDER_MARK)


def _between(stream: IO[bytes], separator: str, file: Path) -> Iterator[bytearray]:
    mark = separator.encode()
    held = bytearray(stream.read(_READ_BYTES).removeprefix(BYTE_ORDER_MARK))
    looked = 0  # up to here in what is held there is no separator
    while True:
        start = 0
        while (end := held.find(mark, max(start, looked))) >= 0:
            yield held[start:end]
            start = end + len(mark)
        del held[:start]
        looked = max(0, len(held) - len(mark) + 1)
        if len(held) > MAX_LINE_BYTES:
            raise _too_long(file, separator)
        if not (chunk := stream.read(_READ_BYTES)):
            break
        held += chunk
    yield held


def _too_long(file: Path, separator: str | None) -> SynthError:
    return fail(
        SourceError,
        f"{file}: the text is too long for one document",
        given=f"more than {MAX_LINE_BYTES} bytes" + ("" if separator is None else f" without {separator!r}"),
        allowed=f"at most {MAX_LINE_BYTES} bytes per text",
        do="name what stands between texts as `separator`, or cut the file",
    )
