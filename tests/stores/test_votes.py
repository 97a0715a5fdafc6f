"""Votes as they are stored: one order for all, none lost, whatever the database says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from rewake.clock import SystemClock
from rewake.errors import StoreUnavailable
from rewake.kinds import Kind, OutcomeKind
from rewake.records import Operation, Outcome, Value
from rewake.stores.memory import MemoryTable
from rewake.stores.protocol import Store
from rewake.stores.reads import TRIES
from rewake.stores.table import Key, Written
from tests.support.stores import Nobody

DONE = Outcome(OutcomeKind.OK, Value("json", msgspec.Raw(b"1")))


class Liar(MemoryTable):
    """It does the next write, and says that it may not have; `meanwhile` happens in between."""

    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def update(self, key: Key, **how: Any) -> Written:
        written = await super().update(key, **how)
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            await happens()
            raise StoreUnavailable("it may or may not have happened")
        return written


@pytest.fixture
def table() -> Liar:
    return Liar()


@pytest.fixture
def store(table: Liar) -> Store:
    marks = iter(map(str, range(1, 999)))
    return Store(table, table, mark=lambda: next(marks), clock=SystemClock(), here=Nobody())


def said(name: str) -> Value:
    return Value("json", msgspec.Raw(msgspec.json.encode(name)))


async def read(store: Store) -> Operation | None:
    return await store.operation("r", "k")


async def voting(store: Store, name: str, *, round: int = 0) -> Operation:
    """The item as somebody would write it who has just read it."""
    found = await read(store)
    votes = [] if found is None else found.votes
    mark = "" if found is None else found.mark
    return Operation("r", "k", Kind.APPROVAL, round=round, votes=[*votes, said(name)], mark=mark)


async def told(store: Store) -> list[str]:
    found = await read(store)
    return [] if found is None else [msgspec.json.decode(each.body) for each in found.votes]


def test_who_read_before_another_voted_writes_nothing(store: Store) -> None:
    """Nor does what they say decide: they read again."""

    async def body() -> None:
        for one, other in (("a", "b"), ("c", "d")):  # without an item, and with one
            first, second = await voting(store, one), await voting(store, other)
            assert await store.vote(first) is True
            assert await store.vote(second) is False
            won, found = await store.settle(second, DONE, 1)
            assert (won, found.outcome) == (False, None)
        assert await told(store) == ["a", "c"]
        last = await voting(store, "e")
        won, _ = await store.settle(last, DONE, 1)
        assert won
        assert await store.vote(await voting(store, "f")) is False
        assert await told(store) == ["a", "c", "e"]

    asyncio.run(body())


def test_a_vote_that_was_reported_as_failed_counts(store: Store, table: Liar) -> None:
    """Its voter is told so, also if others have voted since; and it is there once."""

    async def body() -> None:
        async def nothing() -> None:
            """It is only told wrongly."""

        async def another() -> None:
            assert await store.vote(await voting(store, "other"))

        for name, meanwhile in (("a", nothing), ("b", another)):
            mine = await voting(store, name)
            table.meanwhile = meanwhile
            assert await store.vote(mine) is True
        assert await told(store) == ["a", "b", "other"]

    asyncio.run(body())


def test_a_vote_that_nobody_knows_of_can_be_looked_for(store: Store, table: Liar) -> None:
    """Where the database says nothing for long, the voter gets its error, and may ask again."""

    async def body() -> None:
        mine = await voting(store, "a")

        async def gone() -> None:
            if left.pop():
                table.meanwhile = gone

        left = [False, *([True] * (TRIES - 1))]
        table.meanwhile = gone
        with pytest.raises(StoreUnavailable):
            await store.vote(mine)
        assert await told(store) == ["a"]

    asyncio.run(body())


@pytest.mark.parametrize("decides", [False, True])
def test_a_later_round_has_the_votes_of_before(store: Store, decides: bool) -> None:
    """What a retry opens again is voted on behind them; who acts for the old round does nothing."""

    async def body() -> None:
        await store.vote(await voting(store, "a"))
        late = await voting(store, "late")
        await store.settle(Operation("r", "k", Kind.APPROVAL), Outcome(OutcomeKind.CANCELLED), 1)
        mine = await voting(store, "b", round=1)
        if decides:
            won, _ = await store.settle(mine, DONE, 2)
            assert won
        else:
            assert await store.vote(mine) is True
        assert await store.vote(late) is False
        assert await told(store) == ["a", "b"]
        found = await read(store)
        assert found is not None
        assert (found.round, found.outcome) == (1, DONE if decides else None)

    asyncio.run(body())


def test_a_time_out_of_a_later_round_keeps_the_votes(store: Store) -> None:
    """They are what was said, whatever came of it."""

    async def body() -> None:
        await store.vote(await voting(store, "a"))
        blank = Operation("r", "k", Kind.APPROVAL, round=1)
        won, _ = await store.settle(blank, Outcome(OutcomeKind.TIMEOUT), 2)
        assert won
        assert await told(store) == ["a"]

    asyncio.run(body())
