"""The commits of one turn, and the actions that must wait until they are durable.

A commit writes down what the workflow has observed and asked for since the last commit. Only then
does `_follow_up` dispatch, begin or cancel operations. A commit that was fenced (the condition is
`Writes._fence` in `stores/writes.py`) raises `Overtaken`. If something arrived meanwhile, a park or
a finish writes nothing, and the turn reads again.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
from collections.abc import Awaitable, Sequence, Set

from rewake.authoring.events import heard_in
from rewake.engine.limits.limits import LAST
from rewake.engine.logs.carrying import About, runs_log, warn_of_failure
from rewake.engine.process.leases import PASSING
from rewake.engine.services import Services
from rewake.engine.starts.singletons import take_over
from rewake.engine.turns.answering import answer, answer_late, answers_in
from rewake.engine.turns.bounds import check_history, check_values
from rewake.engine.turns.fresh import dispatched, is_progress, withdraws
from rewake.engine.turns.instance import Instance
from rewake.engine.turns.laps import first_entries
from rewake.engine.turns.noting import Noting
from rewake.engine.turns.outlook import scheduled
from rewake.engine.turns.steps import Steps
from rewake.engine.turns.subscriptions import Subscriptions
from rewake.errors import StoreError, StuckError
from rewake.kinds import Kind, OutcomeKind
from rewake.records import (
    Entry,
    Header,
    Invocation,
    Millis,
    Outcome,
    Scheduled,
    Withdrawn,
)
from rewake.replay.again import Continued
from rewake.replay.asyncio_order import Needed
from rewake.replay.differences import key_of
from rewake.replay.execution import Execution
from rewake.spelled import spelled
from rewake.states import END_OF
from rewake.stores.answers import Arrived, Committed, Fenced, TaskClaim
from rewake.stores.families import is_waited_for
from rewake.stores.history import History
from rewake.stores.joins import may_be_open, until_heard
from rewake.stores.keys import header_key
from rewake.stores.signals import ANY
from rewake.stores.table import Due

FAILED_LOG = "rewake.engine.failed"
"""The logger of the record that says that a run failed, with the traceback."""

IN_TURN = 8
"""The most tasks that are claimed one after the other in one commit."""


class Overtaken(Exception):
    """Another holder has the run."""


class NextLap(Exception):
    """The run has begun its next lap, with an instance of its own."""


class CancelFirst(Exception):
    """The run was asked to cancel before its end could be committed."""


class Commits:
    """The commits of one turn. `header` is the run as the turn holds it; a commit replaces it."""

    def __init__(
        self, services: Services, header: Header, steps: Steps, instance: Instance
    ) -> None:
        self.header = header
        self._services = services
        self._store = services.store
        self._steps = steps
        self._instance = instance
        self._notes = Noting(services)
        self._closed = 0
        self.waits = Subscriptions(services, header)

    async def stay(self, execution: Execution) -> None:
        """Commit, and go on holding the run."""
        entries = await self._entries(execution)
        result = await self._store.commit(
            self.header,
            entries,
            progress=any(is_progress(entry) for entry in entries),
        )
        committed = self._accepted(execution, result)
        assert committed is not None
        await self._tell(entries)
        await self._follow_up(committed, entries, dispatched(entries))

    async def make_known(self, execution: Execution) -> bool:
        """Let events find all waits for them, which are committed first. Whether there were any."""
        unknown = self.waits.unknown(execution)
        if unknown and execution.fresh:
            await self.stay(execution)
        if unknown:
            await self.waits.make(execution, unknown)
        return bool(unknown)

    async def park(self, execution: Execution, wake: Millis | None) -> bool:
        """Commit and suspend until `wake` or an arrival. Returns False if something has arrived.

        Raises `StuckError` if the run would wait for ever.
        """
        kinds = {op.kind for op in execution.open.values()}
        if wake is None and not any(map(_comes_from_outside, kinds)):
            raise StuckError("it waits for something that nothing can bring about (a deadlock)")
        settings, check_at = self._services.settings, self._check_at(execution, kinds)
        ahead = wake is not None and self._services.goes_ahead(wake)
        entries = await self._entries(execution)
        needed, tasks = execution.arrivals_needed(), dispatched(entries)
        take, taken = self._claims(tasks), 0
        try:
            joined = await self._open_joins(execution, needed, wake)
            result = await self._store.park(
                self.header,
                entries,
                gap=needed.arrivals - joined,
                needs=needed.arrivals,
                spared=needed.failures,
                wake=wake,
                check_at=check_at,
                ahead=settings.grace if ahead else 0,
                asks=Kind.APPROVAL in kinds,
                hears=_hears(execution) if any(kind.traits.heard for kind in kinds) else "",
                take=take,
                near=settings.sweep,
            )
            taken = len(result.taken) if isinstance(result, Committed) else 0
        except (*PASSING, asyncio.CancelledError):
            await self._release_claims(take)
            raise
        finally:
            self._services.slots.release(len(take) - taken)
        committed = self._accepted(execution, result)
        if committed is None:
            return False
        await self._tell(entries)
        # Before the dispatch, so that an outcome that comes at once finds a cached instance.
        self._instance.suspend(self.header)
        hints = {"sole": needed.arrivals <= 1, "joined": joined > 0, "spared": needed.failures > 0}
        await self._follow_park(self._follow_up(committed, entries, tasks, **hints))
        await self._arm(wake, check_at)
        return True

    async def set_aside(self, execution: Execution, wake: Millis | None) -> bool:
        """Commit and pause, as somebody asks. Returns False if something has arrived.

        What was asked for and has not begun is dispatched when the run is resumed.
        """
        entries = await self._entries(execution)
        asks = any(op.kind is Kind.APPROVAL for op in execution.open.values())
        result = await self._store.set_aside(self.header, entries, wake=wake, asks=asks)
        if self._accepted(execution, result) is None:
            return False
        await self._tell(entries)
        runs_log.info("run %s of %s is paused", self.header.run, self.header.workflow)
        await self._cancel_withdrawn(entries)
        return True

    async def _follow_park(self, following: Awaitable[None]) -> None:
        try:
            await following
        except StoreError:
            # Only a replay finds in the history the operations that are still to be cancelled.
            self._services.cache.drop(self.header.run)
            raise

    async def is_held_back(self) -> bool:
        """Whether the run is limited and not let in now: then it is suspended until it is."""
        limits = self._services.limits
        while (admission := self.header.admission) is not None and not admission.inside:
            if self.header.cancels or self.header.pause:
                await limits.withdraw(self.header)
                return False
            has_waited, now = admission.reserved, self._services.clock.now()
            admission, wake = await limits.let_in(self.header)
            self.header = _held(await take_over(self._services, self.header, admission))
            if self.header.cancels:
                continue
            if admission.inside and has_waited:
                self.header = _held(await self._store.let_begin(self.header, admission, now))
                return False
            if admission.inside:
                self.header.admission = admission  # the next commit writes it
                return False
            due = self._services.clock.now() + LAST if wake is None else wake
            late = self._services.hooks.late_at(self.header)
            result = await self._store.hold_back(
                self.header, admission, wake=wake, due=due, check_at=late
            )
            if isinstance(result, Fenced):
                raise Overtaken
            self.header = result.header
            if isinstance(result, Committed):
                await self._arm(wake, None)
                return True
        return False

    def adopt(self, header: Header) -> None:
        """Go on from a header as it is stored; that its run was let in may not be written yet."""
        admission = self.header.admission
        if admission is not None and admission.inside:
            header.admission = admission
        self.header = header

    async def finish(self, execution: Execution) -> bool:
        """Commit the end. Returns False if something arrived, which the ended workflow ignores.

        Raises `CancelFirst` if what arrived is a request to cancel that was not observed, and
        `NextLap` if it goes on as new.
        """
        assert execution.finished is not None
        if isinstance(end := execution.ended, Continued):
            return await self._next_lap(execution, end)
        entries = await self._instance.with_unread(self.header, await self._entries(execution))
        state = END_OF[execution.finished.kind]
        # An ended run stays due until all that it withdrew is cancelled, and whoever waits for
        # it is told; then, for its removal.
        last = self._services.keeping.due(self.header, state, self._services.clock.now())
        waited_for = is_waited_for(self.header)
        tells = self._services.hooks.tells(self.header, state)
        due = self._in_grace() if waited_for or tells or withdraws(entries) else last
        result = await self._store.finish(self.header, entries, state=state, due=due, tells=tells)
        if not self._ends(execution, result):
            return False
        await self._notes.committed(self.header)
        self._services.ended(self.header.run, execution.finished)
        self._tell_failure(execution.finished)
        runs_log.info("run %s of %s has ended: %s", self.header.run, self.header.workflow, state)
        await self._services.limits.leave(self.header)
        await answer(self._services, self.header.run, entries)
        await self._cancel_withdrawn(entries)
        await self._services.tell(self.header, execution.finished)
        await self.waits.drop()
        await self._services.events.watches.take_back(self.header, execution.started)
        await self._services.hooks.tell(self.header)
        if due != last:
            await self._store.lay_down(self.header, last)
        return True

    async def _next_lap(self, execution: Execution, end: Continued) -> bool:
        if answers_in(execution.fresh):  # no later lap has them
            await self.stay(execution)
        store, fresh = self._store, [*execution.fresh]
        lap = (await store.entries(self.header)).entries + fresh
        await answer_late(self._services, self.header.run, lap)
        now = max(self._services.clock.now(), execution.clock)
        await self._note(execution)
        first = first_entries(self.header, execution.started, lap, end, now, heard_in(execution))
        check_values(self.header.run, first, self._services.settings.value)
        entries = await store.offload(self.header.run, first)
        await self._services.events.watches.follow(self.header, execution.started, end.args)
        begun = await store.next_lap(self.header, entries, cancels=execution.cancels)
        if not self._ends(execution, begun):
            return False
        if end.failure is not None:
            about = About(self.header.run, "", end.failure.attempts)
            warn_of_failure(about, end.failure, self._services.clock, end.begins)
        self._instance.begin(History(first, {}))
        await self._services.events.watches.take_back(self.header, execution.started, end.args)
        await self._notes.committed(self.header)
        self._steps.drop(unknown := scheduled(fresh))  # asked for, withdrawn: nobody knows of it
        await self._cancel_withdrawn([each for each in fresh if key_of(each) not in unknown])
        await self.look_after_laps(cancel=False)
        raise NextLap

    async def look_after_laps(self, *, cancel: bool = True) -> None:
        """Remove what earlier laps have left, unless that is done. The next commit notes it."""
        held, over = self.header, self._instance.signals_over
        held.lap = await self._store.look_after_laps(held, cancel=cancel, signals=over)

    def _ends(self, execution: Execution, result: Committed | Fenced | Arrived) -> bool:
        """Whether the end was written; else something arrived. Raises `CancelFirst`."""
        if self._accepted(execution, result) is not None:
            return True
        if self.header.cancels > execution.cancels:
            raise CancelFirst
        return False

    async def _entries(self, execution: Execution) -> list[Entry]:
        """What is to be committed, its large values on the shelf; the header says the rest."""
        settings = self._services.settings
        check_history(self.header, execution.fresh, settings.entries)
        check_values(self.header.run, execution.fresh, settings.value)
        await self._note(execution)
        return await self._store.offload(self.header.run, execution.fresh)

    async def _note(self, execution: Execution) -> None:
        """Let the commit that comes take along what the body has said of its run since the last."""
        if execution.notes.changed:
            self.header = await self._notes.in_header(self.header, execution.notes)

    async def _tell(self, entries: Sequence[Entry]) -> None:
        """Say what the run now waits for, and let it be found by the labels that it has now."""
        self._tell_waits(entries)
        await self._notes.committed(self.header)

    def _tell_waits(self, entries: Sequence[Entry]) -> None:
        """Say what a run now waits for, of what others bring about, and how they do."""
        run = self.header.run
        for each in entries:
            if not isinstance(each, Scheduled) or each.kind.traits.dispatched:
                continue
            if each.kind is Kind.APPROVAL:
                told = "run %s waits for a decision: rewake runs approve %s %s"
                runs_log.info(told, run, run, shlex.quote(spelled(each.key)))
            elif _comes_from_outside(each.kind) and each.kind.traits.suspends:
                runs_log.info("run %s waits %s: %s", run, each.kind.traits.waiting, each.key)

    def _tell_failure(self, outcome: Outcome) -> None:
        failure = outcome.failure
        if failure is not None and outcome.kind is not OutcomeKind.CANCELLED:
            told = failure.traceback or f"{failure.type}: {failure.message}"
            failed = logging.getLogger(FAILED_LOG)
            failed.error("run %s of %s failed\n%s", self.header.run, self.header.workflow, told)

    def _accepted(
        self, execution: Execution, result: Committed | Fenced | Arrived
    ) -> Committed | None:
        """The commit, if it was written; None if something arrived. Raises `Overtaken`."""
        if isinstance(result, Fenced):
            raise Overtaken
        answered = result.header.answer != self.header.answer
        self.adopt(result.header)
        if answered:
            self._services.ended(self.header.run)  # who waits looks again
        if isinstance(result, Arrived):
            return None
        execution.fresh.clear()
        execution.notes.committed()
        self._steps.committed()
        self.waits.note_committed(execution)
        self._services.streams.watchers.tell(self.header.run)
        return result

    # --- parking ---------------------------------------------------------------------------

    def _check_at(self, execution: Execution, kinds: Set[Kind]) -> Millis | None:
        """The moment when a sweep must check operations that this parked run has elsewhere."""
        under_way = any(kind.traits.dispatched for kind in kinds)
        if not under_way and not withdraws(execution.fresh):
            return self._services.hooks.late_at(self.header)
        # Carried over from park to park: a run that wakes often would otherwise push this moment
        # away for ever. Not one from before the clock was set back.
        kept, soon = self.header.check_at, self._in_grace()
        return soon if kept is None else min(kept, soon)

    async def _open_joins(self, execution: Execution, needed: Needed, wake: Millis | None) -> int:
        """Let what a run waits for be counted beside it, if that are many of what it has open.

        Not where a timer wakes it soon: that costs some writes for each shard. Returns by how many
        less arrivals its header hears of.
        """
        layout = self._store.layout
        if layout.shards == 1 or len(execution.open) <= layout.first:
            return 0  # what lies with its run is not counted beside it
        if wake is not None and wake < self._in_grace():
            return 0
        awaited = [op for op in execution.open.values() if op.kind.traits.awaited]
        counts = self._store.joined([op.key for op in awaited if op.kind.traits.dispatched])
        if not (counts := until_heard(counts, needed.arrivals, len(awaited))):
            return 0
        spared = needed.failures >= needed.arrivals
        self.header = _held(await self._store.open_joins(self.header, counts, spared=spared))
        return counts.total() - len(counts)

    async def close_joins(self) -> bool:
        """Let all that arrives from now on arrive at the header, before outcomes are read.

        False: nothing was counted beside it.
        """
        if not may_be_open(self.header):
            return False
        if self._closed <= self.header.joins:
            self._closed = await self._store.close_joins(self.header)
        self.header.joins = self._closed
        return True

    def _in_grace(self) -> Millis:
        return self._services.clock.now() + self._services.settings.grace

    def _claims(self, tasks: Sequence[Scheduled]) -> Sequence[TaskClaim]:
        """Claims on those that this process begins at once, to be made in the commit itself.

        A slot is reserved for each. Where each claim is a write of its own these are few: nothing
        of it is held before the last one is claimed.
        """
        tasks = [t for t in tasks if not (t.kind.traits.of_run or t.terms.limits)]
        own = [task for task in tasks if self._services.begins(task.tag)]
        own.sort(key=lambda task: -task.terms.priority)
        if not self._store.joins:
            own = own[:IN_TURN]
        reserved = self._services.slots.reserve(len(own)) if own else 0
        return [self._services.task_claim(self.header.run, task) for task in own[:reserved]]

    async def _release_claims(self, claims: Sequence[TaskClaim]) -> None:
        """Release claims of a commit that may have been written, although nothing came of it."""
        for claim in claims:
            await self._services.claims.release(claim.run, claim.key, claim.owner, 0)

    async def _arm(self, wake: Millis | None, check_at: Millis | None) -> None:
        """Arm timers for moments that may come before the next sweep."""
        soon = self._services.clock.now() + self._services.settings.horizon
        run = self.header.run
        moments = [] if check_at is None else [check_at]
        if wake is not None and self._services.dispatcher.local:
            moments.append(wake)  # a sweep arms the same timer: two wakes would cost a claim more
        elif wake is not None and (wake <= soon or self._services.goes_ahead(wake)):
            await self._services.dispatcher.dispatch([Invocation(run, not_before=wake)])
        if moments and min(moments) <= soon:
            self._services.arm(Due(min(moments), header_key(run)))

    # --- after a commit --------------------------------------------------------------------

    async def _follow_up(
        self,
        committed: Committed,
        entries: Sequence[Entry],
        tasks: Sequence[Scheduled],
        **hints: bool,
    ) -> None:
        """Begin or dispatch the committed `tasks`, and cancel withdrawn operations."""
        run, others = self.header.run, list[Invocation]()
        for task in () if self.header.pause else tasks:
            invocation = task.message(run, **hints)
            taken = committed.taken.get(task.key)
            if taken is None:
                others.append(invocation)
            else:
                self._services.begin(invocation, taken)
        if others:
            await self._services.dispatch(others)
        await answer(self._services, self.header.run, entries)
        await self._cancel_withdrawn(entries)
        await self.waits.drop()

    async def _cancel_withdrawn(self, entries: Sequence[Entry]) -> None:
        gone: list[Entry] = [entry for entry in entries if type(entry) is Withdrawn]
        if not gone:
            return
        await self._steps.cancel([key_of(entry) for entry in gone])
        now = self._services.clock.now()
        await self._store.cancel_withdrawn(self.header.run, History(gone, {}), now)


def _comes_from_outside(kind: Kind) -> bool:
    """Whether an operation of this kind ends by what others do, in their own time."""
    return kind.traits.awaited or kind.traits.heard


def _hears(execution: Execution) -> str:
    """The name of the signals that a run waits for, as its header says it."""
    names = {op.name for op in execution.open.values() if op.kind.traits.heard}
    return ANY if len(names) > 1 else next(iter(names), "")


def _held(header: Header | None) -> Header:
    """The header of a run that is held still. Raises `Overtaken`."""
    if header is None:
        raise Overtaken
    return header
