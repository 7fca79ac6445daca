"""kill -9 at any operation and at any moment, and a disk that fills up: the same command finishes, byte for byte the same."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from synth import releases, rows
from synth.store import Store
from tests.conftest import ScriptedServer, start_scripted
from tests.corpora import shard_files, shard_rows, write_recipe, write_seeds
from tests.faults.crash import ForkServer, Mode, Op, build_shim, skip_reason

pytestmark = [pytest.mark.kill, pytest.mark.skipif(bool(skip_reason()), reason=skip_reason() or "runs here")]


@dataclass
class Arena:
    """A recipe over a scripted server, what an undisturbed run of it gives, and a warm process to kill."""

    folder: Path
    recipe: Path
    server: ScriptedServer
    forks: ForkServer
    ops: list[Op]
    expected: dict[str, str]

    def fresh_home(self) -> Path:
        home = self.folder / "homes" / f"{time.monotonic_ns()}"
        home.mkdir(parents=True)
        return home

    def crash(self, home: Path, at: int, mode: Mode) -> int:
        arguments = {"recipe": str(self.recipe), "home": str(home), "run_id": "first"}
        return self.forks.call("tests.kill_target:run", arguments, prefix=home, at=at, mode=mode).status

    def finish(self, home: Path) -> None:
        """The same command again must finish, with the same shards, and leave one release."""
        arguments = {"recipe": str(self.recipe), "home": str(home), "run_id": "second"}
        outcome = self.forks.call("tests.kill_target:run", arguments, prefix=home)
        assert outcome.status == 0, outcome.output
        assert shard_files(home) == self.expected
        assert Store(home).names("releases/small") == ["0001.json"]


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    folder = tmp_path_factory.mktemp("arena")
    server = start_scripted(folder / "server")
    write_seeds(folder / "seeds/a.jsonl", range(5))
    recipe = write_recipe(folder, server.base_url)
    modules = [
        "tests.kill_target",
        "tests.faults.warmed",
        "pyarrow.parquet",
        "pyarrow.dataset",
        "duckdb",
        "jsonschema",
        "uvloop",
    ]
    with ForkServer(build_shim(folder), folder / "forks", modules) as forks:
        home = folder / "undisturbed"
        home.mkdir()
        arguments = {"recipe": str(recipe), "home": str(home)}
        outcome = forks.call("tests.kill_target:run", arguments, prefix=home)
        assert outcome.status == 0, outcome.output
        yield Arena(folder, recipe, server, forks, outcome.ops, shard_files(home))
    server.stop()


def step_of(op: Op) -> str:
    """Where an operation belongs: the step, the release, the run's record …"""
    parts = op.path.split("/")
    return parts[1] if parts[0] in ("objects", "scratch") and len(parts) > 1 else parts[0]


def points(ops: list[Op], every: bool) -> list[int]:
    """All operations, or one of each kind in each place: the last, where most is at stake."""
    return [op.number for op in ops] if every else sorted({(op.name, step_of(op)): op.number for op in ops}.values())


@pytest.mark.parametrize("part", range(4))  # for two workers to share
@pytest.mark.parametrize("mode", ["kill", "after", "torn"])
@pytest.mark.timeout(7200)
def test_killed_at_an_operation(arena: Arena, mode: Mode, part: int, request: pytest.FixtureRequest) -> None:
    chosen = points(arena.ops, request.config.getoption("--every-kill-point"))
    if not request.config.getoption("--every-kill-point"):  # a sample that `make test` has time for
        chosen = chosen[:: {"kill": 2, "after": 6, "torn": 8}[mode]]
    for at in chosen[part::4]:
        home = arena.fresh_home()
        status = arena.crash(home, at, mode)
        assert status in (-9, 0), f"point {at}: {arena.ops[at - 1]}"  # 0: threads took another order, fewer operations
        arena.finish(home)
        shutil.rmtree(home)


