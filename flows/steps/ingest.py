"""Ingest: sources are read, what this recipe already holds is left out, and what is new is cut into partitions, once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from synth import rows
from synth.canaries import canary_seed
from synth.config import Config
from synth.digest import hash_share
from synth.errors import SourceError, fail
from synth.sources import Source, read_source
from synth.step import Counts, Step

KNOWN = pa.schema([("id", pa.string()), ("text_digest", pa.string()), ("kept", pa.bool_())])


class IngestConfig(Config):
    """How seeds are cut. Seeds that are cut stay as they are: these values act on new ones."""

    partition_rows: int = Field(
        2000, ge=1, description="Seeds per partition, the unit of work and of completion (rows)."
    )
    max_text_bytes: int = Field(2**20, ge=1, description="A longer seed is dropped, counted and reported (bytes).")
    canary_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of new seeds, chosen by a hash of their id, of which a copy with an injected instruction becomes "
        "a further seed, to measure how often such instructions are obeyed (synth.canaries).",
    )


class IngestWork(IngestConfig):
    """What the step reads: the cut, and each source's own settings.

    `max_seeds`: stop reading after so many new seeds. For previews alone, and no setting of a recipe: a file that was read
    in part counts as read, and its rest would never be cut.
    """

    sources: tuple[Source, ...]
    max_seeds: int | None = None


@dataclass
class _Batch:
    """What has been read so far. `known` maps seed id to text digest, `holders` text digest to the id of a cut seed."""

    known: dict[str, str] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    new: dict[str, dict[str, Any]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    drops: list[dict[str, Any]] = field(default_factory=list)
    rows_read: int = 0
    already_held: int = 0


def run(inputs: Mapping[str, Path], config: IngestWork, out: Path) -> Counts:
    """Inputs: `source/<id>/<digest>` seed files, `known/<key>` ids of earlier cuts. Out: seeds-*, known, drops."""
    batch = _Batch()
    for name, path in inputs.items():
        if name.startswith("known/"):
            _remember(batch, path)
    for source, path, row in _rows(inputs, config):
        _take(batch, row, source, path, config)
        if config.max_seeds is not None and len(batch.new) >= config.max_seeds:
            break
    if not batch.rows_read:
        names = ", ".join(source.id for source in config.sources)
        raise fail(SourceError, f"no seeds: the sources {names} hold no rows", do="check sources.paths in the recipe")
    _drop_equal_texts(batch)
    notes = {"rows_read": batch.rows_read, "already_held": batch.already_held}
    if config.canary_share:
        notes["canaries"] = _add_canaries(batch, config)
    _write(batch, config, out)
    items = len(batch.new) + len(batch.drops)
    return Counts(items=items, kept=len(batch.new), dropped=_by_rule(batch.drops), notes=notes)


def _remember(batch: _Batch, path: Path) -> None:
    for row in rows.read_table(path).to_pylist():
        batch.known[row["id"]] = row["text_digest"]
        if row["kept"]:
            batch.holders[row["text_digest"]] = row["id"]


def _source_files(inputs: Mapping[str, Path], config: IngestWork) -> Iterator[tuple[Source, list[Path]]]:
    """What is read at once: each file of a source by itself, the files of a query together, in the order of their digests."""
    for source in config.sources:
        files = [path for name, path in sorted(inputs.items()) if name.startswith(f"source/{source.id}/")]
        for group in [files] if source.kind == "sql" and files else [[file] for file in files]:
            yield source, group


def _rows(inputs: Mapping[str, Path], config: IngestWork) -> Iterator[tuple[Source, Path, dict[str, Any]]]:
    """All rows of all sources, read as they are taken."""
    for source, paths in _source_files(inputs, config):
        for table in read_source(source, *paths):
            for row in table.to_pylist():
                yield source, paths[0], row


def _take(batch: _Batch, row: dict[str, Any], source: Source, path: Path, config: IngestWork) -> None:
    """Take in one row that was read, unless it is held already."""
    batch.rows_read += 1
    seed_id, text = row["id"], row["text"]
    digest = _text_digest(text)
    held = batch.known.get(seed_id) or batch.digests.get(seed_id)
    if held == digest:
        batch.already_held += 1
        return
    if held:
        raise fail(
            SourceError,
            f"one id with two texts in source {source.id!r}",
            given=f"id {_own_id(row)} in {path}: {text[:60]!r}… differs from the text held under this id",
            allowed="an id stands for one text, for good",
            do="give the changed text a new id",
        )
    _sort(batch, row, digest, config)


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sort(batch: _Batch, row: dict[str, Any], digest: str, config: IngestWork) -> None:
    """A row that is not held yet is new, or dropped for what it is."""
    seed_id = row["id"]
    batch.digests[seed_id] = digest
    defect = _defect(row["text"], config)
    if defect:
        rule, reason, score, threshold = defect
        batch.drops.append(rows.drop_row(seed_id, "seed", "ingest", rule, reason, score=score, threshold=threshold))
    else:
        batch.new[seed_id] = row


def _defect(text: str, config: IngestWork) -> tuple[str, str, float | None, float | None] | None:
    size = len(text.encode())
    if size > config.max_text_bytes:
        limit = config.max_text_bytes
        return "too_large", f"{size:,} bytes; ingest.max_text_bytes allows {limit:,}", float(size), float(limit)
    if "\x00" in text:
        return "nul_character", "the text contains a NUL character", None, None
    if not text.strip():
        return "empty_text", "the text is empty", None, None
    return None


def _own_id(row: dict[str, Any]) -> str:
    return str(row["meta"] or row["id"])


def _drop_equal_texts(batch: _Batch) -> None:
    """Of equal texts the one already cut stays, else the smallest id: the order of files and rows does not matter."""
    holders = dict(batch.holders)
    for seed_id in sorted(batch.new):
        holder = holders.setdefault(batch.digests[seed_id], seed_id)
        if holder != seed_id:
            reason = "the same text as another seed"
            batch.drops.append(rows.drop_row(seed_id, "seed", "ingest", "equal_text", reason, partner_id=holder))
            del batch.new[seed_id]


def _add_canaries(batch: _Batch, config: IngestWork) -> int:
    """Make canary seeds of the chosen new seeds; how many. One that has outgrown the limit is a counted drop, as any seed."""
    chosen = [seed_id for seed_id in sorted(batch.new) if hash_share("canary", seed_id) < config.canary_share]
    for row in [canary_seed(batch.new[seed_id]) for seed_id in chosen]:
        _sort(batch, row, _text_digest(row["text"]), config)
    return len(chosen)


def _write(batch: _Batch, config: IngestWork, out: Path) -> None:
    ordered = [batch.new[seed_id] for seed_id in sorted(batch.new)]  # ids are digests: this is hash order
    for number, start in enumerate(range(0, len(ordered), config.partition_rows)):
        cut = rows.table(ordered[start : start + config.partition_rows], rows.SEED)
        rows.write_table(cut, out / f"seeds-{number:05d}.parquet")
    known = [{"id": one, "text_digest": batch.digests[one], "kept": one in batch.new} for one in sorted(batch.digests)]
    rows.write_table(pa.Table.from_pylist(known, schema=KNOWN), out / "known.parquet")
    batch.drops.sort(key=lambda drop: drop["item_id"])
    rows.write_table(rows.table(batch.drops, rows.DROP), out / "drops.parquet")


def _by_rule(drops: list[dict[str, Any]]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for drop in drops:
        counted[drop["rule"]] = counted.get(drop["rule"], 0) + 1
    return counted


STEP = Step("ingest", 2, IngestWork, run)
