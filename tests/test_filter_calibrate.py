"""`synth filter-calibrate`: the number it gives, put into a gate, keeps exactly the share that it says."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.calibration import KEEP_SHARES, gate_lines, kept_by, lane, nearest_to, threshold_for
from filters.gates import Gate, apply_gates
from flows.cli import main
from flows.steps.keep import KeepConfig
from synth import rows
from synth.audit.catalog import build_catalog
from synth.audit.sql import query
from synth.config import parse
from synth.digest import file_sha256
from tests.conftest import ScriptedServer
from tests.corpora import passage, run_recipe, write_recipe, write_seeds

SCORES = st.lists(
    st.one_of(st.just(float("nan")), st.floats(-1, 1, width=32), st.sampled_from([0.25, 0.5, 0.75])),
    min_size=1,
    max_size=40,
)


def dropped_by(scores: list[float], gate: Gate) -> int:
    """How many texts the pipeline's own gates drop; scores are stored as float32, and a missing one is null."""
    known = pa.array([None if np.isnan(one) else one for one in scores], pa.float32())
    ids = pa.array([f"d{at}" for at in range(len(scores))])
    table = pa.table({"item_id": ids, "family": pa.repeat("f", len(scores)), gate.column: known})
    return len(apply_gates(table, [gate], "document", "keep", frozenset()))


@given(SCORES, st.floats(0.001, 1))
def test_a_threshold_keeps_what_it_says_and_none_comes_nearer(values: list[float], share: float) -> None:
    scores = np.array(values, np.float64)
    threshold = threshold_for(scores, share)
    scored = np.unique(scores[~np.isnan(scores)])
    if not len(scored):
        assert np.isnan(threshold)
        return
    kept = kept_by(scores, threshold)
    assert kept >= 1
    assert dropped_by(values, Gate(column="quality_score", min=threshold, reason="low")) == len(values) - kept
    wanted = max(round(share * len(scores)), 1)
    assert abs(kept - wanted) == min(abs(int((scores >= one).sum()) - wanted) for one in scored)


def test_without_ties_the_share_is_exact_and_the_number_short() -> None:
    scores = np.random.Generator(np.random.PCG64(0)).random(1000).astype(np.float32).astype(np.float64)
    for share in (0.05, 0.1, 0.5, 0.9, 1.0):
        threshold = threshold_for(scores, share)
        assert kept_by(scores, threshold) == round(share * 1000)
        assert len(repr(threshold)) <= 8


def test_a_lane_says_which_shares_no_threshold_keeps() -> None:
    scores = np.array([0.1, 0.2, 0.3, np.nan, np.nan])
    found = lane("f", "s", scores, 0.2)
    assert (found.texts, found.unscorable, found.kept) == (5, 2, 2)
    assert [share for share, one in zip(KEEP_SHARES, found.thresholds, strict=True) if one is None] == [0.95, 0.9, 0.75]
    assert nearest_to(scores, 0.2, 2) == ([1, 2], [0])


def test_gate_lines_are_a_recipes() -> None:
    value = tomllib.loads(gate_lines("quality_score", [("faq", 0.25), ("distill", 1e-05)]))
    gates = parse(KeepConfig, value["keep"]).more_gates
    assert [(gate.column, gate.min, gate.families) for gate in gates] == [
        ("quality_score", 0.25, ("faq",)),
        ("quality_score", 1e-05, ("distill",)),
    ]


# --- on a home


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, scripted_server: ScriptedServer) -> Path:
    """A release of two sources and two families, scored by a model that the run trained; some texts dropped by other gates."""
    folder = tmp_path_factory.mktemp("calibrate")
    loops = {f"s{n}": f"{passage(n)} [[scripted: outcome=loop]]" for n in range(5)}
    write_seeds(folder / "seeds/a.jsonl", range(50), **loops)
    write_seeds(folder / "seeds/b.jsonl", range(50, 80))
    source = (
        '[[sources]]\nid = "{0}"\nkind = "jsonl"\npaths = ["seeds/{0}.jsonl"]\nlicense = "CC0-1.0"\ncolumns.id = "id"'
    )
    write_recipe(
        folder,
        scripted_server.base_url,
        sources="\n".join(source.format(name) for name in "ab"),
        ingest="[ingest]\npartition_rows = 100",
        audit="[audit]\nmax_dropped_share = 1.0",
        quality='[quality]\ndamage = ["scramble"]\ntraining = { dim = 8, bucket = 2000, epochs = 10, lr = 0.5 }',
    )
    run_recipe(folder / "recipe.toml", folder / "home")
    build_catalog(folder / "home")
    return folder


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["filter-calibrate", *arguments, "--json"]) == 0
    value: dict[str, Any] = orjson.loads(capsys.readouterr().out)
    return value


