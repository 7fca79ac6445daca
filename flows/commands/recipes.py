"""`synth recipes`: the recipes that come with the package, and their text to start one's own from."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table
from rich.text import Text

from flows.display import console
from flows.recipe import Recipe, load
from flows.recipe_files import bundled, recipe_file
from synth.engine.roles import ModelConfig, ModelRun


def main(options: argparse.Namespace) -> int:
    """The table."""
    found = [summary(name, path) for name, path in bundled().items()]
    if options.json:
        print(orjson.dumps({"recipes": found}, option=orjson.OPT_INDENT_2).decode())
        return 0
    table = Table("recipe", "what it is", "needs", "families", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.columns[0].no_wrap = True
    for one in found:
        table.add_row(one["name"], Text(one["about"]), "; ".join(one["needs"]), ", ".join(one["families"]))
    console().print(table)
    print(
        "\nsynth plan NAME                     what it would do, and whether its models fit on their GPUs\n"
        'synth recipes show NAME > mine.toml starts your own; or write `extends = "NAME"` and only what differs\n'
        "synth schema                        every field"
    )
    return 0


def show(options: argparse.Namespace) -> int:
    """The text of one."""
    print(recipe_file(Path(options.name)).read_text(encoding="utf-8"), end="")
    return 0


def summary(name: str, path: Path) -> dict[str, Any]:
    """One recipe as a JSON value: its first sentence, what it takes to run it, what it writes."""
    recipe = load(path)
    return {
        "name": name,
        "about": first_sentence(path.read_text(encoding="utf-8")),
        "needs": needs(recipe),
        "families": [family.name for family in recipe.families],
        "models": {model: config.title for model, config in recipe.models.items()},
        "path": str(path),
    }


def first_sentence(text: str) -> str:
    """Of the comment that a recipe begins with."""
    comment = re.match(r"(?:#.*\n)+", text)
    words = " ".join(line.lstrip("# ") for line in comment[0].splitlines()) if comment else ""
    return re.split(r"(?<=\.)\s", words, maxsplit=1)[0].strip()


def needs(recipe: Recipe) -> list[str]:
    """What each model needs: nothing but this machine, GPUs, or servers that run."""
    return [_need(config, recipe.run.models.get(name, ModelRun())) for name, config in recipe.models.items()]


def _need(config: ModelConfig, run: ModelRun) -> str:
    if config.backend == "llama-cpp":
        return "this machine's CPU (embedded model)"
    if config.backend == "scripted":
        return "nothing (a test model)"
    if config.backend == "openai" or run.urls:
        return f"{run.copies} running server{'s' if run.copies > 1 else ''} of {config.model or config.weights}"
    gpus = max(run.gpus, run.tensor_parallel * run.data_parallel) * run.replicas
    kind = f" ({run.gpu})" if run.gpu else ""
    return f"{gpus} GPU{'s' if gpus > 1 else ''}{kind} for {config.weights} (vLLM)"
