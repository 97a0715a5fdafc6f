"""How long ended runs are kept: by the state in which they ended."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from rewake.states import ENDED, RunState

Millis = int
"""A duration, as in `rewake.records`."""
FOREVER = "forever"
LONGEST = timedelta(days=100 * 365)
Span = float | timedelta | None
"""Seconds or a `timedelta`; None: for ever."""
_STATES: Mapping[str, RunState] = {state.value: state for state in ENDED}
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Keep:
    """How long (ms) runs are kept once they have ended, by that state; None: for ever."""

    spans: Mapping[RunState, Millis | None]

    def after(self, other: Keep) -> Keep:
        """The same, and what `other` says of the states of which this says nothing."""
        return Keep({**other.spans, **self.spans})


DEFAULT = Keep(
    {
        RunState.DONE: 30 * 86_400_000,
        RunState.FAILED: 90 * 86_400_000,
        RunState.CANCELLED: 30 * 86_400_000,
    }
)
"""A month, in which people ask what was; and of what failed a quarter, for it can be retried."""


def keep_of(given: Span | Mapping[str, Span]) -> Keep:
    """What `@workflow(keep=...)` says. Raises `ValueError`."""
    if not isinstance(given, Mapping):
        return Keep(dict.fromkeys(ENDED, _checked(given)))
    return Keep({_state(name): _checked(span) for name, span in given.items()})


def keep_in(text: str) -> Keep:
    """What a setting says: `30d`, `forever`, or `done=7d,failed=90d`. Raises `ValueError`."""
    spans: dict[RunState, Millis | None] = {}
    for part in text.split(","):
        name, equals, span = part.strip().rpartition("=")
        states = (_state(name.strip()),) if equals else ENDED
        spans |= dict.fromkeys(states, _span(span.strip()))
    return Keep(spans)


def _state(name: str) -> RunState:
    if name not in _STATES:
        raise ValueError(f"keep: {name!r} is no state in which a run ends ({', '.join(_STATES)})")
    return _STATES[name]


def _checked(span: Span) -> Millis | None:
    if span is None:
        return None
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    if not 0 <= seconds <= LONGEST.total_seconds():
        raise ValueError("keep: runs are kept for 0 seconds to 100 years, or None: for ever")
    return math.ceil(seconds * 1000)


def _span(text: str) -> Millis | None:
    if text == FOREVER:
        return None
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if found is None:
        raise ValueError("keep: it is 12h, 30d, or forever")
    return _checked(timedelta(**{_UNITS[found[2]]: int(found[1])}))
