"""What the catalogue shows of the generators' side: diversity, verification, injections, leaks, answers; and warnings."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from audit_home import RULES, Wave, audit_inputs, rows_of, value_of, write_home, write_release, write_run
from planted import one_opening, shown_at

from flows.cli import main
from synth import rows
from synth.audit.audit import AuditConfig, load_checks, run_checks
from synth.audit.catalog import build_catalog
from synth.audit.sql import canned, query
from tests.conftest import ScriptedServer
from tests.corpora import write_recipe, write_seeds

Z = 1.6448536


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home."""
    write_home(tmp_path / "home")
    return tmp_path / "home"


def publish(home: Path, *waves: Wave) -> None:
    """Write the waves, each a run, release them all as one recipe, and build the catalogue."""
    for number, wave in enumerate(waves):
        wave.write(home)
        write_run(home, wave, started=number)
        write_release(home, number + 1, [wave])
    build_catalog(home)


def answers(home: Path, sql: str) -> list[dict[str, Any]]:
    """What the catalogue answers, by column."""
    found: list[dict[str, Any]] = query(home, sql).to_pylist()
    return found


def shown(home: Path, view: str) -> list[dict[str, Any]]:
    """The rows of a view, but for the recipe."""
    return answers(home, f"SELECT * EXCLUDE recipe FROM {view} ORDER BY ALL")


def test_verdicts_of_all_steps_are_there(home: Path) -> None:
    wave = Wave()
    publish(home, wave)
    documents, resolved = len(wave.documents()), len(wave.table("resolve", "verdicts"))
    for view in ("verdicts", "all_verdicts"):
        assert dict(rows_of(home, f"SELECT rung, count(*) FROM {view} GROUP BY ALL")) == {
            "selection": 2 * documents,
            "consistency": documents,
            "numbers": documents,
            "near_duplicate": resolved,
        }


def test_a_recipe_without_these_rules_has_nulls_and_passes_every_check(home: Path) -> None:
    wave = Wave()
    wave.write(home)
    for label in [label for label in wave.objects if label.startswith("score/")]:
        path = home / wave.objects[label].place / "scores.parquet"
        rows.write_table(rows.read_table(path).drop_columns(list(RULES)), path)
    write_release(home, 1, [wave])
    build_catalog(home)
    assert value_of(home, "SELECT count(opening) + count(self_names) + count(foreign_canaries) FROM scores") == 0
    assert {view: shown(home, view) for view in ("openings", "leaks")} == {"openings": [], "leaks": []}
    assert {(row["obeyed"], row["share"]) for row in shown(home, "injections")} == {(None, None)}
    everything = AuditConfig(
        min_openings=1, min_documents=1, max_dropped_share=1.0, warn_obeyed_share=0.0, warn_duplicate_share=1.0
    )
    checks = run_checks(*audit_inputs(home, wave), False, everything, home).to_pylist()
    assert [row["check"] for row in checks if row["violations"]] == []


def test_axes_are_counted_by_value_within_their_family(home: Path) -> None:
    wave = Wave()
    for row in wave.documents():
        row["axes"] = None
    qa = [row for row in wave.documents() if row["family"] == "qa"]
    for row in qa[:4]:
        row["axes"] = '{"a.b": "x", "tone": "dry \\"wit\\""}'
    qa[4]["axes"] = '{"a.b": "y"}'
    kept = {row["id"] for row in wave.kept()}
    publish(home, wave)
    expected = []
    for axis, value, some in (("a.b", "x", qa[:4]), ("a.b", "y", qa[4:5]), ("tone", 'dry "wit"', qa[:4])):
        number = sum(row["id"] in kept for row in some)
        counted = {
            "documents": len(some),
            "kept": number,
            "kept_share": number / len(some),
            "share": len(some) / len(qa),
        }
        expected.append({"family": "qa", "axis": axis, "value": value, **counted})
    assert shown(home, "axis_coverage") == expected


def test_openings_of_kept_documents_have_wilsons_bound(home: Path) -> None:
    wave = Wave()
    one_opening(wave)
    publish(home, wave)
    found = [row for row in shown(home, "openings") if row["family"] == "qa"]
    assert {row["opening"]: row["documents"] for row in found} == Counter(
        score["opening"]
        for partition in wave.partitions
        for score in wave.table(f"score/{partition}/qa", "scores")
        if score["item_id"] in {row["id"] for row in wave.kept()}
    )
    for row in found:
        share, bound = row["share"], row["lower_bound"]
        assert share == row["documents"] / 6 and row["family_documents"] == 6
        # The bound is the smallest share under which what was seen is not surprising.
        assert share - bound == pytest.approx(Z * math.sqrt(bound * (1 - bound) / 6))


