"""What must be true of a soak, whatever happened in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from tests.soak.harms import LEASE, Harm
from tests.soak.load import Ended
from tests.soak.notes import Note

LOST = 3
"""Attempts that may end with their process before a task is lost."""
AT_ONCE = 1.0
"""Seconds in which a process that wakes up begins a body that it was about to begin."""


def faults(
    ended: Sequence[Ended], notes: Mapping[str, Sequence[Note]], harms: Sequence[Harm]
) -> Iterator[str]:
    """What is wrong, a line each."""
    lost = {operation.split(" ")[0] for operation, said in notes.items() if _lost(said, harms)}
    for run in ended:
        right = run.state == "done" and run.result == run.expected
        if not right and not (run.state == "failed" and run.run in lost):
            yield f"{run.run} is {run.state}: {run.result} instead of {run.expected}; {run.error}"
    for operation, said in notes.items():
        for first, second in _repetitions(said):
            if not _excused(first, second, harms):
                yield f"{operation} began at {first.at} in {first.pid} and again at {second.at}"


def _repetitions(said: Sequence[Note]) -> Iterator[tuple[Note, Note]]:
    """Two beginnings, one after the other, with no failure of the first between them."""
    kept = [note for note in said if note.what != "ended"]
    for first, second in itertools.pairwise(kept):
        if first.what == second.what == "begun":
            yield first, second


def _excused(first: Note, second: Note, harms: Sequence[Harm]) -> bool:
    """Whether harm came to the process of the first, or to the machine, between the two.

    Or the process of the second was paused just before its body, and then taken over: it began that
    at once when it went on, a lease before the end of the harm.
    """
    return any(
        harm.pid in (0, first.pid) and harm.began <= second.at and first.at <= harm.ended + LEASE
        for harm in harms
    ) or any(
        (harm.kind, harm.pid) == ("pause", second.pid)
        and harm.began <= first.at <= second.at <= harm.ended - LEASE + AT_ONCE
        for harm in harms
    )


def _lost(said: Sequence[Note], harms: Sequence[Harm]) -> bool:
    """Whether an operation has so many deaths of its own that its failure is right."""
    killed = {harm.pid for harm in harms if harm.kind == "kill"}
    begun = [note for note in said if note.what == "begun"]
    return sum(note.pid in killed for note in begun) >= LOST
