"""The crash shim: what it counts, and that it acts exactly at the chosen operation."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from faults.crash import ForkServer, Mode, Op, Outcome, build_shim, read_ops, run_with_crash, skip_reason

pytestmark = pytest.mark.skipif(bool(skip_reason()), reason=skip_reason())


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="module")
def server(shim: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    slow = ["pandas"] if find_spec("pandas") else []  # pyarrow imports it when it first sees a list
    modules = ["sqlite3", "pyarrow.parquet", *slow, "test_crash_shim"]
    with ForkServer(shim, tmp_path_factory.mktemp("server"), modules) as started:
        yield started


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def _write(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY)
    os.write(file, data)
    os.close(file)


def _fsync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.close(file)


def _pieces(path: Path, data: list[bytes]) -> None:
    file = os.open(path, os.O_WRONLY)
    os.writev(file, data)
    os.close(file)


def _patch(path: Path, data: bytes, offset: int) -> None:
    file = os.open(path, os.O_WRONLY)
    os.pwrite(file, data, offset)
    os.close(file)


def _below(folder: Path, act: Callable[[int], None]) -> None:
    at = os.open(folder, os.O_RDONLY)
    act(at)
    os.close(at)


# Each line is one operation: its name and path as the shim must log them, and the code that does it.
LINES: list[tuple[str, str, Callable[[Path], Any]]] = [
    ("mkdir", "a", lambda home: (home / "a").mkdir()),
    ("open", "a/one", lambda home: (home / "a/one").touch()),
    ("write", "a/one", lambda home: _write(home / "a/one", b"0123456789")),
    ("fsync", "a/one", lambda home: _fsync(home / "a/one")),
    ("fsync", "a", lambda home: _fsync(home / "a")),
    ("pwrite", "a/one", lambda home: _patch(home / "a/one", b"abcd", 4)),
    ("writev", "a/one", lambda home: _pieces(home / "a/one", [b"xy", b"zzz"])),
    ("link", "a/two", lambda home: os.link(home / "a/one", home / "a/two")),
    ("rename", "a/three", lambda home: (home / "a/two").replace(home / "a/three")),
    ("symlink", "a/four", lambda home: (home / "a/four").symlink_to("three")),
    ("truncate", "a/three", lambda home: os.truncate(home / "a/three", 3)),
    ("mkdir", "b", lambda home: _below(home, lambda at: os.mkdir("b", dir_fd=at))),
    ("rename", "b/three", lambda home: _below(home, lambda at: os.rename("a/three", "b/three", src_dir_fd=at, dst_dir_fd=at))),
    ("open", "b/three", lambda home: (home / "b/three").open("wb").close()),
    ("unlink", "a/four", lambda home: (home / "a/four").unlink()),
    ("unlink", "b/three", lambda home: _below(home, lambda at: os.unlink("b/three", dir_fd=at))),
    ("rmdir", "b", lambda home: (home / "b").rmdir()),
]  # fmt: skip


def do_lines(home: str, stop: int | None = None) -> None:
    """Run in a child: the first `stop` lines."""
    for _, _, act in LINES[:stop]:
        act(Path(home))


def state(home: Path) -> dict[str, bytes | None]:
    """All paths below the home; the bytes of a file, the target of a link, None for a folder."""
    return {str(path.relative_to(home)): _content(path) for path in sorted(home.rglob("*"))}


def _content(path: Path) -> bytes | None:
    if path.is_symlink():
        return bytes(path.readlink())
    return None if path.is_dir() else path.read_bytes()


def fresh(home: Path) -> Path:
    shutil.rmtree(home)
    home.mkdir()
    return home


def test_every_operation_is_counted_once_with_its_name_and_path(server: ForkServer, home: Path) -> None:
    outcome = server.call("test_crash_shim:do_lines", {"home": str(home)}, prefix=home, mode="count")
    assert outcome.status == 0, outcome.output
    assert outcome.ops == [Op(number, name, path) for number, (name, path, _) in enumerate(LINES, 1)]


@pytest.mark.parametrize(
    ("mode", "done"), [pytest.param("kill", -1, id="before"), pytest.param("after", 0, id="after")]
)
def test_killed_exactly_at_k(server: ForkServer, home: Path, mode: Mode, done: int) -> None:
    for at in range(1, len(LINES) + 1):
        do_lines(str(fresh(home)), at + done)
        expected = state(home)
        outcome = server.call("test_crash_shim:do_lines", {"home": str(fresh(home))}, prefix=home, at=at, mode=mode)
        assert (outcome.status, len(outcome.ops)) == (-9, at), outcome.output
        assert state(home) == expected, LINES[at - 1][:2]


def test_behind_the_last_operation_nothing_is_killed(server: ForkServer, home: Path) -> None:
    arguments = {"home": str(home)}
    assert server.call("test_crash_shim:do_lines", arguments, prefix=home, at=len(LINES) + 1).status == 0


@pytest.mark.parametrize(
    ("at", "path", "content"),
    [
        pytest.param(3, "a/one", b"01234", id="write"),
        pytest.param(6, "a/one", b"0123ab6789", id="pwrite"),
        pytest.param(7, "a/one", b"xy23abcd89", id="writev"),
        pytest.param(8, "a/two", None, id="link is not done"),
    ],
)
def test_torn_write_leaves_half(server: ForkServer, home: Path, at: int, path: str, content: bytes | None) -> None:
    arguments = {"home": str(home)}
    assert server.call("test_crash_shim:do_lines", arguments, prefix=home, at=at, mode="torn").status == -9
    assert state(home).get(path) == content


def copy_file(source: str, home: str) -> None:
    """Run in a child: shutil copies with sendfile or copy_file_range, asking for more bytes than there are."""
    shutil.copyfile(source, Path(home) / "copy")


def test_torn_copy_inside_the_kernel_leaves_half(server: ForkServer, home: Path, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"0123456789")
    arguments = {"source": str(tmp_path / "source"), "home": str(home)}
    assert server.call("test_crash_shim:copy_file", arguments, prefix=home, at=2, mode="torn").status == -9
    assert state(home) == {"copy": b"01234"}


def try_all(home: str) -> list[list[Any]]:
    """Run in a child: every kind of operation, and the errno each of them met."""
    at = Path(home)
    acts: list[tuple[str, Callable[[], Any]]] = [
        ("mkdir", lambda: (at / "new").mkdir()),
        ("create", lambda: (at / "file").touch()),
        ("open existing", lambda: os.close(os.open(at / "old", os.O_CREAT | os.O_WRONLY))),
        ("write", lambda: _write(at / "old", b"more")),
        ("link", lambda: os.link(at / "old", at / "other")),
        ("fsync", lambda: _fsync(at / "old")),
        ("rename", lambda: (at / "old").replace(at / "moved")),
        ("unlink", lambda: (at / "moved").unlink()),
    ]
    met = []
    for name, act in acts:
        try:
            act()
            met.append([name, 0])
        except OSError as error:
            met.append([name, error.errno])
    return met


@pytest.mark.parametrize(
    ("mode", "failing", "errno"),
    [
        pytest.param("enospc", {"create", "write", "link"}, 28, id="full disk: what needs room fails, the rest works"),
        pytest.param(
            "eio",
            {"create", "open existing", "write", "link", "fsync", "rename", "unlink"},
            5,
            id="broken disk: all fails",
        ),
    ],
)
def test_disk_faults_from_k_on(server: ForkServer, home: Path, mode: Mode, failing: set[str], errno: int) -> None:
    (home / "old").write_bytes(b"old")
    outcome = server.call("test_crash_shim:try_all", {"home": str(home)}, prefix=home, at=2, mode=mode)
    assert outcome.status == 0, outcome.output
    assert {name: met for name, met in outcome.value if met} == dict.fromkeys(failing, errno)


def store_rows(home: str, rows: int, journal: str) -> int:
    """Run in a child: one SQLite transaction per row."""
    connection = sqlite3.connect(Path(home) / "rows.db", isolation_level=None)
    connection.execute(f"PRAGMA journal_mode={journal}")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS rows (n INTEGER PRIMARY KEY)")
    for n in range(rows):
        connection.execute("INSERT OR REPLACE INTO rows VALUES (?)", (n,))
        print(n, flush=True)
    stored: int = connection.execute("SELECT count(*) FROM rows").fetchone()[0]
    connection.close()
    return stored


@pytest.mark.parametrize(
    "journal", [pytest.param("delete", id="rollback journal"), pytest.param("wal", id="write-ahead log")]
)
def test_sqlite_survives_a_kill_at_every_operation(server: ForkServer, home: Path, journal: str) -> None:
    arguments = {"home": str(home), "rows": 1, "journal": journal}
    whole = server.call("test_crash_shim:store_rows", arguments, prefix=home, mode="count")
    assert (whole.status, whole.value) == (0, 1), whole.output
    kinds = {(name, op.path) for op in whole.ops for name in ("open", "write", "sync", "unlink") if name in op.name}
    extra = {"delete": "rows.db-journal", "wal": "rows.db-wal"}[journal]
    assert kinds >= {(name, file) for name in ("open", "write", "sync") for file in ("rows.db", extra)} | {
        ("unlink", extra)
    }
    for at in range(1, len(whole.ops) + 1):
        killed = server.call("test_crash_shim:store_rows", {**arguments, "home": str(fresh(home))}, prefix=home, at=at)
        assert killed.status == -9
        committed = len(killed.output.split())
        connection = sqlite3.connect(home / "rows.db")
        (intact,) = connection.execute("PRAGMA integrity_check").fetchone()
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        stored = connection.execute("SELECT count(*) FROM rows").fetchone()[0] if tables else 0
        connection.close()
        assert intact == "ok"
        assert committed <= stored <= committed + 1


def store_parquet(home: str) -> None:
    """Run in a child: pyarrow writes with its own C++ file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": list(range(1000))}), Path(home) / "x.parquet")


