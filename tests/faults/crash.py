"""Kill a process at its k-th operation on durable state, or fill or break its disk from there on.

`crashpoint.c` (compiled on demand, loaded with LD_PRELOAD) counts every creation, write, sync, move, truncation and
removal at or under one folder, the prefix, and acts at number `at`. A run with `at=0` only counts and so tells how
many points there are. Two ways to use it:

    shim = build_shim(tmp_path)
    done = run_with_crash([sys.executable, "-c", script], {}, 3, shim=shim, prefix=home, log=tmp_path / "ops")
    read_ops(tmp_path / "ops")                     # what was counted; done.returncode is -9

    with ForkServer(shim, tmp_path / "server", modules=["pyarrow"]) as server:    # one import for many kills
        outcome = server.call("module:function", {"home": str(home)}, prefix=home, at=3)
        outcome.status, outcome.ops                # -9, [Op(1, "mkdir", "objects"), ...]

Modes: `count` (do nothing), `kill` (die instead of operation `at`), `after` (die right after it), `torn` (a write puts
half of its bytes, then death; another operation: as kill), `enospc` (from `at` on, whatever needs room fails), `eio`
(from `at` on, every counted operation fails). Numbers mean the same operation in every mode. Only the process that was
armed counts, with all of its threads; programs and forks that it starts do not.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any, Literal, NamedTuple

Mode = Literal["count", "kill", "after", "torn", "enospc", "eio"]
MODES: tuple[Mode, ...] = (
    "count",
    "kill",
    "after",
    "torn",
    "enospc",
    "eio",
)  # in the order of the enum in crashpoint.c

SOURCE = Path(__file__).with_name("crashpoint.c")


class Op(NamedTuple):
    """One counted operation: its number from 1, its name, and the path below the prefix (`.` is the prefix itself)."""

    number: int
    name: str
    path: str


@dataclass(frozen=True)
class Outcome:
    """How one call in a ForkServer ended.

    `status` is 0, 1 after an exception, the code of a SystemExit, or minus the signal that killed it. `pid` is also the
    id of its session. `value` is what the function returned; `output` what it printed on stdout and stderr.
    """

    status: int
    ops: list[Op]
    value: Any
    output: str
    pid: int


def skip_reason() -> str:
    """Why the shim cannot be built here; empty when it can."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return "the crash shim is for 64-bit Linux"
    return "" if which("cc") else "no C compiler (cc) on the path"


def build_shim(folder: Path) -> Path:
    """Compile crashpoint.c into `folder`; returns the library's path. A compiler's complaint is raised with its text."""
    library = folder / "crashpoint.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return library


def read_ops(log: Path) -> list[Op]:
    """The operations in a log, by number; none when nothing was counted."""
    if not log.exists():
        return []
    lines = [line.split("\t", 2) for line in log.read_text(errors="surrogateescape").splitlines()]
    return sorted(Op(int(number), name, path) for number, name, path in lines)


def run_with_crash(
    argv: Sequence[str],
    env: Mapping[str, str],
    at: int,
    *,
    shim: Path,
    prefix: Path,
    mode: Mode = "kill",
    log: Path | None = None,
    timeout_seconds: float = 120.0,
) -> subprocess.CompletedProcess[str]:
    """Run a program under the shim, `env` added to this process's own; `log` receives the operations (read_ops).

    `argv[0]` must be the program itself: a shell or wrapper in front of it would be the process that counts.
    """
    armed = {"CRASH_PREFIX": os.path.realpath(prefix), "CRASH_AT": str(at), "CRASH_MODE": mode}
    if log is not None:
        log.unlink(missing_ok=True)
        armed["CRASH_COUNT_FILE"] = str(log.absolute())
    return subprocess.run(
        list(argv),
        env={**os.environ, **env, **_preload(shim, env), **armed},
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
    )


def _preload(shim: Path, env: Mapping[str, str]) -> dict[str, str]:
    before = env.get("LD_PRELOAD", os.environ.get("LD_PRELOAD", ""))
    return {"LD_PRELOAD": f"{shim.absolute()}:{before}".rstrip(":")}


