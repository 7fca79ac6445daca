"""What `synth filter` judges by: a recipe's screen or keep, or presets and rules named on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from filters.gates import Gate
from filters.published import PresetUse
from flows.display import say
from flows.filtering import Judge
from flows.places import places
from flows.recipe import Recipe, Screened, load, without_quality
from flows.recipe_files import read_recipe
from flows.steps.scoring import RuleConfig, rule_works
from flows.steps.screen import LICENSE_GATE, ScreenConfig
from flows.works import Works, seed_gates, seed_rules
from synth.config import parse
from synth.errors import UserError, fail
from synth.text_files import has_column

DEFAULT_PRESETS = ("gopher_quality", "gopher_repetition")
JudgeAs = Literal["seeds", "documents"]


class FilterOptions(NamedTuple):
    """The command line's word."""

    recipe: Path | None
    assignments: Sequence[str]
    presets: Sequence[str]
    rules: Sequence[str]
    judge_as: JudgeAs | None


def judge_of(options: FilterOptions, files: Sequence[Path]) -> Judge:
    """What scores and drops. Of a whole recipe, [score] and [keep] where the texts say their family, else [screen]."""
    if options.recipe is None:
        if options.assignments:
            raise fail(UserError, "--set changes a recipe, and none is given", do="add --recipe FILE")
        return _screen_judge(Screened(screen=_named(options.presets or DEFAULT_PRESETS, options.rules)), files)
    if options.presets or options.rules:
        raise fail(UserError, "--preset and --rule are for runs without a recipe", do="write them into the recipe")
    merged = read_recipe(options.recipe, options.assignments)
    if "sources" not in merged.value:
        with merged.naming_files():
            return _screen_judge(parse(Screened, merged.value, elsewhere=places), files)
    works = Works(_untrained(load(options.recipe, options.assignments)))
    judge_as = options.judge_as or ("documents" if has_column(files, "family") else "seeds")
    if judge_as == "documents":
        return Judge(*works.document_judge, "document")
    rules, gates = works.seed_judge
    return Judge(rules, _for_files(gates, files), "seed")


def _untrained(recipe: Recipe) -> Recipe:
    """Without the quality model that a run trains: there is no run, and no model of it."""
    if recipe.quality:
        say("the recipe's [quality] is left out: a run trains it; synth filter-train makes a model that can be named")
    return without_quality(recipe)


def _named(presets: Sequence[str], rules: Sequence[str]) -> ScreenConfig:
    return ScreenConfig(
        rules=(RuleConfig(name="statistics"),),
        more_rules=tuple(RuleConfig(name=name) for name in rules if name != "statistics"),
        gates=(),
        presets=tuple(PresetUse(name=name) for name in presets),
        allow_unknown_license=True,
    )


def _screen_judge(recipe: Screened, files: Sequence[Path]) -> Judge:
    return Judge(rule_works(seed_rules(recipe), "screen.rules"), _for_files(seed_gates(recipe), files), "document")


def _for_files(gates: tuple[Gate, ...], files: Sequence[Path]) -> tuple[Gate, ...]:
    """Without that of the licence where the files tell none: what a source's licence is, its recipe says."""
    return gates if has_column(files, "license") else tuple(gate for gate in gates if gate != LICENSE_GATE)
