"""One suspect at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rewake import sleep, step, task, workflow
from rewake.engine.process.apart import Apart, Stay
from rewake.records import Millis
from rewake.stores.answers import TaskClaim
from rewake.stores.keys import header_key, operation_key
from rewake.testing.clock import VirtualClock
from rewake.testing.loop import VirtualLoop
from tests.support.virtual import Bench
from tests.support.virtual import virtually as serve

LEASE = 5_000


class WrongClock(VirtualClock):
    wrong = 0

    def now(self) -> Millis:
        return super().now() + self.wrong


def virtually(body: Callable[[Apart], Awaitable[None]]) -> None:
    loop = VirtualLoop()
    try:

        async def main() -> None:
            await body(Apart(WrongClock(loop), LEASE))

        loop.run_until_complete(main())
        assert not loop.errors
    finally:
        loop.close()


def test_suspects_are_let_in_one_by_one_and_each_once() -> None:
    """In turn; one that waits already is not let in a second time."""

    async def body(apart: Apart) -> None:
        inside: list[str] = []
        seen: list[str] = []

        async def stay(run: str) -> bool:
            async with apart.entering(run, "", 2) as there:
                if there is None:
                    return False
                inside.append(run)
                seen.append(run)
                assert inside == [run]
                await asyncio.sleep(1)
                inside.remove(run)
                return True

        names = ["a", "b", "c", "b"]
        assert await asyncio.gather(*map(stay, names)) == [True, True, True, False]
        assert seen == ["a", "b", "c"]

    virtually(body)


def test_a_stay_is_over_after_a_while_that_doubles() -> None:
    """The next one is let in only when it is told that the last one is apart no more."""

    async def body(apart: Apart) -> None:
        for deaths, seconds in ((2, 10), (3, 20), (4, 40), (99, 600)):
            async with apart.entering("a", "", deaths) as stay:
                assert stay is not None
                await asyncio.sleep(seconds - 0.1)
                assert stay.keep()
                await asyncio.sleep(0.2)
                assert not stay.keep()
                entered = asyncio.ensure_future(enter(apart, "b"))
                await asyncio.sleep(1)
                assert not entered.done()
                stay.leave()
                stay.leave()
                assert await entered

    virtually(body)


def test_a_stay_is_over_when_the_clock_was_set_back() -> None:
    """A room is kept for an hour longer by no clock that was an hour ahead."""

    async def body(apart: Apart) -> None:
        async with apart.entering("a", "", 2) as stay:
            assert stay is not None
            assert stay.keep()
            assert isinstance(apart.clock, WrongClock)
            apart.clock.wrong -= 3_600_000
            assert not stay.keep()

    virtually(body)


def test_who_waits_may_leave() -> None:
    """A waiter that is cancelled, even when it was just let in, keeps nobody out; all may go."""

    async def body(apart: Apart) -> None:
        async with apart.entering("a", "", 2) as stay:
            assert isinstance(stay, Stay)
            first = asyncio.ensure_future(enter(apart, "b"))
            second = asyncio.ensure_future(enter(apart, "c"))
            await asyncio.sleep(1)
            stay.leave()
            first.cancel()
            assert await second
            async with apart.entering("d", "", 2):
                others = [asyncio.ensure_future(enter(apart, name)) for name in "ef"]
                await asyncio.sleep(1)
                apart.close()
                assert await asyncio.gather(*others) == [False, False]

    virtually(body)


async def enter(apart: Apart, run: str) -> bool:
    async with apart.entering(run, "", 2) as stay:
        return stay is not None


@task
async def long() -> None:
    await asyncio.sleep(50_000)


@workflow
async def two_long() -> None:
    await asyncio.gather(long(), long())


@workflow
async def short() -> str:
    await sleep(5)
    return await step("only", lambda: "done")


def test_a_suspect_that_waits_for_a_slot_keeps_no_other_out() -> None:
    """It goes out again if no slot is free: meanwhile a run that is a suspect goes on."""

    async def body(bench: Bench) -> None:
        store, now = bench.engine.services.store, bench.engine.services.clock.now
        lost = bench.lose_first_messages()
        run = (await bench.start("two_long")).run
        await asyncio.sleep(0.3)
        for each in lost:  # as two deaths leave it
            await store.claim_task(TaskClaim(run, each.key, each.name, "dead", now(), 100))
            soon = {"due": now() + 1000}
            await bench.table.update(operation_key(run, each.key), add={"deaths": 2}, set=soon)
        await asyncio.sleep(30)
        assert bench.engine.services.slots.free == 0
        other = (await bench.start("short")).run
        await asyncio.sleep(1)
        await bench.table.update(header_key(other), add={"deaths": 2})
        assert await bench.result(other, 100) == "done"
        assert bench.engine.services.slots.free == 0

    serve([two_long, long, short], body, tasks=1)
