"""What a recipe's documents are compared with beside its own releases: pools of anybody's, and releases of other recipes.

    against = ["pools/web", "../other/corpus#faq", "corpus/releases/textbook/0007.json"]

A folder is a pool that `synth index` made. HOME#RECIPE is the newest release of that recipe there when a run is planned: it
may grow from wave to wave without being another policy. The file of a release is that one, for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import pyarrow.parquet as pq

from dedup import NORMALISATION_VERSION, SHINGLE_VERSION, MinHashConfig
from flows.near import Released
from flows.pools import POOL, Pool
from synth import releases
from synth.config import nearest
from synth.driver import File
from synth.errors import HomeError, RecipeError, fail
from synth.releases import Release
from synth.store import MANIFEST, MARK, Store

BOILERPLATE_FILE = "boilerplate.parquet"


@dataclass(frozen=True)
class OtherRelease:
    """A release that is there. `name` is what verdicts call it; `policy` is what a recipe's policy knows of it."""

    home: Path
    recipe: str
    name: str  # <recipe>-<number>
    policy: str  # of HOME#RECIPE the recipe, of a file its name
    index: tuple[File, ...]
    boilerplate: tuple[File, ...]
    documents: tuple[File, ...]

    @classmethod
    def open(cls, named: str, minhash: MinHashConfig) -> OtherRelease:
        """HomeError: no such release, or one whose signatures cannot be compared with those of `minhash`."""
        store, recipe, number = _place(named)
        release = releases.load(store, recipe, number) if number else releases.newest(store, recipe)
        assert release is not None
        name = f"{recipe}-{release.number}"
        _check_signatures(store, release, minhash, named)
        held = [_absolute(store, file) for file in release.files("index")]
        boilerplate = tuple(file for file in held if file.path.endswith(BOILERPLATE_FILE))
        documents = tuple(_absolute(store, file) for file in release.files("documents"))
        index = tuple(file for file in held if file not in boilerplate)
        return cls(store.root, recipe, name, name if number else recipe, index, boilerplate, documents)

    def released(self, prefix: str) -> Released:
        """Its texts, to be looked up."""
        places = {file.sha256[:16]: Path(file.path) for file in self.documents}
        return Released([Path(file.path) for file in self.index], places, prefix)


def open_all(against: Iterable[str], minhash: MinHashConfig) -> tuple[list[Pool], list[OtherRelease]]:
    """Pools and releases, each by name. RecipeError: two of one name; HomeError: one that is not there or does not fit."""
    pools, others = list[Pool](), list[OtherRelease]()
    for one in against:
        if _names_release(one):
            others.append(OtherRelease.open(one, minhash))
        else:
            _refuse_home(one)
            pools.append(Pool.open(Path(one), minhash))
    pools.sort(key=lambda pool: pool.name)
    others.sort(key=lambda other: other.name)
    _refuse_twins("two folders of one name, by which their texts would be called", [pool.name for pool in pools])
    _refuse_twins("two releases of one name, by which their texts would be called", [other.name for other in others])
    return pools, others


def refuse_itself(others: Sequence[OtherRelease], home: Path, recipe: str) -> None:
    """RecipeError: a recipe that names a release of its own would find all that it ever made there."""
    for other in others:
        if other.recipe == recipe and other.home.resolve() == home.resolve():
            what = "dedup.against: the recipe names itself; it is compared with what it has released anyway"
            raise fail(RecipeError, what, given=other.name, do="leave it out, or give the recipe another name")


def _names_release(one: str) -> bool:
    if (Path(one) / POOL).exists():
        return False
    return "#" in one or (one.endswith(".json") and Path(one).parent.parent.name == "releases")


def _refuse_home(one: str) -> None:
    if (Path(one) / MARK).exists():
        known = Store(Path(one)).names("releases")
        what = f"dedup.against: {one} is a home, and of a home a recipe is named"
        raise fail(RecipeError, what, allowed=", ".join(f"{one}#{name}" for name in known) or "a recipe with a release")


def _refuse_twins(what: str, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise fail(RecipeError, f"dedup.against: {what}", given=", ".join(names), do="rename one of them")


def _place(named: str) -> tuple[Store, str, int]:
    """The home, the recipe, and the number of the release; 0 for the newest."""
    if named.endswith(".json") and "#" not in named:
        path = Path(named)
        if not path.is_file() or not path.stem.isdigit():
            raise fail(HomeError, f"no such release: {named}", allowed="HOME/releases/RECIPE/0001.json, HOME#RECIPE")
        return Store(path.absolute().parents[2]), path.parent.name, int(path.stem)
    home, _, recipe = named.rpartition("#")
    if "://" in home:
        raise fail(HomeError, f"{named}: texts are compared with those of homes in folders", do="copy the home here")
    store = Store(Path(home))
    known = store.names("releases")
    if not store.exists(MARK):
        raise fail(HomeError, f"{home} is no home of synth", given=named, allowed="HOME#RECIPE")
    if recipe not in known or releases.newest(store, recipe) is None:
        what = f"the home {home} has no release of a recipe {recipe!r}{nearest(recipe, known)}"
        raise fail(HomeError, what, allowed=", ".join(known) or "none has been released yet")
    return store, recipe, 0


def _check_signatures(store: Store, release: Release, minhash: MinHashConfig, named: str) -> None:
    """That the release was signed as we sign: its sign step's settings, and what its index keeps of a text."""
    wanted = {
        "minhash": minhash.content(),
        "normalisation_version": NORMALISATION_VERSION,
        "shingle_version": SHINGLE_VERSION,
    }
    for place in release.objects.get("sign", ())[:1]:
        held = orjson.loads(store.read(f"{place}/{MANIFEST}"))["config"]
        for name, value in wanted.items():
            if held.get(name) != value:
                what = f"{named} was signed with another {name}"
                do = "set the same in both recipes, or run that one again with this synth"
                raise fail(HomeError, what, given=held.get(name), allowed=str(value), do=do)
    for file in release.files("index"):
        path = store.local(file.path)
        if not path.is_file():
            raise fail(HomeError, f"{named}: {path} is missing", do="restore it, or leave the release out")
        if not file.path.endswith(BOILERPLATE_FILE) and "shingle_sample" not in pq.read_schema(path).names:
            what = f"{named} was released by an older synth, without samples of the texts"
            raise fail(HomeError, what, do="run that recipe again: models are not asked again")


def _absolute(store: Store, file: File) -> File:
    return File(str(store.local(file.path).absolute()), file.sha256, file.size_bytes)
