"""Sign: MinHash signatures and the exact digest of every document's generated parts. No thresholds here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup import NORMALISATION_VERSION, MinHashConfig, exact_digest, minhash_signatures, word_shingles
from synth import rows
from synth.config import Config
from synth.step import Counts, Step


class SignWork(Config):
    """The hash family, and the version of the normalisation under it."""

    minhash: MinHashConfig
    normalisation_version: int = NORMALISATION_VERSION


def run(inputs: Mapping[str, Path], config: SignWork, out: Path) -> Counts:
    """Input: documents. Out: signatures."""
    documents = rows.read_table(inputs["documents"], ["id", "text", "parts"])
    generated = rows.generated_texts(documents)
    texts = generated.to_pylist()
    signatures_NP = minhash_signatures(generated, config.minhash)
    offsets = np.arange(len(texts) + 1, dtype=np.int32) * config.minhash.permutations
    columns = {
        "doc_id": documents["id"],
        "exact_digest": pa.array([exact_digest(text) for text in texts], pa.string()),
        "shingle_count": pa.array(
            [len(word_shingles(text, config.minhash.shingle_words)) for text in texts], pa.int64()
        ),
        "text_bytes": pc.binary_length(generated).cast(pa.int64()),
        "signature": pa.ListArray.from_arrays(pa.array(offsets), pa.array(signatures_NP.ravel(), pa.uint32())),
    }
    rows.write_table(pa.table(columns, schema=rows.SIGNATURE), out / "signatures.parquet")
    return Counts(items=len(texts), kept=len(texts))


STEP = Step("sign", 1, SignWork, run)
