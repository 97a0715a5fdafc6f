"""Keyed state: a small value under a name and a key, with one writer at a time.

1. One item has the value, who holds it, and who waits in line, in the order in which they came. All
   that is done is one conditional write of it, known by the writer's token. The runs of a tenant
   have states of their own.
2. A block of a run holds it, not a process: a run whose process dies goes on in another one and has
   it still. It lets go as it leaves the block, also if it is cancelled or fails. What a run held
   that was killed, or has ended otherwise, is taken by whoever comes next; so is what a task held
   that has come to its end without leaving: it was withdrawn, or lost, with its process.
3. Who lets go hands the state to the first in line, in the same write, and then tells that one by a
   signal, known by its token; a task hears none, and looks again within two seconds. A death
   between the two is made good by the step that lets go, which runs again, or else by who waits:
   that looks again now and then, seldom and ever more seldom. Who is paused, or stuck, and has not
   entered since it was handed the state waits at the end again.
4. Entering is a step, so the value that was read is recorded; leaving is one too, and what is
   written is written once: a second time the token holds nothing any more. Of those who left last a
   mark is kept, so that an attempt that was overtaken and comes late does not enter again.
5. A block is told from others by run and token. In a task the token is the same for all attempts,
   and a later one stands for those before it, which hold nothing any more. A retry of a run may go
   through a block once more; then the round stands for what the attempt is there.
6. A retry may begin within a block that was left since, and a fork within one that another run is
   in. Such a block does not hold the state: what it writes counts if nobody has the state, and
   nobody has written since it was read; else it is refused.
7. A write from outside has no block: it is made in the same way on the version that was read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from msgspec.structs import replace

from rewake.engine.outside.signals import Signals
from rewake.engine.services import Services
from rewake.errors import CheckpointUnreadable, RunConflict, RunNotFound
from rewake.keyed import TURN, Entrant, State
from rewake.kinds import Purpose
from rewake.records import Entry, Header, Millis, Stepped, Value, Withdrawn
from rewake.states import TERMINAL, RunState
from rewake.stores.operations import free_at
from rewake.stores.paused import is_past
from rewake.values.emitted import LARGEST, json_of
from rewake.values.run_codec import RunCodec

MOST_WAIT = 1_000
"""So many may wait in line."""
REMEMBERED = 128
"""Of so many that have left last it is known. Who comes again after that writes as rule 6 says."""
MOST_KNOWN = 256
"""Of so many steps is known in memory whether they are over."""
KEEP = object()
"""Instead of a value: it stays as it is."""
_MARK = 12


class Entered(NamedTuple):
    """What came of an attempt to enter: whether it holds the state, its value, and who has it."""

    held: bool
    value: Any
    holder: str
    version: int


@dataclass(frozen=True, slots=True)
class Block:
    """A block that enters a state, or leaves it. `number`, `task`: as of an `Entrant`."""

    at: State
    run: str
    token: str
    number: int = 0
    task: str = ""

    @property
    def mark(self) -> str:
        """What is kept of it once it has left, in front of its number."""
        return hashlib.sha256(f"{self.run}\0{self.token}".encode()).hexdigest()[:_MARK] + ":"

    @property
    def left(self) -> str:
        """What is kept of it once it has left."""
        return f"{self.mark}{self.number}"

    def stands_for(self, other: Entrant | None) -> bool:
        """Whether this is that block, or one that came after it in its place."""
        return (
            other is not None
            and (other.run, other.token) == (self.run, self.token)
            and other.number <= self.number
        )


class States:
    """The keyed states of one store, as one process acts on them."""

    def __init__(self, services: Services, signals: Signals) -> None:
        self._services = services
        self._store = services.store.keyed
        self._signals = signals
        self._known: dict[tuple[str, str], tuple[str, Millis | None]] = {}
        """Since when steps are over, and the mark of the header that says so: each waiter asks."""

    async def read(self, name: str, key: str, tenant: str = "") -> tuple[Any, State] | None:
        """The value of a state, and what else is known of it; None: there is none."""
        found = await self._store.find(State(name, key, tenant))
        return None if found is None else (self._decoded(found), found)

    async def page(
        self, tenant: str, name: str, *, limit: int, cursor: str | None
    ) -> tuple[list[State], str | None]:
        """A page of the states of a tenant, by name and key. `name`: only of that; empty: all."""
        page = await self._store.page(tenant, name, limit=limit, cursor=cursor)
        return [state for _, state in page.items], page.cursor

    async def enter(self, block: Block) -> Entered:
        """Hold a state for a block of a run, or stand in its line.

        Raises `RunConflict` if too many wait.
        """
        gone = await self._gone(block.at)
        mine = Entrant(block.run, block.token, self._services.clock.now(), block.number, block.task)

        def change(state: State) -> State | None:
            return None if _has_left(state, block) else _entered(state, mine, gone)

        state = await self._store.change(block.at, change, self._services.unique())
        holds = state.holder
        held = holds is not None and mine.is_of(holds) and mine.number == holds.number
        if not held:
            await self._tell(state)
        holder = "" if state.holder is None else state.holder.run
        return Entered(held, self._decoded(state) if held else None, holder, state.version)

    async def leave(self, block: Block, value: Any = KEEP, *, read: int | None = None) -> bool:
        """Let go of a state, with another value; or leave its line. Tells who is next.

        Returns whether the value was written now. `read`: the version that it was made on, by which
        a block that does not hold the state may write. Raises `RunConflict` if it may not.
        """
        value = None if value is KEEP else self._encoded(block.at, value)
        leaving = _Leaving(block, value, read)
        await self._tell(await self._left(block, leaving))
        return leaving.writes

    async def _left(self, block: Block, leaving: _Leaving) -> State:
        """The state once a block has left it. Raises as `leave` does."""
        mark = self._services.unique()
        try:
            return await self._store.change(block.at, leaving.change, mark)
        except RunConflict:
            leaving.gone = await self._gone(block.at)
            if leaving.gone is None:
                raise
            return await self._store.change(block.at, leaving.change, mark)

    async def write(
        self, name: str, key: str, value: Any, version: int | None, tenant: str = ""
    ) -> State:
        """Write a state from outside; with a `version`, only if it is still that one.

        Raises `RunConflict` if somebody holds it, or it is of another version.
        """
        at = State(name, key, tenant)
        encoded, gone = self._encoded(at, value), await self._gone(at)

        def change(state: State) -> State:
            if state.holder is not None and state.holder != gone:
                raise RunConflict(f"run {state.holder.run!r} holds the state {name}/{key}")
            if version is not None and state.version != version:
                told = f"the state {name}/{key} is of version {state.version}, not {version}"
                raise RunConflict(told)
            state.value, state.version = encoded, state.version + 1
            if state.holder is not None:
                _hand_on(state)
            return state

        state = await self._store.change(at, change, self._services.unique())
        await self._tell(state)
        return state

    async def remove(self, name: str, key: str, tenant: str = "") -> State | None:
        """Remove a state that nobody holds, and return it. None: there is none.

        Raises `RunConflict`.
        """
        found = await self._store.find(State(name, key, tenant))
        if found is None:
            return None
        if found.holder is not None and not await self._is_over(found.holder):
            raise RunConflict(f"run {found.holder.run!r} holds the state {name}/{key}")
        if not await self._store.remove(found):
            raise RunConflict(f"the state {name}/{key} was changed meanwhile")
        return found

    async def _tell(self, state: State) -> None:
        """Tell who was handed it, again if need be; who cannot come, or not now, is passed over."""
        passed = set[tuple[str, str]]()
        while (holder := state.holder) is not None and state.handed:
            place = (holder.run, holder.token)
            if state.line and place not in passed and await self._stands_still(holder):
                passed.add(place)
                state = await self._passed_over(state, holder)
            elif await self._hears(holder):
                return
            else:
                block = Block(state, holder.run, holder.token, holder.number)
                state = await self._left(block, _Leaving(block, None, None))

    async def _hears(self, holder: Entrant) -> bool:
        """Tell who was handed it; False: it is over."""
        if holder.task:  # it looks by itself, and hears no signal
            return not await self._is_over(holder)
        try:
            name = signal_of(holder.token)
            once = f"{name}.{holder.since}"  # another one if it was passed over meanwhile
            await self._signals.send(holder.run, name, None, id=once, by="state")
        except (RunConflict, RunNotFound):
            return False
        return True

    async def _stands_still(self, holder: Entrant) -> bool:
        header = await self._services.store.find(holder.run)
        return header is not None and header.state in (RunState.PAUSED, RunState.STUCK)

    async def _passed_over(self, at: State, holder: Entrant) -> State:
        """Let the next one have it, and this one, which has not entered, wait at the end."""
        later = replace(holder, since=self._services.clock.now())

        def change(state: State) -> State | None:
            if state.holder != holder or not (state.handed and state.line):
                return None
            state.line = [*state.line, later]
            _hand_on(state)
            return state

        return await self._store.change(at, change, self._services.unique())

    async def _gone(self, at: State) -> Entrant | None:
        """Who has the state, if that run, or task, has ended."""
        found = await self._store.find(at)
        holder = None if found is None else found.holder
        return holder if holder is not None and await self._is_over(holder) else None

    async def _is_over(self, holder: Entrant) -> bool:
        """Whether nobody leaves any more for who has the state."""
        store = self._services.store
        header = await store.find(holder.run)
        if header is None or header.state in TERMINAL:
            return True
        if not holder.task:
            return False
        now, settings = self._services.clock.now(), self._services.settings
        found = await store.operation(holder.run, holder.task)
        if found is not None and found.outcome is not None:
            return free_at(found, now, settings.lease, settings.skew) <= now
        if found is not None and not found.kind.traits.inline:
            return False
        # Of a lap that is over, nothing may be left to tell; of a step, only its history tells.
        long = settings.lease + settings.skew
        if is_past(header, holder.task) or now - holder.since <= long:
            return is_past(header, holder.task)
        with suppress(RunNotFound, CheckpointUnreadable):
            over = await self._over_since(header, holder.task)
            return over is not None and now - over > long
        return False

    async def _over_since(self, header: Header, step: str) -> Millis | None:
        """Since when a step is over, by a history that is read once as long as it stays the same.

        Raises `RunNotFound`, `CheckpointUnreadable`.
        """
        at, known = (header.run, step), self._known
        if at not in known or known[at][0] != header.mark:
            entries = (await self._services.store.newest(header)).entries
            known.pop(at, None)
            known[at] = (header.mark, _over_since(entries, step))
            while len(known) > MOST_KNOWN:
                del known[next(iter(known))]
        return known[at][1]

    def _encoded(self, at: State, value: Any) -> Value:
        json_of(value, "the value of a state", LARGEST)
        return self._codec(at).encode(value, key=at.key, purpose=Purpose.STATE)

    def _decoded(self, state: State) -> Any:
        if state.value is None:
            return None
        return self._codec(state).decode(state.value, key=state.key, purpose=Purpose.STATE)

    def _codec(self, at: State) -> RunCodec:
        whose = f"{at.tenant}:{at.name}" if at.tenant else at.name
        return RunCodec(self._services.secret, f"state:{whose}")


def _over_since(entries: Sequence[Entry], key: str) -> Millis | None:
    """Since when a step is over, as a history says; None: it is not, or nothing says so."""
    over: Millis | None = None
    clock: Millis = 0
    for entry in entries:
        clock = getattr(entry, "clock", clock)
        if getattr(entry, "key", "") == key:
            ended = isinstance(entry, Stepped) and entry.retry_at is None
            over = clock if ended or isinstance(entry, Withdrawn) else None
    return over


class _Leaving:
    """How a block leaves a state. `gone`: a holder that has ended, and is passed over."""

    def __init__(self, block: Block, value: Value | None, read: int | None) -> None:
        self._block, self._value, self._read = block, value, read
        self.gone: Entrant | None = None
        self.writes = False

    def change(self, state: State) -> State | None:
        """The state without this block; None: it has left before. Raises `RunConflict`."""
        block = self._block
        held = block.stands_for(state.holder)
        self.writes = False
        if not held and _has_left(state, block):
            return None
        if not held and self._value is not None:
            self._check(state)
        self.writes = self._value is not None
        if self._value is not None:
            state.value, state.version = self._value, state.version + 1
        state.line = [each for each in state.line if not block.stands_for(each)]
        state.left = [*(each for each in state.left if not each.startswith(block.mark)), block.left]
        state.left = state.left[-REMEMBERED:]
        if held or (self.writes and state.holder is not None):
            _hand_on(state)
        return state

    def _check(self, state: State) -> None:
        """Raise `RunConflict` unless the state is free, and as it was read."""
        what = f"the state {state.name}/{state.key}"
        told = "this block does not hold it (its run was forked or retried within it)"
        if state.holder is not None and state.holder != self.gone:
            raise RunConflict(f"run {state.holder.run!r} holds {what}, and {told}")
        if state.version != self._read:
            raise RunConflict(f"{what} was written since it was read, and {told}")


def _has_left(state: State, block: Block) -> bool:
    """Whether this block has left, or one in its place that came after it."""
    numbers = [int(m[len(block.mark) :]) for m in state.left if m.startswith(block.mark)]
    return any(number >= block.number for number in numbers)


def _entered(state: State, mine: Entrant, gone: Entrant | None) -> State | None:
    """The state, once this one has entered or stands in line; None: it is so already.

    `gone`: a holder that has ended, and is passed over.
    """
    passed = gone is not None and state.holder == gone
    if passed:
        _hand_on(state)
    if state.holder is None:
        state.holder, state.handed = mine, False
        return state
    there = [state.holder, *state.line]
    before = next((each for each in there if mine.is_of(each)), None)
    if before is None:
        if len(state.line) >= MOST_WAIT:
            raise RunConflict(f"{MOST_WAIT:,} wait for the state {state.name}/{state.key} already")
        state.line = [*state.line, mine]
    elif before.number < mine.number:
        state.holder, *state.line = [mine if each is before else each for each in there]
    elif not (passed or (before is state.holder and state.handed)):
        return None
    if mine.is_of(state.holder):
        state.handed = False  # it is in
    return state


def signal_of(token: str) -> str:
    """The name of the signal by which a state is handed on."""
    return f"{TURN}{token}"


def _hand_on(state: State) -> None:
    """Let the first in line have it."""
    state.holder = state.line[0] if state.line else None
    state.handed = bool(state.line)
    state.line = state.line[1:]
