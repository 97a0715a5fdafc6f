"""Writing what is told of an ended run to the archive, before it is removed.

The document is made in parts, a bounded number with each sweep, and is written when it is whole: so
a death leaves no half of one, and whoever comes then begins anew. The parts that a process has made
are its own; each belongs to the run as it was read, by its header's mark.

Behind a payload codec the document is sealed, as all that the store holds is: no archive can be
read by who cannot read the store.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable
from typing import NamedTuple

from rewake.errors import StoreUnsuitable
from rewake.records import Header
from rewake.signing.payloads import Context, PayloadCodec
from rewake.signing.secret import Secret
from rewake.stores.archive import SEALED, Archive
from rewake.values.sealing import opened_data, sealed_data

Tell = Callable[[Header], AsyncGenerator[bytes]]
"""Tells all of an ended run: a JSON document, in parts."""
STEP = 256 * 1024
"""So many bytes of a part are a step of their own."""
_PIECE = 32 * 1024
"""So many bytes are compressed before others may go on."""
_PURPOSE = "archive"


class Draft(NamedTuple):
    """What a process has made of the document of a run."""

    mark: str
    parts: AsyncGenerator[bytes]
    packer: zlib._Compress
    packed: bytearray


class Archiving:
    """Archives the runs of one store. `tell` tells what of each."""

    def __init__(self, archive: Archive, tell: Tell, secret: Secret) -> None:
        self._archive = archive
        self._tell = tell
        self._secret = secret
        self._drafts: dict[str, Draft] = {}
        """By run: of those that were begun and are not whole. One sweep makes one after the other,
        so there are as many as there are requests at the moment, and one."""

    async def some(self, ended: Header, steps: int) -> tuple[int, bool]:
        """Go on with the document of a run, for about so many steps; whole, it is written.

        Returns how many steps it took, and whether the run is archived. Raises `StoreError`, and
        `StuckError` if the run cannot be read here.
        """
        taken, draft = 0, self._drafts.pop(ended.run, None)
        if draft is None or draft.mark != ended.mark:
            packer = zlib.compressobj(wbits=31)  # as gzip, without a time
            draft = Draft(ended.mark, self._tell(ended), packer, bytearray())
        while taken < steps:
            part = await anext(draft.parts, None)
            if part is None:
                await self._write(ended, bytes(draft.packed + draft.packer.flush()))
                return taken + 1, True
            for begin in range(0, len(part), _PIECE):
                draft.packed.extend(draft.packer.compress(part[begin : begin + _PIECE]))
                await asyncio.sleep(0)
            taken += 1 + len(part) // STEP
        self._drafts[ended.run] = draft
        return taken, False

    async def whole(self, ended: Header) -> None:
        """Archive a run at once. Raises as `some` does."""
        while not (await self.some(ended, 1))[1]:
            pass

    async def forget(self, run: Header) -> None:
        """Remove what is archived of a run, or of a stone. Raises `StoreError`."""
        self._drafts.pop(run.run, None)
        await self._archive.remove_all(run)

    async def tried(self, mark: str) -> list[str]:
        """What cannot be done in the archive, a line each."""
        return await self._archive.tried(mark)

    async def _write(self, ended: Header, document: bytes) -> None:
        codec = self._secret.codec
        if codec is not None:
            document = sealed_data(document, codec, _place(ended.run))
        await self._archive.put(ended, document, sealed=codec is not None)

    def only(self, run: str) -> None:
        """Forget what was made of others: they are no more to be archived, or not by this."""
        self._drafts = {name: each for name, each in self._drafts.items() if name == run}

    async def close(self) -> None:
        """End the connections."""
        self._drafts.clear()
        await self._archive.close()


def opened(document: bytes, run: str, name: str, codec: PayloadCodec | None) -> bytes:
    """The JSON of an archived run. Raises `CheckpointUnreadable`, `StoreUnsuitable`."""
    if name.endswith(SEALED):
        document = opened_data(document, codec, _place(run))
    try:
        return zlib.decompress(document, wbits=31)
    except zlib.error as error:
        raise StoreUnsuitable(f"run {run}: what is archived of it is damaged ({error})") from error


def _place(run: str) -> Context:
    return Context(run, "", _PURPOSE)
