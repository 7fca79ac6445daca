"""The engine of one node: one event loop, one pool of places per model, one journal writer.

Several partitions are open at once and a free place goes to the lowest (partition, seed), so that a model never drains at
a partition's end. A family is plain async code: every `ask` is memoised by content, so running it again replays it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from synth.ask import Completion, Family
from synth.engine import servers, supervisor
from synth.engine.asking import Asker
from synth.engine.client import Client
from synth.engine.journal import Journal, Writer
from synth.engine.roles import ModelConfig, ModelRun, RoleConfig, role_policy
from synth.engine.slots import Slots
from synth.errors import Interrupted, SynthError
from synth.rows import Draft, Seed


@dataclass(frozen=True)
class Settings:
    """What an engine runs: models and roles by name, and where."""

    models: Mapping[str, ModelConfig]
    runs: Mapping[str, ModelRun]
    roles: Mapping[str, RoleConfig]
    run_id: str
    scratch: Path
    grace_seconds: float = 30.0


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
    first_send: float | None = None
    last_answer: float | None = None


@dataclass(frozen=True)
class Made:
    """What a partition gave: for each seed its drafts, or the error of the family's own code; and the journal's rows."""

    drafts: Sequence[Sequence[Draft] | Exception]
    answers: Mapping[str, Mapping[str, Any]]
    attempts: Sequence[Mapping[str, Any]]


@dataclass
class Model:
    """A model in use: its endpoint when it answers, its places, its client."""

    name: str
    config: ModelConfig
    run: ModelRun
    slots: Slots
    loading: bool = False
    endpoint: Future[servers.Endpoint] = field(default_factory=Future)
    client: Client | None = None
    stopped_at: datetime | None = None
    in_flight: int = 0
    busy_since: float = 0.0
    busy_seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0  # reasoning included

    @property
    def title(self) -> str:
        """What the model is called in documents and attempts: its weights or name, and its revision."""
        name = self.config.weights or self.config.model or self.config.backend
        return f"{name}@{self.config.revision}" if self.config.revision else name


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
        used = sorted({name for role in settings.roles.values() for name in role.models})
        self.models = {name: self._model(name) for name in used}
        self.broken: SynthError | None = None
        self.asks: set[asyncio.Task[Completion]] = set()
        self._loop = _new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)
        self._writer = Writer()
        self._opened = 0
        self._guard = threading.Lock()

    def _model(self, name: str) -> Model:
        run = self.settings.runs.get(name, ModelRun())
        return Model(name, self.settings.models[name], run, Slots(run.in_flight))

    def start(self) -> None:
        """Start the event loop. A model's server starts at `load`, or when the first ask needs it."""
        self._thread.start()

    def load(self) -> None:
        """Start all models' servers now, because asks are certain to come: the load overlaps with what comes before."""
        for model in self.models.values():
            self._load(model)

    def _load(self, model: Model) -> None:
        with self._guard:
            started, model.loading = model.loading, True
        if not started:
            threading.Thread(target=self._start_model, args=(model,), name=f"start {model.name}", daemon=True).start()

    def _start_model(self, model: Model) -> None:
        try:
            endpoint = servers.start(model.name, model.config, model.run, self.settings.scratch)
        except BaseException as error:
            model.endpoint.set_exception(error)
        else:
            model.endpoint.set_result(endpoint)

    def make(
        self,
        journal: Path,
        abandoned: Sequence[Path],
        memo: Mapping[str, Mapping[str, Any]],
        seeds: Sequence[Seed],
        family: Family,
        options: Any,
    ) -> Made:
        """Run a family over a partition's seeds; blocks. `memo` holds earlier answers to the same asks, by ask id;
        `abandoned` are journals of the same partition that another policy left open: they are taken over.

        Raises Interrupted when the run is stopped, and WorldError when an endpoint fails for good; what was answered
        is in the journal, and the same call goes on from there.
        """
        with self._guard:
            self._opened += 1
            place = self._opened
        coroutine = self._make(place, journal, abandoned, memo, seeds, family, options)
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _make(
        self,
        place: int,
        path: Path,
        abandoned: Sequence[Path],
        memo: Mapping[str, Mapping[str, Any]],
        seeds: Sequence[Seed],
        family: Family,
        options: Any,
    ) -> Made:
        journal = Journal(path, self._writer)
        try:
            for other in abandoned:
                journal.adopt(other)
            known: dict[str, Mapping[str, Any]] = {**memo, **{row["ask_id"]: row for row in journal.answers()}}
            askers = [Asker(self, journal, known, seed, (place, at)) for at, seed in enumerate(seeds)]
            self.stats.seeds += len(askers)
            results = await asyncio.gather(
                *(self._one(family, asker, options) for asker in askers), return_exceptions=True
            )
            for result in results:
                if isinstance(result, asyncio.CancelledError):
                    raise Interrupted("the run was told to stop")
                if isinstance(result, BaseException) and not isinstance(result, _FamilyError):
                    raise result
            drafts = [result.cause if isinstance(result, _FamilyError) else result for result in results]
            answers: dict[str, Mapping[str, Any]] = {row["ask_id"]: row for row in journal.answers()}
            answers |= {ask_id: known[ask_id] for asker in askers for ask_id in asker.asked if ask_id in known}
            return Made(drafts, answers, journal.attempts())  # type: ignore[arg-type]
        finally:
            journal.close()

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
        if not drafts:
            raise _FamilyError(
                ValueError("the family gave no draft; it must give at least one, if need be with a defect")
            )
        return drafts

    async def client(self, model: Model) -> Client:
        """The model's client, once its server answers."""
        self._load(model)
        endpoint = await asyncio.wrap_future(model.endpoint)
        if model.client is None:
            model.client = Client(endpoint, model.run.in_flight, model.run.request_timeout_seconds)
        return model.client

    def fail(self, error: SynthError) -> None:
        """An endpoint failed for good: nothing more is sent, and every waiting ask gets this error."""
        self.broken = self.broken or error
        for model in self.models.values():
            model.slots.close(self.broken)

    def interrupt(self) -> None:
        """Send nothing more; what is in flight may answer for `grace_seconds`. For any thread or signal handler."""
        self._loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        for model in self.models.values():
            model.slots.close(Interrupted("the run was told to stop"))
        self._loop.call_later(self.settings.grace_seconds, self._cancel_asks)

    def _cancel_asks(self) -> None:
        for task in list(self.asks):
            task.cancel()

    def stop(self) -> None:
        """End: no ask is open any more, or whoever asked has given up. Stops the servers that we started."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        for model in self.models.values():
            model.stopped_at = datetime.now(UTC)
        for model in self._up():
            model.endpoint.result().stop()
        supervisor.stop_all()  # servers that were still loading
        self._writer.close()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _close(self) -> None:
        self._cancel_asks()
        await asyncio.gather(*self.asks, return_exceptions=True)
        for model in self.models.values():
            if model.client:
                await model.client.close()

    def dollars(self) -> float:
        """What this run paid so far, by its price card: tokens of answers, and GPU time from the start of each server."""
        total = 0.0
        for model, row in zip(self._up(), self.sessions(), strict=True):
            hours = (row["ended_at"] - row["started_at"]).total_seconds() / 3600
            total += model.prompt_tokens * model.run.usd_per_million_prompt_tokens / 1e6
            total += model.completion_tokens * model.run.usd_per_million_completion_tokens / 1e6
            total += row["gpus"] * hours * model.run.usd_per_gpu_hour
        return total

    def _up(self) -> list[Model]:
        """Models whose server has answered."""
        return [model for model in self.models.values() if model.endpoint.done() and not model.endpoint.exception()]

    def sessions(self) -> list[dict[str, Any]]:
        """Rows of synth.rows.ENGINE_SESSION for the endpoints used so far."""
        rows = []
        for model in self._up():
            endpoint = model.endpoint.result()
            ended = model.stopped_at or datetime.now(UTC)
            up_seconds = (ended - endpoint.started_at).total_seconds() - endpoint.loading_seconds
            rows.append(
                {
                    "run": self.settings.run_id,
                    "endpoint": model.name,
                    "model": model.title,
                    "gpus": endpoint.gpus,
                    "started_at": endpoint.started_at,
                    "ended_at": ended,
                    "loading_seconds": endpoint.loading_seconds,
                    "idle_seconds": max(0.0, up_seconds - model.busy_seconds),
                }
            )
        return rows


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
