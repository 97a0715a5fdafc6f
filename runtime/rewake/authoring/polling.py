"""`wait_until`: ask again and again, and hold nothing in between.

It is a step and a timer in turn, both as any other, so nothing here is new to the replay core:
what a check found is kept before anybody decides by it, and a run that waits for its next check is
parked. So a poll of ten thousand checks is a history of that length, and an instance that holds one
open operation.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import Any, Final, TypedDict, TypeVar, Unpack, cast, overload

from rewake.authoring.policy import Seconds, positive
from rewake.authoring.step import step
from rewake.authoring.time import pause
from rewake.replay.operation import operation
from rewake.replay.scope import short_name

R = TypeVar("R")
S = TypeVar("S")

Every = Seconds | Callable[[Any, int], Seconds]


class PollOptions(TypedDict, total=False):
    """The options of a poll; durations are seconds, or a `timedelta`.

    `every`: the wait between two checks; or a function of the newest value and of how many checks
    there were. `timeout`: how long all may take, a check under way included. `max_checks`: how many
    there may be. `name`: that of the checks in keys and the timeline, by default the function's.
    `retries`: of each check.
    """

    every: Every
    timeout: Seconds | None
    max_checks: int | None
    name: str
    retries: int


class _Unset:
    """There is no state."""

    def __repr__(self) -> str:
        return "<no state>"


_UNSET: Final = cast("Any", _Unset())


@overload
async def wait_until(
    check: Callable[[], Awaitable[R]],
    /,
    *,
    done: Callable[[R], object] = ...,
    **options: Unpack[PollOptions],
) -> R: ...
@overload
async def wait_until(
    check: Callable[[], R],
    /,
    *,
    done: Callable[[R], object] = ...,
    **options: Unpack[PollOptions],
) -> R: ...
@overload
async def wait_until(
    check: Callable[[S], Awaitable[S]],
    /,
    *,
    state: S,
    done: Callable[[S], object] = ...,
    **options: Unpack[PollOptions],
) -> S: ...
@overload
async def wait_until(
    check: Callable[[S], S],
    /,
    *,
    state: S,
    done: Callable[[S], object] = ...,
    **options: Unpack[PollOptions],
) -> S: ...
@operation
async def wait_until(
    check: Callable[..., Any],
    /,
    *,
    state: Any = _UNSET,
    done: Callable[[Any], object] = bool,
    **options: Unpack[PollOptions],
) -> Any:
    """Call `check` until it gives something true, and return that; nothing runs in between.

        invoice = await wait_until(find_invoice, every=60, timeout=timedelta(days=2))
        job = await wait_until(refresh, state=job, done=lambda job: job["state"] == "ready")

    `check` is a step: sync or async, it may run again if its process dies, and what it gave is
    kept. With a `state` it is called with that, and gives the next one. `done(value)` decides, in
    the workflow's body, whether to stop: by default, whether it is true. The first check is made at
    once, each further one 5 seconds after the one before. For the options see `PollOptions`.

    Outside a run it does the same in place, and keeps nothing.

    Raises:
        TimeoutError: `timeout` is over, or `max_checks` were made.
        TaskError: a check failed.
        ValueError: a duration is negative or no number, or `max_checks` is below 1.
    """
    given: PollOptions = {"name": _name_of(check), **options}
    return await _Poll(**given).carry_out(check, state, done)


@dataclass(frozen=True, slots=True)
class _Poll:
    """`PollOptions`, checked and with their defaults."""

    name: str = ""
    every: Every = 5
    timeout: Seconds | None = None
    max_checks: int | None = None
    retries: int = 0

    def __post_init__(self) -> None:
        positive("timeout", self.timeout)
        if not callable(self.every):
            _pause_of(self.every)
        most = self.max_checks
        if most is not None and (type(most) is not int or most < 1):
            raise ValueError(f"max_checks is a whole number from 1 on, not {most!r}")

    async def carry_out(
        self, check: Callable[..., Any], state: Any, done: Callable[[Any], object]
    ) -> Any:
        limit = positive("timeout", self.timeout)
        window = asyncio.timeout(None if limit is None else limit / 1000)
        try:
            async with window:
                return await self._ask(check, state, done)
        except TimeoutError:
            if limit is None or not window.expired():
                raise
            told = f"{self.name!r} was not done within {limit / 1000:g} s"
            raise TimeoutError(told) from None

    async def _ask(
        self, check: Callable[..., Any], state: Any, done: Callable[[Any], object]
    ) -> Any:
        count = 0
        while True:
            bound = check if state is _UNSET else functools.partial(check, state)
            found = await step(self.name, bound, retries=self.retries)
            count += 1
            if done(found):
                return found
            if count == self.max_checks:
                raise TimeoutError(f"{self.name!r} was not done after {count} checks")
            state = state if state is _UNSET else found
            every = self.every
            await pause(_pause_of(every(found, count) if callable(every) else every), "wait_until")


def _pause_of(given: Any) -> Seconds:
    """How long to wait, checked. Raises `ValueError`."""
    wait = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait < inf:
        raise ValueError(f"every is how long to wait, in seconds or as a timedelta, not {given!r}")
    return wait


def _name_of(check: Callable[..., Any]) -> str:
    while isinstance(check, functools.partial):
        check = check.func
    return short_name(getattr(check, "__qualname__", type(check).__qualname__))
