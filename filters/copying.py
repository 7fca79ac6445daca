"""How much of a generated text was copied from its seed, word for word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from synth.config import Config
from synth.text.words import normal_words

NGRAM_WORDS = 8  # the n-gram of the training-set overlap analyses since GPT-2 (Radford et al. 2019, section 4)

SCORES = pa.schema([("copy_8gram_share", pa.float64()), ("longest_copied_words", pa.int64())])


class CopyOptions(Config):
    """The rule `copy` has no options."""


def score(table: pa.Table, options: CopyOptions) -> pa.Table:
    """`copy_8gram_share`: share of the word 8-grams of `generated`, repeats included, that also stand in `seed_text`;
    0 when there are no 8-grams. `longest_copied_words`: the longest run of words that stands in both.

    Words are compared as `synth.text.words.normal_words`. Both scores are null where the seed text is null or has no
    words: nothing could have been copied.
    """
    texts = zip(table["generated"].to_pylist(), table["seed_text"].to_pylist(), strict=True)
    rows = [_copied(normal_words(generated or ""), normal_words(seed or "")) for generated, seed in texts]
    return pa.Table.from_pylist(rows, schema=SCORES)


def _copied(generated: list[str], seed: list[str]) -> dict[str, float | int | None]:
    if not seed:
        return {"copy_8gram_share": None, "longest_copied_words": None}
    windows = _Windows(generated, seed)
    shared = windows.in_seed(NGRAM_WORDS)
    return {
        "copy_8gram_share": float(shared.mean()) if len(shared) else 0.0,
        "longest_copied_words": _longest(windows, min(len(generated), len(seed))),
    }


def _longest(windows: _Windows, limit: int) -> int:
    """The largest length at which some window is shared: every part of a shared window is shared, so halve."""
    shared, unshared = 0, limit + 1
    while unshared - shared > 1:
        middle = (shared + unshared) // 2
        if windows.in_seed(middle).any():
            shared = middle
        else:
            unshared = middle
    return shared


class _Windows:
    """Runs of words of two texts as numbers: equal numbers mean equal words, without a hash.

    `_ranks[j]` numbers the runs of 2**j words of both texts in a row. A word that occurs nowhere else stands between the
    texts, so that no run across the border equals one inside.
    """

    def __init__(self, generated: list[str], seed: list[str]) -> None:
        self._generated, self._seed = len(generated), len(seed)
        vocabulary: dict[str, int] = {"": 0}
        both = (vocabulary.setdefault(word, len(vocabulary)) for word in (*generated, "", *seed))
        self._ranks = [np.fromiter(both, dtype=np.int64)]

    def in_seed(self, length: int) -> Any:
        """For each window of `length` >= 1 words of the generated text: whether it stands in the seed. Shape (windows,)."""
        power = length.bit_length() - 1
        while len(self._ranks) <= power:
            self._ranks.append(_pairs(self._ranks[-1], 2 ** (len(self._ranks) - 1)))
        numbers = _pairs(self._ranks[power], length - 2**power)
        windows = max(self._generated - length + 1, 0)
        return np.isin(numbers[:windows], numbers[self._generated + 1 :])


def _pairs(ranks: Any, distance: int) -> Any:
    """Numbers for each pair of runs that start `distance` words apart: together they are one longer run."""
    if distance == 0:
        return ranks
    joined = ranks[:-distance] * (ranks.max(initial=0) + 1) + ranks[distance:]
    return np.unique(joined, return_inverse=True)[1]
