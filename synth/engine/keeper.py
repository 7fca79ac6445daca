"""Keeps one replica answering: starts it, watches it, starts it anew; or waits for an endpoint of others to come back.

/health says little: a vLLM whose engine is frozen answers 200. So progress is what counts: a server of ours that has
requests in flight and generates no token for `stall_seconds` is killed and started anew. Asks that wait meanwhile pay
nothing for it; those that were in flight are told that the server died under them.
"""

from __future__ import annotations

import asyncio
import math
import re
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from synth.engine import probes
from synth.engine.client import Client
from synth.engine.pool import Replica
from synth.engine.servers import Endpoint
from synth.errors import EndpointError, SynthError, fail

if TYPE_CHECKING:
    from synth.engine.model import Model

_LOOK_SECONDS = 0.25  # between looks at whether the child lives
_HEALTH_SECONDS = 5.0  # between looks at progress and health, at most
_PAUSES_SECONDS = (0.5, 2.0, 8.0, 30.0)  # before each start after a death without any answer since the last one
_CLEAN_END_SECONDS = 15.0  # a server that is cut off in its work leaves shared memory behind
_FALLING = ("refused", "reset")  # what a server that dies gives to those who talk to it
_COUNTERS = re.compile(  # llama.cpp counts an answer's tokens at its end, but each decode at once
    rb"^(?:vllm:(?:generation|prompt)_tokens|llamacpp:(?:tokens_predicted|prompt_tokens|n_decode))_total"
    rb"(?:\{[^}]*\})? (\S+)",
    re.MULTILINE,
)


class Owner(Protocol):
    """What a keeper tells the engine."""

    def tell(self, text: str) -> None:
        """A line for the person."""

    def gone(self, replica: Replica, error: SynthError) -> None:
        """A replica is given up."""


@dataclass
class Life:
    """One start of a server until its end: a row of synth.rows.ENGINE_SESSION."""

    endpoint: Endpoint
    busy_before_seconds: float
    answered_before: int
    thinking_budget: str | None = None
    ended_at: datetime | None = None
    end: str = "stopped"
    answered_after: int = 0
    busy_after_seconds: float = 0.0

    def row(self, run_id: str, title: str, replica: Replica) -> dict[str, Any]:
        """The row; of a life that still lasts, as if it ended now."""
        ended = self.ended_at or datetime.now(UTC)
        up_seconds = (ended - self.endpoint.started_at).total_seconds() - self.endpoint.loading_seconds
        busy_now = time.monotonic() - replica.busy_since if replica.in_flight and self.ended_at is None else 0.0
        busy = self.busy_after_seconds if self.ended_at else replica.busy_seconds
        busy_seconds = busy - self.busy_before_seconds + busy_now
        return {
            "run": run_id,
            "endpoint": replica.name,
            "model": title,
            "gpus": self.endpoint.gpus,
            "started_at": self.endpoint.started_at,
            "ended_at": ended,
            "loading_seconds": self.endpoint.loading_seconds,
            "idle_seconds": max(0.0, up_seconds - busy_seconds),
            "end": self.end,
            "asks": (self.answered_after if self.ended_at else replica.answered) - self.answered_before,
            "thinking_budget": self.thinking_budget,
        }

    def close(self, replica: Replica, end: str) -> None:
        """It ended now."""
        self.ended_at, self.end = datetime.now(UTC), end
        self.answered_after, self.busy_after_seconds = replica.answered, replica.busy_seconds


