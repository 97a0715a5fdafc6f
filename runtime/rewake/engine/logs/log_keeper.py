"""Stores what attempts say: each second what is new, and at the end of each what is left.

An attempt that says nothing costs no write, one that is over in a second those of its end. What it
logs and what it emits go into the run's stream together (`engine/logs/streams.py`), and are there
before its outcome is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from rewake.authoring.context import TaskContext
from rewake.engine.logs.logs import AttemptLog
from rewake.engine.logs.streams import BATCH, Said, Streams
from rewake.streamed import Emission, LogBatch, StreamPart

FLUSH = 1.0
"""Seconds after which what an attempt has said is stored, should its process die."""
_AROUND = 64
"""Bytes around an item in the store."""


class LogKeeper:
    """Keeps what the attempts of this process say; one timer serves all."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._open: dict[AttemptLog, TaskContext] = {}
        self._newest: dict[AttemptLog, Said] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, context: TaskContext, logs: AttemptLog) -> None:
        """Store what this attempt says, from now on."""
        self._open[logs] = context
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH, self._flush)

    async def end(self, context: TaskContext, logs: AttemptLog) -> None:
        """Store what is left at the end of an attempt, and return once it is stored.

        While the store fails, that is when it works again, unless the attempt was cancelled.
        """
        self._open.pop(logs, None)
        if asyncio._get_running_loop() is None:
            return  # its loop is gone, and this is what the collector makes of it
        self._say(context, logs, over=True)
        newest = self._newest.pop(logs, None)
        if newest is not None:
            here = asyncio.current_task()
            stopped = here is not None and here.cancelling()
            await (newest.tried if stopped else newest.over).wait()

    def _flush(self) -> None:
        self._timer = None
        for logs, context in self._open.items():
            self._say(context, logs, over=False)
        if self._open:
            self._timer = asyncio.get_running_loop().call_later(FLUSH, self._flush)

    def _say(self, context: TaskContext, logs: AttemptLog, *, over: bool) -> None:
        """Hand on what an attempt has said since."""
        if logs.empty:
            return
        logs.take(over=over)
        said = list(_parts(context, logs))
        if said:
            self._newest[logs] = said[-1]
            self._streams.say(context.run, said)


def _parts(context: TaskContext, logs: AttemptLog) -> Iterator[Said]:
    """What is new, in parts that one batch holds: a piece of the log and some items in each."""
    run, key, attempt = context.run, context.key, context.attempt
    pieces, logs.pending, groups = logs.pending, [], list(_items(logs))
    for number in range(max(len(pieces), len(groups))):
        items, size = groups[number] if number < len(groups) else ([], 0)
        if number >= len(pieces):
            yield Said(StreamPart(key, attempt, items), size)
            continue
        log = LogBatch(run, key, attempt, pieces[number])
        size += sum(len(line.message) + _AROUND for line in log.lines)
        yield Said(StreamPart(key, attempt, items, logs.parts), size, log)
        logs.parts += 1


def _items(logs: AttemptLog) -> Iterator[tuple[list[Emission], int]]:
    """What was emitted, in groups that one batch holds, with their sizes."""
    items: list[Emission] = []
    size = 0
    for item, more in logs.take_items():
        if items and size + more + _AROUND > BATCH:
            yield items, size
            items, size = [], 0
        items.append(item)
        size += more + _AROUND
    if items:
        yield items, size
