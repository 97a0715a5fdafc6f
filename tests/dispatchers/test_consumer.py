"""What takes messages out of a queue keeps those hidden that are under way, however many."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from rewake.aws.queue import BATCH, Outgoing, batched
from rewake.dispatchers.consumer import Consumer
from rewake.dispatchers.dead_letters import DeadLetterQueue
from rewake.dispatchers.receiving import Receiver
from rewake.errors import TransportUnavailable
from rewake.records import Invocation
from rewake.signing.envelopes import enveloped
from tests.support.queued import DEAD, QUEUE, Account
from tests.support.virtual import SECRET, Bench, virtually


@pytest.mark.parametrize("odd", ["slow", "failing"])
def test_many_messages_under_way_stay_hidden(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the service takes its time, or refuses to hide some of them for a while."""
    begun = Counter[str]()

    async def handle(invocation: Invocation) -> None:
        begun[invocation.run] += 1
        await asyncio.sleep(200)

    async def body(bench: Bench) -> None:
        clock, sqs = bench.engine.services.clock, account.sqs
        queue, once, first = sqs.queue(QUEUE), sqs._once, list[str]()

        async def oddly(action: str, given: Any, timeout: float) -> dict[str, Any]:
            await asyncio.sleep(0.1 if odd == "slow" else 0)
            if odd == "failing" and action == "ChangeMessageVisibilityBatch":
                handle = given["Entries"][0]["ReceiptHandle"]
                first.append(handle)
                if handle == first[0]:
                    raise TransportUnavailable("not now", passes=True)
            return await once(action, given, timeout)

        sent = [enveloped(SECRET, Invocation(f"r{n}"), clock.now()) for n in range(1_000)]
        for part in batched(sent):
            await queue.send([Outgoing(each) for each in part])
        monkeypatch.setattr(sqs, "_once", oddly)
        receiver = Receiver(handle, SECRET, clock)
        consumer = Consumer(queue, receiver, DeadLetterQueue(sqs.queue(DEAD), queue), 2_000)
        consumer.open()
        await asyncio.sleep(120)
        again = [run for run, times in begun.items() if times > 1]
        assert len(begun) == 1_000
        assert len(again) <= (0 if odd == "slow" else BATCH), len(again)
        await consumer.close()

    account = Account(consumes=False)
    virtually([], body, carrier=account)
