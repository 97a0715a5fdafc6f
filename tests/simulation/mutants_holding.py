"""Mutants of who holds what: leases, deaths, slots, ends from outside, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from rewake.engine.handover.blocking import Block
from rewake.engine.instances.cache import Kept
from rewake.engine.process.heart import Heart
from rewake.engine.process.slots import Slots
from rewake.engine.services import Services
from rewake.engine.sweeping import sweeper
from rewake.engine.sweeping.deaths import Deaths
from rewake.engine.sweeping.sweeper import Sweeper
from rewake.engine.turns.instance import Instance
from rewake.engine.turns.turn import Turn
from rewake.errors import RunConflict
from rewake.ledger import Process
from rewake.records import (
    Failure,
    Header,
    Millis,
    Operation,
)
from rewake.replay.execution import Execution
from rewake.states import MOVES, Move
from rewake.stores import operations
from rewake.stores.history import History
from rewake.stores.keys import header_key, process_key
from rewake.stores.processes import REST
from rewake.stores.protocol import Store
from rewake.stores.suspects import CLEARED
from rewake.stores.table import Due
from rewake.stores.writes import FORCE, UNOWNED, begins
from tests.simulation import world as simulated
from tests.simulation.mutants import Mutant


@contextmanager
def takes_no_death_back() -> Iterator[None]:
    """A holder that wakes up says nothing, and stays a death of what was taken from it."""

    async def silent(self: Store, *_: str) -> None:
        pass

    with patch.object(Store, "absolve", silent), patch.object(Store, "absolve_task", silent):
        yield


@contextmanager
def strikes_at_a_hand_over() -> Iterator[None]:
    """All that a blocked process hands over is blamed, not the culprit alone."""

    async def blaming(services: Services, block: Block | None, reason: str) -> None:
        store, now = services.store, services.clock.now()
        for (run, key), owner in services.attempts.copy().items():
            await store.lose_task(run, key, owner, now, Failure("blocked", reason))
        for run, turn in services.turns.copy().items():
            await store.lose(run, turn.owner, now, reason)

    with patch.object(simulated, "hand_over", blaming):
        yield


@contextmanager
def kills_without_cancelling() -> Iterator[None]:
    """What a killed run waits for stays open."""

    async def careless(self: Store, run: str, history: History, now: Millis) -> None:
        await self.cancel_withdrawn(run, history, now)

    with patch.object(Store, "cancel_open", careless):
        yield


@contextmanager
def kills_the_name_only() -> Iterator[None]:
    """A kill leaves the run to its holder, who is not fenced and goes on to the end."""
    held_by, update = Store._held_by, Store._update

    def fence(self: Store, owner: str) -> Any:
        return [check for check in held_by(self, owner) if check.attribute != "state"]

    async def lenient(self: Store, key: Any, **changes: Any) -> Any:
        new = changes.get("set") or {}
        if new.get("state") is MOVES[Move.KILL].target and "cancel" in new:
            changes["set"] = {k: v for k, v in new.items() if k not in UNOWNED}
        return await update(self, key, **changes)

    with patch.object(Store, "_held_by", fence), patch.object(Store, "_update", lenient):
        yield


@contextmanager
def waits_on_the_recorded_clock() -> Iterator[None]:
    """Waits are measured on the clock that never goes back, and so stand with it."""

    def now(self: Turn, execution: Execution) -> Millis:
        return max(self._services.clock.now(), execution.machine)

    with patch.object(Turn, "_now", now):
        yield


@contextmanager
def never_looks_again() -> Iterator[None]:
    """A body begins under a claim, or goes on under a lease, that may be over."""
    with patch.object(Heart, "_is_late", lambda self, hold: False):
        yield


@contextmanager
def begins_what_it_has_handed_over() -> Iterator[None]:
    """A loop that goes on after a hand-over begins what it had claimed just before."""
    with patch.object(Heart, "give_up", lambda self, owner: None):
        yield


@contextmanager
def takes_from_the_living() -> Iterator[None]:
    """Who takes over does not mark the process dead first: it may renew, and go on beside."""

    async def bury(self: Store, found: Process, now: Millis) -> bool:
        return found.dead or found.lease < now - self._margin

    with patch.object(Store, "bury", bury):
        yield


@contextmanager
def takes_at_the_first_look() -> Iterator[None]:
    """A lease that is over is taken at once, by whoever reaches the store first after an outage."""

    async def is_over(self: Store, item: Header | Operation | Process, now: Millis) -> bool:
        return item.lease < now - self._margin

    with patch.object(Store, "_is_over", is_over):
        yield


@contextmanager
def renews_when_dead() -> Iterator[None]:
    """A process that was marked dead renews its lease all the same."""

    async def renew(
        self: Store, name: str, where: str, now: Millis, lease: Millis, *, new: bool = False
    ) -> bool:
        alive = {"lease": now + lease, "due": now + lease, "dead": False}
        made = Process(name, where) if new else None
        return (await self._update(process_key(name), set=alive, create=made)).ok

    with patch.object(Store, "renew_process", renew):
        yield


@contextmanager
def looks_for_nothing() -> Iterator[None]:
    """What a dead process held is found when it is due by itself."""

    async def nothing(self: Deaths, *_: object) -> list[Due]:
        return []

    with patch.object(Deaths, "_made_due", nothing):
        yield


@contextmanager
def leaves_outcomes_to_the_far_future() -> Iterator[None]:
    """An outcome of what a process held stays due when that would have been looked at."""
    with patch.object(operations, "SOON", REST):
        yield


@contextmanager
def beats_in_the_loop() -> Iterator[None]:
    """Leases are renewed in the event loop, and run out while it stands still."""

    async def at_home(self: simulated.Replica) -> None:
        await self._beat()

    with patch.object(simulated.Replica, "_beat_apart", at_home):
        yield


@contextmanager
def resumes_and_denies_it() -> Iterator[None]:
    """A resuming that was reported as failure is refused, for the run is not stuck any more."""

    async def resume(self: Store, run: str, now: Millis) -> Header:
        new = {"state": MOVES[Move.RESUME].target, "due": now, **CLEARED, "error": ""}
        written = await self._update(header_key(run), when=[[begins(Move.RESUME)]], set=new)
        if not written.ok:
            raise RunConflict(f"run {run!r} is not stuck")
        header: Header = written.item
        return header

    with patch.object(Store, "resume", resume):
        yield


@contextmanager
def cancels_twice() -> Iterator[None]:
    """A request to cancel that was reported as failure is a second one."""

    async def cancel(self: Store, run: str, reason: str, now: Millis) -> Header:
        written = await self._update(
            header_key(run),
            when=[[begins(Move.CANCEL)]],
            set={"cancel": reason, "due": now},
            add={"cancels": 1, "arrivals": 1, "gap": -FORCE},
        )
        header: Header = written.item
        return header

    with patch.object(Store, "cancel", cancel):
        yield


@contextmanager
def claims_more_than_slots() -> Iterator[None]:
    """As many tasks are claimed as there are, whatever room there is."""

    def reserve(self: Slots, wanted: int) -> int:
        self.free -= wanted
        return wanted

    with patch.object(Slots, "reserve", reserve):
        yield


@contextmanager
def sweeps_without_a_pause() -> Iterator[None]:
    """A sweep follows the other."""
    sweep = Sweeper.sweep

    async def restless(self: Sweeper) -> None:
        for _ in range(3):
            await sweep(self)

    with patch.object(Sweeper, "sweep", restless):
        yield


@contextmanager
def begins_what_is_suspected_at_once() -> Iterator[None]:
    """Suspects do not wait for each other, and none is ever blamed."""
    renew: Mapping[str, Any] = {"apart": False}
    update = Store._update

    async def together(self: Store, key: Any, **changes: Any) -> Any:
        if "apart" in (changes.get("set") or ()):
            changes["set"] = {**changes["set"], **renew}
        return await update(self, key, **changes)

    run_claim = Services.run_claim
    task_claim = Services.task_claim

    def run(self: Services, run: str) -> Any:
        return msgspec.structs.replace(run_claim(self, run), apart=True)

    def task(self: Services, run: str, asked: Any) -> Any:
        return msgspec.structs.replace(task_claim(self, run, asked), apart=True)

    with (
        patch.object(Store, "_update", together),
        patch.object(Services, "run_claim", run),
        patch.object(Services, "task_claim", task),
    ):
        yield


@contextmanager
def follows_without_numbers() -> Iterator[None]:
    """An instance that was behind does not read which numbers others gave to attempts at steps."""
    follow = Instance._follow

    async def careless(self: Instance, kept: Kept, header: Header) -> bool:
        followed = await follow(self, kept, header)
        self.steps = {}
        return followed

    with patch.object(Instance, "_follow", careless):
        yield


@contextmanager
def trusts_what_was_sent() -> Iterator[None]:
    """What was sent ahead is not looked at again: a queue loses nothing, it thinks."""

    def trusting(header: Header, _: Millis) -> Millis | None:
        return None if header.sent == header.wake else header.wake

    with patch.object(sweeper, "look_at", trusting):
        yield


HOLDING: Sequence[Mutant] = (
    trusts_what_was_sent,
    takes_no_death_back,
    begins_what_it_has_handed_over,
    strikes_at_a_hand_over,
    kills_without_cancelling,
    kills_the_name_only,
    waits_on_the_recorded_clock,
    never_looks_again,
    takes_from_the_living,
    takes_at_the_first_look,
    renews_when_dead,
    looks_for_nothing,
    leaves_outcomes_to_the_far_future,
    beats_in_the_loop,
    resumes_and_denies_it,
    cancels_twice,
    claims_more_than_slots,
    sweeps_without_a_pause,
    begins_what_is_suspected_at_once,
    follows_without_numbers,
)
