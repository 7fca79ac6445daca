"""Faults to plant in an honest wave, each with the one check that must find it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from audit_contamination import PLANTED_CONTAMINATION
from audit_duplicates import PLANTED_DUPLICATES
from audit_home import Wave
from audit_retracted import PLANTED_RETRACTIONS
from audit_spans import PLANTED_SPANS

from synth.audit.audit import AuditConfig

Plant = Callable[[Wave], None]

# The planted faults. Each changes as little as it can: what must change with it, so that only one check sees it, does.


def count(label: str, **more: int) -> Plant:
    """Raise some of an object's counts."""

    def plant(wave: Wave) -> None:
        for name, by in more.items():
            target = wave.objects[label].counts if name in ("items", "kept") else wave.objects[label].counts["notes"]
            target[name] += by

    return plant


def _document(**values: Any) -> Plant:
    """Change fields of a kept document."""

    def plant(wave: Wave) -> None:
        wave.document("p0", "qa", 3).update(values)

    return plant


def _more(column: str, value: Any) -> Plant:
    """Add to a list of a kept document."""

    def plant(wave: Wave) -> None:
        wave.document("p0", "qa", 3)[column].append(value)

    return plant


def _part(role: str, start_byte: int, end_byte: int) -> Plant:
    return _more("parts", {"role": role, "start_byte": start_byte, "end_byte": end_byte})


def _cut_answer(wave: Wave) -> None:
    wave.table("generate/p0/qa", "asks")[3]["outcome"] = "repetition"


def _attempt(**values: Any) -> Plant:
    """Change fields of the attempt that a kept document rests on."""

    def plant(wave: Wave) -> None:
        _accepted(wave).update(values)

    return plant


def _accepted(wave: Wave) -> dict[str, Any]:
    ask = wave.table("generate/p0/qa", "asks")[3]
    found = [one for one in wave.table("generate/p0/qa", "attempts") if one["attempt_id"] == ask["accepted_attempt"]]
    return found[0]


def _accepted_twice(wave: Wave) -> None:
    wave.climb("generate/p0/qa", 3, "accepted", "next_model")


def _accepted_for_nobody(wave: Wave) -> None:
    stranger = {**_accepted(wave), "attempt_id": "stranger", "ask_id": "nobody"}
    wave.table("generate/p0/qa", "attempts").append(stranger)
    count("generate/p0/qa", attempts=1)(wave)


def _another_is_accepted(wave: Wave) -> None:
    wave.climb("generate/p0/qa", 3, "not_accepted", "next_model")
    attempts = [one for one in wave.table("generate/p0/qa", "attempts") if one["ask_id"] == _accepted(wave)["ask_id"]]
    for attempt, verdict in zip(attempts, ("accepted", "not_accepted"), strict=True):
        attempt["verdict"] = verdict


def _named_nowhere(wave: Wave) -> None:
    wave.table("generate/p0/qa", "asks")[3]["accepted_attempt"] = "gone"


def _dead_letter_with_an_answer(wave: Wave) -> None:
    wave.table("generate/p0/qa", "asks")[0]["outcome"] = "dead_letter"  # its document is dropped


def _step_without_an_answer(wave: Wave) -> None:
    wave.climb("generate/p0/qa", 3, "thinking_overflow", "larger_budget")
    wave.climb("generate/p0/qa", 3, "thinking_overflow", "thinking_off")
    between = next(one for one in wave.table("generate/p0/qa", "attempts") if one["step"] == 1)
    between |= {"status": "timeout", "verdict": None}


def _two_answers_at_one_step(wave: Wave) -> None:
    wave.climb("generate/p0/qa", 3, "empty_answer", "again")["step"] = 0


def _two_documents_of_one_id(wave: Wave) -> None:
    there, document = wave.document("p1", "qa", 0)["id"], wave.document("p0", "qa", 0)
    for step in ("generate", "score"):
        for verdict in wave.table(f"{step}/p0/qa", "verdicts"):
            verdict["item_id"] = there if verdict["item_id"] == document["id"] else verdict["item_id"]
    for span in wave.table("score/p0/qa", "spans"):
        span["doc_id"] = there if span["doc_id"] == document["id"] else span["doc_id"]
    document["id"] = there
    wave.table("generate/p0/qa", "drops")[0]["item_id"] = there


def _released_before(wave: Wave) -> None:
    released = {"doc_id": wave.document("p0", "qa", 0)["id"], "shard": "train-00000.arrow", "row": 0, "split": "train"}
    wave.released = [released]  # type: ignore[attr-defined]


