"""Beginning runs: what a start creates, and how it is begun.

What exists already by its name is found by `rewake.engine.starts.starting`; whether a start that is
limited is let through, `rewake.engine.starts.door` says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from rewake.engine.instances.program import RUNTIME
from rewake.engine.limits.circles import own_limit, told_of
from rewake.engine.logs.carrying import carrying_out, runs_log
from rewake.engine.runs.pauses import Pauses
from rewake.engine.starts.delays import arm, delay
from rewake.engine.starts.door import First, Given, StandsFor, door_of, is_gathered
from rewake.engine.starts.starting import (
    Create,
    Name,
    check_key,
    name_of_id,
    name_of_key,
)
from rewake.engine.turns.turn import Turn
from rewake.errors import (
    RunConflict,
    Throttled,
)
from rewake.kin import OtherRun, Parent, is_child_of
from rewake.kinds import Purpose
from rewake.labels import checked
from rewake.records import Header, Millis, Started
from rewake.states import RunState
from rewake.stores.history import History
from rewake.stores.processes import next_look
from rewake.values.run_codec import RunCodec, digests_of, new_digest_key
from rewake.values.text import storable

Nominal = tuple[str, Millis | None]
"""The schedule that starts a run, and for which time of it."""
Noted = Callable[[Header], Awaitable[None]]
"""Told of a run before its body begins: in the write that makes it, where the database joins
writes, and then it awaits nothing but the store.
"""


class Beginning(Pauses):
    """Creates runs and begins them."""

    async def begin_child(
        self, other: OtherRun, workflow: str, arguments: Mapping[str, Any], of: Parent, by: Header
    ) -> tuple[Header, bool]:
        """Begin a run for another one, whose header is `by`, unless there is one of its id.

        It is of the same tenant. Raises `InvalidInput`, and `RunConflict` where its workflow has
        limits that do not let it in.
        """
        if not is_child_of(other.run, of.run, of.key, of.round):
            name_of_id(other.run)
        found = self._services.app.workflow(workflow)
        recorded = found.recorded(arguments)
        given = Given(arguments, True, by.tenant, None, True)
        door = door_of(self._services, found, given)
        own = None if door is None or not of.waits else await own_limit(self._store, door.terms, by)
        if own is not None:
            raise RunConflict(told_of(own))
        try:
            at = None if door is None else await door.open(other.run, recorded)
            header = self._new_header(other.run, workflow, arguments, "", by.tenant, at)
            header.parent, header.depth, header.hold = of, by.depth + 1, by.hold
            begin = await self._started(header, recorded, other.by, ("", None))
            make = partial(self._create, header, begin, None, None)
            return await (make() if door is None else door.through(header, make))
        except StandsFor as there:
            run = there.header.run
            raise RunConflict(f"run {run!r} is there, and only one may be", run=run) from None
        except Throttled as error:
            raise RunConflict(str(error)) from None

    def creating(
        self, workflow: str, given: Given, key: str, noted: Noted | None, *origin: Any
    ) -> Create:
        """What creates runs of one start. `origin`: who starts it, by which schedule.

        Raises `RunNotFound`, `InvalidInput`.
        """
        found = self._services.app.workflow(workflow)
        recorded = found.recorded(given.arguments, strict=given.strict)
        door = door_of(self._services, found, given)
        labels = checked(given.labels)

        async def create(run: str, follows: Header | None) -> tuple[Header, bool]:
            at = given.at if door is None else await door.open(run, recorded) or given.at
            header = self._new_header(run, workflow, given.arguments, key, given.tenant, at)
            header.labels = labels or None
            header.origin = given.origin
            begin = await self._started(header, recorded, *origin)
            make = partial(self._create, header, begin, follows, noted, given.first)
            there, new = await (make() if door is None else door.through(header, make))
            # Before any policy: how a run of another workflow stands is not for who may start this.
            if (there.workflow, there.tenant) != (workflow, given.tenant):
                raise started_otherwise(there.run)
            return there, new

        return create

    def is_of(self, header: Header, workflow: str, arguments: Mapping[str, Any]) -> bool:
        """Whether a run is one of this workflow with these arguments, or with others gathered."""
        found = self._services.app.workflows.get(workflow)
        if found is not None and is_gathered(found):
            return header.workflow == workflow
        marked = digests_of(self._services.secret, header).digest(arguments)
        return (header.workflow, header.digest) == (workflow, marked)

    def _new_header(
        self,
        run: str,
        workflow: str,
        arguments: Mapping[str, Any],
        key: str,
        tenant: str,
        at: Millis | None = None,
    ) -> Header:
        now, seed = self._services.clock.now(), self._services.chance.getrandbits(53)
        header = Header(run, workflow, now, seed=seed, runtime=RUNTIME, tenant=tenant)
        secret = self._services.secret
        header.digest_key, header.key = new_digest_key(secret, run), storable(key)
        header.digest = digests_of(secret, header).digest(arguments)
        if at is not None and at > now:
            delay(self._services, header, at)
        else:
            self._own(header)
        return header

    async def _create(
        self,
        header: Header,
        started: Started,
        follows: Header | None,
        noted: Noted | None,
        first: First | None = None,
    ) -> tuple[Header, bool]:
        """Create this run and begin it, unless it exists, as `Create` says."""
        services, run = self._services, header.run
        signal = None if first is None else first(run)
        header.seed = header.seed if signal is None else signal.began
        with services.claims.making(run, "", header.owner):
            joined = noted if self._store.joins else None
            stored, new = await self._store.start(header, started, follows, joined, signal)
            if new and noted is not None and joined is None:
                await noted(stored)
        if new:
            with carrying_out(run):
                runs_log.info("run %s of %s has started", run, header.workflow)
        if new and stored.owner and stored.owner == header.owner and services.work.closing:
            await services.claims.release(run, "", header.owner, 0)
        elif new and stored.owner and stored.owner == header.owner:
            history = History([started], {})
            services.work.begin(run, Turn(services, stored, history).run())
        elif new and stored.state is RunState.DELAYED:
            await arm(services, run, header.wake or header.created)
        elif new:
            await services.wake(run)
        return stored, new

    async def _started(
        self, header: Header, arguments: Mapping[str, Any], by: str, scheduled: Nominal
    ) -> Started:
        """The first event of a run, which has its arguments; others can cancel it from now on."""
        workflow = self._services.app.workflow(header.workflow)
        await self._services.events.watches.make(header.run, workflow, arguments)
        hidden = workflow.inputs.hidden
        codec = RunCodec(self._services.secret, header.run)
        value = codec.encode(dict(arguments), key="", purpose=Purpose.INPUT, hidden=hidden)
        header.schedule, moment = scheduled
        begins, labels = header.wake or header.created, header.labels or {}
        return Started(begins, value, by, scheduled=moment, labels=labels)

    def _own(self, header: Header) -> None:
        """Hold a new run by a lease if this process gets its messages, else make it due."""
        services = self._services
        now, settings = services.clock.now(), services.settings
        header.where = settings.where
        if not services.carries_on():
            header.due = now
        elif services.dispatcher.local and not services.work.closing:
            header.state, header.epoch = RunState.RUNNING, 1
            header.owner, header.process = services.unique(), services.heart.lends()
            header.due = next_look(now, settings.lease)
            if not header.process:
                header.lease = now + settings.lease
                header.due = header.lease + settings.skew
        else:
            header.due = now + settings.grace

    def _name(self, workflow: str, run: str | None, key: str | None, tenant: str) -> Name:
        if run is not None:
            return name_of_id(run)
        if key is not None:
            check_key(key)
            return name_of_key(workflow, key, tenant)
        return Name(f"{self._services.clock.now():012x}{self._services.unique()}")


def started_otherwise(run: str) -> RunConflict:
    """The refusal of a start whose run has other arguments."""
    return RunConflict(f"run {run!r} was started with other arguments", run=run)
