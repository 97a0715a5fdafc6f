"""A workflow that uses every primitive, and gives the same result however often it is killed."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

from rewake import (
    NonRetryable,
    Notice,
    TaskError,
    approval,
    block,
    callback,
    concurrency,
    emit,
    now,
    parallel,
    race,
    random,
    respond,
    send_signal,
    sleep,
    sleep_until,
    step,
    task,
    task_context,
    uuid4,
    wait_for_approval,
    wait_for_signal,
    workflow,
)
from tests.kill.points import body, hand_on, waiting, within

NAP = 0.15
"""Seconds: long enough to die in."""
LONG = 0.7
"""Seconds: longer than two thirds of a lease, so that it is renewed."""
NEVER = 3_600
BIG = 50_000
"""Bytes: more than stays in an item."""


@task
async def double(number: int) -> int:
    """Async, with an argument."""
    with body():
        task_context().emit(["double", number])
        return 2 * number


@task(limits=concurrency(1))
async def in_turn(number: int) -> int:
    """One at a time."""
    with body():
        await asyncio.sleep(0.05)
        return number


@task(cache=3600)
async def made_once(number: int) -> int:
    """Whoever calls it next is given what it came to."""
    with body():
        return number


@task
def shout(text: str) -> str:
    """Sync."""
    with body():
        return text.upper()


@task
def large() -> str:
    """Gives what is kept apart."""
    with body():
        return "x" * BIG


@task(retries=2, delay=NAP, jitter=0)
async def flaky() -> str:
    """Fails, waits, succeeds."""
    with body():
        task_context().logger.info("a try")
        if task_context().attempt < 2:
            waiting("task backoff")
            raise ValueError("not yet")
        return "in the end"


@task(retries=1, delay=0.05, timeout=NAP)
async def hang() -> None:
    """Runs out of time, twice."""
    with body():
        await asyncio.sleep(NEVER)


@task(heartbeat=2 * NAP, delay=0.05, jitter=0)
async def pages() -> int:
    """Tells a page and falls silent, and so does the next attempt; then there are no more."""
    context = task_context()
    done: int = context.progress or 0
    with body():
        if done < 2:
            context.heartbeat(done + 1)
            await asyncio.sleep(NEVER)
        return done


@task
async def stall() -> None:
    """Ends only by being cancelled."""
    with body():
        waiting("lost race")
        await asyncio.sleep(NEVER)


@task
async def refuse(why: str) -> None:
    """Fails for good."""
    with body():
        raise NonRetryable(why)


@task
async def tell(notice: Notice) -> str:
    """Is told of an approval."""
    with body():
        return notice.kind


@workflow
async def kin(number: int) -> int:
    """A run of a run: it waits, and ends."""
    await sleep(NAP)
    return number + 1


async def _grouped() -> list[Any]:
    """A block that is retried, and branches of which one may fail."""

    async def trip() -> int:
        leg = await step("leg", lambda: within(task_context().key))
        found = await double(3)
        if "[0]" in leg:
            raise ValueError("once more")
        return found

    async def one(part: int) -> int:
        found = await double(part)
        if part == 1:
            raise ValueError("it is borne")
        return found

    booked = await block("trip", trip, retries=1, delay=0.05)
    done = await parallel(range(3), one, tolerate=1)
    return [booked, done.results]


@workflow
async def everything() -> dict[str, Any]:
    """Use every primitive; take about three seconds."""
    await emit(["body", 0])
    facts = _facts()
    kept = await step("facts", lambda: within(facts))
    await emit(["body", 1])
    result = {
        "tasks": await _tasks(),
        "steps": await _steps(),
        "branches": await _branches(),
        "asyncio": await _asyncio(),
        "failures": await _failures(),
        "once": await _once(),
        "groups": await _grouped(),
        "limits": list(await asyncio.gather(in_turn(1), in_turn(2))),
        "cached": [await made_once(3) for _ in range(2)],
    }
    waiting("sleep")
    await emit(["body", 2])
    await sleep(NAP)
    waiting("sleep_until")
    await sleep_until(now() + timedelta(seconds=NAP))
    later = _facts()
    kept_later = await step("later facts", lambda: within(later))
    await respond({"later": kept_later}, status=201)
    ask = approval("sign-off", approvers=["Ada", "Bob"], quorum=2, notify=tell)
    link = ask.link("Ada")
    kept_link = await step("link", lambda: within(link))
    waiting("approval")
    answer = await ask
    result["approval"] = [answer.decision, answer.value, answer.approver]
    result["callback"] = await _called()
    result["children"] = await _kin()
    result["signals"] = await _signalled()
    await emit(["body", 3])
    try:
        await refuse("the end")
    except TaskError as error:
        result["the end"] = error.type
    finally:
        result["cleanup"] = await step("cleanup", lambda: within("clean"))
    # The left sides are made anew by each replay, the right ones were recorded.
    result["same"] = [facts == kept, later == kept_later, facts != later, link == kept_link]
    return result


async def _kin() -> list[int]:
    handle = await kin.start(1)
    waiting("child")
    return [await kin(2), await handle.result()]


async def _signalled() -> list[int]:
    """What it sends to itself comes once, in order: also where it was sent before the wait."""
    for number in (1, 2):
        await send_signal("the-run", "note", number)
    waiting("signal")
    return [await wait_for_signal("note", type=int), await wait_for_signal("note", type=int)]


async def _called() -> list[int]:
    wait = callback("paid", result=int, heartbeat_timeout=NEVER)
    await step("hand on", lambda: within(hand_on(wait.url)))
    waiting("callback")
    return [await wait]


def _facts() -> list[str]:
    return [now().isoformat(), repr(random().random()), str(uuid4())]


async def _tasks() -> list[Any]:
    word = "closure"

    def nested(number: int) -> list[Any]:
        with body():
            return [word, number]

    async def nested_async(number: int) -> list[Any]:
        with body():
            await asyncio.sleep(0.01)
            return [word, number]

    async def later(text: str) -> str:
        with body():
            return text[::-1]

    return [
        await double(1),
        await shout("loud"),
        await task(lambda: within([word, 1])),
        await task(lambda: later(word)),
        await task(nested)(2),
        await task(nested_async)(3),
        len(await large()),
        await flaky(),
    ]


async def _steps() -> list[Any]:
    async def slow() -> str:
        with body():
            await asyncio.sleep(LONG)
            return "slow"

    def stubborn() -> str:
        with body():
            if task_context().attempt < 2:  # lost attempts count
                waiting("step backoff")
                raise ValueError("not yet")
            return "in the end"

    return [
        await step("plain", lambda: within(1)),
        await step("large", lambda: len(within("y" * BIG))),
        await step("stubborn", stubborn, retries=2, delay=NAP, jitter=0),
        list(await asyncio.gather(step("slow", slow), shout("while a step runs"), pages())),
    ]


async def _once() -> str:
    """A step that begins at most once: what it gave may be lost with its process."""
    try:
        return await step("once", lambda: within("kept"), at_most_once=True)
    except TaskError as error:
        return error.type


async def _branches() -> list[Any]:
    async def one(number: int) -> list[Any]:
        doubled = await double(number)
        kept = await step("of a branch", lambda: within(doubled + 1))
        return [doubled, kept, await task(lambda: within(number))]

    async def nap() -> str:
        await sleep(NAP)
        return "rested"

    return [
        await parallel(range(4), one, concurrency=2),
        await race(double(21), sleep(NEVER)),
        await race(stall(), nap()),
    ]


async def _asyncio() -> list[Any]:
    gathered = await asyncio.gather(double(5), refuse("gathered"), return_exceptions=True)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(double(6))
        second = group.create_task(shout("grouped"))
    waiting("asyncio.sleep")
    await asyncio.sleep(NAP)
    try:
        waiting("asyncio.timeout")
        async with asyncio.timeout(NAP):
            await wait_for_approval("nobody decides")
    except TimeoutError:
        timed_out = True
    else:
        timed_out = False
    return [[str(each) for each in gathered], first.result(), second.result(), timed_out]


async def _failures() -> list[Any]:
    found: list[Any] = []
    try:
        await hang()
    except TaskError as error:
        found.append(error.type)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(refuse("in a group"))
            group.create_task(_sleeper())
    except* TaskError as errors:
        found.extend(str(error) for error in errors.exceptions)
    return found


async def _sleeper() -> None:
    await sleep(NEVER)


@workflow
async def one_task() -> int:
    """Only a task."""
    return await double(1)


@workflow
async def one_step() -> int:
    """Only a step."""
    return await step("only", lambda: within(1))


@workflow
async def one_sleep() -> str:
    """Only a sleep."""
    waiting("sleep")
    await sleep(NAP)
    return "rested"


@task
def hold(number: int) -> int:
    """Sync, for longer than a grace of nothing."""
    with body():
        time.sleep(NAP)
        return number


@workflow
async def crowd(number: int) -> list[int]:
    """Many more tasks than a small server has room for."""
    return await asyncio.gather(*(hold(each) for each in range(number)))
