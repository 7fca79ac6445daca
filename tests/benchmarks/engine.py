"""Benchmarks of the engine against a scripted server in its own process: one line each.

    python -m tests.benchmarks.engine [latency] [throughput] [cpu] [replay] [memory] [--repeats N] [--share S]

Without names: all but `memory`, which takes minutes. A line says: what, ours, the peer or ideal, the ratio (median, and
smallest to largest of the repeats), parity, the bar, and whether the median meets it. Clients run alone in child
processes; CPU is user and system time of all their threads. Exit code 1: a parity is wrong, and no figure counts.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from flows.recipe import RunConfig
from tests.benchmarks.engine_client import Found, Result, Work, write_seeds
from tests.benchmarks.timings import (
    Log,
    barrier_seconds,
    drawn_latencies,
    expected_barrier_ratio,
    list_schedule,
    read_log,
)
from tests.conftest import ROOT, ScriptedServer, start_scripted

IN_FLIGHT = 256
MEAN_SECONDS, SIGMA = 0.25, 1.0
BARRIER_SLICE = 1024
MEMORY_DISK = Path("/dev/shm")
_CHILD_SECONDS = 1800.0
_MOST_PROBES = 16


@dataclass(frozen=True)
class Bar:
    """What a figure must reach: at least or at most `bound`."""

    bound: float
    at_most: bool = False

    def met(self, value: float) -> bool:
        """Whether `value` reaches it."""
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.bound:g}"


class WrongParity(Exception):
    """The two sides did not do the same work, or ours lost something."""


def line(what: str, ours: str, peer: str, values: Sequence[float], parity: str, bar: Bar | None) -> None:
    """Print one result."""
    value = median(values)
    spread = f"{value:.2f} ({min(values):.2f} to {max(values):.2f}, {len(values)} runs)"
    verdict = f"bar {bar}: {'met' if bar.met(value) else 'NOT MET'}" if bar else "no bar"
    print(f"{what} | ours {ours} | {peer} | {spread} | {parity} | {verdict}", flush=True)


@contextmanager
def watching_others(name: str) -> Iterator[None]:
    """Say how much of the machine other programs used meanwhile: above some per cent, times are not to be trusted."""
    start, busy, own = time.monotonic(), _busy_seconds(), _own_seconds()
    yield
    others = _busy_seconds() - busy - (_own_seconds() - own)
    cores = os.cpu_count() or 1
    share = max(0.0, others) / ((time.monotonic() - start) * cores)
    print(f"{name}: other programs used {share:.0%} of the {cores} cores meanwhile", flush=True)


def _busy_seconds() -> float:
    """CPU seconds that all programs have used since the machine started."""
    user, nice, system = map(int, Path("/proc/stat").read_text().split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@contextmanager
def serving(*arguments: str) -> Iterator[ScriptedServer]:
    """A scripted server with a log of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server = start_scripted(Path(folder), *arguments)
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def seeded(server: ScriptedServer, partitions: int, rows: int, on: Path | None = None, **more: Any) -> Iterator[Work]:
    """Work over freshly written partitions, as many open at once as a run with default settings opens."""
    run = RunConfig()
    with tempfile.TemporaryDirectory(dir=on) as folder:
        write_seeds(Path(folder), partitions, rows)
        open_partitions = run.workers * run.open_partitions
        yield Work(folder, server.base_url, partitions, rows, IN_FLIGHT, open_partitions, **more)


def child(module: str, *arguments: str, killed: bool = False) -> Any:
    """Run `python -m tests.benchmarks.MODULE` alone; its JSON. `killed`: it is expected to end by its own SIGKILL."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}  # as `synth` sets it
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=_CHILD_SECONDS, env=environment)
    wanted = -signal.SIGKILL if killed else 0
    if done.returncode != wanted:
        raise WrongParity(f"{module} ended with {done.returncode} instead of {wanted}")
    return None if killed else orjson.loads(done.stdout)


def engine_run(work: Work) -> Result:
    """The engine in a child; every document must hold the answer to its own seed."""
    value = child("engine_client", orjson.dumps(asdict(work)).decode())
    result = Result(**{**value, "found": Found(*value["found"])})
    asks = work.partitions * work.rows
    if result.found[:3] != (asks, asks, asks) or result.found.attempts < asks:
        raise WrongParity(f"{asks} asks, but {result}")
    return result


def peer_run(name: str, server: ScriptedServer, asks: int, folder: str = "") -> dict[str, float]:
    """A peer in a child; every answer must be right."""
    given = {"base_url": server.base_url, "asks": asks, "in_flight": IN_FLIGHT, "folder": folder}
    result: dict[str, float] = child("peers", name, orjson.dumps(given).decode())
    if result["right"] != asks:
        raise WrongParity(f"{name}: {asks} asks, but {result}")
    return result


def asked(server: ScriptedServer, asks: int) -> Log:
    """The server's log of these asks; a few probes of a starting engine are left out."""
    whole = read_log(server.log)
    log = whole.without_probes(asks)
    if log.asks != asks or whole.asks - asks > _MOST_PROBES:
        raise WrongParity(f"{asks} asks, {whole.asks} different bodies were sent")
    return log


