"""What waits for a PostgreSQL server, when it is locked or silent: no server is needed for that."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import psycopg
import pytest

from rewake.errors import ReadableElsewhere, StoreUnavailable
from rewake.records import Header
from rewake.stores.keys import header_key
from rewake.stores.postgres import connecting
from rewake.stores.postgres import line as line_module
from rewake.stores.postgres.faults import while_open
from rewake.stores.postgres.flight import Backend, Blobs, Flight, Job, Row, asked
from rewake.stores.postgres.line import Line
from rewake.stores.postgres.notices import Notices
from rewake.stores.postgres.place import Place, place_of
from rewake.stores.postgres.rows import Rows
from rewake.stores.table import Key, Written
from rewake.testing.loop import VirtualLoop

T = TypeVar("T")
HELD = header_key("held")


class Locked(Backend):
    """Takes all that is written, but for items that somebody holds."""

    def __init__(self, *more: Key) -> None:
        self.held = {HELD, *more}
        self.written = 0
        self.waited = 0

    async def fetch(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        return {}

    async def write(self, rows: Sequence[Row], blobs: Blobs) -> dict[Key, bytes | None]:
        if any(row.key in self.held for row in rows):
            self.waited += 1
            await asyncio.sleep(0.25)
            error = psycopg.errors.LockNotAvailable("canceling statement due to lock timeout")
            raise while_open(error)
        self.written += len(rows)
        return {}

    async def is_held(self, key: Key) -> bool:
        return key in self.held


def virtually(main: Coroutine[Any, Any, T]) -> T:
    """What it comes to, in virtual time."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


def line() -> Line:
    """One of the running event loop."""
    place = place_of("//127.0.0.1:1/db")
    return Line(object(), place, Notices(place))


def test_many_that_wait_for_one_lock_hold_up_the_others_as_one_does() -> None:
    """A transaction of somebody's holds a run of which a hundred tasks end: others go on."""

    async def main() -> None:
        made, server = line(), Locked()
        made._writes = server  # type: ignore[assignment]

        def write(key: Key) -> Job:
            header = Header(key.partition[2:], "main", 1, seed=7, runtime=1)
            return Job(lambda flight: flight.put(key, header, absent=False))

        keys = [HELD if number % 2 else header_key(str(number)) for number in range(200)]
        found = await asyncio.gather(*(made.run(write(k)) for k in keys), return_exceptions=True)
        for key, each in zip(keys, found, strict=True):
            assert isinstance(each, StoreUnavailable if key == HELD else Written)
        assert (server.written, server.waited) == (100, 2)  # together, and the first alone

    virtually(main())


def test_whoever_holds_many_runs_holds_up_no_others() -> None:
    """A person's transaction has a hundred rows: the others go on after a second or two."""

    async def main() -> None:
        held = [header_key(f"held {number}") for number in range(100)]
        made, server, now = line(), Locked(*held), asyncio.get_running_loop().time
        made._writes = server  # type: ignore[assignment]

        def write(key: Key) -> Job:
            header = Header(key.partition[2:], "main", 1, seed=7, runtime=1)
            return Job(lambda flight: flight.put(key, header, absent=False))

        keys = [*held, *(header_key(str(number)) for number in range(100))]
        found = await asyncio.gather(*(made.run(write(k)) for k in keys), return_exceptions=True)
        assert [type(each) for each in found] == [StoreUnavailable] * 100 + [Written] * 100
        assert server.waited == 1 + line_module.WAITS
        assert now() < 2

    virtually(main())


def test_what_one_cannot_read_is_no_error_of_those_that_are_written_with_it() -> None:
    """A line of a limit that has what only a newer Rewake reads made all runs unreadable."""

    async def main() -> None:
        made, server = line(), Locked()
        made._writes = server  # type: ignore[assignment]
        header = Header("1", "main", 1, seed=7, runtime=1)

        async def unreadable() -> None:
            raise ReadableElsewhere("a newer Rewake wrote it", reason="of a newer Rewake")

        async def work(flight: Flight) -> Written:
            with pytest.raises(ReadableElsewhere):
                await asked(unreadable)
            return await flight.put(header_key("2"), header, absent=False)

        jobs = [
            Job(lambda _: asked(unreadable)),
            Job(lambda flight: flight.put(header_key("1"), header, absent=False)),
            Job(work),
        ]
        found = await asyncio.gather(*map(made.run, jobs), return_exceptions=True)
        assert [type(each) for each in found] == [ReadableElsewhere, Written, Written]
        assert server.written == 2

    virtually(main())


class Silent:
    """A connection whose server takes everything, and answers nothing."""

    closed = False

    def __init__(self) -> None:
        self.pgconn = self

    async def execute(self, statement: str, values: Sequence[Any], *, binary: bool) -> Any:
        await asyncio.Event().wait()

    def finish(self) -> None:
        self.closed = True


