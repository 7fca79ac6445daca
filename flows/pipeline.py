"""The flow: Prefect orchestrates lots, never documents. Manifests are the truth; Prefect shows and schedules.

Without PREFECT_API_URL a temporary server is started as our child, with its own home below the home's scratch folder.
This module is imported only when there is something to do, and imports Prefect only inside its functions.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows import loop
from flows.session import Session
from synth.engine.supervisor import Child
from synth.errors import Interrupted, WorldError, fail
from synth.releases import Release
from synth.store import make_folders

_START_SECONDS = 120.0
_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # a failed task is reported once, by us
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
}


def run_under_prefect(session: Session) -> list[Release]:
    """The loop of a run as one Prefect flow. While Prefect starts, the first lots are under way already."""
    loop.enter(session)
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
            ahead = pool.submit(_first_lots, session)
            with _server(session, ahead):
                made = _flow(session)
            ahead.result()  # what went wrong ahead went wrong in its task too, and was raised there
            return made
    finally:
        loop.leave(session)


def _first_lots(session: Session) -> None:
    """Start where the flow will start: its tasks find this work done or under way, and wait for it."""
    loop.perform("ingest", session.run_id, [])
    for lot in session.lots(session.wave())[: session.recipe.run.workers]:
        if loop.perform("documents", session.run_id, lot).get("interrupted"):
            raise Interrupted("the run was told to stop")


def _flow(session: Session) -> list[Release]:
    import prefect
    from prefect.cache_policies import NO_CACHE
    from prefect.task_runners import ThreadPoolTaskRunner

    as_task = prefect.task(name="lot", task_run_name="{kind}", retries=0, persist_result=False, cache_policy=NO_CACHE)
    task = as_task(loop.perform)
    runner: Any = ThreadPoolTaskRunner(max_workers=session.recipe.run.workers)
    made: list[Release] = []
    stopped: list[Interrupted] = []

    @prefect.flow(
        name="synth",
        flow_run_name=f"{session.recipe.name} {session.run_id}",
        task_runner=runner,
        persist_result=False,
        validate_parameters=False,
        retries=0,
    )
    def synth(recipe: str, run: str) -> dict[str, Any]:
        try:
            made.extend(loop.run_waves(session, task.submit))
        except Interrupted as error:
            stopped.append(error)
        return {"releases": [release.number for release in made]}

    synth(session.recipe.name, session.run_id)
    if stopped:
        raise stopped[0]
    return made


@contextmanager
def _server(session: Session, ahead: Future[None]) -> Iterator[None]:
    """PREFECT_API_URL as it is set, or a server of our own for the time of the run. What goes wrong ahead ends the wait."""
    before = dict(os.environ)
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        if os.environ.get("PREFECT_API_URL"):
            yield
        else:
            with _own_server(session.driver.scratch / "prefect", ahead):
                yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _own_server(home: Path, ahead: Future[None]) -> Iterator[None]:
    make_folders(home)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ["PREFECT_HOME"] = str(home)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
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
    child = Child.start(command, home / "server.log", dict(os.environ))
    try:
        _wait(os.environ["PREFECT_API_URL"], child, home / "server.log", ahead)
        yield
    finally:
        child.stop()


def _wait(url: str, child: Child, log: Path, ahead: Future[None]) -> None:
    import prefect  # noqa: F401  (slow; it passes while the server starts)

    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and child.alive():
        if ahead.done():
            ahead.result()
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2.0):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)  # not up yet
    lines = "\n".join(child.last_lines(10))
    raise fail(
        WorldError,
        f"Prefect's server did not start within {_START_SECONDS:.0f} s; its last lines ({log}):\n{lines}",
        do="run again, set PREFECT_API_URL to a server that runs, or use --no-prefect",
    )
