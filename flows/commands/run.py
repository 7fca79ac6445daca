"""`synth run`: make what a recipe says, or go on with it."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from flows import loop
from flows.commands.home import home_of
from flows.display import Display, closing_table, say
from flows.recipe import Recipe, load
from flows.runs import RunRecord, new_run_id
from flows.session import Session
from flows.summary import summarise
from synth.audit.catalog import build_catalog
from synth.engine import supervisor
from synth.engine.changes import refuse_changed_models
from synth.engine.engine import Engine, Settings
from synth.errors import GateError, Interrupted
from synth.store import Store

EXIT_INTERRUPTED = 130


def main(options: argparse.Namespace) -> int:
    """Run. Exit codes: 0 done, 2 wrong input, 3 a gate failed, 130 interrupted, 1 anything else."""
    if options.preview:
        from flows.commands import preview

        return preview.main(options)
    recipe = load(options.recipe, options.assignments)
    home = home_of(options, recipe)
    store = Store.open(home)
    with store.lock(f"synth run {options.recipe}"):
        session = Session.open(recipe, options.recipe.absolute().parent, store)
        if session.pinned and not session.new_files() and not session.pending():
            return _nothing_to_do(session, home, options.json)
        if session.pinned and not session.wave():
            return _enough(session, options.json)
        return _run(recipe, store, home, options)


def _nothing_to_do(session: Session, home: Path, json: bool) -> int:
    """Decided from manifests: no Prefect, no model."""
    release = session.pinned
    assert release is not None
    catalog = session.store.local("catalog.duckdb")
    if not catalog.exists() or catalog.stat().st_mtime < session.store.local(release.path).stat().st_mtime:
        build_catalog(session.store.root)  # the run that released was killed before it came to this
    rows = sum(shard["rows"] for shard in release.shards)
    if json:
        print(
            orjson.dumps(
                {"outcome": "nothing_to_do", "release": release.number, "rows": rows, "home": str(home)}
            ).decode()
        )
    else:
        print(
            f"nothing to do: release {release.number} of {release.recipe!r} covers all {len(release.partitions)} partitions "
            f"({rows:,} documents in {len(release.shards)} shards)\n"
            f"  home: {home}\n  To get more: add seeds, or change the recipe."
        )
    return 0


def _run(recipe: Recipe, store: Store, home: Path, options: argparse.Namespace) -> int:
    run_id = new_run_id()
    engine = Engine(engine_settings(recipe, store, run_id))
    if not options.new_model:
        refuse_changed_models(_open_journals(recipe, store), engine.identities)
    display = Display(recipe, engine.stats, live=not options.json)
    session = Session.open(recipe, options.recipe.absolute().parent, store, run_id, engine, display.on_object)
    session.warm(say)
    record = RunRecord(store, session, options.recipe)
    record.write()
    outcome, error = "failed", None
    engine.start()
    try:
        with stopping(engine, recipe.run.grace_seconds), display:
            if session.needs_models():
                engine.load()
            _waves(session, options.no_prefect)
            outcome = "released" if session.released else "budget_reached"
    except (GateError, Interrupted) as stopped:
        outcome, error = ("gate_failed" if isinstance(stopped, GateError) else "interrupted"), stopped
    except BaseException:
        _close(engine, record, store, outcome, {})
        raise
    engine.stop()
    summary = summarise(session, engine, home, outcome)
    _close(engine, record, store, outcome, summary)
    return _report(session, outcome, error, summary, options)


def _close(engine: Engine, record: RunRecord, store: Store, outcome: str, summary: dict[str, Any]) -> None:
    """End the engine and write down how the run ended."""
    engine.stop()
    record.finish(outcome, engine, summary)
    build_catalog(store.root)


def _enough(session: Session, json: bool) -> int:
    """The release holds what was wanted."""
    release, held, wanted = session.pinned, session.tokens(), session.recipe.run.budget.target_kept_tokens
    assert release is not None
    if json:
        print(orjson.dumps({"outcome": "target_reached", "release": release.number, "kept_tokens": held}).decode())
    else:
        print(
            f"nothing to do: release {release.number} of {release.recipe!r} holds {held:,} generated tokens, "
            f"target_kept_tokens is {wanted:,}\n  {len(session.pending())} partitions are left for a higher target."
        )
    return 0


def _waves(session: Session, no_prefect: bool) -> None:
    if no_prefect:
        loop.run_directly(session)
    else:
        from flows import pipeline

        pipeline.run_under_prefect(session)


def _open_journals(recipe: Recipe, store: Store) -> list[Path]:
    """Journals of partitions that an earlier run of these families left open."""
    families = {family.name for family in recipe.families}
    found = sorted(_scratch(recipe, store).glob("generate/*/*/*/journal.sqlite"))
    return [path for path in found if path.parent.parent.name in families]


def _scratch(recipe: Recipe, store: Store) -> Path:
    return Path(recipe.run.scratch) if recipe.run.scratch else store.root / "scratch"


def engine_settings(recipe: Recipe, store: Store, run_id: str) -> Settings:
    """What the engine of a run on this home needs."""
    run, scratch = recipe.run, _scratch(recipe, store) / "servers"
    return Settings(recipe.models, run.models, recipe.roles, run_id, scratch, run.grace_seconds, run.budget, say)


@contextmanager
def stopping(engine: Engine, grace_seconds: float, throw_away: Path | None = None) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) lets answers in flight arrive; the second stops now, and removes `throw_away`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def stop(*_: Any) -> None:
        nonlocal asked
        if asked:
            supervisor.stop_all()
            if throw_away:
                shutil.rmtree(throw_away, ignore_errors=True)
            os._exit(EXIT_INTERRUPTED)
        asked = True
        say(f"stopping: up to {grace_seconds:.0f} s for {engine.stats.in_flight} answers in flight; again to stop now")
        engine.interrupt()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(session: Session, outcome: str, error: BaseException | None, summary: dict[str, Any], options: Any) -> int:
    if options.json:
        print(orjson.dumps(summary, option=orjson.OPT_INDENT_2).decode())
    elif outcome == "released":
        closing_table(summary)
    if session.ended:
        say(_how_it_ended(session, summary, options))
    if isinstance(error, GateError):
        print(f"synth: {error}", file=sys.stderr)
        return error.exit_code
    if outcome == "interrupted" and not session.ended:
        again = f"synth run {options.recipe}"
        say(f"stopped. Everything answered is kept and paid once. To go on: {again}")
        return EXIT_INTERRUPTED
    return 0


def _how_it_ended(session: Session, summary: dict[str, Any], options: Any) -> str:
    """A budget or target ended the run: what is there, what is open, how to go on."""
    left = len(session.pending())
    what = f"{session.ended}: " + (
        "the complete partitions are released" if session.released else "no partition is complete"
    )
    late = (
        f"; {summary['in_flight_at_limit']} asks were in flight and are paid too"
        if "in_flight_at_limit" in summary
        else ""
    )
    return f"{what}, {left} partitions are left{late}. To go on, raise [run.budget] and run: synth run {options.recipe}"
