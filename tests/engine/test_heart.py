"""What is held for long is held by one lease of the process, renewed from a thread of its own."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine
from typing import Any, cast

from rewake.clock import SystemClock
from rewake.engine.process.heart import Heart, Hold
from rewake.engine.settings import Settings
from rewake.errors import StoreUnavailable
from rewake.stores.protocol import Store
from rewake.testing.clock import EPOCH, VirtualClock
from rewake.testing.loop import VirtualLoop

LEASE = 3_000


class Beaten:
    """A store that notes when a process renews its lease; `dead` are processes that cannot."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.beats: list[float] = []
        self.names: list[str] = []
        self.dead: set[str] = set()
        self.ended: list[str] = []

    async def renew_process(self, name: str, *_: object, new: bool, tags: object) -> bool:
        self.beats.append(self._now())
        self.names.append(name)
        return name not in self.dead

    async def end_process(self, name: str) -> None:
        self.ended.append(name)


class Claim:
    """A claim that notes what is asked of it; `lost`: another has it."""

    def __init__(self, owner: str, *, lost: bool = False) -> None:
        self.asked: list[str] = []
        self.lost = lost
        self.error: Exception | None = None
        self.hold = Hold(owner, EPOCH + LEASE, self._renew, self._look, self._overtaken)

    async def _renew(self, process: str) -> bool:
        return self._answer(f"held by {process}")

    async def _look(self, hold: Hold) -> bool:
        return self._answer("looked at")

    def _answer(self, asked: str) -> bool:
        if self.error is not None:
            raise self.error
        self.asked.append(asked)
        return not self.lost

    def _overtaken(self) -> None:
        self.asked.append("overtaken")


def beating(body: Callable[[Heart, Beaten], Coroutine[Any, Any, None]]) -> None:
    """Run `body` in virtual time with a heart that beats."""
    loop, count = VirtualLoop(), itertools.count(1)

    async def main() -> None:
        store = Beaten(lambda: loop.seconds)
        settings = Settings(lease=LEASE)
        clock = VirtualClock(loop)
        heart = Heart(
            cast(Store, store), clock, settings, lambda: f"process {next(count)}", threaded=False
        )
        heart.open()
        await body(heart, store)
        await heart.close(bool)

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_a_process_renews_its_lease_each_third_of_it() -> None:
    """Two renewals may fail before it is over; a claim that cannot be kept stops no other."""

    async def body(heart: Heart, store: Beaten) -> None:
        sick, well = Claim("sick"), Claim("well")
        sick.error = StoreUnavailable("sick")
        with heart.holding(sick.hold), heart.holding(well.hold):
            await asyncio.sleep(4.5)
        assert store.beats == [1.0, 2.0, 3.0, 4.0]
        assert well.asked == ["held by process 1", *["looked at"] * 3]
        assert "overtaken" not in sick.asked

    beating(body)


def test_a_process_that_holds_nothing_for_long_has_no_item() -> None:
    """It costs no write; after long work, its item is removed with the next beat."""

    async def body(heart: Heart, store: Beaten) -> None:
        for _ in range(20):
            with heart.holding(Claim("short").hold):
                await asyncio.sleep(0.3)
        assert store.beats == []
        with heart.holding(Claim("long").hold):
            await asyncio.sleep(3)
        await asyncio.sleep(5)
        assert len(store.beats) <= 4
        assert store.ended == ["process 1"]

    beating(body)


def test_a_holder_is_told_once_that_it_was_overtaken() -> None:
    """A claim that another has now is looked at no more."""

    async def body(heart: Heart, store: Beaten) -> None:
        claim = Claim("me", lost=True)
        with heart.holding(claim.hold):
            await asyncio.sleep(9)
        assert claim.asked == ["held by process 1", "overtaken"]

    beating(body)


def test_a_process_that_was_taken_for_dead_goes_on_under_another_name() -> None:
    """It renews its old lease no more; what it still has is held by the new one, all else ends."""

    async def body(heart: Heart, store: Beaten) -> None:
        kept, taken = Claim("kept"), Claim("taken")
        with heart.holding(kept.hold), heart.holding(taken.hold):
            await asyncio.sleep(2.5)
            store.dead.add("process 1")
            taken.lost = True
            await asyncio.sleep(2)
        assert store.names == ["process 1"] * 3 + ["process 2"] * 2
        assert kept.asked[-2:] == ["held by process 2", "looked at"]
        assert taken.asked[-2:] == ["held by process 2", "overtaken"]

    beating(body)


def test_what_is_done_with_and_not_released_is_taken_from_the_process() -> None:
    """It would live for as long as its process otherwise, and nobody would go on with it."""

    async def body(heart: Heart, store: Beaten) -> None:
        claim, released = Claim("me"), Claim("released")
        with heart.holding(claim.hold), heart.holding(released.hold):
            await asyncio.sleep(2.5)
        released.lost = True
        claim.error = StoreUnavailable("out")
        await asyncio.sleep(3)
        claim.error = None
        await asyncio.sleep(2)
        assert claim.asked[-2:] == ["looked at", "held by "]
        assert released.asked[-1] == "looked at"
        await asyncio.sleep(3)
        assert claim.asked[-2:] == ["looked at", "held by "]

    beating(body)


def test_a_beat_that_fails_is_not_the_last() -> None:
    """Whatever a beat fails with, of the machine's or of its own, the next one renews."""

    async def body(heart: Heart, store: Beaten) -> None:
        claim, fails = Claim("me"), [MemoryError()]
        all_of = heart._all

        async def short(*args: Any) -> None:
            if fails:
                raise fails.pop()
            await all_of(*args)

        cast(Any, heart)._all = short
        with heart.holding(claim.hold):
            await asyncio.sleep(4.5)
        assert store.beats == [1.0, 2.0, 3.0, 4.0]
        assert claim.asked == ["held by process 1", *["looked at"] * 2]

    beating(body)


def test_code_that_hogs_the_event_loop_keeps_its_leases() -> None:
    """The heart beats in a thread; what it has to say is said in the engine's loop."""
    renewed, here = threading.Event(), threading.get_ident()
    said: list[int] = []

    async def main() -> None:
        clock = SystemClock()
        store, settings = Beaten(lambda: 0.0), Settings(lease=30)
        heart = Heart(cast(Store, store), clock, settings, lambda: "p")
        heart.open()

        async def renew(_: str) -> bool:
            renewed.set()
            return False

        async def look(_: Hold) -> bool:
            return True

        hold = Hold("me", 0, renew, look, lambda: said.append(threading.get_ident()))
        with heart.holding(hold):
            assert renewed.wait(5), "nothing was renewed while the loop was blocked"
            for _ in range(500):
                if said:
                    break
                await asyncio.sleep(0.01)
        await heart.close(bool)

    asyncio.run(main())
    assert said == [here]
