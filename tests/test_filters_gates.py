"""Gates: what passes, what is dropped and how that is written down; the default gates on good and bad texts."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest

from filters.gates import Gate, apply_gates, check_gates, first_reasons
from filters.presets import DEFAULT_DOCUMENT_GATES, DEFAULT_SEED_GATES
from filters.registry import INPUTS, apply_rule, rules, score_columns
from flows.steps.score import DEFAULT_RULES
from flows.steps.verdicts import COLUMNS as VERDICT_COLUMNS
from synth.config import parse
from synth.errors import RecipeError
from synth.rows import DROP
from synth.text.statistics import STATISTICS, text_statistics

SHORT = {"column": "words", "min": 5, "reason": "too_short"}
LONG = {"column": "words", "max": 100, "reason": "too_long"}
ENGLISH = {"column": "language", "one_of": ["en", "fr"], "reason": "other_language"}


def gates(*values: dict[str, Any]) -> list[Gate]:
    return [parse(Gate, value, "keep.gates") for value in values]


def score_table(rows: list[dict[str, Any]], **types: pa.DataType) -> pa.Table:
    kinds = {"item_id": pa.string(), "family": pa.string(), "words": pa.int64(), "language": pa.string()} | types
    return pa.Table.from_pylist(rows, schema=pa.schema([(name, kinds[name]) for name in rows[0]]))


def dropped(rows: list[dict[str, Any]], *values: dict[str, Any], **types: pa.DataType) -> list[tuple[Any, ...]]:
    found = apply_gates(score_table(rows, **types), gates(*values), "document", "keep", ())
    return [(row["item_id"], row["reason"], row["score"], row["threshold"]) for row in found.to_pylist()]


def one(value: Any, name: str = "words", family: str | None = "distill") -> list[dict[str, Any]]:
    return [{"item_id": "a", "family": family, name: value}]


@pytest.mark.parametrize(
    ("value", "gate", "expected"),
    [
        pytest.param(4, SHORT, [("a", "too_short", 4.0, 5.0)], id="below-min"),
        pytest.param(5, SHORT, [], id="min-itself-passes"),
        pytest.param(100, LONG, [], id="max-itself-passes"),
        pytest.param(101, LONG, [("a", "too_long", 101.0, 100.0)], id="above-max"),
        pytest.param(0, {**SHORT, "max": 9}, [("a", "too_short", 0.0, 5.0)], id="both-bounds-below"),
        pytest.param(10, {**SHORT, "max": 9}, [("a", "too_short", 10.0, 9.0)], id="both-bounds-above"),
        pytest.param(7, {**SHORT, "max": 9}, [], id="both-bounds-between"),
        pytest.param(0, {**SHORT, "min": 0}, [], id="zero-is-a-bound"),
        pytest.param(-1, {**SHORT, "min": 0}, [("a", "too_short", -1.0, 0.0)], id="below-zero"),
        pytest.param(None, SHORT, [("a", "too_short", None, 5.0)], id="null-drops"),
        pytest.param(None, LONG, [("a", "too_long", None, 100.0)], id="null-drops-under-max"),
        pytest.param(None, {**SHORT, "missing": "keep"}, [], id="null-kept-when-said"),
        pytest.param(4, {**SHORT, "missing": "keep"}, [("a", "too_short", 4.0, 5.0)], id="keep-keeps-only-missing"),
    ],
)
def test_numeric_gate(value: int | None, gate: dict[str, Any], expected: list[tuple[Any, ...]]) -> None:
    assert dropped(one(value), gate) == expected


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()], ids=str)
@pytest.mark.parametrize(("missing", "count"), [("drop", 1), ("keep", 0)])
def test_nan_is_missing(kind: pa.DataType, missing: str, count: int) -> None:
    found = dropped(one(math.nan), {**SHORT, "missing": missing}, words=kind)
    assert found == [("a", "too_short", None, 5.0)] * count


@pytest.mark.parametrize("kind", [pa.int8(), pa.bool_(), pa.float32()], ids=str)
def test_numeric_gate_on_other_numeric_types(kind: pa.DataType) -> None:
    rows = [{"item_id": "a", "family": None, "words": 1}, {"item_id": "b", "family": None, "words": 0}]
    table = pa.table({"item_id": ["a", "b"], "family": pa.nulls(2), "words": pa.array([1, 0]).cast(kind)})
    found = apply_gates(table, gates({**SHORT, "min": 1}), "seed", "screen", ())
    assert (found["item_id"].to_pylist(), len(rows)) == (["b"], 2)


@pytest.mark.parametrize("kind", [pa.float64(), pa.null()], ids=str)
def test_a_column_of_nulls_only(kind: pa.DataType) -> None:
    assert dropped(one(None), SHORT, words=kind) == [("a", "too_short", None, 5.0)]
    assert dropped(one(None, "language"), ENGLISH, language=pa.null()) == [("a", "other_language", None, None)]


@pytest.mark.parametrize(
    ("value", "extra", "expected"),
    [
        pytest.param("fr", {}, 0, id="among"),
        pytest.param("de", {}, 1, id="not-among"),
        pytest.param("EN", {}, 1, id="exact-word"),
        pytest.param(None, {}, 1, id="null-drops"),
        pytest.param(None, {"missing": "keep"}, 0, id="null-kept-when-said"),
        pytest.param("de", {"missing": "keep"}, 1, id="keep-keeps-only-missing"),
    ],
)
def test_word_gate(value: str | None, extra: dict[str, Any], expected: int) -> None:
    for kind in (pa.string(), pa.large_string()):
        found = dropped(one(value, "language"), ENGLISH | extra, language=kind)
        assert found == [("a", "other_language", None, None)] * expected


@pytest.mark.parametrize(
    ("families", "expected"),
    [
        pytest.param([], ["a", "b", "c"], id="empty-means-all-and-seeds"),
        pytest.param(["distill"], ["a"], id="one"),
        pytest.param(["distill", "diverse_qa"], ["a", "b"], id="two"),
        pytest.param(["textbook"], [], id="none-of-these"),
    ],
)
def test_families(families: list[str], expected: list[str]) -> None:
    kinds = {"a": "distill", "b": "diverse_qa", "c": None}
    rows = [{"item_id": item, "family": family, "words": 0} for item, family in kinds.items()]
    assert [item for item, *_ in dropped(rows, {**SHORT, "families": families})] == expected


def test_every_failed_gate_has_a_row_and_the_first_one_is_the_reason() -> None:
    rows = [
        {"item_id": "b", "family": "distill", "words": 1, "language": "de"},
        {"item_id": "c", "family": "distill", "words": 9, "language": "de"},
        {"item_id": "a", "family": "distill", "words": 1, "language": "en"},
        {"item_id": "d", "family": "distill", "words": 9, "language": "en"},
    ]
    for order in (rows, rows[::-1]):
        found = apply_gates(score_table(order), gates(ENGLISH, SHORT), "document", "keep", ())
        assert found.schema == DROP
        summary = [(row["item_id"], row["rule"], row["rule_order"], row["reason"]) for row in found.to_pylist()]
        assert summary == [
            ("a", "words", 1, "too_short"),
            ("b", "language", 0, "other_language"),
            ("b", "words", 1, "too_short"),
            ("c", "language", 0, "other_language"),
        ]
        assert {(row["item_kind"], row["step"], row["partner_id"]) for row in found.to_pylist()} == {
            ("document", "keep", None)
        }
        first = first_reasons(found)
        assert first.schema == DROP
        assert list(zip(first["item_id"].to_pylist(), first["reason"].to_pylist(), strict=True)) == [
            ("a", "too_short"),
            ("b", "other_language"),
            ("c", "other_language"),
        ]


def test_first_reason_does_not_depend_on_the_order_of_rows() -> None:
    rows = [{"item_id": "a", "family": None, "words": 1, "language": "de"}]
    found = apply_gates(score_table(rows), gates(SHORT, ENGLISH, LONG), "seed", "screen", ())
    for order in ([0, 1], [1, 0]):
        assert first_reasons(found.take(order))["reason"].to_pylist() == ["too_short"]


def test_what_was_dropped_before_is_not_dropped_again() -> None:
    rows = [{"item_id": item, "family": None, "words": 1} for item in "abc"]
    found = apply_gates(score_table(rows), gates(SHORT), "seed", "screen", {"a", "c", "not here"})
    assert found["item_id"].to_pylist() == ["b"]


def test_no_items_no_gates_no_drops() -> None:
    empty = score_table(one(1)).slice(0, 0)
    for found in (
        apply_gates(empty, gates(SHORT, LONG), "document", "keep", ()),
        apply_gates(score_table(one(1)), [], "document", "keep", ()),
    ):
        assert found == DROP.empty_table()
        assert first_reasons(found) == DROP.empty_table()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param({"column": "words", "reason": "r"}, "either min, max or both", id="no-bound"),
        pytest.param({**SHORT, "one_of": ["en"]}, "either min, max or both", id="both-kinds"),
        pytest.param({**SHORT, "max": 4}, "a min that is not larger than max", id="min-above-max"),
        pytest.param({**SHORT, "min": "5"}, "keep.gates.min: given '5'", id="wrong-type"),
        pytest.param({**SHORT, "min": math.nan}, "keep.gates.min: given nan", id="nan-bound"),
        pytest.param({**ENGLISH, "one_of": []}, "keep.gates.one_of", id="no-words"),
        pytest.param({**ENGLISH, "one_of": "en"}, "keep.gates.one_of: given 'en'", id="a-word-is-no-list"),
        pytest.param({**SHORT, "missing": "ignore"}, "'drop' or 'keep'", id="unknown-missing"),
        pytest.param({**SHORT, "reason": ""}, "keep.gates.reason", id="no-reason"),
        pytest.param({**SHORT, "minimum": 5}, "keep.gates.minimum: unknown key", id="unknown-key"),
    ],
)
def test_wrong_gates_are_refused(value: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError) as error:
        gates(value)
    assert words in str(error.value)


def test_an_unknown_column_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(RecipeError, match=r"'wrods', which no rule writes; did you mean 'words'\?"):
        dropped(one(1), {**SHORT, "column": "wrods"})
    with pytest.raises(RecipeError, match="no rule writes"):
        dropped(one(1), {**SHORT, "column": "item_id"})


def test_the_wrong_kind_of_bound_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"'too_short' compares 'language'[^$]*string[^$]*one_of"):
        dropped(one("en", "language"), {**SHORT, "column": "language"})
    with pytest.raises(RecipeError, match=r"'other_language' compares 'words'[^$]*int64[^$]*min or max"):
        dropped(one(1), {**ENGLISH, "column": "words"})


def test_a_gate_survives_its_own_json() -> None:
    for gate in (*gates(SHORT, ENGLISH), *DEFAULT_DOCUMENT_GATES):
        assert parse(Gate, gate.content()) == gate


PASSAGE = """A glacier is a body of ice that moves under its own weight. Snow that survives the summer is buried by the snow
of later winters, and over decades the pressure turns it into dense, blue ice. Gravity then pulls the mass downhill, a few
centimetres a day in most valleys and several metres a day where meltwater lubricates the bed. On the way the ice plucks
stones from the rock and grinds them into a fine flour that colours the lakes below. Where melting balances the supply of
ice, the front stands still; where it exceeds the supply, the front retreats and leaves a ridge of rubble behind."""
QUESTIONS = """Question: When did the Great Fire of London start?
Answer: The Great Fire of London started on 2 September 1666.

