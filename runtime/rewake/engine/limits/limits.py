"""Letting tasks and runs in that are limited, and looking at limits that are due.

Nothing waits here: what is not let in is written down with its place in the line, or the moment
that is reserved for it, and its message ends. Whoever gives a place back lets the first in line in
and sends its message. `rewake.stores.books` has the rules, and the order.

What waits has given nothing to wait for but its places in earlier limits of its own: they are taken
in one order by everybody, so that no two wait in a circle. A retry waits anew, since nothing is
held during a backoff.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from rewake.app import App
from rewake.clock import Clock
from rewake.engine.limits.caching import Caching
from rewake.engine.limits.circles import is_circle, told_of
from rewake.engine.limits.grants import Ended, Grant, LetIn, PutOff
from rewake.engine.process.leases import PASSING
from rewake.engine.process.tags import Tags
from rewake.engine.settings import Settings
from rewake.kinds import OutcomeKind
from rewake.ledger import PATROL, Holder, Limit, Waiter
from rewake.limited import (
    CACHED,
    Admission,
    Limited,
    LimitKind,
    Line,
    Terms,
    cached_by,
    in_order,
    said,
)
from rewake.records import Failure, Header, Invocation, Millis, Operation, Outcome
from rewake.signing.secret import Secret
from rewake.states import TERMINAL, RunState
from rewake.stores.books import held_by
from rewake.stores.history import of_round
from rewake.stores.joins import may_be_open
from rewake.stores.operations import free_at
from rewake.stores.paused import is_past, is_paused
from rewake.stores.protocol import Store
from rewake.stores.table import Due

log = logging.getLogger("rewake.engine")

LAST: Millis = 3_600_000
"""When a sweep looks at what waits in a line, if nobody has let it in by then."""
PATIENCE = 4
"""For so many graces a place is kept for who does not begin, while others wait."""
REFUSED = "Throttled"
"""The type of the failure of a task that was refused."""


class Around(Protocol):
    """What of an engine's services this needs: they make it."""

    app: App
    store: Store
    secret: Secret
    clock: Clock
    settings: Settings
    tags: Tags

    @property
    def look_soon(self) -> Callable[[], None]:
        """Looks for offered tasks of the tags that are served here."""
        ...

    @property
    def unique(self) -> Callable[[], str]:
        """Makes marks."""
        ...

    def goes_ahead(self, at: Millis, tag: str) -> bool:
        """Whether a message for then, of this tag, is sent now."""
        ...

    async def dispatch(self, invocations: Sequence[Invocation]) -> None:
        """Send messages."""
        ...


class Idle(NamedTuple):
    """Who was let in and has not begun. `behind`: it waits for a limit that comes before."""

    message: Invocation
    behind: bool


