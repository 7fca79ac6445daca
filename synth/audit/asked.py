"""The child process of `asking`: reads one question from stdin, writes its answer to stdout as an Arrow stream.

Walls that need nobody's cooperation: the kernel ends it when its time is up and refuses memory beyond its limit, and it
ends with its parent. An error stands on stderr as one line of JSON.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from synth.audit import sql
from synth.audit.asking import GRACE_SECONDS, Question
from synth.audit.limits import size_bytes, too_much_memory
from synth.errors import SynthError, UserError

VIEWS = pa.schema([("view", pa.string()), ("shows", pa.string()), ("columns", pa.list_(pa.string()))])

_OWN_BYTES = 10**9  # for the interpreter, libraries and buffers, beside what the query may have
_THREAD_BYTES = 16 * 2**20
_MESSAGE_CHARACTERS = 20_000


def main() -> int:
    """Answer; the exit code is that of the error, if there is one."""
    os.umask(0o077)
    question = Question(**orjson.loads(sys.stdin.buffer.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _wall(question)
        with sql.catalogue(Path(question.home), question.memory) as opened:
            if question.sql is None:
                _write_views(opened)
            else:
                with opened.answer(question.sql, question.limit_seconds) as reader:
                    _write(reader)
    except (SynthError, MemoryError) as error:
        return _say(error if isinstance(error, SynthError) else too_much_memory(question.memory))
    except BrokenPipeError:  # nobody reads on
        return 1
    return 0


def _wall(question: Question) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, question.limit_seconds + GRACE_SECONDS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threads = 4 * (os.cpu_count() or 1)
    size = size_bytes(question.memory) + _OWN_BYTES + threads * _THREAD_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # returns when the parent's end is closed, by its death too
    os._exit(1)


def _write(reader: pa.RecordBatchReader) -> None:
    with pa.ipc.new_stream(sys.stdout.buffer, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
            sys.stdout.buffer.flush()


def _write_views(opened: sql.Catalogue) -> None:
    columns = opened.columns()
    rows: list[dict[str, Any]] = [
        {"view": view, "shows": shows, "columns": columns[view]} for view, shows in opened.views.items()
    ]
    _write(pa.Table.from_pylist(rows, schema=VIEWS).to_reader())


def _say(error: SynthError) -> int:
    sys.stdout.buffer.flush()
    line = {"kind": type(error).__name__, "message": str(error)[:_MESSAGE_CHARACTERS]}
    sys.stderr.write(orjson.dumps(line).decode() + "\n")
    sys.stderr.flush()
    return UserError.exit_code


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads of DuckDB that still work must not hold up the end
