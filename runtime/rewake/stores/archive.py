"""The archive: what is told of runs that were removed, by the day on which they ended.

    <day>/<run>/<round>.json.gz            a run, as `rewake runs export` tells it
    <day>/<run>/<round>.json.gz.sealed     the same, where there is a payload codec
    trial/…                                nothing: it is tried there what can be done

A place is a shelf for each day, on which the first writing of a name stands: whoever archives a run
again after a death writes the same, and changes nothing. A run that failed, and was retried after
it had been archived, is of another round, and has another document.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from rewake.errors import ArchiveUnavailable, StoreError, StoreUnavailable
from rewake.records import Header, Millis
from rewake.stores.ended import ended_at
from rewake.stores.shelf import Shelf

FEW = 100
"""How many documents are listed, or removed, at once."""
PLAIN = ".json.gz"
SEALED = ".json.gz.sealed"
_DAYS = 20
"""How many days are cleared at a time."""
_TRIAL = "trial"
"""No day: where it is tried what can be done."""


class ArchiveShelf(Shelf, Protocol):
    """A shelf that can be listed, too."""

    async def listed(self, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        """What there is, by run and name, behind this one."""
        ...

    async def close(self) -> None:
        """End the connections."""
        ...


@contextmanager
def _asked() -> Iterator[None]:
    """It is the archive that is away, and not the database."""
    try:
        yield
    except StoreUnavailable as error:
        raise ArchiveUnavailable(str(error)) from error


class Archive:
    """Documents of runs. `shelf_of`: the shelf of a day, `2026-11-26`.

    Each call raises `ArchiveUnavailable`.
    """

    def __init__(self, shelf_of: Callable[[str], ArchiveShelf]) -> None:
        self._shelf_of = shelf_of

    async def put(self, header: Header, document: bytes, *, sealed: bool) -> None:
        """Keep the document of an ended run, whole, unless it is there."""
        name = f"{header.round}{SEALED if sealed else PLAIN}"
        with _asked():
            await self._shelf_of(day_of(header)).put_blob(header.run, name, document)

    async def names(self, day: str) -> list[tuple[str, str]]:
        """The documents of a day, by run and name."""
        shelf, found = self._shelf_of(day), list[tuple[str, str]]()
        with _asked():
            while some := await shelf.listed(found[-1] if found else ("", ""), FEW):
                found += some
        return found

    async def names_of(self, day: str, run: str) -> list[str]:
        """The documents of one run of a day, the newest last."""
        with _asked():
            found = await self._shelf_of(day).listed((run, ""), FEW)
        names = [name for each, name in found if each == run]
        return sorted(names, key=lambda name: int(name.partition(".")[0]))

    async def get(self, day: str, run: str, name: str) -> bytes:
        """A document. Raises `CheckpointUnreadable` if it is not there."""
        with _asked():
            return await self._shelf_of(day).get_blob(run, name)

    async def remove(self, day: str, run: str) -> None:
        """Remove all documents of a run that ended on this day."""
        shelf = self._shelf_of(day)
        with _asked():
            while await shelf.delete_blobs(run, limit=FEW):
                pass

    async def remove_all(self, run: Header) -> None:
        """Remove all documents of a run, or of a stone.

        One that has begun another round may have been archived before, on an earlier day.
        """
        last = _date(ended_at(run))
        first = min(_date(run.created), last) if run.round else last
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        for begin in range(0, len(days), _DAYS):
            some = days[begin : begin + _DAYS]
            await asyncio.gather(*(self.remove(day.isoformat(), run.run) for day in some))

    async def tried(self, mark: str) -> list[str]:
        """What cannot be done there, a line each: a document is written, found, and removed.

        `mark`: a name that nobody else gives one.
        """
        shelf, told = self._shelf_of(_TRIAL), list[str]()
        name = (mark, f"0{PLAIN}")

        async def write() -> str:
            await shelf.put_blob(*name, b"")
            return ""

        async def find() -> str:
            there = await shelf.listed((mark, ""), 1)
            return "" if there[:1] == [name] or told else "what is written is not found"

        async def remove() -> str:
            await self.remove(_TRIAL, mark)
            there = await shelf.listed((mark, ""), 1)
            return "what is removed is still there" if there[:1] == [name] else ""

        for step in (write, find, remove):
            try:
                wrong = await step()
            except StoreError as error:
                wrong = str(error)
            if wrong and wrong not in told:
                told.append(wrong)
        return told

    async def close(self) -> None:
        """End the connections."""
        await self._shelf_of("").close()


def day_of(header: Header) -> str:
    """The day, in UTC, on which a run ended; also of its stone."""
    return _date(ended_at(header)).isoformat()


def _date(moment: Millis) -> date:
    return datetime.fromtimestamp(moment / 1000, UTC).date()
