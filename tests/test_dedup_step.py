"""The step resolve over files: cut into partitions in any way it says the same; what it stores of a drop; its boilerplate."""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from flows.steps import resolve, sign
from synth import rows
from synth.step import Counts
from tests.duplicates_labelled import labelled, standard_passages
from tests.test_dedup_policies import framed

PER_KIND, TEMPLATE = 4, 120
NEEDS_RAY = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


def documents_of(table: pa.Table) -> pa.Table:
    """As generate leaves them: a source part before the text, which is never compared."""
    made = []
    for row in table.to_pylist():
        source = "This passage stands in front of every document and is nobody's own. " * 8
        text, parts = rows.compose([("source", source), ("generated", row["text"])])
        spans = [{"role": part.role, "start_byte": part.start_byte, "end_byte": part.end_byte} for part in parts]
        root = row.get("root_id") or f"root-{row['doc_id']}"
        made.append({"id": row["doc_id"], "family": row["family"], "root_id": root, "text": text, "parts": spans})
    return rows.table(made, rows.DOCUMENT)


def inputs_of(documents: Sequence[pa.Table], folder: Path) -> dict[str, Path]:
    """One object for each partition of documents, signed; nothing was dropped before."""
    inputs = {}
    for number, table in enumerate(documents):
        tag = f"{number:04d}"
        place = folder / tag
        place.mkdir(parents=True)
        rows.write_table(table, place / "documents.parquet")
        rows.write_table(rows.table([], rows.DROP), place / "drops.parquet")
        sign.run(
            {"documents": place / "documents.parquet"}, sign.SignWork(minhash=resolve.ResolveWork().minhash), place
        )
        inputs |= {f"documents/{tag}": place / "documents.parquet", f"signatures/{tag}": place / "signatures.parquet"}
        inputs |= {f"{kind}_drops/{tag}": place / "drops.parquet" for kind in ("generate", "keep")}
    return inputs


def run(inputs: dict[str, Path], folder: Path, **config: Any) -> tuple[Counts, dict[str, pa.Table]]:
    out = folder / "out"
    out.mkdir(parents=True)
    counts = resolve.run(inputs, resolve.ResolveWork(**config), out)
    return counts, {path.stem: rows.read_table(path) for path in out.iterdir()}


def parts_of(table: pa.Table, size: int) -> list[pa.Table]:
    return [table.slice(first, size) for first in range(0, len(table), size)]


@pytest.fixture(scope="module")
def documents() -> pa.Table:
    return documents_of(labelled(standard_passages(), PER_KIND, TEMPLATE))


def test_partitions_do_not_matter(documents: pa.Table, tmp_path: Path) -> None:
    counts, tables = run(inputs_of([documents], tmp_path / "one"), tmp_path / "a")
    many_counts, many = run(inputs_of(parts_of(documents, 17), tmp_path / "many"), tmp_path / "b")
    assert counts == many_counts
    assert counts.items == counts.kept + sum(counts.dropped.values()) == len(documents)
    for name in ("drops", "verdicts", "boilerplate"):
        assert tables[name].equals(many[name]), name
    assert tables["index"]["doc_id"].equals(many["index"]["doc_id"])
    assert counts.dropped["exact_duplicate"] == PER_KIND
    assert counts.dropped["contained"] >= PER_KIND
    assert counts.notes["kept_by_facts"] >= PER_KIND - 1  # tables
    assert counts.notes["boilerplate_shingles"] > 0


def test_a_drop_carries_its_evidence(documents: pa.Table, tmp_path: Path) -> None:
    _, tables = run(inputs_of([documents], tmp_path / "one"), tmp_path / "a")
    kept = set(tables["index"]["doc_id"].to_pylist())
    verdicts = {row["item_id"]: row for row in tables["verdicts"].to_pylist()}
    bounds = {"exact_duplicate": 1.0, "near_duplicate": 0.75, "contained": 0.95}
    for drop in tables["drops"].to_pylist():
        evidence = orjson.loads(drop["evidence"])
        assert drop["partner_id"] == evidence["partner_id"] in kept
        assert drop["threshold"] == bounds[drop["rule"]] <= drop["score"]
        assert evidence["containment"] >= evidence["jaccard"] * 0.99
        assert evidence["doc_shingles"] > 0 and evidence["partner_shingles"] > 0
        verdict = verdicts[drop["item_id"]]
        assert verdict["outcome"] == "dropped"
        assert orjson.loads(verdict["evidence"]) == evidence
    spared = [
        orjson.loads(row["evidence"]) for row in verdicts.values() if row["outcome"] == "kept" and row["evidence"]
    ]
    assert {one["spared"] for one in spared} == {"other_facts"}
    assert all(one["lacking"] and one["near_id"] in kept for one in spared)


