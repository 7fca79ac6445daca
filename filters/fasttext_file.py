"""fastText's model files (.bin and quantised .ftz, format 12), read strictly: a damaged one is refused at once.

The format has no checksum, and the library believes every number in it: a cut file takes all memory or gives plausible wrong
scores. Here each number is checked against the bytes that are there before anything is allocated, and nothing may be left over.
The file is mapped, never copied: all processes that score with a model share one copy of it in the page cache.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synth.errors import RecipeError, SynthError, fail

LABEL_PREFIX, END = "__label__", "</s>"
HIERARCHICAL, NEGATIVE, SOFTMAX, ONE_VS_ALL = 1, 2, 3, 4
"""Losses as the file numbers them: what makes probabilities of the outputs."""

_MAGIC, _VERSION, _SUPERVISED = 793712314, 12, 3
_CODES = 256  # centroids of a part of a vector: a code is a byte
_MIN_ENTRY_BYTES = 11  # a word of one byte, its NUL, how often it was seen (int64), what it is (int8)
_MAX_DIM = 1 << 16
_MAX_GRAM = 64  # of words or characters: more would make scoring a text take for ever
_MAX_COUNT = 10**15  # of labels: what the library takes for endless
_MAX_WEIGHT_BITS = int(
    np.array(1e8, np.float32).view(np.uint32)
)  # trained weights are below 1e3; sums of these are finite


class Settings(NamedTuple):
    """What shapes scores, as fastText calls it: `dim` of a vector; word n-grams of up to `word_ngrams`; character n-grams of
    `minn` to `maxn`, none where `maxn` is 0; both are hashed into `bucket` rows."""

    dim: int
    word_ngrams: int
    loss: int
    bucket: int
    minn: int
    maxn: int


class Matrix(NamedTuple):
    """Rows of float32, or, where `dense` has no rows, of codes: part p of row r is centroid `codes[r, p]` of part p, times
    `norm_values[norm_codes[r]]` where there are norms. Views into the file."""

    dense: NDArray[np.float32]
    codes: NDArray[np.uint8]
    centroids: NDArray[np.float32]
    norm_codes: NDArray[np.uint8]
    norm_values: NDArray[np.float32]
    part: int  # numbers in a part; the last part may have fewer


class Dictionary(NamedTuple):
    """Words, then labels: `spans` has the first byte and the length of each, `table` finds them."""

    spans: NDArray[np.int64]
    table: NDArray[np.int64]
    words: int
    labels: tuple[str, ...]  # in the file's order, without `__label__`
    label_counts: NDArray[np.int64]
    kept: NDArray[np.int32] | None  # the buckets that a pruned file kept, each with its row; None: it has them all
    input_rows: int


class ModelFile(NamedTuple):
    """A model as its file has it."""

    data: NDArray[np.uint8]
    settings: Settings
    dictionary: Dictionary
    input: Matrix
    output: Matrix


class _DamagedError(Exception):
    """What is wrong with the bytes."""


def map_file(path: Path) -> NDArray[np.uint8]:
    """The file's bytes, mapped read-only. A file must be replaced by renaming another over it, never rewritten in place or
    cut while it is in use. RecipeError when it is missing or no regular file."""
    if not path.is_file():
        raise fail(RecipeError, f"no such model file: {path}", do="give the path of a fastText model (.bin or .ftz)")
    if not path.stat().st_size:  # cannot be mapped
        return np.empty(0, np.uint8)
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def read_model(path: Path, data: NDArray[np.uint8]) -> ModelFile:
    """The model whose bytes are `data`; `path` is for messages. RecipeError when anything in it makes no sense."""
    try:
        return _model(_Reader(data))
    except _DamagedError as error:
        raise unusable(path, str(error)) from None


def unusable(path: Path, why: str) -> SynthError:
    """The error of a model file that cannot be used."""
    return fail(RecipeError, f"the fastText model {path} cannot be used: {why}", do="train or fetch it again")


class _Reader:
    """Bytes that are read in order, never beyond their end."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self.data = data
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def numbers(self, form: str, what: str) -> Sequence[Any]:
        """Numbers of the struct format `form`, little-endian."""
        raw = self.array(np.uint8, struct.calcsize(f"<{form}"), what)
        return struct.unpack(f"<{form}", raw.tobytes())

    def array(self, kind: type[np.generic], count: int, what: str) -> NDArray[Any]:
        """`count` numbers as a view."""
        size = count * np.dtype(kind).itemsize
        if not 0 <= size <= self.left:
            raise _DamagedError(f"{what} need {size} bytes at byte {self.at}, {self.left} are left")
        found = np.frombuffer(self.data, kind, count, self.at) if count else np.empty(0, kind)
        found.flags.writeable = False  # so that kernels are compiled for one kind of array only
        self.at += size
        return found


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise _DamagedError(what)


