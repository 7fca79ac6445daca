"""Pools in a recipe: what others have published already is not released again, and later waves take out what earlier ones did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli import main
from flows.recipe import load
from flows.works import Works
from synth import releases, rows
from synth.errors import HomeError, RecipeError
from synth.store import Store
from tests.conftest import ScriptedServer
from tests.corpora import run_recipe, shard_rows, write_recipe, write_seeds

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
