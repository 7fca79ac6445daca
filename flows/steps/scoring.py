"""What screen and score share: running rules over a table of texts, each score a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pydantic import Field

import filters.rules  # noqa: F401  (registers the bundled rules)
from filters.registry import apply_rule, rules, score_columns, score_schema
from synth.config import Config, parse
from synth.errors import RecipeError, fail


class RuleConfig(Config):
    """One rule of a recipe: its name and its own options."""

    name: str = Field(description="A rule's name.")
    options: dict[str, Any] = Field({}, description="The rule's own options.")


class RuleWork(Config):
    """A rule with its declared version and what it reads beside the texts."""

    name: str
    version: int
    digest: str
    options: dict[str, Any]

    def content(self) -> dict[str, Any]:
        """With the options by what shapes scores: where a model file lies does not."""
        return {**super().content(), "options": _options(self).content()}


def rule_works(configs: Sequence[RuleConfig], where: str) -> tuple[RuleWork, ...]:
    """Look the rules up, check their options, merge defaults."""
    works = []
    for config in configs:
        spec = rules.get(config.name)
        options = parse(spec.Options, config.options, f"{where}.{config.name}.options")
        options.check()
        works.append(
            RuleWork(
                name=spec.name,
                version=spec.version,
                digest=spec.content_digest,
                options=options.model_dump(mode="json"),
            )
        )
    return tuple(works)


def columns_of(works: Sequence[RuleWork]) -> list[str]:
    """The score columns that these rules give, known before anything is scored."""
    return [name for work in works for name in score_columns(rules.get(work.name), _options(work))]


def number_columns_of(works: Sequence[RuleWork]) -> list[str]:
    """Those that are numbers: what a route can bound."""
    fields = [field for work in works for field in score_schema(rules.get(work.name), _options(work))]
    return [field.name for field in fields if is_number(field.type)]


def is_number(kind: pa.DataType) -> bool:
    """Whether an Arrow type holds numbers."""
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _options(work: RuleWork) -> Config:
    return parse(rules.get(work.name).Options, work.options, work.name)


def score_table(table: pa.Table, works: Sequence[RuleWork]) -> pa.Table:
    """All rules' columns, row by row with `table`. Two rules that claim one column are refused."""
    columns: dict[str, pa.ChunkedArray] = {}
    for work in works:
        scores = apply_rule(rules.get(work.name), table, _options(work))
        for name in scores.column_names:
            if name in columns:
                raise fail(RecipeError, f"two rules give the score {name!r}", given=work.name, do="remove one of them")
            columns[name] = scores[name]
    return pa.table(columns)
