"""`state`: a small value under a name and a key, with one writer at a time.

In a body, entering the block and leaving it are a step each; who has to wait meanwhile is suspended
until a signal of whoever lets go. `rewake.engine.outside.keyed` has the rules.
"""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any

from rewake.authoring.context import Reach, current_context, task_context
from rewake.authoring.policy import Seconds, seconds
from rewake.authoring.sending import next_id, sent
from rewake.authoring.signals import wait_for_signal
from rewake.authoring.time import uuid4
from rewake.errors import InvalidInput
from rewake.keyed import TURN
from rewake.replay.execution import current
from rewake.values.emitted import LARGEST, json_of
from rewake.values.text import storable, stored_size

LOOK_AGAIN = 30.0
"""After so many seconds of waiting a body looks again itself, and then after twice as many."""
SELDOM = 600.0
POLL, SELDOM_POLLED = 0.25, 2.0
"""The same of an attempt, which nobody tells."""
LONGEST_KEY = 200
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}", re.ASCII)
_plain: dict[tuple[str, str], Any] = {}


class Held:
    """A state that is held. `value`: JSON, None at first; it is written at the end of the block."""

    __slots__ = ("_key", "_name", "_timeout", "_token", "_version", "value")

    def __init__(self, name: str, key: str, timeout: float) -> None:
        self._name, self._key, self._timeout = name, key, timeout
        self._token = ""
        self._version = 0
        self.value: Any = None

    async def __aenter__(self) -> Held:
        context = current_context()
        if current() is not None:
            self._token = uuid4().hex
        elif context is not None and context.reach is not None:
            self._token = next_id(context)
        else:
            self.value = copy.deepcopy(_plain.get((self._name, self._key)))
            return self
        try:
            await self._stand_in_line()
        except BaseException:
            await self._let_go()
            raise
        return self

    async def _stand_in_line(self) -> None:
        first, seldom = (POLL, SELDOM_POLLED) if current() is None else (LOOK_AGAIN, SELDOM)
        left, again = self._timeout, first
        while True:
            found = await self._enter()
            if found["held"]:
                self.value, self._version = found["value"], found["version"]
                return
            if left <= 0:
                told = f"the state {self._name}/{self._key} is held by run {found['holder']!r}"
                raise TimeoutError(f"{told}, and was not free within {self._timeout:g} s")
            wait = min(left, again)
            await self._wait(wait)
            left, again = left - wait, min(2 * again, seldom)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token:
            try:
                await self._leave(writes=kind is None)
            except asyncio.CancelledError:
                await self._let_go()
                raise
        elif kind is None:
            json_of(self.value, "the value of a state", LARGEST)
            _plain[self._name, self._key] = copy.deepcopy(self.value)

    async def _let_go(self) -> None:
        """Leave, however often that is cancelled: else this run would have it to its end."""
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                await self._leave(writes=False)
                break
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def _leave(self, *, writes: bool) -> None:
        try:
            if writes:
                json_of(self.value, "the value of a state", LARGEST)
        except InvalidInput:
            await self._leave(writes=False)
            raise
        place, value = self._place(), self.value
        read = self._version if writes else None
        await _reached(f"leave {self._name}", lambda reach: reach.leave_state(*place, value, read))

    async def _enter(self) -> dict[str, Any]:
        place = self._place()
        found: dict[str, Any] = await _reached(
            f"enter {self._name}", lambda reach: reach.enter_state(*place)
        )
        return found

    def _place(self) -> tuple[str, str, str, int, str]:
        if (execution := current()) is not None:
            return self._name, self._key, self._token, execution.round, ""
        context = task_context()
        return self._name, self._key, self._token, context.attempt, context.key

    async def _wait(self, wait: float) -> None:
        if current() is None:
            await asyncio.sleep(wait)
            return
        with suppress(TimeoutError):
            await wait_for_signal(f"{TURN}{self._token}", timeout=wait)


async def _reached(label: str, act: Callable[[Reach], Coroutine[Any, Any, Any]]) -> Any:
    """Do it: in a body as a step of this label."""
    if current() is not None:
        return await sent(label, lambda reach, _: act(reach))
    reach = task_context().reach
    assert reach is not None
    return await act(reach)


def state(name: str, key: str, *, timeout: Seconds = 60) -> Held:
    """A small value that one has at a time, inside and outside of runs.

        async with state("cart", customer) as cart:
            cart.value = [*(cart.value or []), item]

    `value` is JSON of at most 64 KiB, None at first. What it is at the end of the block is written,
    once; if the block is left by an exception nothing is. In a workflow it is durable: what was
    read is recorded, and a run whose process dies has the state still. In a task or a step it is
    held by that one's run, and a later attempt goes through the block once more. `timeout`
    (seconds, or a `timedelta`) is for how long it waits in line.

    Outside a run it is kept in this process alone; a program has `/v1/state/{name}/{key}`.

    Raises:
        InvalidInput: the name or the key cannot be one, or the value is not JSON.
        TimeoutError: it was not free in time; names the run that holds it, as where two runs
            take two states in other orders.
        TaskError: of type `RunConflict`, at the end of the block, where the run was forked or
            retried within it, and another has the state or has written it since. In a task or a
            step, that error.
    """
    check_place(name, key)
    return Held(name, key, seconds(timeout))


def check_place(name: str, key: str) -> None:
    """Raise `InvalidInput` unless a state can be of this name and key."""
    if not _NAME.fullmatch(name):
        told = "begins with a letter and has at most 40 of A-Z, a-z, 0-9, _, . and -"
        raise InvalidInput(f"{name!r} is no name of a state: that {told}", field="name")
    size = stored_size(storable(key))
    if not 1 <= size <= LONGEST_KEY or not key.isprintable():
        told = f"the key of a state is one line of 1 to {LONGEST_KEY} bytes of UTF-8"
        raise InvalidInput(told, field="key")
