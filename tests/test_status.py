"""Watching a run: the status that other shells read, the line, and the last words, of runs that go on, end or are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows import status
from flows.cli import main
from flows.closing import closing_lines
from flows.display import clock, endpoints_text, paid_text, progress_line, usd_text
from flows.live import plain_seconds
from flows.status import StatusFile
from synth.store import Store
from tests.conftest import ROOT, ScriptedServer
from tests.corpora import passage, write_recipe, write_seeds

PRICES = "usd_per_million_prompt_tokens = 10.0\nusd_per_million_completion_tokens = 40.0"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with twenty seeds."""
    monkeypatch.chdir(tmp_path)
    write_seeds(tmp_path / "seeds/a.jsonl", range(20))
    return tmp_path


def priced(folder: Path, *urls: str, more: str = "in_flight = 4", **blocks: str) -> Path:
    places = json.dumps(list(urls))
    price = f"[run.models.m]\nbase_urls = {places}\n{PRICES}\n{more}"
    return write_recipe(folder, "", run="[run]\ngrace_seconds = 5", price=price, **blocks)


def status_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert main(["status", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def status_text(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["status", *arguments]) == 0
    return capsys.readouterr().out


def start(recipe: Path, home: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flows.cli", "run", str(recipe), "--home", str(home), "--no-prefect", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def wait_for(process: subprocess.Popen[str], seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not seen():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_run_is_watched_killed_gone_on_with_and_stopped(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    new_server: Callable[..., ScriptedServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, home = new_server("--latency-seconds", "0.4"), folder / "corpus"
    recipe, option = priced(folder, server.base_url, more="in_flight = 1"), ["--set", "run.workers=1"]
    process = start(recipe, home, *option)

    def answers() -> int:
        """Of the run that was started last."""
        shown = status.newest(Store(home)) if (home / "home.json").exists() else None
        return shown["asks"] if shown and shown["process"] == process.pid else 0

    wait_for(process, lambda: answers() > 0)
    value = status_json(capsys)
    assert (value["state"], value["process"], value["outcome"]) == ("running", process.pid, None)
    assert (value["documents"]["expected"], value["partitions"]["total"]) == (40, 5)
    assert 0 < value["asks"] <= value["documents"]["done"] + 4
    assert 0 < value["usd"] < value["usd_expected"]
    assert value["endpoints"][0]["state"] == "up" and value["endpoints"][0]["where"] == server.base_url
    text = status_text(capsys)
    assert "goes on (process" in text and "m/0" in text and "of ~$" in text
    process.kill()
    process.communicate()
    assert status_json(capsys)["state"] == "killed"
    text = status_text(capsys)
    assert (
        "was killed" in text and f"To go on: synth run {recipe} --home {home} --set run.workers=1 --no-prefect" in text
    )
    sent = len({entry["digest"] for entry in server.entries() if entry["event"] == "answer"})

    process = start(recipe, home, *option)
    wait_for(process, lambda: answers() > 0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    value = status_json(capsys)
    assert (value["state"], value["outcome"]) == ("ended", "interrupted")
    assert value["documents"]["done"] >= sent - 1  # the one in flight at the kill may be lost
    words = err[err.index("stopped, as told") :].splitlines()
    assert words == value["closing"]
    assert re.search(r"  done   \d of 5 partitions, \d+ of ~40 documents", words[1])
    assert re.search(rf"  paid   {value['asks']} answers, [\d,]+ tokens read, [\d,]+ written: \$0\.\d+ by", words[2])
    assert re.search(r"  left   ~\d+ documents, ~\d+:\d+ at this speed, ~\$0\.\d+ more", words[3])
    assert words[4] == f"To go on: synth run {recipe} --home {home} --set run.workers=1 --no-prefect"


def test_it_looks_without_a_lock_and_changes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], scripted_server: ScriptedServer
) -> None:
    priced(folder, scripted_server.base_url)
    assert main(["status"]) == 2
    assert "no home at" in capsys.readouterr().err and not (folder / "corpus").exists()
    Store.open(folder / "corpus")
    assert "no run yet" in status_text(capsys)
    assert status_json(capsys) is None
    assert main(["run", "recipe.toml", "--no-prefect"]) == 0
    with Store.open(folder / "corpus").lock("another run"):
        before = {path: path.stat().st_mtime_ns for path in (folder / "corpus").rglob("*")}
        text = status_text(capsys)
        assert {path: path.stat().st_mtime_ns for path in (folder / "corpus").rglob("*")} == before
    assert ": released at " in text and "again: synth run recipe.toml --no-prefect" in text


def test_at_its_end_all_is_done_whatever_was_found(
    folder: Path, capsys: pytest.CaptureFixture[str], scripted_server: ScriptedServer
) -> None:
    """The first run is ended by a budget; the second finds its objects and journals, and counts them once."""
    priced(folder, scripted_server.base_url)
    assert main(["run", "recipe.toml", "--no-prefect", "--set", "run.budget.max_asks=17"]) == 0
    first = status_json(capsys)
    assert first["outcome"] in ("released", "budget_reached") and first["documents"]["expected"] == 40
    assert "raise [run.budget] and run: synth run recipe.toml" in first["closing"][-1]
    assert main(["run", "recipe.toml", "--no-prefect"]) == 0
    second = status_json(capsys)
    assert second["documents"]["done"] == second["documents"]["expected"]
    assert second["partitions"]["done"] == second["partitions"]["total"]
    assert first["asks"] + second["asks"] == 40
    assert second["outcome"] == "released" and second["closing"] == []


def test_the_slowest_endpoint_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], new_server: Callable[..., ScriptedServer]
) -> None:
    fast, slow = new_server("--latency-seconds", "0.02"), new_server("--latency-seconds", "0.3")
    priced(folder, fast.base_url, slow.base_url, more="in_flight = 2")
    assert main(["run", "recipe.toml", "--no-prefect"]) == 0
    endpoints = status_json(capsys)["endpoints"]
    times = {one["name"]: one["seconds_per_answer"] for one in endpoints}
    assert times["m/0"] < 0.25 < times["m/1"]
    assert sum(one["answers"] for one in endpoints) == 40
    assert endpoints_text(endpoints).startswith("slowest m/1 ")
    assert "m/1 down" in endpoints_text([endpoints[0], {**endpoints[1], "state": "down"}])


