"""The instance that a turn drives: cached, replayed, or refused."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from rewake import sleep, workflow
from rewake.engine.instances.program import RUNTIME
from rewake.engine.turns.instance import Instance, TooNew, _check_versions
from rewake.errors import RunNotFound, StuckError
from rewake.records import Header
from tests.support.emptied import emptied
from tests.support.virtual import Bench, virtually

began: list[int] = []
_emptied = emptied(began)


@workflow
async def sleeps() -> str:
    began.append(1)
    await sleep(10)
    return "awake"


async def parked(bench: Bench) -> Header:
    run = (await bench.start("sleeps")).run
    await asyncio.sleep(1)
    return await bench.engine.get(run)


def test_a_suspended_instance_goes_on_in_place_and_one_that_is_gone_is_replayed() -> None:
    """Either way it is at the same place; only a replay calls the workflow's function again."""

    async def body(bench: Bench) -> None:
        header = await parked(bench)
        cached = Instance(bench.engine.services)
        execution = await cached.take(header)
        assert (cached.replayed, list(execution.open), began) == (False, ["sleep"], [1])
        cached.drop()
        again = Instance(bench.engine.services)
        execution = await again.take(header)
        assert (again.replayed, list(execution.open), began) == (True, ["sleep"], [1, 1])
        again.suspend(header)
        again.drop()
        assert await bench.result(header.run) == "awake"
        assert began == [1, 1]

    virtually([sleeps], body)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"runtime": 99}, TooNew, "runtime 99"),
        ({"strikes": 2, "deaths": 5}, StuckError, "died 5 times in a row"),
        ({"workflow": "elsewhere"}, RunNotFound, "elsewhere"),
    ],
)
def test_what_this_process_cannot_carry_on_is_refused(
    changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    """Each refusal says why; nothing of the workflow has run then."""

    async def body(bench: Bench) -> None:
        header = await parked(bench)
        bench.engine.services.cache.clear()
        began.clear()
        refused = Instance(bench.engine.services)
        with pytest.raises(error, match=says):
            await refused.take(msgspec.structs.replace(header, **changes))
        refused.drop()
        assert began == []

    virtually([sleeps], body)


def test_the_versions_are_those_of_this_process() -> None:
    """A header that this process writes is one that it can replay."""
    header = Header("r", "w", 0, seed=1, runtime=RUNTIME)
    _check_versions(header)
