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