def test_the_operations_cover_every_step(arena: Arena) -> None:
    """The points above are not empty: every step creates, moves and syncs under the shim."""
    seen = {(step_of(op), op.name) for op in arena.ops}
    steps = ("ingest", "screen", "generate", "score", "keep", "sign", "resolve", "shards", "audit")
    for step in steps:
        assert {name for place, name in seen if place == step} >= {"fsync", "link", "rename"} or step == "generate", (
            step
        )
    assert ("releases", "link") in seen
    assert ("generate", "fdatasync") in seen or ("generate", "fsync") in seen  # the journal


@pytest.mark.parametrize("share", [0.02, 0.2, 0.45, 0.7, 0.9, 0.98])
def test_a_full_disk_stops_cleanly(arena: Arena, share: float) -> None:
    home = arena.fresh_home()
    arguments = {"recipe": str(arena.recipe), "home": str(home), "run_id": "first"}
    at = int(len(arena.ops) * share)
    outcome = arena.forks.call("tests.kill_target:run", arguments, prefix=home, at=at, mode="enospc")
    assert outcome.status == 1, outcome.output
    assert "no space left" in outcome.output
    assert "same command again" in outcome.output
    arena.finish(home)


def test_thirty_random_moments(arena: Arena, new_server: object) -> None:
    """Answers that arrived more than a second before a kill are never sent again; the end is as if nothing happened."""
    server = new_server("--latency-seconds", "0.15")  # type: ignore[operator]
    folder = arena.folder / "slow"
    write_seeds(folder / "seeds/a.jsonl", range(5))
    run_block = f'[run]\n[run.models.m]\nbase_url = "{server.base_url}"\nin_flight = 2'
    recipe = write_recipe(folder, server.base_url, run=run_block, ingest="[ingest]\npartition_rows = 2")
    randomness = random.Random(11)
    kills, homes = 0, []
    while kills < 30:
        home = arena.fresh_home()
        homes.append(home)
        deaths = []
        while True:
            seconds = randomness.uniform(0.05, 1.6)
            arguments = {"recipe": str(recipe), "home": str(home), "kill_after_seconds": seconds, "run_id": f"r{kills}"}
            outcome = arena.forks.call("tests.kill_target:run", arguments, prefix=home)
            if outcome.status == 0:
                break
            assert outcome.status == -9, outcome.output
            deaths.append(time.time())
            kills += 1
        _nothing_sent_again(server, home, deaths)
    assert len({tuple(sorted(shard_files(home).items())) for home in homes}) == 1


def _nothing_sent_again(server: ScriptedServer, home: Path, deaths: list[float]) -> None:
    """By the server's own log; then the log is emptied for the next home."""
    answered: dict[str, float] = {}
    for entry in server.entries():
        if entry["event"] == "answer":
            answered.setdefault(entry["digest"], entry["time"])
            continue
        first = answered.get(entry["digest"])
        between = [death for death in deaths if first and first + 1.0 < death < entry["time"]]
        assert not between, f"an ask answered at {first} was sent again at {entry['time']} after a kill at {between}"
    server.log.write_text("")
    attempts = _all_attempts(home)
    accepted = [one for one in attempts if one["status"] == "ok"]
    assert len({one["ask_id"] for one in accepted}) == len(accepted)


def _all_attempts(home: Path) -> list[dict[str, object]]:
    release = releases.newest(Store(home), "small")
    assert release is not None
    places = release.objects["generate"]
    return [row for place in places for row in rows.read_table(home / place / "attempts.parquet").to_pylist()]


def test_a_kill_keeps_ids_unique_and_nothing_is_lost(arena: Arena) -> None:
    home = arena.fresh_home()
    arena.crash(home, len(arena.ops) // 2, "kill")
    arena.finish(home)
    ids = [row["doc_id"] for row in shard_rows(home)]
    assert len(ids) == len(set(ids)) == 10
