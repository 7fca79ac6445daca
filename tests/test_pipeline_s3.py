"""The promises of a run on a home on S3: the same bytes as in a folder, from any machine, and nothing paid twice."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli import main
from flows.journals import JournalCopies
from synth import lease, releases
from synth.audit.catalog import build_catalog
from synth.audit.sql import query
from synth.engine.journal_copies import unpack
from synth.errors import HomeError
from synth.store import Store
from tests.conftest import ROOT, ScriptedServer
from tests.corpora import run_recipe, shard_files, write_recipe, write_seeds
from tests.s3_server import Faults, aws_environment, new_home, proxy, puts, use


@pytest.fixture
def folder(tmp_path: Path, s3: str, scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with ten seeds and a recipe over them."""
    monkeypatch.chdir(tmp_path)
    write_seeds(tmp_path / "seeds/a.jsonl", range(10))
    write_recipe(tmp_path, scripted_server.base_url)
    return tmp_path


def other_machine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """From here on this process has a mirror and a scratch of its own, which are empty."""
    number = len(list(folder.glob("machine*")))
    (folder / f"machine{number}").mkdir()
    monkeypatch.setenv("SYNTH_CACHE", str(folder / f"machine{number}"))


def shards_of(home: str) -> dict[str, str]:
    """Name -> sha256 of the shards of the newest release."""
    release = releases.newest(Store.at(home), "small")
    assert release is not None
    return {shard["path"].rpartition("/")[2]: shard["sha256"] for shard in release.shards}


def test_the_same_shards_as_in_a_folder_and_nothing_is_made_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, home = folder / "recipe.toml", new_home()
    run_recipe(recipe, folder / "home")
    made, engine = run_recipe(recipe, home)  # type: ignore[arg-type]
    assert [release.number for release in made] == [1]
    assert engine.stats.asks == 20
    assert shards_of(home) == shard_files(folder / "home")
    places = [{one for one in Store.at(where).objects("objects") if "/audit/" not in one} for where in (home, "home")]
    assert places[0] == places[1]  # but the audit's, which reads who answered when

    other_machine(monkeypatch, folder)
    again, engine = run_recipe(recipe, home)  # type: ignore[arg-type]
    assert (again, engine.stats.attempts) == ([], 0)

    other_machine(monkeypatch, folder)
    gates = ['keep.gates=[{column="words", min=95, reason="short"}]']
    run_recipe(recipe, folder / "home", gates)
    made, engine = run_recipe(recipe, home, gates)  # type: ignore[arg-type]
    assert ([release.number for release in made], engine.stats.attempts) == ([2], 0)
    assert shards_of(home) == shard_files(folder / "home")

    other_machine(monkeypatch, folder)
    write_seeds(folder / "seeds/b.jsonl", range(10, 13))
    made, engine = run_recipe(recipe, home, gates)  # type: ignore[arg-type]
    assert ([(release.number, release.continues) for release in made], engine.stats.attempts) == ([(3, 2)], 6)


