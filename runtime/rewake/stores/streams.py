"""The stream of a run: what it tells whoever follows it, at places that nothing is skipped between.

There are two sequences, each with one order, and a reader has a place in both (`stores/told.py`).

The *history* has what the body emits and logs, and what it asks for and observes. Its order is that
of its commits, each of which is one write of the header, so there is no place that could be filled
later. Chunks are read forward from any one on (`entries`), as many as a page needs: of chunks with
one number, the one counts that the header's chain has.

The *batches* have what attempts say while they go on, in any process. Each has a number, from 0,
and is put only where there is none (`put`); who finds one there goes on to the next number. So a
number is taken only once all before it are, and a reader who takes what is there without a gap can
never have passed over one that comes later. One process writes for all its attempts at a run, a
batch a second, so that few ever meet at a number. A batch has a mark: who was told that a write had
failed, and finds its own mark there, is done.
"""

from __future__ import annotations

from typing import NamedTuple

from rewake.errors import CheckpointUnreadable
from rewake.records import Chunk, Entry, Header, Operation
from rewake.stores.blobs import Again, Blobs
from rewake.stores.keys import (
    CHUNKS,
    STREAM,
    chunk_number,
    chunks_of,
    run_partition,
    stream_key,
    stream_number,
)
from rewake.stores.layout import Layout
from rewake.stores.table import Key, Table
from rewake.streamed import LogBatch, LogLine, StreamBatch

MOST_AT_ONCE = 32
"""So many chunks or batches are read at once, at the most. Some are small, and some 256 KiB."""


class Link(NamedTuple):
    """Entries that follow each other, and where: behind the chunk `base`, up to the chunk `name`.

    `name`: the sort key of their own chunk; empty: they are in the header.
    """

    base: str
    name: str
    entries: list[Entry]


class Streams:
    """Reads and writes the streams of runs."""

    def __init__(self, table: Table, layout: Layout, blobs: Blobs, again: Again) -> None:
        self._table = table
        self._layout = layout
        self._blobs = blobs
        self._again = again

    # --- batches ---------------------------------------------------------------------------

    async def put(self, number: int, batch: StreamBatch, logs: list[tuple[int, LogBatch]]) -> bool:
        """Put a batch at this number, with the parts of logs that it names. False: it is taken."""
        place = stream_key(batch.run, number)

        async def work() -> bool:
            for part, log in logs:
                key = self._layout.log(log.run, log.key, log.attempt, part)
                await self._again(lambda key=key, log=log: self._table.put(key, log))  # type: ignore[misc]
            written = await self._again(lambda: self._table.put(place, batch, absent=True))
            return bool(written.ok or written.item.mark == batch.mark)

        return await self._table.together(work)

    async def next(self, run: str) -> int:
        """The number behind the newest batch."""
        page = await self._again(
            lambda: self._table.query(run_partition(run), STREAM, limit=1, reverse=True)
        )
        return stream_number(page.items[0][0].sort) + 1 if page.items else 0

    async def batches(self, run: str, number: int, limit: int) -> list[StreamBatch]:
        """Some batches from this number on, as far as there is no gap."""
        before = stream_key(run, number - 1).sort if number else None
        page = await self._table.query(run_partition(run), STREAM, limit=limit, cursor=before)
        found: list[StreamBatch] = []
        for key, batch in page.items:
            # A page need not be of one moment: a gap was filled since, and comes with the next.
            if stream_number(key.sort) != number + len(found):
                break
            found.append(batch)
        return found

    async def lines(self, run: str, key: str, attempt: int, part: int) -> list[LogLine]:
        """The lines of a part of an attempt's log."""
        found: LogBatch | None = await self._table.get(self._layout.log(run, key, attempt, part))
        return [] if found is None else found.lines

    async def operation(self, run: str, key: str) -> Operation | None:
        """An operation's item, in which a large value is only named."""
        found: Operation | None = await self._table.get(self._layout.operation(run, key))
        return found

    # --- the history, forward ----------------------------------------------------------------

    async def entries(self, header: Header, base: str, limit: int) -> list[Link] | None:
        """The entries behind the chunk `base` (empty: from the first on), without large values.

        Those of up to `limit` chunks.

        The last of them are those in the header, if it comes to these. None: its history does not
        go on from there.
        """
        links: list[Link] = []
        if chunk_number(base) > chunk_number(header.base):
            return None
        if base != header.base:
            links = await self._chunks(header, base, limit)
            if not links:
                return None
        here = links[-1].name if links else base
        if here == header.base:
            links.append(Link(here, "", header.tail))
        return links

    async def _chunks(self, header: Header, base: str, limit: int) -> list[Link]:
        """Some of the chunks behind `base`, in order; none if the history does not have it."""
        prefix, cursor = CHUNKS, base or None
        if limit == 1:  # most pages end in the chunk in which they begin
            prefix, cursor = chunks_of(chunk_number(base) + 1), None
        partition = run_partition(header.run)
        page = await self._table.query(partition, prefix, limit=limit + 1, cursor=cursor)
        candidates: dict[int, dict[str, Chunk]] = {}
        for key, chunk in page.items:
            candidates.setdefault(chunk_number(key.sort), {})[key.sort] = chunk
        links: list[Link] = []
        while base != header.base:
            alike = candidates.get(chunk_number(base) + 1, {})
            then = [name for name, chunk in alike.items() if chunk.previous == base]
            if len(then) != 1 or (page.cursor and chunk_number(base) + 1 == max(candidates)):
                # Others of its number may follow on the next page, or commits that came to nothing
                # lie beside it: the header knows.
                if links:
                    break
                return await self._resolved(header, base)
            links.append(Link(base, then[0], alike[then[0]].entries))
            base = then[0]
        return links

    async def _resolved(self, header: Header, base: str) -> list[Link]:
        """The chunk behind `base`, as the header's chain has it."""
        name = header.base
        while name:
            chunk: Chunk | None = await self._table.get(Key(run_partition(header.run), name))
            if chunk is None:
                raise CheckpointUnreadable(f"run {header.run!r}: the chunk {name!r} is missing")
            if chunk.previous == base:
                return [Link(base, name, chunk.entries)]
            if chunk_number(chunk.previous) <= chunk_number(base):
                break
            name = chunk.previous
        return []

    async def whole(self, run: str, entries: list[Entry]) -> list[Entry]:
        """The entries with their values, fetched where they are kept apart."""
        return await self._blobs.restore(run, entries)
