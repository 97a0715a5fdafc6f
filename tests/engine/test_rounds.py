"""An operation's item is of one round: to a later one it is none, to an earlier one not its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rewake import task, workflow
from rewake.kinds import Kind, OutcomeKind
from rewake.records import Invocation, Operation, Outcome
from rewake.stores.answers import Refused, Taken
from rewake.stores.keys import operation_key
from rewake.stores.protocol import Store
from tests.support.virtual import TABLES, Bench, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
OK, CANCELLED = Outcome(OutcomeKind.OK), Outcome(OutcomeKind.CANCELLED)


@task
async def charge() -> None:
    pass


@workflow
async def buys() -> None:
    await charge()


def stored(table: str, body: Callable[[Bench, Store], Awaitable[None]]) -> None:
    async def main(bench: Bench) -> None:
        await body(bench, bench.engine.services.store)

    virtually([buys, charge], main, table=table)


def of(round: int, **more: Any) -> Operation:
    return Operation("r", "charge", Kind.TASK, "charge", round, **more)


async def claim(bench: Bench, round: int) -> Taken | Refused:
    asked = Invocation("r", "charge", "charge", round=round)
    store = bench.engine.services.store
    return await store.claim_task(bench.engine.services.task_claim("r", asked))


async def item(store: Store) -> Operation:
    found = await store.operation("r", "charge")
    assert found is not None
    return found


@everywhere
def test_a_claim_of_a_newer_round_begins_anew(table: str) -> None:
    """It has its attempts again; their numbers go on, and those before stay on record."""

    async def body(bench: Bench, store: Store) -> None:
        first = await claim(bench, 0)
        assert isinstance(first, Taken)
        await store.settle(of(0), CANCELLED, 5)
        second = await claim(bench, 1)
        assert isinstance(second, Taken)
        found = second.operation
        assert (found.round, found.number, found.attempts, found.outcome) == (1, 2, 1, None)
        assert [each.attempt for each in found.tries] == [1]
        assert found.owner != first.operation.owner

    stored(table, body)


@everywhere
def test_a_claim_of_an_older_round_is_refused(table: str) -> None:
    """Nobody waits for it any more, whatever became of the newer one."""

    async def body(bench: Bench, store: Store) -> None:
        assert isinstance(await claim(bench, 1), Taken)
        before = await item(store)
        assert isinstance(await claim(bench, 0), Refused)
        assert await item(store) == before
        await store.settle(of(1), OK, 5)
        assert isinstance(await claim(bench, 0), Refused)

    stored(table, body)


@everywhere
@pytest.mark.parametrize("claimed", [False, True])
def test_an_outcome_counts_in_its_own_round_only(table: str, claimed: bool) -> None:
    """A late outcome of an earlier round changes nothing; that of a later one replaces it."""

    async def body(bench: Bench, store: Store) -> None:
        assert (await store.settle(of(0), CANCELLED, 5))[0]
        if claimed:
            assert isinstance(await claim(bench, 1), Taken)
        else:
            won, found = await store.settle(of(1), OK, 7)
            assert (won, found.outcome, found.at, found.round) == (True, OK, 7, 1)
        before = await item(store)
        won, found = await store.settle(of(0), OK, 9)
        assert (won, found) == (False, before)
        assert (await item(store)) == before
        won, found = await store.settle(of(2), CANCELLED, 11)
        assert (won, found.round, found.outcome) == (True, 2, CANCELLED)

    stored(table, body)


@everywhere
def test_who_held_it_in_an_earlier_round_holds_it_no_more(table: str) -> None:
    """Renewing, retrying, releasing and losing it change nothing."""

    async def body(bench: Bench, store: Store) -> None:
        first = await claim(bench, 0)
        assert isinstance(first, Taken)
        owner = first.operation.owner
        await store.settle(of(0), CANCELLED, 5)
        assert isinstance(await claim(bench, 1), Taken)
        before = await item(store)
        assert not await store.renew_task("r", "charge", owner, 0, 5000)
        assert not await store.release_task("r", "charge", owner, 0, 0)
        assert not (await store.settle(of(0), OK, 1, owner=owner))[0]
        await store.absolve_task("r", "charge", owner)
        assert await item(store) == before

    stored(table, body)


@everywhere
def test_a_deliverer_of_an_earlier_round_is_told_that_it_lost(table: str) -> None:
    """And a look at the due item of an earlier round asks for nothing."""

    async def body(bench: Bench, store: Store) -> None:
        await bench.table.put(operation_key("r", "charge"), of(1, owner="o", lease=2**40))
        delivery = await store.deliver(of(0), OK, 5, claim=bench.engine.services.run_claim("r"))
        assert (delivery.won, delivery.header, delivery.wake) == (False, None, False)

    stored(table, body)


@everywhere
def test_a_failed_run_is_marked_once_a_newer_one_is_begun(table: str) -> None:
    """A mark can be made again; a run that goes on has none."""

    async def body(bench: Bench, store: Store) -> None:
        header = await bench.start("buys")
        assert not (await store.supersede(header.run)).newer
        await bench.result(header.run)
        # It has succeeded, so that nobody can retry it.
        assert not (await store.supersede(header.run)).newer

    stored(table, body)
