"""Endpoints of others, the scripted server and vLLM's launch: what is checked, and what is said when it is wrong."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from synth.engine import servers, supervisor
from synth.engine.roles import ModelConfig, ModelRun
from synth.engine.scripted import SCRIPT_VERSION
from synth.errors import EndpointError, RecipeError

KEY = "sk-planted-key-that-must-never-be-seen"
OPENAI = ModelConfig(backend="openai", model="some-model", revision="2026-01-01")
SCRIPTED = ModelConfig(backend="scripted")
VLLM = ModelConfig(backend="vllm", weights="hub/model", revision="abc123", context_tokens=2048)
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
    monkeypatch.setattr(servers, "_FIRST_PAUSE_SECONDS", 0.005)
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
    assert KEY not in repr(endpoint) and KEY not in json.dumps(endpoint.identity)
    endpoint.stop()


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
    url = f"http://127.0.0.1:{servers._free_port()}/v1"
    with pytest.raises(EndpointError) as caught:
        servers.start("m", OPENAI, ModelRun(base_url=url), tmp_path)
    for words in ("'m'", f"{url}/models", "5 tries", "refused", "run.models.m.base_url", "same command again"):
        assert words in str(caught.value)


def test_a_proxy_of_the_environment_is_not_asked(site: Callable[..., Site]) -> None:
    """As the client that sends the asks asks none. In a process of its own, because proxies are read once."""
    program = "import sys; from synth.engine import servers; print(servers._get(sys.argv[1], None)[0])"
    environment = {**servers._environment(), "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    argv = [sys.executable, "-c", program, site(MODELS).url]
    assert subprocess.run(argv, env=environment, capture_output=True, check=True).stdout == b"200\n"


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
        assert servers._get(f"{endpoint.base_url}/models", None)[0] == 401
    finally:
        endpoint.stop()
    assert endpoint.engine_version == f"scripted-{SCRIPT_VERSION}"
    assert endpoint.identity == {"script": "plain", "script_version": SCRIPT_VERSION, "context_tokens": 4096}


def test_a_key_of_one_s_own_is_taken_for_a_child(tmp_path: Path) -> None:
    endpoint = servers.start("m", SCRIPTED, ModelRun(api_key_env="PLANTED_KEY"), tmp_path)
    try:
        assert endpoint.api_key == KEY
        assert servers._get(f"{endpoint.base_url}/models", KEY)[0] == 200
        assert servers._get(f"{endpoint.base_url}/models", "another")[0] == 401
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


FAKE_VLLM = """
import http.server, json, os, sys, time
asked = 0
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global asked
        asked += 1
        ready = self.path == "/version" or asked > 2 and "--never-ready" not in sys.argv
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(b'{"version": "9.9"}' if self.path == "/version" else b"")
    def log_message(self, *_): pass
given = {"argv": sys.argv[1:], "key": os.environ["VLLM_API_KEY"], "track": os.environ["DO_NOT_TRACK"]}
open(os.environ["GIVEN"], "w").write(json.dumps(given))
if "--out-of-memory" in sys.argv:
    sys.exit("torch.OutOfMemoryError: CUDA out of memory. Key " + os.environ["VLLM_API_KEY"])
if "--killed" in sys.argv:
    os.kill(os.getpid(), 9)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture
def vllm_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that is launched and asked exactly as vLLM is; what it was given lies in the file returned."""
    module = tmp_path / "packages" / "vllm" / "entrypoints" / "openai" / "api_server.py"
    module.parent.mkdir(parents=True)
    module.write_text(FAKE_VLLM)
    for folder in (module.parent, module.parent.parent, module.parent.parent.parent):
        (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setenv("GIVEN", str(tmp_path / "given.json"))
    return tmp_path / "given.json"


def test_vllm_is_launched_on_loopback_with_a_hidden_key(vllm_package: Path, tmp_path: Path) -> None:
    endpoint = servers.start("m", VLLM, ModelRun(args=("--dtype", "float32"), gpus=1), tmp_path / "scratch")
    endpoint.stop()
    given = json.loads(vllm_package.read_text())
    port = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/v1", endpoint.base_url)
    assert port is not None
    where = ["--host", "127.0.0.1", "--port", port[1]]
    what = ["--model", "hub/model", "--revision", "abc123", "--max-model-len", "2048", "--dtype", "float32"]
    assert given["argv"] == where + what
    assert given["track"] == "1"
    assert given["key"] == endpoint.api_key and len(given["key"]) >= 32
    assert (endpoint.model, endpoint.engine_version, endpoint.gpus) == ("hub/model", "vllm 9.9", 1)


@pytest.mark.parametrize(
    ("argument", "timeout_seconds", "words"),
    [
        pytest.param("--out-of-memory", 60.0, "not enough memory", id="says it has no memory"),
        pytest.param("--killed", 60.0, "exit code 137): it was killed", id="killed for memory"),
        pytest.param("--never-ready", 1.0, "did not answer within 1 s", id="hangs"),
    ],
)
def test_a_vllm_that_does_not_come_up(
    vllm_package: Path, tmp_path: Path, argument: str, timeout_seconds: float, words: str
) -> None:
    run = ModelRun(args=(argument,), start_timeout_seconds=timeout_seconds)
    with pytest.raises(EndpointError, match=re.escape(words)) as caught:
        servers.start("m", VLLM, run, tmp_path / "scratch")
    assert json.loads(vllm_package.read_text())["key"] not in str(caught.value)
    assert "run.models.m." in str(caught.value)
    assert str(tmp_path / "scratch" / "m" / "server.log") in str(caught.value)


def test_a_key_among_vllm_s_arguments_is_refused(vllm_package: Path, tmp_path: Path) -> None:
    for args in (("--api-key", KEY), (f"--api-key={KEY}",)):
        with pytest.raises(RecipeError, match=r"run\.models\.m\.args") as caught:
            servers.start("m", VLLM, ModelRun(args=args), tmp_path / "scratch")
        assert KEY not in str(caught.value)
    assert not vllm_package.exists()


@pytest.mark.skipif(servers.importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_a_missing_vllm_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"(?s)models\.m\.backend: vllm is not installed.*synth\[vllm\]"):
        servers.start("m", VLLM, ModelRun(), tmp_path / "scratch")
    assert not list(tmp_path.rglob("*.log"))


def test_the_environment_keeps_what_was_in_pythonpath(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/a")
    assert servers._environment()["PYTHONPATH"].split(os.pathsep)[1:] == ["/a"]
    monkeypatch.delenv("PYTHONPATH")
    assert os.pathsep not in servers._environment()["PYTHONPATH"]
