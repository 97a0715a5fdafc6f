"""A replay, told line by line: each event, and what the code then asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from rewake.cli.replay.tracer import Tracer
from rewake.kinds import Purpose
from rewake.noted import Forked
from rewake.records import (
    CancelRequested,
    Completed,
    Entry,
    Event,
    Fired,
    Retried,
    Scheduled,
    Started,
    Stepped,
    Withdrawn,
)
from rewake.stores.history import History
from rewake.values.sealing import for_people
from rewake.views.moments import moment

_MARGIN = " " * 26


class Narrator:
    """Tells on stdout what a tracer replays, while `listens()`."""

    def __init__(
        self, tracer: Tracer, history: History, listens: Callable[[], bool] = lambda: True
    ) -> None:
        self._tracer = tracer
        self._outcomes = history.outcomes()
        self._asked = {e.key: e for e in history.entries if isinstance(e, Scheduled)}
        self._listens = listens
        self._out = sys.stdout  # what a body prints from now on may be left out
        tracer.on_event = self._event
        tracer.on_commands = self._commands

    def _event(self, event: Event) -> None:
        if self._listens():
            key, said = getattr(event, "key", ""), event.__struct_config__.tag
            if isinstance(event, Fired) and event.kind.traits.answers:
                said = "answered"
            if isinstance(event, Fired) and event.kind.traits.inline:
                said = "begins"
            print(
                f"{moment(event.clock)}  {said:<10} {key}  {self._details(event)}".rstrip(),
                file=self._out,
            )

    def _commands(self, commands: Sequence[Entry]) -> None:
        if self._listens():
            for command in commands:
                print(f"{_MARGIN}{self._command(command)}", file=self._out)

    def _command(self, command: Entry) -> str:
        match command:
            case Scheduled():
                return f"asks for   {command.key}  {self._tracer.operation(command)}"
            case Withdrawn():
                return f"cancels    {command.key}"
            case _:
                return "ends"

    def _details(self, event: Event) -> str:
        match event:
            case Started():
                return self._tracer.value(event.args, "", Purpose.INPUT)
            case Stepped():
                again = "" if event.retry_at is None else ", to be tried again"
                return self._tracer.outcome(event.outcome, event.key, Purpose.RESULT) + again
            case Completed():
                return self._completed(event.key)
            case CancelRequested():
                return for_people(event.reason)
            case Forked():
                return f"of run {event.run}, before {event.key}"
            case Retried():
                forgot = f", forgets {', '.join(event.forgot)}" if event.forgot else ""
                return f"after {event.failure.type}: {event.failure.message}{forgot}"
            case _:
                return ""

    def _completed(self, key: str) -> str:
        outcome, asked = self._outcomes.get(key), self._asked.get(key)
        if outcome is None or asked is None:
            return ""
        return self._tracer.outcome(outcome, key, asked.kind.traits.ends_with)
