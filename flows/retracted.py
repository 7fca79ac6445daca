"""What has been retracted from a recipe's releases, as standing rules: which seeds, which documents they name.

A release carries the retractions of all releases before it, whatever the policy: they are no part of a policy, as sources are
none. Works looks up here what to hand to `screen` and `keep`; a partition in which nothing is retracted keeps its keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from synth import rows
from synth.canaries import CANARY_SOURCE
from synth.driver import File

SEED_KINDS = ("seed", "source", "license")
DOCUMENT_KINDS = ("model", "family")
TOMBSTONE = pa.schema([("doc_id", pa.string())])
"""Rows of tombstones.parquet: the documents that a retraction names, one by one."""

Entry = Mapping[str, Any]  # of Release.retractions


def sentence(entry: Entry) -> str:
    """A retraction in words: what it names, and why."""
    named = "named by a query" if entry["kind"] == "sql" else f"{entry['kind']} {', '.join(entry['values'])}"
    return f"{named}: {entry['because']}"


class Retracted:
    """Looks the rules up in published tables. `path_of` gives a file's local path, `partitions` all seeds of the recipe."""

    def __init__(
        self,
        entries: Sequence[Entry],
        path_of: Callable[[File], Path],
        partitions: Callable[[], Iterable[File]] = lambda: (),
    ) -> None:
        self.entries = entries
        self._path_of = path_of
        self._partitions = partitions
        self._seeds: dict[str, dict[str, str]] = {}
        self._canaried: dict[str, pa.Array] = {}
        self._listed: tuple[dict[str, str], pa.Array] | None = None

    def seeds(self, partition: File) -> dict[str, str]:
        """Of one partition of seeds the retracted ones, and why. A seed goes with its first ancestor; a canary with its seed."""
        if not any(entry["kind"] in SEED_KINDS for entry in self.entries):
            return {}
        if partition.sha256 not in self._seeds:
            table = rows.read_table(self._path_of(partition), ["id", "root_id", "source_id", "license"])
            self._seeds[partition.sha256] = self._named(table, self._is_seed)
        return self._seeds[partition.sha256]

    def documents(self, file: File) -> dict[str, str]:
        """Of one file of documents those that are retracted by their model, their family or their own id, and why."""
        if not any(entry["kind"] not in SEED_KINDS for entry in self.entries):
            return {}
        table = rows.read_table(self._path_of(file), ["id", "family", "models"])
        listed, every = self._tombstones()
        ids = table["id"].combine_chunks()
        named = ids.filter(pc.is_in(ids, value_set=every)).to_pylist()
        return {doc_id: listed[doc_id] for doc_id in named} | self._named(table, _is_document)

    def _named(self, table: pa.Table, is_named: Callable[[Entry, pa.Table], pa.Array | None]) -> dict[str, str]:
        found: dict[str, str] = {}
        for entry in self.entries:
            mask = is_named(entry, table)
            if mask is not None:
                found |= dict.fromkeys(table["id"].filter(mask).to_pylist(), sentence(entry))
        return dict(sorted(found.items()))

    def _is_seed(self, entry: Entry, table: pa.Table) -> pa.Array | None:
        values = pa.array(entry["values"], pa.string())
        if entry["kind"] == "seed":
            return pc.or_(pc.is_in(table["id"], value_set=values), pc.is_in(table["root_id"], value_set=values))
        if entry["kind"] == "license":
            return pc.is_in(table["license"], value_set=values)
        if entry["kind"] != "source":
            return None
        mask = pc.is_in(table["source_id"], value_set=values)
        canaries = pc.equal(table["source_id"], CANARY_SOURCE)
        if not pc.any(canaries).as_py():
            return mask
        return pc.or_(mask, pc.and_(canaries, pc.is_in(table["root_id"], value_set=self._roots(entry))))

    def _roots(self, entry: Entry) -> pa.Array:
        """First ancestors of all seeds of the retracted sources: canaries stand under a source of their own, elsewhere."""
        known = ",".join(entry["values"])
        if known not in self._canaried:
            found = [pa.array([], pa.string())]
            for file in self._partitions():
                table = rows.read_table(self._path_of(file), ["root_id", "source_id"])
                mask = pc.is_in(table["source_id"], value_set=pa.array(entry["values"], pa.string()))
                found += table["root_id"].filter(mask).chunks
            self._canaried[known] = pa.concat_arrays(found)
        return self._canaried[known]

    def _tombstones(self) -> tuple[dict[str, str], pa.Array]:
        """Documents that were named one by one, and why."""
        if self._listed is None:
            found: dict[str, str] = {}
            for entry in self.entries:
                if entry["kind"] == "sql":
                    ids = rows.read_table(self._path_of(File(**tombstones_of(entry))), ["doc_id"])["doc_id"]
                    found |= dict.fromkeys(ids.to_pylist(), sentence(entry))
            self._listed = found, pa.array(list(found), pa.string())  # whole: several threads ask
        return self._listed


def tombstones_of(entry: Entry) -> dict[str, Any]:
    """The fields of the File that lists an entry's documents."""
    listed = entry["tombstones"]
    return {"path": listed["path"], "sha256": listed["sha256"], "size_bytes": listed["bytes"]}


def _is_document(entry: Entry, table: pa.Table) -> pa.Array | None:
    values = pa.array(entry["values"], pa.string())
    if entry["kind"] == "family":
        return pc.is_in(table["family"], value_set=values)
    return any_in(table["models"], values) if entry["kind"] == "model" else None


def any_in(lists: pa.ChunkedArray, values: pa.Array) -> pa.Array:
    """Of each list whether it holds one of the values."""
    column = lists.combine_chunks()
    hits = pc.list_parent_indices(column).filter(pc.is_in(pc.list_flatten(column), value_set=values))
    return pc.is_in(pa.array(range(len(column)), pa.int64()), value_set=hits.cast(pa.int64()))
