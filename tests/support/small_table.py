"""The table of DynamoDB on the small one of this process; large values are in memory."""

from __future__ import annotations

import random

from rewake.stores.dynamodb.attributes import SHARDS
from rewake.stores.dynamodb.billed import BilledTable
from rewake.stores.memory import MemoryTable
from rewake.stores.table import Key
from tests.support.small_dynamodb import SmallDynamo


class SmallTable(BilledTable):
    """A whole table, which counts what it is asked in DynamoDB's units."""

    def __init__(self, server: SmallDynamo, chance: random.Random | None = None) -> None:
        super().__init__(server, "t", chance=chance)
        self.server = server
        self._beside = MemoryTable()
        self.put_blob, self.get_blob = self._beside.put_blob, self._beside.get_blob
        self.delete_blobs = self._beside.delete_blobs

    def places(self) -> list[Key]:
        """Where there are items."""
        parts = self.server.items.items()
        return [Key(partition, sort) for partition, items in parts for sort in items]

    def values(self, run: str) -> list[str]:
        """The names of a run's large values."""
        return [name for where, name in self._beside._blobs if where == run]

    @property
    def writes(self) -> int:
        """The write units of items."""
        return self.server.writes

    @property
    def index(self) -> int:
        """The write units of the index."""
        return self.server.index_writes

    @property
    def units(self) -> int:
        """Both."""
        return self.writes + self.index

    @property
    def reads(self) -> int:
        """The read units."""
        return self.server.reads

    @property
    def looks(self) -> int:
        """Looks at the due index: each asks all of its parts."""
        return self.server.looks // SHARDS
