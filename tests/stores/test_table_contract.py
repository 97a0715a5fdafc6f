"""What every table promises, asked of each kind: the contract that is published."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest

from rewake.conformance import ShelfContract, TableContract
from rewake.stores.table import Table
from tests.support.stores import WholeTable
from tests.support.tables import KINDS, LAG, ONE_THREAD, STORIES


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


class TestShelf(ShelfContract):
    """The contract of shelves: each of these tables is one as well."""

    kind: str

    def shelf(self) -> AbstractAsyncContextManager[WholeTable]:
        return KINDS[self.kind]()
