"""Starting a model server as a child: its port, its GPUs, its environment, and the wait until it answers."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import synth
from synth.engine.failures import not_up
from synth.engine.roles import ModelRun
from synth.engine.supervisor import Child
from synth.errors import RecipeError, fail

LOOPBACK = "127.0.0.1"
_LOOK_SECONDS = 0.05
_DEVICES = Path("/dev")

AnswerT = TypeVar("AnswerT")


def launch(
    name: str,
    run: ModelRun,
    argv: list[str],
    env: Mapping[str, str],
    log: Path,
    key: str,
    answer: Callable[[], AnswerT | None],
) -> tuple[Child, AnswerT]:
    """Start the child and wait until `answer` gives something. A child that does not come up is stopped again.

    Raises EndpointError, with the likely cause, when it ends or does not answer within `run.start_timeout_seconds`.
    """
    child = Child.start(argv, log, env)
    try:
        deadline = time.monotonic() + run.start_timeout_seconds
        while (found := answer()) is None:
            if not child.alive():
                raise not_up(name, child, key, f"ended while it started (exit code {child.exit_code()})", None)
            if time.monotonic() > deadline:
                what = f"did not answer within {run.start_timeout_seconds:g} s"
                raise not_up(name, child, key, what, f"raise run.models.{name}.start_timeout_seconds")
            time.sleep(_LOOK_SECONDS)
    except BaseException:
        child.stop()
        raise
    return child, found


def environment(name: str, run: ModelRun, replica: int, first_gpu: int) -> dict[str, str]:
    """Our environment, in which children find this very package whatever the current folder is, and only their GPUs."""
    here = str(Path(synth.__file__).parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    env = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{inherited}" if inherited else here}
    if run.gpus:
        env["CUDA_VISIBLE_DEVICES"] = ",".join(_gpus(name, run, replica, first_gpu))
    return env


def _gpus(name: str, run: ModelRun, replica: int, first_gpu: int) -> list[str]:
    """The replica's own devices, as CUDA_VISIBLE_DEVICES names them."""
    visible = _visible_gpus()
    end = first_gpu + run.replicas * run.gpus
    if visible is not None and end > len(visible):
        before = f", after the {first_gpu} of other models" if first_gpu else ""
        raise fail(
            RecipeError,
            f"run.models.{name}: {run.replicas} replicas with {run.gpus} GPUs each do not fit this node{before}",
            given=end,
            allowed=f"at most {len(visible)} GPUs, which are visible here",
            do=f"lower run.models.{name}.replicas or gpus, or set CUDA_VISIBLE_DEVICES to more devices",
        )
    devices = visible or [str(number) for number in range(end)]
    begin = first_gpu + replica * run.gpus
    return devices[begin : begin + run.gpus]


def _visible_gpus() -> list[str] | None:
    """Devices that this process may use: numbers or UUIDs; None when that cannot be told."""
    inherited = os.environ.get("CUDA_VISIBLE_DEVICES")
    if inherited is not None:
        names = (name.strip() for name in inherited.split(","))
        return list(itertools.takewhile(lambda name: name not in ("", "-1"), names))  # CUDA stops there too
    nodes = [path for path in _DEVICES.glob("nvidia[0-9]*") if path.name.removeprefix("nvidia").isdigit()]
    return [str(number) for number in range(len(nodes))] or None


def port(name: str, run: ModelRun, replica: int) -> int:
    """The replica's port, 0 for any. Raises RecipeError when it is taken or there is no such port."""
    if run.port == 0:
        return 0
    wanted = run.port + replica
    if wanted > 65535:
        raise fail(
            RecipeError,
            f"run.models.{name}.port: no ports left for {run.replicas} replicas",
            given=run.port,
            allowed=f"at most {65536 - run.replicas}, or 0 for any free ports",
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port just left is free
        try:
            probe.bind((LOOPBACK, wanted))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "is taken by another program" if taken else f"cannot be used: {error.strerror}"
            raise fail(
                RecipeError,
                f"run.models.{name}.port: port {wanted} {why}",
                given=run.port,
                allowed="a free port, or 0 for any free one",
            ) from None
    return wanted


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
