"""The catalogue's own tables: what manifests, releases and runs say, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import duckdb
import orjson
import pyarrow as pa

from synth.audit.home import Home, Released
from synth.audit.tables import TABLES, literal, table_of
from synth.driver import Manifest
from synth.errors import IntegrityError, fail

_TEXT, _COUNT = pa.string(), pa.int64()

OBJECT = {
    "step": _TEXT,
    "object": _TEXT,
    "key": _TEXT,
    "family": _TEXT,  # null where a step is not about one
    "rows": _COUNT,
    "bytes": _COUNT,
    "items": _COUNT,
    "kept": _COUNT,
    "dropped": _TEXT,  # under each first reason
    "notes": _TEXT,
    "counts": _TEXT,  # all of these as JSON
    "config": _TEXT,
}
"""An object as its manifest describes it."""

_FILE = {"file": _TEXT, "path": _TEXT, "stage": _TEXT, "run": _TEXT, "family": _TEXT}
_RELEASED_FILE = {"file": _TEXT, "object": _TEXT, "recipe": _TEXT, "release": _COUNT}
_TOMBSTONE = {"recipe": _TEXT, "release": _COUNT, "doc_id": _TEXT}
_PRICES = ("usd_per_million_prompt_tokens", "usd_per_million_completion_tokens", "usd_per_gpu_hour")
_PRICE = {"run": _TEXT, "model_name": _TEXT, **dict.fromkeys(_PRICES, pa.float64())}
_RELEASE = {
    "recipe": _TEXT,
    "release": _COUNT,
    "parent": _COUNT,
    "continues": _COUNT,
    "policy": _TEXT,
    "run": _TEXT,
    "created_at": _TEXT,
    "partitions": _COUNT,
    "shards": _COUNT,
    "rows": _COUNT,
    "bytes": _COUNT,
    "tombstones": _COUNT,
    "accepted": _TEXT,
    "current": pa.bool_(),  # the newest release of its recipe is this one, or keeps its content
    "path": _TEXT,
}
_ACCEPTED = {
    "recipe": _TEXT,
    "release": _COUNT,
    "gate": _TEXT,
    "violations": _COUNT,
    "because": _TEXT,
    "accepted_by": _TEXT,
    "accepted_at": _TEXT,
    "current": pa.bool_(),
}
_RETRACTION = {
    "recipe": _TEXT,
    "release": _COUNT,  # the one that took them out; all later ones of the recipe keep to it
    "kind": _TEXT,  # seed | source | license | model | family: a standing rule; sql: documents, one by one
    "value": _TEXT,
    "documents": _COUNT,  # of the whole entry, where it has several values
    "because": _TEXT,
    "retracted_by": _TEXT,
    "retracted_at": _TEXT,
}
_RUN = {
    "run": _TEXT,
    "recipe": _TEXT,
    "policy": _TEXT,
    "pinned_release": _COUNT,
    "started_at": _TEXT,
    "ended_at": _TEXT,
    "outcome": _TEXT,
    "release": _COUNT,
    "models": _TEXT,
    "summary": _TEXT,
    "recipe_text": _TEXT,
}
_RUN_OBJECT = {"run": _TEXT, "object": _TEXT}
_SHARD = {
    "recipe": _TEXT,
    "release": _COUNT,
    "path": _TEXT,
    "split": _TEXT,
    "rows": _COUNT,
    "bytes": _COUNT,
    "sha256": _TEXT,
    "current": pa.bool_(),  # the newest release of its recipe lists it
}

_SHOWS = {
    "all_objects": "every published object, as its manifest describes it",
    "releases": "all releases; current: the newest one of its recipe, or one whose content that keeps",
    "runs": "all runs; without an outcome while they go on, or when they were killed",
    "run_objects": "the objects that each run made or used: what its documents and drops are",
    "all_shards": "the files that each release lists; current: the newest release of its recipe does",
    "accepted": "gates that a person let pass, and why; for that release alone",
    "retractions": "what was retracted from a recipe, and why: a row per value, in force for all later releases",
}

_CASTS = (
    dict.fromkeys(("counts", "config", "accepted", "models", "summary"), "JSON")
    | dict.fromkeys(("dropped", "notes"), "JSON::MAP(VARCHAR, BIGINT)")
    | dict.fromkeys(("created_at", "started_at", "ended_at", "accepted_at", "retracted_at"), "TIMESTAMP WITH TIME ZONE")
)


def create_tables(connection: duckdb.DuckDBPyConnection, home: Home, released: Iterable[Released]) -> None:
    """Create and fill the tables that the views are made of; those in the schema `home` are for the views alone."""
    connection.execute("CREATE SCHEMA home")
    fill(connection, "home.files", _FILE, _files(home))
    fill(connection, "home.released_files", _RELEASED_FILE, _released_files(released))
    fill(connection, "home.tombstones", _TOMBSTONE, _tombstones(home))
    fill(connection, "home.prices", _PRICE, _prices(home))
    fill(connection, "all_objects", {**OBJECT, "run": _TEXT, "stage": _TEXT}, _objects(home))
    fill(connection, "releases", _RELEASE, _releases(home))
    fill(connection, "runs", _RUN, _runs(home))
    fill(connection, "run_objects", _RUN_OBJECT, _run_objects(home))
    fill(connection, "all_shards", _SHARD, _shards(home))
    fill(connection, "accepted", _ACCEPTED, _accepted(home))
    fill(connection, "retractions", _RETRACTION, _retractions(home))
    for table, shows in _SHOWS.items():
        connection.execute(f"COMMENT ON TABLE {table} IS {literal(shows)}")


def fill(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    columns: Mapping[str, pa.DataType],
    values: Iterable[Mapping[str, Any]],
) -> None:
    """Create a table of these rows. Columns that hold JSON or a point of time become such."""
    connection.register("incoming", pa.Table.from_pylist(list(values), schema=pa.schema(columns)))
    chosen = ", ".join(f"{column}::{_CASTS[column]} AS {column}" if column in _CASTS else column for column in columns)
    connection.execute(f"CREATE TABLE {name} AS SELECT {chosen} FROM incoming")
    connection.unregister("incoming")


def object_row(place: str, manifest: Manifest) -> dict[str, Any]:
    """A row of OBJECT."""
    return {
        "step": manifest.step,
        "object": place,
        "key": manifest.key,
        "family": manifest.config.get("family"),
        "rows": sum(entry["rows"] or 0 for entry in manifest.files.values()),
        "bytes": sum(entry["bytes"] for entry in manifest.files.values()),
        "items": manifest.counts["items"],
        "kept": manifest.counts["kept"],
        "dropped": orjson.dumps(manifest.counts["dropped"]).decode(),
        "notes": orjson.dumps(manifest.counts["notes"]).decode(),
        "counts": orjson.dumps(manifest.counts).decode(),
        "config": orjson.dumps(manifest.config).decode(),
    }


def _empty_twins(one: Manifest, other: Manifest) -> bool:
    """Whether both are the same nothing: of two families that wrote nothing for a partition, keep has one key."""
    return one.sha256 == other.sha256 and not any(entry["rows"] for entry in one.files.values())


def _files(home: Home) -> Iterator[dict[str, Any]]:
    run_of = _first_runs(home)
    seen: dict[str, str] = {}
    for place, manifest in home.manifests.items():
        for name in manifest.files:
            file = f"{place.rpartition('/')[2]}/{name}"
            first = seen.setdefault(file, place)
            if first != place and not _empty_twins(manifest, home.manifests[first]):
                raise fail(
                    IntegrityError,
                    f"{home.root}: two objects have one key",
                    given=f"{first} and {place}",
                    do="delete the one that was copied by hand",
                )
            if table_of(name) in TABLES:
                family = manifest.config.get("family")
                yield {
                    "file": file,
                    "path": f"{place}/{name}",
                    "stage": place,
                    "run": run_of.get(place),
                    "family": family,
                }
    for run in home.runs:
        if run.sessions:
            yield {"file": run.sessions.partition("/")[2], "path": run.sessions, "run": run.name}


def _first_runs(home: Home) -> dict[str, str]:
    """The first run that used each object."""
    found: dict[str, str] = {}
    for run in home.runs:
        for places in run.value["objects"].values():
            for place in places:
                found.setdefault(place, run.name)
    return found


def _released_files(released: Iterable[Released]) -> Iterator[dict[str, Any]]:
    for file in released:
        key = f"{file.place.rpartition('/')[2]}/{file.name}"
        yield {"file": key, "object": file.place, "recipe": file.recipe, "release": file.release}


def _tombstones(home: Home) -> Iterator[dict[str, Any]]:
    for recipe, chain in home.chains().items():
        for release in chain:
            for doc_id in release.tombstones:
                yield {"recipe": recipe, "release": release.number, "doc_id": doc_id}


def _prices(home: Home) -> Iterator[dict[str, Any]]:
    for run in home.runs:
        for model_name, model in run.value["models"].items():
            yield {"run": run.name, "model_name": model_name, **{name: model[name] for name in _PRICES}}


def _objects(home: Home) -> Iterator[dict[str, Any]]:
    run_of = _first_runs(home)
    for place, manifest in home.manifests.items():
        yield {**object_row(place, manifest), "run": run_of.get(place), "stage": place}


def _releases(home: Home) -> Iterator[dict[str, Any]]:
    current = {(release.recipe, release.number) for chain in home.chains().values() for release in chain}
    for release in home.releases:
        yield {
            "recipe": release.recipe,
            "release": release.number,
            **{name: getattr(release, name) for name in ("parent", "continues", "policy", "run", "created_at", "path")},
            **{name: len(getattr(release, name)) for name in ("partitions", "shards")},
            "tombstones": len(release.tombstones) + sum(one["documents"] for one in release.retractions),
            **{name: sum(shard[name] for shard in release.shards) for name in ("rows", "bytes")},
            "accepted": orjson.dumps(release.accepted).decode(),
            "current": (release.recipe, release.number) in current,
        }


def _runs(home: Home) -> Iterator[dict[str, Any]]:
    for run in home.runs:
        summary = run.summary
        yield {
            "run": run.name,
            **{name: run.value[name] for name in ("recipe", "policy", "pinned_release", "started_at", "recipe_text")},
            **{name: summary.get(name) for name in ("ended_at", "outcome", "release")},
            "models": orjson.dumps(run.value["models"]).decode(),
            "summary": orjson.dumps(summary).decode() if summary else None,
        }


def _run_objects(home: Home) -> Iterator[dict[str, Any]]:
    for run in home.runs:
        for place in sorted({place for places in run.value.get("objects", {}).values() for place in places}):
            yield {"run": run.name, "object": place}


def _shards(home: Home) -> Iterator[dict[str, Any]]:
    newest = {(chain[-1].recipe, chain[-1].number) for chain in home.chains().values()}
    for release in home.releases:
        for shard in release.shards:
            which = {"recipe": release.recipe, "release": release.number}
            yield {**which, **shard, "current": (release.recipe, release.number) in newest}


def _accepted(home: Home) -> Iterator[dict[str, Any]]:
    current = {(release.recipe, release.number) for chain in home.chains().values() for release in chain}
    for release in home.releases:
        which = {"recipe": release.recipe, "release": release.number}
        for one in release.accepted:
            told = {"violations": one.get("violations"), "because": one["because"]}
            signed = {"accepted_by": one.get("by"), "accepted_at": one.get("at")}
            yield {**which, **told, **signed, "gate": one["check"], "current": tuple(which.values()) in current}


def _retractions(home: Home) -> Iterator[dict[str, Any]]:
    for chain in home.chains().values():
        for one in chain[-1].retractions:  # the newest release carries all
            told = {name: one[name] for name in ("release", "kind", "documents", "because")}
            signed = {"retracted_by": one["by"], "retracted_at": one["at"]}
            for value in one["values"]:
                yield {"recipe": chain[-1].recipe, **told, **signed, "value": value}