def latency(repeats: int, share: float) -> None:
    """Lognormal latencies, 256 in flight, 20,000 asks over 20 partitions: against a perfect list and against a barrier."""
    slow = ("--latency-seconds", str(MEAN_SECONDS), "--latency-sigma", str(SIGMA))
    rows = max(1, round(1000 * share))
    seconds, ideals, barriers, sends = list[float](), list[float](), list[float](), list[float]()
    before, after = list[float](), list[float]()
    for _ in range(repeats):
        with serving(*slow) as server, seeded(server, 20, rows) as work:
            result = engine_run(work)
            log = asked(server, 20 * rows)
        if len(log.sent) != 20 * rows:
            raise WrongParity(f"{20 * rows} asks, {len(log.sent)} requests")
        latencies = drawn_latencies(log, MEAN_SECONDS, SIGMA)
        ideal = list_schedule(latencies, IN_FLIGHT)
        seconds.append(result.seconds)
        ideals.append(ideal.seconds)
        barriers.append(barrier_seconds(latencies, IN_FLIGHT))
        before.append(log.sent[0][0] - result.started_at)
        after.append(result.started_at + result.seconds - log.answered[-1][0])
        sends.append(ideal.last_send_seconds / (log.sent[-1][0] - log.sent[0][0]))
    parity = f"{20 * rows:,} of {20 * rows:,} documents right, each asked once"
    ours = f"{median(seconds):.2f} s"
    ratios = [ideal / second for ideal, second in zip(ideals, seconds, strict=True)]
    peer = f"perfect list {median(ideals):.2f} s (longest answer {max(latencies):.1f} s)"
    line("latency: perfect list / ours", ours, peer, ratios, parity, Bar(0.95))
    ends = f"{median(before):.2f} s before the first send, {median(after):.2f} s after the last answer"
    line("latency: the same, first to last send", ends, "perfect list", sends, parity, None)
    ratios = [barrier / second for barrier, second in zip(barriers, seconds, strict=True)]
    possible = median(barrier / ideal for barrier, ideal in zip(barriers, ideals, strict=True))
    endless = expected_barrier_ratio(IN_FLIGHT, SIGMA)
    peer = f"barrier {median(barriers):.1f} s (the perfect list reaches {possible:.2f} here, {endless:.2f} without end)"
    line("latency: barrier / ours", ours, peer, ratios, _barrier_parity(slow), Bar(8.0))


def _barrier_parity(slow: Sequence[str]) -> str:
    """The barrier's arithmetic against a real barrier client."""
    with serving(*slow) as server:
        measured = peer_run("barrier", server, BARRIER_SLICE)["seconds"]
        computed = barrier_seconds(drawn_latencies(read_log(server.log), MEAN_SECONDS, SIGMA), IN_FLIGHT)
    return f"a real barrier on {BARRIER_SLICE} asks took {measured:.2f} s, computed {computed:.2f} s"


def throughput(repeats: int, share: float) -> None:
    """Asks per second on an instant server, against datatrove's InferenceRunner with checkpoints on."""
    if importlib.util.find_spec("datatrove") is None:
        print("throughput | skipped: datatrove is not installed (pip install --editable '.[bench]')", flush=True)
        return
    places: list[tuple[str, Path | None, int, Bar | None]] = [("disk", None, 200, Bar(4.0))]
    if MEMORY_DISK.is_dir():
        places.insert(0, ("memory disk", MEMORY_DISK, 500, Bar(4.0)))
    for name, on, rows, bar in places:
        _against_datatrove(name, on, max(1, round(rows * share)), repeats, bar)


def _against_datatrove(name: str, on: Path | None, rows: int, repeats: int, bar: Bar | None) -> None:
    asks, ours, theirs = 20 * rows, list[Result](), list[dict[str, float]]()
    with serving() as server:
        for _ in range(repeats):
            with tempfile.TemporaryDirectory(dir=on) as folder:
                theirs.append(peer_run("datatrove", server, asks, folder))
            with seeded(server, 20, rows, on) as work:
                ours.append(engine_run(work))
    rates = [asks / result.seconds for result in ours]
    peers = [asks / result["seconds"] for result in theirs]
    cpu = median(result.cpu_seconds for result in ours) / asks * 1e3
    peer_cpu = median(result["cpu_seconds"] for result in theirs) / asks * 1e3
    line(
        f"throughput on {name}",
        f"{median(rates):,.0f} asks/s, {cpu:.2f} ms CPU each",
        f"datatrove {median(peers):,.0f} asks/s, {peer_cpu:.2f} ms CPU each",
        [rate / peer for rate, peer in zip(rates, peers, strict=True)],
        f"{asks:,} of {asks:,} answers right on both sides; ours durable before use, datatrove's queued",
        bar,
    )


