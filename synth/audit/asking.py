"""A question to the catalogue answered by a child process: whatever the SQL does, it ends when its time is up.

DuckDB can be interrupted between pieces of work, not within one (a comparison of two huge strings goes on for hours), and
counts most of its memory, not all. A child that is killed needs no cooperation. This end does not import DuckDB.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from synth.audit.limits import DEFAULT_MEMORY, DEFAULT_SECONDS, too_late, too_much_memory
from synth.errors import HomeError, SynthError, UserError, fail

GRACE_SECONDS = 2.0  # after the limit: DuckDB's own interruption comes first, and says what happened
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT")  # of our environment: nothing that is a secret
_KINDS: dict[str, type[SynthError]] = {"HomeError": HomeError}


@dataclass(frozen=True)
class Question:
    """What is asked. Without `sql`: the views, as rows of name, shows, columns."""

    home: str
    sql: str | None
    limit_seconds: float = DEFAULT_SECONDS
    memory: str = DEFAULT_MEMORY


@contextlib.contextmanager
def ask(question: Question) -> Iterator[pa.RecordBatchReader]:
    """The answer's rows as they come. UserError: as `sql.query`, here or while rows are read."""
    with tempfile.TemporaryDirectory(prefix="synth-ask-") as scratch:  # ours: a child that is killed cleans up nothing
        child, late = _start(scratch), threading.Event()
        timer = threading.Timer(question.limit_seconds + GRACE_SECONDS, _stop, [child, late])
        timer.daemon = True
        timer.start()
        try:
            yield _answer(child, question, late)
        finally:
            timer.cancel()
            child.kill()
            child.communicate()


def _stop(child: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    child.kill()


def _start(scratch: str) -> subprocess.Popen[bytes]:
    """The child, in a session of its own: Ctrl-C reaches us alone, and we kill it. It ends when its stdin closes, too."""
    package = Path(__file__).parent.parent.parent
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "synth.audit.asked"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**environment, "PYTHONPATH": str(package), "TMPDIR": scratch},
        start_new_session=True,
    )


def _answer(child: subprocess.Popen[bytes], question: Question, late: threading.Event) -> pa.RecordBatchReader:
    assert child.stdin is not None and child.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it is dead: its exit code says why
        child.stdin.write(orjson.dumps(asdict(question)) + b"\n")
        child.stdin.flush()
    try:
        reader = pa.ipc.open_stream(child.stdout)
    except pa.ArrowInvalid:  # it wrote nothing
        _check_end(child, question, late)
        raise
    return pa.RecordBatchReader.from_batches(reader.schema, _batches(reader, child, question, late))


def _batches(
    reader: pa.RecordBatchReader, child: subprocess.Popen[bytes], question: Question, late: threading.Event
) -> Iterator[pa.RecordBatch]:
    """The batches; a stream that breaks off looks like its end, and only the exit code tells."""
    try:
        yield from reader
    except (pa.ArrowInvalid, OSError):  # it broke off within a batch
        _check_end(child, question, late)
        raise
    _check_end(child, question, late)


def _check_end(child: subprocess.Popen[bytes], question: Question, late: threading.Event) -> None:
    """Raise what the child says, or what its death means."""
    assert child.stderr is not None
    said = child.stderr.read()
    code = child.wait()
    if code == 0:
        return
    if late.is_set() or code == -signal.SIGALRM:
        raise too_late(question.limit_seconds)
    if (told := _told(said)) is not None:
        raise _KINDS.get(told["kind"], UserError)(told["message"])
    if code in (-signal.SIGABRT, -signal.SIGKILL):
        raise too_much_memory(question.memory)
    if code < 0:
        what = f"the query broke DuckDB ({signal.Signals(-code).name}); the catalogue is unharmed"
        raise fail(UserError, what, do="write it in another, simpler way")
    raise RuntimeError(f"the process that asks the catalogue failed:\n{said.decode(errors='replace')}")


def _told(said: bytes) -> dict[str, Any] | None:
    """The error that the child's last line holds."""
    try:
        told = orjson.loads(said.splitlines()[-1])
    except (IndexError, orjson.JSONDecodeError):
        return None
    return told if isinstance(told, dict) and {"kind", "message"} <= told.keys() else None
