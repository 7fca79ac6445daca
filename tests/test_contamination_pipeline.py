"""`[decontamination]`: items are found in seeds, in documents and in what a trainer gets; each hit is a verdict that names it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from audit_contamination import SIZES, contaminate, left_in_shard
from audit_home import Wave, rows_of, write_home, write_release

from filters.decontamination import DecontaminationConfig
from filters.decontamination_report import report
from flows import loop
from flows.display import closing_table
from flows.recipe import load
from flows.session import Session
from flows.steps.scoring import RuleConfig, rule_works
from flows.steps.verdicts import of_rendered
from flows.summary import summarise
from flows.works import Works
from synth import rows
from synth.audit.catalog import build_catalog
from synth.audit.sql import canned, query
from synth.digest import file_sha256
from synth.errors import GateError, RecipeError
from synth.store import Store
from tests.conftest import ScriptedServer
from tests.corpora import engine_for, passage, run_recipe, shard_rows, write_recipe, write_seeds

QUESTION = "How many eggs do 16 ducks lay in 3 weeks, if each lays one on every other day?"
ITEMS = [
    {"question": QUESTION, "answer": "Each lays 10 or 11, all of them 168."},
    {"question": "What is the capital of Freedonia?", "answer": "Fredville"},
    {
        "question": "Which of these seven harbours has been frozen for the longest part of every winter?",
        "answer": "Ulm",
    },
]
FAMILY = '[[families]]\nname = "diverse_qa"'  # its documents hold their whole seed


def evaluation_set(folder: Path, items: Sequence[dict[str, str]] = ITEMS) -> str:
    """Writes it; the recipe's words for it."""
    path = folder / "eval/eggs.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(item) + "\n" for item in items), "utf-8")
    return f'{{ name = "eggs", path = "eval/eggs.jsonl", sha256 = "{file_sha256(path)}", answer = "answer" }}'


def corpus(folder: Path, server: ScriptedServer, settings: str = "", **blocks: str) -> Path:
    """Four seeds, of which two hold items; a recipe that looks for them."""
    texts = {
        "s1": f"{passage(1)} {QUESTION.upper()}",
        "s2": f"{passage(2)} What is the capital of Freedonia?  Fredville!",
    }
    write_seeds(folder / "seeds/a.jsonl", range(4), **texts)
    table = f"[decontamination]\nbenchmarks = [{evaluation_set(folder)}]\n{settings}"
    return write_recipe(folder, server.base_url, **{"families": FAMILY, "decontamination": table} | blocks)


def tables(home: Path, step: str, name: str) -> list[dict[str, Any]]:
    places = Store(home).objects(f"objects/{step}")
    return [row for place in places for row in rows.read_table(home / place / f"{name}.parquet").to_pylist()]


def hits(verdicts: Sequence[dict[str, Any]], rung: str = "decontamination") -> list[tuple[str, str, float, str]]:
    """Item, rule, score, kind of text."""
    failed = [row for row in verdicts if row["rung"] == rung and row["outcome"] == "failed"]
    said = [(orjson.loads(row["evidence"]), row) for row in failed]
    return sorted((one["item"], one["rule"], row["score"], row["item_kind"]) for one, row in said)


FOUND = [("eggs/0", "A", 1.0), ("eggs/1", "C", 1.0)]


@pytest.fixture(scope="module")
def dropped(tmp_path_factory: pytest.TempPathFactory, scripted_server: ScriptedServer) -> Path:
    """A run that drops seeds."""
    folder = tmp_path_factory.mktemp("dropped")
    run_recipe(corpus(folder, scripted_server), folder / "home")
    build_catalog(folder / "home")
    return folder / "home"


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory, scripted_server: ScriptedServer) -> Path:
    """A run that labels seeds and documents."""
    folder = tmp_path_factory.mktemp("labelled")
    run_recipe(corpus(folder, scripted_server, 'seeds = "label"\ndocuments = "label"'), folder / "home")
    build_catalog(folder / "home")
    return folder / "home"


