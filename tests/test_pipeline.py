"""The promises of a run: again, change one thing, more seeds, every outcome a row, nothing paid twice."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import loop
from flows.recipe import load
from flows.session import Session
from synth import releases, rows
from synth.audit.catalog import build_catalog
from synth.audit.sql import query
from synth.engine.engine import Engine
from synth.errors import EndpointError, GateError, Interrupted, RecipeError
from synth.store import Store
from tests.conftest import ScriptedServer
from tests.corpora import engine_for, passage, run_recipe, shard_files, shard_rows, write_recipe, write_seeds


@pytest.fixture
def corpus(tmp_path: Path, scripted_server: ScriptedServer) -> Path:
    """A folder with ten seeds and a recipe over them."""
    write_seeds(tmp_path / "seeds/a.jsonl", range(10))
    write_recipe(tmp_path, scripted_server.base_url)
    return tmp_path


def made(home: Path, step: str) -> set[str]:
    return set(Store(home).objects(f"objects/{step}"))


def plan(folder: Path, *assignments: str) -> tuple[dict[str, Any], list[Any]]:
    """What is new and what is pending, as the next run would find it."""
    session = Session.open(load(folder / "recipe.toml", assignments), folder, Store(folder / "home"))
    return session.new_files(), session.pending()


def test_a_run_makes_a_release_with_all_that_was_kept(corpus: Path) -> None:
    made_releases, engine = run_recipe(corpus / "recipe.toml", corpus / "home")
    assert [release.number for release in made_releases] == [1]
    found = shard_rows(corpus / "home")
    assert Counter(row["family"] for row in found) == {"diverse_qa": 10, "distill": 10}
    assert engine.stats.asks == 20
    assert {row["license"] for row in found} == {"CC0-1.0"}
    assert all(row["models"] == ["scripted@1"] for row in found)


def test_several_families_may_write_nothing_for_a_partition(tmp_path: Path, scripted_server: ScriptedServer) -> None:
    """No document and no score twice over is one key of keep, in two folders: that is no copied object."""
    nowhere = 'route = { column = "quality", below = 0.1 }\n'
    families = [f'[[families]]\nname = "{name}"\n{nowhere}' for name in ("distill", "textbook", "faq")]
    write_seeds(tmp_path / "seeds/a.jsonl", range(4))
    path = write_recipe(
        tmp_path, scripted_server.base_url, families="\n".join(['[[families]]\nname = "diverse_qa"', *families])
    )
    made_releases, _ = run_recipe(path, tmp_path / "home")
    assert [release.number for release in made_releases] == [1]
    assert len({place.rpartition("/")[2] for place in made(tmp_path / "home", "keep")}) < 4
    build_catalog(tmp_path / "home")
    (counted,) = query(tmp_path / "home", "SELECT count(*) AS drops FROM all_drops WHERE step = 'keep'").to_pylist()
    dropped = [_table(tmp_path / "home", place, "drops") for place in made(tmp_path / "home", "keep")]
    assert counted["drops"] == sum(map(len, dropped))


def test_the_same_command_finds_nothing_to_do(corpus: Path) -> None:
    run_recipe(corpus / "recipe.toml", corpus / "home")
    assert plan(corpus) == ({}, [])
    again, engine = run_recipe(corpus / "recipe.toml", corpus / "home")
    assert again == []
    assert engine.stats.attempts == 0


@pytest.mark.parametrize(
    "assignments",
    [
        pytest.param(["run.workers=1", "run.open_partitions=1", "run.models.m.in_flight=1"], id="one at a time"),
        pytest.param(["run.lot_partitions=1"], id="small lots"),
    ],
)
def test_how_it_runs_changes_no_byte(corpus: Path, assignments: list[str]) -> None:
    run_recipe(corpus / "recipe.toml", corpus / "home")
    run_recipe(corpus / "recipe.toml", corpus / "other", assignments)
    assert shard_files(corpus / "home") == shard_files(corpus / "other")


def test_partition_size_changes_no_document(corpus: Path) -> None:
    run_recipe(corpus / "recipe.toml", corpus / "home")
    run_recipe(corpus / "recipe.toml", corpus / "other", ["ingest.partition_rows=3"])
    assert shard_files(corpus / "home") == shard_files(corpus / "other")


def test_another_threshold_redoes_keep_and_what_follows_without_a_model(corpus: Path) -> None:
    run_recipe(corpus / "recipe.toml", corpus / "home")
    before = {step: made(corpus / "home", step) for step in ("screen", "generate", "score", "keep", "sign", "resolve")}
    gates = 'keep.gates=[{column="words", min=95, reason="short"}]'
    made_releases, engine = run_recipe(corpus / "recipe.toml", corpus / "home", [gates])
    after = {step: made(corpus / "home", step) for step in before}
    assert engine.stats.attempts == 0
    assert not engine.models["m"].keepers  # nothing was started
    assert {step for step in before if after[step] != before[step]} == {"keep", "resolve"}
    assert made_releases[0].parent == 1
    assert made_releases[0].continues is None
    assert all(len(row["text"].split()) >= 95 for row in shard_rows(corpus / "home"))


def test_another_setting_of_one_family_asks_for_that_family_only(corpus: Path) -> None:
    run_recipe(corpus / "recipe.toml", corpus / "home")
    before = made(corpus / "home", "generate")
    _, engine = run_recipe(corpus / "recipe.toml", corpus / "home", ["families.distill.options.max_tokens=333"])
    new = made(corpus / "home", "generate") - before
    assert engine.stats.attempts == 10
    assert {place.split("/")[3] for place in new} == {"distill"}


def test_going_back_to_an_earlier_recipe_costs_nothing(corpus: Path) -> None:
    run_recipe(corpus / "recipe.toml", corpus / "home")
    first = shard_files(corpus / "home")
    run_recipe(corpus / "recipe.toml", corpus / "home", ["families.distill.options.max_tokens=333"])
    made_releases, engine = run_recipe(corpus / "recipe.toml", corpus / "home")
    assert engine.stats.attempts == 0
    assert made_releases[0].number == 3
    assert shard_files(corpus / "home") == first


def test_answers_of_an_unfinished_partition_survive_a_change_of_the_recipe(
    tmp_path: Path, new_server: Callable[..., ScriptedServer]
) -> None:
    """A run is stopped half-way, then an option is moved: the open journals are taken over by the new objects."""
    path, asks = stopped_run(tmp_path, new_server("--latency-seconds", "0.2"))
    options = ["families.diverse_qa.share=0.999999"]  # another key for the same asks
    _, engine = run_recipe(path, tmp_path / "home", options)
    assert (engine.stats.replayed, engine.stats.asks) == (asks, 20 - asks)
    assert not list((tmp_path / "home/scratch").rglob("*.sqlite"))


def stopped_run(folder: Path, server: ScriptedServer) -> tuple[Path, int]:
    """A recipe whose first run was stopped after some answers, and how many it got."""
    write_seeds(folder / "seeds/a.jsonl", range(10))
    run_block = f'[run]\ngrace_seconds = 5\n[run.models.m]\nbase_url = "{server.base_url}"\nin_flight = 4'
    path = write_recipe(folder, server.base_url, run=run_block, ingest="[ingest]\npartition_rows = 50")
    recipe, store = load(path), Store.open(folder / "home")
    engine = engine_for(recipe, store)
    threading.Thread(target=_interrupt_after, args=(engine, 3), daemon=True).start()
    with pytest.raises(Interrupted):
        loop.run_directly(Session.open(recipe, folder, store, "first", engine))
    engine.stop()
    assert 0 < engine.stats.asks < 20
    assert engine.stats.asks == engine.stats.attempts  # what was in flight was allowed to arrive
    return path, engine.stats.asks


def _interrupt_after(engine: Engine, asks: int) -> None:
    while engine.stats.asks < asks:
        time.sleep(0.01)
    engine.interrupt()


def test_more_seeds_release_only_what_is_new(corpus: Path) -> None:
    run_recipe(corpus / "recipe.toml", corpus / "home")
    first = shard_files(corpus / "home")
    write_seeds(corpus / "seeds/b.jsonl", range(10, 13))
    made_releases, engine = run_recipe(corpus / "recipe.toml", corpus / "home")
    assert engine.stats.attempts == 6
    assert (made_releases[0].number, made_releases[0].continues) == (2, 1)
    both = shard_files(corpus / "home")
    assert first.items() <= both.items()
    assert len(shard_rows(corpus / "home")) == 26


def test_an_appended_seed_file_adds_partitions_only(corpus: Path) -> None:
    run_recipe(corpus / "recipe.toml", corpus / "home")
    before = made(corpus / "home", "screen")
    write_seeds(corpus / "seeds/a.jsonl", range(11))
    _, engine = run_recipe(corpus / "recipe.toml", corpus / "home")
    assert engine.stats.attempts == 2
    assert before < made(corpus / "home", "screen")


def test_renamed_and_reordered_files_change_nothing(corpus: Path) -> None:
    run_recipe(corpus / "recipe.toml", corpus / "home")
    (corpus / "seeds/a.jsonl").rename(corpus / "seeds/z.jsonl")
    assert plan(corpus) == ({}, [])
    write_seeds(corpus / "seeds/z.jsonl", [*range(5, 10), *range(5)])
    again, engine = run_recipe(corpus / "recipe.toml", corpus / "home")
    assert (again, engine.stats.attempts) == ([], 0)


def test_new_documents_are_compared_with_what_is_released(tmp_path: Path, scripted_server: ScriptedServer) -> None:
    near = {f"s{number}": f"{passage(number)} [[scripted: near=5]]" for number in (0, 10)}
    blocks = {"families": '[[families]]\nname = "distill"'}
    write_recipe(tmp_path, scripted_server.base_url, **blocks)
    write_seeds(tmp_path / "seeds/a.jsonl", range(4), **near)
    run_recipe(tmp_path / "recipe.toml", tmp_path / "home")
    released = {row["doc_id"] for row in shard_rows(tmp_path / "home")}
    assert len(released) == 4
    write_seeds(tmp_path / "seeds/b.jsonl", range(10, 13), **near)
    made_releases, _ = run_recipe(tmp_path / "recipe.toml", tmp_path / "home")
    drops = rows.read_table(tmp_path / "home" / made_releases[0].objects["resolve"][0] / "drops.parquet").to_pylist()
    assert [drop["rule"] for drop in drops] == ["near_duplicate"]
    assert drops[0]["partner_id"] in released
    assert drops[0]["score"] >= 0.75
    assert len(shard_rows(tmp_path / "home")) == 6


def test_waves_are_releases_and_dedup_reaches_back(tmp_path: Path, scripted_server: ScriptedServer) -> None:
    twins = {f"s{number}": f"{passage(number)} [[scripted: near=5]]" for number in (1, 6)}
    write_recipe(tmp_path, scripted_server.base_url, families='[[families]]\nname = "distill"')
    write_seeds(tmp_path / "seeds/a.jsonl", range(8), **twins)
    made_releases, _ = run_recipe(
        tmp_path / "recipe.toml", tmp_path / "home", ["run.wave_partitions=1", "ingest.partition_rows=2"]
    )
    assert [(release.number, release.continues) for release in made_releases] == [(1, None), (2, 1), (3, 2), (4, 3)]
    texts = [row["text"] for row in shard_rows(tmp_path / "home")]
    assert len(texts) == 7
    assert len(set(texts)) == 7


OUTCOMES = [
    ("outcome=refuse", "distill", "refused"),
    ("outcome=empty", "distill", "empty_answer"),
    ("outcome=truncate", "distill", "truncated_answer"),
    ("outcome=loop", "distill", "repetition"),
    ("outcome=bad_json", "diverse_qa", "wrong_schema"),
    ("outcome=think_open", "distill", "thinking_overflow"),
    ("outcome=leak", "distill", "tag_leak"),
    ("outcome=copy", "distill", "copied"),
    ("status=400", "distill", "generation_failed"),
]


@pytest.mark.parametrize(("marker", "family", "reason"), OUTCOMES, ids=[one[2] for one in OUTCOMES])
def test_every_bad_answer_is_a_document_with_a_drop(
    tmp_path: Path, scripted_server: ScriptedServer, marker: str, family: str, reason: str
) -> None:
    write_recipe(
        tmp_path,
        scripted_server.base_url,
        families=f'[[families]]\nname = "{family}"',
        audit="[audit]\nmax_failed_share = 1.0",
    )
    write_seeds(tmp_path / "seeds/a.jsonl", range(4), s2=f"{passage(2)} [[scripted: {marker}]]")
    made_releases, _ = run_recipe(tmp_path / "recipe.toml", tmp_path / "home")
    objects = made_releases[0].objects
    documents = [row for place in objects["generate"] for row in _table(tmp_path / "home", place, "documents")]
    drops = [
        row
        for step in ("generate", "keep")
        for place in objects[step]
        for row in _table(tmp_path / "home", place, "drops")
    ]
    assert len(documents) == 4
    if marker == "status=400":
        attempts = [row for place in objects["generate"] for row in _table(tmp_path / "home", place, "attempts")]
        assert Counter(row["status"] for row in attempts) == {"ok": 3, "rejected": 1}
    assert {(drop["item_kind"], drop["reason"] if drop["step"] == "keep" else drop["rule"]) for drop in drops} == {
        ("document", reason)
    }
    assert len(shard_rows(tmp_path / "home")) == 3


def _table(home: Path, place: str, name: str) -> list[dict[str, Any]]:
    return list(rows.read_table(home / place / f"{name}.parquet").to_pylist())


def test_thinking_is_kept_beside_the_text(tmp_path: Path, scripted_server: ScriptedServer) -> None:
    write_recipe(tmp_path, scripted_server.base_url, families='[[families]]\nname = "distill"')
    write_seeds(tmp_path / "seeds/a.jsonl", range(2), s1=f"{passage(1)} [[scripted: outcome=think]]")
    made_releases, _ = run_recipe(tmp_path / "recipe.toml", tmp_path / "home")
    asks = [row for place in made_releases[0].objects["generate"] for row in _table(tmp_path / "home", place, "asks")]
    thought = [ask for ask in asks if ask["reasoning"]]
    assert len(thought) == 1
    assert thought[0]["reasoning"] not in thought[0]["completion"]
    assert thought[0]["reasoning_tokens"] > 0


def test_faults_of_the_world_are_waited_out(tmp_path: Path, new_server: Callable[..., ScriptedServer]) -> None:
    server = new_server("--fail", "500:0.1,429:0.1,reset:0.05,malformed:0.05")
    write_seeds(tmp_path / "seeds/a.jsonl", range(10))
    run_block = f'[run]\n[run.models.m]\nbase_url = "{server.base_url}"\nin_flight = 8\nmax_attempts = 8'
    made_releases, engine = run_recipe(write_recipe(tmp_path, server.base_url, run=run_block), tmp_path / "home")
    attempts = [
        row for place in made_releases[0].objects["generate"] for row in _table(tmp_path / "home", place, "attempts")
    ]
    statuses = Counter(row["status"] for row in attempts)
    assert engine.stats.faults > 0
    assert statuses["ok"] == 20
    assert sum(statuses.values()) == engine.stats.attempts == 20 + engine.stats.faults
    assert len(shard_rows(tmp_path / "home")) == 20


def test_an_endpoint_that_is_gone_leaves_the_partition_open(
    tmp_path: Path, new_server: Callable[..., ScriptedServer]
) -> None:
    server = new_server("--fail", "500:1.0")
    write_seeds(tmp_path / "seeds/a.jsonl", range(4))
    run_block = f'[run]\n[run.models.m]\nbase_url = "{server.base_url}"\nin_flight = 8\nmax_attempts = 2'
    recipe = write_recipe(tmp_path, server.base_url, run=run_block)
    with pytest.raises(EndpointError, match=r"(?s)failed 2 times in a row.*http_500.*the same command again"):
        run_recipe(recipe, tmp_path / "home")
    assert made(tmp_path / "home", "generate") == set()
    healthy = new_server()
    write_recipe(tmp_path, healthy.base_url)
    made_releases, _ = run_recipe(recipe, tmp_path / "home")
    assert len(made_releases) == 1
    assert len(shard_rows(tmp_path / "home")) == 8


def test_a_wrong_key_is_not_retried(tmp_path: Path, new_server: Callable[..., ScriptedServer]) -> None:
    key = tmp_path / "key"
    key.write_text("right")
    server = new_server("--api-key-file", str(key))
    write_seeds(tmp_path / "seeds/a.jsonl", range(4))
    with pytest.raises((EndpointError, RecipeError), match=r"(?s)401"):
        run_recipe(write_recipe(tmp_path, server.base_url), tmp_path / "home")


def test_a_failed_gate_makes_no_release_and_shows_evidence(tmp_path: Path, scripted_server: ScriptedServer) -> None:
    marked = {f"s{number}": f"{passage(number)} [[scripted: outcome=refuse]]" for number in range(30)}
    write_recipe(tmp_path, scripted_server.base_url, ingest="[ingest]\npartition_rows = 50")
    write_seeds(tmp_path / "seeds/a.jsonl", range(31), **marked)
    with pytest.raises(GateError, match=r"(?s)dropped_share: \d+ violations.*evidence\.parquet"):
        run_recipe(tmp_path / "recipe.toml", tmp_path / "home")
    assert releases.newest(Store(tmp_path / "home"), "small") is None
    with pytest.raises(GateError):  # and again, without asking anybody
        run_recipe(tmp_path / "recipe.toml", tmp_path / "home")
    run_recipe(tmp_path / "recipe.toml", tmp_path / "home", ["audit.max_dropped_share=1.0"])
    assert releases.newest(Store(tmp_path / "home"), "small") is not None


def test_unknown_licences_are_not_worked_on_unless_meant(tmp_path: Path, scripted_server: ScriptedServer) -> None:
    columns = 'columns.id = "id"\ncolumns.license = "license"'
    source = f'[[sources]]\nid = "texts"\nkind = "jsonl"\npaths = ["seeds/*.jsonl"]\n{columns}'
    recipe = write_recipe(tmp_path, scripted_server.base_url, sources=source)
    lines = [{"id": f"s{n}", "text": passage(n), "license": "CC0-1.0" if n % 2 else None} for n in range(6)]
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds/a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    _, engine = run_recipe(recipe, tmp_path / "home")
    assert engine.stats.asks == 6
    assert {row["license"] for row in shard_rows(tmp_path / "home")} == {"CC0-1.0"}
    run_recipe(recipe, tmp_path / "home", ["screen.allow_unknown_license=true"])
    assert len(shard_rows(tmp_path / "home")) == 12


def test_settings_of_a_source_cannot_change_under_its_seeds(corpus: Path) -> None:
    run_recipe(corpus / "recipe.toml", corpus / "home")
    with pytest.raises(
        RecipeError, match=r"(?s)sources\.texts: license changed after its seeds were cut.*MIT.*CC0-1\.0"
    ):
        run_recipe(corpus / "recipe.toml", corpus / "home", ["sources.texts.license=MIT"])


def test_a_stopped_run_goes_on_and_pays_nothing_twice(
    tmp_path: Path, new_server: Callable[..., ScriptedServer]
) -> None:
    path, asks = stopped_run(tmp_path, new_server("--latency-seconds", "0.2"))
    _, again = run_recipe(path, tmp_path / "home")
    assert again.stats.attempts == 20 - asks
    assert len(shard_rows(tmp_path / "home")) == 20
