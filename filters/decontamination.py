"""Decontamination: which items of evaluation sets, given as files, a text holds.

The n-grams and what counts as a hit: `filters.decontamination_index`. A paraphrase in other words is not found. Recall on
planted problems of GSM8K, false hits and speed: `python -m tests.benchmarks.decontamination`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from filters.decontamination_index import RULES, Found, Hit, Index
from filters.decontamination_sets import Benchmark, check_sets, items_of, size_of
from filters.gates import Gate
from synth.config import Config
from synth.registry import Rung

RULE = "decontamination"
RENDERED = "decontamination_rendered"
"""The rung of what stands in a text as a trainer gets it."""

ITEMS_NOTE = "benchmark_items/"
"""Begins the names of notes in manifests that say how many items each evaluation set has."""

FOUND = pa.struct(
    [
        ("score", pa.float64()),  # the share of its prompt that the text covers, 1.0 for rule C
        ("benchmark", pa.string()),
        ("item", pa.string()),  # gsm8k/17: rows of the file count from 0
        ("rule", pa.string()),  # A, B or C, see `decontamination_index.Index`
        ("part", pa.string()),  # text or reasoning: what the numbers below are counted in
        ("ngram", pa.string()),  # that begins the stretch, as words are compared
        ("at_word", pa.int64()),  # the stretch: see `decontamination_index.Hit`
        ("words", pa.int64()),
        ("start_byte", pa.int64()),
        ("end_byte", pa.int64()),
    ]
)
"""One item that a text holds."""

SCORES = pa.schema(
    [
        ("contamination_checked", pa.int64()),
        ("contaminated_items", pa.int64()),
        ("contamination_rule", pa.string()),
        ("contamination_coverage", pa.float64()),
        ("contamination_hits", pa.large_string()),
        ("contamination_found", pa.list_(FOUND)),
    ]
)
EVIDENCE_HITS = 20  # that are shown of one text; all of them are counted, and become verdicts

RUNG = Rung(RULE, "contamination_checked", "contaminated_items", "contamination_hits", each="contamination_found")

GATE = Gate(column="contaminated_items", max=0, reason="contaminated", evidence="contamination_hits")
"""What drops a text that holds an item."""

_GUARD = threading.Lock()  # steps run in threads: the first ones would each build the index


class DecontaminationOptions(Config):
    """Which evaluation sets must not be in a text."""

    benchmarks: tuple[Benchmark, ...] = Field(min_length=1, description="The evaluation sets.")

    def check(self) -> None:
        """Names differ; the files are there, are the ones that their `sha256` name, and have the columns."""
        check_sets(self.benchmarks)

    def sizes(self) -> dict[str, int]:
        """How many items each evaluation set has."""
        return {one.name: size_of(one) for one in self.benchmarks}


class DecontaminationConfig(DecontaminationOptions):
    """Evaluation sets that are looked for in seeds, in documents, and in what a trainer gets."""

    seeds: Literal["drop", "label"] = Field(
        "drop", description="What happens to a seed that holds an item. `label`: a verdict says so, and it stays."
    )
    documents: Literal["drop", "label"] = Field(
        "drop",
        description="The same of documents. With `drop` the release stops when the text that a trainer would get, or its "
        "reasoning, still holds one.",
    )

    def options(self) -> dict[str, Any]:
        """What the rule needs to know."""
        return {"benchmarks": [one.model_dump(mode="json") for one in self.benchmarks]}

    def seed_gates(self) -> tuple[Gate, ...]:
        """Gates of seeds."""
        return (GATE,) if self.seeds == "drop" else ()

    def gates(self) -> tuple[Gate, ...]:
        """Gates of documents."""
        return (GATE,) if self.documents == "drop" else ()


def notes(options: DecontaminationOptions) -> dict[str, int]:
    """How many items each evaluation set has, for manifests."""
    return {f"{ITEMS_NOTE}{name}": size for name, size in options.sizes().items()}


def score(table: pa.Table, options: DecontaminationOptions) -> pa.Table:
    """Of each whole `text`, source parts included, and its `reasoning`, if any, what they hold of the evaluation sets.

    `contamination_checked`: items that were looked for, 0 where there are no words. `contaminated_items`: those that were hit.
    `contamination_rule`: the strongest rule that hit one, A, B or C (see `decontamination_index.Index`), or null.
    `contamination_coverage`: the largest share of an item's prompt that is covered (0 to 1), also where that is no hit.
    `contamination_hits`: item, rule, share and an n-gram with its place, joined by "; ", or null.
    `contamination_found`: the same of every hit, for machines (FOUND): the strongest first, one for each item.
    RecipeError when a file is not the one that was named or cannot be read.
    """
    if not table.num_rows:
        return SCORES.empty_table()
    with _GUARD:
        index = _index(options.benchmarks)
    text, reasoning = (_looked_up(index, table[name]) for name in ("text", "reasoning"))
    rows = sorted({*text.hits, *reasoning.hits})
    found = {row: _found(index, text.hits.get(row, ()), reasoning.hits.get(row, ())) for row in rows}
    return _scores(index.findable, text, reasoning, found)


def _looked_up(index: Index, column: pa.ChunkedArray) -> Found:
    texts = pc.fill_null(column.cast(pa.large_string()), "").combine_chunks()
    return index.look_up(texts)


def _found(index: Index, in_text: Sequence[Hit], in_reasoning: Sequence[Hit]) -> list[dict[str, Any]]:
    """One for each item: where it is in both, the stronger one."""
    hits = [(hit, part) for part, several in (("text", in_text), ("reasoning", in_reasoning)) for hit in several]
    best: dict[int, dict[str, Any]] = {}
    for hit, part in sorted(hits, key=lambda one: (one[0].rule, -one[0].coverage, one[0].item)):
        if hit.item not in best:
            best[hit.item] = _row(index, hit, part)
    return list(best.values())


def _row(index: Index, hit: Hit, part: str) -> dict[str, Any]:
    item = index.items[hit.item]
    stretch = {name: getattr(hit, name) for name in ("ngram", "at_word", "words", "start_byte", "end_byte")}
    return {
        "score": hit.coverage,
        "benchmark": item.benchmark,
        "item": item.name,
        "rule": hit.rule,
        "part": part,
        **stretch,
    }


def _scores(findable: int, text: Found, reasoning: Found, found: Mapping[int, list[dict[str, Any]]]) -> pa.Table:
    size = len(text.has_words)
    items, lists = np.zeros(size, np.int64), np.full(size, None, object)
    rule, said = np.full(size, None, object), np.full(size, None, object)
    for row, hits in found.items():
        items[row], lists[row] = len(hits), hits
        rule[row] = min((hit["rule"] for hit in hits), key=RULES.index)
        said[row] = "; ".join(map(_said, hits[:EVIDENCE_HITS]))
    checked = np.where(text.has_words | reasoning.has_words, findable, 0)
    columns = (checked, items, rule, np.maximum(text.coverage, reasoning.coverage), said, lists)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, SCORES, strict=True)], schema=SCORES
    )


def _said(hit: Mapping[str, Any]) -> str:
    share = "prompt and answer" if hit["rule"] == "C" else f"{hit['score']:.2f} of its prompt"
    where = "" if hit["part"] == "text" else " of its reasoning"
    return f"{hit['item']} ({hit['rule']}): {share}, at word {hit['at_word']}{where} '{hit['ngram']}'"


@lru_cache(maxsize=2)
def _index(benchmarks: tuple[Benchmark, ...]) -> Index:
    return Index([item for one in benchmarks for item in items_of(one)])
