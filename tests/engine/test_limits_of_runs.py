"""What one run may store: warned of at half and at four fifths, refused before it is written."""

from __future__ import annotations

import asyncio

import pytest

from rewake import continue_as_new, sleep, step, task, workflow
from rewake.cli.remote.tables import _usage
from rewake.engine.turns.bounds import usage_of
from rewake.errors import LimitReached, StuckError
from rewake.states import RunState
from tests.support.virtual import Bench, Ended, virtually


@task
async def gives(size: int) -> str:
    return "x" * size


@workflow
async def long(laps: bool) -> None:
    for number in range(60):
        await sleep(1)
        if laps and number == 20:
            continue_as_new(False)


@workflow
async def large(size: int, inline: bool) -> None:
    if inline:
        await step("gives", lambda: "x" * size)
    else:
        await gives(size)


def test_a_history_that_is_full_is_stuck_before_it_is_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With the limit and the fix; each mark is warned of once; it goes on with a higher bound."""

    async def body(bench: Bench) -> None:
        header = await bench.start("long", laps=False)
        with pytest.raises(StuckError) as stuck:
            await bench.result(header.run)
        for part in ("100", "REWAKE_MOST_ENTRIES", "continue_as_new()", "resume"):
            assert part in str(stuck.value)
        found = await bench.engine.get(header.run)
        assert (found.state, LimitReached.__name__ in found.error) == (RunState.STUCK, True)
        assert found.count <= 100
        usage = usage_of(found, bench.engine.settings)
        assert (usage.entries, usage.most_entries, usage.passed) == (found.count, 100, 80)
        told = _usage({"usage": usage._asdict()})
        assert (
            told
            == f"{found.count} entries of at most 100, more than 80 %: continue_as_new() in time"
        )
        object.__setattr__(bench.engine.services.settings, "entries", 200)
        await bench.engine.resume(header.run)
        assert await bench.result(header.run) is None

    virtually([long], body, entries=100)
    marks = [record.args[2] for record in caplog.records if "the history of run" in record.msg]  # type: ignore[index]
    assert marks == [50, 80]


def test_a_run_that_continues_as_new_never_comes_near() -> None:
    """Each lap has a history of its own."""

    async def body(bench: Bench) -> None:
        header = await bench.start("long", laps=True)
        await asyncio.sleep(15)
        assert (await bench.engine.get(header.run)).state is RunState.PARKED
        with pytest.raises(StuckError):
            await bench.result(header.run)  # the last lap has too many
        assert (await bench.engine.get(header.run)).lap.number == 2

    virtually([long], body, entries=100)


def test_a_value_that_is_too_large_is_refused() -> None:
    """The task has failed, by name; a step makes its run stuck, with nothing written."""

    async def body(bench: Bench) -> None:
        with pytest.raises(Ended) as ended:
            await bench.run("large", size=2_000, inline=False)
        assert ended.value.failure is not None
        assert "REWAKE_LARGEST_VALUE" in ended.value.failure.message
        header = await bench.start("large", size=2_000, inline=True)
        with pytest.raises(StuckError, match="REWAKE_LARGEST_VALUE"):
            await bench.result(header.run)
        assert await bench.run("large", size=900, inline=True) is None

    virtually([large, gives], body, value=1_024)
