"""How near a text's meaning is to its seed's: the cosine of their sentence embeddings (`synth.engine.embeddings`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from synth.config import Config
from synth.engine.embeddings import DEFAULT_WEIGHTS, Embedder, embedder_sha256

SCORES = pa.schema([("embedding_cosine", pa.float32())])


class EmbeddingOptions(Config):
    """Which model embeds."""

    weights: str = Field(
        DEFAULT_WEIGHTS, description="The embedding model, by its name in `synth weights`; fetched when first needed."
    )

    def content(self) -> dict[str, Any]:
        """The model and its tokenizer are known by their bytes."""
        return {"weights_sha256": embedder_sha256(self.weights)}

    def check(self) -> None:
        """The name is one of a known embedding model. Nothing is fetched."""
        Embedder(self.weights)


def score(table: pa.Table, options: EmbeddingOptions) -> pa.Table:
    """`embedding_cosine`: of `generated` and `seed_text`, from -1 to 1; null where either is missing, empty or blank.

    Costs a pass through a neural network per distinct text (figures: `python -m tests.benchmarks.embeddings`).
    """
    pairs = list(zip(table["generated"].to_pylist(), table["seed_text"].to_pylist(), strict=True))
    given = [pair for pair in pairs if all(text and not text.isspace() for text in pair)]
    texts = {text: row for row, text in enumerate(dict.fromkeys(text for pair in given for text in pair))}
    vectors = Embedder(options.weights).embed(list(texts))
    cosines = {pair: np.clip(vectors[texts[pair[0]]] @ vectors[texts[pair[1]]], -1, 1) for pair in given}
    return pa.table([pa.array([cosines.get(pair) for pair in pairs], pa.float32())], schema=SCORES)
