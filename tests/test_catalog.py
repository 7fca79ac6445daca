"""The catalogue: what its views show of a home with several releases, policies and recipes, and how it is built."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import duckdb
import orjson
import pyarrow as pa
import pytest
from audit_home import FAMILIES, Object, Wave, write_home, write_release, write_run

from flows.cli import main
from synth import rows
from synth.ask import Outcome
from synth.audit.catalog import build_catalog
from synth.audit.sql import canned, canned_titles, query
from synth.audit.tables import TABLES, duckdb_type
from synth.errors import HomeError, IntegrityError
from tests.conftest import ScriptedServer
from tests.corpora import passage, write_seeds

MONEY = ["sessions", "attempt_costs", "costs", "servers", "yields", "outcomes", "ladder"]
NEWEST = [*TABLES, "dropped", "kept", "objects", "shards", *MONEY]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home."""
    write_home(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Wave, Wave]]:
    """A home of two waves and two releases, the second of which keeps the first one's content but for one document."""
    home = tmp_path_factory.mktemp("grown") / "home"
    write_home(home)
    first, second = Wave("first"), Wave("second", ["p5"])
    for number, wave in enumerate((first, second), start=1):
        wave.write(home)
        write_run(home, wave, started=number, release=number)
    write_release(home, 1, [first])
    write_release(home, 2, [first, second], continues=1, tombstones=[first.kept()[0]["id"]])
    build_catalog(home)
    yield home, first, second


def _ask(home: Path, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in query(home, sql).to_pylist()]


def _one(home: Path, sql: str) -> Any:
    ((value,),) = _ask(home, sql)
    return value


def _counts(home: Path, *views: str) -> dict[str, int]:
    return {view: _one(home, f"SELECT count(*) FROM {view}") for view in views}


# What the views show.


def test_the_newest_release_shows_its_whole_chain(grown: tuple[Path, Wave, Wave]) -> None:
    home, first, second = grown
    both = len(first.documents()) + len(second.documents())
    assert _ask(home, "SELECT recipe, release, count(*) FROM documents GROUP BY ALL ORDER BY ALL") == [
        ("quickstart", 1, len(first.documents())),
        ("quickstart", 2, len(second.documents())),
    ]
    assert _counts(home, "documents", "scores", "asks") == {"documents": both, "scores": both, "asks": both}
    assert _counts(home, "seeds", "seed_scores") == {"seeds": 18, "seed_scores": 18}
    assert _one(home, "SELECT count(DISTINCT object) FROM objects") == len(first.objects) + len(second.objects)


def test_kept_and_rows_are_what_a_trainer_reads(grown: tuple[Path, Wave, Wave]) -> None:
    home, first, second = grown
    retracted = first.kept()[0]["id"]
    expected = {row["id"]: (1 if wave is first else 2) for wave in (first, second) for row in wave.kept()}
    del expected[retracted]
    assert dict(_ask(home, "SELECT id, release FROM kept")) == expected
    assert dict(_ask(home, "SELECT doc_id, release FROM rows")) == expected
    doc_id, path, row = _ask(home, "SELECT doc_id, path, row FROM rows ORDER BY doc_id LIMIT 1")[0]
    with pa.ipc.open_file(str(home / path)) as shard:
        assert shard.read_all()["doc_id"][row].as_py() == doc_id


def test_a_tombstone_is_a_drop_of_the_release(grown: tuple[Path, Wave, Wave]) -> None:
    home, first, _ = grown
    retracted = first.kept()[0]["id"]
    assert _ask(home, f"SELECT step, counted_as, release FROM dropped WHERE item_id = '{retracted}'") == [
        ("release", "tombstone", 2)
    ]
    assert retracted in dict(_ask(home, "SELECT id, 1 FROM all_kept"))


def test_dropped_is_the_first_reason_in_the_order_of_the_pipeline(grown: tuple[Path, Wave, Wave]) -> None:
    home, first, second = grown
    partitions = len(first.partitions) + len(second.partitions)
    assert dict(_ask(home, "SELECT step || ' ' || counted_as, count(*) FROM dropped GROUP BY ALL")) == {
        "ingest equal_text": 2,
        "screen too_short": partitions,
        "generate truncated_answer": 2 * partitions,
        "keep too_short": 2 * partitions,
        "resolve near_duplicate": 2,
        "release tombstone": 1,
    }
    assert _one(home, "SELECT count(*) FROM drops") == _one(home, "SELECT count(*) FROM dropped") + 2 * partitions
    kept, documents, gone = (
        _one(home, f"SELECT count(*) FROM {view}")
        for view in ("kept", "documents", "dropped WHERE item_kind = 'document'")
    )
    assert kept + gone == documents


