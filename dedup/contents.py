"""What is to be compared: the columns as given, checked; rows in the order of precedence; different texts numbered in it.

Nothing here copies the texts: they are read later, a block of rows at a time, from wherever the table keeps them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dedup.signatures import Int64s
from dedup.text import exact_digest
from synth.errors import IntegrityError, SourceError, fail

Bools = npt.NDArray[np.bool_]
Int32s = npt.NDArray[np.int32]

NO_WORDS = exact_digest("")


@dataclass(frozen=True)
class Contents:
    """R rows and their N different contents, numbered in the order of precedence: released before new, then the longer text
    (UTF-8 bytes), then the smaller id. What is said of a content is that of its first row."""

    order: Int64s  # (R,) input rows in the order of precedence
    of_row: Int64s  # (R,) the content of each of these
    first_rows: Int64s  # (N,) input row
    released_rows: Bools  # (R,) input rows
    released: Bools  # (N,)
    hidden: Bools  # (N,) its text is out of reach
    families: Int32s  # (N,) numbers of `family_names`
    family_names: list[str | None]
    roots: Int32s  # (N,) equal for siblings, negative where the root is not known
    twins: Int64s  # (N,) the hidden content with the same digest, or negative


def check_columns(table: pa.Table) -> None:
    """Refuse columns that are missing or mistyped, nulls where a value is needed, and ids that repeat."""

    def is_text(kind: pa.DataType) -> bool:
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))

    _column(table, "doc_id", "string", is_text, nulls=False)
    _column(table, "text", "string", is_text)
    optional: dict[str, tuple[str, Callable[[pa.DataType], bool], bool]] = {
        "released": ("bool", pa.types.is_boolean, True),
        "exact_digest": ("string", is_text, False),
        "signature": ("list<uint32>", lambda kind: kind == pa.list_(pa.uint32()), False),
        "family": ("string", is_text, True),
        "root_id": ("string", is_text, True),
    }
    for name, (wanted, fits, nulls) in optional.items():
        if name in table.column_names:
            _column(table, name, wanted, fits, nulls=nulls)
    counts = pc.value_counts(table["doc_id"])
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    if repeated:
        some = ", ".join(sorted(repeated)[:3])
        raise fail(
            IntegrityError, f"{len(repeated)} document ids stand in more than one row", given=f"for example {some}"
        )


def _column(
    table: pa.Table, name: str, wanted: str, fits: Callable[[pa.DataType], bool], *, nulls: bool = True
) -> None:
    if name not in table.column_names:
        raise fail(
            SourceError,
            f"near-duplicate removal needs a column {name!r}",
            given=", ".join(table.column_names) or "no columns",
            allowed=f"a column {name!r} of type {wanted}",
        )
    if not fits(table.schema.field(name).type):
        raise fail(SourceError, f"column {name!r}", given=table.schema.field(name).type, allowed=wanted)
    if not nulls and table[name].null_count:
        raise fail(
            SourceError, f"column {name!r}", given=f"{table[name].null_count} nulls", allowed="a value in each row"
        )


def read_contents(table: pa.Table, digests: pa.ChunkedArray, *, new_only: bool = False) -> Contents:
    """The contents of a table whose columns were checked, and whose rows have these exact digests. `new_only`: as if those that
    are released were not there; R is then what is left."""
    released_R = _released(table)
    order = _by_precedence(table, released_R)
    if new_only:
        order = order[~released_R[order]]
    hidden_R = released_R & pc.is_null(table["text"]).to_numpy()
    of_row, first = _numbered(table["doc_id"], digests, hidden_R, order)
    first_rows = order[first]
    families, family_names = _codes(table, "family", first_rows)
    roots, root_names = _codes(table, "root_id", first_rows)
    unknown = root_names.index(None) if None in root_names else -1
    return Contents(
        order=order,
        of_row=of_row,
        first_rows=first_rows,
        released_rows=released_R,
        released=released_R[first_rows],
        hidden=hidden_R[first_rows],
        families=families,
        family_names=family_names,
        roots=np.where(roots == unknown, np.int32(-1), roots),
        twins=_twins(digests, first_rows, hidden_R[first_rows]),
    )


def _released(table: pa.Table) -> Bools:
    if "released" not in table.column_names:
        return np.zeros(len(table), bool)
    return np.asarray(pc.fill_null(table["released"], False), bool)


def _by_precedence(table: pa.Table, released: Bools) -> Int64s:
    sizes = pc.fill_null(pc.cast(pc.binary_length(table["text"]), pa.int64()), 0)
    keys = pa.table({"kept": pa.array(released), "bytes": sizes, "doc_id": table["doc_id"]})
    by = [("kept", "descending"), ("bytes", "descending"), ("doc_id", "ascending")]
    return np.asarray(pc.sort_indices(keys, sort_keys=by)).astype(np.int64)


def _numbered(ids: pa.ChunkedArray, digests: pa.ChunkedArray, hidden: Bools, order: Int64s) -> tuple[Int64s, Int64s]:
    """Each row's content in the order of precedence, equal for exact duplicates, and each content's first place in it. A text
    without words is a content of its own, and so is one that cannot be read: nothing shows that two of them are alike."""
    alone = pc.or_(pc.equal(digests, NO_WORDS), pa.chunked_array([pa.array(hidden)]))
    keys = pc.if_else(alone, pc.binary_join_element_wise("alone", pc.cast(ids, pa.string()), " "), digests)
    encoded = (
        _combined(keys).take(pa.array(order)).dictionary_encode()
    )  # numbers in the order of their first appearance
    of_row = encoded.indices.to_numpy().astype(np.int64)
    return of_row, np.unique(of_row, return_index=True)[1].astype(np.int64)


def _codes(table: pa.Table, name: str, rows: Int64s) -> tuple[Int32s, list[str | None]]:
    """The column's values at these rows as numbers, and what each number stands for. A column that is not there is null."""
    if name not in table.column_names:
        return np.zeros(len(rows), np.int32), [None]
    encoded = _combined(pc.cast(table[name], pa.string())).dictionary_encode("encode")
    return encoded.indices.to_numpy().astype(np.int32)[rows], encoded.dictionary.to_pylist()


def _twins(digests: pa.ChunkedArray, first_rows: Int64s, hidden: Bools) -> Int64s:
    twins = np.full(len(first_rows), -1, np.int64)
    if hidden.any():
        own = _combined(digests).take(pa.array(first_rows))
        places = np.flatnonzero(hidden)
        found = pc.index_in(own, value_set=own.take(pa.array(places))).to_numpy(zero_copy_only=False)
        is_twin = ~np.isnan(found) & ~hidden
        twins[is_twin] = places[found[is_twin].astype(np.int64)]
    return twins


def _combined(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