def _model(reader: _Reader) -> ModelFile:
    settings = _settings(reader)
    dictionary = _dictionary(reader, settings.bucket)
    is_quantised = _flag(reader, "the mark of a quantised model")
    _check(is_quantised or dictionary.kept is None, "its dictionary is pruned, but it is not quantised")
    entered = _matrix(reader, "the input", is_quantised, dictionary.input_rows, settings.dim)
    has_codes = _flag(reader, "the mark of a quantised output") and is_quantised
    output = _matrix(reader, "the output", has_codes, len(dictionary.labels), settings.dim)
    _check(not reader.left, f"{reader.left} bytes are left over")
    return ModelFile(reader.data, settings, dictionary, entered, output)


def _settings(reader: _Reader) -> Settings:
    magic, version = reader.numbers("ii", "the mark and format")
    _check(magic == _MAGIC, "it is no fastText model")
    _check(version == _VERSION, f"its format is {version}, not {_VERSION}")
    dim, _, _, _, _, word_ngrams, loss, kind, bucket, minn, maxn, _ = reader.numbers("12i", "the settings")
    reader.numbers("d", "the settings")
    _check(kind == _SUPERVISED, "it is no classifier: train it with train_supervised")
    _check(1 <= dim <= _MAX_DIM, f"its vectors have {dim} numbers")
    _check(HIERARCHICAL <= loss <= ONE_VS_ALL, f"its loss {loss} is unknown")
    _check(0 <= word_ngrams <= _MAX_GRAM, f"it has n-grams of {word_ngrams} words")
    _check(0 <= minn <= _MAX_GRAM and 0 <= maxn <= _MAX_GRAM, f"it has n-grams of {minn} to {maxn} characters")
    _check(bucket >= (1 if word_ngrams > 1 or maxn > 0 else 0), f"it has {bucket} rows for n-grams")
    return Settings(dim, word_ngrams, loss, bucket, minn, maxn)


