"""What the audit and the catalogue share: which tables there are, and how DuckDB reads their files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from synth import rows

SCORES = pa.schema([("item_id", pa.string()), ("family", pa.string())])
"""What every table of scores begins with; the other columns are the recipe's rules."""

_LOOKED_AT = pa.schema(
    [
        ("opening", pa.string()),
        *(
            (name, pa.int64())
            for name in ("canary_obeyed", "foreign_canaries", "self_names", "chat_fragments", "meta_talk")
        ),
    ]
)
"""Scores of documents that views and checks look at. A recipe without the rule that gives one has nulls there."""

TABLES: dict[str, pa.Schema] = {
    "seeds": rows.SEED,
    "seed_scores": SCORES,
    "asks": rows.ASK,
    "attempts": rows.ATTEMPT,
    "documents": rows.DOCUMENT,
    "scores": SCORES,
    "drops": rows.DROP,
    "verdicts": rows.VERDICT,
    "spans": rows.SPAN,
    "reasoning_spans": rows.SPAN,
    "rows": rows.ROW,
    "quality_card": rows.QUALITY_CARD,
}
"""Every table that is queried, with its columns. A file's table is its name up to the first `-`."""

STEPS = ("ingest", "screen", "generate", "keep", "resolve", "retract", "release")
"""The steps that drop something, in the order of the pipeline: the first one's reason counts. `release`: tombstones.

Drops of `retract` lie in the object that took documents out of shards; in later releases in those of screen and keep."""

COUNTED_AS = "CASE WHEN step IN ('screen', 'keep') THEN reason ELSE rule END"
"""The word under which a manifest counts a drop: a gate's reason, elsewhere the rule."""

KEPT = "SELECT d.* FROM documents d ANTI JOIN drops x ON x.item_kind = 'document' AND x.item_id = d.id"
"""Documents without a drop."""

_TYPES = {
    pa.string(): "VARCHAR",
    pa.large_string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
}


def table_of(file_name: str) -> str:
    """The table that a file belongs to: `seeds-00003.parquet` is a file of `seeds`."""
    return file_name.partition(".")[0].partition("-")[0]


def literal(text: str) -> str:
    """Text as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def duckdb_type(kind: pa.DataType) -> str:
    """The DuckDB type of an Arrow type that is used in our tables. KeyError for another one."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return duckdb_type(kind.value_type) + "[]"
    if pa.types.is_struct(kind):
        return "STRUCT(" + ", ".join(f"{identifier(field.name)} {duckdb_type(field.type)}" for field in kind) + ")"
    return _TYPES[kind]


def scan(paths: Iterable[str], schema: pa.Schema) -> str:
    """A table over exactly these Parquet files: the columns of `schema`, found by name, and `filename`.

    A column that a file lacks is null. Because the columns are given, no file is opened before rows are wanted.
    """
    files = ", ".join(literal(path) for path in paths)
    types = {field.name: duckdb_type(field.type) for field in schema}
    if not files:
        nothing = ", ".join(f"NULL::{kind} AS {identifier(name)}" for name, kind in types.items())
        return f"(SELECT {nothing}, NULL::VARCHAR AS filename WHERE false)"
    columns = (
        f"{literal(name)}: {{name: {literal(name)}, type: {literal(kind)}, default_value: NULL}}"
        for name, kind in types.items()
    )
    return f"read_parquet([{files}], filename = true, schema = MAP {{{', '.join(columns)}}})"


def score_schema(paths: Sequence[Path], table: str) -> pa.Schema:
    """The columns of tables of scores: those of each file, numbers of two widths widened. Reads the files' footers.

    Of `scores`, those that views and checks look at are always there.
    """
    schemas = [pq.read_schema(path).remove_metadata() for path in paths]
    found = pa.unify_schemas([SCORES, *schemas], promote_options="permissive")
    missing = [field for field in _LOOKED_AT if table == "scores" and field.name not in found.names]
    return pa.schema([*found, *missing])


def first_reasons(drops: str, scope: str = "") -> str:
    """A query for one row per dropped item of `drops`: its first reason in the order of the pipeline.

    `scope` names columns, each followed by a comma, within which an item is counted once.
    """
    order = ", ".join(literal(step) for step in STEPS)
    return (
        f"SELECT *, {COUNTED_AS} AS counted_as FROM {drops} QUALIFY row_number() OVER (PARTITION BY {scope} item_kind, "
        f"item_id ORDER BY list_position([{order}], step), rule_order, rule, reason) = 1"
    )
