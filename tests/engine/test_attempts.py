"""One invocation of a task: claimed, called once, delivered or released."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from typing import Any

import msgspec
import pytest

from rewake import TaskError, send_signal, step, task, task_context, wait_for_signal, workflow
from rewake.engine.attempts.stoppable import Body, Stopped
from rewake.engine.engine import Engine
from rewake.errors import StoreUnavailable
from rewake.records import Invocation, Operation, Value
from tests.support.emptied import emptied
from tests.support.virtual import TABLES, Bench, virtually

attempts: list[int] = []
everywhere = pytest.mark.parametrize("table", TABLES)
_emptied = emptied(attempts)


@task(retries=2, delay=5, jitter=0)
async def flaky(fails: int) -> int:
    attempts.append(task_context().attempt)
    if len(attempts) <= fails:
        raise ConnectionError("down")
    return len(attempts)


@workflow
async def tries(fails: int) -> str:
    try:
        return str(await flaky(fails))
    except TaskError as error:
        return error.type


async def the_operation(bench: Bench, run: str) -> Operation:
    _, history = await bench.engine.history(run)
    (operation,) = history.operations.values()
    return operation


@everywhere
def test_a_retry_waits_without_waking_the_run(table: str) -> None:
    """While the task waits for its next attempt, its item says why, and the run does nothing."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("tries", fails=1)).run
        await asyncio.sleep(1)
        waiting, before = await the_operation(bench, run), await bench.engine.get(run)
        assert waiting.failure is not None
        assert (waiting.owner, waiting.failure.type) == ("", "ConnectionError")
        assert waiting.not_before == waiting.due
        assert await bench.result(run) == "2"
        after = await bench.engine.get(run)
        assert 5 <= bench.seconds < 5.5
        assert after.epoch == before.epoch + 1
        assert attempts == [1, 2]

    virtually([tries, flaky], body, table=table)


@everywhere
def test_the_last_failure_is_delivered(table: str) -> None:
    """When no retry is left, the run sees the failure; nothing is tried again."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("tries", fails=9)).run
        assert await bench.result(run) == "ConnectionError"
        assert attempts == [1, 2, 3]
        ended = await the_operation(bench, run)
        assert (ended.attempts, ended.lost) == (3, 0)

    virtually([tries, flaky], body, table=table)


@everywhere
def test_a_message_for_what_has_an_outcome_does_nothing_again(table: str) -> None:
    """A message that comes twice, late, or long after the end calls no function."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("tries", fails=0)).run
        assert await bench.result(run) == "1"
        _, history = await bench.engine.history(run)
        key = next(iter(history.operations))
        before = await bench.engine.get(run)
        await bench.engine.handle(Invocation(run, key, "flaky"))
        assert attempts == [1]
        assert await bench.engine.get(run) == before

    virtually([tries, flaky], body, table=table)


def test_a_task_that_this_app_lacks_is_released_for_a_newer_replica() -> None:
    """A process without the task records nothing of it; one that has it carries it out."""

    async def body(bench: Bench) -> None:
        known = bench.engine.app.tasks
        dispatcher: Any = bench.engine.services.dispatcher
        dispatcher.local = False  # else it is claimed with the commit that asks for it
        dispatch, removed = dispatcher.dispatch, dict[str, Any]()

        async def forget(invocations: Any) -> None:
            if not removed and any(each.key for each in invocations):
                removed["flaky"] = known.pop("flaky")
            await dispatch(invocations)

        dispatcher.dispatch = forget
        run = (await bench.start("tries", fails=0)).run
        await asyncio.sleep(5)
        waiting = await the_operation(bench, run)
        assert (waiting.attempts, waiting.lost, waiting.outcome) == (0, 0, None)
        known.update(removed)
        assert await bench.result(run) == "1"
        assert attempts == [1]

    virtually([tries, flaky], body)


