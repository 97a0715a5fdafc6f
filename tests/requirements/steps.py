"""Suites 1, 2 and 3: steps, waits, and groups of operations (our blocks)."""

from __future__ import annotations

from typing import Any

from rewake import TaskError, block, now, sleep, step
from tests.requirements.asked import ALWAYS, Transient, asked, called, seconds_since, work


@asked("1-1", gives="Hello, World!", called=1)
async def greets() -> Any:
    """A step gives what its function returns."""
    return await step("greet", work("1-1", "Hello, World!"))


@asked("1-2", gives=1, keys=["of my own"])
async def named() -> Any:
    """A step has the name that it is given."""
    return await step("of my own", work("1-2", 1))


@asked("1-3", gives="first second", called=2)
async def in_order() -> Any:
    """A step may use what came of the one before."""
    first = await step("one", work("1-3", "first"))
    return await step("two", work("1-3", f"{first} second"))


@asked("1-4", gives={"user": {"name": "Ada", "tags": ["a", "b"]}, "count": 2, "rate": 0.5})
async def nested() -> Any:
    """A result of several levels and types comes whole."""
    user = {"name": "Ada", "tags": ["a", "b"]}
    return await step("build", work("1-4", {"user": user, "count": 2, "rate": 0.5}))


@asked("1-5", gives=None, called=1)
async def nothing() -> Any:
    """A step may give nothing."""
    return await step("idle", work("1-5"))


@asked("1-8", gives="computed", called=1)
async def step_and_wait() -> Any:
    """A replay passes over a step that is done."""
    value = await step("compute", work("1-8", "computed"))
    await sleep(2)
    return value


@asked("1-9", gives=["kept", "kept"], called=1)
async def kept() -> Any:
    """What a step gave is the same on each replay, and its function is not called again."""
    value = await step("compute", work("1-9", "kept"))
    for _ in range(3):
        await sleep(2)
    return [value, value]


@asked("1-10", gives=["Transient", "not now"], called=1)
async def failed_again() -> Any:
    """A step that has failed raises the same error on each replay, and is not called again."""
    told: list[str] = []
    try:
        await step("work", work("1-10", fails=ALWAYS))
    except TaskError as error:
        told = [error.type, error.message]
    for _ in range(3):
        await sleep(2)
    return told


@asked("1-11", gives="in the end", called=2)
async def retried() -> Any:
    """A step that fails is tried again, and may succeed."""
    return await step("work", work("1-11", "in the end", fails=1), retries=1)


@asked("1-12", fails="Transient", called=4)
async def exhausted() -> Any:
    """With its last try a step has failed, and so has the run."""
    await step("work", work("1-12", fails=ALWAYS), retries=3, delay=1, multiplier=1)


@asked("1-13", fails="Transient", called=1)
async def not_retried() -> Any:
    """By default a step is tried once: only its author knows whether more does no harm."""
    await step("work", work("1-13", fails=ALWAYS))


@asked("1-14", gives=[True, "done"], called=3)
async def backs_off() -> Any:
    """The waits between tries are those that were asked for: 2 s, then three times as long."""
    began = now()
    how = {"retries": 4, "delay": 2, "multiplier": 3, "jitter": 0}
    value = await step("work", work("1-14", "done", fails=2), **how)  # type: ignore[call-overload]
    return [8 <= seconds_since(began) <= 10, value]


@asked("1-15", gives="done", called=2)
async def worth_it() -> Any:
    """Errors of a certain type are tried again."""
    return await step("work", work("1-15", "done", fails=1), retries=3, retry_on=Transient)


@asked("1-16", fails="Transient", called=1)
async def not_worth_it() -> Any:
    """Errors of other types are not."""
    await step("work", work("1-16", fails=ALWAYS), retries=3, retry_on=OSError)


@asked("1-19", fails="ValueError", called=1)
async def fails() -> Any:
    """A step that fails for good fails the run, by its error."""
    await step("work", work("1-19", fails=ALWAYS, error=ValueError))


@asked("1-20", gives="another way", called=2)
async def caught() -> Any:
    """What a body catches it may answer with another step."""
    try:
        return await step("work", work("1-20", fails=1))
    except TaskError:
        return await step("instead", work("1-20", "another way"))


@asked("2-1", gives=5)
async def waits() -> Any:
    """A wait is as long as it was asked for."""
    began = now()
    await sleep(5)
    return seconds_since(began)


@asked("2-2", gives=2, keys=["until noon"])
async def named_wait() -> Any:
    """A wait has the name that it is given."""
    began = now()
    await sleep(2, name="until noon")
    return seconds_since(began)


@asked("2-3", gives=[2, 4])
async def waits_twice() -> Any:
    """One wait follows the other."""
    began = now()
    await sleep(2)
    first = seconds_since(began)
    await sleep(2)
    return [first, seconds_since(began)]


