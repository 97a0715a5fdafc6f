"""What is held for long by one lease of its process: what that costs, and what its death costs."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from rewake import sleep, step, task, workflow
from rewake.engine.engine import Engine
from rewake.ledger import Process
from rewake.records import Header, Operation
from rewake.stores.keys import header_key, operation_key, process_key
from rewake.stores.processes import KEPT, REST
from rewake.stores.table import Key
from tests.support.counting import CountingTable
from tests.support.emptied import emptied
from tests.support.virtual import TABLES, Bench, die, virtually

LEASE, SWEEP = 5, 1
begun: Counter[str] = Counter()
everywhere = pytest.mark.parametrize("table", TABLES)
_emptied = emptied(begun)


async def inline(seconds: float) -> str:
    begun["step"] += 1
    await asyncio.sleep(seconds)
    return "step"


@task
async def long(seconds: float) -> str:
    begun["task"] += 1
    await asyncio.sleep(seconds)
    return "task"


@workflow
async def steps(seconds: float) -> str:
    return await step("inline", lambda: inline(seconds))


@workflow
async def tasks(n: int, seconds: float) -> int:
    return len(await asyncio.gather(*(long(seconds) for _ in range(n))))


@workflow
async def one(seconds: float) -> str:
    return await long(seconds)


@workflow
async def waits(seconds: float) -> str:
    await sleep(seconds)
    return "slept"


members = [long, steps, tasks, one, waits]


async def item(bench: Bench, key: Key) -> Any:
    return await bench.table.get(key)


async def the_process(bench: Bench, engine: Engine) -> Process | None:
    found: Process | None = await bench.table.get(process_key(engine.services.heart.name))
    return found


def units(runs: int, work: str = "steps", **how: int) -> tuple[int, int]:
    """Units of so many that are begun once the process holds one, and units until ten leases on."""
    table = CountingTable()
    counted: list[int] = []

    async def body(bench: Bench) -> None:
        await bench.start("steps", seconds=100.0)
        await asyncio.sleep(LEASE)
        table.count_anew()
        for _ in range(runs):
            await bench.start(work, seconds=90.0, **how)
        await asyncio.sleep(0.5)
        counted.append(table.units)
        if work == "tasks":
            await asyncio.sleep(2 * LEASE)  # each is given to the process, once
        table.count_anew()
        await asyncio.sleep(10 * LEASE)
        counted.append(table.units)
        assert begun == {"step": 1, **({"task": how["n"]} if how else {"step": 1 + runs})}
        begun.clear()

    virtually(members, body, table=table, tasks=500)
    return counted[0], counted[1]


def test_long_steps_cost_what_their_process_costs() -> None:
    """In ten leases, any number of runs in a long step costs the same few writes, no more."""
    (few, held), (many, held_by_many) = units(10), units(300)
    assert few / 10 >= many / 300
    assert held == held_by_many <= 10 * 6


def test_long_tasks_cost_what_their_process_costs() -> None:
    """Once each is given to the process, it costs no more."""
    (_, held), (_, held_by_many) = units(1, "tasks", n=10), units(1, "tasks", n=300)
    assert held == held_by_many <= 10 * 6


def test_what_is_long_is_given_to_its_process_once() -> None:
    """The first of a process, begun before it has a lease: one write each, and two of the index."""
    table = CountingTable()

    async def body(bench: Bench) -> None:
        for _ in range(200):
            await bench.start("steps", seconds=90.0)
        table.count_anew()
        await asyncio.sleep(10 * LEASE)
        assert table.units <= 200 * 3 + 10 * 6
        assert begun == {"step": 200}

    virtually(members, body, table=table)


@everywhere
def test_what_a_dead_process_held_is_begun_within_a_lease(table: str) -> None:
    """All of it, however long it was held and whenever it would have been looked at."""

    async def body(bench: Bench) -> None:
        runs = [(await bench.start("steps", seconds=40.0)).run for _ in range(3)]
        runs.append((await bench.start("tasks", n=3, seconds=40.0)).run)
        await asyncio.sleep(3 * LEASE)
        runs.append((await bench.start("steps", seconds=40.0)).run)  # the process has a lease
        await asyncio.sleep(0.2)
        other = bench.another()
        other.open()
        header: Header = await item(bench, header_key(runs[0]))
        late: Header = await item(bench, header_key(runs[-1]))
        name = bench.engine.services.heart.name
        assert [header.process, late.process] == [name, name]
        assert header.due is not None
        assert header.due > bench.engine.services.clock.now() + REST / 2
        die(bench.engine)
        bench.engine = other
        await asyncio.sleep(LEASE + 2 * SWEEP + 0.5)
        assert begun == {"step": 8, "task": 6}
        for run in runs:
            await bench.result(run)
        assert begun == {"step": 8, "task": 6}

    virtually(members, body, table=table)


@everywhere
def test_a_dead_process_is_forgotten_after_a_day(table: str) -> None:
    """It is looked for what it held twice, and then its item is removed."""

    async def body(bench: Bench) -> None:
        await bench.start("steps", seconds=20.0)
        await asyncio.sleep(LEASE)
        other, name = bench.another(), bench.engine.services.heart.name
        die(bench.engine)
        other.open()
        bench.engine = other
        await asyncio.sleep(2 * LEASE + 4 * SWEEP)
        dead: Process = await item(bench, process_key(name))
        assert (dead.dead, dead.looks) == (True, 2)
        now = other.services.clock.now()
        assert dead.due is not None
        assert KEPT - 3 * LEASE * 1000 < dead.due - now <= KEPT
        await bench.table.update(process_key(name), set={"due": now})  # the day has passed
        await asyncio.sleep(2 * SWEEP)
        assert await item(bench, process_key(name)) is None

    virtually(members, body, table=table)


def test_a_process_that_closes_leaves_no_item() -> None:
    """What it held is released, and named no more."""

    async def body(bench: Bench) -> None:
        other = bench.another()
        other.open()
        run = (await other.start("steps", {"seconds": 30.0}))[0].run
        await asyncio.sleep(LEASE)
        name = other.services.heart.name
        assert await the_process(bench, other) is not None
        await other.close(grace=0.0)
        assert await item(bench, process_key(name)) is None
        assert (await item(bench, header_key(run))).process == ""
        assert await bench.result(run) == "step"

    virtually(members, body)


@everywhere
def test_who_looks_at_one_run_only_finds_that_its_holder_died(table: str) -> None:
    """It sees no process in the due index, and asks for the one that its run names."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("steps", seconds=20.0)).run
        await asyncio.sleep(2 * LEASE)
        other = bench.another()
        die(bench.engine)
        other.open(only=run)
        bench.engine = other
        await asyncio.sleep(2 * LEASE)
        assert begun["step"] == 2
        assert await bench.result(run) == "step"

    virtually(members, body, table=table)


