"""Resolve: which documents stay. Sketches and rare shingles propose; only exact comparison drops a document.

Documents are taken in the order of precedence: already released, then the longer text (UTF-8 bytes), then the smaller
id. Copies of a text (equal in all their tokens) are one document and share the fate of the first of them. Of each set of
shingles the family's boilerplate is taken out. Then a document yields to one that stays when their sets are similar enough,
or when the other one contains it, and all its numbers and names are the other's too (`dedup.facts`). So a chain of similar
documents loses only those that a survivor covers, a template with other facts loses nothing, and half a text is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pyarrow as pa
from pydantic import Field

from dedup.agreement import Agreement
from dedup.boilerplate import BOILERPLATE, find_boilerplate, take_out
from dedup.candidates import candidate_groups, candidate_lists
from dedup.contents import Bools, Contents, check_columns, read_contents
from dedup.cover import cover
from dedup.sets import read_texts
from dedup.signatures import Int64s, MinHashConfig, Uint64s
from dedup.threads import default_workers
from dedup.verdicts import DUPLICATES, verdict_table
from synth.config import Config

if TYPE_CHECKING:
    from dedup.pairs_kernels import Groups, Sets, Traits

__all__ = ["DUPLICATES", "Resolution", "ResolveConfig", "find_duplicates", "resolve"]


class ResolveConfig(Config):
    """When a document is a duplicate, and how candidates are found."""

    jaccard: Annotated[float, Field(gt=0, le=1)] = Field(
        0.75,
        description="Smallest exact Jaccard similarity of the word-shingle sets at which a document is dropped "
        "(MinHash practice: 0.7 to 0.8; FineWeb's bands match half of the pairs at 0.72, SwallowCode takes 0.8).",
    )
    containment: Annotated[float, Field(gt=0, le=1)] = Field(
        0.95,
        description="Smallest share of a document's own shingles that stand in one survivor at which it is dropped, "
        "however long the survivor is. Not between documents of two families that were made of one seed.",
    )
    sibling_jaccard: Annotated[float, Field(gt=0, le=1)] = Field(
        0.8,
        description="The same as jaccard, between documents with one root (of one seed): they share its words by design, "
        "and only lexical copies are unwanted.",
    )
    boilerplate_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1,
        description="Share of a family's different documents above which a shingle is boilerplate and is not compared. "
        "Twice what ordinary language reaches: the most common five words stand in 4.5 % of 4,000 texts of documentation "
        "(`python -m tests.benchmarks.dedup quality`). 1: none is boilerplate.",
    )
    boilerplate_documents: Annotated[int, Field(ge=2)] = Field(
        100, description="Fewest documents that make a shingle boilerplate: small families have none."
    )
    min_shingles: Annotated[int, Field(ge=1)] = Field(
        5,
        description="Shingles that must be left when boilerplate was taken out; a document with fewer is dropped as an "
        "exact duplicate only. One other word makes five.",
    )
    max_per_template: dict[str, Annotated[int, Field(ge=1)]] = Field(
        {},
        description="By family: how many documents of one template stay at most, those that come first. A template is what "
        "chains of shared bands connect. Empty: no limit.",
    )
    minhash: MinHashConfig = Field(MinHashConfig(), description="Signatures and bands that propose the candidates.")


DEFAULT = ResolveConfig()
"""FineWeb's bands, exact Jaccard of 0.75, containment of 0.95."""

NO_BOILERPLATE = BOILERPLATE.empty_table()


@dataclass(frozen=True)
class Resolution:
    """What `resolve` finds."""

    duplicates: pa.Table  # DUPLICATES
    boilerplate: pa.Table  # BOILERPLATE: what these documents add to the list that was given


