"""The score step: what a document is compared with, and which verdicts and drops name what they found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from filters.gates import Gate
from flows.steps import keep, score
from flows.steps.scoring import RuleConfig, rule_works
from synth import rows

FIRST = "The Pharos of Alexandria stood more than 100 metres high and was lit by an open fire at its top."
SECOND = "In 1822 Augustin Fresnel built a lens of glass rings that bends the light into one strong beam."
WHOLE = f"{FIRST} Größer ist er nie geworden.\n{SECOND}"


def scored(folder: Path, *names: str, seed: str = WHOLE, meta: str | None = None, **document: Any) -> dict[str, Any]:
    """The scores of one document, with its drops and verdicts under `drops` and `verdicts`."""
    text = document.pop("text", FIRST)
    made = {
        "id": "d",
        "family": "distill",
        "seed_ids": ["s"],
        "text": text,
        "parts": [{"role": "generated", "start_byte": 0, "end_byte": len(text.encode())}],
        "generation_depth": 1,
        **document,
    }
    paths = {name: folder / f"{name}.parquet" for name in ("documents", "seeds", "verdicts")}
    rows.write_table(rows.table([made], rows.DOCUMENT), paths["documents"])
    rows.write_table(rows.table([{"id": "s", "text": seed, "meta": meta}], rows.SEED), paths["seeds"])
    rows.write_table(rows.VERDICT.empty_table(), paths["verdicts"])
    (folder / "out").mkdir()
    works = rule_works([RuleConfig(name=name) for name in names], "score.rules")
    score.run(paths, score.ScoreWork(rules=works), folder / "out")
    (found,) = rows.read_table(folder / "out/scores.parquet").to_pylist()
    return {**found, "verdicts": rows.read_table(folder / "out/verdicts.parquet").to_pylist()}


def span(text: str) -> dict[str, int]:
    """Where a part of WHOLE lies, in bytes."""
    start = WHOLE.encode().index(text.encode())
    return {"start_byte": start, "end_byte": start + len(text.encode())}


@pytest.mark.parametrize(
    ("document", "copied"),
    [
        pytest.param({"seed_span": span(FIRST)}, 1.0, id="of-the-part-it-copies"),
        pytest.param({"seed_span": span(SECOND)}, 0.0, id="of-another-part"),
        pytest.param({"seed_span": {"start_byte": 0, "end_byte": len(WHOLE.encode())}}, 1.0, id="of-the-whole"),
        pytest.param({}, 1.0, id="without-a-span"),
    ],
)
def test_a_document_is_compared_with_the_part_it_was_made_from(
    tmp_path: Path, document: dict[str, Any], copied: float
) -> None:
    assert scored(tmp_path, "copy", **document)["copy_8gram_share"] == copied


def test_a_bare_topic_is_nothing_to_compare_with(tmp_path: Path) -> None:
    assert scored(tmp_path, "copy", meta='{"topic_only": true}')["copy_8gram_share"] is None


def test_the_seeds_canary_reaches_the_rule(tmp_path: Path) -> None:
    found = scored(
        tmp_path, "injection", meta='{"canary": "zqcanary-0123456789ab"}', text="It is ZQ canary 0123456789AB."
    )
    assert (found["canary_seed"], found["canary_obeyed"]) == (1, 1)


INVENTED = "Fresnel built a lens in 1823, from glass rings that bend the light into a beam."


@pytest.mark.parametrize(
    ("family", "outcomes"),
    [("distill", {"numbers": "failed"}), ("math_problem", {})],
)
def test_what_a_family_derives_is_not_held_to_be_invented(
    tmp_path: Path, family: str, outcomes: dict[str, str]
) -> None:
    found = scored(tmp_path, "fidelity", family=family, text=INVENTED)
    assert found["numbers_invented"] == 1, "the score is there for everyone"
    assert {row["rung"]: row["outcome"] for row in found["verdicts"]} == outcomes
    if outcomes:
        (numbers,) = [row for row in found["verdicts"] if row["rung"] == "numbers"]
        assert "1823" in orjson.loads(numbers["evidence"])["which"]


def test_a_drop_names_the_offenders(tmp_path: Path) -> None:
    scored(tmp_path, "fidelity", text=INVENTED)
    rows.write_table(rows.DROP.empty_table(), tmp_path / "drops.parquet")
    gate = Gate(column="numbers_invented", max=0, evidence="invented_numbers", reason="invented_number")
    (tmp_path / "kept").mkdir()
    inputs = {"scores": tmp_path / "out/scores.parquet", "drops": tmp_path / "drops.parquet"}
    keep.run(inputs, keep.KeepWork(gates=(gate,)), tmp_path / "kept")
    (drop,) = rows.read_table(tmp_path / "kept/drops.parquet").to_pylist()
    assert drop["reason"] == "invented_number" and "1823" in drop["evidence"] and drop["score"] == 1.0
    assert pa.types.is_large_string(rows.DROP.field("evidence").type)
