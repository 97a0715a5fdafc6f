"""What the machine is short of is nobody's mistake: work waits until it is there again."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from rewake import step, task, workflow
from rewake.authoring.attempt import NotBegun
from rewake.engine.process.shortages import LONGEST, RECENT, WAIT, Shortages, shortage
from tests.support.virtual import TABLES, Bench, virtually


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (MemoryError(), "memory"),
        (OSError(errno.ENOMEM, "no memory"), "memory"),
        (OSError(errno.ENOBUFS, "no buffers"), "memory"),
        (OSError(errno.EMFILE, "too many"), "files"),
        (OSError(errno.ENFILE, "too many"), "files"),
        (OSError(errno.EAGAIN, "no process"), "threads"),
        (RuntimeError("can't start new thread"), "threads"),
        (NotBegun("can't start new thread"), "threads"),
        (OSError(errno.ENOENT, "no such file"), None),
        (OSError("without a number"), None),
        (RuntimeError("another"), None),
    ],
)
def test_a_shortage_is_told_from_a_mistake(error: Exception, name: str | None) -> None:
    """Memory, files and threads; all else is an error."""
    assert shortage(error) == name


class Clock:
    """A clock that is set by hand."""

    at = 1_000_000

    def now(self) -> int:
        return self.at


def test_a_shortage_is_waited_for_as_long_as_it_has_lasted() -> None:
    """From 2 s to 30 s; much work at once waits no longer; a new shortage begins anew."""
    clock: Any = Clock()
    shortages = Shortages(clock)
    assert told(shortages) is None
    waits = []
    for _ in range(8):
        wait = [shortages.meet("memory") for _ in range(100)]
        assert len(set(wait)) == 1
        waits.append(wait[0])
        clock.at += wait[0]
    assert waits == [WAIT, WAIT, 4_000, 8_000, 16_000, LONGEST, LONGEST, LONGEST]
    clock.at += RECENT
    assert told(shortages) is None
    assert shortages.meet("files") == WAIT
    assert told(shortages) == "files"
    clock.at -= RECENT
    assert told(shortages) is None, "the clock was set back"


def told(shortages: Shortages) -> str | None:
    """What is told now."""
    return shortages.recent


@task
def sync_task() -> str:
    return "done"


@workflow
async def asks() -> str:
    return await sync_task()


@workflow
async def steps() -> str:
    return await step("sync", lambda: "done")


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("program", [asks, steps])
def test_work_waits_while_the_machine_is_short(table: str, program: Any) -> None:
    """It is tried ever more rarely, costs no strike, ends once there are threads; it is told of."""

    async def body(bench: Bench) -> None:
        engine, times = bench.engine, list[float]()
        for pool in (engine.services.threads.tasks, engine.services.threads.steps):
            pool.call = refusing(bench, times, pool.call)  # type: ignore[method-assign]
        run = (await bench.start(program.name)).run
        assert await engine.result(run, 250) is None
        assert engine.shortage == "threads"
        header = await engine.get(run)
        assert (header.deaths, header.strikes, header.error) == (0, 0, "")
        assert await bench.result(run) == "done"
        waits = [after - before for before, after in itertools.pairwise(times)]
        assert 10 < len(times) < 25
        assert max(waits[:2]) < 10 < LONGEST / 1000 <= waits[-1] < RECENT / 1000
        _, history = await engine.history(run)
        assert [op.lost for op in history.operations.values()] in ([0], [])
        await bench.engine.services.clock.sleep(RECENT)
        assert engine.shortage is None

    virtually([asks, steps, sync_task], body, table=table)


def refusing(bench: Bench, times: list[float], call: Callable[..., Any]) -> Callable[..., Any]:
    """Calls of threads that are refused for the first 300 s."""

    async def refuse(*arguments: Any) -> Any:
        times.append(bench.seconds)
        if bench.seconds < 300:
            raise NotBegun("can't start new thread")
        return await call(*arguments)

    return refuse
