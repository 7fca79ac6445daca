"""The flow: Prefect orchestrates lots, never documents. Manifests are the truth; Prefect shows and schedules.

Without PREFECT_API_URL a temporary server is started as our child, with its own home below the home's scratch folder.
With it, each release leaves artifacts there: a table, a page that says where everything lies, and the run its progress.
This module is imported only when there is something to do, and imports Prefect only inside its functions.
"""

from __future__ import annotations

import contextvars
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows import loop, released
from flows.display import say
from flows.session import Session
from synth.engine.supervisor import Child
from synth.errors import Interrupted, WorldError, fail
from synth.releases import Release
from synth.store import make_folders

_START_SECONDS = 120.0
_PROGRESS_SECONDS = 5.0  # between two updates of the progress artifact
_ARTIFACTS_SECONDS = 15.0  # what a run waits at its end for artifacts under way
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # a failed task is reported once, by us
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
}


def run_under_prefect(session: Session, spent_usd: Callable[[], float]) -> list[Release]:
    """The loop of a run as one Prefect flow. While Prefect starts, the first lots are under way already."""
    lasting = bool(os.environ.get("PREFECT_API_URL"))  # a server that is still there to show artifacts after the run
    loop.enter(session)
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
            ahead = pool.submit(_first_lots, session)
            with _server(session, ahead):
                made = _flow(session, spent_usd if lasting else None)
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


def _flow(session: Session, spent_usd: Callable[[], float] | None) -> list[Release]:
    import prefect
    from prefect.cache_policies import NO_CACHE
    from prefect.task_runners import ThreadPoolTaskRunner

    as_task = prefect.task(name="lot", task_run_name="{kind}", retries=0, persist_result=False, cache_policy=NO_CACHE)
    artifacts: list[Artifacts] = []

    def lot(kind: str, run_id: str, partitions: Sequence[str]) -> dict[str, Any]:
        done = loop.perform(kind, run_id, partitions)
        for one in artifacts:
            one.lot_done(len(partitions) if kind == "documents" and not done.get("interrupted") else 0)
        return done

    task = as_task(lot)
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
        if spent_usd:
            artifacts.append(Artifacts(session, spent_usd))
        try:
            made.extend(loop.run_waves(session, task.submit))
        except Interrupted as error:
            stopped.append(error)
        finally:
            for one in artifacts:
                one.close()
        return {"releases": [release.number for release in made]}

    with _prefect_faults():
        synth(session.recipe.name, session.run_id)
    if stopped:
        raise stopped[0]
    return made


@contextmanager
def _prefect_faults() -> Iterator[None]:
    """A server that stops answering is a fault of the world, in the user's words."""
    import httpx

    try:
        yield
    except httpx.HTTPError as error:
        raise fail(
            WorldError,
            f"Prefect's server at {os.environ.get('PREFECT_API_URL')} stopped answering: {type(error).__name__}: {error}",
            do="run the same command again when it does: all that is finished is kept; or use --no-prefect",
        ) from error


class Artifacts:
    """A run's artifacts. They are made by a thread of their own, so that they hold up nothing; faults are counted, not raised."""

    def __init__(self, session: Session, spent_usd: Callable[[], float]) -> None:
        self.failed = 0
        self._session = session
        self._spent_usd = spent_usd
        self._key = f"synth-{session.recipe.name.replace('_', '-')}"
        self._context = contextvars.copy_context()  # of the flow: what is made in it belongs to its run
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="artifacts")
        self._guard = threading.Lock()
        self._progress: Any = None
        self._before = self._covered()[1]
        self._done, self._shown = 0, time.monotonic()
        session.on_release.append(self._on_release)
        self._submit(self._show)

    def lot_done(self, partitions: int) -> None:
        """So many partitions more are made; shown now and then."""
        with self._guard:
            self._done += partitions
            due = time.monotonic() - self._shown >= _PROGRESS_SECONDS
            self._shown = time.monotonic() if due else self._shown
        if due:
            self._submit(self._show)

    def close(self) -> None:
        """Show the end; wait a little for what is under way, then leave it."""
        self._session.on_release.remove(self._on_release)
        last = self._submit(self._show)
        wait([last], timeout=_ARTIFACTS_SECONDS)
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self.failed > 1:
            say(f"{self.failed} artifacts could not be written to Prefect")

    def _on_release(self, release: Release) -> None:
        self._submit(lambda: self._write(release))

    def _submit(self, make: Callable[[], None]) -> Future[None]:
        return self._pool.submit(self._context.run, self._guarded, make)

    def _guarded(self, make: Callable[[], None]) -> None:
        try:
            make()
        except Exception as error:  # Prefect shows; whatever is wrong there, the run goes on
            self.failed += 1
            if self.failed == 1:
                say(f"an artifact could not be written to Prefect, the run goes on: {type(error).__name__}: {error}")

    def _show(self) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        total, covered = self._covered()
        made = min(total, max(covered, self._before + self._done))
        progress = round(100 * made / total, 1) if total else 0.0
        text = f"{made:,} of {total:,} partitions made, {covered:,} of them released"
        if self._progress is None:
            self._progress = create_progress_artifact(progress, key=f"{self._key}-progress", description=text)
        else:
            update_progress_artifact(self._progress, progress, description=text)

    def _covered(self) -> tuple[int, int]:
        """How many partitions there are, and how many the newest release covers."""
        total = len(self._session.partitions())
        return total, total - len(self._session.pending())

    def _write(self, release: Release) -> None:
        from prefect.artifacts import create_markdown_artifact, create_table_artifact

        found = released.facts(self._session, release, self._spent_usd())
        title = released.sentence(self._session.recipe.name, found)
        create_table_artifact(released.table(found), key=f"{self._key}-release", description=title)
        create_markdown_artifact(released.page(self._session, found), key=f"{self._key}-files", description=title)


@contextmanager
def _server(session: Session, ahead: Future[None]) -> Iterator[None]:
    """PREFECT_API_URL as it is set, or a server of our own for the time of the run. What goes wrong ahead ends the wait."""
    before = dict(os.environ)
    for name, value in QUIET.items():
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
    os.environ["PREFECT_HOME"] = str(home)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{free_port()}/api"
    child = start_server(home, os.environ["PREFECT_API_URL"], "--no-ui")
    try:
        import prefect  # noqa: F401  (slow; it passes while the server starts)

        wait_for_server(child, os.environ["PREFECT_API_URL"], lambda: ahead.result() if ahead.done() else None)
        yield
    finally:
        child.stop()


def free_port(wanted: int = 0) -> int:
    """A port that nobody listens on: the wanted one, if it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(home: Path, url: str, *arguments: str) -> Child:
    """Prefect's server as our child, on loopback, with its database in `home`."""
    make_folders(home)
    port = url.removesuffix("/api").rpartition(":")[2]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port, *arguments]
    return Child.start(command, home / "server.log", {**os.environ, "PREFECT_HOME": str(home)})


def wait_for_server(child: Child, url: str, look: Callable[[], None] = lambda: None) -> None:
    """Wait until the server answers; `look` is called meanwhile and may raise. WorldError when it does not start."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and child.alive():
        look()
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2.0):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)  # not up yet
    lines = "\n".join(child.last_lines(10))
    raise fail(
        WorldError,
        f"Prefect's server did not start within {_START_SECONDS:.0f} s; its last lines ({child.log}):\n{lines}",
        do="run again, set PREFECT_API_URL to a server that runs, or use --no-prefect",
    )
