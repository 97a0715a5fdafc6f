"""Mutants of child runs: one is lost, begun in vain, never told of, or left behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace

from rewake.engine.outside.children import Children
from rewake.kin import Parent, Watcher
from rewake.records import Header, Invocation, Operation
from rewake.stores.families import Families
from rewake.stores.keys import header_key
from tests.simulation.mutants import Mutant


@contextmanager
def an_end_is_not_kept_for_those_who_wait() -> Iterator[None]:
    """A child that ends is laid down at once, and its parent told after that, if ever."""
    with patch("rewake.engine.turns.commits.is_waited_for", lambda _: False):
        yield


@contextmanager
def what_is_not_there_is_not_called_off() -> Iterator[None]:
    """A child that is given up before it has begun is left alone, and begins."""
    call_off = Families.call_off

    async def blind(self: Families, child: str, reason: str, of: str | None = None) -> Header:
        found = await self.standing(child)
        if found is None:
            return Header(child, "", 0, seed=0, runtime=0)
        return await call_off(self, child, reason, of)

    with patch.object(Families, "call_off", blind):
        yield


@contextmanager
def who_is_given_up_is_not_asked_to_cancel() -> Iterator[None]:
    """A child that nobody waits for any more goes on."""

    async def deaf(*_: Any) -> None:
        return None

    with patch.object(Families, "disown", deaf):
        yield


@contextmanager
def a_watcher_does_not_arrive() -> Iterator[None]:
    """Whoever comes to wait for a run says so beside it alone."""

    async def unsaid(self: Families, run: str, watcher: Watcher) -> tuple[Header, Watcher | None]:
        found, before = await watch(self, run, watcher)
        await self._update(header_key(run), set={"watched": False})
        return found, before

    watch = Families.watch
    with patch.object(Families, "watch", unsaid):
        yield


@contextmanager
def a_child_is_covered_before_it_is_there() -> Iterator[None]:
    """Whoever gets the message notes first that somebody looks after it."""
    call = Children._call

    async def hasty(self: Children, asked: Invocation, by: Header) -> Any:
        await self._store.cover(Operation(asked.run, asked.key, asked.kind, round=asked.round))
        return await call(self, asked, by)

    with patch.dict("rewake.engine.outside.children._DO", {"child": hasty}):
        yield


@contextmanager
def each_message_begins_a_child() -> Iterator[None]:
    """A message that comes again begins another run."""
    begun, count = Children._begun, iter(range(10**9))

    async def another(self: Children, asked: Invocation, by: Header, parent: Parent) -> Any:
        assert asked.about is not None
        about = replace(asked.about, run=f"{asked.about.run}-{next(count)}")
        return await begun(self, replace(asked, about=about), by, parent)

    with patch.object(Children, "_begun", another):
        yield


@contextmanager
def what_is_tied_is_left_unless_it_was_heard_of() -> Iterator[None]:
    """A run that its parent has begun, and not heard of, goes on (a bug that this found)."""
    with patch("rewake.stores.operations.begins_in_vain", lambda _: False):
        yield


KINDRED: Sequence[Mutant] = (
    an_end_is_not_kept_for_those_who_wait,
    what_is_not_there_is_not_called_off,
    who_is_given_up_is_not_asked_to_cancel,
    a_watcher_does_not_arrive,
    a_child_is_covered_before_it_is_there,
    each_message_begins_a_child,
    what_is_tied_is_left_unless_it_was_heard_of,
)
