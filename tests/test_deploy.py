"""Schedules as users meet them: a deployment that is really served, fires, skips, fails, dies and is removed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import deployments
from flows.cli import main
from flows.commands import deploy
from flows.deployments import Deployment, in_words
from synth import releases
from synth.errors import UserError
from synth.store import Store
from tests.conftest import ROOT
from tests.corpora import shard_rows, write_recipe, write_seeds
from tests.test_prefect import alive, post

MODEL = '[models.m]\nbackend = "scripted"'
RUN = "[run]\ngrace_seconds = 1\n[run.notify]\ncommand = ['./hook.sh']\n[run.models.m]\nin_flight = 2\nargs = {args}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe over four seeds, with a hook that keeps what it is told; deployments of its own."""
    monkeypatch.setenv("SYNTH_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    write_seeds(tmp_path / "seeds/a.jsonl", range(4))
    recipe(tmp_path)
    (tmp_path / "hook.sh").write_text(f'#!/bin/sh\n(cat; echo) >> "{tmp_path}/told.jsonl"\n')
    (tmp_path / "hook.sh").chmod(0o755)
    return tmp_path


def recipe(folder: Path, latency_seconds: float = 0.0) -> None:
    args = json.dumps(["--latency-seconds", str(latency_seconds)])
    write_recipe(folder, "", models=MODEL, run=RUN.format(args=args), families='[[families]]\nname = "distill"')


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `synth deploy`; all that it started is gone at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "flows.cli", "deploy", str(folder / "recipe.toml"), *arguments]
        command += ["--home", str(folder / "corpus")]
        with (folder / "served.log").open("ab") as log:
            env = {**os.environ, "SYNTH_TEST_MARK": str(folder)}
            started.append(subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
    until(folder, lambda: not alive(folder), "children outlive the one who serves")


def until(folder: Path, holds: Callable[[], object], what: str, seconds: float = 150.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        log = folder / "served.log"
        assert not re.search("(?m)^synth: |^Traceback", log.read_text() if log.exists() else ""), log.read_text()
        assert time.monotonic() < deadline, f"{what}\n{log.read_text() if log.exists() else ''}\n{alive(folder)}"
        time.sleep(0.1)


def outcomes() -> dict[str, int]:
    """How firings ended so far."""
    tally: dict[str, int] = deployments.find("small").tally()["outcomes"]
    return tally


def count(outcome: str) -> int:
    return outcomes().get(outcome, 0) if deployments.known() else 0


def newest(folder: Path) -> releases.Release | None:
    return releases.newest(Store(folder / "corpus"), "small")


def told(folder: Path) -> list[dict[str, Any]]:
    path = folder / "told.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["deploy", "--list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    return dict(row)


@pytest.mark.timeout(600)
def test_a_schedule_releases_what_is_new_and_survives_what_goes_wrong(
    folder: Path, serve: Callable[..., subprocess.Popen[bytes]], capsys: pytest.CaptureFixture[str]
) -> None:
    process = serve("--every", "5s")
    until(folder, lambda: count("released") == 1, "the first firing releases")
    first = newest(folder)
    assert first is not None
    assert len(shard_rows(folder / "corpus")) == 4

    write_seeds(folder / "new.jsonl", range(10, 13))
    (folder / "new.jsonl").rename(folder / "seeds/b.jsonl")
    until(folder, lambda: count("released") == 2, "the second release")
    second = newest(folder)
    assert second is not None
    assert (second.number, second.continues) == (2, 1)
    summaries = [json.loads(path.read_text()) for path in sorted((folder / "corpus/runs").glob("*/summary.json"))]
    assert [one["asks"] for one in summaries] == [4, 3]  # only the new seeds were asked about
    assert len(shard_rows(folder / "corpus")) == 7

    idle = count("nothing_to_do")
    until(folder, lambda: count("nothing_to_do") > idle, "a firing that finds nothing to do")
    assert len(list((folder / "corpus/runs").iterdir())) == 2  # it was no run: no model, no record
    assert [(event["event"], event["release"]) for event in told(folder)] == [("released", 1), ("released", 2)]

    row = listed(capsys)
    assert (row["name"], row["schedule"], row["served"], row["process"]) == ("small", "every 5s", True, process.pid)
    assert row["next"] > row["last"]["at"]
    assert row["outcomes"]["released"] == 2
    artifacts(row["api_url"], second)

    good = (folder / "recipe.toml").read_text()
    (folder / "recipe.toml").write_text("name = ")
    until(folder, lambda: count("failed") == 1, "a broken recipe fails its firing")
    (folder / "recipe.toml").write_text(good)
    until(folder, lambda: len(told(folder)) >= 3, "the failure is told to the hook that the recipe named before")
    assert told(folder)[2]["event"] == "failed"
    assert "is not valid TOML" in told(folder)[2]["error"]
    idle = count("nothing_to_do")
    until(folder, lambda: count("nothing_to_do") > idle, "the schedule goes on")

    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert alive(folder) == []
    assert not listed(capsys)["served"]


def artifacts(api_url: str, release: releases.Release) -> None:
    """What the server shows of a release: a row per family, where everything lies, how far the run is."""
    found = {one["key"]: one for one in post(f"{api_url}/artifacts/latest/filter")}
    table = json.loads(found["synth-small-release"]["data"])
    assert [(row["family"], row["documents"], row["kept"]) for row in table] == [("distill", 3, 3), ("all", 3, 3)]
    assert found["synth-small-release"]["description"].startswith("small: release 2: 3 of 3 documents kept")
    assert all(shard["path"] in found["synth-small-files"]["data"] for shard in release.shards[-1:])
    progress: Any = found["synth-small-progress"]["data"]
    assert float(progress) == 100.0


@pytest.mark.schedule
@pytest.mark.timeout(600)
def test_a_run_that_still_goes_is_not_doubled_and_one_that_is_killed_is_taken_up(
    folder: Path, serve: Callable[..., subprocess.Popen[bytes]], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe(folder, latency_seconds=60)
    process = serve("--every", "5s")
    until(folder, lambda: count("still_running") >= 2, "firings find an earlier one running")
    assert outcomes().keys() == {"still_running"}
    assert len(list((folder / "corpus/runs").iterdir())) == 1
    assert listed(capsys)["running"]
    (holder,) = re.findall(r"process (\d+)", (folder / "corpus/.lock").read_text())
    recipe(folder)
    os.kill(int(holder), signal.SIGKILL)
    until(folder, lambda: told(folder), "the death of a firing is told")
    assert [event["event"] for event in told(folder)][:1] == ["failed"]
    assert "the process of the firing died" in told(folder)[0]["error"]
    until(folder, lambda: count("released") == 1, "the next firing finishes")
    assert count("failed") == 1
    assert len(shard_rows(folder / "corpus")) == 4

    write_seeds(folder / "new.jsonl", range(10, 13))
    recipe(folder, latency_seconds=60)
    (folder / "new.jsonl").rename(folder / "seeds/b.jsonl")
    until(folder, lambda: list((folder / "corpus/scratch").rglob("journal.sqlite")), "a firing asks again")
    process.kill()  # the one who serves: the firing goes with it
    until(folder, lambda: not alive(folder), "nothing outlives the one who serves")
    time.sleep(3)  # firings are missed, here and while the next server starts

    recipe(folder)
    before = sum(outcomes().values())
    process = serve("--every", "1h")
    until(folder, lambda: count("released") == 2, "served again, it goes on at once")
    assert len(shard_rows(folder / "corpus")) == 7
    assert sum(outcomes().values()) == before + 1  # what was missed is not made up for
    assert main(["deploy", "--remove", "small"]) == 0
    assert deployments.known() == {}
    assert process.wait(30) == 0
    assert alive(folder) == []
    assert newest(folder) is not None


# What is refused, before a server is started


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "wants a recipe, or --list, or --remove", id="nothing"),
        pytest.param(["recipe.toml", "--list"], "given:   recipe, list", id="two things"),
        pytest.param(["recipe.toml"], "wants --cron or --every", id="no schedule"),
        pytest.param(["recipe.toml", "--every", "1h", "--cron", "0 2 * * *"], "not both", id="two schedules"),
        pytest.param(["recipe.toml", "--every", "10"], r"no interval.*given:   10.*90s, 10m", id="no unit"),
        pytest.param(["recipe.toml", "--every", "10m later"], "no interval", id="words"),
        pytest.param(["recipe.toml", "--every", "2s"], "shorter than a firing", id="too often"),
        pytest.param(["recipe.toml", "--cron", "0 2 * *"], r"4 fields.*\"0 2 \* \* \*\"", id="four fields"),
        pytest.param(["recipe.toml", "--cron", "0 0 2 * * *"], "6 fields", id="six fields"),
        pytest.param(["recipe.toml", "--cron", "61 2 * * *"], r"no cron expression.*given:   61 2", id="minute 61"),
        pytest.param(["recipe.toml", "--cron", "0 0 30 2 *"], "such a day never comes", id="30 February"),
        pytest.param(
            ["recipe.toml", "--cron", "0 2 * * *", "--timezone", "Europe/Berlim"], "mean 'Europe/Berlin'", id="zone"
        ),
        pytest.param(
            ["recipe.toml", "--every", "1h", "--timezone", "UTC"], "goes with --cron", id="zone of an interval"
        ),
        pytest.param(["recip.toml", "--every", "1h"], "no such recipe: recip.toml", id="recipe"),
        pytest.param(["recipe.toml", "--every", "1h", "--set", "run.workrs=1"], "did you mean 'workers'", id="field"),
        pytest.param(["recipe.toml", "--every", "1h", "--name", "../up"], r"no name.*given:   \.\./up", id="name"),
        pytest.param(["--remove", "smal"], r"no such deployment: smal; did you mean 'small'", id="remove"),
    ],
)
def test_what_is_wrong_is_refused(
    folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--remove" in arguments:
        Deployment("small", "r.toml", "h", every_seconds=60).save()
    assert main(["deploy", *arguments]) == 2
    assert re.search(f"(?s){message}", capsys.readouterr().err)
    assert not (folder / "corpus").exists()


def test_one_name_is_one_home_and_one_process(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = Deployment("small", "recipe.toml", str(folder / "corpus"), every_seconds=60, pid=os.getpid())
    held.save()
    with held.serving() as ours:
        assert ours
        assert main(["deploy", "recipe.toml", "--every", "1h"]) == 2
        assert f"served already, by process {os.getpid()}" in capsys.readouterr().err
    assert main(["deploy", "recipe.toml", "--every", "1h", "--home", "elsewhere"]) == 2
    assert "on another home" in capsys.readouterr().err


def test_the_list_is_read_without_a_server(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", "--list"]) == 0
    assert "nothing is deployed" in capsys.readouterr().out
    one = Deployment(
        "small", "recipe.toml", "corpus", cron="0 2 * * *", timezone="Europe/Berlin", api_url="http://x/api"
    )
    one.save()
    at = "2026-01-02T03:04:05+00:00"
    one.count({"outcome": "released", "text": "release 1: all", "at": at, "release": 1, "error": None})
    one.count({"outcome": "still_running", "text": "an earlier firing still runs", "at": at, "release": None})
    row = listed(capsys)
    assert row["outcomes"] == {"released": 1, "still_running": 1}
    assert (row["last"]["release"], row["served"], row["next"]) == (1, False, None)
    assert main(["deploy", "--list"]) == 0
    printed = capsys.readouterr().out
    assert 'cron "0 2 * * *" (Europe/Berlin)' in printed
    assert "2026-01-02 04:04:05 release 1: all" in printed


def test_state_is_for_its_user_alone(folder: Path) -> None:
    Deployment("small", "recipe.toml", "corpus", every_seconds=60, notify={"url": "https://example.com/secret"}).save()
    assert (deployments.find("small").folder / "deployment.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("given", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1d", 86400), ("2H", 7200)]
)
def test_intervals(given: str, seconds: int) -> None:
    assert deploy._seconds(given) == seconds
    assert deploy._seconds(in_words(seconds)) == seconds


def test_firings_follow_the_zone() -> None:
    from flows.deploy import next_firings

    nightly = Deployment("small", "r", "h", cron="30 2 * * *", timezone="America/New_York")
    firings = next_firings(nightly, 2)
    assert [(at.hour, at.minute) for at in firings] == [(2, 30), (2, 30)]
    assert all(
        at.utcoffset() is not None and at.utcoffset().total_seconds() in (-4 * 3600, -5 * 3600) for at in firings
    )  # type: ignore[union-attr]
    with pytest.raises(UserError, match="never comes"):
        next_firings(Deployment("small", "r", "h", cron="0 0 31 4 *"))
