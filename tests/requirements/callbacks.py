"""Suites 4 and 7: callbacks, by themselves and handed on by a step."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rewake import Callback, TaskError, block, callback, sleep, step
from tests.requirements.asked import ALWAYS, Send, asked, called, urls, work

REJECTED = ("RejectedError", "not approved")


def opened(name: str, **options: Any) -> Callback[Any]:
    """A callback whose address is known outside."""
    wait = callback(name, **options)
    urls[name] = wait.url
    return wait


async def submitted(number: str, name: str = "", **options: Any) -> Any:
    """What came of a callback whose address a step has handed on."""
    wait = callback(name or number, **options)

    async def submit() -> None:
        called[number] += 1
        urls[name or number] = wait.url

    await step("submit", submit)
    return await wait


@asked("4-1", gives="payload", sends=[Send(1, "4-1", "payload")])
async def completed() -> Any:
    """A callback gives what was sent to it."""
    return await opened("4-1")


@asked("4-2", gives="payload", keys=["approval"], sends=[Send(1, "approval", "payload")])
async def named() -> Any:
    """A callback has the name that it is given."""
    return await opened("approval")


@asked("4-3", fails="TimeoutError")
async def too_late() -> Any:
    """What nothing was sent to in its time raises, and fails the run."""
    return await opened("4-3", timeout=5)


@asked("4-4", fails="TimeoutError")
async def silent() -> Any:
    """What nothing was heard of for too long raises, and fails the run."""
    return await opened("4-4", heartbeat_timeout=5)


@asked("4-5", gives="late", sends=[Send(7, "4-5", how="heartbeat"), Send(14, "4-5", "late")])
async def alive() -> Any:
    """A heartbeat keeps a callback open for as long again."""
    return await opened("4-5", heartbeat_timeout=10)


@asked("4-6", fails="RejectedError", sends=[Send(1, "4-6", REJECTED, "fail")])
async def rejected() -> Any:
    """A failure that is sent raises, and fails the run by the type that was told."""
    return await opened("4-6")


@asked("4-7", fails="RejectedError", called=1, sends=[Send(1, "4-7", REJECTED, "fail")])
async def rejected_after_a_step() -> Any:
    """So it does after a step that was begun when it was open."""
    wait = opened("4-7")
    await step("meanwhile", work("4-7"))
    return await wait


@asked("4-8", fails="TimeoutError", called=1)
async def too_late_after_a_step() -> Any:
    """Its time counts from when it was opened, not from when it is awaited."""
    wait = opened("4-8", timeout=5)
    await step("meanwhile", work("4-8"))
    return await wait


@asked("4-9", gives="payload", sends=[Send(1, "4-9", "payload")])
async def completed_meanwhile() -> Any:
    """What comes while the run waits for something else is kept."""
    wait = opened("4-9")
    await sleep(5)
    return await wait


@asked("4-10", fails="RejectedError", sends=[Send(1, "4-10", REJECTED, "fail")])
async def rejected_meanwhile() -> Any:
    """So is a failure, which is raised once it is awaited."""
    wait = opened("4-10")
    await sleep(5)
    return await wait


@asked("4-11", fails="TimeoutError")
async def too_late_meanwhile() -> Any:
    """So is the end of its time."""
    wait = opened("4-11", timeout=3)
    await sleep(6)
    return await wait


@asked("4-12", gives="payload", sends=[Send(1, "4-12", "payload")])
async def completed_and_waits() -> Any:
    """What was sent is the same on a replay behind a further wait."""
    value = await opened("4-12")
    await sleep(2)
    return value


@asked("4-13", gives="not approved", sends=[Send(1, "4-13", REJECTED, "fail")])
async def rejected_and_waits() -> Any:
    """So is a failure that was caught."""
    told = ""
    try:
        await opened("4-13")
    except TaskError as error:
        told = error.message
    await sleep(2)
    return told


@asked("4-14", gives="its time is over")
async def too_late_and_waits() -> Any:
    """So is the end of its time, if it was caught."""
    told = ""
    try:
        await opened("4-14", timeout=3)
    except TimeoutError:
        told = "its time is over"
    await sleep(2)
    return told


@dataclass
class Message:
    id: str
    at: datetime


SENT = {"id": "m1", "at": "2026-01-01T00:00:00Z"}


@asked("4-15", gives=["m1", datetime(2026, 1, 1, tzinfo=UTC)], sends=[Send(1, "4-15", SENT)])
async def typed() -> Any:
    """JSON that was sent becomes an object of the type that was asked for, with a moment in it."""
    message = await opened("4-15", result=Message)
    return [message.id, message.at]


@asked("4-16", gives={"count": 42, "doubled": 84}, sends=[Send(1, "4-16", 42)])
async def number() -> Any:
    """It may be a number."""
    count = await opened("4-16", result=int)
    return {"count": count, "doubled": 2 * count}


@asked("4-17", gives=["a", "b"], sends=[Send(1, "17a", "a"), Send(3, "17b", "b")])
async def one_after_the_other() -> Any:
    """A callback may follow another."""
    return [await opened("17a"), await opened("17b")]


@asked("4-18", gives=["a", "b"], sends=[Send(3, "18a", "a"), Send(4, "18b", "b")])
async def both_open() -> Any:
    """Two may be open at once."""
    one, two = opened("18a"), opened("18b")
    return [await one, await two]


@asked("4-19", gives=["a", "b"], sends=[Send(1, "19a", "a"), Send(4, "19b", "b")])
async def awaited_the_other_way() -> Any:
    """They may be awaited in another order than they are completed in."""
    one, two = opened("19a"), opened("19b")
    second = await two
    return [await one, second]


@asked("7-1", gives="payload", called=1, sends=[Send(1, "7-1", "payload")])
async def handed_on() -> Any:
    """A step hands the address on, once, and what is sent to it is the result."""
    return await submitted("7-1")


@asked("7-2", gives="payload", keys=["confirmation"], sends=[Send(1, "confirmation", "payload")])
async def handed_on_by_name() -> Any:
    """The callback has the name that it is given."""
    return await submitted("7-2", "confirmation")


@asked("7-3", gives="payload", keys=["callback"], sends=[Send(1, "unnamed", "payload")])
async def without_a_name() -> Any:
    """It needs none."""
    wait = callback()
    urls["unnamed"] = wait.url
    await step("submit", work("7-3"))
    return await wait


@asked("7-4", fails="RejectedError", called=1, sends=[Send(1, "7-4", REJECTED, "fail")])
async def handed_on_and_rejected() -> Any:
    """A failure that is sent fails the run."""
    return await submitted("7-4")


@asked("7-5", fails="TimeoutError", called=1)
async def handed_on_in_vain() -> Any:
    """So does the end of its time."""
    return await submitted("7-5", timeout=3)


@asked("7-6", gives="recovered", called=1, sends=[Send(1, "7-6", REJECTED, "fail")])
async def handed_on_and_recovered() -> Any:
    """Who catches the failure goes on."""
    try:
        return await submitted("7-6")
    except TaskError:
        return "recovered"


@asked("7-7", fails="Transient", called=2)
async def not_handed_on() -> Any:
    """If the address cannot be handed on, with all tries, the run fails; nobody waits for it."""
    wait = callback("7-7")
    async with _withdrawn(wait):
        await step("submit", work("7-7", fails=ALWAYS), retries=1, delay=1)
        return await wait


class _withdrawn:  # noqa: N801 - it reads as a verb
    """Takes a callback back if the block fails."""

    def __init__(self, wait: Callback[Any]) -> None:
        self._wait = wait

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            self._wait.cancel()


@asked(
    "7-8",
    gives="payload",
    keys=["wrapper[0]/7-8", "wrapper[0]/submit"],
    sends=[Send(1, "7-8", "payload")],
)
async def handed_on_in_a_group() -> Any:
    """It may be in a group."""
    return await block("wrapper", lambda: submitted("7-8"))


@asked("7-9", gives="two", called=2, sends=[Send(1, "first", "one"), Send(3, "second", "two")])
async def handed_on_twice() -> Any:
    """One may follow another."""
    await submitted("7-9", "first")
    return await submitted("7-9", "second")


@asked("7-10", gives="payload", called=2, sends=[Send(4, "7-10", "payload")])
async def handed_on_later() -> Any:
    """It may follow waits and steps."""
    await sleep(1)
    await step("before", work("7-10"))
    return await submitted("7-10")


@asked("7-11", gives="approved", sends=[Send(1, "7-11", {"status": "approved"})])
async def handed_on_for_an_object() -> Any:
    """JSON comes as what it is."""
    return (await submitted("7-11"))["status"]


@asked("7-12", fails="TimeoutError", called=1)
async def handed_on_and_silent() -> Any:
    """Silence fails the run."""
    return await submitted("7-12", heartbeat_timeout=5)


@asked("7-13", gives="late", sends=[Send(7, "7-13", how="heartbeat"), Send(14, "7-13", "late")])
async def handed_on_and_alive() -> Any:
    """A heartbeat keeps it open."""
    return await submitted("7-13", heartbeat_timeout=10)


@asked("7-14", gives="handled", called=1)
async def handed_on_and_handled() -> Any:
    """Who catches the end of its time goes on."""
    try:
        return await submitted("7-14", timeout=3)
    except TimeoutError:
        return "handled"


@asked("7-15", gives=None, sends=[Send(1, "7-15")])
async def handed_on_for_nothing() -> Any:
    """What is sent may be nothing."""
    return await submitted("7-15")
