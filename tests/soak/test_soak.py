"""Long runs (make test-soak): a storm of faults over 200,000 asks, and a hundred kills at random moments.

The client is that of the benchmarks: a process of its own, the generate step over many partitions.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.engine_client import Work, write_seeds
from tests.conftest import ROOT, ScriptedServer

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

STORM = "500:0.01,429:0.01,reset:0.01,malformed:0.005,no_choices:0.005,reset_body:0.005,error_body:0.0045,hang:0.0005"
ASKS, KILLS = 200_000, 100
DURABLE_SECONDS = 1.0


def start(work: Work) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.benchmarks.engine_client", json.dumps(asdict(work))]
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}  # as `synth` sets it
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=environment)


def result(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    out, _ = process.communicate()
    assert process.returncode == 0
    return dict(json.loads(out))


def sent_again(entries: list[dict[str, Any]], kills: list[float]) -> tuple[int, int]:
    """Requests sent again, and those of them whose answer had reached a client that then lived for another second."""
    requests: dict[str, list[float]] = defaultdict(list)
    answers: dict[str, list[float]] = defaultdict(list)
    for entry in entries:
        (requests if entry["event"] == "request" else answers)[entry["digest"]].append(entry["time"])
    again = late = 0
    for digest, times in requests.items():
        for at, (before, sent) in enumerate(pairwise(times)):
            again += 1
            heard = [
                answer for answer in answers[digest] if before <= answer < sent and not killed(kills, before, answer)
            ]
            late += any(not killed(kills, answer, answer + DURABLE_SECONDS) for answer in heard)
            assert at < len(kills)
    return again, late


def killed(kills: list[float], start: float, end: float) -> bool:
    return any(start <= kill <= end for kill in kills)


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_a_storm_of_faults_leaves_nothing_out_and_nothing_behind(
    tmp_path: Path, new_server: Callable[..., ScriptedServer]
) -> None:
    server = new_server("--fail", STORM)
    partitions = 200
    write_seeds(tmp_path, partitions, ASKS // partitions)
    work = Work(
        str(tmp_path),
        server.base_url,
        partitions,
        ASKS // partitions,
        256,
        8,
        seal=True,
        mark_asks=10_000,
        timeout_seconds=5.0,
    )
    process = start(work)
    seen: list[int] = []
    while process.poll() is None:
        time.sleep(5.0)
        if process.poll() is None:
            seen.append(descriptors(process.pid))
    done = result(process)
    documents, right, answers, attempts = done["found"]
    assert (documents, right, answers) == (ASKS, ASKS, ASKS)
    assert attempts == done["sent"] > ASKS * 1.03
    grown = done["resident_bytes"] - done["resident_bytes_at_mark"]
    print(
        f"\n{ASKS} asks, {attempts} attempts, {done['seconds']:.0f} s; memory +{grown / 2**20:.0f} MiB; descriptors {seen}"
    )
    assert grown <= 60 * 2**20
    assert max(seen[2:]) - min(seen[2:]) <= 300  # connections come and go with faults, at most one per place


def test_a_hundred_kills_lose_nothing_and_pay_twice_only_for_what_was_in_the_air(
    tmp_path: Path, new_server: Callable[..., ScriptedServer]
) -> None:
    server = new_server("--latency-seconds", "0.2", "--latency-sigma", "0.8")
    asks, in_flight = 12_000, 32
    write_seeds(tmp_path, 12, asks // 12)
    work = Work(str(tmp_path), server.base_url, 12, asks // 12, in_flight, 4, seal=True)
    dice, kills = random.Random(7), []
    for _ in range(KILLS):
        process = start(work)
        time.sleep(dice.uniform(0.3, 2.5))
        process.kill()
        kills.append(time.time())
        process.communicate()
    done = result(start(work))
    assert tuple(done["found"][:3]) == (asks, asks, asks)
    again, late = sent_again(server.entries(), kills)
    print(f"\n{asks} asks, {KILLS} kills, {again} sent again, {late} of them needlessly")
    assert late == 0  # what was answered more than a second before a kill is never asked again
    assert again <= KILLS * 2 * in_flight