def test_a_large_value_is_put_by_what_waits_for_nobody_s_lock_for_long() -> None:
    """Another transaction may put the same: a plain statement would wait until that ends."""
    asked: list[str] = []

    async def execute(
        statement: str, values: Sequence[Any], *, moves: int = 0
    ) -> list[tuple[Any, ...]]:
        asked.append(statement)
        assert moves == len(b"data")
        assert [*values] == [[]] * 6 + [[b"r"], [b"n"], [b"data"]]
        return []

    asyncio.run(Rows("s", execute).put_blob("r", "n", b"data"))
    assert ['"s".write(' in each for each in asked] == [True]


class Demoted(Silent):
    """A connection that was kept to a server which was the primary as it was made."""

    description: Any = None

    def __init__(self) -> None:
        super().__init__()
        self._ends = os.pipe()

    def fileno(self) -> int:
        return self._ends[0]

    async def execute(self, statement: str, values: Sequence[Any], *, binary: bool) -> Any:
        if "write" in statement:
            raise psycopg.errors.ReadOnlySqlTransaction("it is in recovery")
        return self

    def finish(self) -> None:
        if not self.closed:
            for end in self._ends:
                os.close(end)
        super().finish()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Demoted]:
    """The connections that are made, each to what became a replica."""
    made: list[Demoted] = []

    async def connect(place: Place) -> Any:
        made.append(Demoted())
        return made[-1]

    monkeypatch.setattr(line_module, "connect", connect)
    return made


def test_nothing_is_read_any_more_where_nothing_can_be_written(seen: list[Demoted]) -> None:
    """A primary that became a replica goes on answering who reads, with what is old."""

    async def main() -> None:
        made, header = line(), Header("1", "main", 1, seed=7, runtime=1)
        for _ in range(2):
            assert await made.reads.get(HELD) is None
        with pytest.raises(StoreUnavailable):
            await made.run(Job(lambda flight: flight.put(HELD, header, absent=False)))
        assert [each.closed for each in seen] == [True, True]
        assert await made.reads.get(HELD) is None
        assert len(seen) == 3
        await made.close()

    virtually(main())


def test_who_writes_hears_of_it_from_who_reads(seen: list[Demoted]) -> None:
    """A large value is put by a connection that reads: what a write is tested on was old, too."""

    async def main() -> None:
        made = line()
        assert await made.run(Job(lambda flight: flight.get(HELD))) is None
        with pytest.raises(StoreUnavailable):
            await made.reads.put_blob("r", "n", b"data")
        assert await made.run(Job(lambda flight: flight.get(HELD))) is None
        assert [each.closed for each in seen] == [True, True, False]
        await made.close()

    virtually(main())


def test_however_many_read_from_a_silent_server_each_is_told_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There are four connections: who waits for one waits for no more than one patience."""

    async def connect(place: Place) -> Any:
        return Silent()

    monkeypatch.setattr(line_module, "connect", connect)

    async def main() -> float:
        made, now = line(), asyncio.get_running_loop().time
        reads = (made.reads.get(HELD) for _ in range(100))
        for each in await asyncio.gather(*reads, return_exceptions=True):
            assert isinstance(each, StoreUnavailable)
        return now()

    assert virtually(main()) <= 2 * connecting.PATIENCE


class Slow(Demoted):
    """A connection over which a mebibyte goes in a second."""

    kept = b""

    async def execute(self, statement: str, values: Sequence[Any], *, binary: bool) -> Any:
        rows: list[Any] = []
        self.description, self.rows = True, rows
        if "write" in statement:
            await asyncio.sleep(len(values[-1][0]) / 2**20)
            Slow.kept = values[-1][0]
        elif "octet_length" in statement:
            self.rows = [(len(self.kept), None)]
        elif "data FROM" in statement:
            await asyncio.sleep(len(self.kept) / 2**20)
            self.rows = [(self.kept,)]
        return self

    async def fetchall(self) -> list[Any]:
        return self.rows


def test_what_is_large_takes_as_long_as_it_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no silence, however many there are at once, and what is small goes on beside it."""

    async def connect(place: Place) -> Any:
        return Slow()

    monkeypatch.setattr(line_module, "connect", connect)

    async def main() -> None:
        made, data, now = line(), bytes(30 * 2**20), asyncio.get_running_loop().time
        putting = asyncio.gather(*(made.reads.put_blob("r", str(n), data) for n in range(6)))
        await asyncio.sleep(1)
        assert await made.reads.get(HELD) is None
        assert now() == 1
        await putting
        assert now() == 90  # two at a time
        assert await made.reads.get_blob("r", "0") == data
        assert now() == 120
        await made.close()

    virtually(main())
