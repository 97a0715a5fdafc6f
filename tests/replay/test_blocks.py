"""`block`: a group of operations whose result is kept as one, and whose inside is passed over."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from rewake import TaskError, block, emit, parallel, random, sleep, step, uuid4
from rewake.errors import NonDeterminismError
from rewake.records import Logged, Scheduled, Stepped
from tests.support.driver import Run
from tests.support.tasks import fail, fetch, results, two


async def trip() -> str:
    return f"{await fetch('flight')} and {await fetch('hotel')}"


async def booked() -> Any:
    return [await block("book trip", trip), await fetch("mail")]


def test_a_block_is_one_operation_around_others() -> None:
    """Its inside has keys of its own; its end is an event, in the commit of what led to it."""
    run = Run(booked)
    assert run.open == ["book trip", "book trip[0]/fetch"]
    run.settle("book trip[0]/fetch")
    run.settle("book trip[0]/fetch.2")
    assert isinstance(run.history[-2], Stepped)
    assert run.history[-2].key == "book trip"
    assert run.open == ["fetch"]
    run.close()
    assert results(booked) == [["flight and hotel", "mail"]]


def test_what_is_done_is_not_replayed() -> None:
    """Its code may be another by now; of a block that goes on, it may not."""
    calls: list[str] = []

    async def counted() -> str:
        calls.append("called")
        return await trip()

    async def main() -> Any:
        return [await block("book trip", counted), await fetch("mail")]

    async def changed() -> Any:
        return [await block("book trip", lambda: two("other")), await fetch("mail")]

    run = Run(main)
    run.settle("book trip[0]/fetch")
    other = run.replayed(changed)
    assert isinstance(other.error, NonDeterminismError)
    run.settle("book trip[0]/fetch.2")
    calls.clear()
    cold = run.replayed(changed)
    assert cold.error is None
    assert list(cold.open) == ["fetch"]
    run.restart()
    assert not calls
    run.settle("fetch")
    assert run.result == ["flight and hotel", "mail"]
    run.close()


@pytest.mark.parametrize("before", range(8))
def test_sets_outside_do_not_know_what_was_inside(before: int) -> None:
    """A set of branches goes in the same order, whether a block before it is passed over or not."""

    async def inside() -> list[int]:
        return list(await asyncio.gather(fetch(1), fetch(2), fetch(3)))

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(before)]  # moves where a set begins
        await block("load", inside, retries=1)
        done, _ = await asyncio.wait([asyncio.create_task(fetch(i)) for i in range(4)])
        return [len(futures), [await fetch(await each) for each in done]]

    for answers in ({}, {"load[0]/fetch.2": ValueError("once")}):
        warm, cold = (Run(main, answers=answers, cold=each) for each in (False, True))
        assert cold.to_the_end().result == warm.to_the_end().result
        warm.close()
        cold.close()


def test_a_block_is_retried_as_a_whole() -> None:
    """After a durable wait, with new keys; the other attempt's operations stay as they are."""

    async def unlucky() -> str:
        await fetch("seat")
        await fetch("card")
        return "paid"

    async def main() -> Any:
        return await block("pay", unlucky, retries=2, delay=10, jitter=0)

    for cold in (False, True):
        run = Run(main, answers={"pay[0]/fetch.2": ValueError("declined")}, cold=cold)
        run.settle("pay[0]/fetch")
        run.settle("pay[0]/fetch.2")
        assert run.open == ["pay", "pay[1]/retry"]
        began = run.clock
        run.settle("pay[1]/retry")
        assert run.clock == began + 10_000
        assert run.to_the_end().result == "paid"
        assert run.asked == [
            *("pay", "pay[0]/fetch", "pay[0]/fetch.2"),
            *("pay[1]/retry", "pay[1]/fetch", "pay[1]/fetch.2"),
        ]
        run.close()


def test_a_block_fails_with_the_error_that_it_ended_by() -> None:
    """As that of a task does: with type, message, and how many attempts were made."""

    async def main() -> Any:
        try:
            await block("pay", lambda: fail("declined"), retries=1, delay=0)
        except TaskError as error:
            return [error.type, error.message, error.attempts]

    assert results(main) == [["ValueError", "declined", 2]]

    async def itself() -> Any:
        async def inside() -> None:
            await fetch(1)
            raise KeyError("mine")

        await block("pay", inside)

    assert results(itself) == [("TaskError", "KeyError: 'mine'")]


def test_a_saga_is_plain_python() -> None:
    """Compensation is `except`: it knows on every replay what a failed block had done."""

    async def main() -> Any:
        undo: list[Any] = []

        async def book() -> None:
            undo.append(await fetch("flight"))
            undo.append(await fetch("hotel"))
            await fail("car")

        try:
            await block("book", book, retries=1, delay=0)
        except TaskError:
            return [await two(each) for each in reversed(undo)]

    done = [["hotel", "hotel"], ["flight", "flight"]] * 2
    assert results(main) == [done]


