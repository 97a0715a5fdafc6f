"""The services that all parts of one engine share."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from rewake.app import App
from rewake.authoring.context import Reach, TaskContext
from rewake.authoring.events import Asked
from rewake.authoring.middleware import Around, AroundKind, within
from rewake.authoring.workflow import Workflow
from rewake.clock import Clock
from rewake.dispatchers.dispatcher import Dispatcher
from rewake.dispatchers.routes import routed_tags, way_of
from rewake.engine.instances.arrivals import Arrivals
from rewake.engine.instances.cache import Cache
from rewake.engine.instances.waits import Waits
from rewake.engine.keeping.keeping import Keeping
from rewake.engine.limits.limits import Limits
from rewake.engine.logs.carrying import carried_into
from rewake.engine.logs.log_keeper import LogKeeper
from rewake.engine.logs.streams import Streams
from rewake.engine.process.apart import Apart
from rewake.engine.process.elsewhere import Elsewhere
from rewake.engine.process.heart import Heart
from rewake.engine.process.heartbeats import Heartbeats
from rewake.engine.process.leases import PASSING, Claims
from rewake.engine.process.shortages import Shortages
from rewake.engine.process.slots import Slots
from rewake.engine.process.tags import Tags
from rewake.engine.process.threads import ThreadPools
from rewake.engine.process.work import Work
from rewake.engine.settings import Settings
from rewake.ledger import Schedule
from rewake.limited import FREE
from rewake.noted import Try
from rewake.published import Published, Subscription
from rewake.records import Header, Invocation, Millis, Operation, Outcome, Scheduled, Started, Value
from rewake.replay.operation import OpenOp
from rewake.signing.secret import Secret
from rewake.states import RunState
from rewake.stores.answers import RunClaim, TaskClaim
from rewake.stores.history import History
from rewake.stores.protocol import Store
from rewake.stores.table import Due, Key
from rewake.tags import UNTAGGED

T = TypeVar("T")
SENT_AGAIN = 1 / 32
"""The share of messages that wait in a queue that a sweep sends again."""
MOST_TURNS = 2_000
"""With so many turns under way here, a sweep begins no more of those whose messages wait."""

log = logging.getLogger("rewake.engine")

AT_ONCE = 100
"""How many tasks are offered together."""


class StepHere(NamedTuple):
    """An attempt at a step that a turn of this process has begun, and has not committed the end of.

    `once`: it runs at most once.
    """

    name: str
    once: bool
    attempt: Try


@dataclass(slots=True, eq=False)
class TurnHere:
    """The turn of one run in this process, as the other parts of the engine see it."""

    owner: str
    """The claim under which it holds the run."""
    poke: Callable[[], None]
    """Tells it that something arrived."""
    steps: Mapping[str, object]
    """The steps that it carries out, by key."""
    arrivals: Arrivals = field(default_factory=Arrivals)
    """What it has read, and what was heard since."""
    begun: Mapping[str, StepHere] = field(default_factory=dict)
    """By key: the newest attempts at steps."""
    by: asyncio.Task[Any] | None = None
    """The task of the event loop that has begun it, as what a message brings, or beside that."""


@dataclass(slots=True)
class Here:
    """The runs that this process has an instance of."""

    cache: Cache
    turns: dict[str, TurnHere] = field(default_factory=dict)
    """By run: its turn in this process."""
    called_off: Callable[[str], None] = field(init=False)
    """Wakes a run that was asked to cancel."""

    def has(self, run: str) -> bool:
        """Whether a turn of this process has the run."""
        return run in self.turns

    def hear(self, run: str, number: int, key: str) -> None:
        """Tell the instance of the run, if any, which operation has arrived."""
        kept, turn = self.cache.arrivals(run), self.turns.get(run)
        if kept is not None:
            kept.hear(number, key)
        if turn is not None:
            turn.arrivals.hear(number, key)


class Watching(Protocol):
    """Lets events cancel runs (`engine/outside/watches.py`)."""

    async def make(
        self,
        run: str,
        workflow: Workflow[Any, Any],
        given: Mapping[str, Any],
    ) -> None:
        """Let events cancel a run with these arguments, from now on. Raises `InvalidInput`."""
        ...

    async def again(self, header: Header, started: Started) -> None:
        """Let events cancel a run that had ended, and goes on."""
        ...

    async def follow(self, header: Header, started: Started, args: Value) -> None:
        """Let events cancel a run also with the arguments of the lap that is about to begin."""
        ...

    async def take_back(self, header: Header, started: Started, after: Value | None = None) -> None:
        """Let events cancel a run with these arguments no more."""
        ...

    async def forget(self, header: Header, history: History | None) -> None:
        """Let events find nothing of a run any more that has ended, and has told nobody."""
        ...


class Telling(Protocol):
    """Lets events find the waits of runs, and runs to cancel (`engine/outside/events.py`)."""

    @property
    def watches(self) -> Watching:
        """Which events cancel runs."""
        ...

    async def subscribe(self, run: str, op: OpenOp, asked: Asked) -> None:
        """Let events find a wait that is committed, and let it find what is there."""
        ...

    async def unsubscribe(self, name: str, asked: Asked, waiting: Subscription) -> None:
        """Let events find a wait no more, which has ended."""
        ...

    async def publish(
        self, name: str, data: Any, *, id: str | None = None, by: str = ""
    ) -> tuple[Published, bool]:
        """Publish an event. Raises `InvalidInput`, `EventConflict`."""
        ...

    async def check(self, event: Published, due: Millis, now: Millis) -> None:
        """Go on with an event that is due, unless this process does so."""
        ...

    async def remove(self, key: Key, now: Millis) -> int:
        """Remove an event if its time is over. Returns how many steps that took."""
        ...


class Alerting(Protocol):
    """Who is told of what goes wrong: `rewake.engine.alerts.hooks`."""

    def tells(self, header: Header, state: RunState) -> bool:
        """Whether somebody is to be told if a run gets into this state."""
        ...

    async def tell(self, header: Header) -> bool:
        """Tell that a run has failed or is stuck. False: it is not known here whom to tell."""
        ...

    def late_at(self, header: Header) -> Millis | None:
        """When somebody is to be told that a run has not ended, if nobody was yet."""
        ...

    def looks_at(self, header: Header) -> list[Millis]:
        """When a parked run is looked at, whatever its operations need."""
        ...

    async def tell_late(self, header: Header) -> None:
        """Tell that a run has not ended, if it is late."""
        ...

    async def look(self) -> None:
        """Tell of what is found by looking, if it is time to."""
        ...

    async def tell_skipped(self, schedule: Schedule, at: Millis, why: str) -> None:
        """Tell that a schedule starts no run for this nominal time."""
        ...


@dataclass(slots=True)
class Services:
    """The parts of one engine."""

    app: App
    store: Store
    dispatcher: Dispatcher
    clock: Clock
    secret: Secret
    settings: Settings
    claims: Claims
    heart: Heart
    here: Here
    slots: Slots
    apart: Apart
    unique: Callable[[], str]
    """Makes names that nobody else has: of claims, marks and runs. They are no secrets."""
    chance: random.Random
    """The randomness of the engine itself."""
    threads: ThreadPools
    """The threads of sync tasks, and those of sync steps."""
    begin: Callable[[Invocation, Operation], None]
    """Carries out a task that is claimed for this process, in a slot that is reserved for it."""
    tags: Tags
    """What is served here, and whether somebody serves what is not."""
    arm: Callable[[Due], None]
    """Arms a timer that checks an item when it is due, before any sweep."""
    work: Work = field(default_factory=Work)
    family: set[str] | None = None
    """The runs that this process looks after, if it does after these alone."""
    home: asyncio.AbstractEventLoop | None = None
    """The engine's own event loop, while it is open."""
    context: Context = field(default_factory=Context)
    """The context variables that were set when it was opened."""
    attempts: dict[tuple[str, str], str] = field(default_factory=dict)
    """By run and key: the claim under which this process carries a task out."""
    attempted_by: dict[str, asyncio.Task[Any] | None] = field(default_factory=dict)
    """By claim: the task of the event loop that has begun that, as `TurnHere.by`."""
    queued: dict[tuple[str, str], int] = field(default_factory=dict)
    """By run and key: the round of a task whose message waits here for a slot."""
    waiters: dict[str, set[asyncio.Future[Outcome | None]]] = field(default_factory=dict)
    """By run: the futures that wait for its end."""
    tell: Callable[[Header, Outcome | None], Awaitable[None]] = field(init=False)
    """Tells the runs that wait for the end of one how it ended (`engine/outside/children.py`)."""
    take: Callable[[Invocation], None] = field(init=False)
    """Claims a task and carries it out, in a slot that is reserved for it."""
    handle: Callable[[Invocation], Awaitable[object]] = field(init=False)
    """Acts on a message."""
    events: Telling = field(init=False)
    """Tells events to those who wait for them."""
    telling: set[str] = field(default_factory=set)
    """The events of which this process tells those who wait."""
    last_place: Millis = 0
    """The place of the newest event that this process has put at one."""
    shapes: dict[tuple[str, ...], Millis] = field(default_factory=dict)
    """By name and fields: since when events are in an index of these."""
    look_soon: Callable[[], None] = field(init=False)
    """Looks, as soon as may be, for offered tasks of the tags that are served here."""
    cache: Cache = field(init=False)
    """The suspended instances."""
    turns: dict[str, TurnHere] = field(init=False)
    """By run: its turn in this process."""
    keeping: Keeping = field(init=False)
    """How long runs are kept that have ended, and who removes them."""
    hooks: Alerting = field(init=False)
    """Who is told of what goes wrong."""
    elsewhere: Elsewhere = field(init=False)
    """What this process has put back for another."""
    shortages: Shortages = field(init=False)
    """What the machine was short of."""
    streams: Streams = field(init=False)
    """The streams of runs, as this process writes and follows them."""
    logs: LogKeeper = field(init=False)
    """What the attempts of this process say."""
    beats: Heartbeats = field(init=False)
    """What the attempts at tasks of this process tell of themselves."""
    limits: Limits = field(init=False)
    """Who lets in what is limited."""
    reach: Reach | None = None
    """What attempts can do to other runs."""
    waits: Waits = field(init=False)
    """Which approvals are open, as far as this process has looked."""

    def __post_init__(self) -> None:
        self.cache, self.turns = self.here.cache, self.here.turns
        self.here.called_off = self._called_off
        self.keeping = Keeping(self.app, self.store, self.clock, self.settings)
        self.keeping.remove_event = self._remove_event
        self.elsewhere = Elsewhere(self.clock)
        self.shortages = Shortages(self.clock)
        self.streams = Streams(self.store, self.clock, self.unique, self.secret)
        self.logs = LogKeeper(self.streams)
        self.beats = Heartbeats(self.store, self.secret)
        self.limits = Limits(self)
        self.waits = Waits(self.store, self.cache)

    async def _remove_event(self, key: Key, now: Millis) -> int:
        return await self.events.remove(key, now)  # which is made after this

    def around(
        self, kind: AroundKind, of: Header | TaskContext, name: str, work: Coroutine[Any, Any, T]
    ) -> Coroutine[Any, Any, T]:
        """The work, with the middleware of the app around it."""
        if not self.app.middleware:
            return work
        key, number = ("", of.epoch) if isinstance(of, Header) else (of.key, of.attempt)
        return within(self.app.middleware, Around(kind, of.run, name, key, number), work)

    def alone(self) -> Context:
        """A context for an attempt: it sees nothing of a request, or a task, that has led to it."""
        return carried_into(self.context.copy())

    def around_turn(
        self, header: Header, work: Coroutine[Any, Any, None]
    ) -> Coroutine[Any, Any, None]:
        """The turn of a run, with the middleware of the app around it."""
        return self.around(AroundKind.WORKFLOW, header, header.workflow, work)

    def call_home(self, callback: Callable[[], object]) -> None:
        """Call something in the engine's own event loop, from any thread."""
        if self.home is not None:
            self.home.call_soon_threadsafe(callback)

    def _called_off(self, run: str) -> None:
        """Wake a run that was asked to cancel. It is due, should this process not be open."""
        if self.home is not None:
            self.poke(run)
            self.work.begin(run, self.wake(run))

    def poke(self, run: str) -> None:
        """Tell the turn of `run` in this process, if there is one, that something arrived."""
        turn = self.turns.get(run)
        if turn is not None:
            turn.poke()

    def ended(self, run: str, outcome: Outcome | None = None) -> None:
        """Wake the callers that wait for the run to end."""
        self.streams.watchers.tell(run)
        for waiter in self.waiters.pop(run, ()):
            if not waiter.done():
                waiter.set_result(outcome)

    def carries_on(self) -> bool:
        """Whether this process goes on with runs itself: their bodies are untagged work."""
        return self.tags.serves(UNTAGGED)

    def claim_to_carry_on(self, run: str, owner: str = "") -> RunClaim | None:
        """A claim on a run, as `run_claim`; None if this process carries no runs on."""
        return self.run_claim(run, owner) if self.carries_on() else None

    def run_claim(self, run: str, owner: str = "") -> RunClaim:
        """A claim on a run for this process, from now on; it takes over no turn of this process.

        `owner`: that of an earlier try at the same claim.
        """
        now, lease = self.clock.now(), self.settings.lease
        free, where = run not in self.turns, self.settings.where
        return RunClaim(owner or self.unique(), now, lease, takes_over=free, where=where)

    def task_claim(self, run: str, task: Invocation | Scheduled) -> TaskClaim:
        """A claim on a task for this process, from now on."""
        now, lease, where = self.clock.now(), self.settings.lease, self.settings.where
        owner = self.unique()
        made = TaskClaim(run, task.key, task.name, owner, now, lease, where, round=task.round)
        if task.tag or task.terms is not FREE:
            return msgspec.structs.replace(made, tag=task.tag, terms=task.terms)
        return made

    def note_attempt(self, here: tuple[str, str], owner: str) -> None:
        """Note that this process carries a task out under a claim, perhaps one that it makes."""
        self.attempts[here], self.attempted_by[owner] = owner, asyncio.current_task()

    def forget_attempt(self, here: tuple[str, str], owner: str) -> None:
        """Note that it does so no more."""
        self.attempted_by.pop(owner, None)
        if self.attempts.get(here) == owner:
            del self.attempts[here]

    def free_slots(self) -> int:
        """How many more attempts at tasks can begin here at once."""
        return self.slots.free

    def begins(self, tag: str) -> bool:
        """Whether this process begins tasks of this tag that it has asked for, if it has room."""
        return self.tags.serves(tag) if tag else self.dispatcher.local

    def goes_ahead(self, at: Millis, tag: str = UNTAGGED) -> bool:
        """Whether a message for then is sent now, and kept by what carries those of this tag."""
        if tag and tag not in routed_tags(self.dispatcher):
            return False
        reach = way_of(self.dispatcher, tag).reach
        return reach > 0 and at <= self.clock.now() + reach

    async def is_in_a_queue(self, tag: str = UNTAGGED, *, needs_slot: bool = True) -> bool:
        """Whether a message that was sent, and has not come, waits for somebody to take it.

        Else each sweep would add another to those that wait. Now and then it is sent all the same,
        as nobody knows whether it is the one that was never sent, since its sender died. What needs
        no slot is done here where there is none (`send_late`).
        """
        offered = tag and not self.tags.is_routed(tag)
        if offered or (not needs_slot and self._has_no_room()):
            return False
        behind = await way_of(self.dispatcher, tag).is_behind()
        return behind and self.chance.random() > SENT_AGAIN

    def saw_untaken(self, run: str, key: str = "", tag: str = UNTAGGED) -> None:
        """Note that a look finds this not begun, though it was sent to who serves its tag."""
        if self.tags.is_routed(tag) if tag else not self.dispatcher.local:
            self.tags.saw_untaken(tag, run, key)

    async def send_late(self, invocations: Sequence[Invocation]) -> None:
        """Send messages that nobody has taken so far.

        Who has no room for tasks takes none out of a queue, and cannot tell which of them need a
        slot. So what waits there and needs none is done here: else nothing would go on until tasks
        that take hours have ended.
        """
        sent, stands = list[Invocation](), self._has_no_room() and await self.dispatcher.is_behind()
        for each in invocations:
            if stands and self._needs_no_slot(each):
                self.work.begin(each.run, self.handle(each))
            else:
                sent.append(each)
        await self.dispatch(sent)

    def _needs_no_slot(self, invocation: Invocation) -> bool:
        """Whether it can be done here at once: no task is, nor what is left to another process."""
        is_task = invocation.key and not invocation.kind.traits.of_run
        return not (is_task or self.elsewhere.is_aside(invocation.run, invocation.key))

    def _has_no_room(self) -> bool:
        """Whether no message can come here, although there is room for turns: a turn may have a
        step of an hour, and each needs memory.
        """
        none = not (self.slots.free or self.settings.pauses)
        return none and len(self.turns) < MOST_TURNS

    def has_queued(self, run: str, asked: Scheduled) -> bool:
        """Whether a message for this task waits here for a slot: it will be looked at then."""
        return self.queued.get((run, asked.key)) == asked.round

    async def end_overtaken_turn(self, run: str) -> None:
        """Look at the claim of this process's turn of a run; it ends if another has the run."""
        turn = self.turns.get(run)
        if turn is not None:
            await self.heart.keeps(turn.owner)

    async def wake(self, run: str) -> None:
        """Dispatch the run, which is due: where no message reaches who serves it, a sweep does."""
        await self.dispatch([Invocation(run)])

    async def dispatch(self, invocations: Sequence[Invocation]) -> None:
        """Send messages to who serves them. Tasks whose tags no message reaches are offered."""
        sent = [each for each in invocations if self._is_sent(each.tag)]
        if sent:
            await self.dispatcher.dispatch(sent)
        offered = [e for e in invocations if e.tag and not self._is_sent(e.tag)]
        if offered:
            await self.offer(offered)

    def _is_sent(self, tag: str) -> bool:
        if tag:
            return self.tags.is_routed(tag)
        return self.carries_on() or not self.dispatcher.local

    async def offer(self, tasks: Sequence[Invocation], *, sure: bool = True) -> None:
        """Offer tasks to the servers of their tags. What fails now is found with its run.

        `sure`: their runs are there.
        """
        now, lease = self.clock.now(), self.settings.lease
        try:
            for tag in dict.fromkeys(task.tag for task in tasks):
                await self.tags.note(tag)
            for first in range(0, len(tasks), AT_ONCE):
                await self.store.offer(tasks[first : first + AT_ONCE], now, lease, sure=sure)
        except PASSING:
            log.warning("tasks could not be offered to the servers of their tags", exc_info=True)
        if any(self.tags.serves(task.tag) for task in tasks):
            self.look_soon()
