"""The apps that the commands are tried on. Each body leaves a line in `canary` when it runs."""

APP = """
import asyncio
import os
import subprocess

from rewake import parallel, sleep, step, task, task_context, wait_for_approval, workflow


def leave(line: str) -> None:
    with open("canary", "a") as canary:
        canary.write(line + "\\n")


@task
async def fetch(url: str) -> str:
    leave(f"fetch {url}")
    return url.upper()


@task(retries=1, delay=0.01)
def flaky(n: int) -> int:
    leave("flaky")
    task_context().logger.info("attempt %d", task_context().attempt)
    if task_context().attempt == 1:
        raise ValueError("not yet")
    return n


@workflow
async def main(urls: list[str]) -> dict[str, object]:
    pages = await parallel(urls, fetch, concurrency=2)
    stamp = await step("stamp", lambda: leave("stamp") or 42)
    await sleep(0.05)
    return {"pages": pages, "stamp": stamp, "n": await flaky(len(urls))}


@workflow
async def noisy() -> str:
    print("from the body")

    def shout() -> None:
        print("from a step")
        os.system("echo from a subprocess")
        subprocess.run(["echo", "from another"], check=True)

    await step("shout", shout)
    return "the result"


@workflow
async def broken() -> None:
    raise KeyError("oh no")


@workflow
async def paused(seconds: float) -> str:
    await fetch("before")
    await sleep(seconds)
    return await fetch("after")


@workflow
async def ask() -> dict[str, object]:
    approval = await wait_for_approval("release", form={"amount": {"type": "number"}})
    return {"decision": approval.decision, "value": approval.value, "who": approval.approver}
"""

CHANGED = APP.replace("await sleep(seconds)", 'await fetch("more")')
