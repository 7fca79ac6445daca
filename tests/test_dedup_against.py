"""Pools in a recipe: what others have published already is not released again, and later waves take out what earlier ones did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from flows.cli import main
from flows.recipe import load
from flows.session import Session
from flows.works import Works
from synth import releases, rows
from synth.digest import file_sha256
from synth.errors import HomeError, RecipeError
from synth.store import Store
from tests.conftest import ScriptedServer
from tests.corpora import run_recipe, shard_files, shard_rows, write_recipe, write_seeds

FAMILY = '[[families]]\nname = "textbook"'


def index(folder: Path, texts: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "texts.jsonl"
    file.write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items()))
    assert main(["index", str(file), "--out", str(folder / "web")]) == 0
    return folder / "web"


def test_what_a_pool_holds_is_not_released(
    tmp_path: Path, scripted_server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    write_seeds(tmp_path / "seeds/a.jsonl", range(8))
    path = write_recipe(tmp_path, scripted_server.base_url, families=FAMILY)
    run_recipe(path, tmp_path / "home")
    before = {row["doc_id"]: row["text"] for row in shard_rows(tmp_path / "home")}
    known = dict(sorted(before.items())[:2])
    index(tmp_path / "pool", {f"page {number}": text for number, text in enumerate(known.values())})

    path = write_recipe(tmp_path, scripted_server.base_url, families=FAMILY, dedup='[dedup]\nagainst = ["pool/web"]')
    made, engine = run_recipe(path, tmp_path / "home")
    assert engine.stats.asks == 0, "another policy, the same answers"
    assert {row["doc_id"] for row in shard_rows(tmp_path / "home")} == before.keys() - known.keys()
    (place,) = made[0].objects["resolve"]
    drops = rows.read_table(tmp_path / "home" / place / "drops.parquet").to_pylist()
    assert {row["item_id"]: (row["reason"].split()[0], row["partner_id"]) for row in drops} == {
        name: ("has", f"pool:web:page {number}") for number, name in enumerate(known)
    }
    inputs = json.loads((tmp_path / "home" / place / "manifest.json").read_text())["inputs"]
    assert "pool_index/web" in inputs and "pool/web" not in inputs, "where the texts lie is no part of the key"
    assert main(["run", str(path), "--home", str(tmp_path / "home"), "--no-prefect"]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_the_pool_is_known_by_its_index(tmp_path: Path) -> None:
    index(tmp_path / "pool", {"a": "The old bridge over the river was built of stone and timber long ago."})
    path = write_recipe(tmp_path, "http://127.0.0.1:9/v1", dedup='[dedup]\nagainst = ["pool/web"]')
    first = Works(load(path)).policy()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "pool/web").rename(tmp_path / "elsewhere/web")
    moved = write_recipe(tmp_path, "http://127.0.0.1:9/v1", dedup='[dedup]\nagainst = ["elsewhere/web"]')
    assert Works(load(moved)).policy() == first
    index(tmp_path / "elsewhere", {"b": "Another text about a comet that nobody had seen before that night in May."})
    assert Works(load(moved)).policy() != first
    gone = write_recipe(tmp_path, "http://127.0.0.1:9/v1", dedup='[dedup]\nagainst = ["pool/web"]')
    with pytest.raises(HomeError, match="synth index"):
        Works(load(gone))


def test_two_pools_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        index(tmp_path / folder, {"a": "The old bridge over the river was built of stone and timber long ago."})
    path = write_recipe(tmp_path, "http://127.0.0.1:9/v1", dedup='[dedup]\nagainst = ["one/web", "two/web"]')
    with pytest.raises(RecipeError, match="two folders of one name"):
        Works(load(path))


def test_a_release_pins_the_boilerplate_of_its_waves(tmp_path: Path, scripted_server: ScriptedServer) -> None:
    write_seeds(tmp_path / "seeds/a.jsonl", range(6))
    path = write_recipe(tmp_path, scripted_server.base_url, families=FAMILY)
    made, _ = run_recipe(path, tmp_path / "home", ["run.wave_partitions=1", "ingest.partition_rows=3"])
    assert len(made) == 2
    release = releases.newest(Store(tmp_path / "home"), "small")
    assert release is not None
    names = sorted(file.path.rpartition("/")[2] for file in release.files("index"))
    assert names == ["boilerplate.parquet", "boilerplate.parquet", "index.parquet", "index.parquet"]
    (place,) = made[1].objects["resolve"]
    inputs = json.loads((tmp_path / "home" / place / "manifest.json").read_text())["inputs"]
    assert sum(name.startswith("released_boilerplate/") for name in inputs) == 1


@pytest.fixture(scope="module")
def other_home(tmp_path_factory: pytest.TempPathFactory, scripted_server: ScriptedServer) -> Path:
    """A home with two releases of a recipe `other`, of the seeds that the tests' recipes read too."""
    folder = tmp_path_factory.mktemp("other")
    write_seeds(folder / "seeds/a.jsonl", range(6))
    path = write_recipe(folder, scripted_server.base_url, families=FAMILY, head='name = "other"')
    made, _ = run_recipe(path, folder / "home", ["run.wave_partitions=1", "ingest.partition_rows=3"])
    assert [release.number for release in made] == [1, 2]
    return folder / "home"


