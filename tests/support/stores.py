"""The tables that are tested are shelves as well."""

from __future__ import annotations

from typing import Protocol

from rewake.stores.reads import Reads
from rewake.stores.shelf import Shelf
from rewake.stores.table import Table


class WholeTable(Table, Shelf, Protocol):
    """A table that keeps large values too."""


def reads_of(table: WholeTable) -> Reads:
    """What is stored, as the protocol reads it."""
    return Reads(table, table)
