"""Engines whose messages go through a queue, in virtual time: of processes, or of a function."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from rewake.clock import Clock
from rewake.dispatchers.sqs import SqsDispatcher
from rewake.engine.engine import Engine
from rewake.hosts.lambda_events import handle_schedule, handle_sqs
from rewake.signing.secret import Secret
from rewake.stores.bills import Bills
from tests.support.sqs import FakeSqs, Held
from tests.support.virtual import SECRET, die

QUEUE, DEAD = "work", "work-dead"


class Account:
    """The queues that all processes of a test share. It makes their dispatchers."""

    def __init__(self, *, consumes: bool = True, room: int = 100, secret: Secret = SECRET) -> None:
        self.bills = Bills()
        self.consumes = consumes
        self.room = room
        self.secret = secret
        self.sqs = FakeSqs(lambda: 0)
        self._made = False

    def __call__(self, clock: Clock) -> SqsDispatcher:
        if not self._made:
            self._made, self.sqs = True, FakeSqs(clock.now, QUEUE, DEAD)
        queues = self.sqs.queue(QUEUE), self.sqs.queue(DEAD)
        return SqsDispatcher(
            *queues,
            self.secret,
            clock,
            consumes=self.consumes,
            room=self.room,
            count=self.bills.sent,
        )

    @property
    def waiting(self) -> list[Held]:
        """The messages in the queue."""
        return self.sqs.queues[QUEUE]

    @property
    def dead(self) -> list[Held]:
        """The messages that were parked."""
        return self.sqs.queues[DEAD]


def cut_off(engine: Engine) -> None:
    """Let a process die: none of its calls comes through, and what it took comes back by time."""
    die(engine)
    dispatcher = engine.services.dispatcher
    consumer: Any = dispatcher._consumer if isinstance(dispatcher, SqsDispatcher) else None
    for each in (*consumer._loops, *consumer._work):
        each.cancel()


class Function:
    """A function that Lambda calls with batches of the queue, and once a minute.

    Between calls nothing of it runs that matters: its engine neither sweeps nor receives.
    """

    def __init__(self, engine: Engine, account: Account) -> None:
        self.engine = engine
        self.account = account
        self.calls = 0
        self._loops: list[asyncio.Task[None]] = []
        self._batches: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Let Lambda begin."""
        self._loops = [asyncio.ensure_future(each) for each in (self._poll(), self._tick())]

    async def close(self) -> None:
        """Let Lambda end."""
        for each in self._loops:
            each.cancel()
        await asyncio.gather(*self._loops, *self._batches, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(60)
            await handle_schedule(self.engine, {"rewake": "sweep"})

    async def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0.05)
            ready = [each for each in self.account.waiting if each.visible <= loop.time() + 1e-9]
            for part in _tens(ready):
                self.calls += 1
                event = {"Records": [self.account.sqs.record(each) for each in part]}
                task = asyncio.ensure_future(self._call(event))
                self._batches.add(task)
                task.add_done_callback(self._batches.discard)

    async def _call(self, event: dict[str, list[dict[str, str]]]) -> None:
        answer = await handle_sqs(self.engine, event)
        left = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        done = {each["messageId"] for each in event["Records"]} - left
        queue = self.account.waiting
        queue[:] = [each for each in queue if each.id not in done]


def _tens(items: list[Held]) -> Iterator[list[Held]]:
    for begin in range(0, len(items), 10):
        yield items[begin : begin + 10]
