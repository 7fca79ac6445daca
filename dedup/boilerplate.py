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
from dedup.jobs import Jobs, spans_of

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


def find_boilerplate(contents: Contents, sets: Sets, share: float, least: int, jobs: Jobs) -> pa.Table:
    """The shingles (BOILERPLATE) in more than `share` of a family's contents, all of which are new, and in `least` at least.

    They are looked for among those of a sample, the contents with the smallest fingerprints, and then counted in all.
    """
    filled = sets.ends > sets.starts
    tables = [_of_family(contents, sets, number, filled, (share, least), jobs) for number in _by_name(contents)]
    return pa.concat_tables([BOILERPLATE.empty_table(), *tables])


def take_out(contents: Contents, sets: Sets, tables: list[pa.Table], jobs: Jobs) -> Sets:
    """The sets without the listed shingles of their families. Those that lose some are written anew where they stood."""
    salts = _salts(len(contents.family_names))
    numbers = {name: number for number, name in enumerate(contents.family_names)}
    keys = [
        table["shingle"].to_numpy()[rows] ^ salts[numbers[name]]
        for table in tables
        for name, rows in _rows_by_family(table)
        if name in numbers
    ]
    if not keys:
        return sets
    listed = np.unique(np.concatenate(keys))
    ends = sets.ends.copy()
    spans = spans_of(len(sets.starts), _RANGE)
    for losers, counts, hashes in jobs.each(taken_out, spans, sets, salts[contents.families], listed, _filter(listed)):
        _write(sets, losers, counts, hashes)
        ends[losers] = sets.starts[losers] + counts
    jobs.changed(sets.hashes)
    return sets._replace(ends=ends)


def taken_out(
    first: int, last: int, sets: Sets, salts: Uint64s, listed: Uint64s, filled: Bytes
) -> tuple[Int64s, Int64s, Uint64s]:
    """The job: the contents that lose shingles, and how many and which are left of each."""
    from dedup import pairs_kernels as kernels

    counts = np.empty(last - first, np.int64)
    kernels.count_left(first, last, sets, salts, listed, filled, counts)
    losers = np.flatnonzero(counts < (sets.ends - sets.starts)[first:last])
    counts = counts[losers]
    hashes = np.empty(int(counts.sum()), np.uint64)
    kernels.take_out(losers + first, sets, salts, listed, filled, hashes)
    return losers + first, counts, hashes


def _write(sets: Sets, contents: Int64s, counts: Int64s, hashes: Uint64s) -> None:
    from dedup import pairs_kernels as kernels

    kernels.write_sets(sets.hashes, sets.starts[contents], counts, hashes)


def _of_family(
    contents: Contents, sets: Sets, number: int, filled: Bools, limits: tuple[float, int], jobs: Jobs
) -> pa.Table:
    share, least = limits
    own = np.flatnonzero(filled & (contents.families == number))
    if len(own) < least:
        return BOILERPLATE.empty_table()
    starts, ends = sets.starts[own], sets.ends[own]
    listed = _sampled(sets.hashes, starts, ends, (share, least), jobs)
    # So that few counts are kept for a long list: a range for each worker, four times.
    size = max(_RANGE, -(-len(own) // (4 * jobs.workers)))
    parts = jobs.ranges(counted, len(own), size, sets.hashes, starts, ends, listed, _filter(listed))
    counts: Int64s = np.stack(parts).sum(axis=0)
    common = (counts > share * len(own)) & (counts >= least)
    names = pa.array([contents.family_names[number]] * int(common.sum()), pa.string())
    return pa.table([names, listed[common], counts[common]], schema=BOILERPLATE)


def counted(
    first: int, last: int, hashes: Uint64s, starts: Int64s, ends: Int64s, listed: Uint64s, filled: Bytes
) -> Int64s:
    """The job: in how many of these sets each listed shingle stands."""
    from dedup import pairs_kernels as kernels

    counts = np.zeros(len(listed), np.int64)
    no_salts = np.zeros(len(starts), np.uint64)
    kernels.count_listed(first, last, kernels.Sets(hashes, starts, ends), no_salts, listed, filled, counts)
    return counts


def _sampled(hashes: Uint64s, starts: Int64s, ends: Int64s, limits: tuple[float, int], jobs: Jobs) -> Uint64s:
    """Sorted shingles that stand in enough documents of a sample; of few documents all are the sample."""
    share, least = limits
    prints = np.concatenate(jobs.ranges(fingerprints, len(starts), 4 * _RANGE, hashes, starts, ends))
    chosen = np.argsort(prints, kind="stable")[: int(np.ceil(_EXPECTED / share))]
    held = [hashes[start:end] for start, end in zip(starts[chosen], ends[chosen], strict=True)]
    values, counts = np.unique(np.concatenate(held), return_counts=True)
    found: Uint64s = values[counts >= (least if len(chosen) == len(prints) else _ENOUGH)]
    return found


def fingerprints(first: int, last: int, hashes: Uint64s, starts: Int64s, ends: Int64s) -> Uint64s:
    """The job: of each set a number that its shingles alone decide."""
    from dedup import pairs_kernels as kernels

    found = np.empty(last - first, np.uint64)
    kernels.fingerprints(kernels.Sets(hashes, starts[first:last], ends[first:last]), found)
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
