"""Copies of journals: every row, once, whatever it holds; and what is not a copy is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.engine.journal import TABLES, WIDTH, Journal, Writer
from synth.engine.journal_copies import Keys, Row, new_rows, pack, remember, restore, unpack
from synth.errors import HomeError

_CELL = st.one_of(st.none(), st.integers(-(2**62), 2**62), st.text(st.characters(exclude_categories=["Cs"])))


def send_row(name: str) -> Row:
    return "sends", (name, "ask", "run", "m", "scripted", "1", 0, "first", 7)


@given(st.lists(st.tuples(st.sampled_from(sorted(WIDTH)), st.lists(_CELL, min_size=1).map(tuple))))
def test_rows_come_back_as_they_were(rows: list[Row]) -> None:
    assert unpack(pack(rows), "x") == rows


def test_only_new_rows_are_read_while_the_journal_is_open(tmp_path: Path) -> None:
    writer, known = Writer(), Keys()
    journal = Journal(tmp_path / "journal.sqlite", writer)
    journal.describe({"m": "scripted"})
    for number in range(1200):
        writer.put(journal._connection, "sends", send_row(f"a{number:04d}")[1])
    writer.flush(journal._connection)
    first = list(new_rows(tmp_path / "journal.sqlite", known))
    assert sorted(row[0] for row in first) == ["meta"] + ["sends"] * 1200
    remember(known, first)
    assert list(new_rows(tmp_path / "journal.sqlite", known)) == []
    writer.put(journal._connection, "sends", send_row("b")[1])
    writer.flush(journal._connection)
    assert list(new_rows(tmp_path / "journal.sqlite", known)) == [send_row("b")]
    journal.close()
    writer.close()
    assert len(list(new_rows(tmp_path / "journal.sqlite", {}))) == 1202  # closed, too


def test_a_restored_journal_is_one_and_takes_more(tmp_path: Path) -> None:
    path = tmp_path / "new/journal.sqlite"
    restore(path, [send_row("a")])
    restore(path, [send_row("a"), send_row("b")])
    assert list(new_rows(path, {})) == [send_row("a"), send_row("b")]
    writer = Writer()
    journal = Journal(path, writer)
    assert [row["attempt_id"] for row in journal.attempts()] == ["a", "b"]
    journal.close()
    writer.close()


def test_a_journal_without_tables_or_file_has_no_rows(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "empty.sqlite").close()
    (tmp_path / "empty.sqlite").touch()
    assert list(new_rows(tmp_path / "empty.sqlite", {})) == []
    with pytest.raises(sqlite3.OperationalError):
        list(new_rows(tmp_path / "none.sqlite", {}))
    assert not (tmp_path / "none.sqlite").exists()


def test_every_table_of_a_journal_is_copied() -> None:
    with sqlite3.connect(":memory:") as connection:
        connection.executescript(TABLES)
        assert {name for (name,) in connection.execute("SELECT name FROM sqlite_master")} == set(WIDTH)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(pack([send_row("a")])[:-5], "cannot be read", id="torn"),
        pytest.param(b"", "cannot be read", id="empty"),
        pytest.param(b"PAR1", "cannot be read", id="another file"),
    ],
)
def test_what_is_no_copy_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(HomeError, match=rf"(?s)s3://b/x {words}.*paid for again"):
        unpack(data, "s3://b/x")


def test_another_versions_copy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack([send_row("a")])
    monkeypatch.setattr("synth.engine.journal_copies.FORMAT", 3)
    with pytest.raises(HomeError, match=r"(?s)another version of synth.*format 2.*format 3"):
        unpack(data, "x")
