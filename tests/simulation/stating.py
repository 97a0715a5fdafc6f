"""Keyed states: parts of programs that have one meanwhile, and what must be true of states.

`["keyed", key, node]` counts a state up around the node, to whose value it comes. After every write
nobody has let go of a state but who held it, or whose run is over; and each block that has written
has read what the one before it wrote, so that a state counts how often it was written. Tasks have
states of their own (`holds`), which people outside of all runs count up too.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rewake import state, task
from rewake.engine.outside.keyed import Block
from rewake.keyed import State
from rewake.stores.layout import Layout
from rewake.values.run_codec import RunCodec
from tests.simulation.generate import Drawn
from tests.simulation.programs import HOLDING, KEPT, NEVER, body

if TYPE_CHECKING:
    from tests.simulation.known import Run
    from tests.simulation.world import World

KEYS, OF_TASKS = ("ann", "bob"), ("cid", "dan")
_LOSING = ("race", "first", "duel", "timeout", "deadline")
"""Where a task may be withdrawn, whose process has died: it has its state until its run is over."""


async def holding(name: str, plan: dict[str, Any], argument: Any) -> Any:
    """What a task does that has a state to itself meanwhile, and counts it up."""
    async with state(KEPT, plan["holds"], timeout=NEVER) as held:
        value = await body(name, plan, argument)
        held.value = (held.value or 0) + 1
    return value


@task
async def work_holding(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await holding(name, plan, argument)


@task(retries=1, delay=0.3)
async def retried_holding(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await holding(name, plan, argument)


HOLDING |= {"work": work_holding, "retried": retried_holding}


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


def with_holders(whole: Drawn, chance: random.Random) -> Drawn:
    """The program, in which some tasks have a state to themselves while an attempt goes on."""
    program, right = whole
    return _holding(program, chance), right


def _holding(node: Any, chance: random.Random) -> Any:
    match node:
        case ["task", "work" | "retried" as kind, str() as name, dict() as plan]:
            other = {"hangs", "tag", "feed", "kills"} & plan.keys()
            if other or plan.get("fails", 0) < 0 or chance.random() < 0.3:
                return node
            return ["task", kind, name, {**plan, "holds": chance.choice(OF_TASKS)}]
        case [str() as kind, *_] if kind in _LOSING:
            return node
        case ["fan" | "keyed" | "block", *_]:
            return node
        case list():
            return [_holding(part, chance) for part in node]
        case _:
            return node


class States:
    """The states as the writes tell them. `used`: how often by whom."""

    def __init__(self) -> None:
        self._known: dict[str, State] = {}
        self.used = Counter[str]()

    def version(self, key: str) -> int:
        """The newest version of a state that was written."""
        return 0 if key not in self._known else self._known[key].version

    def wrote(self, state: State, runs: Mapping[str, Run]) -> str:
        """What is wrong with a state that was written; empty: nothing."""
        before = self._known.get(state.key, State(state.name, state.key))
        self._known[state.key] = state
        if state.version < before.version:
            return f"the state {state.key} went back to version {state.version}"
        if state.version > before.version:
            self.used["state" if before.holder else "state from outside"] += 1
            self.used["state of a task"] += state.key in OF_TASKS and before.holder is not None
        places = [(each.run, each.token) for each in (state.holder, *state.line) if each]
        if len({*places}) < len(places):
            return f"the state {state.key}: one has it, or waits for it, twice"
        old, new = before.holder, state.holder
        if old is None or old == new or runs[old.run].over:
            return ""
        if new is not None and new.is_of(old):
            return ""  # another attempt, or round, in its place
        if before.handed and any(each.is_of(old) for each in state.line):
            return ""  # it stood still, and had not entered: it waits at the end again
        task = runs[old.run].operations.get(old.task)
        over = task is not None and task.outcome is not None  # it died before it left the block
        if not over and Block(state, old.run, old.token, old.number).left not in state.left:
            return f"the state {state.key} was taken from run {old.run}, which had it"
        return ""


async def miscounted(world: World) -> str:
    """What is wrong with the values of states; empty: nothing."""
    codec = RunCodec(world.secret, f"state:{KEPT}")
    for key in (*KEYS, *OF_TASKS):
        place = Layout(world.base.spread).state(State(KEPT, key))
        state = world.opened(place, await world.base.get(place))
        if state is not None and state.value is not None:
            count = codec.decode(state.value, key=key, purpose="state")
            if count != state.version:
                return f"the state {key} was written {state.version} times, and counts {count}"
    return ""
