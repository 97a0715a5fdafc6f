"""Suites 5 and 6: runs that a run begins, and polling."""

from __future__ import annotations

from typing import Any

from rewake import TaskError, block, now, sleep, step, wait_until, workflow
from tests.requirements.asked import ALWAYS, asked, called, seconds_since, work


@workflow
async def echo(number: str, value: Any) -> Any:
    """A child that gives what it was given."""
    called[number] += 1
    return value


@workflow
async def broken(number: str) -> Any:
    """A child that fails."""
    called[number] += 1
    raise ValueError("no")


CHILDREN = [echo, broken]


@asked("5-1", gives="value", called=1)
async def begins() -> Any:
    """A run may begin another, and gets what came of it."""
    return await echo("5-1", "value")


@asked("5-2", gives="value", keys=["echo"])
async def named() -> Any:
    """It is named in the history of the first."""
    return await echo("5-2", "value")


@asked("5-3", gives={"nested": {"key": "value", "items": [1, 2, 3]}})
async def nested() -> Any:
    """What it is given and gives may have several levels."""
    return await echo("5-3", {"nested": {"key": "value", "items": [1, 2, 3]}})


@asked("5-4", gives=None)
async def nothing() -> Any:
    """Both may be nothing."""
    return await echo("5-4", None)


@asked("5-5", fails="ValueError", called=1)
async def fails() -> Any:
    """If it fails, so does the first, by the type of its error."""
    await broken("5-5")


@asked("5-6", gives="instead", called=1)
async def caught() -> Any:
    """Who catches that goes on."""
    try:
        return await broken("5-6")
    except TaskError:
        return "instead"


@asked("5-7", gives=200_000)
async def large() -> Any:
    """What it is given and gives may be large."""
    return len(await echo("5-7", "x" * 200_000))


@asked("5-9", gives="value", called=1)
async def begins_and_waits() -> Any:
    """It is begun once, however often the first is replayed."""
    value = await echo("5-9", "value")
    await sleep(2)
    return value


@asked("5-10", gives="ValueError", called=1)
async def caught_and_waits() -> Any:
    """Its error is the same on each replay."""
    told = ""
    try:
        await broken("5-10")
    except TaskError as error:
        told = error.type
    await sleep(2)
    return told


@asked("5-11", gives="value", called=2)
async def after_a_step() -> Any:
    """It may be given what came of a step."""
    return await echo("5-11", await step("before", work("5-11", "value")))


@asked("5-12", gives="value after", called=2)
async def before_a_step() -> Any:
    """A step may use what came of it."""
    value = await echo("5-12", "value")
    return await step("after", work("5-12", f"{value} after"))


@asked("5-13", gives="value", keys=["group[0]/echo"], called=1)
async def in_a_group() -> Any:
    """It may be begun in a group."""
    return await block("group", lambda: echo("5-13", "value"))


@asked("5-14", gives=["one", "two"], called=2)
async def one_after_the_other() -> Any:
    """One may follow another."""
    return [await echo("5-14", "one"), await echo("5-14", "two")]


def counts(number: str) -> Any:
    """A check that adds one to its state."""

    async def check(state: int) -> int:
        called[number] += 1
        return state + 1

    return check


@asked("6-1", gives=3, called=3)
async def polls() -> Any:
    """A check is made again and again, until its state is what was waited for."""
    return await wait_until(counts("6-1"), state=0, done=lambda state: state >= 3)


@asked("6-2", gives=[5, 0], called=1)
async def at_once() -> Any:
    """If that is so at the first check, there is no wait."""
    began = now()
    state = await wait_until(work("6-2", 5), done=lambda state: state >= 5)
    return [state, seconds_since(began)]


@asked("6-3", gives=2, keys=["status"], called=2)
async def named_poll() -> Any:
    """The checks have the name that they are given."""
    return await wait_until(counts("6-3"), state=0, done=lambda state: state >= 2, name="status")


@asked("6-4", gives=8, called=3)
async def from_a_state() -> Any:
    """The first check gets the state that was given, each further one that of the one before."""
    return await wait_until(counts("6-4"), state=5, done=lambda state: state >= 8)


@asked("6-5", gives=[3, 4], called=3)
async def at_intervals() -> Any:
    """The waits in between are as long as was asked for."""
    began = now()
    state = await wait_until(counts("6-5"), state=0, done=lambda state: state >= 3, every=2)
    return [state, seconds_since(began)]


@asked("6-6", fails="TimeoutError", called=3)
async def in_vain() -> Any:
    """After the last check that is allowed the wait raises, and fails the run."""
    await wait_until(counts("6-6"), state=0, done=lambda _: False, max_checks=3)


@asked("6-7", fails="Transient", called=1)
async def failing_check() -> Any:
    """A check that fails ends the wait, and fails the run."""
    await wait_until(work("6-7", fails=ALWAYS))


@asked("6-8", gives="recovered", called=1)
async def caught_check() -> Any:
    """Who catches that goes on."""
    try:
        await wait_until(work("6-8", fails=ALWAYS))
    except TaskError:
        return "recovered"


@asked("6-9", gives={"status": "done", "attempts": 2})
async def structured() -> Any:
    """A state may have several parts."""

    async def check(state: dict[str, Any]) -> dict[str, Any]:
        attempts = state["attempts"] + 1
        return {"status": "done" if attempts == 2 else "pending", "attempts": attempts}

    first = {"status": "pending", "attempts": 0}
    return await wait_until(check, state=first, done=lambda state: state["status"] == "done")


@asked("6-10", gives=None, called=1)
async def for_nothing() -> Any:
    """What is waited for may be nothing."""
    return await wait_until(work("6-10"), done=lambda value: value is None)


@asked("6-12", gives=20, called=3)
async def poll_and_step() -> Any:
    """A step may use what came of it, and the checks are not made again."""
    state = await wait_until(counts("6-12"), state=0, done=lambda state: state >= 2)
    return await step("after", work("6-12", 10 * state))


@asked("6-13", gives=4, called=4)
async def poll_after_poll() -> Any:
    """One poll may begin with what came of another."""
    first = await wait_until(counts("6-13"), state=0, done=lambda state: state >= 2)
    return await wait_until(counts("6-13"), state=first, done=lambda state: state >= 4)
