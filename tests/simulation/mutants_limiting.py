"""Mutants of limits: who comes in, who leaves, and who hears of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from rewake.engine.limits import LetIn, Limits
from rewake.ledger import Holder, Limit
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


LIMITING: Sequence[Mutant] = (
    lets_everybody_in,
    begins_without_being_let_in,
    gives_no_place_back,
    looks_at_no_limit,
    changes_whatever_it_finds,
    tells_nobody_that_it_is_let_in,
)
