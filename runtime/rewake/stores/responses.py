"""What a run answers its caller, kept beside its history.

The commit that asks for it names it in the run's header, in the same write: so it is there from the
moment that it may be given, the first one stands, and a retry, which cuts the history, takes
nothing back that a caller was told. Its body is on the shelf before the header names it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rewake.records import Entry, Header, Scheduled, Value
from rewake.stores.blobs import Again, Blobs
from rewake.stores.shelf import Shelf


class Kept(msgspec.Struct, frozen=True):
    """A response as it is kept: the key of the operation that asked for it, and its value."""

    key: str
    value: Value


class Responses:
    """The responses of runs, on a shelf."""

    def __init__(self, blobs: Blobs, shelf: Shelf, again: Again) -> None:
        self._blobs = blobs
        self._shelf = shelf
        self._again = again

    async def put(self, run: str, asked: Scheduled, mark: str) -> str:
        """Keep what an entry asks for. Returns its name, for the header; `mark` is of the write."""
        assert asked.args is not None
        kept = Kept(asked.key, await self._blobs.resolve(run, asked.args))
        body = msgspec.json.encode(kept)
        await self._again(lambda: self._shelf.put_blob(run, _place(mark), body))
        return mark

    async def of(self, header: Header) -> Kept | None:
        """The response that this header names; None if the run has not answered."""
        if not header.answer:
            return None
        place = _place(header.answer)
        body = await self._again(lambda: self._shelf.get_blob(header.run, place))
        return msgspec.json.decode(body, type=Kept)


def asked_response(entries: Sequence[Entry]) -> Scheduled | None:
    """The entry that asks for a response, if one does."""
    for entry in entries:
        if isinstance(entry, Scheduled) and entry.kind.traits.answers:
            return entry
    return None


def _place(name: str) -> str:
    return f"response-{name}"
