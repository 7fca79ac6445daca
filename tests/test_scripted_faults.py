"""The scripted server as a fault machine: what a raw client sees of each fault, and which tries are hit."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_asks import PASSAGE, Seen, Server, ask, running

from synth.digest import digest
from synth.engine.scripted_chat import answer, parse_request
from synth.engine.scripted_faults import TryFaults, parse_faults
from synth.engine.scripted_markers import FAULTS, OUTCOMES


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("faults"), "--drip-seconds", "0.3", "--retry-after-seconds", "7") as started:
        yield started


def _refused(status: int, retry_after: str | None) -> Callable[[Seen], bool]:
    return lambda seen: (
        (seen.end, seen.status, seen.headers.get("retry-after")) == ("whole", status, retry_after)
        and seen.json()["error"]["code"] == status
    )


def _message(seen: Seen) -> dict[str, Any]:
    message: dict[str, Any] = seen.json()["choices"][0]["message"]
    return message


def _cut_thinking(seen: Seen) -> bool:
    choice, usage = seen.json()["choices"][0], seen.json()["usage"]
    used = (usage["completion_tokens"], usage["completion_tokens_details"]["reasoning_tokens"])
    return (choice["finish_reason"], choice["message"]["content"], used) == ("length", None, (40, 40))


def _malformed(seen: Seen) -> bool:
    try:
        json.loads(seen.body)
    except json.JSONDecodeError:
        return (seen.end, seen.status) == ("whole", 200) and seen.body.startswith(b'{"id":"chatcmpl-')
    return False


# By fault: whether what was seen is that fault. The ask has max_tokens = 40.
LOOKS: dict[str, Callable[[Seen], bool]] = {
    "400": _refused(400, None),
    "429": _refused(429, "7"),
    "503": _refused(503, "7"),
    "599": _refused(599, None),
    "reset": lambda seen: (seen.end, seen.status, seen.body) == ("reset", None, b""),
    "reset_body": lambda seen: (
        (seen.end, seen.status, len(seen.body)) == ("reset", 200, int(seen.headers["content-length"]) // 2)
    ),
    "malformed": _malformed,
    "error_body": lambda seen: (seen.end, seen.status, list(seen.json())) == ("whole", 200, ["error"]),
    "drip": lambda seen: seen.pieces > 30 and len(_message(seen)["content"].split()) > 20,
    "hang": lambda seen: (seen.end, seen.status) == ("silent", None),
    "no_choices": lambda seen: seen.json()["choices"] == [] and seen.json()["usage"]["completion_tokens"] == 40,
    "no_usage": lambda seen: "usage" not in seen.json() and len(_message(seen)["content"].split()) > 20,
    "null_content": lambda seen: _cut_thinking(seen) and _message(seen)["reasoning"] is None,
    "think_cut": lambda seen: _cut_thinking(seen) and len(_message(seen)["reasoning"].split()) > 20,
}


@pytest.mark.parametrize("name", LOOKS)
def test_what_a_client_sees_of_a_fault(server: Server, name: str) -> None:
    before = server.stats()["faults"].get(name, 0)
    seen = server.raw(ask(3, f"[[scripted: fault={name}]]", max_tokens=40), 0.3 if name == "hang" else 10)
    assert LOOKS[name](seen), seen
    assert server.stats()["faults"][name] == before + 1


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_outcome_may_be_a_fault_and_comes_before_other_markers(server: Server, outcome: str) -> None:
    body = ask(3, f"[[scripted: fault={outcome}*1]] [[scripted: echo=x]]")
    told = answer(replace(parse_request(body), markers={"outcome": outcome}))
    first, second = (server.chat(body)[1]["choices"][0] for _ in range(2))
    assert (first["message"]["content"], first["finish_reason"]) == (told.content, told.finish_reason)
    assert first["message"]["reasoning_content"] == told.reasoning
    assert second["message"]["content"] == "x"


def test_every_fault_is_tried_here() -> None:
    assert set(FAULTS) - set(OUTCOMES) - {"die"} == {name for name in LOOKS if not name.isdecimal()}


def test_the_first_tries_of_an_ask_only(server: Server) -> None:
    def tries(seed: int, **more: Any) -> int:
        return server.chat(ask(seed, "[[scripted: fault=502*2]]", **more))[0]

    assert [tries(1), tries(2), tries(1), tries(1), tries(1)] == [502, 502, 502, 200, 200]
    assert [tries(2, max_tokens=9), tries(2, max_tokens=18)] == [502, 200]


def test_shares_and_seed_of_drawn_faults() -> None:
    shares = parse_faults("leak:0.1,500:0.2,drip:0")

    def drawn(seed: int) -> list[str | None]:
        faults = TryFaults(shares, seed)
        return [faults.drawn(digest(number)) for number in range(2000)]

    counts = Counter(drawn(0))
    assert counts["leak"] == pytest.approx(200, rel=0.25)
    assert counts["500"] == pytest.approx(400, rel=0.25)
    assert set(counts) == {None, "leak", "500"}
    assert drawn(0) == drawn(0)
    assert 200 < sum(one != other for one, other in zip(drawn(0), drawn(1), strict=True)) < 1200


def _kind(seen: Seen) -> str:
    """The name of the fault that was seen; `good` for none."""
    if seen.end == "reset":
        return "reset" if seen.status is None else "reset_body"
    if _malformed(seen):
        return "malformed"
    body = seen.json()
    wrong = {"error_body": "error" in body, "no_choices": not body.get("choices"), "no_usage": "usage" not in body}
    if any(wrong.values()):
        return next(name for name, holds in wrong.items() if holds)
    content = _message(seen)["content"]
    if content is None:
        return "think_cut" if _message(seen)["reasoning"] else "null_content"
    return "good" if content else "empty"


def test_drawn_faults_come_again_and_are_counted(tmp_path: Path) -> None:
    names = (
        "reset",
        "reset_body",
        "malformed",
        "error_body",
        "no_choices",
        "no_usage",
        "null_content",
        "think_cut",
        "empty",
    )
    options = ("--fail", ",".join(f"{name}:0.09" for name in names))

    def kinds(seed: str) -> list[str]:
        with running(tmp_path, *options, "--fail-seed", seed) as own:
            seen = [_kind(own.raw(ask(number % 40))) for number in range(120)]
            stats = own.stats()
        counts = Counter(seen)
        assert stats["faults"] == {name: times for name, times in counts.items() if name != "good"}
        assert stats["answered"] == sum(
            counts[name] for name in ("good", "no_usage", "null_content", "think_cut", "empty")
        )
        return seen

    first = kinds("4")
    assert set(first) == {*names, "good"}
    assert kinds("4") == first
    assert kinds("5") != first


def test_a_poisonous_ask_kills_the_server(tmp_path: Path) -> None:
    with running(tmp_path) as own:
        assert own.chat(ask(1))[0] == 200
        assert own.raw(ask(2, "[[scripted: fault=die]]")).end in ("closed", "reset")
        assert own.process.wait(10) == -signal.SIGKILL


def _counters(own: Server) -> bytes:
    return own.call("GET", "/metrics")[1]


def test_a_frozen_server_stays_healthy_and_gives_no_token(tmp_path: Path) -> None:
    options = ("--freeze-after", "3", "--faults-once", str(tmp_path / "once"), "--latency-seconds", "0.2")
    with running(tmp_path, *options) as own, ThreadPoolExecutor(5) as pool:
        ends = list(pool.map(lambda seed: own.raw(ask(seed), 1).end, range(5)))
        assert Counter(ends) == {"whole": 3, "silent": 2}
        frozen = _counters(own)
        assert own.raw(ask(9), 0.3).end == "silent"
        assert own.call("GET", "/health") == (200, b"ok")
        assert own.call("GET", "/v1/models")[0] == 200
        assert _counters(own) == frozen
        stats = own.stats()
        assert (stats["answered"], stats["most_in_flight"], stats["faults"]) == (3, 5, {"freeze": 3})
    assert (tmp_path / "once").exists()
    with running(tmp_path, *options) as again:
        assert [again.raw(ask(seed)).end for seed in range(5)] == ["whole"] * 5


def test_a_server_that_dies_after_some_answers(tmp_path: Path) -> None:
    options = ("--die-after", "2", "--faults-once", str(tmp_path / "once"))
    with running(tmp_path, *options) as own:
        assert own.chat(ask(1, "[[scripted: fault=500]]"))[0] == 500
        assert [own.raw(ask(seed)).end for seed in range(2)] == ["whole"] * 2
        assert own.process.wait(10) == -signal.SIGKILL
    with running(tmp_path, *options) as again:
        assert [again.raw(ask(seed)).end for seed in range(4)] == ["whole"] * 4


def test_a_server_that_comes_back_with_another_model(tmp_path: Path) -> None:
    def served() -> tuple[str, str, str]:
        with running(tmp_path, "--other-model-after-restart", str(tmp_path / "starts")) as own:
            reply = own.chat(ask(1))[1]
            name = json.loads(own.call("GET", "/v1/models")[1])["data"][0]["id"]
            assert f'{{model_name="{name}"}}' in _counters(own).decode()
            return name, reply["model"], reply["choices"][0]["message"]["content"]

    first, second, third = served(), served(), served()
    assert first[:2] == ("scripted-plain", "m")
    assert second[:2] == ("scripted-plain-other", "scripted-plain-other")
    assert first[2] != second[2]
    assert second == third


def test_a_leaking_server_grows(tmp_path: Path) -> None:
    with running(tmp_path, "--leak-bytes-per-ask", "1000000") as own:
        own.chat(ask(0))
        before = own.stats()
        for seed in range(40):
            own.chat(ask(seed))
        grown = own.stats()["resident_bytes"] - before["resident_bytes"]
    assert 40_000_000 <= grown < 60_000_000
    assert before["started_at"] > 1_700_000_000


def test_a_fault_is_not_text(server: Server) -> None:
    assert server.chat(ask(0, "[[scripted: outcome=copy]] [[scripted: fault=500*1]]"))[0] == 500
    again = server.chat(ask(0, "[[scripted: outcome=copy]] [[scripted: fault=500*1]]"))[1]
    assert again["choices"][0]["message"]["content"] == PASSAGE
