"""Retractions on real homes: what goes, what stays, and that nothing comes back."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from flows.retracted import Retracted
from shards import read_shards
from synth import releases, rows
from synth.audit.catalog import build_catalog
from synth.audit.sql import query
from synth.digest import file_sha256
from synth.driver import Driver, File
from synth.releases import Release
from synth.store import Store
from tests.conftest import ROOT, ScriptedServer
from tests.corpora import passage, run_recipe, shard_files, shard_rows, write_recipe, write_seeds

BECAUSE = ["--because", "the author asked"]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, scripted_server: ScriptedServer) -> Path:
    """A released home: ten seeds in partitions of four, small shards."""
    folder = tmp_path_factory.mktemp("released")
    write_seeds(folder / "seeds/a.jsonl", range(10))
    shards = "[shards]\nshard_bytes = 2000\nvalidation_share = 0.0"
    run_recipe(write_recipe(folder, scripted_server.base_url, shards=shards), folder / "corpus")
    build_catalog(folder / "corpus")
    return folder


@pytest.fixture
def corpus(tmp_path: Path, released: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it; the folder is where commands are typed."""
    shutil.copytree(released, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def retract(*arguments: str) -> int:
    return main(["retract", "small", *arguments, *BECAUSE])


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What the command says as JSON."""
    capsys.readouterr()
    assert retract(*arguments, "--json") == 0
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def newest(folder: Path) -> Release:
    release = releases.newest(Store(folder / "corpus"), "small")
    assert release is not None
    return release


def answer(folder: Path, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = query(folder / "corpus", sql).to_pylist()
    return found


def files(folder: Path) -> dict[str, int]:
    return {path: size for path, size in Store(folder / "corpus").files("").items() if path.startswith(("obj", "rel"))}


def test_without_yes_it_shows_and_changes_nothing(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = shard_rows(corpus / "corpus")[0]["seed_id"]
    before = files(corpus)
    assert retract("--seed", seed[:12]) == 0
    printed = capsys.readouterr().out
    assert "2 of 20 that are released go (distill 1, diverse_qa 1)" in printed
    assert "give --yes" in printed
    assert files(corpus) == before


def test_a_seed_goes_and_only_its_shards_are_written_anew(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = corpus / "corpus"
    first, old_files, old = newest(corpus), shard_files(home), shard_rows(home)
    seed = old[3]["seed_id"]
    gone = {row["doc_id"]: row["text"] for row in old if row["seed_id"] == seed}
    touched = {row["shard"] for row in answer(corpus, f"SELECT * FROM rows WHERE doc_id IN {tuple(gone)}")}
    said = told(capsys, "--seed", seed, "--yes")
    assert (said["outcome"], said["released"], said["new_release"]) == ("retracted", 2, 2)
    release = newest(corpus)
    assert (release.parent, release.continues, release.policy) == (1, 1, first.policy)
    assert list(release.partitions) == list(first.partitions)
    new_files = shard_files(home)
    assert set(old_files) - set(new_files) == touched
    assert 1 <= len(touched) < len(old_files)
    assert all(new_files[name] == old_files[name] for name in set(old_files) & set(new_files))
    order = [row for row in old if row["doc_id"] not in gone]
    assert sorted(shard_rows(home), key=lambda row: row["doc_id"]) == sorted(order, key=lambda row: row["doc_id"])


def test_no_listed_file_holds_a_byte_of_what_went(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shards are read as a trainer would and as bytes: Arrow compresses each buffer, so texts are looked for in buffers."""
    home, old = corpus / "corpus", shard_rows(corpus / "corpus")
    doc_id, text = old[5]["doc_id"], old[5]["text"]
    told(capsys, "--sql", f"SELECT id FROM documents WHERE id = '{doc_id}'", "--yes")
    release = newest(corpus)
    for entry in release.shards:
        for batch in read_shards([home / entry["path"]]):
            for column in batch.columns:
                held = b"".join(bytes(buffer) for buffer in column.buffers() if buffer is not None)
                assert text.encode() not in held
                assert doc_id.encode() not in held
    for kind in ("rows", "index"):
        for file in release.files(kind):
            if "boilerplate" not in file.path:
                assert doc_id not in rows.read_table(home / file.path, ["doc_id"])["doc_id"].to_pylist()
    old_shard = next(one for one in releases.load(Store(home), "small", 1).shards if one not in release.shards)
    assert (home / old_shard["path"]).exists()  # releases are kept: what is said about it is true


def test_sql_tells_what_went_and_why_and_counts_add_up(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "--family", "distill", "--yes")
    drops = answer(corpus, "SELECT * FROM drops WHERE step = 'retract'")
    assert len(drops) == 10
    assert {drop["rule"] for drop in drops} == {"retracted"}
    assert {drop["evidence"] for drop in drops} == {"family distill: the author asked"}
    (row,) = answer(corpus, "SELECT * FROM retractions")
    assert (row["kind"], row["value"], row["documents"], row["because"]) == (
        "family",
        "distill",
        10,
        "the author asked",
    )
    assert answer(corpus, "SELECT DISTINCT family FROM kept") == [{"family": "diverse_qa"}]
    counted = "SELECT (SELECT count(*) FROM documents) AS made, (SELECT count(*) FROM kept) AS kept, "
    counted += (
        "(SELECT count(*) FROM dropped WHERE item_kind = 'document') AS gone, (SELECT count(*) FROM rows) AS rows"
    )
    (counts,) = answer(corpus, counted)
    assert counts == {"made": 20, "kept": 10, "gone": 10, "rows": 10}
    assert answer(corpus, "SELECT tombstones FROM releases ORDER BY release") == [{"tombstones": 0}, {"tombstones": 10}]
    capsys.readouterr()
    assert main(["audit"]) == 0
    assert "tombstones_gone" in capsys.readouterr().out


def test_the_same_command_finds_nothing_to_do(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "--family", "distill", "--yes")
    assert told(capsys, "--family", "distill", "--yes")["outcome"] == "nothing_to_do"
    assert newest(corpus).number == 2
    assert run_recipe(corpus / "recipe.toml", corpus / "corpus")[0] == []


def test_a_retracted_source_stays_out_under_another_policy(
    tmp_path: Path, new_server: Callable[..., ScriptedServer], capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """Its seeds are screened out, with all that will come of that source, and no model sees them again."""
    monkeypatch.chdir(tmp_path)
    server = new_server()
    sources = "\n".join(
        f'[[sources]]\nid = "{name}"\nkind = "jsonl"\npaths = ["{name}/*.jsonl"]\nlicense = "CC0-1.0"\ncolumns.id = "id"'
        for name in ("good", "bad")
    )
    canaries = "[ingest]\npartition_rows = 3\ncanary_share = 0.5"
    recipe = write_recipe(tmp_path, server.base_url, sources=sources, ingest=canaries)
    write_seeds(tmp_path / "good/a.jsonl", range(4))
    write_seeds(tmp_path / "bad/a.jsonl", range(10, 14))
    run_recipe(recipe, tmp_path / "corpus")
    assert {row["source_id"] for row in shard_rows(tmp_path / "corpus")} >= {"good", "bad"}
    told(capsys, "--source", "bad", "--yes")
    assert {row["source_id"] for row in shard_rows(tmp_path / "corpus")} == {"good"}
    write_seeds(tmp_path / "bad/b.jsonl", range(14, 17))
    write_seeds(tmp_path / "good/b.jsonl", range(4, 6))
    asked = len(server.entries())
    (made,), _ = run_recipe(recipe, tmp_path / "corpus", ["families.distill.options.max_tokens=333"])
    assert made.continues is None
    assert {row["source_id"] for row in shard_rows(tmp_path / "corpus")} == {"good"}
    new = [json.dumps(entry) for entry in server.entries()[asked:]]
    assert new
    home = tmp_path / "corpus"
    seeds = [row for place in made.objects["generate"] for row in _table(home, place, "asks")]
    sources_of = {row["id"]: row for place in made.objects["ingest"] for row in _seeds(home, place)}
    assert {sources_of[row["seed_id"]]["source_id"] for row in seeds} <= {"good", "canaries"}
    of_canaries = {json.loads(sources_of[row["seed_id"]]["meta"] or "{}").get("canary_of") for row in seeds} - {None}
    assert {sources_of[seed_id]["source_id"] for seed_id in of_canaries} == {"good"}
    drops = [row for place in made.objects["screen"] for row in _table(home, place, "drops")]
    assert {row["step"] for row in drops} == {"retract"}
    assert all("bad: the author asked" in row["evidence"] for row in drops)


def _table(home: Path, place: str, name: str) -> list[dict[str, Any]]:
    return list(rows.read_table(home / place / f"{name}.parquet").to_pylist())


def _seeds(home: Path, place: str) -> list[dict[str, Any]]:
    return [row for path in sorted((home / place).glob("seeds-*")) for row in rows.read_table(path).to_pylist()]


def test_a_retracted_document_stays_out_under_another_policy(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doc_id = shard_rows(corpus / "corpus")[0]["doc_id"]
    told(capsys, "--sql", f"SELECT id FROM documents WHERE id = '{doc_id}'", "--yes")
    gates = 'keep.gates=[{column="words", min=1, reason="short"}]'
    (made,), engine = run_recipe(corpus / "recipe.toml", corpus / "corpus", [gates])
    assert engine.stats.attempts == 0
    assert made.continues is None
    assert len(shard_rows(corpus / "corpus")) == 19
    assert doc_id not in {row["doc_id"] for row in shard_rows(corpus / "corpus")}
    again, _ = run_recipe(corpus / "recipe.toml", corpus / "corpus")
    assert doc_id not in {row["doc_id"] for row in shard_rows(corpus / "corpus")}
    assert len(again) == 1


def test_only_what_holds_a_retracted_seed_is_made_again(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = corpus / "corpus"
    seed = shard_rows(home)[0]["seed_id"]
    before = set(Store(home).objects("objects/generate"))
    told(capsys, "--seed", seed, "--yes")
    gates = 'keep.gates=[{column="words", min=1, reason="short"}]'
    _, engine = run_recipe(corpus / "recipe.toml", home, [gates])
    assert engine.stats.attempts == 0
    new = set(Store(home).objects("objects/generate")) - before
    assert len({place.split("/")[2] for place in new}) == 1  # one partition, both families
    assert seed not in {row["seed_id"] for row in shard_rows(home)}


def test_what_went_speaks_for_nothing_later(
    tmp_path: Path, scripted_server: ScriptedServer, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """A near-duplicate of a retracted document is no duplicate any more."""
    monkeypatch.chdir(tmp_path)
    near = {f"s{number}": f"{passage(number)} [[scripted: near=5]]" for number in (0, 10)}
    write_recipe(tmp_path, scripted_server.base_url, families='[[families]]\nname = "distill"')
    write_seeds(tmp_path / "seeds/a.jsonl", range(4), **near)
    run_recipe(tmp_path / "recipe.toml", tmp_path / "corpus")
    seeds = [row for place in newest(tmp_path).objects["ingest"] for row in _seeds(tmp_path / "corpus", place)]
    (first,) = (row["id"] for row in seeds if "near=5" in row["text"])
    told(capsys, "--seed", first, "--yes")
    write_seeds(tmp_path / "seeds/b.jsonl", range(10, 13), **near)
    (made,), _ = run_recipe(tmp_path / "recipe.toml", tmp_path / "corpus")
    assert (made.number, made.continues) == (3, 2)
    assert _table(tmp_path / "corpus", made.objects["resolve"][0], "drops") == []
    assert len(shard_rows(tmp_path / "corpus")) == 3 + 3
    assert len(made.retractions) == 1
    assert main(["audit"]) == 0


def test_two_retractions_follow_each_other(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = corpus / "corpus"
    first, second = sorted({row["seed_id"] for row in shard_rows(home)})[:2]
    told(capsys, "--seed", first, "--yes")
    told(capsys, "--seed", second, "--yes")
    assert len(shard_rows(home)) == 16
    assert {row["seed_id"] for row in shard_rows(home)}.isdisjoint({first, second})
    assert len(answer(corpus, "SELECT * FROM rows")) == 16
    assert main(["audit"]) == 0


def test_everything_can_be_retracted(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, "--model", "scripted@1", "--yes")
    assert said["released"] == 20
    assert (newest(corpus).shards, shard_rows(corpus / "corpus")) == ([], [])
    assert answer(corpus, "SELECT * FROM kept") == []
    assert main(["audit"]) == 0


def test_a_release_that_still_lists_it_fails_the_audit(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand the old shards and index are put back into the release's list."""
    told(capsys, "--family", "distill", "--yes")
    home = corpus / "corpus"
    path = home / newest(corpus).path
    value, old = json.loads(path.read_bytes()), releases.load(Store(home), "small", 1)
    path.write_text(json.dumps({**value, "shards": old.shards, "index": old.index}))
    capsys.readouterr()
    assert main(["audit", "--json"]) == 3
    checks = {one["check"]: one["violations"] for one in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["tombstones_gone"] == 20  # ten in shards, ten in the index


KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from flows.cli import main
left, link = [{after}], os.link
def counted(*arguments, **more):
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    link(*arguments, **more)
os.link = counted
sys.exit(main(["retract", "small", "--family", "distill", "--because", "the author asked", "--yes"]))
"""


@pytest.mark.parametrize("after", [0, 1, 2])
def test_killed_before_it_commits_there_is_no_release_and_the_same_command_makes_it(
    corpus: Path, after: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the retraction's manifest, before that of its audit, before the release."""
    command = [sys.executable, "-c", KILLED.format(root=str(ROOT), after=after)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -9
    assert newest(corpus).number == 1
    assert len(shard_rows(corpus / "corpus")) == 20
    assert told(capsys, "--family", "distill", "--yes")["new_release"] == 2
    assert {row["family"] for row in shard_rows(corpus / "corpus")} == {"diverse_qa"}


WRONG = [
    pytest.param(["--source", "text"], r"did you mean 'texts'", id="source"),
    pytest.param(["--license", "MIT"], r"CC0-1\.0", id="licence"),
    pytest.param(["--family", "destill"], r"did you mean 'distill'", id="family"),
    pytest.param(["--model", "scripted"], r"scripted@1", id="model"),
    pytest.param(["--seed", "abc"], r"too short", id="short id"),
    pytest.param(["--seed", "0" * 64], r"no seed begins", id="unknown id"),
    pytest.param(["--sql", "SELECT id FROM documents WHERE false"], r"0 ids", id="empty answer"),
    pytest.param(["--sql", "SELECT family, text FROM documents"], r"none is called id", id="no id"),
    pytest.param(["--sql", "SELECT count(*) FROM documents"], r"holds no ids", id="no text"),
    pytest.param(["--sql", "SELECT nothing FROM documents"], r"nothing", id="wrong SQL"),
]


def test_wrong_input_is_refused_in_the_users_words(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for param in WRONG:
        arguments, words = param.values
        assert retract(*arguments, "--yes") == 2, param.id
        printed = capsys.readouterr().err
        assert re.search(words, printed), (param.id, printed)
        assert "Traceback" not in printed
    assert main(["retract", "small", "--family", "distill", "--because", " ", "--yes"]) == 2
    assert main(["retract", "smal", "--family", "distill", *BECAUSE]) == 2
    assert "did you mean 'small'" in capsys.readouterr().err
    assert main(["retract", "small", "--family", "distill", *BECAUSE, "--home", "elsewhere"]) == 2
    assert not Path("elsewhere").exists()
    assert newest(corpus).number == 1


def test_the_home_is_locked(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(corpus / "corpus").lock("another run"):
        assert retract("--family", "distill", "--yes") == 2
        assert "another run" in capsys.readouterr().err
    assert newest(corpus).number == 1


def test_a_rule_names_seeds_by_ancestor_source_and_licence(tmp_path: Path) -> None:
    table = rows.table(
        [
            {"id": "a", "root_id": "a", "source_id": "one", "license": "MIT"},
            {"id": "b", "root_id": "a", "source_id": "two", "license": "CC0-1.0"},
            {"id": "c", "root_id": "c", "source_id": "two", "license": None},
        ],
        rows.SEED,
    )
    rows.write_table(table, tmp_path / "seeds.parquet")
    driver = Driver(Store(tmp_path), tmp_path / "scratch")
    file = File("seeds.parquet", file_sha256(tmp_path / "seeds.parquet"), 0)

    def named(kind: str, *values: str) -> list[str]:
        entry = {"kind": kind, "values": values, "because": "why"}
        return list(Retracted([entry], driver.verified).seeds(file))

    assert named("seed", "a") == ["a", "b"]
    assert named("source", "two") == ["b", "c"]
    assert named("license", "MIT", "CC0-1.0") == ["a", "b"]
    assert named("family", "qa") == []
