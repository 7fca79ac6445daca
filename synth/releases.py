"""Releases: the only commit. What no release lists does not exist for a trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from synth.driver import File
from synth.errors import IntegrityError, fail
from synth.rows import FORMAT_VERSION
from synth.store import Store, parse_json


@dataclass(frozen=True)
class Release:
    """One release. `objects` are those of its own wave; shards, index, documents and rows are cumulative."""

    recipe: str
    number: int
    parent: int | None
    continues: int | None  # the parent, when the policy is the same and its content stays
    policy: str
    run: str
    created_at: str
    partitions: Sequence[str]  # digests of the seed partitions covered, cumulative
    objects: Mapping[str, Sequence[str]]
    shards: Sequence[Mapping[str, Any]]  # path, split, rows, bytes, sha256
    index: Sequence[Mapping[str, Any]]  # path, bytes, sha256: signatures of what is released
    documents: Sequence[Mapping[str, Any]]  # the files that the index points into
    rows: Sequence[Mapping[str, Any]]  # Row tables: where each document lies
    tombstones: Sequence[str] = ()
    accepted: Sequence[Mapping[str, Any]] = ()  # gates that a person let pass, here alone: check, because …
    retractions: Sequence[Mapping[str, Any]] = ()  # cumulative, whatever the policy: see flows/retract.py
    format_version: int = field(default=FORMAT_VERSION)

    @property
    def path(self) -> str:
        """Its file in the home."""
        return release_path(self.recipe, self.number)

    def files(self, kind: str) -> list[File]:
        """The files of `index`, `documents`, `rows` or `shards`."""
        return [File(one["path"], one["sha256"], one["bytes"]) for one in getattr(self, kind)]


def release_path(recipe: str, number: int) -> str:
    """releases/<recipe>/0007.json"""
    return f"releases/{recipe}/{number:04d}.json"


def newest(store: Store, recipe: str) -> Release | None:
    """The newest release of a recipe, or None."""
    names = [name for name in store.names(f"releases/{recipe}") if name.endswith(".json")]
    if not names:
        return None
    return load(store, recipe, max(int(name.removesuffix(".json")) for name in names))


def load(store: Store, recipe: str, number: int) -> Release:
    """One release. Raises IntegrityError when it was written by a newer version."""
    path = release_path(recipe, number)
    value: dict[str, Any] = parse_json(store.read(path), path)
    if value["format_version"] > FORMAT_VERSION:
        raise fail(
            IntegrityError,
            f"{path} was written by a newer version of synth",
            given=f"format {value['format_version']}",
            allowed=f"format up to {FORMAT_VERSION}",
            do="upgrade synth",
        )
    return Release(**value)


def commit(store: Store, release: Release) -> None:
    """Create the release's file, put-if-absent. Raises IntegrityError when another run released this number first."""
    data = orjson.dumps(asdict(release), option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)
    if not store.create(release.path, data):
        raise fail(
            IntegrityError,
            f"{release.path} was released by another run in the meantime",
            do="run the same command again: it goes on from that release",
        )


def listed(files: Sequence[File], **more: Any) -> list[dict[str, Any]]:
    """Files as a release lists them."""
    return [{"path": file.path, "sha256": file.sha256, "bytes": file.size_bytes, **more} for file in files]
