"""An app for functions: a webhook, an approval by link, work that is too long, and who did what."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from rewake import approval, parallel, sleep, task, workflow
from rewake.webhooks import github, webhook


@task
async def mark(part: int) -> list[int]:
    """Who did which part."""
    return [part, os.getpid()]


def is_first(trace: str) -> bool:
    """Whether nobody has begun this before."""
    with Path(trace).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len(Path(trace).read_text().split()) == 1


@task(retries=0)
async def heavy(trace: str, seconds: float) -> str:
    """The first attempt takes so long, the others no time."""
    if is_first(trace):
        await asyncio.sleep(seconds)
    return "done"


@task(retries=0)
def stubborn(trace: str) -> str:
    """The first attempt stops its process in the middle of an invocation."""
    if is_first(trace):
        os.kill(os.getpid(), signal.SIGSTOP)
    return "done"


@workflow(webhook=webhook("push", verify=github("GITHUB_SECRET")))
async def pushed(ref: str) -> str:
    """Started by a delivery that is signed."""
    return ref


@workflow
async def four() -> list[list[int]]:
    """Four tasks at once."""
    return await parallel(range(4), mark)


@workflow
async def asks() -> dict[str, Any]:
    """Wait for a person, with a link."""
    ask = approval("May I?", approvers=["ada@example.com"])
    answer = await ask
    return {"decision": answer.decision, "approver": answer.approver}


@workflow
async def quotes(n: int) -> str:
    """So many quotation marks, each of which JSON writes with a backslash."""
    return '"' * n


@workflow
async def naps(seconds: float) -> str:
    """Sleep."""
    await sleep(seconds)
    return "rested"


@workflow
async def lifts(trace: str, seconds: float) -> str:
    """One task that is long."""
    return await heavy(trace, seconds)


@workflow
async def sticks(trace: str) -> str:
    """One task that hangs."""
    return await stubborn(trace)
