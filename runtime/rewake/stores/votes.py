"""Votes: what was said about an approval that several decide, in the item of its operation.

All of them are one list in one item, so they have one order, and each was written by somebody who
had seen all before it. That decides every race: of two last votes one comes first, and the other is
counted behind it, or is told that it comes too late. The vote that decides is written in the write
that settles the outcome (`Operations.settle`), so there is no moment at which enough have voted
and nothing is decided, and nothing has to be made good after a death.

A voter gives the item as it shall be, with the mark of the item as it was read: if that has changed
nothing is written, and the voter reads again. A write that was reported as failed is recognised by
the vote itself, which others may have followed since.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewake.records import Operation, Value
from rewake.stores.attempts import Attempts
from rewake.stores.operations import as_read, may_renew
from rewake.stores.table import Check

VOTE_BYTES = 1024
"""From this size on what was said is kept apart: an item has up to 400 KB, and many votes."""


class Votes(Attempts):
    """The writes of the protocol that keep what was said, and decide nothing."""

    async def shelve(self, run: str, said: Value, key: str) -> Value:
        """What was said at this key, as it is kept in an item."""
        kept = await self._blobs.offload(run, said, VOTE_BYTES, key=key)
        assert kept is not None
        return kept

    async def said(self, run: str, votes: Sequence[Value]) -> list[Value]:
        """What was said, whole."""
        return [await self.resolve(run, each) for each in votes]

    async def vote(self, operation: Operation) -> bool:
        """Keep `operation.votes`, if the item is as it was read; the last of them is new.

        False: it has changed since, or has an outcome.
        """
        mark, now = self._mark(), self._clock.now()
        changes = {"votes": operation.votes, "mark": mark}
        when = [as_read(operation), [Check("run", "absent")]]
        written = await self._update_item(operation, now, when=when, set=changes, create=operation)
        found: Operation | None = written.item
        while not written.ok and found is not None and may_renew(found, operation):
            written = await self._renew_item(found, operation, changes)
            found = written.item
        return written.ok or (found is not None and _is_in(operation.votes[-1], found.votes))


def _is_in(vote: Value, votes: Sequence[Value]) -> bool:
    """Whether a vote is among these: no two are the same, for each has a name of its own."""
    return (bytes(vote.body), vote.blob) in {(bytes(each.body), each.blob) for each in votes}
