"""What is wished of a token, and how tokens are shown, wherever they are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rewake.clock import SystemClock
from rewake.records import Millis


@dataclass(frozen=True, slots=True)
class Wish:
    """A token that is wished for. `lasts`: for how long; None: for ever. `tenant`: for its runs."""

    name: str
    scopes: Sequence[str]
    workflows: Sequence[str]
    lasts: timedelta | None
    tenant: str = ""

    def expires(self) -> Millis | None:
        """When the token expires, if it is made now."""
        if self.lasts is None:
            return None
        return SystemClock().now() + self.lasts // timedelta(milliseconds=1)


def show_tokens(found: Sequence[Mapping[str, Any]]) -> None:
    """Print what each token allows, a line each, by name."""
    rows = [[cell(each) for _, cell in _COLUMNS] for each in sorted(found, key=lambda t: t["name"])]
    print_columns([head for head, _ in _COLUMNS], rows)


def print_columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their heads, each column as wide as it must be."""
    widths = [max(map(len, cells)) for cells in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


def when(moment: str | None) -> str:
    """A moment in local time."""
    if moment is None:
        return "never"
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


_COLUMNS: Sequence[tuple[str, Callable[[Mapping[str, Any]], str]]] = (
    ("NAME", lambda token: token["name"]),
    ("SCOPES", lambda token: ",".join(token["scopes"])),
    ("WORKFLOWS", lambda token: ",".join(token["workflows"]) or "all"),
    ("TENANT", lambda token: token["tenant"] or "all"),
    ("EXPIRES", lambda token: when(token["expires"])),
    ("CREATED", lambda token: when(token["created"])),
    ("USED", lambda token: when(token["used"])),
)
