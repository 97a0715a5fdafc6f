"""`asyncio.timeout` and `wait_for` around a wait close it, and whoever decides later is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import (
    approval,
    callback,
    sleep,
    task,
    wait_for_approval,
    wait_for_signal,
    workflow,
)
from rewake.authoring.approval import Approval, Decision
from rewake.engine.outside.approvals import Approvals
from rewake.engine.outside.callbacks import Callbacks
from rewake.engine.outside.signals import Signals
from rewake.errors import LinkExpired
from tests.support.virtual import Bench, die, virtually

SENT: list[str] = []


@task
async def hand_on(url: str) -> None:
    SENT.append(url)


async def _wait(what: str) -> Any:
    match what:
        case "approval":
            return await approval("wait")
        case "plain approval":
            return await wait_for_approval("wait")
        case "callback":
            wait = callback("wait")
            await hand_on(wait.url)
            return await wait
        case _:
            return await wait_for_signal("wait")


@workflow
async def waits(what: str, how: str) -> Any:
    try:
        if how == "timeout":
            async with asyncio.timeout(5):
                await _wait(what)
        elif how == "wait_for":
            await asyncio.wait_for(_wait(what), 5)
        else:
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                group.create_task(_wait(what))
    except TimeoutError:
        await sleep(60)
        return "late"
    return "in time"


@pytest.mark.parametrize("cached", [0, 100])
@pytest.mark.parametrize("how", ["timeout", "wait_for", "group"])
@pytest.mark.parametrize("what", ["approval", "plain approval", "callback", "signal"])
def test_a_timeout_around_a_wait_takes_it_back(what: str, how: str, cached: int) -> None:
    """Nothing can be decided any more while the run goes on; a signal is kept for another wait."""

    async def body(bench: Bench) -> None:
        SENT.clear()
        run = (await bench.start("waits", what=what, how=how)).run
        await asyncio.sleep(1)
        _, history = await bench.engine.history(run)
        keys = [entry.key for entry in history.awaited()]
        await asyncio.sleep(10)
        if what == "signal":
            door = Signals(bench.engine)
            await door.send(run, "wait", 1)
            [told] = (await door.sent_to(run)).signals
            assert not told.delivered
        elif what == "callback":
            with pytest.raises(LinkExpired):
                await Callbacks(bench.engine).complete(SENT[0].rpartition("/")[2], 1)
        else:
            yes = Approval(Decision.APPROVED)
            with pytest.raises(LinkExpired):
                await Approvals(bench.engine).decide(run, keys[0], yes)
        assert await bench.result(run, 120) == "late"

    members = [waits, hand_on]
    virtually(members, body, url="https://app.example", cached=cached)


@pytest.mark.parametrize("what", ["approval", "callback"])
def test_who_decides_while_the_run_is_late_is_told_the_truth(what: str) -> None:
    """A time-out had passed before anybody could observe it: what is decided then is refused."""

    async def body(bench: Bench) -> None:
        SENT.clear()
        run = (await bench.start("waits", what=what, how="timeout")).run
        await asyncio.sleep(1)
        _, history = await bench.engine.history(run)
        [key] = [entry.key for entry in history.awaited()]
        die(bench.engine)
        await asyncio.sleep(30)
        bench.engine = bench.another()
        bench.engine.open(sweep=False)
        yes = Approval(Decision.APPROVED)
        deciding = Approvals(bench.engine).decide(run, key, yes)
        if what == "callback":
            deciding.close()
            deciding = Callbacks(bench.engine).complete(SENT[0].rpartition("/")[2], 1)  # type: ignore[assignment]
        with pytest.raises(LinkExpired):
            await deciding

    virtually([waits, hand_on], body, url="https://app.example", sweeps=False)
