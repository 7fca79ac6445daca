"""The benchmarks' arithmetic against a slow oracle: seconds counted one by one."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.timings import (
    Log,
    Schedule,
    barrier_seconds,
    expected_barrier_ratio,
    list_schedule,
    read_log,
)

LATENCIES = st.lists(st.integers(1, 9), min_size=1, max_size=40)


def ticking(latencies: list[int], places: int) -> Schedule:
    """Second by second: who is done leaves, then as many as fit are sent."""
    waiting, running, now, last_send = list(latencies), list[int](), 0, 0
    while waiting or running:
        while waiting and len(running) < places:
            running.append(now + waiting.pop(0))
            last_send = now
        now += 1
        running = [end for end in running if end > now]
    return Schedule(now, last_send)


@given(LATENCIES, st.integers(1, 5))
def test_the_list_schedule_is_what_a_ticking_clock_gives(latencies: list[int], places: int) -> None:
    assert list_schedule(latencies, places) == ticking(latencies, places)


@given(LATENCIES, st.integers(1, 5))
def test_a_barrier_is_never_faster_than_the_list(latencies: list[int], places: int) -> None:
    assert barrier_seconds(latencies, places) >= list_schedule(latencies, places).seconds


def test_a_barrier_waits_for_the_longest_of_each_round() -> None:
    assert barrier_seconds([1, 5, 2, 2, 3], 2) == 5 + 2 + 3


def test_the_expected_barrier_ratio() -> None:
    assert expected_barrier_ratio(1, 1.0) == pytest.approx(1.0, rel=0.01)
    assert expected_barrier_ratio(256, 0.0) == pytest.approx(1.0)
    # E[longest of two] of a lognormal with sigma 1 is 2 * mean * Phi(sigma / sqrt 2)
    assert expected_barrier_ratio(2, 1.0) == pytest.approx(1.5205, rel=0.01)


def test_the_log_counts_what_was_sent_twice_and_ignores_half_a_line(tmp_path: Path) -> None:
    events = [("request", 1.0, "a"), ("request", 2.0, "b"), ("answer", 3.0, "a"), ("request", 4.0, "a")]
    lines = [orjson.dumps({"event": event, "time": time, "digest": digest}) for event, time, digest in events]
    (tmp_path / "log").write_bytes(b"\n".join(lines) + b'\n{"event": "requ')
    log = read_log(tmp_path / "log")
    assert (log.asks, log.resent, log.answered_between(2.0, 3.0), log.answered_between(3.5, 9.0)) == (2, 1, 1, 0)


def test_probes_are_the_first_bodies_beyond_the_asks_wherever_they_come_again() -> None:
    sent = [(1.0, "probe"), (2.0, "a"), (3.0, "b"), (4.0, "probe"), (5.0, "a")]
    log = Log(sent, [(1.5, "probe"), (2.5, "a")])
    assert log.without_probes(2) == Log([(2.0, "a"), (3.0, "b"), (5.0, "a")], [(2.5, "a")])
    assert log.without_probes(3) == log
