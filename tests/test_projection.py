"""Forecasts: the ranges hold what they promise, by simulation and against real runs; nothing that is not priced costs $0."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.cli import main
from flows.forecast import hours_of_history, hours_of_preview
from flows.projection import Load, Range, Sample, minus, plus, project, quantile, times
from flows.recipe import Recipe, load
from flows.seed_counts import Head, count_rows, loads
from flows.usage import BUSY, Prices, Usage, active_seconds, add
from synth.rows import Seed
from synth.sources import Source
from tests.conftest import ScriptedServer
from tests.corpora import run_recipe, write_recipe, write_seeds

TRIALS = 600
CLOSED = "http://127.0.0.1:9/v1"
PRICED = "usd_per_million_prompt_tokens = 1.0\nusd_per_million_completion_tokens = 4.0"


def sample(values: Any, name: str = "asks", **more: Any) -> Sample:
    """Seeds s0, s1 … with these values of one amount."""
    values = np.asarray(values, float)
    columns = {name: values, **{key: np.asarray(column, float) for key, column in more.items()}}
    return Sample([f"s{number}" for number in range(len(values))], columns)


def covered(draw: Callable[[np.random.Generator], tuple[Range, float]], trials: int = TRIALS) -> float:
    """In which share of the trials the truth lies in the range."""
    generator = np.random.default_rng(7)
    hits = 0
    for _ in range(trials):
        made, truth = draw(generator)
        assert made.low is not None and made.high is not None
        hits += made.low <= truth <= made.high
    return hits / trials


@pytest.mark.parametrize("seeds", [2, 3, 5, 10, 40])
@pytest.mark.parametrize("spread", [0.05, 0.5, 1.0])
def test_ninety_percent_ranges_of_tokens_hold_the_truth_nine_times_in_ten(seeds: int, spread: float) -> None:
    """Tokens per seed are skewed (log-normal); the population is a job of a thousand seeds, of which some were asked."""

    def draw(generator: np.random.Generator) -> tuple[Range, float]:
        population = 400 * generator.lognormal(0.0, spread, 1000)
        made = project({"f": sample(population[:seeds])}, {"f": Load(1000)}, "asks", part_of_job=True)
        return made, float(population.sum())

    assert covered(draw) >= (0.85 if spread < 1.0 else 0.82)


@pytest.mark.parametrize("seeds", [3, 5, 10, 40])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.99])
def test_ranges_of_what_is_kept_hold_where_all_or_nothing_was_kept(seeds: int, share: float) -> None:
    def draw(generator: np.random.Generator) -> tuple[Range, float]:
        kept = (generator.random(1000) < share).astype(float)
        seen = sample(kept[:seeds], "kept", documents=np.ones(seeds))
        return project({"f": seen}, {"f": Load(1000)}, "kept", part_of_job=True), float(kept.sum())

    assert covered(draw) >= 0.85


def test_what_families_make_of_one_seed_moves_together() -> None:
    """A long seed is dear for both families: as if they were independent the range would hold too seldom."""

    def draw(generator: np.random.Generator) -> tuple[Range, float]:
        length = generator.lognormal(0.0, 0.5, 500)
        a, b = 100 * length, 300 * length
        samples = {"a": sample(a[:8]), "b": sample(b[:8])}
        return project(samples, dict.fromkeys(samples, Load(500)), "asks", True), float((a + b).sum())

    assert covered(draw) >= 0.85


def test_seeds_of_a_large_source_count_more_and_the_range_still_holds() -> None:
    """Two sources, 900 and 100 seeds of other lengths, and as many seeds of each in the sample."""

    def draw(generator: np.random.Generator) -> tuple[Range, float]:
        large, small = generator.lognormal(0.0, 0.4, 900), 5 * generator.lognormal(0.0, 0.4, 100)
        seen = np.concatenate([large[:10], small[:10]])
        weights = np.array([90.0] * 10 + [10.0] * 10)
        of_both = Sample([str(number) for number in range(20)], {"asks": seen}, weights)
        return project({"f": of_both}, {"f": Load(1000)}, "asks", True), float(large.sum() + small.sum())

    assert covered(draw) >= 0.85


def test_seeds_that_are_still_to_come_differ_by_chance_too() -> None:
    """By the 500 seeds of a first wave the next 20 are foreseen: their own spread is most of the range."""

    def draw(generator: np.random.Generator) -> tuple[Range, float]:
        past, coming = generator.lognormal(0.0, 0.6, 500), generator.lognormal(0.0, 0.6, 20)
        return project({"f": sample(past)}, {"f": Load(20)}, "asks", False), float(coming.sum())

    assert 0.85 <= covered(draw) <= 0.97


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=30))
def test_the_whole_job_as_sample_leaves_nothing_uncertain(values: list[float]) -> None:
    made = project({"f": sample(values)}, {"f": Load(len(values))}, "asks", part_of_job=True)
    assert made.point == pytest.approx(sum(values), abs=1e-6)
    assert made.low == pytest.approx(made.point) and made.high == pytest.approx(made.point)


@given(st.lists(st.floats(1, 1e6), min_size=3, max_size=30), st.integers(1, 10**6))
def test_ranges_hold_their_point_and_more_seeds_of_the_same_kind_narrow_them(values: list[float], job: int) -> None:
    few = project({"f": sample(values)}, {"f": Load(job)}, "asks", part_of_job=False)
    more = project({"f": sample(values * 4)}, {"f": Load(job)}, "asks", part_of_job=False)
    assert few.low is not None and few.high is not None and more.low is not None and more.high is not None
    assert 0 <= few.low <= few.point <= few.high
    # What the job's own seeds differ by stays; a part of the range that comes from the sample goes.
    assert more.high - more.low <= (few.high - few.low) * 1.0001


def test_one_seed_gives_no_range_and_no_seed_no_amount() -> None:
    assert project({"f": sample([5.0])}, {"f": Load(10)}, "asks", True) == Range(50.0, None, None)
    assert project({}, {"f": Load(10)}, "asks", True) == Range(0.0, 0.0, 0.0)


def test_no_more_is_kept_than_is_written() -> None:
    seen = sample([1.0, 1.0, 0.0], "kept", documents=[1.0, 1.0, 1.0])
    assert project({"f": seen}, {"f": Load(30)}, "kept", True).high == 30


def test_quantiles_are_those_of_students_t() -> None:
    stats = pytest.importorskip("scipy.stats")
    for degrees in [*range(1, 41), 100, 10_000]:
        assert quantile(degrees) == pytest.approx(stats.t.ppf(0.95, degrees), rel=1e-3)


def test_arithmetic_of_ranges() -> None:
    one, other = Range(10, 5, 15), Range(1, None, 2)
    assert plus(one, one) == Range(20, 10, 30)
    assert plus(one, other) == Range(11, None, 17)
    assert times(one, 2) == Range(20, 10, 30)
    assert minus(one, 12) == Range(0, 0, 3)


# --- seeds of a job


def jsonl(folder: Path, name: str, lines: int, end: str = "\n") -> Path:
    path = folder / name
    random = np.random.default_rng(1).bytes(16 * lines).hex()
    text = "\n".join(json.dumps({"text": random[32 * number : 32 * number + 32]}) for number in range(lines)) + end
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    return path


def test_rows_are_counted_whatever_the_file(tmp_path: Path) -> None:
    jsonl(tmp_path, "a.jsonl", 10)
    jsonl(tmp_path, "b.jsonl", 5, end="")
    jsonl(tmp_path, "c.jsonl.gz", 7)
    pq.write_table(pa.table({"text": ["x"] * 11}), tmp_path / "d.parquet")
    lines = Source(id="l", kind="jsonl", paths=("*.jsonl", "*.gz"))
    found = [count_rows(lines, tmp_path), count_rows(Source(id="p", kind="parquet", paths=("*.parquet",)), tmp_path)]
    assert [(one.rows, one.exact) for one in found] == [(22, True), (11, True)]
    assert count_rows(Source(id="b", kind="passages"), tmp_path).rows == 80


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_large_file_is_counted_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("flows.seed_counts._COUNTED_BYTES", 500_000)
    monkeypatch.setattr("flows.seed_counts._CHUNK_BYTES", 1000)
    jsonl(tmp_path, name, 100_000)
    found = count_rows(Source(id="l", kind="jsonl", paths=("*",)), tmp_path)
    assert not found.exact
    assert found.rows == pytest.approx(100_000, rel=0.1)


def test_many_files_are_counted_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.seed_counts._COUNTED_BYTES", 4000)
    for number in range(40):
        jsonl(tmp_path, f"{number}.jsonl", 50)
    found = count_rows(Source(id="l", kind="jsonl", paths=("*",)), tmp_path)
    assert not found.exact and found.rows == pytest.approx(2000, rel=0.1)


def seeds(count: int, quality: float | None = None) -> list[Seed]:
    return [Seed(f"{number:064d}", "texts", f"{number:064d}", 0, "text", quality=quality) for number in range(count)]


FAMILIES = (
    '[[families]]\nname = "distill"\nshare = 0.25\n\n[[families]]\nname = "textbook"\nweight = 1.0\n\n'
    '[[families]]\nname = "faq"\nweight = 3.0\nroute = { min = 0.5 }'
)


def recipe_of(folder: Path, **blocks: str) -> Recipe:
    write_seeds(folder / "seeds/a.jsonl", range(3))
    return load(write_recipe(folder, CLOSED, **blocks))


def test_each_family_takes_its_share_of_the_seeds_that_pass(tmp_path: Path) -> None:
    """Of 1,000 rows 100 were read; 60 pass, a third of them good enough for faq."""
    recipe = recipe_of(tmp_path, families=FAMILIES, ingest="[ingest]\ncanary_share = 0.1")
    head = Head(100, [*seeds(40, 0.1), *seeds(60, 0.9)[40:]])
    work, passing = loads(recipe, {"texts": head}, {"texts": count(1000)})
    assert passing.seeds == pytest.approx(600)
    assert {name: round(one.seeds) for name, one in work.items()} == {"distill": 150, "textbook": 450, "faq": 150}
    assert all(0 < one.deviation < one.seeds and one.copies == 0.1 for one in work.values())
    assert work["faq"].copies_deviation == pytest.approx(math.sqrt(15))


def count(rows: int) -> Any:
    from flows.seed_counts import RowCount

    return RowCount(rows, True)


def test_where_all_rows_were_read_the_seeds_are_known(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, families=FAMILIES)
    work, passing = loads(recipe, {"texts": Head(100, seeds(80, 0.9), canaries=seeds(8, 0.9))}, {"texts": count(100)})
    assert (passing.seeds, passing.deviation, passing.copies, passing.copies_deviation) == (80, 0, 0.1, 0)
    assert work["textbook"].seeds + work["faq"].seeds == 80
    assert all(one.seeds == int(one.seeds) and one.deviation == 0 for one in work.values())


# --- hours


def busy_recipe(folder: Path, more: str) -> Recipe:
    return recipe_of(folder, run="[run]", price=f'[run.models.m]\nbase_url = "{CLOSED}"\n{more}')


def test_hours_of_a_preview_lie_between_all_places_and_no_more_than_it_used(tmp_path: Path) -> None:
    """Ten seeds, 20 s each, two at a time: the preview took 100 s. A thousand seeds on 16 places."""
    from datetime import UTC, datetime, timedelta

    start = datetime(2026, 1, 1, tzinfo=UTC)
    intervals = [
        (start + timedelta(seconds=20 * (number // 2)), start + timedelta(seconds=20 * (number // 2 + 1)))
        for number in range(10)
    ]
    assert active_seconds(intervals) == 100
    recipe = busy_recipe(tmp_path, "in_flight = 16")
    samples = {"distill": sample([20.0] * 10, BUSY + "m")}
    made = hours_of_preview(recipe, samples, {"distill": Load(1000)}, intervals)
    assert made is not None and made.low is not None and made.high is not None
    fast, slow = 1000 * 20 / 16 / 3600, 1000 * 20 / 2 / 3600
    assert made.low <= fast < made.point < slow <= made.high
    assert made.point == pytest.approx(math.sqrt(fast * slow))
    full = busy_recipe(tmp_path, "in_flight = 2")
    exact = hours_of_preview(full, samples, {"distill": Load(1000)}, intervals)
    assert exact is not None and exact.point == pytest.approx(slow)
    assert hours_of_preview(recipe, {"distill": sample([1.0])}, {"distill": Load(9)}, []) is None


def test_hours_of_history_are_bounded_by_the_slowest_and_the_fastest_run() -> None:
    made = hours_of_history(Range(3_600_000, 1_800_000, 7_200_000), [500.0, 1000.0, 2000.0])
    assert made == Range(1.0, 0.25, 4.0)
    assert hours_of_history(Range(1, 1, 1), []) is None


# --- what a seed took


def test_a_lookup_costs_what_it_did_and_a_refused_answer_is_paid_too(tmp_path: Path) -> None:
    recipe = busy_recipe(tmp_path, PRICED)
    ask = {"seed_id": "s", "prompt_tokens": 10, "completion_tokens": 5, "reasoning_tokens": 2, "model": "scripted@1"}
    asks = [
        {**ask, "ask_id": "climbed", "accepted_attempt": "second"},
        {**ask, "ask_id": "known", "accepted_attempt": "long ago"},
    ]
    attempt = {"ask_id": "climbed", "endpoint": "m/0", "started_at": None, "ended_at": None}
    attempts = [
        {**attempt, "attempt_id": "first", "status": "ok", "usage_prompt_tokens": 10, "usage_completion_tokens": 100},
        {
            **attempt,
            "attempt_id": "second",
            "status": "ok",
            "usage_prompt_tokens": None,
            "usage_completion_tokens": None,
        },
        {**attempt, "attempt_id": "x", "status": "timeout", "usage_prompt_tokens": 9, "usage_completion_tokens": 9},
    ]
    documents = [
        {"id": "kept", "seed_ids": ["s"], "written_tokens": 5},
        {"id": "d", "seed_ids": ["s"], "written_tokens": 7},
    ]
    usage = Usage()
    add(usage, *(pa.Table.from_pylist(one) for one in (documents, asks, attempts)), {"d"}, Prices(recipe))
    found = usage.by_seed["s"]
    assert {name: found[name] for name in ("asks", "prompt_tokens", "completion_tokens", "reasoning_tokens")} == {
        "asks": 3,
        "prompt_tokens": 30,
        "completion_tokens": 100 + 7 + 7,
        "reasoning_tokens": 4,
    }
    assert (found["documents"], found["kept"], found["kept_tokens"], found["written_tokens"]) == (2, 1, 5, 12)
    assert found["token_usd"] == pytest.approx((30 * 1.0 + 114 * 4.0) / 1e6)


# --- against real runs


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, scripted_server: ScriptedServer) -> Path:
    """A folder with a recipe of two families over 240 seeds, a third of them too short for the screen, some for a gate."""
    folder = tmp_path_factory.mktemp("forecast")
    short = {f"s{number}": f"few words {number}" for number in range(0, 240, 3)}
    write_seeds(folder / "seeds/a.jsonl", range(240), **short)
    price = f'[run.models.m]\nbase_url = "{scripted_server.base_url}"\nin_flight = 8\n{PRICED}'
    families = '[[families]]\nname = "distill"\nshare = 0.5\n\n[[families]]\nname = "diverse_qa"'
    blocks = {
        "ingest": "[ingest]\npartition_rows = 20\ncanary_share = 0.1",
        "keep": '[keep]\nmore_gates = [{column = "words", min = 85, reason = "too_short"}]\n'
        'without = ["facts_lost", "content_lost", "half_lost", "wrong_length"]',
        "audit": "[audit]\nmax_dropped_share = 1.0",
    }
    write_recipe(folder, "", run="[run]", price=price, families=families, **blocks)
    return folder


@pytest.fixture(scope="module")
def truth(corpus: Path) -> dict[str, float]:
    """What the whole run took and gave, from its engine and its documents."""
    from synth import rows
    from synth.store import Store

    _, engine = run_recipe(corpus / "recipe.toml", corpus / "whole")
    store = Store(corpus / "whole")
    found = [rows.read_table(store.local(f"{place}/index.parquet")) for place in store.objects("objects/resolve")]
    return {
        "asks": engine.stats.asks,
        "prompt_tokens": engine.stats.prompt_tokens,
        "completion_tokens": engine.stats.completion_tokens,
        "kept": sum(len(one) for one in found),
        "usd": engine.dollars(),
    }


def in_folder(corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *command: str) -> Any:
    monkeypatch.chdir(corpus)
    assert main([*command, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def check(job: dict[str, Any], truth: dict[str, float], within: float) -> None:
    """Each range holds the truth, and the expected amounts are near it."""
    for name, true in truth.items():
        assert job[name]["low"] <= true <= job[name]["high"], (name, true, job[name])
        if name != "kept":
            assert job[name]["expected"] == pytest.approx(true, rel=within), name


def test_a_preview_foretells_the_run(
    corpus: Path, truth: dict[str, float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = in_folder(corpus, monkeypatch, capsys, "run", "recipe.toml", "--preview", "24")["job"]
    assert (job["rows"], job["rows_exact"], job["unpriced_models"]) == (240, True, [])
    check(job, truth, 0.15)
    assert job["hours"]["low"] > 0
    assert job["families"]["diverse_qa"]["seeds"] == 185  # 160 of the rows pass the screen, and 25 canaries


def test_a_first_wave_foretells_the_rest(
    corpus: Path, truth: dict[str, float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run is ended after some partitions by a target; what it made and what is left are the whole."""
    target = ["--set", "run.budget.target_kept_tokens=6000", "--set", "run.open_partitions=1", "--set", "run.workers=1"]
    home = ["--home", "part"]
    monkeypatch.chdir(corpus)
    assert main(["run", "recipe.toml", "--no-prefect", "--json", *home, *target]) == 0
    made = json.loads(capsys.readouterr().out)
    plan = in_folder(corpus, monkeypatch, capsys, "plan", "recipe.toml", *home)
    assert 0 < plan["pending_partitions"] < plan["partitions"]
    rest = {name: truth[name] - made[name] for name in ("asks", "prompt_tokens", "completion_tokens", "kept", "usd")}
    check(plan["job"], rest, 0.2)
    assert plan["job"]["hours"]["low"] > 0
    assert not any(note.startswith("hours") for note in plan["job"]["notes"])
    plan = in_folder(corpus, monkeypatch, capsys, "plan", "recipe.toml", *home, "--set", "run.models.m.in_flight=64")
    assert any(note.startswith("hours: by the speed of runs that had other") for note in plan["job"]["notes"])


