"""What is wished of a token, and how tokens are shown, wherever they are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rewake.cli.columns import Columns, show_list, when
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
    show_list(TOKENS, sorted(found, key=lambda token: str(token["name"])), "tokens")


TOKENS: Columns = (
    ("NAME", lambda token: token["name"]),
    ("SCOPES", lambda token: ",".join(token["scopes"])),
    ("WORKFLOWS", lambda token: ",".join(token["workflows"]) or "all"),
    ("TENANT", lambda token: token["tenant"] or "all"),
    ("EXPIRES", lambda token: when(token["expires"])),
    ("CREATED", lambda token: when(token["created"])),
    ("USED", lambda token: when(token["used"])),
)