def test_a_later_wave_is_compared_as_the_first_one(tmp_path: Path) -> None:
    """Its few letters show no boilerplate of their own; with the released list they are compared without it."""
    letters = documents_of(
        pa.Table.from_pylist([{"doc_id": f"d{at}", **row} for at, row in enumerate(framed(140, "a"))])
    )
    first = inputs_of([letters.slice(0, 130)], tmp_path / "first")
    counts, tables = run(first, tmp_path / "a")
    assert counts.kept == 130
    index = tables["index"].set_column(
        tables["index"].schema.get_field_index("file_tag"), "file_tag", pa.array(["0000"] * 130)
    )
    rows.write_table(index, tmp_path / "index.parquet")
    second = inputs_of([letters.slice(130)], tmp_path / "second")
    released = {"released_index/1": tmp_path / "index.parquet", "released_documents/0000": first["documents/0000"]}
    without, _ = run(second | released, tmp_path / "b")
    assert without.dropped["near_duplicate"] > 0
    boilerplate = {"released_boilerplate/1": tmp_path / "a/out/boilerplate.parquet"}
    found, again = run(second | released | boilerplate, tmp_path / "c")
    assert found.kept == 10
    assert found.notes["released_candidates"] > 0
    assert len(again["boilerplate"]) == 0


def test_shingles_are_written_nowhere_that_is_published(documents: pa.Table, tmp_path: Path) -> None:
    _, tables = run(inputs_of([documents], tmp_path / "one"), tmp_path / "a")
    assert sorted(tables) == ["boilerplate", "drops", "index", "verdicts"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["out"]
    assert pc.all(pc.is_valid(tables["verdicts"]["outcome"])).as_py()


def halves_of(table: pa.Table) -> pa.Table:
    """Of each document the middle half, as another one's."""
    made = []
    for row in table.to_pylist():
        words = rows.part_text(row["text"], row["parts"], "generated").split()
        text = " ".join(words[len(words) // 4 : 3 * len(words) // 4])
        made.append({"doc_id": f"half-{row['id']}", "family": row["family"], "text": text})
    return documents_of(pa.Table.from_pylist(made))


def test_halves_of_released_documents_are_found(tmp_path: Path) -> None:
    """Two waves: no band and no digest connects a half with its whole."""
    passages = [
        {"doc_id": f"p{at:03d}", "family": "f", "text": text} for at, text in enumerate(standard_passages()[:60])
    ]
    old = documents_of(pa.Table.from_pylist(passages))
    first = inputs_of([old], tmp_path / "first")
    _, tables = run(first, tmp_path / "a")
    second = inputs_of([halves_of(old)], tmp_path / "second")
    released = {
        "released_index/1": tmp_path / "a/out/index.parquet",
        "released_documents/0000": first["documents/0000"],
    }
    counts, found = run(second | released, tmp_path / "b")
    assert counts.dropped.get("contained", 0) >= 0.9 * len(old)
    assert {drop["partner_id"] for drop in found["drops"].to_pylist()} <= set(tables["index"]["doc_id"].to_pylist())


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[pa.Table, Counts, dict[str, pa.Table]]:
    """1,300 documents, and what is said of them in one partition of at most 50,000."""
    table = documents_of(labelled(standard_passages(), 26, 600))
    assert len(table) > 1_000
    folder = tmp_path_factory.mktemp("many")
    return table, *run(inputs_of(parts_of(table, 50_000), folder / "in"), folder)


HOW = ["threads-2", "threads-1", "processes-2", pytest.param("ray-2", marks=NEEDS_RAY)]


@pytest.mark.parametrize("how", HOW)
def test_partitions_of_500_and_of_50000_say_the_same(
    many: tuple[pa.Table, Counts, dict[str, pa.Table]], tmp_path: Path, how: str
) -> None:
    """In another order too, whatever does the work, and in arrays that lie in files."""
    table, counts, tables = many
    shuffled = table.take(pa.array(random.Random(5).sample(range(len(table)), len(table))))
    inputs = inputs_of(parts_of(shuffled, 500), tmp_path / "in")
    (tmp_path / "out").mkdir()
    runner, _, workers = how.partition("-")
    settings = resolve.DedupRun.model_validate({"runner": runner, "workers": int(workers), "memory_bytes": 1 << 26})
    found = resolve.run(inputs, resolve.ResolveWork(), tmp_path / "out", settings)
    assert found == counts
    for name in ("drops", "verdicts", "boilerplate"):
        assert rows.read_table(tmp_path / f"out/{name}.parquet").equals(tables[name]), name
