"""What the replay core is given: a workflow's body, and how its values become data."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from rewake.records import Outcome, Started, Value


class Codec(Protocol):
    """How values become data and back, bound to one run. See `rewake.values.run_codec`."""

    def encode(self, value: Any, *, key: str, purpose: str, hint: Any = None) -> Value:
        """The value as data. Raises what pickling raises for what cannot be encoded."""

    def decode(self, value: Value, *, key: str, purpose: str, hint: Any = None) -> Any:
        """The value again. Raises `CheckpointUnreadable`."""


class Program(Protocol):
    """What an execution runs. Supplied by the engine."""

    @property
    def codec(self) -> Codec:
        """How values of this run become data."""

    def is_registered(self, task: object) -> bool:
        """Whether every replica finds this task by its name."""

    def body(self, started: Started) -> Coroutine[Any, Any, Any]:
        """The workflow's coroutine for these arguments. It raises what bad arguments raise.

        A `StuckError` (arguments that cannot be read) makes the run stuck; all else fails it.
        """

    def succeed(self, result: Any) -> Outcome:
        """The outcome of a body that returned; raises if the result cannot be encoded."""

    def fail(self, error: BaseException) -> Outcome:
        """The outcome of a body that raised."""
