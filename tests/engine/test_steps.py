"""Inline steps: begun, tried again, collected, bounded in time."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from rewake import TaskError, step, task_context, workflow
from rewake.views.timeline import timeline
from tests.support.emptied import emptied
from tests.support.virtual import TABLES, Bench, virtually

begun: list[float] = []
everywhere = pytest.mark.parametrize("table", TABLES)
_emptied = emptied(begun)


async def long() -> str:
    begun.append(asyncio.get_running_loop().time())
    await asyncio.sleep(30)
    return "done"


@workflow
async def bounded(retries: int = 0, timeout: float | None = None) -> str:
    try:
        return await step(
            "long",
            long,
            total_timeout=10,
            timeout=timeout,
            retries=retries,
            delay=1,
            jitter=0,
        )
    except TaskError as error:
        return error.type


@everywhere
@pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])
def test_a_total_timeout_ends_the_attempt_under_way(table: str, cached: int) -> None:
    """A step with 10 s in all is over after 10 s, in a run as in plain Python."""

    async def body(bench: Bench) -> None:
        assert await bench.run("bounded") == "TimeoutError"
        assert 10 <= bench.seconds < 10.5

    virtually([bounded], body, table=table, cached=cached)


@everywhere
def test_a_total_timeout_is_over_all_attempts(table: str) -> None:
    """Attempts of 3 s and waits of 1, 2 and 4 s: the third is cut short, a fourth never begins."""

    async def body(bench: Bench) -> None:
        assert await bench.run("bounded", retries=9, timeout=3) == "TimeoutError"
        assert 10 <= bench.seconds < 10.5
        assert [round(moment) for moment in begun] == [0, 4, 9]

    virtually([bounded], body, table=table)


def test_a_total_timeout_goes_on_where_the_process_ended() -> None:
    """The time counts from when the step was asked for, also in the next process."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("bounded")).run
        await asyncio.sleep(6)
        await bench.engine.close(grace=0)
        bench.engine = bench.another()
        bench.engine.open()
        assert await bench.result(run) == "TimeoutError"
        assert 10 <= bench.seconds < 12
        assert len(begun) == 2

    virtually([bounded], body)


@workflow
async def both() -> list[str]:
    said: list[str] = []

    async def one(name: str, seconds: float) -> None:
        await step(name, lambda: asyncio.sleep(seconds))
        said.append(name)

    await asyncio.gather(one("slow", 2), one("quick", 1))
    return said


def test_steps_are_observed_in_the_order_in_which_they_end() -> None:
    """Two at once do not wait for each other."""

    async def body(bench: Bench) -> None:
        assert await bench.run("both") == ["quick", "slow"]
        assert 2 <= bench.seconds < 2.5

    virtually([both], body)


@workflow
async def once() -> str:
    try:
        return await step("long", long, at_most_once=True)
    except TaskError as error:
        return error.type


def test_a_step_that_runs_at_most_once_is_not_begun_again() -> None:
    """Its process ended under it, so nobody knows: that is what the workflow is told."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("once")).run
        await asyncio.sleep(5)
        await bench.engine.close(grace=0)
        bench.engine = bench.another()
        bench.engine.open()
        assert await bench.result(run) == "lost"
        assert len(begun) == 1

    virtually([once], body)


stopped: list[float] = []


async def stops() -> None:
    try:
        await asyncio.sleep(30)
    finally:
        stopped.append(asyncio.get_running_loop().time())


@workflow
async def overtaken() -> None:
    await step("stops", stops)


def test_the_steps_of_a_turn_that_was_overtaken_stop_at_once() -> None:
    """Not after it has told the store that it lives: the next turn may be in the same process."""
    stopped.clear()

    async def body(bench: Bench) -> None:
        header = await bench.start("overtaken")
        await asyncio.sleep(5)
        services = bench.engine.services
        store: Any = services.store

        async def never(*_: object) -> None:
            await asyncio.sleep(1_000)

        store.absolve = never
        owner = services.turns[header.run].owner
        await store.release(header.run, owner, services.clock.now() + 60_000)
        await services.end_overtaken_turn(header.run)
        await asyncio.sleep(0.5)
        assert stopped == [5.0]

    virtually([overtaken], body)


tried: list[float] = []


async def takes_long() -> str:
    tried.append(asyncio.get_running_loop().time())
    await asyncio.sleep(30 if len(tried) < 3 else 1)
    return f"try {task_context().attempt}"


@workflow
async def once_a_try(retries: int) -> list[Any]:
    try:
        options: dict[str, Any] = {"retries": retries, "delay": 100, "jitter": 0}
        return [await step("pay", takes_long, at_most_once=True, **options)]
    except TaskError as error:
        return [error.type, error.attempts]


@pytest.mark.parametrize(
    ("retries", "result"), [(5, ["try 3"]), (1, ["lost", 2]), (0, ["lost", 1])]
)
def test_a_try_that_was_lost_is_followed_by_another_after_its_delay(
    retries: int, result: list[Any]
) -> None:
    """At most once a try: each is noted before it begins, and none begins twice."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("once_a_try", retries=retries)).run
        for _ in range(2):
            seen = len(tried)
            while len(tried) == seen and await bench.engine.result(run, 1) is None:
                pass
            await bench.engine.close(grace=0)
            bench.engine = bench.another()
            bench.engine.open()
        assert await bench.result(run) == result
        assert len(tried) == min(3, retries + 1)
        assert all(later - earlier >= 60 for earlier, later in itertools.pairwise(tried))
        found = await bench.engine.services.store.history(await bench.engine.get(run))
        [view] = timeline(found)[1]
        assert view.attempts == len(tried)
        assert [each.lost for each in view.tries][: retries + 1] == [True, True, False][
            : retries + 1
        ]

    tried.clear()
    virtually([once_a_try], body, cached=0)
    tried.clear()


failures: list[str] = []


async def fails_twice() -> str:
    failures.append("x")
    if len(failures) < 3:
        raise OSError("not yet")
    return "done"


@workflow
async def once_with_errors() -> Any:
    options: dict[str, Any] = {"retries": 2, "delay": 10, "jitter": 0}
    return await step("pay", fails_twice, at_most_once=True, **options)


@pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])
def test_what_runs_at_most_once_a_try_is_retried_after_an_error(cached: int) -> None:
    """An error is no loss: it is retried as that of any step is."""

    async def body(bench: Bench) -> None:
        assert await bench.run("once_with_errors") == "done"
        assert len(failures) == 3
        assert bench.seconds >= 30

    failures.clear()
    virtually([once_with_errors], body, cached=cached)
