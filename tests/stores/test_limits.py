"""Limits in the store, on every table: the same writes, whatever the database."""

from __future__ import annotations

import asyncio

from rewake.clock import SystemClock
from rewake.engine.instances.cache import Cache
from rewake.engine.services import Here
from rewake.ledger import Waiter
from rewake.limited import Limited, LimitKind, Terms
from rewake.stores.books import held_by
from rewake.stores.protocol import Store
from tests.support.stores import WholeTable
from tests.support.tables import every_table

LIMIT = Limited(LimitKind.CONCURRENCY, "l", "é", 2)
RATE = Limited(LimitKind.RATE, "r", "", 1, 1_000)
SOON = 9_000_000_000_000


def store_on(table: WholeTable) -> Store:
    """A store of a process of its own on this table."""
    marks = iter(range(10**6))
    name = f"{id(marks):x}"
    here = Here(Cache(1))
    return Store(table, table, mark=lambda: f"{name}.{next(marks)}", clock=SystemClock(), here=here)


def who(number: int) -> Waiter:
    return Waiter(f"r{number}", "k", terms=Terms((LIMIT,), 0, f"{number % 3}"), since=number)


@every_table
async def test_two_processes_let_in_no_more_than_may_be(table: WholeTable) -> None:
    """Of eight that come at once two hold it; as each leaves the next one comes, to the last."""
    stores = [store_on(table), store_on(table)]
    calls = (stores[n % 2].enter(LIMIT, who(n), 5, soon=SOON) for n in range(8))
    entries = await asyncio.gather(*calls)
    came = {n for n, entry in enumerate(entries) if entry.grant}
    came |= {int(each.run[1:]) for entry in entries for each in entry.came}
    assert len(came) == 2
    assert len(await stores[0].line(LIMIT.id, 20)) == 6
    for _ in range(8):
        book = await stores[0].limit(LIMIT.id)
        assert book is not None
        assert len(book.holders) <= 2
        holder = book.holders[0]
        let_in = await stores[1].leave(LIMIT.id, holder, 6, soon=SOON)
        came |= {int(each.run[1:]) for each in let_in}
    book = await stores[0].limit(LIMIT.id)
    assert book is not None
    assert (book.holders, came) == ([], set(range(8)))
    assert not await stores[0].line(LIMIT.id, 20)


@every_table
async def test_who_waits_already_stands_in_line_once(table: WholeTable) -> None:
    """A second message for it changes nothing; once it was let in, it holds the limit."""
    store = store_on(table)
    first = [await store.enter(LIMIT, who(n), 5, soon=SOON) for n in range(3)]
    line = first[2].line
    assert line is not None
    again = await store.enter(LIMIT, who(2), 6, soon=SOON, known=line)
    assert again.line == line
    assert len(await store.line(LIMIT.id, 9)) == 1
    book = await store.limit(LIMIT.id)
    assert book is not None
    [let_in] = await store.leave(LIMIT.id, book.holders[0], 7, soon=SOON)
    assert let_in.run == "r2"
    assert (await store.enter(LIMIT, who(2), 8, soon=SOON, known=line)).grant


@every_table
async def test_a_rate_gives_each_process_a_moment_of_its_own(table: WholeTable) -> None:
    """Two processes that ask at once are given moments a second apart."""
    stores = [store_on(table), store_on(table)]
    now = SystemClock().now()
    made = await asyncio.gather(*(stores[n % 2].reserve(RATE, now) for n in range(6)))
    assert sorted(moment for _, moment in made) == [now + 1_000 * n for n in range(6)]


@every_table
async def test_what_says_nothing_goes(table: WholeTable) -> None:
    """A limit that nobody holds is removed by a look at it, and all of them can be listed."""
    store = store_on(table)
    await store.enter(LIMIT, who(1), 5, soon=SOON)
    [book], _ = await store.limits(limit=9, cursor=None)
    holder = held_by(book, "r1", "k")
    await store.leave(LIMIT.id, holder, 6, soon=SOON)
    [book], _ = await store.limits(limit=9, cursor=None)
    assert not await store.look_later(book, SOON, 7)
    assert await store.limits(limit=9, cursor=None) == ([], None)
