"""Wide runs on a table with DynamoDB's limits: no partition and no header gets all of it."""

from __future__ import annotations

import asyncio
import functools

import pytest

from rewake import parallel, sleep, step, task, task_context, workflow
from rewake.stores.table import Spread
from tests.support.counting import CountingTable
from tests.support.virtual import Bench, virtually

ends: list[float] = []


@task
async def quick(n: int) -> int:
    return n


@task
async def lasting(n: int, seconds: float) -> int:
    await asyncio.sleep(seconds)
    ends.append(asyncio.get_running_loop().time())
    return n


@task
async def logs(n: int) -> int:
    task_context().logger.info("one line")
    return n


@workflow
async def fan_out(n: int) -> int:
    return len(await asyncio.gather(*(quick(i) for i in range(n))))


@task
async def fails(n: int, share: float) -> int:
    await asyncio.sleep(n % 97 / 970)
    if n * 7919 % 1000 < share * 1000:
        raise ValueError(n)
    return n


@workflow
async def bears(n: int, share: float, tolerate: float, *, pieces: bool = False) -> int:
    async def one(number: int) -> int:
        return await fails(number, share)

    function = one if pieces else functools.partial(fails, share=share)
    done = await parallel(range(n), function, tolerate=tolerate)
    return len(done)


@workflow
async def enough(n: int, wanted: int) -> int:
    done = await parallel(range(n), functools.partial(fails, share=0), min_successful=wanted)
    await sleep(3_600)
    return len(done)


@workflow
async def naps(n: int) -> int:
    await sleep(n * 7919 % 997)
    return n


@workflow
async def sleepers(n: int) -> int:
    return len(await asyncio.gather(*(naps(i) for i in range(n))))


@workflow
async def lasts(n: int, seconds: float) -> int:
    calls = (lasting(i, (i * 7919 % 997) / 997 * seconds) for i in range(n))
    return len(await asyncio.gather(*calls))


@workflow
async def talks(n: int) -> int:
    return len(await asyncio.gather(*(logs(i) for i in range(n))))


@workflow
async def steps(n: int) -> int:
    for _ in range(n):
        await step("one", lambda: 1)
    await quick(1)
    return n


def spread() -> CountingTable:
    return CountingTable(spread=Spread(16))


def played(table: CountingTable, name: str, *, cached: int = 256, **arguments: float) -> None:
    async def body(bench: Bench) -> None:
        assert await bench.run(name, **arguments) == arguments["n"]

    functions = [quick, lasting, logs, fails, fan_out, lasts, talks, steps, bears]
    virtually(functions, body, table=table, cached=cached)


@pytest.mark.parametrize("n", [1_000, 3_000])
def test_no_partition_takes_the_writes_of_a_wide_run(n: int) -> None:
    """That of its header takes a few hundred tasks and the history, each shard an even part.

    The header itself hears of these few hundred, and of the last one of each shard.
    """
    table = spread()
    played(table, "fan_out", n=n)
    [own] = [units for place, units in table.places.items() if place.startswith("R#")]
    history = n * 0.15
    assert own <= 3.2 * 256 + history + 100
    assert max(units for place, units in table.places.items() if place.startswith("O#")) <= 0.2 * n
    assert table.headers <= 256 + 16 + 20
    assert table.writes / n <= 3.3


@pytest.mark.parametrize(("share", "tolerate"), [(0.1, 0.2), (0.5, 1.0), (1.0, 1.0)])
@pytest.mark.parametrize("spread_", [Spread(16), Spread()], ids=["spread", "together"])
def test_failures_that_a_run_bears_do_not_wake_it(
    share: float, tolerate: float, spread_: Spread
) -> None:
    """Its header hears of each at most once, and it is claimed for its start and its end alone."""
    table = CountingTable(spread=spread_)
    epochs: list[int] = []

    async def body(bench: Bench) -> None:
        header = await bench.start("bears", n=600, share=share, tolerate=tolerate)
        assert await bench.result(header.run) == 600
        epochs.append((await bench.engine.get(header.run)).epoch)

    virtually([fails, bears], body, table=table)
    assert epochs == [2]
    assert table.writes / 600 <= 3.4


