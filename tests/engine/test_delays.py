"""Delayed starts: a run is there at once, and begins at its moment."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime

import pytest

from rewake import now, sleep, workflow
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.starts.delays import LONGEST, begin_at
from rewake.errors import InvalidInput
from rewake.kinds import OutcomeKind
from rewake.records import Header
from rewake.states import RunState
from rewake.testing.clock import EPOCH
from tests.support.virtual import TABLES, Bench, virtually

everywhere = pytest.mark.parametrize("table", TABLES)


class Queue(InProcessDispatcher):
    """Keeps a message until its time, as a queue of a quarter of an hour does."""

    local = False
    reach = 900_000


@workflow
async def tells_when() -> str:
    began = now()
    await sleep(5)
    return began.isoformat()


def at(seconds: float) -> str:
    return datetime.fromtimestamp(EPOCH / 1000 + seconds, UTC).isoformat()


async def delayed(bench: Bench, seconds: float, **named: str) -> Header:
    """A run that begins in so many seconds."""
    moment = bench.engine.services.clock.now() + int(seconds * 1000)
    header, _ = await bench.engine.start("tells_when", {}, at=moment, **named)  # type: ignore[arg-type]
    return header


@everywhere
@pytest.mark.parametrize("seconds", [0.01, 3, 600])
def test_a_run_begins_at_its_moment(table: str, seconds: float) -> None:
    """Not before, and not later than a sweep; it is listed, and its body sees that moment."""

    async def check(bench: Bench) -> None:
        header = await delayed(bench, seconds)
        assert (header.state, header.due) == (RunState.DELAYED, header.wake)
        [listed] = (await bench.engine.list())[0]
        assert listed.run == header.run
        await asyncio.sleep(seconds - 0.001)
        assert (await bench.engine.get(header.run)).state is RunState.DELAYED
        assert await bench.result(header.run, 100) == at(seconds)
        assert bench.seconds < seconds + 6

    virtually([tells_when], check, table=table)


@everywhere
def test_nothing_is_written_until_then(table: str) -> None:
    """It costs what a start costs, and one due time: nobody touches it until its moment."""

    async def check(bench: Bench) -> None:
        header = await delayed(bench, 1_000)
        await asyncio.sleep(900)
        assert await bench.engine.get(header.run) == header

    virtually([tells_when], check, table=table)


@everywhere
def test_a_delayed_run_can_be_cancelled_paused_and_killed(table: str) -> None:
    """Its body never runs if it is cancelled; paused, it begins when it is resumed, or later."""

    async def check(bench: Bench) -> None:
        engine = bench.engine
        cancelled = (await delayed(bench, 200)).run
        await engine.cancel(cancelled, "no need")
        outcome = await engine.result(cancelled, 10)
        assert outcome is not None
        assert outcome.kind is OutcomeKind.CANCELLED
        killed = (await delayed(bench, 200)).run
        assert (await engine.kill(killed)).state is RunState.CANCELLED
        early, late = (await delayed(bench, 200)).run, (await delayed(bench, 200)).run
        for run in (early, late):
            assert (await engine.pause(run)).due is None
        await asyncio.sleep(100)
        assert (await engine.resume(early)).state is RunState.DELAYED
        await asyncio.sleep(200)
        assert await bench.result(early) == at(200)
        assert (await engine.get(late)).state is RunState.PAUSED
        await engine.resume(late)
        assert await bench.result(late, 20) == at(200)

    virtually([tells_when], check, table=table)


def test_the_first_start_of_a_name_says_when() -> None:
    """Asked for again with another moment, or none, it is the run that is there."""

    async def check(bench: Bench) -> None:
        first = await delayed(bench, 50, run="once")
        again, new = await bench.engine.start("tells_when", {}, run="once")
        assert (again.wake, new) == (first.wake, False)
        assert await bench.result("once", 100) == at(50)

    virtually([tells_when], check)


def test_a_queue_keeps_the_message_until_then() -> None:
    """Where a queue delays messages, a start within its reach is one, sent at once."""

    async def check(bench: Bench) -> None:
        header = await delayed(bench, 60)
        assert header.sent == header.wake
        assert await bench.result(header.run, 100) == at(60)
        assert bench.seconds < 66

    virtually([tells_when], check, carrier=Queue)


@pytest.mark.parametrize(
    ("moment", "delay", "field"),
    [
        (5, 5, "delay"),
        (None, -0.001, "delay"),
        (None, math.nan, "delay"),
        (None, math.inf, "delay"),
        (None, LONGEST + 1, "delay"),
        (2**53, None, "at"),
    ],
)
def test_a_moment_that_cannot_be_is_refused(
    moment: int | None, delay: float | None, field: str
) -> None:
    """Both, a negative one, none that is a number, one beyond a hundred years: it is named."""
    with pytest.raises(InvalidInput) as refused:
        begin_at(moment, delay, EPOCH)
    assert refused.value.field == field


def test_a_moment_that_has_passed_is_now() -> None:
    """Such a run begins at once, as one without."""
    assert begin_at(EPOCH - 1, None, EPOCH) is begin_at(None, 0, EPOCH) is None
