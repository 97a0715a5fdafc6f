"""What a server says about runs, for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rewake.cli.lines import duration

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


def runs_table(runs: Iterable[Mapping[str, Any]]) -> None:
    """A list of runs."""
    rows = [(r["id"], r["workflow"], r["state"], when(r["created"]), _error(r)) for r in runs]
    _print(("RUN", "WORKFLOW", "STATE", "CREATED", ""), rows)


def run_details(run: Mapping[str, Any]) -> None:
    """One run, and what it waits for."""
    approvals = run.get("approvals") or ()
    wake = run.get("wake")
    if wake in [approval.get("deadline") for approval in approvals]:
        wake = None  # no timer: it is shown with the approval
    facts = [
        ("run", run["id"]),
        ("workflow", run["workflow"]),
        ("state", run["state"]),
        ("created", when(run["created"])),
        ("updated", when(run["updated"])),
        ("next timer", when(wake) if wake else ""),
        ("cancelled", run.get("cancel") or ""),
        ("error", _error(run)),
    ]
    _print((), [(name, value) for name, value in facts if value])
    for approval in approvals:
        until = f", until {when(approval['deadline'])}" if approval.get("deadline") else ""
        print(f"waits for a decision on {approval['key']}{until}")
        if approval.get("description"):
            print(f"  {approval['description']}")


def operations_table(operations: Iterable[Mapping[str, Any]]) -> None:
    """The operations of a run."""
    rows = [
        (
            each["key"],
            each["kind"],
            each["state"].replace("_", " "),
            when(each["asked"]),
            "" if each.get("duration") is None else duration(each["duration"]),
            str(each["attempts"] or ""),
            _error(each),
        )
        for each in operations
    ]
    _print(("KEY", "KIND", "STATE", "ASKED", "TOOK", "ATTEMPTS", ""), rows)


def log_lines(lines: Iterable[Mapping[str, Any]]) -> None:
    """What a run logged: its workflow, and the attempts at its tasks and steps."""
    for line in lines:
        where = f"{line['key']}#{line['attempt']}" if line["key"] else "workflow"
        print(f"{when(line['at'])} {line['level']:<7} {where}  {line['message']}")


def when(moment: str) -> str:
    """A moment in local time."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _error(about: Mapping[str, Any]) -> str:
    error = about.get("error")
    return f"{error['type']}: {error['message']}".partition("\n")[0] if error else ""


def _print(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False, show_header=bool(heads), header_style="bold")
    for head in heads or rows[0]:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row))
    # Whoever pipes it wants whole lines.
    console = Console(width=None if sys.stdout.isatty() else _UNBOUNDED)
    with console.capture() as shown:
        console.print(table)
    print("\n".join(line.rstrip() for line in shown.get().splitlines()))
