"""What a process hears of arrivals that it writes itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rewake.clock import SystemClock
from rewake.kinds import Kind, OutcomeKind
from rewake.records import Header, Operation, Outcome, Started, Value
from rewake.states import RunState
from rewake.stores.answers import RunClaim
from rewake.stores.keys import header_key, operation_key
from rewake.stores.protocol import Store
from rewake.stores.sqlite.reader import SqliteReader
from rewake.stores.sqlite.table import SqliteTable

DONE = Outcome(OutcomeKind.OK, Value("json", msgspec.Raw(b"1")))


class Listener:
    """Reads, at each arrival that it hears of, what others can read by then."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.heard: list[tuple[int, str, int, Any]] = []

    def has(self, run: str) -> bool:
        return False

    def hear(self, run: str, number: int, key: str) -> None:
        async def read() -> None:
            reader = SqliteReader(self.file)
            header = await reader.get(header_key(run))
            operation = await reader.get(operation_key(run, key))
            outcome = None if operation is None else operation.outcome
            self.heard.append((number, key, header.arrivals, outcome))
            await reader.close()

        for _ in read().__await__():  # it never waits
            raise AssertionError

    def called_off(self, run: str) -> None:
        pass


@pytest.mark.parametrize("claims", [False, True])
@pytest.mark.parametrize("sole", [False, True])
@pytest.mark.parametrize("state", [RunState.PARKED, RunState.RUNNING])
def test_an_arrival_is_heard_of_when_it_is_committed(
    state: RunState, sole: bool, claims: bool, tmp_path: Path
) -> None:
    """Else a turn would not find its outcome, take it for read, and leave its branch hanging."""

    async def body() -> None:
        file = tmp_path / "a.db"
        table = SqliteTable(file, durable=False, threaded=False)
        listener = Listener(file)
        marks = iter(map(str, range(999)))
        store = Store(table, table, mark=lambda: next(marks), clock=SystemClock(), here=listener)
        header = Header("r", "main", 1, seed=1, runtime=1)
        await store.start(header, Started(1, Value("json", msgspec.Raw(b"{}"))))
        await table.update(header_key("r"), set={"state": state, "gap": 1})
        for number, key in enumerate(("a", "b", "c"), 1):
            claim = RunClaim(f"claim {key}", number, 5_000) if claims else None
            blank = Operation("r", key, Kind.TASK)
            await store.deliver(blank, DONE, number, claim=claim, sole=sole)
            assert listener.heard.pop() == (number, key, number, DONE)
        settled = await store.operation("r", "c")
        assert settled is not None
        await store.redeliver(settled)
        assert listener.heard.pop() == (4, "c", 4, DONE)
        assert listener.heard == []
        await store.close()

    asyncio.run(body())
