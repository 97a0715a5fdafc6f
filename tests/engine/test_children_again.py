"""Child runs and what comes after: retries of a family, removal, large and sealed values, laps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import continue_as_new, sleep, task, workflow
from rewake.codecs import AesGcm
from rewake.engine.instances.program import new_execution
from rewake.errors import RunConflict, RunNotFound
from rewake.keep import keep_of
from rewake.records import Header
from rewake.signing.secret import Secret
from rewake.states import RunState
from tests.engine.test_children import both, child_ids
from tests.support.virtual import Bench, Ended, die, virtually

BROKEN: set[str] = set()
"""What fails, until a test mends it."""
DONE: list[str] = []
"""What tasks have done, in order."""
BIG = "x" * 100_000


class Odd:
    """A value that only a pickle can hold."""

    def __init__(self, n: int) -> None:
        self.n = n


@task
async def act(name: str) -> str:
    if name in BROKEN:
        raise LookupError(f"{name} is broken")
    DONE.append(name)
    return name


@workflow
async def works(name: str) -> str:
    await act(f"{name} first")
    await sleep(1)
    return await act(name)


@workflow
async def family(names: list[str]) -> list[str]:
    await act("begin")
    return list(await asyncio.gather(*(works(name) for name in names)))


@workflow
async def by_handle(name: str) -> str:
    handle = await works.start(name)
    await sleep(5)
    return await handle.result()


@workflow
async def waits_alone(name: str) -> str:
    return await works(name)


@workflow
async def makes(n: int) -> Any:
    return [BIG, Odd(n)]


@workflow
async def takes_big(text: str) -> int:
    return len(text)


@workflow
async def large() -> Any:
    text, odd = await makes(7)
    return [len(text), odd.n, await takes_big(BIG)]


@workflow
async def laps(left: int) -> str:
    await works(f"lap {left}")
    if left:
        continue_as_new(left - 1)
    return "done"


@workflow
async def waits_for_laps() -> str:
    return await laps(2)


@workflow
async def leaves() -> str:
    return (await works.start("left", id="left")).id


ALL = [leaves, act, works, family, by_handle, makes, takes_big, large, laps, waits_for_laps]


def run(body: Any, table: str = "memory", cached: int = 256, **settings: Any) -> None:
    BROKEN.clear()
    DONE.clear()
    virtually(ALL, body, table=table, cached=cached, **settings)


@both
def test_a_retry_of_a_parent_retries_the_child_that_failed(table: str, cached: int) -> None:
    """It goes on from before its error; what was cancelled with it begins anew."""

    async def body(bench: Bench) -> None:
        BROKEN.add("b")
        parent = await bench.start("family", names=["a", "b", "c"])
        with pytest.raises(Ended):
            await bench.result(parent.run)
        failed = (await child_ids(bench, parent.run))[1]
        assert (await bench.engine.get(failed)).state is RunState.FAILED
        BROKEN.clear()
        await bench.engine.retry(parent.run)
        assert await bench.result(parent.run) == ["a", "b", "c"]
        assert DONE.count("begin") == DONE.count("b first") == DONE.count("b") == 1
        retried = await bench.engine.get(failed)
        assert (retried.state, retried.round) == (RunState.DONE, 1)

    run(body, table, cached)


@workflow
async def lasts(name: str) -> str:
    await act(name)
    await sleep(3_600)
    return name


@workflow
async def waits(name: str) -> str:
    return await lasts(name)


def test_a_retried_parent_waits_for_a_retried_child_as_for_any_other() -> None:
    """What it waits for tells of its end by itself: until then nobody looks after it."""

    async def body(bench: Bench) -> None:
        BROKEN.add("a")
        parent = await bench.start("waits", name="a")
        with pytest.raises(Ended):
            await bench.result(parent.run)
        BROKEN.clear()
        await bench.engine.retry(parent.run)
        await asyncio.sleep(60)
        before = await bench.engine.get(parent.run)
        await asyncio.sleep(600)
        after = await bench.engine.get(parent.run)
        assert (after.due, after.check_at) == (before.due, before.check_at)
        assert await bench.result(parent.run) == "a"

    virtually([act, lasts, waits], body)


@both
def test_a_child_can_be_retried_before_its_parent(table: str, cached: int) -> None:
    """What a parent was told stands; its own retry takes what has come of the child since."""

    async def body(bench: Bench) -> None:
        BROKEN.add("b")
        parent = await bench.start("family", names=["b"])
        with pytest.raises(Ended):
            await bench.result(parent.run)
        (child,) = await child_ids(bench, parent.run)
        BROKEN.clear()
        await bench.engine.retry(child)
        assert await bench.result(child) == "b"
        assert (await bench.engine.get(parent.run)).state is RunState.FAILED
        await bench.engine.retry(parent.run)
        assert await bench.result(parent.run) == ["b"]
        assert DONE == ["begin", "b first", "b"]

    run(body, table, cached)


@both
def test_a_child_that_was_cancelled_begins_anew(table: str, cached: int) -> None:
    """It cannot go on, so that a retry of its parent begins another run in its place."""

    async def body(bench: Bench) -> None:
        parent = await bench.start("family", names=["a"])
        await asyncio.sleep(0.5)
        (child,) = await child_ids(bench, parent.run)
        await bench.engine.cancel(child)
        with pytest.raises(Ended) as ended:
            await bench.result(parent.run)
        assert "TaskError" in str(ended.value)
        await bench.engine.retry(parent.run)
        assert await bench.result(parent.run) == ["a"]
        (other,) = await child_ids(bench, parent.run)
        assert other != child
        assert (await bench.engine.get(child)).state is RunState.CANCELLED

    run(body, table, cached)


@both
def test_a_handle_that_failed_is_retried_with_its_parent(table: str, cached: int) -> None:
    """A wait by `result` that a retry opens again retries the run that it waits for."""

    async def body(bench: Bench) -> None:
        BROKEN.add("b")
        parent = await bench.start("by_handle", name="b")
        with pytest.raises(Ended):
            await bench.result(parent.run)
        BROKEN.clear()
        await bench.engine.retry(parent.run)
        assert await bench.result(parent.run) == "b"
        assert DONE == ["b first", "b"]

    run(body, table, cached)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("program", ["by_handle", "waits_alone"])
def test_a_death_over_the_retry_of_a_child_changes_nothing(program: str, after: bool) -> None:
    """Who asks again finds that it is not retried yet, or that it is; never what it failed with."""

    async def body(bench: Bench) -> None:
        parent, first, other = await failed(bench, program), bench.engine, bench.another()
        retry = first.retry

        async def dies(run: str, **how: Any) -> Header:
            if run == parent or after:
                await retry(run, **how)
            if run != parent:
                die(first)
                await asyncio.Event().wait()
            return await first.get(run)

        first.retry = dies  # type: ignore[method-assign]
        await first.retry(parent)
        await asyncio.sleep(1)
        bench.engine = other
        other.open()
        assert await bench.result(parent) == "b"
        assert DONE == ["b first", "b"]

    virtually([act, works, by_handle, waits_alone], body)


@pytest.mark.parametrize("program", ["by_handle", "waits_alone"])
def test_who_is_not_the_first_to_retry_a_child_waits_for_it(program: str) -> None:
    """A message that comes twice, or a person, may be quicker: the parent does not fail by that."""

    async def body(bench: Bench) -> None:
        parent, retry = await failed(bench, program), bench.engine.retry

        async def twice(run: str, **how: Any) -> Header:
            if run != parent:
                await retry(run, **how)
            return await retry(run, **how)

        bench.engine.retry = twice  # type: ignore[method-assign]
        await bench.engine.retry(parent)
        assert await bench.result(parent) == "b"

    virtually([act, works, by_handle, waits_alone], body)


async def failed(bench: Bench, program: str) -> str:
    """A run that has failed by its child, which will not any more."""
    DONE.clear()
    BROKEN.add("b")
    run = (await bench.start(program, name="b")).run
    with pytest.raises(Ended):
        await bench.result(run)
    BROKEN.clear()
    return run


@pytest.mark.parametrize("table", ["memory", "sqlite"])
def test_what_is_removed_of_one_is_nothing_to_the_other(table: str) -> None:
    """A parent has its own copy of a result: its child may be erased, and it replays as before."""

    async def body(bench: Bench) -> None:
        parent = await bench.start("large")
        assert await bench.result(parent.run) == [100_000, 7, 100_000]
        for child in await child_ids(bench, parent.run):
            await bench.engine.erase(child)
            with pytest.raises(RunNotFound):
                await bench.engine.get(child)
        other = bench.another()
        header, history = await other.history(parent.run, whole=True)
        execution = new_execution(other.app, header, bench.secret)
        execution.replay(history.entries, history.outcomes())
        assert execution.error is None
        assert execution.finished is not None
        execution.drop()

    run(body, table)


def test_values_of_a_family_are_sealed_for_each_run() -> None:
    """With a payload codec what comes of a child is opened, and sealed as its parent's."""

    async def body(bench: Bench) -> None:
        assert await bench.run("large") == [100_000, 7, 100_000]

    secret = Secret("a secret of the virtual world", codec=AesGcm({"k1": b"k" * 32}))
    run(body, secret=secret)


