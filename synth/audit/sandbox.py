"""A DuckDB connection for SQL that is not ours: it reads the files it is given and nothing else, within limits.

Its settings are locked: no other file, no network, no extension, no writing but its own spill folder, which ends with it.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from synth.audit.limits import size_bytes, too_late, too_much_memory
from synth.audit.tables import literal
from synth.errors import UserError, fail

BATCH_ROWS = 4096

_SPILL = 4  # a query may spill to disk so many times its memory
_INTERRUPT_SECONDS = 0.05


@contextlib.contextmanager
def opened(memory: str, search_path: str = "") -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to an empty database in memory, still unlocked. A file is looked for in `search_path` too."""
    with tempfile.TemporaryDirectory(prefix="synth-sql-") as scratch:
        config: dict[str, str | bool | int | float | list[str]] = {
            "temp_directory": scratch,
            "max_temp_directory_size": f"{size_bytes(memory) * _SPILL}B",
            "memory_limit": memory,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "allow_persistent_secrets": False,
            "python_enable_replacements": False,
            **({"file_search_path": search_path} if search_path else {}),
        }
        with duckdb.connect(":memory:", config=config) as connection:
            yield connection


def lock(connection: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> None:
    """From here on only these files are read, and no setting can be changed."""
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET allowed_paths = [{', '.join(map(literal, paths))}]::VARCHAR[]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


@contextlib.contextmanager
def limited(connection: duckdb.DuckDBPyConnection, limit_seconds: float, memory: str) -> Iterator[None]:
    """Run a query within this and fetch its rows: what goes wrong is a UserError, also that it takes too long or too much."""
    with _watched(connection, limit_seconds) as late:
        try:
            yield
        except (duckdb.OutOfMemoryException, MemoryError):
            raise too_much_memory(memory) from None
        except (duckdb.Error, pa.ArrowException, OSError) as error:  # the last two while rows are fetched
            if late.is_set():
                raise too_late(limit_seconds) from None
            if "Out of Memory Error" in str(error):
                raise too_much_memory(memory) from None
            raise fail(UserError, str(error)) from None


@contextlib.contextmanager
def _watched(connection: duckdb.DuckDBPyConnection, limit_seconds: float) -> Iterator[threading.Event]:
    """Interrupt what runs on the connection after the limit, and again until it has stopped; DuckDB has no time limit."""
    late, done = threading.Event(), threading.Event()

    def watch() -> None:
        if not done.wait(limit_seconds):
            late.set()
            while not done.wait(_INTERRUPT_SECONDS):
                connection.interrupt()

    watchdog = threading.Thread(target=watch, name="sql watchdog", daemon=True)
    watchdog.start()
    try:
        yield late
    finally:
        done.set()
        watchdog.join()
