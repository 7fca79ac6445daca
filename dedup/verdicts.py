"""The verdicts on contents as a table of documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup.agreement import Agreement
from dedup.contents import Bools, Contents
from dedup.cover import NOBODY, Verdicts, jaccard
from dedup.signatures import Int64s

if TYPE_CHECKING:
    from dedup.pairs_kernels import Limits, Sets

DUPLICATES = pa.schema(
    [
        ("doc_id", pa.string()),
        ("keep", pa.bool_()),
        ("cluster_id", pa.string()),  # the survivor: the document's own id when it is kept
        ("partner_id", pa.string()),  # the survivor that it yields to; null when it is kept
        (
            "jaccard",
            pa.float64(),
        ),  # exact similarity to partner_id or near_id, boilerplate taken out; null without them
        ("containment", pa.float64()),  # share of its own shingles that stand in the other one
        ("doc_shingles", pa.int64()),  # its own shingles, boilerplate taken out
        ("partner_shingles", pa.int64()),  # those of the other one
        ("reason", pa.string()),  # exact_duplicate | near_duplicate | contained | template_limit; null when it is kept
        ("spared", pa.string()),  # why it is kept though near: other_facts | unverified; null otherwise
        ("near_id", pa.string()),  # of a spared document the one it is near to
        (
            "facts",
            pa.string(),
        ),  # JSON: numbers and names of a spared document that the other lacks; see dedup.agreement
    ]
)

_EXACT, _NEAR, _CONTAINED, _TEMPLATE = range(4)
_REASONS = pa.array(["exact_duplicate", "near_duplicate", "contained", "template_limit"])
_SPARED = pa.array(["other_facts", "unverified"])


class _Pair(NamedTuple):
    """Of each content: the one it is compared with in its verdict (NOBODY: none), and how many shingles both have."""

    others: Int64s
    shared: Int64s
    reasons: Int64s  # number of _REASONS for those that are dropped


def verdict_table(
    ids: pa.ChunkedArray, contents: Contents, sets: Sets, verdicts: Verdicts, limits: Limits, agreement: Agreement
) -> pa.Table:
    """DUPLICATES in the input's order, released rows left out."""
    pair = _pairs(contents, sets, verdicts, limits)
    hidden = _hidden(contents, verdicts)
    of = contents.of_row
    is_first = np.zeros(len(of), bool)
    is_first[np.unique(of, return_index=True)[1]] = True
    survives = verdicts.partners[of] == NOBODY
    kept, is_copy = survives & is_first, survives & ~is_first
    sizes = (sets.ends - sets.starts)[of]
    others = np.where(is_copy, of, pair.others[of])
    shared = np.where(is_copy, sizes, pair.shared[of])
    no_pair = others == NOBODY
    other_sizes = (sets.ends - sets.starts)[others]
    union = np.maximum(sizes + other_sizes - shared, 1)
    content_ids = pc.cast(ids, pa.string()).take(pa.array(contents.first_rows))
    partner_ids = content_ids.take(pa.array(others, mask=kept | no_pair))
    near_ids = content_ids.take(
        pa.array(np.where(no_pair, hidden[of], others), mask=~kept | (no_pair & (hidden[of] < 0)))
    )
    row_ids = pc.cast(ids, pa.string()).take(pa.array(contents.order))
    columns = {
        "doc_id": row_ids,
        "keep": pa.array(kept),
        "cluster_id": pc.coalesce(partner_ids, row_ids),
        "partner_id": partner_ids,
        "jaccard": pa.array(np.where(is_copy, 1.0, shared / union), mask=no_pair),
        "containment": pa.array(np.where(is_copy, 1.0, shared / np.maximum(sizes, 1)), mask=no_pair),
        "doc_shingles": pa.array(sizes, mask=no_pair),
        "partner_shingles": pa.array(other_sizes, mask=no_pair),
        "reason": _REASONS.take(pa.array(np.where(is_copy, _EXACT, pair.reasons[of]), mask=kept)),
        "spared": _SPARED.take(pa.array(no_pair.astype(np.int64), mask=~kept | (no_pair & (hidden[of] < 0)))),
        "near_id": near_ids,
        "facts": _evidence(verdicts, kept, of, agreement),
    }
    table = pa.table([columns[name] for name in DUPLICATES.names], DUPLICATES)
    in_order = np.argsort(contents.order)
    return table.take(in_order[~contents.released_rows])


def _pairs(contents: Contents, sets: Sets, verdicts: Verdicts, limits: Limits) -> _Pair:
    from dedup.pairs_kernels import overlaps

    edges, partners = verdicts.edges, verdicts.partners
    others, shared = partners.astype(np.int64), np.zeros(len(partners), np.int64)
    edge_of = np.where(verdicts.via != NOBODY, verdicts.via, np.where(partners == NOBODY, verdicts.spared, NOBODY))
    has_edge = np.flatnonzero(edge_of != NOBODY)
    others[has_edge] = edges.others[edge_of[has_edge]]
    shared[has_edge] = edges.shared[edge_of[has_edge]]
    full = np.flatnonzero((partners != NOBODY) & (verdicts.via == NOBODY))
    counted = np.empty(len(full), np.int32)
    overlaps(sets, full.astype(np.int32), partners[full], counted)
    shared[full] = counted
    similar = np.zeros(len(partners), bool)
    siblings = (contents.roots[has_edge] >= 0) & (contents.roots[has_edge] == contents.roots[others[has_edge]])
    needed = np.where(siblings, limits.sibling_jaccard, limits.jaccard)
    similar[has_edge] = jaccard(sets, edges)[edge_of[has_edge]] >= needed
    reasons = np.where(similar, _NEAR, _CONTAINED)
    reasons[full] = _TEMPLATE
    return _Pair(others, shared, reasons)


def _hidden(contents: Contents, verdicts: Verdicts) -> Int64s:
    """Of each content a text out of reach that it matches, or NOBODY: one with the same digest, or else with the same band."""
    return np.where(contents.twins >= 0, contents.twins, verdicts.unverified.astype(np.int64))


def _evidence(verdicts: Verdicts, kept: Bools, of: Int64s, agreement: Agreement) -> pa.Array:
    rows = np.flatnonzero(kept & (verdicts.spared[of] != NOBODY))
    edges = verdicts.spared[of[rows]]
    said = agreement.evidence(verdicts.edges.ones[edges], verdicts.edges.others[edges])
    places = np.full(len(of), NOBODY, np.int64)
    places[rows] = np.arange(len(rows))
    return pa.array(said, pa.string()).take(pa.array(places, mask=places == NOBODY))
