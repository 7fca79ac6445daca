"""Resolve: near-duplicates within the wave, and against everything that the pinned release holds.

Inputs are tagged by the digest of their documents file: `documents/<tag>`, `generate_drops/<tag>`, `keep_drops/<tag>`,
`signatures/<tag>`; for what is released `released_index/<n>` and the documents files it points to, `released_documents/<tag>`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dedup import NORMALISATION_VERSION, ResolveConfig, band_hashes, find_duplicates
from synth import rows
from synth.step import Counts, Step

INDEX = pa.schema([*rows.SIGNATURE, ("file_tag", pa.string()), ("row", pa.int64())])


class ResolveWork(ResolveConfig):
    """The threshold and the bands, and the version of the normalisation under the comparison."""

    normalisation_version: int = NORMALISATION_VERSION


def run(inputs: Mapping[str, Path], config: ResolveWork, out: Path) -> Counts:
    """Out: drops, verdicts (both with the survivor and the exact similarity), index (the survivors, for later waves)."""
    wave = _wave(inputs)
    released = _released_candidates(inputs, wave, config)
    verdicts = find_duplicates(_joined(wave, released), config)
    dropped = verdicts.filter(pc.invert(verdicts["keep"]))
    kept_ids = verdicts.filter(verdicts["keep"])["doc_id"]
    survivors = wave.filter(pc.is_in(wave["doc_id"], value_set=kept_ids.combine_chunks()))
    rows.write_table(_drops(dropped, config), out / "drops.parquet")
    rows.write_table(_verdicts(verdicts), out / "verdicts.parquet")
    rows.write_table(survivors.select(INDEX.names).sort_by("doc_id"), out / "index.parquet")
    counts = (
        dict(zip(*np.unique(dropped["reason"].to_pylist(), return_counts=True), strict=True)) if len(dropped) else {}
    )
    return Counts(
        items=len(verdicts),
        kept=len(survivors),
        dropped={str(reason): int(number) for reason, number in counts.items()},
        notes={"clusters": pc.count_distinct(dropped["partner_id"]).as_py(), "released_candidates": len(released)},
    )


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
        documents = rows.read_table(path, ["id", "text", "parts"])
        signatures = rows.read_table(inputs[f"signatures/{tag}"])
        places = {
            "text": rows.generated_texts(documents),
            "file_tag": pa.array([tag] * len(documents), pa.string()),
            "row": pa.array(range(len(documents)), pa.int64()),
        }
        full = pa.table({**{name: signatures[name] for name in signatures.column_names}, **places})
        tables.append(full.filter(undropped(inputs, tag, ("generate_drops", "keep_drops"), documents["id"])))
    empty = pa.schema([*INDEX, ("text", pa.large_string())]).empty_table()
    return pa.concat_tables([empty, *(table.select(empty.column_names) for table in tables)])


def _released_candidates(inputs: Mapping[str, Path], wave: pa.Table, config: ResolveConfig) -> pa.Table:
    """Of what is released, only what shares a band or an exact digest with the wave: just their texts are read."""
    index = rows.read_tables([path for _, path in tags(inputs, "released_index")], INDEX)
    if not len(index) or not len(wave):
        return pa.schema([*INDEX, ("text", pa.large_string())]).empty_table()
    long = wave.filter(pc.greater(wave["shingle_count"], 0))  # texts too short for a shingle share a signature, no more
    shared_N = np.isin(_bands(index, config), _bands(long, config)).any(axis=1)
    shared_N &= np.asarray(pc.greater(index["shingle_count"], 0))
    equal_N = np.asarray(pc.is_in(index["exact_digest"], value_set=wave["exact_digest"].combine_chunks()))
    candidates = index.filter(pa.array(shared_N | equal_N))
    tables = [_with_texts(candidates, tag, path) for tag, path in tags(inputs, "released_documents")]
    return pa.concat_tables([pa.schema([*INDEX, ("text", pa.large_string())]).empty_table(), *tables])


def _bands(table: pa.Table, config: ResolveConfig) -> NDArray[np.uint64]:
    flat: NDArray[np.uint32] = pc.list_flatten(table["signature"]).to_numpy()
    return band_hashes(flat.reshape(len(table), config.minhash.permutations), config.minhash)


def _with_texts(candidates: pa.Table, tag: str, path: Path) -> pa.Table:
    mine = candidates.filter(pc.equal(candidates["file_tag"], tag))
    documents = rows.read_table(path, ["text", "parts"]).take(mine["row"])
    return mine.append_column("text", rows.generated_texts(documents))


def _joined(wave: pa.Table, released: pa.Table) -> pa.Table:
    names = ["doc_id", "text", "exact_digest", "signature"]
    old = released.select(names).append_column("released", pa.array([True] * len(released), pa.bool_()))
    new = wave.select(names).append_column("released", pa.array([False] * len(wave), pa.bool_()))
    return pa.concat_tables([old, new])


def _drops(dropped: pa.Table, config: ResolveConfig) -> pa.Table:
    made = [
        rows.drop_row(
            row["doc_id"],
            "document",
            "resolve",
            row["reason"],
            f"shares {row['jaccard']:.0%} of its shingles with the document that stays",
            score=row["jaccard"],
            threshold=config.jaccard if row["reason"] == "near_duplicate" else 1.0,
            partner_id=row["partner_id"],
        )
        for row in dropped.sort_by("doc_id").to_pylist()
    ]
    return rows.table(made, rows.DROP)


def _verdicts(verdicts: pa.Table) -> pa.Table:
    made = [
        {
            "item_id": row["doc_id"],
            "item_kind": "document",
            "rung": "near_duplicate",
            "judge": "rule",
            "outcome": "kept" if row["keep"] else "dropped",
            "score": row["jaccard"],
            "evidence": orjson.dumps({"cluster_id": row["cluster_id"], "partner_id": row["partner_id"]}).decode(),
        }
        for row in verdicts.sort_by("doc_id").to_pylist()
    ]
    return rows.table(made, rows.VERDICT)


STEP = Step("resolve", 2, ResolveWork, run)
