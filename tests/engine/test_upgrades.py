"""While a new version is rolled out, each process leaves alone what only another can carry on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import sleep, task, workflow
from rewake.engine.instances.program import RUNTIME
from rewake.engine.runs.listing import Wanted
from rewake.errors import ReadableElsewhere
from rewake.states import LIVE, RunState
from rewake.stores.keys import header_key
from rewake.stores.memory import MemoryTable
from rewake.stores.table import Indexed, Key
from rewake.values import codecs, pickles
from tests.support.virtual import Bench, virtually


@workflow
async def naps() -> str:
    await sleep(2)
    return "rested"


def test_a_run_of_another_app_is_left_to_it() -> None:
    """A process that lacks the workflow puts the run back, and one that has it finishes it."""

    async def body(bench: Bench) -> None:
        header = await bench.start("naps")
        await asyncio.sleep(1)
        found = bench.engine.app.workflows.pop("naps")
        bench.engine.services.cache.clear()
        await asyncio.sleep(100)
        kept = await bench.engine.get(header.run)
        assert (kept.state, kept.strikes) == (RunState.READY, 0)
        bench.engine.app.add(found)
        assert await bench.result(header.run) == "rested"

    virtually([naps], body)


def test_a_run_of_a_newer_rewake_is_left_to_it() -> None:
    """An old process replays nothing that a new one began: it puts the run back, untouched."""

    async def body(bench: Bench) -> None:
        header = await bench.start("naps")
        await asyncio.sleep(1)
        where = header_key(header.run)
        before = await bench.table.update(where, set={"runtime": RUNTIME + 1})
        await asyncio.sleep(100)
        kept = await bench.engine.get(header.run)
        assert (kept.state, kept.strikes) == (RunState.READY, 0)
        assert kept.count == before.item.count
        await bench.table.update(where, set={"runtime": RUNTIME})
        assert await bench.result(header.run) == "rested"

    virtually([naps], body, cached=0)


def test_what_only_a_newer_rewake_can_read_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A run whose newest entry is unknown here is changed by nothing, listed as it stands, told of
    once, and refused as what another server can read. An item of an unknown type harms nobody.
    """

    async def body(bench: Bench) -> None:
        table = bench.table
        assert isinstance(table, MemoryTable)
        header = await bench.start("naps")
        await asyncio.sleep(1)
        bench.engine.services.cache.clear()
        items = table._partitions[f"R#{header.run}"]
        known = items["H"]
        items["H"] = known.replace(b'"tail":[', b'"tail":[["novel",1],')
        items["Z#1"] = b'{"due":1}'
        table._index.follow(Key(f"R#{header.run}", "Z#1"), None, Indexed(1, ""))
        unknown = items["H"]
        await asyncio.sleep(100)
        assert items["H"] == unknown
        with pytest.raises(ReadableElsewhere):
            await bench.engine.get(header.run)
        [listed], _ = await bench.engine.listing.page(Wanted(), 10, None)
        assert (listed.run, listed.state) == (header.run, RunState.PARKED)
        told = [each for each in caplog.records if each.levelname == "WARNING"]
        assert ["a newer Rewake wrote" in each.getMessage() for each in told] == [True]
        items["H"] = known
        assert await bench.result(header.run) == "rested"

    virtually([naps], body, cached=0)


@workflow
async def closures() -> list[int]:
    return [await task(lambda: 5), await task(lambda: 6)]


@task
async def remake() -> Any:
    return [lambda: 7]


@workflow
async def remakes() -> int:
    (made,) = await remake()
    result: int = made()
    return result


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """All pickles are written as if by Python 3.7, which this process is not."""

    def pickled(value: Any, place: pickles.Place) -> pickles.Pickle:
        return pickles.pickled(value, place)._replace(python="3.7")

    monkeypatch.setattr(codecs, "pickled", pickled)
    return monkeypatch


@pytest.mark.parametrize(("program", "result"), [(closures, [5, 6]), (remakes, 7)])
def test_code_of_another_python_waits_for_it(
    program: Any, result: Any, foreign: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A closure that was asked for, or returned, on another minor is put back, never recorded."""

    async def body(bench: Bench) -> None:
        header = await bench.start(program.name)
        await asyncio.sleep(100)
        kept = await bench.engine.get(header.run)
        assert kept.state in LIVE
        assert kept.strikes <= 1
        assert "holds code of Python 3.7" in caplog.text
        foreign.setattr(pickles, "PYTHON", "3.7")
        assert await bench.result(header.run) == result

    virtually([program, remake], body)
