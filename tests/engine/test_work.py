"""The work under way in a process."""

from __future__ import annotations

import asyncio
import logging

import pytest

from rewake.engine.process.work import Work
from rewake.errors import StoreUnavailable


async def fails(error: BaseException) -> None:
    raise error


def test_a_failure_of_rewakes_own_is_told_and_covered(caplog: pytest.LogCaptureFixture) -> None:
    """A due time covers what failed, so a `RewakeError` is a warning; anything else is raised."""

    async def main() -> None:
        work = Work()
        await work.do("r1", fails(StoreUnavailable("away")))
        with pytest.raises(ZeroDivisionError):
            await work.do("r1", fails(ZeroDivisionError()))

    with caplog.at_level(logging.WARNING, "rewake.engine"):
        asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == [
        "an invocation of run r1 failed; it is retried"
    ]


def test_closing_gives_work_time_and_then_cuts_it_off() -> None:
    """What ends within the grace ends; what does not is cancelled, and waited for."""

    async def main() -> None:
        work, ends = Work(), list[str]()

        async def one(name: str, seconds: float) -> None:
            try:
                await asyncio.sleep(seconds)
                ends.append(name)
            except asyncio.CancelledError:
                ends.append(f"{name} cut off")
                raise

        work.begin("r1", one("short", 0.01))
        work.begin("r2", one("long", 60))
        await asyncio.sleep(0)
        work.closing = True
        await work.end(0.1)
        assert ends == ["short", "long cut off"]
        await work.end(0)

    asyncio.run(main())


def test_a_cancelled_caller_is_told_so_unless_the_process_closes() -> None:
    """Cancelling an invocation from outside is the caller's; by closing, it just ends."""

    async def main() -> None:
        for closing in (False, True):
            work = Work()
            task = asyncio.ensure_future(work.do("r1", asyncio.sleep(60)))
            await asyncio.sleep(0)
            work.closing = closing
            task.cancel()
            if closing:
                await task
            else:
                with pytest.raises(asyncio.CancelledError):
                    await task

    asyncio.run(main())


def test_work_inside_of_work_is_counted_once() -> None:
    """An invocation that does another one is under way until the outer one ends."""

    async def main() -> None:
        work = Work()

        async def inner() -> None:
            await work.do("r1", asyncio.sleep(0))
            ending = asyncio.ensure_future(work.end(60))
            for _ in range(5):  # an end that has nothing to wait for takes a few turns of the loop
                await asyncio.sleep(0)
            assert not ending.done()
            ending.cancel()

        await work.do("r1", inner())
        await work.end(0)

    asyncio.run(main())
