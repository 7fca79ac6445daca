"""The command line's options, a module per group of commands. Each names its function as `call`, imported when it is run."""

from __future__ import annotations

import argparse

from flows.arguments.asking import add_questions
from flows.arguments.common import parents
from flows.arguments.running import add_parts, add_run
from flows.arguments.texts import add_dedup, add_filter, add_training

GROUPS = (add_run, add_questions, add_parts, add_filter, add_training, add_dedup)  # in the order of `synth --help`


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="synth", description="Synthetic pre-training corpora: made, filtered, deduplicated, audited, released."
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in GROUPS:
        add(commands, parents())
    return top
