"""Tasks of a tag are begun by the servers of that tag, and hold up nobody else."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from rewake import concurrency, sleep, task, workflow
from rewake.clock import Clock
from rewake.dispatchers.dispatcher import Dispatcher
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.dispatchers.routes import Router
from rewake.engine.engine import Engine
from rewake.records import Invocation
from rewake.tags import EVERY, Served, served
from rewake.testing.clock import EPOCH
from tests.support.counting import CountingTable
from tests.support.emptied import emptied
from tests.support.virtual import TABLES, Bench, die, virtually

begun: Counter[str] = Counter()
_emptied = emptied(begun)
everywhere = pytest.mark.parametrize("table", TABLES)
GPU, BOTH = served(["gpu"]), served(["default", "gpu"])
END = EPOCH + 86_400_000
"""Far enough: an ended run is due later, when it is removed."""


@task
async def plain(n: int) -> int:
    begun["plain"] += 1
    return n


@task(tag="gpu")
async def tagged(n: int) -> int:
    begun["tagged"] += 1
    await asyncio.sleep(0.1)
    return n


@task(tag="gpu")
async def lasting(n: int) -> int:
    begun["lasting"] += 1
    await asyncio.sleep(30)
    return n


@task(tag="gpu", retries=2, delay=0.2, jitter=0)
async def failing(n: int) -> int:
    begun["failing"] += 1
    if begun["failing"] < 3:
        raise ValueError("not yet")
    return n


@workflow
async def mixed(n: int) -> list[int]:
    begun["body"] += 1
    return [await plain(n), await tagged(n + 1), await plain(n + 2)]


@workflow
async def wide(n: int) -> int:
    return sum(await asyncio.gather(*(tagged(i) for i in range(n))))


@workflow
async def long(n: int) -> int:
    return await lasting(n)


@workflow(limits=concurrency(1))
async def in_turn(n: int) -> int:
    await sleep(10)
    return n


@workflow
async def retried(n: int) -> int:
    return await failing(n)


@workflow
async def untagged(n: int) -> int:
    return await plain(n)


@workflow
async def nested(n: int) -> int:
    chosen = task(lambda: n + 1, tag="gpu")
    return await chosen


members = [plain, tagged, lasting, failing, mixed, wide, long, in_turn, retried, untagged, nested]


def joined(bench: Bench, what: Served) -> Engine:
    """One more process, which serves this."""
    engine = bench.another(served=what)
    engine.open()
    return engine


async def where(bench: Bench, run: str) -> dict[str, str]:
    """By task, the process of its newest attempt; by the empty key, that of the run."""
    header = await bench.engine.get(run)
    found = await bench.engine.services.store.outline(header)
    return {"": header.where, **{key: item.where for key, item in found.operations.items()}}


async def waits(bench: Bench, tag: str = "gpu") -> list[str]:
    """What is due of a tag by now."""
    now = bench.engine.services.clock.now()
    return [due.key.sort for due in await bench.table.due(now, limit=99, tag=tag)]


@everywhere
def test_each_task_runs_where_it_belongs(table: str) -> None:
    """Untagged tasks and bodies run on an untagged server, the others on one of their tag; soon."""

    async def body(bench: Bench) -> None:
        gpu = joined(bench, GPU)
        run = (await bench.start("mixed", n=1)).run
        assert await bench.result(run) == [1, 2, 3]
        here = bench.engine.settings.where
        assert await where(bench, run) == {
            "": here, "plain": here, "tagged": "p1", "plain.2": here,
        }  # fmt: skip
        assert bench.seconds < 3
        assert begun["body"] == 1
        assert await bench.table.due(END, limit=9) == []
        assert await bench.table.due(END, limit=9, tag="gpu") == []
        await gpu.close()

    virtually(members, body, table=table)


@everywhere
def test_a_server_of_a_tag_carries_no_run_on(table: str) -> None:
    """It takes nothing untagged, whatever is asked of it or sent to it; others do, soon."""

    async def body(bench: Bench) -> None:
        gpu = joined(bench, GPU)
        header, new = await gpu.start("mixed", {"n": 1})
        await gpu.handle(Invocation(header.run))
        await gpu.handle(Invocation(header.run, "plain", "plain"))
        assert new
        assert await bench.result(header.run) == [1, 2, 3]
        assert (await where(bench, header.run))[""] == bench.engine.settings.where
        assert bench.seconds < 4
        await gpu.close()

    virtually(members, body, table=table)


@everywhere
def test_a_server_of_both_begins_its_own_at_once(table: str) -> None:
    """It claims with the commit, as it does what is untagged, and offers only what it has no room
    for.
    """

    async def body(bench: Bench) -> None:
        both = joined(bench, BOTH)
        assert await bench.result((await both.start("mixed", {"n": 1}))[0].run) == [1, 2, 3]
        assert bench.seconds < 0.4
        assert await bench.result((await both.start("wide", {"n": 7}))[0].run) == 21
        assert bench.seconds < 1.2
        assert begun["tagged"] == 8
        assert await bench.table.due(END, limit=9, tag="gpu") == []
        await both.close()

    virtually(members, body, table=table, tasks=2)


@everywhere
def test_what_waits_for_a_tag_waits_in_the_table(table: str) -> None:
    """Nobody else looks at it, and a server of the tag takes no more of it than it has room for."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("wide", n=9)).run
        await asyncio.sleep(60)
        before = await waits(bench)
        assert len(before) == 9
        assert begun["tagged"] == 0
        gpus = [joined(bench, GPU) for _ in range(2)]
        await asyncio.sleep(1.05)
        assert len(await waits(bench)) < 9
        assert len(gpus[0].services.queued) == len(gpus[1].services.queued) == 0
        assert await bench.result(run) == 36
        assert begun["tagged"] == 9
        assert set((await where(bench, run)).values()) >= {"p1", "p2"}
        for gpu in gpus:
            await gpu.close()

    virtually(members, body, table=table, tasks=2)


