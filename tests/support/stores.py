"""The tables that are tested are shelves as well."""

from __future__ import annotations

from typing import Protocol

import msgspec

from rewake.codecs import AesGcm
from rewake.engine.settings import Settings
from rewake.records import Header
from rewake.stores.answers import RunClaim
from rewake.stores.memory import MemoryTable
from rewake.stores.protocol import Store
from rewake.stores.reads import Reads
from rewake.stores.sealing import SealingTable
from rewake.stores.shelf import Shelf
from rewake.stores.table import Table


class WholeTable(Table, Shelf, Protocol):
    """A table that keeps large values too."""


class Nobody:
    """A process that has no instance."""

    def has(self, run: str) -> bool:
        return False

    def hear(self, run: str, number: int, key: str) -> None:
        """It is nobody."""

    def called_off(self, run: str) -> None:
        """It is nobody."""


class Sealed(SealingTable):
    """A table in memory behind a codec, which keeps large values too, as they are."""

    def __init__(self) -> None:
        inner = MemoryTable()
        super().__init__(inner, AesGcm({"k": bytes(32)}))
        self.put_blob, self.get_blob = inner.put_blob, inner.get_blob
        self.delete_blobs = inner.delete_blobs


def reads_of(table: WholeTable) -> Reads:
    """What is stored, as the protocol reads it."""
    return Reads(table, table)


async def take_over(store: Store, run: str, claim: RunClaim) -> Header:
    """Take a run from a holder whose lease is over at the moment of this claim, and for good."""
    assert await store.claim(run, claim) is None, "it was taken at the first look"
    later = msgspec.structs.replace(claim, now=claim.now + Settings().patience)
    taken = await store.claim(run, later)
    assert isinstance(taken, Header)
    return taken