def test_what_a_block_changes_outside_is_warned_of() -> None:
    """Once, live: what it is to tell it has to return."""

    async def main(rest: Any) -> Any:
        seen, count, by_name, numbers = list[int](), 0, defaultdict[str, int](int), random()

        async def inside() -> None:
            nonlocal count
            seen.append(await fetch(1))
            count += len(rest)
            by_name["a"] += numbers.randint(1, 9)

        await block("b", inside)
        return await fetch(2)

    run = Run(main, [1]).to_the_end()
    said = [line.message for each in run.history if isinstance(each, Logged) for line in each.lines]
    assert [message.partition(" ")[0] for message in said] == [
        *("'by_name'", "'count'", "'numbers'", "'seen'"),
    ]
    run.close()


def test_options_that_changed_since_do_not_change_what_was_decided() -> None:
    """A retry that the history has is made again, and one that it has not is not."""

    def main(retries: int) -> Any:
        async def body() -> Any:
            try:
                return await block("pay", lambda: fail("no"), retries=retries, delay=5)
            except TaskError:
                return await fetch("given up")

        return body

    run = Run(main(1))
    run.settle("pay[0]/fail")
    fewer = run.replayed(main(0))
    assert fewer.error is None
    assert list(fewer.open) == ["pay", "pay[1]/retry"]
    fewer.drop()
    run.settle("pay[1]/retry")
    run.settle("pay[1]/fail")
    assert run.open == ["fetch"]
    more = run.replayed(main(7))
    assert more.error is None
    assert list(more.open) == ["fetch"]
    more.drop()
    run.close()


def test_a_block_has_a_time_out() -> None:
    """Of an attempt, which is then retried as any time-out is; and of all of them."""

    async def slow() -> None:
        await sleep(timedelta(days=1))

    async def main() -> Any:
        try:
            await block("wait", slow, timeout=60, retries=1, delay=1, jitter=0)
        except TaskError as error:
            return [error.type, error.message]

    run = Run(main, cold=True)
    run.settle("wait[0]/timer")
    assert run.withdrawn == ["wait[0]/sleep"]
    assert run.to_the_end().result == [
        "TimeoutError",
        "the attempt took longer than its timeout of 60 s",
    ]
    run.close()

    async def bounded() -> Any:
        try:
            await block("wait", slow, total_timeout=90, timeout=60, retries=9, delay=1, jitter=0)
        except TaskError as error:
            return error.message

    run = Run(bounded, cold=True).to_the_end()
    assert "total_timeout" in run.result
    run.close()


def test_what_a_block_leaves_is_ended() -> None:
    """Branches, waits and generators: an attempt is over before the next one begins."""
    closed: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield await fetch("number")
            yield 2
        finally:
            await step("close", lambda: None)
            closed.append("numbers")

    async def inside() -> str:
        async def cleanup() -> None:
            try:
                await sleep(1000)
            finally:
                await fetch("cleaned")

        left = asyncio.create_task(cleanup())
        async for _ in numbers():
            break
        return f"done {left.done()}"

    async def main() -> Any:
        return [await block("b", inside), await fetch("next")]

    run = Run(main, cold=True)
    run.settle("b[0]/fetch")
    assert run.withdrawn == ["b[0]/cleanup[0]/sleep"]
    assert run.open == ["b", "b[0]/cleanup[0]/fetch"]
    run.settle("b[0]/cleanup[0]/fetch")
    run.settle("b[0]/close")
    assert run.open == ["fetch"]
    assert run.to_the_end().result == ["done False", "next"]
    run.close()


def test_a_cancelled_block_ends_its_inside_first() -> None:
    """Its operations are withdrawn, its cleanup is waited for; cancelled again, that is too."""

    async def main() -> Any:
        async def inside() -> None:
            try:
                await fetch("slow")
            finally:
                try:
                    await fetch("cleanup")
                finally:
                    await fetch("last")

        running = asyncio.create_task(block("b", inside))
        await sleep(1)
        running.cancel()
        await sleep(1)
        running.cancel()
        await asyncio.wait([running])
        return running.cancelled()

    run = Run(main, cold=True)
    run.settle("sleep")
    assert run.withdrawn == ["block[0]/b", "block[0]/b[0]/fetch"]
    assert run.open == ["sleep.2", "block[0]/b[0]/fetch.2"]
    run.settle("sleep.2")
    assert run.withdrawn[-1:] == ["block[0]/b[0]/fetch.2"]
    assert run.open == ["block[0]/b[0]/fetch.3"]
    run.settle("block[0]/b[0]/fetch.3")
    assert run.result is True
    run.close()
    assert results(main) == [False, True]


