"""Starts that others send, in virtual time: what they say again is not compared, nor all taken."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from rewake import sleep, workflow
from rewake.errors import InvalidInput, RunConflict
from tests.support.virtual import TABLES, Bench, die, virtually

everywhere = pytest.mark.parametrize("table", TABLES)


@dataclass
class Order:
    id: int


@workflow
async def ordered(order: Order) -> int:
    await sleep(60)
    return order.id


@everywhere
def test_the_first_start_of_a_key_stands(table: str) -> None:
    """Without a comparison, later arguments under the key change nothing and are not refused."""

    async def body(bench: Bench) -> None:
        engine = bench.engine
        first, _ = await engine.start("ordered", {"order": {"id": 1}}, idempotency_key="k")
        again, new = await engine.start(
            "ordered", {"order": {"id": 2}}, idempotency_key="k", compare=False
        )
        assert (again.run, new) == (first.run, False)
        with pytest.raises(RunConflict):
            await engine.start("ordered", {"order": {"id": 2}}, idempotency_key="k")
        assert await bench.result(first.run) == 1

    virtually([ordered], body, table=table)


@everywhere
def test_two_processes_that_start_at_once_start_one_run(table: str) -> None:
    """Of copies of one delivery that two servers take at once, one stands, and both know it."""

    async def body(bench: Bench) -> None:
        other = bench.another()
        other.open()
        found = await asyncio.gather(
            *(
                each.start("ordered", {"order": {"id": number}}, idempotency_key="k", compare=False)
                for number, each in enumerate([bench.engine, other] * 5)
            )
        )
        assert len({header.run for header, _ in found}) == 1
        assert [new for _, new in found].count(True) == 1
        await other.close()

    virtually([ordered], body, table=table)


@everywhere
def test_what_a_class_does_not_have_is_no_trouble_later(table: str) -> None:
    """A field that was ignored at the start is ignored by each process that replays the run."""

    async def body(bench: Bench) -> None:
        arguments = {"order": {"id": 7, "new": 1}}
        with pytest.raises(InvalidInput, match=r"order\.new"):
            await bench.engine.start("ordered", arguments)
        header, _ = await bench.engine.start("ordered", arguments, strict=False)
        await asyncio.sleep(30)
        other = bench.another()
        die(bench.engine)
        other.open()
        bench.engine = other
        assert await bench.result(header.run) == 7

    virtually([ordered], body, table=table)
