"""`rewake.testing`: users' own apps with the real engine, in virtual time."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest

from rewake import publish, send_signal, sleep, task, wait_for_event, wait_for_signal, workflow
from rewake.app import App
from rewake.engine.sweeping.sweeper import Sweeper
from rewake.errors import (
    AppError,
    NothingDue,
    NotYet,
    RunNotFound,
    TaskError,
    UpdateRejected,
    UsageError,
)
from rewake.stores.table import Due
from rewake.testing import AsyncEnvironment, Environment, world
from tests.testing import shop

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _anew() -> None:
    shop.forget()


def test_weeks_pass_in_one_jump() -> None:
    """A wait for a result jumps to what is due: sleeps, and pauses of tasks, to the moment."""
    with Environment(shop, start=START) as server:
        run = server.start(shop.trial, "ada")

        assert run.result() == "ada, the trial ends tomorrow"
        assert server.now == START + timedelta(days=13, minutes=10)
        assert server._world.table.writes < 40


def test_time_is_moved_by_hand() -> None:
    """Time stands still until it is moved, and what is due by then has happened by then."""
    with Environment(shop, start=START) as server:
        run = server.start(shop.trial, "ada")
        server.advance(timedelta(days=13, seconds=-1))
        assert (server.get(run.id)["state"], server.now.day) == ("suspended", 14)
        with pytest.raises(NotYet):
            run.result(wait=0)

        server.advance(601)
        assert server.get(run.id)["state"] == "done"
        assert server.now == START + timedelta(days=13, seconds=600)


def test_everybody_else_is_the_test() -> None:
    """Updates, approvals, events, callbacks and signals are sent as by any client."""
    with Environment(shop) as server:
        run = server.start(shop.checkout, 7)
        with pytest.raises(UpdateRejected, match="an address is needed"):
            run.update("address", "")
        assert run.update("address", "Zurich") == "noted"
        assert [each["key"] for each in server.approvals()] == ["boss"]
        server.approve(run.id, "boss")
        server.publish("order.paid", {"order": 7})
        run.signal("carrier", "train")
        server.advance(0)
        server.complete(shop.asked[0], "settled")

        assert run.result() == "train Zurich settled"


def test_a_deadline_is_missed() -> None:
    """What nobody does in time runs out at its moment."""
    with Environment(shop, start=START) as server:
        run = server.start(shop.checkout, 7)
        run.update("address", "Zurich")

        assert run.result() == "refused: None"
        assert server.now == START + timedelta(days=1)


def test_a_wait_for_ever_is_told() -> None:
    """Where nothing is due any more, the test fails at once, with what each run waits for."""
    with Environment(shop, start=START) as server:
        run = server.start(shop.checkout, 7)

        with pytest.raises(NothingDue, match=rf"run {run.id} of checkout waits for .*address"):
            run.result()
        assert server.now == START
        assert run.update("address", "Zurich") == "noted"  # and it can go on


def test_a_wait_for_what_is_paused_is_told() -> None:
    """Whatever it waits for: until somebody resumes it, that is not what is missing."""
    with Environment(shop, start=START) as server:
        run = server.start(shop.checkout, 7)
        server.pause(run.id)

        with pytest.raises(NothingDue, match=f"run {run.id} of checkout is paused"):
            run.result()


@pytest.mark.parametrize("of", [None, len, "checkout"])
def test_what_has_no_name_in_the_app_cannot_be_faked(of: Any) -> None:
    """It is refused with what was given."""
    with (
        Environment(shop) as server,
        pytest.raises(UsageError, match=f"no task or workflow {of!r}".replace("<", ".")),
    ):
        server.fake(of)


def test_a_wait_has_an_end_where_something_is_always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schedules go on for ever; what is waited for beside them counts as vain some time."""
    monkeypatch.setattr(world, "JUMPS", 50)
    with Environment(shop, schedules=True) as server:
        run = server.start(shop.checkout, 7)
        with pytest.raises(NothingDue, match="after 50 moments"):
            run.result()


