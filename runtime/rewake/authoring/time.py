"""Time and chance inside a workflow: the same live and on replay."""

from __future__ import annotations

import asyncio
import random as random_module
import uuid
from datetime import UTC, datetime, timedelta

from rewake.authoring.policy import Seconds, millis, seconds
from rewake.kinds import Kind
from rewake.replay.execution import current
from rewake.replay.operation import operation

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_local_random = random_module.Random()


@operation
async def sleep(duration: Seconds, *, name: str = "sleep") -> None:
    """Suspend the workflow for that long (seconds, or a `timedelta`): milliseconds to years.

        await sleep(0.5)
        await sleep(timedelta(days=30), name="trial period")

    Nothing runs meanwhile. Outside a run this is `asyncio.sleep`. A duration of zero or less
    only lets other branches go first. `name` is what it is called in its key and in the timeline.

    Raises `ValueError` for a duration that is infinite, or not a number, and for an empty name.
    """
    _check(name)
    await pause(duration, name)


async def pause(duration: Seconds, label: str) -> None:
    """Do what `sleep` does, under another name."""
    execution, wait = current(), millis(duration)
    if execution is None or wait <= 0:
        await asyncio.sleep(max(0.0, seconds(duration)))
    else:
        await execution.request(Kind.TIMER, label, due=execution.machine + wait)


@operation
async def sleep_until(moment: datetime, *, name: str = "sleep") -> None:
    """Suspend the workflow until that moment; one in the past is no wait. `name`: as in `sleep`.

        await sleep_until(now().replace(hour=9, minute=0) + timedelta(days=1))

    Raises `ValueError` for a `datetime` without a time zone, and for an empty name.
    """
    _check(name)
    if moment.tzinfo is None:
        raise ValueError("sleep_until() needs a datetime with a time zone")
    execution, wait = current(), millis(moment - now())
    if execution is None or wait <= 0:
        await sleep(moment - now())
    else:
        await execution.request(Kind.TIMER, name, due=execution.clock + wait, fixed=True)


def _check(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"the name of a sleep is text, not {name!r}")
    if not name:
        raise ValueError("the name of a sleep is not empty")


def now() -> datetime:
    """The time, aware and in UTC.

    In a workflow: when the newest event was observed, to the millisecond; it stands still while
    the workflow computes. It never goes back: it stands while the machine's clock, set right, is
    behind it, and what is slept meanwhile takes its time all the same.
    """
    execution = current()
    if execution is None:
        return datetime.now(UTC)
    return _EPOCH + timedelta(milliseconds=execution.clock)


def random() -> random_module.Random:
    """A source of random numbers; in a workflow, seeded by the run."""
    execution = current()
    return _local_random if execution is None else execution.blocks.inside.chance.numbers


def uuid4() -> uuid.UUID:
    """A random UUID; in a workflow, the same on replay. Not for secrets: the seed is stored."""
    execution = current()
    return uuid.uuid4() if execution is None else execution.blocks.inside.chance.uuid4()