def test_an_earlier_step_wins_over_a_smaller_rule_order(home: Path) -> None:
    wave = Wave()
    cut = wave.table("generate/p0/qa", "drops")[0]
    cut["rule_order"] = 9
    later = rows.drop_row(cut["item_id"], "document", "keep", "words", "too_short", rule_order=0)
    wave.table("keep/p0/qa", "drops").append(later)
    wave.write(home)
    write_release(home, 1, [wave])
    build_catalog(home)
    assert _ask(home, f"SELECT step FROM dropped WHERE item_id = '{cut['item_id']}'") == [("generate",)]


def test_all_views_show_every_object_its_first_run_and_its_place(home: Path) -> None:
    released, open_wave, nobodys = Wave("first"), Wave("second", ["p5"]), Wave("third", ["p6"])
    for wave in (released, open_wave, nobodys):
        wave.write(home)
    first, second = write_run(home, released), write_run(home, open_wave, started=1, ended=False)
    again = orjson.loads((home / "runs" / second / "run.json").read_bytes())
    again["objects"]["screen"] += released.places()["screen"]  # used again, not made again
    (home / "runs" / second / "run.json").write_bytes(orjson.dumps(again))
    write_release(home, 1, [released])
    build_catalog(home)
    size = {first: len(released.documents()), second: len(open_wave.documents()), None: len(nobodys.documents())}
    assert dict(_ask(home, "SELECT run, count(*) FROM all_documents GROUP BY ALL")) == size
    assert _one(home, "SELECT count(*) FROM documents") == len(released.documents())
    assert dict(_ask(home, "SELECT run, count(*) FROM all_objects WHERE step = 'screen' GROUP BY ALL")) == {
        first: 2,
        second: 1,
        None: 1,
    }
    stages = {place for (place,) in _ask(home, "SELECT DISTINCT stage FROM all_documents")}
    assert stages == {place for wave in (released, open_wave, nobodys) for place in wave.places()["generate"]}
    assert _ask(home, "SELECT run, outcome FROM runs ORDER BY started_at") == [(first, "released"), (second, None)]


def test_another_policy_starts_from_all_partitions_again(home: Path) -> None:
    old, new = Wave("w", policy="A"), Wave("w", policy="B")
    for wave in (old, new):
        wave.write(home)
        write_run(home, wave)
    write_release(home, 1, [old])
    write_release(home, 2, [new], continues=None)
    build_catalog(home)
    assert {one for (one,) in _ask(home, "SELECT id FROM documents")} == {row["id"] for row in new.documents()}
    assert _one(home, "SELECT count(*) FROM all_documents") == 2 * len(new.documents())
    assert _ask(home, "SELECT DISTINCT release FROM kept") == [(2,)]
    assert _ask(home, "SELECT release, current FROM releases ORDER BY release") == [(1, False), (2, True)]
    assert _counts(home, "shards", "all_shards", "seeds") == {"shards": 3, "all_shards": 6, "seeds": 12}
    assert _ask(home, "SELECT DISTINCT run FROM costs") == [("run-w-B",)]


def test_of_an_ingest_only_the_partitions_that_are_covered(home: Path) -> None:
    wave = Wave()
    wave.write(home)
    covered = wave.objects["ingest"]
    file = orjson.loads((home / covered.place / "manifest.json").read_bytes())["files"]["seeds-00001.parquet"]
    write_release(home, 1, [wave], partitions=[file["sha256"]])
    build_catalog(home)
    expected = {row["id"] for row in covered.tables["seeds-00001.parquet"]}
    assert {one for (one,) in _ask(home, "SELECT id FROM seeds")} == expected
    assert _one(home, "SELECT count(*) FROM all_seeds") == 12


def test_a_rewritten_shard_replaces_its_rows(home: Path) -> None:
    old, new = Wave("w"), Wave("w")
    gone = old.kept()[-1]["id"]
    shards = new.objects["shards"]
    shards.config["without"] = [gone]
    shards.tables["rows.parquet"] = [row for row in shards.tables["rows.parquet"] if row["doc_id"] != gone]
    shards.shards = {name: [row for row in rows_ if row["doc_id"] != gone] for name, rows_ in shards.shards.items()}
    old.write(home)
    new.write(home)
    write_release(home, 1, [old])
    write_release(home, 2, [new], continues=1, tombstones=[gone])
    build_catalog(home)
    left = {row["id"] for row in old.kept()} - {gone}
    assert dict(_ask(home, "SELECT doc_id, release FROM rows")) == dict.fromkeys(left, 2)
    assert _one(home, "SELECT count(*) FROM all_rows") == 2 * len(left) + 1


