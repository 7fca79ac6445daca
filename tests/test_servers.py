"""Endpoints of others and the scripted server: what is checked, what each replica gets, what is said when it is wrong."""

from __future__ import annotations

import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from synth.engine import launch, outside, servers, supervisor
from synth.engine.roles import ModelConfig, ModelRun
from synth.engine.scripted import SCRIPT_VERSION
from synth.errors import EndpointError, RecipeError

KEY = "sk-planted-key-that-must-never-be-seen"
OPENAI = ModelConfig(backend="openai", model="some-model", revision="2026-01-01")
SCRIPTED = ModelConfig(backend="scripted")
Reply = tuple[int, dict[str, str], bytes]
MODELS: Reply = (200, {}, b'{"object": "list", "data": [{"id": "some-model"}]}')


class Site:
    """A local HTTP server that gives these replies in turn, the last one for ever, and keeps what it was sent."""

    def __init__(self, *replies: Reply) -> None:
        seen: list[tuple[str, str | None]] = []
        left = list(replies)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append((self.path, self.headers.get("Authorization")))
                status, headers, body = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.seen = seen
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def start(*replies: Reply) -> Site:
        sites.append(Site(*replies))
        return sites[-1]

    yield start
    for one in sites:
        one.stop()


@pytest.fixture(autouse=True)
def quick_and_clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short pauses between tries; a planted key in the environment; no child left behind by any failure."""
    monkeypatch.setattr(outside, "_FIRST_PAUSE_SECONDS", 0.005)
    monkeypatch.setenv("PLANTED_KEY", KEY)
    before = set(supervisor._RUNNING)
    yield
    assert all(not child.alive() for child in supervisor._RUNNING - before)


def test_an_outside_endpoint_is_checked_and_gets_the_key(site: Callable[..., Site], tmp_path: Path) -> None:
    there = site(MODELS)
    run = ModelRun(base_url=f"{there.url}/v1/", api_key_env="PLANTED_KEY", gpus=3)
    endpoint = servers.start("m", OPENAI, run, tmp_path)
    assert there.seen == [("/v1/models", f"Bearer {KEY}")]
    assert (endpoint.base_url, endpoint.model, endpoint.gpus) == (f"{there.url}/v1", "some-model", 3)
    assert (endpoint.api_key, endpoint.child) == (KEY, None)
    assert (endpoint.name, endpoint.root) == ("m/0", there.url)
    assert KEY not in repr(endpoint) and KEY not in json.dumps(endpoint.identity)
    endpoint.stop()


def test_each_replica_is_an_endpoint_of_its_own(site: Callable[..., Site], tmp_path: Path) -> None:
    sites = [site(MODELS), site(MODELS)]
    run = ModelRun(base_urls=tuple(f"{there.url}/v1" for there in sites))
    found = [servers.start("m", OPENAI, run, tmp_path, replica) for replica in range(run.copies)]
    assert [endpoint.name for endpoint in found] == ["m/0", "m/1"]
    assert [endpoint.root for endpoint in found] == [there.url for there in sites]
    assert [len(there.seen) for there in sites] == [1, 1]


def test_a_wrong_url_among_several_is_named_by_its_place(site: Callable[..., Site], tmp_path: Path) -> None:
    run = ModelRun(base_urls=(site(MODELS).url, site((404, {}, b"")).url))
    servers.start("m", OPENAI, run, tmp_path, 0)
    with pytest.raises(RecipeError, match=r"run\.models\.m\.base_urls\[1\]: wrong URL"):
        servers.start("m", OPENAI, run, tmp_path, 1)


def test_without_a_key_none_is_sent(site: Callable[..., Site], tmp_path: Path) -> None:
    there = site(MODELS)
    assert servers.start("m", OPENAI, ModelRun(base_url=there.url), tmp_path).api_key is None
    assert there.seen == [("/models", None)]


def test_an_endpoint_that_is_just_coming_up_is_waited_for(site: Callable[..., Site], tmp_path: Path) -> None:
    there = site((503, {}, b""), (429, {}, b""), MODELS)
    servers.start("m", OPENAI, ModelRun(base_url=there.url), tmp_path)
    assert len(there.seen) == 3


@pytest.mark.parametrize(
    ("reply", "kind", "tries", "words"),
    [
        pytest.param((401, {}, b""), RecipeError, 1, "refuses the key in PLANTED_KEY (HTTP 401)", id="wrong key"),
        pytest.param((403, {}, b""), RecipeError, 1, "run.models.m.api_key_env", id="forbidden"),
        pytest.param((404, {}, b""), RecipeError, 1, "run.models.m.base_url: wrong URL", id="wrong path"),
        pytest.param((302, {"Location": "/x"}, b""), RecipeError, 1, "sends us elsewhere", id="redirect"),
        pytest.param((405, {}, b""), RecipeError, 1, "HTTP 405", id="another refusal"),
        pytest.param((200, {}, b"<html>hello</html>"), RecipeError, 1, "not as OpenAI's API", id="a web page"),
        pytest.param((500, {}, b""), EndpointError, 5, "(5 tries; the last one: HTTP 500)", id="broken"),
    ],
)
def test_what_is_wrong_with_an_outside_endpoint_is_said(
    site: Callable[..., Site], tmp_path: Path, reply: Reply, kind: type[Exception], tries: int, words: str
) -> None:
    there = site(reply)
    with pytest.raises(kind, match=re.escape(words)) as caught:
        servers.start("m", OPENAI, ModelRun(base_url=f"{there.url}/v1", api_key_env="PLANTED_KEY"), tmp_path)
    assert [path for path, _ in there.seen] == ["/v1/models"] * tries
    assert KEY not in str(caught.value)
    assert there.url in str(caught.value)


def test_nobody_listens(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{launch.free_port()}/v1"
    with pytest.raises(EndpointError) as caught:
        servers.start("m", OPENAI, ModelRun(base_url=url), tmp_path)
    for words in ("'m'", f"{url}/models", "5 tries", "refused", "run.models.m.base_url", "same command again"):
        assert words in str(caught.value)


def test_a_proxy_of_the_environment_is_not_asked(site: Callable[..., Site]) -> None:
    """As the client that sends the asks asks none. In a process of its own, because proxies are read once."""
    program = "import sys; from synth.engine import outside; print(outside.get(sys.argv[1], None)[0])"
    variables = {**environment(), "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    argv = [sys.executable, "-c", program, site(MODELS).url]
    assert subprocess.run(argv, env=variables, capture_output=True, check=True).stdout == b"200\n"


@pytest.mark.parametrize(
    ("run", "words", "hidden"),
    [
        pytest.param({}, r"run\.models\.m\.base_url: missing", None, id="no URL"),
        pytest.param({"base_url": "localhost:8000/v1"}, r"not a URL(?s:.*)http://host:port", None, id="no scheme"),
        pytest.param({"base_url": "http://a b/v1"}, "not a URL", None, id="a blank"),
        pytest.param({"base_url": "http://h:99999999/v1"}, "not a URL", None, id="no port"),
        pytest.param({"base_url": f"http://me:{KEY}@host/v1"}, "user name, a password", KEY, id="password"),
        pytest.param({"base_url": f"http://host/v1?key={KEY}"}, "or a query", KEY, id="query"),
        pytest.param(
            {"base_url": "http://h/v1", "api_key_env": "NO_SUCH_KEY"},
            r"run\.models\.m\.api_key_env: the environment variable NO_SUCH_KEY is not set(?s:.*)export NO_SUCH_KEY",
            None,
            id="variable not set",
        ),
        pytest.param({"base_url": "http://h/v1", "api_key_env": "EMPTY_KEY"}, "EMPTY_KEY is not set", None, id="empty"),
        pytest.param({"base_url": "http://h/v1", "api_key_env": KEY}, "the name of an env", KEY, id="the key itself"),
        pytest.param(
            {"base_url": "http://h/v1", "api_key_env": "BROKEN_KEY"}, "no API key has", "half", id="a line break inside"
        ),
    ],
)
def test_wrong_fields_of_an_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: dict[str, Any], words: str, hidden: str | None
) -> None:
    monkeypatch.setenv("EMPTY_KEY", "  ")
    monkeypatch.setenv("BROKEN_KEY", "half\nhalf")
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(RecipeError, match=words) as caught:
        servers.start("m", OPENAI, ModelRun(**run), tmp_path)
    assert hidden is None or hidden not in str(caught.value)


def test_the_scripted_server_is_started_with_its_arguments_and_a_key(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    endpoint = servers.start("m", SCRIPTED, ModelRun(args=("--request-log", str(log))), tmp_path / "scratch")
    try:
        body = json.dumps({"model": endpoint.model, "messages": [{"role": "user", "content": "hello there"}]}).encode()
        headers = {"Authorization": f"Bearer {endpoint.api_key}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{endpoint.base_url}/chat/completions", body, headers)
        with urllib.request.urlopen(request) as response:
            assert json.load(response)["choices"][0]["message"]["content"]
        assert log.read_text().count('"request"') == 1
        assert outside.get(f"{endpoint.base_url}/models", None)[0] == 401
    finally:
        endpoint.stop()
    assert endpoint.engine_version == f"scripted-{SCRIPT_VERSION}"
    assert endpoint.identity == {"script": "plain", "script_version": SCRIPT_VERSION, "context_tokens": 4096}


def test_a_key_of_one_s_own_is_taken_for_a_child(tmp_path: Path) -> None:
    endpoint = servers.start("m", SCRIPTED, ModelRun(api_key_env="PLANTED_KEY"), tmp_path)
    try:
        assert endpoint.api_key == KEY
        assert outside.get(f"{endpoint.base_url}/models", KEY)[0] == 200
        assert outside.get(f"{endpoint.base_url}/models", "another")[0] == 401
    finally:
        endpoint.stop()


def test_children_find_the_package_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing that lies in the current folder takes the place of a module."""
    (tmp_path / "argparse.py").write_text("raise RuntimeError('the wrong module')")
    monkeypatch.chdir(tmp_path)
    servers.start("m", SCRIPTED, ModelRun(), tmp_path / "scratch").stop()


