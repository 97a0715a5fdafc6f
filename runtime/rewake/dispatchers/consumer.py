"""The consumer of a queue: it takes messages while this process has room for them.

A message stays hidden from others for as long as its work goes on, and is deleted only then; if
this process dies, it comes back by itself. Ten are asked for at once, deleted at once, and kept
hidden by one request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from rewake.aws.queue import BATCH, Letter, Queue
from rewake.dispatchers.dead_letters import DeadLetterQueue
from rewake.dispatchers.dispatcher import Closing, needs_no_slot
from rewake.dispatchers.receiving import Again, Done, Fate, Receiver, seconds
from rewake.errors import RewakeError
from rewake.records import Invocation
from rewake.signing.envelopes import Refusal

log = logging.getLogger("rewake.dispatcher")

HIDDEN = 30
"""Seconds for which a message is hidden unless that is extended."""
MOST = 2_000
"""How many messages may be under way, most of them about runs that wait for their steps."""

_PAUSES = (1.0, 2.0, 5.0, 10.0)  # Seconds before the next request, the longer it fails.
_TOGETHER = 0.02  # Seconds in which deletions are gathered.
_LAST_WORDS = 2.0  # Seconds for deletions when the consumer closes.


class Consumer:
    """Takes messages from `queue`, while fewer than `room` of those under way need a slot."""

    def __init__(
        self, queue: Queue, receiver: Receiver, parking: DeadLetterQueue, room: int
    ) -> None:
        self._queue = queue
        self._receiver = receiver
        self._parking = parking
        self._room = room
        self._under_way: dict[str, Letter] = {}
        self._tasks: set[str] = set()
        """Those that may need a slot, by their handles."""
        self._done: list[Letter] = []
        self._deleting: asyncio.Task[None] | None = None
        self._freed = asyncio.Event()
        self._stopped = False
        self._work: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Begin to take messages."""
        self._loops = [asyncio.ensure_future(each) for each in (self._receive(), self._keep())]

    async def close(self) -> None:
        """Take no more, and give back what is not done."""
        self._stopped = True
        for each in self._loops:
            each.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        if self._deleting is not None:
            await asyncio.wait({self._deleting}, timeout=_LAST_WORDS)
        left = list(self._under_way.values())
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        with suppress(RewakeError):
            await self._queue.hide(left, 0)

    async def _receive(self) -> None:
        failures = 0
        while not self._stopped:
            self._freed.clear()
            free = min(self._room - len(self._tasks), MOST - len(self._under_way))
            if free <= 0:
                await self._freed.wait()
                continue
            try:
                letters = await self._queue.receive(min(free, BATCH), HIDDEN)
            except Exception as error:  # of any kind: without this loop, none is ever received
                level = logging.DEBUG if failures else logging.WARNING
                told = "no message can be received: %s; due times cover them"
                log.log(level, told, error, exc_info=not isinstance(error, RewakeError))
                await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
                failures += 1
                continue
            failures = 0
            for letter in letters:
                self._begin(letter)

    def _begin(self, letter: Letter) -> None:
        self._under_way[letter.handle] = letter
        found = self._receiver.read(letter.body)
        if isinstance(found, Invocation) and found.key:
            self._tasks.add(letter.handle)
        self._start(self._carry(letter, found))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    async def _carry(self, letter: Letter, found: Invocation | Refusal) -> None:
        needs_no_slot.set(partial(self._give_room, letter))  # of this asyncio task alone
        try:
            await self._settle(letter, await self._receiver.take(found, letter.times))
        except Closing:
            self._stopped = True
            with suppress(RewakeError):
                await self._queue.hide([letter], 0)
        except RewakeError as error:
            log.warning("a message could not be given back: %s; it comes again", error)
        finally:
            self._under_way.pop(letter.handle, None)
            self._give_room(letter)

    def _give_room(self, letter: Letter) -> None:
        self._tasks.discard(letter.handle)
        self._freed.set()

    async def _settle(self, letter: Letter, fate: Fate) -> None:
        if isinstance(fate, Again):
            await self._queue.hide([letter], seconds(fate.wait))
        elif isinstance(fate, Done) or await self._parking.park(letter.body, fate.reason):
            self._delete_soon(letter)

    # --- deletions -------------------------------------------------------------------------

    def _delete_soon(self, letter: Letter) -> None:
        self._done.append(letter)
        if self._deleting is None or self._deleting.done():
            self._deleting = self._start(self._delete_after(_TOGETHER))

    async def _delete_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        while self._done:
            await self._delete()

    async def _delete(self) -> None:
        letters, self._done = self._done, []
        try:
            await self._queue.delete(letters)
        except RewakeError as error:
            log.warning("messages could not be deleted: %s; they come again", error)

    # --- what is under way stays hidden ----------------------------------------------------

    async def _keep(self) -> None:
        while True:
            known = list(self._under_way)
            await asyncio.sleep(HIDDEN / 3)
            still = [self._under_way[handle] for handle in known if handle in self._under_way]
            try:
                await self._queue.hide(still, HIDDEN)
            except Exception as error:  # of any kind: else none is kept hidden any more
                log.debug("messages could not be kept hidden: %s", error)
