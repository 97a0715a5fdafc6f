"""Keeps what was sent to webhooks, and what became of it, for operators.

An entry is written before the delivery is answered, so that it can be found by whoever was told of
it; but one that cannot be written fails nothing, and no answer waits for it for long.

Of what was verified each delivery is kept. What strangers send and is refused must not cost a write
each, nor fill what others are looked for in: of each hook, and of all paths that no hook has, `FEW`
a minute are kept by each server, in a small series of their own, and the next one says how many
were left out before it (`more`). Beyond that a stranger costs no write at all.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from enum import StrEnum

from rewake.clock import Clock
from rewake.ledger import Received
from rewake.records import Millis
from rewake.stores.deliveries import FAILED, PASSED, STARTED, STRANGERS, Deliveries

log = logging.getLogger("rewake.hooks")

FEW = 20
"""The most deliveries of strangers that one hook keeps in a minute."""
LARGEST_KEPT = 256 * 1024
"""The most bytes of a body that is kept."""
MOST_UNDER_WAY = 500
"""So many are being written at the most; more are not kept, for the database is behind."""
_MINUTE: Millis = 60_000
_PATIENCE = 2.0
"""Seconds that an answer waits for its entry."""


class Became(StrEnum):
    """What became of a delivery. Part of the stored format."""

    STARTED = "started"
    REPEATED = "repeated"
    """It had been delivered before, and started a run then."""
    IGNORED = "ignored"
    """The app said that it is not for it."""
    ANSWERED = "answered"
    """A handshake."""
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(slots=True)
class _Strangers:
    """What strangers sent to one hook in a minute."""

    since: Millis
    kept: int = 0
    left_out: int = 0


class Keeper:
    """Keeps the deliveries to the hooks of one app."""

    def __init__(self, deliveries: Deliveries, clock: Clock) -> None:
        self._deliveries = deliveries
        self._clock = clock
        self._strangers: dict[str, _Strangers] = {}
        self._under_way: set[asyncio.Task[None]] = set()

    def admit(self, hook: str) -> int | None:
        """Whether one of a stranger is kept: how many before it were not; None: it is left out.

        `hook` is the path of the hook; empty for paths that none has.
        """
        now = self._clock.now()
        found = self._strangers.setdefault(hook, _Strangers(now))
        if not 0 <= now - found.since < _MINUTE:
            found.since, found.kept = now, 0
        if found.kept >= FEW:
            found.left_out += 1
            return None
        found.kept += 1
        more, found.left_out = found.left_out, 0
        return more

    async def keep(self, delivery: Received, body: bytes, *, known: bool) -> None:
        """Keep a delivery. `known`: it was verified. Raises nothing."""
        if len(self._under_way) >= MOST_UNDER_WAY:
            log.error("a delivery to /hooks/%s is not kept: the database is behind", delivery.path)
            return
        writing = asyncio.ensure_future(self._write(delivery, body, series_of(delivery, known)))
        self._under_way.add(writing)
        writing.add_done_callback(self._under_way.discard)
        await asyncio.wait({writing}, timeout=_PATIENCE)

    async def _write(self, delivery: Received, body: bytes, series: str) -> None:
        try:
            await self._deliveries.append(delivery, body, series)
        except Exception as error:  # of any kind: what was done stays done
            log.error("a delivery to /hooks/%s could not be kept: %s", delivery.path, error)

    async def close(self) -> None:
        """Wait for what is being written."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=_PATIENCE)


def series_of(delivery: Received, known: bool) -> str:
    """The series in which it is kept."""
    if delivery.verdict == Became.STARTED:
        return STARTED
    if not known:
        return STRANGERS
    return FAILED if delivery.verdict in (Became.REFUSED, Became.FAILED) else PASSED
