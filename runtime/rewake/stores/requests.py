"""What people ask of a run: to cancel, pause, end, go on, begin again: one write of its header."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from rewake.errors import RunConflict, RunNotFound
from rewake.limited import Admission
from rewake.records import Entry, Header, Millis
from rewake.states import ENDED, MOVES, SHOWN, Move, RunState
from rewake.stores.cancels import GOES_ON
from rewake.stores.keys import header_key
from rewake.stores.paused import is_delayed
from rewake.stores.suspects import CLEARED
from rewake.stores.table import Check, Written
from rewake.stores.votes import Votes
from rewake.stores.writes import FORCE, SET_ASIDE, UNOWNED, asks, begins


class Requests(Votes):
    """What people ask of a run."""

    async def cancel(
        self,
        run: str,
        reason: str,
        *,
        even_stuck: bool = False,
        once: bool = False,
        mark: str | None = None,
    ) -> Header:
        """Ask a live run to cancel, once more if it was asked before. Returns its header.

        `once`: one that was asked before is left as it is. `mark`: so is one whose header has
        another mark.

        The request is recognised by its number: of several at the same time, one is made, and
        stands for all. One that is not live is left as it is, but with `even_stuck` one that is
        stuck observes it as it goes on. Raises `RunNotFound`.
        """
        # A new due time says that the item was written now: then its lease has to be of now too.
        asked = (await self.set_right(await self.header(run))).cancels
        asked = 0 if once else asked
        asking = self._ask_to_cancel(run, reason, asked, even_stuck=even_stuck, mark=mark)
        return _there(run, await asking)

    async def pause(self, run: str) -> Header:
        """Let nothing of a run begin any more, at once or as soon as its holder can. Idempotent.

        Its arrivals are counted, so that its holder cannot park or end it without reading of this.
        A run that is not live is left as it is. Raises `RunNotFound`.
        """
        where = header_key(run)
        aside = {"state": MOVES[Move.PAUSE].target, "changed": self._clock.now(), **SET_ASIDE}
        while True:
            written = await self._update(where, when=[[begins(Move.PAUSE)]], set=aside)
            header = _there(run, written)
            if written.ok or not begins(Move.ASK_PAUSE).holds(header) or header.pause:
                return header
            held = [begins(Move.ASK_PAUSE), Check("pause", "=", False)]
            written = await self._update(
                where, when=[held], set={"pause": True}, add={"arrivals": 1, "gap": -FORCE}
            )
            if written.ok:
                return _there(run, written)

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
                "killed": move is Move.KILL,
                "pause": False,
                "changed": self._clock.now(),
                "due": due,
                "wake": None,
                "check_at": None,
                **UNOWNED,
            },
        )
        return _there(run, written)

    async def resume(self, run: str, now: Millis) -> Header:
        """Let a stuck or paused run go on. Raises `RunNotFound`, `RunConflict`.

        Its tasks are checked at once: what was to begin meanwhile begins then. One that was to
        begin later still is delayed again. A pause that its holder has not seen yet is taken back.
        """
        where, mark = header_key(run), self._mark()
        goes_on = {"state": MOVES[Move.RESUME].target, "due": now, "check_at": now, "error": ""}
        goes_on |= {"mark": mark, "changed": now, **GOES_ON, **CLEARED}
        found = await self.header(run)
        if found.state is RunState.PAUSED and is_delayed(found):
            delayed = {"state": MOVES[Move.WAIT_ON].target, "due": found.wake, "changed": now}
            when = [begins(Move.WAIT_ON), Check("epoch", "=", 0)]
            header = _there(run, await self._update(where, when=[when], set=delayed))
            if header.state is not RunState.PAUSED:
                return header
        if found.pause:
            held = [begins(Move.ASK_PAUSE), Check("pause", "=", True)]
            more = {"arrivals": 1, "gap": -FORCE}
            written = await self._update(where, when=[held], set={"pause": False}, add=more)
            header = _there(run, written)
            if written.ok or (begins(Move.ASK_PAUSE).holds(header) and not header.pause):
                return header
        written = await self._update(where, when=[[begins(Move.RESUME)]], set=goes_on)
        header = _there(run, written)
        if not written.ok and header.mark != mark:
            raise not_stuck(header)
        return header

    async def retry(
        self,
        failed: Header,
        entries: Sequence[Entry],
        *,
        cancel: str | None,
        cancels: int,
        now: Millis,
    ) -> Header:
        """Let a failed run go on from these entries, in a new round. Raises `RunConflict`."""
        mark, where = self._mark(), header_key(failed.run)
        blank = msgspec.structs.replace(failed, base="", tail=[])

        async def work() -> Written:
            base, tail = await self._place(blank, entries, mark)
            return await self._update(
                where,
                when=[[begins(Move.RETRY), Check("mark", "=", failed.mark), _NOT_NEWER]],
                set={
                    "state": MOVES[Move.RETRY].target,
                    "mark": mark,
                    "base": base,
                    "tail": tail,
                    "count": len(entries),
                    "clock": now,
                    "round": failed.round + 1,
                    "asks": asks(entries),
                    "rest": failed.epoch,
                    "lost_turn": None,
                    "cancel": cancel,
                    "cancels": cancels,
                    "due": self._clock.now(),  # `now` is ahead of a clock that was set back
                    "wake": None,
                    "check_at": None,
                    "error": "",
                    **_let_in_anew(failed),
                    **CLEARED,
                },
            )

        written = await self._together(work)
        header = _there(failed.run, written)
        if not written.ok and header.mark != mark:
            raise RunConflict(f"run {failed.run!r} was retried or begun anew meanwhile")
        return header

    async def supersede(self, run: str) -> Header:
        """Note that a newer run of its key is begun, so that a failed run cannot be retried.

        A run that has not failed is left as it is. Raises `RunNotFound`.
        """
        written = await self._update(
            header_key(run), when=[[begins(Move.RETRY)]], set={"newer": True}
        )
        found: Header | None = written.item
        if found is None:
            raise RunNotFound(f"there is no run {run!r}")
        return found  # it may be removed by now, and then it cannot be retried either

    async def lay_down(self, ended: Header, due: Millis | None) -> None:
        """Note that nothing of a run is left to do until it is removed, unless it goes on.

        `due`: when that is to be (`stores/removal.py`); None: never. Nor if somebody has begun to
        hold it, or holds it no more: then it stays due, and is looked at again.
        """
        same = [Check(name, "=", getattr(ended, name)) for name in ("mark", "state", "hold")]
        told = {"tells": False} if ended.tells else {}
        await self._update(header_key(ended.run), when=[same], set={"due": due, **told})

    async def hold(self, run: str) -> Header:
        """Keep a run from being removed. Raises `RunNotFound`."""
        there = [Check("state", "in", SHOWN)]
        written = await self._update(header_key(run), when=[there], set={"hold": True})
        return _there(run, written)

    async def let_be_removed(self, run: str, due: Callable[[Header], Millis | None]) -> Header:
        """Hold a run no more. `due`: when it is to be removed, if it has ended.

        Raises `RunNotFound`.
        """
        while True:
            found = await self.header(run)
            if not found.hold:
                return found
            same = [Check("mark", "=", found.mark), Check("state", "=", found.state)]
            # Who has just found it held lets it be due no more.
            same.append(Check("due", "absent" if found.due is None else "=", found.due))
            changes: dict[str, Any] = {"hold": False}
            if found.state in ENDED and found.due is None:
                changes["due"] = due(found)
            written = await self._update(header_key(run), when=[same], set=changes)
            if written.ok:
                return _there(run, written)

    async def hand_on(self, seen: Header) -> None:
        """Make a run due at once that waits for a process to go on with it, unless one has it.

        Who claimed it since it was `seen` has read what had arrived by then.
        """
        now = self._clock.now()
        if seen.due is None or seen.due > now:
            same = [Check("state", "=", seen.state), Check("epoch", "=", seen.epoch)]
            await self._update(header_key(seen.run), when=[same], set={"due": now})


def not_stuck(header: Header) -> RunConflict:
    """The refusal to resume a run in another state."""
    return RunConflict(f"run {header.run!r} is neither stuck nor paused: it is {header.state.said}")


def _there(run: str, written: Written) -> Header:
    """The run as it stands after a write. Raises `RunNotFound`."""
    header: Header | None = written.item
    if header is None or header.state is RunState.REMOVED:
        raise RunNotFound(f"there is no run {run!r}")
    return header


_NOT_NEWER = Check("newer", "=", False)


def _let_in_anew(failed: Header) -> Mapping[str, Any]:
    """The change by which a run that goes on has to be let in again: its end gave its limits up."""
    if failed.admission is None:
        return {}
    return {"admission": Admission(failed.admission.terms)}
