"""The engine of one node: one event loop, one pool of places per model, one journal writer.

Several partitions are open at once and a free place goes to the lowest (partition, seed), so that a model never drains at
a partition's end. A family is plain async code: every `ask` is memoised by content, so running it again replays it.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synth.ask import Completion, Family
from synth.engine import counting, servers, supervisor
from synth.engine.asking import Asker
from synth.engine.budget import Budget, BudgetReached
from synth.engine.journal import Journal, Writer
from synth.engine.model import Model, Role
from synth.engine.pool import Replica, Tickets
from synth.engine.roles import ModelConfig, ModelRun, RoleConfig, role_policy
from synth.errors import Interrupted, SynthError, UserError
from synth.rows import Draft, Seed

# Seeds in work per place at a model: some wait for their turn, some for their family's own work.
_SEEDS_PER_PLACE, _MORE_SEEDS = 2, 16
_RARE_COLLECTIONS = (50_000, 20, 20)


@dataclass(frozen=True)
class Settings:
    """What an engine runs: models and roles by name, and where. `tell` gets a line now and then that a person should see."""

    models: Mapping[str, ModelConfig]
    runs: Mapping[str, ModelRun]
    roles: Mapping[str, RoleConfig]
    run_id: str
    scratch: Path
    grace_seconds: float = 30.0
    budget: Budget = field(default_factory=Budget)
    tell: Callable[[str], None] = lambda text: None


@dataclass
class Stats:
    """Running totals, for people; written by the loop, read from anywhere."""

    asks: int = 0
    replayed: int = 0
    attempts: int = 0
    faults: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    in_flight: int = 0
    seeds: int = 0  # (seed, family) pairs taken up
    seeds_done: int = 0
    seeds_closed: int = 0  # of those done: of partitions whose answers are complete
    first_send: float | None = None
    last_answer: float | None = None


@dataclass(frozen=True)
class Made:
    """What a partition gave: for each seed its drafts, or the error of the family's own code; and the journal's rows."""

    drafts: Sequence[Sequence[Draft] | Exception]
    answers: Mapping[str, Mapping[str, Any]]
    attempts: Sequence[Mapping[str, Any]]


def policies(models: Mapping[str, ModelConfig], roles: Mapping[str, RoleConfig]) -> dict[str, dict[str, Any]]:
    """Each role's policy as it is hashed, computed without starting anything."""
    used = {name for role in roles.values() for name in role.models}
    identities = {name: servers.identity(models[name]) for name in sorted(used)}
    return {name: role_policy(role, identities) for name, role in roles.items()}


