"""`synth sql`: what it answers, what it says when the question is wrong, and what it does not let out or in."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from audit_contamination import contaminate
from audit_home import Wave, write_home, write_release, write_run

from synth.audit.catalog import build_catalog
from synth.audit.sql import canned, canned_titles, query
from synth.errors import HomeError, UserError


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with one release."""
    home = tmp_path_factory.mktemp("sql") / "home"
    write_home(home)
    wave = Wave()
    contaminate(wave)
    wave.write(home)
    write_run(home, wave)
    write_release(home, 1, [wave])
    build_catalog(home)
    yield home


def test_the_answer_is_a_table_with_native_types(home: Path) -> None:
    answer = query(home, "SELECT family, count(*) AS documents FROM documents GROUP BY family ORDER BY family")
    assert answer.schema == pa.schema([("family", pa.string()), ("documents", pa.int64())])
    assert answer.to_pylist() == [{"family": "distill", "documents": 8}, {"family": "qa", "documents": 10}]


def test_an_answer_without_rows_has_its_columns(home: Path) -> None:
    assert query(home, "SELECT id FROM documents WHERE false").schema.names == ["id"]


@pytest.mark.parametrize(
    "sql", ["FROM kept", "WITH k AS (FROM kept) FROM k", "DESCRIBE kept", "SHOW TABLES", "SUMMARIZE kept"]
)
def test_every_form_of_a_select_is_answered(home: Path, sql: str) -> None:
    assert query(home, sql).num_rows > 5


def test_times_are_utc_wherever_the_reader_sits(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert query(home, "SELECT created_at::VARCHAR AS at FROM releases")["at"].to_pylist() == ["2026-11-01 00:00:00+00"]


# What is printed at the end of a run.


@pytest.mark.parametrize("name", sorted(canned_titles()))
def test_a_canned_question_can_be_pasted_between_double_quotes(home: Path, name: str) -> None:
    sql = canned(name)
    assert not set('"$`\\!\n') & set(sql)
    assert query(home, sql).num_rows > 0


def test_canned_questions_have_titles_and_unknown_ones_are_refused() -> None:
    about_text = {"drops_by_reason", "yield_by_family", "why_dropped", "duplicates"}
    about_money = {"cost_per_kept_token", "paid_for_nothing", "yield_by_model", "reasoning_cost"}
    about_corpus = {
        "contamination",
        "coverage",
        "family_shares",
        "injections",
        "invented_numbers",
        "ladder_verdicts",
        "test_time_compute",
    }
    assert about_text | about_money | about_corpus == set(canned_titles())
    assert all(title[0].islower() and not title.startswith("--") for title in canned_titles().values())
    with pytest.raises(UserError, match="did you mean 'duplicates'"):
        canned("duplicate")


def test_why_and_how_much_was_dropped(home: Path) -> None:
    reasons = query(home, canned("drops_by_reason")).to_pylist()
    assert {"step": "keep", "counted_as": "too_short", "items": 4} in reasons
    families = {
        row["family"]: (row["documents"], row["kept"]) for row in query(home, canned("yield_by_family")).to_pylist()
    }
    assert families == {"qa": (10, 6), "distill": (8, 3)}
    (cost,) = query(home, canned("cost_per_kept_token")).to_pylist()
    # 18 answers of 50 tokens and 4 failed attempts of 7; 9 documents of 40 tokens stay.
    assert (cost["generated_tokens"], cost["kept_tokens"], cost["generated_per_kept"]) == (928, 360, 2.58)


# Wrong questions.


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        pytest.param(
            "SELECT * FROM documnts",
            ["documnts", "did you mean 'documents'?", "allowed: ", "agreement, answer_bias, "],
            id="unknown view",
        ),
        pytest.param(
            "SELECT famly FROM drops, kept",
            ["famly", "allowed: agreement.family, answer_bias.family"],
            id="unknown column",
        ),
        pytest.param("SELECT k.famly FROM kept k", ["famly", "documents.family"], id="unknown column of an alias"),
        pytest.param("SELEC 1", ["cannot be parsed", 'near "SELEC"'], id="no SQL"),
        pytest.param("", ["given:   no statement", "one SELECT"], id="nothing"),
        pytest.param("SELECT 1; SELECT 2", ["given:   SELECT and SELECT"], id="two statements"),
        pytest.param("SELECT 'x'::INTEGER", ["Could not convert string 'x'"], id="wrong value"),
        pytest.param("SELECT count(*) FROM range(10) WHERE $x", ["x"], id="a parameter without a value"),
    ],
)
def test_a_wrong_question_is_explained(home: Path, sql: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        query(home, sql)
    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)


def test_a_home_without_a_catalogue_says_what_to_do(tmp_path: Path) -> None:
    write_home(tmp_path)
    with pytest.raises(HomeError, match=r"no catalogue\n.*synth run"):
        query(tmp_path, "SELECT 1")


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("SELECT count(*) FROM range(10000000000000)", id="one that counts"),
        pytest.param("SELECT * FROM range(10000000000000) WHERE hash(range) = 1", id="one that finds nothing"),
        pytest.param(
            "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t", id="recursion"
        ),
    ],
)
def test_an_endless_query_is_stopped(home: Path, sql: str) -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=r"took more than 0\.3 seconds"):
        query(home, sql, limit_seconds=0.3)
    assert time.monotonic() - start < 10
    assert "sql watchdog" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        pytest.param("SELECT list(range) FROM range(100000000)", "needs more than 50,000,000 bytes", id="work"),
        pytest.param("SELECT * FROM range(1000000000)", "answer is larger than 50,000,000 bytes", id="answer"),
    ],
)
def test_memory_is_limited(home: Path, sql: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        query(home, sql, memory="50MB")


def test_a_memory_limit_that_is_no_size_is_refused(home: Path) -> None:
    with pytest.raises(UserError, match="given:   lots"):
        query(home, "SELECT 1", memory="lots")


def test_two_questions_at_once_do_not_share_a_sandbox(home: Path) -> None:
    """A locked connection must not lock out the next one, nor one question's limit end another."""
    answers: list[int] = []

    def ask() -> None:
        answers.append(query(home, "SELECT count(*) AS n FROM documents")["n"][0].as_py())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [18] * 4
