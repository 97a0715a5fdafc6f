"""One simulation: let the world of a case run, and say how it went."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rewake.app import App
from rewake.engine.turns.commits import FAILED_LOG
from rewake.states import RunState
from rewake.stores.sqlite.table import SqliteTable
from rewake.stores.table import Spread
from rewake.testing.loop import Spinning, VirtualLoop
from tests.simulation import circling, crowding, programs
from tests.simulation.case import Case, case_of
from tests.simulation.costs import too_many, units_of
from tests.simulation.faults import POSTGRES, TRANSACTIONS
from tests.simulation.happenings import happened
from tests.simulation.outside import Outside
from tests.simulation.removing import archives, settings_of
from tests.simulation.world import EPOCH, World
from tests.support.counting import CountingTable
from tests.support.small_dynamodb import SmallDynamo
from tests.support.small_table import SmallTable
from tests.support.stores import WholeTable

APP = App(programs, crowding, circling)


SEALED = "sealed"
"""The table in memory, on which what users store passes a codec."""
DYNAMODB = "dynamodb"
"""The table that a server has, on a DynamoDB that is evaluated in this process."""


@dataclass
class Verdict:
    """How a simulation went. `broken` is empty if every promise was kept."""

    seed: int
    store: str
    broken: list[str]
    fired: Counter[tuple[str, str]]
    digest: str
    trace: list[str]
    seconds: float
    crashes: int
    calls: int
    states: dict[str, RunState]
    units: Counter[str]


def simulate(case: Case) -> Verdict:
    """Let it happen."""
    with table_of(case) as (base, loop), quiet() as errors:
        world = World(
            loop,
            APP,
            base,
            case.chaos,
            settings=settings_of(case),
            seed=case.seed,
            local=case.local,
            replicas=max(case.replicas, len(case.roles)),
            roles=case.roles,
            transactions=case.store in TRANSACTIONS,
            jumpy=case.jumpy,
            sealed=case.store == SEALED,
            queued=case.queued,
        )
        world.replaces = case.replaces
        world.archives = archives(case)
        outside = Outside(case, world)
        try:
            asyncio.set_event_loop(loop)
            programs.WORLD.append(world)
            loop.run_until_complete(outside.run())
        except Spinning:
            world.watch.fail("something spins, and time stands still")
        finally:
            told = list(errors)  # what coroutines say that are closed below is of no process
            asyncio.set_event_loop(None)
            programs.WORLD.clear()
            world.close()
            loop.run_until_complete(base.close())
            loop.close()
    units = units_of(world)
    broken = [*world.watch.broken, *(f"logged: {error}" for error in told)]
    broken += [] if case.keyed else too_many(world, units)  # a start by a key reads what it needs
    states = {name: run.header.state for name, run in world.watch.runs.items()}
    return Verdict(
        case.seed,
        case.store,
        broken,
        case.chaos.fired + case.chaos.on + happened(world),
        world.digest(),
        world.lines,
        loop.seconds,
        world.crashes,
        sum(case.chaos.calls.values()),
        states,
        units,
    )


@contextlib.contextmanager
def table_of(case: Case) -> Iterator[tuple[WholeTable, VirtualLoop]]:
    """A loop, and the table that everything of this simulation shares."""
    loop = VirtualLoop()
    if case.store == POSTGRES:
        from tests.simulation.postgres import SharedPostgres  # noqa: PLC0415 - it starts a server

        yield SharedPostgres(), loop
        return
    if case.store == DYNAMODB:
        yield _small_dynamodb(case, loop), loop
        return
    if case.store != "sqlite":
        # Spread from the second of a name on, so that small programs are wide.
        spread, now = Spread(3, first=1), lambda: EPOCH + int(loop.seconds * 1000)
        yield CountingTable(now=now, lag=case.lag, spread=spread), loop
        return
    folder = tempfile.mkdtemp(dir=_RAM)
    table = SqliteTable(Path(folder) / "db", threaded=False, durable=False)
    try:
        yield table, loop
    finally:
        shutil.rmtree(folder)


def _small_dynamodb(case: Case, loop: VirtualLoop) -> SmallTable:
    """The real table on a small DynamoDB, which is throttled in some of the cases."""
    chance = random.Random(f"dynamodb/{case.seed}")
    return SmallTable(
        SmallDynamo(
            now=lambda: EPOCH + int(loop.seconds * 1000),
            lag=case.lag,
            chance=chance,
            busy=chance.choice((0.0, 0.0, 0.01, 0.05)),
        ),
        chance,
    )


_RAM = "/dev/shm" if Path("/dev/shm").is_dir() else None


@contextlib.contextmanager
def quiet() -> Iterator[list[str]]:
    """Keep the engine's log to itself; what it calls an error is collected."""
    errors: list[str] = []
    expected = ("is stuck", "has no task")

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage()
            failed = record.name == FAILED_LOG
            if not failed and not any(each in message for each in expected):
                error = record.exc_info[1] if record.exc_info else None
                errors.append(f"{message} ({error!r})")

    logger = logging.getLogger("rewake")
    handler = Collect(logging.ERROR)
    before = logger.level, logger.propagate
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield errors
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def run_seed(seed: int, store: str) -> Verdict:
    """The simulation of one seed."""
    return simulate(case_of(seed, store))
