"""Programs that break other durable runtimes: right in every order, warm and cold."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from rewake import TaskError, parallel, sleep, step, task
from tests.support.driver import Run, same_in_every_order


@task
async def fetch(name: str) -> str:
    return f"{name}-raw"


@task
async def charge(name: str) -> str:
    return f"charged-{name}"


@task
async def fail(name: str) -> str:
    raise ValueError(name)


def test_branches_that_finish_in_another_order() -> None:
    """Two branches of the same operations each get their own results, whichever is first."""

    async def branch(name: str) -> list[str]:
        return [await step("fetch", lambda: f"{name}-raw"), await charge(name)]

    async def main() -> Any:
        return await asyncio.gather(branch("A"), branch("B"))

    for run in same_in_every_order(main):
        assert run.result == [["A-raw", "charged-A"], ["B-raw", "charged-B"]]
        assert set(run.world.called.values()) == {1}
        assert len(run.world.called) == 4


def test_branches_of_steps_only_with_a_sleep_after() -> None:
    """What branches saw before a sleep is what they see in the replay after it."""

    async def branch(name: str) -> list[str]:
        raw = await step("fetch", lambda: f"{name}-raw")
        parsed = await step("parse", lambda: f"{name}-parsed")
        return [raw, parsed]

    async def main() -> Any:
        found = await asyncio.gather(branch("A"), branch("B"))
        await sleep(1)
        return found

    for run in same_in_every_order(main):
        assert run.result == [["A-raw", "A-parsed"], ["B-raw", "B-parsed"]]


def test_parallel_over_several_operations_is_parallel() -> None:
    """Each round asks for one operation of every branch, not of one branch after another."""

    async def pipe(name: str) -> str:
        return await charge(await fetch(name))

    async def main() -> Any:
        return await parallel(["1", "2", "3"], pipe)

    run = Run(main)
    assert run.open == [f"parallel[{n}]/fetch" for n in range(3)]
    for n in (2, 0, 1):
        run.settle(f"parallel[{n}]/fetch")
        assert f"parallel[{n}]/charge" in run.open
    assert run.open == [f"parallel[{n}]/charge" for n in (2, 0, 1)]
    run.to_the_end()
    assert run.result == [f"charged-{n}-raw" for n in "123"]
    run.close()
    for each in same_in_every_order(main):
        assert each.result == [f"charged-{n}-raw" for n in "123"]


def test_chains_under_gather() -> None:
    """Chains of different lengths under `gather` make progress on their own."""

    async def chain(name: str, length: int) -> list[str]:
        return [await fetch(f"{name}{number}") for number in range(length)]

    async def main() -> Any:
        return await asyncio.gather(chain("a", 1), chain("b", 2), chain("c", 3))

    for run in same_in_every_order(main, limit=100):
        assert [len(each) for each in run.result] == [1, 2, 3]
        assert run.result[2] == ["c0-raw", "c1-raw", "c2-raw"]


def test_operations_in_the_order_of_a_set_of_done_tasks() -> None:
    """Operations inside `for each in done:` belong to the right task on every replay."""

    async def main() -> Any:
        tasks = [asyncio.create_task(fetch(name), name=name) for name in "abcdef"]
        done, _ = await asyncio.wait(tasks)
        return {each.get_name(): await charge(each.result()) for each in done}

    run = Run(main)
    for number in (3, 1, 5, 0, 2, 4):
        run.settle(f"{'abcdef'[number]}[0]/fetch")
    run.restart()
    run.to_the_end()
    assert run.result == {name: f"charged-{name}-raw" for name in "abcdef"}
    run.close()


@pytest.mark.parametrize("name", ["name", "script", "func", "timeout", "function", "self", "args"])
def test_parameters_of_any_name(name: str) -> None:
    """Parameters of tasks, steps and closures may be called what the runtime's own are called."""
    namespace: dict[str, Any] = {}
    exec(f"async def work({name}, key='k', label=None): return [{name}, key, label]", namespace)
    work = task(namespace["work"])

    async def main() -> Any:
        return [await work(1), await work(**{name: 2}), await work(3, key="x", label="y")]

    run = Run(main, cold=True).to_the_end()
    assert run.result == [[1, "k", None], [2, "k", None], [3, "x", "y"]]
    run.close()


