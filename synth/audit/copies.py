"""What a question to the catalogue of a home on S3 needs on this machine: the catalogue, and the files of the views it names.

DuckDB reads local files alone. A view knows its files by name, so nothing is copied that the question does not reach.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from synth.store import Store

CATALOG = "catalog.duckdb"


def bring_here(home: Path, sql: str | None, tell: Callable[[str], None] = lambda text: None) -> None:
    """Copy what the question reads; without one, the catalogue alone. For a home in a local folder there is nothing to do."""
    store = Store.at(home, tell)
    if store.is_local:
        return
    catalog = store.local(CATALOG)
    if sql is not None and catalog.is_file():
        store.fetch(_files(catalog, sql))


def _files(catalog: Path, sql: str) -> list[str]:
    """The Parquet files of all views that a query names, and of those that these are made of."""
    import duckdb

    with duckdb.connect(":memory:") as connection:
        connection.execute("ATTACH ? AS catalog (READ_ONLY)", [str(catalog)])
        found = connection.execute("SELECT view_name, sql FROM duckdb_views() WHERE database_name = 'catalog'")
        views = {name.lower(): text.partition(" AS ")[2].rstrip("; \n") for name, text in found.fetchall()}
        files: dict[str, None] = {}
        todo, seen = [sql], {""}
        while todo:
            query = todo.pop()
            named = _tables(connection, query) - seen
            seen |= named
            reached = [views[name] for name in sorted(named) if name in views]
            todo += reached
            files |= dict.fromkeys(path for text in reached for path in re.findall(r"'([^']*\.parquet)'", text))
        return list(files)


def _tables(connection: Any, query: str) -> set[str]:
    """Names of tables and views in one SELECT; of what cannot be parsed none, the answer will say why."""
    (parsed,) = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchone()
    try:
        todo = [orjson.loads(parsed)]
    except orjson.JSONDecodeError:  # nested deeper than JSON is read: the guard refuses such a query
        return set()
    named = set()
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            if node.get("table_name"):
                named.add(node["table_name"].lower())
            todo += node.values()
        elif isinstance(node, list):
            todo += node
    return named
