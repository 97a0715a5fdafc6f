"""A store that fails for longer than any run may die: everything goes on when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from rewake import sleep, step, task, wait_for_event, workflow
from rewake.engine.settings import Settings
from rewake.errors import StoreError, StoreFull, StoreUnavailable
from rewake.states import RunState
from rewake.stores.table import Key
from tests.support.emptied import emptied
from tests.support.virtual import TABLES, Bench, Ended, virtually

Refused = Callable[..., bool]

SETTINGS = Settings()
OUTAGE = 4 * (SETTINGS.strikes + 2) * SETTINGS.lease / 1000
"""Seconds that the store fails; a run that kills its process is given up in half of them."""
LARGE = "x" * 40_000

everywhere = pytest.mark.parametrize("table", TABLES)
begun: list[str] = []
_emptied = emptied(begun)


def fail(
    bench: Bench,
    call: str,
    refused: Refused = lambda *_, **__: True,
    *,
    done: bool = False,
    error: type[StoreError] = StoreUnavailable,
) -> None:
    """Let a call of the table fail during the outage; `done`: only the answer is lost."""
    original = getattr(bench.table, call)

    async def failing(*args: Any, **named: Any) -> Any:
        if bench.seconds >= OUTAGE or not refused(*args, **named):
            return await original(*args, **named)
        if done:
            await original(*args, **named)
        raise error(f"no {call} today")

    setattr(bench.table, call, failing)


def _claims(_: object, *, set: Mapping[str, Any], **__: object) -> bool:
    return bool(set.get("owner"))


def _claims_a_task(key: Key, **changes: Any) -> bool:
    return key.sort.startswith("O#") and _claims(key, **changes)


def _moves_a_run_on(_: object, *, set: Mapping[str, Any], **__: object) -> bool:
    return set.get("state") in (RunState.READY, RunState.PARKED, RunState.DONE)


def _ends_a_task(_: object, *, set: Mapping[str, Any], **__: object) -> bool:
    return "outcome" in set or "failure" in set


@workflow
async def waits() -> str:
    await sleep(5)
    await step("large", lambda: LARGE)
    await sleep(5)
    return "done"


OUTAGES: dict[str, Callable[[Bench], None]] = {
    "no room for large values": lambda bench: fail(bench, "put_blob", error=StoreFull),
    "histories cannot be read": lambda bench: fail(bench, "query"),
    "answers to claims are lost": lambda bench: fail(bench, "update", _claims, done=True),
    "no answers at all": lambda bench: fail(bench, "update", done=True),
    "only claims work": lambda bench: fail(bench, "update", _moves_a_run_on),
}


@everywhere
@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("outage", OUTAGES)
def test_a_run_outlives_an_outage_of_its_store(table: str, outage: str, processes: int) -> None:
    """No process died, so however long the store fails, the run ends as it would have."""

    async def body(bench: Bench) -> None:
        others = [bench.another() for _ in range(processes - 1)]
        for other in others:
            other.open()
        header = await bench.start("waits")
        OUTAGES[outage](bench)
        await asyncio.sleep(OUTAGE - 1)
        assert (await bench.engine.get(header.run)).state is not RunState.DONE
        assert await bench.result(header.run) == "done"
        assert bench.seconds < OUTAGE + 60
        assert (await bench.engine.get(header.run)).strikes <= 1
        for other in others:
            await other.close()

    virtually([waits], body, table=table, cached=0)


@task(retries=1, delay=0)
async def works(how: str) -> str:
    begun.append(how)
    if how == "fails" and len(begun) == 1:
        raise ValueError(how)
    return LARGE


@workflow
async def delegates(how: str) -> int:
    await sleep(1)
    return len(await works(how))


TASK_OUTAGES: dict[str, Callable[[Bench], None]] = {
    "no room for large values": lambda bench: fail(bench, "put_blob", error=StoreFull),
    "no task can end": lambda bench: fail(bench, "update", _ends_a_task),
}


@everywhere
@pytest.mark.parametrize("outage", TASK_OUTAGES)
@pytest.mark.parametrize(("how", "times"), [("works", 1), ("fails", 2)])
def test_what_a_task_came_to_outlives_an_outage(
    table: str, outage: str, how: str, times: int
) -> None:
    """What an attempt came to is kept until it can be written down: the body is not repeated."""

    async def body(bench: Bench) -> None:
        header = await bench.start("delegates", how=how)
        TASK_OUTAGES[outage](bench)
        assert await bench.result(header.run) == len(LARGE)
        assert OUTAGE <= bench.seconds < OUTAGE + 10
        assert begun == [how] * times
        _, history = await bench.engine.history(header.run)
        [operation] = history.operations.values()
        assert (operation.attempts, operation.lost) == (times, 0)

    virtually([delegates, works], body, table=table)


@everywhere
@pytest.mark.parametrize("done", [False, True])
def test_a_task_that_cannot_be_claimed_is_not_lost(table: str, done: bool) -> None:
    """The answers to its claims, or its arguments, get lost for long: it runs, and once."""

    async def body(bench: Bench) -> None:
        header = await bench.start("passes_on")
        if done:
            fail(bench, "update", _claims_a_task, done=True)
        else:
            fail(bench, "get_blob")
        assert await bench.result(header.run) == len(LARGE)
        assert OUTAGE <= bench.seconds < OUTAGE + 60
        assert begun == [LARGE]
        _, history = await bench.engine.history(header.run)
        [operation] = history.operations.values()
        assert operation.lost <= 1

    virtually([passes_on, works], body, table=table)


@workflow
async def passes_on() -> int:
    await sleep(1)
    return len(await works(LARGE))


def test_a_claim_whose_answer_was_lost_is_given_back_at_the_end() -> None:
    """Its delivery is still being repeated when the process stops: no process died of the run."""

    async def body(bench: Bench) -> None:
        other = bench.another()
        header = await bench.start("delegates", how="works")
        fail(bench, "update", lambda key, **how: bool(begun) and _takes(key, **how), done=True)
        await asyncio.sleep(1.5)
        assert (await other.get(header.run)).state is RunState.RUNNING
        await bench.engine.close(0)
        found = await other.get(header.run)
        assert (found.owner, found.deaths) == ("", 0)

    virtually([delegates, works], body)


def _takes(key: Key, **changes: Any) -> bool:
    return key.sort == "H" and _claims(key, **changes)


@workflow
async def has_steps() -> list[str]:
    once = asyncio.ensure_future(step("long", _long, at_most_once=True))
    await sleep(5)
    short = await step("short", _short)
    return [short, await once]


async def _long() -> str:
    begun.append("long")
    await asyncio.sleep(OUTAGE + 10)
    return LARGE


async def _short() -> str:
    begun.append("short")
    await asyncio.sleep(5)
    return "short"


STEP_OUTAGES: dict[str, Callable[[Bench], None]] = {
    "nothing can be written": lambda bench: fail(bench, "update"),
    "no answers at all": lambda bench: fail(bench, "update", done=True),
    "nothing can be read": lambda bench: fail(bench, "get"),
}


@everywhere
@pytest.mark.parametrize("outage", STEP_OUTAGES)
def test_steps_outlive_an_outage(table: str, outage: str) -> None:
    """None is cut off, or begun a second time, or lost, whether it goes on meanwhile or ends."""

    async def body(bench: Bench) -> None:
        header = await bench.start("has_steps")
        await asyncio.sleep(7)
        STEP_OUTAGES[outage](bench)
        await asyncio.sleep(OUTAGE - 7)
        assert await bench.result(header.run) == ["short", LARGE]
        assert begun == ["long", "short"]
        assert bench.seconds < OUTAGE + 15

    virtually([has_steps], body, table=table)


@workflow
async def hears() -> list[str]:
    once = asyncio.ensure_future(step("long", _long, at_most_once=True))
    await sleep(8)
    heard = await asyncio.gather(wait_for_event("paid"), wait_for_event("sent"))
    return [*heard, await once]


def test_what_a_turn_asks_side_by_side_outlives_an_outage() -> None:
    """Two waits are made known at once, each by calls of its own, while a step is under way."""

    async def body(bench: Bench) -> None:
        header = await bench.start("hears")
        await asyncio.sleep(7)
        fail(bench, "query")
        await asyncio.sleep(OUTAGE - 7)
        for name in ("paid", "sent"):
            await bench.engine.services.events.publish(name, name)
        assert await bench.result(header.run) == ["paid", "sent", LARGE]
        assert begun == ["long"]

    virtually([hears], body)


def test_a_step_that_is_written_before_it_begins_is_not_lost() -> None:
    """What runs at most once is in the history first: it begins, once, when that is known."""

    async def body(bench: Bench) -> None:
        header = await bench.start("has_steps")
        fail(bench, "update", done=True)
        assert await bench.result(header.run) == ["short", LARGE]
        assert begun == ["long", "short"]

    virtually([has_steps], body)


def test_a_process_that_waits_for_its_store_ends_when_it_is_told_to() -> None:
    """Its steps are begun again by the next one; what runs at most once is lost with it."""

    async def body(bench: Bench) -> None:
        header = await bench.start("has_steps")
        await asyncio.sleep(7)
        fail(bench, "update")
        await asyncio.sleep(30)
        await bench.engine.close()
        assert bench.seconds < 50
        await asyncio.sleep(OUTAGE)
        bench.engine = bench.another()
        bench.engine.open()
        with pytest.raises(Ended, match="TaskError"):
            await bench.result(header.run)
        assert begun == ["long", "short", "short"]

    virtually([has_steps], body)
