"""The fault matrix: what each fault of an endpoint costs, how it is recorded, what becomes of the ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synth.errors import EndpointError
from tests.conftest import ScriptedServer, start_scripted
from tests.engines import OUTSIDE, by_seed, engine_of, make, seed, statuses

# marker in the seed, statuses of the attempts in order, outcome of the ask
TIMES = 3  # max_attempts
MATRIX: list[tuple[str, list[str], str]] = [
    ("", ["ok"], "ok"),
    # Faults of the world that pass are waited out.
    ("fault=429*2", ["http_429", "http_429", "ok"], "ok"),
    ("fault=503*1", ["http_503", "ok"], "ok"),
    ("fault=500*2", ["http_500", "http_500", "ok"], "ok"),
    ("fault=502*1", ["http_502", "ok"], "ok"),
    ("fault=408*1", ["http_408", "ok"], "ok"),
    ("fault=reset*1", ["reset", "ok"], "ok"),
    ("fault=reset_body*1", ["reset", "ok"], "ok"),
    ("fault=malformed*1", ["malformed", "ok"], "ok"),
    ("fault=error_body*1", ["malformed", "ok"], "ok"),
    ("fault=no_choices*1", ["malformed", "ok"], "ok"),
    ("fault=drip*1", ["timeout", "ok"], "ok"),
    ("fault=hang*1", ["timeout", "ok"], "ok"),
    # Those that stay with one ask, while the endpoint answers others, are the ask's own.
    ("fault=500", ["http_500"] * TIMES, "dead_letter"),
    ("fault=reset", ["reset"] * TIMES, "dead_letter"),
    ("fault=malformed", ["malformed"] * TIMES, "dead_letter"),
    ("fault=hang", ["timeout"] * TIMES, "dead_letter"),
    ("fault=400", ["rejected"], "dead_letter"),
    ("fault=413", ["rejected"], "dead_letter"),
    ("fault=422", ["rejected"], "dead_letter"),
    # Answers, good or bad, are final.
    ("fault=no_usage", ["ok"], "ok"),
    ("fault=null_content", ["ok"], "thinking_overflow"),
    ("fault=think_cut", ["ok"], "thinking_overflow"),
    ("fault=think_open", ["ok"], "thinking_overflow"),
    ("fault=leak", ["ok"], "tag_leak"),
    ("fault=empty", ["ok"], "empty_answer"),
    ("fault=loop", ["ok"], "repetition"),
    ("fault=truncate", ["ok"], "truncated_answer"),
    ("fault=refuse", ["ok"], "refused"),
]
RUN = {"in_flight": 32, "max_attempts": TIMES, "request_timeout_seconds": 1.0, "outage_seconds": 20.0}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, dict[str, Any]]]:
    """All cases in one partition, at the same time: what one meets must not touch another."""
    folder = tmp_path_factory.mktemp("matrix")
    server = start_scripted(folder / "server", "--drip-seconds", "8")
    texts = [
        f"Case {number}. [[scripted: {marker}]]" if marker else "Plain." for number, (marker, *_) in enumerate(MATRIX)
    ]
    with engine_of(folder, {"m": OUTSIDE}, {"m": {**RUN, "base_url": server.base_url}}) as engine:
        made = make(engine, folder, [seed(number, text) for number, text in enumerate(texts)])
    yield by_seed(made)
    server.stop()


@pytest.mark.parametrize(("number", "case"), list(enumerate(MATRIX)), ids=[marker or "none" for marker, *_ in MATRIX])
def test_fault_matrix(found: dict[int, dict[str, Any]], number: int, case: tuple[str, list[str], str]) -> None:
    _, expected, outcome = case
    row = found[number]
    assert row["outcome"] == outcome, row["completion"]
    got = statuses(row)
    assert got == expected
    assert [attempt["verdict"] for attempt in row["attempts"][:-1]] == [None] * (len(got) - 1)


def test_what_an_answer_reports_is_recorded_beside_it(found: dict[int, dict[str, Any]]) -> None:
    places = {marker: number for number, (marker, *_) in enumerate(MATRIX)}
    plain, silent = found[places[""]]["attempts"][-1], found[places["fault=no_usage"]]["attempts"][-1]
    assert plain["usage_completion_tokens"] > 0
    assert silent["usage_completion_tokens"] is None


def test_an_overloaded_endpoint_is_sent_less_and_costs_no_try(tmp_path: Path) -> None:
    """429 and 503 are no fault of an ask: far more of them than tries, and all are answered."""
    server = start_scripted(tmp_path / "server", "--fail-first", "12")
    try:
        run = {**RUN, "base_url": server.base_url, "in_flight": 2, "max_attempts": 2}
        with engine_of(tmp_path, {"m": OUTSIDE}, {"m": run}) as engine:
            rows = by_seed(make(engine, tmp_path, [seed(number) for number in range(4)]))
        assert {row["outcome"] for row in rows.values()} == {"ok"}
        assert sum(statuses(row).count("http_503") for row in rows.values()) == 12 - 3  # the canaries met three
    finally:
        server.stop()


def test_a_mixed_storm_adds_up(tmp_path: Path) -> None:
    """Every tenth try meets something: all asks are answered, and what was sent is what is recorded."""
    storm = "500:0.03,429:0.02,reset:0.02,malformed:0.02,no_choices:0.01"
    server = start_scripted(tmp_path / "server", "--fail", storm, "--fail-seed", "5")
    try:
        with engine_of(
            tmp_path, {"m": OUTSIDE}, {"m": {**RUN, "base_url": server.base_url, "max_attempts": 6}}
        ) as engine:
            made = make(engine, tmp_path, [seed(number, f"Number {number}.") for number in range(400)])
        assert Counter(row["outcome"] for row in made.answers.values()) == {"ok": 400}
        assert all(not isinstance(drafts, Exception) for drafts in made.drafts)
        sent = Counter(entry["event"] for entry in server.entries())["request"]
        assert sent == len(made.attempts) > 420
        faults = Counter(attempt["status"] for attempt in made.attempts)
        assert faults.keys() >= {"http_500", "http_429", "reset", "malformed", "ok"}
    finally:
        server.stop()


def test_when_nothing_is_answered_the_partition_stays_open(tmp_path: Path, new_server: Any) -> None:
    server: ScriptedServer = new_server("--fail", "500:1.0")
    run = {**RUN, "base_url": server.base_url, "max_attempts": 2}
    with (
        engine_of(tmp_path, {"m": OUTSIDE}, {"m": run}) as engine,
        pytest.raises(EndpointError, match="2 times in a row"),
    ):
        make(engine, tmp_path, [seed(number) for number in range(5)])


def test_an_endpoint_that_answers_nobody_for_too_long_is_given_up(tmp_path: Path, new_server: Any) -> None:
    server: ScriptedServer = new_server("--fail", "503:1.0")
    run = {**RUN, "base_url": server.base_url, "outage_seconds": 1.0}
    with engine_of(tmp_path, {"m": OUTSIDE}, {"m": run}) as engine, pytest.raises(EndpointError, match="no answer for"):
        make(engine, tmp_path, [seed(number) for number in range(5)])