class ForkServer:
    """A warm Python process under the shim; each call runs in a fork of it that arms itself and then calls a function.

    What the imports cost is paid once. `modules` must not start threads when imported. The child is the leader of its own
    session, has stdin closed, and ends with os._exit: handlers registered with atexit do not run.
    """

    def __init__(
        self, shim: Path, folder: Path, modules: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> None:
        """`folder` holds the server's own files and must lie outside every prefix; `env` is added to the environment."""
        self._shim = shim.absolute()
        self._folder = folder.absolute()
        self._modules = list(modules)
        self._env = dict(env or {})
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> ForkServer:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        command = [sys.executable, "-P", str(Path(__file__).absolute()), str(self._shim)]
        self._process = subprocess.Popen(
            [*command, *self._modules],
            env={**os.environ, "PYTHONPATH": path, **self._env, **_preload(self._shim, self._env)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self._answer(self._process)  # the imports are done
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is None:
            return
        with self._process as process:  # closing stdin ends the server
            if process.stdin is not None:
                process.stdin.close()
            process.wait(timeout=10)

    def call(
        self,
        function: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        prefix: Path,
        at: int = 0,
        mode: Mode = "kill",
        env: Mapping[str, str] | None = None,
        timeout_seconds: float = 60.0,
    ) -> Outcome:
        """Call `module:function` with keyword arguments (JSON values) in a fresh child; `at=0` only counts.

        A child that needs longer than `timeout_seconds` is killed with its process group, and TimeoutError raised.
        """
        if self._process is None or self._process.stdin is None:
            raise RuntimeError("use the server in a with statement")
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            folder = Path(name)
            request = {
                "function": function,
                "arguments": dict(arguments or {}),
                "prefix": os.path.realpath(prefix),
                "at": at,
                "mode": mode,
                "env": dict(env or {}),
                "folder": name,
                "timeout_seconds": timeout_seconds,
            }
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = self._answer(self._process)
            if answer["timed_out"]:
                output = (folder / "output").read_text(errors="replace")
                raise TimeoutError(f"{function} at {at} ran for more than {timeout_seconds} seconds:\n{output}")
            value = folder / "value"
            return Outcome(
                status=answer["status"],
                ops=read_ops(folder / "ops"),
                value=json.loads(value.read_text()) if value.exists() else None,
                output=(folder / "output").read_text(errors="replace"),
                pid=answer["pid"],
            )

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise RuntimeError(f"the fork server ended with status {process.wait(timeout=10)}; see stderr")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _serve(shim: str, modules: Sequence[str]) -> None:
    """The server: one JSON line in, one fork, one JSON line out."""
    library = ctypes.CDLL(shim)
    for module in modules:
        importlib.import_module(module)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(library, request)
        print(json.dumps({"pid": pid, **_wait(pid, request["timeout_seconds"])}), flush=True)


def _wait(pid: int, timeout_seconds: float) -> dict[str, Any]:
    """The child's end. pidfd: a wait with a deadline and without polling."""
    import select

    handle = os.pidfd_open(pid)
    try:
        timed_out = not select.select([handle], [], [], timeout_seconds)[0]
    finally:
        os.close(handle)
    if timed_out:
        os.killpg(pid, signal.SIGKILL)
    return {"status": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), "timed_out": timed_out}


def _child(library: ctypes.CDLL, request: Mapping[str, Any]) -> None:
    """Redirect, arm, call, leave. Never returns."""
    status = 1
    try:
        os.setsid()
        folder = Path(request["folder"])
        output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for old, new in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(old, new)
        os.environ.update(request["env"])
        module, _, name = request["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
        how = MODES.index(request["mode"])
        log = str(folder / "ops")
        if library.crashpoint_arm(request["prefix"].encode(), ctypes.c_long(request["at"]), how, log.encode()) != 0:
            raise ValueError(f"the shim refuses {request}")
        value = function(**request["arguments"])
        (folder / "value").write_text(json.dumps(value))
        status = 0
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else int(left.code is not None)
        if isinstance(left.code, str):
            print(left.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2:])
