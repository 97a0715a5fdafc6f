"""Notices between processes that something is due: LISTEN and NOTIFY.

A notice is sent after the flight that is its reason, by a statement of its own, and few a second
are: a transaction that notifies takes a lock that all others of the server wait for. Behind a
pooler nothing can be heard, and sweeps find what is due.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from rewake.clock import SystemClock
from rewake.errors import StoreError
from rewake.records import Millis
from rewake.stores.postgres.connecting import connect, in_time, is_pooled
from rewake.stores.postgres.flight import Row
from rewake.stores.postgres.place import Place

log = logging.getLogger("rewake.postgres")

PAUSE = 0.05
"""Seconds between two notices of an event loop."""
NOTIFY = "SELECT pg_notify(%s, %s)"
_QUIET = 30.0
"""Seconds without a notice, after which the server is asked whether it is still there."""
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0
"""Seconds until a lost connection is replaced, more after each failure."""


def channel_of(schema: str) -> str:
    """The channel of a schema."""
    return f"rewake_{schema}"


def is_due(rows: Sequence[Row], now: Millis) -> bool:
    """Whether something that was written is due by now."""
    return any(row.place is not None and row.place.due <= now for row in rows)


class Notices:
    """Sends the notices of one process about a schema, and hears those of others."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._clock = SystemClock()
        self._name = secrets.token_hex(8)
        self._listening: set[psycopg.AsyncConnection[Any]] = set()

    def descriptors(self) -> list[int]:
        """The numbers under which this process has connections open that it listens by."""
        return [each.fileno() for each in list(self._listening) if not each.closed]

    def are_due(self, rows: Sequence[Row]) -> bool:
        """Whether something that was written is due at once."""
        return is_due(rows, self._clock.now())

    @property
    def values(self) -> tuple[str, str]:
        """What `NOTIFY` is sent with."""
        return channel_of(self._place.schema), self._name

    async def listen(self, heard: Callable[[], object]) -> None:
        """As `Herald.listen`."""
        wait, now = _FIRST_WAIT, asyncio.get_running_loop().time
        while True:
            began = now()
            try:
                if not await self._listen_once(heard):
                    log.info("%s is behind a pooler: what is due is found by sweeps", self._place)
                    return
            except (psycopg.Error, StoreError) as error:
                wait = _FIRST_WAIT if now() - began > _LONGEST_WAIT else wait
                log.debug("notices are not heard for %g s: %s", wait, error)
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    async def _listen_once(self, heard: Callable[[], object]) -> bool:
        """Listen until the connection is lost; False if nothing can be heard."""
        connection = await connect(self._place)
        self._listening.add(connection)
        try:
            if await is_pooled(connection, self._place):
                return False
            channel = Identifier(channel_of(self._place.schema))
            await in_time(connection.execute(SQL("LISTEN {}").format(channel)), self._place)
            heard()  # what was sent before, and was not heard
            while True:
                async for notice in connection.notifies(timeout=_QUIET):
                    if notice.payload != self._name:
                        heard()
                # A proxy may hide for ever that there is nobody any more.
                await in_time(connection.execute("SELECT"), self._place)
        finally:
            self._listening.discard(connection)
            connection.pgconn.finish()


class Telling:
    """Sends notices of one event loop, not too many a second, by `send`."""

    def __init__(self, send: Callable[[], Awaitable[Any]]) -> None:
        self._send = send
        self._wanted = False
        self._sending: asyncio.Task[None] | None = None

    def tell(self) -> None:
        """Send one, at once or after the pause."""
        self._wanted = True
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._keep_sending())

    async def close(self) -> None:
        """Send what is to be sent, and no more."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])
        if self._wanted:
            await self._send_one()

    async def _keep_sending(self) -> None:
        try:
            while self._wanted:
                await self._send_one()
                await asyncio.sleep(PAUSE)
        finally:
            self._sending = None

    async def _send_one(self) -> None:
        self._wanted = False  # what comes from here on wants another
        try:
            await self._send()
        except StoreError:
            log.debug("a notice was not sent: a sweep finds what it was about", exc_info=True)
