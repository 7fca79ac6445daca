"""What a home holds that no release and no run needs, and removing it.

Needed is, and stays:

- every object that a release lists, in any recipe, and what these were made of (`inputs`, by content);
- every cut of seeds (they are cut once), and the answers for each seed partition that a recipe still holds: whatever the recipe
  becomes, they are not paid again (`answers` lets go of those that no release stands on);
- of partitions that a recipe has not released yet, everything: a run will go on with it. When the recipe's last run did not
  end with a release and its policy is another one, that is all partitions;
- journals of open partitions in scratch; runs that cost or made something.

Removed is what exists no more first: manifests, then the catalogue is built anew, then files. Killed anywhere, what is left over
has no manifest and is found again by the next call; nothing that is needed ever rests on it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from synth import rows
from synth.audit.home import Home, Run, read_home
from synth.config import nearest
from synth.digest import short
from synth.driver import Manifest
from synth.errors import UserError, fail
from synth.releases import Release
from synth.store import MANIFEST, Store

MAPS = ("screen", "generate", "score", "keep", "sign")
REDUCES = ("ingest", "train", "resolve", "shards", "audit", "retract")
_LISTS = ("shards", "index", "documents", "rows")


@dataclass(frozen=True)
class Garbage:
    """One thing that nobody needs. `kind` is object | files | shard | release | run | scratch; `what` says which sort of it."""

    kind: str
    what: str
    why: str
    path: str  # in the home; of scratch in the local folder
    size_bytes: int


@dataclass(frozen=True)
class Survey:
    """What there is to remove, and what is kept though no release needs it: (objects, bytes) by reason."""

    garbage: list[Garbage]
    kept: Mapping[str, tuple[int, int]]


def survey(store: Store, answers: bool = False, drop_before: Mapping[str, int] | None = None) -> Survey:
    """Look through the whole home. `drop_before`: of a recipe, releases before this number are no reason to keep anything."""
    home, drop = read_home(store.root), drop_before or {}
    _check_numbers(home, drop)
    files = store.files("objects")
    sizes = _sizes(home, files)
    dropped = {(one.recipe, one.number) for one in _dropped(home, drop)}
    stay = [one for one in home.releases if (one.recipe, one.number) not in dropped]
    # Of a retraction's object all that later policies need is which documents it names, not what it was made of.
    released = _closed(home, _released(home, stay)) | _tombstones(home, stay)
    wanted = _wanted(home, answers)
    needed = released | wanted.keys()
    garbage = [
        *(
            Garbage("release", "releases", "dropped by --drop-releases-before", one.path, 0)
            for one in _dropped(home, drop)
        ),
        *(
            _unneeded(place, manifest, sizes[place])
            for place, manifest in home.manifests.items()
            if place not in needed
        ),
        *_old_shards(home, drop, needed, files),
        *_unpublished(home, files),
        *_idle_runs(home, store),
        *_scratch(home, store.root / "scratch"),
    ]
    kept: dict[str, tuple[int, int]] = {}
    for place in wanted.keys() - released:
        count, size = kept.get(wanted[place], (0, 0))
        kept[wanted[place]] = (count + 1, size + sizes[place])
    return Survey(garbage, kept)


def sweep(store: Store, garbage: Iterable[Garbage], rebuild: Callable[[], object]) -> None:
    """Remove what a survey found. `rebuild` builds the catalogue anew, once it can no longer show what is gone."""
    every = list(garbage)
    for one in every:
        if one.kind == "release":
            store.remove(one.path)
    for one in every:
        if one.kind == "object":
            store.remove(f"{one.path}/{MANIFEST}")
        elif one.kind == "run":
            store.remove(f"{one.path}/run.json")
    rebuild()
    for one in every:
        if one.kind == "scratch":
            shutil.rmtree(store.root / one.path, ignore_errors=True)
        elif one.kind != "release":
            store.remove(one.path)


def _check_numbers(home: Home, drop: Mapping[str, int]) -> None:
    newest = {recipe: chain[-1].number for recipe, chain in home.chains().items()}
    for recipe, number in drop.items():
        if recipe not in newest:
            what = f"--drop-releases-before: no release of {recipe!r}{nearest(recipe, newest)}"
            raise fail(
                UserError, what, given=f"{recipe}:{number}", allowed=", ".join(sorted(newest)) or "nothing is released"
            )
        if not 1 < number <= newest[recipe]:
            what = f"--drop-releases-before: the newest release of {recipe!r} is {newest[recipe]}, and stays"
            raise fail(UserError, what, given=f"{recipe}:{number}", allowed=f"a number from 2 to {newest[recipe]}")


def _dropped(home: Home, drop: Mapping[str, int]) -> Iterator[Release]:
    """Releases that go: those before the number, but for what the newest one continues, which holds its content."""
    chained = {(one.recipe, one.number) for chain in home.chains().values() for one in chain}
    for one in home.releases:
        if one.number < drop.get(one.recipe, 0) and (one.recipe, one.number) not in chained:
            yield one


def _released(home: Home, stay: Iterable[Release]) -> set[str]:
    """Objects that releases list, or whose files they list."""
    found: set[str] = set()
    for release in stay:
        found |= {place for places in release.objects.values() for place in places}
        found |= {entry["path"].rpartition("/")[0] for kind in _LISTS for entry in getattr(release, kind)}
    return found & home.manifests.keys()


def _tombstones(home: Home, stay: Iterable[Release]) -> set[str]:
    """Objects that hold the tombstones of retractions in force."""
    listed = {one["tombstones"]["path"].rpartition("/")[0] for release in stay for one in release.retractions}
    return listed & home.manifests.keys()


def _closed(home: Home, places: set[str]) -> set[str]:
    """These objects, and those that they were made of. A content that one of them holds needs no further holder."""
    holders: dict[str, list[str]] = {}
    for place, manifest in home.manifests.items():
        for sha256 in _contents(manifest):
            holders.setdefault(sha256, []).append(place)
    found, held, todo = set(places), set[str](), sorted(places)
    for place in todo:
        held.update(_contents(home.manifests[place]))
    while todo:
        for sha256 in home.manifests[todo.pop()].inputs.values():
            if sha256 not in held:
                for holder in holders.get(sha256, ()):  # none: a file outside the home, such as seeds
                    found.add(holder)
                    held.update(_contents(home.manifests[holder]))
                    todo.append(holder)
    return found


def _contents(manifest: Manifest) -> list[str]:
    return [manifest.sha256, *(entry["sha256"] for entry in manifest.files.values())]


def _wanted(home: Home, answers: bool) -> dict[str, str]:
    """Objects that stay though no release may need them, and why."""
    found: dict[str, str] = {}
    held, open_groups, busy = _partitions(home)
    for place, manifest in home.manifests.items():
        group = place.split("/")[2]
        if manifest.step == "ingest":
            found[place] = "seeds are cut once"
        elif manifest.step not in (*MAPS, *REDUCES):
            found[place] = f"this version does not know the step {manifest.step}"
        elif manifest.step in MAPS and group in open_groups:
            found[place] = "partitions that are not released yet"
        elif manifest.step == "generate" and group in held and not answers:
            found[place] = "answers that are paid (--answers lets them go)"
        elif manifest.step in REDUCES and group in busy:
            found[place] = "the recipe's last run has released nothing yet"
    return found


def _partitions(home: Home) -> tuple[set[str], set[str], set[str]]:
    """Folders of all seed partitions, of those that are open; recipes whose last run has not come to its release."""
    held: set[str] = set()
    open_groups: set[str] = set()
    busy: set[str] = set()
    last: dict[str, Run] = {run.value["recipe"]: run for run in home.runs}
    newest = {recipe: chain[-1] for recipe, chain in home.chains().items()}
    for place, manifest in home.manifests.items():
        if manifest.step != "ingest":
            continue
        recipe = place.split("/")[2]
        mine = {file.sha256 for file in manifest.tables("seeds")}
        held |= {short(sha256) for sha256 in mine}
        release, run = newest.get(recipe), last.get(recipe)
        unfinished = run is not None and run.summary.get("outcome") != "released"
        if unfinished:
            busy.add(recipe)
        other_policy = run is not None and unfinished and release is not None and run.value["policy"] != release.policy
        covered = set(release.partitions) if release and not other_policy else set()
        open_groups |= {short(sha256) for sha256 in mine - covered}
    return held, open_groups, busy


def _unneeded(place: str, manifest: Manifest, size_bytes: int) -> Garbage:
    why = {
        "generate": "answers for seeds that no recipe holds, or --answers",
        "audit": "no release came of it",
    }.get(manifest.step, "no release lists it, and no open work needs it")
    return Garbage("object", manifest.step, why, place, size_bytes)


def _sizes(home: Home, files: Mapping[str, int]) -> dict[str, int]:
    """Bytes of each object, its manifest included."""
    sizes = dict.fromkeys(home.manifests, 0)
    for path, size in files.items():
        place = path.rpartition("/")[0]
        if place in sizes:
            sizes[place] += size
    return sizes


def _old_shards(home: Home, drop: Mapping[str, int], needed: set[str], files: Mapping[str, int]) -> Iterator[Garbage]:
    """Shards in needed objects that only dropped releases list: retractions have written them anew."""
    listed = {entry["path"] for one in home.releases if one.number >= drop.get(one.recipe, 0) for entry in one.shards}
    old = {entry["path"] for one in home.releases if one.number < drop.get(one.recipe, 0) for entry in one.shards}
    for path in sorted(old - listed):
        if path.rpartition("/")[0] in needed and path in files:
            yield Garbage("shard", "replaced shards", "only releases that are dropped list it", path, files[path])


def _unpublished(home: Home, files: Mapping[str, int]) -> Iterator[Garbage]:
    """Files that belong to no published object: left by a process that was killed while it published or removed."""
    for path, size in files.items():
        place, _, name = path.rpartition("/")
        manifest = home.manifests.get(place)
        if manifest is None or (name != MANIFEST and name not in manifest.files):
            yield Garbage("files", "unpublished files", "no manifest names it", path, size)


def _idle_runs(home: Home, store: Store) -> Iterator[Garbage]:
    """Runs that made and cost nothing, but for each recipe's last one; and folders of runs that never began."""
    last = {run.value["recipe"]: run.name for run in home.runs}
    known = {run.name for run in home.runs}
    for run in home.runs:
        released = any(one.run == run.name for one in home.releases)
        if run.value["objects"] or released or run.name in last.values():
            continue
        if run.sessions is None or not len(rows.read_table(store.local(run.sessions), ["run"])):
            yield _run(store, run.name, "it made nothing and cost nothing")
    for name in store.names("runs"):
        if name not in known:
            yield _run(store, name, "it never began")


def _run(store: Store, name: str, why: str) -> Garbage:
    return Garbage("run", "runs", why, f"runs/{name}", sum(store.files(f"runs/{name}").values()))


def _scratch(home: Home, scratch: Path) -> Iterator[Garbage]:
    """What killed steps left half made. Open journals hold paid answers and stay; logs of servers stay, too."""
    for step in sorted(path for path in scratch.glob("*") if path.is_dir() and path.name != "servers"):
        depth = "*" if step.name not in MAPS else "*/*" if step.name == "screen" else "*/*/*"
        for folder in sorted(path for path in step.glob(depth) if path.is_dir()):
            place = f"objects/{folder.relative_to(scratch).as_posix()}"
            files = [path for path in folder.rglob("*") if path.is_file()]
            if files and (not (folder / "journal.sqlite").exists() or place in home.manifests):
                size = sum(path.stat().st_size for path in files)
                yield Garbage("scratch", "scratch", "left half made", f"scratch/{place.removeprefix('objects/')}", size)
