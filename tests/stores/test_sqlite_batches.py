"""What a batch of writes to a SQLite file costs, and what becomes of it when one of them fails."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from rewake.clock import SystemClock
from rewake.records import Header, Started, Value
from rewake.stores.protocol import Store
from rewake.stores.sqlite import writer
from rewake.stores.sqlite.table import SqliteTable
from tests.stores.test_sqlite import H, header, hold, key, run


@pytest.fixture(autouse=True)
def _all_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit on the thread, however few the jobs."""
    monkeypatch.setattr(writer, "FEW", 0)


class Nobody:
    """Has no instance of any run."""

    def has(self, run: str) -> bool:
        return False

    def hear(self, run: str, number: int, key: str) -> None:
        pass

    def called_off(self, run: str) -> None:
        pass


def test_what_is_run_again_counts_once(tmp_path: Path) -> None:
    """A job that fails half-way lets all of its batch run again, as if for the first time."""
    table = SqliteTable(tmp_path / "a.db")
    marks = map(str, range(99))
    store = Store(table, table, mark=lambda: next(marks), clock=SystemClock(), here=Nobody())
    ran: list[str] = []

    async def fails() -> None:
        await table.update(H, add={"epoch": 1})
        ran.append("fails")
        raise KeyError("mine")

    async def body() -> None:
        await table.put(H, header())
        held = await hold(table)
        started = Started(1, Value("json", msgspec.Raw(b"{}")))
        ends = await asyncio.gather(
            store.start(Header("2", "main", 1, 7, 1), started),
            table.update(H, add={"epoch": 10}),
            table.together(fails),
            return_exceptions=True,
        )
        await held
        assert isinstance(ends[2], KeyError)
        assert ran == ["fails", "fails"]
        assert (await table.get(H)).epoch == 10
        stored = await table.get(key(2))
        assert (stored.count, stored.tail) == (1, [started])

    run(table, body)


def test_an_unchanged_due_time_costs_no_write_of_its_index(tmp_path: Path) -> None:
    """Only a change of the due time touches the index of due times."""
    table = SqliteTable(tmp_path / "a.db")
    statements: list[str] = []

    async def body() -> None:
        await table.put(H, header(due=5))
        table._writer._far.connection.set_trace_callback(statements.append)
        await table.update(H, add={"epoch": 1})
        await table.update(H, set={"due": 5, "owner": "me"})
        assert [each for each in statements if "due" in each] == []
        for due in (6, None, 7):
            await table.update(H, set={"due": due})
            assert [each.due for each in await table.due(9, limit=9)] == ([due] if due else [])
        assert await table.get(H) == header(due=7, epoch=1, owner="me")

    run(table, body)
