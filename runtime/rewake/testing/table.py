"""The store of a test: in memory, and each commit passes whoever watches it.

A commit is a write by which the history of a run grows, or an operation gets its outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rewake.ledger import Process
from rewake.records import Header, Item, Millis
from rewake.stores.memory import MemoryTable
from rewake.stores.table import Key, When, Written, holds, is_moved


class Watching(Protocol):
    """Who is told of commits."""

    async def before_commit(self) -> None:
        """Something is about to be committed."""
        ...

    async def committed(self, item: Item) -> None:
        """This item was committed: the header of a run, or an operation."""
        ...


class WatchedTable(MemoryTable):
    """A table in memory. `headers`: the newest of each run.

    `writes`: how many there were, but for those by which a process says that it lives, of whose
    next moment it keeps track itself; `dues`: by how many of them something became due, or due at
    another time.
    """

    def __init__(self, watching: Watching) -> None:
        super().__init__()
        self._watching = watching
        self.writes = self.dues = 0
        self.headers: dict[str, Header] = {}

    async def put(self, key: Key, item: Item, *, absent: bool = False) -> Written:
        """Write the whole item; with `absent`, only if there is none."""
        return self._noted(await super().put(key, item, absent=absent))

    async def update(
        self,
        key: Key,
        *,
        when: When = (),
        set: Mapping[str, Any] | None = None,
        add: Mapping[str, int] | None = None,
        create: Item | None = None,
    ) -> Written:
        """Set attributes (None removes one) and add to numbers, if `when` holds."""
        changes = set or {}
        told = "count" in changes or changes.get("outcome") is not None
        commits = told and _is_commit(await self.get(key), when, changes)
        if commits:
            await self._watching.before_commit()
        written = await super().update(key, when=when, set=set, add=add, create=create)
        self._noted(written)
        if commits and written.ok:
            await self._watching.committed(written.item)
        return written

    async def delete(self, keys: Sequence[Key], *, when: When = ()) -> None:
        """Remove items, one by one, if `when` holds; a missing one is no error."""
        await super().delete(keys, when=when)
        self.writes += 1

    def has_overdue(self, now: Millis) -> bool:
        """Whether something that is due was left as it is."""
        with self._lock:
            return bool(self._index.earliest(now, 1, "", None, None))

    def _noted(self, written: Written) -> Written:
        if written.ok:
            self.writes += not isinstance(written.item, Process)
            if isinstance(written.item, Header):
                self.headers[written.item.run] = written.item
        return written

    def _store(self, key: Key, found: Item | None, item: Item, *, whole: bool = True) -> Any:
        stored = super()._store(key, found, item, whole=whole)
        is_new = found is None or not isinstance(item, Process)
        self.dues += is_new and is_moved(found, stored)
        return stored


def _is_commit(found: Item | None, when: When, changes: Mapping[str, Any]) -> bool:
    if not holds(when, found):
        return False
    return not isinstance(found, Header) or changes.get("count") != found.count
