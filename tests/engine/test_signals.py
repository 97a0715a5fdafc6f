"""Signals: what is sent comes once, in order, whenever it is sent; and what its sender is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from rewake import (
    signals,
    sleep,
    wait_for_signal,
    workflow,
)
from rewake.engine.signals import Signals
from rewake.errors import RunConflict
from tests.support.virtual import TABLES, Bench, virtually


@dataclass
class Payment:
    amount: int
    by: str = "card"


@workflow
async def pays(timeout: float | None = None) -> Any:
    try:
        payment = await wait_for_signal("paid", type=Payment, timeout=timeout)
    except TimeoutError as error:
        return str(error)
    return [payment.amount, payment.by]


@workflow
async def listens(number: int, pause: float = 0) -> list[str]:
    await sleep(pause)
    heard: list[str] = []
    async for line in signals("chat", type=str):
        heard.append(line)
        if len(heard) == number:
            break
    return heard


@pytest.mark.parametrize("table", TABLES)
def test_a_signal_ends_the_wait_for_it(table: str) -> None:
    """It is converted to the type of the wait; the same again changes nothing, another is late."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("pays")).run
        await asyncio.sleep(1)
        sent = await door.send(run, "paid", {"amount": 3}, id="a")
        assert await bench.result(run, 60) == [3, "card"]
        again = await door.send(run, "paid", {"amount": 3}, id="a")
        assert again.mark == sent.mark
        with pytest.raises(RunConflict, match="has ended"):
            await door.send(run, "paid", {"amount": 4}, id="b")

    virtually([pays], body, table=table)


@pytest.mark.parametrize("table", TABLES)
def test_what_comes_early_is_kept_in_the_order_of_sending(table: str) -> None:
    """Signals are kept before anybody waits for them, without a wake, and come in order."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("listens", number=20, pause=9)).run
        await asyncio.sleep(1)
        epoch = (await bench.engine.get(run)).epoch
        for number in range(20):
            await door.send(run, "chat", f"{number}")
        assert (await bench.engine.get(run)).epoch == epoch
        assert await bench.result(run, 60) == [f"{number}" for number in range(20)]

    virtually([listens], body, table=table)


def test_its_time_is_over() -> None:
    """Without a signal the wait raises a `TimeoutError`, after that one is told that it is late."""

    async def body(bench: Bench) -> None:
        assert await bench.run("pays", timeout=60) == "no signal 'paid' came in time"
        assert bench.seconds == pytest.approx(60, abs=1)

    virtually([pays], body)