Question: Where did the Great Fire of London start?
Answer: The Great Fire of London started in a bakery on Pudding Lane.

Question: How many houses did the Great Fire of London destroy?
Answer: The Great Fire of London destroyed more than 13,000 houses.

Question: Did the Great Fire of London destroy St Paul's?
Answer: Yes."""
LOOP = "The bees make honey of nectar." + " They store it in the wax cells." * 6
TABLE = "\n".join(f"- year {year}: {year * 7 % 1000}" for year in range(1990, 2040))


def default_reason(text: str, family: str | None, **scores: Any) -> str | None:
    texts = pa.Table.from_pylist([{"text": text, "generated": text, "family": family}], schema=INPUTS)
    table = pa.table({"item_id": ["x"], "family": pa.array([family], pa.string())})
    for rule in DEFAULT_RULES:
        spec = rules.get(rule.name)
        given = apply_rule(spec, texts, spec.Options())
        for name in given.column_names:
            table = table.append_column(name, given[name])
    for name in (*VERDICT_COLUMNS, *scores):
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, pa.array([scores.get(name, 0.0)], pa.float64()))
    chosen = DEFAULT_DOCUMENT_GATES if family else DEFAULT_SEED_GATES
    found = first_reasons(apply_gates(table, chosen, "document" if family else "seed", "keep", ()))
    return found["reason"].to_pylist()[0] if found.num_rows else None


@pytest.mark.parametrize(
    ("text", "family", "scores", "expected"),
    [
        pytest.param(PASSAGE, None, {}, None, id="seed-good"),
        pytest.param(PASSAGE[:200], None, {}, "too_short", id="seed-short"),
        pytest.param(TABLE, None, {}, "mostly_bullets", id="seed-of-numbers"),
        pytest.param(f"{PASSAGE}\n\n{PASSAGE}", None, {}, "repeated_lines", id="seed-twice"),
        pytest.param("glacier " * 60, None, {}, "few_stop_words", id="seed-of-one-word"),
        pytest.param(PASSAGE, "distill", {"copy_8gram_share": 0.1}, None, id="prose-good"),
        pytest.param(PASSAGE, "textbook", {}, None, id="prose-without-seed-text-is-not-called-a-copy"),
        pytest.param(PASSAGE, "distill", {"copy_8gram_share": 0.7}, "copied", id="prose-copied"),
        pytest.param(PASSAGE[:300], "distill", {}, None, id="prose-of-fifty-words"),
        pytest.param(PASSAGE[:60], "distill", {}, "too_short", id="prose-short"),
        pytest.param(LOOP, "distill", {}, "repeated_ngrams", id="prose-loop"),
        pytest.param(QUESTIONS, "diverse_qa", {}, None, id="questions-good"),
        pytest.param(QUESTIONS, "distill", {}, "repeated_ngrams", id="the-same-fails-as-prose"),
        pytest.param(LOOP, "diverse_qa", {}, "repeated_ngrams", id="questions-loop"),
        pytest.param(f"{QUESTIONS}\n{QUESTIONS}", "diverse_qa", {}, "repeated_lines", id="questions-twice"),
        pytest.param("Question: Why?\nAnswer: Because.", "diverse_qa", {}, "too_short", id="questions-short"),
        pytest.param("6 * 3 = 18 eggs a week.\nHe eats 18 eggs.\n18", "math_problem", {}, None, id="short-solution"),
        pytest.param(f"{PASSAGE} It is 2 + 2 = 5.", "textbook", {}, "wrong_arithmetic", id="wrong-sum"),
        pytest.param(f"As an AI language model, I say: {PASSAGE}", "distill", {}, "leak", id="leak"),
        pytest.param(PASSAGE, "distill", {"numbers_invented": 1.0}, "invented_number", id="invented-number"),
        pytest.param(PASSAGE, "textbook", {"numbers_invented": 1.0}, None, id="a-lesson-may-add"),
        pytest.param(PASSAGE, "distill", {"canary_seed": 1.0}, "canary_seed", id="canary"),
        pytest.param(PASSAGE, "distill", {"foreign_canaries": 1.0}, "canary_obeyed", id="canary-in-another-text"),
        pytest.param(PASSAGE, "distill", {"unverified_generations": 1.0}, "unverified_generation", id="unverified"),
    ],
)
def test_default_gates(text: str, family: str | None, scores: dict[str, Any], expected: str | None) -> None:
    assert default_reason(text, family, **scores) == expected


def test_good_questions_and_a_loop_lie_on_both_sides_of_the_bound_for_loops() -> None:
    bounds = [
        gate.max
        for gate in DEFAULT_DOCUMENT_GATES
        if gate.column == "duplicate_10gram_char_ratio" and not gate.families
    ]
    good, loop = text_statistics(pa.array([QUESTIONS, LOOP]))["duplicate_10gram_char_ratio"].to_pylist()
    assert (round(good, 2), bounds, round(loop, 2)) == (0.14, [0.3], 0.56)


def test_default_gates_read_columns_that_their_rules_write() -> None:
    written = [
        column
        for rule in DEFAULT_RULES
        for column in score_columns(rules.get(rule.name), rules.get(rule.name).Options())
    ]
    check_gates(DEFAULT_SEED_GATES, STATISTICS.names)
    written += VERDICT_COLUMNS
    check_gates(DEFAULT_DOCUMENT_GATES, written)
    with pytest.raises(RecipeError, match="copy_8gram_share"):
        check_gates(DEFAULT_DOCUMENT_GATES, [column for column in written if not column.startswith("copy")])
