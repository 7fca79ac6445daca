"""Boilerplate: shingles that stand in so many documents of a family that sharing them says nothing.

A prompt gives all of a family's documents an opening, a closing, headings. These shingles are taken out of the sets before
two documents are compared. The list is made of the documents that are new, each different content counted once, so that it
depends on their set alone; shingles that an earlier wave's list names are taken out as well, so the list only grows. Verdicts
that were given stand: what is released stays, and what a later list takes out can only spare documents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from dedup.contents import Bools, Contents
from dedup.threads import in_ranges

if TYPE_CHECKING:
    from dedup.pairs_kernels import Sets
    from dedup.signatures import Int64s, Uint64s
    from synth.text.kernels_text import Bytes

BOILERPLATE = pa.schema(
    [
        ("family", pa.string()),
        ("shingle", pa.uint64()),  # its hash
        ("documents", pa.int64()),  # new different contents of the family that hold it
    ]
)

_RANGE = 4096  # contents
_EXPECTED = 48  # documents of a sample that hold a shingle at the threshold, on average;
_ENOUGH = 16  # fewer than so many do once in ten million shingles
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def find_boilerplate(contents: Contents, sets: Sets, share: float, least: int, workers: int) -> pa.Table:
    """The shingles (BOILERPLATE) in more than `share` of a family's new contents and in `least` at least.

    They are looked for among those of a sample, the contents with the smallest fingerprints, and then counted in all.
    """
    new = ~contents.released & (sets.ends > sets.starts)
    tables = [_of_family(contents, sets, number, new, (share, least), workers) for number in _by_name(contents)]
    return pa.concat_tables([BOILERPLATE.empty_table(), *tables])


def take_out(contents: Contents, sets: Sets, tables: list[pa.Table], workers: int) -> None:
    """Takes the listed shingles out of the sets of their families, in place."""
    from dedup import pairs_kernels as kernels

    salts = _salts(len(contents.family_names))
    numbers = {name: number for number, name in enumerate(contents.family_names)}
    keys = [
        table["shingle"].to_numpy()[rows] ^ salts[numbers[name]]
        for table in tables
        for name, rows in _rows_by_family(table)
        if name in numbers
    ]
    if not keys:
        return
    listed = np.unique(np.concatenate(keys))
    filled, of_content = _filter(listed), salts[contents.families]

    def work(first: int, last: int) -> None:
        kernels.take_out(first, last, sets, of_content, listed, filled)

    in_ranges(work, len(sets.starts), _RANGE, workers)


def _of_family(
    contents: Contents, sets: Sets, number: int, new: Bools, limits: tuple[float, int], workers: int
) -> pa.Table:
    from dedup import pairs_kernels as kernels

    share, least = limits
    own = np.flatnonzero(new & (contents.families == number))
    if len(own) < least:
        return BOILERPLATE.empty_table()
    mine = kernels.Sets(sets.hashes, sets.starts[own], sets.ends[own])
    listed = _sampled(mine, share, least)
    filled, salts = _filter(listed), np.zeros(len(own), np.uint64)

    def work(first: int, last: int) -> Int64s:
        counts = np.zeros(len(listed), np.int64)
        kernels.count_listed(first, last, mine, salts, listed, filled, counts)
        return counts

    parts = in_ranges(work, len(own), max(_RANGE, -(-len(own) // (4 * workers))), workers)
    counts: Int64s = np.stack(parts).sum(axis=0)
    common = (counts > share * len(own)) & (counts >= least)
    names = pa.array([contents.family_names[number]] * int(common.sum()), pa.string())
    return pa.table([names, listed[common], counts[common]], schema=BOILERPLATE)


def _sampled(sets: Sets, share: float, least: int) -> Uint64s:
    """Sorted shingles that stand in enough documents of a sample; of few documents all are the sample."""
    from dedup import pairs_kernels as kernels

    prints = np.empty(len(sets.starts), np.uint64)
    kernels.fingerprints(sets, prints)
    chosen = np.argsort(prints, kind="stable")[: int(np.ceil(_EXPECTED / share))]
    held = [sets.hashes[start:end] for start, end in zip(sets.starts[chosen], sets.ends[chosen], strict=True)]
    values, counts = np.unique(np.concatenate(held), return_counts=True)
    found: Uint64s = values[counts >= (least if len(chosen) == len(prints) else _ENOUGH)]
    return found


def _by_name(contents: Contents) -> list[int]:
    names = contents.family_names
    return sorted(range(len(names)), key=lambda number: (names[number] is not None, names[number] or ""))


def _salts(families: int) -> Uint64s:
    return np.arange(families, dtype=np.uint64) * _GOLDEN


def _rows_by_family(table: pa.Table) -> list[tuple[str | None, Int64s]]:
    encoded = table["family"].combine_chunks().dictionary_encode("encode")
    codes, names = encoded.indices.to_numpy(), encoded.dictionary.to_pylist()
    return [(name, np.flatnonzero(codes == code)) for code, name in enumerate(names)]


def _filter(values: Uint64s) -> Bytes:
    from dedup import pairs_kernels as kernels

    filled = np.zeros(1 << max(10, int(16 * len(values)).bit_length()), np.uint8)
    kernels.fill_filter(values, filled)
    return filled
