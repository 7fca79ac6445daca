"""A model file as the arrays that the compiled scorer reads: views into the mapped file, and what little is made of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters.fasttext_file import HIERARCHICAL, Dictionary, Matrix, ModelFile, empty_table

DECODED_BYTES = 1 << 25  # rows of codes are decoded when a process has so much room for them of its own
KNOWN_WORDS, KNOWN_ROWS = 1 << 15, 1 << 19  # words that are remembered within a call, and the rows that they stand for
_END = np.frombuffer(b"</s>", np.uint8)


def model_arrays(file: ModelFile) -> Any:
    """The `filters.fasttext_kernels.Model` of the file."""
    from filters.fasttext_kernels import Model

    settings, words, rows = file.settings, file.dictionary, file.input
    output, output_norms = _output(file.output, settings.dim)
    dense, (kept, pruned) = _decoded(rows, settings.dim), _kept(words.kept, settings.bucket)
    children, parents = _tree(words, settings.loss)
    return Model(
        file=file.data,
        spans=frozen(words.spans),
        table=frozen(words.table),
        kept=kept,
        pruned=pruned,
        dense=dense,
        codes=rows.codes,
        centroids=rows.centroids,
        norm_codes=rows.norm_codes,
        norm_values=rows.norm_values,
        output=output,
        output_norms=output_norms,
        children=children,
        parents=parents,
        part=rows.part,
        words=words.words,
        end=_end(file.data, words),
        word_ngrams=settings.word_ngrams,
        minn=settings.minn,
        maxn=settings.maxn,
        bucket=max(settings.bucket, 1),
        loss=settings.loss,
    )


def new_scratch(model: Any, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Any:
    """The `filters.fasttext_kernels.Scratch` of one call on texts from `starts` to `ends`."""
    from filters.fasttext_kernels import ROOM, Scratch

    lengths = ends - starts
    longest, total, nodes = int(lengths.max()), int(lengths.sum()), len(model.parents) + 1
    words = longest // 2 + 2
    slots = min(KNOWN_WORDS, 1 << total.bit_length()) if model.maxn > 0 else 1
    return Scratch(
        hidden=np.empty(model.output.shape[1], np.float32),
        outputs=np.empty(len(model.output), np.float32),
        word_starts=np.empty(words, np.int64),
        word_ends=np.empty(words, np.int64),
        hashes=np.empty(words, np.int64),
        entries=np.empty(words, np.int64),
        rows=np.empty(ROOM + (longest + 2) * model.maxn + 1, np.int32),  # what is never used of it takes no memory
        known=np.zeros((slots, 5), np.int64),
        pool=np.empty(KNOWN_ROWS if model.maxn > 0 else 0, np.int32),
        path=np.empty(nodes, np.int64),
        scores=np.empty(nodes, np.float32),
    )


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The array as one that cannot be written: kernels are compiled for one kind of array only."""
    array = array.view()
    array.flags.writeable = False
    return array


def _kept(pairs: NDArray[np.int32] | None, bucket: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A bit per bucket that the file kept, and the table of their rows; of a file that has them all, nothing."""
    from filters.fasttext_tables import fill_numbers

    if pairs is None:
        return frozen(np.empty(0, np.uint8)), frozen(empty_table(0))
    bits, table = np.zeros(bucket // 8 + 1, np.uint8), empty_table(len(pairs))  # zeros take memory where one is set
    np.bitwise_or.at(bits, pairs[:, 0] >> 3, np.left_shift(1, pairs[:, 0] & 7).astype(np.uint8))
    fill_numbers(table, pairs)
    return frozen(bits), frozen(table)


def _decoded(matrix: Matrix, columns: int) -> NDArray[np.float32]:
    """The rows as numbers, each rounded as the library rounds it; none where they have codes and take too much room."""
    rows = len(matrix.codes)
    if len(matrix.dense) or 4 * rows * columns > DECODED_BYTES:
        return matrix.dense
    dense = _centroids_of(matrix, columns)
    if len(matrix.norm_codes):
        dense *= matrix.norm_values[matrix.norm_codes][:, None]
    return frozen(dense)


def _output(matrix: Matrix, columns: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The output as dense rows, and the norm of each."""
    if len(matrix.dense):
        return matrix.dense, frozen(np.ones(len(matrix.dense), np.float32))
    norms = matrix.norm_values[matrix.norm_codes] if len(matrix.norm_codes) else np.ones(len(matrix.codes), np.float32)
    return frozen(_centroids_of(matrix, columns)), frozen(norms)


def _centroids_of(matrix: Matrix, columns: int) -> NDArray[np.float32]:
    rows, parts = matrix.codes.shape
    dense = np.empty((rows, columns), np.float32)
    for part in range(parts):
        start = part * matrix.part
        size = min(matrix.part, columns - start)
        centroids = matrix.centroids[256 * start : 256 * (start + size)].reshape(256, size)
        dense[:, start : start + size] = centroids[matrix.codes[:, part]]
    return dense


def _tree(words: Dictionary, loss: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The children and parents of the tree over the labels; empty for a loss without one."""
    from filters.fasttext_tables import fill_tree

    nodes = 2 * len(words.labels) - 1 if loss == HIERARCHICAL else 0
    children, parents = np.full((nodes, 2), -1, np.int64), np.full(nodes, -1, np.int64)
    if nodes:
        weights = np.zeros(nodes, np.int64)
        weights[: len(words.labels)] = words.label_counts
        fill_tree(weights, len(words.labels), children, parents)
    return frozen(children), frozen(parents)


def _end(data: NDArray[np.uint8], words: Dictionary) -> int:
    """The entry of the mark with which the library ends each text, -1 when there is none."""
    from filters.fasttext_tables import find_word, word_hash

    value = word_hash(_END, 0, len(_END))
    return int(find_word(words.table, data, words.spans, _END, 0, len(_END), value))