def test_what_could_not_be_checked_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that fails is made again a minute later, before nothing counts as due."""
    check, failed = Sweeper._check, list[str]()

    async def failing(sweeper: Sweeper, due: Due) -> None:
        if due.key.sort == "H" and not failed:
            failed.append(due.key.partition)
            raise RuntimeError("this once")
        await check(sweeper, due)

    monkeypatch.setattr(Sweeper, "_check", failing)
    with Environment(shop, start=START) as server:
        server.fake(shop.remind, lambda user: user)
        assert server.start(shop.trial, "ada").result() == "ada"
        assert server.now == START + timedelta(days=13, minutes=1)
    assert len(failed) == 1


def test_tasks_have_their_retries_and_tags() -> None:
    """A task that fails is tried again in its own time; one of a tag is carried out here too."""
    with Environment(shop, start=START) as server:
        answers = iter([ConnectionError("down"), ConnectionError("down"), "receipt"])

        def flaky(order: int, amount: int = 5) -> Any:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        calls = server.fake(shop.charge, flaky)
        assert server.start(shop.order, 3).result() == ["order 3", "receipt", "3"]
        assert calls == 3 * [{"order": 3}]
        assert server.now > START + timedelta(minutes=2)


def test_a_sync_task_may_have_a_loop_of_its_own() -> None:
    """Sync tasks run as in a thread, outside of the event loop."""
    with Environment(shop) as server:
        assert server.start(shop.order, 3).result()[1] == "receipt 3 of 5"


def test_runs_are_operated_as_anywhere() -> None:
    """Delayed starts, pauses, reruns, cancellations and retries do what they do."""
    with Environment("tests.testing.shop", start=START) as server:
        sent = server.fake(
            shop.remind, Mock(side_effect=[OSError("down"), "sent", "again", "late"])
        )
        late = server.with_options(delay=timedelta(days=2)).start(shop.trial, "ada")
        with pytest.raises(TaskError, match="down"):
            late.result()
        assert server.now == START + timedelta(days=15)
        server.retry(late.id)
        assert server.result(late.id) == "sent"
        assert server.result(server.rerun(late.id, {"user": "bob"})["id"]) == "again"
        assert [each["user"] for each in sent] == ["ada", "ada", "bob"]

        paused = server.start(shop.trial, "cid")
        server.pause(paused.id)
        server.advance(timedelta(days=20))
        assert server.get(paused.id)["state"] == "paused"
        server.resume(paused.id)
        assert (paused.result(), server.now) == ("late", START + timedelta(days=48))
        cancelled = server.start(shop.trial, "dan")
        cancelled.cancel("enough")
        with pytest.raises(TaskError, match="enough"):
            cancelled.result()


def test_what_a_run_has_done_is_seen() -> None:
    """Its operations are listed, all or of one kind, by both kinds of environment."""
    with Environment(shop) as server:
        run = server.start(shop.order, 3)
        run.result()
        found = [(each["key"], each["state"]) for each in server.operations(run.id)]
        assert found == [(key, "done") for key in ("note", "charge", "sleep", "parallel[0]/render")]

    async def check() -> list[str]:
        async with AsyncEnvironment(shop) as server:
            run = await server.start(shop.order, 3)
            await run.result()
            listed = server.operations(run.id, kind="task", state="done")
            return [each["key"] async for each in listed]

    assert asyncio.run(check()) == ["charge", "parallel[0]/render"]


def test_fakes_are_undone() -> None:
    """A fake is called instead of a task or child, and gone with the environment."""
    real = shop.charge.function, shop.order.function

    async def ordered(number: int) -> list[str]:
        return [f"not {number}"]

    with Environment(shop) as server:
        calls = server.fake(shop.order, ordered)
        assert server.start(shop.bundle, 3).result() == ["not 3"]
        assert calls == [{"number": 3}]
        recorded = server.fake(shop.charge)
        server._fakes.undo()
        server.fake(shop.charge)
        assert recorded == []
    assert (shop.charge.function, shop.order.function) == real


def test_what_is_recorded_is_itself() -> None:
    """Without a function, the calls of the real one are noted."""
    with Environment(shop) as server:
        calls = server.fake(shop.charge)
        assert server.start(shop.order, 4).result()[1] == "receipt 4 of 5"
        assert (calls, shop.charged) == ([{"order": 4}], [4])


def test_a_fake_has_the_types_of_the_task() -> None:
    """What a fake returns is what the task's annotations say, in the body and in the result."""
    with Environment(shop) as server:
        server.fake(shop.pack, lambda number: shop.Parcel(7))
        assert server.start(shop.sends, 3).result() == shop.Parcel(8)


def test_a_failed_run_is_an_error() -> None:
    """Errors are those of any client: of a run that failed, and of what there is not."""

    def broken(order: int, amount: int) -> str:
        raise LookupError(f"{order} for {amount}")

    with Environment(shop) as server:
        server.fake(shop.charge, lambda order: broken(order, 1))
        with pytest.raises(TaskError, match="3 for 1"):
            server.start(shop.order, 3).result()
        with pytest.raises(RunNotFound, match="no workflow 'none'"):
            server.start("none", {})
    with pytest.raises(AppError, match="has no @workflow"):
        Environment(socket)


def test_schedules_start_runs_where_that_is_wanted() -> None:
    """Schedules stand still by default, so that nothing else runs; else they fire at their time."""
    for wanted, started in ((False, 0), (True, 3)):
        with Environment(shop, start=START, schedules=wanted) as server:
            server.advance(timedelta(hours=3, minutes=1))
            assert len(list(server.list("hourly"))) == started


def test_nothing_real_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no socket, no thread and no sleep, and the system's clock is not asked to wait."""

    def refuse(*_: object, **__: object) -> Any:
        raise AssertionError("it is touched")

    for where, name in ((socket, "socket"), (time, "sleep")):
        monkeypatch.setattr(where, name, refuse)
    monkeypatch.setattr("threading.Thread.start", refuse)
    app = App(shop)
    with Environment(app) as server:
        server.fake(shop.charge, lambda order: f"receipt {order}")
        assert server.start(shop.order, 1).result() == ["order 1", "receipt 1", "1"]
    assert app.schedules  # an app that is given stays as it is