def _no_reason(wave: Wave) -> None:
    wave.table("resolve", "drops")[0]["reason"] = " "


def _unknown_item(wave: Wave) -> None:
    wave.table("screen/p0", "drops")[0]["item_id"] = "nobody"


def _other_reason(wave: Wave) -> None:
    wave.objects["keep/p0/qa"].counts["dropped"] = {"too_long": 1}


def _second_reason(wave: Wave) -> None:
    wave.objects["keep/p0/qa"].counts["dropped"] = {"too_many_symbols": 1}


def _partner_is_gone(wave: Wave) -> None:
    wave.table("resolve", "drops")[0]["partner_id"] = wave.table("keep/p0/qa", "drops")[0]["item_id"]


def _generation_failed(wave: Wave) -> None:
    wave.table("generate/p0/qa", "drops")[0]["rule"] = "generation_failed"
    wave.objects["generate/p0/qa"].counts["dropped"] = {"generation_failed": 1}


def _fewer_rows_promised(wave: Wave) -> None:
    wave.objects["generate/p0/qa"].promised["asks.parquet"] = {"rows": 4}


def _missing_in_shards(wave: Wave) -> None:
    one = wave.objects["shards"]
    one.shards["train-00001.arrow"].pop()
    last = max(range(len(one.tables["rows.parquet"])), key=lambda at: _position(one.tables["rows.parquet"][at]))
    del one.tables["rows.parquet"][last]
    count("shards", items=-1, kept=-1)(wave)


def _position(row: dict[str, Any]) -> tuple[bool, int]:
    return row["shard"] == "train-00001.arrow", row["row"]


def _add_to_shard(wave: Wave, doc_id: str) -> None:
    one = wave.objects["shards"]
    shard = one.shards["train-00000.arrow"]
    shard.append({**shard[0], "doc_id": doc_id})
    place = {"doc_id": doc_id, "shard": "train-00000.arrow", "row": len(shard) - 1, "split": "train", "tokens": 1}
    one.tables["rows.parquet"].append(place)
    count("shards", items=1, kept=1)(wave)


def _stranger_in_shard(wave: Wave) -> None:
    _add_to_shard(wave, "nobody")


def _twice_in_shard(wave: Wave) -> None:
    _add_to_shard(wave, wave.objects["shards"].shards["train-00000.arrow"][0]["doc_id"])


def _dropped_in_shard(wave: Wave) -> None:
    _add_to_shard(wave, wave.document("p1", "qa", 0)["id"])


def _only_the_source(wave: Wave) -> None:
    document = wave.document("p0", "qa", 3)
    document["parts"] = document["parts"][:1]


def _blank_answer(wave: Wave) -> None:
    document = wave.document("p0", "qa", 3)
    start = len(document["text"].encode())
    document["text"] += " \n "
    document["parts"][1] = {"role": "generated", "start_byte": start, "end_byte": start + 3}


def _half_a_character(wave: Wave) -> None:
    document = wave.document("p0", "qa", 3)
    end = document["text"].encode().index("é".encode()) + 1
    document["parts"].append({"role": "source", "start_byte": 0, "end_byte": end})


def _rows_exchanged(wave: Wave) -> None:
    first, second = wave.objects["shards"].tables["rows.parquet"][:2]
    assert first["shard"] == second["shard"]
    first["doc_id"], second["doc_id"] = second["doc_id"], first["doc_id"]


def _wrong_split(wave: Wave) -> None:
    (alone,) = [row for row in wave.objects["shards"].tables["rows.parquet"] if row["split"] == "validation"]
    alone["split"] = "test"


def _empty_in_shard(wave: Wave) -> None:
    wave.objects["shards"].shards["train-00000.arrow"][0]["text"] = ""


def _seed_twice(wave: Wave) -> None:
    ingest = wave.objects["ingest"].tables
    there = ingest["seeds-00000.parquet"][0]["id"]
    ingest["seeds-00001.parquet"][0]["id"] = there
    wave.table("screen/p1", "drops")[0]["item_id"] = there


def _other_sha256(wave: Wave) -> None:
    wave.objects["shards"].promised["train-00000.arrow"] = {"sha256": "0" * 64}


def _other_shard_rows(wave: Wave) -> None:
    wave.objects["shards"].promised["train-00000.arrow"] = {"rows": 1}


