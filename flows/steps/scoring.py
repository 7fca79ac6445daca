"""What screen and score share: running rules over a table of texts, each score a column."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

import filters.rules  # noqa: F401  (registers the bundled rules)
from filters.published import PresetUse, preset_rules
from filters.registry import INPUTS, apply_rule, rules, score_columns, score_schema
from filters.training_rows import GOOD
from synth.config import Config, parse
from synth.digest import file_sha256
from synth.errors import RecipeError, fail
from synth.rows import SPAN

QUALITY = "quality"
FROM_TRAINING = "[quality]"  # in the place of a model file's path
UNTRAINED = "0" * 64  # and of its digest

WARM_SECONDS = 3.0
WARMING = "compiling what measures texts: once per installation, up to a minute"


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
        spec = rules.get(config.name, f"{where}.{config.name}")
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


def with_presets(configs: Sequence[RuleConfig], presets: Sequence[PresetUse]) -> tuple[RuleConfig, ...]:
    """The rules, and those that the presets need beside them."""
    names = {config.name for config in configs}
    return (*configs, *(RuleConfig(name=name) for name in preset_rules(presets) if name not in names))


def with_rule(configs: Sequence[RuleConfig], name: str) -> tuple[RuleConfig, ...]:
    """The rules, and this one without options unless it is among them."""
    return (*configs, *([] if name in {config.name for config in configs} else [RuleConfig(name=name)]))


def trained_rule() -> RuleWork:
    """The rule `quality` of a model that the run itself trains: an input of the step, so its digest is in the key already."""
    spec = rules.get(QUALITY)
    options = parse(spec.Options, {"path": FROM_TRAINING, "sha256": UNTRAINED, "label": GOOD})
    return RuleWork(
        name=spec.name, version=spec.version, digest=spec.content_digest, options=options.model_dump(mode="json")
    )


def with_model(works: Sequence[RuleWork], model: Path) -> tuple[RuleWork, ...]:
    """The rules, that of `trained_rule` with the model that was trained."""
    known = {"path": str(model), "sha256": file_sha256(model)}
    return tuple(
        work.model_copy(update={"options": {**work.options, **known}}) if _waits_for_training(work) else work
        for work in works
    )


def _waits_for_training(work: RuleWork) -> bool:
    return work.name == QUALITY and work.options["path"] == FROM_TRAINING


def columns_of(works: Sequence[RuleWork]) -> list[str]:
    """The score columns that these rules give, known before anything is scored."""
    finds = finds_of(works)
    names = [name for work in works for name in score_columns(rules.get(work.name), _options(work))]
    return [name for name in names if name not in finds]


def finds_of(works: Sequence[RuleWork]) -> list[str]:
    """The columns of what was found, beside the scores: they become verdicts, are stored as these, and no gate sees them."""
    return [rung.each for work in works for rung in rules.get(work.name).rungs if rung.each]


def notes_of(works: Sequence[RuleWork]) -> dict[str, int]:
    """What these rules tell of what they read beside the texts, for the manifest's notes."""
    told = [(rules.get(work.name).notes, work) for work in works]
    return {name: count for notes, work in told if notes for name, count in notes(_options(work)).items()}


def needed_columns(works: Sequence[RuleWork]) -> set[str]:
    """What these rules read of a text."""
    return {name for work in works for name in rules.get(work.name).needs}


def number_columns_of(works: Sequence[RuleWork]) -> list[str]:
    """Those that are numbers: what a route can bound."""
    fields = [field for work in works for field in score_schema(rules.get(work.name), _options(work))]
    return [field.name for field in fields if is_number(field.type)]


def is_number(kind: pa.DataType) -> bool:
    """Whether an Arrow type holds numbers."""
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def options_of(works: Sequence[RuleWork], name: str) -> Config | None:
    """The options of the rule of this name; None where it is not among them."""
    return next((_options(work) for work in works if work.name == name), None)


def _options(work: RuleWork) -> Config:
    return parse(rules.get(work.name).Options, work.options, work.name)


def score_table(table: pa.Table, works: Sequence[RuleWork]) -> pa.Table:
    """All rules' columns, row by row with `table`. Two rules that claim one column are refused."""
    return scores_and_spans(table, works)[0]


def scores_and_spans(table: pa.Table, works: Sequence[RuleWork]) -> tuple[pa.Table, list[pa.ChunkedArray]]:
    """As `score_table`, and the spans (of type SPANS) of each rule that gives any, row by row with `table`."""
    columns: dict[str, pa.ChunkedArray] = {}
    spans = []
    for work in works:
        if _waits_for_training(work):
            what = "the quality model of [quality] is trained in a run, and there is none here"
            raise fail(RecipeError, what, do="synth filter-train makes one: name it in the rule `quality` instead")
        spec = rules.get(work.name)
        scores = apply_rule(spec, table, _options(work))
        for name in scores.column_names:
            if name in columns:
                raise fail(RecipeError, f"two rules give the score {name!r}", given=work.name, do="remove one of them")
            if name == spec.spans:
                spans.append(scores[name])
            else:
                columns[name] = scores[name]
    return pa.table(columns), spans


def span_rows(doc_ids: pa.ChunkedArray, spans: Sequence[pa.ChunkedArray]) -> pa.Table:
    """SPAN rows, sorted, of lists of spans that lie row by row with `doc_ids`."""
    ids, tables = doc_ids.combine_chunks(), [SPAN.empty_table()]
    for column in spans:
        lists = column.combine_chunks()
        found = pc.list_flatten(lists)
        named = [ids.take(pc.list_parent_indices(lists)), *(found.field(name) for name in SPAN.names[1:])]
        tables.append(pa.table(named, schema=SPAN))
    return pa.concat_tables(tables).sort_by([(name, "ascending") for name in SPAN.names])


def warm_rules(works: Sequence[RuleWork], say: Callable[[str], None]) -> None:
    """Run each rule once on one text, so that what it compiles or loads is there before models answer: the first compilation
    of an installation takes some seconds in which Python does nothing else, and an answer's place in the journal would wait.
    `say` hears of it when it takes long.
    """
    slow = threading.Timer(WARM_SECONDS, say, [WARMING])
    slow.start()
    try:
        _run_once(works)
    finally:
        slow.cancel()


def _run_once(works: Sequence[RuleWork]) -> None:
    text = "Every river is older than the towns along it."
    row = dict.fromkeys(INPUTS.names, None) | {"text": text, "generated": text, "seed_text": text, "license": "CC0-1.0"}
    for work in works:
        if _waits_for_training(work):
            continue
        apply_rule(rules.get(work.name), pa.Table.from_pylist([row], schema=INPUTS), _options(work))
