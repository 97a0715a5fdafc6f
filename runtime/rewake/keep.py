"""How long ended runs are kept, and which are archived then: by the state in which they ended."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from rewake.states import ENDED, RunState

Millis = int
"""A duration, as in `rewake.records`."""
FOREVER = "forever"
LONGEST = timedelta(days=100 * 365)
ARCHIVE = "+archive"
"""Behind a span in a text: what was kept for so long is archived before it goes."""
Span = float | timedelta | str | None
"""Seconds, a `timedelta`, or a text as in a setting; None: for ever."""
_STATES: Mapping[str, RunState] = {state.value: state for state in ENDED}
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Keep:
    """How long (ms) runs are kept once they have ended, by that state; None: for ever.

    `archived`: of which states they are archived before they are removed.
    """

    spans: Mapping[RunState, Millis | None]
    archived: frozenset[RunState] = frozenset()

    def after(self, other: Keep) -> Keep:
        """The same, and what `other` says of the states of which this says nothing."""
        more = other.archived - self.spans.keys()
        return Keep({**other.spans, **self.spans}, self.archived | more)


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
    if isinstance(given, str):
        return keep_in(given)
    if not isinstance(given, Mapping):
        return Keep(dict.fromkeys(ENDED, _checked(given)))
    return _keep((_state(name), span) for name, span in given.items())


def keep_in(text: str) -> Keep:
    """What a setting says: `30d`, `forever`, or `done=7d,failed=90d+archive`.

    Raises `ValueError`.
    """
    found: dict[RunState, Span] = {}
    for part in text.split(","):
        name, equals, span = part.strip().rpartition("=")
        states = (_state(name.strip()),) if equals else ENDED
        found |= dict.fromkeys(states, span.strip())
    return _keep(found.items())


def _keep(said: Iterable[tuple[RunState, Span]]) -> Keep:
    spans: dict[RunState, Millis | None] = {}
    archived = set[RunState]()
    for state, span in said:
        if isinstance(span, str):
            length = span.removesuffix(ARCHIVE)
            spans[state] = _span(length)
            if length == span:
                continue
            if spans[state] is None:
                raise ValueError("keep: what is kept for ever is not archived")
            archived.add(state)
        else:
            spans[state] = _checked(span)
    return Keep(spans, frozenset(archived))


def _state(name: str) -> RunState:
    if name not in _STATES:
        raise ValueError(f"keep: {name!r} is no state in which a run ends ({', '.join(_STATES)})")
    return _STATES[name]


def _checked(span: float | timedelta | None) -> Millis | None:
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
        raise ValueError("keep: it is 12h, 30d, 30d+archive, or forever")
    return _checked(timedelta(**{_UNITS[found[2]]: int(found[1])}))
