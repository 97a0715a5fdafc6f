"""Join items: arrivals of a wide fan-out are counted down beside the header, which hears the last.

One header takes about as many arrivals a second as its partition takes writes: 1,000. A run that
waits for all of many tasks need not hear of each. So before it parks, it *opens* an item in each of
its shards (`stores/layout.py`), which says how many arrivals are missing there; who delivers counts
down the item of its task's shard, and only who finds that it was the last arrives at the header.

1. An item is *open* while arrivals are missing. Who finds it closed arrives at the header, as if
   there were no such items. So it does not matter which arrivals are counted where: of those that a
   shard waits for, the header hears of one at least, when all have arrived or before. It may hear
   too early, and then the run wakes, finds what is missing, and parks again. Never too late.
2. Items are opened and closed by whoever holds the run, and by nobody else. Each opening and
   closing has a number that only rises, and takes an item only from a lower one; so a holder that
   was overtaken opens nothing any more, and a repeated write does not begin to count again.
3. The header says that they may be open (`joins` is odd) before they are, and who holds the run
   then closes all of them before it reads outcomes. What was counted is settled by then and is
   read; what comes later arrives at the header, and makes a park fail as ever.
4. They are open only while the run is parked for one barrier around all that it waits for. A
   cancellation, and a failure that it does not bear, arrive at the header and wake the run. A
   failure that it may bear is counted as a success is. The item says if it bears all of them; else
   the header is told as well, for it has the number of those that it bears (`Header.spared`).
5. Custody stays as it is. A task is unguarded once it was counted, because another is missing
   then, which is covered itself; who makes an item complete arrives at the header first. A
   deliverer that dies before it counts leaves an outcome that a look at its task or its run finds,
   and that look wakes the run. So a lost count costs the time of a look, and a doubled one an
   early wake.
6. Where a run waits for some of many, nobody knows which those will be. Each shard then counts its
   share of them, less what chance may take from that, and the header hears of all that come
   after. So it hears of a few hundred, and by rule 1 too early at worst.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from math import sqrt

import msgspec

from rewake.ledger import Join
from rewake.records import Header, Operation
from rewake.stores.answers import Arrived, Committed
from rewake.stores.keys import join_key
from rewake.stores.layout import OPERATIONS
from rewake.stores.patience import gathered
from rewake.stores.requests import Requests
from rewake.stores.table import Check

DEVIATIONS = 3
"""By so many a shard may stay behind its share before the run wakes too early for that."""


class Joins(Requests):
    """The writes of the protocol to join items."""

    def joined(self, keys: Collection[str]) -> Counter[int]:
        """By shard, how many of these operations are counted there; none if they are few."""
        shards = map(self.layout.shard, keys)
        counts = Counter(shard for shard in shards if shard is not None)
        return counts if counts.total() > self.layout.first else Counter()

    async def open_joins(
        self, held: Header, counts: Counter[int], *, spared: bool = False
    ) -> Header | None:
        """Open join items for so many operations. Returns the header; None if it is overtaken.

        `spared`: all of them may fail.
        """
        number = held.joins + 1
        result = await self._append(held, [], {"joins": number, "wide": OPERATIONS})
        if not isinstance(result, Committed):
            assert not isinstance(result, Arrived)
            return None
        await gathered(
            self._number(held.run, shard, number, -n, spared) for shard, n in counts.items()
        )
        # What has arrived since its outcomes were read is not read, though this knows of it.
        return msgspec.structs.replace(result.header, arrivals=held.arrivals)

    async def close_joins(self, held: Header) -> int:
        """Close all join items: from now on all arrive at the header. Returns the new number.

        The next commit notes that; until then whoever holds the run does this again.
        """
        number, shards = held.joins + 1, range(self.layout.shards)
        await gathered(self._number(held.run, shard, number) for shard in shards)
        return number

    async def _number(
        self, run: str, shard: int, number: int, missing: int = 0, spared: bool = False
    ) -> None:
        older = [[Check("number", "absent")], [Check("number", "<", number)]]
        new = {"number": number, "missing": missing, "spared": spared}
        await self._update(join_key(run, shard), when=older, set=new, create=Join())

    async def _count_down(self, operation: Operation) -> Join | None:
        """Count an arrival where its shard counts them; None: nothing else is missing there."""
        shard = self.layout.shard(operation.key)
        if shard is None:
            return None
        key, open_ = join_key(operation.run, shard), [[Check("missing", "<", 0)]]
        written = await self._update(key, when=open_, add={"missing": 1})
        return written.item if written.ok and written.item.missing < 0 else None


def until_heard(counts: Counter[int], needed: int, awaited: int) -> Counter[int]:
    """By shard, how many of its arrivals come until the header hears of one.

    `counts`: how many there are in each, of those `awaited` of which `needed` wake the run.
    """
    if needed >= awaited:
        return counts
    share, found = needed / awaited, Counter[int]()
    for shard, count in counts.items():
        deviation = sqrt(count * share * (1 - share))
        if (quiet := int(count * share - DEVIATIONS * deviation)) > 0:
            found[shard] = quiet + 1
    return found if found.total() - len(found) < needed else Counter()


def may_be_open(header: Header) -> bool:
    """Whether join items of the run may be open."""
    return header.joins % 2 == 1
