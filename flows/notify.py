"""Telling somebody how a run went: a command or a URL of the user's, called at each release, a failed gate, a failure.

A hook gets one JSON event. It never fails or holds up a run: it is called from a thread of its own, within a time limit,
and what goes wrong with it is said once and counted. A URL may itself be a secret, so messages name its host only.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import orjson
from pydantic import Field, field_validator, model_validator

from synth.config import Config
from synth.errors import HomeInUseError, RecipeError, fail

Event = Literal["failed", "gate_failed", "released"]
EVENTS: tuple[Event, ...] = get_args(Event)
_AGAIN_SECONDS = 1.0  # between two tries to reach a URL
_ERROR_CHARACTERS = 4000
_TEMPORARY = (408, 425, 429)


class NotifyConfig(Config):
    """Whom to tell when something was released or went wrong."""

    command: tuple[str, ...] = Field(
        (),
        description="A program and its arguments, started without a shell: the event as JSON on its standard input, its name "
        "in SYNTH_EVENT. A path with a slash starts from the recipe's folder.",
    )
    url: str | None = Field(None, description="An address that gets the event as JSON by POST.")
    url_env: str | None = Field(
        None, description="Name of the environment variable that holds the address, where that is a secret."
    )
    on: tuple[Event, ...] = Field(EVENTS, description="The events to tell of.")
    timeout_seconds: float = Field(30.0, gt=0, le=600, description="How long a command or an address may take.")

    @field_validator("url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is not None and not _is_address(url):
            raise ValueError("an address such as https://example.com/hook, without a password in it")
        return url

    @model_validator(mode="after")
    def _one_address(self) -> NotifyConfig:
        if self.url and self.url_env:
            raise ValueError("url or url_env, not both")
        return self


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.password is None


def check(config: NotifyConfig) -> None:
    """Refuse a command that is not there and a variable that is not set, before anything starts."""
    if config.command and not shutil.which(config.command[0]):
        raise fail(
            RecipeError,
            "run.notify.command: no such program",
            given=config.command[0],
            allowed="a program on the PATH, or the path of one that may be executed",
        )
    if config.url_env and not _is_address(os.environ.get(config.url_env, "")):
        raise fail(
            RecipeError,
            f"run.notify.url_env: the environment variable {config.url_env} holds no address",
            allowed="https://…, without a password in it",
            do=f"set {config.url_env} in the environment that synth runs in",
        )


@dataclass
class Hooks:
    """The hooks of one run. `about` stands in every event; `say` hears of failures; `close` waits for what is under way."""

    config: NotifyConfig
    about: Mapping[str, Any]
    say: Callable[[str], None]
    told: int = 0
    failed: int = 0
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="notify"))

    def tell(self, event: Event, text: str, facts: Callable[[], Mapping[str, Any]] = dict) -> None:
        """Send an event, unless nobody wants to hear of it. `facts` are collected only then, in the hooks' own thread; a
        `text` among them replaces the given one."""
        if event in self.config.on and (self.config.command or self.config.url or self.config.url_env):
            self._pool.submit(self._tell, event, text, facts)

    def close(self) -> dict[str, int]:
        """Wait for the events under way; how many were told, how many could not be."""
        self._pool.shutdown(wait=True)
        return {"told": self.told, "failed": self.failed}

    def _tell(self, event: Event, text: str, facts: Callable[[], Mapping[str, Any]]) -> None:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            value = {"event": event, "text": text, "at": at, **self.about, **facts()}
            data = orjson.dumps(value, default=str)
        except Exception as error:  # a hook must not fail a run, whatever is wrong
            self._count("the event", f"{type(error).__name__}: {error}")
            return
        if self.config.command:
            self._count("run.notify.command", _run(self.config, event, data))
        if url := self.config.url or os.environ.get(self.config.url_env or "", ""):
            self._count(f"run.notify.url ({urlsplit(url).hostname})", _post(url, data, self.config.timeout_seconds))

    def _count(self, what: str, fault: str | None) -> None:
        if fault is None:
            self.told += 1
            return
        self.failed += 1
        if self.failed == 1:
            self.say(f"notification failed, the run is not: {what}: {fault}")


@contextlib.contextmanager
def telling(hooks: Hooks) -> Iterator[Hooks]:
    """Tell of the error that leaves the block; at its end wait for what is under way. Who finds the home in use is no failure."""
    try:
        yield hooks
    except HomeInUseError:
        raise
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        told = failure(error)
        hooks.tell("failed", f"{hooks.about['recipe']}: failed: {lines[0]}", lambda: told)
        raise
    finally:
        hooks.close()


def failure(error: BaseException) -> dict[str, Any]:
    """The facts of a failure: what the user would have read."""
    return {"error": str(error)[:_ERROR_CHARACTERS] or type(error).__name__}


def _run(config: NotifyConfig, event: Event, data: bytes) -> str | None:
    """Call the command; what went wrong, or None. Files, not pipes: neither what it does not read nor its children hold us."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
        given.write(data)
        given.seek(0)
        try:
            process = subprocess.Popen(
                config.command,
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env={**os.environ, "SYNTH_EVENT": event},
                start_new_session=True,
            )
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        try:
            code = process.wait(config.timeout_seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # with all that it started
            process.wait()
            return f"took longer than {config.timeout_seconds:g} s"
        said.seek(0)
        last = said.read().decode(errors="replace").strip().splitlines()[-1:]
    return ": ".join([f"exit code {code}", *last]) if code else None


class _Answered(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its event: it counts as an answer that is no success."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(url: str, data: bytes, timeout_seconds: float) -> str | None:
    """POST the event, again while there is time and the fault may pass; what went wrong, or None."""
    opener = urllib.request.build_opener(_Answered)
    deadline = time.monotonic() + timeout_seconds
    while True:
        left = max(0.1, deadline - time.monotonic())
        try:
            headers = {"Content-Type": "application/json", "User-Agent": "synth"}
            with opener.open(urllib.request.Request(url, data, headers), timeout=left):
                return None
        except urllib.error.HTTPError as error:
            fault, passes = f"answered {error.code} {error.reason}", error.code >= 500 or error.code in _TEMPORARY
            error.close()
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            fault, passes = str(getattr(error, "reason", error)) or type(error).__name__, True
        if not passes or time.monotonic() + _AGAIN_SECONDS >= deadline:
            return fault
        time.sleep(_AGAIN_SECONDS)


def about(recipe: str, path: Path, home: object) -> dict[str, Any]:
    """What stands in every event of a run."""
    return {"recipe": recipe, "recipe_file": str(path), "home": str(home)}