def test_suspending_is_not_an_exception() -> None:
    """`return_exceptions`, `FIRST_COMPLETED`, groups and bare `except` only see what happened."""

    async def main() -> Any:
        both = await asyncio.gather(fetch("a"), fail("b"), return_exceptions=True)
        assert both[0] == "a-raw"
        assert isinstance(both[1], TaskError)
        tasks = [asyncio.create_task(fetch(name)) for name in "cd"]
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert len(done) == 1
        assert len(left) == 1
        try:
            async with asyncio.TaskGroup() as group:
                for each in left:
                    group.create_task(asyncio.wait_for(each, 60))
        except:  # noqa: E722
            return "late"
        return "done"

    assert {run.result for run in same_in_every_order(main)} == {"done", "late"}


def test_nested_branches_of_the_same_names() -> None:
    """Keys tell apart branches of branches that all have the same names."""

    async def leaf(name: str) -> str:
        return await charge(await fetch(name))

    async def node(name: str) -> Any:
        return await asyncio.gather(leaf(name + "l"), leaf(name + "r"))

    async def main() -> Any:
        first = await asyncio.gather(node("A"), node("B"))
        return [first, await node("C")]

    runs = same_in_every_order(main, limit=60)
    for run in runs:
        assert run.result == [
            [[f"charged-{n}{side}-raw" for side in "lr"] for n in "AB"],
            [f"charged-C{side}-raw" for side in "lr"],
        ]
    assert {frozenset(run.asked) for run in runs} == {frozenset(runs[0].asked)}


def test_a_saga() -> None:
    """Compensations run once each, in reverse, after whatever failed."""

    async def main() -> Any:
        undo: list[str] = []
        try:
            for name in ("flight", "hotel", "car"):
                await (fail if name == "car" else fetch)(name)
                undo.append(name)
        except TaskError:
            return [await step(f"undo {name}", partial(str, name)) for name in reversed(undo)]

    (run,) = same_in_every_order(main)
    assert run.result == ["hotel", "flight"]
    assert set(run.world.called.values()) == {1}


def test_polling_with_a_timer_in_the_background() -> None:
    """A heartbeat in the background runs beside the work, and ends with it."""

    async def main() -> Any:
        async def beat() -> None:
            while True:
                await sleep(30)
                await step("beat", lambda: None)

        heart = asyncio.create_task(beat())
        result = await fetch("a")
        heart.cancel()
        return result

    run = Run(main, cold=True)
    for count in range(3):
        run.settle("beat[0]/sleep" if not count else f"beat[0]/sleep.{count + 1}")
        run.settle("beat[0]/beat" if not count else f"beat[0]/beat.{count + 1}")
    run.settle("fetch")
    assert run.result == "a-raw"
    run.close()


def test_late_timers_and_ties() -> None:
    """Timers that are long overdue, or due at one moment, fire one by one in a recorded order."""

    async def main() -> Any:
        order: list[str] = []

        async def wait(name: str) -> None:
            await sleep(5)
            order.append(name)

        await asyncio.gather(*map(wait, "abc"))
        return "".join(order)

    run = Run(main, cold=True)
    run.clock += 3_600_000
    for key in ("wait[2]/sleep", "wait[0]/sleep", "wait[1]/sleep"):
        run.settle(key)
    assert run.result == "cab"
    run.close()


def test_recursion_of_plain_awaits() -> None:
    """A body may recurse through plain awaits; counts tell its operations apart."""

    async def down(depth: int) -> int:
        if not depth:
            return 0
        await fetch(str(depth))
        return 1 + await down(depth - 1)

    async def main() -> Any:
        return await down(50)

    run = Run(main, cold=True).to_the_end()
    assert run.result == 50
    assert run.asked[-1] == "fetch.50"
    run.close()
