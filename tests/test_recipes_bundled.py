"""The recipes that come with the package: each loads, each can be planned anywhere, and says what a user must replace."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest

from flows.cli import main
from flows.commands.recipes import summary
from flows.memory import memory_of
from flows.recipe import Recipe, load
from flows.recipe_files import bundled
from generators.registry import families
from generators.writing import CONTEXT_TOKENS, WritingOptions
from synth.config import parse
from synth.engine import ladder, vllm
from synth.errors import RecipeError
from tests.conftest import ROOT
from tests.corpora import write_seeds

FOLDER = ROOT / "flows" / "recipes"
GPU = ("many-nodes", "own-gpus", "reasoning", "rewrite-at-scale")


def test_these_are_all() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.toml")) == sorted([*GPU, "quickstart"])


@pytest.mark.parametrize("name", GPU)
def test_it_loads_under_its_own_name_with_options_that_its_families_know(name: str) -> None:
    recipe = load(FOLDER / f"{name}.toml")
    assert recipe.name == name
    for family in recipe.families:
        parse(families.get(family.name).Options, family.options)
    assert (
        {model for role in recipe.roles.values() for model in role.models}
        == set(recipe.models)
        == set(recipe.run.models)
    )


@pytest.mark.parametrize("name", GPU)
def test_it_can_be_planned_without_a_gpu_a_model_or_a_key(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_seeds(tmp_path / "seeds/a.jsonl", range(5))
    source = load(FOLDER / f"{name}.toml").sources[0].id
    seeds = f"sources.{source}.paths=['{tmp_path}/seeds/*.jsonl']"
    home = tmp_path / "home"
    assert main(["plan", str(FOLDER / f"{name}.toml"), "--json", "--home", str(home), "--set", seeds]) == 0
    assert orjson.loads(capsys.readouterr().out)["new_seed_files"] == [str(tmp_path / "seeds/a.jsonl")]
    assert not home.exists()


@pytest.mark.parametrize("name", GPU)
def test_what_is_shown_of_it_is_a_recipe_whose_seeds_lie_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`synth recipes show NAME > mine.toml`, from anywhere; and the bundled one itself, from where the user stands."""
    monkeypatch.chdir(tmp_path)
    assert main(["recipes", "show", name]) == 0
    Path("mine.toml").write_text(capsys.readouterr().out)
    for recipe in ("mine.toml", name):
        assert main(["plan", recipe, "--home", "home"]) == 2
        assert "'seeds/*.jsonl'" in capsys.readouterr().err
    write_seeds(tmp_path / "seeds/a.jsonl", range(5))
    for recipe in ("mine.toml", name):
        assert main(["plan", recipe, "--json", "--home", "home"]) == 0
        assert orjson.loads(capsys.readouterr().out)["new_seed_files"] == [str(tmp_path / "seeds/a.jsonl")]


@pytest.mark.parametrize("name", ("own-gpus", "reasoning", "rewrite-at-scale"))
def test_its_models_fit_on_the_gpus_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without seeds, a GPU or a network; and what is calculated says so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    recipe = load(Path(name))
    fits = memory_of(recipe)
    assert [fit.model for fit in fits] == list(recipe.models)
    assert all(fit.asked_requests >= 32 and fit.requests >= 8 for fit in fits), "a GPU that decodes a few is idle"
    assert all(fit.asked_tokens <= fit.context_tokens for fit in fits)
    main(["plan", name, "--home", "home"])
    assert "calculated and not measured" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(bundled()))
def test_it_is_one_page_that_says_what_it_is(name: str) -> None:
    text = (FOLDER / f"{name}.toml").read_text()
    assert len(text.splitlines()) <= 100 and max(map(len, text.splitlines())) <= 130
    one = summary(name, FOLDER / f"{name}.toml")
    assert 20 < len(one["about"]) < 130 and one["about"].endswith(".")


def test_the_list_says_what_each_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--json"]) == 0
    found = {one["name"]: one for one in orjson.loads(capsys.readouterr().out)["recipes"]}
    assert {name: one["needs"] for name, one in found.items()} == {
        "many-nodes": ["4 running servers of Qwen/Qwen3-8B"],
        "own-gpus": ["1 GPU (h100-80gb) for Qwen/Qwen3-4B (vLLM)"],
        "quickstart": ["this machine's CPU (embedded model)"],
        "reasoning": [
            "6 GPUs (h100-80gb) for Qwen/Qwen3-4B (vLLM)",
            "2 GPUs (h100-80gb) for Qwen/Qwen3-14B (vLLM)",
        ],
        "rewrite-at-scale": ["8 GPUs (h100-80gb) for HuggingFaceTB/SmolLM2-1.7B-Instruct (vLLM)"],
    }
    assert found["many-nodes"]["families"] == ["diverse_qa", "distill"]
    assert main(["recipes"]) == 0
    shown = capsys.readouterr().out
    assert all(one["about"] in shown for one in found.values())
    assert main(["recipes", "show", "many-node"]) == 2
    assert "did you mean 'many-nodes'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", GPU)
