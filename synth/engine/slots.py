"""Places in flight at an endpoint: a free one goes to the lowest priority that waits, never to a batch."""

from __future__ import annotations

import asyncio
import heapq
import itertools

Priority = tuple[int, int]


class Slots:
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