def test_scores_made_twice_count_a_document_once(home: Path) -> None:
    old, new = Wave("w", policy="A"), Wave("w", policy="A")
    for label in [label for label in new.objects if label.startswith("score/")]:
        new.objects[label].config["rules"] = "others"
    old.write(home)
    new.write(home)
    write_release(home, 1, [new])
    build_catalog(home)
    assert value_of(home, "SELECT count(*) FROM all_scores") == 2 * len(old.documents())
    for view in ("openings", "all_openings"):
        assert value_of(home, f"SELECT sum(documents)::BIGINT FROM {view}") == len(old.kept())
    assert answers(home, "SELECT * FROM all_leaks ORDER BY ALL") == shown(home, "leaks")


def test_shares_of_families_are_those_of_each_recipe(home: Path) -> None:
    one, other = Wave("w", policy="A"), Wave("w", policy="A")
    strict = other.objects["keep/p0/qa"]
    strict.config["strict"] = True
    drop = rows.drop_row(other.document("p0", "qa", 3)["id"], "document", "keep", "words", "too_short")
    strict.tables["drops.parquet"].append(drop)
    for wave in (one, other):
        wave.write(home)
    write_release(home, 1, [one], recipe="mild")
    write_release(home, 1, [other], recipe="strict")
    build_catalog(home)
    found = rows_of(
        home, "SELECT recipe, family, documents, kept, kept_tokens, document_share FROM family_shares ORDER BY ALL"
    )
    assert found == [
        ("mild", "distill", 8, 3, 120, 3 / 9),
        ("mild", "qa", 10, 6, 240, 6 / 9),
        ("strict", "distill", 8, 3, 120, 3 / 8),
        ("strict", "qa", 10, 5, 200, 5 / 8),
    ]
    assert set(
        rows_of(home, "SELECT recipe, sum(token_share), sum(shard_token_share) FROM family_shares GROUP BY ALL")
    ) == {
        ("mild", 1.0, 1.0),
        ("strict", 1.0, 1.0),
    }


def test_shard_tokens_are_those_of_whole_texts(home: Path) -> None:
    publish(home, Wave())
    assert dict(rows_of(home, "SELECT family, shard_tokens FROM family_shares")) == {"qa": 300, "distill": 150}
    assert dict(rows_of(home, "SELECT family, shard_tokens FROM all_family_shares")) == {"qa": 300, "distill": 150}


def test_verification_shows_what_each_rung_says(home: Path) -> None:
    wave = Wave()
    publish(home, wave)
    found = {(row["family"], row["rung"], row["judge"], row["outcome"]): row for row in shown(home, "verification")}
    assert {key: (row["documents"], row["share"]) for key, row in found.items()} == {
        ("distill", "consistency", "rule", "passed"): (8, 1.0),
        ("distill", "numbers", "rule", "failed"): (2, 2 / 8),
        ("distill", "numbers", "rule", "passed"): (6, 6 / 8),
        ("qa", "consistency", "rule", "passed"): (10, 1.0),
        ("qa", "numbers", "rule", "failed"): (2, 2 / 10),
        ("qa", "numbers", "rule", "passed"): (8, 8 / 10),
    }
    assert answers(home, canned("ladder_verdicts"))[0] == {
        "family": "distill",
        "rung": "consistency",
        "judge": "rule",
        "outcome": "passed",
        "documents": 8,
        "percent": 100.0,
    }


def test_agreement_in_tenths(home: Path) -> None:
    wave = Wave()
    scores = (0.0, 0.1, 0.29, 0.3, 1 / 3, 0.6, 0.7, 0.99, 1.0)
    agreed = dict(zip((row["id"] for row in wave.kept()), scores, strict=True))
    for label in [label for label in wave.objects if label.startswith("generate/")]:
        for verdict in wave.table(label, "verdicts"):
            verdict["score"] = agreed.get(verdict["item_id"]) if verdict["rung"] == "consistency" else None
    publish(home, wave)
    counted = Counter((row["family"], math.floor(10 * agreed[row["id"]] + 1e-9) / 10) for row in wave.kept())
    expected = [(*key, number, number) for key, number in sorted(counted.items())]
    assert rows_of(home, "SELECT family, agreement, documents, kept FROM agreement ORDER BY ALL") == expected


