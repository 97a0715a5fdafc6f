"""Requests to cancel: by people, and by runs that have begun others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewake.records import Header
from rewake.states import MOVES, Move
from rewake.stores.keys import header_key
from rewake.stores.processes import Processes
from rewake.stores.table import Check, Written, holds
from rewake.stores.writes import FORCE, begins

GOES_ON: Mapping[str, Any] = {"wake": None, "sent": None, "pause": False}
"""The fields of a run that goes on before what it waits for."""


class Cancels(Processes):
    """Asks runs to cancel."""

    async def _ask_to_cancel(
        self,
        run: str,
        reason: str,
        asked: int,
        *,
        even_stuck: bool = False,
        mark: str | None = None,
    ) -> Written:
        """Ask a run to cancel that was asked so many times before, if it has not ended.

        The run is due at once, for this process may die before it tells any other. A run that is
        paused, or has not begun, goes on with it: its cleanup runs. `even_stuck`: of a stuck one
        the request is kept, for when it is resumed. `mark`: only while its header has this one.
        """
        now = self._clock.now()
        told = {"cancel": reason, "cancels": asked + 1, "due": now, "pause": False}
        counted, more = [Check("cancels", "=", asked)], {"arrivals": 1, "gap": -FORCE}
        counted += [] if mark is None else [Check("mark", "=", mark)]
        where, waits = header_key(run), Move.CANCEL_WAITING
        goes_on = {**told, **GOES_ON, "state": MOVES[waits].target, "check_at": now}
        changes = {Move.CANCEL: told, waits: goes_on}
        if even_stuck:
            changes[Move.CALL_OFF] = told
        while True:  # again where it was paused or resumed between the two
            for move, change in changes.items():
                when = [[begins(move), *counted]]
                written = await self._update(where, when=when, set=change, add=more)
                found: Header | None = written.item
                if written.ok or found is None or not holds([counted], found):
                    return written
                if not any(begins(each).holds(found) for each in changes):
                    return written
