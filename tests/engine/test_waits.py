"""What a run waits for is known without reading its history again."""

from __future__ import annotations

import asyncio
from functools import partial

from rewake import sleep, step, wait_for_approval, workflow
from rewake.authoring.approval import Approval, Decision
from rewake.engine.engine import Engine
from rewake.engine.outside.approvals import Approvals, approvals_of
from tests.support.counting import CountingTable
from tests.support.virtual import Bench, virtually

failures = {"left": 0}


@workflow
async def long(count: int) -> list[str]:
    """Much work, a person, much work, two people."""
    for number in range(count):
        await step("stamp", partial(int, number))
    first = await wait_for_approval("first")
    for number in range(count):
        await step("stamp", partial(int, number))
    if failures["left"]:
        failures["left"] -= 1
        raise ValueError("not yet")
    others = await asyncio.gather(wait_for_approval("second"), wait_for_approval("third"))
    await sleep(10)
    return [str(each.approver) for each in (first, *others)]


async def open_now(engine: Engine, run: str) -> dict[str, str]:
    """By name, the keys of what is open, in order."""
    asked = await approvals_of(engine, await engine.get(run))
    return {each.name: each.key for each in asked}


async def moments(engine: Engine, run: str) -> list[int]:
    """When what is open was asked for."""
    waits = engine.services.waits
    return [each.asked_at for each in await waits.approvals(await engine.get(run))]


async def whole(engine: Engine, run: str) -> dict[str, str]:
    """The same, of a process that has never looked."""
    engine.services.waits._known.clear()
    engine.services.cache.clear()
    return await open_now(engine, run)


def test_what_is_open_at_each_moment() -> None:
    """A process that looks again and again is told the same as one that looks for the first time,
    through decisions, a failure and a retry.
    """
    failures["left"] = 1

    async def body(bench: Bench) -> None:
        follower, stranger = bench.another(), bench.another()
        decisions = Approvals(bench.engine)
        run = (await bench.start("long", count=9)).run
        seen = []
        for name in ("first", "", "", "second", "third", ""):
            await asyncio.sleep(5)
            if (await bench.engine.get(run)).state == "failed":
                await bench.engine.retry(run)
                await asyncio.sleep(5)
            now = await open_now(follower, run)
            assert now == await whole(stranger, run) == await open_now(bench.engine, run)
            seen.append([*now])
            assert len({tuple(await moments(each, run)) for each in bench.made}) == 1
            if name in now:
                await decisions.decide(run, now[name], Approval(Decision.APPROVED))
        assert seen[0] == ["first"]
        assert ["second", "third"] in seen
        assert seen[-1] == []

    virtually([long], body)


@workflow
async def quiet(count: int) -> None:
    for number in range(count):
        await step("s", partial(int, number))
    await sleep(60)


def test_a_look_reads_what_is_new() -> None:
    """In a process that has the instance nothing is read; in another only what was written since
    its last look, however long the history is.
    """
    failures["left"] = 0
    table = CountingTable()

    async def body(bench: Bench) -> None:
        follower = bench.another()
        run = (await bench.start("long", count=300)).run
        await asyncio.sleep(5)
        for engine in (bench.engine, follower):
            await open_now(engine, run)
            table.count_anew()
            for _ in range(3):
                assert await open_now(engine, run) == {"first": "first"}
            assert table.items + table.gets <= 3 * 2  # the header, and whether it is decided

    virtually([long], body, table=table)


def test_a_status_of_a_run_that_asks_nobody_reads_its_header() -> None:
    """In any process, however long its history is, before it asked and after it was answered."""
    failures["left"] = 0
    table = CountingTable()

    async def body(bench: Bench) -> None:
        run = (await bench.start("long", count=300)).run
        await asyncio.sleep(5)
        assert (await bench.engine.get(run)).asks
        assert await open_now(bench.another(), run) == {"first": "first"}
        other = (await bench.start("quiet", count=300)).run
        await asyncio.sleep(5)
        stranger = bench.another()
        table.count_anew()
        assert await open_now(stranger, other) == {}
        assert (table.gets, table.queries, table.batches) == (1, 0, 0)

    virtually([long, quiet], body, table=table)
