"""Options of the commands around a run: what to make, what it would take, what it is made with."""

from __future__ import annotations

import argparse
from pathlib import Path

from flows.arguments.common import Commands, Parents

PREVIEW_SEEDS = 3


def add_run(commands: Commands, parents: Parents) -> None:
    """run, plan."""
    everything = [parents.recipe, parents.home, parents.machine]
    run = commands.add_parser("run", parents=everything, help="make what the recipe says, or go on with it")
    run.set_defaults(call="flows.commands.run:main")
    run.add_argument("--no-prefect", action="store_true", help="run on plain threads, without Prefect")
    run.add_argument(
        "--new-model",
        action="store_true",
        help="a model that changed while partitions are open is meant to have changed",
    )
    run.add_argument(
        "--preview",
        nargs="?",
        type=_seeds,
        const=PREVIEW_SEEDS,
        metavar="N",
        help=f"only N seeds (default {PREVIEW_SEEDS}): prompts, texts, drops, the forecast of the whole job",
    )
    plan = commands.add_parser(
        "plan", parents=everything, help="what would run, what is done, what the rest will take; starts nothing"
    )
    plan.set_defaults(call="flows.commands.plan:main")
    plan.add_argument(
        "--merged", action="store_true", help="only print the recipe with all it extends and --set in it, as one file"
    )


def add_parts(commands: Commands, parents: Parents) -> None:
    """families, weights."""
    families = commands.add_parser(
        "families", parents=[parents.machine], help="what can be written from seeds, and from which prompts"
    )
    families.set_defaults(call="flows.commands.families:main")
    families.add_argument("name", nargs="?", help="show all of this one: options, roles, prompts, axes, criteria")
    families.add_argument("--file", type=Path, help="a family of your own (.py)")
    weights = commands.add_parser("weights", parents=[parents.machine], help="model files: what is known, what is here")
    weights.set_defaults(call="flows.commands.weights:main")
    weights.add_argument("name", nargs="?", help="fetch this one")


def _seeds(given: str) -> int:
    """The N of --preview."""
    if not given.isdecimal() or int(given) < 1:
        raise argparse.ArgumentTypeError(f"{given!r} is no number of seeds; write `synth run RECIPE --preview 5`")
    return int(given)