def test_what_would_take_real_time_is_refused() -> None:
    """An async task that opens a connection, or a process, is told to be faked."""

    async def connecting(user: str) -> str:
        await asyncio.open_connection(user, 80)
        return user

    async def spawning(user: str) -> str:
        await asyncio.create_subprocess_exec("true")
        return user

    for fake, what in ((connecting, "the network"), (spawning, "subprocesses")):
        with Environment(shop) as server:
            server.fake(shop.remind, fake)
            with pytest.raises(TaskError, match=f"without {what}"):
                server.start(shop.trial, "rewake.example").result()


def test_times_that_cannot_be() -> None:
    """A start without a zone, and time that goes back, are refused."""
    with pytest.raises(UsageError, match="needs a time zone"):
        Environment(shop, start=datetime(2026, 1, 1))  # noqa: DTZ001 - that is it
    with Environment(shop) as server:
        for wrong in (-1, timedelta(days=-1)):
            with pytest.raises(UsageError, match="time goes on"):
                server.advance(wrong)


def test_the_same_happens_each_time(caplog: pytest.LogCaptureFixture) -> None:
    """Two environments do the same, to the millisecond."""
    caplog.set_level(logging.WARNING)
    ends = []
    for _ in range(2):
        with Environment(shop) as server:
            run = server.start(shop.order, 3)
            run.result()
            ends.append((server.now, list(server.history(run.id))))
    assert ends[0] == ends[1]
    assert len(ends[0][1]) > 8
    assert not caplog.records


def test_coroutines_ask_side_by_side() -> None:
    """In an async test, in any loop, others go on before time moves, or a wait counts as vain."""

    async def check() -> None:
        async with AsyncEnvironment(shop, start=START) as server:
            run = await server.start(shop.checkout, 7)
            result = asyncio.create_task(run.result())
            wrong, right = run.update("address", ""), run.update("address", "Bern")
            told = await asyncio.gather(wrong, right, return_exceptions=True)
            assert [str(each) for each in told] == ["an address is needed", "noted"]
            await server.reject(run.id, "boss", comment="too dear")
            assert await result == "refused: too dear"
            assert server.now == START
            trials = [await server.start(shop.trial, name) for name in ("ada", "bob")]
            assert len(await asyncio.gather(*(each.result() for each in trials))) == 2
            await server.advance(60)
            assert server.now == START + timedelta(days=13, minutes=11)
            states = [each async for each in trials[0].watch(only=["state"])]
            assert states[-1]["state"] == "done"
            with pytest.raises(NothingDue):
                await (await server.start(shop.checkout, 8)).result()

    asyncio.run(check())


def test_a_wait_that_is_given_up_leaves_the_rest() -> None:
    """A coroutine of the test that is cancelled waits no more, and the environment goes on."""

    async def check() -> None:
        async with AsyncEnvironment(shop) as server:
            run = await server.start(shop.trial, "ada")
            waiting = asyncio.create_task(run.result())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await run.result() == "ada, the trial ends tomorrow"

    asyncio.run(check())


@task
async def tells() -> None:
    await send_signal("told", "go")
    await publish("go", {})


@workflow(on_event="go")
async def begun() -> str:
    await sleep(100)
    return "begun"


@workflow
async def told(by: str) -> str:
    await (wait_for_signal("go") if by == "signal" else wait_for_event("go"))
    await sleep(100)
    return "told"


@workflow
async def telling(by: str) -> None:
    await sleep(10)
    await tells() if by == "task" else await tells.function()


@pytest.mark.parametrize("by", ["task", "body"])
@pytest.mark.parametrize("waits_for", ["signal", "event"])
def test_a_run_that_another_one_tells_waits_for_its_timers(by: str, waits_for: str) -> None:
    """Time jumps to what is due of a run also where a task, or the body, of another has woken or
    begun it.
    """
    app = App()
    for each in (tells, begun, told, telling):
        app.add(each)
    with Environment(app, start=START) as server:
        run = server.with_options(id="told").start(told, waits_for)
        server.start(telling, by)
        assert run.result() == "told"
        assert server.now == START + timedelta(seconds=110)
        (other,) = server.list(workflow="begun")
        assert server.result(other["id"]) == "begun"
        assert server.now == START + timedelta(seconds=110)


def test_an_environment_that_is_closed_says_so() -> None:
    """Closed again, as by `with` behind a `close()`, it stays so; all else is refused."""
    with Environment(shop) as server:
        server.close()
        for ask in (lambda: server.start(shop.trial, "ada"), lambda: server.advance(1)):
            with pytest.raises(UsageError, match="this test environment is closed"):
                ask()
        with pytest.raises(UsageError, match="closed"):
            server.crash()