def recipe_against(folder: Path, server: ScriptedServer, named: str, seeds: int = 8) -> Path:
    write_seeds(folder / "seeds/a.jsonl", range(seeds))
    return write_recipe(folder, server.base_url, families=FAMILY, dedup=f'[dedup]\nagainst = ["{named}"]')


@pytest.mark.parametrize("form", ["newest", "file"])
def test_what_another_release_holds_is_not_released(
    tmp_path: Path, scripted_server: ScriptedServer, other_home: Path, form: str
) -> None:
    theirs = {row["text"]: row["doc_id"] for row in shard_rows(other_home, "other")}
    number = 2 if form == "newest" else 1
    named = f"{other_home}#other" if form == "newest" else f"{other_home}/releases/other/0001.json"
    held = releases.load(Store(other_home), "other", number)
    index = [other_home / one["path"] for one in held.index if one["path"].endswith("/index.parquet")]
    released = {name for file in index for name in rows.read_table(file)["doc_id"].to_pylist()}
    path = recipe_against(tmp_path, scripted_server, named)
    made, _ = run_recipe(path, tmp_path / "home")
    (place,) = made[0].objects["resolve"]
    drops = rows.read_table(tmp_path / "home" / place / "drops.parquet").to_pylist()
    texts = {row["text"] for row in shard_rows(tmp_path / "home")}
    assert texts and not texts & {text for text, name in theirs.items() if name in released}
    assert len(drops) == len(released) == (6 if form == "newest" else 3)
    assert {drop["partner_id"] for drop in drops} == {f"release:other-{number}:{name}" for name in released}
    inputs = json.loads((tmp_path / "home" / place / "manifest.json").read_text())["inputs"]
    assert inputs.keys() >= {
        f"release_index/other-{number}/{one['sha256'][:16]}" for one in held.index if "/index" in one["path"]
    }


def test_another_recipes_newest_release_is_in_the_key_and_not_in_the_policy(
    tmp_path: Path, scripted_server: ScriptedServer, other_home: Path
) -> None:
    """So that two recipes that grow side by side do not begin anew each time the other one has released."""
    home = tmp_path / "grown"
    shutil.copytree(other_home, home)
    path = recipe_against(tmp_path, scripted_server, f"{home}#other")
    newest = Works(load(path))
    (home / "releases/other/0002.json").unlink()
    before = Works(load(path))
    assert newest.policy() == before.policy() != Works(load(path, ["dedup.against=[]"])).policy()
    assert newest.resolve([], [], []).key != before.resolve([], [], []).key
    pinned = Works(load(path, [f'dedup.against=["{home}/releases/other/0001.json"]']))
    assert pinned.policy() != before.policy()


