"""A process that stands still between requests, of which some come together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake.access import Scope
from rewake.hosts.pausing import Pauses
from rewake.http.app import create_app
from rewake.http.parts import Parts
from rewake.ledger import Received
from rewake.states import RunState
from tests.engine.test_within import Bench, in_function, work, works
from tests.support.virtual import SECRET

LONG = 300.0
"""Seconds that each request may take."""


def test_a_request_does_not_wait_for_the_work_of_a_later_one() -> None:
    """Who comes while a process comes to rest lets it rest at its own end, and is not cut off."""

    async def body(bench: Bench) -> None:
        pauses = Pauses(create_app(bench.engine, SECRET, sweep=False))
        lost = await bench.start("works", seconds=1)
        bench.mail.sent.clear()
        run = await bench.start("works", seconds=280)
        await bench.deliver()
        [long] = bench.mail.sent
        bench.mail.sent.clear()
        ended = dict[str, float]()

        async def sweep() -> None:
            async with pauses.working(LONG):
                await asyncio.sleep(2)
                await bench.engine.sweep()  # the first run is due in two seconds more
            ended["sweep"] = bench.loop.seconds

        async def carry() -> None:
            await asyncio.sleep(3)
            async with pauses.working(LONG):
                await bench.handle(long, LONG)
            ended["carry"] = bench.loop.seconds

        await asyncio.gather(sweep(), carry())

        assert ended["sweep"] < 10
        assert ended["carry"] > 280
        assert lost in {each.run for each in bench.mail.sent}
        bench.holds_nothing()
        assert (await bench.engine.get(run)).state is RunState.DONE

    in_function([work, works], body)


def test_what_is_written_beside_an_answer_is_written_before_the_process_stands_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No answer waits for long for an entry of the audit log, or a delivery that is kept; but what
    stood still as it was written would be missing for as long as that lasts, or for ever.
    """

    async def body(bench: Bench) -> None:
        app = create_app(bench.engine, SECRET, sweep=False)
        pauses, written = Pauses(app), list[str]()
        parts: Parts = app.state.parts
        store = bench.engine.services.store

        async def slowly(entry: object, *_: Any) -> None:
            await asyncio.sleep(3)
            written.append(type(entry).__name__)

        monkeypatch.setattr(store.audit, "append", slowly)
        monkeypatch.setattr(store.deliveries, "append", slowly)
        async with pauses.working(LONG):
            await parts.auditor.tell(Scope.OPERATE, "runs.cancel", 200)
        assert written == ["Audited"]
        async with pauses.working(LONG):
            await parts.keeper.keep(Received(0, "push", "started"), b"", known=True)
        assert written == ["Audited", "Received"]

    in_function([], body)


def test_what_is_claimed_as_its_time_is_over_is_released() -> None:
    """Its claim may be written once it is given up, which a lease that runs out would end."""

    async def body(bench: Bench) -> None:
        await bench.start("works", seconds=1)
        await bench.deliver()
        store: Any = bench.engine.services.store
        claim, release = store.claim_task, store.release_task

        async def late(*given: Any, **named: Any) -> Any:
            await asyncio.sleep(1.2)
            return await claim(*given, **named)

        async def slow(*given: Any) -> Any:
            released = await release(*given)
            await asyncio.sleep(0.5)
            return released

        store.claim_task, store.release_task = late, slow
        await bench.deliver(1)
        assert [each.name for each in bench.mail.sent] == ["work"]

    in_function([work, works], body)


def test_a_message_that_came_twice_and_is_late_leaves_the_attempt_alone() -> None:
    """It waits for room while the other one carries the task out, which has more time."""

    async def body(bench: Bench) -> None:
        runs = [await bench.start("works", seconds=50) for _ in range(2)]
        for _ in runs:
            await bench.deliver()
        (first, second), bench.mail.sent = bench.mail.sent, []
        given = ((first, LONG), (second, LONG), (second, 70))
        await asyncio.gather(*(bench.handle(*each) for each in given))
        assert [(await bench.engine.get(each)).state for each in runs] == [RunState.DONE] * 2
        assert bench.loop.seconds < 110

    in_function([work, works], body, tasks=1)
