"""A batch of which some may fail: what failed is named, and too much of it stops the batch.

    rewake run examples/batch.py --input '{"pages": 40}'
    rewake run examples/batch.py --input '{"pages": 40, "broken": 12}'

No more than a tenth may fail. The others go on meanwhile, eight at a time; as soon as more have
failed nothing new is begun, and what is under way is cancelled.
"""

from __future__ import annotations

from rewake import TaskError, parallel, task, workflow


@task(retries=2, delay=0.1)
def convert(page: int, broken: int) -> str:
    if page * 7 % 40 < broken:
        raise ValueError(f"page {page} cannot be read")
    return f"page-{page}.pdf"


@workflow
async def main(pages: int, broken: int = 3) -> dict[str, object]:
    """Convert the pages. Says which could not be, or why it was given up."""

    async def one(page: int) -> str:
        return await convert(page, broken)

    try:
        done = await parallel(
            range(pages), one, concurrency=8, tolerate=0.1, name=lambda page: f"page {page}"
        )
    except TaskError as error:
        return {"state": "given up", "first": error.message}
    failed = [each.index for each in done if not each.ok]
    return {"state": "done", "converted": len(done.results), "failed": failed}