def test_two_recipes_on_the_same_objects_are_kept_apart(home: Path) -> None:
    one, other = Wave("w", policy="A"), Wave("w", policy="A")
    strict = other.objects["keep/p0/qa"]
    strict.config["strict"] = True
    drop = rows.drop_row(other.document("p0", "qa", 3)["id"], "document", "keep", "words", "too_short")
    strict.tables["drops.parquet"].append(drop)
    one.write(home)
    other.write(home)
    write_release(home, 1, [one], recipe="mild")
    write_release(home, 4, [other], recipe="strict")
    build_catalog(home)
    counted = dict(_ask(home, "SELECT recipe, count(*) FROM kept GROUP BY ALL"))
    assert counted == {"mild": len(one.kept()), "strict": len(one.kept()) - 1}
    assert _one(home, "SELECT count(*) FROM dropped WHERE recipe = 'strict'") == 1 + _one(
        home, "SELECT count(*) FROM dropped WHERE recipe = 'mild'"
    )


# Money.


def test_costs_are_tokens_by_the_price_card_and_gpu_time(grown: tuple[Path, Wave, Wave]) -> None:
    home, first, _ = grown
    answers = _ask(
        home,
        "SELECT family, outcome, asks, attempts, prompt_tokens, completion_tokens, reasoning_tokens, round(dollars, 6) "
        "FROM costs WHERE kind = 'answer' AND run = 'run-first-A' ORDER BY ALL",
    )
    # A dollar per million prompt tokens, ten for completion and reasoning: 100 + 10 x (40 + 10) = 600 millionths an ask.
    assert answers == [
        ("distill", "ok", 6, 6, 600, 240, 60, 0.0036),
        ("distill", "truncated_answer", 2, 2, 200, 80, 20, 0.0012),
        ("qa", "ok", 8, 8, 800, 320, 80, 0.0048),
        ("qa", "truncated_answer", 2, 2, 200, 80, 20, 0.0012),
    ]
    failed = _ask(
        home,
        "SELECT role, family, outcome, asks, attempts, completion_tokens, round(dollars, 6) FROM costs "
        "WHERE kind = 'failed_attempt' AND run = 'run-first-A' ORDER BY ALL",
    )
    assert failed == [("writer", family, "timeout", 0, 2, 14, 0.00034) for family in sorted(FAMILIES)]
    engine = _ask(
        home,
        "SELECT family, gpu_seconds, loading_gpu_seconds, idle_gpu_seconds, busy_gpu_seconds, dollars "
        "FROM costs WHERE kind = 'engine'",
    )
    # Two GPUs for half an hour at three dollars, in each run.
    assert engine == [(None, 3600.0, 10.0, 1200.0, 2390.0, 3.0)] * 2
    assert _one(home, "SELECT sum(attempts)::BIGINT FROM all_costs") == _one(home, "SELECT count(*) FROM all_attempts")
    assert _one(home, "SELECT sum(asks)::BIGINT FROM all_costs") == len(first.documents()) + 9


def test_an_answer_that_was_reused_is_paid_once_and_its_attempts_are_found(home: Path) -> None:
    """Another policy took over the answers of an earlier object: its asks are there again, its attempts are not."""
    old, new = Wave("w", policy="A"), Wave("w", policy="B")
    for label in [label for label in new.objects if label.startswith("generate/")]:
        new.objects[label].tables["asks.parquet"] = old.objects[label].tables["asks.parquet"]
        new.objects[label].tables["attempts.parquet"] = []
        for ask, document in zip(new.table(label, "asks"), new.table(label, "documents"), strict=True):
            document["ask_ids"] = [ask["ask_id"]]
    for started, wave in enumerate((old, new)):
        wave.write(home)
        write_run(home, wave, started=started)
    write_release(home, 1, [old])
    write_release(home, 2, [new])
    build_catalog(home)
    assert _one(home, "SELECT count(*) FROM all_asks") == 2 * _one(home, "SELECT count(*) FROM asks")
    for view in ("costs", "all_costs"):
        assert _one(home, f"SELECT sum(asks)::BIGINT FROM {view} WHERE kind = 'answer'") == len(old.documents())
        assert _ask(home, f"SELECT DISTINCT run FROM {view} WHERE kind = 'answer'") == [("run-w-A",)]
    assert _one(home, "SELECT count(*) FROM attempts") == _one(home, "SELECT count(*) FROM all_attempts")


