"""Odd values of user code: each ends as in plain Python, or fails its operation clearly."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

import pytest

from rewake import TaskError, sleep, step, task, workflow
from rewake.records import LATEST
from tests.support.emptied import emptied
from tests.support.virtual import TABLES, Bench, virtually

ODD = os.fsdecode(b"\xff.txt")
# Of no family: the report of a test cannot hold what is logged here.
user = logging.Logger("tests.odd")  # noqa: LOG001
user.addHandler(logging.NullHandler())
calls: list[str] = []
everywhere = pytest.mark.parametrize("table", TABLES)
_emptied = emptied(calls)


@task
def first_big(rows: list[int]) -> int:
    return next(row for row in rows if row > 100)


@workflow
async def stops(how: str) -> str:
    try:
        if how == "task":
            await first_big([1, 2])
        else:
            await step("first", lambda: next(iter([])))
    except TaskError as error:
        return str(error)
    return "?"


@everywhere
@pytest.mark.parametrize("how", ["task", "step"])
def test_stop_iteration_of_sync_code_is_an_error_like_any_other(table: str, how: str) -> None:
    """`next()` without a default raises it; as from a coroutine, it is a `RuntimeError`."""

    async def body(bench: Bench) -> None:
        said = await bench.run("stops", wait=60, how=how)
        assert said == "RuntimeError: the function raised StopIteration"

    virtually([stops, first_big], body, table=table)


@task
async def logs_in_task() -> str:
    user.warning("found %s", ODD)
    return "task"


async def logs_in_step() -> str:
    user.warning("found %s", ODD)
    return "step"


@workflow
async def logs_everywhere() -> list[str]:
    user.warning("found %s", ODD)
    said = await logs_in_task()
    return [said, await step(f"read {ODD}", logs_in_step)]


@everywhere
@pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])
def test_no_line_of_log_fails_what_logged_it(table: str, cached: int) -> None:
    """A lone surrogate, as in the name of a file, is kept as an escape, in names of steps too."""

    async def body(bench: Bench) -> None:
        header = await bench.start("logs_everywhere")
        assert await bench.result(header.run) == ["task", "step"]
        batches = await bench.engine.logs(header.run)
        assert len(batches) == 3
        for batch in batches:
            assert [line.message for line in batch.lines] == [r"found \udcff.txt"]

    virtually([logs_everywhere, logs_in_task], body, table=table, cached=cached)


def never_right(error: BaseException) -> bool:
    raise AttributeError("no response")


@task(retries=3, delay=0, retry_on=never_right)
async def fetch() -> None:
    calls.append("task")
    raise ValueError("bad url")


async def fetch_inline() -> None:
    calls.append("step")
    raise ValueError("bad url")


@workflow
async def asks_a_broken_predicate(how: str) -> str:
    try:
        if how == "task":
            await fetch()
        else:
            await step("fetch", fetch_inline, retries=3, delay=0, retry_on=never_right)
    except TaskError as error:
        return f"{error} / {error.traceback}"
    return "?"


@everywhere
@pytest.mark.parametrize("how", ["task", "step"])
def test_a_predicate_that_fails_does_not_hide_the_error(table: str, how: str) -> None:
    """The operation ends at once with its own error; the predicate's mistake is told beside it."""

    async def body(bench: Bench) -> None:
        said = await bench.run("asks_a_broken_predicate", wait=60, how=how)
        assert said.startswith("ValueError: bad url")
        assert "retry_on failed on it" in said
        assert "AttributeError: no response" in said
        assert calls == [how]

    virtually([asks_a_broken_predicate, fetch], body, table=table)


class Rude(Exception):
    """An exception whose text is not to be had."""

    def __init__(self, raises: type[BaseException]) -> None:
        super().__init__(raises)
        self.raises = raises

    def __str__(self) -> str:
        raise self.raises("rude")


@workflow
async def is_rude(raises: str) -> str:
    kind = {"SystemExit": SystemExit, "CancelledError": asyncio.CancelledError}[raises]

    async def fail() -> None:
        raise Rude(kind)

    try:
        await step("rude", fail)
    except TaskError as error:
        return error.type
    return "?"


@pytest.mark.parametrize("raises", ["SystemExit", "CancelledError"])
def test_an_exception_without_a_text_is_still_recorded(raises: str) -> None:
    """Asking an exception for its text may raise anything; that never goes further."""

    async def body(bench: Bench) -> None:
        assert await bench.run("is_rude", wait=60, raises=raises) == "Rude"

    virtually([is_rude], body)


@workflow
async def sleeps_for_ages(how: str) -> str:
    await (sleep(sys.maxsize) if how == "sleep" else asyncio.sleep(sys.maxsize))
    return "awake"


@everywhere
@pytest.mark.parametrize("how", ["sleep", "asyncio"])
def test_a_wait_of_centuries_is_a_wait(table: str, how: str) -> None:
    """It ends with the year 9999, which a database can hold; until then the run is suspended."""

    async def body(bench: Bench) -> None:
        header = await bench.start("sleeps_for_ages", how=how)
        await asyncio.sleep(60)
        assert (await bench.engine.get(header.run)).wake == LATEST
        await bench.engine.cancel(header.run)
        await asyncio.sleep(60)
        assert (await bench.engine.get(header.run)).state == "cancelled"

    virtually([sleeps_for_ages], body, table=table)


@everywhere
def test_a_name_of_any_length_is_bounded_where_it_is_recorded(table: str) -> None:
    """Half a million characters do not fit into an item; the step runs, and replays as the same."""

    @workflow
    async def verbose() -> list[str]:
        one = await step("x" * 500_000, lambda: "one")
        return [one, await step("x" * 499_999 + "y", lambda: "two")]

    async def body(bench: Bench) -> None:
        header = await bench.start("verbose")
        assert await bench.result(header.run, 60) == ["one", "two"]

    virtually([verbose], body, table=table, cached=0)


@task(retries=3)
async def cancels_itself() -> str:
    current = asyncio.current_task()
    assert current is not None
    current.cancel()
    calls.append("begun")
    await asyncio.sleep(1)
    return "?"


@workflow
async def meets_its_own_cancellation(how: str) -> str:
    try:
        await (cancels_itself() if how == "task" else step("own", cancels_itself.function))
    except TaskError:
        return "failed"
    return "?"


@everywhere
@pytest.mark.parametrize("how", ["task", "step"])
def test_what_cancels_itself_has_failed_once(table: str, how: str) -> None:
    """A library that leaves a cancellation behind fails the work: it is not begun for ever."""

    async def body(bench: Bench) -> None:
        said = await bench.run("meets_its_own_cancellation", wait=60, how=how)
        assert said == "failed"
        assert calls == ["begun"]

    virtually([meets_its_own_cancellation, cancels_itself], body, table=table)
