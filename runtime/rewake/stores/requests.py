"""What people ask of a run: to cancel, to end, to go on. Each is one write of its header."""

from __future__ import annotations

from rewake.errors import RunConflict, RunNotFound
from rewake.records import Header, Millis
from rewake.states import MOVES, Move
from rewake.stores.keys import header_key
from rewake.stores.operations import Operations
from rewake.stores.suspects import CLEARED
from rewake.stores.table import Check
from rewake.stores.writes import UNOWNED, begins

FORCE = 10**6
"""By how much a failure or a cancellation lowers the gap, so that it always wakes the run."""


class Requests(Operations):
    """What people ask of a run."""

    async def cancel(self, run: str, reason: str, now: Millis) -> Header:
        """Ask a live run to cancel, once more if it was asked before. Returns its header.

        The run is due at once, for this process may die before it tells any other. The request is
        recognised by its number: of several at the same time, one is made, and stands for all. A
        run that is not live is left as it is. Raises `RunNotFound`.
        """
        asked = (await self.header(run)).cancels
        written = await self._update(
            header_key(run),
            when=[[begins(Move.CANCEL), Check("cancels", "=", asked)]],
            set={"cancel": reason, "cancels": asked + 1, "due": now},
            add={"arrivals": 1, "gap": -FORCE},
        )
        header: Header = written.item
        return header

    async def end(self, run: str, move: Move, reason: str, due: Millis) -> Header:
        """End the run as cancelled by `move`, its history untouched, without its cleanup.

        Whoever holds it is fenced by its state. It is due for the cancelling of what it has open.
        A run in which the move cannot begin is left as it is. Raises `RunNotFound`.
        """
        written = await self._update(
            header_key(run),
            when=[[begins(move)]],
            set={
                "state": MOVES[move].target,
                "cancel": reason,
                "due": due,
                "wake": None,
                "check_at": None,
                **UNOWNED,
            },
        )
        header: Header | None = written.item
        if header is None:
            raise RunNotFound(f"there is no run {run!r}")
        return header

    async def resume(self, run: str, now: Millis) -> Header:
        """Let a stuck run go on. Raises `RunNotFound`, `RunConflict`."""
        mark = self._mark()
        written = await self._update(
            header_key(run),
            when=[[begins(Move.RESUME)]],
            set={
                "mark": mark,
                "state": MOVES[Move.RESUME].target,
                "due": now,
                **CLEARED,
                "error": "",
            },
        )
        header: Header | None = written.item
        if header is None:
            raise RunNotFound(f"there is no run {run!r}")
        if not written.ok and header.mark != mark:
            raise RunConflict(f"run {run!r} is not stuck, it is {header.state}")
        return header
