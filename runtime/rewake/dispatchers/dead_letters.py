"""The queue of messages that nobody could make anything of, for people to look at.

A queue cannot be listed: one receives from it. So a look takes messages, which hides them for some
seconds, and gives them back. What is sent again is sent as it was, signature and all, so that
nothing forged becomes genuine by it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from rewake.aws.queue import BATCH, Letter, Outgoing, Queue, fitting
from rewake.dispatchers.dispatcher import Parked
from rewake.errors import TransportUnavailable
from rewake.records import Invocation
from rewake.signing.envelopes import message_in

log = logging.getLogger("rewake.dispatcher")

MOST = 200
"""How many messages one look takes at most."""
REASON = "Reason"
"""The attribute of a message that says why it was parked."""
UNKNOWN = "it was received too often, and never done"
"""The reason of what the service itself has moved, by its redrive policy."""

_HIDDEN = 10  # Seconds for which a look hides what it sees, if it dies.
_WAIT = 1  # Seconds until it is sure that there is no more.


class DeadLetterQueue:
    """What is parked in `parked`, away from `origin`."""

    def __init__(self, parked: Queue, origin: Queue) -> None:
        self._parked = parked
        self.origin = origin

    async def park(self, body: str, reason: str) -> bool:
        """Put a message where a person sees it. False: it could not be; it should come again."""
        log.error("a message is put into %s: %s", self._parked.name, reason)
        for notes in ({REASON: reason}, {}):  # the largest there can be has no room for a reason
            try:
                if not await self._parked.send([Outgoing(body, notes=notes)]):
                    return True
            except TransportUnavailable as error:
                log.warning("a message cannot be parked: %s", error)
                if error.passes:
                    return False
        return False

    async def page(self, most: int) -> tuple[Sequence[Parked], bool]:
        """See `DeadLetters`."""
        async with self._looking(min(most, MOST)) as (letters, more):
            return [_shown(each) for each in letters], more

    async def find(self, id: str) -> Parked | None:
        """See `DeadLetters`."""
        async with self._looking(MOST) as (letters, _):
            return next((_shown(each) for each in letters if each.id == id), None)

    async def redrive(self, id: str | None) -> int:
        """See `DeadLetters`."""
        sent = 0
        async with self._looking(MOST) as (letters, _):
            wanted = [each for each in letters if id is None or each.id == id]
            for part in fitting(wanted):
                left = await self.origin.send([Outgoing(each.body) for each in part])
                again = {each.body for each in left}
                gone = [each for each in part if each.body not in again]
                await self._parked.delete(gone)
                sent += len(gone)
        return sent

    @asynccontextmanager
    async def _looking(self, most: int) -> AsyncIterator[tuple[list[Letter], bool]]:
        found: list[Letter] = []
        try:
            while len(found) < most:
                # With no wait at all, only some of the service's servers are asked.
                part = await self._parked.receive(min(BATCH, most - len(found)), _HIDDEN, _WAIT)
                if not part:
                    break
                found += part
            yield found, len(found) >= most
        finally:
            await self._parked.hide(found, 0)


def _shown(letter: Letter) -> Parked:
    message = message_in(letter.body)
    try:
        found = Invocation("") if message is None else msgspec.json.decode(message, type=Invocation)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        found = Invocation("")
    reason = letter.notes.get(REASON, UNKNOWN)
    body = letter.body if message is None else message
    size = len(letter.body.encode(errors="surrogatepass"))
    return Parked(letter.id, letter.sent, reason, found.run, found.key, size, body)
