"""Where a retry goes back to: before the error that the run ended by, wherever that was raised."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import TaskError, sleep, step, task, workflow
from rewake.errors import RunConflict
from rewake.replay.origins import Origins
from rewake.states import RunState
from tests.support.virtual import Bench, Ended, virtually

warm_and_cold = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])
bug: list[str] = []
done: list[str] = []


@task
async def work(name: str) -> str:
    done.append(name)
    return name


@task
async def late() -> str:
    if bug:
        raise OSError("late")
    return "late"


async def buggy() -> str:
    await work("first")
    if bug:
        raise ValueError("a bug")
    return await work("second")


async def tidy() -> str:
    try:
        await sleep(60)
    finally:
        if bug:
            await sleep(1)
            await sleep(1)
    return "slept"


@workflow
async def groups() -> list[str]:
    async with asyncio.TaskGroup() as group:
        both = [group.create_task(buggy()), group.create_task(tidy())]
    return [each.result() for each in both]


@workflow
async def gathers() -> list[str]:
    both = await asyncio.gather(buggy(), tidy(), return_exceptions=True)
    for each in both:
        if isinstance(each, BaseException):
            raise each
    return [str(each) for each in both]


@workflow
async def awaits_late() -> list[str]:
    first = asyncio.create_task(buggy())
    slept = await tidy()
    return [await first, slept]


@workflow
async def two_fail() -> list[str]:
    async def then() -> str:
        await sleep(60)
        await late()
        return "slept"

    both = [asyncio.create_task(buggy()), asyncio.create_task(then())]
    await asyncio.wait(both)
    errors = [each.exception() for each in both if each.exception()]
    if errors:
        raise ExceptionGroup("both", [each for each in errors if isinstance(each, Exception)])
    return [each.result() for each in both]


@workflow
async def leaves_one() -> list[str]:
    slept = asyncio.create_task(tidy())
    first = await buggy()  # what it leaves behind tidies up, for seconds, before the run ends
    return [first, await slept]


class Frozen(Exception):
    """It answers for every attribute, and takes none."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise KeyError(name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise RuntimeError("frozen")


THE_ONE = RuntimeError("the same object in every run")


@workflow
async def raises(steps: int, frozen: bool = False) -> list[str]:
    names = [await work(f"n{number}") for number in range(steps)]
    try:
        if bug:
            raise Frozen("x") if frozen else THE_ONE
    finally:
        if bug:
            await sleep(1)
    return [*names, await work("last")]


class Refused(Exception):
    """It has an attribute of its own, and a cause."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@task
async def attributes_of(error: BaseException | None) -> dict[str, Any]:
    return {} if error is None else dict(vars(error))


@workflow
async def hands_over() -> list[dict[str, Any]]:
    seen = []
    try:
        await late()
    except TaskError as error:
        seen.append(await attributes_of(error))
    try:
        raise Refused("no")
    except Refused as error:
        seen.append(await attributes_of(error))  # marked, for it is handled as this is asked for
        seen.append(await attributes_of(ExceptionGroup("both", [error]).exceptions[0]))
    return seen


async def pays() -> str:
    done.append("pays")
    await asyncio.sleep(10)
    return "paid"


@workflow
async def at_most_once(group: bool) -> list[str]:
    async def soon() -> str:
        await sleep(1)
        return await late()

    pay = step("pay", pays, at_most_once=True)
    if not group:
        paid = asyncio.create_task(pay)
        return [await soon(), await paid]
    async with asyncio.TaskGroup() as both:
        branches = [both.create_task(soon()), both.create_task(pay)]
    return [each.result() for each in branches]


EVERYTHING = [work, late, groups, gathers, awaits_late, two_fail, leaves_one, raises]


async def mended(bench: Bench, workflow: str, /, **arguments: Any) -> Any:
    """The result of a run that a bug failed and that was retried without it."""
    done.clear()
    bug[:] = ["a bug"]
    header = await bench.start(workflow, **arguments)
    with pytest.raises(Ended):
        await bench.result(header.run)
    bug.clear()
    await bench.engine.retry(header.run)
    result = await bench.result(header.run)
    assert (await bench.engine.get(header.run)).state is RunState.DONE
    return result


@warm_and_cold
@pytest.mark.parametrize("how", ["groups", "gathers", "awaits_late", "two_fail", "leaves_one"])
def test_a_branch_is_mended_where_it_failed(cached: int, how: str) -> None:
    """Events that came between its bug and the end of the run are no part of what stands."""

    async def body(bench: Bench) -> None:
        assert await mended(bench, how) == ["second", "slept"]
        assert done == ["first", "second"]

    virtually(EVERYTHING, body, cached=cached)


@warm_and_cold
def test_an_error_that_refuses_attributes_is_an_error_like_others(cached: int) -> None:
    """An exception's own `__setattr__` and `__getattr__` are not asked."""

    async def body(bench: Bench) -> None:
        assert await mended(bench, "raises", steps=1, frozen=True) == ["n0", "last"]

    virtually(EVERYTHING, body, cached=cached)


