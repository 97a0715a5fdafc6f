"""What runs cost on DynamoDB, counted from its requests, with the index: here and on ministack."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest

from rewake import step, workflow
from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.stores.dynamodb.client import Client
from rewake.stores.dynamodb.table import DynamoTable
from tests.engine.test_units import fan_out, nothing, quick, sequence
from tests.support.aws import table_name
from tests.support.dynamodb import wire
from tests.support.small_dynamodb import SmallDynamo
from tests.support.small_table import SmallTable
from tests.support.stores import reads_of
from tests.support.virtual import SECRET, Bench, virtually


@workflow
async def steps(n: int) -> int:
    for _ in range(n):
        await step("one", int)
    return n


ALL = [quick, nothing, sequence, fan_out, steps]


def cost(workflow: str, n: int) -> SmallTable:
    """The table after a run, in virtual time."""
    table = SmallTable(SmallDynamo())

    async def body(bench: Bench) -> None:
        assert await bench.run(workflow, n=n) == n

    virtually(ALL, body, table=table)
    return table


@pytest.mark.parametrize(
    ("workflow", "n", "most"),
    [("sequence", 100, 4.5), ("fan_out", 100, 3.5), ("fan_out", 1_000, 3.5)],
)
def test_a_task_costs_so_many_write_units(workflow: str, n: int, most: float) -> None:
    """Of items as DynamoDB counts their bytes, and of its index, without the run's own."""
    whole, own = cost(workflow, n), cost("nothing", 1)
    assert (whole.units - own.units) / n <= most
    assert whole.server.largest["H"] <= 1024


def test_a_cold_replay_of_a_thousand_steps_is_two_reads() -> None:
    """One of the chunks of the history, and one of the items of operations."""
    table = cost("steps", 1_000)

    async def body(bench: Bench) -> None:
        [run] = [key.partition("#")[2] for key in table.server.items if key.startswith("R#")]
        store = reads_of(table)
        header = await store.header(run)
        before = table.server.calls - table.server.looks
        history = await store.history(header)
        assert len(history.entries) > 1_000
        assert table.server.calls - table.server.looks - before == 2

    virtually(ALL, body, table=table)


@pytest.mark.parametrize(("workflow", "n", "most"), [("sequence", 30, 4.5), ("fan_out", 60, 3.5)])
def test_ministack_says_that_it_costs_no_more(workflow: str, n: int, most: float) -> None:
    """`ConsumedCapacity` of all requests of an engine in real time, with that of the index.

    It is what the server of this process counts, by which all other costs are told.
    """
    used: Counter[str] = Counter()

    def meter(operation: str, consumed: Any) -> None:
        for each in consumed if isinstance(consumed, list) else [consumed]:
            used["write" if operation in _WRITES else "read"] += each["CapacityUnits"]

    async def main() -> float:
        client = Client(wire("dynamodb"), meter=meter)
        table = DynamoTable(client, table_name(), uuid4().hex[:8])
        shelf = SmallTable(SmallDynamo())
        clock, app = SystemClock(), App()
        for each in ALL:
            app.add(each)
        engine = Engine(
            app,
            table,
            InProcessDispatcher(clock),
            SECRET,
            shelf=shelf,
            clock=clock,
        )
        engine.open()
        try:
            costs = []
            for name, number in (("nothing", 1), (workflow, n)):
                before = used["write"]
                header, _ = await engine.start(name, {"n": number})
                outcome = await engine.result(header.run, 60)
                assert outcome is not None
                costs.append(used["write"] - before)
        finally:
            await engine.close()
        return (costs[1] - costs[0]) / n

    counted = asyncio.run(main())
    assert 2 <= counted <= most
    small = (cost(workflow, n).units - cost("nothing", 1).units) / n
    assert counted == pytest.approx(small, rel=0.1)


_WRITES = {"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem"}
