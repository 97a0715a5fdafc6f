"""Messages that are sent before their time, where what carries them keeps them until then.

A process that lives needs none of this: its sweep arms timers. Where none lives, one call a minute
has to do. It looks further ahead than until the next call, and sends what is due by then with its
exact delay. Beyond `Dispatcher.reach` nothing is sent: a run that sleeps for a year costs nothing
until its last minutes, and a schedule of its own would cost two calls, a quota and another state
that must agree.

What was sent is looked at again only `Settings.grace` after its time, when it counts as lost. It is
known by the header's `sent`, where the turn that parked has sent it, and otherwise by a due time
that is later than what is waited for, which whoever sends puts there first.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rewake.engine.attempts.asked import message_for
from rewake.engine.services import Services
from rewake.engine.sweeping.looks import PAGE, look_at_each
from rewake.records import Header, Invocation, Millis, Operation
from rewake.states import ASLEEP, TERMINAL
from rewake.stores.keys import is_schedule
from rewake.stores.paused import is_paused
from rewake.stores.table import Due, Key
from rewake.tags import UNTAGGED


def look_at(header: Header, grace: Millis) -> Millis | None:
    """When a sweep has to see whether a parked run was woken for its `wake`."""
    if header.wake is None or header.sent != header.wake:
        return header.wake
    return header.wake + grace


class Ahead:
    """Sends what will be due soon, if the dispatcher keeps it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store

    async def send(self, until: Millis) -> None:
        """Send the messages for all that is due until then, also of tags that have a route."""
        tags = self._services.tags
        for tag in [UNTAGGED, *filter(tags.is_routed, tags.known)]:
            await self._send_part(tag, until)

    async def _send_part(self, tag: str, until: Millis) -> None:
        last: Due | None = None
        while self._services.goes_ahead(until, tag):
            found = await self._store.due(until, limit=PAGE, tag=tag, after=last)
            now = self._services.clock.now()
            await self._send([due for due in found if due.due > now], until)
            if len(found) < PAGE:
                return
            last = found[-1]

    async def _send(self, found: Sequence[Due], until: Millis) -> None:
        async def look(key: Key) -> Invocation | None:
            return await self._message(key, until)

        messages = [each for _, each in await look_at_each(found, look) if each is not None]
        if messages:
            await self._services.dispatch(messages)

    async def _message(self, key: Key, until: Millis) -> Invocation | None:
        """The message for an item, if this process is the one to send it."""
        if is_schedule(key):
            return None
        item = await self._store.item(key)
        if isinstance(item, Header):
            at, due = self._wake(item), item.due
        elif isinstance(item, Operation):
            at, due = _retry(item), item.due
        else:
            return None
        # It was read a moment ago: it may be over, or somebody else's.
        if at is None or due is None or due > at or not self._services.clock.now() < at <= until:
            return None
        later = at + self._services.settings.grace
        if not await self._store.postpone(key, due, later, of=item):
            return None
        if isinstance(item, Header):
            return Invocation(item.run, not_before=at)
        header = await self._store.header(item.run)
        over = header.state in TERMINAL or is_paused(header)
        found = None if over else await message_for(self._store, header, item)
        return None if found is None else msgspec.structs.replace(found, not_before=at)

    def _wake(self, header: Header) -> Millis | None:
        """For when a parked run has to be woken, if nobody has sent that yet."""
        if header.state not in ASLEEP or header.sent == header.wake:
            return None
        # A check of its tasks is due before: it is not to be put off.
        if header.check_at is not None and header.wake is not None:
            return header.wake if header.check_at > header.wake else None
        return header.wake


def _retry(operation: Operation) -> Millis | None:
    """For when a task waits for its next attempt."""
    free = operation.outcome is None and not operation.owner and operation.kind.traits.dispatched
    return operation.not_before if free else None
