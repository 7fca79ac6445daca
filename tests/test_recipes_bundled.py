"""The recipes that come with the package: each loads, each can be planned anywhere, and says what a user must replace."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest

from flows.cli import main
from flows.recipe import Recipe, load
from generators.registry import families
from generators.writing import CONTEXT_TOKENS, WritingOptions
from synth.config import parse
from synth.engine import ladder, vllm
from synth.errors import RecipeError
from tests.conftest import ROOT
from tests.corpora import write_seeds

FOLDER = ROOT / "flows" / "recipes"
GPU = ("many-nodes", "reasoning", "rewrite-at-scale")


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
def test_its_seeds_are_looked_for_beside_it_and_their_absence_is_told(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = tmp_path / "recipes" / f"{name}.toml"
    copied.parent.mkdir()
    copied.write_bytes((FOLDER / f"{name}.toml").read_bytes())
    arguments = ["plan", str(copied), "--json", "--home", str(tmp_path / "home")]
    assert main(arguments) == 2
    assert "../seeds/*.jsonl" in capsys.readouterr().err
    write_seeds(tmp_path / "seeds/a.jsonl", range(5))
    assert main(arguments) == 0


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
