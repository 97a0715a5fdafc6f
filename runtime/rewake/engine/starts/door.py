"""Whether a start is let through: who starts too often is refused, and a singleton is there once.

What is only to wait is let through: its run waits (`engine/limits/limits.py`). A singleton takes
its place *before* its run is created, so that two starts cannot both find it free; a place whose
run is never created is given back by whoever looks at the limit.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from rewake.access import check_tenant
from rewake.authoring.limits import Rules, Veil
from rewake.authoring.workflow import Workflow
from rewake.engine.instances.program import veil_of
from rewake.engine.services import Services
from rewake.engine.starts.gathering import Gathering
from rewake.engine.starts.starting import Act, StartPolicy, check_priority, rejected
from rewake.errors import Throttled
from rewake.ledger import Waiter
from rewake.limited import Admission, Limited, LimitKind, Line, in_order, is_awaited, said
from rewake.noted import Origin
from rewake.records import Header, Millis, Signal
from rewake.states import TERMINAL

log = logging.getLogger("rewake.engine")

_PAUSE: Millis = 20
_LONGEST_PAUSE: Millis = 500
"""Between looks at a place whose run is about to be created, or never will be."""


class StandsFor(Exception):
    """The start stands for another run than the one that it would have created."""

    def __init__(self, header: Header, *, new: bool = False) -> None:
        super().__init__(header.run)
        self.header = header
        self.new = new


First = Callable[[str], Signal]
"""Makes the signal with which a new run of this id begins."""


class Given(NamedTuple):
    """What a start is given. `named`: its run may be there already, which `policy` is for.

    `first`: its first signal. `at`: when it is to begin.
    """

    arguments: Mapping[str, Any]
    strict: bool
    tenant: str
    priority: int | None
    named: bool
    first: First | None = None
    at: Millis | None = None
    labels: Mapping[str, str] = {}
    policy: StartPolicy = StartPolicy()
    origin: Origin | None = None


class Door:
    """Lets one start of a limited workflow through."""

    def __init__(self, services: Services, workflow: Workflow[Any, Any], given: Given) -> None:
        assert workflow.rules is not None
        self._services, self._store = services, services.store
        self._rules: Rules = workflow.rules
        self._workflow = workflow
        self._named, self._policy = given.named, given.policy
        self._line: Line | None = None
        self._arguments = workflow.arguments(given.arguments, strict=given.strict)
        veil = veil_of(services.secret)
        self.terms = self._rules.terms(self._arguments, tenant=given.tenant, veil=veil)
        again = given.origin is not None  # a run with what it had: it gathers nothing, nor is it
        self._gathering = None if again else self._gathered(workflow, given.tenant, veil)
        if given.priority is not None:
            self.terms = msgspec.structs.replace(self.terms, priority=given.priority)

    async def open(self, run: str, recorded: Mapping[str, Any]) -> Millis | None:
        """Let a start through that would create this run; the moment at which it is to begin.

        Raises `Throttled`, `StandsFor` if it has joined a run that gathers what comes, and
        `RunConflict` if the policy rejects that.
        """
        gathering = self._gathering
        throttles = in_order(self.terms.limits, LimitKind.THROTTLE)
        if not (throttles or gathering):
            return None
        if self._named and await self._store.find(run) is not None:
            return None
        if gathering is not None and (before := await gathering.known(run)) is not None:
            match self._policy.act(before.was or before.state):
                case Act.ATTACH:
                    raise StandsFor(before)
                case Act.REJECT:
                    raise rejected(before)
        for throttle in throttles:
            await self._mind(throttle, run)
        joined = None if gathering is None else await gathering.join(run, recorded)
        if isinstance(joined, Header):  # it begins with other arguments now
            await self._services.events.watches.make(joined.run, self._workflow, recorded)
            raise StandsFor(joined)
        return joined

    async def through(
        self, header: Header, create: Callable[[], Awaitable[tuple[Header, bool]]]
    ) -> tuple[Header, bool]:
        """Create this run, and note in it what it waits for. Raises `StandsFor`."""
        singletons = in_order(self.terms.limits, LimitKind.SINGLETON)
        if singletons and self._named and await self._store.find(header.run) is not None:
            return await create()  # it is there, whatever holds the singleton now
        if is_awaited(self.terms):
            for limit in singletons:
                self._line = await self._take(header, limit)
            cancels = self._mode == "cancel"
            header.admission = Admission(self.terms, line=self._line, takes_over=cancels)
        found, new = await create()
        if singletons and not new:
            await self._give_back(found)
        return found, new

    async def _give_back(self, found: Header) -> None:
        """Give back the place of a singleton whose run was there already."""
        if self._line is not None:
            await self._store.leave_line(self._line)
        if found.state in TERMINAL:
            await self._services.limits.leave(found)

    @property
    def _mode(self) -> str:
        return "" if self._rules.singleton is None else self._rules.singleton.mode

    def _gathered(self, workflow: Workflow[Any, Any], tenant: str, veil: Veil) -> Gathering | None:
        rule = self._rules.gathering
        if rule is None:
            return None
        limit = self._rules.limited(rule, self._arguments, tenant, veil)
        hidden = workflow.inputs.hidden
        return Gathering(self._services, rule, limit, hidden, named=self._named)

    async def _mind(self, throttle: Limited, who: str) -> None:
        now = self._services.clock.now()
        taken, at = await self._store.reserve(throttle, now, wait=False, who=who)
        if not taken:
            told = f"{said(throttle)} is started too often: try again in {(at - now) / 1000:g} s"
            raise Throttled(told, seconds=(at - now) / 1000)

    async def _take(self, header: Header, limit: Limited) -> Line | None:
        """Take the place of a singleton, or wait in its line if older runs are to be cancelled."""
        services, mode = self._services, self._mode
        who = Waiter(header.run, terms=self.terms, since=services.clock.now())
        while True:
            if mode == "skip" and (there := await self._there(header.run, limit)) is not None:
                raise StandsFor(there)
            now = services.clock.now()
            soon = now + services.settings.grace
            entry = await self._store.enter(limit, who, now, soon=soon)
            if entry.line is None or mode == "cancel":
                return entry.line
            await self._store.leave_line(entry.line)  # another start was quicker

    async def _there(self, run: str, limit: Limited) -> Header | None:
        """The run that holds a singleton and has not ended, if another one does."""
        services, pause = self._services, _PAUSE
        while (book := await self._store.limit(limit.id)) is not None and book.holders:
            holder = book.holders[0]
            found = await self._store.find(holder.run)
            if holder.run == run:
                return None
            if found is not None and found.state not in TERMINAL:
                return found
            now, grace = services.clock.now(), services.settings.grace
            if found is None and now < holder.since + grace:
                await services.clock.sleep(pause)  # it is about to be created
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            await self._store.leave(limit.id, holder, now, soon=now + grace)
        return None


def door_of(services: Services, workflow: Workflow[Any, Any], given: Given) -> Door | None:
    """What lets a start of a limited workflow through; None: all are. Raises `InvalidInput`."""
    check_tenant(given.tenant)
    check_priority(given.priority)
    return None if workflow.rules is None else Door(services, workflow, given)


def is_gathered(workflow: Workflow[Any, Any]) -> bool:
    """Whether its starts are gathered, so that a run begins with those of several."""
    return workflow.rules is not None and workflow.rules.gathering is not None
