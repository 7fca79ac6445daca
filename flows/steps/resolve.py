"""Resolve: near-duplicates within the wave, and against everything that the pinned release holds.

Inputs are tagged by the digest of their documents file: `documents/<tag>`, `generate_drops/<tag>`, `keep_drops/<tag>`,
`signatures/<tag>`; for what is released `released_index/<n>`, the documents files it points to, `released_documents/<tag>`, and
the boilerplate of earlier waves, `released_boilerplate/<n>`; for pools of others `pool_index/<name>` and, beside the key, where
their texts lie: `pool/<name>`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dedup import (
    BOILERPLATE,
    FACTS_VERSION,
    NORMALISATION_VERSION,
    SHINGLE_VERSION,
    Resolution,
    ResolveConfig,
    band_hashes,
)
from dedup.resolve import resolve
from flows.pools import Pool
from synth import rows
from synth.step import Counts, Step

_COMPARED = pa.schema([*rows.INDEX, ("text", pa.large_string()), ("family", pa.string()), ("root_id", pa.string())])
POOL_MARK = "pool:"  # before the name of a pool and the id of a text in it
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


class ResolveWork(ResolveConfig):
    """The thresholds and the bands, and the versions of what is compared."""

    normalisation_version: int = NORMALISATION_VERSION
    shingle_version: int = SHINGLE_VERSION
    facts_version: int = FACTS_VERSION
    pools: tuple[str, ...] = ()  # digests of the indexes of pools, in the order of their names


def run(inputs: Mapping[str, Path], config: ResolveWork, out: Path) -> Counts:
    """Out: drops, verdicts (both with the survivor and the exact similarity), index (the survivors, for later waves),
    boilerplate (what this wave adds to the lists of earlier ones)."""
    wave = _wave(inputs)
    released = pa.concat_tables([_released_candidates(inputs, wave, config), _pool_candidates(inputs, wave, config)])
    known = rows.read_tables([path for _, path in tags(inputs, "released_boilerplate")], BOILERPLATE)
    found = resolve(_joined(wave, released), config, boilerplate=known, folder=out.parent)
    verdicts = found.duplicates
    dropped = verdicts.filter(pc.invert(verdicts["keep"]))
    kept_ids = verdicts.filter(verdicts["keep"])["doc_id"]
    survivors = wave.filter(pc.is_in(wave["doc_id"], value_set=kept_ids.combine_chunks()))
    rows.write_table(_drops(dropped, config), out / "drops.parquet")
    rows.write_table(_verdicts(verdicts), out / "verdicts.parquet")
    rows.write_table(survivors.select(rows.INDEX.names).sort_by("doc_id"), out / "index.parquet")
    rows.write_table(found.boilerplate, out / "boilerplate.parquet")
    return Counts(
        items=len(verdicts),
        kept=len(survivors),
        dropped=_count(dropped, "reason"),
        notes={**_notes(found), "released_candidates": len(released)},
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


def _wave(inputs: Mapping[str, Path]) -> pa.Table:
    """Signatures and generated texts of the wave's documents without an earlier drop."""
    tables = []
    for tag, path in tags(inputs, "documents"):
        documents = rows.read_table(path, ["id", "text", "parts", "family", "root_id"])
        signatures = rows.read_table(inputs[f"signatures/{tag}"])
        places = {
            **_compared(documents),
            "file_tag": pa.array([tag] * len(documents), pa.string()),
            "row": pa.array(range(len(documents)), pa.int64()),
        }
        full = pa.table({**{name: signatures[name] for name in signatures.column_names}, **places})
        tables.append(full.filter(undropped(inputs, tag, ("generate_drops", "keep_drops"), documents["id"])))
    return pa.concat_tables([_COMPARED.empty_table(), *(table.select(_COMPARED.names) for table in tables)])


def _compared(documents: pa.Table) -> dict[str, pa.Array]:
    """What of documents is compared: what a model wrote, beside the family and the root."""
    return {"text": rows.generated_texts(documents), "family": documents["family"], "root_id": documents["root_id"]}


def _released_candidates(inputs: Mapping[str, Path], wave: pa.Table, config: ResolveConfig) -> pa.Table:
    """Of what is released, only what shares a band or an exact digest with the wave: just their texts are read."""
    index = rows.read_tables([path for _, path in tags(inputs, "released_index")], rows.INDEX)
    if not len(index) or not len(wave):
        return _COMPARED.empty_table()
    long = wave.filter(pc.greater(wave["shingle_count"], 0))  # texts too short for a shingle share a signature, no more
    shared_N = np.isin(_bands(index, config), _bands(long, config)).any(axis=1)
    shared_N &= np.asarray(pc.greater(index["shingle_count"], 0))
    equal_N = np.asarray(pc.is_in(index["exact_digest"], value_set=wave["exact_digest"].combine_chunks()))
    candidates = index.filter(pa.array(shared_N | equal_N))
    tables = [_with_texts(candidates, tag, path) for tag, path in tags(inputs, "released_documents")]
    return pa.concat_tables([_COMPARED.empty_table(), *tables])


def _pool_candidates(inputs: Mapping[str, Path], wave: pa.Table, config: ResolveConfig) -> pa.Table:
    """The same of pools. Their texts stay, and are named `pool:<name>:<id>`."""
    long = wave.filter(pc.greater(wave["shingle_count"], 0))
    bands = np.unique(_bands(long, config)) if len(long) else np.empty(0, np.uint64)
    tables = [_COMPARED.empty_table()]
    for name, index in tags(inputs, "pool_index"):
        near = Pool.read(name, inputs[f"pool/{name}"], index).candidates(bands, wave["exact_digest"].combine_chunks())
        ids = pc.binary_join_element_wise(f"{POOL_MARK}{name}", near["doc_id"], ":")
        near = near.set_column(near.schema.get_field_index("doc_id"), "doc_id", ids)
        for column in ("family", "root_id"):
            near = near.append_column(column, pa.nulls(len(near), pa.string()))
        tables.append(near.select(_COMPARED.names))
    return pa.concat_tables(tables)


def _bands(table: pa.Table, config: ResolveConfig) -> NDArray[np.uint64]:
    flat: NDArray[np.uint32] = pc.list_flatten(table["signature"]).to_numpy()
    return band_hashes(flat.reshape(len(table), config.minhash.permutations), config.minhash)


def _with_texts(candidates: pa.Table, tag: str, path: Path) -> pa.Table:
    mine = candidates.filter(pc.equal(candidates["file_tag"], tag))
    documents = rows.read_table(path, ["text", "parts", "family", "root_id"]).take(mine["row"])
    for name, column in _compared(documents).items():
        mine = mine.append_column(name, column)
    return mine


def _joined(wave: pa.Table, released: pa.Table) -> pa.Table:
    names = ["doc_id", "text", "family", "root_id", "exact_digest", "signature"]
    old = released.select(names).append_column("released", pa.array([True] * len(released), pa.bool_()))
    new = wave.select(names).append_column("released", pa.array([False] * len(wave), pa.bool_()))
    return pa.concat_tables([old, new])


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


STEP = Step("resolve", 3, ResolveWork, run)
