"""What many tests share: a scripted model server in its own process, small seed files, recipes, homes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from synth.digest import digest
from synth.engine.probes import canary_bodies
from tests import s3_server

ROOT = Path(__file__).parent.parent

settings.register_profile("synth", deadline=None)  # how long an example takes says nothing about whether it is right
settings.load_profile("synth")


@dataclass
class ScriptedServer:
    """A running scripted server: where it is, and what it was asked."""

    base_url: str
    log: Path
    process: subprocess.Popen[bytes]

    def entries(self) -> list[dict[str, Any]]:
        """The request log, one entry per request received or answered; the engine's own canary questions are left out."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        canaries = {digest(body) for body in canary_bodies("scripted")}
        return [entry for entry in map(json.loads, lines) if entry["digest"] not in canaries]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def start_scripted(folder: Path, *arguments: str) -> ScriptedServer:
    """Start the scripted server and wait until it listens."""
    folder.mkdir(parents=True, exist_ok=True)
    ready, log = folder / "ready.json", folder / "requests.jsonl"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "synth.engine.scripted", "--port", "0", "--ready-file", str(ready)]
    process = subprocess.Popen([*command, "--request-log", str(log), *arguments], cwd=ROOT)
    deadline = time.monotonic() + 30
    while not ready.exists():
        assert process.poll() is None, "the scripted server died at start"
        assert time.monotonic() < deadline, "the scripted server did not start"
        time.sleep(0.02)
    return ScriptedServer(json.loads(ready.read_text())["base_url"], log, process)


@pytest.fixture(scope="session")
def scripted_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedServer]:
    """One scripted server for all tests that only need answers."""
    server = start_scripted(tmp_path_factory.mktemp("scripted"))
    yield server
    server.stop()


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[..., ScriptedServer]]:
    """Start scripted servers with arguments of the test's own; they end with the test."""
    servers: list[ScriptedServer] = []

    def start(*arguments: str) -> ScriptedServer:
        servers.append(start_scripted(tmp_path / f"server{len(servers)}", *arguments))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The URL of a local S3 with an empty bucket."""
    url, stop = s3_server.start_moto()
    yield url
    stop()


@pytest.fixture
def s3(moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same, and this process works on homes there, with a cache of its own."""
    s3_server.use(monkeypatch, moto, tmp_path / "cache")
    return moto


@pytest.fixture(params=["folder", "s3"])
def any_home(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a home may lie: a folder that is not there yet, and a prefix in a bucket."""
    if request.param == "folder":
        return str(tmp_path / "home")
    request.getfixturevalue("s3")
    return s3_server.new_home()


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' homes are their own."""
    for name in ("SYNTH_HOME", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    os.environ.setdefault("DO_NOT_TRACK", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every-kill-point", action="store_true", help="kill at every operation, not at one of each kind")
    parser.addoption("--write-golden", action="store_true", help="accept the results of now as tests/golden.json")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that serve a deployment for a minute run when they are asked for: make test-schedule."""
    asked = [item for item in items if item.get_closest_marker("schedule")]
    if asked and "schedule" not in config.option.markexpr:
        config.hook.pytest_deselected(items=asked)
        items[:] = [item for item in items if item not in asked]
