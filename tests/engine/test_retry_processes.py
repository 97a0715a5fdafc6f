"""A failed run is retried where several processes have had it."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from rewake import Approval, Decision, TaskError, task, wait_for_approval, workflow
from rewake.engine.outside.approvals import Approvals
from rewake.testing.clock import VirtualClock
from tests.support.virtual import TABLES, Bench, Ended, virtually

done: list[str] = []
running: list[int] = []
most: list[int] = []
off: list[bool] = []


@task
async def charge() -> str:
    done.append("charge")
    raise ConnectionError("no bank")


@task
async def refund() -> str:
    done.append("refund")
    return "refunded"


@task
async def pack() -> str:
    running.append(1)
    most.append(len(running))
    try:
        await asyncio.sleep(50)
    finally:
        running.pop()
    return "packed"


@task
async def label() -> str:
    await asyncio.sleep(5)
    if off:
        raise OSError("the printer is off")
    return "labelled"


@workflow
async def sends() -> list[str]:
    return [*await asyncio.gather(pack(), label())]


@workflow
async def buys() -> str:
    await wait_for_approval("ok")
    try:
        return await charge()
    except TaskError:
        await refund()
        raise


@pytest.mark.parametrize("table", TABLES)
def test_an_instance_of_an_earlier_round_is_not_followed(table: str) -> None:
    """A process that still has one begins anew, or what was done before would count as done."""

    async def body(bench: Bench) -> None:
        done.clear()
        one, two = bench.share_messages(2)
        bench.takers = itertools.repeat(one)
        header = await bench.start("buys")
        await asyncio.sleep(1)  # it is suspended in the first process, and goes on in the second
        bench.takers = itertools.repeat(two)
        await Approvals(two).decide(header.run, "ok", Approval(Decision.APPROVED))
        with pytest.raises(Ended):
            await bench.result(header.run)
        bench.takers = itertools.repeat(one)
        await two.retry(header.run, discard_cleanup=True)
        with pytest.raises(Ended):
            await bench.result(header.run)
        assert done == ["charge", "refund"] * 2

    virtually([buys, charge, refund], body, table=table)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_a_task_that_is_withdrawn_by_the_error_ends_before_it_begins_again(
    table: str, processes: int
) -> None:
    """Its process may hear late that nobody wants the attempt; the next round waits for that."""

    async def body(bench: Bench) -> None:
        most.clear()
        off[:] = [True]
        bench.share_messages(processes)
        header = await bench.start("sends")
        with pytest.raises(Ended):
            await bench.result(header.run)
        off.clear()
        await bench.engine.retry(header.run)
        assert await bench.result(header.run) == ["packed", "labelled"]
        assert most == [1, 1]

    virtually([sends, pack, label], body, table=table)


def test_a_retry_is_due_at_once_also_if_the_clock_was_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sweep must find it if its message is lost, and not wait until the clock is there again."""

    async def body(bench: Bench) -> None:
        off[:] = [True]
        header = await bench.start("sends")
        with pytest.raises(Ended):
            await bench.result(header.run)
        off.clear()
        right = VirtualClock.now
        monkeypatch.setattr(VirtualClock, "now", lambda clock: right(clock) - 3_600_000)
        retried = await bench.engine.retry(header.run)
        assert retried.due is not None
        assert retried.due <= bench.engine.services.clock.now() < retried.clock
        assert await bench.result(header.run, 1000) == ["packed", "labelled"]

    virtually([sends, pack, label], body)
