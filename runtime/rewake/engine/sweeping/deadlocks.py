"""Runs that wait for one another's end in a circle, so that none of them would ever go on.

Looked for when a look at a parked run finds nothing that may have been lost, and when a look at a
limit finds a line: a run waits for the ends of other runs alone, or for places that other runs
hold. If each of these is parked too, has no timer and waits for nothing else, and so on, then none
can go on by itself. A wait of a run that is in the circle fails then, with the circle in its error.
What may still go on, since it waits for a moment, a person, a signal, an event or a task as well,
is left alone.

All that is read must be the same when it is read again, as a whole: else something goes on.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from rewake.engine.services import Services
from rewake.engine.sweeping.parked import Parked as Looked
from rewake.engine.turns.deliveries import Deliveries
from rewake.errors import StuckError
from rewake.kinds import Kind, OutcomeKind
from rewake.ledger import Limit
from rewake.limited import LimitKind, Line, Terms, in_order
from rewake.records import Failure, Header, Operation, Outcome
from rewake.states import RunState
from rewake.stores.history import History
from rewake.stores.paused import is_paused

log = logging.getLogger("rewake.engine")

MOST = 100
"""Circles of more runs are not looked for."""
_OF_RUNS = (Kind.CHILD, Kind.CHILD_RESULT)


class Wait(NamedTuple):
    """What a run waits for: the ends of these runs. `key`: of the operation; empty: to begin."""

    runs: tuple[str, ...]
    key: str = ""
    line: Line | None = None


class Parked(NamedTuple):
    """How a run is parked; `at`: where it stands. `tenant`: whose it is."""

    at: tuple[str, int, int]
    tenant: str
    waits: tuple[Wait, ...]


class Deadlocks:
    """Finds them, and ends them, in one process."""

    def __init__(self, services: Services, deliveries: Deliveries) -> None:
        self._services = services
        self._store = services.store
        self._deliveries = deliveries

    async def look_at(self, header: Header, history: History, *, rests: bool) -> None:
        """End the deadlock that a parked run is in, if it is in one.

        `rests`: nothing that it waits for may have been lost.
        """
        if rests and _waits_for_others(history):
            await self._look_from(header.run)

    async def behind(self, limit: Limit) -> None:
        """End the deadlock of who waits in the line of a limit, if all who hold it are in one.

        Who lines up last closes a circle that no look at the runs in it has seen.
        """
        if not limit.waits or limit.kind != LimitKind.CONCURRENCY:
            return
        for holder in limit.holders:
            if holder.key or not await self._look_from(holder.run):
                return  # the line goes on

    async def _look_from(self, run: str) -> bool:
        """End the deadlock that a run is in, if it is in one. False: it may go on by itself.

        The wait that fails is the same whoever looks, so that no more than one does.
        """
        found = await self._all_from(run)
        if found is None:
            return False
        if circle := _circle(run, found):
            await self._end(run, circle, found)
        return True

    async def _end(self, run: str, circle: list[tuple[str, str]], found: dict[str, Parked]) -> None:
        """Let one wait of a circle fail, if all is still as it was found."""
        waits = {a: next(w for w in found[a].waits if b in w.runs) for a, b in circle}
        victim = min((run for run, wait in waits.items() if wait.key), default="")
        if not victim or await self._all_from(run) != found:
            return
        place = [run for run, _ in circle].index(victim)
        told = _told(
            victim, [(run, waits[run]) for run, _ in circle[place:] + circle[:place]], found
        )
        log.warning("run %s: %s", victim, told)
        await self._fail(victim, waits[victim], Failure("RunConflict", told))

    async def _fail(self, run: str, wait: Wait, failure: Failure) -> None:
        """Let a wait of a run fail; what it was for is asked for no more."""
        services, outcome = self._services, Outcome(OutcomeKind.ERROR, origin=failure)
        header = await self._store.header(run)
        entries = {each.key: each for each in (await self._history(header)).awaited()}
        if (entry := entries.get(wait.key)) is None:
            return  # it goes on
        blank = Operation(run, entry.key, entry.kind, entry.name, entry.round)
        carry_on = services.home is not None
        await self._deliveries.end_wait(blank, outcome, services.clock.now(), carry_on=carry_on)
        if entry.kind is Kind.CHILD:
            told = f"run {run} does not wait for it any more"  # its own error says why
            await self._store.call_off(wait.runs[0], told, of=run)

    # --- what is read ------------------------------------------------------------------------

    async def _all_from(self, run: str) -> dict[str, Parked] | None:
        """All that a run waits for, directly or not; None: some of it may go on by itself."""
        found: dict[str, Parked] = {}
        left = [run]
        while left:
            if (name := left.pop()) in found:
                continue
            parked = await self._parked(name) if len(found) < MOST else None
            if parked is None:
                return None
            found[name] = parked
            left += [each for wait in parked.waits for each in wait.runs]
        return found

    async def _parked(self, run: str) -> Parked | None:
        """How a run is parked that can go on only by the ends of others; None: it is none."""
        header = await self._store.find(run)
        if header is None or header.state is not RunState.PARKED or is_paused(header):
            return None
        if header.wake is not None or header.hears or header.gap <= 0:
            return None
        admission = header.admission
        if admission is not None and not admission.inside:
            wait = await self._line(run, admission.terms, admission.line)
            waits = [] if wait is None else [wait]
        else:
            try:
                waits = await self._waits(header)
            except StuckError:
                return None  # whoever can read it goes on with it
        at = (header.mark, header.epoch, header.arrivals)
        return Parked(at, header.tenant, tuple(waits)) if waits else None

    async def _waits(self, header: Header) -> list[Wait]:
        """What it waits for; nothing if any of that may come by itself."""
        history, found = await self._history(header), list[Wait]()
        awaited, now = history.awaited(), self._services.clock.now()
        known = Looked(header, awaited, now, self._services.settings.grace)
        for entry in awaited:
            item = history.item(entry)
            wait = None
            if item is not None and item.outcome is not None:
                known.ended(item)  # it waits for more than that
                continue
            if entry.kind in _OF_RUNS and entry.about is not None:
                wait = Wait((entry.about.run,), entry.key)
            elif item is not None:
                wait = await self._line(header.run, entry.terms, item.line, entry.key)
            if wait is None:
                return []
            found.append(wait)
        return [] if known.goes_on else found

    async def _history(self, header: Header) -> History:
        """What it has asked for, with the items of what is open."""
        execution = self._services.cache.at(header)
        if execution is not None:
            entries = [op.scheduled() for op in execution.open.values()]
            history = History([*entries], {})
        else:
            history = await self._store.entries(header)
        keys = [each.key for each in history.awaited()]
        return History(
            history.entries, await self._store.operations(header.run, keys, header.count)
        )

    async def _line(self, run: str, terms: Terms, line: Line | None, key: str = "") -> Wait | None:
        """A wait in line for places that runs hold, until they end."""
        limits = in_order(terms.limits, LimitKind.CONCURRENCY)
        limit = next((each for each in limits if line is not None and each.id == line.id), None)
        book = None if limit is None else await self._store.limit(limit.id)
        if limit is None or book is None or len(book.holders) < limit.count:
            return None
        holders = sorted({each.run for each in book.holders})
        is_let_in = not key and run in holders
        if is_let_in or any(each.key for each in book.holders):
            return None  # it has its place, or a task has one, and ends by itself
        return Wait(tuple(holders), key, line)


def _waits_for_others(history: History) -> bool:
    """Whether all that a run waits for are the ends of others, or their places."""
    waits = [(entry, history.item(entry)) for entry in history.awaited()]
    return all(
        e.kind in _OF_RUNS or (item is not None and (item.line or item.outcome is not None))
        for e, item in waits
    )


def _told(victim: str, steps: list[tuple[str, Wait]], found: dict[str, Parked]) -> str:
    """The circle for whom it is told; runs of other tenants have no name there."""

    def name(run: str) -> str:
        own = found[run].tenant == found[victim].tenant
        return f"run {run}" if own else "a run of another tenant"

    def said(wait: Wait) -> str:
        runs = " and ".join(map(name, wait.runs))
        return runs if wait.line is None else f"the limit {wait.line.said}, held by {runs}"

    waits = ", and ".join(f"{name(run)} waits for {said(wait)}" for run, wait in steps)
    return f"it would wait for ever: {waits}"


def _circle(run: str, found: dict[str, Parked]) -> list[tuple[str, str]]:
    """The shortest way from a run back to itself, by who waits for whom; empty: there is none."""
    came: dict[str, str] = {}
    left = [run]
    for name in left:
        for each in (run for wait in found[name].waits for run in wait.runs):
            if each not in came:
                came[each] = name
                left.append(each)
    if run not in came:
        return []
    path = [(came[run], run)]
    while path[0][0] != run:
        path.insert(0, (came[path[0][0]], path[0][0]))
    return path
