"""Rules: functions that score texts. They never decide; what their scores mean is said by gates (`filters.gates`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from synth.config import Config
from synth.errors import RecipeError, fail
from synth.registry import Registry, Spec
from synth.rows import SPAN

RuleFunction = Callable[[pa.Table, Any], pa.Table]
"""(table, options) -> score columns. The table has the columns that the rule's Spec needs and perhaps others; the result
has the rule's own columns only, one row per input row in the same order. A score that cannot be given is null."""

INPUTS = pa.schema(
    [
        ("text", pa.large_string()),  # the whole document
        ("generated", pa.large_string()),  # what the model wrote of it; of a seed, its text
        ("seed_text", pa.large_string()),  # what the document was made from; null for a seed and for a bare topic
        ("family", pa.string()),  # null for a seed
        ("license", pa.string()),  # SPDX id; null = unknown
        ("language", pa.string()),  # as the source declares it; null = undeclared
        ("canary", pa.string()),  # the token that the seed's injected instruction asks for; null for an ordinary seed
        ("reasoning", pa.large_string()),  # what the model thought before it wrote, which shards hold too; null = none
    ]
)
"""The columns that a rule may need. Of a seed, `text` and `generated` are both the seed's text."""

SPANS = pa.list_(pa.struct([field for field in SPAN if field.name != "doc_id"]))
"""The type of the column that `Spec.spans` names: each text's finds, in order. It is no score: gates do not see it."""

rules: Registry[RuleFunction] = Registry("rule")
"""All rules by name. Importing `filters.rules` adds the bundled ones; a user's own file adds its own in the same way."""


def apply_rule(spec: Spec[RuleFunction], table: pa.Table, options: Config) -> pa.Table:
    """The rule's score columns for `table` (columns of INPUTS, at least those it needs), and the spans that it found.

    RecipeError when the rule needs a column that is not there, or returns another number of rows than it was given.
    """
    missing = sorted(set(spec.needs) - set(table.column_names))
    if missing:
        raise fail(RecipeError, f"rule {spec.name!r} needs {', '.join(missing)}", allowed=", ".join(table.column_names))
    scores = spec.function(table.select(list(spec.needs)), options)
    if scores.num_rows != table.num_rows:
        raise fail(
            RecipeError,
            f"rule {spec.name!r} returned {scores.num_rows} rows for {table.num_rows} texts",
            do="return one row per text, in the same order; a text that cannot be scored gets nulls",
        )
    return scores


def score_schema(spec: Spec[RuleFunction], options: Config) -> pa.Schema:
    """The columns this rule writes, found by scoring no rows at all: for checking gates and routes before any work."""
    schema = apply_rule(spec, INPUTS.empty_table(), options).schema
    return schema.remove(schema.get_field_index(spec.spans)) if spec.spans else schema


def score_columns(spec: Spec[RuleFunction], options: Config) -> list[str]:
    """Their names."""
    return list(score_schema(spec, options).names)
