"""A table of DynamoDB that counts for which run it is asked: `stores/bills.py` has the rules."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rewake.aws.wire import Wire
from rewake.records import Header, Item
from rewake.stores.bills import READS, WRITES, Bills, units_of
from rewake.stores.dynamodb.client import Client
from rewake.stores.dynamodb.table import DynamoTable
from rewake.stores.keys import billed_run, header_key
from rewake.stores.table import Key, Page, When, Written

_WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem"})


class BilledTable(DynamoTable):
    """A `DynamoTable` that adds to the header of a run what was used for it."""

    def __init__(
        self,
        wire: Wire,
        name: str,
        app: str = "",
        *,
        bills: Bills | None = None,
        chance: random.Random | None = None,
    ) -> None:
        super().__init__(Client(wire, chance=chance, meter=self._consumed), name, app)
        self.bills = bills or Bills()

    def _consumed(self, operation: str, consumed: Any) -> None:
        what = WRITES if operation in _WRITES else READS
        self.bills.consumed(what, units_of(consumed))

    async def get(self, key: Key) -> Any:
        """The item, or None."""
        with self.bills.of(billed_run(key)):
            return await super().get(key)

    async def get_many(self, keys: Sequence[Key]) -> list[Any]:
        """The items of these keys, in their order; None for each that is missing."""
        runs = {billed_run(key) for key in keys}
        with self.bills.of(runs.pop() if len(runs) == 1 else ""):  # a list is of no run
            return await super().get_many(keys)

    async def query(self, partition: str, prefix: str = "", **how: Any) -> Page:
        """Items of a partition whose sort key starts with `prefix`, in sort-key order."""
        with self.bills.of(billed_run(Key(partition, ""))):
            return await super().query(partition, prefix, **how)

    async def put(self, key: Key, item: Item, *, absent: bool = False) -> Written:
        """Write the whole item; with `absent`, only if there is none."""
        run = billed_run(key)
        # A run begins where none is; who copies one puts its header as it is.
        if not absent or not isinstance(item, Header):
            with self.bills.of(run):
                return await super().put(key, item, absent=absent)
        used, own = self._used(run, 1 + (item.due is not None))
        with self.bills.of(run):
            all_used = {what: getattr(item, what) + units for what, units in used.items()}
            new = msgspec.structs.replace(item, **all_used)
            return self._kept(run, used, own, await super().put(key, new, absent=absent))

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
        run = billed_run(key)
        with self.bills.of(run):
            # What removes a run takes the numbers away, with all that its header had.
            if not run or key != header_key(run) or (set and WRITES in set):
                return await super().update(key, when=when, set=set, add=add, create=create)
            moves = 2 if set and "due" in set else 0  # it goes from where it was, and comes
            used, own = self._used(run, 1 + moves)
            more = {**(add or {}), **used}
            written = await super().update(key, when=when, set=set, add=more)
            return self._kept(run, used, own, written)

    def _used(self, run: str, own: int) -> tuple[Mapping[str, int], int]:
        """What a write of a header adds to it: what is open, and what the write may use itself."""
        used = self.bills.take(run)
        used[WRITES] = used.get(WRITES, 0) + own
        return used, own

    def _kept(self, run: str, used: Mapping[str, int], own: int, written: Written) -> Written:
        """What a write came to; what it has not kept, or had guessed, is noted again."""
        if not written.ok:
            self.bills.note(run, used)
        self.bills.note(run, {WRITES: -own})
        return written
