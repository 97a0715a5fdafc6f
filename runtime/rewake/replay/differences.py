"""The differences between a history and today's code, in words that name the key.

`rewake.replay.execution` makes the three checks; their messages come from here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rewake.records import (
    Command,
    Emitted,
    Entry,
    Finished,
    Logged,
    Scheduled,
    Value,
    Withdrawn,
)
from rewake.replay.operation import OpenOp
from rewake.values.failures import said_of
from rewake.values.loglines import LogLines

_LONGEST = 200
"""The most characters of an error that are told."""

Comparison = Callable[[str, Value], str | None] | None
"""Says how the arguments recorded at a key differ from those asked for now, by name.

'' if they are as good as equal; None if that cannot be told.
"""


class Difference(NamedTuple):
    """The first difference: its key (empty for the end of the workflow) and a description."""

    key: str
    told: str


def compared(history: Sequence[Entry], log: LogLines) -> Sequence[Entry]:
    """The history without what replay passes over; lines count against the limit of the log."""
    for entry in history:
        if isinstance(entry, Logged):
            log.count(entry.lines)
    return [entry for entry in history if not isinstance(entry, Logged | Emitted)]


UNCOMPARED = "*"
"""The digest of arguments that are not compared: a fork may ask for others than it has copied."""


def of_operation(recorded: Scheduled, op: OpenOp, compare: Comparison = None) -> str:
    """How the operation that is asked for differs from the one recorded at its key, or ''.

    Texts, forms, time-outs and durations are facts that were recorded. The code of today may have
    others, and the recorded ones stand.
    """
    if (recorded.kind, recorded.name) != (op.kind, op.name):
        then = f"{recorded.kind} {recorded.name!r}"
        return f"the history has the {then} here, the code asks for the {op.kind} {op.name!r}"
    if recorded.digest in (op.digest, UNCOMPARED):
        return ""
    place = compare(op.key, recorded.args) if compare and recorded.args is not None else None
    if place == "":
        return ""
    differs = "" if place is None else f": {place}"
    return f"the {op.kind} {op.name!r} has other arguments here than the history has{differs}"


def of_segment(recorded: Sequence[Entry], asked: Sequence[Command]) -> Difference | None:
    """The first command that is recorded and not asked for now, or asked for and not recorded."""
    then, now = _identities(recorded), _identities(asked)
    added = [command for identity, command in now.items() if identity not in then]
    missing = [command for identity, command in then.items() if identity not in now]
    if added:
        done = f" (it {_did(missing[0])})" if missing else ""
        told = f"the code ran past the history: it {_does(added[0])} here, and did not then"
        return Difference(key_of(added[0]), told + done)
    if missing:
        told = f"the code ended before the history: it {_did(missing[0])}, and does not now"
        return Difference(key_of(missing[0]), told)
    return None


def key_of(entry: Entry) -> str:
    """The key that an entry is about, or ''."""
    key: str = getattr(entry, "key", "")
    return key


def _identities(commands: Sequence[Entry]) -> dict[tuple[str, str], Entry]:
    """Commands by the parts that are compared here; check 1 has compared the rest."""
    return {_identity(command): command for command in commands}


def _identity(command: Entry) -> tuple[str, str]:
    if isinstance(command, Finished):
        return ("Finished", command.outcome.kind)
    kind = Scheduled if isinstance(command, Scheduled) else type(command)
    return (kind.__name__, key_of(command))


def _does(command: Entry) -> str:
    match command:
        case Scheduled(kind=kind, name=name):
            return f"asks for the {kind} {name!r}"
        case Withdrawn(kind=kind):
            return f"cancels this {kind}"
        case Finished(outcome=outcome):
            said = said_of(outcome.failure)[:_LONGEST]
            return f"ends the workflow ({outcome.kind}{said and f': {said}'})"
        case _:
            return f"issues {command}"


def _did(command: Entry) -> str:
    key = key_of(command)
    return f"{_does(command)}{f' as {key!r}' if key else ''} in the history"
