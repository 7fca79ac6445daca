"""Presets: the papers' numbers as data, and what a recipe may change about them."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pyarrow as pa
import pytest

from filters.gates import apply_gates
from filters.presets import PROSE_FAMILIES
from filters.published import PRESETS, PresetUse, preset_gates, preset_rules
from flows.recipe import load
from flows.works import Works
from synth.config import parse
from synth.errors import RecipeError
from synth.text.statistics import STATISTICS, text_statistics
from tests.corpora import write_recipe


def use(**fields: object) -> PresetUse:
    return parse(PresetUse, fields)


@pytest.mark.parametrize(
    ("name", "column", "low", "high"),
    [  # Rae et al. 2021, appendix A.1.1 and table A1
        ("gopher_quality", "mean_word_length", 3, 10),
        ("gopher_quality", "symbol_word_ratio", None, 0.1),
        ("gopher_quality", "bullet_line_ratio", None, 0.9),
        ("gopher_quality", "ellipsis_line_ratio", None, 0.3),
        ("gopher_quality", "alpha_word_ratio", 0.8, None),
        ("gopher_quality", "stop_words", 2, None),
        ("gopher_repetition", "duplicate_line_ratio", None, 0.30),
        ("gopher_repetition", "duplicate_paragraph_ratio", None, 0.30),
        ("gopher_repetition", "duplicate_line_char_ratio", None, 0.20),
        ("gopher_repetition", "duplicate_paragraph_char_ratio", None, 0.20),
        ("gopher_repetition", "top_2gram_char_ratio", None, 0.20),
        ("gopher_repetition", "top_3gram_char_ratio", None, 0.18),
        ("gopher_repetition", "top_4gram_char_ratio", None, 0.16),
        ("gopher_repetition", "duplicate_5gram_char_ratio", None, 0.15),
        ("gopher_repetition", "duplicate_6gram_char_ratio", None, 0.14),
        ("gopher_repetition", "duplicate_7gram_char_ratio", None, 0.13),
        ("gopher_repetition", "duplicate_8gram_char_ratio", None, 0.12),
        ("gopher_repetition", "duplicate_9gram_char_ratio", None, 0.11),
        ("gopher_repetition", "duplicate_10gram_char_ratio", None, 0.10),
        ("c4", "lorem_ipsum", None, 0),  # Raffel et al. 2020, section 2.2
        ("c4", "curly_brackets", None, 0),
        ("c4", "c4_sentences", 5, None),
        ("fineweb", "punctuated_line_ratio", 0.12, None),  # Penedo et al. 2024, section 3.6
        ("fineweb", "short_line_ratio", None, 0.67),
        ("fineweb", "duplicate_line_char_ratio", None, 0.01),
        ("fineweb", "newline_word_ratio", None, 0.3),
        ("fineweb", "c4_sentences_any_end", 5, None),
        ("dclm", "language_confidence", 0.65, None),  # Li et al. 2024; Penedo et al. 2023, appendix G
        ("dclm", "stop_word_occurrences", 2, None),
        ("dclm", "refinedweb_removed_word_ratio", None, 0.05),
        ("slimpajama", "bare_characters", 200, None),  # Shen et al. 2023
    ],
)  # fmt: skip
def test_the_papers_numbers(name: str, column: str, low: float | None, high: float | None) -> None:
    (gate,) = [gate for gate in PRESETS[name].gates if gate.column == column]
    assert (gate.min, gate.max) == (low, high)


@pytest.mark.parametrize("name", ["gopher_quality", "dclm"])
def test_the_words_of_a_page(name: str) -> None:
    bounds = [(gate.min, gate.max) for gate in PRESETS[name].gates if gate.column == "normal_words"]
    assert bounds == [(50, None), (None, 100_000)]


@pytest.mark.parametrize("name", PRESETS)
def test_every_column_is_one_that_its_rules_give(name: str) -> None:
    language = {"language", "language_confidence"} if "language" in PRESETS[name].rules else set()
    assert {gate.column for gate in PRESETS[name].gates} <= {*STATISTICS.names, *language}
    assert len({(gate.reason, gate.column) for gate in PRESETS[name].gates}) >= len(PRESETS[name].gates) - 1
    assert all(gate.reason.startswith(name.split("_")[0]) for gate in PRESETS[name].gates)


def test_any_bound_can_be_moved_and_any_column_left_out() -> None:
    changed = use(
        name="gopher_quality",
        override={"normal_words": {"min": 20}, "mean_word_length": {"max": 12.0}},
        without=["stop_words"],
    )
    gates = {(gate.column, gate.min, gate.max) for gate in preset_gates([changed])}
    assert {("normal_words", 20, None), ("normal_words", None, 100_000), ("mean_word_length", 3, 12)} <= gates
    assert "stop_words" not in {column for column, _, _ in gates}
    assert PRESETS["gopher_quality"].gates[0].min == 50, "the preset itself stays as it was"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "gofer_quality"}, "did you mean 'gopher_quality'"),
        ({"name": "c4", "override": {"c4_sentence": {"min": 3}}}, "did you mean 'c4_sentences'"),
        ({"name": "c4", "without": ["stop_words"]}, "no bound on 'stop_words'"),
        ({"name": "c4", "override": {"lorem_ipsum": {"min": 1}}}, "no min on 'lorem_ipsum'"),
    ],
    ids=["name", "column", "without", "bound"],
)
def test_a_wrong_word_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        preset_gates([use(**fields)])


def test_rules_that_a_preset_needs_are_added_once() -> None:
    assert preset_rules([]) == ()
    assert preset_rules([use(name="c4"), use(name="dclm"), use(name="dclm")]) == ("statistics", "language")


def test_a_recipe_judges_by_presets_prose_only_unless_it_says_otherwise(tmp_path: Path) -> None:
    blocks = {
        "screen": '[screen]\nrules = [{ name = "license" }]\ngates = []\npresets = [{ name = "gopher_quality" }]',
        "keep": '[keep]\ngates = []\npresets = [{ name = "fineweb" }, { name = "c4", families = ["diverse_qa"] }]',
    }
    works = Works(load(write_recipe(tmp_path, "http://127.0.0.1:9/v1", **blocks)))
    rules, gates = works.seed_judge
    assert [rule.name for rule in rules] == ["license", "statistics"]
    assert [gate.reason for gate in gates][:2] == ["unknown_license", "gopher_too_short"]
    assert all(gate.families == () for gate in gates)
    _, kept = works.document_judge
    assert {gate.families for gate in kept if gate.reason.startswith("fineweb")} == {PROSE_FAMILIES}
    assert {gate.families for gate in kept if gate.reason.startswith("c4")} == {("diverse_qa",)}


def test_a_preset_drops_what_its_paper_drops() -> None:
    file = resources.files("synth.data").joinpath("passages.jsonl").read_text(encoding="utf-8")
    good = "\n".join(json.loads(line)["text"] for line in file.splitlines()[:3])
    texts = {
        "good": good,
        "short": "Too short to be a page.",
        "lorem": f"{good} Lorem ipsum dolor sit amet.",
        "code": f"{good} function() {{ return 1; }}",
        "list": "\n".join(f"Item {number} of the list" for number in range(60)),
        "loop": "And then the river rose again over the bank. " * 40,
    }
    scores = text_statistics(pa.array(texts.values(), pa.large_string()))
    named = scores.append_column("item_id", pa.array(list(texts))).append_column(
        "family", pa.nulls(len(texts), pa.string())
    )
    reasons: dict[str, set[str]] = {}
    for name in ("gopher_quality", "gopher_repetition", "c4", "fineweb"):
        drops = apply_gates(named, preset_gates([use(name=name)]), "document", "filter", frozenset())
        for item, reason in zip(drops["item_id"].to_pylist(), drops["reason"].to_pylist(), strict=True):
            reasons.setdefault(item, set()).add(reason)
    assert "good" not in reasons
    assert "gopher_too_short" in reasons["short"] and "c4_few_sentences" in reasons["short"]
    assert reasons["lorem"] == {"c4_lorem_ipsum", "fineweb_lorem_ipsum"}
    assert reasons["code"] == {"c4_curly_brackets", "fineweb_curly_brackets"}
    assert {"fineweb_short_lines", "fineweb_few_line_ends", "c4_few_sentences"} <= reasons["list"]
    assert {"gopher_duplicate_5grams", "gopher_duplicate_10grams"} <= reasons["loop"]