def test_pyarrow_is_counted_and_torn(server: ForkServer, home: Path) -> None:
    whole = server.call("test_crash_shim:store_parquet", {"home": str(home)}, prefix=home, mode="count")
    assert whole.ops[0] == Op(1, "open", "x.parquet")
    writes = [op.number for op in whole.ops if op.name == "write"]
    assert len(writes) >= 2
    complete = (home / "x.parquet").read_bytes()
    torn = server.call(
        "test_crash_shim:store_parquet", {"home": str(fresh(home))}, prefix=home, at=writes[-1], mode="torn"
    )
    assert torn.status == -9
    left = (home / "x.parquet").read_bytes()
    assert len(left) < len(complete)
    assert complete.startswith(left)


def write_in_threads(home: str, threads: int, each: int) -> None:
    """Run in a child: threads that append one byte at a time to files of their own."""

    def work(name: str) -> None:
        with (Path(home) / name).open("ab", buffering=0) as file:
            for _ in range(each):
                file.write(b"x")

    running = [threading.Thread(target=work, args=(str(index),)) for index in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


@pytest.mark.parametrize("mode", ["kill", "after"])
def test_threads_share_one_count(server: ForkServer, home: Path, mode: Mode) -> None:
    arguments = {"home": str(home), "threads": 4, "each": 100}
    whole = server.call("test_crash_shim:write_in_threads", arguments, prefix=home, mode="count")
    assert [op.number for op in whole.ops] == list(range(1, 4 * 101 + 1))
    arguments["home"] = str(fresh(home))
    killed = server.call("test_crash_shim:write_in_threads", arguments, prefix=home, at=200, mode=mode)
    assert killed.status == -9
    done = sum(map(len, filter(None, state(home).values())))
    created = sum(op.name == "open" for op in killed.ops if op.number <= 200)
    # Operations with lower numbers may be under way in the three other threads when the process dies.
    assert 200 - 1 - created - 3 <= done <= 200 - created


def fork_and_write(home: str) -> None:
    """Run in a child: a fork and a program write under the prefix, then the child itself."""
    pid = os.fork()
    if pid == 0:
        (Path(home) / "fork").touch()
        os._exit(0)
    os.waitpid(pid, 0)
    subprocess.run([sys.executable, "-c", f"open({home + '/program'!r}, 'w').close()"], check=True)
    (Path(home) / "self").touch()


def test_only_the_armed_process_counts(server: ForkServer, home: Path) -> None:
    outcome = server.call("test_crash_shim:fork_and_write", {"home": str(home)}, prefix=home, mode="count")
    assert outcome.ops == [Op(1, "open", "self")]
    assert set(state(home)) == {"fork", "program", "self"}


SCRIPT = """
import os, subprocess, sys
home = sys.argv[1]
with open(home + "/part", "wb") as file:
    file.write(b"x" * 10)
    file.flush()
    os.fsync(file.fileno())
os.replace(home + "/part", home + "/whole")
subprocess.run([sys.executable, "-c", f"open({home + '/program'!r}, 'w').close()"], check=True)
open(home + "-outside", "w").close()
print(sorted(name for name in os.environ if name.startswith("CRASH_")))
"""


def test_a_program_armed_by_its_environment(shim: Path, home: Path, tmp_path: Path) -> None:
    (tmp_path / "by-link").symlink_to(home)
    argv = [sys.executable, "-c", SCRIPT, str(tmp_path / "by-link")]
    whole = run_with_crash(argv, {}, 0, shim=shim, prefix=home, mode="count", log=tmp_path / "ops")
    assert (whole.returncode, whole.stdout) == (0, "[]\n"), whole.stderr
    names = [(op.name, op.path) for op in read_ops(tmp_path / "ops")]
    assert names == [("open", "part"), ("write", "part"), ("fsync", "part"), ("rename", "whole")]

    killed = run_with_crash(argv, {}, 4, shim=shim, prefix=fresh(home), log=tmp_path / "ops")
    assert killed.returncode == -9
    assert state(home) == {"part": b"x" * 10}
    assert len(read_ops(tmp_path / "ops")) == 4

    full = run_with_crash(argv, {}, 2, shim=shim, prefix=fresh(home), mode="enospc")
    assert "OSError: [Errno 28] No space left on device" in full.stderr


def test_a_wrong_mode_is_refused(shim: Path, home: Path) -> None:
    env = {"LD_PRELOAD": str(shim), "CRASH_PREFIX": str(home), "CRASH_MODE": "explode"}
    done = subprocess.run(["/bin/true"], env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert "CRASH_MODE one of count kill after torn enospc eio" in done.stderr


def misbehave(how: str) -> None:
    """Run in a child."""
    if how == "raise":
        raise ValueError("this is the reason")
    if how == "exit":
        sys.exit(7)
    threading.Event().wait()


@pytest.mark.parametrize(("how", "status"), [pytest.param("raise", 1, id="raise"), pytest.param("exit", 7, id="exit")])
def test_the_server_reports_failures_and_goes_on(server: ForkServer, home: Path, how: str, status: int) -> None:
    outcome: Outcome = server.call("test_crash_shim:misbehave", {"how": how}, prefix=home)
    assert outcome.status == status
    assert ("this is the reason" in outcome.output) == (how == "raise")
    assert server.call("test_crash_shim:do_lines", {"home": str(home)}, prefix=home).status == 0


def test_a_child_that_hangs_is_killed_after_its_deadline(server: ForkServer, home: Path) -> None:
    with pytest.raises(TimeoutError, match="misbehave"):
        server.call("test_crash_shim:misbehave", {"how": "hang"}, prefix=home, timeout_seconds=0.3)
    assert server.call("test_crash_shim:do_lines", {"home": str(home)}, prefix=home).status == 0


def test_a_module_that_cannot_be_imported_ends_the_server(
    shim: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        pytest.raises(RuntimeError, match="the fork server ended with status 1"),
        ForkServer(shim, tmp_path, ["no_such"]),
    ):
        pass
    assert "No module named 'no_such'" in capfd.readouterr().err
