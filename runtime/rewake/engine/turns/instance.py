"""The instance of a workflow that one turn drives: suspended in this process, or replayed.

It belongs to its turn, which drops it at the end, unless the cache has got it before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rewake.engine.instances.arrivals import Arrivals
from rewake.engine.instances.cache import Kept
from rewake.engine.instances.inbox import Inbox
from rewake.engine.instances.program import RUNTIME, new_execution
from rewake.engine.logs.carrying import runs_log
from rewake.engine.services import Services
from rewake.engine.turns.noting import know_again
from rewake.errors import StuckError
from rewake.laps import FIRST
from rewake.noted import Forked
from rewake.records import (
    CancelRequested,
    Completed,
    Entry,
    Header,
    Logged,
    Operation,
    Retried,
    Started,
    StartedAnew,
    Withdrawn,
)
from rewake.replay.blocks import Passed
from rewake.replay.execution import Execution
from rewake.stores.history import History
from rewake.stores.suspects import is_condemned
from rewake.stores.writes import read_at
from rewake.streamed import LogLine
from rewake.values.sealing import for_people

_FEW_NAMES = 8
"""So many names of signals are told that nothing has read."""


class TooNew(Exception):
    """The run began under a newer Rewake, whose replay this version cannot repeat."""


class Instance:
    """The instance of one turn. `history`: the run's history, if the caller has it already."""

    def __init__(self, services: Services, history: History | None = None) -> None:
        self._services = services
        self._history = history
        self._execution: Execution | None = None
        self.replayed = False
        self.retried = False
        """Whether the run was retried, and this is its first turn since."""
        self.steps: dict[str, Operation] = {}
        """The items of open steps, if another process may have begun some of them."""
        self.arrivals = Arrivals()
        self.inbox = Inbox()
        self.signals_over: Sequence[str] = ()
        """The ids of signals that earlier laps than the last have consumed, while that is known."""

    async def take(self, header: Header) -> Execution:
        """The run's execution, from the cache or by a replay.

        Raises:
            StuckError: the run killed too many processes, cannot be read, or differs on replay.
            TooNew: it needs a newer Rewake.
            ReadableElsewhere: it needs another Python minor, or a key that is not known here.
            RunNotFound: this app lacks its workflow.
        """
        if is_condemned(header, self._services.settings.strikes):
            last = f"; the last time, {for_people(header.error)}" if header.error else ""
            raise StuckError(f"its process died {header.deaths} times in a row{last}")
        kept = self._services.cache.take(header.run)
        if kept is not None:
            self._execution = kept.execution
            self.replayed = not kept.is_at(header)
            # An instance of an earlier round would ask for what follows in its own round.
            of_round = kept.execution.round == header.round
            if of_round and (not self.replayed or await self._follow(kept, header)):
                self.arrivals.adopt(kept.arrivals)
                self.inbox = kept.inbox
                return kept.execution
            self.drop()
        self.replayed = True
        return await self._replay(header)

    def begin(self, history: History) -> None:
        """Go on with another instance, of the history that the next lap begins with."""
        self.drop()
        self._history = history
        self._begin_lap(history)

    def _begin_lap(self, history: History) -> None:
        self.inbox = Inbox()
        self.inbox.passed(history.entries)
        begun = history.entries[0]
        self.signals_over = begun.lap.over if isinstance(begun, Started) else ()

    async def with_unread(self, header: Header, entries: list[Entry]) -> list[Entry]:
        """The entries of an end; with a line of log if there are signals that nothing has taken."""
        unread = await self.inbox.unread(self._services.store, header)
        if not unread:
            return entries
        names = ", ".join(f"{name} ({count})" for name, count in unread.most_common(_FEW_NAMES))
        more = ", ..." if len(unread) > _FEW_NAMES else ""
        told = f"it has ended without reading these signals: {names}{more}"
        runs_log.warning("run %s of %s: %s", header.run, header.workflow, told)
        line = LogLine(self._services.clock.now(), "WARNING", told)
        return [*entries[:-1], Logged([line]), entries[-1]]

    def suspend(self, header: Header) -> None:
        """Give the execution, which is exactly at this header, to the cache."""
        if self._execution is not None:
            self._services.cache.keep(header, self._execution, self.arrivals, self.inbox)
            self._execution = None

    def drop(self) -> None:
        """Drop the execution, unless it was suspended."""
        if self._execution is not None:
            self._execution.drop()
            self._execution = None

    async def _follow(self, kept: Kept, header: Header) -> bool:
        """Let an instance that is behind go on to this header, if that goes on from it."""
        store = self._services.store
        entries = await store.since(header, kept.base, kept.tail)
        if entries is None:
            return False
        ended = [each.key for each in entries if isinstance(each, Completed | Withdrawn)]
        history = History(entries, await store.outcomes(header.run, ended, header.count))
        kept.execution.replay(entries, history.outcomes())
        check(kept.execution)
        know_again(self._services, header, kept.execution)
        # Who had the run meanwhile may have taken numbers of attempts that no entry tells of.
        steps = [op.key for op in kept.execution.open.values() if op.kind.traits.inline]
        self.steps = await store.steps(header.run, steps)
        kept.arrivals.followed(read_at(header))
        kept.inbox.passed(entries)
        await store.cancel_withdrawn(header.run, history, self._services.clock.now())
        return True

    async def _replay(self, header: Header) -> Execution:
        services = self._services
        _check_versions(header)
        history = self._history or await services.store.history(header, inside_of_blocks)
        self._history = None
        self.steps = {k: o for k, o in history.operations.items() if o.kind.traits.inline}
        execution = new_execution(services.app, header, services.secret, services.settings.url)
        self._execution = execution
        started = history.entries[-1]
        if header.cancel is not None and isinstance(started, Started) and _is_new(header, started):
            now = max(services.clock.now(), started.clock)
            cancel = CancelRequested(now, header.cancel, header.cancels)
            execution.cancel_at_start(started, cancel)
        else:
            execution.replay(history.entries, history.outcomes())
        check(execution)
        fresh = any(isinstance(each, Forked) for each in history.entries[-2:])
        know_again(services, header, execution, fresh=fresh)
        if header.round:  # how often it was retried: else no entry need be looked at
            retries = [each.epoch for each in history.entries if isinstance(each, Retried)]
            self.retried = bool(retries) and retries[-1] == header.epoch - 1
        self.arrivals.replayed(header.arrivals, history.operations)
        self._begin_lap(history)
        # The process that committed a withdrawal may have died before it cancelled.
        await services.store.cancel_withdrawn(header.run, history, services.clock.now())
        return execution


def inside_of_blocks(entries: Sequence[Entry]) -> Callable[[Entry | Operation], bool]:
    """What of a history its replay passes over."""
    return Passed(entries).has_inside


def _is_new(header: Header, started: Started) -> bool:
    """Whether there is nothing that its body could clean up: it has done nothing, or has failed.

    A body that goes on as new has done something in the laps before.
    """
    return header.lap.number == FIRST or isinstance(started, StartedAnew)


def check(execution: Execution) -> None:
    """Raise the error that halted the execution, if there is one."""
    if execution.error is not None:
        raise execution.error


def _check_versions(header: Header) -> None:
    if header.runtime > RUNTIME:
        raise TooNew(f"it is one of runtime {header.runtime}, and this is {RUNTIME}")
