"""An app whose tasks leave a mark outside, so that a test can count what was done how often."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from rewake import parallel, sleep, task, wait_for_approval, workflow


@task
async def mark(trace: str, name: str) -> str:
    """Leave a mark, with the process that left it."""
    _leave(Path(trace), f"{name} {os.getpid()}\n")
    await asyncio.sleep(0.1)
    return name


def _leave(trace: Path, line: str) -> None:
    with trace.open("a") as file:
        file.write(line)


@workflow
async def order(trace: str, number: int) -> list[str]:
    """Tasks, a sleep, and somebody's decision."""

    async def part(each: int) -> str:
        return await mark(trace, f"{number}.{each}")

    first = await mark(trace, f"{number}.first")
    await sleep(1.2)
    answer = await wait_for_approval()
    parts = await parallel([1, 2, 3], part)
    return [first, *parts, str(answer.approved)]
