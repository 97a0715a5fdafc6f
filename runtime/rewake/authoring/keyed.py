"""`state`: a small value under a name and a key, with one writer at a time.

In a body, entering the block and leaving it are a step each; who has to wait meanwhile is suspended
until a signal of whoever lets go. `rewake.engine.keyed` has the rules.
"""

from __future__ import annotations

import asyncio
import copy
import re
from contextlib import suppress
from types import TracebackType
from typing import Any

from rewake.authoring.context import current_context
from rewake.authoring.policy import Seconds, seconds
from rewake.authoring.sending import sent
from rewake.authoring.signals import wait_for_signal
from rewake.authoring.time import uuid4
from rewake.errors import InvalidInput
from rewake.replay.execution import current
from rewake.values.emitted import size_of
from rewake.values.text import storable, stored_size

LOOK_AGAIN = 30.0
"""After so many seconds of waiting a body looks again itself, and then after twice as many."""
SELDOM = 600.0
LONGEST_KEY = 200
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}", re.ASCII)
_plain: dict[tuple[str, str], Any] = {}


class Held:
    """A state that is held. `value`: JSON, None at first; it is written at the end of the block."""

    __slots__ = ("_key", "_name", "_timeout", "_token", "value")

    def __init__(self, name: str, key: str, timeout: float) -> None:
        self._name, self._key, self._timeout = name, key, timeout
        self._token = ""
        self.value: Any = None

    async def __aenter__(self) -> Held:
        if current() is None and current_context() is None:
            self.value = copy.deepcopy(_plain.get((self._name, self._key)))
            return self
        self._token = "" if current() is None else uuid4().hex
        try:
            await self._stand_in_line()
        except BaseException:
            if self._token:
                await self._leave(keeps=True)
            raise
        return self

    async def _stand_in_line(self) -> None:
        left, again = self._timeout, LOOK_AGAIN
        while True:
            found = await self._enter()
            if found["held"]:
                self.value = found["value"]
                return
            if left <= 0:
                told = f"the state {self._name}/{self._key} is held by run {found['holder']!r}"
                raise TimeoutError(f"{told}, and was not free within {self._timeout:g} s")
            wait = min(left, again)
            await self._wait(wait)
            left, again = left - wait, min(2 * again, SELDOM)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if current() is None and current_context() is None:
            if kind is None:
                size_of(self.value)
                _plain[self._name, self._key] = copy.deepcopy(self.value)
            return
        if kind is None:
            size_of(self.value)
        await self._leave(keeps=kind is not None)

    async def _leave(self, *, keeps: bool) -> None:
        name, key, token, value = self._name, self._key, self._token, self.value
        label = f"leave {name}"
        await sent(label, lambda reach, _: reach.leave_state(name, key, token, value, keeps))

    async def _enter(self) -> dict[str, Any]:
        name, key, token = self._name, self._key, self._token
        found: dict[str, Any] = await sent(
            f"enter {name}", lambda reach, own: reach.enter_state(name, key, token or own)
        )
        self._token = found["token"]
        return found

    async def _wait(self, wait: float) -> None:
        if current() is None:
            await asyncio.sleep(min(wait, 0.5))
            return
        with suppress(TimeoutError):
            await wait_for_signal(f"state:{self._token}", timeout=wait)


def state(name: str, key: str, *, timeout: Seconds = 60) -> Held:
    """A small value that one has at a time, inside and outside of runs.

        async with state("cart", customer) as cart:
            cart.value = [*(cart.value or []), item]

    `value` is JSON of at most 64 KiB, None at first. What it is at the end of the block is written,
    once; if the block is left by an exception nothing is. In a workflow it is durable: what was
    read is recorded, and a run whose process dies has the state still. In a task or a step it is
    held by that one's run. `timeout` (seconds, or a `timedelta`) is for how long it waits in line.

    Outside a run it is kept in this process alone; a program has `/v1/state/{name}/{key}`.

    Raises:
        InvalidInput: the name or the key cannot be one, or the value is not JSON.
        TimeoutError: it was not free in time; names the run that holds it, as where two runs
            take two states in other orders.
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
