"""The command line's options, a module per group of commands. Each names its function as `call`, imported when it is run."""

from __future__ import annotations

import argparse

from flows.arguments.asking import add_questions
from flows.arguments.common import parents
from flows.arguments.deploying import add_deploy
from flows.arguments.explaining import add_explaining
from flows.arguments.keeping import add_keeping
from flows.arguments.recipes import add_recipes
from flows.arguments.running import add_parts, add_run
from flows.arguments.texts import add_dedup, add_filter, add_training
from flows.arguments.watching import add_status

# In the order of `synth --help`.
GROUPS = (
    add_run,
    add_status,
    add_deploy,
    add_questions,
    add_explaining,
    add_keeping,
    add_recipes,
    add_parts,
    add_filter,
    add_training,
    add_dedup,
)


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="synth", description="Synthetic pre-training corpora: made, filtered, deduplicated, audited, released."
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in GROUPS:
        add(commands, parents())
    return top
