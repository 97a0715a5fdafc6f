"""One invocation of a run: from a claim, through replay and commits, to a park or the end.

    claimed ──> instance (cached, or replayed) ──> fold what arrived ──> finished ──> finish
                                                     ^     │                ^
                                                     │     ├─ steps to run ─┤ commit, run them
                                                     │     │                │
                                                     └─ arrived ── park <───┘

Observations are committed before a step starts; a task is dispatched only after the commit that
schedules it; parking succeeds only if nothing arrived meanwhile. A turn that is overtaken discards
its instance and touches nothing.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence

from rewake.engine.instances.inbox import MOST_FRESH
from rewake.engine.logs.carrying import carrying_out
from rewake.engine.process.apart import Stay
from rewake.engine.process.heart import Hold
from rewake.engine.process.leases import PASSING
from rewake.engine.process.shortages import shortage
from rewake.engine.services import Services, TurnHere
from rewake.engine.turns.commits import CancelFirst, Commits, NextLap, Overtaken
from rewake.engine.turns.crowds import Crowd
from rewake.engine.turns.deadlines import end_silence, timed_out
from rewake.engine.turns.fresh import dispatched, must_commit
from rewake.engine.turns.instance import Instance, TooNew, check
from rewake.engine.turns.interrupted import number_anew, number_attempts
from rewake.engine.turns.matters import time_out
from rewake.engine.turns.outlook import concerns, goes_on, in_order, next_wake, scheduled
from rewake.engine.turns.steps import Steps
from rewake.errors import ReadableElsewhere, RunNotFound, StoreError, StuckError
from rewake.kinds import DueMeans
from rewake.records import (
    Completed,
    Event,
    Fired,
    Header,
    Millis,
    Operation,
    Outcome,
    Scheduled,
    Signalled,
)
from rewake.replay.execution import Execution
from rewake.replay.operation import OpenOp
from rewake.states import RunState
from rewake.stores.history import History, is_unattended, of_round
from rewake.stores.patience import patient
from rewake.values.failures import described

log = logging.getLogger("rewake.engine")
FEW = 16
"""So many open operations are read at once, whenever something has arrived."""
STUCK_LOG = "rewake.engine.stuck"
"""The logger of the one line that says that a run is stuck."""


class Turn:
    """One invocation of a run that was just claimed; `run()` carries it out.

    `history`: the history of the run, if it is known already. `stay`: for how long the run, which
    is a suspect, is kept apart from others.
    """

    def __init__(
        self,
        services: Services,
        header: Header,
        history: History | None = None,
        *,
        stay: Stay | None = None,
    ) -> None:
        self._services = services
        self._stay = stay
        self._store = services.store
        self._signal = asyncio.Event()
        self._steps = Steps(services, header.run, self._signal)
        self._instance = Instance(services, history)
        self._commits = Commits(services, header, self._steps, self._instance)
        self._crowd = Crowd(services, self._commits)
        self._overtaken = False
        self._numbered = header.epoch <= header.rest + 1
        self._check_at: Millis | None = None
        self._unread = False
        self._read_all_at = 0.0
        self._begun = False
        self._by = asyncio.current_task()  # here: what is around the turn may have tasks of its own

    async def run(self, known: Operation | None = None) -> None:
        """Carry the run on as far as it goes. `known` is an outcome that was just delivered."""
        with carrying_out((header := self._commits.header).run):
            try:
                await self._services.around_turn(header, self._carry_out(known))
            except asyncio.CancelledError:
                if not self._begun:  # while what is around it did
                    self._services.claims.remember(header.run, "", header.owner)
                raise

    async def _carry_out(self, known: Operation | None) -> None:
        run, owner = self._commits.header.run, self._commits.header.owner
        if self._commits.header.deaths > 0:
            log.warning("run %s is taken over: its last turn ended with its process", run)
        poke, steps, arrivals = self._signal.set, self._steps, self._instance.arrivals
        here = TurnHere(owner, poke, steps.running, arrivals, steps.begun, self._by)
        self._begun, self._services.turns[run] = True, here
        try:
            with self._services.heart.holding(self._new_hold()):
                # A claim that took long may be another's by now, or before the first beat.
                if not self._services.heart.is_sure(owner):
                    await self._make_sure()
                with patient(self._steps.would_be_lost, self._steps.wait_for_store):
                    await self._carry_on(known)
        except Overtaken:
            self._on_overtaken()
            log.info("run %s was taken over; this instance is discarded", run)
            await self._services.claims.absolve(run, "", owner)
        except (RunNotFound, TooNew, ReadableElsewhere) as error:
            # Perhaps a process with other code, another Python or other keys can carry it on.
            reason = getattr(error, "reason", "") or str(error)
            at = self._services.elsewhere.put_back(run, "", reason)
            await self._release(at - self._services.clock.now(), reason)
        except StuckError as error:
            await self._stick(error)
        except StoreError as error:
            await self._not_saved(error)
        except asyncio.CancelledError:
            await self._release(0)
            log.info("run %s is released: this process stops, another goes on with it", run)
            raise
        except Exception as error:
            await self._failed(error)
        finally:
            self._steps.cancel_all()
            if self._services.turns.get(run) is here:
                del self._services.turns[run]
            self._instance.drop()

    async def _carry_on(self, known: Operation | None) -> None:
        is_over = await self._commits.is_held_back()
        while not is_over:
            try:
                await self._carry_on_lap(known)
                is_over = True
            except NextLap:
                pass
            except CancelFirst:
                # No uncommitted event was observed yet: go back and let the cancellation be first.
                self._instance.drop()
                await self._steps.interrupt()
            except (*PASSING, ReadableElsewhere) as error:
                # A payload codec is out of reach, and the body cannot go on.
                if not self._steps.outlive(error):
                    raise
                self._instance.drop()
                self._commits.waits.forget()
                await self._steps.wait_to_begin_again(error)
            known = None

    async def _carry_on_lap(self, known: Operation | None) -> None:
        execution = await self._instance.take(self._commits.header)
        await self._commits.look_after_laps()
        if self._instance.steps or not self._numbered:
            await self._number_attempts(execution)
        if self._instance.replayed:
            self._steps.find_begun(execution, self._commits.header)
        if self._instance.retried:
            await self._begin_anew(execution)
        self._commits.waits.begin(execution, anew=self._instance.retried)
        while not await self._advance(execution, known):
            known = None

    async def _number_attempts(self, execution: Execution) -> None:
        header, known = self._commits.header, self._instance.steps
        if not any(op.kind.traits.inline for op in execution.open.values()):
            self._numbered = True
            return
        # What a replay read may be the records of who took this over, by whichever clock.
        await self._make_sure(whenever=bool(known))
        lost, check = not self._numbered, self._fresh_header
        await number_attempts(self._services, header, execution, known, lost=lost, check=check)
        self._numbered = True

    async def _advance(self, execution: Execution, known: Operation | None) -> bool:
        """Fold what arrived, then finish, run steps or park. Returns True when the turn is over."""
        self._signal.clear()
        self._check_held()
        # What was heard need not be learnt from a park that fails.
        arrivals = self._instance.arrivals
        if await self._commits.close_joins():
            arrivals.forget()
        header = self._commits.header
        seen = header.arrivals = arrivals.heard_to(header.arrivals)
        now = self._now(execution)
        await self._fold(execution, known, now)
        self._steps.collect(execution, now)
        check(execution)
        if execution.finished is not None:
            return await self._crowd.passes(self._commits.finish(execution))
        ready = [] if header.pause else self._steps.ready(execution, self._now)
        if not ready and not self._steps.running:
            if await self._sees_more(execution, seen):
                return False
            suspend = self._commits.set_aside if header.pause else self._commits.park
            return await self._crowd.passes(suspend(execution, next_wake(execution)))
        await self._begin(execution, ready)
        header = self._commits.header  # of the newest arrival: more may have come since the read
        if header.arrivals == seen and not self._instance.inbox.has_more(header, execution):
            await self._wait(execution)
        return False

    async def _begin(self, execution: Execution, ready: Sequence[OpenOp]) -> None:
        """Begin steps, once what led to them is committed; if that finds a pause, none."""
        self._steps.expect(ready)
        if execution.notes.changed or must_commit(execution.fresh, ready):
            await self._commits.stay(execution)
            ready = () if self._commits.header.pause else ready
        if ready:
            await number_anew(self._services, self._commits.header, ready)
            await self._make_sure()
        self._check_held()
        self._steps.start(ready)
        await self._commits.make_known(execution)

    async def _fold(self, execution: Execution, known: Operation | None, now: Millis) -> None:
        for event, outcome in await self._events(execution, known, now):
            if is_wanted := concerns(execution, event):
                execution.observe(event, outcome)
                check(execution)
            if type(event) is Signalled:
                self._instance.inbox.close(event, observed=is_wanted)

    async def _sees_more(self, execution: Execution, seen: int) -> bool:
        """Whether there is more that it can observe at once, behind the arrivals it has `seen`."""
        if await self._commits.make_known(execution):
            return True
        if self._instance.inbox.has_more(self._commits.header, execution):
            if len(execution.fresh) > MOST_FRESH:
                await self._commits.stay(execution)
            return True
        return self._unread or self._instance.arrivals.heard_to(seen) > seen or goes_on(execution)

    # --- what arrived ----------------------------------------------------------------------

    async def _events(
        self, execution: Execution, known: Operation | None, now: Millis
    ) -> list[tuple[Event, Outcome | None]]:
        """The events that can be observed now, in the order in which they happened."""
        found: list[tuple[Millis, str, Event, Outcome | None]] = []
        for operation in await self._settled(execution, known, now):
            event = Completed(operation.key, now)
            found.append((operation.at or now, operation.key, event, operation.outcome))
        found += [
            (op.due, op.key, Fired(op.key, now, op.kind), None)
            for op in execution.open.values()
            if op.due is not None and op.due <= now and op.kind.traits.fires
        ]
        inbox, header = self._instance.inbox, self._commits.header
        found += await inbox.found(self._store, header, execution, now)
        return in_order(found, header, execution, now)

    async def _settled(
        self, execution: Execution, known: Operation | None, now: Millis
    ) -> Sequence[Operation]:
        # An uncommitted operation was not asked for yet: it can have no outcome, and after a crash
        # here the next turn may ask for it at another time.
        fresh = scheduled(execution.fresh) if execution.fresh else ()
        awaited = {
            op.key: op
            for op in execution.open.values()
            if op.kind.traits.awaited and op.key not in fresh
        }
        found, keys = self._instance.arrivals.found(), self._arrived(len(awaited))
        self._instance.inbox.note(keys)
        settled = {key: found[key] for key in awaited if key in found} if found else {}
        # An outcome of another round is none, and must not stand for one that has come since.
        settled = {k: found for k, found in settled.items() if found.round == awaited[k].round}
        if known is not None and known.key in awaited and (len(awaited) == 1 or keys is not None):
            settled[known.key] = known
        if len(settled) < len(awaited):
            asked = awaited if keys is None else [key for key in keys if key in awaited]
            wanted = [key for key in asked if key not in settled]
            if wanted:
                run, count = self._commits.header.run, self._commits.header.count
                settled |= await self._store.outcomes(run, wanted, count)
        settled = {k: found for k, found in settled.items() if found.round == awaited[k].round}
        for op in awaited.values():
            if op.kind.traits.due is not DueMeans.DEADLINE or op.key in settled:
                continue
            late = timed_out(op.due, now)
            if late is not None:
                settled[op.key] = await self._time_out(op, late[1])
            elif op.silent_at is not None and op.silent_at <= now:
                run = self._commits.header.run
                settled |= await end_silence(self._services, run, op, op.silent_at, now)
        return list(settled.values())

    def _arrived(self, awaited: int) -> list[str] | None:
        """The keys of the operations to read; None: all that are open.

        While steps run, many are read no more often than a turn hears of deliveries by others.
        """
        arrivals, seen = self._instance.arrivals, self._commits.header.arrivals
        keys = arrivals.since(seen)
        if keys is None:  # the header may count arrivals that were heard here, and not its signals
            self._instance.inbox.note(arrivals.heard(seen))
        self._unread = False
        if keys is None:
            now = asyncio.get_running_loop().time()
            if awaited > FEW and self._steps.running and now < self._read_all_at:
                self._unread = True
                return arrivals.heard(seen)
            self._read_all_at = now + self._services.settings.lease / 3000
        arrivals.read(seen)
        return keys

    async def _time_out(self, op: OpenOp, due: Millis) -> Operation:
        """Settle a wait whose time is over. An outcome that was settled before stands."""
        header = self._commits.header
        operation = Operation(header.run, op.key, op.kind, op.name, op.round)
        return await time_out(self._services, header, operation, op.scheduled(), due)

    def _now(self, execution: Execution) -> Millis:
        """The machine's time. Less than the skew behind, it was no setting back: then it stands."""
        now, newest = self._services.clock.now(), execution.machine
        return newest if newest - self._services.settings.skew <= now < newest else now

    # --- waiting while steps run -----------------------------------------------------------

    async def _wait(self, execution: Execution) -> None:
        """Wait until a step ends, something arrives, a timer is due, or tasks must be checked."""
        now, begins = self._services.clock.now(), not self._commits.header.pause
        wake = next_wake(execution, begins=begins)
        if self._check_at is None and any(
            op.kind.traits.dispatched for op in execution.open.values()
        ):
            self._check_at = now + self._services.settings.grace
        if self._check_at is not None:  # it was later if the clock was set back
            self._check_at = min(self._check_at, now + self._services.settings.grace)
        moment = min((each for each in (wake, self._check_at) if each is not None), default=None)
        loop = asyncio.get_running_loop()
        wait = math.inf if moment is None else max(0, moment - now) / 1000
        if self._unread:
            wait = min(wait, self._read_all_at - loop.time())
        timer = None if wait == math.inf else loop.call_later(wait, self._signal.set)
        try:
            await self._signal.wait()
        finally:
            if timer is not None:
                timer.cancel()
        self._check_held()
        await self._look_after_tasks(execution)
        if not self._steps.ended:
            self._commits.adopt(await self._fresh_header())

    async def _look_after_tasks(self, execution: Execution) -> None:
        """Dispatch unattended tasks again while steps run; a sweep checks parked runs."""
        now = self._services.clock.now()
        if self._check_at is None or now < self._check_at:
            return
        self._check_at = None
        header, unattended = self._commits.header, []
        tasks = [op for op in execution.open.values() if op.kind.traits.dispatched]
        items = await self._store.operations(header.run, [op.key for op in tasks], header.count)
        for op in tasks:
            found = of_round(items.get(op.key), op.round)
            if found is not None:
                found = await self._store.set_right(found)
                if found.outcome is not None:
                    self._instance.arrivals.forget()
            if is_unattended(found, now):
                unattended.append(op.scheduled())
        await self._dispatch(unattended)

    async def _begin_anew(self, execution: Execution) -> None:
        """Dispatch the tasks that a retry has opened again, now that the code has asked for them.

        Should this process die before that, a sweep finds them unattended.
        """
        newest = self._commits.header.round
        again = [
            op.scheduled()
            for op in execution.open.values()
            if op.kind.traits.dispatched and op.round == newest and op.recorded is not None
        ]
        await self._dispatch(again)

    async def _dispatch(self, asked: Sequence[Scheduled]) -> None:
        run = self._commits.header.run
        entries = await self._store.offload(run, asked)
        await self._services.dispatch([task.message(run) for task in dispatched(entries)])

    async def _fresh_header(self) -> Header:
        """The newest header: its arrivals, its request to cancel. Raises `Overtaken`."""
        found = await self._store.header(self._commits.header.run)
        if (found.epoch, found.owner) != (self._commits.header.epoch, self._commits.header.owner):
            raise Overtaken
        return found

    # --- leases, and ways out --------------------------------------------------------------

    async def _make_sure(self, *, whenever: bool = False) -> None:
        """Make sure that this process has the run, if its lease is short. Raises `Overtaken`.

        After a pause it may be another, which gives the same numbers to attempts. `whenever`: ask,
        however lately a beat did.
        """
        if not await self._services.heart.makes_sure(self._commits.header.owner, whenever=whenever):
            raise Overtaken

    def _new_hold(self) -> Hold:
        # The turn does not keep it: the two would be garbage that only a collection finds.
        held, renew, look, lost = self._commits.header, self._renew, self._look, self._on_overtaken
        return Hold(held.owner, held.lease, renew, look, lost, self._stay, held.process)

    async def _renew(self, process: str) -> bool:
        services, held, stay = self._services, self._commits.header, self._stay
        apart = stay is not None and stay.keep()
        now, lease = services.clock.now(), services.settings.lease
        found = await self._store.renew(held, now, lease, process=process, apart=apart)
        if stay is not None and found is not None and not apart:
            services.call_home(stay.leave)
        return self._heard(found)

    async def _look(self, hold: Hold) -> bool:
        held, found = self._commits.header, await self._store.find(self._commits.header.run)
        same = found is not None and found.state is RunState.RUNNING
        if found is None or not same or (found.epoch, found.owner) != (held.epoch, held.owner):
            return False
        hold.process = found.process
        return self._heard(found)

    def _heard(self, found: Header | None) -> bool:
        if found is not None and found.arrivals != self._commits.header.arrivals:
            # In the heart's own thread, setting an asyncio.Event would not wake the loop.
            self._services.call_home(self._signal.set)
        return found is not None

    def _check_held(self) -> None:
        """Raise `Overtaken` if the heart has found that another holder has the run."""
        if self._overtaken:
            raise Overtaken

    def _on_overtaken(self) -> None:
        self._overtaken = True
        self._steps.cancel_all()  # at once: the next turn may be one of this process
        self._signal.set()

    async def _failed(self, error: Exception) -> None:
        """Make the run stuck: a retry would only repeat an unforeseen error. A shortage passes."""
        if short := shortage(error):
            log.warning("run %s is released: %s", self._commits.header.run, described(error))
            await self._release(self._services.shortages.meet(short))
        else:
            log.error("a turn of run %s failed", self._commits.header.run, exc_info=error)
            await self._stick(error)

    async def _stick(self, error: Exception) -> None:
        reason, run = described(error), self._commits.header.run
        told = "run %s is stuck: %s; see `rewake replay %s`, and after a fix: rewake runs resume %s"
        logging.getLogger(STUCK_LOG).error(told, run, reason, run, run)
        try:
            with self._services.claims.making(run, "", self._commits.header.owner, errors=()):
                await self._steps.interrupt()
                rests = self._numbered and not self._commits.waits.owed
                await self._store.stick(self._commits.header, reason, at_rest=rests)
        except StoreError as refused:
            await self._not_saved(refused)
        self._services.ended(self._commits.header.run)

    async def _not_saved(self, error: StoreError) -> None:
        """Let another turn go on from the last commit, at the latest when the lease is over."""
        run, owner = self._commits.header.run, self._commits.header.owner
        log.warning("run %s was not saved: retrying", run, exc_info=error)
        if self._overtaken:  # while its steps waited for the store
            await self._services.claims.absolve(run, "", owner)
        elif isinstance(error, PASSING):
            await self._release()

    async def _release(self, wait: Millis | None = None, why: str = "") -> None:
        if not self._overtaken:
            header, claims = self._commits.header, self._services.claims
            with claims.making(header.run, "", header.owner, errors=()):  # if this is cut off
                await self._leave()
            await claims.release(header.run, "", header.owner, wait, why)

    async def _leave(self) -> None:
        """Put on record what will not end; what cannot be, the next turn counts as lost."""
        try:
            await self._steps.interrupt()
            if self._numbered and not self._commits.waits.owed:
                await self._store.rest(self._commits.header)
        except StoreError:
            log.warning("steps of run %s: no record", self._commits.header.run, exc_info=True)