@both
def test_a_parent_follows_a_child_to_its_last_lap(table: str, cached: int) -> None:
    """A child that goes on as new is one run, and each lap has children of its own."""

    async def body(bench: Bench) -> None:
        assert await bench.run("waits_for_laps") == "done"
        assert [name for name in DONE if "first" not in name] == ["lap 2", "lap 1", "lap 0"]

    run(body, table, cached)


def test_a_result_is_kept_until_its_parent_knows() -> None:
    """However short a run is kept, it is not removed before whoever waits for it was told."""

    async def body(bench: Bench) -> None:
        parent = await bench.start("by_handle", name="a")
        assert await bench.result(parent.run) == "a"
        assert await bench.run("family", names=["a", "b"]) == ["a", "b"]

    run(body, keep=keep_of(60))


def test_a_family_is_held_and_erased_together() -> None:
    """What is asked for a run for a person's sake is done for those that it has begun, too."""

    async def body(bench: Bench) -> None:
        parent = await bench.start("family", names=["a", "b"])
        await asyncio.sleep(0.1)
        await bench.engine.hold(parent.run)
        assert await bench.result(parent.run) == ["a", "b"]
        children = await child_ids(bench, parent.run)
        assert all([(await bench.engine.get(each)).hold for each in children])
        with pytest.raises(RunConflict, match="held"):
            await bench.engine.erase(parent.run)
        await bench.engine.unhold(parent.run)
        await bench.engine.erase(parent.run)
        for each in [parent.run, *children]:
            with pytest.raises(RunNotFound):
                await bench.engine.get(each)

    run(body)


def test_a_run_is_not_erased_while_one_that_it_has_begun_goes_on() -> None:
    """Whoever asks is told which one that is; nothing is removed."""

    async def body(bench: Bench) -> None:
        parent = await bench.start("leaves")
        left = await bench.result(parent.run)
        with pytest.raises(RunConflict) as refused:
            await bench.engine.erase(parent.run)
        assert refused.value.run == left
        await bench.engine.kill(left)
        await bench.engine.erase(parent.run)

    run(body)