def test_a_failed_gate_and_an_error_say_what_is_kept(
    folder: Path, capsys: pytest.CaptureFixture[str], new_server: Callable[..., ScriptedServer]
) -> None:
    marked = {f"s{number}": f"{passage(number)} [[scripted: outcome=refuse]]" for number in range(20)}
    write_seeds(folder / "seeds/a.jsonl", range(20), **marked)
    server = new_server()
    priced(folder, server.base_url)
    assert main(["run", "recipe.toml", "--no-prefect"]) == 3
    err = capsys.readouterr().err
    assert "a check failed: nothing was released, and all that was made is kept" in err
    assert err.index("To go on: synth run recipe.toml") < err.index("nothing was released\n")
    assert "  paid   40 answers" in err and "  left " not in err
    write_seeds(folder / "seeds/a.jsonl", range(20))
    priced(
        folder, server.base_url, more="max_attempts = 1\noutage_seconds = 0.1", ingest="[ingest]\npartition_rows = 5"
    )
    server.stop()
    assert main(["run", "recipe.toml", "--no-prefect", "--home", "other"]) == 1
    value = status_json(capsys, "--home", "other")
    assert value["outcome"] == "failed"


def test_logs_of_our_own_servers_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = '[models.m]\nbackend = "scripted"'
    write_recipe(folder, "", models=models, run="[run]")
    assert main(["run", "recipe.toml", "--no-prefect"]) == 0
    (log,) = [one["log"] for one in status_json(capsys)["endpoints"]]
    assert Path(log).is_file()
    assert f"log of m/0: {log}" in status_text(capsys)
    assert status.last_lines(Path(log)) == Path(log).read_text().splitlines()[-3:]
    assert status.last_lines(folder / "none") == []


# --- whether a run is alive


def written(folder: Path, **changes: Any) -> Store:
    """A home whose newest run wrote a status a moment ago, in this process."""
    store = Store.open(folder / "home")
    progress = {"elapsed_seconds": 1.0}
    StatusFile(store, "20260101-000000-aaaa", {"recipe": "r", "again": "synth run r"}).write({**progress, **changes})
    return store


def state_of(store: Store) -> str:
    found = status.newest(store)
    assert found is not None
    return str(found["state"])


def test_a_process_of_the_same_number_is_not_the_run(tmp_path: Path) -> None:
    assert state_of(written(tmp_path)) == "running"
    assert state_of(written(tmp_path, process_started="another boot/1")) == "killed"
    assert status.process_started(os.getpid()) == status.process_started(os.getpid()) is not None
    assert status.process_started(2**22 + 1) is None


@pytest.mark.parametrize(("age_seconds", "state"), [(5, "running"), (600, "silent")])
def test_a_run_on_another_machine_is_believed_while_it_speaks(tmp_path: Path, age_seconds: int, state: str) -> None:
    moment = (datetime.now(UTC) - timedelta(seconds=age_seconds)).isoformat(timespec="seconds")
    assert state_of(written(tmp_path, host=f"not-{socket.gethostname()}", updated_at=moment)) == state


