"""Keyed states: parts of programs that have one meanwhile, and what must be true of states.

`["keyed", key, node]` counts a state up around the node, to whose value it comes. After every write
nobody has let go of a state but who held it, or whose run is over; and each block that has written
has read what the one before it wrote, so that a state counts how often it was written.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rewake.engine.outside.keyed import Block
from rewake.keyed import State
from rewake.stores.layout import Layout
from rewake.values.run_codec import RunCodec
from tests.simulation.generate import Drawn
from tests.simulation.programs import KEPT

if TYPE_CHECKING:
    from tests.simulation.known import Run
    from tests.simulation.world import World

KEYS = ("ann", "bob")


def with_states(drawn: Drawn, chance: random.Random) -> Drawn:
    """The program, in which some tasks and steps have a state to themselves."""
    program, right = drawn
    return _keyed(program, chance), right


def _keyed(node: Any, chance: random.Random) -> Any:
    match node:
        case ["task" | "step", *_, dict() as plan] if "hangs" not in plan and chance.random() < 0.5:
            return ["keyed", chance.choice(KEYS), node]
        case ["fan" | "keyed", *_]:
            return node
        case list():
            return [_keyed(part, chance) for part in node]
        case _:
            return node


class States:
    """The states as the writes tell them."""

    def __init__(self) -> None:
        self._known: dict[str, State] = {}

    def wrote(self, state: State, runs: Mapping[str, Run]) -> str:
        """What is wrong with a state that was written; empty: nothing."""
        before = self._known.get(state.key, State(state.name, state.key))
        self._known[state.key] = state
        if state.version < before.version:
            return f"the state {state.key} went back to version {state.version}"
        places = [(each.run, each.token) for each in (state.holder, *state.line) if each]
        if len({*places}) < len(places):
            return f"the state {state.key}: one has it, or waits for it, twice"
        old, new = before.holder, state.holder
        if old is None or old == new or runs[old.run].over:
            return ""
        if new is not None and new.is_of(old):
            return ""  # another attempt, or round, in its place
        if Block(state, old.run, old.token, old.number).left not in state.left:
            return f"the state {state.key} was taken from run {old.run}, which had it"
        return ""


async def miscounted(world: World) -> str:
    """What is wrong with the values of states; empty: nothing."""
    codec = RunCodec(world.secret, f"state:{KEPT}")
    for key in KEYS:
        place = Layout(world.base.spread).state(State(KEPT, key))
        state = world.opened(place, await world.base.get(place))
        if state is not None and state.value is not None:
            count = codec.decode(state.value, key=key, purpose="state")
            if count != state.version:
                return f"the state {key} was written {state.version} times, and counts {count}"
    return ""
