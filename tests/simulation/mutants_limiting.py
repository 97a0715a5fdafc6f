"""Mutants of limits: who comes in, who leaves, and who hears of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from msgspec import structs

from rewake.engine.limits.grants import LetIn
from rewake.engine.limits.limits import Limits
from rewake.ledger import Holder, Limit
from rewake.limited import Limited
from rewake.records import Invocation
from rewake.stores import books
from rewake.stores.limits import Limits as StoredLimits
from tests.simulation.mutants import Mutant


@contextmanager
def lets_everybody_in() -> Iterator[None]:
    """However many hold a limit, there is room for one more."""
    with patch.object(books, "is_free", lambda book, count: True):
        yield


@contextmanager
def begins_without_being_let_in() -> Iterator[None]:
    """A task that is limited is begun as any other."""

    async def admit(self: Limits, asked: Invocation) -> LetIn:
        return LetIn(())

    with patch.object(Limits, "admit", admit):
        yield


@contextmanager
def gives_no_place_back() -> Iterator[None]:
    """Who has ended keeps its place."""

    async def never(self: Limits, holder: Holder, **_: Any) -> bool:
        return False

    with patch.object(Limits, "_is_over", never):
        yield


@contextmanager
def looks_at_no_limit() -> Iterator[None]:
    """A place whose holder died, and a message that was lost, are found by nobody."""

    async def blind(self: Limits, limit: Limit, now: Any) -> None:
        await self._store.look_later(limit, now + 60_000, now)

    with patch.object(Limits, "check", blind):
        yield


@contextmanager
def changes_whatever_it_finds() -> Iterator[None]:
    """A limit is written without a look at whether it is as it was read."""
    update = StoredLimits._update

    async def forced(self: StoredLimits, key: Any, **how: Any) -> Any:
        if key.sort.startswith("F#") and "holders" in (how.get("set") or {}):
            how["when"] = ()
        return await update(self, key, **how)

    with patch.object(StoredLimits, "_update", forced):
        yield


@contextmanager
def tells_nobody_that_it_is_let_in() -> Iterator[None]:
    """Who is let in is sent no message, and a look at its limit sends none."""

    async def silent(self: Limits, messages: Sequence[Invocation]) -> None:
        pass

    with patch.object(Limits, "_dispatch", silent):
        yield


@contextmanager
def makes_what_is_there() -> Iterator[None]:
    """A cached task is carried out although its result is kept."""

    def asked(found: Limit | None, limit: Limited, *_: Any) -> Limit:
        book = structs.replace(found or books.blank(limit), count=limit.count, per=limit.per)
        return structs.replace(book, kept=None)

    with patch.object(books, "asked", asked):
        yield


@contextmanager
def makes_it_many_times_at_once() -> Iterator[None]:
    """Whoever calls a cached task carries it out, though another does."""
    asked = books.asked

    def many(*about: Any) -> Limit:
        return structs.replace(asked(*about), count=9)

    with patch.object(books, "asked", many):
        yield


@contextmanager
def forgets_who_waits_for_it() -> Iterator[None]:
    """Who waits for a result is not told that it is there, nor by a later look."""

    async def silent(self: StoredLimits, found: Limit, book: Limit, soon: Any) -> Any:
        new = structs.replace(book, waits=False)
        return [] if await self._swap(found, new, self._mark(), soon) else None

    with patch.object(StoredLimits, "_tell", silent):
        yield


@contextmanager
def keeps_what_is_over() -> Iterator[None]:
    """Who gives a place back that is another's by now keeps its result all the same."""

    def left(book: Limit, run: str, key: str, grant: str) -> Limit:
        return structs.replace(book, holders=[])

    with patch.object(books, "left", left):
        yield


LIMITING: Sequence[Mutant] = (
    lets_everybody_in,
    begins_without_being_let_in,
    gives_no_place_back,
    looks_at_no_limit,
    changes_whatever_it_finds,
    tells_nobody_that_it_is_let_in,
    makes_what_is_there,
    makes_it_many_times_at_once,
    forgets_who_waits_for_it,
    keeps_what_is_over,
)
