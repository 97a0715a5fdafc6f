"""Mutants of notices: what people are told of an approval."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from rewake.authoring.notifying import _Notifier
from tests.simulation.mutants import Mutant


@contextmanager
def no_last_word() -> Iterator[None]:
    """A run that ends waits for no notice: what is under way is given up."""

    async def impatient(self: _Notifier, *futures: asyncio.Future[Any] | None) -> None:
        waits = [each for each in futures if each is not None]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)

    with patch.object(_Notifier, "_until", impatient):
        yield


@contextmanager
def several_at_once() -> Iterator[None]:
    """A notice does not wait for the one before."""
    tell = _Notifier._tell

    async def hasty(self: _Notifier, kind: Any, **about: Any) -> None:
        self._execution.loop.create_task(tell(self, kind, **about))
        self._is_begun = self._is_out = True

    with patch.object(_Notifier, "_tell", hasty):
        yield


TELLING: Sequence[Mutant] = (no_last_word, several_at_once)
