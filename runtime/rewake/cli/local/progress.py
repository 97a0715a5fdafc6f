"""The progress of a run, shown on stderr: a table that moves, or plain lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rewake.cli.exits import tell
from rewake.cli.lines import Line, line_of, lines_of
from rewake.engine.logs.logs import capture
from rewake.records import Millis
from rewake.views.timeline import OperationView

_MARKS = {
    "running": "[yellow]●[/]",
    "retrying": "[yellow]↻[/]",
    "waiting": "[cyan]○[/]",
    "done": "[green]✓[/]",
    "cancelled": "[dim]–[/]",
    "withdrawn": "[dim]–[/]",
}
_FAILED = "[red]✗[/]"
_REST = 4
"""Lines of the terminal that are left alone."""


class Progress:
    """Shows nothing: the base class of the displays."""

    def show(self, operations: Sequence[OperationView]) -> None:
        """Show how the operations stand now."""

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Show nothing inside the block, which needs the terminal."""
        yield

    def close(self) -> None:
        """Show no more."""


def progress(now: Callable[[], Millis], *, quiet: bool) -> Progress:
    """The display for this process's stderr."""
    if quiet:
        return Progress()
    return Moving(now) if sys.stderr.isatty() else Plain(now)


class Plain(Progress):
    """One line when a timer or approval begins, and when an operation is retried or ends."""

    def __init__(self, now: Callable[[], Millis]) -> None:
        self._now = now
        self._told: dict[str, tuple[str, int]] = {}

    def show(self, operations: Sequence[OperationView]) -> None:
        for operation in operations:
            stand = (operation.state, operation.attempts)
            if self._told.get(operation.key) != stand and _is_news(operation):
                self._told[operation.key] = stand
                tell(_plain(line_of(operation, self._now())))


def _is_news(operation: OperationView) -> bool:
    waits = operation.state == "waiting" and operation.kind.traits.suspends
    return waits or operation.state == "retrying" or operation.ended is not None


def _plain(line: Line) -> str:
    rest = ", ".join(part for part in (line.time, line.note) if part)
    return f"  {line.said:<13} {line.label}  ({rest})"


class Moving(Progress):
    """A table that is drawn again several times a second."""

    def __init__(self, now: Callable[[], Millis]) -> None:
        self._now = now
        self._operations: Sequence[OperationView] = ()
        self._console = Console(stderr=True)
        self._live = self._started()

    def _started(self) -> Live:
        live = Live(
            get_renderable=self._table,
            console=self._console,
            refresh_per_second=8,
        )
        live.start()
        capture.take_streams()  # `live` has put its own in their place
        return live

    def show(self, operations: Sequence[OperationView]) -> None:
        self._operations = operations

    @contextmanager
    def aside(self) -> Iterator[None]:
        self._live.transient = True
        self._live.stop()
        try:
            yield
        finally:
            self._live = self._started()

    def close(self) -> None:
        self._live.stop()

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        for column in ("", "", "", ""):
            table.add_column(column, no_wrap=True, overflow="ellipsis")
        room = max(_REST, self._console.height - _REST)
        for line in _fitting(lines_of(self._operations, self._now()), room):
            mark = _MARKS.get(line.state, _FAILED) if line.label else ""
            rest = "  ".join(part for part in (line.time, line.note) if part)
            table.add_row(mark, Text(line.label), Text(line.said), Text(rest))
        return table


def _fitting(lines: list[Line], room: int) -> list[Line]:
    """At most `room` lines, in order. Open ones are kept first, then newer ones."""
    if len(lines) <= room:
        return lines
    by_interest = sorted(range(len(lines)), key=lambda i: (lines[i].open, i), reverse=True)
    kept = sorted(by_interest[: room - 1])
    return [Line("", "", f"… {len(lines) - len(kept)} more"), *(lines[i] for i in kept)]
