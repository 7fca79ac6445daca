"""The rule `decontamination`: what it says is what a slow search says, planted problems are named, honest text is left alone."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import filters.rules  # noqa: F401  adds the bundled rules
from filters import decontamination_kernels as kernels
from filters.decontamination import EVIDENCE_HITS, SCORES, Benchmark, DecontaminationOptions, items_of, score
from filters.decontamination_index import Index, Item, code_point_table, words_of
from filters.registry import apply_rule, rules, score_columns
from synth.config import parse
from synth.digest import file_sha256
from synth.errors import RecipeError
from tests.benchmarks.decontamination import KINDS, gsm8k, hits, passages, planted, python_docs

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
    found = apply_rule(rules.get("decontamination"), table, chosen)
    assert found.schema == SCORES
    return found


# Words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("Don't STOP", "dont stop", id="case"),
        pytest.param("don’t don‘t don＇t donʼt", "dont dont dont dont", id="apostrophes"),
        pytest.param("$1,000.50 and 1,2", "1000 50 and 12", id="numbers keep their digits"),
        pytest.param("a,b 1,b a,1", "a b 1 b a 1", id="commas between letters separate"),
        pytest.param("well-known—and_so \t\n on…", "well known and so on", id="punctuation separates"),
        pytest.param("'quoted' rock''n''roll", "quoted rock n roll", id="apostrophes outside words separate"),
        pytest.param("cafe\N{COMBINING ACUTE ACCENT} CAFÉ", "café café", id="composed"),
        pytest.param("ﬁnd Ｆｕｌｌ x² ½", "find full x2 1 2", id="compatible forms"),
        pytest.param("soft\xadhyphen zero\u200bwidth \ufeff", "softhyphen zerowidth", id="what cannot be seen"),
        pytest.param("STRASSE Straße ΣΑΣ", "strasse strasse σασ", id="folded"),
        pytest.param(" ... !? ", "", id="no words"),
    ],
)
def test_words(text: str, words: str) -> None:
    assert words_of(text) == words.split()


# Many letters, and many that depend on their neighbours, with what matters to the kernel between them.
ODD = "aZ09'’ʼ＇,，_-.\n \xad\u200b\ufe0fßſİıΣςﬁ²½éÉ\u0301\u0327ेกา한ᄒ\u1161\u11ab각ｶﾞ·ǅ😀𝐀𝟙\U00020000\0"
TEXTS = st.text(st.one_of(st.sampled_from(ODD), st.characters(codec="utf-8")), max_size=30)


def kernel_prefixes(data: bytes) -> list[int] | None:
    prefixes, spans = np.zeros(len(data) // 2 + 2, np.uint64), np.zeros((len(data) // 2 + 2, 2), np.int64)
    values = np.frombuffer(b"." + data, np.uint8)
    count = kernels._text_prefixes(values, 1, len(values), code_point_table(), prefixes, spans)
    if count < 0:
        return None
    for at in range(count):
        first, end = spans[at]
        assert len(words_of(values[first:end].tobytes().decode())) == 1
    return prefixes[: count + 1].tolist()


def word_prefixes(words: Sequence[str]) -> list[int]:
    codes = np.frombuffer(" ".join(words).encode("utf-32-le"), np.uint32)
    return kernels.word_prefixes(codes, len(words)).tolist()


@given(TEXTS)
@settings(max_examples=500, deadline=None)
def test_the_kernel_sees_the_same_words(text: str) -> None:
    found = kernel_prefixes(text.encode())
    assert found in (None, word_prefixes(words_of(text)))
    if text.isascii():
        assert found is not None


def test_the_kernel_sees_each_character_between_others_as_python_does() -> None:
    """Every assigned one, before and after letters, digits and the marks that join words."""
    told = 0
    for code in range(0x80, 0x20000):
        if unicodedata.category(chr(code)) in ("Cn", "Cs", "Co") or 0x3400 < code < 0x9FF0 or 0xAC10 < code < 0xD7A0:
            continue
        if 0x12000 < code < 0x1D000:
            continue
        text = f"a{chr(code)}b 1{chr(code)}2 {chr(code)} 'x{chr(code)}'y"
        found = kernel_prefixes(text.encode())
        told += found is not None
        assert found in (None, word_prefixes(words_of(text))), hex(code)
    assert told > 10_000


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"a\xc3", b"\xc3(", b"\xe2\x28\xa1", b"\xc0\x80", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf0\x80\x80\x80"],
)
def test_bytes_that_are_not_utf8_are_refused(data: bytes, options: DecontaminationOptions) -> None:
    assert kernel_prefixes(data) is None
    offsets = np.array([0, len(data)], np.int64).tobytes()
    texts = pa.LargeStringArray.from_buffers(1, pa.py_buffer(offsets), pa.py_buffer(data))
    with pytest.raises(UnicodeDecodeError):
        score(pa.table({"text": texts}), options)


# The rules, against a slow search


def slow(items: Sequence[Item], text: str) -> dict[int, tuple[str | None, float]]:
    """Item -> rule and coverage, of the items that the text touches, by the definitions."""
    words = tuple(words_of(text))

    def stands(run: tuple[str, ...]) -> list[int]:
        return [at for at in range(len(words) - len(run) + 1) if words[at : at + len(run)] == run]

    eights, thirteens = ({words[at : at + size] for at in range(len(words) - size + 1)} for size in (8, 13))
    found: dict[int, tuple[str | None, float]] = {}
    for number, item in enumerate(items):
        covered: set[int] = set()
        for at in range(len(item.prompt) - 7):
            if item.prompt[at : at + 8] in eights:
                covered |= set(range(at, at + 8))
        coverage = len(covered) / max(len(item.prompt), 1)
        full = item.prompt + item.answer
        if coverage >= 0.5:
            found[number] = "A", coverage
        elif any(full[at : at + 13] in thirteens for at in range(len(full) - 12)):
            found[number] = "B", coverage
        elif 0 < len(item.prompt) < 8 and item.answer and is_near(stands(item.prompt), stands(item.answer), item):
            found[number] = "C", 1.0
        elif covered:
            found[number] = None, coverage
    return found


def is_near(prompts: list[int], answers: list[int], item: Item) -> bool:
    for prompt in prompts:
        for answer in answers:
            ends = prompt + len(item.prompt), answer + len(item.answer)
            apart = ends[0] <= answer or ends[1] <= prompt
            if apart and max(ends) - min(prompt, answer) <= 200:
                return True
    return False


WORDS = st.sampled_from(("a", "b", "é", "1"))


def runs(least: int, most: int) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(WORDS, min_size=least, max_size=most).map(tuple)


ITEMS = st.lists(st.builds(Item, st.just("x/0"), runs(0, 3) | runs(5, 20), runs(0, 2) | runs(3, 16)), max_size=4)
PIECES = st.tuples(
    st.integers(0, 3), st.integers(0, 12), st.integers(0, 40), st.sampled_from((0, 1, 178, 195)), runs(0, 3)
)
BLANKS = st.sampled_from((" ", "  ", ", ", " - ", "\n", "…"))
SPELLINGS = st.sampled_from((str.upper, str.lower, partial(unicodedata.normalize, "NFD")))


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Item], list[str]]:
    """Items, and texts that hold pieces of them, in other cases and with other marks, some with a combining mark."""
    items = draw(ITEMS)
    texts = []
    for pieces in draw(st.lists(st.lists(PIECES, max_size=4), min_size=1, max_size=3)):
        words: list[str] = []
        for which, start, length, fillers, others in pieces:
            if which < len(items):
                words += (items[which].prompt + items[which].answer)[start * (which > 1) :][:length]
            words += ["filler"] * fillers + list(others)
        ways = cycle(draw(st.lists(st.tuples(SPELLINGS, BLANKS), min_size=1, max_size=4)))
        texts.append("".join(spell(word) + blank for word, (spell, blank) in zip(words, ways, strict=False)))
    return items, texts


@given(cases())
@settings(max_examples=300, deadline=None)
def test_what_is_found_is_what_a_slow_search_finds(case: tuple[list[Item], list[str]]) -> None:
    items, texts = case
    index = Index(items)
    has_words, touched = index.look_up_all(pa.array(texts, pa.large_string()))
    assert has_words == [bool(words_of(text)) for text in texts]
    for row, text in enumerate(texts):
        wanted = slow(items, text)
        for rule, _ in wanted.values():
            event(f"rule {rule}")
        for hits_of in (touched.get(row, []), index.look_up(words_of(text))):
            said = {hit.item: (hit.rule, hit.coverage) for hit in hits_of if hit.rule or hit.coverage}
            assert said == wanted
            assert all(tuple(words_of(text)[hit.at_word :][: len(hit.ngram)]) == hit.ngram for hit in hits_of)
        assert touched.get(row, []) == index.look_up(words_of(text))


def test_a_hash_alone_is_no_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run of a text is given out as every n-gram of the index."""
    item = Item("x/0", ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine"), ("the", "end"))
    other = Item("x/1", ("why", "not"), ("so",))
    index = Index([item, other])
    grams = range(len(index._arguments[2]))

    def everything(prefixes: Any, *_: Any) -> Any:
        count = len(prefixes) - 1
        found = [
            (0, start, length, gram, 0, 0)
            for length in (2, 8, 13)
            for start in range(count - length + 1)
            for gram in grams
        ]
        return np.array(found, np.int64).reshape(-1, 6)

    monkeypatch.setattr(kernels, "matches", everything)
    for text in ("a b c d e f g h i j k l m n o p q", "one two three four five six seven nine eight the end", "why so"):
        assert index.look_up(text.split()) == []
    (hit,) = index.look_up(["so", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight"])
    assert (hit.item, hit.rule, hit.at_word) == (0, "A", 2)


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
    }
    assert honest == {"contamination_checked": 2, **clean}
    assert none == empty == {"contamination_checked": 0, **clean}


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
    for check in (other.check, lambda: score(pa.table({"text": ["a"]}), other)):
        with pytest.raises(RecipeError, match=r"(?s)not the file of benchmark 'eggs'.*sha256"):
            check()


def test_columns_are_known_without_the_files() -> None:
    spec = rules.get("decontamination")
    nowhere = {"name": "a", "path": "none.jsonl", "sha256": "0" * 64}
    chosen = parse(DecontaminationOptions, {"benchmarks": [nowhere]})
    assert score_columns(spec, chosen) == SCORES.names
    assert {spec.rungs[0].checked, spec.rungs[0].wrong, spec.rungs[0].evidence} < set(SCORES.names)
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
    assert sum(map(len, found)) <= 1.02 * len(found)


def test_honest_texts_are_left_alone() -> None:
    assert not any(hits([*python_docs(), *passages()], [gsm8k("test")]))