def test_a_release_is_compared_without_a_home(
    tmp_path: Path, other_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Generated parts alone; half of one is found."""
    row = max(shard_rows(other_home, "other"), key=lambda one: len(one["text"]))
    words = row["text"].split()
    new = tmp_path / "new.jsonl"
    texts = {
        "copy": row["text"],
        "half": " ".join(words[len(words) // 4 : 3 * len(words) // 4]),
        "own": "Nobody wrote this. " * 9,
    }
    new.write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items()))
    assert main(["dedup", str(new), "--out", str(tmp_path / "out"), "--against", f"{other_home}#other"]) == 0
    found = {one["doc_id"]: one for one in rows.read_table(tmp_path / "out/dedup.parquet").to_pylist()}
    assert [found[name]["reason"] for name in texts] == ["exact_duplicate", "contained", None]
    assert {found[name]["partner_id"] for name in ("copy", "half")} == {row["doc_id"]}
    assert found["half"]["partner_pool"] == "other-2"


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("{home}", "{home}#other"),
        ("{home}#othr", "did you mean 'other'"),
        ("{home}/nowhere#other", "is no home of synth"),
        ("{home}/releases/other/0009.json", "no such release"),
        ("s3://bucket/home#other", "homes in folders"),
        ("nowhere", "synth index"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_starts(
    tmp_path: Path, other_home: Path, named: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.jsonl"
    new.write_text('{"id": "a", "text": "One text."}\n')
    named = named.format(home=other_home)
    assert main(["dedup", str(new), "--out", str(tmp_path / "out"), "--against", named]) == 2
    assert said.format(home=other_home) in capsys.readouterr().err


def test_a_recipe_is_not_compared_with_itself(tmp_path: Path, other_home: Path) -> None:
    changes = {"head": 'name = "other"', "dedup": f'[dedup]\nagainst = ["{other_home}#other"]'}
    recipe = load(write_recipe(tmp_path, "http://127.0.0.1:9/v1", **changes))
    with pytest.raises(RecipeError, match="names itself"):
        Session.open(recipe, tmp_path, Store(other_home))
    assert Session.open(recipe, tmp_path, Store(tmp_path / "home")).pinned is None, "another home's recipe of this name"


@pytest.mark.parametrize("differs", ["minhash", "sample"])
def test_a_release_that_was_signed_otherwise_is_refused(
    tmp_path: Path, other_home: Path, differs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    shutil.copytree(other_home, home)
    release = releases.newest(Store(home), "other")
    assert release is not None
    if differs == "minhash":
        manifest = home / release.objects["sign"][0] / "manifest.json"
        value = json.loads(manifest.read_text())
        value["config"]["minhash"]["seed"] = 2
        manifest.write_text(json.dumps(value))
    else:
        for file in release.files("index"):
            if file.path.endswith("/index.parquet"):
                rows.write_table(rows.read_table(home / file.path).drop_columns("shingle_sample"), home / file.path)
    new = tmp_path / "new.jsonl"
    new.write_text('{"id": "a", "text": "One text."}\n')
    assert main(["dedup", str(new), "--out", str(tmp_path / "out"), "--against", f"{home}#other"]) == 2
    assert ("another minhash" if differs == "minhash" else "older synth") in capsys.readouterr().err


def test_a_text_that_goes_out_of_reach_changes_the_key_and_not_the_policy(tmp_path: Path) -> None:
    """A disk that is not mounted must not begin a corpus anew; what is out of reach is unverified, under a key of its own."""
    index(tmp_path / "pool", {"a": "The old bridge over the river was built of stone and timber long ago."})
    path = write_recipe(tmp_path, "http://127.0.0.1:9/v1", dedup='[dedup]\nagainst = ["pool/web"]')
    works = Works(load(path))
    policy, key = works.policy(), works.resolve([], [], []).key
    file = tmp_path / "pool/texts.jsonl"
    file.rename(tmp_path / "elsewhere.jsonl")
    gone = Works(load(path)).resolve([], [], [])
    assert Works(load(path)).policy() == policy and gone.key != key
    assert gone.config.content()["out_of_reach"] == {"web": [file_sha256(tmp_path / "elsewhere.jsonl")[:16]]}
    shutil.copy(tmp_path / "elsewhere.jsonl", file)  # another time, the same bytes
    assert Works(load(path)).resolve([], [], []).key == key
    file.write_text(file.read_text().replace("bridge", "brydge"))
    assert Works(load(path)).resolve([], [], []).key == gone.key


def test_an_index_of_an_older_synth_is_made_again(tmp_path: Path) -> None:
    folder = index(tmp_path / "pool", {"a": "The old bridge over the river was built of stone and timber long ago."})
    config = json.loads((folder / "pool.json").read_text())
    del config["index_version"]
    (folder / "pool.json").write_text(json.dumps(config))
    path = write_recipe(tmp_path, "http://127.0.0.1:9/v1", dedup='[dedup]\nagainst = ["pool/web"]')
    with pytest.raises(HomeError, match="older synth"):
        Works(load(path))


def test_the_runner_changes_no_shard(tmp_path: Path, scripted_server: ScriptedServer, other_home: Path) -> None:
    """A whole run of two waves, with another release, in processes and with little memory."""
    path = recipe_against(tmp_path, scripted_server, f"{other_home}#other", seeds=12)
    waves = ["run.wave_partitions=1", "ingest.partition_rows=6"]
    run_recipe(path, tmp_path / "threads", waves)
    how = ["run.dedup.runner=processes", "run.dedup.workers=2", f"run.dedup.memory_bytes={1 << 26}"]
    run_recipe(path, tmp_path / "processes", [*waves, *how])
    assert shard_files(tmp_path / "threads") == shard_files(tmp_path / "processes") != {}