def _screened_a_stranger(wave: Wave) -> None:
    wave.table("screen/p0", "seed_scores").append({"item_id": "nobody", "words": 8, "symbol_ratio": 0.0})
    count("screen/p0", items=1, kept=1)(wave)


def _siblings_apart(wave: Wave) -> None:
    apart = wave.objects["shards"].shards["validation-00000.arrow"][0]["root_id"]
    wave.document("p1", "qa", 3)["root_id"] = apart


def one_opening(wave: Wave) -> None:
    """Of the six kept documents of `qa`, four begin alike."""
    kept = [row["id"] for row in wave.kept() if row["family"] == "qa"]
    scores = [score for partition in wave.partitions for score in wave.table(f"score/{partition}/qa", "scores")]
    for score in scores:
        if score["item_id"] in kept[:4]:
            score["opening"] = "in this text we"


def _kept_canary(wave: Wave) -> None:
    """The seed of a kept document turns out to be a canary."""
    seed_id = wave.document("p0", "qa", 3)["seed_ids"][0]
    seed = next(row for row in wave.objects["ingest"].tables["seeds-00000.parquet"] if row["id"] == seed_id)
    seed["meta"] = '{"canary": "zqcanary-0123456789ab"}'


def _foreign_canary(wave: Wave) -> None:
    wave.table("score/p0/qa", "scores")[3]["foreign_canaries"] = 2


def _obeyed(wave: Wave) -> None:
    """One of the two documents of `qa` from canary seeds obeys."""
    wave.table("score/p0/qa", "scores")[1]["canary_obeyed"] = 1


def _unverified_depth(wave: Wave) -> None:
    """A document from a synthetic text whose answers neither agreed nor had known numbers: what passed is no verification."""
    _document(generation_depth=2)(wave)
    for verdict in _verdicts(wave):
        verdict["outcome"] = "unsure" if verdict["rung"] in ("consistency", "numbers") else verdict["outcome"]
    wave.table("score/p0/qa", "verdicts").append({**_verdicts(wave)[0], "rung": "structure", "outcome": "passed"})


def _wrong_depth(wave: Wave) -> None:
    """A document from a synthetic text that passed some rungs, and in which the arithmetic is wrong."""
    _document(generation_depth=2)(wave)
    wave.table("score/p0/qa", "verdicts").append({**_verdicts(wave)[0], "rung": "arithmetic", "outcome": "failed"})


def _verdicts(wave: Wave) -> list[dict[str, Any]]:
    doc_id = wave.document("p0", "qa", 3)["id"]
    tables = [wave.table(f"{step}/p0/qa", "verdicts") for step in ("generate", "score")]
    return [verdict for table in tables for verdict in table if verdict["item_id"] == doc_id]


def _verdict(**values: Any) -> Plant:
    """A further verdict, like those on a kept document but for these fields."""

    def plant(wave: Wave) -> None:
        wave.table("generate/p0/qa", "verdicts").append({**_verdicts(wave)[-1], **values})

    return plant


def shown_at(*counts: int) -> Plant:
    """A kept document's questions have their right answers shown at the first place so often, at the second so often …"""

    def plant(wave: Wave) -> None:
        options = [f"option {place}" for place in range(len(counts))]
        shown = [place for place, times in enumerate(counts) for _ in range(times)]
        questions = [{"options": options, "correct": 0, "shown": place} for place in shown]
        wave.document("p0", "qa", 3)["payload"] = orjson.dumps(questions).decode()

    return plant


STRICT = AuditConfig(warn_duplicate_share=1.0, min_documents=1, min_cluster_documents=2)
OPENINGS = AuditConfig(min_openings=6, max_template_share=1.0, warn_template_share=1.0)
OBEYED = AuditConfig(min_documents=2, max_dropped_share=1.0, warn_obeyed_share=0.4, warn_duplicate_share=1.0)

ONCE, GAPS = "answers_accepted_once", "ladder_without_gaps"

