"""What runs ask of other runs: to begin, to tell of their end, to cancel; and that they tell of it.

`rewake.authoring.child` asks, by operations that are sent as tasks are, under the same custody: a
message that is lost is sent again, as long as the operation has neither an outcome nor a run that
covers it. Whoever gets one looks at both runs before it believes it. `rewake.stores.families` has
the rules that keep two headers right; here is what follows from them.

    child           begins the run, if it is not there; its outcome comes with the run's end
    child_start     begins the run, or finds one of that id; the outcome is its id
    child_result    its outcome comes with the run's end
    child_cancel    asks the run to cancel; that is the outcome

A run whose end others wait for stays due until they have been told. What they are told is copied to
them, signed and sealed as a value of theirs: so what is removed of one run is nothing to the other.

**A wait that a retry has opened again** says so by its round. A child that has failed is retried
with it. One that was cancelled cannot go on: it is begun anew, as another run (see
`engine/runs/retries.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from msgspec.structs import replace

from rewake.engine.attempts.asked import arguments_of
from rewake.engine.attempts.run_codecs import codec_for
from rewake.engine.limits.circles import own_limit, told_of
from rewake.engine.runs.beginning import started_otherwise
from rewake.engine.runs.runs import Runs
from rewake.engine.turns.deliveries import Deliveries
from rewake.errors import (
    InvalidInput,
    ReadableElsewhere,
    RunConflict,
    RunNotFound,
    RunRemoved,
)
from rewake.kin import DEEPEST, Parent, Watcher
from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.records import Failure, Header, Invocation, Operation, Outcome
from rewake.states import TERMINAL, RunState
from rewake.stores.families import is_called_off, is_waited_for
from rewake.stores.paused import is_paused
from rewake.values.failures import failure_of, inner
from rewake.values.pickles import Place
from rewake.values.run_codec import RunCodec

AT_ONCE = 50
"""How many messages are acted on at once, in one process."""
_REFUSED = (RunConflict, RunNotFound, InvalidInput, TypeError)
"""What the operation fails with: to ask again would change nothing."""


class Children:
    """Sees to what runs ask of other runs, by way of an engine (which need not be open)."""

    def __init__(self, runs: Runs, deliveries: Deliveries) -> None:
        self._runs = runs
        self._services = runs.services
        self._store = runs.services.store
        self._deliveries = deliveries
        self._room = asyncio.Semaphore(AT_ONCE)
        self._services.tell = self.tell

    async def handle(self, asked: Invocation) -> bool:
        """Act on a message. Returns whether the operation has come to its end by it.

        A few at once: ten thousand that begin together would hold up all else for as long. No look
        of this process asks again what waits here.
        """
        here, queued = (asked.run, asked.key), self._services.queued
        first = here not in queued
        queued.setdefault(here, asked.round)
        try:
            async with self._room:
                return await self._handle(asked)
        finally:
            if first:
                del queued[here]

    async def _handle(self, asked: Invocation) -> bool:
        services, here = self._services, (asked.run, asked.key)
        header = await self._store.find(asked.run)
        if header is None or header.state in TERMINAL or services.elsewhere.is_aside(*here):
            return False
        if is_paused(header):
            return False  # once it goes on, what nobody has seen to is asked again
        item = await self._store.operation(*here)
        if item is not None and item.round >= asked.round and item.outcome is not None:
            services.work.begin(asked.run, self._deliveries.repeat(item))
            return True
        try:
            outcome = await _DO[asked.kind](self, asked, header)
        except ReadableElsewhere as error:
            await self._put_back(asked, error.reason)
            return False
        except _REFUSED as error:
            outcome = Outcome(OutcomeKind.ERROR, origin=failure_of(error, 1))
        if outcome is None:
            return False
        await self._deliver(self._parent(asked), asked.kind, outcome)
        return True

    async def tell(self, header: Header, outcome: Outcome | None = None) -> None:
        """Tell those who wait for a run that it has ended; `outcome`: how, if that is known.

        Or that it is stuck, and was asked to cancel: whoever waits for its cleanup waits no longer.
        """
        if not (is_waited_for(header) and (header.state in TERMINAL or is_called_off(header))):
            return
        told = await self._end_of(header, outcome)
        if (parent := header.parent) is not None and parent.waits:
            copy = self._copied(header.run, told, parent.run, parent.key)
            await self._deliver(parent, Kind.CHILD, copy)
        for each in await self._store.watchers(header.run) if header.watched else ():
            copy = self._copied(header.run, told, each.run, each.key)
            await self._deliver(Parent(each.run, each.key, each.round), Kind.CHILD_RESULT, copy)

    # --- what is asked -----------------------------------------------------------------------

    async def _call(self, asked: Invocation, by: Header) -> Outcome | None:
        parent = self._parent(asked, waits=True)
        found, new = await self._begun(asked, by, parent)
        if new:
            return None
        if not _is_of(found, parent):
            raise RunConflict(f"there is another run of the id {found.run!r}")
        known = found.parent
        if known is not None and known.round < parent.round:
            found = await self._store.adopt(await self._retried(found), parent)
        return await self._come_to(asked, found)

    async def _start(self, asked: Invocation, by: Header) -> Outcome | None:
        parent, about = self._parent(asked, waits=False), asked.about
        assert about is not None
        found, new = await self._begun(asked, by, parent)
        if not new and not _is_of(found, parent):
            # Before any policy: how a run of another tenant stands is nothing to this one.
            if (found.workflow, found.tenant) != (asked.name, by.tenant):
                raise started_otherwise(found.run)
            ended = found.state in TERMINAL
            if about.new_or_live if ended else about.new_or_ended:
                how, which = (
                    ("has ended already", "if_finished") if ended else ("goes on", "if_running")
                )
                raise RunConflict(f"run {found.run!r} {how} ({which}='reject')")
            await self._check_same(asked, found)
        codec = RunCodec(self._services.secret, asked.run)
        value = codec.encode(found.run, key=asked.key, purpose=Purpose.RESULT, hint=str)
        return Outcome(OutcomeKind.OK, value=value)

    async def _result(self, asked: Invocation, by: Header) -> Outcome | None:
        assert asked.about is not None
        watcher = Watcher(asked.run, asked.key, asked.round)
        if asked.round and await self._store.has_older(asked.about.run, watcher):
            found = await self._store.header(asked.about.run)
            if found.parent is not None and found.parent.run == asked.run:
                # First: who asks again after a death finds that it goes on, or has to yet.
                await self._retried(found)
        found, before = await self._store.watch(asked.about.run, watcher)
        waits = None if found.state in TERMINAL else found.admission
        if waits is not None and not waits.inside:
            held = await own_limit(self._store, waits.terms, by)
            if held is not None:
                raise RunConflict(told_of(held))
        return await self._come_to(asked, found, known=before is not None)

    async def _cancel(self, asked: Invocation, by: Header) -> Outcome | None:
        assert asked.about is not None
        if asked.about.held and by.origin is not None and by.origin.key:
            found = await self._store.find(asked.about.run)
            if found is not None and _is_of_another(found, by):
                raise RunConflict(f"run {found.run!r} is that of the run that was forked")
        reason = f"asked by run {asked.run}"
        await self.tell(await self._store.call_off(asked.about.run, reason))
        return Outcome(OutcomeKind.OK)

    # --- how it is done ----------------------------------------------------------------------

    async def _retried(self, found: Header) -> Header:
        """The run as it goes on, if it has failed. Raises `RunConflict` if it may not."""
        if found.state is not RunState.FAILED:
            return found
        try:
            return await self._runs.retry(found.run)
        except RunConflict:
            now = await self._store.header(found.run)
            if now.round == found.round:
                raise
            return now  # somebody else was quicker

    def _copied(self, child: str, outcome: Outcome, run: str, key: str) -> Outcome:
        """How a run has ended, as an outcome of the operation that waits for it."""
        if outcome.value is None:
            failure = outcome.failure
            return outcome if failure is None else replace(outcome, origin=inner(failure))
        codec = RunCodec(self._services.secret, child)
        value = codec.moved(outcome.value, Purpose.OUTPUT, Place(run, key, Purpose.RESULT))
        return replace(outcome, value=value)

    async def _deliver(self, waits: Parent, kind: Kind, outcome: Outcome) -> None:
        """Deliver an outcome to the operation that waits for it, and go on with its run.

        Nothing guards it: who tells it does so again until that is done.
        """
        services = self._services
        blank = Operation(waits.run, waits.key, kind, round=waits.round)
        await self._deliveries.end_wait(
            blank,
            outcome,
            services.clock.now(),
            carry_on=services.home is not None,
            guarded=False,
            sole=waits.sole,
            joined=waits.joined,
            spared=waits.spared,
        )

    async def _put_back(self, asked: Invocation, reason: str) -> None:
        """Let another process see to it, and this one later."""
        services = self._services
        at = services.elsewhere.put_back(asked.run, asked.key, reason)
        if at <= services.clock.now() + services.settings.horizon:
            await services.dispatcher.dispatch([replace(asked, not_before=at, sole=False)])

    def _parent(self, asked: Invocation, *, waits: bool = False) -> Parent:
        return Parent(
            asked.run, asked.key, asked.round, waits, asked.sole, asked.joined, asked.spared
        )

    async def _begun(self, asked: Invocation, by: Header, parent: Parent) -> tuple[Header, bool]:
        """The run that is asked for, and whether it was begun now."""
        assert asked.about is not None
        if by.depth >= DEEPEST:
            raise RunConflict(f"it would be the {DEEPEST + 1}th run below another: {asked.name!r}")
        found = await self._store.standing(asked.about.run)
        new = False
        if found is None:
            arguments = await self._arguments(asked)
            found, new = await self._runs.begin_child(
                asked.about, asked.name, arguments, parent, by
            )
        if self._services.family is not None:
            self._services.family.add(found.run)
        if found.state is RunState.REMOVED and found.workflow:
            raise RunRemoved(f"run {found.run!r} has ended, and was removed", run=found.run)
        return found, new

    async def _arguments(self, asked: Invocation) -> Mapping[str, object]:
        """What the run is begun with. Raises `ReadableElsewhere` where the app lacks it."""
        workflow = self._services.app.workflows.get(asked.name)
        if workflow is None:
            reason = f"this app has no workflow {asked.name!r}"
            raise ReadableElsewhere(reason, reason=reason)
        given = asked.args
        if given is None:
            about = Operation(asked.run, asked.key, asked.kind, asked.name, asked.round)
            given = await arguments_of(self._store, about)
        whole = await self._store.resolve(asked.run, given)
        codec = await codec_for(self._services, asked.run, whole)
        args, kwargs = codec.decode(whole, key=asked.key, purpose=Purpose.CALL)
        return workflow.named(tuple(args), kwargs)

    async def _check_same(self, asked: Invocation, found: Header) -> None:
        if not self._runs.is_of(found, asked.name, await self._arguments(asked)):
            raise started_otherwise(found.run)

    async def _come_to(
        self, asked: Invocation, found: Header, *, known: bool = True
    ) -> Outcome | None:
        """What has come of a run; None: it goes on, and will tell.

        `known`: it was asked before, so that it seems to take long: nobody need ask again.
        """
        if found.state in TERMINAL:
            return self._copied(found.run, await self._end_of(found), asked.run, asked.key)
        if known:
            blank = Operation(asked.run, asked.key, asked.kind, asked.name, asked.round)
            await self._store.cover(blank)
        return None

    async def _end_of(self, header: Header, outcome: Outcome | None = None) -> Outcome:
        """How a run has ended, with its value whole."""
        if header.state is RunState.REMOVED:
            return Outcome(OutcomeKind.CANCELLED, origin=_NEVER_BEGUN)
        if header.state is RunState.STUCK:
            told = f"it was asked to cancel, and its cleanup cannot run: {header.error}"
            return Outcome(OutcomeKind.CANCELLED, origin=Failure("StuckError", told))
        found = outcome or await self._runs.outcome(header)
        if found.value is None:
            return found
        return replace(found, value=await self._store.resolve(header.run, found.value))


_NEVER_BEGUN = Failure("CancelledError", "it was cancelled before it began")
_DO: Mapping[Kind, Callable[[Children, Invocation, Header], Awaitable[Outcome | None]]] = {
    Kind.CHILD: Children._call,
    Kind.CHILD_START: Children._start,
    Kind.CHILD_RESULT: Children._result,
    Kind.CHILD_CANCEL: Children._cancel,
}


def _is_of_another(found: Header, fork: Header) -> bool:
    """Whether a run that a fork knows of was begun before the fork was, by another run."""
    own = found.parent
    return own is not None and own.run != fork.run and found.created <= fork.created


def _is_of(found: Header, parent: Parent) -> bool:
    """Whether a run was begun by this operation, or called off before it could be."""
    own = found.parent
    if own is None:
        return found.state is RunState.REMOVED
    return (own.run, own.key) == (parent.run, parent.key)
