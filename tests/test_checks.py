"""The audit's checks: an honest wave passes all of them, and each planted fault is found by exactly one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pytest
from audit_home import Wave, audit_inputs, write_home

from synth import rows
from synth.audit import audit
from synth.audit.audit import AuditConfig, load_checks, run_checks
from synth.errors import IntegrityError

Plant = Callable[[Wave], None]


def _run(
    folder: Path, wave: Wave, limits: AuditConfig | None = None, *, allow_unknown_license: bool = False
) -> dict[str, int]:
    """Write the wave, audit it, return the violations by check (only those that have any)."""
    home, out = folder / "home", folder / "out"
    write_home(home)
    out.mkdir(parents=True, exist_ok=True)
    wave.write(home)
    tables, manifests, shards = audit_inputs(home, wave)
    released = getattr(wave, "released", [])
    rows.write_table(rows.table(released, rows.ROW), folder / "released.parquet")
    tables["released_rows"] = [folder / "released.parquet"]
    table = run_checks(tables, manifests, shards, allow_unknown_license, limits or AuditConfig(), out)
    assert rows.read_table(out / "checks.parquet").to_pylist() == table.to_pylist()
    return {row["check"]: row["violations"] for row in table.to_pylist() if row["violations"]}


def _evidence(folder: Path) -> list[dict[str, Any]]:
    return [orjson.loads(row["row"]) for row in rows.read_table(folder / "out" / "evidence.parquet").to_pylist()]


def test_an_honest_wave_passes_every_check(tmp_path: Path) -> None:
    assert _run(tmp_path, Wave()) == {}
    assert _evidence(tmp_path) == []


def test_waves_can_be_audited_together(tmp_path: Path) -> None:
    """As `synth audit` does with a whole release: its waves have shards of the same names."""
    waves = [Wave("first"), Wave("second", ["p5"])]
    tables: dict[str, list[Path]] = {}
    manifests, shards = [], []
    write_home(tmp_path / "home")
    for wave in waves:
        wave.write(tmp_path / "home")
        more, its_manifests, its_shards = audit_inputs(tmp_path / "home", wave)
        manifests, shards = manifests + its_manifests, shards + its_shards
        tables = {table: tables.get(table, []) + paths for table, paths in more.items()}
    assert len({path.name for path in shards}) < len(shards)
    result = run_checks(tables, manifests, shards, False, AuditConfig(), tmp_path)
    assert [row for row in result.to_pylist() if row["violations"]] == []


def test_ladders_cascades_dead_letters_and_reused_answers_pass(tmp_path: Path) -> None:
    wave = Wave()
    wave.climb("generate/p0/qa", 3, "thinking_overflow", "larger_budget")
    wave.climb("generate/p0/qa", 3, "dead_letter", "next_model")
    dead = wave.table("generate/p1/qa", "asks")[0]
    dead["outcome"] = "dead_letter"
    for attempt in wave.table("generate/p1/qa", "attempts"):
        if attempt["ask_id"] == dead["ask_id"]:
            attempt |= {"status": "rejected", "verdict": None}
    _count("generate/p1/distill", attempts=-len(wave.table("generate/p1/distill", "attempts")))(wave)
    wave.table("generate/p1/distill", "attempts").clear()  # all of them lie in the object that paid
    assert _run(tmp_path, wave) == {}


def test_a_wave_without_anything_passes(tmp_path: Path) -> None:
    table = run_checks({}, [], [], False, AuditConfig(min_documents=1), tmp_path)
    assert table.num_rows == len(load_checks()) >= 12
    assert sum(table["violations"].to_pylist()) == 0


# The planted faults. Each changes as little as it can: what must change with it, so that only one check sees it, does.


def _count(label: str, **more: int) -> Plant:
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
    _count("generate/p0/qa", attempts=1)(wave)


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
    there = wave.document("p1", "qa", 0)["id"]
    wave.document("p0", "qa", 0)["id"] = there
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
    _count("shards", items=-1, kept=-1)(wave)


def _position(row: dict[str, Any]) -> tuple[bool, int]:
    return row["shard"] == "train-00001.arrow", row["row"]


def _add_to_shard(wave: Wave, doc_id: str) -> None:
    one = wave.objects["shards"]
    shard = one.shards["train-00000.arrow"]
    shard.append({**shard[0], "doc_id": doc_id})
    place = {"doc_id": doc_id, "shard": "train-00000.arrow", "row": len(shard) - 1, "split": "train", "tokens": 1}
    one.tables["rows.parquet"].append(place)
    _count("shards", items=1, kept=1)(wave)


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
    _count("screen/p0", items=1, kept=1)(wave)


def _siblings_apart(wave: Wave) -> None:
    apart = wave.objects["shards"].shards["validation-00000.arrow"][0]["root_id"]
    wave.document("p1", "qa", 3)["root_id"] = apart


STRICT = AuditConfig(min_documents=1, min_cluster_documents=2)

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
    pytest.param("answers_complete", _cut_answer, None, {"outcome": "repetition"}, id="kept on a looping answer"),
    pytest.param("counts_add_up", _count("ingest", items=1), None, {"step": "ingest"}, id="one more in than out"),
    pytest.param(
        "counts_match_rows", _count("score/p0/qa", items=1, kept=1), None, {"rows_read": 5}, id="one score missing"
    ),
    pytest.param(
        "counts_match_rows", _count("generate/p0/qa", asks=1), None, {"table_name": "asks"}, id="one ask missing"
    ),
    pytest.param(
        "counts_match_rows", _count("ingest", items=1, kept=1), None, {"rows_read": 12}, id="one seed missing"
    ),
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
        _count("generate/p0/qa", seeds_without_document=1),
        None,
        {"without_document": 1},
        id="seed without a document",
    ),
    pytest.param(
        "seeds_yield_documents",
        _count("generate/p0/qa", seeds=1),
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
        _count("keep/p0/qa", items=1, kept=1),
        None,
        {"from_to": "generate -> keep"},
        id="kept too much",
    ),
    pytest.param(
        "steps_hand_over",
        _count("resolve", items=1, kept=1),
        None,
        {"from_to": "keep -> resolve"},
        id="resolved too much",
    ),
]


@pytest.mark.parametrize(("check", "plant", "limits", "shown"), PLANTED)
def test_a_planted_fault_is_found_by_exactly_one_check(
    tmp_path: Path, check: str, plant: Plant, limits: AuditConfig | None, shown: dict[str, Any]
) -> None:
    wave = Wave()
    plant(wave)
    violations = _run(tmp_path, wave, limits)
    assert list(violations) == [check]
    found = [row for row in _evidence(tmp_path) if shown.items() <= row.items()]
    assert found, _evidence(tmp_path)


def test_every_check_is_planted_and_explained() -> None:
    checks = load_checks()
    assert {check.name for check in checks} == {param.values[0] for param in PLANTED}
    for check in checks:
        assert check.title[0].islower() and len(check.why) > 40 and check.severity in ("integrity", "gate"), check.name


def test_shares_are_judged_from_min_documents_on(tmp_path: Path) -> None:
    few = AuditConfig(max_dropped_share=0.5, max_cluster_share=0.1)  # 18 documents, a cluster of 2
    assert _run(tmp_path, Wave(), few) == {}


def test_unknown_licences_pass_when_the_recipe_says_so(tmp_path: Path) -> None:
    wave = Wave()
    wave.document("p0", "qa", 3)["license"] = None
    assert _run(tmp_path, wave, allow_unknown_license=True) == {}


def test_a_duplicate_of_a_released_document_has_its_survivor(tmp_path: Path) -> None:
    wave = Wave()
    wave.table("resolve", "drops")[0]["partner_id"] = "released long ago"
    wave.released = [{"doc_id": "released long ago", "shard": "train-00000.arrow", "row": 0, "split": "train"}]  # type: ignore[attr-defined]
    assert _run(tmp_path, wave) == {}


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        pytest.param(lambda data: data[:-200], "ArrowInvalid", id="tail lost"),
        pytest.param(lambda data: data.replace("étude".encode(), b"attack", 1), None, id="text changed"),
    ],
)
def test_a_shard_spoilt_on_disk_is_named(tmp_path: Path, spoil: Callable[[bytes], bytes], problem: str | None) -> None:
    wave, home = Wave(), tmp_path / "home"
    write_home(home)
    wave.write(home)
    shard = home / wave.objects["shards"].place / "train-00000.arrow"
    before = shard.read_bytes()
    shard.write_bytes(spoil(before))
    assert shard.read_bytes() != before
    violations = _run(tmp_path, wave)
    named = [row for row in _evidence(tmp_path) if row.get("shard") == "train-00000.arrow" and "sha256_read" in row]
    assert violations["shards_as_in_manifest"] == 1 == len(named)
    assert (problem is None and named[0]["problem"] is None) or named[0]["problem"].startswith(problem)
    assert ("kept_once_in_shards" in violations) == (problem is not None)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    wave, home = Wave(), tmp_path / "home"
    write_home(home)
    wave.write(home)
    tables, manifests, shards = audit_inputs(home, wave)
    table = run_checks(tables, manifests, shards[1:], False, AuditConfig(), tmp_path)
    assert (
        dict(zip(*(table[name].to_pylist() for name in ("check", "violations")), strict=True))["shards_as_in_manifest"]
        == 1
    )


def test_evidence_is_a_sample_that_depends_on_the_rows_alone(tmp_path: Path) -> None:
    samples = []
    for name, turn in (("one", 1), ("other", -1)):
        wave = Wave(partitions=[f"p{at}" for at in range(6)])
        for document in wave.documents():
            document["root_id"] = None
        home, out = tmp_path / name / "home", tmp_path / name / "out"
        write_home(home)
        out.mkdir()
        wave.write(home)
        tables, manifests, shards = audit_inputs(home, wave)
        given = {table: paths[::turn] for table, paths in tables.items()}
        result = run_checks(given, manifests[::turn], shards[::turn], False, AuditConfig(), out)
        counted = dict(zip(result["check"].to_pylist(), result["violations"].to_pylist(), strict=True))
        assert counted["lineage_complete"] == len(wave.documents()) > audit.EVIDENCE_ROWS
        samples.append((out / "evidence.parquet").read_bytes())
    assert rows.read_table(tmp_path / "one" / "out" / "evidence.parquet").num_rows == audit.EVIDENCE_ROWS
    assert samples[0] == samples[1]


def test_a_table_that_cannot_be_read_is_an_error_not_a_pass(tmp_path: Path) -> None:
    wave, home = Wave(), tmp_path / "home"
    write_home(home)
    wave.write(home)
    drops = home / wave.objects["keep/p0/qa"].place / "drops.parquet"
    os.truncate(drops, drops.stat().st_size - 8)
    with pytest.raises(IntegrityError, match=r"drops\.parquet"):
        _run(tmp_path, wave)


def test_a_check_reads_nothing_but_its_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    curious = audit.Check("curious", "t", "w", "gate", f"SELECT * FROM read_text('{secret}')")
    monkeypatch.setattr(audit, "load_checks", lambda: [curious])
    with pytest.raises(duckdb.PermissionException):
        _run(tmp_path, Wave())


def test_odd_characters_in_the_path_of_a_home(tmp_path: Path) -> None:
    assert _run(tmp_path / "it's [1], *really*?", Wave()) == {}


def test_limits_refuse_what_is_no_share() -> None:
    with pytest.raises(ValueError, match="max_dropped_share"):
        AuditConfig(max_dropped_share=1.5)


def test_the_results_have_native_types(tmp_path: Path) -> None:
    table = run_checks({}, [], [], False, AuditConfig(), tmp_path)
    assert table.schema.field("violations").type == pa.int64()
