"""The SQS dispatcher: each message waits in a queue, which all replicas take messages from.

A queue keeps what it is given, also while nobody lives, and delays it by up to 15 minutes to the
second. So what is due within that is sent ahead (`reach`), and what is due later is sent by the
sweep that comes before it. A whole second is too coarse for short waits: a message is delayed by
less than its wait, and whoever receives it waits for the rest.

Messages of one moment share a request, ten at most. A message that is not taken, after a few tries,
is left to the due index, as everywhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from rewake.aws.client import AwsClient
from rewake.aws.queue import BATCH, LONGEST_DELAY, TARGET, Outgoing, Queue
from rewake.clock import Clock
from rewake.dispatchers.consumer import Consumer
from rewake.dispatchers.dead_letters import DeadLetterQueue
from rewake.dispatchers.dispatcher import Handler
from rewake.dispatchers.receiving import Receiver
from rewake.errors import RewakeError
from rewake.records import Invocation, Millis
from rewake.signing.envelopes import enveloped
from rewake.signing.secret import Secret

log = logging.getLogger("rewake.dispatcher")

REACH: Millis = LONGEST_DELAY * 1000
"""How far ahead a queue takes messages."""
IN_FLIGHT = 16
"""How many requests that send are under way at once."""
BACKLOG = 10_000
"""How many messages may wait to be sent; the due index covers all others."""
PATIENCE = 3.0
"""Seconds for which whoever dispatches waits until its messages are sent; they are tried longer."""

_TRIES = 3
_PAUSE = 0.1
_LAST_WORDS = 2.0
_KNOWN: Millis = 2_000  # For how long it is known how many messages wait.


class _Lot:
    """The messages of one call, of which so many are not sent yet."""

    def __init__(self, left: int) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = left

    def leave(self) -> None:
        """Note that one was sent, or given up."""
        self._left -= 1
        if not self._left:
            self.over.set_result(None)


class SqsDispatcher:
    """Sends messages to `queue`, signed with `secret`, and takes some from it if it `consumes`.

    `parked` has those that could not be handled. `room`: how many tasks this process takes at once.
    `count` is told of which runs messages are, as they are sent.
    """

    local = False
    reach = REACH

    def __init__(
        self,
        queue: Queue,
        parked: Queue,
        secret: Secret,
        clock: Clock,
        *,
        consumes: bool = True,
        room: int = 100,
        count: Callable[[Iterable[str]], object] = list,
    ) -> None:
        self.queues = (queue, parked)
        self.dead_letters = DeadLetterQueue(parked, queue)
        self._queue = queue
        self._secret = secret
        self._clock = clock
        self._consumes = consumes
        self._room = room
        self._count = count
        self._consumer: Consumer | None = None
        self._outbox: deque[tuple[Outgoing, _Lot]] = deque()
        self._senders: set[asyncio.Task[None]] = set()
        self._closed = True
        self._failing = False
        self._looked_at: Millis = 0
        self._waiting = 0

    def open(self, handler: Handler) -> None:
        self._closed = False
        if self._consumes:
            receiver = Receiver(handler, self._secret, self._clock)
            self._consumer = Consumer(self._queue, receiver, self.dead_letters, self._room)
            self._consumer.open()

    async def dispatch(self, invocations: Sequence[Invocation]) -> None:
        now, loop = self._clock.now(), asyncio.get_running_loop()
        waits = [0 if each.not_before is None else each.not_before - now for each in invocations]
        fit = [each for each in zip(invocations, waits, strict=True) if each[1] <= REACH]
        until = loop.time() + PATIENCE
        while fit and not self._closed:
            room = BACKLOG - len(self._outbox)
            if room <= 0 or loop.time() >= until:
                self._failed("too many messages wait to be sent")
                return
            # As many as may wait, for one run may ask for more at once; the others follow these.
            lot = self._put(fit[:room], now)
            fit = fit[room:]
            # A host may stand still as soon as whoever dispatches has returned.
            await asyncio.wait({lot.over}, timeout=until - loop.time())

    def _put(self, some: Sequence[tuple[Invocation, Millis]], now: Millis) -> _Lot:
        """Put messages, with how long each waits, where they are sent from."""
        self._count(each.run for each, _ in some)
        lot = _Lot(len(some))
        for each, wait in some:
            body = enveloped(self._secret, each, now)
            self._outbox.append((Outgoing(body, max(0, wait) // 1000), lot))
        needed = -(-len(self._outbox) // BATCH)
        for _ in range(min(needed, IN_FLIGHT - len(self._senders))):
            sender = asyncio.ensure_future(self._send())
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)
        return lot

    async def is_behind(self) -> bool:
        now = self._clock.now()
        if not 0 <= now - self._looked_at < _KNOWN:
            self._looked_at = now
            try:
                self._waiting = await self._queue.waiting()
            except RewakeError:
                self._waiting = 0
        return self._waiting > 0

    async def flush(self) -> None:
        while self._senders:
            await asyncio.wait(self._senders)

    async def close(self) -> None:
        self._closed = True
        if self._consumer is not None:
            await self._consumer.close()
        if self._senders:
            _, late = await asyncio.wait(self._senders, timeout=_LAST_WORDS)
            for sender in late:
                sender.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for queue in self.queues:
            await queue.close()

    async def _send(self) -> None:
        while self._outbox:
            batch = [self._outbox.popleft() for _ in range(min(BATCH, len(self._outbox)))]
            try:
                await self._send_batch([each for each, _ in batch])
            except RewakeError as error:
                self._failed(str(error))
            finally:
                for _, lot in batch:
                    lot.leave()

    async def _send_batch(self, batch: Sequence[Outgoing]) -> None:
        for left in range(_TRIES)[::-1]:
            batch = await self._queue.send(batch)
            if not batch:
                self._failing = False
                return
            if left:
                await asyncio.sleep(_PAUSE)
        self._failed(f"{len(batch)} were refused")

    def _failed(self, reason: str) -> None:
        """Warn once, not with every message, until one gets through again."""
        level = logging.DEBUG if self._failing else logging.WARNING
        self._failing = True
        log.log(level, "no message gets to %s: %s; due times cover them", self._queue.name, reason)


def open_queue(name: str) -> Queue:
    """The queue of this name or URL, of the account and region of the environment."""
    return Queue(AwsClient("sqs", TARGET), name)


def parked_name(name: str) -> str:
    """What the queue of dead letters is called, beside a queue, if nobody says otherwise."""
    return f"{name}-dead"
