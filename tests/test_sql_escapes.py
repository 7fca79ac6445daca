"""`synth sql` is safe to hand around: what gets out, in or through is tried here, against each wall by itself.

The walls: a query may name views alone (`guard`), DuckDB's own locked settings (`sandbox`), a child process that can be
killed (`asking`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_home import Wave, write_home, write_release, write_run
from sql_escapes import ESCAPES

from flows.cli import main
from synth.audit import sql
from synth.audit.asking import Question, ask
from synth.audit.catalog import build_catalog
from synth.audit.guard import ROW_FUNCTIONS
from synth.audit.limits import within
from synth.errors import UserError

SECRET = "the secret beside the home"


@dataclass(frozen=True)
class Place:
    """A home, with secrets beside it, links to them in it, and a table that its catalogue does not list."""

    home: Path

    def fill(self, text: str) -> str:
        """An attempt with the names of this place."""
        names = {"home": self.home, "outside": self.home.parent, "stray": self.home / "objects/stray.parquet"}
        return text.format(table=next(self.home.rglob("documents.parquet")), **names)

    def files(self) -> dict[str, bytes]:
        """All there is, to see that nothing changed."""
        return {str(path): path.read_bytes() for path in sorted(self.home.parent.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    home = tmp_path_factory.mktemp("escapes") / "home"
    write_home(home)
    wave = Wave()
    wave.write(home)
    write_run(home, wave)
    write_release(home, 1, [wave])
    build_catalog(home)
    beside = home.parent
    (beside / "secret.csv").write_text(f"a,b\n{SECRET},1\n")
    (beside / "secret.json").write_text(f'{{"a": "{SECRET}"}}\n')
    for path in (beside / "secret.parquet", home / "objects/stray.parquet"):
        pq.write_table(pa.table({"a": [SECRET]}), path)
    with duckdb.connect(str(beside / "secret.duckdb")) as connection:
        connection.execute(f"CREATE TABLE t AS SELECT '{SECRET}' AS a")
    (home / "objects/link.csv").symlink_to(beside / "secret.csv")
    (home / "objects/linked").symlink_to(beside)
    return Place(home)


@pytest.fixture(scope="module")
def opened(place: Place) -> Iterator[sql.Catalogue]:
    """One catalogue for all attempts: what one of them changed would be seen by the next, and at the end."""
    files = place.files()
    with sql.catalogue(place.home, "500MB") as catalogue:
        before = _settings(catalogue)
        yield catalogue
        assert _settings(catalogue) == before
    assert place.files() == files


def _settings(catalogue: sql.Catalogue) -> list[Any]:
    return catalogue.connection.execute("SELECT name, value FROM duckdb_settings() ORDER BY name").fetchall()


def _answer(catalogue: sql.Catalogue, text: str) -> str:
    try:
        with catalogue.answer(text, 5) as reader:
            return str(within(reader, "100MB").to_pylist())
    except AttributeError:  # DuckDB gives no relation for a statement without an answer
        return ""


def test_there_are_many_attempts_and_all_of_them_differ() -> None:
    assert len(ESCAPES) == len(set(ESCAPES.values())) >= 200


@pytest.mark.parametrize("name", ESCAPES)
def test_an_escape_is_refused(place: Place, opened: sql.Catalogue, name: str) -> None:
    secret_table = pa.table({"a": [1]})  # what a replacement scan of Python variables would find
    with pytest.raises(UserError) as caught:
        _answer(opened, place.fill(ESCAPES[name]))
    assert SECRET not in str(caught.value)
    assert caught.value.exit_code == 2
    assert secret_table.num_rows == 1


def test_duckdb_by_itself_lets_no_secret_out_and_nothing_in(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second wall alone: every attempt as if the first one had overlooked it."""
    monkeypatch.setattr(sql, "check_query", lambda *_: None)
    before = place.files()
    left = dict(ESCAPES)
    while left:  # a connection serves until a statement is answered on it, which may have changed it (USE, ATTACH)
        with sql.catalogue(place.home, "500MB") as catalogue:
            locked, changing = _settings(catalogue), False
            while left and not changing:
                name, text = left.popitem()
                with contextlib.suppress(UserError):
                    assert SECRET not in _answer(catalogue, place.fill(text)), name
                    changing = name.startswith("statement")
            changed = {setting for setting, _ in set(_settings(catalogue)) ^ set(locked)}
            assert changed <= {"search_path", "schema"}, name
    assert place.files() == before


@pytest.mark.parametrize("name", ["read: text", "statement: write into the home", "statement: open the sandbox"])
def test_the_command_refuses_with_exit_2(place: Place, capsys: pytest.CaptureFixture[str], name: str) -> None:
    before = place.files()
    assert main(["sql", "--home", str(place.home), place.fill(ESCAPES[name])]) == 2
    shown = capsys.readouterr()
    assert SECRET not in shown.out + shown.err
    assert shown.err.startswith("synth: ")
    assert place.files() == before


GOOD = [
    "FROM kept",
    "SELECT * FROM main.kept UNION ALL FROM catalog.main.kept UNION ALL FROM catalog.KEPT",
    "WITH kept_ones AS (FROM kept), n AS (SELECT count(*) AS n FROM kept_ones) FROM n",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) FROM t",
    "WITH kept AS (SELECT 1 AS x) FROM kept",
    "SELECT family, x FROM kept, LATERAL (SELECT unnest([1, 2]) AS x)",
    "FROM range(3)",
    "FROM generate_series(1, 3)",
    "FROM unnest([1, 2])",
    "SELECT e.value FROM kept, json_each(payload) e",
    "SELECT list_transform([1, 2], lambda x: x + 1), regexp_extract('a1', '[0-9]'), now() IS NOT NULL",
    "FROM kept PIVOT (count(*) FOR family IN ('qa', 'distill') GROUP BY generation_depth)",
    "SELECT family, row_number() OVER (PARTITION BY family ORDER BY id) FROM kept",
    "SELECT COLUMNS('.*tokens') FROM kept",
    "SUMMARIZE FROM kept",
    "SHOW TABLES",
    "SELECT 'read_text(''/etc/passwd'')' AS text -- FROM read_text('x')",
]


