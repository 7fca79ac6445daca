"""The places at a model's replicas. A free one goes to the lowest priority that waits, never to a batch.

Three things decide whether a replica takes one more request: its window (additive increase, multiplicative decrease, as
TCP does it: Chiu and Jain 1989), a time before which it asked to be left alone (Retry-After), and whether it carries
suspects: asks that were in flight when a server died. Suspects come back in ever smaller company, so that the one that
kills servers is found alone after few deaths.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from synth.engine.client import Client

Priority = tuple[int, int]
_CUT = 0.5
_FEWER_SUSPECTS = 4  # with each death that an ask saw, it is sent with this many times fewer others
_AHEAD_SHARE, _AHEAD_LEAST = 0.25, 2  # asks whose send is being written while they wait for a place


@dataclass(eq=False)
class Replica:
    """One endpoint as the pool sees it. Times are of time.monotonic."""

    name: str
    limit: int
    up: bool = False
    given_up: bool = False
    client: Client | None = None
    window: float = 0.0
    in_flight: int = 0
    suspects: list[int] = field(default_factory=list)  # of those in flight that saw servers die: how many
    blocked_until: float = 0.0
    cut_at: float = 0.0
    answered: int = 0
    answered_at: float = 0.0
    written_tokens: int = 0  # of its answers, thoughts included
    answer_seconds: float = 0.0  # from send to answer, summed over its answers
    answers_wanted: float = math.inf  # after so many in all, nobody is let in: it is to be recycled
    life: int = 0  # raised with each death
    busy_since: float = 0.0
    busy_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.window = float(self.limit)

    def room(self, deaths: int, now: float) -> bool:
        """Whether one more ask may be sent now, that saw `deaths` servers die."""
        if not self.up or now < self.blocked_until:
            return False
        if deaths == 0:
            return not self.suspects and self.in_flight < int(self.window)
        most = company(self.limit, max(deaths, *self.suspects, 0))
        return self.in_flight == len(self.suspects) < min(int(self.window), most)

    @property
    def load(self) -> float:
        """Share of the window in use."""
        return self.in_flight / self.window


def company(limit: int, deaths: int) -> int:
    """How many asks that saw `deaths` servers die are sent at the same time: at last each alone."""
    return max(1, limit // int(_FEWER_SUSPECTS**deaths))


class Pool:
    """The replicas of one model, for one event loop."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.replicas = list(replicas)
        self._order = itertools.count()
        self._queue: list[tuple[Priority, int, asyncio.Future[Replica]]] = []
        self._suspects: list[tuple[Priority, int, asyncio.Future[Replica], int]] = []
        self._closed: BaseException | None = None
        self._ending: asyncio.Future[None] | None = None
        capacity = sum(replica.limit for replica in self.replicas)
        self._tickets = Tickets(capacity + max(_AHEAD_LEAST, int(capacity * _AHEAD_SHARE)))

    async def ticket(self, priority: Priority) -> None:
        """Wait until a place is near: what must be written before a send is written now. Give it back with `done`."""
        await self._tickets.acquire(priority)

    def done(self) -> None:
        """Give a ticket back."""
        self._tickets.release()

    async def take(self, priority: Priority, deaths: int = 0) -> Replica:
        """Wait for a place at the least loaded replica. Raises what `close` was given."""
        if self._closed:
            raise self._closed
        place: asyncio.Future[Replica] = asyncio.get_running_loop().create_future()
        if deaths:
            heapq.heappush(self._suspects, (priority, next(self._order), place, deaths))
        else:
            heapq.heappush(self._queue, (priority, next(self._order), place))
        self.dispatch()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and not place.exception():
                self.give(place.result(), deaths)  # it was given in the same moment
            raise

    def give(self, replica: Replica, deaths: int = 0) -> None:
        """Give a place back."""
        replica.in_flight -= 1
        if deaths:
            replica.suspects.remove(deaths)
        if replica.in_flight == 0:
            replica.busy_seconds += time.monotonic() - replica.busy_since
        self.dispatch()

    def answered(self, replica: Replica, seconds: float = 0.0, written_tokens: int = 0) -> None:
        """The replica gave an answer, so long after it was sent: one place more per window of answers."""
        replica.answered += 1
        replica.answer_seconds += seconds
        replica.written_tokens += written_tokens
        replica.answered_at = time.monotonic()
        if replica.answered >= replica.answers_wanted:
            replica.up = False
        if replica.window < replica.limit:
            replica.window = min(float(replica.limit), replica.window + 1.0 / replica.window)

    def overloaded(self, replica: Replica, sent_at: float, retry_after_seconds: float | None) -> None:
        """The replica refused or did not answer in time: half the window, once for all that was sent before."""
        now = time.monotonic()
        if sent_at > replica.cut_at:
            replica.window = max(1.0, replica.window * _CUT)
            replica.cut_at = now
        if retry_after_seconds:
            self.block(replica, retry_after_seconds)

    def block(self, replica: Replica, seconds: float) -> None:
        """Send nothing to a replica for some time."""
        replica.blocked_until = max(replica.blocked_until, time.monotonic() + seconds)
        asyncio.get_running_loop().call_later(seconds + 0.001, self.dispatch)

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than the pool is open. Raises what `close` was given."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._ending], timeout=seconds)
        if self._closed:
            raise self._closed

    def dispatch(self) -> None:
        """Hand out what places there are. Suspects first: while one waits, a replica is kept free for it."""
        now = time.monotonic()
        kept = self._dispatch_suspects(now)
        while self._queue:
            if self._queue[0][2].done():
                heapq.heappop(self._queue)
                continue
            free = [one for one in self.replicas if one is not kept and one.room(0, now)]
            if not free:
                return
            self._seat(heapq.heappop(self._queue)[2], min(free, key=lambda one: one.load), 0)

    def _dispatch_suspects(self, now: float) -> Replica | None:
        while self._suspects:
            _, _, place, deaths = self._suspects[0]
            if not place.done():
                free = [one for one in self.replicas if one.room(deaths, now)]
                if not free:
                    return min((one for one in self.replicas if one.up), key=lambda one: one.load, default=None)
                self._seat(place, min(free, key=lambda one: one.load), deaths)
            heapq.heappop(self._suspects)
        return None

    def _seat(self, place: asyncio.Future[Replica], replica: Replica, deaths: int) -> None:
        if replica.in_flight == 0:
            replica.busy_since = time.monotonic()
        replica.in_flight += 1
        if deaths:
            replica.suspects.append(deaths)
        place.set_result(replica)

    def close(self, reason: BaseException) -> None:
        """Let nobody in any more: all that wait, and all that come, get `reason` raised."""
        self._closed = self._closed or reason
        self._tickets.close(self._closed)
        if self._ending and not self._ending.done():
            self._ending.set_result(None)
        waiting = [one[2] for one in self._queue] + [one[2] for one in self._suspects]
        self._queue, self._suspects = [], []
        for place in waiting:
            if not place.done():
                place.set_exception(self._closed)


class Tickets:
    """A counting semaphore with priorities, for one event loop."""

    def __init__(self, capacity: int) -> None:
        self._free = capacity
        self._waiting: list[tuple[Priority, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._closed: BaseException | None = None

    async def acquire(self, priority: Priority) -> None:
        """Wait for a place. Raises what `close` was given."""
        if self._closed:
            raise self._closed
        if self._free > 0 and not self._waiting:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._order), place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and not place.exception():
                self.release()  # the place was given in the same moment
            raise

    def release(self) -> None:
        """Give a place back."""
        while self._waiting:
            _, _, place = heapq.heappop(self._waiting)
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def close(self, reason: BaseException) -> None:
        """Let nobody in any more: all that wait, and all that come, get `reason` raised."""
        self._closed = self._closed or reason
        waiting, self._waiting = self._waiting, []
        for _, _, place in waiting:
            if not place.done():
                place.set_exception(self._closed)
