"""What follows once an outcome is delivered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import task, workflow
from rewake.engine.turns.deliveries import Deliveries
from rewake.errors import StoreUnavailable
from rewake.kinds import Kind, OutcomeKind
from rewake.records import Failure, Invocation, Operation, Outcome
from rewake.states import RunState
from rewake.stores.answers import Delivery
from rewake.stores.operations import blank_of
from tests.support.virtual import TABLES, Bench, virtually


@task
async def works(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@workflow
async def waits_for_both() -> list[float]:
    return list(await asyncio.gather(works(1), works(2)))


@pytest.mark.parametrize("table", TABLES)
def test_a_run_goes_on_in_the_process_that_completes_what_it_waits_for(table: str) -> None:
    """One claim for two outcomes: the first only counts, the second claims and goes on."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("waits_for_both")).run
        await asyncio.sleep(1.5)
        between = await bench.engine.get(run)
        assert (between.state, between.epoch, between.gap) == (RunState.PARKED, 1, 1)
        assert await bench.result(run) == [1, 2]
        assert (await bench.engine.get(run)).epoch == 2

    virtually([waits_for_both, works], body, table=table)


@pytest.mark.parametrize("table", TABLES)
def test_an_outcome_that_is_delivered_again_changes_nothing(table: str) -> None:
    """Its deliverer may have died before the run was told, so it is repeated, also too often."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("waits_for_both")).run
        await asyncio.sleep(1.5)
        _, history = await bench.engine.history(run)
        (done,) = [o for o in history.operations.values() if o.outcome is not None]
        deliveries = Deliveries(bench.engine.services)
        for _ in range(3):
            await deliveries.repeat(done)
        assert await bench.result(run) == [1, 2]
        await deliveries.repeat(done)
        _, after = await bench.engine.history(run)
        assert [o.attempts for o in after.operations.values()] == [1, 1]

    virtually([waits_for_both, works], body, table=table)


def test_a_run_is_released_that_was_claimed_as_a_message_came_too_late() -> None:
    """It brings an outcome again that its run never heard of, and the store seems to fail, or the
    process ends, once the run is claimed.
    """

    async def body(bench: Bench) -> None:
        run = (await bench.start("waits_for_both")).run
        await asyncio.sleep(1.5)
        _, history = await bench.engine.history(run)
        [late] = [o for o in history.operations.values() if o.outcome is None]
        other = bench.another()
        other.open(sweep=False)
        store: Any = other.services.store
        failed = Outcome(OutcomeKind.ERROR, origin=Failure("ValueError", "no"))
        await store.settle(blank_of(late), failed, other.services.clock.now())
        redeliver = store.redeliver

        async def fails(*given: Any) -> Any:
            delivery = await redeliver(*given)
            assert delivery.claimed
            raise StoreUnavailable("away")

        store.redeliver = fails
        await other.handle(Invocation(run, late.key, late.name))
        assert (await bench.engine.get(run)).owner
        await other.close(0)
        assert not (await bench.engine.get(run)).owner

    virtually([waits_for_both, works], body)


@pytest.mark.parametrize("table", TABLES)
def test_a_run_goes_on_whose_claim_was_made_although_it_seemed_to_fail(table: str) -> None:
    """What an attempt came to is delivered again then, which finds that the run is its own."""

    async def body(bench: Bench) -> None:
        store: Any = bench.engine.services.store
        claim, lost = store.claim, list[object]()

        async def fails(*given: Any) -> Any:
            header = await claim(*given)
            if not lost:
                lost.append(header)
                raise StoreUnavailable("the answer is lost")
            return header

        store.claim = fails
        run = (await bench.start("waits_for_both")).run
        assert await bench.result(run) == [1, 2]
        assert lost
        assert bench.seconds < 4
        assert (await bench.engine.get(run)).epoch == 2

    virtually([waits_for_both, works], body, table=table)


def test_a_delivery_to_a_run_that_is_over_is_followed_by_nothing() -> None:
    """There is no header to go on with."""

    async def body(bench: Bench) -> None:
        operation = Operation("gone", "works", Kind.TASK)
        await Deliveries(bench.engine.services).follow(
            Delivery(True, operation, None, False, False)
        )
        assert bench.seconds == 0

    virtually([waits_for_both, works], body)
