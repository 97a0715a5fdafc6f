"""Random workflow programs against random orders of completion.

A program is a tree; `perform` is the workflow that carries it out with ordinary asyncio. Whatever
the program and the order, the invariants of `tests.support.driver.check_history` hold: replaying
any prefix of a history is a fixed point, warm and cold are the same, keys are unique and stable,
and nothing that is settled is ever unsettled.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, closing
from random import Random
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from rewake import (
    TaskError,
    now,
    parallel,
    race,
    random,
    sleep,
    step,
    task,
    uuid4,
    wait_for_approval,
)
from rewake.records import Scheduled
from tests.support.driver import Failed, Run, check_history

Tree = Any


@task
async def work(x: int) -> int:
    return x


@task
async def fail(x: int) -> int:
    raise ValueError(str(x))


def trees() -> st.SearchStrategy[Tree]:
    """Programs: leaves are operations, the rest is asyncio around them."""
    number = st.integers(0, 3)
    leaves = st.one_of(
        st.tuples(st.sampled_from(["work", "fail", "step", "sleep", "asleep"]), number),
        st.tuples(st.sampled_from(["approve", "spin", "chance", "raise", "forget"]), number),
    )

    def around(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
        some = st.lists(inner, min_size=1, max_size=3)
        kinds = ["seq", "gather", "quiet", "group", "first", "all", "race", "come", "par", "window"]
        return st.one_of(
            st.tuples(st.sampled_from(kinds), some),
            st.tuples(st.sampled_from(["timeout", "wait_for", "shield"]), number, inner),
            st.tuples(st.sampled_from(["try", "finally", "swallow"]), inner, inner),
            st.tuples(st.sampled_from(["behind", "cancel", "queue", "lock", "each"]), inner, inner),
        )

    return st.recursive(leaves, around, max_leaves=7)


def steady_trees() -> st.SearchStrategy[Tree]:
    """Programs that do the same in whatever order things complete."""
    leaves = st.tuples(st.sampled_from(["work", "step", "sleep", "approve"]), st.integers(0, 3))

    def around(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
        some = st.lists(inner, min_size=1, max_size=4)
        kinds = ["seq", "gather", "quiet", "group", "come", "par", "window"]
        return st.one_of(
            st.tuples(st.sampled_from(kinds), some),
            st.tuples(st.sampled_from(["queue", "lock", "finally"]), inner, inner),
        )

    return st.recursive(leaves, around, max_leaves=10)


async def perform(tree: Tree) -> Any:
    """Carry out a program; what it returns tells what happened."""
    kind, *rest = tree
    return await globals()[f"_{kind}"](*rest)


async def _work(n: int) -> Any:
    return await work(n)


async def _fail(n: int) -> Any:
    return await fail(n)


async def _step(n: int) -> Any:
    return await step(f"s.{n}", lambda: n)


async def _sleep(n: int) -> Any:
    await sleep(n)
    return "slept"


async def _asleep(n: int) -> Any:
    await asyncio.sleep(n / 2)
    return str(now())


async def _approve(n: int) -> Any:
    return (await wait_for_approval(f"a/{n}", timeout=n + 1)).decision


async def _spin(n: int) -> Any:
    for _ in range(n):
        await asyncio.sleep(0)


async def _chance(n: int) -> Any:
    return [random().random(), str(uuid4())]


async def _raise(n: int) -> Any:
    raise LookupError(n)


async def _forget(n: int) -> Any:
    asyncio.create_task(perform(("seq", [("work", n), ("sleep", n)])))  # noqa: RUF006
    asyncio.get_running_loop().call_later(n, int)


async def _seq(some: list[Tree]) -> Any:
    return [await perform(each) for each in some]


async def _gather(some: list[Tree]) -> Any:
    return await asyncio.gather(*map(perform, some))


async def _quiet(some: list[Tree]) -> Any:
    return [str(x) for x in await asyncio.gather(*map(perform, some), return_exceptions=True)]


async def _group(some: list[Tree]) -> Any:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(perform(each)) for each in some]
    return [each.result() for each in tasks]


async def _first(some: list[Tree]) -> Any:
    tasks = {asyncio.create_task(perform(each), name=str(n)) for n, each in enumerate(some)}
    done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for each in left:
        each.cancel()
    return [each.get_name() for each in done]


async def _all(some: list[Tree]) -> Any:
    tasks = [asyncio.create_task(perform(each), name=str(n)) for n, each in enumerate(some)]
    done, left = await asyncio.wait(tasks, timeout=2)
    return [[each.get_name() for each in group] for group in (done, left)]


async def _race(some: list[Tree]) -> Any:
    return await race(*map(perform, some))


async def _come(some: list[Tree]) -> Any:
    return [await each for each in asyncio.as_completed([perform(each) for each in some])]


async def _par(some: list[Tree]) -> Any:
    return await parallel(some, perform)


async def _window(some: list[Tree]) -> Any:
    return await parallel(some, perform, concurrency=2)


async def _timeout(n: int, inner: Tree) -> Any:
    async with asyncio.timeout(n):
        return await perform(inner)


async def _wait_for(n: int, inner: Tree) -> Any:
    return await asyncio.wait_for(perform(inner), n + 1)


async def _shield(n: int, inner: Tree) -> Any:
    running = asyncio.ensure_future(perform(inner))
    try:
        async with asyncio.timeout(n):
            return await asyncio.shield(running)
    except TimeoutError:
        return ["late", await running]


async def _try(inner: Tree, other: Tree) -> Any:
    try:
        return await perform(inner)
    except (TaskError, TimeoutError, LookupError) as error:
        return [type(error).__name__, await perform(other)]


async def _finally(inner: Tree, other: Tree) -> Any:
    try:
        return await perform(inner)
    finally:
        await perform(other)


async def _swallow(inner: Tree, other: Tree) -> Any:
    try:
        return await perform(inner)
    except:  # noqa: E722
        return await perform(other)


async def _behind(inner: Tree, other: Tree) -> Any:
    running = asyncio.create_task(perform(inner))
    await perform(other)
    return running.done()


async def _cancel(inner: Tree, other: Tree) -> Any:
    running = asyncio.create_task(perform(inner))
    await perform(other)
    running.cancel()
    await asyncio.wait([running])
    return running.cancelled()


async def _queue(inner: Tree, other: Tree) -> Any:
    queue = asyncio.Queue[Any]()

    async def put(tree: Tree) -> None:
        try:
            await queue.put(await perform(tree))
        except (TaskError, TimeoutError, LookupError, ExceptionGroup):
            await queue.put("failed")

    putting = [asyncio.create_task(put(each)) for each in (inner, other)]
    found = [await queue.get() for _ in putting]
    await asyncio.gather(*putting)
    return found


async def _lock(inner: Tree, other: Tree) -> Any:
    lock = asyncio.Lock()

    async def locked(tree: Tree) -> Any:
        async with lock:
            return await perform(tree)

    return await asyncio.gather(locked(inner), locked(other))


async def _each(inner: Tree, other: Tree) -> Any:
    async def results() -> Any:
        try:
            yield await perform(inner)
            yield await perform(other)
        finally:
            await work(9)

    async with aclosing(results()) as found:
        return await anext(found)


ANSWERS = {"decision": "approved", "value": 1}


class Answers(dict[str, Any]):
    """Every approval is given."""

    def __contains__(self, key: object) -> bool:
        return "a%2F" in str(key).rpartition("/")[2]

    def __getitem__(self, key: str) -> Any:
        return ANSWERS


def course(
    tree: Tree, chance: Any, *, cold: bool = False, cancels: bool = False, late: bool = False
) -> Run:
    """Run a program to its end in a random order, cancelled somewhere on the way or not.

    With `late` the time of the run may be over at any moment.
    """
    timeout = 60_000 if late else None
    run = Run(lambda: perform(tree), cold=cold, answers=Answers(), timeout=timeout)
    with closing(run):
        cancel_at = chance.randrange(6) if cancels else -1
        for number in range(500):
            if run.finished:
                break
            if number == cancel_at:
                run.cancel()
            else:
                run.settle(chance.choice(run.eligible))
            assert run.execution.error is None, run.execution.error
        assert run.finished
    return run


def ending(run: Run) -> Any:
    try:
        return run.result
    except Failed as error:
        return error.args


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(trees(), st.integers(0, 2**32), st.booleans())
def test_warm_and_cold_are_the_same(tree: Tree, seed: int, cancels: bool) -> None:
    """Replayed after every event or never, a run asks for the same and ends alike."""
    warm = course(tree, Random(seed), cold=False, cancels=cancels, late=True)
    cold = course(tree, Random(seed), cold=True, cancels=cancels, late=True)
    check_history(warm)
    assert warm.history == cold.history
    assert ending(warm) == ending(cold)
    assert max(warm.world.called.values(), default=1) == 1
    event(f"{min(len(warm.history) // 10 * 10, 50)} entries or more")


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(steady_trees(), st.integers(0, 2**32), st.integers(0, 2**32))
def test_keys_are_stable_under_the_order_of_completion(tree: Tree, one: int, other: int) -> None:
    """Each key is the same operation with the same arguments, in whatever order things complete."""
    first, second = (
        {
            entry.key: (entry.kind, entry.name, entry.digest)
            for entry in course(tree, Random(seed)).history
            if isinstance(entry, Scheduled)
        }
        for seed in (one, other)
    )
    assert first == second


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(trees(), st.integers(0, 2**32), st.booleans())
def test_dropping_anywhere_changes_nothing(tree: Tree, seed: int, cancels: bool) -> None:
    """After any event an instance can be dropped: it asks for nothing and calls nothing."""
    chance = Random(seed)
    run = Run(lambda: perform(tree), answers=Answers())
    for _ in range(chance.randrange(8)):
        if run.finished:
            break
        run.settle(chance.choice(run.eligible))
    if cancels and not run.finished:
        run.cancel()
    called, history = dict(run.world.called), list(run.history)
    run.execution.drop()
    assert run.execution.fresh == []
    assert (run.world.called, run.history) == (called, history)
    again = run.replayed()
    assert again.error is None
    assert again.fresh == []
    again.drop()
