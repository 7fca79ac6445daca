"""Generators in a whole run: renderers, routes, canaries, verdicts, what verification drops, what candidates cost."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flows import loop
from flows.cli import main
from flows.display import closing_table
from flows.progress import Progress
from flows.recipe import load
from flows.runs import RunRecord
from flows.session import Session
from flows.steps.scoring import RuleConfig, rule_works
from flows.steps.verdicts import findings, verified
from generators import pairs
from generators.registry import families
from synth import rows
from synth.audit.catalog import build_catalog
from synth.audit.sql import canned, query
from synth.canaries import canary_of
from synth.digest import digest
from synth.engine.engine import Engine, Settings
from synth.store import Store
from tests.conftest import ScriptedServer
from tests.corpora import engine_for, passage, run_recipe, shard_rows, write_recipe, write_seeds

QA = '[[families]]\nname = "diverse_qa"\noptions = { kinds = ["what", "why"], max_pairs = 2 }'
JUDGES = '[roles.writer]\nmodels = ["m"]\n\n[roles.judge]\nmodels = ["m"]\n\n[roles.verifier]\nmodels = ["m"]'


def tables(home: Path, name: str) -> list[dict[str, Any]]:
    """All rows of one table in the home's objects."""
    return [
        row for path in sorted(home.glob(f"objects/**/{name}.parquet")) for row in rows.read_table(path).to_pylist()
    ]


# --- renderers