def test_candidates_won_and_lost(home: Path) -> None:
    publish(home, Wave())
    assert rows_of(home, "SELECT family, selector, documents, candidates, won, lost FROM candidates ORDER BY ALL") == [
        ("distill", "first_valid", 8, 16, 8, 8),
        ("qa", "first_valid", 10, 20, 10, 10),
    ]


def test_injections_by_kind_of_canary(home: Path) -> None:
    wave = Wave()
    wave.table("score/p1/qa", "scores")[1]["canary_obeyed"] = 1  # of the canary seed; the next is of another one
    wave.table("score/p1/qa", "scores")[2]["canary_obeyed"] = 1
    seeds = wave.objects["ingest"].tables["seeds-00000.parquet"]
    seeds[2]["meta"] = '{"canary": "zqcanary-0123456789ab"}'
    publish(home, wave)
    assert rows_of(home, "SELECT family, canary_kind, documents, obeyed, share FROM injections ORDER BY ALL") == [
        ("distill", "override", 1, 0, 0.0),
        ("distill", "unknown", 1, 0, 0.0),
        ("qa", "override", 1, 1, 1.0),
        ("qa", "unknown", 1, 0, 0.0),
    ]
    assert answers(home, canned("injections"))[0]["obeyed_percent"] == 100.0


def test_leaks_by_kind_among_those_looked_at(home: Path) -> None:
    wave = Wave()
    scores = wave.table("score/p0/qa", "scores")
    for score, number in zip(scores, (None, 0, 2, 1, 0), strict=True):
        score["self_names"] = number
    for score in wave.table("score/p1/qa", "scores"):
        score["self_names"] = None
    kept = {row["id"] for row in wave.kept()}
    publish(home, wave)
    (found,) = [row for row in shown(home, "leaks") if row["family"] == "qa"]
    number = sum(scores[at]["item_id"] in kept for at in (2, 3))
    assert found == {"family": "qa", "kind": "self_names", "documents": 2, "kept": number, "share": 2 / 4}


def asked(*places: tuple[int | None, int | None], options: int = 4) -> list[dict[str, Any]]:
    return [
        {"options": ["x"] * options, "correct": correct, "shown": shown, "fault": None} for correct, shown in places
    ]


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(lambda pairs: pairs, id="a list"),
        pytest.param(lambda pairs: {"pairs": pairs, "title": "t", "years": [1, 2]}, id="pairs"),
        pytest.param(lambda pairs: {"questions": pairs}, id="another list"),
    ],
)
def test_answers_as_given_and_as_shown(home: Path, payload: Callable[[list[Any]], Any]) -> None:
    wave = Wave()
    for row in wave.documents():
        row["payload"] = None
    pairs = [*asked((0, 1), (0, 3), (2, 3)), *asked((1, None), options=2)]
    said = ("Yes. It is.", "no", "Yes, it is", "Yesterday.", "No one knows.")
    pairs += [{"question": "Is it so?", "answer": answer} for answer in said]
    pairs += [{"answer": "Yes."}]  # a piece of a text that is no question
    pairs += [{**asked((3, 3))[0], "fault": "repeated"}]  # is not in the text
    wave.document("p0", "qa", 3)["payload"] = orjson.dumps(payload(pairs)).decode()
    wave.document("p0", "qa", 0)["payload"] = orjson.dumps(payload(pairs)).decode()  # is dropped
    wave.document("p1", "qa", 3)["payload"] = '"a text"'
    publish(home, wave)
    found = rows_of(
        home, "SELECT kind, answer, documents, given, shown, given_share, shown_share FROM answer_bias ORDER BY ALL"
    )
    assert found == [
        ("position", "1 of 4", 1, 2, 0, 2 / 3, 0.0),
        ("position", "2 of 2", 1, 1, 0, 1.0, None),
        ("position", "2 of 4", 1, 0, 1, 0.0, 1 / 3),
        ("position", "3 of 4", 1, 1, 0, 1 / 3, 0.0),
        ("position", "4 of 4", 1, 0, 2, 0.0, 2 / 3),
        ("yes_no", "no", 1, 1, 1, 1 / 3, 1 / 3),
        ("yes_no", "yes", 1, 2, 2, 2 / 3, 2 / 3),
    ]


