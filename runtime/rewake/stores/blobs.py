"""Large values, kept apart from the items that they belong to, under the hash of their content.

Those of a later lap than the first one have a place of their own (`of_lap`), and are named by it,
so that they can go as their lap does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from rewake.errors import CheckpointUnreadable
from rewake.laps import FIRST, lap_of, prefix_of
from rewake.noted import HeardEvents, LapBegun
from rewake.records import (
    Emitted,
    Entry,
    Finished,
    Scheduled,
    ScheduledFor,
    ScheduledRun,
    Signalled,
    Started,
    Stepped,
    Value,
)
from rewake.stores.shelf import Shelf

BLOB_BYTES = 32 * 1024
"""From this size on a value is kept apart."""

_Told = tuple[list[str], list[str], dict[str, HeardEvents]]
Again = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


class Blobs:
    """Keeps large values on a shelf, and fetches them. Bodies are written before their names."""

    def __init__(self, shelf: Shelf, again: Again) -> None:
        self._shelf = shelf
        self._again = again

    async def offload(
        self, run: str, value: Value | None, least: int = BLOB_BYTES, *, key: str = ""
    ) -> Value | None:
        """The value itself, or if it is larger than `least`, one that only names its body.

        `key`: the operation that it is of, which tells the lap.
        """
        if value is None or value.blob or len(bytes(value.body)) <= least:
            return value
        body = bytes(value.body)
        name, lap = hashlib.sha256(body).hexdigest(), lap_of(key)
        await self._again(lambda: self._shelf.put_blob(of_lap(run, lap), name, body))
        blob = name if lap == FIRST else f"{lap}~{name}"
        return msgspec.structs.replace(value, body=msgspec.Raw(b"null"), blob=blob)

    async def resolve(self, run: str, value: Value) -> Value:
        """The value with its body. Raises `CheckpointUnreadable` if that is gone or damaged."""
        if not value.blob:
            return value
        lap, _, name = value.blob.rpartition("~")
        place = of_lap(run, int(lap or FIRST))
        body = await self._again(lambda: self._shelf.get_blob(place, name))
        if hashlib.sha256(body).hexdigest() != name:
            raise CheckpointUnreadable(f"run {run!r}: the stored value {value.blob} is damaged")
        return msgspec.structs.replace(value, body=msgspec.Raw(body), blob="")

    async def without(self, run: str, entry: Entry) -> Entry:
        """The entry, with its value on the shelf if that is large."""
        value = value_of(entry)
        kept = await self.offload(run, value, key=_key_of(entry))
        if isinstance(entry, Started):
            entry = msgspec.structs.replace(entry, lap=await self._lap_without(run, entry.lap))
        return entry if kept is value else _with_value(entry, kept)

    async def _lap_without(self, run: str, lap: LapBegun) -> LapBegun:
        """What a lap begins with; what it was told before is on the shelf if that is much."""
        kept = await self.offload(run, _told_of(lap), key=prefix_of(lap.number))
        if kept is None or not kept.blob:
            return lap
        return msgspec.structs.replace(lap, heard=[], over=[], events={}, blob=kept.blob)

    async def _lap_whole(self, run: str, lap: LapBegun) -> LapBegun:
        value = await self.resolve(run, Value("json", msgspec.Raw(b"null"), lap.blob))
        heard, over, events = msgspec.json.decode(bytes(value.body), type=_Told)
        return msgspec.structs.replace(lap, heard=heard, over=over, events=events, blob="")

    async def restore(
        self, run: str, entries: Sequence[Entry], passed: Callable[[Entry], bool] = lambda _: False
    ) -> list[Entry]:
        """The entries with their values whole, but for those that are passed over."""
        whole = list(entries)
        for position, entry in enumerate(entries):
            value = value_of(entry)
            if value is not None and value.blob and not passed(entry):
                whole[position] = _with_value(entry, await self.resolve(run, value))
        if entries and isinstance(begun := whole[0], Started) and begun.lap.blob:
            lap = await self._lap_whole(run, begun.lap)
            whole[0] = msgspec.structs.replace(begun, lap=lap)
        return whole


def of_lap(run: str, lap: int) -> str:
    """Where the large values of a lap of a run are: no run's id has a `~`."""
    return run if lap == FIRST else f"{run}~{lap}"


def owner_of(place: str) -> str:
    """The run whose large values are in this place; empty: it is the place of what is cached."""
    return place.partition("~")[0]


def _key_of(entry: Entry) -> str:
    """The key that tells the lap of an entry."""
    if isinstance(entry, Started):
        return prefix_of(entry.lap.number)
    return getattr(entry, "key", "")


def fits(entry: Entry) -> bool:
    """Whether the entry can stay as it is: its values are small, or on the shelf."""
    if isinstance(entry, Started) and not _is_small(_told_of(entry.lap)):
        return False
    return _is_small(value_of(entry))


def _is_small(value: Value | None) -> bool:
    return value is None or bool(value.blob) or len(bytes(value.body)) <= BLOB_BYTES


def _told_of(lap: LapBegun) -> Value | None:
    """What a lap was told before, as a value; None if that was nothing, or is on the shelf."""
    told = [lap.heard, lap.over, lap.events]
    return Value("json", msgspec.Raw(msgspec.json.encode(told))) if any(told) else None


_VALUES: Mapping[type, Callable[[Entry], Value | None]] = {
    Emitted: attrgetter("value"),
    Signalled: attrgetter("value"),
    Started: attrgetter("args"),
    Scheduled: attrgetter("args"),
    ScheduledFor: attrgetter("args"),
    ScheduledRun: attrgetter("args"),
    Stepped: attrgetter("outcome.value"),
    Finished: attrgetter("outcome.value"),
}
"""Where an entry has its value; all others have none."""


def value_of(entry: Entry) -> Value | None:
    """The value of an entry, if it has one."""
    get = _VALUES.get(type(entry))
    return None if get is None else get(entry)


def _with_value(entry: Entry, value: Value | None) -> Entry:
    if isinstance(entry, Started | Scheduled):
        return msgspec.structs.replace(entry, args=value)
    if isinstance(entry, Stepped | Finished):
        outcome = msgspec.structs.replace(entry.outcome, value=value)
        return msgspec.structs.replace(entry, outcome=outcome)
    if isinstance(entry, Emitted | Signalled) and value is not None:
        return msgspec.structs.replace(entry, value=value)
    return entry
