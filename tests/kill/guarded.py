"""A workflow that begins anew, and what is around runs: doors, hooks, schedules, the archive."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from rewake import (
    Alert,
    Around,
    TaskError,
    alerts,
    cron,
    every,
    middleware,
    rate,
    scheduled_at,
    send_signal,
    set_status,
    singleton,
    sleep,
    step,
    task,
    task_context,
    wait_for_signal,
    workflow,
)
from tests.kill.points import body, waiting, within

NAP = 0.15
"""Seconds: long enough to die in."""
SHORT = 0.01
NEVER = 3_600
ERA = 1_000_000_000
"""Seconds: windows of an hour would end now and then while a story is told."""
SECOND = 1


@task
async def tell_owner(alert: Alert) -> str:
    """Is called for each run of one workflow that fails."""
    with body():
        return alert.run


@task
async def tell_people(alert: Alert) -> str:
    """Is called for each run of the app that fails."""
    return alert.run


@task
async def tell_operators(alert: Alert) -> str:
    """Is called twice, of the many runs that a schedule leaves out."""
    return alert.schedule


failures = alerts(tell_people, kinds=["failed"])
left_out = alerts(tell_operators, kinds=["skipped"], most=2, per=ERA)


@middleware
def around(it: Around) -> Iterator[None]:
    """Something to die in on both sides of one task."""
    if it.name != "tell_owner":
        yield
        return
    with body("it is to come"):
        pass
    yield
    with body("it is over"):
        pass


@task(throttle=rate(1, per=NEVER))
async def seldom(number: int) -> int:
    """Once, and then no more."""
    with body():
        return number


@task(limits=rate(10, per=1))
async def paced(number: int) -> int:
    """One in a tenth of a second."""
    with body():
        return number


@workflow(retries=1, delay=NAP, jitter=0)
async def guarded() -> dict[str, Any]:
    """Fail as a whole, and begin anew."""
    which = await step("which", lambda: within(task_context().key))
    paces = list(await asyncio.gather(paced(1), paced(2)))
    if which == "which":
        waiting("retry")
        raise RuntimeError("once more")
    found: dict[str, Any] = {"which": which, "paced": paces, "seldom": []}
    for number in (1, 2):
        try:
            found["seldom"].append(await seldom(number))
        except TaskError as error:
            found["seldom"].append(error.type)
    return {**found, "asleep": await _wakes(), "told": await _tells()}


async def _wakes() -> str:
    """A child that is cancelled once it has begun."""
    child = await sleeping.start()
    await wait_for_signal("asleep")
    await child.cancel()
    waiting("cancelled child")
    try:
        return await child.result()
    except TaskError as error:
        return error.type


async def _tells() -> int:
    child = await listening.start()
    await child.signal("number", 7)
    return await child.result()


@workflow
async def sleeping() -> str:
    """Is cancelled in its sleep."""
    try:
        await sleep(SHORT)  # what has committed nothing yet is cancelled unbegun
        await send_signal("the-run", "asleep")
        await sleep(NEVER)
    finally:
        await step("woken", lambda: within(None))
    return "rested"


@workflow
async def listening() -> int:
    """Is told a number."""
    return await wait_for_signal("number", type=int)


@workflow(singleton="skip")
async def alone(number: int) -> list[int]:
    """Is there once, whoever starts it."""
    return [number, await wait_for_signal("go", type=int)]


@workflow(singleton=singleton("cancel", key=lambda document: document))
async def newest(document: str, version: int) -> list[Any]:
    """Makes way for a newer one."""
    if version > 1:
        return [document, version]
    set_status("begun")
    try:
        await sleep(NEVER)
    finally:
        await step("made way", lambda: within(None))
    return []


@workflow(throttle=rate(1, per=NEVER))
async def rare(number: int) -> int:
    """Is started once, and then no more."""
    return number


@workflow(on_failure=tell_owner)
async def doomed() -> None:
    """Fails, for good."""
    raise RuntimeError("this was to be expected")


@workflow(schedule=cron("0 0 1 1 *", tz="UTC"))
async def yearly() -> str:
    """Has runs of years that are long past."""
    at = scheduled_at()
    assert at is not None
    return f"{at:%Y}"


@workflow(schedule=every(SECOND, overlap="skip"))
async def slow() -> None:
    """Is started each second, and takes longer."""
    await sleep(NEVER)


@workflow(keep="30d+archive")
async def kept(number: int) -> int:
    """Is archived before it is removed."""
    return await step("kept", lambda: number)
