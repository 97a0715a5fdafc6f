"""Messages that wait for their time."""

from __future__ import annotations

import asyncio

from rewake.dispatchers.delays import Delays
from rewake.records import Invocation
from rewake.testing.loop import VirtualLoop


def test_a_message_is_sent_at_its_time_and_a_newer_one_replaces_it() -> None:
    """One timer for each run or task: repeated messages do not pile up."""
    loop, sent = VirtualLoop(), list[tuple[float, Invocation]]()

    async def main() -> None:
        delays = Delays(lambda invocation: sent.append((loop.seconds, invocation)))
        first, again = Invocation("r1"), Invocation("r1", sole=True)
        delays.add(first, 1_000)
        delays.add(again, 2_000)
        delays.add(Invocation("r1", "work"), 500)
        delays.add(Invocation("r2"), 60_000)
        await asyncio.sleep(3)
        delays.clear()
        await asyncio.sleep(100)

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert sent == [(0.5, Invocation("r1", "work")), (2.0, Invocation("r1", sole=True))]
