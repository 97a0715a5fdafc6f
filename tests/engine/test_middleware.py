"""Middleware: what it is around, in which order, and that it breaks nothing, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncIterator, Iterator

import pytest

from rewake import Around, middleware, sleep, step, task, workflow
from rewake.errors import AppError
from tests.support.virtual import TABLES, Bench, Ended, virtually

SEEN: list[str] = []
SPAN: contextvars.ContextVar[str] = contextvars.ContextVar("span", default="")


@pytest.fixture(autouse=True)
def _nothing_is_seen() -> None:
    SEEN.clear()


@middleware
def outer(around: Around) -> Iterator[None]:
    token = SPAN.set(around.name)
    SEEN.append(f"outer {around.kind} {around.key} {around.attempt}")
    try:
        yield
    except BaseException as error:
        SEEN.append(f"failed {around.kind} {type(error).__name__}")
        raise
    finally:
        SPAN.reset(token)
        SEEN.append(f"left {around.kind}")


@middleware
async def inner(around: Around) -> AsyncIterator[None]:
    SEEN.append(f"inner {around.kind}")
    await asyncio.sleep(0)
    yield
    SEEN.append(f"inner left {around.kind}")


@task(retries=1, delay=1)
async def double(n: int) -> str:
    if len([each for each in SEEN if each.startswith("outer task")]) < 2:
        raise ValueError("again")
    return f"{2 * n} in {SPAN.get()!r}"


@task
def in_thread() -> str:
    return SPAN.get()


@workflow
async def main(n: int = 1) -> list[str]:
    first = await step("look", lambda: f"look in {SPAN.get()!r}")
    await sleep(10)
    return [first, await double(n), f"body in {SPAN.get()!r}"]


@pytest.mark.parametrize("table", TABLES)
def test_it_is_around_each_invocation_and_each_attempt(table: str) -> None:
    """The first is outermost; the function sees what it sets, the body does not; each attempt and
    each time that the run is woken is one.
    """

    async def body(bench: Bench) -> None:
        assert await bench.run("main", n=2) == [
            "look in 'look'",
            "4 in 'double'",
            "body in ''",
        ]

    virtually((outer, inner, double, main), body, table=table)
    assert SEEN[:4] == ["outer workflow  1", "inner workflow", "outer step look 1", "inner step"]
    assert [each for each in SEEN if each.startswith("outer task")] == [
        "outer task double 1",
        "outer task double 2",
    ]
    assert "failed task ValueError" in SEEN
    begun = [each for each in SEEN if each.startswith("outer workflow")]
    assert len(begun) == len([each for each in SEEN if each == "left workflow"]) == 3


def test_a_thread_sees_what_it_sets() -> None:
    """A sync task runs in a copy of the attempt's context."""

    @workflow
    async def calls() -> str:
        return await in_thread()

    async def body(bench: Bench) -> None:
        assert (await bench.run("calls")).endswith("in_thread")

    virtually((outer, in_thread, calls), body)


def _raises(around: Around) -> Iterator[None]:
    if around.attempt >= 0:
        raise RuntimeError("before")
    yield


def _raises_after(around: Around) -> Iterator[None]:
    yield
    raise SystemExit(1)


def _swallows(around: Around) -> Iterator[None]:
    try:
        yield
    except Exception:
        return


def _twice(around: Around) -> Iterator[None]:
    yield
    yield


def _never(around: Around) -> Iterator[None]:
    if around.attempt < 0:
        yield


async def _hangs(around: Around) -> AsyncIterator[None]:
    if around.attempt >= 0:
        await asyncio.Event().wait()
    yield


async def _hangs_after(around: Around) -> AsyncIterator[None]:
    yield
    await asyncio.Event().wait()


async def _raises_async(around: Around) -> AsyncIterator[None]:
    if around.attempt >= 0:
        raise ValueError(str(around))
    yield


def _cancels(around: Around) -> Iterator[None]:
    if around.attempt >= 0:
        raise asyncio.CancelledError
    yield


def _cancels_after(around: Around) -> Iterator[None]:
    yield
    raise GeneratorExit


async def _cancels_its_task(around: Around) -> AsyncIterator[None]:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    yield


async def _times_out(around: Around) -> AsyncIterator[None]:
    async with asyncio.timeout(0.01):
        yield


async def _cannot_be_stopped(around: Around) -> AsyncIterator[None]:
    yield
    while SEEN:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1)


BROKEN = [
    *(_raises, _raises_after, _swallows, _twice, _never, _hangs, _hangs_after, _raises_async),
    *(_cancels, _cancels_after, _cancels_its_task, _times_out, _cannot_be_stopped),
]


@pytest.mark.parametrize(
    "broken",
    BROKEN,
    ids=lambda each: each.__name__,
)
def test_what_is_broken_breaks_nothing(broken: object, caplog: pytest.LogCaptureFixture) -> None:
    """Neither what succeeds nor what fails ends otherwise; the others are still called."""

    @task
    async def fails() -> None:
        await asyncio.sleep(1)
        raise ValueError("as it is")

    @workflow
    async def calls(well: bool) -> str:
        if not well:
            await fails()
        return await step("look", lambda: "seen")

    async def body(bench: Bench) -> None:
        assert await bench.run("calls", well=True) == "seen"
        with pytest.raises(Ended, match="TaskError") as ended:
            await bench.run("calls", well=False)
        assert ended.value.failure is not None
        assert "as it is" in ended.value.failure.message
        assert bench.seconds < 120
        seen.extend(SEEN)
        SEEN.clear()
        await asyncio.sleep(5)

    seen: list[str] = []
    caplog.set_level(logging.CRITICAL, "asyncio")
    virtually((middleware(broken), inner, fails, calls), body)  # type: ignore[arg-type]
    assert "inner step" in seen


def test_a_run_can_be_cancelled_within_it() -> None:
    """An attempt that is cancelled ends as such, and its middleware is left."""

    @task
    async def waits() -> None:
        await asyncio.sleep(10**6)

    @workflow
    async def calls() -> None:
        await waits()

    async def body(bench: Bench) -> None:
        run = await bench.start("calls")
        await asyncio.sleep(5)
        await bench.engine.cancel(run.run)
        with pytest.raises(Ended, match="cancelled"):
            await bench.result(run.run)
        await asyncio.sleep(60)
        assert "failed task CancelledError" in SEEN

    virtually((outer, waits, calls), body)


def test_it_is_a_generator_function() -> None:
    """What is none is refused where it is written."""
    with pytest.raises(AppError):
        middleware(lambda around: iter(()))


def test_a_run_is_released_that_was_cut_off_before_it_began() -> None:
    """A process that ends while middleware is about to run around a run does not hold that."""

    @middleware
    async def slow(_: Around) -> AsyncIterator[None]:
        await asyncio.sleep(4)
        yield

    async def body(bench: Bench) -> None:
        run = await bench.start("main")
        await asyncio.sleep(2)
        other = bench.another()
        await bench.engine.close(0)
        assert not (await other.get(run.run)).owner
        bench.engine = other
        other.open()

    virtually((slow, double, main), body)
