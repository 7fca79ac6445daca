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
from audit_retracted import retract
from planted import PLANTED, Plant, count

from synth import rows
from synth.audit import audit
from synth.audit.audit import AuditConfig, load_checks, run_checks
from synth.errors import IntegrityError


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
    count("generate/p1/distill", attempts=-len(wave.table("generate/p1/distill", "attempts")))(wave)
    wave.table("generate/p1/distill", "attempts").clear()  # all of them lie in the object that paid
    assert _run(tmp_path, wave) == {}


def test_an_honest_retraction_passes(tmp_path: Path) -> None:
    """Also where a near-duplicate had been dropped for what is now retracted: it stays dropped."""
    wave = Wave()
    gone = retract(wave)
    wave.table("resolve", "drops")[0]["partner_id"] = gone
    assert _run(tmp_path, wave) == {}


def test_a_wave_without_anything_passes(tmp_path: Path) -> None:
    table = run_checks({}, [], [], False, AuditConfig(min_documents=1), tmp_path)
    assert table.num_rows == len(load_checks()) >= 12
    assert sum(table["violations"].to_pylist()) == 0


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
        assert (
            check.title[0].islower() and len(check.why) > 40 and check.severity in ("integrity", "gate", "warning")
        ), check.name


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
