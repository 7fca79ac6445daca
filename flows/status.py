"""`runs/<id>/status.json`: written by a run every few seconds, read by anyone without asking the run or taking its lock."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from synth.errors import HomeError, fail
from synth.rows import FORMAT_VERSION
from synth.store import MARK, Store, parse_json

_LOCAL_SECONDS, _REMOTE_SECONDS = 5.0, 60.0  # between two writes: each is a request where the home is a bucket
_SILENT_INTERVALS = 6  # after so many without a word, a run on another machine is taken for dead
_LOG_LINES = 3

Value = dict[str, Any]


class StatusFile:
    """Writes one run's status. A status that cannot be written now is written later: it never stops a run."""

    def __init__(self, store: Store, run_id: str, fixed: Mapping[str, Any]) -> None:
        self._store = store
        self._path = status_path(run_id)
        self._seconds = _REMOTE_SECONDS if store.name.startswith("s3://") else _LOCAL_SECONDS
        self._fixed = {
            "format_version": FORMAT_VERSION,
            "run": run_id,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "process_started": process_started(os.getpid()),
            "started_at": _now(),
            "interval_seconds": self._seconds,
            **fixed,
        }
        self._next = 0.0

    def write(self, progress: Mapping[str, Any]) -> None:
        """How far the run is, unless that was written a moment ago."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._seconds
            self._replace({"outcome": None, **progress})

    def end(self, progress: Mapping[str, Any], outcome: str, closing: Sequence[str]) -> None:
        """How it ended, and the words that were said at the end."""
        self._replace({**progress, "outcome": outcome, "closing": list(closing), "ended_at": _now()})

    def _replace(self, value: Mapping[str, Any]) -> None:
        data = orjson.dumps({**self._fixed, "updated_at": _now(), **value}, option=orjson.OPT_INDENT_2)
        try:
            self._store.replace(self._path, data)
        except Exception:  # a full disk or a bucket that is away: whatever matters is told where it is done
            self._next = time.monotonic() + 2 * self._seconds


def status_path(run_id: str) -> str:
    """Its file in the home."""
    return f"runs/{run_id}/status.json"


def process_started(process: int) -> str | None:
    """When a process of this machine started, as the kernel says: a later one of the same number differs. None: unknown."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else f"{boot}/{fields[19]}"


def newest(store: Store) -> Value | None:
    """The status of the home's newest run, with `state`: running, ended, killed (its process is gone) or silent (on another
    machine, without a word for long). None: no run was ever begun here."""
    if not store.exists(MARK):
        what, do = (
            f"there is no home at {store.name}",
            "name it with --home, or stand in the folder that holds ./corpus",
        )
        raise fail(HomeError, what, do=do)
    for run_id in reversed(store.names("runs")):
        try:
            data = store.read(status_path(run_id))
        except FileNotFoundError:
            continue  # made by an older version
        value = parse_json(data, status_path(run_id))
        return {**value, "state": _state(value)}
    return None


def _state(value: Mapping[str, Any]) -> str:
    if value["outcome"] is not None:
        return "ended"
    if value["host"] == socket.gethostname() and value["process_started"] is not None:
        return "running" if process_started(value["process"]) == value["process_started"] else "killed"
    silent = age_seconds(value["updated_at"]) > _SILENT_INTERVALS * value["interval_seconds"]
    return "silent" if silent else "running"


def age_seconds(moment: str) -> float:
    """How long ago that was, by this machine's clock."""
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def last_lines(log: Path) -> list[str]:
    """The end of a log, if it lies on this machine."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            return file.read().decode(errors="replace").splitlines()[-_LOG_LINES:]
    except OSError:
        return []


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
