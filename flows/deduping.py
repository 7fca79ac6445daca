"""`synth dedup`: near-duplicates among texts in files, and against pools and releases of others, without a home."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dedup import DUPLICATES, MinHashConfig, ResolveConfig
from dedup.jobs import Jobs
from dedup.lookup import Query
from dedup.resolve import resolve
from flows.against import OtherRelease
from flows.near import CANDIDATES, SIGNED
from flows.pools import Pool, index_rows
from flows.steps.resolve import DedupRun
from synth import rows
from synth.errors import SourceError, fail

RESULT = "dedup.parquet"
_BETWEEN = "\x1f"  # stands in no id: between a pool's name and the id of a text in it

VERDICTS = pa.schema(
    [*DUPLICATES, ("partner_pool", pa.string())]
)  # the pool that the partner stands in; null: these texts


@dataclass(frozen=True)
class Found:
    """What came of it. `pairs`: dropped texts beside those that they yield to, some of each reason, for people."""

    verdicts: pa.Table  # VERDICTS
    text_bytes: int
    candidates: int  # texts of pools and releases that were compared
    pairs: list[dict[str, Any]]


def deduplicate(
    batches: Iterable[pa.Table],
    config: ResolveConfig,
    others: Sequence[Pool | OtherRelease],
    out: Path,
    how: DedupRun,
    samples: int,
) -> Found:
    """Verdicts on all texts (tables of `text_files.TEXTS`), written to `out`/dedup.parquet. Texts lie in a scratch file there,
    mapped, while they are compared. SourceError: no texts, or ids that repeat."""
    out.mkdir(parents=True, exist_ok=True)
    with Jobs(out, how.workers or None, how.runner, how.memory_bytes) as jobs:
        path = jobs.path()
        size = _sign(batches, config.minhash, path, jobs.workers)
        mine = jobs.tables([path], SIGNED)
        if not len(mine):
            raise fail(SourceError, "there are no texts in these files", do="give files with at least one row")
        near = list[pa.Table]()

        def released(query: Query) -> pa.Table:
            near.append(jobs.joined_tables([CANDIDATES.empty_table(), *(_near(one, query, jobs) for one in others)]))
            return near[0]

        found = resolve(mine, config, jobs, released=released if others else None)
        verdicts = _with_pools(found.duplicates)
        texts = [one.select(["doc_id", "text"]) for one in (mine, *near)]
        pairs = _pairs(verdicts, pa.concat_tables(texts), samples)
        made = jobs.path()
        rows.write_table(verdicts, made)
        made.replace(out / RESULT)
    return Found(verdicts, size, found.released, pairs)


def _near(other: Pool | OtherRelease, query: Query, jobs: Jobs) -> pa.Table:
    """Its texts that the query finds near. Their ids say whose they are, for two pools may use the same ones."""
    prefix = f"{other.name}{_BETWEEN}"
    if isinstance(other, Pool):
        return other.candidates(query, jobs, prefix, other.out_of_reach())
    return other.released(prefix).candidates(query, jobs)


def _sign(batches: Iterable[pa.Table], minhash: MinHashConfig, path: Path, workers: int) -> int:
    """Write the texts with their sketches as an Arrow file; their bytes."""
    size = 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SIGNED) as writer:
        for batch in batches:
            signed = index_rows(batch, "", 0, minhash, workers)
            columns = {
                "doc_id": batch["id"],
                "text": batch["text"],
                "family": batch["family"],
                "exact_digest": signed["exact_digest"],
                "signature": signed["signature"],
                "root_id": pa.nulls(len(batch), pa.string()),
            }
            writer.write_table(pa.table([columns[name] for name in SIGNED.names], schema=SIGNED).combine_chunks())
            size += pc.sum(pc.binary_length(batch["text"])).as_py() or 0
    return size


def _with_pools(found: pa.Table) -> pa.Table:
    """VERDICTS of DUPLICATES: ids of pools, which are none of these texts', cut into the pool and the id."""
    columns = {name: found[name] for name in DUPLICATES.names}
    partner = pc.coalesce(found["partner_id"], found["near_id"])
    pool = pc.if_else(_foreign(partner, found), pc.replace_substring_regex(partner, f"{_BETWEEN}[\\s\\S]*", ""), None)
    for name in ("partner_id", "near_id", "cluster_id"):
        own = pc.replace_substring_regex(found[name], f"^[^{_BETWEEN}]*{_BETWEEN}", "")
        columns[name] = pc.if_else(_foreign(found[name], found), own, found[name])
    return pa.table([*columns.values(), pool], schema=VERDICTS)


def _foreign(ids: pa.ChunkedArray, found: pa.Table) -> Any:
    return pc.invert(pc.is_in(ids, value_set=found["doc_id"].combine_chunks()))


def _pairs(verdicts: pa.Table, table: pa.Table, samples: int) -> list[dict[str, Any]]:
    """For each reason, and for what was spared, the first `samples` texts with their partners."""
    shown = []
    for column in ("reason", "spared"):
        for word in sorted(set(verdicts[column].drop_null().to_pylist())):
            shown += verdicts.filter(pc.equal(verdicts[column], word)).slice(0, samples).to_pylist()
    ids = table["doc_id"]
    for one in shown:
        partner = one["partner_id"] or one["near_id"]
        other = f"{one['partner_pool']}{_BETWEEN}{partner}" if one["partner_pool"] else partner
        texts = [
            table["text"][pc.index(ids, pa.scalar(value, pa.string())).as_py()].as_py()
            for value in (one["doc_id"], other)
        ]
        one["text"], one["partner_text"] = texts
    return shown


def summary(found: Found, seconds: float, out: Path) -> dict[str, Any]:
    """What `synth dedup` says, as a JSON value. `sizes`: texts in a cluster, survivor included -> clusters of that size."""
    dropped = found.verdicts.filter(pc.invert(found.verdicts["keep"]))
    clusters = Counter(zip(dropped["partner_pool"].to_pylist(), dropped["cluster_id"].to_pylist(), strict=True))
    largest = [
        {"cluster_id": cluster, "pool": pool, "texts": size + 1} for (pool, cluster), size in clusters.most_common(5)
    ]
    return {
        "texts": len(found.verdicts),
        "text_bytes": found.text_bytes,
        "seconds": round(seconds, 3),
        "kept": len(found.verdicts) - len(dropped),
        "dropped": dict(sorted(Counter(dropped["reason"].to_pylist()).items())),
        "spared": dict(sorted(Counter(found.verdicts["spared"].drop_null().to_pylist()).items())),
        "clusters": len(clusters),
        "sizes": dict(sorted(Counter(size + 1 for size in clusters.values()).items())),
        "largest": largest,
        "pool_candidates": found.candidates,
        "samples": found.pairs,
        "file": str(out / RESULT),
    }