def test_arguments_that_cannot_be_read_fail_the_task() -> None:
    """A message whose arguments are damaged calls no function, and the run is told why."""

    async def body(bench: Bench) -> None:
        engine: Engine = bench.engine
        dispatcher: Any = engine.services.dispatcher
        dispatch = dispatcher.dispatch

        async def damaging(invocations: Any) -> None:
            damaged = Value("json", msgspec.Raw(b"{"))
            await dispatch(
                [msgspec.structs.replace(e, args=damaged) if e.key else e for e in invocations]
            )

        dispatcher.dispatch = damaging
        dispatcher.local = False
        assert await bench.run("tries", fails=0) == "CheckpointUnreadable"
        assert attempts == []

    virtually([tries, flaky], body)


@pytest.mark.parametrize("fails", [0, 1])
def test_what_an_attempt_came_to_is_written_until_the_store_takes_it(fails: int) -> None:
    """For longer than a lease neither a result nor a retry can be kept: nothing is repeated."""

    async def body(bench: Bench) -> None:
        store: Any = bench.engine.services.store
        deliver, retry = store.deliver, store.retry_task

        def once_it_works(write: Any) -> Any:
            async def tried(*args: Any, **named: Any) -> Any:
                if bench.seconds < 20:
                    raise StoreUnavailable("away")
                return await write(*args, **named)

            return tried

        store.deliver, store.retry_task = once_it_works(deliver), once_it_works(retry)
        run = (await bench.start("tries", fails=fails)).run
        assert await bench.result(run) == str(fails + 1)
        assert 20 <= bench.seconds < 27
        assert attempts == [1, 2][: fails + 1]
        assert (await the_operation(bench, run)).lost == 0

    virtually([tries, flaky], body)


@task
async def meddles() -> int:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    return sum(each.cancel() for each in others if "_settled" in repr(each.get_coro()))


@workflow
async def meddled() -> list[str]:
    found = await asyncio.gather(meddles(), flaky(0), return_exceptions=True)
    return [getattr(each, "type", "") for each in found]


def test_an_attempt_that_other_code_cancels_has_failed() -> None:
    """Whatever cancels its asyncio task, also before its first step: it is not waited for."""

    async def body(bench: Bench) -> None:
        header = await bench.start("meddled")
        assert await bench.result(header.run, 60) == ["", "NonRetryable"]

    virtually([meddled, meddles, flaky], body)


def test_an_attempt_may_be_stopped_before_its_first_step() -> None:
    """What was taken over just then: nothing of it runs, and nothing is left of it."""

    async def work() -> None:
        attempts.append(1)

    async def main() -> None:
        body, begins = Body(), work()
        carried = asyncio.ensure_future(body.run(begins, contextvars.Context()))
        await asyncio.sleep(0)
        body.stop()
        with pytest.raises(Stopped):
            await carried
        assert inspect.getcoroutinestate(begins) == inspect.CORO_CLOSED
        assert not attempts

    asyncio.run(main())


USER: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


@task
async def who() -> str:
    return USER.get()


@task
async def acts() -> None:
    USER.set("the user of another task")
    await send_signal("asks", "go", 1)


@workflow
async def asks() -> list[str]:
    await wait_for_signal("go")
    return [await who(), await step("who", USER.get)]


@workflow
async def leads() -> None:
    await acts()


def test_an_attempt_sees_nothing_of_who_has_led_to_it() -> None:
    """Context variables of a request, and of a task whose signal wakes a run, are theirs alone;
    those that were set when the engine was opened are seen in each attempt.
    """

    async def body(bench: Bench) -> None:
        USER.set("the user of a request")
        await bench.engine.start("asks", {}, run="asks")
        await bench.engine.start("leads", {}, run="leads")
        assert await bench.result("asks") == ["of the process"] * 2

    opened = contextvars.copy_context()
    opened.run(USER.set, "of the process")
    opened.run(virtually, [who, acts, asks, leads], body)
