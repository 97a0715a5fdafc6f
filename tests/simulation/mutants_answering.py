"""Mutants of responses: what a run answers its caller is taken back, or given too early."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from rewake.records import Header, Scheduled
from rewake.stores.responses import Responses
from rewake.stores.writes import Writes
from tests.simulation.mutants import Mutant


@contextmanager
def the_last_answer_counts() -> Iterator[None]:
    """What a run answers after a retry takes the place of what it answered before."""
    answered = Writes._answered

    async def anew(self: Writes, held: Header, asked: Scheduled, mark: str) -> Any:
        return await answered(self, msgspec.structs.replace(held, answer=""), asked, mark)

    with patch.object(Writes, "_answered", anew):
        yield


@contextmanager
def an_answer_is_named_before_it_is_kept() -> Iterator[None]:
    """The header names what nobody has put on the shelf yet."""

    async def nothing(self: Writes, held: Header, asked: Scheduled, mark: str) -> Mapping[str, str]:
        del self, asked
        return {} if held.answer else {"answer": mark}

    with patch.object(Writes, "_answered", nothing):
        yield


@contextmanager
def an_answer_is_forgotten() -> Iterator[None]:
    """It is kept, and no header says so."""

    async def silent(self: Responses, *_: Any) -> str:
        del self
        return ""

    with patch.object(Responses, "put", silent):
        yield


ANSWERING: Sequence[Mutant] = (
    the_last_answer_counts,
    an_answer_is_named_before_it_is_kept,
    an_answer_is_forgotten,
)
