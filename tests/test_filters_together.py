"""Presets, personal data, evaluation sets and a trained model in one run: each does its part and none is in another's way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.recipe import load
from flows.session import Session
from synth.audit.catalog import build_catalog
from synth.audit.sql import query
from synth.store import Store
from tests.conftest import ScriptedServer
from tests.corpora import passage, run_recipe, shard_rows, write_recipe, write_seeds
from tests.test_contamination_pipeline import QUESTION, evaluation_set

ADDRESS = "jo.berg@harbour-mail.se"
_BODY = "".join(f"{number:03}MIIEpAIBAAKCAQEAx7Vh3+q/Zt0LpWc" for number in range(8))
KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{_BODY[:64]}\n{_BODY[64:128]}\n{_BODY[128:192]}\n-----END RSA PRIVATE KEY-----"
TRAINING = "training = { dim = 4, bucket = 500, epochs = 2, held_out_share = 0.3 }"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, scripted_server: ScriptedServer) -> tuple[Path, Path]:
    """The recipe and its home after a run over 24 seeds: one with an address, one with a key, one with an item, one too short."""
    folder = tmp_path_factory.mktemp("together")
    texts = {
        "s1": f"{passage(1)} Write to {ADDRESS} for more.",
        "s2": f"{passage(2)} {KEY}",
        "s3": f"{passage(3)} {QUESTION}",
        "s4": "Only a few words.",
    }
    write_seeds(folder / "seeds/a.jsonl", range(24), **texts)
    blocks = {
        "ingest": "[ingest]\npartition_rows = 12",
        "families": '[[families]]\nname = "diverse_qa"',  # its documents hold their whole seed
        "screen": '[screen]\ngates = []\npresets = [{ name = "gopher_quality" }]',
        "quality": f'[quality]\ndamage = ["scramble"]\n{TRAINING}',
        "pii": '[pii]\nemail = "mask"\nprivate_key = "drop"',
        "decontamination": f"[decontamination]\nbenchmarks = [{evaluation_set(folder)}]",
    }
    path = write_recipe(folder, scripted_server.base_url, **blocks)
    run_recipe(path, folder / "home")
    build_catalog(folder / "home")
    return path, folder / "home"


def ask(home: Path, sql: str) -> list[dict[str, Any]]:
    return list(query(home, sql).to_pylist())


def test_seeds_are_dropped_for_their_own_reason_and_sent_to_no_model(made: tuple[Path, Path]) -> None:
    found = ask(made[1], "SELECT reason, count(*) AS seeds FROM drops WHERE step = 'screen' GROUP BY ALL ORDER BY ALL")
    assert {row["reason"]: row["seeds"] for row in found} == {
        "contaminated": 1,
        "gopher_few_stop_words": 1,
        "gopher_too_short": 1,
        "pii_private_key": 1,
    }
    asked = ask(made[1], "SELECT count(DISTINCT seed_id) AS seeds FROM asks")
    assert asked == [{"seeds": 21}]


def test_the_address_is_masked_in_the_shard_and_nowhere_copied(made: tuple[Path, Path]) -> None:
    texts = [row["text"] for row in shard_rows(made[1])]
    assert sum("<EMAIL>" in text for text in texts) == 1 and not any(ADDRESS in text for text in texts)
    (span,) = ask(made[1], "SELECT rule, replacement FROM spans")
    assert span == {"rule": "pii_email", "replacement": "<EMAIL>"}
    for table in ("scores", "drops", "verdicts", "spans"):
        assert ADDRESS not in str(ask(made[1], f"FROM {table}")), table


def test_every_document_has_the_score_of_the_trained_model(made: tuple[Path, Path]) -> None:
    (counted,) = ask(made[1], "SELECT count(*) AS documents, count(quality_score) AS scored FROM scores")
    assert counted["documents"] == counted["scored"] >= 21
    (card,) = ask(made[1], "SELECT value FROM quality_card WHERE name = 'held_out.model.auc'")
    assert 0 <= card["value"] <= 1


def test_the_same_command_finds_nothing_to_do(made: tuple[Path, Path]) -> None:
    path, home = made
    session = Session.open(load(path), path.parent, Store(home))
    assert session.continues() and not session.pending() and not session.new_files()


def test_a_mask_that_becomes_a_label_redoes_the_shards_alone(
    made: tuple[Path, Path], scripted_server: ScriptedServer
) -> None:
    path, home = made
    before = {
        step: set(Store(home).objects(f"objects/{step}")) for step in ("train", "score", "keep", "sign", "resolve")
    }
    _, engine = run_recipe(path, home, ["pii.email=label"], run_id="labelled")
    assert engine.stats.asks == 0
    assert {step: set(Store(home).objects(f"objects/{step}")) for step in before} == before
    assert any(ADDRESS in row["text"] for row in shard_rows(home))
