"""A job that somebody else carries out: asked for, then looked at, more seldom the longer it takes.

    rewake run examples/render_polling.py --input '{"film": "intro"}'

The job poller of the samples for AWS Step Functions, and Temporal's `polling`. Between two looks
nothing runs; each look is one step.
"""

from __future__ import annotations

from typing import TypedDict

from rewake import step, task, wait_until, workflow

FRAMES = 100
_done: dict[str, int] = {}
"""In truth a render farm with an API."""


class Job(TypedDict):
    id: str
    frames: int


@task(retries=3)
def order(film: str) -> Job:
    _done[film] = 0
    return {"id": film, "frames": 0}


def look(job: Job) -> Job:
    _done[job["id"]] += 40
    return {**job, "frames": min(FRAMES, _done[job["id"]])}


@workflow
async def render(film: str) -> str:
    job = await order(film)
    done = await wait_until(
        look,
        state=job,
        done=lambda job: job["frames"] == FRAMES,
        every=lambda _, count: min(30, 0.2 * 2**count),
        timeout=3600,
    )
    return await step("link", lambda: f"https://films.example/{done['id']}/{done['frames']}")
