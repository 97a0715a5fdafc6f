"""An execution that tells what its history has, and where and how the code differs from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from rewake.cli.lines import duration
from rewake.engine.instances.program import RunProgram
from rewake.errors import NonDeterminismError
from rewake.kinds import Kind, Purpose
from rewake.records import (
    Command,
    Entry,
    Event,
    Finished,
    Millis,
    Outcome,
    Scheduled,
    Value,
    Withdrawn,
)
from rewake.replay.differences import Comparison, key_of
from rewake.replay.execution import Execution
from rewake.replay.loop import WorkflowFuture
from rewake.replay.operation import OpenOp
from rewake.values.digests import text_of
from rewake.values.failures import said_of
from rewake.views.moments import moment
from rewake.views.values import Values

LONGEST = 160
"""Characters of a value that are shown."""
_INSIDE = (Kind.CALLBACK, Kind.SIGNAL)
"""What is recorded for these is for no reader: the facts of a link, the type of what is taken."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first key at which the code differs: what was recorded there, and what is asked now."""

    key: str
    recorded: str
    asked: str
    told: str = field(default="", compare=False)
    """The error that it comes from, which names argument and field."""


class Tracer(Execution):
    """An execution that tells what happens during its replay.

    `on_event` is called with each event before the workflow sees it, `on_commands` with the
    recorded commands that the workflow then repeated, `on_ask` with the key of each operation
    asked for. After `replay`, `difference` is set if the code differs.
    """

    def __init__(self, program: RunProgram, values: Values, *, run: str, seed: int) -> None:
        super().__init__(program, run=run, seed=seed)
        self.difference: Difference | None = None
        self.events = 0
        self.waits_for: list[str] = []
        self.speaks = False
        """Whether what the body logs and prints is heard; it was said when the run was new."""
        self.on_event: Callable[[Event], None] = _ignore
        self.on_commands: Callable[[Sequence[Entry]], None] = _ignore
        self.on_ask: Callable[[str], None] = _ignore
        self._values = values
        self._arguments: Callable[[str], Value] | None = None

    def request(self, kind: Kind, label: str, **details: Any) -> WorkflowFuture:
        self._arguments = details.get("args")
        try:
            return super().request(kind, label, **details)
        finally:
            self._arguments = None

    def log(self, level: str, message: str) -> bool:  # noqa: ARG002
        return self.speaks and not self.loop.dead

    def write(self, level: str, text: str) -> bool:  # noqa: ARG002
        return self.speaks and not self.loop.dead

    # The replay core's own methods, watched.

    def _apply(self, event: Event, outcome: Outcome | None) -> None:
        self.events += 1
        self.on_event(event)
        super()._apply(event, outcome)

    def _ask(self, op: OpenOp, recorded: Scheduled | None, compare: Comparison = None) -> None:
        self.on_ask(op.key)
        super()._ask(op, recorded, compare)
        if recorded is not None and self._differs():
            asked = msgspec.structs.replace(op.scheduled(), args=self._encoded(op.key))
            self._note(op.key, self._say(recorded), self._say(asked))

    def _compare(self, recorded: Sequence[Entry], asked: Sequence[Command]) -> None:
        super()._compare(recorded, asked)
        if self._differs() and isinstance(self.error, NonDeterminismError):
            key = self.error.key or next((c.key for c in recorded if isinstance(c, Scheduled)), "")
            self._note(key, self._all(recorded, key), self._all(asked, key))
        elif self.error is None:
            self._compare_ends(recorded, asked)
            self.on_commands(recorded)

    def _compare_ends(self, recorded: Sequence[Entry], asked: Sequence[Command]) -> None:
        """Note an end with another value or error: the core compares only its kind."""
        then = [entry.outcome for entry in recorded if isinstance(entry, Finished)]
        now = [entry.outcome for entry in asked if isinstance(entry, Finished)]
        for old, new in zip(then, now, strict=True):
            if self._is_other(old, new):
                self._note("the end", self._end(old), self._end(new))

    def _differs(self) -> bool:
        return self.error is not None and self.difference is None

    def _note(self, key: str, recorded: str, asked: str) -> None:
        told = "" if self.error is None else str(self.error)
        self.difference = Difference(key or "the end", recorded, asked, told)

    # In words.

    def _encoded(self, key: str) -> Value | None:
        try:
            return self._arguments(key) if self._arguments is not None else None
        except Exception:  # what cannot be stored cannot be shown
            return None

    def _all(self, commands: Sequence[Entry], key: str) -> str:
        """The command at this key in words; without one, all commands, with theirs."""
        at_key = [c for c in commands if key_of(c) == key]
        said = [self._say(c) for c in at_key]
        said = said or [f"{self._say(c)}{' as ' * bool(key_of(c))}{key_of(c)}" for c in commands]
        return "; ".join(said[:5]) + (" ..." if len(said) > 5 else "") or "nothing more here"

    def _say(self, command: Entry) -> str:
        match command:
            case Scheduled():
                return self.operation(command)
            case Withdrawn():
                return f"cancel the {command.kind} {command.key}"
            case Finished():
                return self._end(command.outcome)
            case _:
                return type(command).__name__

    def _end(self, outcome: Outcome) -> str:
        return f"the end: {self.outcome(outcome, '', Purpose.OUTPUT)}"

    def operation(self, asked: Scheduled) -> str:
        """An operation as it is asked for, in words."""
        about = f"{asked.kind} {asked.name}"
        purpose = asked.kind.traits.asked_with
        if purpose is Purpose.CALL:
            about += f"({self._call(asked)})"
        elif purpose is not None and asked.kind not in _INSIDE and asked.args is not None:
            about += f" {self.value(asked.args, asked.key, purpose)}"
        if asked.due is not None:
            about += f" until {moment(asked.due)}{self._from_now(asked.due)}"
        return about

    def _from_now(self, due: Millis) -> str:
        return f" ({duration(due - self.clock)})" if due >= self.clock else ""

    def _call(self, asked: Scheduled) -> str:
        if asked.args is None:
            return ""
        shown = self._values.show(asked.args, key=asked.key, purpose=Purpose.CALL)
        match msgspec.json.decode(shown):
            case [*_, list() as args, dict() as kwargs]:
                said = [_short(msgspec.json.encode(value).decode()) for value in args]
                said += [
                    f"{k}={_short(msgspec.json.encode(v).decode())}" for k, v in kwargs.items()
                ]
                return ", ".join(said)
            case _:  # what cannot be read cannot be shown
                return "..."

    def _is_other(self, old: Outcome, new: Outcome) -> bool:
        """Whether an end has another value or error; two pickles of one value may differ."""
        if old.kind is not new.kind:
            return True
        if old.failure is not None and new.failure is not None:
            return (old.failure.type, old.failure.message) != (
                new.failure.type,
                new.failure.message,
            )
        if old.value is None or new.value is None:
            return old.value is not new.value
        old_value = self._values.opened(old.value, key="", purpose=Purpose.OUTPUT)
        new_value = self._values.opened(new.value, key="", purpose=Purpose.OUTPUT)
        if old_value.codec == new_value.codec == "pickle":
            values = (
                self.codec.decode(v, key="", purpose=Purpose.OUTPUT) for v in (old_value, new_value)
            )
            return len({text_of(value) for value in values}) > 1
        return bytes(old_value.body) != bytes(new_value.body)

    def outcome(self, outcome: Outcome, key: str, purpose: Purpose | None) -> str:
        """An outcome, in words."""
        if outcome.failure is not None:
            return f"{outcome.kind}: {said_of(outcome.failure)}"
        if outcome.value is None or purpose is None:
            return str(outcome.kind)
        return f"{outcome.kind} {self.value(outcome.value, key, purpose)}"

    def value(self, value: Value, key: str, purpose: Purpose) -> str:
        """A recorded value, in short."""
        return _short(bytes(self._values.show(value, key=key, purpose=purpose)).decode())


def _ignore(_: object) -> None:
    return None


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
