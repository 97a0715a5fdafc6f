"""What is stored of the data of users: values, failures, and how something ended."""

from __future__ import annotations

import msgspec

from rewake.kinds import OutcomeKind


class Value(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """An encoded Python value. See `rewake.values.codecs`.

    `codec` is `json`, `typed` (JSON that a type hint restores) or `pickle` (signed cloudpickle), or
    `sealed` if it passed the payload codec (`rewake.values.sealing`).
    `body` is the JSON text itself; for a pickle, a JSON string in base64. A large body is kept
    apart: then `blob` names it and `body` is `null`.
    """

    codec: str
    body: msgspec.Raw
    blob: str = ""
    hidden: tuple[str, ...] = ()
    """Its secret parts, which nobody is shown (`rewake.values.redaction`)."""


class Failure(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """An exception as data: original type name, message, traceback text, attempts made."""

    type: str
    message: str
    traceback: str = ""
    attempts: int = 1
    wraps: str = ""
    """Of the error of an operation: the type that this had failed with; its message begins so."""


class Outcome(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """How an operation ended: a value (`ok`), or a failure (every other kind)."""

    kind: OutcomeKind
    value: Value | None = None
    origin: Failure | str | None = None
    """The failure; of a value that was not made but found, the run that it comes from.

    One field for both: each more is written with every step that ever ended.
    """

    @property
    def failure(self) -> Failure | None:
        """What it failed with; None of a success."""
        return self.origin if isinstance(self.origin, Failure) else None

    @property
    def cached(self) -> str:
        """The run that the value comes from, where it was found."""
        return self.origin if isinstance(self.origin, str) else ""