def test_waiting_costs_an_untagged_server_nothing() -> None:
    """Ten thousand tasks that wait for a tag are neither looked at nor written again."""

    async def body(bench: Bench) -> None:
        assert isinstance(bench.table, CountingTable)
        run = (await bench.start("wide", n=10_000)).run
        await asyncio.sleep(20)
        bench.table.count_anew()
        assert await bench.run("untagged", n=3) == 3
        before = bench.table.writes
        await asyncio.sleep(60)
        assert bench.table.writes == before
        assert bench.table.gets < 50
        assert (await bench.engine.get(run)).due is None

    virtually(members, body, table=CountingTable())


@everywhere
def test_a_retry_stays_with_its_tag(table: str) -> None:
    """A failed attempt waits for its backoff where its tag is served, and comes in time."""

    async def body(bench: Bench) -> None:
        gpu = joined(bench, GPU)
        run = (await bench.start("retried", n=5)).run
        assert await bench.result(run) == 5
        assert begun["failing"] == 3
        assert bench.seconds < 3.5
        assert (await where(bench, run))["failing"] == "p1"
        await gpu.close()

    virtually(members, body, table=table)


@everywhere
def test_what_a_dead_server_of_a_tag_held_waits_for_the_next(table: str) -> None:
    """Its tasks are taken over by a server of the tag only, within seconds of its coming."""

    async def body(bench: Bench) -> None:
        gpu = joined(bench, GPU)
        run = (await bench.start("long", n=5)).run
        await asyncio.sleep(10)
        assert begun["lasting"] == 1
        die(gpu)
        await asyncio.sleep(100)
        assert begun["lasting"] == 1
        again = joined(bench, GPU)
        await asyncio.sleep(12)
        assert begun["lasting"] == 2
        assert await bench.result(run) == 5
        assert (await where(bench, run))["lasting"] == "p2"
        await again.close()

    virtually(members, body, table=table)


@everywhere
def test_what_a_server_of_both_held_is_looked_for_under_its_tags(table: str) -> None:
    """An untagged server finds that it died; one of the tag begins what it held at once."""

    async def body(bench: Bench) -> None:
        both = joined(bench, BOTH)
        header, _ = await both.start("long", {"n": 5})
        await asyncio.sleep(12)
        assert begun["lasting"] == 1
        die(both)
        gpu = joined(bench, GPU)
        await asyncio.sleep(12)
        assert begun["lasting"] == 2
        assert await bench.result(header.run) == 5
        await gpu.close()

    virtually(members, body, table=table)