def test_runs_of_older_versions_have_no_status(tmp_path: Path) -> None:
    store = written(tmp_path)
    (store.root / "runs/20270101-000000-bbbb").mkdir()
    assert state_of(store) == "running"


def test_writing_is_rare_and_never_stops_a_run(tmp_path: Path) -> None:
    class Full(Store):
        writes = 0

        def replace(self, path: str, data: bytes) -> None:
            self.writes += 1
            raise OSError(28, "No space left on device")

    store = Full(tmp_path)
    file = StatusFile(store, "run", {})
    for _ in range(100):
        file.write({})
    assert store.writes == 1
    file.end({}, "released", [])
    assert store.writes == 2


# --- words


def endpoint(name: str = "m/0", state: str = "up", seconds: float | None = 1.0) -> dict[str, Any]:
    return {"name": name, "state": state, "seconds_per_answer": seconds, "log": f"/logs/{name}"}


VALUE: dict[str, Any] = {
    "stage": "generate",
    "elapsed_seconds": 3723.0,
    "partitions": {"done": 3, "total": 10},
    "documents": {"done": 1234, "expected": 4000},
    "kept_share": 0.63,
    "asks": 1300,
    "in_flight": 16,
    "unanswered": 2,
    "faults": 2,
    "prompt_tokens": 1_000_000,
    "completion_tokens": 500_000,
    "tokens_per_second": 1204.0,
    "usd": 1.2345,
    "usd_expected": 4.5,
    "unpriced_models": [],
    "seconds_left": 7200,
    "endpoints": [endpoint(), endpoint("m/1", seconds=9.5)],
}


def test_the_line_says_all_and_leaves_out_what_says_least() -> None:
    line = progress_line("small", VALUE)
    assert line == (
        "1:02:03 small: generate · documents 1,234/~4,000 · kept 63% · 1,204 tokens/s · 16 in flight · $1.23 of ~$4.50 · "
        "~2:00:00 left · slowest m/1 9.5 s/answer · 2 faults"
    )
    assert progress_line("small", VALUE, 100) == (
        "1:02:03 small: generate · documents 1,234/~4,000 · 1,204 tokens/s · $1.23 of ~$4.50 · ~2:00:00 left"
    )
    assert progress_line("small", VALUE, 80).endswith("~2:00:00 left")


@given(st.integers(1, 250), st.text(max_size=70))
def test_the_line_never_is_wider_than_the_terminal(width: int, name: str) -> None:
    line = progress_line(name, VALUE, width)
    assert len(line) <= width
    assert line.startswith("1:02:03 "[: width - 1])


def test_a_month_of_plain_lines_fills_no_disk() -> None:
    elapsed, lines = 10.0, 0
    while elapsed < 31 * 86400:
        elapsed += plain_seconds(elapsed)
        lines += 1
    assert 12 + 58 < lines < 5000


def test_last_words_name_what_is_lost_and_price_nothing_unpriced() -> None:
    words = closing_lines(VALUE, "interrupted", "synth run r.toml")
    assert words == [
        "stopped, as told (after 1:02:03)",
        "  done   3 of 10 partitions, 1,234 of ~4,000 documents (63% of those judged are kept); "
        "every answer is kept and paid once",
        "  paid   1,300 answers, 1,000,000 tokens read, 500,000 written: $1.23 by the recipe's prices; 18 more were in flight: "
        "their answers are lost, and may be paid",
        "  left   ~2,766 documents, ~2:00:00 at this speed, ~$3.27 more",
        "To go on: synth run r.toml",
    ]
    free = {**VALUE, "usd": None, "usd_expected": None, "unpriced_models": ["m"]}
    text = "\n".join(closing_lines(free, "failed", "synth run r.toml"))
    assert "$" not in text and "no price in [run.models.m]" in text
    assert "  logs   /logs/m/0, /logs/m/1" in text


def test_amounts_read_well() -> None:
    assert [usd_text(one) for one in (0, 0.00001, 0.1234, 12.3456, 12345.6)] == [
        "$0",
        "under $0.0001",
        "$0.1234",
        "$12.35",
        "$12,346",
    ]
    assert [clock(one) for one in (7, 751, 3723, 200_000)] == ["0:07", "12:31", "1:02:03", "2 d 07:33"]
    assert paid_text({"usd": 0.0, "unpriced_models": ["a", "b"]}) == "no price in [run.models.a], [run.models.b]"
    assert (
        paid_text({"usd": 2.0, "unpriced_models": ["b"]}) == "$2.00 by the recipe's prices (no price in [run.models.b])"
    )
