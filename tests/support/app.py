"""An app with a workflow for each thing that a test of a whole server needs."""

import asyncio
import os
from pathlib import Path
from typing import Any

from rewake import (
    parallel,
    sleep,
    step,
    task,
    task_context,
    uuid4,
    wait_for_approval,
    workflow,
)


@task
async def add(one: int, other: int) -> int:
    return one + other


@task
async def mark(run: int, part: int) -> list[int]:
    await asyncio.sleep(0.02)
    return [run, part, os.getpid(), int.from_bytes(os.urandom(6), "big")]


@task(retries=2, delay=0.01)
async def flaky() -> int:
    context = task_context()
    assert context is not None
    context.logger.info("attempt %d", context.attempt)
    if context.attempt < 2:
        raise ValueError("not yet")
    return context.attempt


@task
async def hold(trace: str) -> list[str]:
    """Who comes first never ends; whoever takes over does at once."""
    with Path(trace).open("a") as file:
        file.write(f"{os.getpid()}\n")
    begun = Path(trace).read_text().split()
    if len(begun) == 1:
        await asyncio.sleep(600)
    return begun


class Odd:
    """What JSON cannot hold."""

    def __repr__(self) -> str:
        return "<odd>"


@workflow
async def total(numbers: list[int]) -> int:
    """Add numbers up, one task each."""
    result = 0
    for number in numbers:
        result = await add(result, number)
    return result


@workflow
async def four(run: int) -> list[list[int]]:
    async def one(part: int) -> list[int]:
        return await mark(run, part)

    return await parallel(range(4), one)


@workflow
async def ask(question: str, seconds: float | None = None) -> dict[str, Any]:
    answer = await wait_for_approval(
        form={"amount": {"type": "integer"}}, description=question, timeout=seconds
    )
    return {"decision": answer.decision, "value": answer.value, "approver": answer.approver}


@workflow
async def nap(seconds: float) -> str:
    await sleep(seconds)
    return "rested"


@workflow
async def broken() -> None:
    raise ValueError("it broke")


@workflow
async def patient() -> int:
    await step("stamp", lambda: 42)
    return await flaky()


@workflow
async def odd() -> dict[str, Any]:
    return {"set": {1}, "odd": Odd()}


@workflow
async def held(trace: str) -> list[str]:
    return await hold(trace)


@workflow
async def deadlocked() -> str:
    await asyncio.Event().wait()
    return f"never {uuid4()}"
