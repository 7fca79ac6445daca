"""Budgets, targets, dead letters and changed models, through the whole pipeline and the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from synth.store import Store
from tests.conftest import ScriptedServer
from tests.corpora import passage, run_recipe, shard_files, shard_rows, write_recipe, write_seeds

NewServer = Callable[..., ScriptedServer]


def run(path: Path, *arguments: str) -> int:
    return main(["run", str(path), "--home", str(path.parent / "corpus"), "--no-prefect", *arguments])


def sent(server: ScriptedServer) -> int:
    return sum(entry["event"] == "request" for entry in server.entries())


@pytest.fixture
def job(tmp_path: Path, new_server: NewServer) -> tuple[Path, ScriptedServer]:
    """Forty seeds in ten partitions, two families."""
    server = new_server("--latency-seconds", "0.05")
    write_seeds(tmp_path / "seeds/a.jsonl", range(40))
    return write_recipe(tmp_path, server.base_url), server


def test_a_budget_releases_what_is_complete_and_the_next_run_goes_on(
    job: tuple[Path, ScriptedServer], capsys: pytest.CaptureFixture[str]
) -> None:
    path, server = job
    assert run(path, "--set", "run.budget.max_asks=30", "--json", "--set", "run.open_partitions=2") == 0
    printed = capsys.readouterr()
    first = json.loads(printed.out)
    assert first["outcome"] == "released"
    assert first["limit"] == "max_asks = 30"
    assert 30 <= first["asks"] <= 30 + first["in_flight_at_limit"]
    assert "the budget is reached (max_asks = 30)" in printed.err
    assert "partitions are left" in printed.err
    assert 0 < len(shard_rows(path.parent / "corpus")) < 80
    assert run(path) == 0
    assert sent(server) == 80  # each ask once, over both runs
    assert len(shard_rows(path.parent / "corpus")) == 80


def test_a_budget_too_small_for_any_partition_says_so(
    job: tuple[Path, ScriptedServer], capsys: pytest.CaptureFixture[str]
) -> None:
    path, server = job
    assert run(path, "--set", "run.budget.max_asks=1", "--set", "run.models.m.in_flight=2") == 0
    assert "no partition is complete" in capsys.readouterr().err
    assert run(path) == 0
    assert sent(server) == 80


def test_a_target_of_kept_tokens_stops_at_whole_partitions_in_hash_order(
    job: tuple[Path, ScriptedServer], capsys: pytest.CaptureFixture[str]
) -> None:
    path, server = job
    one = ["run.open_partitions=2", "run.workers=1"]
    releases, _ = run_recipe(path, path.parent / "corpus", [*one, "run.budget.target_kept_tokens=1500"])
    assert len(releases) == 1
    done = releases[0].partitions
    assert 1 <= len(done) < 10
    assert done == sorted(done)
    asked = sent(server)
    assert asked == 8 * len(done)  # nothing was begun that is not released
    assert run(path, "--set", "run.budget.target_kept_tokens=1500") == 0
    assert "target_kept_tokens is 1,500" in capsys.readouterr().out
    assert sent(server) == asked
    assert run(path, "--set", "run.budget.target_kept_tokens=1000000") == 0
    assert len(shard_rows(path.parent / "corpus")) == 80


def test_dead_letters_are_final_until_they_are_retried_and_then_they_alone_are_sent(
    tmp_path: Path, new_server: NewServer
) -> None:
    server = new_server()
    write_seeds(tmp_path / "seeds/a.jsonl", range(12), s3=f"{passage(3)} [[scripted: fault=400*1]]")
    path = write_recipe(tmp_path, server.base_url, families='[[families]]\nname = "distill"')
    run_recipe(path, tmp_path / "corpus")
    assert len(shard_rows(tmp_path / "corpus")) == 11
    before = sent(server)
    _, again = run_recipe(path, tmp_path / "corpus")
    assert sent(server) == before
    _, again = run_recipe(path, tmp_path / "corpus", ["families.distill.retry_dead_letters=1"])
    assert again.stats.attempts == 1
    assert len(shard_rows(tmp_path / "corpus")) == 12


def test_a_model_that_changed_under_an_open_partition_is_refused(
    job: tuple[Path, ScriptedServer], capsys: pytest.CaptureFixture[str]
) -> None:
    path, server = job
    assert run(path, "--set", "run.budget.max_asks=10") == 0
    capsys.readouterr()
    asked = sent(server)
    assert run(path, "--set", "models.m.revision=r2") == 2
    said = capsys.readouterr().err
    assert "models.m: it changed while" in said
    assert "revision was 1, is r2" in said
    assert "--new-model" in said
    assert sent(server) == asked  # refused before anything was sent
    assert run(path, "--set", "models.m.revision=r2", "--new-model") == 0
    assert sent(server) == asked + 80  # the new model is asked everything
    rows = {tuple(row["models"]) for row in shard_rows(path.parent / "corpus")}
    assert rows == {("scripted@r2",)}


def test_the_same_model_goes_on(job: tuple[Path, ScriptedServer]) -> None:
    path, _ = job
    assert run(path, "--set", "run.budget.max_asks=10") == 0
    assert run(path, "--set", "roles.writer.sampling.temperature=0.5") == 0  # another policy of the same model
    assert Store(path.parent / "corpus").exists("releases/small/0001.json")


def test_a_run_under_a_budget_makes_the_same_bytes_as_one_without(
    job: tuple[Path, ScriptedServer], tmp_path: Path
) -> None:
    path, _ = job
    run_recipe(path, tmp_path / "whole")
    run_recipe(path, tmp_path / "parts", ["run.budget.max_asks=37"])
    run_recipe(path, tmp_path / "parts")
    whole: Any = sorted((row["doc_id"], row["text"]) for row in shard_rows(tmp_path / "whole"))
    assert sorted((row["doc_id"], row["text"]) for row in shard_rows(tmp_path / "parts")) == whole
    assert shard_files(tmp_path / "whole")
