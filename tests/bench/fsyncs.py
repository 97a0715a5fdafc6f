"""How often the disk is made to sync: system calls of a child process, counted by strace.

A run of few and a run of many are traced; the difference is what each one more costs.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Iterator
from functools import partial

from tests.bench import children, durability, hosts
from tests.bench.measure import Row
from tests.bench.workloads import Values, Workload

_TRACE = ("strace", "--follow-forks", "--seccomp-bpf", "--summary-only", "--trace=fsync,fdatasync")


def available() -> bool:
    """Whether there is a strace."""
    return shutil.which("strace") is not None


def workloads(many: int) -> Iterator[Workload]:
    """Counts for inline steps, tasks, and a fan-out."""
    for workflow, name in (
        ("sequential_steps", "an inline step"),
        ("sequential_tasks", "a task"),
        ("parallel_tasks", f"a task of a fan-out of {many:,}"),
    ):
        row = Row("fsyncs", name, "syncs")
        yield Workload(partial(_each, workflow, many), (row,))


async def _each(workflow: str, many: int) -> Values:
    few = max(1, many // 10)
    more = await asyncio.to_thread(_count, workflow, many)
    less = await asyncio.to_thread(_count, workflow, few)
    return ((more - less) / (many - few),)


def _count(workflow: str, count: int) -> int:
    """The syncs of a whole process that does one run."""
    traced = children.errors([*_TRACE, *children.module("fsyncs", workflow, count)], seconds=120)
    rows = [line.split() for line in traced.splitlines()]
    return sum(int(row[3]) for row in rows if row and row[-1] in ("fsync", "fdatasync"))


async def _once(workflow: str, count: int) -> None:
    async with hosts.in_process() as host:
        await host.run(workflow, count=count)


if __name__ == "__main__":
    durability.watch()
    asyncio.run(_once(sys.argv[1], int(sys.argv[2])))
