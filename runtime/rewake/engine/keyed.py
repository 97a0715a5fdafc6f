"""Keyed state: a small value under a name and a key, with one writer at a time.

1. One item has the value, who holds it, and who waits in line, in the order in which they came. All
   that is done is one conditional write of it, known by the writer's token.
2. A block of a run holds it, not a process: a run whose process dies goes on in another one and has
   it still. It lets go as it leaves the block, also if it is cancelled or fails. What a run held
   that was killed, or has ended otherwise, is taken by whoever comes next.
3. Who lets go hands the state to the first in line, in the same write, and then tells that one by a
   signal, known by its token. A death between the two is made good by the step that lets go, which
   runs again, or else by who waits: that looks again now and then, seldom and ever more seldom.
4. Entering is a step, so the value that was read is recorded; leaving is one too, and what is
   written is written once: a second time the token holds nothing any more. The newest tokens that
   left are kept, so that an attempt that was overtaken and comes late does not enter again.
5. A write from outside has no block: it is made on the version that was read, and while nobody
   holds the state.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rewake.engine.services import Services
from rewake.engine.signals import Signals
from rewake.errors import RunConflict, RunNotFound
from rewake.keyed import Entrant, State
from rewake.kinds import Purpose
from rewake.records import Value
from rewake.states import TERMINAL
from rewake.values.emitted import size_of
from rewake.values.run_codec import RunCodec

MOST_WAIT = 1_000
"""So many may wait in line."""
REMEMBERED = 64
"""Of so many that have left last it is known."""
KEEP = object()
"""Instead of a value: it stays as it is."""


class Entered(NamedTuple):
    """What came of an attempt to enter: whether it holds the state, its value, and who has it."""

    held: bool
    value: Any
    holder: str


class States:
    """The keyed states of one store, as one process acts on them."""

    def __init__(self, services: Services, signals: Signals) -> None:
        self._services = services
        self._store = services.store.keyed
        self._signals = signals

    async def read(self, name: str, key: str) -> tuple[Any, State] | None:
        """The value of a state, and what else is known of it; None: there is none."""
        found = await self._store.find(name, key)
        return None if found is None else (self._decoded(found), found)

    async def enter(self, name: str, key: str, run: str, token: str) -> Entered:
        """Hold a state for a block of a run, or stand in its line.

        Raises `RunConflict` if too many wait.
        """
        found = await self._store.find(name, key)
        gone = None
        if found is not None and found.holder is not None and await self._is_over(found.holder):
            gone = found.holder.token
        mine = Entrant(run, token, self._services.clock.now())

        def change(state: State) -> State | None:
            return None if token in state.left else _entered(state, mine, gone)

        state = await self._store.change(name, key, change, self._services.unique())
        held = state.holder is not None and state.holder.token == token
        if not held:
            await self._tell(state)
        holder = "" if state.holder is None else state.holder.run
        return Entered(held, self._decoded(state) if held else None, holder)

    async def leave(self, name: str, key: str, token: str, value: Any = KEEP) -> Entered:
        """Let go of a state, with another value; or leave its line. Tells who is next.

        `held`: it was held by this token, so that the value was written.
        """
        encoded = None if value is KEEP else self._encoded(name, key, value)
        held = False

        def change(state: State) -> State | None:
            nonlocal held
            held = state.holder is not None and state.holder.token == token
            if token in state.left:
                return None
            state.left = [*state.left, token][-REMEMBERED:]
            if not held:
                state.line = [each for each in state.line if each.token != token]
                return state
            if encoded is not None:
                state.value, state.version = encoded, state.version + 1
            _hand_on(state)
            return state

        state = await self._store.change(name, key, change, self._services.unique())
        await self._tell(state)
        return Entered(held, None, "" if state.holder is None else state.holder.run)

    async def write(self, name: str, key: str, value: Any, version: int | None) -> State:
        """Write a state from outside; with a `version`, only if it is still that one.

        Raises `RunConflict` if somebody holds it, or it is of another version.
        """
        encoded = self._encoded(name, key, value)
        held = await self._store.find(name, key)
        over = held is not None and held.holder is not None and await self._is_over(held.holder)

        def change(state: State) -> State:
            if state.holder is not None and not over:
                raise RunConflict(f"run {state.holder.run!r} holds the state {name}/{key}")
            if version is not None and state.version != version:
                told = f"the state {name}/{key} is of version {state.version}, not {version}"
                raise RunConflict(told)
            state.value, state.version = encoded, state.version + 1
            if state.holder is not None:
                _hand_on(state)
            return state

        state = await self._store.change(name, key, change, self._services.unique())
        await self._tell(state)
        return state

    async def remove(self, name: str, key: str) -> bool:
        """Remove a state that nobody holds. False: there is none. Raises `RunConflict`."""
        found = await self._store.find(name, key)
        if found is None:
            return False
        if found.holder is not None and not await self._is_over(found.holder):
            raise RunConflict(f"run {found.holder.run!r} holds the state {name}/{key}")
        if not await self._store.remove(found):
            raise RunConflict(f"the state {name}/{key} was changed meanwhile")
        return True

    async def _tell(self, state: State) -> None:
        """Tell who holds it now, again if need be; who has ended is passed over."""
        holder = state.holder
        if holder is None:
            return
        try:
            name = signal_of(holder.token)
            await self._signals.send(holder.run, name, None, id=name, by="state")
        except (RunConflict, RunNotFound):
            await self.leave(state.name, state.key, holder.token)

    async def _is_over(self, holder: Entrant) -> bool:
        header = await self._services.store.find(holder.run)
        return header is None or header.state in TERMINAL

    def _encoded(self, name: str, key: str, value: Any) -> Value:
        size_of(value)
        return self._codec(name).encode(value, key=key, purpose=Purpose.STATE)

    def _decoded(self, state: State) -> Any:
        if state.value is None:
            return None
        codec = self._codec(state.name)
        return codec.decode(state.value, key=state.key, purpose=Purpose.STATE)

    def _codec(self, name: str) -> RunCodec:
        return RunCodec(self._services.secret, f"state:{name}")


def _entered(state: State, mine: Entrant, gone: str | None) -> State | None:
    """The state, once this one has entered or stands in line; None: it is so already.

    `gone`: the token of a holder that has ended.
    """
    passed = state.holder is not None and state.holder.token == gone
    if passed:
        _hand_on(state)
    if state.holder is None:
        state.holder = mine
        return state
    if mine.token in (each.token for each in (state.holder, *state.line)):
        return state if passed else None
    if len(state.line) >= MOST_WAIT:
        raise RunConflict(f"{MOST_WAIT:,} wait for the state {state.name}/{state.key} already")
    state.line = [*state.line, mine]
    return state


def signal_of(token: str) -> str:
    """The name, and the id, of the signal by which a state is handed on."""
    return f"state:{token}"


def _hand_on(state: State) -> None:
    """Let the first in line have it."""
    state.holder = state.line[0] if state.line else None
    state.line = state.line[1:]
