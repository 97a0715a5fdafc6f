"""What the turns of a run do so that events find its waits, and find ended ones no more.

A wait is made known once it is committed, and before its turn parks the run. A turn that follows
one that parked it or left it in order (`Header.rest`) finds that done; any other does it again for
all that is open, which changes nothing where it was done. A wait that has ended is made unknown
after the commit that says so. Should its process die in between, the next event finds that it has
ended.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from rewake.authoring.events import Asked, asked_of
from rewake.engine.services import Services
from rewake.errors import StoreError
from rewake.published import Subscription
from rewake.records import Header
from rewake.replay.execution import Execution
from rewake.replay.operation import OpenOp
from rewake.stores.patience import gathered

AT_ONCE = 25
"""So many waits are made known at once."""
log = logging.getLogger("rewake.engine")


class _Known(NamedTuple):
    """A wait that is known outside."""

    name: str
    asked: Asked
    waiting: Subscription


class Subscriptions:
    """The subscriptions of one run, for one turn.

    `owed`: whether some of what is committed may not be known outside.
    """

    def __init__(self, services: Services, header: Header) -> None:
        self._services = services
        self._run = header.run
        self._known: dict[str, _Known] = {}
        self._ended: list[_Known] = []
        left_in_order = header.rest == header.epoch - 1
        # The first turn owes nothing but what a fork has copied.
        self.owed = not left_in_order or (not header.rest and header.count > 1)

    def begin(self, execution: Execution, *, anew: bool) -> None:
        """Take up an execution. `anew`: all that is open is to be made known again."""
        committed = _open(execution)
        if committed and execution.fresh:
            fresh = {getattr(entry, "key", "") for entry in execution.fresh}
            committed = [op for op in committed if op.key not in fresh]
        self.owed = bool(committed) and (self.owed or anew)
        if not self.owed:
            for op in committed:
                self._note(execution, op)

    def forget(self) -> None:
        """Let all be made known again: what was begun of that may have failed."""
        self._known.clear()
        self.owed = True

    def unknown(self, execution: Execution) -> list[OpenOp]:
        """The open waits that are not known outside yet."""
        found = _open(execution)
        if found:
            found = [op for op in found if op.key not in self._known]
        self.owed = bool(found)
        return found

    async def make(self, execution: Execution, ops: Sequence[OpenOp]) -> None:
        """Make waits known, which are committed, and let each find what is there."""
        for first in range(0, len(ops), AT_ONCE):
            some = ops[first : first + AT_ONCE]
            asked = [self._note(execution, op).asked for op in some]
            subscribe = self._services.events.subscribe
            await gathered(subscribe(self._run, *each) for each in zip(some, asked, strict=True))

    def note_committed(self, execution: Execution) -> None:
        """Note, once that is committed, which waits are open, and which known ones no more."""
        self.owed = bool(self.unknown(execution))
        if self._known:
            keys = [key for key in self._known if key not in execution.open]
            self._ended += [self._known.pop(key) for key in keys]

    async def drop(self) -> None:
        """Make waits unknown that have ended. What fails is left to the next event."""
        ended, self._ended = self._ended, []
        try:
            for name, asked, waiting in ended:
                await self._services.events.unsubscribe(name, asked, waiting)
        except StoreError as error:
            log.warning("ended waits of run %s are still subscribed: %s", self._run, error)

    def _note(self, execution: Execution, op: OpenOp) -> _Known:
        assert op.args is not None
        asked = asked_of(execution.codec, op.key, op.args)
        waiting = Subscription(self._run, op.key, op.round)
        known = self._known[op.key] = _Known(op.name, asked, waiting)
        return known


def _open(execution: Execution) -> list[OpenOp]:
    return [op for op in execution.open.values() if op.kind.traits.subscribes]