def test_blocks_in_blocks_and_side_by_side() -> None:
    """Each is apart from the others, in whatever order their insides end."""

    async def main() -> Any:
        async def inner(x: str) -> list[Any]:
            return await block(f"inner {x}", lambda: two(x), retries=1, delay=0)

        async def outer(x: str) -> Any:
            return await block("outer", lambda: inner(x))

        return await parallel("ab", outer)

    assert results(main, limit=200) == [[["a", "a"], ["b", "b"]]]


def test_chance_inside_is_apart_from_chance_outside() -> None:
    """Numbers, ids, and what may be emitted: what was passed over has used up nothing."""

    async def main() -> Any:
        async def inside() -> list[Any]:
            found = [random().random(), str(uuid4())]
            await emit("inside")
            await fetch(1)
            return [*found, random().random()]

        before = random().random()
        first = await block("one", inside)
        other = await block("one", inside)
        assert len({before, *map(str, first), *map(str, other)}) == 7
        await fetch(2)
        return [first, other, random().random(), str(uuid4())]

    warm, cold = Run(main).to_the_end(), Run(main, cold=True).to_the_end()
    assert warm.result == cold.result
    warm.close()
    cold.close()
    results(main)


def test_where_inside_and_outside_meet_all_is_replayed() -> None:
    """A block that an outer branch pushes on, or that pushes one on, is not passed over."""

    async def main() -> Any:
        event, seen = asyncio.Event(), list[str]()

        async def inside() -> str:
            await event.wait()
            found: str = await fetch("inside")
            seen.append(found)
            return "done"

        async def outside() -> None:
            await fetch("outside")
            event.set()
            await fetch("more")

        results = await asyncio.gather(block("b", inside), outside())
        await fetch("end")
        return [results[0], seen]

    assert results(main) == [["done", ["inside"]]]


def test_a_block_without_operations() -> None:
    """Its result is kept all the same, at once."""

    async def nothing() -> str:
        return "x"

    async def main() -> Any:
        many = await parallel(range(1_000), lambda _: block("b", nothing))
        return [len(many), await fetch("y")]

    run = Run(main, cold=True)
    assert run.open == ["fetch"]
    assert run.to_the_end().result == [1_000, "y"]
    run.close()


def test_a_result_that_cannot_be_kept_fails_the_block() -> None:
    """As that of a step does."""

    async def main() -> Any:
        async def inside() -> Any:
            await fetch(1)
            return (x for x in "generator")

        try:
            await block("b", inside)
        except TaskError as error:
            return "generator" in error.message

    assert results(main) == [True]


@pytest.mark.parametrize("function", [3, None, lambda: 3])
def test_a_block_is_of_an_async_function(function: Any) -> None:
    """Else it fails with a sentence that says so."""

    async def main() -> Any:
        try:
            await block("b", function)
        except (TypeError, TaskError) as error:
            return "async function" in str(error) or "is async" in str(error)

    assert results(main) == [True]
    assert asyncio.run(main()) is True


def test_what_a_block_forgets_to_await_fails_it() -> None:
    """At its end, and not at that of the run, where a replay would know nothing of it."""

    async def main() -> Any:
        async def inside() -> None:
            await fetch(1)
            fetch(2)  # type: ignore[unused-coroutine]

        try:
            await block("b", inside, retries=3)
        except TaskError as error:
            return ["the block ended" in error.message, await fetch(3)]

    assert results(main) == [[True, 3]]


def test_names_do_not_meet() -> None:
    """A block, a task and a branch of one name have keys of their own."""

    async def main() -> Any:
        async def b() -> None:
            await fetch(1)

        await asyncio.create_task(b())
        await block("b", b)
        await asyncio.create_task(b())
        await step("b", lambda: 1)
        await block("b", b)

    run = Run(main, cold=True).to_the_end()
    assert run.asked == [
        *("b[0]/fetch", "b.2", "b.2[0]/fetch", "b[1]/fetch", "b.3", "b.4", "b.4[0]/fetch"),
    ]
    run.close()


def test_deep_and_long_names() -> None:
    """Where a path is cut nobody can tell what is inside, so all of it is replayed."""

    async def main() -> Any:
        async def deeper(depth: int) -> Any:
            if depth == 0:
                return await fetch("bottom")
            return await block("n" * 90, lambda: deeper(depth - 1))

        return [await deeper(5), await fetch("top")]

    run = Run(main, cold=True)
    assert any(key.startswith("~") for key in run.open)
    assert run.to_the_end().result == ["bottom", "top"]
    assert all(len(e.key) < 512 for e in run.history if isinstance(e, Scheduled))
    run.close()


def test_outside_a_run() -> None:
    """The function is called in place, with its retries."""
    calls: list[int] = []

    async def inside() -> int:
        calls.append(1)
        if len(calls) < 2:
            raise ValueError("once")
        return int(await fetch(7))

    assert asyncio.run(_awaited(block("b", inside, retries=1, delay=0))) == 7


async def _awaited(coro: Any) -> Any:
    return await coro
