"""What every table promises, asked of each kind: the contract that is published."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from rewake.conformance import ShelfContract, TableContract
from rewake.stores.table import Key, Table
from tests.support.stores import WholeTable
from tests.support.tables import EDITED, KINDS, LAG, ONE_THREAD, STORIES


@pytest.fixture(autouse=True, params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of table."""
    found: str = request.param
    request.instance.kind = found
    return found


class TestTable(TableContract):
    """The contract of tables."""

    kind: str

    @pytest.fixture(autouse=True)
    def _expected(self, kind: str) -> None:
        self.threads = kind not in ONE_THREAD
        self.examples = STORIES.get(kind, 60)
        self.lag = LAG.get(kind, 0.0)

    def table(self) -> AbstractAsyncContextManager[Table]:
        return KINDS[self.kind]()

    async def stored(self, table: Table, key: Key, **added: str) -> Mapping[str, Any] | None:
        edit = EDITED.get(self.kind)
        return None if edit is None else await edit(table, key, added)


class TestShelf(ShelfContract):
    """The contract of shelves: each of these tables is one as well."""

    kind: str

    def shelf(self) -> AbstractAsyncContextManager[WholeTable]:
        return KINDS[self.kind]()
