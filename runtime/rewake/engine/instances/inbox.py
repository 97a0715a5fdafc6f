"""The signals that one instance of a run has not consumed: which to read, and who gets which.

It is kept with its instance, as `Arrivals` are: what has arrived here is read alone, and all of a
run's signals only if some arrived of which nothing was heard here. What the history has consumed
is never read again. The waits that are open get the signals of their names, the one that was sent
first to the wait that was asked for first.
"""

from __future__ import annotations

import heapq
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from rewake.keyed import TURN
from rewake.kinds import OutcomeKind
from rewake.records import (
    Entry,
    Event,
    Header,
    Millis,
    Outcome,
    Signal,
    Signalled,
    Started,
    Value,
)
from rewake.replay.execution import Execution
from rewake.replay.operation import OpenOp
from rewake.stores.keys import SIGNALS, signal_place
from rewake.stores.protocol import Store

log = logging.getLogger("rewake.engine")
MOST_FRESH = 1_000
"""So many entries are committed before the next signals that wait are observed."""


class Wanted(Protocol):
    """What the body knows of a wait for a signal (`OpenOp.work`)."""

    def refusal(self, signal: str, value: Value) -> str:
        """Why the value of this signal does not fit; empty if it does.

        Raises `CheckpointUnreadable`.
        """
        ...


Found = tuple[Millis, str, Event, Outcome | None]
"""A signal that can be observed: when it was sent, its place among others of that moment."""


def consumed(entries: Iterable[Entry]) -> Iterator[str]:
    """The ids of the signals that a history has consumed, and the laps before it."""
    for entry in entries:
        if isinstance(entry, Signalled):
            yield entry.signal
        elif isinstance(entry, Started):
            yield from entry.lap.heard
            yield from entry.lap.over


def is_unread(signal: Signal) -> bool:
    """Whether a signal that was not consumed is one for the body; else it hands on a turn."""
    return not signal.refused and not signal.name.startswith(TURN)


class Inbox:
    """What has come for one instance, and was not consumed."""

    def __init__(self) -> None:
        self._over: set[str] = set()
        self._waiting: dict[str, list[tuple[int, str, Signal]]] = {}
        self._known: set[str] = set()
        self._heard: set[str] = set()
        self._blind = True
        self._counted = 0
        self._given: dict[str, Signal] = {}

    def passed(self, entries: Iterable[Entry]) -> None:
        """Note what other instances have consumed, by the history that they committed."""
        self._blind = True
        self._over.update(map(signal_place, consumed(entries)))

    def note(self, keys: Sequence[str] | None) -> None:
        """Note what has arrived, as far as it was heard; None: something else may have, too."""
        if keys is None:
            self._blind = True
        else:
            self._heard.update(key for key in keys if key.startswith(SIGNALS))

    def has_more(self, header: Header, execution: Execution) -> bool:
        """Whether there may be a signal that the workflow has asked for since the last look."""
        if not self._is_new(header):
            return False
        unread = bool(self._heard) or self._is_behind(header)
        return any(unread or self._first(op.name) is not None for op in _waits(execution))

    async def found(
        self, store: Store, header: Header, execution: Execution, now: Millis
    ) -> list[Found]:
        """Give each open wait its signal, if one has come that fits.

        Also one that is not committed yet: what it gets is committed with it, or neither is.

        What does not fit is set aside, and its sender is told who asks. For each that is given
        `close` is to be called. Raises `CheckpointUnreadable`.
        """
        waits = _waits(execution) if self._is_new(header) else []
        if not waits:
            return []
        await self._read(store, header)
        found: list[Found] = []
        for op in waits:
            given = await self._next(store, op)
            if given is not None:
                signal, whole = given
                event = Signalled(op.key, now, signal.id, signal.value)
                self._given[signal.id] = signal
                order = f"{signal.number:012d}{signal.id}"
                found.append((signal.at, order, event, Outcome(OutcomeKind.OK, whole)))
        return _in_order(found)

    def close(self, event: Signalled, *, observed: bool) -> None:
        """Note that the workflow has consumed what it was given, or did not want it any more."""
        signal = self._given.pop(event.signal)
        if not observed:
            self._put(signal)

    async def unread(self, store: Store, header: Header) -> Counter[str]:
        """How many of each name nothing has consumed."""
        if not self._is_new(header) or (not self._known and len(self._over) >= header.signals):
            return Counter()
        await self._read(store, header)
        left = [signal for heap in self._waiting.values() for _, _, signal in heap]
        return Counter(
            each.name
            for each in left
            if is_unread(each) and signal_place(each.id) not in self._over
        )

    # --- inside ----------------------------------------------------------------------------

    def _is_new(self, header: Header) -> bool:
        """Whether there may be anything here or in the store: most runs are sent nothing."""
        return bool(header.signals or self._heard or self._known)

    def _is_behind(self, header: Header) -> bool:
        """Whether the store may have what was not heard of here.

        Not by how many were consumed: one whose sender died was read, and never counted.
        """
        return self._blind and header.signals > self._counted

    async def _read(self, store: Store, header: Header) -> None:
        new = self._heard - self._known - self._over
        self._heard.clear()
        if self._is_behind(header):
            signals = await store.signals(header.run)
            self._counted = header.signals
        elif new:
            signals = await store.signals_at(header.run, sorted(new))
            self._counted += len(new)
        else:
            signals = []
        self._blind = False
        for each in signals:
            place = signal_place(each.id)
            if each.stands(header.seed) and place not in self._known and place not in self._over:
                self._known.add(place)
                if not each.refused:
                    self._put(each)

    def _put(self, signal: Signal) -> None:
        waiting = self._waiting.setdefault(signal.name, [])
        heapq.heappush(waiting, (signal.number, signal.id, signal))

    def _first(self, name: str) -> Signal | None:
        waiting = self._waiting.get(name, [])
        while waiting and signal_place(waiting[0][1]) in self._over:  # by another instance
            heapq.heappop(waiting)
        return waiting[0][2] if waiting else None

    async def _next(self, store: Store, op: OpenOp) -> tuple[Signal, Value] | None:
        wanted: Wanted = op.work
        while (signal := self._first(op.name)) is not None:
            value = await store.resolve(signal.run, signal.value)
            refusal = wanted.refusal(signal.id, value)
            heapq.heappop(self._waiting[op.name])
            if not refusal:
                return signal, value
            await store.refuse(signal, refusal)
            told = "run %s takes no signal %r of the name %r: %s"
            log.warning(told, signal.run, signal.id, signal.name, refusal)
        return None


def _waits(execution: Execution) -> list[OpenOp]:
    return [op for op in execution.open.values() if op.kind.traits.heard]


def _in_order(found: list[Found]) -> list[Found]:
    """In the order of their numbers, with moments that never go back, as a server's clock may."""
    ordered: list[Found] = []
    latest: Millis = 0
    for at, order, event, outcome in sorted(found, key=lambda each: each[1]):
        latest = max(latest, at)
        ordered.append((latest, order, event, outcome))
    return ordered
