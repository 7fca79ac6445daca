"""The forms of an answer of `synth sql`: table, JSON, CSV, Parquet; and what is listed without a query."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from audit_home import Wave, write_home, write_release, write_run

from flows.cli import main
from synth.audit.catalog import build_catalog

VALUES = {
    "nothing": "NULL",
    "empty": "''",
    "text": "'a, \"b\"' || chr(10) || 'ü'",
    "price": "12.50::DECIMAL(9, 2)",
    "big": "170141183460469231731687303715884105727::HUGEINT",
    "total": "sum(3::BIGINT)",
    "list": "[1, NULL]",
    "struct": "{'a': 'x', 'b': [1.5]}",
    "map": "MAP {'k': 1}",
    "bytes": "'\\xAB\\x00'::BLOB",
    "at": "TIMESTAMPTZ '2026-11-01 12:00:00+02'",
    "day": "DATE '2026-11-01'",
    "hour": "TIME '10:30:00'",
    "span": "INTERVAL 3 DAYS",
    "uuid": "'6e0ed9be-3f3a-4c5f-8c7e-0d9a54c7e0a1'::UUID",
    "yes": "true",
    "ratio": "0.1::DOUBLE",
    "not a number": "'nan'::DOUBLE",
    "enum": "'x'::ENUM('x', 'y')",
}
ALL = "SELECT " + ", ".join(f'{value} AS "{name}"' for name, value in VALUES.items())
AS_JSON = {
    "nothing": None,
    "empty": "",
    "text": 'a, "b"\nü',
    "price": 12.5,
    "big": "170141183460469231731687303715884105727",
    "total": 3,
    "list": [1, None],
    "struct": {"a": "x", "b": [1.5]},
    "map": {"k": 1},
    "bytes": "ab00",
    "at": "2026-11-01T10:00:00+00:00",
    "day": "2026-11-01",
    "hour": "10:30:00",
    "span": "0 months 3 days 0 seconds",
    "uuid": "6e0ed9be-3f3a-4c5f-8c7e-0d9a54c7e0a1",
    "yes": True,
    "ratio": 0.1,
    "not a number": None,
    "enum": "x",
}


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("answers") / "corpus"
    write_home(home)
    wave = Wave()
    wave.write(home)
    write_run(home, wave)
    write_release(home, 1, [wave])
    build_catalog(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home.parent)
        yield home


def sql(capsysbinary: pytest.CaptureFixture[bytes], *arguments: str, code: int = 0) -> tuple[str, str]:
    assert main(["sql", *arguments]) == code
    shown = capsysbinary.readouterr()
    return shown.out.decode(), shown.err.decode()


def test_json(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    out, _ = sql(capsysbinary, "--json", ALL)
    assert json.loads(out) == [AS_JSON]
    out, _ = sql(capsysbinary, "--json", "SELECT 1 AS a, 2 AS a, 3 AS a_1")
    assert sorted(json.loads(out)[0].values()) == [1, 2, 3]
    assert json.loads(sql(capsysbinary, "--json", "SELECT 1 WHERE false")[0]) == []


def test_csv(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    out, _ = sql(capsysbinary, "--csv", ALL)
    names, values = csv.reader(io.StringIO(out))
    found = dict(zip(names, values, strict=True))
    nested = {"list": "[1,null]", "struct": '{"a":"x","b":[1.5]}', "map": '{"k":1}'}
    plain = {"price": "12.50", "total": "3", "yes": "true", "ratio": "0.1", "not a number": "nan", "nothing": ""}
    assert found == {name: value for name, value in AS_JSON.items() if isinstance(value, str)} | nested | plain
    table = pyarrow.csv.read_csv(
        io.BytesIO(out.encode()), parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True)
    )
    assert table["text"].to_pylist() == [AS_JSON["text"]]
    assert out.split("\n")[1].startswith(',"",')  # NULL and an empty text differ


def test_csv_of_many_rows_is_whole(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    out, _ = sql(capsysbinary, "--csv", "--memory", "100MB", "SELECT range, repeat('x', 100) AS x FROM range(1000000)")
    assert len(out) > 100_000_000
    assert out.rstrip().rpartition("\n")[2].startswith("999999,")


def test_parquet(capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    file = tmp_path / "answer.parquet"
    out, err = sql(capsysbinary, "--parquet", str(file), ALL.replace(', INTERVAL 3 DAYS AS "span"', ""))
    assert (out, err) == ("", f"1 rows in {file}\n")
    (row,) = pq.read_table(file).to_pylist()
    assert (row["list"], row["bytes"], row["total"]) == ([1, None], b"\xab\x00", 3)
    sql(capsysbinary, "--parquet", str(file), "SELECT id FROM kept WHERE false")
    assert pq.read_table(file).to_pylist() == []
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--parquet", "new/x.parquet", "FROM kept"], ["cannot be written", "no folder new"], id="no folder"),
        pytest.param(["--parquet", ".", "FROM kept"], ["cannot be written", "a folder"], id="a folder"),
        pytest.param(["--parquet", "x.parquet", "SELECT INTERVAL 1 DAY"], ["not a column for Parquet", "cast it"], id="interval"),
        pytest.param(["--parquet", "x.parquet", "FROM keptt"], ["did you mean 'kept'"], id="a wrong query"),
        pytest.param(["--csv", "--json", "FROM kept"], ["one form of answer"], id="two forms"),
        pytest.param(["--memory", "2 lots", "FROM kept"], ["given:   2 lots"], id="memory"),
        pytest.param(["drop_by_reason"], ["did you mean 'drops_by_reason'", "why_dropped"], id="unknown question"),
    ],
)  # fmt: skip
def test_wrong_uses(
    capsysbinary: pytest.CaptureFixture[bytes], home: Path, arguments: list[str], words: list[str]
) -> None:
    _, err = sql(capsysbinary, *arguments, code=2)
    assert [word for word in words if word not in err] == [], err
    assert sorted(path.name for path in home.parent.iterdir()) == ["corpus"]


def test_a_failed_query_leaves_the_old_file(capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    sql(capsysbinary, "--parquet", str(file), "SELECT 1 AS a")
    late = "SELECT CASE WHEN range = 400000 THEN error('late') ELSE 'x' END AS a FROM range(500000)"
    _, err = sql(capsysbinary, "--parquet", str(file), late, code=2)
    assert "late" in err
    assert pq.read_table(file).to_pylist() == [{"a": 1}]
    assert list(tmp_path.iterdir()) == [file]


def test_in_a_pipe_nothing_is_cut_and_a_row_is_a_line(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    out, _ = sql(
        capsysbinary,
        "SELECT range AS n, repeat('word ', 2000) || '[bold]' AS text, 'a' || chr(10) || 'b' AS c FROM range(500)",
    )
    lines = out.splitlines()
    assert len(lines) == 501
    assert lines[1].startswith("  0  word word") and "[bold]  a⏎b" in lines[1]
    assert lines[0].split() == ["n", "text", "c"]


def test_a_terminal_gets_a_screen_that_no_text_can_steer(home: Path) -> None:
    query = "SELECT range AS n, repeat('word ', 200) AS text, chr(27) || '[31m[/bold]' AS c FROM range(1000)"
    shown = on_terminal(home, query)
    assert "\x1b[31m" not in shown and "�[31m[/bold]" in shown
    assert "960 more rows; --csv for all" in shown
    assert len(shown.splitlines()) == 42
    assert shown.splitlines()[40].startswith("39  word word")
    assert max(map(len, shown.splitlines())) <= 100


def test_columns_that_do_not_fit_a_terminal_are_named(home: Path) -> None:
    shown = on_terminal(home, "SELECT * FROM documents")
    assert "more columns: " in shown and "license" in shown.splitlines()[-1]
    assert max(map(len, shown.splitlines()[:-1])) <= 100


def on_terminal(home: Path, query: str) -> str:
    """What a person with 100 columns sees."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    argv = [sys.executable, "-m", "flows.cli", "sql", "--home", str(home), query]
    process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    parts: list[bytes] = []
    try:
        while part := os.read(ours, 65536):
            parts.append(part)
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    return b"".join(parts).decode().replace("\r\n", "\n").replace("\x1b[1m", "").replace("\x1b[0m", "")


def test_canned_questions_by_name(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    out, _ = sql(capsysbinary, "drops_by_reason")
    assert "near_duplicate" in out


def test_a_query_on_stdin(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 7 AS seven"))
    assert json.loads(sql(capsysbinary, "--json", "-")[0]) == [{"seven": 7}]


def test_without_a_query_it_lists_what_can_be_asked(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    out, _ = sql(capsysbinary)
    assert "kept " in out and "documents without a drop" in out and "drops_by_reason" in out and "home.files" not in out
    listed: dict[str, Any] = json.loads(sql(capsysbinary, "--json")[0])
    kept = next(view for view in listed["views"] if view["view"] == "kept")
    assert kept["columns"][0] == "id" and "written_tokens" in kept["columns"]
    assert {"question", "title", "sql"} == set(listed["questions"][0])


@pytest.mark.parametrize("given", ["0", "-1", "soon", "inf"])
def test_a_limit_that_is_no_number_of_seconds(given: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["sql", f"--limit-seconds={given}", "FROM kept"])
