"""Resolve: near-duplicates within the wave, and against everything that the pinned release holds.

Inputs are tagged by the digest of their documents file: `documents/<tag>`, `generate_drops/<tag>`, `keep_drops/<tag>`,
`signatures/<tag>`; for what is released `released_index/<n>`, the documents files it points to, `released_documents/<tag>`, and
the boilerplate of earlier waves and other releases, `released_boilerplate/<n>`; for releases of other recipes
`release_index/<name>/<n>` and `release_documents/<name>/<tag>`; for pools of others `pool_index/<name>` and, beside the key,
where their texts lie: `pool/<name>`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from dedup import (
    BOILERPLATE,
    FACTS_VERSION,
    NORMALISATION_VERSION,
    SHINGLE_VERSION,
    Resolution,
    ResolveConfig,
)
from dedup.jobs import MEMORY_BYTES, Jobs, Runner
from dedup.lookup import Query
from dedup.resolve import resolve
from flows.near import CANDIDATES, Released
from flows.pools import Pool
from synth import rows
from synth.config import Config
from synth.errors import RecipeError, fail
from synth.step import Counts, Step

_COMPARED = pa.schema([*rows.INDEX, ("text", pa.large_string()), ("family", pa.string()), ("root_id", pa.string())])
_GIVEN = ("doc_id", "text", "family", "root_id", "exact_digest", "signature")  # to be compared
_INDEXES = ("released_index/", "release_index/", "pool_index/")
POOL_MARK = "pool:"  # before the name of a pool and the id of a text in it,
RELEASE_MARK = "release:"  # and before the name of another release and the id of a document in it
LEAST_MEMORY_BYTES = 1 << 26
_REASONS = {
    "exact_duplicate": "has the words of the document that stays",
    "near_duplicate": "shares {jaccard:.0%} of their shingles with the document that stays",
    "contained": "has {containment:.0%} of its shingles in the document that stays",
    "template_limit": "its template has as many documents as the recipe allows",
}
_EVIDENCE = (
    "partner_id",
    "cluster_id",
    "jaccard",
    "containment",
    "doc_shingles",
    "partner_shingles",
    "reason",
    "spared",
)


class DedupRun(Config):
    """Where near-duplicates are looked for, and in how much memory: no verdict depends on it."""

    runner: Runner = Field(
        "threads", description="threads, processes, or ray: the cluster of RAY_ADDRESS, or one on this machine."
    )
    workers: Annotated[int, Field(ge=0)] = Field(0, description="Jobs at the same time; 0: one for each processor.")
    memory_bytes: Annotated[int, Field(ge=LEAST_MEMORY_BYTES)] = Field(
        MEMORY_BYTES,
        description="Memory that is planned with (default 4 GiB). Larger arrays lie in scratch files; beyond it, some hundreds "
        "of bytes for each document.",
    )

    def check(self) -> None:
        """RecipeError: Ray is asked for and not installed."""
        if self.runner == "ray" and find_spec("ray") is None:
            what = "run.dedup.runner: Ray is not installed"
            raise fail(RecipeError, what, given="ray", allowed="threads, processes", do='pip install "synth[ray]"')


class ResolveWork(ResolveConfig):
    """The thresholds and the bands, and the versions of what is compared."""

    normalisation_version: int = NORMALISATION_VERSION
    shingle_version: int = SHINGLE_VERSION
    facts_version: int = FACTS_VERSION
    pools: tuple[str, ...] = ()  # digests of the indexes of pools, in the order of their names
    releases: tuple[str, ...] = ()  # other recipes, and other releases that are named by their number
    out_of_reach: dict[str, tuple[str, ...]] = Field({})  # by pool files that cannot be read; in the key, in no policy


def run(inputs: Mapping[str, Path], config: ResolveWork, out: Path, how: DedupRun | None = None) -> Counts:
    """Out: drops, verdicts (both with the survivor and the exact similarity), index (the survivors, for later waves),
    boilerplate (what this wave adds to the lists of earlier ones)."""
    how = how or DedupRun()
    known = rows.read_tables([path for _, path in tags(inputs, "released_boilerplate")], BOILERPLATE)
    with Jobs(out.parent, how.workers or None, how.runner, how.memory_bytes) as jobs:
        paths = _wave(inputs, jobs)
        wave = jobs.tables(paths, _COMPARED)
        compared = jobs.chosen(wave, _GIVEN)
        asks = any(name.startswith(_INDEXES) for name in inputs)
        released = partial(_near, inputs, config, jobs) if asks else None
        found = resolve(compared, config, jobs, boilerplate=known, released=released)
        verdicts = found.duplicates
        kept_ids = verdicts.filter(verdicts["keep"])["doc_id"]
        index = wave.select(rows.INDEX.names)
        survivors = index.filter(pc.is_in(index["doc_id"], value_set=kept_ids.combine_chunks())).sort_by("doc_id")
    dropped = verdicts.filter(pc.invert(verdicts["keep"]))
    rows.write_table(_drops(dropped, config), out / "drops.parquet")
    rows.write_table(_verdicts(verdicts), out / "verdicts.parquet")
    rows.write_table(survivors, out / "index.parquet")
    rows.write_table(found.boilerplate, out / "boilerplate.parquet")
    return Counts(
        items=len(verdicts),
        kept=len(survivors),
        dropped=_count(dropped, "reason"),
        notes={**_notes(found), "released_candidates": found.released},
    )


def _notes(found: Resolution) -> dict[str, int]:
    spared = _count(found.duplicates, "spared")
    return {
        "clusters": pc.count_distinct(found.duplicates["partner_id"]).as_py(),
        "kept_by_facts": spared.get("other_facts", 0),
        "unverified": spared.get("unverified", 0),
        "boilerplate_shingles": len(found.boilerplate),
    }


def _count(verdicts: pa.Table, column: str) -> dict[str, int]:
    """How often each value stands in the column; nulls are not counted."""
    counted = pc.value_counts(verdicts[column].drop_null()).to_pylist()
    return {str(one["values"]): int(one["counts"]) for one in counted}


def tags(inputs: Mapping[str, Path], kind: str) -> Iterator[tuple[str, Path]]:
    """The inputs of one kind, `kind/<tag>`, by tag."""
    for name, path in sorted(inputs.items()):
        if name.startswith(f"{kind}/"):
            yield name.partition("/")[2], path


def undropped(inputs: Mapping[str, Path], tag: str, kinds: tuple[str, ...], ids: pa.ChunkedArray) -> pa.Array:
    """A mask over `ids`: True where none of the drop files of this tag names the id."""
    dropped = [rows.read_table(inputs[f"{kind}/{tag}"], ["item_id"])["item_id"] for kind in kinds]
    values = pa.concat_arrays([chunk for column in dropped for chunk in column.chunks] or [pa.array([], pa.string())])
    return pc.invert(pc.is_in(ids, value_set=values))


def _wave(inputs: Mapping[str, Path], jobs: Jobs) -> list[Path]:
    """Arrow files (_COMPARED) of the wave's documents without an earlier drop, one for each partition."""
    spans, outs = [], []
    for tag, path in tags(inputs, "documents"):
        outs.append(jobs.path())
        drops = [inputs[f"{kind}/{tag}"] for kind in ("generate_drops", "keep_drops")]
        spans.append([str(one) for one in (tag, path, inputs[f"signatures/{tag}"], *drops, outs[-1])])
    for _ in jobs.each(gather, spans):
        pass
    return outs