def test_without_history_a_plan_says_how_to_get_one(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(corpus)
    assert main(["plan", "recipe.toml", "--home", "nowhere"]) == 0
    assert "synth run RECIPE --preview" in capsys.readouterr().out
    assert in_folder(corpus, monkeypatch, capsys, "plan", "recipe.toml", "--home", "nowhere")["job"] is None


def test_a_plan_takes_off_what_is_answered(
    corpus: Path, truth: dict[str, float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the finished corpus: another threshold asks nobody; another option of one family asks for that family alone;
    new seeds are foreseen before they are cut."""
    home = ["--home", "whole"]
    gates = 'keep.more_gates=[{column="words", min=95, reason="too_short"}]'
    job = in_folder(corpus, monkeypatch, capsys, "plan", "recipe.toml", *home, "--set", gates)["job"]
    assert job["asks"]["expected"] == 0
    option = "families.distill.options.max_tokens=333"
    job = in_folder(corpus, monkeypatch, capsys, "plan", "recipe.toml", *home, "--set", option)["job"]
    assert list(job["families"]) == ["distill"]
    assert job["asks"]["expected"] == pytest.approx(truth["asks"] / 3, rel=0.15)
    assert any("other options" in note for note in job["notes"])
    write_seeds(corpus / "seeds/b.jsonl", range(1000, 1100))
    job = in_folder(corpus, monkeypatch, capsys, "plan", "recipe.toml", *home)["job"]
    (corpus / "seeds/b.jsonl").unlink()
    assert job["asks"]["expected"] == pytest.approx(100 * truth["asks"] / 240, rel=0.1)


def test_answers_in_open_journals_are_taken_off(
    corpus: Path, truth: dict[str, float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that a budget stopped in the middle of its partitions: what it paid and what is left are the whole."""
    home = ["--home", "open"]
    monkeypatch.chdir(corpus)
    assert main(["run", "recipe.toml", "--no-prefect", "--json", *home, "--set", "run.budget.max_asks=150"]) == 0
    made = json.loads(capsys.readouterr().out)
    if made["release"] is None:
        pytest.skip("no partition was complete: there is no history yet")
    job = in_folder(corpus, monkeypatch, capsys, "plan", "recipe.toml", *home)["job"]
    assert made["asks"] + job["asks"]["expected"] == pytest.approx(truth["asks"], rel=0.1)


def test_no_price_is_said_and_gpu_hours_are_paid_by_the_hour(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(corpus)
    free = [f"run.models.m.usd_per_million_{kind}_tokens=0.0" for kind in ("prompt", "completion")]
    free = [word for one in free for word in ("--set", one)]
    assert main(["run", "recipe.toml", "--preview", "2", *free]) == 0
    text = capsys.readouterr().out
    assert "no price in [run.models.m]" in text
    assert "$" not in "".join(line for line in text.splitlines() if line.startswith("  money"))
    gpus = ["--set", "run.models.m.gpus=4", "--set", "run.models.m.usd_per_gpu_hour=2.5"]
    job = in_folder(corpus, monkeypatch, capsys, "run", "recipe.toml", "--preview", "2", *free, *gpus)["job"]
    assert job["gpu_hours"]["expected"] == pytest.approx(4 * job["hours"]["expected"], rel=0.05)
    assert job["usd"]["expected"] == pytest.approx(10 * job["hours"]["expected"], rel=0.05)


def test_a_budget_that_ends_it_earlier_is_said(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = ["--set", "run.budget.max_asks=66"]
    job = in_folder(corpus, monkeypatch, capsys, "run", "recipe.toml", "--preview", "3", *limit)["job"]
    assert job["budget"]["limit"] == "max_asks"
    assert job["budget"]["share_of_job"] == pytest.approx(0.25, rel=0.1)


def test_one_seed_has_no_range(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    value = in_folder(corpus, monkeypatch, capsys, "run", "recipe.toml", "--preview", "1")
    assert value["job"]["asks"]["low"] is None
    assert any("no ranges" in note for note in value["job"]["notes"])
