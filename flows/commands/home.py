"""Where the home is."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from flows.display import say
from synth.errors import HomeError, fail
from synth.store import MARK, Store

if TYPE_CHECKING:  # at run time it would bring the engine: a question to a home need not wait for that
    from flows.recipe import Recipe

DEFAULT_HOME = "corpus"


def home_of(options: argparse.Namespace, recipe: Recipe | None = None) -> Path:
    """--home, else SYNTH_HOME, else the recipe's run.home, else ./corpus. Of a home on S3 it is the folder that mirrors it."""
    given = str(options.home or os.environ.get("SYNTH_HOME") or (recipe and recipe.run.home) or DEFAULT_HOME)
    return Store.at(given, say).root if ":" in given else Path(given)


def existing(home: Path) -> Store:
    """The home that is there. HomeError where there is none: a command that asks or removes makes no home."""
    store = Store.at(home, say)
    if not store.exists(MARK):
        do = "give the right one with --home (synth run RECIPE makes one)"
        raise fail(HomeError, f"{store.name} is not a home of synth", do=do)
    return Store.open(home, say)
