"""Leases are kept while something is done under them, and released after."""

from __future__ import annotations

import asyncio
import threading
from typing import cast

import pytest

from rewake.clock import SystemClock
from rewake.engine.leases import Claims, Heart
from rewake.engine.settings import Settings
from rewake.errors import StoreUnavailable
from rewake.records import Millis
from rewake.stores.answers import RunClaim
from rewake.stores.protocol import Store
from tests.simulation.loop import SimLoop
from tests.support.virtual import EPOCH, VirtualClock

LEASE = 3_000


class SickStore:
    """A store that notes what it is asked, and fails while it is `sick`."""

    def __init__(self) -> None:
        self.sick = False
        self.asked: list[tuple[str, ...]] = []

    async def claim(self, run: str, claim: RunClaim) -> None:
        await self._answer("claim", run, claim.owner)

    async def release(self, run: str, owner: str, at: Millis) -> None:
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


def test_a_lease_is_renewed_each_third_of_it() -> None:
    """Two renewals may fail before a lease is over; one that fails does not stop the others."""
    loop = SimLoop()
    beats: list[float] = []

    async def main() -> None:
        heart = Heart(VirtualClock(loop), LEASE, threaded=False)
        heart.open()

        async def renew() -> bool:
            beats.append(loop.seconds)
            return True

        async def fail() -> bool:
            raise StoreUnavailable("sick")

        def never() -> None:
            raise AssertionError("it is kept")

        with heart.holding("sick", fail, never), heart.holding("well", renew, never):
            await asyncio.sleep(LEASE / 1000 + 0.5)
        await asyncio.sleep(LEASE / 1000)
        await heart.close()

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert beats == [1.0, 2.0, 3.0]


def test_a_holder_is_told_once_that_it_was_overtaken() -> None:
    """A lease that another has now is renewed no more."""
    loop = SimLoop()
    told: list[str] = []

    async def main() -> None:
        heart = Heart(VirtualClock(loop), LEASE, threaded=False)
        heart.open()

        async def renew() -> bool:
            told.append("asked")
            return False

        with heart.holding("me", renew, lambda: told.append("overtaken")):
            await asyncio.sleep(3 * LEASE / 1000)
        await heart.close()

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert told == ["asked", "overtaken"]


def test_code_that_hogs_the_event_loop_keeps_its_leases() -> None:
    """The heart beats in a thread; what it has to say is said in the engine's loop."""
    renewed, here = threading.Event(), threading.get_ident()
    said: list[int] = []

    async def main() -> None:
        heart = Heart(SystemClock(), 30)
        heart.open()

        async def renew() -> bool:
            renewed.set()
            return False

        with heart.holding("me", renew, lambda: said.append(threading.get_ident())):
            assert renewed.wait(5), "nothing was renewed while the loop was blocked"
            for _ in range(500):
                if said:
                    break
                await asyncio.sleep(0.01)
        await heart.close()

    asyncio.run(main())
    assert said == [here]
