"""`synth run`: make what a recipe says, or go on with it."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from flows import loop, notify, released
from flows.closing import closing_lines, command_of
from flows.commands.home import home_of
from flows.display import closing_table, say
from flows.journals import JournalCopies
from flows.live import Display
from flows.progress import Progress
from flows.recipe import Recipe, load
from flows.runs import RunRecord, new_run_id
from flows.session import Session
from flows.status import StatusFile
from flows.summary import summarise
from synth.audit.catalog import build_catalog
from synth.audit.copies import CATALOG
from synth.driver import Manifest, Work
from synth.engine import supervisor
from synth.engine.changes import refuse_changed_models
from synth.engine.engine import Engine, Settings
from synth.errors import GateError, Interrupted
from synth.releases import Release
from synth.store import Store, home_name

EXIT_INTERRUPTED = 130


def main(options: argparse.Namespace) -> int:
    """Run. Exit codes: 0 done, 2 wrong input, 3 a gate failed, 130 interrupted, 1 anything else."""
    if options.preview:
        from flows.commands import preview

        return preview.main(options)
    recipe = load(options.recipe, options.assignments)
    home = home_of(options, recipe)
    notify.check(recipe.run.notify)
    hooks = notify.Hooks(recipe.run.notify, notify.about(recipe.name, options.recipe, home_name(home)), say)
    with notify.telling(hooks):
        return _with_home(recipe, home, options, hooks)


def _with_home(recipe: Recipe, home: Path, options: argparse.Namespace, hooks: notify.Hooks) -> int:
    """Take the home, see from its manifests whether there is anything to do, do it."""
    store = Store.open(home, say)
    with store.lock(f"synth run {options.recipe}"):
        session = Session.open(recipe, options.recipe.absolute().parent, store)
        if session.pinned and not session.new_files() and not session.pending():
            return _nothing_to_do(session, home, options.json)
        target = recipe.run.budget.target_kept_tokens
        if session.pinned and target and session.tokens() >= target:
            return _enough(session, options.json)
        return _run(recipe, store, home, options, hooks)


def _nothing_to_do(session: Session, home: Path, json: bool) -> int:
    """Decided from manifests: no Prefect, no model."""
    release = session.pinned
    assert release is not None
    built_at, released_at = (session.store.modified_at(path) for path in (CATALOG, release.path))
    if built_at is None or (released_at and built_at < released_at):
        build_catalog(session.store.root)  # the run that released was killed before it came to this
    rows = sum(shard["rows"] for shard in release.shards)
    if json:
        print(
            orjson.dumps(
                {"outcome": "nothing_to_do", "release": release.number, "rows": rows, "home": home_name(home)}
            ).decode()
        )
    else:
        print(
            f"nothing to do: release {release.number} of {release.recipe!r} covers all {len(release.partitions)} partitions "
            f"({rows:,} documents in {len(release.shards)} shards)\n"
            f"  home: {home_name(home)}\n  To get more: add seeds, or change the recipe."
        )
    return 0


def _run(recipe: Recipe, store: Store, home: Path, options: argparse.Namespace, hooks: notify.Hooks) -> int:
    run_id = new_run_id()
    hooks.about = {**hooks.about, "run": run_id}
    engine = Engine(engine_settings(recipe, store, run_id))
    copies = JournalCopies(store, _scratch(recipe, store), recipe.run.upload_seconds, say)
    if brought := copies.bring({family.name for family in recipe.families}):
        say(f"{brought:,} answers of an earlier run on another machine are taken over")
    if not options.new_model:
        refuse_changed_models(_open_journals(recipe, store), engine.identities)
    progress = Progress(recipe, engine)
    heard = _hearing(progress.on_object, copies.on_object)
    session = Session.open(recipe, options.recipe.absolute().parent, store, run_id, engine, heard)
    progress.watch(session)
    status = StatusFile(store, run_id, {"recipe": recipe.name, "again": command_of(options)})
    display = Display(recipe.name, progress, live=not options.json, status=status)
    session.on_release.append(lambda release: _tell_release(hooks, session, release, engine.dollars()))
    _warm(session, status, progress)
    record = RunRecord(store, session, options.recipe)
    record.write()
    outcome, error = "failed", None
    engine.start()
    copies.start()
    try:
        with stopping(engine, recipe.run.grace_seconds), display:
            if session.needs_models():
                engine.load()
            _waves(session, engine, options.no_prefect)
            outcome = "released" if session.released else "budget_reached"
    except (GateError, Interrupted) as stopped:
        outcome, error = ("gate_failed" if isinstance(stopped, GateError) else "interrupted"), stopped
    except BaseException:
        words = closing_lines(progress.value(), outcome, command_of(options)) if engine.stats.attempts else []
        if words:
            say("\n".join(words))
        status.end(progress.value(), outcome, words)
        _close(engine, copies, record, store, outcome, {})
        raise
    engine.stop()
    words = _last_words(session, engine, progress, outcome, options)
    status.end(progress.value(), outcome, words)
    summary = summarise(session, engine, home, outcome)
    if isinstance(error, GateError):
        _tell_gate(hooks, recipe, summary, error)
    summary["notifications"] = hooks.close()
    _close(engine, copies, record, store, outcome, summary)
    return _report(outcome, error, summary, words, options)


def _hearing(*listeners: Callable[[Work, Manifest], None]) -> Callable[[Work, Manifest], None]:
    """One listener for several."""

    def hear(work: Work, manifest: Manifest) -> None:
        for listener in listeners:
            listener(work, manifest)

    return hear


def _close(
    engine: Engine, copies: JournalCopies, record: RunRecord, store: Store, outcome: str, summary: dict[str, Any]
) -> None:
    """End the engine, copy up what it answered, and write down how the run ended."""
    engine.stop()
    copies.close()
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


def _tell_release(hooks: notify.Hooks, session: Session, release: Release, usd: float) -> None:
    """Tell of a release as soon as it is committed."""

    def facts() -> dict[str, Any]:
        found = released.facts(session, release, usd)
        return {"outcome": "released", "text": released.sentence(release.recipe, found), **found}

    hooks.tell("released", f"{release.recipe}: release {release.number}", facts)


def _tell_gate(hooks: notify.Hooks, recipe: Recipe, summary: dict[str, Any], error: GateError) -> None:
    """Tell that nothing was released, and why."""
    counts = {name: summary[name] for name in ("outcome", "release", "documents", "kept", "dropped", "usd")}
    text = f"{recipe.name}: {str(error).splitlines()[0]}"
    hooks.tell("gate_failed", text, lambda: {**counts, **notify.failure(error)})


def _warm(session: Session, status: StatusFile, progress: Progress) -> None:
    """Compile what will be needed, which may take a minute: whoever looks meanwhile, or stops it, is told."""
    status.write(progress.value())
    try:
        session.warm(say)
    except BaseException as error:
        status.end(progress.value(), "interrupted" if isinstance(error, KeyboardInterrupt) else "failed", [])
        raise


def _waves(session: Session, engine: Engine, no_prefect: bool) -> None:
    if no_prefect:
        loop.run_directly(session)
    else:
        from flows import pipeline

        pipeline.run_under_prefect(session, engine.dollars)


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


def _report(
    outcome: str,
    error: BaseException | None,
    summary: dict[str, Any],
    words: Sequence[str],
    options: argparse.Namespace,
) -> int:
    if options.json:
        print(orjson.dumps(summary, option=orjson.OPT_INDENT_2).decode())
    elif outcome == "released":
        closing_table(summary)
    if words:
        say("\n".join(words))
    if isinstance(error, GateError):
        print(f"synth: {error}", file=sys.stderr)
        return error.exit_code
    return EXIT_INTERRUPTED if outcome == "interrupted" else 0


def _last_words(
    session: Session, engine: Engine, progress: Progress, outcome: str, options: argparse.Namespace
) -> list[str]:
    """Of a run that leaves something open: what is done and paid, how to go on. None of one that came to its end."""
    again = command_of(options)
    if not session.ended:
        return [] if outcome == "released" else closing_lines(progress.value(), outcome, again)
    left = len(session.pending())
    what = "the complete partitions are released" if session.released else "no partition is complete"
    late = f"; {engine.spent.in_flight} asks were in flight and are paid too" if engine.spent else ""
    ended = f"{session.ended}: {what}, {left} partitions are left{late}"
    return closing_lines(progress.value(), "budget_reached", f"raise [run.budget] and run: {again}", ended)