def test_an_unknown_argument_is_told_from_the_log(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match=r"(?s)does not know an argument.*--nonsense.*run\.models\.m\.args"):
        servers.start("m", SCRIPTED, ModelRun(args=("--nonsense",)), tmp_path)


def test_an_unknown_script_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"did you mean 'plain'"):
        servers.identity(ModelConfig(backend="scripted", script="plane"))


def test_identities_of_declared_models() -> None:
    declared = {"model": "some-model", "revision": "2026-01-01", "context_tokens": 4096}
    assert servers.identity(OPENAI) == declared
    same = ModelConfig(backend="vllm", weights="some-model", revision="2026-01-01")
    assert servers.identity(same) == declared  # who runs the same model is provenance
    other = ModelConfig(backend="openai", model="some-model", revision="2026-02-02")
    assert servers.identity(other) != declared


def environment(replica: int = 0, first_gpu: int = 0, **run: Any) -> dict[str, str]:
    return launch.environment("m", ModelRun(**run), replica, first_gpu)


def test_the_environment_keeps_what_was_in_pythonpath(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/a")
    assert environment()["PYTHONPATH"].split(os.pathsep)[1:] == ["/a"]
    monkeypatch.delenv("PYTHONPATH")
    assert os.pathsep not in environment()["PYTHONPATH"]


def test_replicas_have_their_own_folders_ports_and_logs(tmp_path: Path) -> None:
    run = ModelRun(replicas=2, port=two_free_ports())
    found = [servers.start("m", SCRIPTED, run, tmp_path, replica) for replica in (0, 1)]
    for endpoint in found:
        endpoint.stop()
    assert [endpoint.base_url for endpoint in found] == [f"http://127.0.0.1:{run.port + at}/v1" for at in (0, 1)]
    assert [endpoint.root for endpoint in found] == [f"http://127.0.0.1:{run.port + at}" for at in (0, 1)]
    assert found[0].api_key != found[1].api_key
    assert [path.parent.name for path in sorted(tmp_path.rglob("server.log"))] == ["m-0", "m-1"]


def two_free_ports() -> int:
    """The first of two ports in a row that are free."""
    while True:
        first = launch.free_port()
        try:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", first + 1))
        except OSError:
            continue
        return first


def test_ports_beyond_the_last_are_refused(tmp_path: Path) -> None:
    run = ModelRun(replicas=3, port=65534)
    with pytest.raises(RecipeError, match=r"(?s)run\.models\.m\.port: no ports left for 3 replicas.*at most 65533"):
        servers.start("m", SCRIPTED, run, tmp_path, 2)


@pytest.mark.parametrize(
    ("inherited", "nodes", "replica", "first_gpu", "given"),
    [
        pytest.param(None, 8, 0, 0, "0,1", id="the first group"),
        pytest.param(None, 8, 2, 0, "4,5", id="the third group"),
        pytest.param(None, 8, 1, 1, "3,4", id="after the one of another model"),
        pytest.param(None, 0, 2, 0, "4,5", id="nobody knows how many there are"),
        pytest.param("7,6,5,4,3,2", 8, 1, 0, "5,4", id="among those we were given, in their order"),
        pytest.param("GPU-a, GPU-b,GPU-c,GPU-d,GPU-e,GPU-f", 8, 2, 0, "GPU-e,GPU-f", id="by UUID"),
    ],
)
def test_each_replica_sees_only_its_own_gpus(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    inherited: str | None,
    nodes: int,
    replica: int,
    first_gpu: int,
    given: str,
) -> None:
    visible(tmp_path, monkeypatch, inherited, nodes)
    assert environment(replica, first_gpu, gpus=2, replicas=3)["CUDA_VISIBLE_DEVICES"] == given


@pytest.mark.parametrize(
    ("inherited", "nodes", "first_gpu", "there"),
    [
        pytest.param(None, 5, 0, 5, id="too few in the node"),
        pytest.param("0,1,2,3,4,5", 8, 1, 6, id="another model has one of them"),
        pytest.param("0,1,-1,2,3,4,5", 8, 0, 2, id="CUDA stops at -1"),
        pytest.param("", 8, 0, 0, id="all are hidden"),
    ],
)
def test_fewer_gpus_than_the_replicas_need_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inherited: str | None, nodes: int, first_gpu: int, there: int
) -> None:
    visible(tmp_path, monkeypatch, inherited, nodes)
    with pytest.raises(RecipeError, match=rf"(?s)run\.models\.m: 3 replicas with 2 GPUs.*at most {there} GPUs"):
        environment(0, first_gpu, gpus=2, replicas=3)


def test_without_gpus_the_environment_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    visible(tmp_path, monkeypatch, None, 4)
    assert "CUDA_VISIBLE_DEVICES" not in environment()
    visible(tmp_path, monkeypatch, "3", 4)
    assert environment()["CUDA_VISIBLE_DEVICES"] == "3"


def visible(folder: Path, monkeypatch: pytest.MonkeyPatch, inherited: str | None, nodes: int) -> None:
    """A node with so many GPUs, under that CUDA_VISIBLE_DEVICES."""
    monkeypatch.setattr(launch, "_DEVICES", folder)
    for name in [*(f"nvidia{number}" for number in range(nodes)), "nvidiactl", "nvidia-uvm"]:
        (folder / name).touch()
    if inherited is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", inherited)