def find_duplicates(table: pa.Table, config: ResolveConfig = DEFAULT) -> pa.Table:
    """One verdict (DUPLICATES) per row of `table` that is not `released`, in the table's order.

    Columns: `doc_id` (string, distinct), `text` (string: the generated text; null or without a word: never a duplicate),
    and optionally `released` (bool: always a survivor, gets no verdict; null is false), `family` and `root_id` (string; null
    is a family of its own, and no root), `signature` (list<uint32>; empty for a text without shingles) and `exact_digest`
    (string); these two are computed when absent. Strings may be large_string. A released row whose text is null is out of
    reach: what it matches is `unverified`, and stays. Verdicts depend on the set of rows, not on their order.
    Errors: SourceError for a missing or mistyped column, IntegrityError for ids that repeat or sketches that do not fit.
    """
    return resolve(table, config).duplicates


def resolve(
    table: pa.Table,
    config: ResolveConfig = DEFAULT,
    *,
    boilerplate: pa.Table = NO_BOILERPLATE,
    folder: Path | None = None,
    workers: int | None = None,
) -> Resolution:
    """`find_duplicates` with all that it finds. `boilerplate` (BOILERPLATE) is taken out beside that of these documents.
    `folder` is where more shingles than memory should hold are written (None: the system's folder for temporary files);
    `workers` is the number of threads (None: one for each processor). Neither changes a verdict."""
    from dedup.pairs_kernels import Limits, Sets

    check_columns(table)
    workers = workers or default_workers()
    read = read_texts(table, config.minhash, folder, workers)
    contents = read_contents(table, read.digests)
    bands, signed = read.bands[:, contents.first_rows], read.signed[contents.first_rows]
    sets = Sets(read.sets.hashes, read.sets.starts[contents.first_rows], read.sets.ends[contents.first_rows])
    whole = sets.ends - sets.starts
    found = find_boilerplate(contents, sets, config.boilerplate_share, config.boilerplate_documents, workers)
    take_out(contents, sets, [found, boilerplate], workers)
    traits = _traits(contents, sets, whole, config.min_shingles)
    lists = candidate_lists(bands, signed, sets, traits.judged, workers)
    limits = Limits(config.jaccard, config.sibling_jaccard, config.containment)
    agreement = Agreement(table["text"], contents, workers)
    groups = _groups(contents, bands, signed, config.max_per_template)
    verdicts = cover(sets, traits, contents.released, limits, lists, groups, agreement.of_edges, workers)
    duplicates = verdict_table(table["doc_id"], contents, sets, verdicts, limits, agreement)
    return Resolution(duplicates, _added(found, boilerplate))


def _traits(contents: Contents, sets: Sets, whole: Int64s, min_shingles: int) -> Traits:
    """`whole[k]` is how many shingles content k had before boilerplate was taken out."""
    from dedup.pairs_kernels import Traits

    left = sets.ends - sets.starts
    enough = (left > 0) & ((left == whole) | (left >= min_shingles))
    return Traits(contents.families, contents.roots, enough & ~contents.released, contents.hidden)


def _groups(contents: Contents, bands: Uint64s, signed: Bools, limits: Mapping[str, int]) -> Groups:
    """Templates: the contents of one family that chains of shared bands connect. Found only where there is a limit."""
    from dedup.pairs_kernels import Groups

    count = len(contents.first_rows)
    of, most = np.arange(count), np.full(count, -1, np.int64)
    for number, name in enumerate(contents.family_names):
        if name is not None and name in limits:
            own = np.flatnonzero(signed & (contents.families == number))
            of[own] = own[candidate_groups(bands[:, own].T)]
            most[own] = limits[name]
    return Groups(of, most, np.zeros(count, np.int64), np.zeros(count, np.int64))


def _added(found: pa.Table, given: pa.Table) -> pa.Table:
    """What was found and is not in the given list, by family and shingle."""
    keys = ["family", "shingle"]
    known = {(family, shingle) for family, shingle in zip(*given.select(keys).to_pydict().values(), strict=True)}
    rows = zip(*found.select(keys).to_pydict().values(), strict=True)
    return found.filter(pa.array([row not in known for row in rows], pa.bool_()))
