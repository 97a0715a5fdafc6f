"""Claims are released when nothing more is done under them."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from rewake.engine.process.leases import Claims
from rewake.engine.settings import Settings
from rewake.errors import StoreUnavailable
from rewake.records import Millis
from rewake.stores.answers import RunClaim
from rewake.stores.protocol import Store
from rewake.testing.clock import EPOCH

LEASE = 3_000


class SickStore:
    """A store that notes what it is asked, and fails while it is `sick`."""

    def __init__(self) -> None:
        self.sick = False
        self.asked: list[tuple[str, ...]] = []

    async def claim(self, run: str, claim: RunClaim) -> None:
        await self._answer("claim", run, claim.owner)

    async def release(self, run: str, owner: str, at: Millis, why: str = "") -> None:
        await self._answer("release", run, owner, str(at - EPOCH))

    async def release_task(self, run: str, key: str, owner: str, at: Millis, now: Millis) -> None:
        await self._answer("release_task", run, key, owner)

    async def _answer(self, *asked: str) -> None:
        if self.sick:
            raise StoreUnavailable("sick")
        self.asked.append(asked)


class Still:
    """A clock that stands still."""

    def now(self) -> Millis:
        return EPOCH

    async def sleep(self, duration: Millis) -> None:
        raise AssertionError("there is nothing to wait for")


def claims_of(store: SickStore) -> Claims:
    return Claims(cast(Store, store), Still(), Settings(lease=LEASE))


def test_what_is_done_with_is_released_at_once() -> None:
    """A run may be begun elsewhere after the wait that was asked for, by default a lease."""
    store = SickStore()
    claims = claims_of(store)
    asyncio.run(claims.release("r1", "", "me", 50))
    asyncio.run(claims.release("r2", "", "me"))
    asyncio.run(claims.release("r3", "work", "me"))
    assert store.asked == [
        ("release", "r1", "me", "50"),
        ("release", "r2", "me", str(LEASE)),
        ("release_task", "r3", "work", "me"),
    ]


def test_what_cannot_be_released_is_tried_again_with_each_sweep() -> None:
    """A process that could not reach its store releases what it held once it can, each once."""
    store = SickStore()
    claims = claims_of(store)
    store.sick = True
    for run in ("r1", "r2"):
        asyncio.run(claims.release(run, "", "me", 0))
    asyncio.run(claims.sweep())
    assert store.asked == []
    store.sick = False
    asyncio.run(claims.sweep())
    asyncio.run(claims.sweep())
    assert sorted(asked[1] for asked in store.asked) == ["r1", "r2"]


def test_a_claim_whose_answer_was_lost_is_released_before_the_next() -> None:
    """The run may be held for all that: one process never looks dead twice."""
    store = SickStore()
    claims = claims_of(store)
    store.sick = True
    with pytest.raises(StoreUnavailable):
        asyncio.run(claims.run("r1", RunClaim("first", EPOCH, LEASE)))
    store.sick = False
    asyncio.run(claims.run("r1", RunClaim("second", EPOCH, LEASE)))
    assert [asked[:3] for asked in store.asked] == [
        ("release", "r1", "first"),
        ("claim", "r1", "second"),
    ]
