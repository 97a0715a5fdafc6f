"""Pausing a run: nothing new begins, what runs ends, what arrives is kept, until it is resumed."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from rewake import Approval, Decision, now, sleep, step, task, wait_for_approval, workflow
from rewake.authoring.workflow import Workflow
from rewake.engine.outside.approvals import Approvals
from rewake.errors import RunConflict, RunNotFound, TaskError
from rewake.kinds import Kind, OutcomeKind
from rewake.records import CancelRequested, Header
from rewake.states import RunState
from tests.support.virtual import TABLES, Bench, die, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
warm_and_cold = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])

begun: list[str] = []


@pytest.fixture(autouse=True)
def nothing_begun() -> None:
    begun.clear()


async def work(name: str) -> str:
    begun.append(name)
    await asyncio.sleep(10)
    return name


slow = task(work)


@task(retries=5, delay=60, jitter=0)
async def flaky(fails: int) -> str:
    begun.append("try")
    if len(begun) <= fails:
        raise ValueError("again")
    return f"try {len(begun)}"


@workflow
async def two_tasks() -> list[str]:
    return [await slow("a"), await slow("b")]


@workflow
async def two_steps() -> list[str]:
    return [await step(name, functools.partial(work, name)) for name in ("a", "b")]


@workflow
async def two_sure_steps() -> list[str]:
    return [
        await step(name, functools.partial(work, name), at_most_once=True) for name in ("a", "b")
    ]


@workflow
async def backs_off(fails: int) -> str:
    return await flaky(fails)


async def paused(bench: Bench, run: str) -> Header:
    """The run once it is paused."""
    await bench.engine.pause(run)
    await asyncio.sleep(30)
    header = await bench.engine.get(run)
    assert (header.state, header.due, header.pause) == (RunState.PAUSED, None, False)
    return header


@everywhere
@warm_and_cold
@pytest.mark.parametrize("body", [two_tasks, two_steps, two_sure_steps], ids=lambda it: it.name)
def test_what_runs_ends_and_nothing_new_begins(
    table: str, cached: int, body: Workflow[[], list[str]]
) -> None:
    """An attempt ends and is kept; what follows it begins once, when the run is resumed."""

    async def check(bench: Bench) -> None:
        run = (await bench.start(body.name)).run
        await asyncio.sleep(5)
        await paused(bench, run)
        await asyncio.sleep(1000)
        assert begun == ["a"]
        await bench.engine.resume(run)
        assert await bench.result(run) == ["a", "b"]
        assert begun == ["a", "b"]

    virtually([two_tasks, two_steps, two_sure_steps, slow], check, table=table, cached=cached)


@everywhere
@pytest.mark.parametrize("pauses", [20, 3_000])
def test_a_task_that_backs_off_is_tried_again_when_it_is_resumed(table: str, pauses: int) -> None:
    """No attempt begins in a pause, which costs ever fewer looks; then the next begins at once."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("backs_off", fails=1)).run
        await asyncio.sleep(50)
        await bench.engine.pause(run)
        looks, postpone = list[Any](), bench.engine.services.store.postpone

        async def counted(*about: Any, **how: Any) -> bool:
            looks.append(about)
            return await postpone(*about, **how)

        bench.engine.services.store.postpone = counted  # type: ignore[method-assign]
        await asyncio.sleep(pauses)
        assert (len(begun), len(looks) < 40) == (1, True)
        before = bench.seconds
        await bench.engine.resume(run)
        assert await bench.result(run) == "try 2"
        assert bench.seconds - before < 60

    virtually([backs_off, flaky], check, table=table)


@workflow
async def decided() -> str:
    asked = asyncio.ensure_future(wait_for_approval("boss", timeout=200))
    await sleep(60)
    begun.append(now().isoformat())
    return (await asked).decision


async def approve(bench: Bench, run: str) -> None:
    """Approve what the run asks for."""
    _, history = await bench.engine.history(run)
    [asked] = history.open(Kind.APPROVAL)
    await Approvals(bench.engine).decide(run, asked.key, Approval(Decision.APPROVED, None))


