"""The objects behind an item of a home: back to the seeds, forward to the shards, by what their manifests say they read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from synth import rows
from synth.digest import short
from synth.driver import File, Manifest, read_manifest
from synth.store import MANIFEST, Store

Row = dict[str, Any]


@dataclass(frozen=True)
class Track:
    """One way in which an object of documents was judged: each policy has its own. None: that step has not been made."""

    generated: Manifest
    score: Manifest | None = None
    keep: Manifest | None = None
    resolve: Manifest | None = None
    shards: Manifest | None = None

    def objects(self) -> dict[str, str]:
        """Its objects by step."""
        made = {"generate": self.generated, "score": self.score, "keep": self.keep}
        made |= {"resolve": self.resolve, "shards": self.shards}
        return {step: one.place for step, one in made.items() if one is not None}


class Lineage:
    """Reads manifests and single rows of a home's objects. What was read is remembered: one of these per question."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._manifests: dict[str, Manifest] = {}
        self._listed: dict[str, list[str]] = {}

    def load(self, place: str) -> Manifest:
        """The manifest of a published object."""
        if place not in self._manifests:
            self._manifests[place] = read_manifest(place, self._store.read(f"{place}/{MANIFEST}"))
        return self._manifests[place]

    def of(self, step: str, group: str = "") -> list[Manifest]:
        """The objects of a step, in the order of their paths: of one group, or of all."""
        prefix = "/".join(filter(None, ["objects", step, group]))
        if prefix not in self._listed:
            found = self._store.manifests(prefix)
            self._manifests |= {place: read_manifest(place, data) for place, data in found.items()}
            self._listed[prefix] = list(found)
        return [self._manifests[place] for place in self._listed[prefix]]

    def rows(self, file: File, column: str, values: list[str]) -> list[Row]:
        """The rows of a published table in which `column` is one of `values`, in their order."""
        read = rows.read_table(self._store.local(file.path))
        wanted = pc.is_in(read[column], value_set=pa.array(values, read[column].type))
        found: list[Row] = read.filter(wanted).to_pylist()
        return found

    def table(self, made: Manifest, name: str, columns: list[str]) -> list[Row]:
        """These columns of a table of an object."""
        read: list[Row] = rows.read_table(self._store.local(made.file(f"{name}.parquet").path), columns).to_pylist()
        return read

    def about(self, made: Manifest | None, table: str, item_id: str, column: str = "item_id") -> list[Row]:
        """The rows about one item in a table of an object; none where there is no such object or table."""
        name = f"{table}.parquet"
        if made is None or name not in made.files:
            return []
        return self.rows(made.file(name), column, [item_id])

    def seeds(self, sha256: str) -> File | None:
        """The file of the seed partition with this digest."""
        for ingested in self.of("ingest"):
            for file in ingested.tables("seeds"):
                if file.sha256 == sha256:
                    return file
        return None

    def screened(self, generated: Manifest) -> Manifest | None:
        """The screen whose drops an object of documents read."""
        group = short(generated.inputs["seeds"])
        return next((one for one in self.of("screen", group) if _is(one, "drops", generated.inputs["drops"])), None)

    def tracks(self, generated: Manifest) -> list[Track]:
        """Every way in which the documents of an object were judged."""
        group = generated.place.split("/", 2)[2].rpartition("/")[0]
        documents = {name: _sha256(generated, name) for name in ("documents", "verdicts")}
        scored = [Track(generated, one) for one in self.of("score", group) if _read(one, documents)]
        kept = [track for one in scored for track in self._kept(one, group)]
        return [track for one in kept for track in self._resolved(one)] or [Track(generated)]

    def _kept(self, track: Track, group: str) -> list[Track]:
        assert track.score is not None
        wanted = {"scores": _sha256(track.score, "scores"), "drops": _sha256(track.generated, "drops")}
        found = [one for one in self.of("keep", group) if _read(one, wanted)]
        return [Track(track.generated, track.score, one) for one in found] or [track]

    def _resolved(self, track: Track) -> list[Track]:
        if track.keep is None:
            return [track]
        tag = short(_sha256(track.generated, "documents"))
        wanted = {
            f"documents/{tag}": _sha256(track.generated, "documents"),
            f"generate_drops/{tag}": _sha256(track.generated, "drops"),
            f"keep_drops/{tag}": _sha256(track.keep, "drops"),
        }
        made = []
        for one in self.of("resolve"):
            if _read(one, wanted):
                found = [two for two in self.of("shards") if _read(two, {**wanted, **_resolve_drops(one)})]
                resolved = replace(track, resolve=one)
                made += [replace(resolved, shards=two) for two in found] or [resolved]
        return made or [track]


def _read(made: Manifest, wanted: Mapping[str, str]) -> bool:
    """Whether an object was made from these files."""
    return all(made.inputs.get(name) == sha256 for name, sha256 in wanted.items())


def _is(made: Manifest, table: str, sha256: str) -> bool:
    return _sha256(made, table) == sha256


def _sha256(made: Manifest, table: str) -> str:
    return made.file(f"{table}.parquet").sha256


def _resolve_drops(resolved: Manifest) -> dict[str, str]:
    return {"resolve_drops/all": _sha256(resolved, "drops")}