def cpu(repeats: int, share: float) -> None:
    """The client's CPU per ask, journal included: through the whole generate step, and of Engine.make alone."""
    rows = max(1, round(500 * share))
    figures: dict[str, list[float]] = {"step": [], "make": []}
    seconds: dict[str, list[float]] = {"step": [], "make": []}
    plain = list[float]()
    with serving() as server:
        for _ in range(repeats):
            plain.append(peer_run("barrier", server, 20 * rows)["cpu_seconds"] / (20 * rows) * 1e3)
            for through in figures:
                with seeded(server, 20, rows, through=through) as work:
                    result = engine_run(work)
                figures[through].append(result.cpu_seconds / (20 * rows) * 1e3)
                seconds[through].append(result.seconds)
    parity = f"{20 * rows:,} of {20 * rows:,} documents right"
    for through, what in (("step", "generate step, tables included"), ("make", "Engine.make alone")):
        rate = f"{20 * rows / median(seconds[through]):,.0f} asks/s"
        ours = f"{median(figures[through]):.3f} ms per ask, {rate}"
        peer = f"plain aiohttp without journal {median(plain):.3f} ms"
        line(f"cpu (ms per ask): {what}", ours, peer, figures[through], parity, Bar(0.6, at_most=True))


def replay(repeats: int, share: float) -> None:
    """100,000 asks killed when 95 % are in the journals; the second run replays them. No partition was published."""
    partitions, rows = 50, max(1, round(2000 * share))
    asks, rates, walls, resent, allowed = partitions * rows, list[float](), list[float](), 0, 0
    for _ in range(repeats):
        with serving() as server, seeded(server, partitions, rows, kill_at_asks=round(0.95 * asks)) as work:
            child("engine_client", orjson.dumps(asdict(work)).decode(), killed=True)
            killed_at = time.time()
            result = engine_run(Work(**{**asdict(work), "kill_at_asks": 0}))
            log = asked(server, asks)
        last_second = log.answered_between(killed_at - 1, killed_at)
        resent, allowed = log.resent, IN_FLIGHT + last_second
        if resent > allowed or result.replayed + result.sent != asks:
            raise WrongParity(f"{asks} asks, {resent} sent twice of {allowed} allowed; {result}")
        rates.append(result.replayed / result.replay_cpu_seconds)
        walls.append(result.replayed / result.replay_seconds)
    ours = f"{result.replayed:,} of {asks:,} asks replayed, {median(walls):,.0f}/s by the clock"
    lost = f"{resent} sent twice, allowed {IN_FLIGHT} in flight + {last_second} in the last second"
    line("replay (asks per CPU second)", ours, "-", rates, f"all {asks:,} documents right; {lost}", Bar(5000))


def memory(repeats: int, share: float) -> None:
    """Resident memory from 10,000 to 200,000 asks, partitions sealed as they are complete."""
    partitions = max(1, round(100 * share))
    growth, marks = list[float](), list[float]()
    for _ in range(repeats):
        with serving() as server, seeded(server, partitions, 2000, seal=True, mark_asks=10_000) as work:
            result = engine_run(work)
        marks.append(result.resident_bytes_at_mark / 2**20)
        growth.append((result.resident_bytes - result.resident_bytes_at_mark) / 2**20)
    ours = f"{median(marks):.0f} MiB at 10,000 asks, {median(marks) + median(growth):.0f} MiB at {partitions * 2000:,}"
    parity = f"{partitions * 2000:,} of {partitions * 2000:,} documents right"
    line("memory growth (MiB)", ours, "-", growth, parity, Bar(60, at_most=True))


BENCHMARKS: dict[str, Callable[[int, float], None]] = {
    "latency": latency,
    "throughput": throughput,
    "cpu": cpu,
    "replay": replay,
    "memory": memory,
}
_REPEATS = {"latency": 2, "throughput": 3, "cpu": 3, "replay": 1, "memory": 1}


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is named; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.engine", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all but memory")
    parser.add_argument(
        "--repeats", type=int, help="runs of each (default 2 latency, 3 throughput and cpu, 1 the others)"
    )
    parser.add_argument("--share", type=float, default=1.0, help="share of the asks, to try it; the bars hold for 1")
    given = parser.parse_args(argv)
    if unknown := set(given.names) - set(BENCHMARKS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    try:
        for name in given.names or [name for name in BENCHMARKS if name != "memory"]:
            with watching_others(name):
                BENCHMARKS[name](given.repeats or _REPEATS[name], given.share)
    except WrongParity as error:
        print(f"wrong parity: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
