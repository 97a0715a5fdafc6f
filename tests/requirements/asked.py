"""A requirement as a small workflow: what it has to come to, and what happens from outside.

The numbers are those of Amazon's suite for SDKs of durable functions
(`aws-durable-execution-conformance-tests` 1.0.0); the sentences and programs are our own.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from rewake import Workflow, now, workflow


class Send(NamedTuple):
    """What is sent to a callback, so many seconds after its run was started."""

    after: float
    to: str
    value: Any = None
    how: Literal["complete", "fail", "heartbeat"] = "complete"


@dataclass(frozen=True)
class Asked:
    """A requirement that a workflow shows."""

    number: str
    says: str
    workflow: Workflow[Any, Any]
    gives: Any
    fails: str
    """The type of the error of its run; empty: it succeeds."""
    called: int | None
    """How often its functions are called in all; None: that is not asked for."""
    keys: Sequence[str]
    """Keys that are in its history."""
    sends: Sequence[Send]


ASKED: dict[str, Asked] = {}
called: Counter[str] = Counter()
urls: dict[str, str] = {}
"""The addresses of callbacks, by their names."""

Body = Callable[[], Awaitable[Any]]


def asked(
    number: str,
    *,
    gives: Any = None,
    fails: str = "",
    called: int | None = None,
    keys: Sequence[str] = (),
    sends: Sequence[Send] = (),
) -> Callable[[Body], Body]:
    """The body of a workflow that shows a requirement: its docstring is what is asked for."""

    def keep(body: Body) -> Body:
        assert number not in ASKED
        made: Workflow[Any, Any] = workflow(body, name=f"requirement {number}")  # type: ignore[arg-type]
        says = inspect.getdoc(body) or ""
        ASKED[number] = Asked(number, says, made, gives, fails, called, keys, sends)
        return body

    return keep


class Transient(Exception):
    """An error that is worth another try."""


def work(
    number: str, value: Any = None, *, fails: int = 0, error: type[Exception] = Transient
) -> Callable[[], Awaitable[Any]]:
    """A function that is counted under this number, and fails so many times before it succeeds."""

    async def function() -> Any:
        called[number] += 1
        if called[number] <= fails:
            raise error("not now")
        return value

    return function


ALWAYS = 1_000
"""So often as to never succeed."""


def seconds_since(moment: datetime) -> int:
    """The whole seconds since then, on the workflow's clock."""
    return int((now() - moment).total_seconds())
