"""The lease of a process: it is renewed, or found to be over and marked dead, never both."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rewake.engine.settings import Settings
from rewake.errors import StoreUnavailable
from rewake.ledger import Process
from rewake.records import Header
from rewake.states import RunState
from rewake.stores.answers import RunClaim
from rewake.stores.keys import header_key, process_key
from rewake.stores.memory import MemoryTable
from rewake.stores.protocol import Store
from rewake.stores.shelf import shelf_of
from rewake.stores.table import Key, Written
from tests.support.stores import take_over

LEASE, MARGIN = 5_000, 250
PATIENCE = Settings().patience


class Now:
    """A clock that a test sets."""

    at = 1_000_000

    def now(self) -> int:
        return self.at

    async def sleep(self, duration: int) -> None:
        raise AssertionError("nothing waits")


class Nobody:
    """A process that has no instance."""

    def has(self, run: str) -> bool:
        return False

    def hear(self, run: str, number: int, key: str) -> None:
        raise AssertionError("nothing arrives")

    def called_off(self, run: str) -> None:
        pass


class Denying(MemoryTable):
    """A table that reports as many writes as failed as it is told to, and does them."""

    denies = 0

    async def update(self, key: Key, **changes: Any) -> Written:
        written = await super().update(key, **changes)
        if self.denies:
            self.denies -= 1
            raise StoreUnavailable("it was done, and is denied")
        return written


def play(body: Callable[[Store, Now, Denying], Awaitable[None]]) -> None:
    table, clock, marks = Denying(), Now(), itertools.count()
    store = Store(
        table,
        shelf_of(table),
        mark=lambda: f"m{next(marks)}",
        clock=clock,
        here=Nobody(),
        patience=PATIENCE,
    )

    async def main() -> None:
        await body(store, clock, table)

    asyncio.run(main())


async def renew(store: Store, clock: Now, *, new: bool = False) -> bool:
    return await store.renew_process("p", "h:1", clock.at, LEASE, new=new)


async def process(store: Store) -> Process:
    found = await store.process("p")
    assert found is not None
    return found


@pytest.mark.parametrize("denies", [0, 1, 3])
def test_a_process_renews_until_it_is_marked_dead(denies: int) -> None:
    """From then on it cannot, whatever it is told, and neither can it begin anew by that name."""

    async def body(store: Store, clock: Now, table: Denying) -> None:
        table.denies = denies
        assert await renew(store, clock, new=True)
        clock.at += 2_000
        table.denies = denies
        assert await renew(store, clock)
        assert (await process(store)).lease == clock.at + LEASE
        clock.at += LEASE + MARGIN
        assert not await store.bury(await process(store), clock.at), "it is not over by all clocks"
        clock.at += 1
        table.denies = denies
        assert not await store.bury(await process(store), clock.at), "it was found over just now"
        clock.at += PATIENCE - 1
        assert not await store.bury(await process(store), clock.at)
        clock.at += 1
        table.denies = denies
        assert await store.bury(await process(store), clock.at)
        for new in (False, True):
            assert not await renew(store, clock, new=new)
        assert (await process(store)).dead

    play(body)


def test_a_process_that_renews_first_is_not_marked_dead() -> None:
    """Who found its lease over finds it renewed, and takes nothing."""

    async def body(store: Store, clock: Now, table: Denying) -> None:
        await renew(store, clock, new=True)
        clock.at += 2 * LEASE
        assert not await store.bury(await process(store), clock.at)
        clock.at += PATIENCE
        found = await process(store)
        assert await renew(store, clock)
        assert not await store.bury(found, clock.at)
        assert not (await process(store)).dead

    play(body)


def test_a_removed_process_does_not_come_back() -> None:
    """A renewal makes no item, unless it is the first."""

    async def body(store: Store, clock: Now, table: Denying) -> None:
        await renew(store, clock, new=True)
        await store.end_process("p")
        assert not await renew(store, clock)
        assert await store.process("p") is None

    play(body)


def test_an_early_due_time_of_a_process_stays() -> None:
    """A renewal is one write and none of the index; a due time that is too late is set right."""

    async def body(store: Store, clock: Now, table: Denying) -> None:
        await renew(store, clock, new=True)
        due = (await process(store)).due
        assert due == clock.at + LEASE + MARGIN
        clock.at += 1_000
        await renew(store, clock)
        assert (await process(store)).due == due
        await table.update(process_key("p"), set={"due": clock.at + 10**9})
        assert await renew(store, clock)
        assert (await process(store)).due == clock.at + LEASE + MARGIN

    play(body)


def test_what_names_a_process_is_taken_only_once_that_is_marked_dead() -> None:
    """While it lives, however old the claim is; then the loss is of the moment its lease ended."""

    async def body(store: Store, clock: Now, table: Denying) -> None:
        await renew(store, clock, new=True)
        header = Header("r", "w", 0, 1, 1, RunState.RUNNING, epoch=1, owner="o", process="p")
        await table.put(header_key("r"), header)
        for _ in range(20):
            clock.at += LEASE - 1
            await renew(store, clock)
            assert await store.claim("r", RunClaim("q", clock.at + MARGIN, LEASE)) is None
        ended = (await process(store)).lease
        clock.at += LEASE + MARGIN + 1
        taken = await take_over(store, "r", RunClaim("q", clock.at, LEASE))
        assert (taken.owner, taken.process, taken.deaths) == ("q", "", 1)
        assert taken.lost_turn is not None
        assert taken.lost_turn.ended == ended
        assert (await process(store)).dead

    play(body)


def test_a_claim_that_was_given_to_another_process_meanwhile_is_not_taken() -> None:
    """Its holder woke up: it was marked dead, and gives what it has to its new name first."""

    async def body(store: Store, clock: Now, table: Denying) -> None:
        await renew(store, clock, new=True)
        held = Header("r", "w", 0, 1, 1, RunState.RUNNING, epoch=1, owner="o", process="p")
        await table.put(header_key("r"), held)
        clock.at += 2 * LEASE
        assert await store.ended(held, clock.at) is None
        clock.at += PATIENCE
        assert await store.ended(held, clock.at) is not None
        assert await store.renew_process("p2", "h:1", clock.at, LEASE, new=True)
        assert await store.renew(held, clock.at, LEASE, process="p2") is not None
        assert await store.claim("r", RunClaim("q", clock.at, LEASE)) is None

    play(body)
