"""Children never outlive us: real processes, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from synth.engine import supervisor
from synth.engine.supervisor import Child

ROOT = Path(supervisor.__file__).parents[2]

# Each program writes its process id (and those of its children) where the test can read it.
SLEEPER = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
FAMILY = """
import os, subprocess, sys, time
folder = sys.argv[1]
code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
for name, own_session in (("near", False), ("far", True)):
    subprocess.Popen([sys.executable, "-c", code, os.path.join(folder, name)], start_new_session=own_session)
open(os.path.join(folder, "child"), "w").write(str(os.getpid()))
time.sleep(600)
"""
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").write(str(os.getpid()))
while True: time.sleep(600)
"""
POLITE = """
import os, signal, sys, time
def leave(*_):
    print("told to leave", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, leave)
open(sys.argv[1], "w").write(str(os.getpid()))
while True: time.sleep(600)
"""
PARENT = """
import sys, threading, time
from pathlib import Path
from synth.engine.supervisor import Child
def start():
    Child.start([sys.executable, "-c", sys.argv[1], sys.argv[2]], Path(sys.argv[3]))
thread = threading.Thread(target=start)  # a thread that ends at once: its end is not the parent's end
thread.start()
thread.join()
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    supervisor.stop_all(0.0)


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether the condition holds within the time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def written_pid(path: Path) -> int:
    """The process id in a file that a process is about to write."""
    assert eventually(lambda: path.exists() and path.read_text() != "")
    return int(path.read_text())


def runs(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def python(program: str, *args: object) -> list[str]:
    return [sys.executable, "-c", program, *map(str, args)]


def test_output_and_exit_code(tmp_path: Path) -> None:
    program = "import os, sys; print('out', os.environ['WORD']); print('err', file=sys.stderr); sys.exit(7)"
    child = Child.start(python(program), tmp_path / "logs" / "child.log", {**os.environ, "WORD": "given"})
    assert eventually(lambda: not child.alive())
    assert child.exit_code() == 7
    assert sorted(child.last_lines()) == ["err", "out given"]
    child.stop()
    child.stop()
    assert child.exit_code() == 7


def test_last_lines_are_the_last_and_only_of_this_child(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    log.write_text("of an earlier child\n")
    child = Child.start(python("print('a'); print('b'); print('c')"), log)
    assert eventually(lambda: not child.alive())
    assert child.last_lines() == ["a", "b", "c"]
    assert child.last_lines(2) == ["b", "c"]
    assert log.read_text().startswith("of an earlier child\n")


def test_a_program_that_does_not_exist_ends_with_127_and_says_so(tmp_path: Path) -> None:
    child = Child.start(["/no/such/program"], tmp_path / "child.log")
    assert eventually(lambda: not child.alive())
    assert child.exit_code() == 127
    assert child.last_lines() == ["/no/such/program cannot be started: No such file or directory"]


def test_a_killed_child_tells_its_signal(tmp_path: Path) -> None:
    child = Child.start(python("import os; os.kill(os.getpid(), 9)"), tmp_path / "child.log")
    assert eventually(lambda: not child.alive())
    assert child.exit_code() == 137


def test_stop_lets_the_child_leave_by_itself(tmp_path: Path) -> None:
    child = Child.start(python(POLITE, tmp_path / "pid"), tmp_path / "child.log")
    pid = written_pid(tmp_path / "pid")
    assert child.alive()
    child.stop(grace_seconds=20.0)
    assert not runs(pid)
    assert child.exit_code() == 3
    assert child.last_lines() == ["told to leave"]


def test_stop_kills_a_child_that_ignores_sigterm_after_the_grace(tmp_path: Path) -> None:
    child = Child.start(python(STUBBORN, tmp_path / "pid"), tmp_path / "child.log")
    pid = written_pid(tmp_path / "pid")
    begin = time.monotonic()
    child.stop(grace_seconds=0.3)
    assert 0.3 <= time.monotonic() - begin < 8.0
    assert not runs(pid)
    assert child.exit_code() == 137


def test_a_stopped_child_acts_on_sigterm(tmp_path: Path) -> None:
    child = Child.start(python(POLITE, tmp_path / "pid"), tmp_path / "child.log")
    pid = written_pid(tmp_path / "pid")
    os.kill(pid, signal.SIGSTOP)
    child.stop(grace_seconds=20.0)
    assert not runs(pid)
    assert child.exit_code() == 3


def test_stop_works_when_the_guard_itself_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_KILL_SECONDS", 0.5)
    child = Child.start(python(FAMILY, tmp_path), tmp_path / "child.log")
    pids = [written_pid(tmp_path / name) for name in ("child", "near", "far")]
    os.kill(child.pid, signal.SIGSTOP)
    child.stop(grace_seconds=0.1)
    assert not child.alive()
    assert eventually(lambda: not any(map(runs, pids)))


def test_stop_reaches_grandchildren_in_their_own_session(tmp_path: Path) -> None:
    child = Child.start(python(FAMILY, tmp_path), tmp_path / "child.log")
    pids = [written_pid(tmp_path / name) for name in ("child", "near", "far")]
    assert all(map(runs, pids))
    child.stop()
    assert not any(map(runs, pids))


def test_grandchildren_go_when_the_child_dies(tmp_path: Path) -> None:
    child = Child.start(python(FAMILY, tmp_path), tmp_path / "child.log")
    pids = [written_pid(tmp_path / name) for name in ("child", "near", "far")]
    os.kill(pids[0], signal.SIGKILL)
    assert eventually(lambda: not child.alive())
    assert not any(map(runs, pids))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_nothing_outlives_a_killed_parent(tmp_path: Path, number: signal.Signals) -> None:
    argv = [*python(PARENT), FAMILY, str(tmp_path), str(tmp_path / "child.log")]
    with subprocess.Popen(argv, cwd=ROOT) as parent:
        pids = [written_pid(tmp_path / name) for name in ("child", "near", "far")]
        time.sleep(0.2)  # the thread that started the child has long ended
        assert all(map(runs, pids))
        parent.send_signal(number)
    assert eventually(lambda: not any(map(runs, pids)))


def test_a_parent_that_just_ends_takes_its_children_along(tmp_path: Path) -> None:
    program = PARENT.replace("time.sleep(600)", "")
    argv = [*python(program), SLEEPER, str(tmp_path / "pid"), str(tmp_path / "child.log")]
    subprocess.run(argv, cwd=ROOT, check=True)
    # The child may be killed before it even wrote its id.
    assert eventually(lambda: str(tmp_path / "pid") not in all_command_lines())


def test_a_fork_of_the_parent_that_holds_the_pipe_does_not_keep_the_child_alive(tmp_path: Path) -> None:
    fork = "if os.fork() == 0:\n    open(sys.argv[2] + '.fork', 'w').write(str(os.getpid()))\n    time.sleep(600)\n"
    program = PARENT.replace("time.sleep(600)", f"import os\n{fork}time.sleep(600)")
    argv = [*python(program), SLEEPER, str(tmp_path / "pid"), str(tmp_path / "child.log")]
    with subprocess.Popen(argv, cwd=ROOT) as parent:
        pid, fork_pid = written_pid(tmp_path / "pid"), written_pid(tmp_path / "pid.fork")
        parent.kill()
    try:
        assert eventually(lambda: not runs(pid))
    finally:
        os.kill(fork_pid, signal.SIGKILL)


def test_the_child_dies_with_its_guard(tmp_path: Path) -> None:
    child = Child.start(python(SLEEPER, tmp_path / "pid"), tmp_path / "child.log")
    pid = written_pid(tmp_path / "pid")
    os.kill(child.pid, signal.SIGKILL)
    assert eventually(lambda: not runs(pid))
    assert child.exit_code() == 137


def test_a_guard_told_to_end_ends_the_child_first(tmp_path: Path) -> None:
    child = Child.start(python(POLITE, tmp_path / "pid"), tmp_path / "child.log")
    pid = written_pid(tmp_path / "pid")
    os.kill(child.pid, signal.SIGTERM)
    assert eventually(lambda: not child.alive())
    assert not runs(pid)
    assert child.exit_code() == 3


def test_ctrl_c_in_the_terminal_does_not_reach_the_child(tmp_path: Path) -> None:
    """The terminal signals our process group; guard and child are in sessions of their own."""
    child = Child.start(python(SLEEPER, tmp_path / "pid"), tmp_path / "child.log")
    pid = written_pid(tmp_path / "pid")
    sessions = {os.getsid(0), os.getsid(child.pid), os.getsid(pid)}
    assert len(sessions) == 3
    ignored = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigIgn"))
    assert not int(ignored.split()[1], 16) >> (signal.SIGINT - 1) & 1  # the child still handles its own interrupts


def test_stop_all_stops_all_at_the_same_time(tmp_path: Path) -> None:
    children = [Child.start(python(STUBBORN, tmp_path / f"pid{i}"), tmp_path / f"{i}.log") for i in range(4)]
    pids = [written_pid(tmp_path / f"pid{i}") for i in range(4)]
    begin = time.monotonic()
    supervisor.stop_all(grace_seconds=1.5)
    assert time.monotonic() - begin < 4 * 1.5
    assert not any(map(runs, pids))
    assert not any(child.alive() for child in children)


def test_no_file_descriptor_and_no_zombie_is_left(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for i in range(3):
        child = Child.start(python(SLEEPER, tmp_path / f"pid{i}"), tmp_path / "child.log")
        child.stop(0.0)
        assert not Path(f"/proc/{child.pid}").exists()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def all_command_lines() -> str:
    """The command lines of all processes, in one string."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(lines)