@everywhere
@warm_and_cold
def test_decisions_and_timers_of_a_pause_are_observed_at_its_end(table: str, cached: int) -> None:
    """A decision is kept, and wakes nobody; a timer fires when the run is resumed, not before."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("decided")).run
        await asyncio.sleep(5)
        header = await paused(bench, run)
        await approve(bench, run)
        await asyncio.sleep(100)
        after = await bench.engine.get(run)
        assert (after.state, after.count, begun) == (RunState.PAUSED, header.count, [])
        assert (after.arrivals, after.epoch) == (header.arrivals + 1, header.epoch)
        await bench.engine.resume(run)
        assert await bench.result(run) == "approved"
        [fired] = begun
        assert fired == datetime.fromtimestamp(1_700_000_000 + 135, UTC).isoformat()

    virtually([decided], check, table=table, cached=cached)


@everywhere
def test_a_deadline_that_passes_in_a_pause_counts(table: str) -> None:
    """A decision after the deadline is refused also while the run is paused; then it times out."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("decided")).run
        await asyncio.sleep(5)
        await paused(bench, run)
        await asyncio.sleep(400)
        with pytest.raises(RunConflict):
            await approve(bench, run)
        await bench.engine.resume(run)
        assert await bench.result(run) == "timed_out"

    virtually([decided], check, table=table)


@workflow(timeout=100)
async def in_time() -> str:
    try:
        await sleep(50)
    finally:
        begun.append("cleaned up")
    return "in time"


def test_the_time_of_a_run_goes_on_in_a_pause() -> None:
    """A run whose time is over when it is resumed ends in a timeout then, after its cleanup."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("in_time")).run
        await asyncio.sleep(5)
        await paused(bench, run)
        await asyncio.sleep(70)
        assert begun == []
        await bench.engine.resume(run)  # its sleep was over first
        assert await bench.result(run) == "in time"
        late = (await bench.start("in_time")).run
        await asyncio.sleep(1)
        await bench.engine.pause(late)
        header = await bench.engine.get(late)
        assert header.state is RunState.PAUSED

    virtually([in_time], check)


@workflow
async def cleans_up() -> str:
    try:
        await sleep(10**6)
    finally:
        await slow("cleanup")
    return "never"


@everywhere
@warm_and_cold
def test_a_request_to_cancel_ends_the_pause(table: str, cached: int) -> None:
    """Accepted means observed: a paused run that is asked to cancel cleans up and ends."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("cleans_up")).run
        await asyncio.sleep(5)
        await paused(bench, run)
        await bench.engine.cancel(run, "enough")
        outcome = await bench.engine.result(run, 100)
        assert outcome is not None
        assert (outcome.kind, begun) == (OutcomeKind.CANCELLED, ["cleanup"])
        _, history = await bench.engine.history(run)
        assert sum(isinstance(entry, CancelRequested) for entry in history.entries) == 1

    virtually([cleans_up, slow], check, table=table, cached=cached)


@everywhere
def test_a_paused_run_can_be_killed(table: str) -> None:
    """A kill ends it as it stands, and nothing of it is due any more."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("cleans_up")).run
        await asyncio.sleep(5)
        await paused(bench, run)
        killed = await bench.engine.kill(run)
        assert (killed.state, begun) == (RunState.CANCELLED, [])
        with pytest.raises(RunConflict, match="cancelled"):
            await bench.engine.pause(run)

    virtually([cleans_up, slow], check, table=table)


def test_what_cannot_be_paused_or_resumed_is_refused() -> None:
    """A run that is over, or not there, is not paused; one that is not paused is not resumed."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("two_tasks")).run
        with pytest.raises(RunConflict, match="neither stuck nor paused"):
            await bench.engine.resume(run)
        assert (await bench.engine.pause(run, dry_run=True)).pause is False
        await bench.result(run)
        for dry_run in (True, False):
            with pytest.raises(RunConflict, match="it is done"):
                await bench.engine.pause(run, dry_run=dry_run)
        with pytest.raises(RunNotFound):
            await bench.engine.pause("none")

    virtually([two_tasks, slow], check)


@everywhere
def test_a_pause_that_nobody_has_seen_yet_is_taken_back(table: str) -> None:
    """A run that is resumed while its steps still run was never paused, and goes on."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("two_steps")).run
        await asyncio.sleep(2)
        for _ in range(3):
            header = await bench.engine.pause(run)
            assert (header.state, header.pause) == (RunState.RUNNING, True)
            assert (await bench.engine.resume(run)).pause is False
        assert await bench.result(run) == ["a", "b"]
        assert begun == ["a", "b"]

    virtually([two_steps], check, table=table)


@workflow
async def backs_off_beside_a_step() -> list[str]:
    async def fails_once() -> str:
        begun.append("short")
        if begun.count("short") == 1:
            raise ValueError("again")
        return "short"

    long = asyncio.ensure_future(step("long", functools.partial(work, "long")))
    return [await step("short", fails_once, retries=1, delay=3, jitter=0), await long]


@everywhere
@pytest.mark.parametrize("pauses", [5, 20])
def test_a_step_that_backs_off_beside_another_is_tried_again_after_a_pause(
    table: str, pauses: int
) -> None:
    """Its next attempt is due while the other runs on: till it may begin, it wakes nobody."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("backs_off_beside_a_step")).run
        await asyncio.sleep(1)
        await bench.engine.pause(run)
        await asyncio.sleep(pauses)
        assert begun.count("short") == 1
        await bench.another().resume(run)
        await asyncio.sleep(2)
        assert begun.count("short") == 2
        assert await bench.result(run) == ["short", "long"]

    virtually([backs_off_beside_a_step], check, table=table)


