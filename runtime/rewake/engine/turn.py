"""One invocation of a run: from a claim, through replay and commits, to a park or the end.

    claimed ──> instance (cached, or replayed) ──> fold what arrived ──> finished ──> finish
                                                     ^     │                ^
                                                     │     ├─ steps to run ─┤ commit, run them
                                                     │     │                │
                                                     └─ arrived ── park <───┘

What the workflow has observed is committed before a step starts; nothing is dispatched before the
commit that schedules it; parking holds only if nothing arrived meanwhile. Whoever is overtaken
discards the instance and touches nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from rewake.engine.claims import PASSING
from rewake.engine.program import RUNTIME, new_execution
from rewake.engine.services import Services
from rewake.engine.steps import Steps
from rewake.errors import CheckpointUnreadable, RunNotFound, StoreError, StuckError
from rewake.records import (
    AWAITED,
    CancelRequested,
    Completed,
    Entry,
    Event,
    Fired,
    Header,
    Invocation,
    Kind,
    Logged,
    Millis,
    Operation,
    Outcome,
    OutcomeKind,
    RunState,
    Scheduled,
    Started,
    Stepped,
    Withdrawn,
)
from rewake.replay.execution import Execution
from rewake.replay.operation import OpenOp
from rewake.stores.results import (
    Arrived,
    Committed,
    Fenced,
    History,
    TaskClaim,
    header_key,
    is_unattended,
)
from rewake.stores.table import Due
from rewake.values import PYTHON

log = logging.getLogger("rewake.engine")
STUCK_LOG = "rewake.engine.stuck"
"""The logger of the one line that says that a run is stuck."""

UNKNOWN_WAIT = 5_000
"""Milliseconds before a run that this process cannot carry on is offered again, to another."""
_STATE = {
    OutcomeKind.OK: RunState.DONE,
    OutcomeKind.ERROR: RunState.FAILED,
    OutcomeKind.TIMEOUT: RunState.FAILED,
    OutcomeKind.CANCELLED: RunState.CANCELLED,
}


class _Overtaken(Exception):
    """Another holder has the run."""


class _TooNew(Exception):
    """The run began under a newer Rewake, whose replay this one cannot repeat."""


class _CancelFirst(Exception):
    """The run was asked to cancel before its end could be committed."""


class Turn:
    """One invocation of a run that was just claimed. `run()` is all of it.

    `history`: that of the run, if it is known already.
    """

    def __init__(self, services: Services, header: Header, history: History | None = None) -> None:
        self._services = services
        self._known_history = history
        self._store = services.store
        self._header = header
        self._execution: Execution | None = None
        self._signal = asyncio.Event()
        self._steps = Steps(services, header.run, self._signal)
        self._lost = False
        self._look_at: Millis | None = None

    async def run(self, known: Operation | None = None) -> None:
        """Carry the run on as far as it goes. `known` is an outcome that was just delivered."""
        run = self._header.run
        self._services.pokes[run] = self._signal.set
        self._services.steps[run] = self._steps.running
        try:
            with self._services.heart.holding(self._renew, self._lose):
                await self._carry_on(known)
        except _Overtaken:
            log.info("run %s was taken over; this instance is discarded", run)
        except StuckError as error:
            await self._stick(error)
        except (RunNotFound, _TooNew) as error:
            # Not this one's: perhaps another process's, or the version's before or after.
            log.warning("run %s is put back: %s", run, error)
            await self._hand_over(UNKNOWN_WAIT)
        except StoreError as error:
            await self._not_saved(error)
        except asyncio.CancelledError:
            await self._hand_over(0)
            raise
        finally:
            self._steps.abandon()
            if self._services.pokes.get(run) == self._signal.set:
                del self._services.pokes[run]
                del self._services.steps[run]
            if self._execution is not None:
                self._execution.drop()

    async def _carry_on(self, known: Operation | None) -> None:
        try:
            execution = await self._instance()
            while not await self._advance(execution, known):
                known = None
        except _CancelFirst:
            # What is not committed was not observed: go back and let the cancellation come first.
            if self._execution is not None:
                self._execution.drop()
                self._execution = None
            self._steps.abandon()
            await self._carry_on(None)

    async def _advance(self, execution: Execution, known: Operation | None) -> bool:
        """Fold what arrived, then finish, run steps or park; True when the turn is over."""
        self._signal.clear()
        seen = self._header.arrivals
        for event, outcome in await self._events(execution, known):
            if _concerns(execution, event):
                self._observe(execution, event, outcome)
        self._steps.collect(execution, self._now(execution))
        self._check(execution)
        if execution.finished is not None:
            return await self._finish(execution)
        ready = self._steps.ready(execution, self._now(execution))
        if not ready and not self._steps.running:
            return await self._park(execution)
        if self._must_commit(execution, ready):
            await self._commit(execution)
        self._steps.start(ready)
        # A commit tells how much has arrived by then: perhaps more than was read above.
        if self._header.arrivals == seen:
            await self._wait(execution)
        return False

    # --- the instance ----------------------------------------------------------------------

    async def _instance(self) -> Execution:
        header = self._header
        if header.strikes > self._services.settings.strikes:
            raise StuckError(f"its process died {header.strikes - 1} times in a row")
        cached = self._services.cache.take(header)
        self._execution = cached or await self._replayed(header)
        return self._execution

    async def _replayed(self, header: Header) -> Execution:
        services = self._services
        if header.runtime > RUNTIME:
            raise _TooNew(f"it is one of runtime {header.runtime}, and this is {RUNTIME}")
        if header.python != PYTHON:
            raise CheckpointUnreadable(
                f"the run began on Python {header.python} and this is {PYTHON}; serve it with "
                f"{header.python}, or resume it here if its workflow does the same on both"
            )
        history = self._known_history or await self._store.history(header)
        self._known_history = None
        execution = new_execution(
            services.app, header.workflow, header.run, header.seed, services.secret
        )
        self._execution = execution
        if header.cancel is not None and isinstance(history.entries[-1], Started):
            now = max(services.clock.now(), history.entries[-1].clock)
            cancel = CancelRequested(now, header.cancel)
            execution.cancel_at_start(history.entries[-1], cancel)
        else:
            execution.replay(history.entries, history.outcomes())
        self._check(execution)
        # Whoever withdrew an operation may have died before it was cancelled.
        await self._store.cancel_withdrawn(header.run, history, services.clock.now())
        self._steps.find_lost(execution)
        return execution

    # --- what arrived ----------------------------------------------------------------------

    async def _events(
        self, execution: Execution, known: Operation | None
    ) -> list[tuple[Event, Outcome | None]]:
        """Everything that can be observed now, in the order in which it happened."""
        now = self._now(execution)
        found: list[tuple[Millis, str, Event, Outcome | None]] = []
        for operation in await self._settled(execution, known, now):
            event = Completed(operation.key, now)
            found.append((operation.at or now, operation.key, event, operation.outcome))
        found.extend(
            (op.due, op.key, Fired(op.key, now), None)
            for op in execution.open.values()
            if op.kind is Kind.TIMER and op.due is not None and op.due <= now
        )
        found.sort(key=lambda each: each[:2])
        events = [(event, outcome) for _, _, event, outcome in found]
        if self._header.cancel is not None and execution.cancel_reason is None:
            events.insert(0, (CancelRequested(now, self._header.cancel), None))
        return events

    async def _settled(
        self, execution: Execution, known: Operation | None, now: Millis
    ) -> Sequence[Operation]:
        # What is not committed was not asked for yet: nobody can have an outcome for it, and
        # whoever carries on after a crash here may ask for it at another time.
        fresh = {entry.key for entry in execution.fresh if isinstance(entry, Scheduled)}
        awaited = [
            op for op in execution.open.values() if op.kind in AWAITED and op.key not in fresh
        ]
        if not awaited:
            return ()
        if known is not None and len(awaited) == 1 and awaited[0].key == known.key:
            return (known,)
        settled = await self._store.outcomes(self._header.run, [op.key for op in awaited])
        for op in awaited:
            if op.due is not None and op.due <= now and op.key not in settled:
                settled[op.key] = await self._close_slot(op, op.due)
        return list(settled.values())

    async def _close_slot(self, op: OpenOp, due: Millis) -> Operation:
        """The wait is over: nobody can decide any more. A decision that came before stands."""
        operation = Operation(self._header.run, op.key, op.kind, name=op.name)
        late = Outcome(OutcomeKind.TIMEOUT)
        _, found = await self._store.settle(operation, late, due)
        return found

    def _observe(self, execution: Execution, event: Event, outcome: Outcome | None) -> None:
        execution.observe(event, outcome)
        self._check(execution)

    def _check(self, execution: Execution) -> None:
        if execution.error is not None:
            raise execution.error

    def _now(self, execution: Execution) -> Millis:
        """The clock of this run: the machine's, but it never goes back."""
        return max(self._services.clock.now(), execution.clock, self._header.clock)

    # --- committing ------------------------------------------------------------------------

    def _must_commit(self, execution: Execution, ready: Sequence[OpenOp]) -> bool:
        """A step may begin only when what led to it is durable; nothing may wait behind one."""
        if any(op.work.at_most_once for op in ready):
            return bool(execution.fresh)
        return any(
            not (isinstance(entry, Logged) or _asks_for_step(entry)) for entry in execution.fresh
        )

    async def _commit(self, execution: Execution) -> None:
        entries = await self._store.offload(self._header.run, execution.fresh)
        result = await self._store.commit(
            self._header,
            entries,
            now=self._services.clock.now(),
            lease=self._services.settings.lease,
            progress=any(_is_progress(entry) for entry in entries),
        )
        committed = self._accepted(execution, result)
        assert committed is not None
        await self._follow_up(committed, entries, sole=False)

    async def _park(self, execution: Execution) -> bool:
        wake = self._next_wake(execution)
        tasks = [op for op in execution.open.values() if op.kind is Kind.TASK]
        if wake is None and not any(op.kind in AWAITED for op in execution.open.values()):
            raise StuckError("it waits for something that nothing can bring about (a deadlock)")
        look = None
        if tasks or _withdraws(execution.fresh):
            # Kept from park to park: what often wakes would else never be looked after.
            look = self._header.look
            look = (
                self._services.clock.now() + self._services.settings.grace if look is None else look
            )
        entries = await self._store.offload(self._header.run, execution.fresh)
        gap, sole = execution.arrivals_needed(), _awaits_one(execution)
        take = self._claims(entries)
        result = await self._store.park(
            self._header, entries, gap=gap, wake=wake, look=look, take=take
        )
        committed = self._accepted(execution, result)
        if committed is None:
            return False
        # Before anything is dispatched: what comes back at once finds it here.
        self._services.cache.keep(self._header, execution)
        self._execution = None
        try:
            await self._follow_up(committed, entries, sole=sole)
        except StoreError:
            # Only who reads the history again sees what is still to be cancelled.
            self._services.cache.forget(self._header.run)
            raise
        await self._arm(wake, look)
        return True

    def _claims(self, entries: Sequence[Entry]) -> Sequence[TaskClaim]:
        """The tasks that this process begins at once, to be claimed in the commit itself."""
        free = self._services.free_slots()
        return [
            self._services.task_claim(self._header.run, task.key, task.name)
            for task in _tasks_of(entries)[:free]
        ]

    async def _arm(self, wake: Millis | None, look: Millis | None) -> None:
        """What is due soon is not left to the next sweep."""
        soon = self._services.clock.now() + self._services.settings.horizon
        run = self._header.run
        if wake is not None and wake <= soon:
            await self._services.dispatcher.dispatch([Invocation(run, not_before=wake)])
        if look is not None and look <= soon:
            self._services.look(Due(look, header_key(run)))

    async def _finish(self, execution: Execution) -> bool:
        assert execution.finished is not None
        entries = await self._store.offload(self._header.run, execution.fresh)
        state = _STATE[execution.finished.kind]
        # An ended run stays due until all that it gave up is cancelled.
        look = self._services.clock.now() + self._services.settings.grace
        due = look if _withdraws(entries) else None
        result = await self._store.finish(self._header, entries, state=state, due=due)
        committed = self._accepted(execution, result)
        if committed is None:
            if self._header.cancel is not None and execution.cancel_reason is None:
                raise _CancelFirst
            return False
        self._services.ended(self._header.run, execution.finished)
        await self._follow_up(committed, entries, sole=False)
        if due is not None:
            await self._store.postpone(header_key(self._header.run), due, None)
        return True

    def _accepted(
        self, execution: Execution, result: Committed | Fenced | Arrived
    ) -> Committed | None:
        """The commit, if the entries are durable; None: something arrived, nothing was written."""
        if isinstance(result, Fenced):
            raise _Overtaken
        self._header = result.header
        if isinstance(result, Arrived):
            return None
        execution.fresh.clear()
        return result

    async def _follow_up(
        self, committed: Committed, entries: Sequence[Entry], *, sole: bool
    ) -> None:
        """Act on a commit: only now is anything dispatched or cancelled."""
        run, others = self._header.run, []
        for task in _tasks_of(entries):
            invocation = task.message(run, sole=sole)
            taken = committed.taken.get(task.key)
            if taken is None:
                others.append(invocation)
            else:
                self._services.begin(invocation, taken)
        await self._services.dispatcher.dispatch(others)
        await self._cancel_withdrawn(entries)

    async def _cancel_withdrawn(self, entries: Sequence[Entry]) -> None:
        gone: list[Entry] = []
        for entry in entries:
            if isinstance(entry, Withdrawn):
                self._steps.cancel(entry.key)
                gone.append(entry)
        now = self._services.clock.now()
        await self._store.cancel_withdrawn(self._header.run, History(gone, {}), now)

    # --- waiting, and ways out -------------------------------------------------------------

    def _next_wake(self, execution: Execution) -> Millis | None:
        moments = [op.due for op in execution.open.values() if op.due is not None]
        moments += [o.not_before for o in execution.open.values() if o.not_before is not None]
        return min(moments, default=None)

    async def _wait(self, execution: Execution) -> None:
        """Until a step ends, something arrives, a timer is due, or a task may need help."""
        wake, now = self._next_wake(execution), self._services.clock.now()
        if self._look_at is None and any(op.kind is Kind.TASK for op in execution.open.values()):
            self._look_at = now + self._services.settings.grace
        moment = min((each for each in (wake, self._look_at) if each is not None), default=None)
        if moment is None:
            await self._signal.wait()
        else:
            wait = max(0, moment - now) / 1000
            timer = asyncio.get_running_loop().call_later(wait, self._signal.set)
            try:
                await self._signal.wait()
            finally:
                timer.cancel()
        if self._lost:
            raise _Overtaken
        await self._look_after_tasks(execution)
        if not self._steps.ended:
            self._header = await self._fresh_header()

    async def _look_after_tasks(self, execution: Execution) -> None:
        """The sweeper sees to the tasks of a parked run; while steps run, this does."""
        now = self._services.clock.now()
        if self._look_at is None or now < self._look_at:
            return
        self._look_at = None
        run, lost = self._header.run, []
        for op in execution.open.values():
            if op.kind is Kind.TASK:
                found = await self._store.operation(run, op.key)
                if is_unattended(found, now):
                    lost.append(op.scheduled())
        entries = await self._store.offload(run, lost)
        await self._services.dispatcher.dispatch([task.message(run) for task in _tasks_of(entries)])

    async def _fresh_header(self) -> Header:
        """What arrived meanwhile: the counter, and a cancellation."""
        found = await self._store.header(self._header.run)
        if (found.epoch, found.owner) != (self._header.epoch, self._header.owner):
            raise _Overtaken
        return found

    async def _renew(self) -> bool:
        now = self._services.clock.now()
        found = await self._store.renew(self._header, now, self._services.settings.lease)
        if found is not None and found.arrivals != self._header.arrivals:
            # From another thread; setting an asyncio.Event here would not wake its loop.
            self._services.call_home(self._signal.set)
        return found is not None

    def _lose(self) -> None:
        self._lost = True
        self._signal.set()

    async def _stick(self, error: StuckError) -> None:
        logging.getLogger(STUCK_LOG).error("run %s is stuck: %s", self._header.run, error)
        try:
            await self._store.stick(self._header, f"{type(error).__name__}: {error}")
        except StoreError as refused:
            await self._not_saved(refused)
        self._services.ended(self._header.run)

    async def _not_saved(self, error: StoreError) -> None:
        """Whoever goes on does so from the last commit, at the latest when the lease is over."""
        log.warning("run %s could not be saved; it is retried", self._header.run, exc_info=error)
        if isinstance(error, PASSING):
            await self._hand_over()

    async def _hand_over(self, wait: Millis | None = None) -> None:
        if not self._lost:
            header = self._header
            await self._services.claims.give_up(header.run, "", header.owner, wait)


def _concerns(execution: Execution, event: Event) -> bool:
    """Whether the event is about something still open: an earlier one may have closed it."""
    return isinstance(event, CancelRequested) or getattr(event, "key", "") in execution.open


def _awaits_one(execution: Execution) -> bool:
    return sum(op.kind in AWAITED for op in execution.open.values()) == 1


def _withdraws(entries: Sequence[Entry]) -> bool:
    """Whether something is given up that somebody else may be working on."""
    return any(isinstance(entry, Withdrawn) and entry.kind in AWAITED for entry in entries)


def _tasks_of(entries: Sequence[Entry]) -> list[Scheduled]:
    """The tasks that a commit schedules, without those that it withdraws again."""
    gone = {entry.key for entry in entries if isinstance(entry, Withdrawn)}
    return [
        entry
        for entry in entries
        if isinstance(entry, Scheduled) and entry.kind is Kind.TASK and entry.key not in gone
    ]


def _asks_for_step(entry: Entry) -> bool:
    return isinstance(entry, Scheduled) and entry.kind is Kind.STEP


def _is_progress(entry: Entry) -> bool:
    return isinstance(entry, Completed | Fired) or (
        isinstance(entry, Stepped) and entry.retry_at is None
    )
