"""The claims and the turns of a run: `rewake.stores.protocol` has the rules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from rewake.ledger import View
from rewake.noted import Try
from rewake.records import Entry, Finished, Header, Millis, Operation, Signal, Started
from rewake.states import MOVES, Move, RunState
from rewake.stores.answers import (
    Arrived,
    Committed,
    Fenced,
    RunClaim,
    Suspect,
    Taken,
    TaskClaim,
)
from rewake.stores.keys import header_key, signal_key
from rewake.stores.limits import Limits
from rewake.stores.suspects import BLAMED, CLEARED, COMPANY, absolved, is_suspect, losing
from rewake.stores.table import Check, When, Written, holds
from rewake.stores.writes import HELD_OFF, SET_ASIDE, UNOWNED, begins, is_near
from rewake.values.text import storable, stored_size

T = TypeVar("T")

_UNDATED = tuple(each for each in MOVES[Move.CLAIM].sources if each is not RunState.DELAYED)
"""States in which a run is carried on whenever somebody comes."""
ERROR_BYTES = 400
"""The most bytes of an error in a header, as JSON writes it."""


Beside = Callable[[Header], Awaitable[None]]
"""Writes to the same table, of a run that is made, and awaits nothing else."""


class Turns(Limits):
    """What whoever holds a run, or takes it, writes of it."""

    tells_stuck = False
    """Whether somebody is told of runs that get stuck."""

    async def start(
        self,
        header: Header,
        started: Started,
        follows: Header | None = None,
        beside: Beside | None = None,
        first: Signal | None = None,
    ) -> tuple[Header, bool]:
        """Create a run unless it exists. Returns its header, and whether it is new.

        `follows`: the run, or the stone, that is marked first as one that a newer run of its key
        follows; if it is not as it was, it is returned. `beside` writes more in the same commit.
        `first`: the signal that it begins with, put before it: no other run takes it for its own.

        If the database reported the write that made it as failed, the run is recognised by its seed
        and not by its mark: it may have gone on since, even to its end.
        """
        header.mark = self._mark()
        [entry] = await self.offload(header.run, [started])

        async def work() -> tuple[Header, bool]:
            if follows is not None and (before := await self.followed(follows)) is not None:
                return before, False
            base, tail = await self._place(header, [entry], header.mark)
            if first is not None:
                await self._put_first(first)
            new: dict[str, Any] = {"count": 1, "written": self._clock.now()}
            new |= {"base": base, "tail": tail, "signals": int(first is not None)}
            made = msgspec.structs.replace(header, **new)
            # First: a view without a run is skipped, but a run without one would not be listed.
            view = _view_of(header)
            await self.listed.put(view)
            await self.labelled.put(view, header.labels or {})
            written = await self._put(header_key(header.run), made, absent=True)
            current: Header = written.item
            mine = (current.seed, current.created) == (header.seed, header.created)
            if not mine:
                await self._take_back(header, current, first)
            if written.ok and beside is not None:
                await beside(current)
            return current, written.ok or mine

        return await self._together(work)

    async def _take_back(self, made: Header, found: Header, first: Signal | None) -> None:
        """Take back what was put for a run that another start has made."""
        if first is not None and not first.stands(found.seed):
            await self.drop_signal(first)
        here = (found.labels or {}) if found.created == made.created else {}
        labels = {name: v for name, v in (made.labels or {}).items() if here.get(name) != v}
        await self.labelled.remove(_view_of(made), labels)
        if found.created != made.created:
            # Else starts of one key would fill the list with views of no run.
            await self.listed.remove(_view_of(made))

    async def _put_first(self, first: Signal) -> None:
        """Put the signal that a run is to begin with. What is there of its id stays."""
        value = await self._blobs.offload(first.run, first.value)
        assert value is not None
        whole = msgspec.structs.replace(first, value=value)
        await self._put(signal_key(first.run, first.id), whole, absent=True)

    async def drop_signal(self, signal: Signal) -> None:
        """Take a signal back that did not arrive, if it is still as it was put."""
        where, same = signal_key(signal.run, signal.id), [[Check("mark", "=", signal.mark)]]
        await self._again(lambda: self._table.delete([where], when=same))

    async def claim(
        self, run: str, claim: RunClaim, seen: Header | None = None
    ) -> Header | Suspect | None:
        """Claim the run; None if it does not exist, has ended, is stuck, or has a live owner.

        A claim that ran out under it is counted as lost; a suspect is claimed apart only.
        `seen`: its header a moment ago, if that is known.
        """

        async def work() -> Header | Suspect | None:
            written = await self._take(
                run, claim, self._unblamed(claim.now), Move.CLAIM, {"epoch": 1}, seen=seen
            )
            while not written.ok:
                found: Header | None = written.item
                if found is None or found.owner == claim.owner:
                    return found
                ended = await self._ended(found, claim)
                if ended is None:
                    return None
                if found.pause:  # its holder is dead, and nothing more is to begin
                    written = await self._update(
                        header_key(run), when=[as_found(found)], set=self._aside()
                    )
                    if written.ok:
                        return None
                    continue
                again = losing(found) if found.owner else {}
                deaths = found.deaths + again.get("deaths", 0)
                if is_suspect(deaths) and not claim.apart:
                    return Suspect(deaths)
                how: dict[str, Any] = {
                    "apart": is_suspect(deaths),
                    "taken": found.owner or found.taken,
                }
                if again:
                    how["lost_turn"] = Try(found.epoch, None, ended, found.where, lost=True)
                add, same = {"epoch": 1, **again}, as_found(found)
                written = await self._take(run, claim, [same], Move.CLAIM, add, how)
            header: Header = written.item
            return header

        return await self._together(work)

    def _is_time(self, now: Millis) -> When:
        """That a run is held by nobody, and its time has come: it may have been put off again."""
        begins_at = Check("wake", "<=", now + self._margin)
        return [[Check("state", "in", _UNDATED)], [begins(Move.CLAIM), begins_at]]

    def _unblamed(self, now: Millis) -> When:
        """The same of one under which few have died."""
        return [[*checks, Check("deaths", "<", COMPANY)] for checks in self._is_time(now)]

    async def _ended(self, found: Header, claim: RunClaim) -> Millis | None:
        """When the lease by which the run was held ended; None if it cannot be claimed."""
        if found.state in MOVES[Move.CLAIM].sources:
            return found.lease if holds(self._is_time(claim.now), found) else None
        if not claim.takes_over or found.state not in MOVES[Move.TAKE_OVER].sources:
            return None
        return await self.ended(found, claim.now)

    async def _take(
        self,
        run: str,
        claim: RunClaim,
        when: When,
        move: Move,
        add: Mapping[str, int],
        how: Mapping[str, Any] = {},
        seen: Header | None = None,
    ) -> Written:
        """Claim the run if `when` holds. A due time before the lease's end stays: it is early.

        Moving it would cost two writes of the due index for each claim, and for each park.
        """
        leased = self._leased(claim.now, claim.lease)
        taken: dict[str, Any] = {"state": MOVES[move].target, "owner": claim.owner, **how}
        taken["where"] = claim.where
        taken |= {"lease": leased["lease"], "process": ""}
        early = Check("due", "<=", leased["due"])
        if seen is None or early.holds(seen):
            written = await self._update(
                header_key(run), when=[[*checks, early] for checks in when], set=taken, add=add
            )
            found: Header | None = written.item
            if written.ok or found is None or found.owner == claim.owner:
                return written
            if early.holds(found) or not holds(when, found):
                return written
        return await self._update(header_key(run), when=when, set={**taken, **leased}, add=add)

    def _has(self, run: str) -> bool:
        """Whether this process has the run or is taking it: then no claim of it can succeed."""
        return run in self._taking or self._here.has(run)

    async def _taking_it(self, run: str, claim: Awaitable[T]) -> T:
        """Await a claim of the run; meanwhile no other of this process can succeed."""
        self._taking.add(run)
        try:
            return await claim
        finally:
            self._taking.discard(run)

    async def commit(
        self, held: Header, entries: Sequence[Entry], *, progress: bool
    ) -> Committed | Fenced:
        """Append entries and keep the claim. `progress`: a new outcome is among them."""
        changes: Mapping[str, Any] = {"apart": False, **absolved(held)} if progress else {}
        result = await self._append(held, entries, changes)
        assert not isinstance(result, Arrived)
        return result

    async def park(
        self,
        held: Header,
        entries: Sequence[Entry],
        *,
        gap: int,
        needs: int = 1,
        spared: int = 0,
        wake: Millis | None,
        check_at: Millis | None,
        ahead: Millis = 0,
        asks: bool = False,
        hears: str = "",
        take: Sequence[TaskClaim] = (),
        near: Millis = 0,
    ) -> Committed | Fenced | Arrived:
        """Append entries and suspend, unless something arrived since `held.arrivals` was read.

        `wake`: when its next timer is due; `check_at`: when a sweep must check its tasks. `ahead`:
        a message is sent for `wake`, and looked for so much later. `take`: tasks among the entries
        that this process begins itself, claimed as well. A due time may be early by `near`.
        `asks`: an approval may be open. `hears`: what signals wake it; `needs`: how many outcomes
        do, and `spared`: how many of these may be failures.
        """
        due = earliest(None if wake is None else wake + ahead, check_at)
        changes = {"state": MOVES[Move.PARK].target, **absolved(held), **UNOWNED}
        changes |= {"gap": gap, "wake": wake, "check_at": check_at, "rest": held.epoch}
        changes["asks"] = asks
        few: dict[str, Any] = {"lost_turn": None, "sent": wake if ahead else None}
        few |= {"spared": -spared, "hears": hears, "needs": needs if needs > 1 else 0}
        changes |= {name: new for name, new in few.items() if getattr(held, name) != new}
        if (stays := due if is_near(held.due, due, near) else None) is None:
            changes["due"] = due
        name, read = self._mark(), held.arrivals

        async def work() -> Committed | Fenced | Arrived:
            result = await self._append(
                held, entries, changes, name, arrivals=read, due=stays, within=True
            )
            return await self._taken_with(result, take) if isinstance(result, Committed) else result

        return await self._together(work)

    async def set_aside(
        self, held: Header, entries: Sequence[Entry], *, wake: Millis | None, asks: bool
    ) -> Committed | Fenced | Arrived:
        """Append entries and pause the run, unless something arrived, as `park` does.

        `wake`: when its next timer is due; none wakes it.
        """
        changes = {**self._aside(), **absolved(held), "lost_turn": None}
        changes |= {"wake": wake, "rest": held.epoch, "asks": asks}
        changes |= {"hears": ""} if held.hears == HELD_OFF else {}
        return await self._append(held, entries, changes, arrivals=held.arrivals)

    def _aside(self) -> dict[str, Any]:
        """The changes that pause a run which somebody holds, or held."""
        state = MOVES[Move.SET_ASIDE].target
        return {"state": state, "changed": self._clock.now(), **SET_ASIDE, **UNOWNED}

    async def _taken_with(self, result: Committed, take: Sequence[TaskClaim]) -> Committed:
        """The result of a commit, with the tasks that were claimed as well."""
        for claim in take:
            taken = await self.claim_task(claim, within=True)
            if isinstance(taken, Taken):
                result.taken[claim.key] = taken.operation
        return result

    async def finish(
        self,
        held: Header,
        entries: Sequence[Entry],
        *,
        state: RunState,
        due: Millis | None,
        tells: bool = False,
    ) -> Committed | Fenced | Arrived:
        """Append entries, the last of them `Finished`, and end the run, unless something arrived.

        `due`: when a sweep must check that the withdrawn operations were cancelled. `tells`: and
        that somebody was told.
        """
        changes = {"state": state, "due": due, "wake": None, "check_at": None, **UNOWNED}
        changes |= {"pause": False, "tells": True} if tells else {"pause": False}
        end = entries[-1]
        failure = end.outcome.failure if isinstance(end, Finished) else None
        changes["error"] = _bounded(f"{failure.type}: {failure.message}") if failure else ""
        return await self._append(held, entries, changes, arrivals=held.arrivals)

    async def stick(self, held: Header, error: str, *, at_rest: bool = False) -> Committed | Fenced:
        """Make the run stuck for the reason `error`, its history untouched.

        `at_rest`: no attempt at a step is left without a record.
        """
        noted = {"rest": held.epoch} if at_rest else {}
        result = await self._append(held, [], {**self._stuck(error), **noted})
        assert not isinstance(result, Arrived)
        return result

    def _stuck(self, error: str) -> Mapping[str, Any]:
        """The changes that make a run stuck for this reason."""
        state, now = MOVES[Move.STICK].target, self._clock.now()
        told = {"error": _bounded(error), "changed": now}
        hooks = {"tells": True} if self.tells_stuck else {}
        # Due, for it may have been asked to cancel: who waits for that is told.
        return {"state": state, "pause": False, "due": now, **hooks, **told, **UNOWNED}

    async def rest(self, held: Header) -> None:
        """Note that the turn, which will be released, leaves no attempt at a step without record.

        It is a commit without entries: no instance goes on without the records it has not read.
        """
        await self._append(held, [], {"rest": held.epoch})

    async def release(self, run: str, owner: str, at: Millis, why: str = "") -> None:
        """Release the run, perhaps for a reason: any may claim it from `at` on; it is no loss."""
        more = {"error": _bounded(why)} if why else {}
        await self._release(run, owner, at, {}, **more)

    async def lose(self, run: str, owner: str, at: Millis, error: str) -> None:
        """Release the run from `at` on, with a strike: what it did is why, and `error`."""
        await self._release(run, owner, at, add=BLAMED, error=_bounded(error))

    async def _release(
        self, run: str, owner: str, at: Millis, add: Mapping[str, int] = {}, **more: str
    ) -> None:
        where, held = header_key(run), self._held_by(owner)
        ready = {"state": MOVES[Move.RELEASE].target, "due": at, **UNOWNED, **more}
        goes_on = [*held, Check("pause", "=", False)]
        written = await self._update(where, when=[goes_on], set=ready, add=add)
        found: Header | None = written.item
        if not written.ok and found is not None and found.pause:
            await self._update(where, when=[held], set={**self._aside(), **more}, add=add)

    async def give_up(self, run: str, owner: str, error: str) -> None:
        """Make the run stuck from outside its turn, at whichever commit it is."""
        await self._update(header_key(run), when=[self._held_by(owner)], set=self._stuck(error))

    async def renew(
        self,
        held: Header,
        now: Millis,
        lease: Millis,
        *,
        process: str = "",
        apart: bool = False,
    ) -> Header | None:
        """Hold the run by the lease of a process, or go on by one of its own.

        None if the claim in `held` no longer holds it.
        """
        written = await self._update(
            header_key(held.run),
            when=self._fence(held, count=False),
            set={**self._held_until(now, lease, process), "apart": apart},
        )
        return written.item if written.ok else None

    async def let_go(self, item: Header | Operation, now: Millis, lease: Millis) -> None:
        """Take an item from its process, of which nobody there knows: its lease runs out."""
        if isinstance(item, Operation):
            await self.renew_task(item.run, item.key, item.owner, now, lease)
        else:
            await self.renew(item, now, lease)

    async def absolve(self, run: str, owner: str) -> None:
        """Forget the deaths under a run, if it was last taken from this owner, who lives."""
        await self._update(header_key(run), when=[[Check("taken", "=", owner)]], set=CLEARED)


def as_found(found: Header) -> list[Check]:
    """The checks that nobody has claimed or renewed a run since it was found.

    A claim raises the epoch, a renewal moves the lease.
    """
    return [Check(name, "=", getattr(found, name)) for name in _CLAIMED]


_CLAIMED = ("state", "epoch", "lease", "process", "pause")


def _view_of(header: Header) -> View:
    return View(header.run, header.workflow, header.created, header.depth > 0)


def _bounded(error: str) -> str:
    text = storable(error)[:ERROR_BYTES]
    while (over := stored_size(text) - ERROR_BYTES) > 0:
        text = text[: len(text) - max(1, over // 6)]
    return text


def earliest(*moments: Millis | None) -> Millis | None:
    """The earliest of these moments, if there is one."""
    return min([moment for moment in moments if moment is not None], default=None)