@pytest.mark.parametrize(
    ("counts", "warned"),
    [
        pytest.param((50, 50, 50, 50), False, id="even"),
        pytest.param((40, 50, 60, 55), False, id="by chance"),
        pytest.param((0, 60, 70, 70), True, id="never the first"),
        pytest.param((0, 60, 70, 69), False, id="too few"),
        pytest.param((135, 75), True, id="two options"),
    ],
)
def test_positions_are_judged_against_chance(tmp_path: Path, counts: tuple[int, ...], warned: bool) -> None:
    home, wave = tmp_path / "home", Wave()
    for row in wave.documents():
        row["payload"] = None
    shown_at(*counts)(wave)
    write_home(home)
    wave.write(home)
    checks = run_checks(*audit_inputs(home, wave), False, AuditConfig(), tmp_path).to_pylist()
    assert [row["check"] for row in checks if row["violations"]] == ["answer_position"] * warned
    mean = sum(counts) / len(counts)
    by_chance = chance(sum((count - mean) ** 2 / mean for count in counts), len(counts) - 1)
    assert warned == (by_chance < 0.001 and sum(counts) >= 200)


def chance(chi_square: float, degrees: int) -> float:
    """How often chance alone gives at least this chi-square."""
    half = chi_square / 2
    found, at = (math.erfc(math.sqrt(half)), 1) if degrees % 2 else (math.exp(-half), 2)
    while at < degrees:
        found, at = found + half ** (at / 2) * math.exp(-half) / math.gamma(at / 2 + 1), at + 2
    return found


def test_limits_of_chi_square_are_passed_once_in_a_thousand() -> None:
    (check,) = [check for check in load_checks() if check.name == "answer_position"]
    found = re.search(r"\[([\d., ]+)\]\[options", check.sql)
    assert found
    limits = [float(number) for number in found[1].split(",")]
    assert [chance(limit, degrees) for degrees, limit in enumerate(limits, 1)] == [pytest.approx(0.001, rel=1e-3)] * 9


def test_templates_are_judged_by_the_bound_not_the_share(tmp_path: Path) -> None:
    home, wave = tmp_path / "home", Wave()
    one_opening(wave)  # four of six: a share of 0.67, at least 0.35
    write_home(home)
    wave.write(home)

    def failed(**limits: float) -> list[str]:
        config = AuditConfig(**{"min_openings": 6, "max_template_share": 1.0, "warn_template_share": 1.0, **limits})
        checks = run_checks(*audit_inputs(home, wave), False, config, tmp_path).to_pylist()
        return [row["check"] for row in checks if row["violations"]]

    assert failed(max_template_share=0.3) == ["template_starts"]
    assert failed(max_template_share=0.4) == []
    assert failed(max_template_share=0.3, min_openings=7) == []
    assert failed(warn_template_share=0.3) == ["template_starts_warning"]


def test_a_verified_document_may_be_made_from_synthetic_text(tmp_path: Path) -> None:
    home, wave = tmp_path / "home", Wave()
    for row in wave.documents():
        row["generation_depth"] = 2
    write_home(home)
    wave.write(home)
    checks = run_checks(*audit_inputs(home, wave), False, AuditConfig(), tmp_path).to_pylist()
    assert [row["check"] for row in checks if row["violations"]] == []


# Questions.


def test_invented_numbers_are_named_with_their_source(home: Path) -> None:
    wave = Wave()
    wave.write(home)
    publish(home, wave)
    found = answers(home, canned("invented_numbers"))
    bad = {drop["item_id"] for drop in wave.drops() if drop["rule"] == "numbers_invented"}
    assert {row["id"] for row in found} == bad
    assert {row["evidence"] for row in found} == {"17"}
    assert all(row["source_start"].startswith("passage ") for row in found)


def test_why_dropped_shows_the_evidence(home: Path) -> None:
    wave = Wave()
    for drop in wave.drops():
        drop["evidence"] = f"the offender of {drop['rule']}"
    publish(home, wave)
    found = answers(home, canned("why_dropped"))
    assert {"the offender of words", "the offender of truncated_answer"} <= {row["evidence"] for row in found}
    assert value_of(home, "SELECT evidence FROM dropped WHERE step = 'resolve'") == "the offender of near_duplicate"


