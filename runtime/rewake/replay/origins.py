"""Where in a history an error that ended a workflow came from, so that a retry can go back to it.

An error is marked when it is first seen: with its operation, as it is raised from the outcome of
one; else when the body asks for an operation while it handles the error (a compensation, a
`finally`), and so would end many events after it was raised. What is not marked was raised after
the newest event. Of errors that follow from each other the last one counts whose operation is
known, for a body may raise an error of its own from that of an operation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rewake.records import Cause, Entry, Retried, Stepped

_MARK = "_rewake_origin"


class Origin(NamedTuple):
    """The number of the event after which an error was seen first, and its operation's key."""

    event: int
    key: str


def mark(error: BaseException, event: int, key: str = "") -> None:
    """Mark an error that was not seen before."""
    if _origin(error) is None:
        with contextlib.suppress(AttributeError, TypeError):  # an exception with slots
            setattr(error, _MARK, Origin(event, key))


def cause_of(error: BaseException, event: int) -> Cause:
    """The place from which a retry goes on after this error, which was the end after `event`."""
    first, late = event, False
    for links in _chain(error):
        found = [origin for link in links if (origin := _origin(link)) is not None]
        keyed = [origin for origin in found if origin.key]
        if keyed:
            return Cause(*min(keyed))
        first = min([first, *(origin.event for origin in found)])
        late = late or any(isinstance(link, TimeoutError) for link in links)
    return Cause(first, late=late)


def is_cut_behind(history: Sequence[Entry]) -> bool:
    """Whether a retry has cut a history behind its last event: what follows is asked for anew."""
    return [type(entry) for entry in history[-2:]] == [Retried, Stepped]


def _chain(error: BaseException) -> Iterator[list[BaseException]]:
    """The error, then what it follows from, and so on; of a group all its members at once."""
    links, seen = [error], set[int]()
    while links:
        links = [leaf for link in links for leaf in _leaves(link)]
        yield links
        seen.update(id(link) for link in links)
        before = [link.__cause__ or _context(link) for link in links]
        links = [each for each in before if each is not None and id(each) not in seen]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    yield error
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)


def _context(error: BaseException) -> BaseException | None:
    return None if error.__suppress_context__ else error.__context__


def _origin(error: BaseException) -> Origin | None:
    found: Origin | None = getattr(error, _MARK, None)
    return found
