"""Watching a run: one live line on a terminal, plain lines when nobody watches, and `status.json` for other shells."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from flows.display import progress_line, say
from flows.progress import Progress
from flows.status import StatusFile

_LIVE_SECONDS = 0.5
_LOOK_SECONDS = 1.0
_PLAIN_SECONDS = ((120.0, 10.0), (3600.0, 60.0), (math.inf, 600.0))  # until then, a plain line so often


class Display:
    """Shows how far a run is, and writes it down. Use as a context manager around the run."""

    def __init__(self, name: str, progress: Progress, live: bool, status: StatusFile | None = None) -> None:
        self._name = name
        self._progress = progress
        self._status = status
        self._console = Console(stderr=True)
        self._tty = live and self._console.is_terminal
        self._quiet = not live
        self._stop = threading.Event()
        self._next = _PLAIN_SECONDS[0][1]

    def __enter__(self) -> Display:
        self._thread = threading.Thread(target=self._show, name="display", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _show(self) -> None:
        if self._tty:
            with Live(console=self._console, refresh_per_second=4, transient=True) as live:
                self._until_stopped(_LIVE_SECONDS, lambda value: live.update(Text(self._fitting(value), no_wrap=True)))
        else:
            self._until_stopped(_LOOK_SECONDS, self._say_now_and_then)

    def _until_stopped(self, seconds: float, show: Callable[[Mapping[str, Any]], None]) -> None:
        while not self._stop.wait(seconds):
            value = self._progress.value()
            show(value)
            if self._status:
                self._status.write(value)

    def _fitting(self, value: Mapping[str, Any]) -> str:
        return progress_line(self._name, value, self._console.width)

    def _say_now_and_then(self, value: Mapping[str, Any]) -> None:
        if not self._quiet and value["elapsed_seconds"] >= self._next:
            say(progress_line(self._name, value))
            self._next = value["elapsed_seconds"] + plain_seconds(value["elapsed_seconds"])


def plain_seconds(elapsed_seconds: float) -> float:
    """Seconds until the next plain line: a run of a month must not fill a disk with them."""
    return next(seconds for until, seconds in _PLAIN_SECONDS if elapsed_seconds < until)