@everywhere
def test_a_process_that_serves_every_tag_knows_them_all(table: str) -> None:
    """Also those that only closures had, in a process before it."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("nested", n=4)).run
        await asyncio.sleep(5)
        assert await waits(bench) == ["O#nested.<lambda>.0"] or len(await waits(bench)) == 1
        every = joined(bench, EVERY)
        assert await bench.result(run) == 5
        assert bench.seconds < 9
        await every.close()

    virtually(members, body, table=table)


@everywhere
def test_a_withdrawn_task_is_waited_for_no_more(table: str) -> None:
    """Where its run is cancelled or killed, what was offered is taken back, and wakes nobody."""

    async def body(bench: Bench) -> None:
        first, second = [(await bench.start("wide", n=3)).run for _ in range(2)]
        await asyncio.sleep(5)
        assert len(await waits(bench)) == 6
        await bench.engine.cancel(first)
        await bench.engine.kill(second)
        await asyncio.sleep(1)
        assert await waits(bench) == []
        epoch = (await bench.engine.get(first)).epoch
        await asyncio.sleep(30)
        assert (await bench.engine.get(first)).epoch == epoch
        assert await bench.table.due(END, limit=9) == []
        assert begun["tagged"] == 0

    virtually(members, body, table=table)


def test_who_waits_for_nobody_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A tag that nobody serves is missing once something has waited for it, until it is served."""

    async def body(bench: Bench) -> None:
        tags = bench.engine.services.tags
        run = (await bench.start("wide", n=2)).run
        await asyncio.sleep(3)
        assert tags.missing == []
        await asyncio.sleep(60)
        assert tags.missing == ["gpu"]
        told = [each.getMessage() for each in caplog.records if "gpu" in each.getMessage()]
        assert told == [
            "tasks wait for the tag gpu, which no server serves: rewake serve --tags gpu"
        ]
        gpu = joined(bench, GPU)
        assert await bench.result(run) == 1
        await asyncio.sleep(10)
        assert tags.missing == []
        await gpu.close()
        await bench.start("wide", n=2)
        await asyncio.sleep(60)
        assert tags.missing == ["gpu"]

    with caplog.at_level(logging.WARNING, "rewake.engine"):
        virtually(members, body)


def test_a_server_of_another_lease_is_believed(caplog: pytest.LogCaptureFixture) -> None:
    """Its word is good for three leases of its own, as that of one on a host that stands still."""

    async def body(bench: Bench) -> None:
        short = bench._settings
        bench._settings = replace(short, lease=6 * short.lease, tasks=1)
        gpu = joined(bench, GPU)
        tags = bench.engine.services.tags
        for _ in range(3):
            await bench.start("long", n=1)
        await asyncio.sleep(40)
        assert (begun["lasting"], tags.missing) == (2, [])  # and another one waits
        assert not caplog.records
        await gpu.close(0)
        await asyncio.sleep(300)
        assert tags.missing == ["gpu"]

    with caplog.at_level(logging.WARNING, "rewake.engine"):
        virtually(members, body)


class _Astray(InProcessDispatcher):
    """A route that leads to a process which does not serve its tag."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.there: Engine | None = None
        self.came = 0

    async def dispatch(self, invocations: Sequence[Invocation]) -> None:
        assert self.there is not None
        for each in invocations:
            self.came += 1
            await self.there.handle(each)


class _Balanced(_Astray):
    """Brings one message of a run to another process, and all others here."""

    run = ""

    async def dispatch(self, invocations: Sequence[Invocation]) -> None:
        for each in invocations:
            if each.run == self.run and self.there is not None:
                self.came, self.run = self.came + 1, ""
                await self.there.handle(each)
            else:
                await InProcessDispatcher.dispatch(self, [each])


def test_a_run_whose_turn_is_told_to_a_server_of_a_tag_alone_goes_on() -> None:
    """It has waited in the line of a limit: whoever looks at it next begins it, and at once."""
    carriers: list[_Balanced] = []

    def carrier(clock: Clock) -> Dispatcher:
        carriers.append(_Balanced(clock))
        return carriers[-1]

    async def body(bench: Bench) -> None:
        gpu = joined(bench, GPU)
        first, second = [(await bench.start("in_turn", n=n)).run for n in range(2)]
        await asyncio.sleep(5)
        carriers[0].there, carriers[0].run = gpu, second
        assert await bench.result(first) == 0
        await asyncio.sleep(3)
        assert carriers[0].came == 1
        assert (await bench.engine.get(second)).epoch == 2
        assert await bench.result(second) == 1
        await gpu.close()

    virtually(members, body, carrier=carrier, sweep=1_000, lease=20_000, grace=20_000)


def test_a_route_that_leads_astray_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """The tasks wait for a server of the tag, and whoever gets their messages says so."""
    routes: list[_Astray] = []

    def carrier(clock: Clock) -> Dispatcher:
        if routes:
            return InProcessDispatcher(clock)
        routes.append(_Astray(clock))
        return Router(InProcessDispatcher(clock), {"gpu": routes[0]})

    async def body(bench: Bench) -> None:
        routes[0].there = bench.another()
        routes[0].there.open()
        run = (await bench.start("wide", n=2)).run
        await asyncio.sleep(60)
        assert 2 < routes[0].came < 50
        told = [each.getMessage() for each in caplog.records if "gpu" in each.getMessage()]
        assert told == [
            "a route for the tag gpu leads here, which this server does not serve: --tags gpu"
        ]
        gpu = joined(bench, GPU)
        assert await bench.result(run) == 1
        await gpu.close()
        await routes[0].there.close()

    with caplog.at_level(logging.WARNING, "rewake.engine"):
        virtually(members, body, carrier=carrier)
