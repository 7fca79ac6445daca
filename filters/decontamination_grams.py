"""The n-grams of the items of evaluation sets, made ready for `filters.decontamination_kernels`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

PROMPT_WORDS = 8  # n-grams that cover prompts; a prompt of fewer words is a short one
FULL_WORDS = 13  # n-grams of prompt and answer, one of which is enough

_PASSES = ((1, 1), (2, 2), (3, 3), (4, 7), (PROMPT_WORDS, FULL_WORDS))  # n-grams of these lengths are proposed together
_GRAMS_PER_WORD = 4  # of 64 bits, at most


@dataclass(frozen=True, slots=True)
class Item:
    """One item of an evaluation set: the name of its set, its own, such as `gsm8k/17` (rows count from 0), and its words."""

    benchmark: str
    name: str
    prompt: tuple[str, ...]
    answer: tuple[str, ...]

    @property
    def can_be_found(self) -> bool:
        """Whether any rule can find it: a short prompt without an answer is found by none."""
        long_enough = len(self.prompt) >= PROMPT_WORDS or len(self.prompt) + len(self.answer) >= FULL_WORDS
        return long_enough or bool(self.prompt and self.answer)


@dataclass(frozen=True, slots=True)
class Postings:
    """Where n-grams stand in items: those of n-gram `g` are `bounds[g]` to `bounds[g + 1]`."""

    bounds: Any  # int64
    items: Any  # int64
    places: Any  # int64: the first word, counted within the item


def prepared(items: Sequence[Item], sizes: Any, hash_bits: int) -> tuple[Any, Any, Postings]:
    """The kernels' Words and Grams, and where the n-grams stand. `sizes`: words of prompts and of answers, a row per item."""
    from filters import decontamination_kernels as kernels

    words = _all_words(items)
    offsets = np.concatenate(([0], np.cumsum(sizes.sum(1))))
    starts, lengths, owners = _runs(sizes, offsets)
    mask, powers = np.uint64(2**hash_bits - 1), kernels.powers(FULL_WORDS)
    prefixes = kernels.word_prefixes(words)
    hashes = kernels.gram_hashes(prefixes, powers, starts, lengths, mask)
    passes, head_of = _passes(lengths)
    bits, shift = _filter(kernels.gram_hashes(prefixes, powers, starts, head_of[lengths], mask))
    by_hash = np.argsort(hashes, kind="stable")
    numbers = kernels.told_apart(hashes[by_hash], starts[by_hash], lengths[by_hash], words)
    order = by_hash[np.argsort(numbers, kind="stable")]
    _, firsts = np.unique(np.sort(numbers), return_index=True)
    one_of_each = order[firsts]
    distinct, bounds = np.unique(hashes[one_of_each], return_index=True)
    grams = kernels.Grams(
        passes=passes,
        lengths=np.unique(lengths),
        powers=powers,
        mask=mask,
        hashes=distinct,
        edges=np.searchsorted(distinct >> np.uint64(shift), np.arange(len(bits) + 1, dtype=np.uint64)),
        bounds=np.append(bounds, len(one_of_each)).astype(np.int64),
        starts=starts[one_of_each],
        sizes=lengths[one_of_each],
        bits=bits,
        shift=shift,
    )
    owners = owners[order]
    return words, grams, Postings(np.append(firsts, len(order)), owners, starts[order] - offsets[owners])


def _all_words(items: Sequence[Item]) -> Any:
    """Prompt and answer of every item, one after the other."""
    from filters import decontamination_kernels as kernels

    every = [word for one in items for word in (*one.prompt, *one.answer)]
    codes = np.frombuffer("".join(every).encode("utf-32-le"), np.uint32)
    return kernels.Words(codes, np.concatenate(([0], np.cumsum([len(word) for word in every]))).astype(np.int64))


def _runs(sizes: Any, offsets: Any) -> tuple[Any, Any, Any]:
    """Of every n-gram that is looked for: its start among the words of all items, its length, its item (int64)."""
    prompts, full = sizes[:, 0], sizes.sum(1)
    is_long, is_short = prompts >= PROMPT_WORDS, (prompts > 0) & (prompts < PROMPT_WORDS) & (sizes[:, 1] > 0)
    wanted = (
        (is_long, np.full_like(prompts, PROMPT_WORDS), prompts - PROMPT_WORDS + 1),
        (is_short, prompts, np.ones_like(prompts)),
        (full >= FULL_WORDS, np.full_like(prompts, FULL_WORDS), full - FULL_WORDS + 1),
    )
    parts = []
    for chosen, length, number in wanted:
        items = np.flatnonzero(chosen)
        owners = np.repeat(items, number[items])
        parts.append((ranges(offsets[items], number[items]), length[owners], owners))
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))  # type: ignore[return-value]


def ranges(starts: Any, sizes: Any) -> Any:
    """The numbers from each of `starts` on, as many as `sizes` says, one range after the other (int64)."""
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return (np.repeat(starts, sizes) + within).astype(np.int64)


def _passes(lengths: Any) -> tuple[Any, Any]:
    """Which heads are looked for, each with the longest n-gram that begins with it; and the head of each length."""
    head_of = np.zeros(FULL_WORDS + 1, np.int64)
    passes = []
    for least, most in _PASSES:
        here = [length for length in np.unique(lengths).tolist() if least <= length <= most]
        if here:
            head = min(PROMPT_WORDS, here[0])
            head_of[here] = head
            passes.append((head, here[-1]))
    return np.array(passes, np.int64).reshape(-1, 2), head_of


def _filter(heads: Any) -> tuple[Any, int]:
    from filters import decontamination_kernels as kernels

    proposed = np.unique(heads)
    shift = 64 - max(1, (len(proposed) // _GRAMS_PER_WORD).bit_length())
    return kernels.bloom_filter(proposed, shift), shift
