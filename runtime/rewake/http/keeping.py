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
from enum import StrEnum

from rewake.clock import Clock
from rewake.http.writes import FewAMinute, Writes
from rewake.ledger import Received
from rewake.stores.deliveries import FAILED, PASSED, STARTED, STRANGERS, Deliveries

log = logging.getLogger("rewake.hooks")

FEW = 20
"""The most deliveries of strangers that one hook keeps in a minute."""
LARGEST_KEPT = 256 * 1024
"""The most bytes of a body that is kept."""
MOST_UNDER_WAY = 500
"""So many are being written at the most; more are not kept, for the database is behind."""
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


class Keeper:
    """Keeps the deliveries to the hooks of one app."""

    def __init__(self, deliveries: Deliveries, clock: Clock) -> None:
        self._deliveries = deliveries
        self._clock = clock
        self._strangers = FewAMinute(FEW)
        self._writes = Writes()

    def admit(self, hook: str) -> int | None:
        """Whether one of a stranger is kept: how many before it were not; None: it is left out.

        `hook` is the path of the hook; empty for paths that none has.
        """
        return self._strangers.admit(hook, self._clock.now())

    async def keep(self, delivery: Received, body: bytes, *, known: bool) -> None:
        """Keep a delivery. `known`: it was verified. Raises nothing."""
        if len(self._writes) >= MOST_UNDER_WAY:
            log.error("a delivery to /hooks/%s is not kept: the database is behind", delivery.path)
            return
        writing = self._writes.begin(self._write(delivery, body, series_of(delivery, known)))
        await asyncio.wait({writing}, timeout=_PATIENCE)

    async def _write(self, delivery: Received, body: bytes, series: str) -> None:
        try:
            await self._deliveries.append(delivery, body, series)
        except Exception as error:  # of any kind: what was done stays done
            log.error("a delivery to /hooks/%s could not be kept: %s", delivery.path, error)

    async def close(self) -> None:
        """Wait for what is being written."""
        await self._writes.close(_PATIENCE)


def series_of(delivery: Received, known: bool) -> str:
    """The series in which it is kept."""
    if delivery.verdict == Became.STARTED:
        return STARTED
    if not known:
        return STRANGERS
    return FAILED if delivery.verdict in (Became.REFUSED, Became.FAILED) else PASSED
