"""The lease of a process, by which it holds all that it has for long.

1. A claim has a short lease of its own, and most work is over before that is. What is held for
   longer names its *process* instead, once (`Store.renew`), and is as alive as that is: one
   renewal for everything that a process holds.
2. Who finds that a lease is over, of a process or of a claim's own, notes that in the item (`over`)
   and looks again a while later. A holder that lives renews in between: it stood still, or could
   not reach the store, as long as who found it did. So a pause or an outage that met both is no
   death.
3. Who finds it over still marks the item of the process *dead*, if it is as it was found, and only
   then takes over what names it. So either the process renews in time and nothing
   is taken, or it cannot renew any more, and knows. It then takes another name, and gives that to
   what it still has; what was taken is not among it, for each of these writes has its own fence.
4. What names a process need not be looked at while that lives: its due time is far (`REST`). The
   process itself is due when its lease may be over. Who marked it dead looks through the due index
   for what names it, and again a lease later, for the index may be late. What is missed all the
   same is found at its own due time.

A process that holds nothing for long has no item, and costs nothing. Dead ones stay for `KEPT`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewake.ledger import Process
from rewake.records import Header, Millis, Operation
from rewake.stores.keys import process_key
from rewake.stores.table import Check, When
from rewake.stores.writes import Writes

REST: Millis = 300_000
"""So long what a living process holds is not looked at again, in milliseconds."""
KEPT: Millis = 86_400_000
"""So long the item of a dead process is kept: nothing is left then that names it."""

_ALIVE: When = [[Check("dead", "=", False)]]


class Processes(Writes):
    """The writes of the protocol to the item of one process."""

    async def process(self, name: str) -> Process | None:
        """A process's item, None if there is none: it holds nothing any more."""
        found: Process | None = await self._again(lambda: self._table.get(process_key(name)))
        return None if found is None else await self.set_right(found)

    async def renew_process(
        self,
        name: str,
        where: str,
        now: Millis,
        lease: Millis,
        *,
        new: bool = False,
        tags: Sequence[str] = (),
    ) -> bool:
        """Renew the lease of a process; False if it was taken for dead. `new`: make its item.

        `tags`: those of what it may hold; none: nothing but untagged work.
        """
        leased, key = self._leased(now, lease), process_key(name)
        due = leased["due"]
        # A due time that is early stays: moving it costs more than a look.
        early: When = [[*_ALIVE[0], Check("due", "<=", due)]]
        create = None
        if new:
            # Who may take what it holds looks whether it lives: all others serve none of that.
            of = "" if "" in tags or not tags else tags[0]
            create = Process(name, where, due=due, tag=of, tags=list(tags))
            early = [[Check("name", "absent")], *early]
        kept = {name: at for name, at in leased.items() if name != "due"}
        written = await self._update(key, when=early, set=kept, create=create)
        if not written.ok and written.item is not None and not written.item.dead:
            written = await self._update(key, when=_ALIVE, set=leased)
        return written.ok

    async def end_process(self, name: str) -> None:
        """Remove the item of a process that holds nothing, or was dead for long."""
        await self._again(lambda: self._table.delete([process_key(name)]))

    async def bury(self, found: Process, now: Millis) -> bool:
        """Mark a process dead if its lease is over; False if it lives."""
        if found.dead:
            return True
        if not await self._is_over(found, now):
            return False
        same = [*_ALIVE[0], Check("lease", "=", found.lease)]
        key = process_key(found.name)
        written = await self._update(key, when=[same], set={"dead": True, "due": now})
        item: Process | None = written.item
        return written.ok or item is None or item.dead

    async def looked_for(self, found: Process, due: Millis) -> None:
        """Note that what a dead process held was looked for; it is looked for again when due."""
        same = Check("looks", "=", found.looks)
        new = {"looks": found.looks + 1, "due": due}
        await self._update(process_key(found.name), when=[[same]], set=new)

    async def ended(self, item: Header | Operation, now: Millis) -> Millis | None:
        """When the lease by which an item is held ended; None: it is not over.

        If that is a process's lease, the process is marked dead: then it cannot renew it any more.
        """
        if not item.process:
            return item.lease if await self._is_over(item, now) else None
        found = await self.process(item.process)
        if found is None:
            return item.written
        return found.lease if await self.bury(found, now) else None

    async def _is_over(self, item: Header | Operation | Process, now: Millis) -> bool:
        """Whether the lease of an item is over, and its holder has had time to renew it since."""
        if item.lease >= now - self._margin:
            return False
        if item.lease < item.over <= now + self._margin:  # else it was found before a set-back
            return item.over <= now - self._patience
        found: dict[str, Any] = {"over": now, "due": now + self._patience + self._margin}
        if isinstance(item, Header):
            found["check_at"] = None  # of no use while the run is held, and a header has no room
        same = [Check("lease", "=", item.lease), Check("over", "=", item.over)]
        await self._update(self._key_of(item), when=[same], set=found)
        return False

    async def is_held(self, item: Header | Operation, now: Millis) -> bool:
        """Whether its holder has the item by a lease that is not over."""
        if not item.process:
            return item.lease > now
        found = await self.process(item.process)
        return found is not None and not found.dead and found.lease > now

    def _held_until(self, now: Millis, lease: Millis, process: str) -> dict[str, object]:
        """The lease of what is held: that of the process or, if it is empty, one of its own."""
        if process:
            due = next_look(now, lease)
            return {"process": process, "lease": 0, "due": due, "written": now}
        return {"process": "", **self._leased(now, lease)}


def next_look(now: Millis, lease: Millis) -> Millis:
    """When to look again at what a living process holds."""
    return now + max(REST, 2 * lease)
