"""The Lambda dispatcher: each message is the payload of an asynchronous invocation of a function.

Lambda delays nothing. What has to wait goes through a queue, if there is one (`later`), and
otherwise waits for the sweep that finds it in the due index. Lambda's own queue keeps a message
until its function has taken it, and tries one that fails twice again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from urllib.parse import quote

from rewake.aws.client import AwsClient
from rewake.aws.queue import Queue
from rewake.clock import Clock
from rewake.dispatchers.dispatcher import DeadLetters, Handler
from rewake.dispatchers.receiving import LONGEST_WAIT
from rewake.dispatchers.sqs import SqsDispatcher
from rewake.errors import RewakeError
from rewake.records import Invocation, Millis
from rewake.signing.envelopes import enveloped
from rewake.signing.secret import Secret

log = logging.getLogger("rewake.dispatcher")

IN_FLIGHT = 32
"""How many invocations are under way at once."""
BACKLOG = 10_000
"""How many messages may be under way or waiting; the due index covers all others."""
PATIENCE = 3.0
"""Seconds for which whoever dispatches waits until its messages are sent; they are tried longer."""

_HEADERS = {"Content-Type": "application/json", "X-Amz-Invocation-Type": "Event"}
_LAST_WORDS = 2.0


class LambdaDispatcher:
    """Invokes `function`, by its name or ARN, once for each message, signed with `secret`.

    `later` carries what has to wait.
    """

    local = False

    def __init__(
        self,
        function: str,
        client: AwsClient,
        secret: Secret,
        clock: Clock,
        later: SqsDispatcher | None = None,
    ) -> None:
        self.function = function
        self.later = later
        self._path = f"/2015-03-31/functions/{quote(function, safe='')}/invocations"
        self._client = client
        self._secret = secret
        self._clock = clock
        self._turns = asyncio.Semaphore(IN_FLIGHT)
        self._sending: set[asyncio.Task[None]] = set()
        self._closed = True
        self._failing = False

    @property
    def queues(self) -> tuple[Queue, ...]:
        """The queues that it needs."""
        return () if self.later is None else self.later.queues

    @property
    def reach(self) -> Millis:
        return 0 if self.later is None else self.later.reach

    @property
    def dead_letters(self) -> DeadLetters | None:
        return None if self.later is None else self.later.dead_letters

    def open(self, handler: Handler) -> None:
        self._closed = False
        if self.later is not None:
            self.later.open(handler)

    async def dispatch(self, invocations: Sequence[Invocation]) -> None:
        now, later = self._clock.now(), list[Invocation]()
        for each in invocations:
            wait = 0 if each.not_before is None else each.not_before - now
            if wait <= LONGEST_WAIT:  # the function waits for the rest
                self._begin(each, now)
            else:
                later.append(each)
        if later and self.later is not None:
            await self.later.dispatch(later)
        if self._sending:
            # A host may stand still as soon as whoever dispatches has returned.
            await asyncio.wait(set(self._sending), timeout=PATIENCE)

    async def is_behind(self) -> bool:
        return False  # Lambda's own queue shows nobody what waits in it

    async def flush(self) -> None:
        while self._sending:
            await asyncio.wait(self._sending)
        if self.later is not None:
            await self.later.flush()

    async def close(self) -> None:
        self._closed = True
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=_LAST_WORDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self.later is not None:
            await self.later.close()
        await self._client.close()

    def _begin(self, invocation: Invocation, now: Millis) -> None:
        if self._closed:
            return
        if len(self._sending) >= BACKLOG:
            self._failed("too many messages wait to be sent")
            return
        payload = enveloped(self._secret, invocation, now)
        task = asyncio.ensure_future(self._send(payload.encode()))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, payload: bytes) -> None:
        async with self._turns:
            try:
                await self._client.send("POST", self._path, payload, _HEADERS)
            except RewakeError as error:
                self._failed(str(error))
            else:
                self._failing = False

    def _failed(self, reason: str) -> None:
        """Warn once, not with every message, until one gets through again."""
        level = logging.DEBUG if self._failing else logging.WARNING
        self._failing = True
        log.log(level, "no message gets to %s: %s; due times cover them", self.function, reason)
