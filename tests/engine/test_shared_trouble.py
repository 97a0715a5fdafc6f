"""Trouble that all processes have at once, an outage or a sleep of their machine, is no death."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from rewake import step, task, workflow
from rewake.engine.settings import Settings
from rewake.errors import StoreUnavailable
from tests.support.emptied import emptied
from tests.support.virtual import TABLES, Bench, die, virtually

SETTINGS = Settings()
LEASE = SETTINGS.lease / 1000
BEGIN = 12.0
LENGTHS = [4 * LEASE + phase / 4 for phase in range(8)]
"""The beats and the sweeps of the processes come in another order after each of these."""
CALLS = ("get", "put", "update", "query", "due", "delete", "put_blob", "get_blob")
begun: Counter[str] = Counter()
_emptied = emptied(begun)
everywhere = pytest.mark.parametrize("table", TABLES)


async def inline(name: str, seconds: float) -> str:
    begun[f"step {name}"] += 1
    await asyncio.sleep(seconds)
    return name


@task
async def work(name: str, seconds: float) -> str:
    begun[f"task {name}"] += 1
    await asyncio.sleep(seconds)
    return name


@workflow
async def one_task(name: str, seconds: float) -> str:
    return await work(name, seconds)


@workflow
async def one_step(name: str, seconds: float) -> str:
    return await step("inline", lambda: inline(name, seconds))


members = [work, one_task, one_step]


def refuse(bench: Bench, calls: tuple[str, ...], begin: float, end: float) -> None:
    """Let these calls of the table fail for everybody between two moments."""
    for name in calls:
        original = getattr(bench.table, name)

        async def failing(*args: Any, _original: Any = original, **named: Any) -> Any:
            if begin <= bench.seconds < end:
                raise StoreUnavailable("nobody is served")
            return await _original(*args, **named)

        setattr(bench.table, name, failing)


async def begin_work(bench: Bench, other: Any) -> list[str]:
    """Work of two processes: begun long ago, or just now; some of it ends in the outage."""
    runs = []
    for engine, where in ((bench.engine, "here"), (other, "there")):
        for flow in ("one_task", "one_step"):
            started, _ = await engine.start(flow, {"name": f"long, {where}", "seconds": 80.0})
            runs.append(started.run)
    await asyncio.sleep(BEGIN - 0.3 - bench.seconds)
    for engine, where in ((bench.engine, "here"), (other, "there")):
        for flow, name, seconds in (
            ("one_task", "new", 60.0),
            ("one_step", "new", 60.0),
            ("one_task", "short", 3.0),
        ):
            started, _ = await engine.start(flow, {"name": f"{name}, {where}", "seconds": seconds})
            runs.append(started.run)
    return runs


@everywhere
@pytest.mark.parametrize("calls", [CALLS, ("put", "update", "delete", "put_blob")])
@pytest.mark.parametrize("length", LENGTHS)
def test_an_outage_that_all_processes_meet_is_no_death(
    length: float, calls: tuple[str, ...], table: str
) -> None:
    """Whoever reaches the store first does not take the work of the others: nothing is repeated."""

    async def body(bench: Bench) -> None:
        other = bench.another()
        other.open()
        refuse(bench, calls, BEGIN, BEGIN + length)
        runs = await begin_work(bench, other)
        await asyncio.sleep(length + 1)
        for run in runs:
            await bench.result(run)
        assert set(begun.values()) == {1}, begun
        for run in runs:
            header, history = await bench.engine.history(run)
            assert [each.lost for each in history.operations.values() if each.lost] == []
            assert header.taken == ""
        await other.close()

    virtually(members, body, table=table)


@everywhere
def test_a_death_in_an_outage_is_found_after_it(table: str) -> None:
    """Who lives is given the time of a beat, who is dead no more than that."""

    async def body(bench: Bench) -> None:
        other = bench.another()
        other.open()
        refuse(bench, CALLS, BEGIN, BEGIN + 20)
        runs = await begin_work(bench, other)
        await asyncio.sleep(5)
        die(bench.engine)
        bench.engine = other
        await asyncio.sleep(BEGIN + 20 + 2 * LEASE - bench.seconds)
        here = {name: times for name, times in begun.items() if name.endswith(" here")}
        assert set(here.values()) == {2}, begun
        assert sum(begun.values()) == sum(here.values()) + 5
        for run in runs:
            await bench.result(run)

    virtually(members, body, table=table)