@warm_and_cold
def test_an_error_object_that_many_runs_raise_has_a_place_in_each(cached: int) -> None:
    """Each run goes on from its own last event."""

    async def body(bench: Bench) -> None:
        for steps in (3, 1, 2):
            names = [f"n{number}" for number in range(steps)]
            assert await mended(bench, "raises", steps=steps) == [*names, "last"]

    virtually(EVERYTHING, body, cached=cached)


@warm_and_cold
def test_an_error_that_is_a_value_has_no_mark_of_ours(cached: int) -> None:
    """What a task is given has the attributes that the user's code gave it."""

    async def body(bench: Bench) -> None:
        bug[:] = ["a bug"]
        of_task, *own = await bench.run("hands_over")
        assert set(of_task) == {"type", "message", "traceback", "attempts"}
        assert own == [{"why": "no"}, {"why": "no"}]

    virtually([hands_over, attributes_of, late], body, cached=cached)


@warm_and_cold
@pytest.mark.parametrize("group", [True, False])
def test_a_step_that_runs_at_most_once_is_begun_again_only_when_told(
    cached: int, group: bool
) -> None:
    """Another branch's error, or the end of the body, cancelled it: nobody knows what it did."""

    async def body(bench: Bench) -> None:
        done.clear()
        bug[:] = ["a bug"]
        header = await bench.start("at_most_once", group=group)
        with pytest.raises(Ended):
            await bench.result(header.run)
        bug.clear()
        with pytest.raises(RunConflict, match=r"may do it again: the step pay \(.*discard_cleanup"):
            await bench.engine.retry(header.run)
        assert done == ["pays"]
        await bench.engine.retry(header.run, discard_cleanup=True)
        assert await bench.result(header.run) == ["late", "paid"]
        assert done == ["pays", "pays"]

    virtually([at_most_once, late], body, cached=cached)


def test_the_first_member_of_a_group_counts() -> None:
    """Of two of one event that which has an operation; what they follow from counts as theirs."""
    origins = Origins()
    origins.event = 3
    bug_of_a_branch = ValueError("a bug")
    origins.mark(bug_of_a_branch)
    origins.event = 5
    of_a_task, other = OSError("x"), ValueError("b")
    origins.mark(of_a_task, "charge")
    origins.mark(other)
    origins.event = 9
    assert origins.cause_of(ExceptionGroup("", [of_a_task, bug_of_a_branch])).event == 3
    assert origins.cause_of(ExceptionGroup("", [other, of_a_task])).key == "charge"
    wrapped = ExceptionGroup("", [KeyError("z")])
    wrapped.__cause__ = of_a_task
    assert origins.cause_of(wrapped).event == 5
    assert Origins().cause_of(of_a_task).key == ""
