"""An attempt that ran out of time says which option ended it, and what had failed before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import TaskError, step, task, workflow
from rewake.embed import result_of
from tests.support.virtual import Bench, virtually

OVER = "total_timeout of 10 s was over; the attempt before failed with ConnectionError: refused"
calls: list[int] = []
TOTAL: Any = {"retries": 5, "delay": 1, "jitter": 0, "total_timeout": 10}


async def fails_then_hangs() -> None:
    calls.append(1)
    if len(calls) == 1:
        raise ConnectionError("refused")
    await asyncio.sleep(100)


flaky = task(fails_then_hangs, name="flaky", **TOTAL)


@task(timeout=3)
async def slow() -> None:
    await asyncio.sleep(100)


@workflow
async def main(how: str) -> str:
    try:
        if how == "step":
            await step("flaky", fails_then_hangs, **TOTAL)
        else:
            await (flaky() if how == "task" else slow())
    except TaskError as error:
        return str(error)
    return "?"


@pytest.mark.parametrize("cached", [0, 256])
@pytest.mark.parametrize(
    ("how", "said"),
    [
        (
            "task",
            OVER,
        ),
        (
            "step",
            OVER,
        ),
        ("slow", "the attempt took longer than its timeout of 3 s"),
    ],
)
def test_it_is_named(how: str, said: str, cached: int) -> None:
    """The message has the option's name and value, and the last error of the operation's own."""
    calls.clear()

    async def body(bench: Bench) -> None:
        assert said in await bench.run("main", how=how)

    virtually([main, flaky, slow], body, cached=cached)


@workflow
async def gives(how: str) -> set[int]:
    if how == "fail":
        raise LookupError("none")
    return {1, 2}


def test_an_embedder_reads_the_result() -> None:
    """`result_of` gives the Python value that the workflow returned, or raises its failure."""

    async def body(bench: Bench) -> None:
        done = await bench.start("gives", how="")
        outcome = await bench.engine.result(done.run, 60)
        assert outcome is not None
        assert result_of(bench.engine, done, outcome) == {1, 2}
        failed = await bench.start("gives", how="fail")
        outcome = await bench.engine.result(failed.run, 60)
        assert outcome is not None
        with pytest.raises(TaskError, match="LookupError: none"):
            result_of(bench.engine, failed, outcome)

    virtually([gives], body)
