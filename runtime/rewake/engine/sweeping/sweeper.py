"""The sweeper: it checks all items that are due, by one index, and so heals lost messages.

Nothing replays here. A due time says only that an item should be checked; the item says what there
is to do. The process that postpones the due time acts, so that many can sweep one store.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Collection, Sequence

from rewake.engine.attempts.asked import message_for
from rewake.engine.process.aside import MAX_TIMES, Aside
from rewake.engine.process.leases import PASSING
from rewake.engine.runs.runs import Runs
from rewake.engine.schedules.schedules import Schedules
from rewake.engine.services import Services
from rewake.engine.sweeping.ahead import Ahead, look_at
from rewake.engine.sweeping.clock_watch import ClockWatch
from rewake.engine.sweeping.deadlocks import Deadlocks
from rewake.engine.sweeping.deaths import MAX_BACKOFF, Deaths, backoff
from rewake.engine.sweeping.intake import Intake
from rewake.engine.sweeping.looks import PAGE
from rewake.engine.sweeping.parked import Parked
from rewake.engine.sweeping.put_off import is_put_off, put_off
from rewake.engine.sweeping.trimmer import Trimmer
from rewake.engine.turns.deliveries import Deliveries
from rewake.errors import ReadableElsewhere, StuckError
from rewake.kinds import OutcomeKind
from rewake.ledger import Gathered, Limit, Process, Schedule
from rewake.published import Published
from rewake.records import (
    Entry,
    Header,
    Invocation,
    Millis,
    Operation,
    Outcome,
    Scheduled,
    Withdrawn,
)
from rewake.states import ASLEEP, TERMINAL, RunState
from rewake.stores.history import History, is_unattended
from rewake.stores.keys import header_key, is_of_run, run_of
from rewake.stores.paused import is_paused
from rewake.stores.processes import next_look
from rewake.stores.set_back import Dated
from rewake.stores.suspects import is_suspect
from rewake.stores.table import Due, Key

log = logging.getLogger("rewake.sweeper")

SOON = 20
"""Milliseconds between two sweeps, however often another process says that something is due."""


class Sweeper:
    """Checks the items that are due, and arms a timer for each that will be due soon."""

    def __init__(self, services: Services, deliveries: Deliveries) -> None:
        self._services = services
        self._store = services.store
        self._deliveries = deliveries
        self._only: Collection[str] | None = None
        self._armed: dict[Key, tuple[Millis, asyncio.TimerHandle]] = {}
        self._checking: set[asyncio.Task[None]] = set()
        self._resting: asyncio.Future[None] | None = None
        self._hurried = False
        self._aside: Aside[Key] = Aside(services.clock, 1000, MAX_BACKOFF)
        self._behind: Aside[Due] = Aside(services.clock, 1000, MAX_BACKOFF)
        """Entries that their items have left behind: the index is late, perhaps by minutes."""
        self._deaths, self._trimmer = Deaths(services), Trimmer(services)
        self._clock_watch, self._deadlocks = ClockWatch(services), Deadlocks(services, deliveries)
        self._ahead = Ahead(services)
        self._schedules = Schedules(services, Runs(services))
        self._intake = Intake(services, self._check_all, self.arm)

    async def run(self, only: Collection[str] | None = None) -> None:
        """Sweep for ever; with `only`, check nothing but these runs, of which there may be more."""
        self._only = only
        self._intake.open(only)
        while True:
            try:
                await self.sweep()
            except Exception:  # of any kind: without sweeps, nothing lost is found
                log.warning("a sweep failed; the next one tries again", exc_info=True)
            await self._rest()

    def hurry(self) -> None:
        """Sweep now: another process says that something is due."""
        self._hurried = True
        if self._resting is not None:
            self._resting.cancel()

    async def _rest(self) -> None:
        """Wait until the next sweep."""
        clock, settings = self._services.clock, self._services.settings
        await clock.sleep(min(SOON, settings.sweep))
        if not self._hurried:
            left = max(0, settings.sweep - SOON)
            self._resting = asyncio.ensure_future(clock.sleep(left))
            try:
                await asyncio.wait([self._resting])
            finally:
                self._resting.cancel()
                self._resting = None
        self._hurried = False

    async def sweep(self, ahead: Millis = 0) -> None:
        """Check all items that are due, and arm timers for those that will be soon.

        `ahead`: what is due within that time is sent now (`engine/sweeping/ahead.py`).
        """
        await self._services.claims.sweep()
        await self._clock_watch.look(self._only)
        if self._only is not None:
            await self._deaths.look_ahead(self._only)
        if self._services.carries_on():
            if self._only is None:  # one run has no schedules
                await self._schedules.begin()
            await self._sweep_untagged()
        if ahead:
            await self._ahead.send(self._services.clock.now() + ahead)
        await self._intake.look()
        await self._services.tags.beat()
        if self._only is None and self._services.carries_on():
            await self._trimmer.trim()
            await self._services.keeping.sweep()
            await self._services.hooks.look()

    async def _sweep_untagged(self) -> None:
        shown: set[Due] = set()
        seen: set[Key] = set()
        last: Due | None = None
        while True:
            now = self._services.clock.now()
            until = now + self._services.settings.horizon
            found = await self._store.due(until, limit=PAGE, runs=self._only, after=last)
            for due in found:
                if due.due > now:
                    self.arm(due)
            over = [due for due in found if due.due <= now]
            # Each item once: where the disk is full or the index is behind, it would be due again.
            new = [e for e in over if e.key not in seen and not self._is_left_alone(e)]
            seen.update(due.key for due in new)
            shown.update(over)
            await self._check_all(new)
            if len(found) < PAGE or found[-1].due > now:
                break
            # Behind these, although they may still be there: else they would hide the others.
            last = found[-1]
        # An item that is no longer due was read by another process.
        self._aside.keep({due.key for due in shown})
        self._behind.keep(shown)

    def _is_left_alone(self, due: Due) -> bool:
        return due.key in self._aside or due in self._behind

    async def linger(self, seconds: float) -> None:
        """Wait for what is checked, and for timers that are due within so many seconds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0:
            if self._checking:
                await asyncio.wait(self._checking, timeout=left)
                continue
            first = min((timer.when() for _, timer in self._armed.values()), default=math.inf)
            if first > until:
                return
            await asyncio.sleep(max(0.0, first - loop.time()))

    def close(self) -> None:
        """Cancel all timers and checks."""
        self._intake.close()
        for _, timer in self._armed.values():
            timer.cancel()
        self._armed.clear()
        for task in self._checking:
            task.cancel()

    def arm(self, due: Due) -> None:
        """Arm a timer that checks this item when it is due."""
        armed = self._armed.get(due.key)
        if armed is not None:
            if armed[0] == due.due:
                return
            armed[1].cancel()
        loop = asyncio.get_running_loop()
        wait = max(0, due.due - self._services.clock.now())
        timer = loop.call_later(wait / 1000, self._fire, due)
        self._armed[due.key] = (due.due, timer)

    def _arm_soon(self, due: Due, now: Millis) -> None:
        if due.due <= now + self._services.settings.horizon:
            self.arm(due)

    def _fire(self, due: Due) -> None:
        self._armed.pop(due.key, None)
        task = asyncio.ensure_future(self._check_all([due]))
        self._checking.add(task)
        task.add_done_callback(self._checking.discard)

    async def _check_all(self, found: Sequence[Due]) -> None:
        """Check each item by itself. One whose check fails stays due."""
        results = await asyncio.gather(*(self._check(due) for due in found), return_exceptions=True)
        failed: list[tuple[Key, Exception]] = []
        for due, result in zip(found, results, strict=True):
            if isinstance(result, Exception):
                failed.append((due.key, result))
            else:
                self._aside.drop(due.key)
        if failed:
            self._tell(*failed[0], len(failed) - 1)
        for key, error in failed:
            await self._set_aside(key, error)

    # --- items that cannot be checked ------------------------------------------------------

    async def _set_aside(self, key: Key, error: Exception) -> None:
        """Leave an item alone for a growing while, so that it does not hold up its neighbours."""
        if isinstance(error, PASSING):
            return  # it is the store's trouble, not the item's
        self._aside.put(key)
        if isinstance(error, ReadableElsewhere):  # whoever can read it looks at it
            if key == header_key(run_of(key)):
                self._services.elsewhere.put_back(run_of(key), "", error.reason)
            return
        if isinstance(error, StuckError) and is_of_run(key):
            # A turn of this run fails to read it too, and makes it stuck.
            await self._services.wake(run_of(key))

    def _tell(self, key: Key, error: Exception, others: int) -> None:
        """Warn of failed checks at first, and again after `MAX_TIMES`: they may last."""
        is_told = isinstance(error, ReadableElsewhere) or 0 < self._aside.times(key) < MAX_TIMES
        level = logging.DEBUG if is_told else logging.WARNING
        told = "checking %s of %s failed, and %d others; they stay due"
        log.log(level, told, key.sort, key.partition, others, exc_info=error)

    # --- one item --------------------------------------------------------------------------

    async def _check(self, shown: Due) -> None:
        key = shown.key
        item = await self._store.item(key)
        if item is None or item.due is None or item.due > shown.due:
            self._behind.put(shown)
        if item is None or item.due is None:
            return
        now = self._services.clock.now()
        if isinstance(item, Schedule):
            await self._schedules.look(item)
        elif isinstance(item, Gathered):
            await self._store.forget_gathered(key, item, now)
        else:
            # Its due time may be early, and from before the clock was set back its other moments.
            item = await self._store.set_right(item)
            if item.due is not None and item.due > now:
                self._arm_soon(Due(item.due, key), now)
            elif item.due is not None:
                await self._see_to(item, key, item.due, now)

    async def _see_to(self, item: Dated, key: Key, due: Millis, now: Millis) -> None:
        """Do what is to be done for an item that is due."""
        if isinstance(item, Process):
            for each in await self._deaths.check(item, due, now):
                self._arm_soon(each, now)
        elif isinstance(item, Limit):
            if (next_look := await self._services.limits.check(item, now)) is not None:
                self._arm_soon(next_look, now)
                await self._deadlocks.behind(item)
        elif isinstance(item, Header):
            await self._check_run(item, due, now)
        elif isinstance(item, Published):
            await self._services.events.check(item, due, now)
        else:
            await self._check_operation(item, key, due, now)

    # --- runs ------------------------------------------------------------------------------

    async def _check_run(self, header: Header, due: Millis, now: Millis) -> None:
        settings, key = self._services.settings, header_key(header.run)
        if header.state is RunState.RUNNING:
            await self._services.hooks.tell_late(header)
            if await self._is_kept(header, key, due, now):
                return
            ended = await self._store.ended(header, now)
            ready_at = (ended or 0) + settings.skew + backoff(header.deaths)
            if ready_at >= now:
                await self._store.postpone(key, due, ready_at + 1, of=header)
                return
        elif header.state in ASLEEP:
            if not await self._is_to_wake(header, now):
                return
            if self._services.dispatcher.local:
                # Its claim, here or in a process that is as early, is as good as a later due time,
                # and costs no write of the index.
                await self._services.wake(header.run)
                return
        elif header.state is not RunState.READY:
            await self._lay_down(header, key, due, now)
            return
        if new := header.epoch == 0:
            self._services.saw_untaken(header.run)
        sent = new and await self._services.is_in_a_queue(needs_slot=False)
        if await self._store.postpone(key, due, now + settings.grace, of=header) and not sent:
            await self._services.send_late([Invocation(header.run)])

    async def _lay_down(self, header: Header, key: Key, due: Millis, now: Millis) -> None:
        """Do what is left to do of a run that does not go on by itself."""
        if not await self._services.hooks.tell(header):
            # Who has its code knows whom to tell.
            await self._store.postpone(key, due, now + MAX_BACKOFF, of=header)
        else:
            is_over = header.state is not RunState.STUCK
            left = await self._store.cancel_left(header, now) if is_over else None
            await self._services.tell(header, None)
            await self._services.events.watches.forget(header, left)
            due_again = self._services.keeping.due_of(header) if is_over else None
            await self._store.lay_down(header, due_again)

    async def _is_kept(self, item: Header | Operation, key: Key, due: Millis, now: Millis) -> bool:
        """Whether this process holds the item, or one that lives does by its lease."""
        heart = self._services.heart
        held = heart.holds(item.owner)
        if await heart.keeps(item.owner):
            if item.process:
                await self._look_later(item, key, due, now)
            return True  # else it has just renewed a late lease
        if held:
            return True  # until now: it is not as it was read any more
        if item.process and item.process == heart.name:
            # A claim that came late, perhaps: it must not live for as long as this process.
            await self._store.let_go(item, now, self._services.settings.lease)
            return True
        if await self._store.ended(item, now) is not None:
            return False
        await self._look_later(item, key, due, now)
        return True  # else it is noted that its lease is over: it is looked at again

    async def _look_later(
        self, item: Header | Operation, key: Key, due: Millis, now: Millis
    ) -> None:
        """Look again at what somebody holds who lives."""
        settings = self._services.settings
        at = next_look(now, settings.lease) if item.process else item.lease + settings.skew + 1
        if at > now:
            await self._store.postpone(key, due, at, of=item)

    async def _is_to_wake(self, header: Header, now: Millis) -> bool:
        """Whether nothing but waking a parked run is left to do."""
        check = header.check_at is not None and header.check_at <= now
        wake = look_at(header, self._services.settings.grace)
        moments = [m for m in (wake, header.check_at) if m is not None]
        if self._must_wake(header, now) and not check:
            return True
        if check or not moments:
            await self._check_operations(header, now)
            return False
        # It is early: moving it costs more than another look, if that is soon.
        if min(moments) > now + self._services.settings.sweep:
            await self._store.recheck(header, check_at=header.check_at, wake=wake)
        self._arm_soon(Due(min(moments), header_key(header.run)), now)
        return False

    def _must_wake(self, header: Header, now: Millis) -> bool:
        wake, admission = look_at(header, self._services.settings.grace), header.admission
        # Only who holds a run finds out whether the line in which it waits has let it in.
        in_line = admission is not None and admission.line is not None
        return header.gap <= 0 or in_line or (wake is not None and wake <= now)

    async def _check_operations(self, header: Header, now: Millis) -> None:
        """Check the tasks that have no due time of their own; if it has none, whom it waits for."""
        settings, hooks = self._services.settings, self._services.hooks
        await hooks.tell_late(header)
        history = await self._looked_at(header)
        await self._store.cancel_withdrawn(header.run, history, now)
        await self._look_at_put_off(history, now)
        unattended: list[Invocation] = []
        found = Parked(header, history.awaited(), now, settings.grace)
        for entry in found.asked:
            operation = history.item(entry)
            new, needs = operation is None, not entry.kind.traits.of_run
            if new:
                self._services.saw_untaken(header.run, entry.key, entry.tag)
            sent = new and await self._services.is_in_a_queue(entry.tag, needs_slot=needs)
            if sent or self._services.has_queued(header.run, entry):
                found.soon()
                continue
            if operation is not None:
                operation = await self._store.set_right(operation)
            # By all clocks: else nobody could take it yet, and the next check is a grace away.
            if operation is None or is_unattended(operation, now - settings.skew):
                unattended.append(await self._store.message(header, entry))
            elif operation.outcome is not None:
                found.ended(operation)
            elif operation.due is None and operation.lease:  # else it has a check of its own
                found.look_at(operation.lease + settings.skew + 1)
        wake = self._must_wake(header, now) or found.goes_on
        if wake or unattended:
            found.soon()
        # Before what follows, after which nobody looks again: whoever does may die over it.
        await self._deadlocks.look_at(header, history, rests=found.rests)
        found.look_at(*hooks.looks_at(header))
        timer = None if wake else look_at(header, settings.grace)
        missed = wake and found.missed
        if not await self._store.recheck(header, check_at=found.next(), wake=timer, arrived=missed):
            return
        woken = [Invocation(header.run)] if wake else []
        await self._services.send_late([*woken, *unattended])

    async def _looked_at(self, header: Header) -> History:
        """What a run has asked for, with the items of what is open or was withdrawn.

        A suspended instance knows what is open; it is dropped where what it withdrew could not be
        cancelled (`Commits.park`).
        """
        execution = self._services.cache.at(header)
        if execution is not None:
            entries: list[Entry] = [op.scheduled() for op in execution.open.values()]
        else:
            entries = (await self._store.entries(header)).entries
        asked: list[Scheduled | Withdrawn] = [*History(entries, {}).dispatched()]
        asked += [each for each in entries if isinstance(each, Withdrawn)]
        queued = self._services.has_queued
        asked = [e for e in asked if isinstance(e, Withdrawn) or not queued(header.run, e)]
        keys = [each.key for each in asked if each.kind.traits.awaited]
        return History(entries, await self._store.operations(header.run, keys, header.count))

    # --- operations ------------------------------------------------------------------------

    async def _check_operation(
        self, operation: Operation, key: Key, due: Millis, now: Millis
    ) -> None:
        if not self._services.tags.looks_after(operation.tag):
            return  # whose tag it has may be about to begin it
        if operation.owner and await self._is_kept(operation, key, due, now):
            return
        dispatched, open_ = operation.kind.traits.dispatched, operation.outcome is None
        later = now + self._services.settings.grace
        if open_ and not dispatched and operation.lease > now:  # something was heard of it
            await self._store.postpone(key, due, operation.lease, of=operation)
            self._arm_soon(Due(operation.lease, key), now)
        elif self._is_to_take(operation):
            if self._services.slots.free:  # else it stays due: another process may have room
                await self._act_on(operation, key, due, now)
        elif await self._store.postpone(key, due, later, of=operation):
            await self._act_on(operation, key, later, now)

    async def _look_at_put_off(self, history: History, now: Millis) -> None:
        """Look at once at the tasks that were put off while their run was paused."""
        for task in history.operations.values():
            if task.due is not None and is_put_off(task, now, self._services.settings.grace):
                key = self._store.layout.item(task)
                if await self._store.postpone(key, task.due, now):
                    self._arm_soon(Due(now, key), now)

    async def _act_on(self, operation: Operation, key: Key, due: Millis, now: Millis) -> None:
        """Do what is to be done for an operation that is due, and held by nobody."""
        dispatched = operation.kind.traits.dispatched
        if operation.outcome is not None:
            # Not awaited: a run that waited for it goes on, for as long as that takes.
            self._services.work.begin(operation.run, self._deliveries.repeat(operation))
            return None
        header = await self._store.header(operation.run)
        over = header.state in TERMINAL
        if dispatched and is_paused(header):
            return await put_off(self._services, header, key, due, now)
        if not over and not dispatched:
            self._services.work.begin(operation.run, self._deliveries.fall_silent(operation))
            return None
        message = None if over else await message_for(self._store, header, operation)
        if message is None:
            await self._store.settle(operation, Outcome(OutcomeKind.CANCELLED), now)
        elif message.tag and not self._services.tags.is_routed(message.tag):
            if self._services.slots.reserve(1):
                self._services.take(message)
        elif not await self._waits_in_a_queue(operation):
            await self._services.dispatch([message])
        return None

    async def _waits_in_a_queue(self, operation: Operation) -> bool:
        """Whether a message was sent for a task that nobody holds, and may not have come yet."""
        at, due = operation.not_before, operation.due
        sent = at is not None and due is not None and at < due and not operation.owner
        if sent:
            self._services.saw_untaken(operation.run, operation.key, operation.tag)
        return sent and await self._services.is_in_a_queue(operation.tag)

    def _is_to_take(self, operation: Operation) -> bool:
        """Whether a task of a tag can be claimed here as it is, without being postponed before.

        A claim moves its due time. Not if it may have to wait here, in turn or for another process.
        """
        run, key, tag = operation.run, operation.key, operation.tag
        if not tag or not self._services.tags.serves(tag) or operation.outcome is not None:
            return False
        suspect = is_suspect(operation.deaths + bool(operation.owner))
        return not (suspect or self._services.elsewhere.is_aside(run, key))
