"""Verification seen from the score step: what rules found becomes verdicts, and what verdicts say becomes scores for gates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import filters.rules  # noqa: F401  (registers the bundled rules)
from filters.registry import rules
from flows.steps.scoring import RuleWork, score_table
from synth import rows
from synth.registry import Rung

VERIFYING = (
    "arithmetic",
    "equivalence",
    "consistency",
    "round_trip_source",
    "round_trip_alone",
    "judge",
    "numbers",
)
"""Rungs that say something about truth. The form of an answer, or which candidate won, does not."""

DECISIVE = ("arithmetic", "equivalence")
"""Rungs whose failure nothing else makes good."""

COLUMNS = ("verdicts_passed", "verdicts_failed", "unverified_generations")
"""The score columns that `verified` gives, beside those of the rules."""


def findings(scores: pa.Table, works: Sequence[RuleWork], item_kind: rows.ItemKind = "document") -> pa.Table:
    """VERDICT rows, by item: one per text and rung of a rule that could check something in it; where the rung tells what
    exactly it found, one for each find."""
    found = [row for work in works for rung in rules.get(work.name).rungs for row in _of_rung(scores, rung, item_kind)]
    return rows.table(found, rows.VERDICT).sort_by([("item_id", "ascending"), ("rung", "ascending")])


def _of_rung(scores: pa.Table, rung: Rung, item_kind: rows.ItemKind) -> Iterator[dict[str, Any]]:
    applies = pc.invert(pc.is_in(scores["family"], value_set=pa.array(rung.not_for, pa.string())))
    checked = scores.filter(pc.and_(applies, pc.greater(pc.fill_null(scores[rung.checked], 0), 0)))
    columns = [checked[name].to_pylist() for name in ("item_id", rung.checked, rung.wrong, rung.evidence)]
    finds = checked[rung.each] if rung.each else None
    for at, (item_id, number, wrong, evidence) in enumerate(zip(*columns, strict=True)):
        if wrong and finds is not None:
            yield from _of_finds(item_id, item_kind, rung.name, finds[at].as_py())
            continue
        said = {"checked": number, **({"wrong": wrong, "which": evidence} if wrong else {})}
        outcome = "failed" if wrong else "passed"
        yield rows.verdict_row(
            item_id, item_kind, rung.name, "rule", outcome, score=1 - min(1.0, wrong / number), evidence=said
        )


def _of_finds(item_id: str, item_kind: rows.ItemKind, rung: str, finds: Any) -> Iterator[dict[str, Any]]:
    for find in finds:
        said = {name: value for name, value in find.items() if name != "score"}
        yield rows.verdict_row(item_id, item_kind, rung, "rule", "failed", score=find["score"], evidence=said)


def of_rendered(documents: pa.Table, works: Sequence[RuleWork]) -> pa.Table:
    """VERDICT rows, by document: what these rules find in the `text` and `reasoning` that a trainer gets. Rungs are named
    apart from those of score, and of texts in which nothing is found there is none: score has said that of all."""
    scores = score_table(documents.select(["text", "reasoning"]), works)
    named = scores.add_column(0, "item_id", documents["id"]).add_column(1, "family", documents["family"])
    found = findings(named, works)
    failed = found.filter(pc.equal(found["outcome"], "failed"))
    rungs = pc.binary_join_element_wise(failed["rung"], "rendered", "_")
    return failed.set_column(failed.schema.get_field_index("rung"), "rung", rungs)


def verified(documents: pa.Table, earlier: pa.Table, found: pa.Table) -> dict[str, pa.Array]:
    """Per document: how many verdicts about its truth passed and failed, and whether it is text made of synthetic text that
    nothing verified (1) or not (0): such text feeds on itself.
    """
    ids = documents["id"].to_pylist()
    passed, failed, refuted = (dict.fromkeys(ids, 0) for _ in range(3))
    for table in (earlier, found):
        about = table.filter(pc.is_in(table["rung"], value_set=pa.array(VERIFYING, table["rung"].type)))
        for item_id, rung, outcome in zip(
            *(about[name].to_pylist() for name in ("item_id", "rung", "outcome")), strict=True
        ):
            passed[item_id] += outcome == "passed"
            failed[item_id] += outcome == "failed"
            refuted[item_id] += outcome == "failed" and rung in DECISIVE
    depths = zip(ids, documents["generation_depth"].to_pylist(), strict=True)
    unverified = [int(depth > 1 and (not passed[one] or refuted[one] > 0)) for one, depth in depths]
    counts = (list(passed.values()), list(failed.values()), unverified)
    return {name: pa.array(values, pa.int64()) for name, values in zip(COLUMNS, counts, strict=True)}
