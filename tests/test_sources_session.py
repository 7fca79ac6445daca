"""What a session makes of its sources: what is new, what is refused before anything starts, what a query reads again."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows import session as sessions
from flows.cli import main
from flows.recipe import load
from flows.session import Session
from synth.errors import RecipeError, SourceError
from synth.store import Store
from tests.corpora import passage, write_recipe

SQL = """[[sources]]
id = "picked"
kind = "sql"
paths = ["parts/*.parquet"]
query = "SELECT key, any_value(body) AS text FROM files WHERE score > 1 GROUP BY key"
columns.id = "key"
license = "CC0-1.0"
"""


def write_part(folder: Path, name: str, numbers: range) -> Path:
    (folder / "parts").mkdir(exist_ok=True)
    columns = {"key": numbers, "body": [passage(number) for number in numbers], "score": [2 + n % 2 for n in numbers]}
    pq.write_table(pa.table(columns), folder / "parts" / name)
    return folder / "parts" / name


def opened(folder: Path, sources: str, *assignments: str) -> Session:
    path = write_recipe(folder, "http://127.0.0.1:9/v1", sources=sources)
    return Session.open(load(path, assignments), folder, Store.open(folder / "corpus"))


def test_a_query_reads_all_files_again_when_one_is_new_and_its_seeds_are_recognised(tmp_path: Path) -> None:
    first = write_part(tmp_path, "a.parquet", range(3))
    write_part(tmp_path, "b.parquet", range(2, 5))
    made = opened(tmp_path, SQL).ingest()
    assert made and (made.counts["kept"], made.counts["notes"]["rows_read"]) == (5, 5)
    assert opened(tmp_path, SQL).new_files() == {}
    third = write_part(tmp_path, "c.parquet", range(4, 7))
    assert len(opened(tmp_path, SQL).new_files()) == 3
    made = opened(tmp_path, SQL).ingest()
    assert made and (made.counts["kept"], made.counts["notes"]["already_held"]) == (2, 5)
    third.unlink()
    assert opened(tmp_path, SQL).new_files() == {}  # asked of these two files before
    first.rename(first.with_name("z.parquet"))
    assert opened(tmp_path, SQL).new_files() == {}
    first.with_name("z.parquet").unlink()
    assert len(opened(tmp_path, SQL).new_files()) == 1  # of b alone it was never asked
    made = opened(tmp_path, SQL).ingest()
    assert made and (made.counts["kept"], made.counts["notes"]["already_held"]) == (0, 3)


def test_a_query_that_says_something_else_of_a_held_id_is_refused(tmp_path: Path) -> None:
    sources = SQL.replace("any_value(body)", "string_agg(body, ' ' ORDER BY body)")
    write_part(tmp_path, "a.parquet", range(3))
    opened(tmp_path, sources).ingest()
    write_part(tmp_path, "b.parquet", range(2, 4))
    with pytest.raises(SourceError, match="one id with two texts in source 'picked'"):
        opened(tmp_path, sources).ingest()


def test_another_query_is_another_source(tmp_path: Path) -> None:
    write_part(tmp_path, "a.parquet", range(3))
    opened(tmp_path, SQL).ingest()
    with pytest.raises(RecipeError, match=r"sources\.picked: query changed after its seeds were cut"):
        opened(tmp_path, SQL.replace("score > 1", "score > 2")).new_files()


def test_rows_of_a_query_do_not_depend_on_where_files_lie(tmp_path: Path) -> None:
    parts = []
    for folder, names in ((tmp_path / "one", ("a", "b")), (tmp_path / "two", ("z", "c"))):
        folder.mkdir()
        for name, numbers in zip(names, (range(3), range(2, 5)), strict=True):
            write_part(folder, f"{name}.parquet", numbers)
        made = opened(folder, SQL).ingest()
        assert made
        parts.append((made.key, [file.sha256 for file in made.tables("seeds")]))
    assert parts[0] == parts[1]


JSONL = '[[sources]]\nid = "texts"\nkind = "jsonl"\npaths = ["seeds/*.jsonl"]\ncolumns.text = "txt"'
PARQUET = '[[sources]]\nid = "texts"\nkind = "parquet"\npaths = ["parts/*.parquet"]\ncolumns.text = "boddy"'


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        pytest.param(
            JSONL, ["seeds/a.jsonl:1: no column 'txt'; did you mean 'text'?", "allowed: id, text"], id="jsonl"
        ),
        pytest.param(PARQUET, ["a.parquet: no column 'boddy'; did you mean 'body'?"], id="parquet"),
        pytest.param(SQL.replace("key, any", "key AS kex, any"), ["no column 'key'", "allowed: kex, text"], id="sql"),
        pytest.param(SQL.replace("FROM files", "FROM file"), ["no view 'file'", "did you mean 'files'"], id="sql view"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_columns_are_refused_before_a_file_is_read_whole(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    sources: str,
    words: list[str],
) -> None:
    def hashed(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(sessions, "file_sha256", hashed)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds/a.jsonl").write_text('{"id": 1, "text": "x"}\n')
    write_part(tmp_path, "a.parquet", range(3))
    write_recipe(tmp_path, "http://127.0.0.1:9/v1", sources=sources)
    assert main([command, "recipe.toml"]) == 2
    shown = capsys.readouterr().err
    assert [word for word in [*words, "do:"] if word not in shown] == [], shown
    assert "Traceback" not in shown


TEXT = '[[sources]]\nid = "texts"\nkind = "text"\npaths = ["texts/**/*.txt"]\nlicense = "CC0-1.0"'


def test_text_files_become_seeds_and_an_empty_one_is_a_counted_drop(tmp_path: Path) -> None:
    for number in range(3):
        file = tmp_path / f"texts/{number}/a.txt"
        file.parent.mkdir(parents=True)
        file.write_text(passage(number) if number else "")
    made = opened(tmp_path, TEXT).ingest()
    assert made and (made.counts["kept"], made.counts["dropped"]) == (2, {"empty_text": 1})
    (tmp_path / "texts/1/a.txt").rename(tmp_path / "texts/renamed.txt")
    assert opened(tmp_path, TEXT).new_files() == {}
