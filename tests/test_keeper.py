"""Servers that die, freeze, leak or come back as another: what the engine does, what is sent again, who is blamed."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from synth.engine import keeper
from synth.errors import EndpointError, RecipeError
from tests.conftest import start_scripted
from tests.engines import OUTSIDE, by_seed, engine_of, make, seed, statuses

OURS = {"backend": "scripted"}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "_PAUSES_SECONDS", (0.05, 0.05, 0.05))


def run(tmp_path: Path, *args: str, **fields: Any) -> dict[str, Any]:
    """A server of ours with a request log."""
    log = ["--request-log", str(tmp_path / "requests.jsonl")]
    return {"in_flight": 4, "request_timeout_seconds": 20.0, "args": [*log, *args], **fields}


def requests(tmp_path: Path) -> Counter[str]:
    """How often each request body reached a server."""
    entries = map(json.loads, (tmp_path / "requests.jsonl").read_text().splitlines())
    return Counter(entry["digest"] for entry in entries if entry["event"] == "request")


def ends(engine: Any) -> list[str]:
    return [row["end"] for row in engine.sessions()]


def test_a_server_that_dies_is_started_anew_and_nothing_answered_is_sent_again(tmp_path: Path) -> None:
    said: list[str] = []
    once = run(tmp_path, "--die-after", "10", "--faults-once", str(tmp_path / "died"), "--latency-seconds", "0.05")
    with engine_of(tmp_path, {"m": OURS}, {"m": once}, said=said) as engine:
        made = make(engine, tmp_path, [seed(number) for number in range(40)])
        assert ends(engine)[0] == "died"
    rows = by_seed(made)
    assert {row["outcome"] for row in rows.values()} == {"ok"}
    again = [row for row in rows.values() if len(row["attempts"]) > 1]
    assert 1 <= len(again) <= 4  # those that were in flight, nobody else
    # One that was sent after the death and before it was noticed had not reached it.
    assert {tuple(statuses(row)) for row in again} <= {("server_died", "ok"), ("refused", "ok")}
    assert ("server_died", "ok") in {tuple(statuses(row)) for row in again}
    seen = requests(tmp_path)  # a server may be killed before it reads what was sent to it
    assert len(seen) == 40
    assert sum(seen.values()) - 40 <= len(again)
    assert any("died; it is started anew" in line for line in said)


def test_a_frozen_server_is_noticed_by_its_tokens_though_its_health_is_well(tmp_path: Path) -> None:
    frozen = run(tmp_path, "--freeze-after", "10", "--faults-once", str(tmp_path / "froze"), stall_seconds=1.0)
    with engine_of(tmp_path, {"m": OURS}, {"m": frozen}) as engine:
        began = time.monotonic()
        rows = by_seed(make(engine, tmp_path, [seed(number) for number in range(30)]))
        assert time.monotonic() - began < frozen["request_timeout_seconds"]
        assert ends(engine) == ["stalled", "stopped"]
    assert {row["outcome"] for row in rows.values()} == {"ok"}
    assert Counter(status for row in rows.values() for status in statuses(row)) == {"ok": 30, "server_died": 4}


def test_a_server_that_works_slowly_is_left_alone(tmp_path: Path) -> None:
    slow = run(tmp_path, "--latency-seconds", "1.0", stall_seconds=2.0, in_flight=2)
    with engine_of(tmp_path, {"m": OURS}, {"m": slow}) as engine:
        make(engine, tmp_path, [seed(number) for number in range(4)])
        assert ends(engine) == ["stopped"]


@pytest.mark.model
def test_a_real_server_that_is_busy_with_long_answers_is_not_called_stalled(tmp_path: Path) -> None:
    """llama.cpp counts the tokens of an answer when it is complete; that it decodes is seen before."""
    small = {"backend": "llama-cpp", "weights": "smollm2-135m-instruct-q4_1", "context_tokens": 1024}
    roles = {"writer": {"models": ["m"], "sampling": {"temperature": 0.0, "max_tokens": 120}}}
    fields = {"in_flight": 4, "stall_seconds": 5.0}
    with engine_of(tmp_path, {"m": small}, {"m": fields}, roles) as engine:
        long = [seed(number, f"Tell a long story about harbour number {number}.") for number in range(4)]
        began = time.monotonic()
        rows = by_seed(make(engine, tmp_path, long))
        if time.monotonic() - began < fields["stall_seconds"]:
            pytest.skip("this machine answers before anything could be called a stall")
        assert ends(engine) == ["stopped"]
    assert all(statuses(row) == ["ok"] for row in rows.values())


def test_an_ask_that_kills_servers_is_found_and_only_that(tmp_path: Path) -> None:
    poison = "An odd text. [[scripted: fault=die]]"
    seeds = [seed(number, poison if number == 7 else f"Text {number}.") for number in range(24)]
    with engine_of(tmp_path, {"m": OURS}, {"m": run(tmp_path, in_flight=8)}) as engine:
        rows = by_seed(make(engine, tmp_path, seeds))
        # 8 in flight, then 2 suspects at a time, then alone
        assert ends(engine)[:3] == ["died", "died", "died"]
    assert [number for number, row in rows.items() if row["outcome"] != "ok"] == [7]
    assert rows[7]["outcome"] == "dead_letter"
    assert "died 3 times" in rows[7]["completion"]
    assert statuses(rows[7]) == ["server_died"] * 3
    others = Counter(statuses(row).count("server_died") for number, row in rows.items() if number != 7)
    assert max(others) <= 2  # nobody else was ever there when it died three times


def test_two_poisons_are_both_found(tmp_path: Path) -> None:
    poison = "An odd text, number {}. [[scripted: fault=die]]"
    seeds = [seed(number, poison.format(number) if number in (3, 4) else f"Text {number}.") for number in range(12)]
    with engine_of(tmp_path, {"m": OURS}, {"m": run(tmp_path, in_flight=4)}) as engine:
        rows = by_seed(make(engine, tmp_path, seeds))
    assert sorted(number for number, row in rows.items() if row["outcome"] == "dead_letter") == [3, 4]
    assert sum(row["outcome"] == "ok" for row in rows.values()) == 10


def test_a_server_is_recycled_after_so_many_answers_without_a_fault(tmp_path: Path) -> None:
    with engine_of(tmp_path, {"m": OURS}, {"m": run(tmp_path, recycle_after_asks=10)}) as engine:
        rows = by_seed(make(engine, tmp_path, [seed(number) for number in range(35)]))
        sessions = engine.sessions()
    assert [row["end"] for row in sessions[:-1]] == ["recycled"] * (len(sessions) - 1)
    assert len(sessions) >= 3
    assert sum(row["asks"] for row in sessions) == 35
    assert all(statuses(row) == ["ok"] for row in rows.values())


def test_replicas_share_the_work_and_one_that_dies_does_not_stop_it(tmp_path: Path) -> None:
    args = ("--die-after", "5", "--faults-once", str(tmp_path / "died"), "--latency-seconds", "0.1")
    with engine_of(tmp_path, {"m": OURS}, {"m": run(tmp_path, *args, replicas=2, in_flight=2)}) as engine:
        rows = by_seed(make(engine, tmp_path, [seed(number) for number in range(80)]))
        by_endpoint = Counter(row["attempts"][-1]["endpoint"] for row in rows.values())
        assert sorted(row["endpoint"] for row in engine.sessions()) in (["m/0", "m/0", "m/1"], ["m/0", "m/1", "m/1"])
    assert {row["outcome"] for row in rows.values()} == {"ok"}
    assert by_endpoint.keys() == {"m/0", "m/1"}
    assert min(by_endpoint.values()) >= 5


def test_a_server_that_dies_whatever_it_is_asked_is_given_up(tmp_path: Path) -> None:
    text = "[[scripted: fault=die]] number {}"
    seeds = [seed(number, text.format(number)) for number in range(64)]
    with (
        engine_of(tmp_path, {"m": OURS}, {"m": run(tmp_path, in_flight=64)}) as engine,
        pytest.raises(EndpointError, match=r"died 4 times without an answer between"),
    ):
        make(engine, tmp_path, seeds)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        engine_of(tmp_path, {"m": OURS}, {"m": run(tmp_path, "--no-such-flag")}) as engine,
        pytest.raises(EndpointError, match=r"(?s)does not know an argument.*--no-such-flag"),
    ):
        make(engine, tmp_path, [seed(1)])


def test_what_the_user_must_change_ends_the_run_at_once_and_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    wrong = {"backend": "vllm", "weights": "hub/model", "revision": "r1"}
    with (
        engine_of(tmp_path, {"m": wrong}, {"m": {"replicas": 3, "gpus": 1, "tensor_parallel": 2}}, said=said) as engine,
        pytest.raises(RecipeError, match=r"tensor_parallel|not installed"),
    ):
        make(engine, tmp_path, [seed(1)])
    assert said == []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def restart_later(tmp_path: Path, port: int, *arguments: str) -> tuple[threading.Thread, list[Any]]:
    """A server of others that is there, falls after a moment, and is back some seconds later."""
    servers = [start_scripted(tmp_path / "outside", "--port", str(port), "--latency-seconds", "0.1", *arguments)]

    def play() -> None:
        time.sleep(0.6)
        servers[0].stop()
        time.sleep(1.0)
        servers.append(start_scripted(tmp_path / "outside", "--port", str(port), *arguments))

    thread = threading.Thread(target=play)
    thread.start()
    return thread, servers


def test_an_endpoint_of_others_is_waited_for_and_the_wait_costs_no_try(tmp_path: Path) -> None:
    port, said = free_port(), []
    thread, servers = restart_later(tmp_path, port)
    fields = {"base_url": f"http://127.0.0.1:{port}/v1", "in_flight": 4, "max_attempts": 2, "outage_seconds": 30.0}
    try:
        with engine_of(tmp_path, {"m": OUTSIDE}, {"m": fields}, said=said) as engine:
            rows = by_seed(make(engine, tmp_path, [seed(number) for number in range(40)]))
    finally:
        thread.join()
        servers[-1].stop()
    assert {row["outcome"] for row in rows.values()} == {"ok"}
    assert any("answers again" in line for line in said)


def test_an_endpoint_that_comes_back_as_another_model_is_refused(tmp_path: Path) -> None:
    port = free_port()
    other = ("--other-model-after-restart", str(tmp_path / "starts"))
    thread, servers = restart_later(tmp_path, port, *other)
    fields = {"base_url": f"http://127.0.0.1:{port}/v1", "in_flight": 2, "outage_seconds": 30.0}
    try:
        with (
            engine_of(tmp_path, {"m": OUTSIDE}, {"m": fields}) as engine,
            pytest.raises(EndpointError, match=r"(?s)another model answers.*scripted-plain-other.*scripted-plain"),
        ):
            make(engine, tmp_path, [seed(number) for number in range(60)])
    finally:
        thread.join()
        servers[-1].stop()


def test_canaries_notice_a_revision_that_changed_between_runs(tmp_path: Path, new_server: Any) -> None:
    port = free_port()
    fields = {"base_url": f"http://127.0.0.1:{port}/v1"}
    said: list[list[str]] = []
    for answers in ("{}", "{}", '{"Name the four seasons": "Spring, summer."}'):
        (tmp_path / "answers.json").write_text(answers)
        server = new_server("--port", str(port), "--answers", str(tmp_path / "answers.json"))
        said.append([])
        with engine_of(tmp_path, {"m": OUTSIDE}, {"m": fields}, said=said[-1]) as engine:
            make(engine, tmp_path, [seed(1)], journal=f"journal{len(said)}")
        server.stop()
    assert said[:2] == [[], []]
    assert "1 of 3 canary questions" in said[2][0]