def test_a_seed_that_holds_an_item_is_dropped_and_sent_to_no_model(dropped: Path) -> None:
    drops = tables(dropped, "screen", "drops")
    assert [(drop["reason"], drop["rule"], drop["score"]) for drop in drops] == [
        ("contaminated", "contaminated_items", 1.0)
    ] * 2
    assert sorted(drop["evidence"].split(" ")[0] for drop in drops) == ["eggs/0", "eggs/1"]
    asked = {row["seed_id"] for row in tables(dropped, "generate", "asks")}
    assert asked and not asked & {drop["item_id"] for drop in drops}
    assert len(shard_rows(dropped)) == 2


def test_each_hit_on_a_seed_is_a_verdict_with_its_place(dropped: Path) -> None:
    verdicts = tables(dropped, "screen", "verdicts")
    assert hits(verdicts) == [(*found, "seed") for found in FOUND]
    texts = {row["id"]: row["text"].encode() for row in query(dropped, "SELECT id, text FROM all_seeds").to_pylist()}
    shown = {}
    for row in verdicts:
        said = orjson.loads(row["evidence"])
        if row["outcome"] == "failed":
            assert (said["benchmark"], said["part"], row["judge"]) == ("eggs", "text", "rule")
            shown[said["item"]] = texts[row["item_id"]][said["start_byte"] : said["end_byte"]].decode()
        else:
            assert (row["outcome"], row["score"], said) == ("passed", 1.0, {"checked": 3})
    assert shown == {"eggs/0": QUESTION.upper()[:-1], "eggs/1": "What is the capital of Freedonia?  Fredville"}
    assert sorted(row["outcome"] for row in verdicts) == ["failed", "failed", "passed", "passed"]
    columns = rows.read_table(
        dropped / Store(dropped).objects("objects/screen")[0] / "seed_scores.parquet"
    ).column_names
    assert "contaminated_items" in columns and "contamination_found" not in columns


def test_the_report_of_each_set(dropped: Path, labelled: Path) -> None:
    columns = "benchmark, kind, items, items_hit, texts_hit, kept_texts_hit, hits_a, hits_b, hits_c, longest_words"
    nothing = (0, 0, 0, 0, 0, 0, None)
    for view in ("contamination", "all_contamination"):
        question = f"SELECT {columns} FROM {view} ORDER BY kind"
        assert rows_of(dropped, question) == [
            ("eggs", "document", 3, *nothing),
            ("eggs", "rendered", 3, *nothing),
            ("eggs", "seed", 3, 2, 2, 0, 1, 0, 1, 18),
        ]
        everywhere = [("eggs", kind, 3, 2, 2, 2, 1, 0, 1, 18) for kind in ("document", "rendered", "seed")]
        assert rows_of(labelled, question) == everywhere
    assert query(labelled, canned("contamination"))["kind"].to_pylist() == ["seed", "document", "rendered"]


def test_documents_are_dropped_by_keep(tmp_path: Path, scripted_server: ScriptedServer) -> None:
    run_recipe(corpus(tmp_path, scripted_server, 'seeds = "label"'), tmp_path / "home")
    drops = tables(tmp_path / "home", "keep", "drops")
    assert [drop["reason"] for drop in drops] == ["contaminated"] * 2
    assert hits(tables(tmp_path / "home", "score", "verdicts")) == [(*found, "document") for found in FOUND]
    assert hits(tables(tmp_path / "home", "screen", "verdicts")) == [(*found, "seed") for found in FOUND]
    assert tables(tmp_path / "home", "shards", "verdicts") == []
    assert len(shard_rows(tmp_path / "home")) == 2


