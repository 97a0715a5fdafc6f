"""The streams of runs in this process: what attempts say is put there, and who follows is woken.

What the attempts at one run say is written by one writer for all of them: what came while it wrote
goes into the next batch. A batch that could not be written is written again, as it is and from
the number on at which it may lie already, until the store takes it; so a fault neither loses nor
doubles anything (`stores/streams.py`). Only the end of the process takes with it what is not
written yet, which is what was said in the last second.

Who follows a run is woken by whatever this process writes of it: its commits, what attempts say,
its end. What others write is found by looking, four times a second, and after a while of silence
once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from rewake.clock import Clock
from rewake.engine.process.leases import PASSING
from rewake.kinds import Purpose
from rewake.records import Millis, Value
from rewake.signing.secret import Secret
from rewake.stores.places import Place
from rewake.stores.reads import Reads
from rewake.stores.told import MOST, Page, Telling, read_page
from rewake.streamed import Emission, LogBatch, StreamBatch, StreamPart
from rewake.values.run_codec import RunCodec

log = logging.getLogger("rewake.engine")

BATCH = 32 * 1024
"""Bytes of what is said in one batch, and of the logs that are written with it."""
PARTS = 64
"""The most parts of a batch."""
AGAIN: Millis = 1_000
"""After so long a batch that could not be written is written again."""
KEPT = 1_024
"""Of so many runs the number of the next batch is remembered."""
POLL: Millis = 250
SLOW_POLL: Millis = 1_000
"""How often is looked for what other processes write: at first, and after `SILENCE`."""
SILENCE: Millis = 10_000


@dataclass(slots=True, eq=False)
class Said:
    """What an attempt has said, to be written: a part of a batch, and the lines that it names.

    `tried`: it was written, or could not be for now; `over`: nothing more comes of it.
    """

    part: StreamPart
    size: int
    log: LogBatch | None = None
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self) -> None:
        """Note that it is written, or never will be."""
        self.tried.set()
        self.over.set()


class _Writer:
    """What is still to be written of one run."""

    def __init__(self, number: int | None) -> None:
        self.number = number
        self.waiting: list[Said] = []
        self.task: asyncio.Task[None] | None = None


class Watchers:
    """Those who follow runs in this process."""

    def __init__(self) -> None:
        self._events: dict[str, set[asyncio.Event]] = {}

    def tell(self, run: str) -> None:
        """Wake those who follow the run: there may be more of it."""
        for event in self._events.get(run, ()):
            event.set()

    @contextmanager
    def watching(self, run: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever there may be more of the run."""
        event = asyncio.Event()
        self._events.setdefault(run, set()).add(event)
        try:
            yield event
        finally:
            self._events[run].discard(event)
            if not self._events[run]:
                del self._events[run]


class Streams:
    """The streams of runs, as one process writes and follows them."""

    def __init__(self, store: Reads, clock: Clock, mark: Callable[[], str], secret: Secret) -> None:
        self._store = store
        self._clock = clock
        self._mark = mark
        self._secret = secret
        self._writers: dict[str, _Writer] = {}
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self.watchers = Watchers()

    # --- writing ---------------------------------------------------------------------------

    def say(self, run: str, said: Sequence[Said]) -> None:
        """Write this, as soon as what was said before is written."""
        writer = self._writers.get(run)
        if writer is None:
            writer = self._writers[run] = _Writer(self._numbers.pop(run, None))
        writer.waiting += said
        if writer.task is None:
            writer.task = asyncio.ensure_future(self._write(run, writer))

    def close(self) -> None:
        """Write no more: the process ends."""
        for writer in self._writers.values():
            if writer.task is not None:
                writer.task.cancel()

    async def _write(self, run: str, writer: _Writer) -> None:
        try:
            while writer.waiting:
                said = _next_batch(writer.waiting)
                await self._put(run, writer, said)
                del writer.waiting[: len(said)]
                self.watchers.tell(run)
            if writer.number is not None:
                self._numbers[run] = writer.number
            while len(self._numbers) > KEPT:
                self._numbers.popitem(last=False)
        finally:
            del self._writers[run]
            for each in writer.waiting:
                each.end()

    async def _put(self, run: str, writer: _Writer, said: Sequence[Said]) -> None:
        batch: StreamBatch | None = None
        logs = [(each.part.log or 0, each.log) for each in said if each.log is not None]
        streams, level = self._store.streams, logging.WARNING
        while True:
            try:
                batch = batch or self._batch(run, said)
                while writer.number is None or not await streams.put(writer.number, batch, logs):
                    # Others have written, who knows how much. What is behind is not this batch.
                    writer.number = await streams.next(run)
                writer.number += 1
                break
            except PASSING:
                log.log(level, "what run %s says cannot be kept yet", run, exc_info=True)
                level = logging.DEBUG  # the warning comes once
                for each in said:
                    each.tried.set()
                await self._clock.sleep(AGAIN)
            except Exception as error:
                for each in said:
                    log.warning("what %s logged could not be kept", each.part.key, exc_info=error)
                break
        for each in said:
            each.end()

    def _batch(self, run: str, said: Sequence[Said]) -> StreamBatch:
        """A batch of what was said, its items sealed: a codec may be out of reach as a store is."""
        return StreamBatch(run, self._mark(), [self._sealed(run, each.part) for each in said])

    def _sealed(self, run: str, part: StreamPart) -> StreamPart:
        if self._secret.codec is None:
            return part
        codec, items = RunCodec(self._secret, run), list[Emission]()
        for each in part.items:
            plain = Value(each.codec, each.body)
            sealed = codec.seal(plain, key=part.key, purpose=Purpose.EMITTED)
            items.append(Emission(each.at, sealed.codec, sealed.body))
        return msgspec.structs.replace(part, items=items)

    # --- following -------------------------------------------------------------------------

    async def follow(
        self,
        run: str,
        place: Place,
        limit: int = MOST,
        *,
        wait: float = 0,
        only: Collection[Telling] = (),
        quiet: Millis | None = None,
    ) -> Page:
        """Read on from a place; with `wait`, wait for so many seconds for something to be told.

        `only`: what is wanted of it; empty: all. `quiet`: since when nothing was told, if it is
        followed for longer. Raises `RunNotFound`.
        """
        begun = self._clock.now()
        quiet = begun if quiet is None else quiet
        with self.watchers.watching(run) as woken:
            while True:
                woken.clear()
                page = await read_page(self._store, run, place, limit)
                if only:
                    page = page._replace(told=[each for each in page.told if each[0].what in only])
                place, passed = page.place, self._clock.now() - begun
                left = round(wait * 1000) - passed
                if page.told or page.ended or (left <= 0 and not page.more):
                    return page
                if not page.more:
                    pause = min(left, POLL if begun + passed < quiet + SILENCE else SLOW_POLL)
                    await _until(woken, pause / 1000)


async def _until(event: asyncio.Event, seconds: float) -> None:
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()


def _next_batch(waiting: Sequence[Said]) -> list[Said]:
    """The first of what waits, as much as one batch holds."""
    chosen: list[Said] = []
    size = 0
    for each in waiting[:PARTS]:
        size += each.size
        if chosen and size > BATCH:
            break
        chosen.append(each)
    return chosen