@asked("2-4", gives=60)
async def minutes() -> Any:
    """A wait of a minute is one of 60 seconds."""
    began = now()
    await sleep(60)
    return seconds_since(began)


@asked("2-5", gives=3600)
async def hours() -> Any:
    """A wait of an hour is one of 3,600 seconds."""
    began = now()
    await sleep(3600)
    return seconds_since(began)


@asked("3-1", gives="value", called=1)
async def grouped() -> Any:
    """A group gives what its function returns."""

    async def group() -> Any:
        return await step("inside", work("3-1", "value"))

    return await block("group", group)


@asked("3-2", gives="value", keys=["of my own", "of my own[0]/inside"])
async def named_group() -> Any:
    """A group has the name that it is given, and its operations are below it."""

    async def group() -> Any:
        return await step("inside", work("3-2", "value"))

    return await block("of my own", group)


@asked("3-3", gives="a b", called=2)
async def several_inside() -> Any:
    """In a group one step may use what came of another."""

    async def group() -> Any:
        first = await step("one", work("3-3", "a"))
        return await step("two", work("3-3", f"{first} b"))

    return await block("group", group)


@asked("3-4", fails="Transient", called=1)
async def fails_inside() -> Any:
    """A step that fails in a group fails the group, and the run."""

    async def group() -> Any:
        await step("inside", work("3-4", fails=ALWAYS))

    await block("group", group)


@asked("3-5", gives="instead", called=2)
async def caught_outside() -> Any:
    """Who catches the error of a group goes on."""

    async def group() -> Any:
        await step("inside", work("3-5", fails=1))

    try:
        return await block("group", group)
    except TaskError:
        return await step("recover", work("3-5", "instead"))


@asked("3-6", gives="inner", keys=["outer[0]/one", "outer[0]/inner[0]/two"], called=2)
async def groups_in_groups() -> Any:
    """A group may be in another."""

    async def inner() -> Any:
        return await step("two", work("3-6", "inner"))

    async def outer() -> Any:
        await step("one", work("3-6"))
        return await block("inner", inner)

    return await block("outer", outer)


@asked("3-7", gives="done", called=2)
async def retried_inside() -> Any:
    """A step in a group is tried again as anywhere."""

    async def group() -> Any:
        return await step("inside", work("3-7", "done", fails=1), retries=1)

    return await block("group", group)


@asked("3-8", fails="Transient", called=2)
async def exhausted_inside() -> Any:
    """With the last try of its step a group has failed."""

    async def group() -> Any:
        await step("inside", work("3-8", fails=ALWAYS), retries=1)

    await block("group", group)


@asked("3-9", gives="value", called=1)
async def group_and_wait() -> Any:
    """A replay passes over a group that is done."""

    async def group() -> Any:
        return await step("inside", work("3-9", "value"))

    value = await block("group", group)
    await sleep(2)
    return value


@asked("3-10", gives="value", called=1)
async def waits_inside() -> Any:
    """A group may wait."""

    async def group() -> Any:
        value = await step("inside", work("3-10", "value"))
        await sleep(2)
        return value

    return await block("group", group)


@asked("3-11", gives=300_000, called=1)
async def large_result() -> Any:
    """What a group gives may be large."""

    async def group() -> Any:
        return await step("inside", work("3-11", "x")) * 300_000

    value = await block("group", group)
    await sleep(2)
    return len(value)


@asked("3-13", gives=["inside", "outside"], called=1)
async def only_waits_inside() -> Any:
    """A group may do nothing but wait, and a step may follow it."""

    async def group() -> Any:
        await sleep(2)
        return "inside"

    return [await block("group", group), await step("after", work("3-13", "outside"))]


@asked("3-15", fails="ValueError")
async def fails_by_itself() -> Any:
    """An error of the function itself fails a group, without any operation in it."""

    async def group() -> Any:
        raise ValueError("no")

    await block("group", group)


@asked("3-16", gives=None)
async def group_of_nothing() -> Any:
    """A group may give nothing, without any operation in it."""

    async def group() -> Any:
        return None

    return await block("group", group)


@asked("3-17", gives="value", called=1)
async def not_again() -> Any:
    """The function of a group that is done is not called again, also if it has no operation."""

    async def group() -> Any:
        called["3-17"] += 1
        return "value"

    value = await block("group", group)
    await sleep(2)
    return value


@asked("3-18", gives=["value", "value"], called=2)
async def inside_and_after() -> Any:
    """Steps and waits in a group, and after it, each happen once."""

    async def group() -> Any:
        value = await step("inside", work("3-18", "value"))
        await sleep(2)
        return value

    first = await block("group", group)
    second = await step("after", work("3-18", first))
    await sleep(2)
    return [first, second]
