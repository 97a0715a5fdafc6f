"""Mutants of groups: blocks, and what runs at most once a try."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

from rewake.engine.turns.steps import Steps
from rewake.records import Millis
from rewake.replay.blocks import Blocks
from rewake.replay.execution import Execution
from rewake.replay.operation import OpenOp
from tests.simulation.mutants import Mutant


@contextmanager
def notes_no_further_try() -> Iterator[None]:
    """A further try of what runs at most once begins before anything says that it may have."""
    ready = Steps.ready

    def unnoted(
        self: Steps, execution: Execution, now: Callable[[Execution], Millis]
    ) -> Sequence[OpenOp]:
        with patch.object(Execution, "observe", lambda *_: None):
            return ready(self, execution, now)

    with patch.object(Steps, "ready", unnoted):
        yield


@contextmanager
def sees_no_end_of_a_block() -> Iterator[None]:
    """What a block came to is no event."""
    with patch.object(Blocks, "next_end", lambda self: None):
        yield


GROUPING: tuple[Mutant, ...] = (notes_no_further_try, sees_no_end_of_a_block)
