"""Messages that wait for their time, as timers of the event loop: one for each run or task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rewake.records import Invocation, Millis


class Delays:
    """Calls `send` with each message when its wait is over. A newer one replaces an older one."""

    def __init__(self, send: Callable[[Invocation], None]) -> None:
        self._send = send
        self._timers: dict[tuple[str, str], asyncio.TimerHandle] = {}

    def add(self, invocation: Invocation, wait: Millis) -> None:
        """Send the message in `wait` milliseconds."""
        key = (invocation.run, invocation.key)
        if (earlier := self._timers.get(key)) is not None:
            earlier.cancel()
        loop = asyncio.get_running_loop()
        self._timers[key] = loop.call_later(wait / 1000, self._fire, key, invocation)

    def clear(self) -> None:
        """Send none of the messages that wait."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _fire(self, key: tuple[str, str], invocation: Invocation) -> None:
        self._timers.pop(key, None)
        self._send(invocation)
