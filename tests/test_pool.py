"""Places at replicas: by priority, by load, by window, and ever less company for suspects."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from synth.engine.pool import Pool, Replica, Tickets, company
from synth.errors import Interrupted


def pool_of(*limits: int) -> Pool:
    """A pool whose replicas are up."""
    replicas = [Replica(f"m/{number}", limit) for number, limit in enumerate(limits)]
    for replica in replicas:
        replica.up = True
    return Pool(replicas)


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def taken(pool: Pool, count: int, deaths: int = 0) -> list[Replica]:
    return [await asyncio.wait_for(pool.take((0, number), deaths), 1) for number in range(count)]


def names(replicas: Sequence[Replica]) -> list[str]:
    return sorted(replica.name for replica in replicas)


def test_places_go_to_the_lowest_partition_and_seed_first() -> None:
    async def scenario() -> list[tuple[int, int]]:
        tickets, order = Tickets(1), []
        await tickets.acquire((0, 0))

        async def work(priority: tuple[int, int]) -> None:
            await tickets.acquire(priority)
            order.append(priority)
            tickets.release()

        wanted = [(2, 0), (1, 5), (1, 2), (3, 1)]
        tasks = [asyncio.create_task(work(priority)) for priority in wanted]
        await asyncio.sleep(0)
        tickets.release()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(scenario()) == [(1, 2), (1, 5), (2, 0), (3, 1)]


def test_a_cancelled_wait_loses_no_place() -> None:
    async def scenario() -> None:
        tickets = Tickets(1)
        await tickets.acquire((0, 0))
        waiting = [asyncio.create_task(tickets.acquire((0, number))) for number in (1, 2)]
        await asyncio.sleep(0)
        tickets.release()  # given to the first …
        waiting[0].cancel()  # … which goes away in the same moment
        await asyncio.wait_for(waiting[1], 1)
        tickets.release()
        await asyncio.wait_for(tickets.acquire((0, 3)), 1)

    asyncio.run(scenario())


def test_closing_wakes_all_that_wait() -> None:
    async def scenario() -> None:
        tickets = Tickets(1)
        await tickets.acquire((0, 0))
        waiting = asyncio.create_task(tickets.acquire((0, 1)))
        await asyncio.sleep(0)
        tickets.close(Interrupted("stop"))
        with pytest.raises(Interrupted):
            await waiting
        tickets.release()
        with pytest.raises(Interrupted):
            await tickets.acquire((0, 2))

    asyncio.run(scenario())


def test_the_least_loaded_replica_is_next() -> None:
    async def scenario() -> None:
        pool = pool_of(2, 4)
        assert names(await taken(pool, 6)) == ["m/0"] * 2 + ["m/1"] * 4
        waiting = asyncio.create_task(pool.take((0, 9)))
        await settle()
        assert not waiting.done()
        pool.give(pool.replicas[1])
        assert (await waiting).name == "m/1"

    asyncio.run(scenario())


def test_a_replica_that_is_down_gets_nothing_until_it_is_up() -> None:
    async def scenario() -> None:
        pool = pool_of(1, 1)
        pool.replicas[0].up = False
        assert names(await taken(pool, 1)) == ["m/1"]
        waiting = asyncio.create_task(pool.take((0, 1)))
        await settle()
        assert not waiting.done()
        pool.replicas[0].up = True
        pool.dispatch()
        assert (await waiting).name == "m/0"

    asyncio.run(scenario())


def test_the_window_halves_once_per_round_and_grows_by_one_per_window() -> None:
    async def scenario() -> None:
        pool = pool_of(16)
        [replica] = pool.replicas
        pool.overloaded(replica, sent_at=1.0, retry_after_seconds=None)
        pool.overloaded(replica, sent_at=1.0, retry_after_seconds=None)  # sent before the cut: the same overload
        assert replica.window == 8.0
        for _ in range(8):
            pool.answered(replica)
        assert 8.9 < replica.window < 9.0
        for _ in range(1000):
            pool.answered(replica)
        assert replica.window == 16.0

    asyncio.run(scenario())


def test_the_window_never_closes() -> None:
    async def scenario() -> None:
        pool = pool_of(4)
        [replica] = pool.replicas
        for _ in range(10):
            pool.overloaded(replica, replica.cut_at + 1.0, None)
        assert len(await taken(pool, 1)) == 1

    asyncio.run(scenario())


def test_retry_after_is_obeyed() -> None:
    async def scenario() -> None:
        pool = pool_of(4)
        pool.overloaded(pool.replicas[0], 1.0, retry_after_seconds=0.2)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await taken(pool, 1)
        assert loop.time() - began >= 0.2

    asyncio.run(scenario())


@pytest.mark.parametrize(("deaths", "most"), [(1, 16), (2, 4), (3, 1), (9, 1)])
def test_suspects_come_in_ever_smaller_company_and_among_themselves(deaths: int, most: int) -> None:
    async def scenario() -> None:
        pool = pool_of(64)
        assert company(64, deaths) == most
        await taken(pool, most, deaths)
        others = [asyncio.create_task(pool.take((0, 0), number)) for number in (0, deaths)]
        await settle()
        assert not any(other.done() for other in others)
        for _ in range(most):
            pool.give(pool.replicas[0], deaths)
        await asyncio.wait_for(asyncio.gather(*others[1:]), 1)
        assert not others[0].done()  # not beside a suspect
        pool.give(pool.replicas[0], deaths)
        await asyncio.wait_for(others[0], 1)

    asyncio.run(scenario())


def test_a_heavier_suspect_is_not_joined_by_lighter_ones() -> None:
    async def scenario() -> None:
        pool = pool_of(64)
        await taken(pool, 1, deaths=3)
        lighter = asyncio.create_task(pool.take((0, 0), 1))
        await settle()
        assert not lighter.done()
        pool.give(pool.replicas[0], 3)
        await asyncio.wait_for(lighter, 1)

    asyncio.run(scenario())


def test_a_waiting_suspect_is_not_starved_and_the_other_replica_goes_on() -> None:
    async def scenario() -> None:
        pool = pool_of(4, 4)
        busy = await taken(pool, 8)
        suspect = asyncio.create_task(pool.take((0, 0), 5))
        plain = [asyncio.create_task(pool.take((1, number))) for number in range(20)]
        await settle()
        for replica in busy:
            pool.give(replica)
            await settle()
        assert (await asyncio.wait_for(suspect, 1)).in_flight == 1
        assert sum(one.done() for one in plain) >= 4
        for one in plain:
            one.cancel()

    asyncio.run(scenario())


def test_closing_reaches_everybody_who_waits_or_pauses() -> None:
    async def scenario() -> None:
        pool = pool_of(1)
        await taken(pool, 1)
        waiting = [pool.take((0, 1)), pool.take((0, 2), 1), pool.pause(60)]
        tasks = [asyncio.create_task(one) for one in waiting]
        await settle()
        pool.close(Interrupted("stop"))
        for task in tasks:
            with pytest.raises(Interrupted):
                await asyncio.wait_for(task, 1)
        with pytest.raises(Interrupted):
            await pool.take((0, 0))

    asyncio.run(scenario())


def test_a_cancelled_wait_gives_its_place_back() -> None:
    async def scenario() -> None:
        pool = pool_of(1)
        [held] = await taken(pool, 1)
        waiting = [asyncio.create_task(pool.take((0, number))) for number in (1, 2)]
        await settle()
        pool.give(held)  # given to the first …
        waiting[0].cancel()  # … which goes away in the same moment
        await asyncio.wait_for(waiting[1], 1)
        assert pool.replicas[0].in_flight == 1

    asyncio.run(scenario())
