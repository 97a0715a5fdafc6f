"""What is known of one run from the writes alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rewake.records import Chunk, Entry, Header, Operation, Scheduled
from rewake.states import TERMINAL, RunState
from rewake.stores.history import of_round

if TYPE_CHECKING:
    from tests.simulation.world import Replica


@dataclass
class Run:
    """What is known of one run from the writes alone."""

    header: Header
    entries: list[Entry] = field(default_factory=list)
    cut: int = 0
    encoded: list[bytes] = field(default_factory=list)
    open: dict[str, Scheduled] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    operations: dict[str, Operation] = field(default_factory=dict)
    writers: dict[str, Replica] = field(default_factory=dict)
    chunks: dict[str, Chunk] = field(default_factory=dict)
    claims: Counter[str] = field(default_factory=Counter)
    clock: int = 0
    timers: dict[str, tuple[float, float]] = field(default_factory=dict)
    logged: int = 0
    heard: set[str] = field(default_factory=set)
    cancelled: bool = False
    cancels: int = 0
    killed_at: float | None = None
    paused_at: float | None = None
    removed_at: float | None = None
    gone: bool = False

    @property
    def all_asked(self) -> list[Scheduled]:
        """All that it ever asked for, as far as its newest history says."""
        return [entry for entry in self.entries if isinstance(entry, Scheduled)]

    @property
    def over(self) -> bool:
        """Whether the run has ended for good."""
        return self.header.state in TERMINAL

    @property
    def with_custody(self) -> list[tuple[str, Scheduled]]:
        """What is open, but for blocks: what these do inside has custody of its own."""
        return [(k, asked) for k, asked in self.open.items() if not asked.kind.traits.encloses]

    def note_pause(self, now: float) -> None:
        """Note since when it is paused, by no process's clock; None: it is not."""
        since = now if self.paused_at is None else self.paused_at
        self.paused_at = since if self.header.state is RunState.PAUSED else None

    def has_outcome(self, asked: Scheduled) -> bool:
        """Whether an operation that was asked for has ended, in the round of that."""
        operation = of_round(self.operations.get(asked.key), asked.round)
        return operation is not None and operation.outcome is not None
