"""Requests about runs: start one, read it, wait for its end, cancel, resume or retry it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from rewake.engine.logs.carrying import carrying_out, runs_log
from rewake.engine.runs.again import Again
from rewake.engine.runs.beginning import Nominal, Noted, started_otherwise
from rewake.engine.runs.listing import Wanted, sort_of_view
from rewake.engine.runs.retries import cut, forgotten
from rewake.engine.services import Services
from rewake.engine.starts.door import First, Given, StandsFor
from rewake.engine.starts.starting import (
    IfFinished,
    IfRunning,
    Name,
    begin_or_find,
    name_of_key,
    newer_than,
    newest,
    policy_of,
)
from rewake.errors import (
    InvalidInput,
    RunConflict,
    RunRemoved,
    StuckError,
)
from rewake.kinds import OutcomeKind
from rewake.noted import Try
from rewake.records import Failure, Finished, Header, Millis, Outcome, Started
from rewake.states import TERMINAL, Move, RunState
from rewake.stores.ended import is_ended_due
from rewake.stores.history import History
from rewake.streamed import LogBatch
from rewake.values.sealing import for_people, unmarked
from rewake.values.text import stored_size

LONGEST_REASON = 200
"""The most bytes of a reason to cancel, as JSON in UTF-8 without its quotation marks."""
POLL = 250
"""Milliseconds between two reads of a run that ends in another process."""


class Runs(Again):
    """The runs of one store, as one process sees them and acts on them."""

    @property
    def services(self) -> Services:
        """The parts of the engine, for what else acts on its runs."""
        return self._services

    # --- starting --------------------------------------------------------------------------

    async def start(
        self,
        workflow: str,
        arguments: Mapping[str, Any],
        *,
        run: str | None = None,
        idempotency_key: str | None = None,
        if_running: IfRunning | None = None,
        if_finished: IfFinished | None = None,
        at: Millis | None = None,
        by: str = "",
        tenant: str = "",
        priority: int | None = None,
        labels: Mapping[str, str] = {},
        strict: bool = True,
        compare: bool = True,
        noted: Noted | None = None,
        scheduled: Nominal = ("", None),
        first: First | None = None,
    ) -> tuple[Header, bool]:
        """Start a run. Returns its header, and whether it is new. `by`: who starts it.

        With a `run` id or an `idempotency_key`, starting again attaches to the run that exists,
        ended or not, unless a policy says otherwise (`rewake.engine.starts.starting`). `compare`:
        refuse other arguments than it has. `strict`: refuse fields that a class does not have. Of a
        new run: `noted` is told of it, `at`: when it begins, `scheduled`: its schedule and time,
        `tenant`, `labels`, `priority`: instead of its workflow's, `first`: its first signal.

        Raises:
            RunNotFound, Throttled: there is no such workflow, or it is started too often.
            InvalidInput: an argument or a policy does not fit; `field` names it.
            RunConflict: that run (`run`) has other arguments, was removed, or a policy rejects it.
        """
        has_name = run is not None or bool(idempotency_key)
        policy = policy_of(if_running, if_finished, run=run, key=idempotency_key)
        given = Given(arguments, strict, tenant, priority, has_name, first, at, labels, policy)
        create = self.creating(workflow, given, idempotency_key or "", noted, by, scheduled)
        name = self._name(workflow, run, idempotency_key, tenant)
        try:
            header, new = _there(await begin_or_find(name, policy, create, self._store.standing))
        except StandsFor as other:
            return (other if first is None else _of(name, other)).header, other.new
        if not new and compare and not self.is_of(header, workflow, arguments):
            raise started_otherwise(header.run)
        return header, new

    # --- looking ---------------------------------------------------------------------------

    async def get(self, run: str) -> Header:
        """The header of a run. Raises `RunNotFound`."""
        return await self._store.header(run)

    async def history(self, run: str, *, whole: bool = False) -> tuple[Header, History]:
        """The header and history of a run; its large values are only named, unless `whole`.

        Raises `RunNotFound`, `CheckpointUnreadable`.
        """
        header = await self._store.header(run)
        read = self._store.history if whole else self._store.outline
        return header, await read(header)

    def running_steps(self, run: str) -> dict[str, tuple[str, Try]]:
        """By key, the steps that this process is carrying out for a run: name and attempt."""
        turn = self._services.turns.get(run)
        if turn is None:
            return {}
        begun = {key: turn.begun[key] for key in turn.steps if key in turn.begun}
        return {key: (step.name, step.attempt) for key, step in begun.items()}

    async def held_elsewhere(self, header: Header) -> str:
        """The process that carries a run on, if that is another one; else empty."""
        if header.state is not RunState.RUNNING or header.run in self._services.turns:
            return ""
        held = await self._store.is_held(header, self._services.clock.now())
        return header.where if held else ""

    async def logs(self, run: str, key: str | None = None) -> list[LogBatch]:
        """The log of a run: of its body (`key=""`) and its attempts. Raises `RunNotFound`."""
        return await self._store.logs(await self._store.header(run), key)

    async def list(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        workflow: str | None = None,
        state: RunState | None = None,
        since: Millis = 0,
        until: Millis | None = None,
        text: str = "",
        workflows: Collection[str] = (),
        states: Collection[RunState] = (),
        children: bool = False,
        tenant: str = "",
    ) -> tuple[list[Header], str | None]:
        """One page of runs, newest first, and the cursor of the next (None: there is none).

        `states`: those in any of these; empty: in any. `children`: also those that runs have begun.
        `engine/runs/listing.py` has the rest.
        """
        wanted_in = (state,) if state is not None else states
        wanted = Wanted(workflow, wanted_in, since, until, text, workflows, children, tenant)
        return await self.listing.page(wanted, limit, cursor)

    async def of_key(
        self,
        key: str,
        workflow: str | None,
        limit: int,
        *,
        workflows: Collection[str] = (),
        tenant: str = "",
        has: Callable[[Header], bool] = lambda _: True,
    ) -> Sequence[Header]:
        """The newest runs of an idempotency key, newest first; without `workflow`, of any workflow.

        `workflows`: who asks may know of no others. `tenant`: whose they are. `has`: are wanted.
        """
        found = list[Header]()
        asked = [workflow] if workflow is not None else sorted(self._services.app.workflows)
        for each in asked if not workflows else filter(workflows.__contains__, asked):
            name, number = name_of_key(each, key, tenant), 1
            first = await self._store.standing(name.first)
            if first is not None and first.floor:
                number = first.floor
            of: deque[Header] = deque(maxlen=limit)
            # Over stones, too: a run may go before one that was started earlier.
            while (header := await self._store.standing(name.generation(number))) is not None:
                if header.state is not RunState.REMOVED and has(header):
                    of.append(header)
                number += 1
            found += of
        return sorted(found, key=sort_of_view)[:limit]

    async def newest_of_key(self, workflow: str, key: str, tenant: str = "") -> Header | None:
        """The newest run of an idempotency key, or what is left of it; None: there is none."""
        name = name_of_key(workflow, key, tenant)
        first = await self._store.standing(name.first)
        if first is None:
            return None
        number, header = await newest(name, 1, first, self._store.standing)
        return header if number else None

    # --- waiting for the end ---------------------------------------------------------------

    async def result(
        self, run: str, wait: float = 0, *, or_response: bool = False
    ) -> Outcome | None:
        """The outcome of the run; None if it has not ended after `wait` seconds.

        With `or_response`, None also as soon as it has answered its caller. Raises
        `RunNotFound`, and `StuckError` if the run is stuck.
        """
        deadline = self._services.clock.now() + int(wait * 1000)
        while True:
            waiter = self._waiter(run)
            try:
                header = await self._store.header(run)
                if header.state is RunState.STUCK:
                    raise StuckError(f"run {run!r} is stuck: {for_people(header.error)}")
                if header.state in TERMINAL:
                    return await self.outcome(header)
                left = deadline - self._services.clock.now()
                if left <= 0 or (or_response and header.answer):
                    return None
                await asyncio.wait([waiter], timeout=min(left, POLL) / 1000)
                if waiter.done() and (outcome := waiter.result()) is not None:
                    return outcome
            finally:
                self._stop_waiting(run, waiter)

    def _waiter(self, run: str) -> asyncio.Future[Outcome | None]:
        waiter: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self._services.waiters.setdefault(run, set()).add(waiter)
        return waiter

    def _stop_waiting(self, run: str, waiter: asyncio.Future[Outcome | None]) -> None:
        waiters = self._services.waiters.get(run, set())
        waiters.discard(waiter)
        if not waiters:
            self._services.waiters.pop(run, None)

    async def outcome(self, header: Header) -> Outcome:
        """How a run has ended."""
        last = await self._store.last(header)
        if isinstance(last, Finished):
            return last.outcome
        # Killed, or cancelled while it was stuck.
        failure = Failure("killed" if header.killed else "CancelledError", header.cancel or "")
        return Outcome(OutcomeKind.CANCELLED, origin=failure)

    # --- acting; with `dry_run` nothing is done, but refused what would be -------------------

    async def cancel(
        self,
        run: str,
        reason: str = "cancelled by a caller",
        *,
        even_stuck: bool = False,
        once_resumed: bool = False,
        once: bool = False,
        dry_run: bool = False,
    ) -> Header:
        """Ask a run to cancel: its cleanup runs, then it ends as cancelled.

        Asking again cancels again, as in asyncio, also its cleanup. The cleanup of a stuck run
        cannot run: only with `even_stuck` it ends as it stands, and with `once_resumed` it is
        cancelled as it goes on. `once`: not if somebody has asked before. Raises `RunNotFound`,
        `RunConflict` if the run is over or stuck, and `InvalidInput` for a reason that is too long
        to be kept in the header.
        """
        _check_reason(reason)
        if dry_run:
            return _live(await self.get(run), even_stuck=even_stuck)
        header = await self._store.cancel(run, reason, even_stuck=once_resumed, once=once)
        while header.state is RunState.STUCK and not once_resumed:  # again, if it is resumed
            _live(header, even_stuck=even_stuck)
            header = await self._end(run, Move.CANCEL_STUCK, reason)
            if (header.state, header.cancel) == (RunState.CANCELLED, reason):
                return header
            header = await self._store.cancel(run, reason)
        _live(header)
        runs_log.info("run %s of %s is asked to cancel: %s", run, header.workflow, reason)
        if header.state in (RunState.PARKED, RunState.READY):
            await self._services.wake(run)
        else:
            self._services.poke(run)
        return header

    async def kill(
        self, run: str, reason: str = "killed by a caller", *, dry_run: bool = False
    ) -> Header:
        """End a run as cancelled here and now, without its cleanup; what it has open is cancelled.

        Raises as `cancel` does.
        """
        _check_reason(reason)
        if dry_run:
            return _live(await self.get(run))
        header = await self._end(run, Move.KILL, reason)
        if (header.state, header.cancel) != (RunState.CANCELLED, reason):
            raise _over(run)
        return header

    async def _end(self, run: str, move: Move, reason: str) -> Header:
        """End the run by this move, and cancel what it has open; a sweep does so if this cannot."""
        services, now = self._services, self._services.clock.now()
        header = await self._store.end(run, move, reason, now + services.settings.grace)
        if header.state in TERMINAL and header.due is not None and not is_ended_due(header.due):
            services.cache.drop(run)
            services.ended(run)
            await services.end_overtaken_turn(run)
            told = "run %s of %s has ended: %s by %s: %s"
            runs_log.info(told, run, header.workflow, header.state, move, reason)
            await services.limits.leave(header)
            left = await self._store.cancel_left(header, now)
            await services.tell(header, None)
            await services.events.watches.forget(header, left)
            await self._store.lay_down(header, services.keeping.due_of(header))
        return header

    async def retry(
        self, run: str, *, discard_cleanup: bool = False, dry_run: bool = False
    ) -> Header:
        """Let a failed run go on from before what ended it, after a fix, with what was recorded.

        What succeeded after that (a compensation) is forgotten and may run again: only with
        `discard_cleanup`. `rewake.engine.runs.retries` has the rules.

        Raises:
            RunNotFound: no such run.
            RunConflict: it has not failed, a newer run of its idempotency key is begun (`run` names
                it), or something would be forgotten.
            CheckpointUnreadable: its history cannot be read.
        """
        services, now = self._services, self._services.clock.now()
        header, history = await self.history(run)
        if header.state is not RunState.FAILED:
            raise RunConflict(f"run {run!r} has not failed, it is {header.state.said}")
        if header.newer:
            newer = newer_than(run)
            raise RunConflict(f"a newer run of its key is begun: {newer!r}", run=newer)
        now = max(now, header.clock)
        made = cut(header, history, now)
        if made.lost and not discard_cleanup:
            raise RunConflict(forgotten(run, made.lost))
        if dry_run:
            return header
        await services.hooks.tell(header)
        await self._store.cancel_withdrawn(run, history, now)
        if isinstance(first := history.entries[0], Started):
            await services.events.watches.again(header, first)
        for key, tries in made.tries.items():
            await self._store.keep_tries(run, key, tries)
        # Its timers begin anew when it goes on: all that was before may have taken its time.
        now = max(now, services.clock.now())
        made = cut(header, history, now)
        header = await self._store.retry(
            header, made.entries, cancel=made.cancel, cancels=made.cancels, now=now
        )
        services.cache.drop(run)
        with carrying_out(run):
            runs_log.info("run %s of %s is retried", run, header.workflow)
        # What was reopened is dispatched by its next turn: the code may no longer ask for it.
        await services.wake(run)
        return header


def _of(name: Name, there: StandsFor) -> StandsFor:
    """What stands for a start with a signal: a run of this name. Raises `RunConflict`."""
    run = there.header.run
    if not name.has(run):
        told = f"run {run!r} stands for the one that was to begin with it"
        raise RunConflict(told, run=run) from None
    return there


def _there(found: tuple[Header, bool]) -> tuple[Header, bool]:
    """A run that was begun or found. Raises `RunRemoved` for the stone of one."""
    run = found[0].run
    if found[0].state is RunState.REMOVED:
        raise RunRemoved(f"run {run!r} has ended, and was removed", run=run)
    return found


def _live(header: Header, *, even_stuck: bool = True) -> Header:
    """The run, which can be cancelled or killed. Raises `RunConflict`."""
    if header.state in TERMINAL:
        raise _over(header.run)
    if header.state is RunState.STUCK and not even_stuck:
        told = f"run {header.run!r} is stuck, so its cleanup cannot run: resume it, or say"
        raise RunConflict(f"{told} even_stuck (--even-stuck)")
    return header


def _over(run: str) -> RunConflict:
    return RunConflict(f"run {run!r} is over already")


def _check_reason(reason: str) -> None:
    # In bytes as stored, since the header has little room: 200 characters can take 1,200 bytes.
    try:
        size = stored_size(reason)
    except UnicodeEncodeError:  # a lone surrogate
        raise InvalidInput("a reason must be text that UTF-8 can hold", field="reason") from None
    if unmarked(reason) != reason:
        raise InvalidInput("a reason begins with a character, not with U+FFFF", field="reason")
    if size > LONGEST_REASON:
        told = f"a reason has at most {LONGEST_REASON} bytes of UTF-8, and this one {size}"
        raise InvalidInput(told, field="reason")
