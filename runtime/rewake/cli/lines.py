"""Operations of a run as lines for people: the key, the state, and for how long.

Many operations alike (`parallel[3]/fetch`, or `fetch.7` in a loop) become one line with counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec import Raw

from rewake.cli.exits import harmless
from rewake.kinds import Kind
from rewake.records import Millis
from rewake.spelled import spelled
from rewake.views.moments import millis_of
from rewake.views.runs import ErrorView
from rewake.views.timeline import OperationView

FEW = 4
"""Up to so many operations alike are shown one by one; more are counted."""

_LONGEST_PROGRESS = 60
"""Characters of progress that are shown."""
HIDDEN = ("run-timeout",)
"""Operations that nobody has asked for."""
_OPEN = ("running", "retrying", "waiting")
_BRANCH, _COUNT = re.compile(r"\[\d+\]"), re.compile(r"\.\d+(?=$|/|\[)")


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `state` is as in `OperationView`; `said` tells it in words."""

    label: str
    state: str
    said: str
    time: str = ""
    note: str = ""

    @property
    def open(self) -> bool:
        """Whether something is still to come."""
        return self.state in _OPEN


def lines_of(operations: Sequence[OperationView], now: Millis) -> list[Line]:
    """The operations as lines, in the order in which the first of each was asked for."""
    groups: dict[str, list[OperationView]] = {}
    for operation in operations:
        if operation.name not in HIDDEN:
            groups.setdefault(pattern(operation.key), []).append(operation)
    lines: list[Line] = []
    for name, alike in groups.items():
        if len(alike) <= FEW:
            lines.extend(line_of(operation, now) for operation in alike)
        else:
            lines.append(_counted(name, alike))
    return lines


def pattern(key: str) -> str:
    """The key without numbers: one for each place in the program."""
    return _COUNT.sub("", _BRANCH.sub("[*]", key))


def _counted(name: str, alike: Sequence[OperationView]) -> Line:
    counts = Counter(operation.state for operation in alike)
    states = (*_OPEN, "failed", "timed_out", "cancelled", "withdrawn", "done")
    said = ", ".join(
        f"{counts[state]} {_word(alike[0].kind, state)}" for state in states if counts[state]
    )
    overall = next(state for state in states if counts[state])
    return Line(f"{spelled(name)} ×{len(alike)}", overall, said)


def line_of(operation: OperationView, now: Millis) -> Line:
    """One operation as a line."""
    state = operation.state
    return Line(
        spelled(operation.key),
        state,
        _word(operation.kind, state),
        _time(operation, now),
        "; ".join(note for note in _notes(operation, now) if note),
    )


def _word(kind: Kind, state: str) -> str:
    return kind.traits.waiting if state == "waiting" else state.replace("_", " ")


def _time(operation: OperationView, now: Millis) -> str:
    if operation.ended is not None:
        return duration(operation.duration or 0)
    if operation.state == "waiting" and operation.due is not None:
        return ""
    return duration(now - millis_of(operation.started or operation.asked))


def _notes(operation: OperationView, now: Millis) -> list[str]:
    notes = []
    if operation.attempts > 1:
        notes.append(f"attempt {operation.attempts}")
    if operation.cached:
        notes.append(f"cached from run {operation.cached}")
    if operation.state == "running" and isinstance(operation.progress, Raw):
        notes.append(harmless(bytes(operation.progress).decode())[:_LONGEST_PROGRESS])
    if operation.state == "waiting" and operation.waits:
        notes.append(f"waiting for the limit {operation.waits}")
    elif operation.state == "waiting" and operation.tag:
        notes.append(f"for a server of the tag {operation.tag}")
    if operation.state in ("waiting", "retrying") and operation.due is not None:
        notes.append(f"{duration(millis_of(operation.due) - now)} left")
    error = operation.error
    if isinstance(error, ErrorView):
        notes.append(f"{error.type}: {error.message}".partition("\n")[0])
    return notes


_UNITS: Sequence[tuple[Millis, Callable[[Millis], str]]] = (
    (1_000, lambda ms: f"{ms} ms"),
    (60_000, lambda ms: f"{ms / 1000:.1f} s"),
    (3_600_000, lambda ms: f"{ms // 60_000} min {ms // 1000 % 60} s"),
    (86_400_000, lambda ms: f"{ms // 3_600_000} h {ms // 60_000 % 60} min"),
)


def duration(ms: Millis) -> str:
    """A duration in words."""
    ms = max(0, ms)
    for limit, say in _UNITS:
        if ms < limit:
            return say(ms)
    return f"{ms // 86_400_000} d {ms // 3_600_000 % 24} h"