def _dictionary(reader: _Reader, bucket: int) -> Dictionary:
    from filters import fasttext_tables as tables

    size, words, labels, tokens, kept = reader.numbers("iiiqq", "the sizes of the dictionary")
    _check(words >= 0 and labels >= 1 and words + labels == size and tokens >= 0, "the sizes of its dictionary differ")
    _check(
        size * _MIN_ENTRY_BYTES <= reader.left, f"{size} entries of its dictionary do not fit in {reader.left} bytes"
    )
    spans, counts, kinds = np.empty((size, 2), np.int64), np.empty(size, np.int64), np.empty(size, np.int8)
    end = tables.read_entries(reader.data, reader.at, spans, counts, kinds)
    _check(end >= 0, "its dictionary is cut off")
    reader.at = end
    _check(not kinds[:words].any() and bool((kinds[words:] == 1).all()), "its words and labels are not in order")
    _check(bool(spans[:, 1].all()), "its dictionary has an empty word")
    _check(bool((counts >= 0).all() and (counts[words:] <= _MAX_COUNT // labels).all()), "its counts make no sense")
    table = empty_table(size)
    twice = tables.fill_words(table, reader.data, spans)
    _check(twice < 0, f"entry {twice} of its dictionary is there twice")
    pairs = None if kept == -1 else _kept(reader, kept, bucket)
    names = _names(reader.data, spans[words:])
    rows = words + (bucket if pairs is None else kept)
    return Dictionary(spans, table, words, names, counts[words:], pairs, rows)


def _names(data: NDArray[np.uint8], spans: NDArray[np.int64]) -> tuple[str, ...]:
    raw = [bytes(data[start : start + length]) for start, length in spans.tolist()]
    try:
        names = tuple(name.decode().removeprefix(LABEL_PREFIX) for name in raw)
    except UnicodeDecodeError:
        raise _DamagedError("a label is not UTF-8") from None
    _check(len(set(names)) == len(names) and END not in names, "a label has the name of another, or of the text's end")
    return names


def _kept(reader: _Reader, kept: int, bucket: int) -> NDArray[np.int32]:
    """(bucket, row after those of words) of the `kept` buckets that the file has."""
    _check(kept >= 0, f"it kept {kept} rows for n-grams")
    pairs = reader.array(np.int32, 2 * kept, "the rows kept for n-grams").reshape(-1, 2)
    _check(bool(((pairs >= 0) & (pairs < (bucket, kept))).all()), "a row kept for n-grams is out of range")
    _check(all(len(np.unique(column)) == kept for column in pairs.T), "a row kept for n-grams is there twice")
    return pairs


def empty_table(entries: int) -> NDArray[np.int64]:
    """A table for so many entries, of a power of two of slots: at most half are taken, so that what is not there is soon
    known."""
    return np.zeros(1 << (2 * entries + 1).bit_length(), np.int64)


def _flag(reader: _Reader, what: str) -> bool:
    (value,) = reader.numbers("B", what)
    _check(value in (0, 1), f"{what} is {value}")
    return bool(value)


def _matrix(reader: _Reader, what: str, has_codes: bool, rows: int, columns: int) -> Matrix:
    """A matrix of this shape, which the file must give as its own."""
    has_norms = _flag(reader, f"the mark of norms of {what}") if has_codes else False
    found = reader.numbers("qq", f"the shape of {what}")
    _check(found == (rows, columns), f"{what} is {found[0]} x {found[1]}, not {rows} x {columns}")
    if not has_codes:
        dense = _weights(reader, rows * columns, what).reshape(rows, columns)
        return Matrix(dense, _none(np.uint8).reshape(0, 0), *_no_norms(), 1)
    (size,) = reader.numbers("i", f"the codes of {what}")
    _check(rows > 0 and size % rows == 0, f"{what} has {size} codes for {rows} rows")
    codes = reader.array(np.uint8, size, f"the codes of {what}").reshape(rows, -1)
    part, centroids = _centroids(reader, what, columns, size // rows)
    norm_codes, norm_values = _none(np.uint8), _none(np.float32)
    if has_norms:
        norm_codes = reader.array(np.uint8, rows, f"the norms of {what}")
        _, norm_values = _centroids(reader, f"the norms of {what}", 1, 1)
    return Matrix(_none(np.float32).reshape(0, columns), codes, centroids, norm_codes, norm_values, part)


def _centroids(reader: _Reader, what: str, columns: int, parts: int) -> tuple[int, NDArray[np.float32]]:
    """How many numbers a part of a row has, and the centroids of each part in turn."""
    dim, count, part, last = reader.numbers("4i", f"the parts of {what}")
    fits = dim == columns and count == parts and 1 <= part <= dim and 1 <= last <= part
    _check(fits and (count - 1) * part + last == dim, f"{what} has {count} parts of {part} numbers, the last of {last}")
    return part, _weights(reader, _CODES * columns, f"the centroids of {what}")


def _weights(reader: _Reader, count: int, what: str) -> NDArray[np.float32]:
    from filters import fasttext_tables as tables

    found = reader.array(np.float32, count, what)
    _check(tables.largest_bits(found.view(np.uint32)) <= _MAX_WEIGHT_BITS, f"{what} has weights that are no number")
    return found


def _none(kind: type[np.generic]) -> NDArray[Any]:
    found = np.empty(0, kind)
    found.flags.writeable = False
    return found


def _no_norms() -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]:
    return _none(np.float32), _none(np.uint8), _none(np.float32)
