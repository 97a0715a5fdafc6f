"""What a run counts of its own cost is what the services say that they bill."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec import UNSET

from rewake import step, task, workflow
from rewake.records import Header
from rewake.stores.bills import MOST_RUNS, Bills
from rewake.stores.dynamodb.billed import BilledTable
from rewake.stores.keys import header_key, operation_key
from rewake.stores.table import Check
from rewake.views.costs import CostView, cost_view
from rewake.views.runs import run_view
from tests.engine.test_units import fan_out, nothing, quick, sequence
from tests.support.small_dynamodb import SmallDynamo
from tests.support.small_table import SmallTable
from tests.support.virtual import Bench, virtually


@workflow
async def steps(n: int) -> int:
    for _ in range(n):
        await step("one", int)
    return n


@task(retries=2, delay=1)
async def failing(n: int) -> int:
    raise ValueError(n)


@workflow
async def fails(n: int) -> int:
    return await failing(n)


ALL = [quick, nothing, sequence, fan_out, steps, failing, fails]


def run_of(bench: Bench) -> str:
    """The only run that there is."""
    assert isinstance(bench.table, SmallTable)
    [run] = {key.partition[2:] for key in bench.table.places() if key.partition.startswith("R#")}
    return run


@pytest.mark.parametrize(
    ("workflow", "n"), [("nothing", 1), ("steps", 40), ("sequence", 20), ("fan_out", 50)]
)
@pytest.mark.parametrize("replicas", [1, 3])
def test_a_run_counts_what_it_has_used(workflow: str, n: int, replicas: int) -> None:
    """Within three units of all that the table has billed, also if processes take turns."""
    table = SmallTable(SmallDynamo())

    async def body(bench: Bench) -> None:
        if replicas > 1:
            bench.share_messages(replicas)
        before = table.reads
        assert await bench.run(workflow, n=n) == n
        header = await bench.engine.services.store.header(run_of(bench))
        # The day, and what is told of each process, are of no run; its end was read after it.
        assert abs(table.units - header.writes) <= 3 * replicas
        assert 0 <= table.reads - before - header.reads <= 4 * replicas

    virtually(ALL, body, table=table)


def test_what_a_failed_run_used_is_counted() -> None:
    """Its attempts and its backoff too."""
    table = SmallTable(SmallDynamo())

    async def body(bench: Bench) -> None:
        header, _ = await bench.engine.start("fails", {"n": 1})
        await bench.engine.result(header.run, 60)
        header = await bench.engine.services.store.header(header.run)
        assert abs(table.units - header.writes) <= 3
        view = run_view(header).cost
        assert view == cost_view(header)
        assert isinstance(view, CostView)
        assert view.write_units == header.writes
        assert view.dollars > 0

    virtually(ALL, body, table=table)


def test_where_nothing_is_billed_no_cost_is_shown() -> None:
    """Not one of nothing."""
    assert run_view(Header("r", "w", 0, 0, 1)).cost is UNSET


def test_a_write_that_did_not_hold_keeps_what_it_would_have_added() -> None:
    """So that the next one adds it."""

    async def main() -> None:
        table = BilledTable(SmallDynamo(), "t")
        key = header_key("r")
        await table.put(key, Header("r", "w", 0, 0, 1), absent=True)
        table.bills.note("r", {"gets": 7})
        refused = await table.update(key, when=[[Check("epoch", "=", 5)]], set={"epoch": 6})
        assert not refused.ok
        written = await table.update(key, when=[[Check("epoch", "=", 0)]], set={"epoch": 1})
        assert written.item.gets == 7
        assert written.item.writes == 3  # made, refused, changed

    asyncio.run(main())


def test_who_lists_runs_is_none_of_them() -> None:
    """To look at a list, however often, makes no run dearer; what is read for one is its own."""

    async def main() -> None:
        table = BilledTable(SmallDynamo(), "t")
        keys = [header_key(run) for run in ("r1", "r2", "r3")]
        for key in keys:
            await table.put(key, Header(key.partition[2:], "w", 0, 0, 1), absent=True)
        for _ in range(5):
            assert None not in await table.get_many(keys)
        assert [table.bills.take(run).get("reads", 0) for run in ("r1", "r2", "r3")] == [0] * 3
        await table.get_many([keys[0], operation_key("r1", "a")])
        assert table.bills.take("r1")["reads"] > 0

    asyncio.run(main())


def test_what_is_open_is_bounded() -> None:
    """Runs that are only looked at do not fill the memory; the newest stay."""
    bills = Bills()
    for number in range(MOST_RUNS + 5):
        bills.note(str(number), {"reads": 1})
    assert bills.take("4") == {}
    assert bills.take(str(MOST_RUNS + 4)) == {"reads": 1}


def test_half_units_wait_for_the_other_half() -> None:
    """A header has whole units."""
    bills = Bills()
    bills.note("r", {"reads": 0.5})
    assert bills.take("r") == {}
    bills.note("r", {"reads": 0.5})
    assert bills.take("r") == {"reads": 1}


def test_a_call_that_is_given_up_may_be_closed_anywhere() -> None:
    """Python closes its coroutine in whatever context is there, in which nothing changes."""
    bills = Bills()
    call = bills.of("r1")
    contextvars.copy_context().run(call.__enter__)
    with bills.of("r2"):
        call.__exit__(None, None, None)
        bills.consumed("writes", 1)
    assert (bills.take("r1"), bills.take("r2")) == ({}, {"writes": 1})


def test_threads_may_count_for_one_run_at_once() -> None:
    """The one that keeps claims looks at a run whose header another writes: no unit is lost."""
    bills, counted, most = Bills(), 0, 100_000

    def look() -> int:
        for _ in range(most):
            bills.note("r", {"reads": 1})
        return most

    every = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(1) as pool:
            looking = pool.submit(look)
            while not looking.done():
                counted += bills.take("r").get("reads", 0)
            assert looking.result() == counted + bills.take("r").get("reads", 0)
    finally:
        sys.setswitchinterval(every)
