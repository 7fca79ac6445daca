"""What a query may name, decided from DuckDB's own parse of it before it is run.

A query may read the views it is given, its own common table expressions, and table functions that make rows out of
arguments alone. Everything else that can stand behind FROM (files, DuckDB's own tables, settings, functions that take SQL
or a table's name as a string) is refused by not being on the list, whatever a later DuckDB adds. Behind this wall stands
DuckDB's own, see `sandbox`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import duckdb
import orjson

from synth.config import nearest
from synth.errors import SynthError, UserError, fail

ROW_FUNCTIONS = frozenset({"generate_series", "json_each", "json_tree", "range", "repeat", "repeat_row", "unnest"})
"""Table functions that make rows out of their arguments alone."""

_REFUSED_PREFIXES = ("__internal", "pg_", "duckdb_", "pragma_", "has_", "inet_")
_REFUSED_FUNCTIONS = frozenset(
    {
        *("current_setting", "getvariable", "getenv", "write_log", "parse_duckdb_log_message", "in_search_path"),
        *("currval", "nextval", "setval", "setseed", "txid_current", "sleep_ms"),
        *("col_description", "obj_description", "shobj_description"),
    }
)
"""Scalar functions that tell of the engine rather than of their arguments, or leave something behind in it."""

_READING_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})

Node = dict[str, Any]


def check_query(
    connection: duckdb.DuckDBPyConnection, sql: str, views: Collection[str], repeatable: bool = False
) -> None:
    """UserError unless `sql` is one SELECT that reads `views` alone. `repeatable`: nothing in it may differ from run to run."""
    _one_select(sql)
    nodes = list(_nodes(_parsed(connection, sql)))
    own = {entry["key"].lower() for node in nodes for entry in node.get("cte_map", {}).get("map", [])}
    _check_own_names(connection, own)
    for node in nodes:
        match node.get("type"):
            case "BASE_TABLE":
                _check_table(node, views, own)
            case "TABLE_FUNCTION":
                _check_row_function(node["function"])
            case "SHOW_REF":
                _check_show(node)
        if str(node.get("type")).endswith("_NODE") and node["type"] not in _READING_NODES:
            raise fail(UserError, "a part of the query writes", given=node["type"], allowed="SELECT in every part")
        if "function_name" in node:
            _check_function(node["function_name"].lower())
    if repeatable:
        _check_repeatable(connection, nodes)


def _one_select(sql: str) -> None:
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise fail(UserError, f"the SQL cannot be parsed: {error}") from None
    kinds = [_kind(statement) for statement in statements]
    if kinds != ["SELECT"]:
        raise fail(
            UserError,
            "one SELECT at a time is answered",
            given=" and ".join(kinds) or "no statement",
            allowed="one SELECT, also written WITH …, FROM …, DESCRIBE, SUMMARIZE or SHOW TABLES",
        )


def _kind(statement: duckdb.Statement) -> str:
    try:
        return statement.type.name
    except ValueError:  # DuckDB knows more statements than its own Python package has names for
        return "a statement that is no SELECT"


def _parsed(connection: duckdb.DuckDBPyConnection, sql: str) -> Node:
    found = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    assert found is not None
    try:
        parsed: Node = orjson.loads(found[0])
    except orjson.JSONDecodeError:
        raise fail(UserError, "the query is nested too deeply", do="write it with fewer parentheses") from None
    if parsed["error"]:
        raise fail(UserError, f"the SQL cannot be checked, so it is not run: {parsed.get('error_message')}")
    return parsed


def _nodes(value: Any) -> Iterator[Node]:
    """All objects in a parse, without recursion: queries may be nested deeply."""
    left = [value]
    while left:
        at = left.pop()
        if isinstance(at, dict):
            yield at
            left.extend(at.values())
        elif isinstance(at, list):
            left.extend(at)


def _check_own_names(connection: duckdb.DuckDBPyConnection, own: Collection[str]) -> None:
    """A common table expression must not be named like something of DuckDB's: outside its scope that name means the other."""
    taken = {name for (name,) in connection.execute("SELECT view_name FROM duckdb_views() WHERE internal").fetchall()}
    for name in sorted(own):
        if name in taken or not name.replace("_", "a").replace(" ", "a").isalnum():
            raise fail(
                UserError,
                "this name cannot be given to a part of a query",
                given=f"WITH {name}",
                allowed="letters, digits and _, and no name of DuckDB's own views",
                do="rename it",
            )


def _check_table(node: Node, views: Collection[str], own: Collection[str]) -> None:
    path = [part.lower() for part in node["qualified_name"]["path"]]
    name = path[-1]
    if len(path) == 1 and name in own:
        return
    if name in views and path[:-1] in ([], ["main"], ["catalog"], ["catalog", "main"]):
        return
    raise _no_view(".".join(node["qualified_name"]["path"]), views)


def _no_view(name: str, views: Collection[str]) -> SynthError:
    what = f"there is no view {name!r}{nearest(name, views)}"
    plain = sorted(view for view in views if view.removeprefix("all_") == view)
    twins = "; all_… of most" if len(plain) < len(views) else ""
    return fail(UserError, what, allowed=", ".join(plain) + twins, do="name a view; files are not read by a query")


def _check_row_function(function: Node) -> None:
    path = [part.lower() for part in function["qualified_name"]["path"]]
    if path[-1] not in ROW_FUNCTIONS or len(path) > 1:
        raise fail(
            UserError,
            f"{'.'.join(path)}() is not allowed behind FROM",
            allowed=f"views, and {', '.join(sorted(ROW_FUNCTIONS))}",
            do="ask the views; `synth sql` without a query lists them",
        )


def _check_show(node: Node) -> None:
    """DESCRIBE and SUMMARIZE hold a query that is looked at by itself; of what else can be shown only SHOW TABLES is allowed."""
    if node.get("query") is None and (node["table_name"] != '"tables"' or node["schema_name"] or node["catalog_name"]):
        raise fail(UserError, "this cannot be shown", given=f"SHOW {node['table_name']}", allowed="SHOW TABLES")


def _check_function(name: str) -> None:
    if name in _REFUSED_FUNCTIONS or name.startswith(_REFUSED_PREFIXES):
        raise fail(
            UserError,
            f"the function {name}() is not allowed",
            allowed="functions of values: those that ask or change DuckDB itself are not",
            do="leave it out",
        )


def _check_repeatable(connection: duckdb.DuckDBPyConnection, nodes: Collection[Node]) -> None:
    found = connection.execute("SELECT lower(function_name) FROM duckdb_functions() WHERE stability <> 'CONSISTENT'")
    changing = {name for (name,) in found.fetchall()} - {"error"}  # it ends the query
    for node in nodes:
        name = str(node.get("function_name", "")).lower()
        modifiers = {one["type"] for one in node["modifiers"]} if isinstance(node.get("modifiers"), list) else set()
        if name in changing:
            raise _changes(f"{name}()")
        if node.get("sample"):
            raise _changes("a sample")
        if "ORDER_MODIFIER" not in modifiers and any(one.startswith("LIMIT") for one in modifiers):
            raise _changes("LIMIT without ORDER BY")


def _changes(what: str) -> SynthError:
    return fail(
        UserError,
        "the query would give other rows each time",
        given=what,
        do="choose rows by their content: WHERE md5_number(text) % 10 = 0, or ORDER BY md5(text) LIMIT 1000",
    )
