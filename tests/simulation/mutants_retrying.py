"""Mutants of retries: what a failed run goes on with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

from rewake.engine.runs.retries import _Reopening
from rewake.noted import Try
from rewake.records import Scheduled
from rewake.replay.operation import OpenOp
from rewake.stores.operations import Operations
from rewake.stores.protocol import Store
from tests.simulation.mutants import Mutant


@contextmanager
def gives_numbers_back() -> Iterator[None]:
    """What is cut off a history takes the numbers of its attempts with it."""

    async def forget(self: Store, run: str, key: str, tries: Sequence[Try]) -> None:
        pass

    with patch.object(Operations, "keep_tries", forget):
        yield


@contextmanager
def opens_nothing_again() -> Iterator[None]:
    """What was cancelled as the run failed stays cancelled."""

    def never(self: _Reopening, entry: Scheduled) -> bool:
        return False

    with patch.object(_Reopening, "_fails", never):
        yield


@contextmanager
def moves_no_waits() -> Iterator[None]:
    """Open waits are as they were when the run failed, and over by now."""
    with patch.object(OpenOp, "go_on", lambda self, event: None):
        yield


RETRYING: Sequence[Mutant] = (
    gives_numbers_back,
    opens_nothing_again,
    moves_no_waits,
)
