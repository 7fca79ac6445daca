"""Ingest: cut once, anti-joined, order-independent; what is wrong with a seed is said in the user's words."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.steps.ingest import IngestWork, run
from synth import rows
from synth.canaries import CANARY_SOURCE, canary_of, inject
from synth.digest import digest
from synth.errors import SourceError
from synth.sources import Columns, Source
from synth.step import Counts


def config(**changes: Any) -> IngestWork:
    source = Source(id="texts", kind="jsonl", paths=("x.jsonl",), columns=Columns(id="id"), license="CC0-1.0")
    return IngestWork(**{"partition_rows": 3, "sources": (source,), **changes})


def ingest(
    folder: Path, files: Mapping[str, list[dict[str, Any]]], known: Path | None = None, **changes: Any
) -> Counts:
    """Run the step over JSONL files written here; its output lies in folder/out."""
    out = folder / "out"
    out.mkdir(parents=True)
    inputs: dict[str, Path] = {}
    for name, lines in files.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        inputs[f"source/texts/{name}"] = path
    if known:
        inputs["known/earlier"] = known
    return run(inputs, config(**changes), out)


def line(number: int, text: str | None = None) -> dict[str, Any]:
    return {"id": f"n{number}", "text": text if text is not None else f"text number {number}"}


def cut(folder: Path) -> list[list[str]]:
    return [rows.read_table(path)["id"].to_pylist() for path in sorted((folder / "out").glob("seeds-*"))]


def drops(folder: Path) -> dict[str, str]:
    table = rows.read_table(folder / "out/drops.parquet")
    return dict(zip(table["rule"].to_pylist(), table["reason"].to_pylist(), strict=True))


def test_seeds_are_cut_in_hash_order(tmp_path: Path) -> None:
    counts = ingest(tmp_path, {"a": [line(number) for number in range(7)]})
    partitions = cut(tmp_path)
    assert [len(one) for one in partitions] == [3, 3, 1]
    ids = list(itertools.chain(*partitions))
    assert ids == sorted(ids)
    assert (counts.items, counts.kept, counts.notes["rows_read"]) == (7, 7, 7)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(8)), st.integers(1, 7))
def test_order_of_rows_and_files_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], at: int
) -> None:
    texts = {5: "same text", 2: "same text"}
    lines = [line(number, texts.get(number)) for number in order]
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    ingest(one, {"a": [line(number, texts.get(number)) for number in range(8)]})
    ingest(two, {"b": lines[:at], "a": lines[at:]})
    files = [{path.name: path.read_bytes() for path in (folder / "out").iterdir()} for folder in (one, two)]
    assert files[0] == files[1]


def test_only_what_is_new_is_cut(tmp_path: Path) -> None:
    ingest(tmp_path / "one", {"a": [line(1), line(2), line(3, "")]})
    counts = ingest(
        tmp_path / "two", {"a": [line(1), line(2), line(3, ""), line(4)]}, tmp_path / "one/out/known.parquet"
    )
    assert (counts.items, counts.kept) == (1, 1)
    assert counts.notes == {"rows_read": 4, "already_held": 3}
    assert len(cut(tmp_path / "two")) == 1


def test_a_text_that_is_held_is_a_counted_drop(tmp_path: Path) -> None:
    ingest(tmp_path / "one", {"a": [line(1, "the text")]})
    counts = ingest(tmp_path / "two", {"a": [line(2, "the text")]}, tmp_path / "one/out/known.parquet")
    assert dict(counts.dropped) == {"equal_text": 1}
    drop = rows.read_table(tmp_path / "two/out/drops.parquet").to_pylist()[0]
    assert [drop["partner_id"]] == cut(tmp_path / "one")[0]


def test_one_id_with_two_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"(?s)one id with two texts in source 'texts'.*n1.*a\.jsonl.*a new id"):
        ingest(tmp_path, {"a": [line(1), line(1, "other")]})


def test_a_changed_text_under_a_held_id_is_refused(tmp_path: Path) -> None:
    ingest(tmp_path / "one", {"a": [line(1)]})
    with pytest.raises(SourceError, match="one id with two texts"):
        ingest(tmp_path / "two", {"a": [line(1, "edited")]}, tmp_path / "one/out/known.parquet")


@pytest.mark.parametrize(
    ("text", "rule", "reason"),
    [
        pytest.param("a\x00b", "nul_character", "NUL", id="NUL"),
        pytest.param(
            "x" * 50_000_000, "too_large", "50,000,000 bytes; ingest.max_text_bytes allows 1,048,576", id="50 MB"
        ),
        pytest.param(" \n", "empty_text", "empty", id="blank"),
    ],
)
def test_texts_that_are_dropped_and_counted(tmp_path: Path, text: str, rule: str, reason: str) -> None:
    counts = ingest(tmp_path, {"a": [line(1), line(2, text)]})
    assert (counts.items, counts.kept, dict(counts.dropped)) == (2, 1, {rule: 1})
    assert reason in drops(tmp_path)[rule]


def test_no_rows_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no seeds: the sources texts hold no rows"):
        ingest(tmp_path, {"a": []})


def seeds(folder: Path) -> list[dict[str, Any]]:
    paths = sorted((folder / "out").glob("seeds-*"))
    return rows.read_tables(paths, rows.SEED).to_pylist()


def known(folder: Path) -> dict[str, bool]:
    table = rows.read_table(folder / "out/known.parquet")
    return dict(zip(table["id"].to_pylist(), table["kept"].to_pylist(), strict=True))


LINES = [line(number) for number in range(200)]


def test_without_canaries_nothing_changes(tmp_path: Path) -> None:
    """The digest is that of the step before there were canaries."""
    lines = [*LINES, line(200, ""), line(201, "text number 7"), line(202, "x\x00")]
    counts = ingest(tmp_path, {"a": lines}, partition_rows=70)
    assert counts.notes == {"rows_read": 203, "already_held": 0}
    tables = {path.name: rows.read_table(path).to_pylist() for path in (tmp_path / "out").iterdir()}
    assert digest(tables) == "eff55edde82de08513176251773781f6a07d06c74aad71bed0cd7ca48962c99d"
    ingest(tmp_path / "other", {"a": lines}, partition_rows=70, canary_share=0.0)
    for path in (tmp_path / "out").iterdir():
        assert (tmp_path / "other/out" / path.name).read_bytes() == path.read_bytes()


def test_a_share_of_the_seeds_gets_a_copy_with_an_instruction(tmp_path: Path) -> None:
    counts = ingest(tmp_path, {"a": [*LINES, line(200, "")]}, canary_share=0.5, partition_rows=50)
    found = seeds(tmp_path)
    canaries = [seed for seed in found if seed["source_id"] == CANARY_SOURCE]
    originals = {seed["id"]: seed for seed in found if seed["source_id"] == "texts"}
    assert 72 <= len(canaries) <= 128  # 200 draws at one half: four standard deviations
    assert counts.notes == {"rows_read": 201, "already_held": 0, "canaries": len(canaries)}
    assert (counts.items, counts.kept, dict(counts.dropped)) == (201 + len(canaries), len(found), {"empty_text": 1})
    for canary in canaries:
        meta = json.loads(canary["meta"])
        original = originals[meta["canary_of"]]
        assert meta["canary"] == canary_of(original["id"])
        assert canary["text"] == inject(original["text"], original["id"])
        assert {name for name in canary if canary[name] != original[name]} == {"id", "source_id", "text", "meta"}
    assert len({json.loads(canary["meta"])["canary_of"] for canary in canaries}) == len(canaries)
    assert {one for one, kept in known(tmp_path).items() if kept} == {seed["id"] for seed in found}
    assert [len(one) for one in cut(tmp_path)][:-1] == [50] * (len(found) // 50)


def test_a_share_of_one_takes_all_and_a_larger_share_keeps_what_a_smaller_took(tmp_path: Path) -> None:
    taken = []
    for share in (0.1, 0.3, 1.0):
        ingest(tmp_path / str(share), {"a": LINES}, canary_share=share)
        taken.append({seed["id"] for seed in seeds(tmp_path / str(share)) if seed["source_id"] == CANARY_SOURCE})
    assert taken[0] < taken[1] < taken[2]
    assert len(taken[2]) == 200


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(40)), st.integers(1, 39), st.integers(1, 30))
def test_canaries_depend_on_neither_order_nor_partitions(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], at: int, partition_rows: int
) -> None:
    lines = [line(number, "same text" if number in (3, 30) else None) for number in order]
    one, two, three = (tmp_path_factory.mktemp(name) for name in ("one", "two", "three"))
    ingest(
        one, {"a": [line(number, "same text" if number in (3, 30) else None) for number in range(40)]}, canary_share=0.5
    )
    ingest(two, {"b": lines[:at], "a": lines[at:]}, canary_share=0.5)
    ingest(three, {"a": lines}, canary_share=0.5, partition_rows=partition_rows)
    assert [path.read_bytes() for path in sorted((one / "out").iterdir())] == [
        path.read_bytes() for path in sorted((two / "out").iterdir())
    ]
    assert seeds(three) == seeds(one)


def test_what_is_held_gets_no_canary_again(tmp_path: Path) -> None:
    ingest(tmp_path / "one", {"a": LINES[:100]}, canary_share=0.5)
    held = tmp_path / "one/out/known.parquet"
    again = ingest(tmp_path / "two", {"a": LINES[:100]}, held, canary_share=1.0)
    assert (again.items, again.kept) == (0, 0)
    assert again.notes == {"rows_read": 100, "already_held": 100, "canaries": 0}
    ingest(tmp_path / "three", {"a": LINES}, held, canary_share=0.5)
    ingest(tmp_path / "whole", {"a": LINES}, canary_share=0.5)
    parts = [seed["id"] for name in ("one", "three") for seed in seeds(tmp_path / name)]
    assert sorted(parts) == [seed["id"] for seed in seeds(tmp_path / "whole")]


def test_of_equal_texts_one_canary_is_made(tmp_path: Path) -> None:
    counts = ingest(tmp_path, {"a": [line(1, "the text"), line(2, "the text")]}, canary_share=1.0)
    assert (counts.items, counts.kept, dict(counts.dropped)) == (3, 2, {"equal_text": 1})
    assert counts.notes["canaries"] == 1


def test_a_canary_that_outgrows_the_limit_is_a_counted_drop(tmp_path: Path) -> None:
    counts = ingest(tmp_path, {"a": [line(1, "x" * 100), line(2, "short")]}, canary_share=1.0, max_text_bytes=100)
    assert counts.items == 4
    assert counts.kept == 2
    assert dict(counts.dropped) == {"too_large": 2}
    assert counts.notes["canaries"] == 2
    assert sum(known(tmp_path).values()) == 2


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_between_none_and_all(share: float) -> None:
    with pytest.raises(ValueError, match="canary_share"):
        config(canary_share=share)
