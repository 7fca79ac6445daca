"""`synth filter-train`: from files of every kind and from a home; what is wrong is told in the user's words."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.training_rows import BAD, GOOD
from flows.arguments import parser
from flows.cli import main
from flows.commands import filter_train
from synth import rows
from synth.audit.catalog import build_catalog
from synth.audit.sql import query
from synth.digest import file_sha256
from tests.conftest import ScriptedServer
from tests.corpora import passage, run_recipe, write_recipe, write_seeds
from tests.test_filter_train import ordered_and_scrambled

SMALL = ["--dim", "8", "--bucket", "2000", "--epochs", "5", "--lr", "0.5"]


@pytest.fixture(scope="module")
def examples() -> list[dict[str, Any]]:
    return ordered_and_scrambled().to_pylist()


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    data = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The JSON that a training prints."""
    assert main(["filter-train", *arguments, *SMALL, "--json"]) == 0
    value: dict[str, Any] = orjson.loads(capsys.readouterr().out)
    return value


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["filter-train", *arguments]) == 2
    return capsys.readouterr().err


def test_the_kind_of_file_changes_no_byte(
    tmp_path: Path, examples: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The same texts as JSON lines of either label, as gzip and Parquet, and as labelled files, give the same model."""
    good, bad = ([row for row in examples if row["label"] == label] for label in (GOOD, BAD))
    sides = ["--positives", jsonl(tmp_path / "good.jsonl", good), "--negatives", jsonl(tmp_path / "bad.jsonl.gz", bad)]
    first = told(capsys, *sides, "--root", "root", "--out", str(tmp_path / "a"))
    pq.write_table(pa.Table.from_pylist(examples[::-1]), tmp_path / "all.parquet")
    labelled = ["--labelled", str(tmp_path / "all.parquet"), "--label", "label"]
    second = told(capsys, *labelled, "--root", "root", "--out", str(tmp_path / "b"))
    assert first["card"]["model"] == second["card"]["model"]
    assert file_sha256(tmp_path / "a/model.bin") == first["card"]["model"]["sha256"]
    assert [one["name"] for one in first["card"]["data"]["files"]] == ["good.jsonl", "bad.jsonl.gz"]
    assert first["card"]["data"]["files"][1]["sha256"] == file_sha256(tmp_path / "bad.jsonl.gz")
    without_roots = told(capsys, *labelled, "--out", str(tmp_path / "c"))
    assert without_roots["card"]["data"]["train"]["roots"] > first["card"]["data"]["train"]["roots"]


def test_texts_by_line_and_what_is_printed(
    tmp_path: Path, examples: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, label in (("good.txt", GOOD), ("bad.txt", BAD)):
        (tmp_path / name).write_text("\n\n".join(row["text"] for row in examples if row["label"] == label))
    sides = ["--positives", str(tmp_path / "good.txt"), "--negatives", str(tmp_path / "bad.txt")]
    assert main(["filter-train", *sides, *SMALL, "--quantize", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert f'path = "{tmp_path}/out/model.ftz", sha256 = "{file_sha256(tmp_path / "out/model.ftz")}"' in printed
    assert "on held-out roots" in printed and "AUC" in printed and "min = " in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.txt", "good.txt", "out"]


def test_labels_of_anybodys(tmp_path: Path, examples: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    numbers = [{"body": row["text"], "stars": 5 if row["label"] == GOOD else at % 3} for at, row in enumerate(examples)]
    file = jsonl(tmp_path / "all.jsonl", numbers)
    common = ["--labelled", file, "--text", "body", "--label", "stars", "--out", str(tmp_path / "out")]
    assert "which label of the column 'stars' is the good one?" in refused(capsys, *common)
    card = told(capsys, *common, "--good", "5")["card"]
    assert sum(side["texts"][GOOD] for side in (card["data"]["train"], card["data"]["held_out"])) > 300


WRONG = [
    ([], "one kind of examples"),
    (["--positives", "a.jsonl"], "--negatives is missing"),
    (["--positives", "a.jsonl", "--negatives", "none.jsonl"], "no such file: none.jsonl"),
    (["--positives", "a.jsonl", "--negatives", "a.csv"], "unknown kind of file"),
    (["--positives", "a.jsonl", "--negatives", "a.jsonl", "--text", "txt"], "set --text to one of these"),
    (["--positives", "a.jsonl", "--negatives", "a.jsonl", "--root", "rot"], "set --root to one of these"),
    (["--positives", "a.jsonl", "--negatives", "a.jsonl"], "both_labels 8"),
    (["--positives", "a.jsonl", "--negatives", "broken.parquet"], "not a whole Parquet file"),
    (["--positives", "a.jsonl", "--negatives", "latin.txt"], "not valid UTF-8"),
    (["--labelled", "a.jsonl"], "--labelled wants --label"),
    (["--positives", "a.jsonl", "--negatives", "a.jsonl", "--dim", "0"], "filter-train.dim: given 0"),
    (["--from-catalogue"], "--from-catalogue wants --family"),
    (["--from-catalogue", "--family", "distill"], "run a recipe first"),
    (["--from-catalogue", "--labelled", "a.jsonl"], "one kind of examples"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[f"{at}" for at in range(len(WRONG))])
def test_wrong_input(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    jsonl(Path("a.jsonl"), [{"text": passage(n)} for n in range(4)])
    Path("a.csv").write_text("text\nx\n")
    Path("broken.parquet").write_bytes(b"PAR1")
    Path("latin.txt").write_bytes(b"caf\xe9\n")
    assert words in refused(capsys, *arguments, "--out", "out")
    assert not Path("out").exists()
    Path("taken").mkdir()
    Path("taken/x").touch()
    assert "is there already" in refused(capsys, *arguments, "--out", "taken")


# --- from a home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, scripted_server: ScriptedServer) -> Path:
    """A release of which half was dropped: loops by the family, short texts by a gate; and one near-duplicate."""
    folder = tmp_path_factory.mktemp("catalogue")
    loops = {f"s{n}": f"{passage(n)} [[scripted: outcome=loop]]" for n in range(0, 320, 2)}
    twins = {f"s{n}": f"{passage(n)} [[scripted: near=5]]" for n in (1, 3)}
    write_seeds(folder / "seeds/a.jsonl", range(320), **loops, **twins)
    path = write_recipe(
        folder,
        scripted_server.base_url,
        families='[[families]]\nname = "distill"',
        ingest="[ingest]\npartition_rows = 200",
        audit="[audit]\nmax_dropped_share = 1.0",
    )
    run_recipe(path, folder / "home")
    build_catalog(folder / "home")
    return folder / "home"


def test_what_was_kept_against_what_was_dropped(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--from-catalogue", "--family", "distill", "--home", str(home)]
    card = told(capsys, *common, "--out", str(tmp_path / "m"))["card"]
    counted = query(
        home,
        "SELECT count(*) FILTER (id IN (SELECT id FROM kept)) AS kept, count(*) FILTER (id IN (SELECT item_id FROM drops "
        "WHERE step IN ('generate', 'keep'))) AS bad FROM documents",
    ).to_pylist()[0]
    duplicates = query(home, "SELECT count(*) AS n FROM drops WHERE step = 'resolve'").to_pylist()[0]["n"]
    assert duplicates >= 1 and counted["bad"] >= 160
    (read,) = card["data"]["files"]
    assert read["rows"] == counted["kept"] + counted["bad"] == 320 - duplicates
    assert card["data"]["train"]["by_source"].keys() == {"texts"}
    read_table, _ = filter_train._from_catalogue(parser().parse_args(["filter-train", *common, "--out", "x"]))
    kept = query(home, "SELECT text, parts FROM kept")
    good = [
        text
        for text, label in zip(*(read_table[name].to_pylist() for name in ("text", "label")), strict=True)
        if label == GOOD
    ]
    assert sorted(good) == sorted(rows.generated_texts(kept).to_pylist())
    again = told(capsys, *common, "--recipe", "small", "--out", str(tmp_path / "again"))["card"]
    assert again == card


def test_only_drops_of_some_reasons(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--from-catalogue", "--family", "distill", "--home", str(home)]
    card = told(capsys, *common, "--reasons", "repetition", "--out", str(tmp_path / "m"))["card"]
    bad = query(home, "SELECT count(DISTINCT item_id) AS n FROM drops WHERE rule = 'repetition'").to_pylist()[0]["n"]
    kept = query(home, "SELECT count(*) AS n FROM kept").to_pylist()[0]["n"]
    assert card["data"]["files"][0]["rows"] == bad + kept
    assert "dropped for repetition" in card["data"]["files"][0]["name"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--family", "distil"], "did you mean 'distill'?"),
        (["--family", "distill", "--reasons", "loop"], "no such reason"),
        (["--family", "distill", "--recipe", "smal"], "did you mean 'small'?"),
    ],
    ids=["family", "reason", "recipe"],
)
def test_what_the_home_does_not_have(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert words in refused(capsys, "--from-catalogue", "--home", str(home), *arguments, "--out", str(tmp_path / "out"))


def test_the_card_for_people_names_files_and_not_folders(
    tmp_path: Path, examples: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    file = jsonl(tmp_path / "all.jsonl", examples)
    told(capsys, "--labelled", file, "--label", "label", "--out", str(tmp_path / "out"))
    card = (tmp_path / "out/card.md").read_text()
    assert str(tmp_path) not in card + (tmp_path / "out/card.json").read_text()
    assert "all.jsonl" in card and json.loads((tmp_path / "out/card.json").read_text())["worth"] in card
