"""What `continue_as_new` raises: it ends the body, through its `finally` blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rewake.kinds import OutcomeKind
from rewake.records import Failure, Millis, Outcome, Value


@dataclass(frozen=True, slots=True)
class Continued:
    """The end of a lap: the workflow goes on as new, or once more, with these arguments.

    No history has it, for the next lap begins another one.
    """

    args: Value
    failure: Failure | None = None
    """Of a body that failed, and is retried: what it failed with, and how often."""
    begins: Millis = 0
    """When it begins then."""

    @property
    def outcome(self) -> Outcome:
        """How its lap ended."""
        return Outcome(OutcomeKind.OK, self.args)


class ContinueAsNew(BaseException):
    """The body goes on as new with these arguments.

    No `except Exception` catches it. `input`: the arguments as they are recorded; None in plain
    Python, where nothing is.
    """

    def __init__(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], input: Value | None = None
    ) -> None:
        super().__init__("the workflow continues as new")
        self.arguments = (args, kwargs)
        self.input = input


def again_in(error: BaseException) -> ContinueAsNew | None:
    """The request to go on as new by which a body ended: a task group wraps it in a group."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, ContinueAsNew) else None