def test_a_run_in_a_bad_world_makes_the_same(
    folder: Path, s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A tenth of all requests is refused with SlowDown, a fifth of all writes loses its answer."""
    monkeypatch.setattr("synth.s3.FIRST_PAUSE_SECONDS", 0.01)
    played = Faults(slow_down_share=0.1)
    played.lose = lambda seen: bool(puts([seen], "")) and played.random.random() < 0.2
    run_recipe(folder / "recipe.toml", folder / "home")
    with proxy(s3, played) as endpoint:
        use(monkeypatch, endpoint, tmp_path / "cache")
        home = new_home()
        run_recipe(folder / "recipe.toml", home)  # type: ignore[arg-type]
        assert shards_of(home) == shard_files(folder / "home")
    assert played.slowed > 10
    assert played.lost > 10


def test_commands_on_a_home_on_s3(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = new_home()
    monkeypatch.setenv("SYNTH_HOME", home)
    assert main(["run", "recipe.toml", "--no-prefect"]) == 0
    printed = capsys.readouterr().out
    assert f"{home}/objects/shards/small/" in printed
    assert json.loads(Store.at(home).read(f"runs/{Store.at(home).names('runs')[0]}/run.json"))["home"] == home

    other_machine(monkeypatch, folder)
    assert main(["run", "recipe.toml", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["outcome"], told["home"]) == ("nothing_to_do", home)
    assert main(["plan", "recipe.toml", "--home", home]) == 0
    assert f"on the home {home}" in capsys.readouterr().out

    other_machine(monkeypatch, folder)
    assert main(["sql", "--json", "SELECT family, count(*) AS n FROM kept GROUP BY family ORDER BY family"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"family": "distill", "n": 10}, {"family": "diverse_qa", "n": 10}]
    copied = Counter(path.name for path in Store.at(home).root.rglob("*.parquet"))
    assert set(copied) == {"documents.parquet", "drops.parquet"}  # what the question reads, and not one file more

    assert main(["audit", "--json"]) == 0
    capsys.readouterr()
    victim = next(path for path in Store.at(home).files("objects/generate") if path.endswith("/asks.parquet"))
    data = Store.at(home).read(victim)
    Store.at(home).replace(victim, data[:-1] + bytes([data[-1] ^ 1]))
    assert main(["audit"]) == 1
    assert f"{home}/{victim} is not what its manifest says" in capsys.readouterr().err


def test_a_catalogue_is_as_new_as_the_last_run_of_any_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = new_home()
    here = folder / "here"
    monkeypatch.setenv("SYNTH_CACHE", str(here))
    run_recipe(folder / "recipe.toml", home)  # type: ignore[arg-type]
    mirror = Store.at(home).root
    with pytest.raises(HomeError, match=f"{home} has no catalogue"):
        query(mirror, "SELECT 1")
    build_catalog(mirror)
    count = "SELECT count(*) AS n FROM documents"
    assert query(mirror, count)["n"].to_pylist() == [20]
    other_machine(monkeypatch, folder)
    write_seeds(folder / "seeds/b.jsonl", range(10, 13))
    run_recipe(folder / "recipe.toml", home)  # type: ignore[arg-type]
    build_catalog(Store.at(home).root)
    monkeypatch.setenv("SYNTH_CACHE", str(here))
    assert query(mirror, count)["n"].to_pylist() == [26]


# Answers that are on their way when a machine is lost

ASKS = 48


def start(folder: Path, home: str, machine: str, *arguments: str) -> subprocess.Popen[str]:
    """`synth run` in a process of its own, as if on another machine."""
    environment = {**os.environ, **aws_environment(os.environ["AWS_ENDPOINT_URL"], folder / machine)}
    command = [sys.executable, "-m", "flows.cli", "run", "recipe.toml", "--no-prefect", "--home", home, *arguments]
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 90
    while not what():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def slow_recipe(folder: Path, server: ScriptedServer) -> None:
    """ASKS asks at four a time, in one partition of each family; answers are copied up every second."""
    write_seeds(folder / "seeds/a.jsonl", range(ASKS // 2))
    run = f'[run]\ngrace_seconds = 5\nupload_seconds = 1\n[run.models.m]\nbase_url = "{server.base_url}"\nin_flight = 4'
    write_recipe(folder, server.base_url, run=run, ingest="[ingest]\npartition_rows = 50")


def answers(server: ScriptedServer) -> Counter[str]:
    """How often each question was answered."""
    return Counter(entry["digest"] for entry in server.entries() if entry["event"] == "answer")


def test_another_machine_goes_on_where_a_stopped_run_was(
    folder: Path,
    new_server: Callable[..., ScriptedServer],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    slow, fast, home = new_server("--latency-seconds", "1.5"), new_server(), new_home()
    slow_recipe(folder, slow)
    run = start(folder, home, "first")
    wait_for(lambda: slow.log.exists() and slow.log.read_text().count('"answer"') >= 12, run)
    run.send_signal(signal.SIGINT)
    assert "To go on" in run.communicate(timeout=60)[0]
    assert run.returncode == 130
    paid = sum(answers(slow).values())
    assert 0 < paid < ASKS
    assert Store.at(home).files("journals")

    other_machine(monkeypatch, folder)
    again = ["--set", f"run.models.m.base_url={fast.base_url}"]
    assert main(["run", "recipe.toml", "--no-prefect", "--home", home, *again]) == 0
    assert f"{paid} answers of an earlier run on another machine are taken over" in capsys.readouterr().err
    assert set((answers(slow) + answers(fast)).values()) == {1}
    assert sum(answers(fast).values()) == ASKS - paid
    assert Store.at(home).files("journals") == {}
    attempts = "SELECT run, count(*) AS n FROM all_attempts WHERE status = 'ok' GROUP BY run ORDER BY min(started_at)"
    assert query(Store.at(home).root, attempts)["n"].to_pylist() == [paid, ASKS - paid]


def test_a_killed_machine_costs_what_was_not_yet_copied(
    folder: Path, new_server: Callable[..., ScriptedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast, home = new_server("--latency-seconds", "1.5"), new_server(), new_home()
    slow_recipe(folder, slow)
    run = start(folder, home, "first")
    wait_for(lambda: copied_answers(home) >= 4, run)
    run.kill()
    run.communicate()
    copied = brought(folder, home, monkeypatch)
    assert 4 <= copied < ASKS

    assert start_refused(folder, home)  # nobody can know yet that it is dead
    other_machine(monkeypatch, folder)
    monkeypatch.setattr(lease, "STALE_SECONDS", 0.0)
    monkeypatch.setattr(lease.Lease, "check", lambda self: None)
    again = ["--set", f"run.models.m.base_url={fast.base_url}"]
    assert main(["run", "recipe.toml", "--no-prefect", "--home", home, *again]) == 0
    assert sum(answers(fast).values()) == ASKS - copied
    assert Store.at(home).files("journals") == {}


def copied_answers(home: str) -> int:
    """How many answers of open partitions lie in the home; what is removed meanwhile has been published."""
    store, found = Store.at(home), 0
    for path in store.files("journals"):
        with contextlib.suppress(FileNotFoundError):
            found += sum(table == "answers" for table, _ in unpack(store.read(path), path))
    return found


def brought(folder: Path, home: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many answers a machine without any finds in the home."""
    other_machine(monkeypatch, folder)
    store = Store.at(home)
    return JournalCopies(store, store.root / "scratch", 1, print).bring({"distill", "diverse_qa"})


def start_refused(folder: Path, home: str) -> bool:
    run = start(folder, home, "refused")
    return "is in use by another run" in run.communicate(timeout=60)[0] and run.returncode == 2


def test_of_two_machines_one_runs(folder: Path, new_server: Callable[..., ScriptedServer]) -> None:
    server, home = new_server(), new_home()
    write_recipe(folder, server.base_url)
    both = [start(folder, home, name) for name in ("one", "two")]
    printed = [run.communicate(timeout=120)[0] for run in both]
    assert sorted(run.returncode for run in both) == [0, 2], printed
    assert any("is in use by another run" in text for text in printed)
    assert set(answers(server).values()) == {1}
    assert Store.at(home).names("releases/small") == ["0001.json"]


def test_journals_of_a_folder_are_not_copied(folder: Path) -> None:
    store = Store.open(folder / "home")
    copies = JournalCopies(store, store.root / "scratch", 0.01, print)
    (store.root / "journals/p/f/k").mkdir(parents=True)
    assert copies.bring({"f"}) == 0
    copies.start()
    copies.close()
    assert store.files("journals") == {}
