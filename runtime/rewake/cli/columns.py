"""Lists for people, all of one shape: a line of heads, and a line for each item below it.

Where there is none, stdout stays empty, and stderr says so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rewake.cli.exits import harmless, tell

Item = Mapping[str, Any]
Columns = Sequence[tuple[str, Callable[[Item], str]]]
"""The head of each column, and the function that makes its cells."""

LARGEST = 200
"""The most items that `--limit` takes (`cli/options.py`)."""
_UNBOUNDED = 10_000
_STYLES = {
    "done": "green",
    "failed": "red",
    "stuck": "red",
    "timed out": "red",
    "running": "yellow",
    "retrying": "yellow",
    "suspended": "cyan",
}


def show_list(columns: Columns, items: Iterable[Item], name: str) -> None:
    """Print what is listed; `name`: what that is, of many."""
    rows = [[cell(each) for _, cell in columns] for each in items]
    if rows:
        _print([head for head, _ in columns], rows)
    else:
        tell(f"no {name}")


def tell_more(limit: int) -> None:
    """Say that there may be more than so many, and how to see it, as far as that goes."""
    tell("there may be more" + (f": --limit {min(2 * limit, LARGEST)}" if limit < LARGEST else ""))


def show_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print what is known of one thing; nothing of what is empty."""
    _print((), [(name, value) for name, value in facts if value])


def when(moment: str | None) -> str:
    """A moment in local time."""
    if moment is None:
        return "never"
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _print(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False, show_header=bool(heads), header_style="bold")
    for head in heads or rows[0]:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(Text(harmless(cell), _STYLES.get(cell, "")) for cell in row))
    # A pipe wants whole lines.
    console = Console(width=None if sys.stdout.isatty() else _UNBOUNDED)
    with console.capture() as shown:
        console.print(table)
    print("\n".join(line.rstrip() for line in shown.get().splitlines()))
