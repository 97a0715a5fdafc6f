"""How many successes a suspended workflow needs before it can do anything new."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewake import TaskError, parallel, race, sleep, step, task, wait_for_approval
from rewake.kinds import Kind
from tests.support.driver import Run


@task
async def fetch(x: Any) -> Any:
    return x


async def two(x: Any) -> Any:
    return [await fetch(x), await fetch(x)]


async def gathered() -> Any:
    return await asyncio.gather(*(fetch(x) for x in range(5)))


async def gathered_with_exceptions() -> Any:
    return await asyncio.gather(*(fetch(x) for x in range(5)), return_exceptions=True)


async def grouped() -> Any:
    async with asyncio.TaskGroup() as group:
        for x in range(5):
            group.create_task(fetch(x))


async def in_parallel() -> Any:
    return await parallel(range(5), fetch)


async def with_enough() -> Any:
    return len(await parallel(range(5), fetch, min_successful=3))


async def with_a_share() -> Any:
    return len(await parallel(range(5), fetch, tolerate=0.4))


async def with_all_outcomes() -> Any:
    return len(await parallel(range(5), fetch, outcomes=True))


async def with_both() -> Any:
    return await asyncio.gather(with_enough(), with_a_share())


async def gathered_with_timer() -> Any:
    return await asyncio.gather(*(fetch(x) for x in range(5)), sleep(9))


async def nested() -> Any:
    return await asyncio.gather(
        asyncio.gather(*(fetch(x) for x in range(2))), asyncio.gather(*(fetch(x) for x in range(3)))
    )


async def one() -> Any:
    return await fetch(1)


async def windowed() -> Any:
    return await parallel(range(5), fetch, concurrency=2)


async def mixed() -> Any:
    return await asyncio.gather(fetch(1), two(2))


async def first() -> Any:
    tasks = [asyncio.create_task(fetch(x)) for x in range(5)]
    return len(await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))


async def raced() -> Any:
    return await race(*(fetch(x) for x in range(5)))


async def waited() -> Any:
    tasks = [asyncio.create_task(fetch(x)) for x in range(5)]
    return len(await asyncio.wait(tasks))


async def waited_for_a_failure() -> Any:
    tasks = [asyncio.create_task(fetch(x)) for x in range(5)]
    return len(await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION))


async def waited_for_a_while() -> Any:
    tasks = [asyncio.create_task(fetch(x)) for x in range(5)]
    return len((await asyncio.wait(tasks, timeout=9))[0])


async def waited_twice() -> Any:
    tasks = [asyncio.create_task(fetch(x)) for x in range(5)]
    return await asyncio.gather(asyncio.wait(tasks), asyncio.wait(tasks[:1]))


async def as_they_come() -> Any:
    return [await each for each in asyncio.as_completed([fetch(x) for x in range(5)])]


async def watched() -> Any:
    tasks = [asyncio.create_task(fetch(x)) for x in range(5)]
    seen: list[int] = []
    tasks[0].add_done_callback(lambda _: seen.append(1))
    return await asyncio.gather(*tasks)


async def body_of_a_group() -> Any:
    async with asyncio.TaskGroup() as group:
        group.create_task(fetch(1))
        await fetch(2)


async def with_an_approval() -> Any:
    return len(await asyncio.gather(fetch(1), fetch(2), wait_for_approval()))


@pytest.mark.parametrize(
    ("function", "needed", "failures"),
    [
        (gathered, 5, 0),
        (gathered_with_exceptions, 5, 5),
        (grouped, 5, 0),
        (in_parallel, 5, 0),
        (gathered_with_timer, 5, 0),
        (nested, 2, 0),
        (with_enough, 3, 2),
        (with_a_share, 5, 2),
        (with_all_outcomes, 5, 5),
        (with_both, 3, 2),
        (waited, 5, 5),
        (waited_for_a_failure, 5, 0),
        (waited_for_a_while, 5, 5),
        (one, 1, 0),
        (windowed, 1, 0),
        (mixed, 1, 0),
        (first, 1, 0),
        (raced, 1, 0),
        (as_they_come, 1, 0),
        (waited_twice, 1, 0),
        (watched, 1, 0),
        (body_of_a_group, 1, 0),
        (with_an_approval, 1, 0),
    ],
    ids=lambda each: getattr(each, "__name__", str(each)),
)
def test_arrivals_needed(
    function: Callable[[], Awaitable[Any]], needed: int, failures: int
) -> None:
    """A fan-out of plain tasks needs all of them; anything that may react at once needs one.

    A group that bears failures does not react to so many of them.
    """
    run = Run(function)
    assert run.execution.arrivals_needed() == (needed, failures)
    cold = run.replayed()
    assert cold.arrivals_needed() == (needed, failures)
    cold.drop()
    run.close()


def test_it_sinks_as_outcomes_are_observed() -> None:
    """What was observed already is not waited for again."""
    run = Run(gathered)
    run.settle("fetch[1]/fetch")
    run.settle("fetch[3]/fetch")
    assert run.execution.arrivals_needed() == (3, 0)
    run.close()


def test_what_a_group_bears_sinks_with_each_failure() -> None:
    """A success brings it nearer to enough, and a failure nearer to failing."""
    run = Run(with_enough, answers={"parallel[1]/fetch": ValueError("no")})
    run.settle("parallel[1]/fetch")
    assert run.execution.arrivals_needed() == (3, 1)
    run.settle("parallel[0]/fetch")
    assert run.execution.arrivals_needed() == (2, 1)
    run.close()


def test_the_last_window_is_a_barrier() -> None:
    """Once every item of a `parallel` has begun, it waits for all that are left."""
    run = Run(windowed)
    for number in range(3):
        assert run.execution.arrivals_needed() == (1, 0)
        run.settle(f"parallel[{number}]/fetch")
    assert run.execution.arrivals_needed() == (2, 0)
    run.close()


BARRIERS = ("gather", "quiet", "group", "parallel", "window", "wait", "fail", "first")
_LEAVES = st.sampled_from(["task", "two", "step", "sleep"])
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.tuples(
        st.sampled_from(
            [
                "gather",
                "quiet",
                "group",
                "parallel",
                "window",
                "wait",
                "fail",
                "first",
                "enough",
                "share",
                "all",
            ]
        ),
        st.lists(inner, min_size=1, max_size=4),
    ),
    max_leaves=8,
)


def walk(tree: Any) -> Any:
    """What a program amounts to: a plain task itself, as a user would await it, or a coroutine."""
    match tree:
        case "task":
            return fetch(1)
        case "two":
            return two(2)
        case "step":
            return step("step", lambda: 3)
        case "sleep":
            return sleep(5)
        case (kind, inner):
            return _together(kind, inner)


async def _together(kind: str, inner: list[Any]) -> Any:
    match kind:
        case "gather" | "quiet":
            quiet = kind == "quiet"
            return await asyncio.gather(*map(walk, inner), return_exceptions=quiet)
        case "group":
            async with asyncio.TaskGroup() as group:
                return [group.create_task(walk(each)) for each in inner]
        case "parallel" | "window":
            return await parallel(inner, walk, concurrency=2 if kind == "window" else None)
        case "enough" | "share" | "all":
            enough = 1 if kind == "enough" else None
            share = 0.5 if kind == "share" else None
            return await parallel(inner, walk, min_successful=enough, tolerate=share, outcomes=True)
        case _:
            until = {"first": asyncio.FIRST_COMPLETED, "fail": asyncio.FIRST_EXCEPTION}.get(
                kind, asyncio.ALL_COMPLETED
            )
            tasks = [asyncio.ensure_future(walk(each)) for each in inner]
            return await asyncio.wait(tasks, return_when=until)


@given(_TREES, st.randoms(use_true_random=False))
def test_fewer_arrivals_change_nothing(tree: Any, chance: Any) -> None:
    """One outcome fewer than needed makes the workflow ask for nothing.

    Whichever they are, and although as many of them are failures as it bears.
    """

    async def main() -> Any:
        with suppress(TaskError, ExceptionGroup, asyncio.CancelledError):
            await walk(tree)
        await fetch("end")

    with closing(Run(main)) as run:
        while not run.finished:
            needed, failures = run.execution.arrivals_needed()
            waiting = [key for key, op in run.execution.open.items() if op.kind is Kind.TASK]
            assert failures <= needed <= max(1, len(waiting))
            asked = len(run.asked)
            fewer = chance.sample(waiting, min(needed - 1, len(waiting)))
            for number, key in enumerate(fewer):
                run.settle(key, ValueError("no") if number < failures else 1)
                assert len(run.asked) == asked
                assert not run.finished
            key = chance.choice(run.eligible)
            if run.execution.open[key].kind is Kind.TASK and chance.random() < 0.3:
                run.settle(key, ValueError("no"))
            else:
                run.settle(key)
