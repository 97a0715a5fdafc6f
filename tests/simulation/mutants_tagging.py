"""Mutants of tags: who carries out what, and how it hears of that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from rewake.engine.process.tags import Tags
from rewake.engine.services import Services
from rewake.engine.sweeping.deaths import Deaths
from rewake.records import Header, Invocation
from rewake.stores.protocol import Store
from rewake.stores.table import Due
from tests.simulation.mutants import Mutant


@contextmanager
def serves_every_tag() -> Iterator[None]:
    """A process begins tasks of tags that it does not serve."""
    serves = Tags.serves
    with patch.object(Tags, "serves", lambda self, tag: bool(tag) or serves(self, tag)):
        yield


@contextmanager
def carries_on_whatever_it_ends() -> Iterator[None]:
    """A process that serves a tag alone goes on with the run that waited for its task."""
    with patch.object(Services, "carries_on", lambda self: True):
        yield


@contextmanager
def offers_nothing() -> Iterator[None]:
    """Tasks that no message reaches are in no part of the due index."""

    async def silent(self: Services, tasks: Sequence[Invocation], **_: Any) -> None:
        pass

    with patch.object(Services, "offer", silent):
        yield


@contextmanager
def hands_nothing_on() -> Iterator[None]:
    """Who delivers and does not carry on leaves the run to whoever looks at it."""

    async def silent(self: Store, seen: Header) -> None:
        pass

    with patch.object(Store, "hand_on", silent):
        yield


@contextmanager
def looks_for_the_dead_under_no_tag() -> Iterator[None]:
    """What a dead process held of a tag is not looked for."""
    made_due = Deaths._made_due

    async def untagged(self: Deaths, now: Any, tags: Any, *others: Any) -> list[Due]:
        return await made_due(self, now, [""], *others)

    with patch.object(Deaths, "_made_due", untagged):
        yield


@contextmanager
def offers_what_is_gone() -> Iterator[None]:
    """A late message of a removed run's task lets servers of its tag find it (a bug that was here).

    It is handed on without a look at whether there is such a run.
    """
    offer = Store.offer

    async def blind(self: Store, tasks: Sequence[Invocation], *moment: Any, **_: bool) -> None:
        await offer(self, tasks, *moment)

    with patch.object(Store, "offer", blind):
        yield


TAGGING: Sequence[Mutant] = (
    serves_every_tag,
    carries_on_whatever_it_ends,
    offers_nothing,
    hands_nothing_on,
    looks_for_the_dead_under_no_tag,
    offers_what_is_gone,
)