@pytest.mark.parametrize("text", GOOD)
def test_what_people_really_ask_is_answered(opened: sql.Catalogue, text: str) -> None:
    assert len(_answer(opened, text)) > 2


def test_every_table_function_of_duckdb_that_is_not_on_the_list_is_refused(opened: sql.Catalogue) -> None:
    """Also those that a later DuckDB brings: the list says what is allowed, not what is not."""
    found = opened.connection.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type IN ('table', 'table_macro')"
    ).fetchall()
    names = {name for (name,) in found}
    assert names > ROW_FUNCTIONS
    for name in names - ROW_FUNCTIONS:
        with pytest.raises(UserError, match="not allowed behind FROM"):
            _answer(opened, f'FROM "{name}"()')


def test_tables_are_refused_that_are_not_views_of_ours(opened: sql.Catalogue) -> None:
    found = opened.connection.execute(
        "SELECT schema_name, view_name FROM duckdb_views() WHERE internal UNION ALL "
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE schema_name = 'home'"
    ).fetchall()
    assert len(found) > 40
    for schema, name in found:
        for text in (f"FROM {schema}.{name}", f'FROM "{name}"'):
            with pytest.raises(UserError, match="there is no view"):
                _answer(opened, text)


def test_a_part_that_writes_is_refused_whatever_it_writes_to(opened: sql.Catalogue) -> None:
    with pytest.raises(UserError, match=r"writes|SELECT"):
        _answer(opened, "WITH d AS (DELETE FROM kept RETURNING id) FROM d")


# Bombs: what takes too long, or too much. Each in its own process, as the command does it.

SLOW = {
    "one call that cannot be interrupted": "SELECT levenshtein(repeat('ab', 500000), repeat('ba', 500000))",
    "recursion": "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
    "cross join": "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE hash(a.range + b.range) = 1",
}
LARGE = {
    "repeated text": "SELECT length(repeat('x', 4000000000))",
    "growing recursion": "WITH RECURSIVE t(n) AS (SELECT 'x' UNION ALL SELECT n || n FROM t) SELECT max(length(n)) FROM t",
    "list": "SELECT list(range) FROM range(100000000)",
    "array": "SELECT range(1000000000)",
    "what DuckDB does not count": "SELECT length(format('{:1500000000}', 1))",
    "JSON": "SELECT json_extract(repeat('[', 100000000), '$[0]')",
}
DEEP = {
    "parentheses": "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
    "subqueries": "FROM (" * 3000 + "SELECT 1" + ")" * 3000,
    "sums": "SELECT " + "1 + " * 30_000 + "1",
}


@pytest.mark.parametrize("name", SLOW)
def test_time_is_limited_by_the_clock_whatever_the_query_does(place: Place, name: str) -> None:
    start = time.monotonic()
    with (
        pytest.raises(UserError, match="took more than 1 seconds"),
        ask(Question(str(place.home), SLOW[name], 1.0)) as reader,
    ):
        reader.read_all()
    assert time.monotonic() - start < 12


@pytest.mark.parametrize("name", LARGE)
def test_memory_is_limited_by_the_kernel_too(place: Place, name: str) -> None:
    with (
        pytest.raises(UserError, match="needs more than 200,000,000 bytes"),
        ask(Question(str(place.home), LARGE[name], 30.0, "200MB")) as reader,
    ):
        reader.read_all()


@pytest.mark.parametrize("name", DEEP)
def test_a_query_of_any_depth_is_refused_and_breaks_nothing(place: Place, name: str) -> None:
    with pytest.raises(UserError), ask(Question(str(place.home), DEEP[name], 30.0)) as reader:
        reader.read_all()


def test_an_answer_without_end_is_cut_off(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "--home", str(place.home), "--memory", "20MB", "FROM range(10000000000)"]) == 2
    assert "the answer is larger than 20,000,000 bytes" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_ends_a_long_query_at_once_and_no_process_stays(place: Place, tmp_path: Path, number: int) -> None:
    argv = [sys.executable, "-m", "flows.cli", "sql", "--home", str(place.home), SLOW["recursion"]]
    environment = {**os.environ, "AWS_SECRET_ACCESS_KEY": SECRET, "TMPDIR": str(tmp_path)}
    command = subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    child = _wait(lambda: _children(command.pid))[0]
    _wait(lambda: _processor_ticks(child) > 40)  # it is at work
    assert SECRET.encode() not in Path(f"/proc/{child}/environ").read_bytes()
    start = time.monotonic()
    command.send_signal(number)
    out, err = command.communicate(timeout=10)
    assert time.monotonic() - start < 3
    assert (command.returncode, out, err) == (130 if number == signal.SIGINT else -number, b"", b"")
    _wait(lambda: not _runs(child))
    assert number == signal.SIGKILL or list(tmp_path.iterdir()) == []


def _processor_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().split()[13])


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def _wait(happened: Any) -> Any:
    deadline = time.monotonic() + 20
    while not (value := happened()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value