def test_every_field_counts_as_none_is_ignored(name: str) -> None:
    """A field with a slip of the pen is refused, wherever it stands."""
    value = tomllib.loads((FOLDER / f"{name}.toml").read_text())
    for table in _tables(value):
        table["slip"] = 1
        with pytest.raises(RecipeError, match="slip"):
            _parsed(value)
        del table["slip"]
    _parsed(value)


def _parsed(value: dict[str, Any]) -> None:
    recipe = parse(Recipe, value)
    for family in recipe.families:
        parse(families.get(family.name).Options, family.options)


def _tables(value: Any) -> list[dict[str, Any]]:
    """Every table of fields; not those whose keys are names, or words of another program."""
    if isinstance(value, list):
        return [table for item in value for table in _tables(item)]
    if not isinstance(value, dict):
        return []
    inner = [table for name, item in value.items() if name != "speculative" for table in _tables(item)]
    named = value and all(isinstance(item, dict) for item in value.values())
    return inner if named else [value, *inner]


@pytest.mark.parametrize("name", GPU)
def test_a_revision_that_is_no_commit_is_marked_as_a_placeholder(name: str) -> None:
    text = (FOLDER / f"{name}.toml").read_text()
    assert {model.revision for model in load(FOLDER / f"{name}.toml").models.values()} == {"main"}
    assert "REPLACE" in text and "placeholder" in text
    assert "not measured by us" in text


@pytest.mark.parametrize("name", GPU)
def test_the_longest_prompt_that_is_let_in_leaves_room_for_the_largest_answer(name: str) -> None:
    """A segment, what was written before it, 400 tokens of instructions, and the answer; growth of the ladder included."""
    recipe = load(FOLDER / f"{name}.toml")
    role = recipe.roles["writer"]
    for one in recipe.families:
        options = parse(families.get(one.name).Options, one.options)
        assert isinstance(options, WritingOptions)
        sampling = {**role.sampling.content(), "max_tokens": options.max_tokens}
        outcomes = [[outcome] * 3 for outcome in role.retry]
        steps = [step for verdicts in outcomes for step in ladder.replay(role, sampling, verdicts)]
        largest = max(_budget(ladder.spent_sampling(sampling, step)) for step in steps)
        assert largest == 2 * options.max_tokens + 2 * sampling["thinking_tokens"]
        asked = options.segment_tokens + CONTEXT_TOKENS + 400 + (options.max_tokens if options.revise else 0)
        assert asked + largest <= min(model.context_tokens for model in recipe.models.values()), one.name


def _budget(sampling: dict[str, Any]) -> int:
    return int(sampling["max_tokens"] + sampling["thinking_tokens"])


def test_replicas_fit_on_a_node_of_eight_gpus() -> None:
    for name in ("reasoning", "rewrite-at-scale"):
        recipe = load(FOLDER / f"{name}.toml")
        runs = recipe.run.models.values()
        assert sum(run.gpus * run.replicas for run in runs) == 8
        assert all(run.tensor_parallel * run.data_parallel <= run.gpus for run in runs)
        rows = recipe.run.open_partitions * recipe.ingest.partition_rows
        assert rows >= 2 * max(run.replicas * run.in_flight for run in runs)  # nobody waits for the end of a partition


def test_what_vllm_is_started_with() -> None:
    recipe = load(FOLDER / "rewrite-at-scale.toml")
    words = vllm.options(recipe.models["small"], recipe.run.models["small"])
    given = dict(zip(words[::2], words[1::2], strict=False))
    assert orjson.loads(given["--speculative-config"]) == {"method": "suffix", "num_speculative_tokens": 32}
    assert (given["--max-num-seqs"], given["--max-num-batched-tokens"]) == ("2048", "32768")
    assert given["--max-model-len"] == "8192"


def test_many_nodes_has_limits_and_no_key_in_it() -> None:
    recipe = load(FOLDER / "many-nodes.toml")
    run = recipe.run.models["large"]
    assert (run.copies, run.api_key_env) == (4, "SYNTH_MODEL_KEY")
    assert recipe.run.budget.limited and recipe.run.budget.target_kept_tokens
