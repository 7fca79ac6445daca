"""`synth run --preview N`: prompts, texts and drops of a few seeds, for a person to judge. The home is not touched."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.text import Text

from flows.commands.run import engine_settings, stopping
from flows.display import console, paid_text, say
from flows.forecast import forecast_lines
from flows.live import Display
from flows.preview import choose_seeds, make, preview_recipe
from flows.progress import Progress
from flows.recipe import Recipe, load
from flows.runs import new_run_id
from flows.samples import fate_lines, one_after_another, prompt_lines, side_by_side, visible
from flows.session import Session
from flows.usage import Prices
from synth.engine.engine import Engine
from synth.store import Store

_WIDE_COLUMNS = 100
NOT_KEPT = "A preview is not kept: a real run asks, and pays, for these answers again."


def main(options: argparse.Namespace) -> int:
    """Preview. Exit codes as of a run, but a failed check is only mentioned: few texts break limits that are meant for many."""
    recipe = load(options.recipe, options.assignments)
    with tempfile.TemporaryDirectory(prefix="synth-preview-", ignore_cleanup_errors=True) as folder:
        value = _previewed(recipe, options.recipe.absolute().parent, Path(folder), options)
    if options.json:
        print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(value)
    return 0


def _previewed(whole: Recipe, base: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The preview of the recipe `whole` as a JSON value; everything is written under `folder`."""
    recipe = preview_recipe(whole)
    with_canaries = recipe.model_copy(update={"ingest": whole.ingest})
    seeds = choose_seeds(with_canaries, base, options.preview, folder / "seeds")
    store, run_id, began = Store.open(folder / "home"), new_run_id(), time.monotonic()
    engine = Engine(engine_settings(recipe, store, run_id))
    progress = Progress(recipe, engine)
    session = Session.open(recipe, base, store, run_id, engine, progress.on_object)
    progress.watch(session)
    display = Display(recipe.name, progress, live=not options.json)
    session.warm(say)
    engine.start()
    try:
        with stopping(engine, recipe.run.grace_seconds, folder), display:
            engine.load()
            value = make(session, seeds, whole)
    finally:
        engine.stop()
    return {
        **value,
        "asks": engine.stats.asks,
        "prompt_tokens": engine.stats.prompt_tokens,
        "completion_tokens": engine.stats.completion_tokens,
        "usd": round(engine.dollars(), 6) if Prices(recipe).any() else None,
        "seconds": round(time.monotonic() - began, 1),
        "unpriced_models": Prices(recipe).unpriced(),
        "note": NOT_KEPT,
    }


def _print(value: Mapping[str, Any]) -> None:
    out = console()
    for family in value["families"]:
        _lines(out, _counts(family))
        shown = family["samples"]
        for number, one in enumerate(shown):
            if number == 0:
                _lines(out, ["", "  prompt as sent:", *_indented(prompt_lines(one), 4)])
            _print_sample(out, one)
        _lines(out, [""])
    _lines(out, _closing(value))


def _counts(family: Mapping[str, Any]) -> list[str]:
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in family["dropped"].items())
    dropped = f"; dropped: {reasons}" if reasons else ""
    asked = "; ".join(
        f"{role} {total['asks']:,} asks, {total['prompt_tokens']:,} tokens read, "
        f"{total['completion_tokens'] + total['reasoning_tokens']:,} written"
        for role, total in family["tokens"].items()
    )
    kept = f"{family['kept']:,} of {family['documents']:,} documents kept"
    return [f"=== {family['family']}: {kept}{dropped}", f"  {asked or 'nothing was asked'}"]


def _print_sample(out: Console, one: Mapping[str, Any]) -> None:
    _lines(out, ["", f"  {'dropped' if one['drops'] else 'kept'}: document {one['id'][:16]}"])
    if out.is_terminal and out.width >= _WIDE_COLUMNS:
        out.print(side_by_side(one))
    else:
        _lines(out, _indented(one_after_another(one), 4))
    _lines(out, _indented(fate_lines(one), 4))


def _indented(lines: Iterable[str], columns: int) -> list[str]:
    return [f"{' ' * columns}{line}" for line in lines]


def _lines(out: Console, lines: Iterable[str]) -> None:
    """Each line whole: a terminal wraps it, a pipe gets it as it is."""
    for line in lines:
        out.print(Text(visible(line)), soft_wrap=True)


def _closing(value: Mapping[str, Any]) -> list[str]:
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in value["seeds_dropped"].items())
    read = f"from {value['rows_read']:,} rows read" + (f"; dropped of those: {reasons}" if reasons else "")
    tokens = f"{value['prompt_tokens']:,} tokens read, {value['completion_tokens']:,} written"
    lines = [
        f"{value['recipe']}: {value['seeds']:,} seeds ({read})",
        f"{value['asks']:,} asks, {tokens}, {paid_text(value)}, {value['seconds']:,.1f} s",
    ]
    if value["budget_reached"]:
        unfinished = ", ".join(value["unfinished"])
        lines.append(f"the budget is reached ({value['budget_reached']}); not finished: {unfinished}")
    if value["failed_checks"]:
        failed = ", ".join(one["check"] for one in value["failed_checks"])
        lines.append(f"checks that so few texts fail, and that would stop a release of them: {failed}")
    if value["job"]:
        title = f"the whole job of {value['job']['seeds']:,} seeds, by these {value['seeds']:,}"
        lines += ["", *forecast_lines(value["job"], title), ""]
    return [*lines, NOT_KEPT]