def gather(tag: str, documents: str, signatures: str, generate_drops: str, keep_drops: str, out: str) -> int:
    """The job: writes signatures and generated texts of one partition's documents to an Arrow file; how many they are."""
    held = rows.read_table(Path(documents), ["id", "text", "parts", "family", "root_id"])
    signed = rows.read_table(Path(signatures))
    drops = {"generate_drops/": Path(generate_drops), "keep_drops/": Path(keep_drops)}
    columns = {
        **{name: signed[name] for name in signed.column_names},
        "text": rows.generated_texts(held),
        "family": held["family"],
        "root_id": held["root_id"],
        "file_tag": _repeated(tag, len(held)),
        "row": pa.array(range(len(held)), pa.int64()),
    }
    full = pa.table([columns[name] for name in _COMPARED.names], schema=_COMPARED)
    left = full.filter(undropped(drops, "", ("generate_drops", "keep_drops"), held["id"]))
    with pa.OSFile(out, "wb") as sink, pa.ipc.new_file(sink, _COMPARED) as writer:
        writer.write_table(left)
    return len(left)


def _near(inputs: Mapping[str, Path], config: ResolveWork, jobs: Jobs, query: Query) -> pa.Table:
    """Of what is released, here and in other releases, and of pools, what the query finds near. Texts of others are named
    `release:<recipe>-<number>:<id>` and `pool:<name>:<id>`."""
    own = dict(tags(inputs, "released_documents"))
    found = [Released([path for _, path in tags(inputs, "released_index")], own).candidates(query, jobs)]
    names = {tag.partition("/")[0] for tag, _ in tags(inputs, "release_index")}
    for name in sorted(names):
        index = [path for _, path in tags(inputs, f"release_index/{name}")]
        held = {tag.partition("/")[2]: path for tag, path in tags(inputs, f"release_documents/{name}")}
        found.append(Released(index, held, f"{RELEASE_MARK}{name}:").candidates(query, jobs))
    for name, path in tags(inputs, "pool_index"):
        pool = Pool.read(name, inputs[f"pool/{name}"], path)
        lost = config.out_of_reach.get(name, ())
        found.append(pool.candidates(query, jobs, f"{POOL_MARK}{name}:", lost))
    return jobs.joined_tables([CANDIDATES.empty_table(), *found])


