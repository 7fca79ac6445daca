"""One question to the catalogue, in a sandbox that holds the catalogue's files and lets a query name its views alone."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from synth.audit import sandbox
from synth.audit.canned import canned, canned_titles
from synth.audit.copies import CATALOG, bring_here
from synth.audit.guard import check_query
from synth.audit.home import plain_path
from synth.audit.limits import DEFAULT_MEMORY, DEFAULT_SECONDS, within
from synth.audit.tables import literal
from synth.errors import HomeError, UserError, fail
from synth.store import home_name

__all__ = ["canned", "canned_titles", "catalogue", "query"]


def query(home: Path, sql: str, limit_seconds: float = DEFAULT_SECONDS, memory: str = DEFAULT_MEMORY) -> pa.Table:
    """The answer to one SELECT over the catalogue of `home`.

    The query reads the catalogue's views, nothing else; it cannot write, change a setting or load an extension. UserError
    when the catalogue is missing, the SQL is wrong or not one SELECT of views, or it takes more than `limit_seconds` or
    `memory` (such as "500MB": for the work, and for the answer). Runs in this process: for SQL of strangers use
    `asking.ask`, whose child process can be killed in whatever it does.
    """
    bring_here(home, sql)
    with catalogue(home, memory) as opened, opened.answer(sql, limit_seconds) as reader:
        return within(reader, memory)


@dataclass(frozen=True)
class Catalogue:
    """A catalogue that is open for one question. `views` maps each view's name to what it shows."""

    connection: duckdb.DuckDBPyConnection
    views: dict[str, str]
    memory: str

    @contextlib.contextmanager
    def answer(self, sql: str, limit_seconds: float) -> Iterator[pa.RecordBatchReader]:
        """The rows as they are found. UserError here, or while rows are fetched."""
        check_query(self.connection, sql, self.views)
        try:
            with sandbox.limited(self.connection, limit_seconds, self.memory):
                yield self.connection.sql(sql).to_arrow_reader(sandbox.BATCH_ROWS)
        except UserError as error:
            raise self._explained(str(error)) from None

    def columns(self) -> dict[str, list[str]]:
        """The columns of each view."""
        found = self.connection.execute(
            "SELECT table_name, list(column_name ORDER BY column_index) FROM duckdb_columns() "
            "WHERE database_name = 'catalog' AND schema_name = 'main' GROUP BY table_name ORDER BY table_name"
        )
        return dict(found.fetchall())

    def _explained(self, message: str) -> Exception:
        """The message with the columns most like the one that it misses."""
        if "\n  do:" in message or not (found := re.search(r'column (?:named )?"([^"]+)"', message)):
            return UserError(message)
        every = [(view, column) for view, columns in self.columns().items() for column in columns]
        near = difflib.get_close_matches(found[1], sorted({column for _, column in every}), n=1, cutoff=0.5)
        views = sorted(f"{view}.{column}" for view, column in every if column in near and not view.startswith("all_"))
        return fail(UserError, message, allowed=", ".join(views) or None)


@contextlib.contextmanager
def catalogue(home: Path, memory: str) -> Iterator[Catalogue]:
    """The catalogue of a home, locked: it reaches its own files, and its settings can no longer be changed.

    It is attached to a database in memory, because DuckDB shares one instance, settings and all, between those who open
    the same file in one process.
    """
    if not (home / CATALOG).is_file():
        raise fail(
            HomeError,
            f"{home_name(home)} has no catalogue",
            do="run a recipe first (`synth run RECIPE`), or give --home",
        )
    with plain_path(home) as plain, sandbox.opened(memory, str(plain)) as connection:
        connection.execute(f"ATTACH {literal(str(plain / CATALOG))} AS catalog (READ_ONLY)")
        connection.execute("USE catalog")
        listed = [path for (path,) in connection.execute("SELECT path FROM home.files").fetchall()]
        # Files are looked up by their relative path first, then by the search path: both must be allowed.
        sandbox.lock(connection, [*listed, *(str(plain / path) for path in listed)])
        yield Catalogue(connection, _views(connection), memory)


def _views(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    ours = "database_name = 'catalog' AND schema_name = 'main'"
    found = connection.execute(
        f"SELECT view_name AS name, comment FROM duckdb_views() WHERE {ours} AND NOT internal "
        f"UNION ALL SELECT table_name, comment FROM duckdb_tables() WHERE {ours} ORDER BY name"
    )
    return {name: comment or "" for name, comment in found.fetchall()}
