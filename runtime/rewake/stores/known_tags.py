"""The tags that tasks were asked for with, or servers serve, and until when one serves each.

Who waits for servers that are not there must be told, and a process that serves every tag must know
which there are. So a tag is noted before the first task is offered to its servers, and each of
these says now and then that it is there. What was said is of no use to the work itself.
"""

from __future__ import annotations

from rewake.ledger import KnownTag
from rewake.records import Millis
from rewake.stores.blobs import Again
from rewake.stores.keys import TAGS, tag_key
from rewake.stores.table import Check, Table

MOST = 1_000
"""The most tags that are read."""


class KnownTags:
    """The tags of one table. `again` repeats a call if the table does not say how it went."""

    def __init__(self, table: Table, again: Again) -> None:
        self._table = table
        self._again = again

    async def all(self) -> list[KnownTag]:
        """All of them, by name; among them may be untagged work, of which something waits."""
        page = await self._table.query(TAGS, limit=MOST)
        return [found for _, found in page.items]

    async def note(self, tag: str) -> None:
        """Note that there is this tag."""
        await self._again(lambda: self._table.put(tag_key(tag), KnownTag(tag), absent=True))

    async def serve(self, tag: str, until: Millis, now: Millis, latest: Millis) -> None:
        """Say now that a server serves this tag until then, at least.

        What was said after `latest` was said before a clock was set back.
        """
        behind = [[Check("until", "<=", until)], [Check("tag", "absent")]]
        key, new, create = tag_key(tag), {"until": until, "said": now}, KnownTag(tag)
        written = await self._again(
            lambda: self._table.update(key, when=behind, set=new, create=create)
        )
        if not written.ok and written.item.said > latest:
            same = [[Check("until", "=", written.item.until)]]
            await self._again(lambda: self._table.update(key, when=same, set=new))

    async def wait(self, tag: str, run: str, operation: str, since: Millis, seen: Millis) -> None:
        """Say that this was sent to servers of this tag, and none took it between these moments."""
        any_ = [[Check("tag", "=", tag)], [Check("tag", "absent")]]
        new = {"run": run, "key": operation, "since": since, "seen": seen}
        key, create = tag_key(tag), KnownTag(tag)
        await self._again(lambda: self._table.update(key, when=any_, set=new, create=create))