def comparison(home: Path) -> list[dict[str, Any]]:
    return [row for row in answers(home, canned("test_time_compute")) if row["family"] == "qa"]


def two_policies() -> tuple[Wave, Wave]:
    """The first asks for one candidate; the second takes over its answers, asks for a second one each, and revises."""
    one, two = Wave("w", policy="A"), Wave("w", policy="B")
    for label in [label for label in one.objects if label.startswith("generate/")]:
        one.table(label, "verdicts").clear()
        two.table(label, "asks").extend(one.table(label, "asks"))
        revised = [rows.verdict_row(row["id"], "document", "revision", "model", "revised") for row in two.documents()]
        here = {row["id"] for row in two.table(label, "documents")}
        two.table(label, "verdicts").extend(row for row in revised if row["item_id"] in here)
    return one, two


def test_runs_with_other_numbers_of_candidates_are_compared(home: Path) -> None:
    publish(home, *two_policies())
    one, two = comparison(home)
    # Ten answers of 50 tokens and two lost ones of 7; the second policy rests on as many again.
    assert (one["run"], one["candidates_per_document"], one["revision"]) == ("run-w-A", 1.0, False)
    assert (two["run"], two["candidates_per_document"], two["revision"]) == ("run-w-B", 2.0, True)
    assert (one["generated_tokens"], two["generated_tokens"]) == (514, 1028)
    assert (one["generated_per_kept"], two["generated_per_kept"]) == (round(514 / 240, 2), round(1028 / 240, 2))
    for row in (one, two):
        assert {name: row[name] for name in ("documents", "kept", "kept_percent", "kept_tokens")} == {
            "documents": 10,
            "kept": 6,
            "kept_percent": 60.0,
            "kept_tokens": 240,
        }
    assert two["dollars_per_million_kept"] == pytest.approx(2 * one["dollars_per_million_kept"], rel=1e-6)


def test_a_run_that_was_stopped_and_went_on_is_one_line(home: Path) -> None:
    one, two = two_policies()
    publish(home, one, two)
    whole = comparison(home)
    stopped = home / "runs/run-w-A/run.json"
    value = orjson.loads(stopped.read_bytes())
    (home / "runs/later").mkdir()
    later = {**value, "run": "later", "started_at": "2026-11-02T00:00:00+00:00"}
    (home / "runs/later/run.json").write_bytes(orjson.dumps(later))
    early = {step: places for step, places in value["objects"].items() if step not in ("keep", "resolve")}
    stopped.write_bytes(orjson.dumps({**value, "objects": early}))
    build_catalog(home)
    assert value_of(home, "SELECT count(DISTINCT run) FROM all_drops") == 3
    assert comparison(home) == whole


# Warnings.


def test_a_warning_is_shown_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scripted_server: ScriptedServer
) -> None:
    monkeypatch.chdir(tmp_path)
    write_seeds(tmp_path / "seeds/a.jsonl", range(4))
    limits = "[audit]\nmin_openings = 2\nwarn_template_share = 0.0"
    write_recipe(tmp_path, scripted_server.base_url, audit=f"{limits}\nmax_template_share = 0.0")
    assert main(["run", "recipe.toml", "--no-prefect"]) == 3
    failed = capsys.readouterr().err
    assert "template_starts:" in failed
    assert "template_starts_warning" not in failed
    write_recipe(tmp_path, scripted_server.base_url, audit=f"{limits}\nmax_template_share = 1.0")
    assert main(["run", "recipe.toml", "--no-prefect"]) == 0
    assert re.search(r"warning +template_starts_warning: \d violations .*\n +{.*\"opening\"", capsys.readouterr().out)
    summaries = [json.loads(path.read_text()) for path in (tmp_path / "corpus/runs").rglob("summary.json")]
    (released,) = [summary for summary in summaries if summary["outcome"] == "released"]
    assert [warning["check"] for warning in released["warnings"]] == ["template_starts_warning"]
    assert released["warnings"][0]["evidence"][0]["allowed"] == 0.0
    assert main(["audit"]) == 0
    assert re.search(r"template_starts_warning +\d+ \(a warning\)", capsys.readouterr().out)
