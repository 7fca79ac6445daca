"""Resolve: which documents stay. Sketches and rare shingles propose; only exact comparison drops a document.

Documents are taken in the order of precedence: already released, then the longer text (UTF-8 bytes), then the smaller
id. Copies of a text (equal in all their tokens) are one document and share the fate of the first of them. Of each set of
shingles the family's boilerplate is taken out. Then a document yields to one that stays when their sets are similar enough,
or when the other one contains it, and all its numbers and names are the other's too (`dedup.facts`). So a chain of similar
documents loses only those that a survivor covers, a template with other facts loses nothing, and half a text is found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from dedup.agreement import Agreement
from dedup.boilerplate import BOILERPLATE, find_boilerplate, take_out
from dedup.candidates import candidate_groups, candidate_lists
from dedup.contents import Bools, Contents, check_columns, read_contents
from dedup.cover import NOBODY, Verdicts, cover
from dedup.jobs import Jobs
from dedup.lookup import Query, query_of
from dedup.sets import Read, read_texts
from dedup.signatures import Int64s, MinHashConfig, Uint64s
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
NO_OWNERS = pa.schema([("row", pa.int64()), ("owner", pa.int32())]).empty_table()

Released = Callable[[Query], pa.Table]
"""Gives the rows of an index that a query finds near (`lookup.near`), as columns of `find_duplicates`, and `owners`."""


@dataclass(frozen=True)
class Resolution:
    """What `resolve` finds."""

    duplicates: pa.Table  # DUPLICATES
    boilerplate: pa.Table  # BOILERPLATE: what these documents add to the list that was given
    released: int  # rows that were compared with


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
    jobs: Jobs | None = None,
    *,
    boilerplate: pa.Table = NO_BOILERPLATE,
    released: Released | None = None,
) -> Resolution:
    """`find_duplicates` with all that it finds. `boilerplate` (BOILERPLATE) is taken out beside that of these documents. `jobs`
    says where the work is done and how much memory it takes; it changes no verdict. `released`: asked for more released rows,
    those of an index that the query finds near."""
    if jobs is None:
        with Jobs() as jobs:
            return resolve(table, config, jobs, boilerplate=boilerplate, released=released)
    from dedup.pairs_kernels import Limits

    check_columns(table)
    texts = jobs.chosen(table, ["text"])
    read = read_texts(table, config.minhash, jobs, only_copies=released is None)
    whole = read.sets.ends - read.sets.starts
    contents = own = read_contents(table, read.digests, new_only=True)
    sets = _sets_of(read, own)
    found = find_boilerplate(own, sets, config.boilerplate_share, config.boilerplate_documents, jobs)
    listed = [found, boilerplate]
    sets = take_out(own, sets, listed, jobs)
    asked_of = NO_OWNERS
    if released is not None or len(own.order) < len(table):
        read.sets.ends[own.first_rows] = sets.ends
        if released is not None:
            near, asked_of = _near(released, config, read, own, sets, jobs)
            read = read_texts(near, config.minhash, jobs, read)
            whole = np.concatenate([whole, (read.sets.ends - read.sets.starts)[len(whole) :]])
            texts = jobs.joined_tables([texts, jobs.chosen(near, ["text"])])
            table = _with_released(table, near)
            check_columns(table)
        contents = read_contents(table, read.digests)
        sets = take_out(contents, _sets_of(read, contents), listed, jobs)
    bands, signed = _bands_of(read, contents, jobs), read.signed[contents.first_rows]
    traits = _traits(contents, sets, whole[contents.first_rows], config.min_shingles)
    lists = candidate_lists(bands, signed, sets, traits.judged, jobs)
    limits = Limits(config.jaccard, config.sibling_jaccard, config.containment)
    agreement = Agreement(texts, contents, jobs)
    groups = _groups(contents, bands, signed, config.max_per_template)
    verdicts = cover(sets, traits, contents.released, limits, lists, groups, agreement.of_edges, jobs)
    verdicts = _with_hidden(verdicts, contents, own, asked_of)
    duplicates = verdict_table(table["doc_id"], contents, sets, verdicts, limits, agreement)
    return Resolution(duplicates, _added(found, boilerplate), len(table) - len(own.order))


def _near(
    released: Released, config: ResolveConfig, read: Read, own: Contents, sets: Sets, jobs: Jobs
) -> tuple[pa.Table, pa.Table]:
    """The released rows that are near; and of those out of reach the new contents that they may contain (NO_OWNERS): row (counted
    on from those that were read), owner."""
    query = query_of(read.bands[:, read.signed], read.digests, sets, config.containment, config.minhash, jobs)
    near = released(query)
    hidden = np.flatnonzero(pc.is_null(near["text"]).to_numpy())
    owners = near["owners"].take(pa.array(hidden))
    rows = np.repeat(hidden, pc.list_value_length(owners).to_numpy()) + len(read.signed)
    return near, pa.table({"row": rows, "owner": pc.list_flatten(owners)}, schema=NO_OWNERS.schema)


def _with_released(table: pa.Table, near: pa.Table) -> pa.Table:
    """Both, with a column that says which rows are released."""
    if "released" not in table.column_names:
        table = table.append_column("released", pa.array(np.zeros(len(table), bool)))
    near = near.append_column("released", pa.array(np.ones(len(near), bool)))
    shared = [name for name in table.column_names if name in near.column_names]
    return pa.concat_tables([table.select(shared), near.select(shared)])


def _with_hidden(verdicts: Verdicts, contents: Contents, own: Contents, asked_of: pa.Table) -> Verdicts:
    """Contents that texts out of reach may contain are unverified, as those that share a band with one."""
    if not len(asked_of):
        return verdicts
    of_row = np.empty(len(contents.order), np.int64)
    of_row[contents.order] = contents.of_row
    new, hidden = of_row[own.first_rows[asked_of["owner"].to_numpy()]], of_row[asked_of["row"].to_numpy()]
    first = np.full(len(verdicts.unverified), np.iinfo(np.int32).max, np.int32)
    np.minimum.at(first, new, hidden.astype(np.int32))
    is_open = (verdicts.unverified == NOBODY) & (first < np.iinfo(np.int32).max)
    return replace(verdicts, unverified=np.where(is_open, first, verdicts.unverified))


def _sets_of(read: Read, contents: Contents) -> Sets:
    rows = contents.first_rows
    return read.sets._replace(starts=read.sets.starts[rows], ends=read.sets.ends[rows])


def _bands_of(read: Read, contents: Contents, jobs: Jobs) -> Uint64s:
    found = jobs.room((len(read.bands), len(contents.first_rows)), np.uint64)
    for band, hashes in enumerate(read.bands):
        found[band] = hashes[contents.first_rows]
    return found


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