class Keeper:
    """One replica's. `run` is to be a task of the engine's loop; `start` blocks until an endpoint answers."""

    def __init__(
        self, model: Model, replica: Replica, start: Callable[[], Endpoint], owner: Owner, thinks: bool
    ) -> None:
        self._model = model
        self._config = model.config
        self._run = model.run
        self._pool = model.pool
        self._replica = replica
        self._start = start
        self._owner = owner
        self._thinks = thinks
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._confirming: asyncio.Task[bool] | None = None
        self._counted = 0.0  # tokens, when last looked at
        self._served: list[str] = []  # names under which an endpoint of others lists its models
        self._recognising: asyncio.Task[None] | None = None
        self._clients: list[Client] = []
        self.lives: list[Life] = []

    @property
    def where(self) -> str:
        """Its address, for messages."""
        return self.lives[-1].endpoint.base_url if self.lives else "(not started)"

    async def close(self) -> None:
        """Close all connections, and the account of the last life."""
        if self._recognising:
            self._recognising.cancel()
            for error in await asyncio.gather(self._recognising, return_exceptions=True):
                if isinstance(error, Exception):
                    self._owner.tell(f"model {self._replica.name}: its canary answers could not be compared: {error}")
        for client in self._clients:
            await client.close()
        if self.lives and self.lives[-1].ended_at is None:
            self.lives[-1].close(self._replica, "stopped")

    async def run(self) -> None:
        """Until cancelled, or given up."""
        try:
            await self._keep()
        except Exception as error:  # a fault of ours: whoever waits for this replica must hear of it
            what = f"the server of model {self._replica.name!r} cannot be looked after: {type(error).__name__}: {error}"
            self._owner.gone(self._replica, fail(EndpointError, what))
            raise

    async def _keep(self) -> None:
        deaths = 0
        while True:
            answered = self._replica.answered
            try:
                endpoint = await _in_thread(self._start)
                await self._open(endpoint)
            except SynthError as error:
                if not self.lives or deaths >= len(_PAUSES_SECONDS):
                    return self._owner.gone(self._replica, error)
            else:
                end = await (self._watch_ours(endpoint) if endpoint.child else self._watch_others())
                if not await self._after(endpoint, end):
                    return None
                if end == "recycled":
                    continue
            deaths = 0 if self._replica.answered > answered else deaths + 1
            if deaths > len(_PAUSES_SECONDS):
                return self._owner.gone(self._replica, self._dies(endpoint))
            await asyncio.sleep(_PAUSES_SECONDS[max(deaths, 1) - 1])

    async def _open(self, endpoint: Endpoint) -> None:
        """Make the replica usable: connect, probe, let asks in."""
        replica = self._replica
        client = Client(endpoint, self._run.in_flight, self._run.request_timeout_seconds)
        self._clients.append(client)
        life = Life(endpoint, replica.busy_seconds, replica.answered)
        if self._thinks:
            life.thinking_budget = await self._probe_thinking(client)
        if endpoint.child is None:  # beside the first asks: nobody waits for it
            self._recognising = asyncio.ensure_future(self._recognise(client))
        self.lives.append(life)
        self._ended = asyncio.get_running_loop().create_future()
        replica.client, replica.up, replica.window = client, True, float(replica.limit)
        replica.answered_at = time.monotonic()
        most = self._run.recycle_after_asks
        replica.answers_wanted = replica.answered + most if most else math.inf
        self._model.came_up()
        self._pool.dispatch()

    async def _probe_thinking(self, client: Client) -> str:
        found = await probes.thinking_budget(client, self._config)
        if found != "enforced" and not self.lives:
            self._owner.tell(
                f"model {self._replica.name}: thinking_token_budget is {found} by its server; thoughts and answer share "
                "max_tokens + thinking_tokens, and an answer that finds no room is dropped as thinking_overflow"
            )
        return found

    async def _recognise(self, client: Client) -> None:
        """An endpoint of others: is it the model that it was?"""
        status, page = await client.look_api("/models")
        self._served = self._served or (_names(page) if status == 200 else [])
        changed = await probes.changed_canaries(client, client.endpoint.identity, self._model.canaries)
        if changed:
            self._owner.tell(
                f"model {self._replica.name}: {len(changed)} of 3 canary questions are answered otherwise than the last time, "
                f"at temperature 0 ({changed[0]!r}): is it still the revision that the recipe declares?"
            )

    @property
    def enforces_thinking_budget(self) -> bool:
        """As probed at the last start."""
        return bool(self.lives) and self.lives[-1].thinking_budget == "enforced"

    async def _after(self, endpoint: Endpoint, end: str) -> bool:
        """A life ended: what is in flight fails now. Whether to go on."""
        replica = self._replica
        self.lives[-1].close(replica, end)
        child = endpoint.child
        if child is None:
            return await self._reach_again(endpoint)
        grace_seconds = 0.0 if end == "stalled" else _CLEAN_END_SECONDS
        await _in_thread(lambda: child.stop(grace_seconds))
        await self._clients.pop().close()
        self._owner.tell(f"the server of model {replica.name} {_ENDS[end]}; it is started anew")
        return True

    def _end(self, end: str) -> None:
        if not self._ended.done():
            self._replica.up = False
            self._replica.life += end != "recycled"
            self._ended.set_result(end)

    def doubt(self, life: int, status: str) -> None:
        """A fault came: where it looks like the server's end nothing more is sent before `died` knows. Call it at once."""
        if status in _FALLING and self._replica.life == life and not self._ended.done():
            self._replica.up = False

    async def died(self, life: int, status: str) -> bool:
        """Whether the server that gave a fault has died under it. `life` is the replica's when the ask was sent."""
        if self._replica.life != life:
            return True
        if status == "timeout" or self._ended.done():
            return False
        if self._confirming is None or self._confirming.done():
            self._confirming = asyncio.ensure_future(self._confirm(status))
        await asyncio.shield(self._confirming)
        return self._replica.life != life

    async def _confirm(self, status: str) -> bool:
        """Look at once, because a fault came."""
        client = self._replica.client
        if client is None:
            return False
        if client.endpoint.child is None:
            dead, end = status == "refused", "lost"
        else:
            found, _ = await client.look("/health")
            dead, end = not client.endpoint.child.alive() or found in (0, 503), "died"
        if dead:
            self._end(end)
        elif not self._ended.done() and not self._due():
            self._replica.up = True
            self._pool.dispatch()
        return dead

    # A server of ours

    async def _watch_ours(self, endpoint: Endpoint) -> str:
        """Until it dies, stalls or is due for recycling: died | stalled | recycled."""
        assert endpoint.child is not None
        every = min(_HEALTH_SECONDS, self._run.stall_seconds / 4)
        seen, moved_at, looked_at = -1.0, time.monotonic(), time.monotonic()
        while not self._ended.done():
            await asyncio.wait([self._ended], timeout=min(_LOOK_SECONDS, every))
            now = time.monotonic()
            if not endpoint.child.alive():
                self._end("died")
            elif self._due() and not self._replica.in_flight:
                self._end("recycled")
            elif now - looked_at >= every:
                looked_at = now
                counter = await self._look()
                if counter != seen or not self._replica.in_flight or self._replica.answered_at > moved_at:
                    seen, moved_at = counter, now
                elif now - moved_at >= self._run.stall_seconds:
                    self._end("stalled")
        return self._ended.result()

    async def _look(self) -> float:
        """Tokens read and generated so far; the last known number when it does not answer."""
        client = self._replica.client
        assert client is not None
        health, _ = await client.look("/health")
        if health == 503:
            self._end("died")
        status, page = await client.look("/metrics")
        self._counted = sum(float(number) for number in _COUNTERS.findall(page)) if status == 200 else self._counted
        return self._counted

    def _due(self) -> bool:
        """Whether it has given its share of answers."""
        return self._replica.answered >= self._replica.answers_wanted

    def _dies(self, endpoint: Endpoint) -> SynthError:
        lines = endpoint.child.last_lines(8) if endpoint.child else []
        said = "".join(f"\n  | {line[:300]}" for line in lines)
        return fail(
            EndpointError,
            f"the server of model {self._replica.name!r} died {len(_PAUSES_SECONDS) + 1} times without an answer between{said}",
            do="read its log, mend the cause, then run the same command again: what was answered is kept and not paid again",
        )

    # An endpoint of others

    async def _watch_others(self) -> str:
        return await self._ended

    async def _reach_again(self, endpoint: Endpoint) -> bool:
        """Wait for an endpoint that refuses connections; give it up after `outage_seconds`."""
        replica, client, began = self._replica, self._replica.client, time.monotonic()
        assert client is not None
        pause = _PAUSES_SECONDS[0]
        while time.monotonic() - began < self._run.outage_seconds:
            await asyncio.sleep(min(pause, self._run.outage_seconds))
            pause = min(pause * 2, _PAUSES_SECONDS[-1])
            status, page = await client.look_api("/models")
            if status != 200:
                continue
            if error := _other_model(replica.name, endpoint.base_url, self._served, _names(page)):
                self._owner.gone(replica, error)
                return False
            self._owner.tell(f"model {replica.name}: {endpoint.base_url} answers again")
            return True
        what = f"nobody has answered at {endpoint.base_url} (model {replica.name!r}) for {self._run.outage_seconds:g} s"
        do = "start that server, then run the same command again: what was answered is kept and not paid again"
        self._owner.gone(replica, fail(EndpointError, what, do=do))
        return False


_ENDS = {"died": "died", "stalled": "generated nothing any more", "recycled": "is due for recycling"}


def _names(page: bytes) -> list[str]:
    """The models that an endpoint lists; none when it lists them in no way that we know."""
    try:
        return [str(one["id"]) for one in orjson.loads(page)["data"]]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return []


def _other_model(name: str, base_url: str, before: list[str], now: list[str]) -> SynthError | None:
    """An endpoint that came back with another model than it had."""
    if not before or not now or set(before) & set(now):
        return None
    return fail(
        EndpointError,
        f"model {name!r}: another model answers at {base_url} since it came back",
        given=", ".join(now),
        allowed=", ".join(before),
        do="start the right one; or declare the new one in the recipe and run with --new-model",
    )


def _in_thread(work: Callable[[], Any]) -> Coroutine[Any, Any, Any]:
    """Run something that blocks for long in a thread that does not keep the process alive."""
    done: Future[Any] = Future()
    done.set_running_or_notify_cancel()  # from here on nobody can cancel it

    def body() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=body, daemon=True).start()

    async def wait() -> Any:
        return await asyncio.wrap_future(done)

    return wait()
