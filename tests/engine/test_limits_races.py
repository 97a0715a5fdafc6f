"""Limits, where two processes act on one task or run at the same moment."""

from __future__ import annotations

import asyncio
from typing import Any

from rewake import concurrency, sleep, step, task, workflow
from rewake.engine.limits.limits import _message
from tests.support.emptied import emptied
from tests.support.virtual import Bench, virtually

FIRST, SECOND = concurrency(1, name="first"), concurrency(1, name="second")
begun: list[int] = []
_emptied = emptied(begun)


@task(limits=FIRST, retries=1, delay=30)
async def tried(n: int, seconds: float) -> int:
    begun.append(n)
    await asyncio.sleep(seconds)
    if n == 0 and begun.count(0) == 1:
        raise ValueError("not yet")
    return n


@task(limits=[FIRST, SECOND], tag="gpu")
async def both(n: int, seconds: float) -> int:
    begun.append(n)
    await asyncio.sleep(seconds)
    begun.append(-n)
    return n


@task(limits=SECOND)
async def one(n: int, seconds: float) -> int:
    begun.append(n)
    await asyncio.sleep(seconds)
    begun.append(-n)
    return n


@task(limits=FIRST, cache=600)
async def kept(n: int, seconds: float) -> int:
    begun.append(n)
    await asyncio.sleep(seconds)
    return n


@workflow
async def asks(which: str, n: int, seconds: float) -> int:
    return await {"tried": tried, "both": both, "one": one, "kept": kept}[which](n, seconds)


async def _within(n: int, seconds: float) -> int:
    await step("begins", lambda: begun.append(n))
    await sleep(seconds)
    await step("ends", lambda: begun.append(-n))
    return n


@workflow(limits=FIRST)
async def within_first(n: int, seconds: float) -> int:
    return await _within(n, seconds)


@workflow(limits=SECOND)
async def within_second(n: int, seconds: float) -> int:
    return await _within(n, seconds)


@workflow(limits=[FIRST, SECOND])
async def within_both(n: int, seconds: float) -> int:
    return await _within(n, seconds)


ALL = [asks, tried, both, one, within_first, within_second, within_both]


def test_a_look_that_comes_late_hides_no_retry() -> None:
    """Who found a task in its line, and stood still, does not put the next look at it off, which is
    one at its retry by then.
    """

    async def body(bench: Bench) -> None:
        other = bench.another()
        other.open()
        holder, _ = await other.start("asks", {"which": "tried", "n": 1, "seconds": 2_000})
        await asyncio.sleep(1)
        run = await bench.start("asks", which="tried", n=0, seconds=1)
        await asyncio.sleep(1_990)
        store: Any = bench.engine.services.store
        [limit], _ = await store.limits(limit=9, cursor=None)
        [waiter] = await store.line(limit.id, 9)
        enter = store.enter

        async def slow(*given: Any, **named: Any) -> Any:
            entry = await enter(*given, **named)
            await asyncio.sleep(20)
            return entry

        store.enter = slow
        await bench.engine.handle(_message(waiter))
        store.enter = enter
        assert await bench.result(holder.run, 10) == 1
        assert await bench.result(run.run, 100) == 0

    virtually(ALL, body)
