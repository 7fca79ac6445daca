"""What a trainer reads: one row per released document, with what it takes to go back to the document, its models and its seed."""

from __future__ import annotations

import pyarrow as pa

from synth.rows import DOCUMENT, FORMAT_VERSION

# `doc_id` finds the document, and through its `ask_ids` the prompts; `seed_id` finds the seed, `root_id` the first
# ancestor and with it the siblings. No column is dictionary-encoded: a dictionary keeps values whose rows are gone.
SHARD = pa.schema(
    [
        ("doc_id", pa.string()),
        ("text", pa.large_string()),
        ("family", pa.string()),
        ("source_id", pa.string()),  # of the seed
        ("seed_id", pa.string()),  # the first one; the document's row lists all
        ("root_id", pa.string()),
        ("license", pa.string()),  # SPDX id; null = unknown
        ("models", pa.list_(pa.string())),
        ("generation_depth", pa.int16()),
        ("parts", DOCUMENT.field("parts").type),  # who wrote which bytes of `text`
        ("reasoning", pa.large_string()),  # null = none
        ("tokens", pa.int64()),  # of `text`, by the recipe's tokenizer; null when it names none
        ("language", pa.string()),  # null = unknown
    ],
    metadata={"format_version": str(FORMAT_VERSION)},
)
