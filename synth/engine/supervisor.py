"""Child processes that never outlive us: not after a kill -9 of this process, and not their own children either.

Every child runs under a guard: this very file, run as a small program of its own. The guard holds the reading end of a
pipe whose writing end only we hold. When the pipe closes, because we stopped the child or died in any way, the guard
kills the child and everything that descends from it. Guard and child have their own sessions, so Ctrl-C in the terminal
reaches neither. On Linux the guard adopts orphaned descendants, also those that left the process group, and the child
dies with the guard. Elsewhere the child's process group is what is killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

# The guard runs this file by its path, isolated and without site-packages: only the standard library may be imported.

_TAIL_BYTES = 64_000
_KILL_SECONDS = 10.0  # a killed process goes at once, unless the kernel holds it in a broken disk or driver
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


class Child:
    """A child process and its guard. Create it with `start`."""

    def __init__(self, guard: subprocess.Popen[bytes], control: int, log: Path, log_offset: int) -> None:
        self._guard = guard
        self._control = control
        self._lock = threading.RLock()
        self._log_offset = log_offset
        self.log = log

    @classmethod
    def start(cls, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Child:
        """Start `argv` with its output appended to `log`. `env` is the whole environment; None hands on ours.

        A program that cannot be started makes a child that ends at once with exit code 127 and a line in the log.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        listen, control = os.pipe()
        # -I -S: nothing of the user's folder or environment can change what the guard imports.
        guard_argv = [sys.executable, "-I", "-S", __file__, str(listen), *argv]
        try:
            with log.open("ab") as output:
                offset = output.tell()
                guard = subprocess.Popen(
                    guard_argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=env,
                    pass_fds=(listen,),
                    start_new_session=True,
                )
        except BaseException:
            os.close(control)
            raise
        finally:
            os.close(listen)
        child = cls(guard, control, log, offset)
        _RUNNING.add(child)
        return child

    @property
    def pid(self) -> int:
        """Process id of the guard; the child itself is below it."""
        return self._guard.pid

    def alive(self) -> bool:
        """Whether the child runs."""
        return self._guard.poll() is None

    def exit_code(self) -> int | None:
        """How the child ended, as a shell tells it: its own code, or 128 + signal; None while it runs."""
        code = self._guard.poll()
        return 128 - code if code is not None and code < 0 else code

    def stop(self, grace_seconds: float = 5.0) -> None:
        """SIGTERM to the child and all its descendants, SIGKILL to what is left after the grace. Reaps; may be called again."""
        with self._lock:
            self._ask_to_stop(grace_seconds)
            try:
                self._guard.wait(grace_seconds + _KILL_SECONDS)
            except subprocess.TimeoutExpired:  # somebody stopped the guard itself
                _kill_until_gone(lambda: _below(self._guard.pid), lambda: None)
                self._guard.kill()
                self._guard.wait()
            if self._control >= 0:
                os.close(self._control)
                self._control = -1
            _RUNNING.discard(self)

    def _ask_to_stop(self, grace_seconds: float) -> None:
        with self._lock:
            if self._control >= 0:
                with contextlib.suppress(BrokenPipeError):  # the child ended by itself, and its guard with it
                    os.write(self._control, f"{grace_seconds}\n".encode())

    def last_lines(self, n: int = 20) -> list[str]:
        """The last lines that this child wrote to its log."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_offset, size - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-n:]


_RUNNING: set[Child] = set()


def stop_all(grace_seconds: float = 5.0) -> None:
    """Stop every child that this process started and has not stopped yet, all at the same time."""
    children = list(_RUNNING)
    for child in children:
        child._ask_to_stop(grace_seconds)
    for child in children:
        child.stop(grace_seconds)


def _below(root: int, unreaped: bool = False) -> list[int]:
    """Ids of the running descendants of a process, by /proc, or of all not yet reaped. Empty where there is no /proc."""
    children: dict[int, list[int]] = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_bytes().rpartition(b")")[2].split()[:2]
        except (OSError, ValueError):
            continue  # it ended while we looked
        if unreaped or state != b"Z":
            children[int(parent)].append(int(stat.parent.name))
    found, at = [root], 0
    while at < len(found):
        found += children[found[at]]
        at += 1
    return found[1:]


def _send(targets: Sequence[int], number: int) -> None:
    for target in targets:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(target, number)


def _kill_until_gone(targets: Callable[[], list[int]], reap: Callable[[], None]) -> None:
    """Kill again until nothing is left, because a dying process may just have started another."""
    deadline = time.monotonic() + _KILL_SECONDS
    while (left := targets()) and time.monotonic() < deadline:
        _send(left, signal.SIGKILL)
        time.sleep(0.01)
        reap()


class _Guard:
    """What runs in the guard's process: one child, and the pipe to the parent."""

    def __init__(self, control: int, argv: Sequence[str]) -> None:
        self.control = control
        self.parent = os.getppid()
        self.code: int | None = None
        self.told_to_stop = False
        self.wake, wake_writer = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_writer, False)
        os.set_inheritable(control, False)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_terminate)
        prctl = _prctl()
        prctl(_PR_SET_CHILD_SUBREAPER, 1)
        # The guard has one thread, so a death signal tied to the starting thread is tied to the guard itself.
        self.child = subprocess.Popen(
            argv, start_new_session=True, preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        )
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # after the start: a child inherits what is ignored

    def _on_terminate(self, *_: object) -> None:
        self.told_to_stop = True

    def run(self) -> int:
        """Wait for the child's end, the parent's word or the parent's end; leave nothing running; the exit code."""
        grace_seconds = 0.0
        while self.code is None:
            readable, _, _ = select.select([self.control, self.wake], [], [], 1.0)
            if self.wake in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.wake, 4096)
            self._reap()
            if self.control in readable:
                words = os.read(self.control, 64).split()  # none: the parent is gone, so nobody waits for a clean end
                grace_seconds = float(words[0]) if words else 0.0
                break
            if self.told_to_stop:
                grace_seconds = 5.0
                break
            if os.getppid() != self.parent:  # the pipe's other end leaked into a fork of the parent
                break
        self._end(grace_seconds)
        return 137 if self.code is None else self.code

    def _end(self, grace_seconds: float) -> None:
        if grace_seconds > 0 and self.code is None:
            targets = self._targets()
            _send(targets, signal.SIGTERM)
            _send(targets, signal.SIGCONT)  # a stopped process acts on SIGTERM only when it goes on
            deadline = time.monotonic() + grace_seconds
            while self._targets() and time.monotonic() < deadline:
                time.sleep(0.02)
                self._reap()
        _kill_until_gone(self._targets, self._reap)
        self._reap()

    def _targets(self) -> list[int]:
        """What is to be killed: all descendants, or where they cannot be listed the child's process group.

        A process counts until it is reaped: its first thread may have ended while others still hold memory and ports.
        """
        if Path("/proc/self/stat").exists():
            return _below(os.getpid(), unreaped=True)
        try:
            os.killpg(self.child.pid, 0)
        except OSError:
            return []
        return [-self.child.pid]

    def _reap(self) -> None:
        """Collect every process that ended: the child itself, and orphans that the guard adopted."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self.child.pid:
                    code = os.waitstatus_to_exitcode(status)
                    self.code = 128 - code if code < 0 else code


def _prctl() -> Callable[[int, int], None]:
    """Linux's call for process attributes; elsewhere a function that does nothing."""
    if sys.platform != "linux":
        return lambda option, value: None
    import ctypes  # here, because only the guard needs it

    libc = ctypes.CDLL(None)
    return lambda option, value: libc.prctl(option, value, 0, 0, 0)


def _main() -> None:
    try:
        code = _Guard(int(sys.argv[1]), sys.argv[2:]).run()
    except OSError as error:
        os.write(2, f"{sys.argv[2]} cannot be started: {error.strerror}\n".encode())
        code = 127
    os._exit(code)


if __name__ == "__main__":
    _main()
