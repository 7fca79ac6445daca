"""What is known of deployments on this machine: a folder for each, in the user's state folder, without asking Prefect.

deployment.json says what is deployed, firings.log how each firing ended, tally.json how often in which way. serve.lock is held
by the process that serves it, firing.lock by the firing that runs, so neither outlives its process; `stop` asks both to end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import orjson

from flows.notify import NotifyConfig
from synth.config import nearest, parse
from synth.errors import UserError, fail
from synth.store import make_folders, parse_json

RECORD = "deployment.json"
_TRIES, _TRY_SECONDS = 4, 0.05


@dataclass(frozen=True)
class Deployment:
    """One recipe on one home on a schedule."""

    name: str
    recipe: str
    home: str
    assignments: tuple[str, ...] = ()
    cron: str | None = None
    every_seconds: int | None = None
    timezone: str = "UTC"
    api_url: str = ""
    own_server: bool = True  # started by us: it ends with the process that serves
    pid: int = 0
    notify: Mapping[str, Any] = field(default_factory=dict)  # of the recipe as it was last readable

    @property
    def folder(self) -> Path:
        """Where its state lies."""
        return root() / self.name

    @property
    def log(self) -> Path:
        """What the firings print."""
        return self.folder / "runs.log"

    @property
    def schedule(self) -> str:
        """The schedule in words."""
        return f'cron "{self.cron}" ({self.timezone})' if self.cron else f"every {in_words(self.every_seconds or 0)}"

    @property
    def hooks(self) -> NotifyConfig:
        """Whom to tell."""
        return parse(NotifyConfig, self.notify, "run.notify")

    def save(self) -> None:
        """Write it down; only the user may read it, for an address to notify may be a secret."""
        _write(self.folder / RECORD, orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))

    def with_hooks(self, config: NotifyConfig) -> Deployment:
        """The same, and written down, with what its recipe now says about notifications."""
        changed = replace(self, notify=config.content())
        if changed != self:
            changed.save()
        return changed

    @contextlib.contextmanager
    def serving(self) -> Iterator[bool]:
        """Be the process that serves it; False where another one does."""
        with _held(self.folder / "serve.lock") as ours:
            yield ours

    @contextlib.contextmanager
    def firing(self) -> Iterator[bool]:
        """Be the firing that runs; False where an earlier one still does."""
        with _held(self.folder / "firing.lock") as ours:
            yield ours

    def is_served(self) -> bool:
        """Whether a process serves it now."""
        return _is_held(self.folder / "serve.lock")

    def is_firing(self) -> bool:
        """Whether a firing runs now."""
        return _is_held(self.folder / "firing.lock")

    def ask_to_stop(self, now: bool = False) -> None:
        """Ask the serving process and a firing to end: after the answers in flight, or now."""
        _write(self.folder / "stop", b"now" if now else b"soon")

    def asked_to_stop(self) -> str:
        """`soon` or `now`, or nothing."""
        return self._read("stop")

    def forget_stop(self) -> None:
        """Serve again."""
        (self.folder / "stop").unlink(missing_ok=True)

    def ask_firing_to_stop(self) -> None:
        """Ask the firing to end, after the answers in flight; the deployment goes on."""
        _write(self.folder / "stop-firing", b"soon")

    def firing_asked_to_stop(self) -> str:
        """`soon` or `now` when the firing should end, or the whole deployment should."""
        return self.asked_to_stop() or self._read("stop-firing")

    def forget_firing_stop(self) -> None:
        """Before the next firing."""
        (self.folder / "stop-firing").unlink(missing_ok=True)

    def _read(self, name: str) -> str:
        try:
            return (self.folder / name).read_text()
        except FileNotFoundError:
            return ""

    def note(self, line: str) -> None:
        """Write a line for the person who watches."""
        with (self.folder / "firings.log").open("a") as file:
            file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {self.name}: {line}\n")

    def count(self, outcome: Mapping[str, Any]) -> None:
        """Count how a firing ended. One that found another running is counted, but is not the last outcome."""
        with _held(self.folder / "tally.lock", wait=True):
            tally = self.tally()
            counts = {**tally["outcomes"], outcome["outcome"]: tally["outcomes"].get(outcome["outcome"], 0) + 1}
            last = tally["last"] if outcome["outcome"] == "still_running" else dict(outcome)
            _write(self.folder / "tally.json", orjson.dumps({"outcomes": counts, "last": last}))

    def tally(self) -> dict[str, Any]:
        """How often firings ended in which way, and the last one: outcome, at, text, release, error."""
        try:
            return dict(parse_json((self.folder / "tally.json").read_bytes(), str(self.folder / "tally.json")))
        except FileNotFoundError:
            return {"outcomes": {}, "last": None}

    def forget(self) -> None:
        """Remove all that is kept of it, the database of its own Prefect server included."""
        shutil.rmtree(self.folder)


def root() -> Path:
    """Where deployments are kept: $SYNTH_STATE, else $XDG_STATE_HOME/synth, else ~/.local/state/synth."""
    if given := os.environ.get("SYNTH_STATE"):
        return Path(given) / "deployments"
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "synth" / "deployments"


def known() -> dict[str, Deployment]:
    """All deployments of this user on this machine, by name."""
    return {path.parent.name: _read(path) for path in sorted(root().glob(f"*/{RECORD}"))}


def find(name: str) -> Deployment:
    """The deployment of this name; UserError where there is none."""
    path = root() / name / RECORD
    if "/" in name or not path.is_file():
        names = list(known())
        raise fail(
            UserError,
            f"no such deployment: {name}{nearest(name, names)}",
            allowed=", ".join(names) or "there is none on this machine",
            do="`synth deploy --list` lists them",
        )
    return _read(path)


def _read(path: Path) -> Deployment:
    value: dict[str, Any] = parse_json(path.read_bytes(), str(path))
    known_fields = {name: value[name] for name in Deployment.__dataclass_fields__ if name in value}
    return Deployment(**{**known_fields, "assignments": tuple(value.get("assignments", ()))})


def _write(path: Path, data: bytes) -> None:
    """A small file, whole or not at all."""
    make_folders(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    temporary.replace(path)


@contextlib.contextmanager
def _held(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold a lock that dies with this process; False where somebody else holds it and we do not wait."""
    make_folders(path.parent)
    with path.open("a") as file:
        yield _lock(file, wait)


def _lock(file: IO[str], wait: bool) -> bool:
    for _ in range(_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_TRY_SECONDS)  # `_is_held` may be looking
        else:
            return True
    return False


def _is_held(path: Path) -> bool:
    """Whether somebody holds a lock: looked at by a shared one, so that two who look do not see each other."""
    if not path.exists():
        return False
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def in_words(seconds: int) -> str:
    """`1h30m` for 5400."""
    parts = []
    for unit, size in _UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)