class Limits:
    """Lets in what is limited, as one process does."""

    def __init__(self, services: Around) -> None:
        self._services = services
        self._store = services.store
        self._caching = Caching(services.store, services.secret, services.app)

    @property
    def _soon(self) -> Millis:
        return self._services.clock.now() + self._services.settings.grace

    # --- tasks -----------------------------------------------------------------------------

    async def admit(self, asked: Invocation) -> LetIn | PutOff | Ended:
        """Let an attempt at a task in; or let it wait, or end without one, as its limits say."""
        now, item = self._services.clock.now(), await self._store.operation(asked.run, asked.key)
        found = of_round(item, asked.round)
        if (other := await self._unwanted(asked, found, now)) is not None:
            return other
        number = 1 if found is None else found.number + 1
        limits = asked.terms.limits
        made = await self._make_alone(asked, found, now)
        if isinstance(made, Ended | PutOff):
            return made
        new = found is None or found.reserved < number
        if new and not (found is not None and found.owner):
            if number == 1 and (refused := await self._refused(asked, now)) is not None:
                for grant in made:
                    await self._leave(grant.id, grant.holder)
                return self._ended(Outcome(OutcomeKind.ERROR, origin=refused), found)
            at = await self._reserved(limits, now)
            if at > now:
                return await self._put_off(asked, found, at)
        admitted = await self._enter(asked, found, now, made)
        seen = "" if item is None else item.mark
        return admitted._replace(seen=seen) if isinstance(admitted, LetIn) else admitted

    async def _make_alone(
        self, asked: Invocation, found: Operation | None, now: Millis
    ) -> Sequence[Grant] | Ended | PutOff:
        """Find what is cached of a task; else make it, if nobody does. It comes before all limits,
        so that what is found, or waited for, takes nothing of them.
        """
        limit, past = cached_by(asked.terms), None
        line = None if found is None else found.line
        if limit is not None and not self._caching.is_of(asked, limit):
            await self._give_up(asked, limit, line)
            return []
        while limit is not None:
            who = _waiter(asked, now)
            entry = await self._store.enter(limit, who, now, soon=self._soon, known=line, past=past)
            await self._send(entry.came)
            if (past := entry.kept) is not None:
                value = await self._caching.found(limit.id, past, asked)
                if value is not None:
                    return self._ended(Outcome(OutcomeKind.OK, value, origin=past.run), found)
            elif entry.line is None:
                return [
                    Grant(limit.id, Holder(asked.run, asked.key, asked.round, now, entry.grant))
                ]
            else:
                await self._wait_in(asked, found, entry.line, reserved=False)
                return PutOff(None)
        return []

    def _ended(self, outcome: Outcome, found: Operation | None) -> Ended:
        """What has waited is not looked at for long: whoever tells of its end may die before."""
        waited = found is not None and found.due is not None
        return Ended(outcome, self._soon if waited else None)

    async def _unwanted(
        self, asked: Invocation, found: Operation | None, now: Millis
    ) -> LetIn | PutOff | None:
        """What becomes of a message by which nothing can begin: it is old, or came twice.

        A claim is tried only where it will surely be refused, as of what has an outcome: any other
        might succeed a moment later, without a place.
        """
        header = await self._store.find(asked.run)
        pauses = header is not None and is_paused(header)  # then a claim is tried again and again
        if found is not None and (found.outcome is not None or found.round > asked.round):
            return PutOff(None) if pauses else LetIn(())
        if header is None or header.state in TERMINAL or is_past(header, asked.key):
            return PutOff(None)
        if pauses:
            await self._set_aside(asked, found, now)
            return PutOff(None)
        if found is None:
            return None
        if found.owner:
            return PutOff(None) if await self._store.is_held(found, now) else None
        early = found.not_before is not None and found.not_before > now
        return PutOff(found.not_before) if early else None

    async def _set_aside(self, asked: Invocation, found: Operation | None, now: Millis) -> None:
        """Give back what a task was let in to while its run is paused: it queues up again later."""
        if found is not None and found.owner:
            return
        grants = [await self._grant(limit, asked.run, asked.key) for limit in _places(asked.terms)]
        line = None if found is None else found.line
        if line is None and not any(grants):
            return
        # First: who dies behind it leaves a place that lets in nobody, and no task without one.
        lease = self._services.settings.lease
        if await self._store.put_off(asked, found, at=None, due=now, lease=lease) is None:
            return
        if line is not None:
            await self._store.leave_line(line)
        for grant in filter(None, grants):
            await self._leave(grant.id, grant.holder)

    async def _give_up(self, asked: Invocation, limit: Limited, line: Line | None) -> None:
        """Give back the place of a task that is not under way, and that in the line."""
        if line is not None and line.id == limit.id:
            # Its item says that it waits there: who dies now has it looked at.
            await self._store.look_at(asked.run, asked.key, self._soon)
            await self._store.leave_line(line)
        grant = await self._grant(limit, asked.run, asked.key)
        if grant is not None:
            await self._leave(limit.id, grant.holder)

    async def _refused(self, asked: Invocation, now: Millis) -> Failure | None:
        who = f"{asked.run}\0{asked.key}\0{asked.round}"
        for limit in in_order(asked.terms.limits, LimitKind.THROTTLE):
            taken, at = await self._store.reserve(limit, now, wait=False, who=who)
            if not taken:
                told = f"{said(limit)} is throttled: the next one may begin in {at - now} ms"
                return Failure(REFUSED, told)
        return None

    async def _reserved(self, limits: Sequence[Limited], now: Millis) -> Millis:
        """The moment at which all rates let it begin."""
        moments = [
            (await self._store.reserve(limit, now))[1] for limit in in_order(limits, LimitKind.RATE)
        ]
        return max(moments, default=now)

    async def _put_off(self, asked: Invocation, found: Operation | None, at: Millis) -> PutOff:
        services = self._services
        ahead = services.goes_ahead(at, asked.tag)
        due = at + services.settings.grace if ahead else at
        lease = services.settings.lease
        kept = await self._store.put_off(asked, found, at=at, due=due, lease=lease, reserved=True)
        return PutOff(at if kept is not None else None)

    async def _enter(
        self,
        asked: Invocation,
        found: Operation | None,
        now: Millis,
        made: Sequence[Grant],
    ) -> LetIn | PutOff | Ended:
        grants, who = [*made], _waiter(asked, now)
        line = None if found is None else found.line
        for limit in in_order(asked.terms.limits, LimitKind.CONCURRENCY):
            entry = await self._store.enter(limit, who, now, soon=self._soon, known=line)
            await self._send(entry.came)
            if entry.line is not None:
                if await is_circle(self._store, entry.held_by, asked.run):
                    if entry.line != line:  # else it leaves that as it ends
                        await self._store.leave_line(entry.line)
                    for grant in grants:
                        await self._leave(grant.id, grant.holder)
                    failure = Failure("RunConflict", told_of(limit))
                    return self._ended(Outcome(OutcomeKind.ERROR, origin=failure), found)
                await self._wait_in(asked, found, entry.line, reserved=True)
                return PutOff(None)
            holder = Holder(asked.run, asked.key, asked.round, now, entry.grant)
            grants.append(Grant(limit.id, holder))
        return LetIn(grants)

    async def _wait_in(
        self, asked: Invocation, found: Operation | None, line: Line, *, reserved: bool
    ) -> None:
        due, lease = self._services.clock.now() + LAST, self._services.settings.lease
        if found is not None and found.line == line:
            if found.due is not None and found.due < due - LAST // 2:  # it was looked at
                where = self._store.layout.item(found)
                await self._store.postpone(where, found.due, due, of=found)
            return
        kept = await self._store.put_off(
            asked, found, at=None, due=due, lease=lease, line=line, reserved=reserved
        )
        if kept is None:
            await self._store.leave_line(line)

    async def done(self, asked: Invocation, grants: Sequence[Grant]) -> None:
        """Give back the places of an attempt that is over, if none of its task can be under way."""
        if not grants:
            return
        try:
            if await self._is_over(grants[0].holder, ended=True):
                for grant in grants:
                    await self._leave(grant.id, grant.holder)
        except PASSING:
            log.warning("limits of %s are given back later", asked.key, exc_info=True)

    async def clear(self, id: str) -> bool:
        """Forget what is cached by this id, and do not keep what is being made. Whether there was
        a result.
        """
        while (found := await self._store.cached.find(id)) is not None:
            began = (each.since for each in found.holders)  # perhaps by a clock that is ahead
            now, mark = max(self._services.clock.now(), *began, 0), self._services.unique()
            if await self._store.cached.clear(found, mark, now):
                return found.kept is not None
        return False

    async def _leave(self, id: str, holder: Holder | None) -> None:
        now, kept = self._services.clock.now(), None
        if holder is not None and id.startswith(CACHED):
            kept = await self._caching.made(id, holder, now)
        came = await self._store.leave(id, holder, now, soon=self._soon, kept=kept)
        await self._send(came)

    async def _grant(self, limit: Limited, run: str, key: str) -> Grant | None:
        """The place that a task or a run has; None: it has none."""
        book = await self._store.limit(limit.id)
        holder = None if book is None else held_by(book, run, key)
        return None if holder is None else Grant(limit.id, holder)

    async def _is_over(self, holder: Holder, *, ended: bool = False) -> bool:
        """Whether no attempt can be under way under a place, and none begins by itself.

        `ended`: the newest attempt has just ended in this process.
        """
        header = await self._store.find(holder.run)
        if not holder.key:
            return header is None or header.state in TERMINAL or _was_let_in_vain(header)
        found = of_round(await self._store.operation(holder.run, holder.key), holder.round)
        gone = header is None or header.state in TERMINAL
        if found is None:  # nor begins any more what is of a lap that is over
            return gone or is_past(header, holder.key)
        now, settings = self._services.clock.now(), self._services.settings
        if found.outcome is not None or found.round > holder.round:
            return ended or free_at(found, now, settings.lease, settings.skew) <= now
        if found.owner:
            return False  # by that attempt, or whoever takes it over
        by_all = now if ended else now + settings.skew  # else somebody may have begun it
        later = (found.not_before or 0) > by_all  # perhaps by a moment that is reserved for it
        return gone or (later and (ended or found.reserved <= found.number))

    # --- who is let in ---------------------------------------------------------------------

    async def _send(self, came: Sequence[Waiter]) -> None:
        """Send the messages of those who were let in; a look at their limit sends lost ones."""
        await self._dispatch([_message(who) for who in came])

    async def _dispatch(self, messages: Sequence[Invocation]) -> None:
        services = self._services
        offered = [m for m in messages if m.tag and not services.tags.is_routed(m.tag)]
        for each in offered:  # it has an item, which is due late
            await self._store.look_at(each.run, each.key, services.clock.now())
        if sent := [each for each in messages if each not in offered]:
            await services.dispatch(sent)
        if offered:
            services.look_soon()

    # --- limits that are due ---------------------------------------------------------------

    async def check(self, limit: Limit, now: Millis) -> Due | None:
        """Look at a limit that is due: who holds it, and whether somebody waits in vain.

        Returns when it is to be looked at next, if that is soon.
        """
        # Less often the longer nothing has changed: what could be lost was lost at a change.
        due = now + min(max(self._services.settings.grace, (now - limit.written) // 2), PATROL)
        if limit.kept is not None and not (limit.holders or limit.waits):
            due = max(due, limit.kept.at + limit.per)
        if not await self._store.look_later(limit, due, now):
            return None
        for holder in limit.holders:
            await self._check_holder(limit, holder, now)
        if limit.waits:
            await self._leave(limit.id, None)
        return Due(due, self._store.layout.limit(limit.id))

    async def _check_holder(self, limit: Limit, holder: Holder, now: Millis) -> None:
        if await self._is_over(holder):
            await self._leave(limit.id, holder)
            return
        waited, grace = now - holder.since, self._services.settings.grace
        idle = None if waited < grace else await self._idle(limit, holder)
        if idle is None:
            return
        is_long = limit.waits and waited > PATIENCE * grace
        if is_long and (holder.key or idle.behind):
            # Nobody serves it, perhaps; or it lost an earlier place meanwhile, and who has that now
            # may wait for this one. Its own message lets it queue up again, or a sweep.
            who, mark = (holder.run, holder.key), self._services.unique()
            if holder.key and not await self._store.look_at(*who, now + grace, mark=mark):
                return  # it has just begun
            await self._leave(limit.id, holder)
        if not idle.behind:
            await self._dispatch([idle.message])

    async def _idle(self, limit: Limit, holder: Holder) -> Idle | None:
        """Who was let in and has not begun; None: it has, or waits for a limit that comes later."""
        header = await self._store.find(holder.run)
        if holder.key:
            found = of_round(await self._store.operation(holder.run, holder.key), holder.round)
            if found is None or header is None or found.owner:
                return None  # what has no item is covered by its run's header
            if (found.not_before or 0) > self._services.clock.now():
                return None  # a moment is reserved for it
            asked = (found.run, found.key, found.name, found.round, found.tag, found.terms)
            joined, spared = may_be_open(header), header.spared < 0
            message = _message(Waiter(*asked, joined=joined, spared=spared))
            return _idle_at(limit, found.line, _places(found.terms), message)
        admission = None if header is None else header.admission
        if header is None or admission is None or admission.inside:
            return None
        if header.state is RunState.RUNNING:
            return None  # it is just let in, perhaps
        return _idle_at(limit, admission.line, _held(admission.terms), Invocation(holder.run))

    # --- runs ------------------------------------------------------------------------------

    async def let_in(self, header: Header) -> tuple[Admission, Millis | None]:
        """How far a run is let in now; and if it is not, when it may be, if that is known."""
        now, admission = self._services.clock.now(), header.admission
        assert admission is not None
        if header.wake is not None and header.wake > now:
            return admission, header.wake
        terms = admission.terms
        if not admission.reserved:
            admission = msgspec.structs.replace(admission, reserved=True)
            if (at := await self._reserved(terms.limits, now)) > now:
                return admission, at
        who = Waiter(header.run, round=header.round, terms=terms, since=now)
        for limit in _held(terms):
            line = admission.line
            entry = await self._store.enter(limit, who, now, soon=self._soon, known=line)
            await self._send(entry.came)
            if entry.line is not None:
                # Who was paused in this line is no newer than what has come since.
                anew = line is not None and line.id == limit.id and line != entry.line
                new = admission.takes_over and not anew
                return msgspec.structs.replace(admission, line=entry.line, takes_over=new), None
        return msgspec.structs.replace(admission, inside=True, line=None), None

    async def withdraw(self, header: Header) -> None:
        """Take a run out of the line in which it waits: it is cancelled."""
        if header.admission is not None and header.admission.line is not None:
            await self._store.leave_line(header.admission.line)

    async def leave(self, header: Header) -> None:
        """Give back what a run has that has ended. A look at its limits does it otherwise."""
        if header.admission is None:
            return
        try:
            for limit in _held(header.admission.terms):
                grant = await self._grant(limit, header.run, "")
                if grant is not None and grant.holder.round <= header.round:  # else of a retry
                    await self._leave(limit.id, grant.holder)
        except PASSING:
            log.warning("limits of run %s are given back later", header.run, exc_info=True)


def _held(terms: Terms) -> list[Limited]:
    """The limits of which a run has a place until it ends."""
    kinds = (LimitKind.SINGLETON, LimitKind.CONCURRENCY)
    return [limit for kind in kinds for limit in in_order(terms.limits, kind)]


def _places(terms: Terms) -> list[Limited]:
    """The limits of which a task may have a place."""
    kinds = (LimitKind.CACHE, LimitKind.CONCURRENCY)
    return [limit for kind in kinds for limit in in_order(terms.limits, kind)]


def _waiter(asked: Invocation, now: Millis) -> Waiter:
    who = Waiter(
        *(asked.run, asked.key, asked.name, asked.round, asked.tag, asked.terms), since=now
    )
    return msgspec.structs.replace(who, joined=asked.joined, spared=asked.spared)


def _idle_at(
    limit: Limit, line: Line | None, taken: Sequence[Limited], message: Invocation
) -> Idle | None:
    """Who holds a limit and waits in this line. `taken`: its limits, in the order of taking."""
    if line is None or line.id == limit.id:
        return Idle(message, behind=False)
    ids = [each.id for each in taken]
    is_behind = limit.id in ids and line.id in ids[: ids.index(limit.id)]
    return Idle(message, behind=True) if is_behind else None


def _was_let_in_vain(header: Header) -> bool:
    """Whether a run is paused that has not begun: it queues up again once it is resumed."""
    admission = header.admission
    waits = admission is not None and not admission.inside
    return waits and header.state is RunState.PAUSED


def _message(who: Waiter) -> Invocation:
    asked = Invocation(who.run, who.key, who.name, round=who.round, tag=who.tag)
    more = {"joined": who.joined, "spared": who.spared}
    return msgspec.structs.replace(asked, terms=who.terms, **more)