@everywhere
def test_a_run_whose_process_died_is_paused_by_whoever_would_take_it_over(table: str) -> None:
    """Its body is not begun for that: it may be what kills processes."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("two_steps")).run
        await asyncio.sleep(2)
        other = bench.another()
        die(bench.engine)
        other.open()
        bench.engine = other
        await other.pause(run)
        await asyncio.sleep(100)
        header = await other.get(run)
        assert (header.state, header.epoch, begun) == (RunState.PAUSED, 1, ["a"])
        await other.resume(run)
        outcome = await other.result(run, 100)
        assert outcome is not None
        assert outcome.kind is OutcomeKind.OK
        assert begun == ["a", "a", "b"]

    virtually([two_steps], check, table=table)


def test_a_process_that_closes_pauses_what_it_was_asked_to() -> None:
    """A run that is released while it is to be paused is paused, not begun elsewhere."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("two_steps")).run
        await asyncio.sleep(2)
        other = bench.another()
        other.open()
        await bench.engine.pause(run)
        await bench.engine.close(0)
        await asyncio.sleep(60)
        assert (await other.get(run)).state is RunState.PAUSED
        assert begun == ["a"]
        await other.resume(run)
        outcome = await other.result(run, 100)
        assert outcome is not None
        assert outcome.kind is OutcomeKind.OK

    virtually([two_steps], check)


@workflow
async def wide(number: int) -> int:
    return len(await asyncio.gather(*(slow(str(each)) for each in range(number))))


@everywhere
def test_a_wide_run_is_paused_and_goes_on(table: str) -> None:
    """Of many tasks those that run end; the others begin after the pause, each once."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("wide", number=40)).run
        await asyncio.sleep(5)
        await paused(bench, run)
        before = len(begun)
        await asyncio.sleep(1000)
        assert (before, len(begun)) == (8, 8)
        await bench.engine.resume(run)
        assert await bench.result(run) == 40
        assert sorted(begun, key=int) == [str(each) for each in range(40)]

    virtually([wide, slow], check, table=table, tasks=8)


ENDINGS: dict[str, Callable[[Bench, str], Awaitable[Any]]] = {
    "resume": lambda bench, run: bench.engine.resume(run),
    "cancel": lambda bench, run: bench.engine.cancel(run),
    "kill": lambda bench, run: bench.engine.kill(run),
}


@everywhere
@pytest.mark.parametrize("name", ["two_tasks", "two_steps", "decided"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_at_each_moment_a_pause_loses_nothing(table: str, name: str, ending: str) -> None:
    """Paused at any moment of its life, and let go on soon after, a run ends as it should."""

    async def check(bench: Bench) -> None:
        for number in range(12):
            run = (await bench.start(name)).run
            await asyncio.sleep(number * 2 + 0.001 * number)
            try:
                await bench.engine.pause(run)
                await asyncio.sleep((0, 0.001, 7)[number % 3])
                await ENDINGS[ending](bench, run)
            except RunConflict:
                assert (await bench.engine.get(run)).state in (RunState.DONE, RunState.RUNNING)
                continue
            outcome = await bench.engine.result(run, 10**5)
            assert outcome is not None
            wanted = OutcomeKind.OK if ending == "resume" else OutcomeKind.CANCELLED
            assert outcome.kind is wanted

    virtually([two_tasks, two_steps, decided, slow], check, table=table)


@workflow
async def catches() -> str:
    try:
        return await step("bad", functools.partial(fails_after, 10))
    except TaskError as error:
        return error.type


async def fails_after(seconds: float) -> str:
    await asyncio.sleep(seconds)
    raise ValueError("no")


def test_a_run_that_fails_or_ends_as_it_is_paused_has_ended() -> None:
    """Who asks too late finds that it is over; nothing stays marked as to be paused."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("catches")).run
        await asyncio.sleep(9.999)
        await bench.engine.pause(run)
        await asyncio.sleep(5)
        header = await bench.engine.get(run)
        assert (header.state, header.pause) == (RunState.DONE, False)

    virtually([catches], check)
