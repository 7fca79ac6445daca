"""The rule `fidelity`: what a rewrite lost or invented is counted and named; the bars on real paragraphs hold."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import filters.rules  # noqa: F401  adds the bundled rules
from filters import fidelity
from filters.registry import apply_rule, rules, score_columns
from tests.benchmarks.fidelity import wilson
from tests.fidelity_edits import Document, documents, edited, flagged

SEED = (
    "On 26 June 1974, Sharon Buchanan scanned 10 packs of gum in Troy, Ohio. George Laurer of IBM had designed the code. "
    "It holds twelve digits and is read by three lamps within 1,455 milliseconds in 99.5 percent of the cases."
)


def fidelity_of(generated: str | None, seed: str | None) -> dict[str, Any]:
    spec = rules.get("fidelity")
    table = pa.table({"generated": [generated], "seed_text": pa.array([seed], pa.large_string())})
    (row,) = apply_rule(spec, table, spec.Options()).to_pylist()
    return row


def test_a_text_says_all_that_itself_says() -> None:
    row = fidelity_of(SEED, SEED)
    assert (row["length_ratio"], row["number_recall"], row["name_recall"]) == (1, 1, 1)
    assert (row["fact_recall"], row["content_recall"], row["content_precision"]) == (1, 1, 1)
    assert (row["source_numbers"], row["kept_numbers"], row["numbers_checked"]) == (7, 7, 7)
    assert (row["source_names"], row["kept_names"], row["names_checked"]) == (4, 4, 4)
    assert (row["numbers_invented"], row["invented_numbers"], row["names_invented"]) == (0, None, 0)


@pytest.mark.parametrize(("generated", "seed"), [(SEED, None), (SEED, ""), (SEED, " \n"), (None, None)])
def test_without_a_seed_text_there_is_nothing_to_compare(generated: str | None, seed: str | None) -> None:
    assert set(fidelity_of(generated, seed).values()) == {None}


def test_an_empty_text_keeps_nothing_and_invents_nothing() -> None:
    row = fidelity_of("", SEED)
    assert (row["length_ratio"], row["number_recall"], row["name_recall"], row["content_recall"]) == (0, 0, 0, 0)
    assert (row["numbers_checked"], row["names_checked"], row["content_precision"]) == (0, 0, None)


@pytest.mark.parametrize(
    ("generated", "seed", "invented"),
    [
        pytest.param("it has 12 digits", SEED, None, id="digits-for-words"),
        pytest.param("June 26, 1974", SEED, None, id="date-turned-round"),
        pytest.param("after 1455 ms", SEED, None, id="no-separator"),
        pytest.param("almost 1,500 ms", SEED, None, id="rounded-and-says-so"),
        pytest.param("it took 1,500 ms", SEED, "1,500 (not in the source)", id="rounded-and-does-not"),
        pytest.param("about 1,700 ms", SEED, "1,700 (not in the source)", id="not-rounded"),
        pytest.param("around 1970 it was", SEED, "1970 (not in the source)", id="years-are-not-rounded"),
        pytest.param("27 June 1974", SEED, "27 June (not in the source)", id="another-day"),
        pytest.param("in July 1974", SEED, "July (not in the source)", id="another-month"),
        pytest.param("13 digits, 14 packs", SEED, "13 (not in the source); 14 (not in the source)", id="two"),
        pytest.param("13 digits or 13", SEED, "13 (not in the source)", id="the-same-once"),
        pytest.param("read by four lamps", SEED, "four lamps (the source has three)", id="another-count"),
        pytest.param("for two reasons both work", SEED, None, id="a-count-of-things-not-counted-before"),
        pytest.param("a fifth", "It is 20 percent.", None, id="share-for-percentage"),
        pytest.param("20 of the men", "It is 20 percent.", "20 (not in the source)", id="number-for-percentage"),
        pytest.param("twice five is ten", "Five and two.", None, id="small-words"),
        pytest.param("the 19th or 20th century", "The 19th and 20th centuries.", None, id="century-of-two"),
    ],
)
def test_invented_numbers(generated: str, seed: str, invented: str | None) -> None:
    row = fidelity_of(generated, seed)
    assert row["invented_numbers"] == invented
    assert row["numbers_invented"] == (invented.count(";") + 1 if invented else 0)


@pytest.mark.parametrize(
    ("generated", "seed", "invented"),
    [
        pytest.param("then Laurer and Buchanan met", SEED, None, id="last-names"),
        pytest.param("then John Laurer came", SEED, "John Laurer (not in the source)", id="a-first-name-of-its-own"),
        pytest.param("then Zamenhof came", SEED, "Zamenhof (not in the source)", id="another"),
        pytest.param("Later it sold. Shops liked it.", SEED, None, id="sentence-starts-are-no-names"),
        pytest.param("the Code of Gum", SEED, None, id="words-of-the-source-in-capitals"),
        pytest.param("a Norwegian and a Dutchman", "In Norway and the Netherlands.", None, id="peoples"),
        pytest.param("in Peru, in Poland", "The Peruvian and the Polish one.", None, id="countries-of-peoples"),
        pytest.param(
            "the US and the WHO", "The United States left the World Health Organization.", None, id="acronyms"
        ),
        pytest.param("for the World Health Organization", "It was the WHO.", None, id="an-acronym-in-full"),
        pytest.param("an RFC says so", "A request for comments says so.", None, id="acronym-of-plain-words"),
        pytest.param("all Monarchs fly", "A monarch flies.", None, id="plural"),
        pytest.param("by calling `__len__`", "It calls object.__len__().", None, id="part-of-an-identifier"),
        pytest.param("sets co_flag", "It sets co_flags.", None, id="identifier-but-for-an-s"),
        pytest.param("sets co_name", "It sets co_flags.", "co_name (not in the source)", id="another-identifier"),
        pytest.param("since 3.11.5", "Since 3.11.4.", "3.11.5 (not in the source)", id="another-release"),
    ],
)
def test_invented_names(generated: str, seed: str, invented: str | None) -> None:
    row = fidelity_of(generated, seed)
    assert (row["invented_names"], row["names_invented"]) == (invented, 1 if invented else 0)


def test_what_is_lost_is_counted() -> None:
    row = fidelity_of("In Troy, Laurer's code of twelve digits was scanned in 1974.", SEED)
    assert (row["kept_numbers"], row["source_numbers"], row["number_recall"]) == (2, 7, 2 / 7)
    assert (row["kept_names"], row["source_names"], row["name_recall"]) == (2, 4, 2 / 4)
    assert row["fact_recall"] == 4 / 11
    assert row["length_ratio"] == 11 / len(SEED.split())


def test_names_with_one_last_word_are_one_name() -> None:
    seed = "There was Marie Curie, there was Pierre Curie, and the Curie family."
    row = fidelity_of("it was Marie", seed)
    assert (row["source_names"], row["kept_names"]) == (1, 1)


def test_content_words_are_compared_by_their_beginning() -> None:
    row = fidelity_of(
        "The insect was seen colonizing a tree, colonies of it", "A colony of insects with colonial wings"
    )
    assert row["content_recall"] == 2 / 4  # insect, coloni; not colony, wings
    assert row["content_precision"] == 2 / 3  # tree


def test_two_facts_make_no_recall() -> None:
    assert fidelity_of("nothing", "In Troy in 1974 it was sold.")["fact_recall"] is None
    assert fidelity_of("nothing", "In Troy in Ohio in 1974 it was sold.")["fact_recall"] == 0


def test_the_columns_are_known_without_texts() -> None:
    spec = rules.get("fidelity")
    assert score_columns(spec, spec.Options()) == fidelity.SCORES.names


def test_offenders_are_named_up_to_a_limit() -> None:
    row = fidelity_of(" ".join(f"{number}," for number in range(100, 200)), SEED)
    assert row["numbers_invented"] == 100
    assert row["invented_numbers"].count(";") == fidelity.MOST_OFFENDERS - 1


PHRASES = (
    "In 1974,|George Laurer|of IBM|made|twelve digits.|About 1,500 people|on 3 May 1980|came|20%|to the United States|No one"
    "|in the nineteenth century|saw it.|Two thirds|of them|left|\n|`a.b`|3.11.4|half|first|a dozen|5-10|minus 40"
)
LINES = st.lists(st.sampled_from(PHRASES.split("|")), min_size=1, max_size=20).map(" ".join)


@settings(max_examples=100, deadline=None)
@given(LINES | st.text(max_size=80))
def test_any_text_is_faithful_to_itself(text: str) -> None:
    assume(text.strip())
    row = fidelity_of(text, text)
    assert (row["numbers_invented"], row["names_invented"]) == (0, 0)
    recalls = {row[name] for name in ("number_recall", "name_recall", "content_recall", "content_precision")}
    assert recalls <= {1.0, None}


@settings(max_examples=100, deadline=None)
@given(LINES, LINES, st.integers(21, 99_999), st.integers(21, 99_999))
def test_a_changed_number_is_invented(before: str, after: str, old: int, new: int) -> None:
    assume(str(new) not in f"{before} {after} {old}" and new not in (40, 1974, 1980))
    row = fidelity_of(f"{before} they had {new} stones {after}", f"{before} they had {old} stones {after}")
    assert row["numbers_invented"] == 1
    assert row["invented_numbers"] == f"{new} (not in the source)"


HOSTILE = [
    "1",
    "1,111",
    "1/",
    "one ",
    "Aa ",
    "A-",
    "a.b",
    "_",
    "`a",
    "ABC ",
    "about 12 ",
    "1. \n",
    "://",
    "0x",
    "First, ",
]


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.timeout(20)  # a second or two; a quadratic scan of such a text takes far longer
def test_hostile_text_takes_no_quadratic_time(piece: str) -> None:
    text = piece * (120_000 // len(piece))
    row = fidelity_of(text, f"{SEED} {text}")
    assert (row["numbers_invented"], row["names_invented"]) == (0, 0)


@pytest.fixture(scope="module")
def honest() -> list[Document]:
    return documents()


@pytest.fixture(scope="module")
def passing(honest: list[Document]) -> list[Document]:
    return [document for document, found in zip(honest, flagged(honest), strict=True) if not found]


def test_the_paragraphs_are_there(honest: list[Document]) -> None:
    assert len({document.id for document in honest}) == len(honest)
    passages = [document for document in honest if document.text_kind == "passages"]
    assert (len(passages), {document.family for document in passages}) == (80, {"rephrased", "condensed"})
    assert len(honest) > 180


def test_honest_rewrites_pass(honest: list[Document], passing: list[Document]) -> None:
    assert 1 - len(passing) / len(honest) <= 0.05


@pytest.mark.parametrize(("edit", "bar"), [("changed number", 0.95), ("swapped name", 0.9)])
def test_planted_edits_are_flagged(passing: list[Document], edit: str, bar: float) -> None:
    made = edited(edit, passing)
    assert len(made) > 400
    assert sum(map(bool, flagged(made))) / len(made) >= bar


def test_rewrites_cut_in_half_are_flagged(passing: list[Document]) -> None:
    made = edited("half removed", [document for document in passing if document.family != "condensed"])
    assert len(made) > 90
    assert sum(map(bool, flagged(made))) / len(made) >= 0.95


def test_wilson() -> None:
    assert wilson(95, 100) == (pytest.approx(0.888, abs=1e-3), pytest.approx(0.978, abs=1e-3))