def test_a_run_without_a_price_has_no_dollars(home: Path) -> None:
    wave = Wave()
    wave.write(home)
    run = home / "runs" / write_run(home, wave) / "run.json"
    run.write_bytes(orjson.dumps({**orjson.loads(run.read_bytes()), "models": {}}))
    write_release(home, 1, [wave])
    build_catalog(home)
    assert _ask(home, "SELECT DISTINCT dollars FROM costs") == [(None,)]


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of one wave whose asks climbed: to a larger budget, to a dearer model, into a dead letter."""
    home = tmp_path_factory.mktemp("climbed") / "home"
    write_home(home)
    wave = Wave(partitions=["p0"])
    wave.climb("generate/p0/qa", 2, "thinking_overflow", "larger_budget")
    for at, replica in ((3, "dear/1"), (4, "dear/0")):
        wave.climb("generate/p0/qa", at, "not_accepted", "next_model", endpoint=replica, model="large")
    _end(wave, 0, "dead_letter")
    held = {"endpoint": "dear/0", "model": "large", "gpus": 1, "loading_seconds": 180.0, "idle_seconds": 0.0, "asks": 1}
    sessions = [
        {},
        {**held, "end": "died"},
        held,
        {**held, "endpoint": "dear/1", "idle_seconds": 900.0, "end": "recycled"},
    ]
    wave.write(home)
    write_run(home, wave, sessions=sessions)
    write_release(home, 1, [wave])
    build_catalog(home)
    return home


def _end(wave: Wave, at: int, outcome: str) -> None:
    """An ask of `qa`, whose document is dropped, ends with this outcome."""
    ask = wave.table("generate/p0/qa", "asks")[at]
    ask["outcome"] = outcome
    if outcome == "dead_letter":
        ask |= {"prompt_tokens": 0, "completion_tokens": 0, "reasoning_tokens": 0}
        nothing = {"verdict": None, "usage_prompt_tokens": None, "usage_completion_tokens": None}
        for attempt in wave.table("generate/p0/qa", "attempts"):
            if attempt["attempt_id"] == ask["accepted_attempt"]:
                attempt |= {"status": "rejected", **nothing}


@pytest.mark.parametrize("prefix", ["", "all_"])
def test_each_attempt_has_its_kind_outcome_and_price(climbed: Path, prefix: str) -> None:
    """A local answer of 100 and 50 tokens costs 600 millionths, a dear one 2,100; nine tenths of one refused are thinking."""
    found = _ask(
        climbed,
        "SELECT model_name, kind, outcome, accepted, count(*), sum(completion_tokens)::BIGINT, sum(reasoning_tokens)::BIGINT, "
        f"round(1e6 * sum(token_dollars))::BIGINT FROM {prefix}attempt_costs WHERE family = 'qa' GROUP BY ALL ORDER BY ALL",
    )
    assert found == [
        ("dear", "answer", "ok", True, 2, 80, 20, 4200),
        ("local", "answer", "ok", True, 2, 80, 20, 1200),
        ("local", "failed_attempt", "dead_letter", True, 1, 0, 0, 0),
        ("local", "failed_attempt", "timeout", False, 1, 7, 0, 170),
        ("local", "refused_answer", "not_accepted", False, 2, 10, 90, 1200),
        ("local", "refused_answer", "thinking_overflow", False, 1, 5, 45, 600),
    ]


@pytest.mark.parametrize("prefix", ["", "all_"])
def test_every_attempt_and_second_of_gpu_time_is_in_the_costs_once(climbed: Path, prefix: str) -> None:
    tokens, gpus, seconds, apart = _ask(
        climbed,
        "SELECT sum(dollars) FILTER (kind <> 'engine'), sum(dollars) FILTER (kind = 'engine'), sum(gpu_seconds), "
        f"sum(loading_gpu_seconds + idle_gpu_seconds + busy_gpu_seconds) FROM {prefix}costs",
    )[0]
    paid = 7370 + 4 * 600 + 170  # qa, as above; of distill four answers and a timeout
    assert tokens == pytest.approx(paid / 1e6)
    assert (gpus, seconds, apart) == pytest.approx((3.0 + 3 * 1.5, 2 * 1800 + 3 * 1800, seconds))
    shared = _one(climbed, f"SELECT sum(token_dollars + gpu_dollars) FROM {prefix}attempt_costs")
    assert shared == pytest.approx(tokens + gpus)
    assert _one(climbed, f"SELECT sum(asks)::BIGINT FROM {prefix}costs") == 9


@pytest.mark.parametrize("prefix", ["", "all_"])
def test_yields_are_what_each_model_gave_and_what_its_kept_tokens_cost(climbed: Path, prefix: str) -> None:
    rows_ = _ask(
        climbed,
        "SELECT model, outcome, asks, attempts, round(share, 3), documents_kept, kept_tokens, gpu_dollars, "
        f"token_dollars_per_million_kept, dollars_per_million_kept FROM {prefix}yields WHERE family = 'qa' ORDER BY model, outcome",
    )
    # The local model's three dollars are shared out by 464 generated tokens: 257 of qa, 207 of distill.
    local = 3.0 * 257 / 464
    assert [row[:7] for row in rows_] == [
        ("large", "ok", 2, 2, 1.0, 2, 80),
        ("served", "dead_letter", 1, 1, 0.143, 0, 0),
        ("served", "not_accepted", 0, 2, 0.286, 0, 0),
        ("served", "ok", 2, 2, 0.286, 1, 40),
        ("served", "thinking_overflow", 0, 1, 0.143, 0, 0),
        ("served", "timeout", 0, 1, 0.143, 0, 0),
    ]
    assert sum(row[7] for row in rows_ if row[0] == "served") == pytest.approx(local)
    assert [row[8] for row in rows_ if row[6]] == pytest.approx([4200 / 80, 3170 / 40])
    assert [row[9] for row in rows_ if row[6]] == pytest.approx([(0.0042 + 4.5) / 80e-6, (0.00317 + local) / 40e-6])
    assert {row[8:] for row in rows_ if not row[6]} == {(None, None)}


def test_an_answer_that_two_documents_rest_on_is_kept_once(home: Path) -> None:
    wave = Wave()
    first, second = wave.document("p0", "qa", 2), wave.document("p0", "qa", 3)
    second["ask_ids"] = first["ask_ids"]
    wave.write(home)
    write_release(home, 1, [wave])
    build_catalog(home)
    kept = _ask(home, "SELECT documents_kept, kept_tokens FROM yields WHERE family = 'qa' AND outcome = 'ok'")
    assert kept == [(6, 5 * 40)]


@pytest.mark.parametrize("prefix", ["", "all_"])
def test_ladder_shows_which_rungs_help(climbed: Path, prefix: str) -> None:
    found = _ask(
        climbed,
        "SELECT rung, climbs, helped, round(helped_share, 2), attempts, prompt_tokens, round(1e6 * token_dollars)::BIGINT "
        f"FROM {prefix}ladder ORDER BY rung",
    )
    assert found == [
        ("first", 9, 4, 0.44, 11, 1000, 600 * 8 + 170 * 2),
        ("larger_budget", 1, 1, 1.0, 1, 100, 600),
        ("next_model", 2, 2, 1.0, 2, 200, 4200),
    ]


@pytest.mark.parametrize("prefix", ["", "all_"])
def test_servers_show_how_their_lives_ended_and_what_they_cost(climbed: Path, prefix: str) -> None:
    found = _ask(
        climbed,
        "SELECT endpoint, model_name, starts, deaths, stalls, recycles, losses, hours, round(loading_share, 3), "
        f"round(idle_share, 3), round(busy_share, 3), answers, gpu_hours, dollars FROM {prefix}servers ORDER BY endpoint",
    )
    assert found == [
        ("dear/0", "dear", 2, 1, 0, 0, 0, 1.0, 0.1, 0.0, 0.9, 2, 1.0, 3.0),
        ("dear/1", "dear", 1, 0, 0, 1, 0, 0.5, 0.1, 0.5, 0.4, 1, 0.5, 1.5),
        ("local/0", "local", 1, 0, 0, 0, 0, 0.5, 0.003, 0.333, 0.664, 18, 1.0, 3.0),
    ]


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_each_outcome_has_its_counter(home: Path, outcome: str) -> None:
    wave = Wave(partitions=["p0"])
    _end(wave, 0, outcome)
    wave.table("generate/p0/qa", "asks")[0]["budget_hit"] = outcome == "thinking_overflow"
    if outcome != "ok":
        wave.climb("generate/p0/qa", 2, outcome, "next_model", endpoint="dear/0", model="large")
    wave.write(home)
    write_release(home, 1, [wave])
    build_catalog(home)
    found = _ask(
        home,
        "SELECT model, accepted, answers, round(share, 2), budget_hits FROM all_outcomes "
        f"WHERE role = 'writer' AND family = 'qa' AND outcome = '{outcome}' ORDER BY ALL",
    )
    ended, refused = ("served", True, 1, 0.2, int(outcome == "thinking_overflow")), ("served", False, 1, 0.2, 0)
    assert found == ([("served", True, 5, 1.0, 0)] if outcome == "ok" else [refused, ended])


def test_an_attempt_that_was_lost_unsent_has_its_models_price(home: Path) -> None:
    wave = Wave()
    for attempt in wave.table("generate/p0/qa", "attempts"):
        if attempt["status"] == "timeout":
            attempt |= {"status": "lost", "endpoint": "local"}
    wave.write(home)
    write_run(home, wave)
    write_release(home, 1, [wave])
    build_catalog(home)
    assert _ask(home, "SELECT model_name, token_dollars FROM attempt_costs WHERE outcome = 'lost'") == [
        ("local", 0.00017)
    ]


def test_canned_questions_of_money(climbed: Path) -> None:
    yields = query(climbed, canned("yield_by_model")).to_pylist()
    assert [(row["model"], row["family"], row["usable"], row["documents_kept"]) for row in yields] == [
        ("served", "distill", 3, 1),
        ("large", "qa", 2, 2),
        ("served", "qa", 2, 1),
    ]
    assert [row["token_dollars_per_million_kept"] for row in yields] == [64.25, 52.5, 79.25]
    (large, local) = sorted(query(climbed, canned("reasoning_cost")).to_pylist(), key=lambda row: str(row["model"]))
    assert (large["answers"], large["reasoning_per_completion_token"], large["overflow_percent"]) == (2, 0.25, 0.0)
    assert (local["answers"], local["completion_tokens"], local["reasoning_tokens"]) == (9, 255, 195)
    assert local["overflow_percent"] == 11.1
    assert local["overflow_dollars"] == round(0.0006 + 3.0 * 50 / 464, 4)
    nothing = query(climbed, canned("paid_for_nothing")).to_pylist()
    assert {(row["kind"], row["outcome"], row["attempts"]) for row in nothing if row["family"] == "qa"} == {
        ("failed_attempt", "dead_letter", 1),
        ("failed_attempt", "timeout", 1),
        ("refused_answer", "not_accepted", 2),
        ("refused_answer", "thinking_overflow", 1),
    }
    assert ("answer", "truncated_answer") in {(row["kind"], row["outcome"]) for row in nothing}
    (cost,) = query(climbed, canned("cost_per_kept_token")).to_pylist()
    assert (cost["token_dollars"], cost["gpu_dollars"], cost["kept_tokens"]) == (0.0099, 7.5, 160)
    assert cost["dollars_per_million_kept"] == pytest.approx(7.50994 / 160e-6)


CASCADE = """
name = "cascade"
sources = [{ id = "texts", kind = "jsonl", paths = ["seeds/*.jsonl"], license = "CC0-1.0", columns = { id = "id" } }]
families = [{ name = "distill" }]
models.cheap = { backend = "openai", model = "cheap", revision = "1" }
models.dear = { backend = "openai", model = "dear", revision = "1" }
roles.writer = { models = ["cheap", "dear"], choose = "cascade", retry = { thinking_overflow = ["larger_budget", "again"] } }
audit = { max_failed_share = 1.0 }

