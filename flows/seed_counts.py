"""How many seeds a job has: rows counted without reading files to their end, and the share of them that each family takes."""

from __future__ import annotations

import gzip
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows.families import rivals
from flows.projection import Load
from flows.recipe import Recipe
from flows.steps.generate import FamilyConfig
from flows.steps.routing import OWN_QUALITY, Rival, Route, chosen
from flows.steps.scoring import is_number
from synth.digest import digest
from synth.rows import Seed
from synth.sources import Source, read_source, source_files

_COUNTED_BYTES = 256 * 2**20  # of each source; what is beyond is estimated by its size
_COUNTED_SECONDS = 5.0  # of each source
_CHUNK_BYTES = 2**20

Scores = Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class RowCount:
    """Rows of a source, and whether each was counted."""

    rows: int
    exact: bool


@dataclass
class Head:
    """What was read of a source: rows, and the seeds that pass the screen, with the screen's scores by column and seed id.
    Apart from them, the canaries that pass."""

    rows_read: int = 0
    passing: list[Seed] = field(default_factory=list)
    scores: dict[str, dict[str, float | None]] = field(default_factory=dict)
    canaries: list[Seed] = field(default_factory=list)


def count_rows(source: Source, base: Path, files: Sequence[Path] | None = None) -> RowCount:
    """How many rows the files of a source hold (`files`: only these). Large files are counted in part and scaled up by size."""
    until = time.monotonic() + _COUNTED_SECONDS
    paths = sorted(source_files(source, base) if files is None else files, key=lambda path: digest(str(path)))
    rows, counted_bytes, left_bytes = 0.0, 0.0, 0.0
    exact = True
    for path in paths:
        size = path.stat().st_size
        if rows and (time.monotonic() > until or counted_bytes > _COUNTED_BYTES):
            left_bytes += size
            continue
        found, share, whole = _rows_of(source, path, size, until)
        exact = exact and whole
        rows += found / share
        counted_bytes += size * share
    if left_bytes:
        exact, rows = False, rows * (1.0 + left_bytes / max(1, sum(path.stat().st_size for path in paths) - left_bytes))
    return RowCount(round(rows), exact)


def _rows_of(source: Source, path: Path, size: int, until: float) -> tuple[float, float, bool]:
    """Rows of a part of a file, which share of the file that part is, and whether it is the whole."""
    if path.suffix == ".parquet" and source.kind == "parquet":
        return pq.read_metadata(path).num_rows, 1.0, True
    if source.kind == "jsonl" and path.suffix in (".jsonl", ".json", ".gz"):
        return _lines_of(path, size)
    rows = 0
    for table in read_source(source, path):
        rows += len(table)
        if time.monotonic() > until:
            return rows, 1.0, False  # at least: how much of it is left cannot be told
    return rows, 1.0, True


def _lines_of(path: Path, size: int) -> tuple[float, float, bool]:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw) if packed else raw
        lines, read, last = 0, 0, b"\n"
        while read < _COUNTED_BYTES:
            chunk = stream.read(_CHUNK_BYTES)
            if not chunk:
                return lines + (last != b"\n"), 1.0, True
            lines += chunk.count(b"\n")
            read += len(chunk)
            last = chunk[-1:]
        return max(lines, 1), min(1.0, raw.tell() / size), False


def loads(recipe: Recipe, heads: Mapping[str, Head], counts: Mapping[str, RowCount]) -> tuple[dict[str, Load], Load]:
    """Each family's seeds in the job, and those that pass the screen, from what was read of each source."""
    per_family = {config.name: [0.0, 0.0] for config in recipe.families}
    canaries = dict.fromkeys(per_family, 0.0)
    passing = [0.0, 0.0]
    all_read = all(counts[name].rows <= head.rows_read for name, head in heads.items())
    for name, head in heads.items():
        if not head.rows_read:
            continue
        every = max(counts[name].rows, head.rows_read)
        whole = every == head.rows_read
        _gather(passing, [1.0] * len(head.passing), head.rows_read, every)
        for config in recipe.families:
            _gather(
                per_family[config.name], odds(recipe, config, head.passing, head.scores, whole), head.rows_read, every
            )
            canaries[config.name] += sum(odds(recipe, config, head.canaries, head.scores, True))
    made = {
        family: _load(recipe, number, math.sqrt(variance), canaries[family] if all_read else None)
        for family, (number, variance) in per_family.items()
    }
    known = float(sum(len(head.canaries) for head in heads.values()))
    return made, _load(recipe, passing[0], math.sqrt(passing[1]), known if all_read else None)


def _load(recipe: Recipe, number: float, deviation: float, canaries: float | None) -> Load:
    """`canaries` are known where everything was read; else a hash chooses them, and their number is as Poisson says."""
    if canaries is not None:
        return Load(number, deviation, canaries / number if number else 0.0)
    share = recipe.ingest.canary_share
    return Load(number, deviation, share, math.sqrt(number * share))


def _gather(total: list[float], taken: Sequence[float], rows_read: int, rows: int) -> None:
    """Add the seeds of a source, and the variance of their number: `taken` of `rows_read` rows are seeds, if need be in part."""
    scale, mean = rows / rows_read, sum(taken) / rows_read
    total[0] += scale * sum(taken)
    if rows > rows_read:
        imagined = mean**2 + (1.0 - mean) ** 2  # two rows beside those that were read: none taken, all taken
        squares = sum((one - mean) ** 2 for one in taken) + (rows_read - len(taken)) * mean**2 + imagined
        total[1] += rows**2 * squares / (rows_read + 1) / rows_read * (1.0 - rows_read / rows)
        total[1] += scale * sum(one * (1.0 - one) for one in taken)  # which seeds a share takes is a hash's choice


def odds(recipe: Recipe, config: FamilyConfig, seeds: Sequence[Seed], scores: Scores, whole: bool) -> list[float]:
    """For each seed how likely the family takes it: certain where the `whole` source was read, since a hash decides."""
    rivalry = rivals(recipe.families) if config.weight is not None else ()
    if whole:
        share = config.share if config.weight is None else 1.0
        taken = {seed.id for seed in chosen(config.name, seeds, scores, share, config.route, rivalry)}
        return [float(seed.id in taken) for seed in seeds]
    return [_odds_of(config, seed, scores, rivalry) for seed in seeds]


def _odds_of(config: FamilyConfig, seed: Seed, scores: Scores, rivalry: Sequence[Rival]) -> float:
    if not _takes(config.route, seed, scores):
        return 0.0
    if config.weight is None:
        return config.share
    there = {rival.family: rival.weight for rival in rivalry if _takes(rival.route, seed, scores)}
    return there[config.name] / sum(there.values())


def _takes(route: Route | None, seed: Seed, scores: Scores) -> bool:
    if route is None:
        return True
    return route.takes(seed.quality if route.column == OWN_QUALITY else scores[route.column].get(seed.id))


def scores_of(table: pa.Table) -> dict[str, dict[str, float | None]]:
    """The screen's numbers by column and seed id."""
    ids = table["item_id"].to_pylist()
    numeric = [column.name for column in table.schema if is_number(column.type)]
    return {name: dict(zip(ids, table[name].to_pylist(), strict=True)) for name in numeric}