def test_the_number_in_a_gate_keeps_exactly_the_share(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The lines go into the recipe as they are printed; the next release keeps what was said, of every family."""
    (found,) = told(capsys, "--home", str(folder / "home"), "--keep", "0.3", "--score", "quality_score")["scores"]
    families = {one["family"]: one for one in found["families"]}
    assert families.keys() == {"diverse_qa", "distill"}
    lines = found["recipe"].removeprefix("[keep]\n")
    text = (folder / "recipe.toml").read_text()
    gated = folder / "gated.toml"
    gated.write_text(text.replace("[keep]\n", f"[keep]\n{lines}"))
    assert gated.read_text() != text
    run_recipe(gated, folder / "home")
    build_catalog(folder / "home")
    passed = query(
        folder / "home",
        "SELECT family, count(*) AS n FROM documents ANTI JOIN (SELECT item_id FROM drops WHERE step IN ('generate', 'keep')) "
        "ON item_id = id GROUP BY family",
    ).to_pylist()
    assert {one["family"]: one["n"] for one in passed} == {name: one["kept"] for name, one in families.items()}
    for one in families.values():
        assert one["kept"] == round(0.3 * one["texts"])
    (again,) = told(capsys, "--home", str(folder / "home"), "--keep", "0.3", "--score", "quality_score")["scores"]
    assert again["families"] == found["families"]  # its own drops stay in the pool
    both = told(capsys, "--home", str(folder / "home"), "--keep", "0.3")["scores"]
    assert [one["score"] for one in both] == ["quality_score", "quality_delta"]


def test_lanes_and_samples(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = told(capsys, "--home", str(folder / "home"), "--threshold", "0.05", "--family", "distill")["scores"]
    assert {(one["family"], one["source"]) for one in found["lanes"]} == {("distill", "a"), ("distill", "b")}
    (family,) = found["families"]
    assert sum(one["texts"] for one in found["lanes"]) == family["texts"] <= 75  # five were dropped by the family
    assert sum(one["kept"] for one in found["lanes"]) == family["kept"]
    assert all(one["score"] >= 0.05 for one in family["just_above"])
    assert all(one["score"] < 0.05 for one in family["just_below"])
    for one in [*family["just_above"], *family["just_below"]]:
        (text,) = query(folder / "home", f"SELECT text FROM documents WHERE id = '{one['id']}'").to_pylist()
        assert " ".join(text["text"].split()).startswith(one["text"].rstrip("…"))
        assert len(one["text"]) <= 160
    assert "families" not in found["recipe"]


def test_the_table_is_readable_and_curves_are_drawn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["filter-calibrate", "--home", str(folder / "home"), "--svg", str(folder / "curves.svg")]) == 0
    printed = capsys.readouterr().out
    assert "keep 90%" in printed and "dropped " in printed and "more_gates = [" in printed
    assert (folder / "curves.svg").read_text().count("<polyline") == 2


def pairs(folder: Path) -> str:
    """Half of the pairs say the same; of the other half one is scrambled, which the model was trained to see."""
    rows_of = [{"a": passage(n), "b": passage(n) if n % 2 else " ".join(sorted(passage(n).split()))} for n in range(40)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of))
    return str(folder / "pairs.jsonl")


def test_style_flips(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--home", str(folder / "home"), "--pairs", pairs(folder), "--threshold", "0.5"]
    flips = told(capsys, *common)["style_flips"]
    assert flips == {"pairs": 40, "flipped": {"distill": 0.5, "diverse_qa": 0.5}}
    model = next((folder / "home/objects/train").rglob("model.bin"))
    assert told(capsys, *common, "--model", str(model))["style_flips"] == flips
    (folder / "other.bin").write_bytes(b"x")
    assert main(["filter-calibrate", *common, "--model", str(folder / "other.bin")]) == 2
    assert file_sha256(model) in capsys.readouterr().err


def test_scores_and_texts_of_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [f"s{n}" for n in range(10)]
    scores = pa.array([n / 10 for n in range(9)] + [None], pa.float32())
    table = pa.table(
        {"item_id": ids, "family": pa.nulls(10, pa.string()), "quality_score": scores, "quality_delta": scores}
    )
    rows.write_table(table, folder / "scores.parquet")
    given = ["--scores", str(folder / "scores.parquet")]
    found = told(capsys, *given, "--texts", str(folder / "seeds/a.jsonl"), "--keep", "0.5")["scores"]
    assert [one["score"] for one in found] == ["quality_score", "quality_delta"]
    (family,) = found[0]["families"]
    assert (family["family"], family["kept"], family["threshold"]) == ("all texts", 5, 0.4)
    assert family["just_above"][0]["text"].startswith("The ")
    assert "families" not in found[0]["recipe"]
    assert told(capsys, *given, "--keep", "0.5")["scores"][0]["families"][0]["just_above"][0]["text"] is None


WRONG = [
    (["--keep", "0"], "--keep is a share"),
    (["--keep", "0.5", "--threshold", "0.5"], "either --keep or --threshold"),
    (["--threshold", "1", "--score", "words", "--score", "lines"], "--threshold is for one score"),
    (["--score", "quality_scor"], "did you mean 'quality_score'?"),
    (["--score", "opening"], "no score 'opening' that is a number"),
    (["--family", "none"], "there are no texts"),
    (["--recipe", "smal"], "did you mean 'small'?"),
    (["--scores", "none.parquet"], "in place of a home"),
    (["--score", "words", "--pairs", "none.jsonl"], "--pairs are scored by the quality model"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[words for _, words in WRONG])
def test_wrong_input(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert main(["filter-calibrate", "--home", str(folder / "home"), *arguments]) == 2
    assert words in capsys.readouterr().err
