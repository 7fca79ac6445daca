"""The loop of a run: waves until nothing is left, each wave's lots side by side, then its reduces, then its release.

It knows no orchestrator: `submit(kind, run_id, lot)` starts `perform` somewhere and gives something to wait on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from flows.session import Session
from synth.engine.budget import BudgetReached
from synth.errors import Interrupted
from synth.releases import Release


class Pending(Protocol):
    """A task under way."""

    def result(self) -> Any:
        """Wait; the task's JSON result, or its exception."""


Submit = Callable[[str, str, list[str]], Pending]

_SESSIONS: dict[str, Session] = {}


def enter(session: Session) -> None:
    """Make a session known to `perform` in this process."""
    _SESSIONS[session.run_id] = session


def leave(session: Session) -> None:
    """Forget a session."""
    _SESSIONS.pop(session.run_id, None)


def perform(kind: str, run_id: str, lot: Sequence[str]) -> dict[str, Any]:
    """One task. JSON in, JSON out; `{"interrupted": true}` when the run was told to stop."""
    session = _SESSIONS[run_id]
    try:
        if kind == "documents":
            return session.make_documents(lot)
        if kind == "ingest":
            made = session.ingest()
            if session.wave():
                session.trained()  # before a model is asked: it may refuse what it is given
            return {"cut": made.counts["kept"] if made else 0}
        if kind == "release":
            return {"release": session.release(session.wave()).number}
        reduces = {"resolve": session.resolve, "shards": session.shards, "audit": session.audit}
        return dict(reduces[kind](session.wave()).counts)
    except BudgetReached as reached:
        return {"budget": reached.limit}
    except Interrupted:
        return {"interrupted": True}


def run_waves(session: Session, submit: Submit) -> list[Release]:
    """Run to the end: each wave becomes a release. Raises the first error of any task, or Interrupted."""
    made: list[Release] = []
    session.warm()
    _finish([submit("ingest", session.run_id, [])])
    while not session.ended and (wave := session.wave()):
        ended = _finish([submit("documents", session.run_id, lot) for lot in session.lots(wave)])
        if ended and not session.cut_short(ended):
            break
        for kind in ("resolve", "shards", "audit", "release"):
            _finish([submit(kind, session.run_id, [])])
        assert session.pinned is not None
        made.append(session.pinned)
    return made


def _finish(tasks: Sequence[Pending]) -> str | None:
    """Wait for all, so that nothing is left behind, then raise the first failure. Which budget ended some of them, if one did."""
    failures: list[BaseException] = []
    ended: str | None = None
    for task in tasks:
        try:
            said = task.result()
            ended = ended or said.get("budget")
            if said.get("interrupted"):
                failures.append(Interrupted("the run was told to stop"))
        except Exception as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return ended


def run_directly(session: Session) -> list[Release]:
    """The loop on plain threads."""
    enter(session)
    try:
        with ThreadPoolExecutor(session.recipe.run.workers, thread_name_prefix="task") as pool:
            return run_waves(session, lambda kind, run_id, lot: pool.submit(perform, kind, run_id, lot))
    finally:
        leave(session)