@pytest.mark.parametrize("wanted", [1, 500, 990])
def test_the_header_hears_of_few_where_some_of_many_are_enough(wanted: int) -> None:
    """Of the first few hundred, of what chance puts behind a shard's share, and of none taken back.

    A task that is taken back before it began wakes nobody once its message comes.
    """
    table, epochs = spread(), list[int]()

    async def body(bench: Bench) -> None:
        header = await bench.start("enough", n=1_000, wanted=wanted)
        assert await bench.result(header.run) == 1_000
        epochs.append((await bench.engine.get(header.run)).epoch)

    virtually([fails, enough], body, table=table)
    assert table.headers <= 256 + 16 * 3 * 4 + 20
    assert epochs[0] <= 4


@pytest.mark.parametrize("name", ["sleepers", "lasts"])
def test_looks_wake_no_run_before_it_can_go_on(name: str) -> None:
    """However long its tasks or children take: a look reads what is there, and leaves it be."""
    epochs: list[int] = []

    async def body(bench: Bench) -> None:
        more = {"seconds": 60.0} if name == "lasts" else {}
        header = await bench.start(name, n=50, **more)
        assert await bench.result(header.run) == 50
        epochs.append((await bench.engine.get(header.run)).epoch)

    virtually([lasting, lasts, naps, sleepers], body)
    assert epochs == [2]


@pytest.mark.parametrize("seconds", [0.5, 2.0, 9.0])
def test_a_wide_run_goes_on_at_once_when_its_last_task_ends(seconds: float) -> None:
    """No look has to find what was counted beside its header, in between or at the end."""
    over: list[float] = []

    async def body(bench: Bench) -> None:
        header = await bench.start("lasts", n=700, seconds=seconds)
        await bench.result(header.run)
        over.append(asyncio.get_running_loop().time())

    ends.clear()
    virtually([lasting, lasts], body, table=spread())
    assert over[0] - max(ends) < 0.3


def test_the_logs_of_a_wide_run_are_spread_and_read_as_one() -> None:
    """By all, in pages, and by one operation, and in its stream."""
    table = spread()

    async def body(bench: Bench) -> None:
        header = await bench.start("talks", n=400)
        assert await bench.result(header.run) == 400
        kept = [sort for part in table._partitions.values() for sort in part if sort[0] == "L"]
        assert len(kept) == 400
        header = await bench.engine.get(header.run)
        store = bench.engine.services.store
        whole = [batch.key for batch in await store.logs(header) if batch.key]
        assert len(whole) == len(set(whole)) == 400
        paged: list[str] = []
        cursor: str | None = None
        while True:
            page = await store.batches(header, None, limit=30, cursor=cursor)
            paged += [batch.key for _, batch in page.items]
            cursor = page.cursor
            if cursor is None:
                break
        assert paged == whole
        [one] = await store.logs(header, whole[-1])
        assert one.key == whole[-1]

    virtually([logs, talks], body, table=table)


def test_a_cold_replay_of_a_thousand_steps_is_two_calls() -> None:
    """One for its history and one for its operations, beside the claim that is a write."""
    table = spread()

    async def body(bench: Bench) -> None:
        header = await bench.start("steps", n=1_000)
        await bench.result(header.run)
        header = await bench.engine.get(header.run)
        table.count_anew()
        history = await bench.engine.services.store.history(header)
        assert len(history.entries) >= 2_000
        assert (table.queries, table.gets, table.batches) == (2, 0, 0)

    virtually([quick, steps], body, table=table)


@pytest.mark.parametrize("n", [300, 600, 1_200])
def test_a_cold_wide_run_reads_in_proportion_to_its_width(n: int) -> None:
    """However wide: its history and its operations, in one query of each partition, a wake."""
    table = spread()
    played(table, "lasts", n=n, seconds=3.0, cached=0)
    assert table.reads <= 3 * n
