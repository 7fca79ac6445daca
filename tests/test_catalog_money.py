"""What the catalogue says of money: who was paid for which answer, what was kept of it, which rung helped, which server died."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import orjson
import pytest
from audit_home import FAMILIES, Wave, rows_of, value_of, write_home, write_release, write_run

from flows.cli import main
from synth.ask import Outcome
from synth.audit.catalog import build_catalog
from synth.audit.sql import canned, query
from tests.conftest import ScriptedServer
from tests.corpora import passage, write_seeds


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home."""
    write_home(tmp_path / "home")
    return tmp_path / "home"


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
    found = rows_of(
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
    tokens, gpus, seconds, apart = rows_of(
        climbed,
        "SELECT sum(dollars) FILTER (kind <> 'engine'), sum(dollars) FILTER (kind = 'engine'), sum(gpu_seconds), "
        f"sum(loading_gpu_seconds + idle_gpu_seconds + busy_gpu_seconds) FROM {prefix}costs",
    )[0]
    paid = 7370 + 4 * 600 + 170  # qa, as above; of distill four answers and a timeout
    assert tokens == pytest.approx(paid / 1e6)
    assert (gpus, seconds, apart) == pytest.approx((3.0 + 3 * 1.5, 2 * 1800 + 3 * 1800, seconds))
    shared = value_of(climbed, f"SELECT sum(token_dollars + gpu_dollars) FROM {prefix}attempt_costs")
    assert shared == pytest.approx(tokens + gpus)
    assert value_of(climbed, f"SELECT sum(asks)::BIGINT FROM {prefix}costs") == 9


@pytest.mark.parametrize("prefix", ["", "all_"])
def test_yields_are_what_each_model_gave_and_what_its_kept_tokens_cost(climbed: Path, prefix: str) -> None:
    rows_ = rows_of(
        climbed,
        "SELECT model, outcome, asks, attempts, round(share, 3), documents_kept, kept_tokens, gpu_dollars, "
        f"token_dollars_per_million_kept, dollars_per_million_kept FROM {prefix}yields WHERE family = 'qa' ORDER BY 1, 2",
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
    second["written_by"] = first["written_by"]
    wave.write(home)
    write_release(home, 1, [wave])
    build_catalog(home)
    kept = rows_of(home, "SELECT documents_kept, kept_tokens FROM yields WHERE family = 'qa' AND outcome = 'ok'")
    assert kept == [(6, 5 * 40)]


@pytest.mark.parametrize("prefix", ["", "all_"])
def test_ladder_shows_which_rungs_help(climbed: Path, prefix: str) -> None:
    found = rows_of(
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
    found = rows_of(
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
    found = rows_of(
        home,
        "SELECT model, accepted, answers, round(share, 2), budget_hits FROM all_outcomes "
        f"WHERE role = 'writer' AND family = 'qa' AND outcome = '{outcome}' ORDER BY ALL",
    )
    ended, refused = ("served", True, 1, 0.2, int(outcome == "thinking_overflow")), ("served", False, 1, 0.2, 0)
    assert found == ([("served", True, 5, 1.0, 0)] if outcome == "ok" else [refused, ended])


def test_gpu_time_without_a_token_is_shared_evenly_and_that_of_a_model_never_asked_is_in_the_costs_alone(
    home: Path,
) -> None:
    wave = Wave(partitions=["p0"])
    for family in FAMILIES:
        for attempt in wave.table(f"generate/p0/{family}", "attempts"):
            attempt["usage_completion_tokens"] = None
    wave.write(home)
    write_run(home, wave, sessions=[{}, {"endpoint": "dear/0", "gpus": 4}])
    write_release(home, 1, [wave])
    build_catalog(home)
    assert rows_of(home, "SELECT DISTINCT round(gpu_dollars, 6) FROM attempt_costs") == [(round(3 / 11, 6),)]
    assert dict(rows_of(home, "SELECT model_name, dollars FROM costs WHERE kind = 'engine'")) == {
        "local": 3.0,
        "dear": 6.0,
    }


def test_an_attempt_that_was_lost_unsent_has_its_models_price(home: Path) -> None:
    wave = Wave()
    for attempt in wave.table("generate/p0/qa", "attempts"):
        if attempt["status"] == "timeout":
            attempt |= {"status": "lost", "endpoint": "local"}
    wave.write(home)
    write_run(home, wave)
    write_release(home, 1, [wave])
    build_catalog(home)
    assert rows_of(home, "SELECT model_name, token_dollars FROM attempt_costs WHERE outcome = 'lost'") == [
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
families = [{ name = "textbook" }]
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
        assert value_of(home, f"SELECT sum(dollars) FROM {view}") == pytest.approx(usd, rel=1e-5), view
    assert value_of(home, "SELECT sum(token_dollars + gpu_dollars) FROM attempt_costs") == pytest.approx(usd, rel=1e-5)
    climbs = dict(rows_of(home, "SELECT rung, climbs FROM ladder"))
    assert climbs == {"first": 8, "next_model": 3, "larger_budget": 2, "again": 2}
    answers = rows_of(
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
    kept = dict(rows_of(home, "SELECT model, sum(documents_kept)::BIGINT FROM yields GROUP BY model"))
    assert kept["dear@1"] >= 1
    assert kept["cheap@1"] + kept["dear@1"] == value_of(home, "SELECT count(*) FROM kept")
