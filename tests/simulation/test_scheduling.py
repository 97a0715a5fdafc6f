"""Schedules under faults: no nominal time has two runs, none is lost, and mutants are noticed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

import pytest

from rewake.engine.schedules import scheduler
from rewake.engine.schedules.scheduler import Scheduler
from rewake.errors import StoreUnavailable
from rewake.ledger import Schedule
from rewake.schedules.definition import run_of_moment, times_of
from rewake.stores.schedules import Schedules
from tests.simulation.scheduling import simulate

SEEDS = range(12)
LOOKED_FOR = range(60)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_nominal_time_has_a_run_or_a_reason(seed: int) -> None:
    """Whatever dies, stands still, lies or has a wrong clock."""
    assert simulate(seed) == []


@contextmanager
def names_runs_anew() -> Iterator[None]:
    """The id of a run does not follow from its nominal time."""
    number = iter(range(10**6))

    def anew(schedule: Schedule, _: int) -> str:
        return f"{schedule.name}:{next(number)}"

    with patch.object(scheduler, "run_of_moment", anew):
        yield


@contextmanager
def takes_it_for_ever() -> Iterator[None]:
    """A schedule that is taken is not due again, should who has it die."""
    change = Schedules.change

    async def careless(
        self: Schedules, seen: Schedule, mark: str, changes: Mapping[str, Any]
    ) -> Schedule | None:
        only_due = set(changes) == {"due", "taken"}
        return await change(self, seen, mark, {"due": None} if only_due else changes)

    with patch.object(Schedules, "change", careless):
        yield


@contextmanager
def starts_runs_later() -> Iterator[None]:
    """A schedule moves on before its run is started."""
    start: Callable[..., Awaitable[str]] = Scheduler._start
    later: set[asyncio.Future[Any]] = set()

    async def hasty(self: Scheduler, look: Any, moment: int) -> str:
        async def begin() -> None:
            await asyncio.sleep(5)
            with suppress(StoreUnavailable):
                await start(self, look, moment)

        later.add(asyncio.ensure_future(begin()))
        return run_of_moment(look.seen, moment)

    with patch.object(Scheduler, "_start", hasty):
        yield


@contextmanager
def lets_runs_overlap() -> Iterator[None]:
    """The run before is not looked at."""

    async def never(*_: object) -> None: ...

    with patch.object(Scheduler, "_going_on", never):
        yield


@contextmanager
def catches_nothing_up() -> Iterator[None]:
    """What is late is passed over, and nobody is told why."""

    async def silent(_: Scheduler, look: Any, first: int) -> bool:
        times = times_of(look.seen)
        while look.next is not None and look.next < look.now - 20_000:
            look.pass_on(times.after(look.next))
        return bool(look.next != first)

    with patch.object(Scheduler, "_pass_over", silent):
        yield


@contextmanager
def forgets_who_took_it() -> Iterator[None]:
    """What is late is passed over, though somebody who took it in time may have started it."""

    async def never(*_: object) -> bool:
        return False

    with patch.object(Scheduler, "_is_begun", never):
        yield


@pytest.mark.parametrize(
    ("mutant", "witness"),
    [
        (names_runs_anew, 0),
        (takes_it_for_ever, 3),
        (starts_runs_later, 2),
        (lets_runs_overlap, 4),
        (catches_nothing_up, 0),
        (forgets_who_took_it, 4000104),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_mutant_is_noticed(mutant: Callable[[], Any], witness: int) -> None:
    """A scheduler that is broken so is found out: by its witness, or else by one of the first."""
    with mutant():
        assert any(simulate(seed) for seed in (witness, *LOOKED_FOR))
