"""Resolve: which documents stay. Sketches propose groups; inside a group only exact comparison drops a document.

Documents are taken in the order of precedence: already released, then the longer text (UTF-8 bytes), then the smaller
id. A document is dropped when one that stays has the same tokens, or shares enough of its shingles. So a chain of
similar documents loses only those that a survivor covers, and a group of distinct ones loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from dedup.candidates import Indices, candidate_groups
from dedup.cover import NOBODY, cover
from dedup.signatures import EMPTY, MinHashConfig, Uint32s, band_hashes, minhash_signatures, shingle_hashes
from dedup.text import exact_digest
from synth.config import Config
from synth.errors import IntegrityError, SourceError, fail

DUPLICATES = pa.schema(
    [
        ("doc_id", pa.string()),
        ("keep", pa.bool_()),
        ("cluster_id", pa.string()),  # the survivor: the document's own id when it is kept
        ("partner_id", pa.string()),  # the survivor that covers it; null when it is kept
        ("jaccard", pa.float64()),  # exact similarity of the two shingle sets; null when it is kept
        ("reason", pa.string()),  # exact_duplicate | near_duplicate; null when it is kept
    ]
)

_NO_WORDS = exact_digest("")


class ResolveConfig(Config):
    """When a document is a duplicate, and how candidates are found."""

    jaccard: Annotated[float, Field(gt=0, le=1)] = Field(
        0.75,
        description="Smallest exact Jaccard similarity of the word-shingle sets at which a document is dropped "
        "(MinHash practice: 0.7 to 0.8; FineWeb's bands match half of the pairs at 0.72, SwallowCode takes 0.8).",
    )
    minhash: MinHashConfig = Field(MinHashConfig(), description="Signatures and bands that propose the candidates.")


DEFAULT = ResolveConfig()
"""FineWeb's bands, exact Jaccard of 0.75."""


def find_duplicates(table: pa.Table, config: ResolveConfig = DEFAULT) -> pa.Table:
    """One verdict (DUPLICATES) per row of `table` that is not `released`, in the table's order.

    Columns: `doc_id` (string, distinct), `text` (string: the generated text; null or without a word: never a duplicate),
    and optionally `released` (bool: always a survivor, gets no verdict; null is false), `signature` (list<uint32>;
    empty for a text without shingles) and `exact_digest` (string); these two are computed when absent. Strings may be
    large_string. Verdicts depend on the set of rows, not on their order.
    Errors: SourceError for a missing or mistyped column, IntegrityError for ids that repeat or sketches that do not fit.
    """
    _check(table)
    rows = _by_precedence(table)
    contents, first_rows = _contents(rows)
    groups = _groups(rows, first_rows, config.minhash)[contents]
    texts = rows["text"]
    partners, jaccard = np.full(len(rows), NOBODY, np.int64), np.full(len(rows), np.nan)
    released = rows["released"].to_numpy()
    for members in _runs(groups):
        distinct, local = np.unique(contents[members], return_inverse=True)
        # Exact duplicates alone need no shingles.
        read = [texts[row].as_py() for row in first_rows[distinct].tolist()] if len(distinct) > 1 else [""]
        shingles = [shingle_hashes(text, config.minhash.shingle_words) for text in read]
        found, similarities = cover(local, released[members], shingles, config.jaccard)
        partners[members] = np.where(found == NOBODY, NOBODY, members[found])
        jaccard[members] = similarities
    return _verdicts(rows, contents, partners, jaccard)


def _check(table: pa.Table) -> None:
    """Refuse columns that are missing or mistyped, nulls where a value is needed, and ids that repeat."""
    text = pa.types.is_string, pa.types.is_large_string
    _column(table, "doc_id", "string", lambda kind: any(test(kind) for test in text), nulls=False)
    _column(table, "text", "string", lambda kind: any(test(kind) for test in text))
    if "released" in table.column_names:
        _column(table, "released", "bool", pa.types.is_boolean)
    if "exact_digest" in table.column_names:
        _column(table, "exact_digest", "string", lambda kind: any(test(kind) for test in text), nulls=False)
    if "signature" in table.column_names:
        _column(table, "signature", "list<uint32>", lambda kind: kind == pa.list_(pa.uint32()), nulls=False)
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


