"""The table of DynamoDB on the small one of this process; large values are in memory."""

from __future__ import annotations

import random

from rewake.stores.dynamodb.attributes import SHARDS
from rewake.stores.dynamodb.client import Client
from rewake.stores.dynamodb.table import DynamoTable
from rewake.stores.memory import MemoryTable
from tests.support.small_dynamodb import SmallDynamo


class SmallTable(DynamoTable):
    """A whole table, which counts what it is asked in DynamoDB's units."""

    def __init__(self, server: SmallDynamo, chance: random.Random | None = None) -> None:
        super().__init__(Client(server, chance=chance), "t")
        self.server = server
        beside = MemoryTable()
        self.put_blob, self.get_blob = beside.put_blob, beside.get_blob
        self.delete_blobs = beside.delete_blobs

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
