"""Runs that should have moved and did not are found, each with why, and what helps."""

from __future__ import annotations

import asyncio

from rewake import concurrency, every, sleep, task, wait_for_approval, wait_for_signal, workflow
from rewake.doctor.findings import Status
from rewake.doctor.stored import late
from rewake.engine.alerts.overdue import lost, overdue
from rewake.engine.process.tags import LATE
from rewake.http.overdue import _view
from rewake.kinds import Kind, OutcomeKind
from rewake.records import Operation, Outcome
from tests.support.counting import CountingTable
from tests.support.virtual import Bench, die, virtually

MINUTES = LATE / 1000 + 60


@task
async def quick() -> int:
    return 1


@task(tag="gpu")
async def train() -> int:
    return 1


@task(limits=concurrency(1))
async def lasting() -> None:
    await asyncio.sleep(7200)


@workflow
async def naps() -> int:
    await sleep(60)
    return await quick()


@workflow
async def trains() -> int:
    return await train()


@workflow
async def asks() -> str:
    return str((await wait_for_approval("go")).decision)


@workflow
async def both() -> None:
    await asyncio.gather(quick(), wait_for_signal("go"))


@workflow
async def calls() -> str:
    return await asks()


@workflow
async def many() -> None:
    await asyncio.gather(*(lasting() for _ in range(3)))


@workflow
async def wide(tasks: int) -> None:
    await asyncio.gather(*(train() for _ in range(tasks)))


members = [quick, train, lasting, naps, trains, asks, both, calls, many, wide]


def test_what_nobody_looks_at_is_found() -> None:
    """Once no server lives that carries runs on, a run that was to wake is late, and said to be."""

    async def body(bench: Bench) -> None:
        header = await bench.start("naps")
        await asyncio.sleep(1)
        other = bench.another()
        die(bench.engine)
        other.open(sweep=False)
        bench.engine = other
        await asyncio.sleep(60 + MINUTES)
        [found], more = await overdue(other.services, 10)
        assert (found.header.run, found.key, found.reason.code, more) == (
            *(header.run, "", "overdue"),
            False,
        )
        shown = _view(found)
        assert (shown.run, shown.state, shown.operation) == (header.run, "suspended", None)
        [finding] = await late(other)
        assert finding.status is Status.WARN
        assert finding.told == f"1 late (overdue): run {header.run} for 0.1 h"

    virtually(members, body)


def test_a_schedule_that_nobody_looks_at_is_found() -> None:
    """No run is late that was never started: the doctor says which schedule should have."""

    @workflow(schedule=every(60))
    async def hourly() -> None:
        await quick()

    async def body(bench: Bench) -> None:
        await asyncio.sleep(90)
        assert [each.told for each in await late(bench.engine)] == ["no run is late"]
        other = bench.another()
        die(bench.engine)
        other.open(sweep=False)
        bench.engine = other
        await asyncio.sleep(MINUTES + 60)
        [finding] = await late(other)
        assert finding.status is Status.WARN
        assert finding.told == "1 late: schedule hourly for 0.1 h"

    virtually([quick, hourly], body)


def test_a_task_that_no_server_takes_is_found() -> None:
    """It says by which tag, and what to start; where its servers are there, that they are busy."""

    async def body(bench: Bench) -> None:
        runs = [await bench.start("trains") for _ in range(3)]
        await asyncio.sleep(MINUTES)
        found, more = await overdue(bench.engine.services, 2)
        assert {each.header.run for each in found} < {each.run for each in runs}
        assert (len(found), more) == (2, True)
        assert {(each.key, each.tag, each.reason.code) for each in found} == {
            ("train", "gpu", "unserved-tag")
        }
        assert found[0].reason.command == "rewake serve --tags gpu"
        services = bench.engine.services
        now = services.clock.now()
        soon = now + services.settings.lease
        await services.store.known_tags.serve("gpu", soon, now, soon)
        found, more = await overdue(services, 10)
        assert ([each.reason.code for each in found], more) == (["no-room"] * 3, False)

    virtually(members, body)


def test_whatever_waits_as_it_should_is_not_late() -> None:
    """A wait for a person, a signal, a child, a place or a moment is neither late nor lost."""

    async def body(bench: Bench) -> None:
        headers = [await bench.start(name) for name in ("asks", "both", "calls", "many")]
        await asyncio.sleep(3600)
        services = bench.engine.services
        assert await overdue(services, 10) == ([], False)
        runs = [await services.store.header(header.run) for header in headers]
        assert await lost(services, runs) == []
        assert [each.told for each in await late(bench.engine)] == ["no run is late"]

    virtually(members, body)


def test_a_paused_run_is_not_late() -> None:
    """Its task waits for a server of its tag, and would not begin if there were one."""

    async def body(bench: Bench) -> None:
        header = await bench.start("trains")
        await asyncio.sleep(1)
        await bench.engine.pause(header.run)
        await asyncio.sleep(MINUTES)
        assert await overdue(bench.engine.services, 10) == ([], False)
        await bench.engine.resume(header.run)
        [found], _ = await overdue(bench.engine.services, 10)
        assert found.header.run == header.run

    virtually(members, body)


def test_a_run_costs_a_look_as_much_as_one_of_its_tasks() -> None:
    """However many of them are late: it is named once, and of the others only the index is read."""
    table = CountingTable()

    async def body(bench: Bench) -> None:
        for tasks in (3, 300):
            await bench.start("wide", tasks=tasks)
        await asyncio.sleep(MINUTES)
        before = table.gets
        found, more = await overdue(bench.engine.services, 10)
        assert (len(found), more) == (2, False)
        assert table.gets - before <= 2 * len(found)

    virtually(members, body, table=table)


def test_a_run_that_waits_for_nothing_is_found_and_mended() -> None:
    """If nobody had told a run of an end, it would wait for ever: it is named, and goes on by what
    is said to help.
    """

    async def body(bench: Bench) -> None:
        header = await bench.start("asks")
        await asyncio.sleep(10)
        store = bench.engine.services.store
        blank = Operation(header.run, "go", Kind.APPROVAL, "go")
        await store.settle(blank, Outcome(OutcomeKind.TIMEOUT), bench.engine.services.clock.now())
        await asyncio.sleep(3600)
        [finding] = await late(bench.engine)
        run = header.run
        assert finding.told.startswith(f"1 late (lost): run {run} for 1.0 h")
        assert f"rewake runs pause {run} && rewake runs resume {run}" in str(finding)
        await bench.engine.pause(run)
        await bench.engine.resume(run)
        assert await bench.result(run) == "timed_out"

    virtually(members, body)