def _drops(dropped: pa.Table, config: ResolveConfig) -> pa.Table:
    made = []
    for row in dropped.sort_by("doc_id").to_pylist():
        by = "containment" if row["reason"] == "contained" else "jaccard"
        made.append(
            rows.drop_row(
                row["doc_id"],
                "document",
                "resolve",
                row["reason"],
                _REASONS[row["reason"]].format(**row),
                score=row[by],
                threshold=_threshold(row["reason"], config),
                partner_id=row["partner_id"],
                evidence=_evidence(row),
            )
        )
    return rows.table(made, rows.DROP)


def _threshold(reason: str, config: ResolveConfig) -> float | None:
    """The bound that a drop has reached; of siblings it is higher, and a full template has none."""
    return {"exact_duplicate": 1.0, "near_duplicate": config.jaccard, "contained": config.containment}.get(reason)


def _evidence(row: Mapping[str, Any]) -> str:
    """What the comparison gave, as JSON: similarities, numbers of shingles, the near document and the facts that differ."""
    found = {name: row[name] for name in (*_EVIDENCE, "near_id") if row[name] is not None}
    facts = orjson.loads(row["facts"]) if row["facts"] else {}
    return orjson.dumps({**found, **facts}, option=orjson.OPT_SORT_KEYS).decode()


def _verdicts(verdicts: pa.Table) -> pa.Table:
    """A verdict for each document; evidence only where it is near another one."""
    verdicts = verdicts.sort_by("doc_id")
    outcome = pc.if_else(pc.equal(pc.fill_null(verdicts["spared"], ""), "unverified"), "unverified", "kept")
    is_near = pc.or_(pc.invert(verdicts["keep"]), pc.is_valid(verdicts["spared"]))
    evidence = pa.array([_evidence(row) for row in verdicts.filter(is_near).to_pylist()], pa.string())
    nothing = pa.nulls(len(verdicts), pa.string())
    columns = {
        "item_id": verdicts["doc_id"],
        "item_kind": _repeated("document", len(verdicts)),
        "rung": _repeated("near_duplicate", len(verdicts)),
        "judge": _repeated("rule", len(verdicts)),
        "outcome": pc.if_else(verdicts["keep"], outcome, "dropped"),
        "score": verdicts["jaccard"],
        "evidence": pc.replace_with_mask(nothing, is_near.combine_chunks(), evidence),
        "ask_id": nothing,
    }
    return pa.table([columns[name] for name in rows.VERDICT.names], rows.VERDICT)


def _repeated(value: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value), count)


def step(how: DedupRun) -> Step[ResolveWork]:
    """The step, with its work done where `how` says."""
    return Step("resolve", 4, ResolveWork, partial(run, how=how))


STEP = step(DedupRun())
