"""Sign: MinHash signature, sampled shingles and exact digest of every document's generated parts. No thresholds here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup import NORMALISATION_VERSION, SHINGLE_VERSION, MinHashConfig, sketches
from synth import rows
from synth.config import Config
from synth.step import Counts, Step


class SignWork(Config):
    """The hash family, and the versions of the normalisation and of the shingles under it."""

    minhash: MinHashConfig
    normalisation_version: int = NORMALISATION_VERSION
    shingle_version: int = SHINGLE_VERSION


def run(inputs: Mapping[str, Path], config: SignWork, out: Path) -> Counts:
    """Input: documents. Out: signatures."""
    documents = rows.read_table(inputs["documents"], ["id", "text", "parts"])
    generated = rows.generated_texts(documents)
    signatures_NP, shingle_counts, digests, samples = sketches(generated, config.minhash)
    offsets = np.arange(len(documents) + 1, dtype=np.int32) * config.minhash.permutations
    columns = {
        "doc_id": documents["id"],
        "exact_digest": digests,
        "shingle_count": pa.array(shingle_counts),
        "text_bytes": pc.binary_length(generated).cast(pa.int64()),
        "signature": pa.ListArray.from_arrays(pa.array(offsets), pa.array(signatures_NP.ravel())),
        "shingle_sample": samples,
    }
    rows.write_table(pa.table(columns, schema=rows.SIGNATURE), out / "signatures.parquet")
    return Counts(items=len(documents), kept=len(documents))


def warm(config: SignWork) -> None:
    """Load and compile what signs texts, before models are asked."""
    sketches(pa.array(["Every river is older than the towns along it."], pa.large_string()), config.minhash)


STEP = Step("sign", 3, SignWork, run)
