"""vLLM dies or freezes in the middle of a run: the engine starts it anew by itself, and nothing is lost or paid for twice."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flows import loop
from flows.recipe import load
from flows.session import Session
from synth.engine import outside
from synth.engine.engine import Engine
from synth.engine.roles import ModelConfig
from synth.releases import Release
from synth.store import Store
from tests.corpora import engine_for, shard_rows
from tests.vllm.processes import engine_core, nothing_left
from tests.vllm.test_vllm_run import rows, vllm_recipe, write_passages

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

SEEDS = 24
FAMILIES = '[[families]]\nname = "distill"\noptions = { max_tokens = 120, temperature = 0.3 }\n\n'
FAMILIES += '[[families]]\nname = "textbook"\noptions = { words = 60, max_tokens = 120, temperature = 0.4 }'
IN_FLIGHT = 16
STALL_SECONDS = 10
RECOVERY_SECONDS = 240.0  # a start takes 40 s on two idle cores


def wait(engine: Engine, run: Future[list[Release]], until: Callable[[Engine], bool], seconds: float) -> float:
    """Wait until it is so: how long it took (s)."""
    begin = time.monotonic()
    while not until(engine):
        assert not run.done(), f"the run ended first: {run.result()}"
        assert time.monotonic() - begin < seconds
        time.sleep(0.05)
    return time.monotonic() - begin


def freeze(engine: Engine) -> None:
    """The engine stands still, and /health knows nothing of it: a vLLM that hangs."""
    os.kill(engine_core(), signal.SIGSTOP)
    (keeper,) = engine.models["m"].keepers.values()
    assert outside.get(f"{keeper.lives[-1].endpoint.root}/health", None)[0] == 200


def kill(engine: Engine) -> None:
    """As the system does it when memory runs out."""
    os.kill(engine_core(), signal.SIGKILL)


@pytest.mark.parametrize("harm", [kill, freeze])
def test_a_server_that_fails_in_mid_run_is_started_anew(
    model: ModelConfig, tmp_path: Path, harm: Callable[[Engine], None]
) -> None:
    write_passages(tmp_path / "seeds/passages.jsonl", SEEDS)
    path = vllm_recipe(tmp_path, model, f"stall_seconds = {STALL_SECONDS}", FAMILIES)
    recipe, store = load(path), Store.open(tmp_path / "home")
    with nothing_left(), store.lock("test"), ThreadPoolExecutor(1) as pool:
        engine = engine_for(recipe, store)
        try:
            session = Session.open(recipe, path.parent, store, "test-run", engine)
            run = pool.submit(loop.run_directly, session)
            wait(engine, run, lambda engine: engine.stats.asks >= 8 and engine.stats.in_flight >= 8, 300.0)
            harmed = time.time()
            harm(engine)
            seconds = wait(engine, run, lambda engine: len(engine.models["m"].sessions()) == 2, RECOVERY_SECONDS)
            print(f"{harm.__name__}: it answered again after {seconds:.0f} s")
            releases = run.result()
        finally:
            engine.stop()
    assert [release.number for release in releases] == [1]
    check_counts(tmp_path / "home", engine)
    check_attempts(rows(tmp_path / "home", "generate", "attempts"), harmed)
    assert len(engine.models["m"].sessions()) == 2


def check_counts(home: Path, engine: Engine) -> None:
    """Every seed has its document of every family, and every ask its answer."""
    made = rows(home, "generate", "documents")
    assert Counter(row["family"] for row in made) == {"distill": SEEDS, "textbook": SEEDS}
    asks = rows(home, "generate", "asks")
    assert engine.stats.asks == len(asks) == len({row["ask_id"] for row in asks})
    assert "dead_letter" not in {row["outcome"] for row in asks}
    assert {row["doc_id"] for row in shard_rows(home)} <= {row["id"] for row in made}


def check_attempts(attempts: list[dict[str, Any]], harmed: float) -> None:
    """What was in flight was sent again, and answered; what had been answered was not sent again."""
    by_ask: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for attempt in sorted(attempts, key=lambda attempt: attempt["started_at"]):
        by_ask[attempt["ask_id"]].append(attempt)
    ends = Counter(tuple(attempt["status"] for attempt in tries) for tries in by_ask.values())
    assert ends.keys() == {("ok",), ("server_died", "ok")}
    # A dying server refuses at once, so that as many again may be sent before its death is known.
    assert 1 <= ends[("server_died", "ok")] <= 2 * IN_FLIGHT
    for tries in by_ask.values():
        died = tries[0]["status"] == "server_died"
        assert (
            not died or tries[0]["started_at"].timestamp() < harmed + STALL_SECONDS < tries[1]["started_at"].timestamp()
        )
    print(f"{ends[('server_died', 'ok')]} of {len(by_ask)} asks were sent twice")
