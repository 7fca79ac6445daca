"""`synth sql`: one question to the catalogue, in a sandbox that holds the catalogue's files and nothing else."""

from __future__ import annotations

import contextlib
import difflib
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

import duckdb
import pyarrow as pa

from synth.audit.catalog import CATALOG
from synth.audit.home import plain_path
from synth.audit.tables import literal
from synth.config import nearest
from synth.errors import HomeError, UserError, fail

_BATCH_ROWS = 4096
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def canned(name: str) -> str:
    """A canned question by name, on one line, so that it can be pasted behind `synth sql` or into plain DuckDB."""
    questions = canned_titles()
    if name not in questions:
        raise fail(UserError, f"unknown question {name!r}{nearest(name, questions)}", allowed=", ".join(questions))
    text = (resources.files("synth.audit") / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("--"))


def canned_titles() -> dict[str, str]:
    """The title of each canned question, by name."""
    folder = resources.files("synth.audit") / "queries"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    heads = {file.name.removesuffix(".sql"): file.read_text(encoding="utf-8").splitlines()[0] for file in files}
    return {name: head.removeprefix("-- title: ") for name, head in heads.items()}


def query(home: Path, sql: str, limit_seconds: float = 60, memory: str = "2GB") -> pa.Table:
    """The answer to one SELECT over the catalogue of `home`.

    The query reads the catalogue and the files it lists, nothing else; it cannot write, change a setting or load an
    extension. UserError when the catalogue is missing, the SQL is wrong or not one SELECT, or it takes more than
    `limit_seconds` or `memory` (such as "500MB": for the work, and for the answer).
    """
    catalog = home / CATALOG
    if not catalog.is_file():
        raise fail(HomeError, f"{home} has no catalogue", do="run a recipe first (`synth run RECIPE`), or give --home")
    _only_select(sql)
    largest_bytes = _bytes(memory)
    with _sandbox(home, memory) as connection:
        return _answer(connection, sql, limit_seconds, largest_bytes)


def _only_select(sql: str) -> None:
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise fail(UserError, f"the SQL cannot be parsed: {error}") from None
    kinds = [statement.type for statement in statements]
    if kinds != [duckdb.StatementType.SELECT]:
        raise fail(
            UserError,
            "one SELECT at a time is answered",
            given=" and ".join(kind.name for kind in kinds) or "no statement",
            allowed="one SELECT, also written WITH …, FROM …, DESCRIBE, SUMMARIZE or SHOW TABLES",
        )


@contextlib.contextmanager
def _sandbox(home: Path, memory: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the catalogue that reaches its files only, and whose settings can no longer be changed.

    The catalogue is attached to a database in memory, because DuckDB shares one instance, settings and all, between
    those who open the same file in one process.
    """
    with plain_path(home) as plain, tempfile.TemporaryDirectory(prefix="synth-sql-") as scratch:
        config: dict[str, str | bool | int | float | list[str]] = {
            "file_search_path": str(plain),
            "temp_directory": scratch,
            "memory_limit": memory,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "allow_persistent_secrets": False,
            "python_enable_replacements": False,
        }
        with duckdb.connect(":memory:", config=config) as connection:
            connection.execute(f"ATTACH {literal(str(plain / CATALOG))} AS catalog (READ_ONLY)")
            connection.execute("USE catalog")
            listed = connection.execute("SELECT path FROM home.files").fetchall()
            _lock(connection, [path for (path,) in listed], plain)
            yield connection


def _lock(connection: duckdb.DuckDBPyConnection, paths: Sequence[str], plain: Path) -> None:
    """Files are looked up by their relative path first, then by the search path: both must be allowed."""
    allowed = [literal(path) for path in paths] + [literal(str(plain / path)) for path in paths]
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET allowed_paths = [{', '.join(allowed)}]::VARCHAR[]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _answer(connection: duckdb.DuckDBPyConnection, sql: str, limit_seconds: float, largest_bytes: int) -> pa.Table:
    with _watched(connection, limit_seconds) as late:
        try:
            return _within(connection.sql(sql).to_arrow_reader(_BATCH_ROWS), largest_bytes)
        except duckdb.OutOfMemoryException:
            raise fail(
                UserError,
                f"the query needs more than {largest_bytes:,} bytes of memory",
                do="narrow it down, or raise the limit",
            ) from None
        except (duckdb.Error, pa.ArrowException, OSError) as error:  # the last two while rows are fetched
            if late.is_set():
                raise fail(
                    UserError,
                    f"the query took more than {limit_seconds:g} seconds",
                    do="narrow it down, or raise the limit",
                ) from None
            raise fail(UserError, str(error), allowed=_hint(connection, str(error))) from None


@contextlib.contextmanager
def _watched(connection: duckdb.DuckDBPyConnection, limit_seconds: float) -> Iterator[threading.Event]:
    """Interrupt what runs on the connection after the limit, and again until it has stopped; DuckDB has no time limit."""
    late, done = threading.Event(), threading.Event()

    def watch() -> None:
        if not done.wait(limit_seconds):
            late.set()
            while not done.wait(0.05):
                connection.interrupt()

    watchdog = threading.Thread(target=watch, name="sql watchdog", daemon=True)
    watchdog.start()
    try:
        yield late
    finally:
        done.set()
        watchdog.join()


def _within(reader: pa.RecordBatchReader, limit_bytes: int) -> pa.Table:
    batches, size = [], 0
    for batch in reader:
        size += batch.nbytes
        if size > limit_bytes:
            raise fail(
                UserError, f"the answer is larger than {limit_bytes:,} bytes", do="add a LIMIT, or choose fewer columns"
            )
        batches.append(batch)
    return pa.Table.from_batches(batches, reader.schema)


def _bytes(memory: str) -> int:
    """A size such as 500MB or 2GB, in bytes."""
    found = re.fullmatch(r"(\d+) ?([KMGT]B)", memory)
    if not found:
        raise fail(UserError, "the memory limit is not a size", given=memory, allowed="a number with KB, MB, GB or TB")
    return int(found[1]) * _UNITS[found[2]]


def _hint(connection: duckdb.DuckDBPyConnection, message: str) -> str | None:
    """The views, or the columns most like the one that a message of DuckDB misses."""
    known = connection.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = 'catalog' AND schema_name = 'main'"
    ).fetchall()
    if found := re.search(r"Table with name (\S+) does not exist", message):
        views = sorted({view for view, _ in known})
        return f"{', '.join(views)}{nearest(found[1], views)}"
    if found := re.search(r'column (?:named )?"([^"]+)"', message):
        near = difflib.get_close_matches(found[1], sorted({column for _, column in known}), n=1, cutoff=0.5)
        views = sorted(f"{view}.{column}" for view, column in known if column in near and not view.startswith("all_"))
        return ", ".join(views) or None
    return None
