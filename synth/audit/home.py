"""What a home holds, read from its manifests, releases and runs: published objects, and which of them a release stands on."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth import releases
from synth.driver import Manifest, read_manifest
from synth.errors import HomeError, IntegrityError, fail
from synth.releases import Release
from synth.store import Store, home_name, parse_json

_AT_ONCE = 16


@dataclass(frozen=True)
class Run:
    """One run. `summary` is empty while it goes on, or when it was killed."""

    name: str
    value: Mapping[str, Any]
    summary: Mapping[str, Any]
    sessions: str | None  # path of its engine sessions


@dataclass(frozen=True)
class Home:
    """A home as it stood when it was read. Runs and releases in their order of time, by recipe."""

    root: Path
    manifests: Mapping[str, Manifest]
    releases: tuple[Release, ...]
    runs: tuple[Run, ...]

    def chains(self) -> dict[str, list[Release]]:
        """For each recipe the newest release and those whose content it keeps, oldest first."""
        found: dict[str, list[Release]] = {}
        for recipe in sorted({release.recipe for release in self.releases}):
            mine = {release.number: release for release in self.releases if release.recipe == recipe}
            number: int | None = max(mine)
            while number is not None:
                if number not in mine:
                    raise fail(
                        IntegrityError, f"{self.root}: release {number} of {recipe} is missing", do="restore its file"
                    )
                found.setdefault(recipe, []).insert(0, mine[number])
                number = mine[number].continues
        return found


def read_home(root: Path) -> Home:
    """Read every manifest, release and run of the home. HomeError when there is no home, or one of a newer format."""
    if not Store.at(root).exists("home.json"):
        raise fail(
            HomeError,
            f"{home_name(root)} is not a home of synth",
            do="run a recipe first, or give the right folder with --home",
        )
    store = Store.open(root)
    manifests = {place: read_manifest(place, data) for place, data in store.manifests("objects").items()}
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # each takes some requests where the home is far away
        runs = [run for run in pool.map(lambda name: _run(store, name), store.names("runs")) if run]
        found = list(pool.map(lambda one: releases.load(store, *one), _release_numbers(store)))
    runs.sort(key=lambda run: (run.value["started_at"], run.name))
    found.sort(key=lambda release: (release.recipe, release.number))
    return Home(store.root, manifests, tuple(found), tuple(runs))


def _release_numbers(store: Store) -> Iterator[tuple[str, int]]:
    for recipe in store.names("releases"):
        for name in store.names(f"releases/{recipe}"):
            yield recipe, int(name.removesuffix(".json"))


def _run(store: Store, name: str) -> Run | None:
    """One run; None when it was killed before it began."""
    there = {path.rpartition("/")[2]: path for path in store.files(f"runs/{name}")}
    if "run.json" not in there:
        return None
    return Run(
        name,
        parse_json(store.read(there["run.json"]), there["run.json"]),
        parse_json(store.read(there["summary.json"]), there["summary.json"]) if "summary.json" in there else {},
        there.get("sessions.parquet"),
    )


@dataclass(frozen=True)
class Released:
    """A file, and the release of `recipe` that first stood on it."""

    recipe: str
    release: int
    place: str
    name: str


def released_files(home: Home) -> list[Released]:
    """The files that each recipe's newest release stands on, through its whole chain, each once.

    Of seeds only the partitions that the release covers: ingest may have cut more than the waves so far have used.
    """
    found: list[Released] = []
    for recipe, chain in home.chains().items():
        covered = {sha256: release.number for release in reversed(chain) for sha256 in release.partitions}
        first = {place: release.number for release in reversed(chain) for place in _places(release)}
        for place, number in first.items():
            manifest = _manifest(home, place, recipe, number)
            for name, entry in manifest.files.items():
                if manifest.step == "ingest" and name.startswith("seeds-"):
                    if entry["sha256"] in covered:
                        found.append(Released(recipe, covered[entry["sha256"]], place, name))
                else:
                    found.append(Released(recipe, number, place, name))
    return found


def _places(release: Release) -> list[str]:
    return [place for places in release.objects.values() for place in places]


def _manifest(home: Home, place: str, recipe: str, number: int) -> Manifest:
    if place not in home.manifests:
        raise fail(
            IntegrityError,
            f"{home.root}: release {number} of {recipe} stands on {place}, which is not there",
            do="restore that folder from a copy",
        )
    return home.manifests[place]


@contextlib.contextmanager
def plain_path(root: Path) -> Iterator[Path]:
    """A path to the folder that DuckDB reads as it is: commas in a search path and `[` in a file's path mean more to it."""
    with tempfile.TemporaryDirectory(prefix="synth-") as folder:
        plain = Path(folder) / "home"
        plain.symlink_to(root.absolute(), target_is_directory=True)
        yield plain