class Engine:
    """Answers asks. `start` returns at once; asks wait for the models to load."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stats = Stats()
        self.policies = policies(settings.models, settings.roles)
        self.roles = {name: Role.of(name, role, self.policies[name]) for name, role in settings.roles.items()}
        used = sorted({name for role in settings.roles.values() for name in role.models})
        self.models: dict[str, Model] = {}
        for name in used:
            self.models[name] = self._model(name)
        self.identities = {name: servers.identity(settings.models[name]) for name in used}
        self.broken: SynthError | None = None
        self.spent: BudgetReached | None = None  # why nothing more is sent, once a budget is used up
        self.asks: set[asyncio.Task[Completion]] = set()
        places = sum(one.run.in_flight * one.run.copies for one in self.models.values())
        self._seats = Tickets(_SEEDS_PER_PLACE * places + _MORE_SEEDS)
        self._loop = _new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)
        self._writer = Writer()
        self._collector: tuple[int, int, int] | None = None
        self._opened = 0
        self._guard = threading.Lock()

    def _model(self, name: str) -> Model:
        run = self.settings.runs.get(name, ModelRun())
        roles = [role for role in self.settings.roles.values() if name in role.models]
        thinks = any(role.sampling.thinking_tokens for role in roles)
        first_gpu = sum(one.run.gpus * one.run.replicas for one in self.models.values() if not one.run.urls)
        settings = self.settings
        return Model(name, settings.models[name], run, settings.run_id, settings.scratch, thinks, first_gpu)

    def start(self) -> None:
        """Start the event loop. A model's server starts at `load`, or when the first ask needs it.

        While it runs, Python's cycle collector works less often: a full collection walks every object of every open ask
        and stops the loop for a tenth of a second, in which hundreds of answers wait and as many places are empty.
        """
        self._collector = gc.get_threshold()
        gc.set_threshold(*_RARE_COLLECTIONS)
        self._thread.start()
        if self.settings.budget.max_gpu_hours or self.settings.budget.max_usd:
            self._loop.call_soon_threadsafe(self._watch_budget)

    def load(self) -> None:
        """Start all models' servers now, because asks are certain to come: the load overlaps with what comes before."""
        for model in self.models.values():
            self._loop.call_soon_threadsafe(model.load, self)

    def make(
        self,
        path: Path,
        abandoned: Sequence[Path],
        memo: Mapping[str, Mapping[str, Any]],
        seeds: Sequence[Seed],
        family: Family,
        options: Any,
    ) -> Made:
        """Run a family over a partition's seeds; blocks. `path` is the partition's journal. `memo` holds earlier answers
        to the same asks, by ask id; `abandoned` are journals of the same partition that another policy left open: they
        are taken over.

        Raises Interrupted when the run is stopped or a budget is used up, and WorldError when an endpoint fails for good;
        what was answered is in the journal, and the same call goes on from there.
        """
        with self._guard:
            self._opened += 1
            place = self._opened
        journal = Journal(path, self._writer)
        try:
            journal.describe(self.identities)
            for other in abandoned:
                journal.adopt(other)
            fresh = journal.fresh and not abandoned
            held = [] if fresh else journal.answers()
            known: dict[str, Mapping[str, Any]] = {**memo, **{row["ask_id"]: row for row in held}}
            verdicts = {} if fresh else journal.steps()
            askers = [Asker(self, journal, known, verdicts, seed, (place, at)) for at, seed in enumerate(seeds)]
            coroutine = self._make(askers, family, options)
            drafts = asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
            answers: dict[str, Mapping[str, Any]] = {row["ask_id"]: row for row in self._counted(journal.answers())}
            asked = {ask_id for asker in askers for ask_id in asker.asked if ask_id in known}
            answers |= {ask_id: known[ask_id] for ask_id in asked - answers.keys()}
            self.stats.seeds_closed += len(seeds)
            return Made(drafts, answers, journal.attempts())
        finally:
            journal.close()

    async def _make(self, askers: Sequence[Asker], family: Family, options: Any) -> list[list[Draft] | Exception]:
        """Seeds are taken up in order, only as many at a time as keep the models busy: waiting ones cost nothing."""
        self.stats.seeds += len(askers)
        tasks: list[asyncio.Task[list[Draft]]] = []
        try:
            for asker in askers:
                await self._seats.acquire(asker.priority)
                tasks.append(asyncio.ensure_future(self._seated(family, asker, options)))
        finally:
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, asyncio.CancelledError):
                raise Interrupted("the run was told to stop")
            if isinstance(result, BaseException) and not isinstance(result, _FamilyError):
                raise result
        return [result.cause if isinstance(result, _FamilyError) else result for result in results]  # type: ignore[misc]

    async def _seated(self, family: Family, asker: Asker, options: Any) -> list[Draft]:
        try:
            return await self._one(family, asker, options)
        finally:
            self._seats.release()

    async def _one(self, family: Family, asker: Asker, options: Any) -> list[Draft]:
        """A family on one seed; its own exceptions are told apart from the engine's."""
        try:
            drafts = await family(asker.seed, asker, options)
        except SynthError:
            raise
        except Exception as error:
            self.stats.seeds_done += 1
            raise _FamilyError(error) from error
        self.stats.seeds_done += 1
        if wrong := _what_is_wrong(drafts, asker):
            raise _FamilyError(ValueError(wrong))
        return drafts

    def _counted(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        by_title = {model.title: model.config for model in self.models.values()}
        return counting.counted(rows, by_title)

    # What askers, keepers and budgets tell

    def sending(self) -> None:
        """An attempt is sent now."""
        stats = self.stats
        stats.attempts += 1
        stats.in_flight += 1
        stats.first_send = stats.first_send or time.monotonic()

    def answered(self, model: Model, done: Completion) -> None:
        """An endpoint gave an answer, accepted or not: it is paid for."""
        stats, tokens = self.stats, done.completion_tokens + done.reasoning_tokens
        stats.asks += 1
        stats.prompt_tokens += done.prompt_tokens
        stats.completion_tokens += tokens
        stats.last_answer = time.monotonic()
        model.prompt_tokens += done.prompt_tokens
        model.completion_tokens += tokens
        model.retries.earn()
        if self.settings.budget.limited and self.spent is None:
            self._look_at_budget()

    def _look_at_budget(self) -> None:
        dollars, hours = self.dollars(), self.gpu_hours()
        reached = self.settings.budget.reached(dollars, hours, self.stats.asks)
        if reached and self.spent is None:
            under_way = sum(one.in_flight for model in self.models.values() for one in model.pool.replicas)
            self.spent = BudgetReached(reached, under_way)
            self._close(self.spent)

    def _watch_budget(self) -> None:
        """GPU time passes without answers, too."""
        self._look_at_budget()
        if self.spent is None:
            self._loop.call_later(1.0, self._watch_budget)

    def tell(self, text: str) -> None:
        """A line for the person."""
        self.settings.tell(text)

    def gone(self, replica: Replica, error: SynthError) -> None:
        """A replica is given up. What the user must change ends the run, as does the end of a model's last replica."""
        model = self.models[replica.name.rpartition("/")[0]]
        replica.given_up = True
        if isinstance(error, UserError) or all(one.given_up for one in model.pool.replicas):
            self.fail(error)
        else:
            self.tell(f"going on without the replica {replica.name}: {error}")

    def fail(self, error: SynthError) -> None:
        """An endpoint failed for good: nothing more is sent, and every waiting ask gets this error."""
        self.broken = self.broken or error
        self._close(self.broken)

    def _close(self, reason: BaseException) -> None:
        self._seats.close(reason)
        for model in self.models.values():
            model.close(reason)

    def interrupt(self) -> None:
        """Send nothing more; what is in flight may answer for `grace_seconds`. For any thread or signal handler."""
        self._loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        self._close(Interrupted("the run was told to stop"))
        self._loop.call_later(self.settings.grace_seconds, self._cancel_asks)

    def _cancel_asks(self) -> None:
        for task in list(self.asks):
            task.cancel()

    def stop(self) -> None:
        """End: no ask is open any more, or whoever asked has given up. Stops the servers that we started."""
        try:
            if self._thread.is_alive():
                asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        finally:  # whatever went wrong: no server of ours stays
            self._end()

    def _end(self) -> None:
        supervisor.stop_all()
        self._writer.close()
        if self._collector:
            gc.set_threshold(*self._collector)
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _stop(self) -> None:
        self._cancel_asks()
        await asyncio.gather(*self.asks, return_exceptions=True)
        for model in self.models.values():
            await model.stop()

    # What it cost

    def dollars(self) -> float:
        """What this run paid so far, by its price card: tokens of answers, and GPU time from the start of each server."""
        return sum(model.price()[0] for model in self.models.values())

    def gpu_hours(self) -> float:
        """GPU time so far, loading and idle time included."""
        return sum(model.price()[1] for model in self.models.values())

    def sessions(self) -> list[dict[str, Any]]:
        """Rows of synth.rows.ENGINE_SESSION, one per start of a server."""
        return [row for model in self.models.values() for row in model.sessions()]


def _what_is_wrong(drafts: object, asker: Asker) -> str | None:
    """Why these are no drafts that this asker's family can have made; None when they are. A family may be a user's code."""
    if not isinstance(drafts, list) or not all(isinstance(one, Draft) for one in drafts):
        return f"the family gave {drafts!r:.80}; it must give a list of Draft"
    if not drafts:
        return "the family gave no draft; it must give at least one, if need be with a defect"
    named = {ask_id for one in drafts for ask_id in (*one.ask_ids, *(one.written_by or ()))}
    if strange := sorted(named - asker.asked):
        return f"a draft names asks that its family did not put for this seed: {', '.join(strange)}"
    return None


class _FamilyError(Exception):
    """The family's own code raised; carries what it raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