def _by_precedence(table: pa.Table) -> pa.Table:
    """The columns needed, in the order of precedence: doc_id, text, released, exact_digest, input_row and, if given,
    signature. From here on a smaller row number takes precedence, and the input's order is forgotten."""
    # large_string, because the offsets of `string` overflow when a take passes 2 GB.
    text = pc.fill_null(pc.cast(table["text"], pa.large_string()), "")
    released = table["released"] if "released" in table.column_names else pa.array(np.zeros(len(table), bool))
    columns = {
        "doc_id": pc.cast(table["doc_id"], pa.string()),
        "text": text,
        "text_bytes": pc.binary_length(text),
        "released": pc.fill_null(released, False),
        "input_row": pa.array(np.arange(len(table))),
        **{name: table[name] for name in ("exact_digest", "signature") if name in table.column_names},
    }
    rows = pa.table(columns).sort_by(
        [("released", "descending"), ("text_bytes", "descending"), ("doc_id", "ascending")]
    )
    if "exact_digest" in columns:
        return rows
    digests = [exact_digest(one.as_py()) for one in rows["text"]]
    return rows.append_column("exact_digest", pa.array(digests, pa.string()))


def _contents(rows: pa.Table) -> tuple[Indices, Indices]:
    """Each row's content as a number, equal for exact duplicates, and each content's first row. A text without words is
    a content of its own: nothing says that two such texts are alike."""
    wordless = pc.equal(rows["exact_digest"], _NO_WORDS)
    alone = pc.binary_join_element_wise("without words", rows["doc_id"], ": ")
    keys = pc.if_else(wordless, alone, pc.cast(rows["exact_digest"], pa.string()))
    numbers = keys.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    return numbers, np.unique(numbers, return_index=True)[1].astype(np.int64)


def _groups(rows: pa.Table, first_rows: Indices, config: MinHashConfig) -> Indices:
    """For each content the smallest content of its candidate group."""
    if "signature" in rows.column_names:
        signatures = _given_signatures(rows["signature"].take(pa.array(first_rows)), config)
    else:
        signatures = minhash_signatures(rows["text"].take(pa.array(first_rows)), config)
    signed = np.flatnonzero((signatures != EMPTY).any(axis=1))
    groups = np.arange(len(first_rows), dtype=np.int64)
    groups[signed] = signed[candidate_groups(band_hashes(signatures[signed], config))]
    return groups


def _given_signatures(column: Any, config: MinHashConfig) -> Uint32s:
    """A `signature` column as (N, permutations)."""
    lengths = pc.list_value_length(column).to_numpy()
    wrong = sorted(set(lengths.tolist()) - {0, config.permutations})
    if wrong:
        raise fail(
            IntegrityError,
            "signatures were made with another configuration",
            given=f"lengths {', '.join(map(str, wrong[:3]))}",
            allowed=f"{config.permutations} values, or none for a text without shingles",
            do="sign the documents again",
        )
    signatures = np.full((len(lengths), config.permutations), EMPTY, np.uint32)
    signatures[lengths > 0] = pc.list_flatten(column).to_numpy().reshape(-1, config.permutations)
    return signatures


def _runs(groups: Indices) -> Iterator[Indices]:
    """The rows of each group with more than one, ascending."""
    order = np.argsort(groups, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(groups[order])) + 1, len(order))
    sizes = np.diff(ends, prepend=0)
    for end, size in zip(ends[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
        yield order[end - size : end]


def _verdicts(rows: pa.Table, contents: Indices, partners: Indices, jaccard: Any) -> pa.Table:
    """The arrays as DUPLICATES, back in the input's order, released rows left out."""
    kept = partners == NOBODY
    exact = ~kept & (contents[partners] == contents)
    ids = rows["doc_id"]
    partner_ids = ids.take(pa.array(partners, mask=kept))
    columns = {
        "doc_id": ids,
        "keep": pa.array(kept),
        "cluster_id": pc.coalesce(partner_ids, ids),
        "partner_id": partner_ids,
        "jaccard": pa.array(jaccard, mask=kept),
        "reason": pc.if_else(pa.array(kept), None, pc.if_else(pa.array(exact), "exact_duplicate", "near_duplicate")),
    }
    verdicts = pa.table([columns[name] for name in DUPLICATES.names], DUPLICATES)
    in_order = np.argsort(rows["input_row"].to_numpy())
    return verdicts.take(in_order).filter(pc.invert(rows["released"].take(in_order)))
