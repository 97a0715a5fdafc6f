"""Machines that call: programs that wait for them, drawn apart, and what the machines do.

What a machine does is in the name of the callback: `PLAN-VALUE`.

    yes     it completes it, at some time
    atonce  it completes it as soon as it knows the address, before it is awaited
    fail    it says that it failed
    twice   it completes it, then tries to complete it otherwise, and asks again
    beats   it beats for longer than it may be silent, then completes it
    stops   it beats for a while, and is not heard of any more
    edge    it calls at about the deadline, or beats until about then
    never   it is not heard of: its time is over, or its silence is too long
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from rewake.authoring.callback import asked_of
from rewake.authoring.linking import link_of
from rewake.engine.outside.callbacks import Callbacks
from rewake.errors import LinkExpired, NotYet, RunConflict, StoreError
from rewake.kinds import OutcomeKind
from rewake.records import Scheduled
from rewake.signing.links import Links, LinkUse
from rewake.values.run_codec import RunCodec
from tests.simulation.generate import Drawn, Err
from tests.simulation.programs import NEVER
from tests.simulation.world import SECRET, World

if TYPE_CHECKING:
    from tests.simulation.judge import Judge

PASSING = (StoreError, NotYet)
OVER = (LinkExpired, RunConflict)


_PLANS = ("yes", "yes", "atonce", "fail", "twice", "never", "stops", "edge")

# --- programs ----------------------------------------------------------------------------------


def with_calls(drawn: Drawn, chance: random.Random) -> Drawn:
    """The program, beside or behind one or two that wait for a machine."""
    program, right = drawn
    plans = [*_PLANS, "beats"]
    for number in range(chance.randint(1, 2)):
        node, value = _call(f"c{number}", chance.choice(plans), chance)
        if "beats" in str(node):
            plans.remove("beats")  # it takes long
        kind = chance.choice((["seq"], ["gather", False]))
        program = [*kind, node, program]
        right = right if isinstance(right, Err) else [value, right]
    return program, right


def unbeaten(program: Any) -> Any:
    """The program without machines that beat: where clocks jump, or nobody can be reached for a
    minute, they are silent although they are not.
    """
    match program:
        case ["call", str() as name, options] if name.startswith("beats-"):
            return ["call", name.replace("beats", "yes"), {**options, "silence": None}]
        case list():
            return [unbeaten(part) for part in program]
        case _:
            return program


def _call(name: str, plan: str, chance: random.Random) -> Drawn:
    options: dict[str, Any] = {"timeout": chance.choice((None, NEVER))}
    if chance.random() < 0.5 or plan == "atonce":
        options["early"] = chance.choice((20, 300, 2001))
    match plan:
        case "never":
            ends = ({"timeout": 0.7}, {"timeout": 3}, {"silence": 1}, {"silence": 4})
            options |= chance.choice(ends)
            return ["call", f"never-{name}", options], ["call", name, "late"]
        case "stops":
            options["silence"] = 4
            return ["call", f"stops-{name}", options], ["call", name, "late"]
        case "edge":
            options |= chance.choice(({"timeout": 3}, {"silence": 3}))
            return ["call", f"edge-{name}", options], "~"
        case "beats":
            options["silence"] = 90
        case "fail":
            return ["call", f"fail-{name}", options], ["call", name, "Declined"]
        case _ if chance.random() < 0.3:
            options["silence"] = NEVER
    return ["call", f"{plan}-{name}", options], ["call", name, name]


# --- machines ----------------------------------------------------------------------------------


class Machine:
    """The machine that one callback was handed to."""

    def __init__(self, world: World, judge: Judge, run: str, asked: Scheduled) -> None:
        assert asked.args is not None
        self._world = world
        self._judge = judge
        self._run = run
        self._key = asked.key
        self._due = asked.due
        self._plan, _, self._value = asked.name.partition("-")
        self._asked = asked_of(RunCodec(SECRET, run), asked.key, asked.args)
        link = link_of(self._asked.link, LinkUse.CALLBACK, run, asked.key)
        self._token = Links(SECRET).token(link)

    async def call(self) -> None:
        """Do as its plan says; what is over is over."""
        chance = self._world.random
        try:
            match self._plan:
                case "never":
                    return
                case "stops":
                    await self._beat(times=chance.randint(1, 4), pause=1.5)
                    return
                case "beats":
                    await self._beat(times=32, pause=3.0)
                case "edge":
                    await self._wait_for_the_edge()
                case "atonce":
                    pass
                case _:
                    await asyncio.sleep(chance.choice((0.0, 0.001, 0.05, 1.0, 4.0)))
            await self._end()
        except OVER as error:
            self._world.trace("--", "refused", f"{self._run} {self._key}", str(error))

    async def _beat(self, *, times: int, pause: float) -> None:
        for _ in range(times):
            await asyncio.sleep(pause)
            await self._world.insist(lambda e: Callbacks(e).heartbeat(self._token), *PASSING)

    async def _wait_for_the_edge(self) -> None:
        chance = self._world.random
        if self._due is not None:
            left = (self._due - self._world.true_now()) / 1000
            early = chance.choice((0.3, 0.05, 0.001, 0, -0.002, -0.1))
            await asyncio.sleep(max(0.0, left - early))
        else:
            await self._beat(times=chance.randint(1, 3), pause=chance.choice((2.5, 2.95, 3.0)))
            await asyncio.sleep(chance.choice((2.9, 2.999, 3.0, 3.2)))

    async def _end(self) -> None:
        if self._plan == "fail":
            await self._world.insist(
                lambda e: Callbacks(e).fail(self._token, "Declined", self._value), *PASSING
            )
            return
        await self._complete(self._value)
        self._judge.approved.add((self._run, self._key))
        if self._plan == "twice":
            await self._say_again()

    async def _say_again(self) -> None:
        try:
            await self._complete("another")
        except OVER:
            pass
        else:
            self._world.watch.fail(f"run {self._run}: {self._key} was completed twice")
        await self._complete(self._value)

    async def _complete(self, value: str) -> None:
        act = lambda e: Callbacks(e).complete(self._token, value)  # noqa: E731
        decided = await self._world.insist(act, *PASSING)
        assert decided is OutcomeKind.OK
