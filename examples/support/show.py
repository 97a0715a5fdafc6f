"""What the demo prints: a live view of the run, or plain lines, and in the end its timeline."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

Operation = dict[str, Any]

SIGNS = {
    "waiting": ("○", "cyan"),
    "running": ("●", "yellow"),
    "retrying": ("↻", "magenta"),
    "done": ("✓", "green"),
}
FAILED = ("✗", "red")
MOST_PAGES = 14
"""More pages than these are counted, not listed."""
_BRANCH = re.compile(r"parallel\[(\d+)\]/(\w+)")


class Show:
    """Says what happens, above the live view of the run (on a terminal)."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.console = Console(highlight=False)
        self._urls = urls
        self._moves = self.console.is_terminal
        self._live = Live(console=self.console, transient=True, auto_refresh=False)
        self._said = ""
        self._number = 0

    def __enter__(self) -> Self:
        if self._moves:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the live view away."""
        self._live.stop()

    def step(self, title: str, *details: str) -> None:
        """The next thing that the demo does."""
        self._number += 1
        self.console.print(f"[bold]{self._number}  {title}[/]")
        self.say(*details)

    def say(self, *details: str) -> None:
        for detail in details:
            self.console.print(Text(f"   {detail}", "dim"), soft_wrap=True)

    def look(self, run: dict[str, Any], operations: Sequence[Operation], note: str = "") -> None:
        """How the run stands."""
        if self._moves:
            self._live.update(self._view(run, operations, note), refresh=True)
            return
        line = f"{note or run['state']}: {counts(operations)}"
        if line != self._said:
            self._said = line
            self.say(line)

    def _view(self, run: dict[str, Any], operations: Sequence[Operation], note: str) -> Group:
        state = f"[red]{note}[/]" if note else f"run {run['state']}"
        title = Text.from_markup(f"\n   [bold]{state}[/]   [dim]{counts(operations)}[/]\n")
        pages = {match.groups(): each for each in operations if (match := branch_of(each))}
        rest = [each for each in operations if not branch_of(each)]
        table = Table.grid(padding=(0, 2, 0, 0))
        if len(self._urls) <= MOST_PAGES:
            for number, url in enumerate(self._urls):
                fetch, closure = (pages.get((str(number), name)) for name in ("fetch", "lambda"))
                table.add_row("  ", shorten(url, 44), sign(fetch, "fetch"), sign(closure, "read"))
        for each in rest:
            table.add_row("  ", Text(each["key"]), sign(each, each["kind"]), "")
        return Group(title, table)


def branch_of(operation: Operation) -> re.Match[str] | None:
    return _BRANCH.fullmatch(operation["key"])


def sign(operation: Operation | None, name: str) -> Text:
    if operation is None:
        return Text(f"· {name}", "dim")
    mark, colour = SIGNS.get(operation["state"], FAILED)
    again = f" (attempt {operation['attempts']})" if operation["attempts"] > 1 else ""
    return Text(f"{mark} {name}{again}", colour)


def counts(operations: Sequence[Operation]) -> str:
    found = Counter((each["kind"], each["state"]) for each in operations)
    return ", ".join(
        f"{count(number, kind)} {state}" for (kind, state), number in sorted(found.items())
    )


def count(number: int, noun: str) -> str:
    """So many of them, in words."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


def shorten(text: str, width: int) -> Text:
    return Text(text if len(text) <= width else f"{text[: width - 1]}…")


# --- the timeline ------------------------------------------------------------------------------


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


class Timeline:
    """Bars over time: what ran when, and when no server was there."""

    def __init__(
        self, operations: Sequence[Operation], away: tuple[float, float], width: int
    ) -> None:
        self._operations = operations
        self._begin = seconds(operations[0]["asked"])
        self._end = max(seconds(each["ended"] or each["asked"]) for each in operations)
        self._away = away
        self._width = max(20, width - 58)

    def table(self) -> Table:
        span = self._end - self._begin
        axis = f"0 s{f'{span:.1f} s':>{self._width - 3}}"
        table = Table(box=None, padding=(0, 1), header_style="bold")
        table.add_column("operation")
        table.add_column("kind")
        table.add_column("attempts", justify="right")
        table.add_column("start", justify="right")
        table.add_column("took", justify="right")
        table.add_column(axis, no_wrap=True)
        for each in self._operations:
            begun, ended = seconds(each["started"] or each["asked"]), seconds(each["ended"])
            table.add_row(
                escape(each["key"]),
                each["kind"],
                self._attempts(each),
                f"{begun - self._begin:.2f}",
                f"{ended - begun:.2f}",
                self._bar(begun, ended, SIGNS.get(each["state"], FAILED)[1]),
            )
        return table

    def _attempts(self, operation: Operation) -> str:
        lost = operation["lost"]
        count = operation["attempts"] or "–"
        return f"[red]{lost} lost[/] {count}" if lost else str(count)

    def _bar(self, begun: float, ended: float, colour: str) -> Text:
        first, last = self._cell(begun), self._cell(ended)
        gone, back = map(self._cell, self._away)
        bar = Text()
        for cell in range(self._width):
            here, away = first <= cell <= last, gone <= cell < back
            mark = ("▒" if away else "█") if here else ("░" if away else " ")
            bar.append(mark, "red dim" if away else colour)
        return bar

    def _cell(self, moment: float) -> int:
        share = (moment - self._begin) / max(0.001, self._end - self._begin)
        return max(0, min(self._width - 1, int(share * self._width)))
