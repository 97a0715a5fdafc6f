"""What this process cannot carry out and another can is put back, never recorded."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from rewake import sleep, task, workflow
from rewake.signing.secret import Secret
from rewake.states import LIVE
from rewake.values import pickles
from tests.support.virtual import SECRET, TABLES, Bench, virtually


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


@workflow
async def remembers() -> int:
    (made,) = await made_of_code()
    await sleep(2)
    result: int = made()
    return result


@task
async def made_of_code() -> Any:
    return [lambda: 7]


async def warnings_of_other_keys(
    bench: Bench, run: str, caplog: pytest.LogCaptureFixture, level: int = logging.WARNING
) -> list[str]:
    """What is told while for 1000 s only a process with other keys is there."""
    services = bench.engine.services
    services.secret = Secret("another secret of some length")
    services.cache.clear()
    with caplog.at_level(level, "rewake.engine"):
        await asyncio.sleep(1000)
    services.secret = SECRET
    kept = await bench.engine.get(run)
    assert kept.state in LIVE
    assert kept.strikes == 0
    assert not kept.error or "which is none of this process" in kept.error  # of a run, for people
    return [each.getMessage() for each in caplog.records if "put back" in each.getMessage()]


@pytest.mark.parametrize("table", TABLES)
def test_a_run_that_an_unknown_key_signed_waits_for_it(
    table: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is put back by who lacks the key, with one warning, and does not get stuck."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("remembers")).run
        await asyncio.sleep(1)
        told = await warnings_of_other_keys(bench, run, caplog)
        assert len(told) == 1
        assert f"run {run} is put back for another process" in told[0]
        assert f"key {SECRET.id}" in told[0]
        assert await bench.result(run) == 7
        assert bench.seconds < 1100

    virtually([remembers, made_of_code], body, table=table)


@pytest.mark.parametrize("table", TABLES)
def test_a_task_that_an_unknown_key_signed_waits_for_it(
    table: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is put back by who lacks the key, with one warning, and does not fail."""

    async def body(bench: Bench) -> None:
        lost = bench.lose_first_messages()
        run = (await bench.start("closures")).run
        await asyncio.sleep(0.1)
        assert lost
        told = await warnings_of_other_keys(bench, run, caplog)
        assert len(told) == 1
        assert f"key {SECRET.id}" in told[0]
        assert await bench.result(run) == 3
        assert bench.seconds < 1100

    virtually([closures], body, table=table)


def test_a_run_that_is_put_back_costs_little(caplog: pytest.LogCaptureFixture) -> None:
    """Who cannot carry a run on replays it ever more rarely, at the least once a minute."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("remembers")).run
        await asyncio.sleep(1)
        told = await warnings_of_other_keys(bench, run, caplog, logging.DEBUG)
        assert 1000 / 75 < len(told) < 30

    virtually([remembers, made_of_code], body)
