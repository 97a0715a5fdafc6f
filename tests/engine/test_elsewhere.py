"""What this process cannot carry out and another can is put back, never recorded."""

from __future__ import annotations

import asyncio
import logging

import pytest

from rewake import task, workflow
from rewake.values import pickles
from tests.support.virtual import TABLES, Bench, virtually


@workflow
async def closures() -> int:
    async def slow(number: int) -> int:
        return number

    return sum(await asyncio.gather(*(task(lambda i=i: slow(i))() for i in range(3))))


@pytest.mark.parametrize("table", TABLES)
def test_a_closure_of_another_python_waits_for_it(
    table: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not fail: it is done as soon as its Python is there; one warning says why."""

    async def body(bench: Bench) -> None:
        lost = bench.lose_first_messages()
        run = (await bench.start("closures")).run
        await asyncio.sleep(0.1)
        assert lost
        with monkeypatch.context() as other, caplog.at_level(logging.WARNING, "rewake.engine"):
            other.setattr(pickles, "PYTHON", "3.99")
            await asyncio.sleep(300)
        assert (await bench.engine.result(run, 0)) is None
        told = [each for each in caplog.records if "is put back" in each.getMessage()]
        assert len(told) == 1
        assert pickles.PYTHON in told[0].getMessage()
        assert await bench.result(run) == 3
        assert bench.seconds < 400

    virtually([closures], body, table=table)
