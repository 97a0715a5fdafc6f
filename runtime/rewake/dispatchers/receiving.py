"""What becomes of a message that was received from something that keeps it.

It is *done* once nothing of it is left to do. It comes *again* while another process has its work,
since that may die: it is never acknowledged away. It is *parked* where a person sees it, with the
reason, if nobody can make anything of it.

Whom only this process does not know (a newer version, a secret that was rotated elsewhere first)
another may: such a message comes again a few times before it is parked. So does one at which the
handler fails.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from rewake.clock import Clock
from rewake.dispatchers.dispatcher import Closing, Handler
from rewake.records import Invocation, Millis
from rewake.signing.envelopes import Refusal, opened
from rewake.signing.secret import Secret

log = logging.getLogger("rewake.dispatcher")

TRIES = 5
"""How often a message that cannot be handled is received before it is parked."""
LONGEST_WAIT: Millis = 2_000
"""How early a message may be so that it is waited for; one that is earlier comes again."""
LONGEST_AWAY: Millis = 900_000
"""The longest that a message stays away before it comes again."""

LONGEST_HIDDEN = 11 * 3600
"""The most seconds for which a message is hidden: a queue counts twelve hours from its receipt on,
and refuses what is longer.
"""

_FIRST_AWAY: Millis = 1_000
_SKEW: Millis = 500  # How much earlier it may be by this clock than by that of who sent it.


class Done(NamedTuple):
    """Nothing of the message is left to do."""


class Again(NamedTuple):
    """It is to come again in so many milliseconds."""

    wait: Millis


class Park(NamedTuple):
    """Nobody can make anything of it."""

    reason: str


Fate = Done | Again | Park


class Receiver:
    """Hands messages to `handler`, and says what becomes of each."""

    def __init__(self, handler: Handler, secret: Secret, clock: Clock) -> None:
        self._handler = handler
        self._secret = secret
        self._clock = clock

    def read(self, envelope: str | Mapping[str, Any]) -> Invocation | Refusal:
        """The message in an envelope, or why there is none for this process."""
        return opened(self._secret, envelope)

    async def take(self, found: Invocation | Refusal, count: int = 1) -> Fate:
        """Act on what was read, which was received for the `count`-th time. Raises `Closing`."""
        if isinstance(found, Refusal):
            return self._refused(found, count)
        early = 0 if found.not_before is None else found.not_before - self._clock.now()
        if early > LONGEST_WAIT + _SKEW:
            return Again(early)
        if early > 0:  # a queue delays by whole seconds
            await self._clock.sleep(early)
        return await self._handled(found, count)

    async def _handled(self, invocation: Invocation, count: int) -> Fate:
        try:
            at = await self._handler(invocation)
        except Closing:
            raise
        except Exception as error:
            log.error("a message about run %s failed", invocation.run, exc_info=error)
            # Its type only: what users put into errors is not for a queue.
            told = f"it was received {count} times, and failed then with {type(error).__name__}"
            return Park(told) if count >= TRIES else Again(away(count))
        if at is None:
            return Done()
        # Longer each time: a queue counts how often it gave a message out.
        return Again(max(at - self._clock.now(), away(count) if count > 1 else 0))

    def _refused(self, refusal: Refusal, count: int) -> Fate:
        if refusal.passing and count < TRIES:
            return Again(away(count))
        return Park(refusal.reason)


def seconds(wait: Millis) -> int:
    """A wait in whole seconds, in which a queue hides a message: never shorter than it is."""
    return min(max(0, -(-wait // 1000)), LONGEST_HIDDEN)


def away(count: int) -> Millis:
    """How long a message stays away that was received so often."""
    wait: Millis = _FIRST_AWAY << min(max(count - 1, 0), 20)
    return min(wait, LONGEST_AWAY)
