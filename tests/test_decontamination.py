"""The rule `decontamination`: its columns, its files, its report; planted problems are named, honest text is left alone."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import filters.rules  # noqa: F401  adds the bundled rules
from filters.decontamination import EVIDENCE_HITS, SCORES, DecontaminationOptions
from filters.decontamination_sets import Benchmark, items_of
from filters.decontamination_words import words_of
from filters.registry import apply_rule, rules, score_columns
from synth.config import parse
from synth.digest import file_sha256
from synth.errors import RecipeError
from tests.benchmarks.decontamination import KINDS, gsm8k, hits, passages, planted, python_docs

SIBLINGS = ((418, 558), (488, 761), (33, 863))  # problems of GSM8K test that tell one story with another question
WITH_DOCSTRINGS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
QUESTION = "How many eggs do 16 ducks lay in 3 weeks, if each lays one on every other day?"
ANSWER = "Each lays 21 / 2 eggs in the three weeks, so that all of them lay 168 eggs. #### 168"


def benchmark(folder: Path, rows: Sequence[dict[str, Any]], name: str = "eggs", **changes: Any) -> Benchmark:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    fields = {"name": name, "path": str(path), "sha256": file_sha256(path), "answer": "answer"}
    return parse(Benchmark, fields | changes)


@pytest.fixture
def options(tmp_path: Path) -> DecontaminationOptions:
    """Three items: a long prompt, a short one, and one that cannot be found."""
    rows = [
        {"question": QUESTION, "answer": ANSWER},
        {"question": "What is the capital of France?", "answer": "Paris"},
        {"question": "Why?", "answer": ""},
    ]
    return DecontaminationOptions(benchmarks=(benchmark(tmp_path, rows),))


def scores(texts: Sequence[str | None], chosen: DecontaminationOptions) -> list[dict[str, Any]]:
    return scored(pa.table({"text": pa.array(texts, pa.large_string())}), chosen).to_pylist()


def scored(table: pa.Table, chosen: DecontaminationOptions) -> pa.Table:
    """The columns; where `table` has no reasoning there is none."""
    if "reasoning" not in table.column_names:
        table = table.append_column("reasoning", pa.nulls(len(table), pa.large_string()))
    found = apply_rule(rules.get("decontamination"), table, chosen)
    assert found.schema == SCORES
    return found


# The columns


def test_what_the_columns_say(options: DecontaminationOptions) -> None:
    leaked, short, honest, none, empty = scores(
        [
            f"Notes. {QUESTION.upper()} {ANSWER}",
            "Quiz: what is the CAPITAL of france … Paris!",
            "Ducks lay eggs; what is the capital of France is a question.",
            None,
            "…",
        ],
        options,
    )
    (leak,), (quiz,) = leaked.pop("contamination_found"), short.pop("contamination_found")
    assert leak == {
        "score": 1.0,
        "benchmark": "eggs",
        "item": "eggs/0",
        "rule": "A",
        "part": "text",
        "ngram": "how many eggs do 16 ducks lay in",
        "at_word": 1,
        "words": 18,
        "start_byte": 7,
        "end_byte": 7 + len(QUESTION) - 1,
    }
    assert (quiz["rule"], quiz["at_word"], quiz["words"], quiz["start_byte"], quiz["end_byte"]) == ("C", 1, 7, 6, 45)
    assert leaked == {
        "contamination_checked": 2,
        "contaminated_items": 1,
        "contamination_rule": "A",
        "contamination_coverage": 1.0,
        "contamination_hits": "eggs/0 (A): 1.00 of its prompt, at word 1 'how many eggs do 16 ducks lay in'",
    }
    assert short == {
        "contamination_checked": 2,
        "contaminated_items": 1,
        "contamination_rule": "C",
        "contamination_coverage": 1.0,
        "contamination_hits": "eggs/1 (C): prompt and answer, at word 1 'what is the capital of france'",
    }
    clean = {
        "contaminated_items": 0,
        "contamination_rule": None,
        "contamination_coverage": 0.0,
        "contamination_hits": None,
        "contamination_found": None,
    }
    assert honest == {"contamination_checked": 2, **clean}
    assert none == empty == {"contamination_checked": 0, **clean}


def test_the_reasoning_is_looked_at_too(options: DecontaminationOptions) -> None:
    """Shards hold it. An item in both is one hit, the stronger one."""
    thought = "What is the capital of France? Paris."
    table = pa.table(
        {
            "text": pa.array(["", QUESTION, f"{QUESTION[:50]} {thought}", None], pa.large_string()),
            "reasoning": pa.array([f"So. {QUESTION}", thought, QUESTION, None], pa.large_string()),
        }
    )
    alone, apart, both, none = scored(table, options).to_pylist()
    assert alone["contamination_hits"].startswith(
        "eggs/0 (A): 1.00 of its prompt, at word 1 of its reasoning 'how many"
    )
    assert [(hit["item"], hit["part"], hit["start_byte"]) for hit in apart["contamination_found"]] == [
        ("eggs/0", "text", 0),
        ("eggs/1", "reasoning", 0),
    ]
    assert [(hit["item"], hit["part"], hit["score"]) for hit in both["contamination_found"]] == [
        ("eggs/0", "reasoning", 1.0),
        ("eggs/1", "text", 1.0),
    ]
    assert (alone["contamination_checked"], none["contamination_checked"]) == (2, 0)


def test_a_stretch_in_a_text_with_marks_is_where_it_stands(options: DecontaminationOptions) -> None:
    text = f"Cafe\u0301, e\u0301te\u0301; {QUESTION} Te\u0301."
    (row,) = scores([text], options)
    (hit,) = row["contamination_found"]
    assert text.encode()[hit["start_byte"] : hit["end_byte"]].decode() == QUESTION[:-1]
    assert hit["at_word"] == 2


def test_an_answer_alone_is_a_hit_by_thirteen_words_and_not_by_twelve(options: DecontaminationOptions) -> None:
    words = words_of(ANSWER)
    thirteen, twelve = scores([" ".join(words[:13]), " ".join(words[:12])], options)
    assert (thirteen["contamination_rule"], thirteen["contamination_coverage"]) == ("B", 0.0)
    assert twelve["contaminated_items"] == 0


def test_half_of_a_prompt_is_a_hit(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(20)]
    rows = [{"question": " ".join(words), "answer": "none"}]
    chosen = DecontaminationOptions(benchmarks=(benchmark(tmp_path, rows),))
    ten, nine = scores([" ".join(words[3:13]), " ".join(words[3:12])], chosen)
    assert (ten["contamination_rule"], ten["contamination_coverage"]) == ("A", 0.5)
    assert (nine["contamination_rule"], nine["contamination_coverage"]) == (None, 0.45)


@pytest.mark.parametrize("between", [193, 194])
def test_a_short_prompt_and_its_answer_stand_within_200_words(between: int, options: DecontaminationOptions) -> None:
    question, filler = "What is the capital of France?", "filler " * between
    found = scores([f"{question} {filler} Paris", f"Paris {filler} {question}"], options)
    assert [row["contaminated_items"] for row in found] == [int(between == 193)] * 2


def test_evidence_names_the_strongest_first_and_twenty_at_most(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(400)]
    rows = [{"question": " ".join(words[at * 10 : at * 10 + 12]), "answer": "x"} for at in range(30)]
    chosen = DecontaminationOptions(benchmarks=(benchmark(tmp_path, rows),))
    (row,) = scores([" ".join([*words[:10], "x", *words[10:]])], chosen)
    assert row["contaminated_items"] == 30
    shown = row["contamination_hits"].split("; ")
    assert len(shown) == EVIDENCE_HITS
    assert [one.split(" ")[0] for one in shown] == [f"eggs/{at}" for at in range(1, EVIDENCE_HITS + 1)]


def test_scores_do_not_depend_on_batches_order_or_type(options: DecontaminationOptions) -> None:
    texts = [QUESTION, None, "", "Paris. What is the capital of France", "nothing", f"e\u0301 {QUESTION}", ANSWER, None]
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    whole = scored(table, options).to_pylist()
    assert [row["contaminated_items"] for row in whole] == [1, 0, 0, 1, 0, 1, 1, 0]
    order = [5, 2, 7, 0, 6, 3, 1, 4]
    assert scored(table.take(order), options).to_pylist() == [whole[at] for at in order]
    for size in (1, 3):
        parts = [table.slice(start, size) for start in range(0, len(texts), size)]
        assert [row for part in parts for row in scored(part, options).to_pylist()] == whole
        chunked = pa.concat_tables([*parts, table.slice(0, 0)])
        assert scored(chunked, options).to_pylist() == whole
        assert scored(chunked.slice(2, 5), options).to_pylist() == whole[2:7]
    assert scored(pa.table({"text": pa.array(texts, pa.string())}), options).to_pylist() == whole


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece", ["9", "(", "' ", "'", "1,", "a ", "e\u0301", f"{QUESTION} ", "What is the capital of France? "]
)
def test_hostile_texts_end(piece: str, options: DecontaminationOptions) -> None:
    size = 200_000 if "?" in piece else 1_000_000
    (row,) = scores([piece * (size // len(piece.encode()))], options)
    assert row["contaminated_items"] == int(piece.startswith(QUESTION))


# Files


def test_a_file_is_known_by_its_bytes(tmp_path: Path, options: DecontaminationOptions) -> None:
    (one,) = options.benchmarks
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(Path(one.path).read_bytes())
    other = DecontaminationOptions(benchmarks=(one.model_copy(update={"path": str(moved)}),))
    assert other.content() == options.content()
    assert str(tmp_path) not in json.dumps(options.content())
    moved.write_text("{}\n")
    for check in (other.check, lambda: scores(["a"], other)):
        with pytest.raises(
            RecipeError, match=rf"(?s)not the file of benchmark 'eggs'.*sha256 = \"{file_sha256(moved)}"
        ):
            check()


def test_without_a_digest_the_error_shows_the_line_to_paste(tmp_path: Path, options: DecontaminationOptions) -> None:
    (one,) = options.benchmarks
    nameless = parse(Benchmark, {"name": "eggs", "path": one.path})
    for check in (DecontaminationOptions(benchmarks=(nameless,)).check, lambda: items_of(nameless)):
        with pytest.raises(RecipeError, match=f'sha256 = "{one.sha256}"'):
            check()


def test_columns_are_known_without_the_files() -> None:
    spec = rules.get("decontamination")
    nowhere = {"name": "a", "path": "none.jsonl", "sha256": "0" * 64}
    chosen = parse(DecontaminationOptions, {"benchmarks": [nowhere]})
    assert score_columns(spec, chosen) == SCORES.names
    (rung,) = spec.rungs
    assert {rung.checked, rung.wrong, rung.evidence, rung.each} < set(SCORES.names)
    with pytest.raises(RecipeError, match="no such file of benchmark 'a'"):
        chosen.check()


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        pytest.param([{"q": "a"}], {}, "item 0: no column 'question'", id="column"),
        pytest.param([{"question": "a", "answers": "b"}], {}, "did you mean 'answers'", id="near name"),
        pytest.param([{"question": ["a"], "answer": "b"}], {}, "'question' is no text", id="list"),
        pytest.param([{"question": None, "answer": "b"}], {}, "'question' is no text", id="null"),
        pytest.param([["a"]], {}, "line 1: not an object", id="not an object"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, rows: list[Any], changes: dict[str, Any], message: str) -> None:
    chosen = DecontaminationOptions(benchmarks=(benchmark(tmp_path, rows, **changes),))
    with pytest.raises(RecipeError, match=message):
        chosen.check()


@pytest.mark.parametrize("name", ["broken.jsonl", "broken.parquet"])
def test_broken_files_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b'{"question": ')
    with pytest.raises(RecipeError, match=name):
        items_of(Benchmark(name="a", path=str(path), sha256=file_sha256(path)))


def test_a_name_is_given_once(options: DecontaminationOptions) -> None:
    with pytest.raises(RecipeError, match=r"given twice[\s\S]*eggs"):
        DecontaminationOptions(benchmarks=options.benchmarks * 2).check()


def test_parquet_and_jsonl_give_the_same_items(tmp_path: Path) -> None:
    rows = [{"question": "How many are <<1+1=2>>2 and 1,000?", "answer": 1002}, {"question": "b", "answer": 3}]
    of_lines = items_of(benchmark(tmp_path, rows))
    path = tmp_path / "eggs.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    of_columns = items_of(Benchmark(name="eggs", path=str(path), sha256=file_sha256(path), answer="answer"))
    assert of_columns == of_lines
    assert of_lines[0].answer == ("1002",)
    assert [one.answer for one in items_of(benchmark(tmp_path, rows, answer=None))] == [(), ()]


# GSM8K


@pytest.mark.parametrize(
    ("kind", "least"), [*((kind, 1.0) for kind in KINDS if kind != "one word in twelve"), ("one word in twelve", 0.96)]
)
def test_planted_problems_are_named(kind: str, least: float) -> None:
    numbers, texts = planted(kind, every=40 if "long" in kind else 8)
    found = hits(texts, [gsm8k("test")])
    named = [f"gsm8k-test/{number}" in names for number, names in zip(numbers, found, strict=True)]
    assert sum(named) / len(named) >= least
    others = {(number, name) for number, names in zip(numbers, found, strict=True) for name in names}
    others -= {(number, f"gsm8k-test/{number}") for number in numbers}
    assert others <= {(one, f"gsm8k-test/{other}") for pair in SIBLINGS for one, other in (pair, pair[::-1])}


def test_honest_texts_are_left_alone() -> None:
    texts = [*python_docs(), *passages(), *islice(docstrings(), 1_000)]
    assert len(texts) > 1_000 and not any(hits(texts, [gsm8k("test")]))


def docstrings() -> Iterator[str]:
    """Of the standard library, in the order of its files."""
    for path in sorted(Path(json.__file__).parents[1].glob("*.py")):
        nodes = ast.walk(ast.parse(path.read_bytes()))
        yield from filter(None, (ast.get_docstring(node) for node in nodes if isinstance(node, WITH_DOCSTRINGS)))