[run.models.cheap]
base_url = "CHEAP"
gpus = 1
usd_per_gpu_hour = 40.0
usd_per_million_prompt_tokens = 10.0
usd_per_million_completion_tokens = 20.0

[run.models.dear]
base_url = "DEAR"
usd_per_million_prompt_tokens = 100.0
usd_per_million_completion_tokens = 500.0
"""


def test_a_real_run_with_a_ladder_and_a_cascade_adds_up_to_the_engines_total(
    tmp_path: Path, new_server: Callable[..., ScriptedServer], capsys: pytest.CaptureFixture[str]
) -> None:
    marks = {
        "s1": "[[scripted: hard=1]] [[scripted: weak=refuse]]",
        "s2": "[[scripted: outcome=think_open]]",
        "s3": "[[scripted: fault=400]]",
        "s4": "[[scripted: fault=500*1]]",
    }
    write_seeds(tmp_path / "seeds/a.jsonl", range(8), **{name: f"{passage(9)} {mark}" for name, mark in marks.items()})
    servers = {"CHEAP": new_server("--script", "weak"), "DEAR": new_server("--script", "strong")}
    text = CASCADE
    for name, server in servers.items():
        text = text.replace(name, server.base_url)
    (tmp_path / "recipe.toml").write_text(text)
    home = tmp_path / "home"
    assert main(["run", str(tmp_path / "recipe.toml"), "--no-prefect", "--json", "--home", str(home)]) == 0
    usd = orjson.loads(capsys.readouterr().out)["usd"]
    for view in ("costs", "all_costs"):
        assert _one(home, f"SELECT sum(dollars) FROM {view}") == pytest.approx(usd, rel=1e-5), view
    assert _one(home, "SELECT sum(token_dollars + gpu_dollars) FROM attempt_costs") == pytest.approx(usd, rel=1e-5)
    climbs = dict(_ask(home, "SELECT rung, climbs FROM ladder"))
    assert climbs == {"first": 8, "next_model": 3, "larger_budget": 2, "again": 2}
    answers = _ask(
        home,
        "SELECT model, outcome, sum(answers)::BIGINT, sum(answers) FILTER (accepted)::BIGINT FROM outcomes "
        "WHERE outcome NOT IN ('ok', 'not_accepted') GROUP BY ALL ORDER BY ALL",
    )
    assert answers == [
        ("cheap@1", "dead_letter", 1, None),
        ("cheap@1", "refused", 1, None),
        ("cheap@1", "thinking_overflow", 3, None),
        ("dear@1", "dead_letter", 1, 1),
        ("dear@1", "thinking_overflow", 3, 1),
    ]
    kept = dict(_ask(home, "SELECT model, sum(documents_kept)::BIGINT FROM yields GROUP BY model"))
    assert kept["dear@1"] >= 1
    assert kept["cheap@1"] + kept["dear@1"] == _one(home, "SELECT count(*) FROM kept")


# How it is built.


def test_an_empty_home_has_all_views_with_their_columns(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = home / "runs" / write_run(home, Wave(), ended=False) / "run.json"
    run.write_bytes(orjson.dumps({**orjson.loads(run.read_bytes()), "objects": {}}))
    build_catalog(home)
    described = _described(home, monkeypatch)
    for table, schema in TABLES.items():
        columns = [(field.name, duckdb_type(field.type).replace('"', "")) for field in schema]
        for view in (table, f"all_{table}"):
            assert described[view][: len(columns)] == columns, view
    for name in canned_titles():
        assert _ask(home, canned(name)) == []


def test_types_are_the_same_with_and_without_rows(
    grown: tuple[Path, Wave, Wave], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_catalog(home)
    full, empty = _described(grown[0], monkeypatch), _described(home, monkeypatch)
    assert full.keys() == empty.keys()
    differ = [view for view in full if full[view] != empty[view]]
    # Further columns of scores are the recipe's rules.
    assert differ == ["all_scores", "all_seed_scores", "scores", "seed_scores"]


def _described(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[str, str]]]:
    """Names and types of the columns of every view, which must all work."""
    monkeypatch.chdir(home)
    with duckdb.connect("catalog.duckdb", read_only=True) as connection:
        found = {}
        for name in sorted(f"{prefix}{view}" for prefix in ("", "all_") for view in NEWEST):
            columns = connection.execute(f"DESCRIBE {name}").fetchall()
            found[name] = [(column[0], column[1].replace('"', "")) for column in columns]
    return found


def test_plain_duckdb_works_inside_the_home(grown: tuple[Path, Wave, Wave], monkeypatch: pytest.MonkeyPatch) -> None:
    home, first, second = grown
    monkeypatch.chdir(home)
    with duckdb.connect("catalog.duckdb", read_only=True) as connection:
        for view in NEWEST:
            for name in (view, f"all_{view}"):
                assert connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0] > 0, name
        for name in canned_titles():
            assert connection.execute(canned(name)).fetchall(), name
        kept = connection.execute("SELECT count(*) FROM kept").fetchall()
    assert kept == [(len(first.kept()) + len(second.kept()) - 1,)]


@pytest.mark.parametrize("name", ["moved", "it's [1], *really*?"])
def test_a_home_that_was_moved_needs_no_new_catalogue(home: Path, name: str) -> None:
    wave = Wave()
    wave.write(home)
    write_release(home, 1, [wave])
    build_catalog(home)
    moved = home.rename(home.with_name(name))
    assert _one(moved, "SELECT count(*) FROM documents") == len(wave.documents())
    build_catalog(moved)
    assert _one(moved, "SELECT count(*) FROM kept") == len(wave.kept())


def test_a_reader_keeps_the_catalogue_it_opened(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Wave("first"), Wave("second", ["p5"])
    first.write(home)
    write_release(home, 1, [first])
    catalog = build_catalog(home)
    monkeypatch.chdir(home)
    with duckdb.connect("catalog.duckdb", read_only=True) as reader:
        before = catalog.stat().st_ino
        second.write(home)
        write_release(home, 2, [first, second], continues=1)
        build_catalog(home)
        assert catalog.stat().st_ino != before
        assert reader.execute("SELECT count(*) FROM documents").fetchall() == [(len(first.documents()),)]
        assert _one(home, "SELECT count(*) FROM documents") == len(first.documents()) + len(second.documents())
    assert not list((home / "tmp").iterdir())


def test_rules_that_came_later_add_columns(home: Path) -> None:
    old, new = Wave("first"), Wave("second", ["p5"])
    for label in [label for label in old.objects if label.startswith("score/")]:
        old.objects[label].config["rules"] = ["words"]
    old.write(home)
    for label in [label for label in old.objects if label.startswith("score/")]:
        folder = home / old.objects[label].place
        table = rows.read_table(folder / "scores.parquet").drop_columns(["symbol_ratio"])
        rows.write_table(table, folder / "scores.parquet")
    new.write(home)
    write_release(home, 1, [old])
    write_release(home, 2, [old, new], continues=1)
    build_catalog(home)
    found = dict(_ask(home, "SELECT release, count(symbol_ratio) FROM scores GROUP BY ALL"))
    assert found == {1: 0, 2: len(new.documents())}


def test_what_is_not_published_does_not_exist(home: Path) -> None:
    wave = Wave()
    wave.write(home)
    (home / wave.objects["score/p0/qa"].place / "manifest.json").unlink()
    build_catalog(home)
    assert _one(home, "SELECT count(*) FROM all_scores") == len(wave.documents()) - len(
        wave.table("score/p0/qa", "scores")
    )


def test_a_release_on_a_missing_object_is_an_error_that_names_it(home: Path) -> None:
    wave = Wave()
    wave.write(home)
    write_release(home, 1, [wave])
    place = wave.objects["score/p0/qa"].place
    (home / place / "manifest.json").unlink()
    with pytest.raises(IntegrityError, match=place):
        build_catalog(home)
    assert not (home / "catalog.duckdb").exists()
    assert not list(home.glob("tmp/*"))


def test_a_missing_release_of_the_chain_is_an_error_that_names_it(home: Path) -> None:
    wave = Wave()
    wave.write(home)
    write_release(home, 2, [wave], continues=1)
    with pytest.raises(IntegrityError, match="release 1 of quickstart"):
        build_catalog(home)


def test_a_folder_that_is_no_home_is_refused_and_stays_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="not a home"):
        build_catalog(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_view_says_what_it_shows(grown: tuple[Path, Wave, Wave]) -> None:
    sql = "SELECT {0}_name, comment FROM duckdb_{0}s() WHERE database_name = 'catalog' AND schema_name = 'main' AND NOT internal"
    shown = dict(_ask(grown[0], sql.format("view")) + _ask(grown[0], sql.format("table")))
    assert set(NEWEST) | {f"all_{view}" for view in NEWEST} | {"releases", "runs"} == set(shown)
    assert all(shown.values())


def test_a_home_of_2000_objects_is_catalogued_in_seconds(home: Path) -> None:
    base = Wave("w", ["p0"])
    base.write(home)
    made = 0
    for group in range(286):
        for one in [one for one in base.objects.values() if one.step in ("screen", "generate", "score", "keep")]:
            copy = Object(one.step, f"g{group}", one.config, one.tables, one.counts)
            (home / copy.place).mkdir(parents=True)
            for file in (home / one.place).iterdir():
                os.link(file, home / copy.place / file.name)
            made += 1
    start, cpu = time.perf_counter(), time.process_time()
    build_catalog(home)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    start = time.perf_counter()
    total = _one(home, "SELECT count(*) FROM all_documents")
    asked = time.perf_counter() - start
    print(f"{made} objects: built in {seconds:.2f} s ({cpu_seconds:.2f} s CPU), all documents counted in {asked:.2f} s")
    assert total == 287 * len(base.documents())
    assert cpu_seconds < 5
