"""Room for attempts."""

from __future__ import annotations

import asyncio

import pytest

from rewake.engine.process.slots import Slots


def test_slots_are_taken_and_given_in_order() -> None:
    """No more attempts run at once than there are slots; the others wait for their turn."""

    async def main() -> None:
        slots, running, most = Slots(2), 0, 0

        async def attempt() -> None:
            nonlocal running, most
            await slots.wait()
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            slots.release()

        await asyncio.gather(*(attempt() for _ in range(7)))
        assert most == 2
        assert slots.free == 2

    asyncio.run(main())


def test_an_attempt_that_is_cancelled_while_it_waits_takes_nothing() -> None:
    """Cancelling a wait for a slot leaves the count right."""

    async def main() -> None:
        slots = Slots(1)
        await slots.wait()
        waiting = asyncio.ensure_future(slots.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert slots.free == 0
        slots.release()
        assert slots.free == 1

    asyncio.run(main())


def test_a_slot_that_was_given_to_one_who_left_goes_to_the_next() -> None:
    """A wait that is cancelled just after it was granted keeps nothing, and hands it on."""

    async def main() -> None:
        slots = Slots(1)
        assert slots.reserve(1) == 1
        first, second = (asyncio.ensure_future(slots.wait()) for _ in range(2))
        await asyncio.sleep(0)
        slots.release()
        first.cancel()
        await asyncio.wait_for(second, 1)
        assert first.cancelled()
        assert slots.free == 0

    asyncio.run(main())
