"""A keyed state that many enter at once, of one process and of several event loops."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from rewake.keyed import State
from rewake.stores.reads import Reads
from rewake.stores.sqlite.table import SqliteTable

AT = State("cart", "ann", "")


def test_event_loops_that_meet_at_a_state_each_wait_in_their_own_way(tmp_path: Path) -> None:
    """What one of them waits by is nothing that another could wait by."""
    table = SqliteTable(tmp_path / "a.db")
    keyed = Reads(table, table).keyed

    def another(state: State) -> State:
        return msgspec.structs.replace(state, version=state.version + 1)

    def enter(loop: int) -> None:
        async def all_at_once() -> None:
            marks = [f"{loop}-{number}" for number in range(100)]
            await asyncio.gather(*(keyed.change(AT, another, mark) for mark in marks))

        asyncio.run(all_at_once())

    with ThreadPoolExecutor() as threads:
        list(threads.map(enter, range(3)))

    async def found() -> State | None:
        state = await keyed.find(AT)
        await table.close()
        return state

    state = asyncio.run(found())
    assert state is not None
    assert state.version == 300
