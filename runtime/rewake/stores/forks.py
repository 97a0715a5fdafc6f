"""Creating a run that begins with a history: a fork of another one."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rewake.ledger import View
from rewake.records import Entry, Header, Operation
from rewake.stores.keys import header_key
from rewake.stores.turns import Turns
from rewake.stores.writes import asks


class Forks(Turns):
    """The creation of forks."""

    async def fork(
        self, header: Header, entries: Sequence[Entry], items: Sequence[Operation]
    ) -> tuple[Header, bool]:
        """Create a run of this history unless it exists. Returns its header, and whether it is new.

        Its items are put first, unless they are there: they are of nobody until the header is, and
        never change. It is recognised as `start` recognises a run.
        """
        header.mark, now = self._mark(), self._clock.now()
        placed = await self.offload(header.run, entries)
        for item in items:
            item.written = now
            assert item.outcome is not None
            value = await self._blobs.offload(header.run, item.outcome.value, key=item.key)
            item.outcome = msgspec.structs.replace(item.outcome, value=value)
            await self._put(self.layout.item(item), item, absent=True)

        async def work() -> tuple[Header, bool]:
            header.asks, header.wide = asks(placed), self.layout.wide(placed, header.wide)
            base, tail = await self._place(header, placed, header.mark)
            new = {"count": len(placed), "written": now, "base": base, "tail": tail}
            made = msgspec.structs.replace(header, **new)
            view = View(header.run, header.workflow, header.created)
            await self.listed.put(view)
            await self.labelled.put(view, header.labels or {})
            written = await self._put(header_key(header.run), made, absent=True)
            current: Header = written.item
            mine = (current.seed, current.created) == (header.seed, header.created)
            return current, written.ok or mine

        return await self._together(work)
