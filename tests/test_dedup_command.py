"""`synth dedup` and `synth index` on files of anybody's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dedup import find_duplicates
from flows.cli import main
from flows.commands.dedup import marked
from flows.deduping import VERDICTS
from flows.pools import INDEX_FILE, POOL
from synth import rows
from synth.text_files import read_texts


def passages(count: int) -> list[str]:
    file = resources.files("synth.data").joinpath("passages.jsonl").read_text(encoding="utf-8")
    return [json.loads(line)["text"] for line in file.splitlines()[:count]]


PASSAGES = passages(12)
EDITED = PASSAGES[0].replace(" the ", " that ", 1)
HALF = " ".join(PASSAGES[1].split()[: len(PASSAGES[1].split()) // 2])
TEXTS = {
    **{f"p{number}": text for number, text in enumerate(PASSAGES)},
    "copy": PASSAGES[2].upper(),
    "edit": EDITED,
    "half": HALF,
}


def write(path: Path, texts: Mapping[str, str]) -> Path:
    path.write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items()))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main([*map(str, arguments), "--json"]) == 0
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def verdicts(out: Path) -> dict[str, dict[str, Any]]:
    return {row["doc_id"]: row for row in rows.read_table(out / "dedup.parquet").to_pylist()}


def test_each_text_has_a_verdict_and_each_drop_a_partner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = run(capsys, "dedup", write(tmp_path / "a.jsonl", TEXTS), "--out", tmp_path / "out")
    found = verdicts(tmp_path / "out")
    assert set(found) == set(TEXTS) and pq.read_schema(tmp_path / "out/dedup.parquet").names == VERDICTS.names
    gone = {name: (row["reason"], row["partner_id"]) for name, row in found.items() if not row["keep"]}
    # Of two copies and of two versions the longer one stays, then the one whose id comes first.
    assert gone["p2" if "p2" in gone else "copy"][0] == "exact_duplicate"
    assert set(gone) - {"p2", "copy"} == {"half", "edit" if "edit" in gone else "p0"}
    assert gone["half"] == ("contained", "p1")
    assert told["kept"] == len(TEXTS) - 3 and sum(told["dropped"].values()) == 3 and told["clusters"] == 3
    assert all(found[partner]["keep"] for _, partner in gone.values())


def test_the_verdicts_are_those_of_the_stable_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "a.jsonl", TEXTS)
    run(capsys, "dedup", file, "--out", tmp_path / "out")
    (table,) = read_texts(file)
    expected = find_duplicates(table.rename_columns(["doc_id", *table.column_names[1:]]))
    assert (
        rows.read_table(tmp_path / "out/dedup.parquet").drop_columns("partner_pool").to_pylist() == expected.to_pylist()
    )


def test_workers_and_files_change_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = write(tmp_path / "a.jsonl", TEXTS)
    names = list(TEXTS)
    parts = [
        write(tmp_path / "b.jsonl", {name: TEXTS[name] for name in names[5:]}),
        write(tmp_path / "c.jsonl", {name: TEXTS[name] for name in reversed(names[:5])}),
    ]
    run(capsys, "dedup", whole, "--out", tmp_path / "one", "--workers", 1)
    run(capsys, "dedup", *parts, "--out", tmp_path / "two", "--workers", 3)
    assert verdicts(tmp_path / "one") == verdicts(tmp_path / "two")


def test_against_a_pool_its_texts_stay_and_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write(tmp_path / "old.jsonl", {f"p{number}": text for number, text in enumerate(PASSAGES)})
    made = run(capsys, "index", old, "--out", tmp_path / "pool")
    assert made["documents"] == 12 and {path.name for path in (tmp_path / "pool").iterdir()} == {POOL, INDEX_FILE}
    new = write(
        tmp_path / "new.jsonl", {"p0": EDITED, "copy": PASSAGES[2], "fresh": "Nobody has written this before, " * 3}
    )
    told = run(capsys, "dedup", new, "--out", tmp_path / "out", "--against", tmp_path / "pool")
    found = verdicts(tmp_path / "out")
    assert set(found) == {"p0", "copy", "fresh"}, "a pool's texts get no verdict"
    assert (found["p0"]["reason"], found["p0"]["partner_id"], found["p0"]["partner_pool"]) == (
        "near_duplicate",
        "p0",
        "pool",
    )
    assert (found["copy"]["reason"], found["copy"]["partner_id"]) == ("exact_duplicate", "p2")
    assert found["fresh"]["keep"] and found["fresh"]["partner_pool"] is None
    assert told["pool_candidates"] == 2 and told["kept"] == 1


@pytest.mark.parametrize("how", ["gone", "changed"])
def test_a_pool_whose_texts_cannot_be_reached_drops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    old = write(tmp_path / "old.jsonl", {"a": PASSAGES[0]})
    run(capsys, "index", old, "--out", tmp_path / "pool")
    if how == "gone":
        old.unlink()
    else:
        write(old, {"a": PASSAGES[1]})
    new = write(tmp_path / "new.jsonl", {"edit": EDITED})
    told = run(capsys, "dedup", new, "--out", tmp_path / "out", "--against", tmp_path / "pool")
    (row,) = verdicts(tmp_path / "out").values()
    assert row["keep"] and row["spared"] == "unverified" and row["near_id"] == "a" and row["partner_pool"] == "pool"
    assert told["spared"] == {"unverified": 1} and told["samples"][0]["partner_text"] is None


def test_a_half_made_index_is_no_pool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "index", write(tmp_path / "old.jsonl", {"a": PASSAGES[0]}), "--out", tmp_path / "pool")
    (tmp_path / "pool" / POOL).unlink()
    new = write(tmp_path / "new.jsonl", {"b": PASSAGES[1]})
    assert main(["dedup", str(new), "--out", str(tmp_path / "out"), "--against", str(tmp_path / "pool")]) == 2
    assert "synth index" in capsys.readouterr().err


def test_an_index_of_another_normalisation_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write(tmp_path / "old.jsonl", {"a": PASSAGES[0]})
    run(capsys, "index", old, "--out", tmp_path / "pool")
    config = json.loads((tmp_path / "pool" / POOL).read_text())
    (tmp_path / "pool" / POOL).write_text(json.dumps({**config, "normalisation_version": 0}))
    assert main(["dedup", str(old), "--out", str(tmp_path / "out"), "--against", str(tmp_path / "pool")]) == 2
    assert "another normalisation_version" in capsys.readouterr().err


def test_the_index_is_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At most 200 bytes a document beside its signature of 448."""
    texts = {f"{number:064x}": f"{PASSAGES[number % 12]} {number}" for number in range(600)}
    made = run(capsys, "index", write(tmp_path / "a.jsonl", texts), "--out", tmp_path / "pool")
    assert made["bytes"] <= 600 * (448 + 200)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--jaccard", "1.5"], "jaccard: given 1.5"),
        (["--text", "body"], "--text COLUMN"),
        (["--set", "dedup.jaccard=1"], "--recipe"),
    ],
)
def test_wrong_words_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    file = write(tmp_path / "a.jsonl", TEXTS)
    assert main(["dedup", str(file), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out/dedup.parquet").exists()


def test_the_report_shows_pairs_with_what_both_have_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dedup", str(write(tmp_path / "a.jsonl", TEXTS)), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "3 clusters: 3 of 2 texts" in shown and "=== contained: half, beside p1" in shown and "‹" in shown


def test_marks_stand_around_what_both_have() -> None:
    mine, other = marked("one two three four", "zero two three five", styled=False)
    assert (mine.plain, other.plain) == ("one ‹two three› four", "zero ‹two three› five")
    mine, other = marked("all of this is the same", "all of this is the same", styled=False)
    assert mine.plain == other.plain == "‹all of this is the same›"
    long = " ".join(f"w{number}" for number in range(300))
    mine, _ = marked(f"{long} mine and more words", f"{long} other and more things", styled=False)
    assert mine.plain.startswith("… ‹w275") and "w299› mine" in mine.plain


def test_an_id_that_looks_like_a_pools_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(
        capsys,
        "dedup",
        write(tmp_path / "a.jsonl", {"x\x1fy": PASSAGES[0], "z": PASSAGES[0]}),
        "--out",
        tmp_path / "out",
    )
    found = verdicts(tmp_path / "out")
    assert {row["cluster_id"] for row in found.values()} == {"x\x1fy"}
    assert (found["z"]["partner_id"], found["z"]["partner_pool"]) == ("x\x1fy", None)