def test_a_changed_renderer_makes_the_texts_anew_and_asks_nobody(
    tmp_path: Path, scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_seeds(tmp_path / "seeds/a.jsonl", range(6))
    path = write_recipe(tmp_path, scripted_server.base_url, families=QA)
    run_recipe(path, tmp_path / "home")
    before = {row["seed_id"]: row["text"] for row in shard_rows(tmp_path / "home")}
    sent = len(scripted_server.entries())
    spec = families.get("diverse_qa")
    monkeypatch.setitem(
        families._specs, "diverse_qa", dataclasses.replace(spec, renderer_version=spec.renderer_version + 1)
    )
    monkeypatch.setattr(pairs, "LAYOUTS", dict.fromkeys(pairs.LAYOUTS, ("<{question}|{answer}>", "\n")))
    _, engine = run_recipe(path, tmp_path / "home")
    after = {row["seed_id"]: row["text"] for row in shard_rows(tmp_path / "home")}
    assert engine.stats.attempts == 0 and len(scripted_server.entries()) == sent
    assert before.keys() == after.keys() and all("<" in after[one] and after[one] != before[one] for one in after)


# --- routes and weights


def test_routes_and_weights_divide_the_seeds(tmp_path: Path, scripted_server: ScriptedServer) -> None:
    lines = [{"id": f"s{at}", "text": passage(at), "q": at / 60} for at in range(60)]
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds/a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = (
        '[[sources]]\nid = "texts"\nkind = "jsonl"\npaths = ["seeds/*.jsonl"]\nlicense = "CC0-1.0"\n'
        'columns = { id = "id", quality = "q" }'
    )
    blocks = """
[[families]]
name = "wiki_clean"
weight = 1
route = { below = 0.5 }

[[families]]
name = "distill"
weight = 1
route = { min = 0.5 }

[[families]]
name = "textbook"
weight = 1
route = { column = "words", min = 1 }
"""
    path = write_recipe(tmp_path, scripted_server.base_url, sources=source, families=blocks)
    run_recipe(path, tmp_path / "home")
    cut = [rows.read_table(path).to_pylist() for path in (tmp_path / "home").glob("objects/ingest/**/seeds-*.parquet")]
    quality = {row["id"]: row["quality"] for table in cut for row in table}
    routed = Counter(seed_id for row in tables(tmp_path / "home", "documents") for seed_id in row["seed_ids"])
    assert set(routed.values()) == {1} and len(routed) == 60
    for row in tables(tmp_path / "home", "documents"):
        low = quality[row["seed_ids"][0]] < 0.5
        assert row["family"] in ("textbook", "wiki_clean" if low else "distill")
    assert {row["family"] for row in tables(tmp_path / "home", "documents")} == {"wiki_clean", "distill", "textbook"}


# --- canaries


def test_canaries_are_measured_and_never_kept(tmp_path: Path, scripted_server: ScriptedServer) -> None:
    write_seeds(tmp_path / "seeds/a.jsonl", range(12))
    path = write_recipe(tmp_path, scripted_server.base_url, ingest="[ingest]\npartition_rows = 8\ncanary_share = 0.5")
    run_recipe(path, tmp_path / "home")
    build_catalog(tmp_path / "home")
    made = query(
        tmp_path / "home", "SELECT sum(documents)::BIGINT AS documents, sum(obeyed)::BIGINT AS obeyed FROM injections"
    )
    assert made.to_pylist()[0]["documents"] > 0
    dropped = query(
        tmp_path / "home", "SELECT count(*) AS n FROM dropped WHERE counted_as = 'canary_seed'"
    ).to_pylist()[0]["n"]
    assert dropped == made.to_pylist()[0]["documents"]
    seeds = query(tmp_path / "home", "SELECT count(*) AS n FROM seeds WHERE meta LIKE '%canary%'").to_pylist()[0]["n"]
    assert seeds > 0 and len(shard_rows(tmp_path / "home")) == 24


def test_the_closing_numbers_tell_shares_and_canaries(
    tmp_path: Path, scripted_server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    obeying = canary_of(digest({"source": "texts", "key": "s1"}))
    write_seeds(tmp_path / "seeds/a.jsonl", range(12), s1=f"{passage(1)} [[scripted: echo={obeying}]]")
    blocks = {
        "ingest": "[ingest]\npartition_rows = 24\ncanary_share = 1.0",
        "families": '[[families]]\nname = "textbook"\nweight = 3\n[[families]]\nname = "distill"\nweight = 1\n'
        '[[families]]\nname = "diverse_qa"',
    }
    path = write_recipe(tmp_path, scripted_server.base_url, **blocks)
    command = ["run", str(path), "--no-prefect", "--home", str(tmp_path / "home")]
    assert main([*command, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    wanted = {name: tally["wanted_share"] for name, tally in summary["families"].items()}
    assert wanted == {"textbook": 0.75, "distill": 0.25, "diverse_qa": None}
    shares = {name: tally["token_share"] for name, tally in summary["families"].items()}
    assert shares["textbook"] + shares["distill"] == pytest.approx(1.0) and shares["diverse_qa"] is None
    # A seed goes to one of the two families with weights, and to the third: 12 canaries make 24 texts.
    assert summary["canaries"] == {"documents": 24, "obeyed": 1} or summary["canaries"] == {
        "documents": 24,
        "obeyed": 2,
    }
    closing_table(summary)
    shown = capsys.readouterr().out
    assert f"{summary['canaries']['obeyed']} of 24 texts obeyed" in shown and "75.0% wanted" in shown


def test_families_with_weights_count_once_for_what_is_expected(tmp_path: Path) -> None:
    text = '[[families]]\nname = "textbook"\nweight = 3\n[[families]]\nname = "distill"\nweight = 1\n'
    text += '[[families]]\nname = "faq"\nshare = 0.5'
    recipe = load(write_recipe(tmp_path, "http://127.0.0.1:9/v1", families=text))
    progress = Progress(recipe, Engine(Settings(recipe.models, recipe.run.models, recipe.roles, "run", tmp_path)))
    progress._seeds, progress._items["screen"], progress._kept["screen"] = 200, 200, 100
    assert progress.value()["documents"]["expected"] == 150


# --- verdicts and verification


def test_every_document_has_the_verdict_of_the_first_rung(tmp_path: Path, scripted_server: ScriptedServer) -> None:
    write_seeds(tmp_path / "seeds/a.jsonl", range(6), s1=f"{passage(1)} [[scripted: outcome=refuse]]")
    run_recipe(write_recipe(tmp_path, scripted_server.base_url), tmp_path / "home")
    documents = {row["id"]: row for row in tables(tmp_path / "home", "documents")}
    structure = [row for row in tables(tmp_path / "home", "verdicts") if row["rung"] == "structure"]
    assert {row["item_id"] for row in structure} == set(documents) and len(structure) == len(documents)
    failed = [json.loads(row["evidence"])["rule"] for row in structure if row["outcome"] == "failed"]
    assert failed == ["refused", "refused"]


def test_the_judge_and_the_round_trip_leave_their_verdicts_and_their_asks(
    tmp_path: Path, scripted_server: ScriptedServer
) -> None:
    write_seeds(tmp_path / "seeds/a.jsonl", range(4))
    family = QA.replace("max_pairs = 2", 'max_pairs = 2, verify = { judge = "label", round_trip_source = "label" }')
    path = write_recipe(tmp_path, scripted_server.base_url, roles=JUDGES, families=family)
    run_recipe(path, tmp_path / "home")
    verdicts = tables(tmp_path / "home", "verdicts")
    asks = {row["ask_id"]: row["role"] for row in tables(tmp_path / "home", "asks")}
    assert {asks[row["ask_id"]] for row in verdicts if row["rung"] == "judge"} == {"judge"}
    assert {asks[row["ask_id"]] for row in verdicts if row["rung"] == "round_trip_source"} == {"verifier"}
    for row in tables(tmp_path / "home", "documents"):
        assert set(row["ask_ids"]) <= set(asks) and [asks[one] for one in row["written_by"]] == ["writer"]
        assert 0 < row["written_tokens"] < row["completion_tokens"]


def test_going_from_label_to_drop_asks_nothing_again(tmp_path: Path, scripted_server: ScriptedServer) -> None:
    write_seeds(tmp_path / "seeds/a.jsonl", range(4))
    for how, attempts in (("label", True), ("drop", False)):
        family = QA.replace("max_pairs = 2", f'max_pairs = 2, verify = {{ round_trip_source = "{how}" }}')
        path = write_recipe(
            tmp_path, scripted_server.base_url, roles=JUDGES, families=family, audit="[audit]\nmin_documents = 99"
        )
        _, engine = run_recipe(path, tmp_path / "home")
        assert bool(engine.stats.attempts) is attempts
    told = [json.loads(row["payload"] or "[]") for row in tables(tmp_path / "home", "documents")]
    assert "round_trip_source" in {pair["fault"] for payload in told for pair in payload}


def test_more_candidates_cost_more_and_are_listed(tmp_path: Path, scripted_server: ScriptedServer) -> None:
    write_seeds(tmp_path / "seeds/a.jsonl", range(4))
    family = '[[families]]\nname = "distill"\noptions = { candidates = 3, select = "shortest_valid" }'
    _, engine = run_recipe(write_recipe(tmp_path, scripted_server.base_url, families=family), tmp_path / "home")
    assert engine.stats.asks == 12
    won = Counter(row["outcome"] for row in tables(tmp_path / "home", "verdicts") if row["rung"] == "selection")
    assert won == {"won": 4, "lost": 8}
    assert len(tables(tmp_path / "home", "asks")) == 12, "losers are kept"


def test_what_a_policy_gives_counts_the_drops_of_objects_that_it_shares(
    tmp_path: Path, scripted_server: ScriptedServer
) -> None:
    """Of two policies that come to the same documents, the second makes no drops of its own: they lie in shared objects."""
    write_seeds(tmp_path / "seeds/a.jsonl", range(8))
    for candidates in (1, 2):
        family = f'[[families]]\nname = "textbook"\noptions = {{ candidates = {candidates} }}'
        gates = '[keep]\ngates = [{ column = "words", min = 90, reason = "too_short" }]'
        path = write_recipe(tmp_path, scripted_server.base_url, families=family, keep=gates)
        recipe = load(path)
        store = Store.open(tmp_path / "home")
        engine = engine_for(recipe, store, f"run-{candidates}")
        session = Session.open(recipe, tmp_path, store, f"run-{candidates}", engine)
        loop.run_directly(session)
        engine.stop()
        RunRecord(store, session, path).finish("released", engine, {})
    build_catalog(tmp_path / "home")
    lines = query(tmp_path / "home", canned("test_time_compute")).to_pylist()
    assert len(lines) == 2 and 0 < lines[0]["kept"] < 8
    assert lines[0]["kept"] == lines[1]["kept"] and lines[0]["generated_tokens"] == lines[1]["generated_tokens"] > 0


# --- scores that verdicts give


VERDICTS = [
    ("a", "judge", "passed"),
    ("b", "arithmetic", "failed"),
    ("b", "judge", "passed"),
    ("c", "structure", "passed"),
    ("d", "selection", "won"),
]


def test_text_made_of_synthetic_text_needs_something_that_passed() -> None:
    documents = rows.table(
        [{"id": one, "generation_depth": 2} for one in "abcd"] + [{"id": "e", "generation_depth": 1}], rows.DOCUMENT
    )
    given = rows.table(
        [rows.verdict_row(item, "document", rung, "rule", outcome) for item, rung, outcome in VERDICTS], rows.VERDICT
    )
    found = verified(documents, given, rows.VERDICT.empty_table())
    assert found["unverified_generations"].to_pylist() == [0, 1, 1, 1, 0]
    assert found["verdicts_passed"].to_pylist() == [1, 1, 0, 0, 0]
    assert found["verdicts_failed"].to_pylist() == [0, 1, 0, 0, 0]


def test_unverified_second_generations_are_dropped(tmp_path: Path, scripted_server: ScriptedServer) -> None:
    lines = [{"id": f"s{at}", "text": passage(at), "depth": at % 2} for at in range(8)]
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds/a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = (
        '[[sources]]\nid = "texts"\nkind = "jsonl"\npaths = ["seeds/*.jsonl"]\nlicense = "CC0-1.0"\n'
        'columns = { id = "id", generation_depth = "depth" }'
    )
    family = '[[families]]\nname = "textbook"'
    run_recipe(write_recipe(tmp_path, scripted_server.base_url, sources=source, families=family), tmp_path / "home")
    reasons = Counter(row["reason"] for row in tables(tmp_path / "home", "drops"))
    depths = Counter(row["generation_depth"] for row in tables(tmp_path / "home", "documents"))
    assert depths == {1: 4, 2: 4}
    assert 0 < reasons["unverified_generation"] <= 4
    assert Store(tmp_path / "home")


def test_a_rung_of_a_rule_is_a_verdict_where_it_could_check_something() -> None:
    scores = pa.table(
        {
            "item_id": ["a", "b", "c"],
            "family": ["distill", "distill", "distill"],
            "equations_checked": pa.array([2, 0, 3], pa.int64()),
            "equations_wrong": pa.array([1, 0, 0], pa.int64()),
            "wrong_equations": pa.array(["1 + 1 = 3 (2)", None, None], pa.large_string()),
        }
    )
    found = findings(scores, rule_works([RuleConfig(name="arithmetic")], "score.rules")).to_pylist()
    assert [(row["item_id"], row["outcome"], row["score"]) for row in found] == [
        ("a", "failed", 0.5),
        ("c", "passed", 1.0),
    ]
    assert json.loads(found[0]["evidence"]) == {"checked": 2, "which": "1 + 1 = 3 (2)", "wrong": 1}
