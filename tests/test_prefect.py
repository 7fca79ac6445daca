"""Through Prefect, as users run it: killed in the middle, no child is left, the same command finishes with the same bytes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.corpora import shard_files, write_recipe, write_seeds

pytestmark = pytest.mark.timeout(600)
MODEL = '[models.m]\nbackend = "scripted"'


def synth(folder: Path, home: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """`synth run` as a process of its own."""
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "run",
        str(folder / "recipe.toml"),
        "--home",
        str(folder / home),
        *arguments,
    ]
    env = {**os.environ, "SYNTH_TEST_MARK": str(folder), **environment}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def alive(folder: Path) -> list[str]:
    """Command lines of the processes that a run in this folder has started, found by the mark in their environment."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            environment = (process / "environ").read_bytes() if process.name.isdigit() else b""
            state = (process / "stat").read_text().rpartition(")")[2].split()[0] if environment else "Z"
        except OSError:
            continue  # it ended while we looked
        if f"SYNTH_TEST_MARK={folder}".encode() in environment and state != "Z":
            found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def test_killed_under_prefect(tmp_path: Path) -> None:
    write_seeds(tmp_path / "seeds/a.jsonl", range(30))
    slow = '[run.models.m]\nin_flight = 4\nargs = ["--latency-seconds", "0.4"]'
    write_recipe(tmp_path, "", models=MODEL, run=slow)
    process = synth(tmp_path, "corpus")
    deadline = time.monotonic() + 120
    while not list((tmp_path / "corpus").glob("scratch/generate/*/*/*/journal.sqlite")) or len(alive(tmp_path)) < 3:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, alive(tmp_path)
        time.sleep(0.1)
    time.sleep(1.0)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 15
    while left := alive(tmp_path):
        assert time.monotonic() < deadline, f"children outlive their parent: {left}"
        time.sleep(0.1)

    printed = finish(synth(tmp_path, "corpus"))
    assert "answered before" in printed
    assert alive(tmp_path) == []
    finish(synth(tmp_path, "undisturbed", "--no-prefect", "--set", 'run.models.m.args=["--latency-seconds", "0"]'))
    assert shard_files(tmp_path / "corpus") == shard_files(tmp_path / "undisturbed")


def test_prefect_api_url_is_honoured(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect"), "DO_NOT_TRACK": "1"}
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-ui",
    ]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}/api"
    try:
        wait_for(f"{url}/health")
        write_seeds(tmp_path / "seeds/a.jsonl", range(4))
        write_recipe(tmp_path, "", models=MODEL, run="[run]")
        client_home = str(tmp_path / "client")
        finish(synth(tmp_path, "corpus", PREFECT_API_URL=url, PREFECT_HOME=client_home))
        flows = post(f"{url}/flow_runs/filter")
        tasks = post(f"{url}/task_runs/filter")
        assert [(flow["name"].split()[0], flow["state_type"]) for flow in flows] == [("small", "COMPLETED")]
        assert sorted(task["name"] for task in tasks) == [
            "audit",
            "documents",
            "ingest",
            "release",
            "resolve",
            "shards",
        ]
        assert not (tmp_path / "corpus/scratch/prefect").exists()
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            assert time.monotonic() < deadline, url
            time.sleep(0.2)


def post(url: str) -> list[dict[str, str]]:
    request = urllib.request.Request(url, data=b"{}", headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        found: list[dict[str, str]] = json.loads(response.read())
    return found