PLANTED = [
    pytest.param(ONCE, _attempt(verdict="not_accepted"), None, {"accepted": 0, "named": 1}, id="accepted by nobody"),
    pytest.param(ONCE, _accepted_twice, None, {"accepted": 2, "named": 1}, id="accepted twice"),
    pytest.param(ONCE, _accepted_for_nobody, None, {"ask_id": "nobody", "accepted": 1}, id="accepted for no ask"),
    pytest.param(ONCE, _another_is_accepted, None, {"accepted": 1, "named": 1}, id="another attempt is accepted"),
    pytest.param(ONCE, _named_nowhere, None, {"accepted": 1, "named": 0}, id="names an attempt that is not there"),
    pytest.param(
        ONCE, _dead_letter_with_an_answer, None, {"outcome": "dead_letter", "accepted": 1}, id="dead letter accepted"
    ),
    pytest.param(GAPS, _attempt(step=2), None, {"first_step": 2, "steps": 1}, id="first steps missing"),
    pytest.param(GAPS, _attempt(step=None), None, {"first_step": None}, id="no step"),
    pytest.param(GAPS, _step_without_an_answer, None, {"answers": [1, 0, 1]}, id="step after no answer"),
    pytest.param(GAPS, _two_answers_at_one_step, None, {"answers": [2]}, id="two answers at one step"),
    pytest.param("answer_position", shown_at(40, 50, 50, 90), None, {"family": "qa", "answers": 230}, id="last place"),
    pytest.param("answers_complete", _cut_answer, None, {"outcome": "repetition"}, id="kept on a looping answer"),
    pytest.param(
        "canaries_not_kept", _kept_canary, None, {"canary": "zqcanary-0123456789ab"}, id="kept from a canary seed"
    ),
    pytest.param("canaries_not_kept", _foreign_canary, None, {"foreign_canaries": 2}, id="kept with a canary"),
    pytest.param("counts_add_up", count("ingest", items=1), None, {"step": "ingest"}, id="one more in than out"),
    pytest.param(
        "counts_match_rows", count("score/p0/qa", items=1, kept=1), None, {"rows_read": 5}, id="one score missing"
    ),
    pytest.param(
        "counts_match_rows", count("generate/p0/qa", asks=1), None, {"table_name": "asks"}, id="one ask missing"
    ),
    pytest.param("counts_match_rows", count("ingest", items=1, kept=1), None, {"rows_read": 12}, id="one seed missing"),
    pytest.param("depth_verified", _unverified_depth, None, {"passed": 0, "failed": 0}, id="nothing passed"),
    pytest.param("depth_verified", _wrong_depth, None, {"passed": 2, "failed": 1}, id="wrong arithmetic"),
    pytest.param("document_ids_unique", _two_documents_of_one_id, None, {"times": 2}, id="document in two objects"),
    pytest.param(
        "document_ids_unique", _released_before, None, {"released_before": True}, id="document released before"
    ),
    pytest.param(
        "dropped_share",
        lambda wave: None,
        STRICT.model_copy(update={"max_dropped_share": 0.5}),
        {"family": "distill", "documents": 8, "dropped": 5},
        id="a family dropped by more than half",
    ),
    pytest.param("drops_explained", _no_reason, None, {"step": "resolve"}, id="drop without a reason"),
    pytest.param("drops_explained", _unknown_item, None, {"item_id": "nobody"}, id="drop of an unknown seed"),
    pytest.param(
        "drops_match_counts", _other_reason, None, {"counted_as": "too_long", "in_table": 0}, id="another reason"
    ),
    pytest.param(
        "drops_match_counts", _second_reason, None, {"counted_as": "too_short", "in_table": 1}, id="second reason"
    ),
    pytest.param(
        "duplicates_have_survivors", _partner_is_gone, None, {"rule": "near_duplicate"}, id="partner dropped too"
    ),
    pytest.param(
        "failed_share",
        _generation_failed,
        STRICT.model_copy(update={"max_failed_share": 0.05}),
        {"documents": 18, "failed": 1},
        id="too many failures",
    ),
    pytest.param(
        "files_as_in_manifests", _fewer_rows_promised, None, {"rows_in_manifest": 4}, id="manifest of fewer rows"
    ),
    pytest.param(
        "injection_obeyed", _obeyed, OBEYED, {"canary_documents": 2, "documents_obeyed": 1}, id="half of them obey"
    ),
    pytest.param("kept_once_in_shards", _missing_in_shards, None, {"times": 0}, id="kept, in no shard"),
    pytest.param("kept_once_in_shards", _twice_in_shard, None, {"times": 2}, id="kept, twice in a shard"),
    pytest.param("kept_once_in_shards", _stranger_in_shard, None, {"known": False}, id="unknown document in a shard"),
    pytest.param("kept_text_not_empty", _only_the_source, None, {"family": "qa"}, id="nothing generated"),
    pytest.param("kept_text_not_empty", _blank_answer, None, {"family": "qa"}, id="only blanks generated"),
    pytest.param(
        "largest_cluster",
        lambda wave: None,
        STRICT.model_copy(update={"max_cluster_share": 0.1}),
        {"members": 2, "documents": 10},
        id="a cluster of a fifth",
    ),
    pytest.param("license_known", _document(license=None), None, {"license": None}, id="no licence"),
    pytest.param("license_known", _document(license=" NOASSERTION"), None, {"family": "qa"}, id="licence not asserted"),
    pytest.param("lineage_complete", _more("seed_ids", "nobody"), None, {"problem": "unknown seed"}, id="unknown seed"),
    pytest.param("lineage_complete", _more("ask_ids", "nobody"), None, {"problem": "unknown ask"}, id="unknown ask"),
    pytest.param("lineage_complete", _document(root_id=None), None, {"problem": "no root_id"}, id="no root"),
    pytest.param("lineage_complete", _document(models=[]), None, {"problem": "kept without a model"}, id="no model"),
    pytest.param("nothing_dropped_in_shards", _dropped_in_shard, None, {"step": "generate"}, id="dropped, in a shard"),
    pytest.param("parts_inside_text", _part("source", 0, 10_000), None, {"end_byte": 10_000}, id="part past the end"),
    pytest.param("parts_inside_text", _part("source", 4, 4), None, {"start_byte": 4}, id="empty part"),
    pytest.param("parts_inside_text", _part("poet", 0, 4), None, {"role": "poet"}, id="unknown role"),
    pytest.param("parts_inside_text", _half_a_character, None, {"role": "source"}, id="part cuts a character"),
    pytest.param("rows_match_shards", _rows_exchanged, None, {"shard": "train-00000.arrow"}, id="two rows exchanged"),
    pytest.param("rows_match_shards", _wrong_split, None, {"split": "test"}, id="split of another file"),
    pytest.param("rows_match_shards", _empty_in_shard, None, {"text_bytes": 0}, id="empty text in a shard"),
    pytest.param("seed_ids_unique", _seed_twice, None, {"times": 2}, id="seed in two partitions"),
    pytest.param(
        "seeds_yield_documents",
        count("generate/p0/qa", seeds_without_document=1),
        None,
        {"without_document": 1},
        id="seed without a document",
    ),
    pytest.param(
        "seeds_yield_documents",
        count("generate/p0/qa", seeds=1),
        None,
        {"seeds": 7, "with_documents": 5},
        id="seed left out",
    ),
    pytest.param("shards_as_in_manifest", _other_sha256, None, {"sha256_in_manifest": "0" * 64}, id="other bytes"),
    pytest.param("shards_as_in_manifest", _other_shard_rows, None, {"rows_in_manifest": 1}, id="other number of rows"),
    pytest.param(
        "siblings_in_one_split", _siblings_apart, None, {"splits": ["train", "validation"]}, id="siblings apart"
    ),
    pytest.param(
        "steps_hand_over",
        _screened_a_stranger,
        None,
        {"from_to": "seeds -> screen", "took": 13},
        id="screened too much",
    ),
    pytest.param(
        "steps_hand_over",
        count("keep/p0/qa", items=1, kept=1),
        None,
        {"from_to": "generate -> keep"},
        id="kept too much",
    ),
    pytest.param(
        "steps_hand_over",
        count("resolve", items=1, kept=1),
        None,
        {"from_to": "keep -> resolve"},
        id="resolved too much",
    ),
    pytest.param(
        "template_starts",
        one_opening,
        OPENINGS.model_copy(update={"max_template_share": 0.3}),
        {"opening": "in this text we", "documents": 4, "family_documents": 6},
        id="four of six begin alike",
    ),
    pytest.param(
        "template_starts_warning",
        one_opening,
        OPENINGS.model_copy(update={"warn_template_share": 0.3}),
        {"family": "qa", "documents": 4, "allowed": 0.3},
        id="four of six begin alike, a warning",
    ),
    pytest.param(
        "verdicts_have_items", _verdict(item_id="nobody"), None, {"item_id": "nobody"}, id="verdict on nothing"
    ),
    pytest.param(
        "verdicts_have_items", _verdict(item_kind="seed"), None, {"item_kind": "seed"}, id="verdict on no seed"
    ),
    *PLANTED_DUPLICATES,
    *PLANTED_SPANS,
    *PLANTED_CONTAMINATION,
    *PLANTED_RETRACTIONS,
]
