"""A SELECT over Parquet files that a recipe names, in the sandbox: the files are its one view, `files`."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from synth.audit import sandbox
from synth.audit.guard import check_query
from synth.audit.tables import literal
from synth.errors import SourceError, UserError

VIEW = "files"
LIMIT_SECONDS = 3600.0
MEMORY = "4GB"

_READ_AS = "union_by_name = true, hive_partitioning = false"  # a folder's name is no column: names shape no row


@contextlib.contextmanager
def files_query(sql: str, files: Sequence[Path], batch_rows: int, told: str) -> Iterator[pa.RecordBatchReader]:
    """The rows of a query over the rows of all files, as they are found. A column that a file lacks is null in its rows.
    `told` names the query in messages.

    SourceError: a file that is not Parquet, SQL that is wrong, names anything but `files`, or differs from run to run;
    more time than LIMIT_SECONDS or more memory than MEMORY (and four times that on disk).
    """
    with tempfile.TemporaryDirectory(prefix="synth-files-") as folder, sandbox.opened(MEMORY) as connection:
        links = _links(files, Path(folder))
        try:
            with sandbox.limited(connection, LIMIT_SECONDS, MEMORY):
                paths = ", ".join(literal(link) for link in links)
                connection.execute(f"CREATE VIEW {VIEW} AS SELECT * FROM read_parquet([{paths}], {_READ_AS})")
                sandbox.lock(connection, list(links))
                check_query(connection, sql, {VIEW}, repeatable=True)
                yield _run(connection, sql, batch_rows)
        except UserError as error:
            raise SourceError(f"{told}: {_with_names(str(error), links)}") from None


def _run(connection: duckdb.DuckDBPyConnection, sql: str, batch_rows: int) -> pa.RecordBatchReader:
    return connection.sql(sql).to_arrow_reader(batch_rows)


def _links(files: Sequence[Path], folder: Path) -> dict[str, Path]:
    """Each file under a name without `*` and `[`, which mean more to DuckDB. In the order given, which is that of rows."""
    links: dict[str, Path] = {}
    for number, file in enumerate(files):
        link = folder / f"{number:08d}.parquet"
        link.symlink_to(file)
        links[str(link)] = file
    return links


def _with_names(message: str, links: dict[str, Path]) -> str:
    """A message that names the files as the user does."""
    for link, file in links.items():
        message = message.replace(link, str(file))
    return message
