"""An app with a workflow for each thing that a test of a whole server needs."""

import asyncio
import os
import threading
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
    """Cheap work."""
    return one + other


@task
async def mark(run: int, part: int) -> list[int]:
    """Who did which part of which run, and a number that no other attempt has."""
    await asyncio.sleep(0.02)
    return [run, part, os.getpid(), int.from_bytes(os.urandom(6), "big")]


@task(retries=2, delay=0.01)
async def flaky() -> int:
    """Fails once, and says so."""
    context = task_context()
    assert context is not None
    context.logger.info("attempt %d", context.attempt)
    if context.attempt < 2:
        raise ValueError("not yet")
    return context.attempt


@task
def hold(trace: str) -> list[str]:
    """Whoever comes first goes on for ever; whoever takes over is done at once."""
    with Path(trace).open("a") as file:
        file.write(f"{os.getpid()}\n")
    begun = Path(trace).read_text().split()
    if len(begun) == 1:
        threading.Event().wait()
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
    """Four tasks at once."""

    async def one(part: int) -> list[int]:
        return await mark(run, part)

    return await parallel(range(4), one)


@workflow
async def ask(question: str, seconds: float | None = None) -> dict[str, Any]:
    """Wait for a person."""
    answer = await wait_for_approval(
        form={"amount": {"type": "integer"}}, description=question, timeout=seconds
    )
    return {"decision": answer.decision, "value": answer.value, "approver": answer.approver}


@workflow
async def nap(seconds: float) -> str:
    """Wait for a time."""
    await sleep(seconds)
    return "rested"


@workflow
async def broken() -> None:
    """Fail."""
    raise ValueError("it broke")


@workflow
async def patient() -> int:
    """A step, and a task that is retried."""
    await step("stamp", lambda: 42)
    return await flaky()


@workflow
async def odd() -> dict[str, Any]:
    """End with what JSON cannot hold."""
    return {"set": {1}, "odd": Odd()}


@workflow
async def held(trace: str) -> list[str]:
    """One long task."""
    return await hold(trace)


@workflow
async def deadlocked() -> str:
    """Wait for what nothing brings about."""
    await asyncio.Event().wait()
    return f"never {uuid4()}"