@everywhere
@pytest.mark.parametrize("work", ["steps", "one"])
def test_who_looks_at_one_run_only_waits_with_its_holder(table: str, work: str) -> None:
    """However long another process has the run, its death is found within a lease."""

    async def body(bench: Bench) -> None:
        run = (await bench.start(work, seconds=60.0)).run
        other, name = bench.another(), {"steps": "step", "one": "task"}[work]
        other.open(only=run)
        await asyncio.sleep(6 * LEASE)
        assert begun == {name: 1}
        die(bench.engine)
        bench.engine = other
        await asyncio.sleep(2 * LEASE)
        assert begun == {name: 2}
        await bench.result(run)

    virtually(members, body, table=table)


def test_an_outcome_whose_deliverer_died_is_delivered_soon() -> None:
    """A task that was held for long is not due for long: its outcome is, from that write on."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("one", seconds=12.0)).run
        first, other = bench.engine, bench.another()
        store: Any = first.services.store

        async def dies(*_: Any) -> None:
            die(first)
            await asyncio.Event().wait()

        store._arrive = store._arrive_and_claim = dies
        other.open()
        bench.engine = other
        await asyncio.sleep(13)
        operation: Operation = await item(bench, operation_key(run, "long"))
        assert operation.outcome is not None
        assert operation.due is not None
        assert await bench.result(run, 7) == "task"
        assert bench.seconds < 20

    virtually(members, body)


@everywhere
def test_a_claim_that_its_process_does_not_know_runs_out(table: str) -> None:
    """It names a process that lives, and nobody there goes on with it: it is begun all the same."""

    async def body(bench: Bench) -> None:
        await bench.start("steps", seconds=60.0)
        run = (await bench.start("waits", seconds=1.0)).run
        await asyncio.sleep(0.5)
        await bench.table.update(header_key(run), set={"due": None})
        services = bench.engine.services
        services.cache.drop(run)
        await asyncio.sleep(LEASE)
        now, lent = services.clock.now(), {"process": services.heart.name, "lease": 0}
        claimed = {"state": "running", "owner": "late", "due": now, **lent}
        await bench.table.update(header_key(run), set=claimed, add={"epoch": 1})
        assert await bench.result(run, 3 * LEASE) == "slept"

    virtually(members, body, table=table)