def test_what_is_labelled_is_released_and_told(labelled: Path) -> None:
    assert len(shard_rows(labelled)) == 4
    assert hits(tables(labelled, "shards", "verdicts"), "decontamination_rendered") == [
        (*found, "document") for found in FOUND
    ]
    asked = query(
        labelled, "SELECT outcome, documents FROM verification WHERE rung = 'decontamination' ORDER BY outcome"
    )
    assert [tuple(row.values()) for row in asked.to_pylist()] == [("failed", 2), ("passed", 2)]


def test_an_item_that_is_left_in_a_shard_stops_the_release(
    tmp_path: Path, scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when keep lets through what it should drop."""
    monkeypatch.setattr(DecontaminationConfig, "gates", lambda self: ())
    recipe = corpus(tmp_path, scripted_server, 'seeds = "label"')
    with pytest.raises(GateError, match=r"(?s)rendered_contamination: 2 violations.*eggs/0"):
        run_recipe(recipe, tmp_path / "home")
    run_recipe(recipe, tmp_path / "home", ["decontamination.documents=label"])
    assert len(shard_rows(tmp_path / "home")) == 4


def test_the_last_look_reads_the_reasoning_too(tmp_path: Path) -> None:
    options = {"benchmarks": [{"name": "eggs", "path": str(tmp_path / "eval/eggs.jsonl"), "answer": "answer"}]}
    evaluation_set(tmp_path)
    options["benchmarks"][0]["sha256"] = file_sha256(tmp_path / "eval/eggs.jsonl")
    works = rule_works([RuleConfig(name="decontamination", options=options)], "x")
    documents = pa.table(
        {
            "id": ["a", "b", "c"],
            "family": ["distill"] * 3,
            "text": pa.array(["Ducks.", f"So: {QUESTION}", "Harbours."], pa.large_string()),
            "reasoning": pa.array([f"I know {QUESTION}", None, ""], pa.large_string()),
        }
    )
    found = of_rendered(documents, works)
    assert found.schema.equals(rows.VERDICT)
    told = [(row["item_id"], row["rung"], orjson.loads(row["evidence"])["part"]) for row in found.to_pylist()]
    assert told == [("a", "decontamination_rendered", "reasoning"), ("b", "decontamination_rendered", "text")]


def test_the_closing_table_names_each_set(
    tmp_path: Path, scripted_server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load(corpus(tmp_path, scripted_server, 'seeds = "label"\ndocuments = "label"'))
    store = Store.open(tmp_path / "home")
    with store.lock("test"):
        engine = engine_for(recipe, store)
        try:
            session = Session.open(recipe, tmp_path, store, "test-run", engine)
            loop.run_directly(session)
            summary = summarise(session, engine, tmp_path / "home", "released")
        finally:
            engine.stop()
    assert [row["kind"] for row in summary["contamination"]] == ["document", "rendered", "seed"]
    closing_table(summary)
    assert "eggs, of 3 items: 2 in 2 documents, 2 in 2 rows of shards, 2 in 2 seeds" in capsys.readouterr().out


# Without a run


def test_a_rule_of_screen_alone_writes_verdicts(tmp_path: Path, scripted_server: ScriptedServer) -> None:
    rule = f'{{ name = "decontamination", options = {{ benchmarks = [{evaluation_set(tmp_path)}] }} }}'
    path = corpus(tmp_path, scripted_server, screen=f"[screen]\nmore_rules = [{rule}]", decontamination="")
    works = Works(load(path))
    assert [rule.name for rule in works.seed_judge[0]].count("decontamination") == 1
    assert "contaminated" not in [gate.reason for gate in works.seed_judge[1]]
    run_recipe(path, tmp_path / "home")
    assert hits(tables(tmp_path / "home", "screen", "verdicts")) == [(*found, "seed") for found in FOUND]


def test_every_step_that_looks_is_known_by_the_bytes_of_the_set(tmp_path: Path) -> None:
    server = ScriptedServer("http://x", tmp_path / "log", None)  # type: ignore[arg-type]
    path = corpus(tmp_path, server)
    before = Works(load(path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "eval/eggs.jsonl").rename(tmp_path / "elsewhere/eggs.jsonl")
    path.write_text(path.read_text().replace("eval/eggs", "elsewhere/eggs"))
    assert Works(load(path)).policy() == before.policy()
    write_recipe(
        tmp_path,
        "http://x",
        families=FAMILY,
        decontamination=f"[decontamination]\nbenchmarks = [{evaluation_set(tmp_path, ITEMS[:2])}]",
    )
    after = Works(load(path))
    for step in ("_screen", "_score", "_shards"):
        assert getattr(after, step).content() != getattr(before, step).content(), step


def test_a_recipe_names_its_sets_once(tmp_path: Path) -> None:
    server = ScriptedServer("http://x", tmp_path / "log", None)  # type: ignore[arg-type]
    rule = f'{{ name = "decontamination", options = {{ benchmarks = [{evaluation_set(tmp_path)}] }} }}'
    for step in ("screen", "score"):
        path = corpus(tmp_path, server, **{step: f"[{step}]\nmore_rules = [{rule}]"})
        with pytest.raises(RecipeError, match=f"{step} names the rule 'decontamination'"):
            Works(load(path))


def test_a_digest_that_is_missing_or_wrong_is_shown(tmp_path: Path) -> None:
    server = ScriptedServer("http://x", tmp_path / "log", None)  # type: ignore[arg-type]
    path = corpus(tmp_path, server)
    right = file_sha256(tmp_path / "eval/eggs.jsonl")
    for given in ("", f', sha256 = "{"0" * 64}"'):
        path.write_text(corpus(tmp_path, server).read_text().replace(f', sha256 = "{right}"', given))
        with pytest.raises(RecipeError, match=f'write sha256 = "{right}"'):
            Works(load(path))


# The report, in SQL and in Python


def test_the_report_counts_as_the_view_does(tmp_path: Path) -> None:
    """Over a home with a dropped and a kept seed that hold an item, and one document with two."""
    wave, home = Wave(), tmp_path / "home"
    left_in_shard(wave)
    write_home(home)
    wave.write(home)
    write_release(home, 1, [wave])
    build_catalog(home)
    found = query(home, "SELECT * EXCLUDE (recipe, kept_texts_hit) FROM contamination ORDER BY benchmark, kind")
    kept = rows_of(
        home, "SELECT benchmark, kind, texts_hit, kept_texts_hit FROM contamination WHERE texts_hit > 0 ORDER BY ALL"
    )
    assert kept == [("gsm8k", "document", 1, 0), ("gsm8k", "rendered", 1, 1), ("gsm8k", "seed", 2, 1)]
    verdicts = query(home, "SELECT * FROM verdicts")
    counted = report(verdicts, SIZES)
    assert counted.to_pylist() == found.to_pylist()
    (document,) = [row for row in counted.to_pylist() if row["kind"] == "document" and row["benchmark"] == "gsm8k"]
    assert (document["items_hit"], document["hits_a"], document["hits_b"], document["longest_words"]) == (2, 1, 1, 47)


def test_a_report_without_verdicts_has_its_sets() -> None:
    (row,) = report(rows.VERDICT.empty_table(), {"eggs": 3}).to_pylist()
    assert (row["benchmark"], row["kind"], row["items"], row["items_hit"], row["longest_coverage"]) == (
        "eggs",
        "document",
        3,
        0,
        None,
    )


def test_contaminated_waves_pass_while_their_shards_are_clean(tmp_path: Path) -> None:
    from test_checks import _run

    wave = Wave()
    contaminate(wave)
    assert _run(tmp_path / "clean", wave) == {}
    wave = Wave()
    left_in_shard(wave)
    wave.objects["shards"].config["contaminated"] = "label"
    assert _run(tmp_path / "labelled", wave) == {}
