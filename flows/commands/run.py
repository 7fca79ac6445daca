"""`synth run`: make what a recipe says, or go on with it."""

from __future__ import annotations

import argparse
import os
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
from synth.engine.engine import Engine, Settings
from synth.errors import GateError, Interrupted
from synth.store import Store

EXIT_INTERRUPTED = 130


def main(options: argparse.Namespace) -> int:
    """Run. Exit codes: 0 done, 2 wrong input, 3 a gate failed, 130 interrupted, 1 anything else."""
    recipe = load(options.recipe, options.assignments)
    home = home_of(options, recipe)
    store = Store.open(home)
    with store.lock(f"synth run {options.recipe}"):
        session = Session.open(recipe, options.recipe.absolute().parent, store)
        if session.pinned and not session.new_files() and not session.pending():
            return _nothing_to_do(session, home, options.json)
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
    engine = Engine(_settings(recipe, store, run_id))
    display = Display(recipe, engine.stats, live=not options.json)
    session = Session.open(recipe, options.recipe.absolute().parent, store, run_id, engine, display.on_object)
    record = RunRecord(store, session, options.recipe)
    record.write()
    outcome, error = "failed", None
    engine.start()
    try:
        with _stopping(engine, recipe.run.grace_seconds), display:
            if session.needs_models():
                engine.load()
            outcome = _waves(session, options.no_prefect)
    except (GateError, Interrupted) as stopped:
        outcome, error = ("gate_failed" if isinstance(stopped, GateError) else "interrupted"), stopped
    finally:
        engine.stop()
        record.finish(outcome, engine, {})
        build_catalog(store.root)
    summary = summarise(session, engine, home, outcome)
    record.finish(outcome, engine, summary)
    return _report(session, outcome, error, summary, options)


def _waves(session: Session, no_prefect: bool) -> str:
    if no_prefect:
        loop.run_directly(session)
    else:
        from flows import pipeline

        pipeline.run_under_prefect(session)
    return "released"


def _settings(recipe: Recipe, store: Store, run_id: str) -> Settings:
    scratch = Path(recipe.run.scratch) if recipe.run.scratch else store.root / "scratch"
    return Settings(
        recipe.models, recipe.run.models, recipe.roles, run_id, scratch / "servers", recipe.run.grace_seconds
    )


@contextmanager
def _stopping(engine: Engine, grace_seconds: float) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) lets answers in flight arrive; the second stops now."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def stop(*_: Any) -> None:
        nonlocal asked
        if asked:
            supervisor.stop_all()
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
    if isinstance(error, GateError):
        print(f"synth: {error}", file=sys.stderr)
        return error.exit_code
    if outcome == "interrupted":
        again = f"synth run {options.recipe}"
        say(f"stopped. Everything answered is kept and paid once. To go on: {again}")
        return EXIT_INTERRUPTED
    return 0
