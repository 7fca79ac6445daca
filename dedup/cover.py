"""The exact comparison inside one group: greedy in the order of precedence, with posting lists instead of all pairs.

A document is compared with those survivors only that share one of its rarest shingles. If it has s shingles and the
threshold is t, whoever covers it shares at least t * s of them, and so at least one of any s - t * s + 1 (prefix
filtering: Chaudhuri et al., ICDE 2006; Bayardo et al., WWW 2007). Ordered by how many texts of the group hold them, the
prefix of a document made from a template holds what is its own, and its posting lists stay short.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dedup.candidates import Indices
from dedup.signatures import Uint64s

NOBODY = -1


def cover(
    contents: Indices, released: npt.NDArray[np.bool_], shingles: Sequence[Uint64s], threshold: float
) -> tuple[Indices, npt.NDArray[np.float64]]:
    """For each document of one group, in the order of precedence, who covers it and their Jaccard similarity.

    `contents[i]` is the number of document i's content, equal for exact duplicates; `released[i]` marks a document that
    always survives; `shingles[c]` are content c's sorted distinct shingle hashes. The answer is, per document, the
    position of the covering survivor and the similarity, or NOBODY and NaN for a survivor. An exact duplicate of a
    survivor is covered by it at 1.0; any other document by the most similar survivor before it, ties to the first.
    """
    codes, frequencies = _coded(shingles)
    postings = _Postings(frequencies)
    survivor_of: dict[int, int] = {}
    indexed: list[int] = []
    partners = np.full(len(contents), NOBODY, np.int64)
    similarities = np.full(len(contents), np.nan)
    for document, content in enumerate(contents.tolist()):
        if not released[document]:
            if content in survivor_of:
                partners[document], similarities[document] = survivor_of[content], 1.0
                continue
            found = postings.most_similar(codes[content], threshold)
            if found:
                partners[document], similarities[document] = indexed[found[0]], found[1]
                continue
        if content not in survivor_of:
            survivor_of[content] = document
            indexed.append(document)
            postings.add(codes[content])
    return partners, similarities


class _Postings:
    """The shingle sets of survivors, numbered as they were added, and for each shingle the survivors that hold it."""

    def __init__(self, frequencies: Indices) -> None:
        """`frequencies[code]`: how many sets can be added that hold this shingle."""
        self._starts = np.cumsum(frequencies) - frequencies
        self._filled = np.zeros(len(frequencies), np.int64)
        self._entries = np.empty(int(frequencies.sum()), np.int32)
        self._marked = np.zeros(len(frequencies), bool)
        self._sets: list[Indices] = []
        self._sizes = np.empty(16, np.int64)

    def add(self, codes: Indices) -> None:
        number = len(self._sets)
        self._entries[self._starts[codes] + self._filled[codes]] = number
        self._filled[codes] += 1
        self._sets.append(codes)
        if number == len(self._sizes):
            self._sizes = np.concatenate([self._sizes, np.empty_like(self._sizes)])
        self._sizes[number] = len(codes)

    def most_similar(self, codes: Indices, threshold: float) -> tuple[int, float] | None:
        """The number and similarity of the most similar set at or above `threshold`, the first among equals; or None."""
        candidates = self._candidates(codes, threshold)
        if not len(candidates):
            return None
        overlaps = self._overlaps(codes, candidates)
        similarities = overlaps / (len(codes) + self._sizes[candidates] - overlaps)
        best = int(np.argmax(similarities))
        return (int(candidates[best]), float(similarities[best])) if similarities[best] >= threshold else None

    def _candidates(self, codes: Indices, threshold: float) -> Indices:
        """Numbers, ascending, of the sets that can still reach `threshold`: counted on the prefix, bounded on the rest."""
        size = len(codes)
        prefix = codes[: size - int(threshold * size) + 1]
        held = prefix[self._filled[prefix] > 0]
        starts = self._starts[held]
        slices = zip(starts.tolist(), (starts + self._filled[held]).tolist(), strict=True)
        lists = [self._entries[start:end] for start, end in slices]
        if not lists:
            return np.empty(0, np.int64)
        shared = np.bincount(np.concatenate(lists), minlength=len(self._sets))
        # J >= t means an overlap of at least t / (1 + t) of both sizes together; the half absorbs rounding.
        needed = threshold / (1 + threshold) * (size + self._sizes[: len(self._sets)]) - 0.5
        return np.flatnonzero((shared > 0) & (shared + (size - len(prefix)) >= needed))

    def _overlaps(self, codes: Indices, candidates: Indices) -> Indices:
        """How many shingles each candidate shares with `codes`. No candidate is empty: it shares one at least."""
        self._marked[codes] = True
        held = self._marked[np.concatenate([self._sets[number] for number in candidates.tolist()])]
        self._marked[codes] = False
        ends = np.cumsum(self._sizes[candidates])
        return np.add.reduceat(held, ends - self._sizes[candidates], dtype=np.int64)


def _coded(shingles: Sequence[Uint64s]) -> tuple[list[Indices], Indices]:
    """The shingles as numbers 0.. from the rarest to the commonest in the group, sorted in each set; and how many sets
    hold each number. Any fixed order gives the same verdicts; this one makes the prefixes selective."""
    sizes = [len(one) for one in shingles]
    _, inverse, counts = np.unique(np.concatenate(shingles), return_inverse=True, return_counts=True)
    by_rarity = np.argsort(counts, kind="stable")
    rank = np.empty(len(counts), np.int64)
    rank[by_rarity] = np.arange(len(counts))
    codes = np.split(rank[inverse], np.cumsum(sizes)[:-1])
    return [np.sort(one) for one in codes], counts[by_rarity]
