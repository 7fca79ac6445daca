"""The scripted server, as a real process."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest
from scripted_asks import QA_SCHEMA, Server, ask, running, until, with_schema

from synth.digest import digest
from synth.engine import scripted_text as text
from synth.engine.scripted import Options, latency_seconds, main, parse_faults


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("plain")) as started:
        yield started


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        pytest.param({"type": "string", "pattern": "(a)\\1"}, "pattern", id="pattern"),
        pytest.param({"allOf": [{"type": "string"}]}, "allOf", id="allOf"),
        pytest.param({"$ref": "#/$defs/none"}, "$ref leads nowhere", id="dangling reference"),
        pytest.param({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "no value can be made", id="circle"),
        pytest.param({"type": "colour"}, "'colour'", id="unknown type"),
    ],
)
def test_a_schema_it_cannot_serve_is_refused(server: Server, schema: dict[str, Any], words: str) -> None:
    status, body = server.chat(ask(response_format=with_schema(schema)))
    assert status == 400
    assert words in body["error"]["message"]


def test_think(server: Server) -> None:
    body = ask(0, "[[scripted: outcome=think]]", response_format=with_schema(QA_SCHEMA))
    reply = server.chat(body)[1]
    message = reply["choices"][0]["message"]
    jsonschema.validate(json.loads(message["content"]), QA_SCHEMA)
    reasoning = len(text.tokens_of(message["reasoning_content"]))
    assert reasoning > 25
    assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] == reasoning
    assert reply["usage"]["completion_tokens"] == reasoning + len(text.tokens_of(message["content"]))


def test_status(server: Server) -> None:
    assert [server.chat(ask(0, "[[scripted: status=502]]"))[0] for _ in range(3)] == [502] * 3


def test_the_same_ask_gets_the_same_bytes_from_any_instance(server: Server, tmp_path: Path) -> None:
    body = ask(7, response_format=with_schema(QA_SCHEMA), n=3)
    turned = dict(reversed(body.items()))
    with running(tmp_path, "--latency-seconds", "0.01") as other:
        assert server.chat(body) == other.chat(turned)


def test_what_belongs_to_the_ask(server: Server) -> None:
    def texts(**more: Any) -> list[str]:
        return [choice["message"]["content"] for choice in server.chat(ask(7) | more)[1]["choices"]]

    plain = texts()
    assert texts(n=3)[:1] == plain
    assert len(set(texts(n=3))) == 3
    assert texts(model="other", max_tokens=4000) == plain
    for changed in ({"seed": 8}, {"temperature": 0.8}, {"top_p": 0.5}):
        assert texts(**changed) != plain


def test_max_tokens_cuts(server: Server) -> None:
    whole = server.chat(ask(1))[1]
    cut = server.chat(ask(1, max_tokens=20))[1]
    assert (whole["choices"][0]["finish_reason"], cut["choices"][0]["finish_reason"]) == ("stop", "length")
    content = cut["choices"][0]["message"]["content"]
    assert whole["choices"][0]["message"]["content"].startswith(content)
    assert len(text.tokens_of(content)) == 20 == cut["usage"]["completion_tokens"]


def _generated_tokens(own: Server) -> int:
    metrics = own.call("GET", "/metrics")[1].decode()
    found = re.search(r'^vllm:generation_tokens_total\{model_name="scripted-plain"\} (\d+)$', metrics, re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_usage_tokenize_metrics_and_stats_agree(server: Server) -> None:
    stats, tokens = Counter(server.stats()["by_status"]), _generated_tokens(server)
    replies = [server.chat(ask(seed))[1] for seed in range(3)]
    generated = sum(reply["usage"]["completion_tokens"] for reply in replies)
    assert generated == sum(len(text.tokens_of(reply["choices"][0]["message"]["content"])) for reply in replies)
    counted = json.loads(server.call("POST", "/tokenize", {"messages": ask(0)["messages"]})[1])
    assert counted["count"] == len(counted["tokens"]) == replies[0]["usage"]["prompt_tokens"]
    assert server.call("POST", "/tokenize", {"prompt": "a word, twice: a word"})[1].startswith(b'{"count":7,')
    assert _generated_tokens(server) == tokens + generated
    assert server.chat({"messages": []})[0] == 400
    now = server.stats()
    assert Counter(now["by_status"]) - stats == {"200": 3, "400": 1}
    assert (now["answered"], now["requests"]) == (now["by_status"]["200"], sum(now["by_status"].values()))


def test_health_and_models(server: Server) -> None:
    assert server.call("GET", "/health") == (200, b"ok")
    assert json.loads(server.call("GET", "/v1/models")[1])["data"][0]["id"] == "scripted-plain"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"{", "not JSON", id="not JSON"),
        pytest.param([], "list of messages", id="not an object"),
        pytest.param({"messages": [{"content": "x"}]}, "needs a role", id="no role"),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "text as its content", id="image"
        ),
        pytest.param(ask(stream=True), "streaming", id="stream"),
        pytest.param(ask(n=0), "`n`", id="n"),
        pytest.param(ask(n=65), "`n` is out of range", id="n too large"),
        pytest.param(ask(max_tokens="9"), "`max_tokens`", id="max_tokens"),
        pytest.param(ask(response_format={"type": "yaml"}), "response_format", id="format"),
        pytest.param(ask(0, "[[scripted: outcome=explode]]"), "unknown scripted outcome", id="unknown outcome"),
        pytest.param(ask(0, "[[scripted: refuse]]"), "unknown [[scripted: …]] marker", id="unknown marker"),
        pytest.param(ask(0, "[[scripted: status=200]]"), "must be an HTTP error", id="status"),
        pytest.param(ask(0, "[[scripted: fault=200]]"), "unknown scripted fault", id="fault"),
        pytest.param(ask(0, "[[scripted: fault=500*0]]"), "unknown scripted fault", id="no tries"),
        pytest.param(ask(0, "[[scripted: hard=1.5]]"), "share of asks", id="hard"),
        pytest.param(ask(0, "[[scripted: weak=explode]]"), "unknown scripted outcome", id="weak"),
    ],
)
def test_wrong_requests_are_refused_with_a_reason(server: Server, body: Any, words: str) -> None:
    status, reply = server.chat(body)
    assert status == 400
    assert words in reply["error"]["message"]


def test_content_may_come_in_text_parts(server: Server) -> None:
    parts = [{"type": "text", "text": "Volcanic [[scripted: echo=yes]]"}, {"type": "text", "text": "islands"}]
    assert (
        server.chat({"messages": [{"role": "user", "content": parts}]})[1]["choices"][0]["message"]["content"] == "yes"
    )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a key and canned answers."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "key").write_text("s3cret\n")
    (folder / "answers.json").write_text(json.dumps({"puffin": {"a": 1}, "Volcanic": "Fire."}))
    options = ("--api-key-file", str(folder / "key"), "--answers", str(folder / "answers.json"))
    with running(folder, *options) as started:
        yield started


KEY = {"Authorization": "Bearer s3cret"}


def test_api_key(guarded: Server) -> None:
    wrong: list[dict[str, str]] = [{}, {"Authorization": "Bearer s3cre"}, {"Authorization": "s3cret"}]
    for headers in wrong:
        assert guarded.chat(ask(), headers=headers)[0] == 401
        assert guarded.call("GET", "/v1/models", headers=headers)[0] == 401
        assert guarded.call("POST", "/tokenize", {"prompt": "x"}, headers=headers)[0] == 401
    assert guarded.chat(ask(), headers=KEY)[0] == 200
    assert guarded.call("GET", "/v1/models", headers=KEY)[0] == 200
    assert guarded.call("GET", "/health")[0] == 200


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("The puffin", '{"a":1}', id="a JSON value"),
        pytest.param("Volcanic islands", "Fire.", id="a text"),
        pytest.param("Something else", None, id="none fits: the usual answer"),
    ],
)
def test_canned_answers(guarded: Server, content: str, expected: str | None) -> None:
    reply = guarded.chat({"messages": [{"role": "user", "content": content}]}, headers=KEY)[1]
    said = reply["choices"][0]["message"]["content"]
    assert said == expected if expected is not None else len(said.split()) >= 60


def _ends(own: Server, seeds: Sequence[int]) -> list[str]:
    """How each request ends: a status, or `reset`, or `malformed`."""
    ends = []
    for seed in seeds:
        try:
            status, data = own.call("POST", "/v1/chat/completions", ask(seed))
            json.loads(data)
            ends.append(str(status))
        except ConnectionResetError:
            ends.append("reset")
        except json.JSONDecodeError:
            ends.append("malformed")
    return ends


def test_faults_come_again_and_pass(tmp_path: Path) -> None:
    given_faults = ("--fail", "500:0.2,429:0.1,reset:0.1,malformed:0.1")
    seeds = list(range(60)) * 2
    with running(tmp_path, *given_faults) as one:
        first = _ends(one, seeds)
        assert one.stats()["by_status"] == Counter(first)
    with running(tmp_path, *given_faults) as other:
        assert _ends(other, seeds) == first
    assert set(first) == {"200", "500", "429", "reset", "malformed"}
    assert 40 <= first.count("200") <= 80
    failed = [at for at in range(60) if first[at] != "200"]
    assert {first[60 + at] for at in failed} > {"200"}


def _ask_and_leave(own: Server, body: Any, log: Path) -> None:
    """Send a request and close the connection once the server has it."""
    lines = len(log.read_text().splitlines())
    connection = http.client.HTTPConnection("127.0.0.1", own.port, timeout=10)
    connection.request("POST", "/v1/chat/completions", json.dumps(body).encode())
    until(lambda: len(log.read_text().splitlines()) > lines)
    connection.close()


def test_a_hanging_request_ends_when_its_client_leaves(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    with running(tmp_path, "--fail", "hang:1", "--request-log", str(log)) as own:
        with pytest.raises(TimeoutError):
            own.chat(ask(), seconds=0.3)
        _ask_and_leave(own, ask(), log)
        until(lambda: own.stats()["by_status"] == {"hang": 2})
        stats = own.stats()
        assert (stats["requests"], stats["in_flight"], stats["answered"]) == (2, 0, 0)
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()] == ["request"] * 2


def test_the_first_requests_fail_and_an_interrupt_ends_it_cleanly(tmp_path: Path) -> None:
    with running(tmp_path, "--fail-first", "2") as own:
        assert own.call("GET", "/v1/models")[0] == 200
        assert [own.chat(ask(seed))[0] for seed in range(4)] == [503, 503, 200, 200]
        own.process.send_signal(signal.SIGINT)
        assert own.process.wait(timeout=10) == 0


async def _all_at_once(url: str, bodies: Sequence[Mapping[str, Any]]) -> list[int]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(body: Mapping[str, Any]) -> int:
            async with session.post(f"{url}/chat/completions", json=body) as response:
                await response.read()
                return response.status

        return await asyncio.gather(*map(one, bodies))


def test_the_request_log_and_waiting_side_by_side(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b'{"kept":true}\n')
    before = time.time()
    with running(tmp_path, "--request-log", str(log), "--latency-seconds", "0.4") as own:
        assert own.chat(ask(1))[0] == 200
        _ask_and_leave(own, ask(2), log)
        assert own.chat(ask(3, "[[scripted: status=500]]"))[0] == 500
        until(lambda: own.stats()["by_status"] == {"200": 1, "500": 1, "disconnected": 1})
        kept, *lines = [json.loads(line) for line in log.read_text().splitlines()]
        started = time.monotonic()
        assert asyncio.run(_all_at_once(own.base_url, [ask(seed) for seed in range(200)])) == [200] * 200
        assert 0.4 <= time.monotonic() - started < 8  # one after another they would take 80 seconds
        assert len(log.read_text().splitlines()) == 1 + len(lines) + 400
    assert kept == {"kept": True}
    first, second, third = map(digest, [ask(1), ask(2), ask(3, "[[scripted: status=500]]")])
    assert [(line["event"], line["digest"], line.get("status")) for line in lines] == [
        ("request", first, None),
        ("answer", first, 200),
        ("request", second, None),
        ("request", third, None),
        ("answer", third, 500),
    ]
    times = [line["time"] for line in lines]
    assert before <= times[0] <= times[1] - 0.4 <= times[-1] <= time.time()


def test_the_latency_of_an_ask_can_be_recomputed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    given = ("--latency-seconds", "0.1", "--latency-sigma", "0.8", "--tokens-per-second", "2000")
    with running(tmp_path, "--request-log", str(log), *given) as own:
        used = [own.chat(ask(seed))[1]["usage"]["completion_tokens"] for seed in range(8)]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    options = Options(latency_seconds=0.1, latency_sigma=0.8, tokens_per_second=2000)
    for seed, (begin, end) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
        # A loop's timer may fire a millisecond early.
        assert end["time"] - begin["time"] >= latency_seconds(options, digest(ask(seed)), used[seed]) - 0.002


def test_latency_has_the_mean_asked_for() -> None:
    options = Options(latency_seconds=2.0, latency_sigma=0.7)
    drawn = [latency_seconds(options, digest(seed), 100) for seed in range(4000)]
    assert sum(drawn) / len(drawn) == pytest.approx(2.0, rel=0.05)
    assert sorted(drawn)[2000] == pytest.approx(2.0 * 2.718281828 ** (-(0.7**2) / 2), rel=0.05)
    assert latency_seconds(Options(latency_seconds=1.0, tokens_per_second=50.0), "", 100) == 3.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(["--fail", "teapot:0.1"], "--fail cannot be read", id="unknown fault"),
        pytest.param(["--fail", "200:0.1"], "HTTP status 400-599", id="no error status"),
        pytest.param(["--fail", "500:1.5"], "share from 0 to 1", id="share"),
        pytest.param(["--fail", "500:0.6,429:0.6"], "more than 1", id="sum of shares"),
        pytest.param(["--api-key-file", "missing"], "the API key cannot be read", id="no key file"),
        pytest.param(["--api-key-file", "empty"], "is empty", id="empty key file"),
        pytest.param(["--answers", "empty"], "the answers cannot be read", id="answers not JSON"),
        pytest.param(["--answers", "list"], "one JSON object", id="answers not an object"),
        pytest.param(["--latency-seconds", "-1"], "must not be negative", id="negative latency"),
        pytest.param(["--leak-bytes-per-ask", "-1"], "leak_bytes_per_ask must not be negative", id="negative leak"),
        pytest.param(["--freeze-after", "0"], "count answers", id="freeze at once"),
        pytest.param(["--other-model-after-restart", "list"], "holds no number", id="no count of starts"),
        pytest.param(["--faults-once", "none/file"], "no such folder", id="no folder for the file"),
    ],
)
def test_wrong_options(
    options: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").write_text("")
    Path("list").write_text("[]")
    assert main(options) == 2
    assert words in capsys.readouterr().err


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [
            sys.executable,
            "-m",
            "synth.engine.scripted",
            "--port",
            port,
            "--ready-file",
            str(tmp_path / "ready"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert f"127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "ready").exists()


def test_faults_are_parsed_in_order() -> None:
    assert parse_faults("500:0.05, reset:0.01,leak:0") == (("500", 0.05), ("reset", 0.01), ("leak", 0.0))
    assert parse_faults("") == ()
