"""What a run has used of services that bill each request, and what that costs."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import msgspec

from rewake.records import Header
from rewake.stores.metered import GETS, PUTS, READS, WRITES

MESSAGES = "message requests"
REQUESTS = 3
"""A message is sent, received and deleted."""
_MILLION = 1_000_000


class CostView(msgspec.Struct, frozen=True):
    """What a run has used so far, and its price in dollars, by a list of that date.

    `message_requests`: three for each message that was sent. What its tasks use themselves, and the
    processor, are not in it, nor looks at what is due, and its last write only by a guess.
    """

    write_units: int
    read_units: int
    large_values_put: int
    large_values_read: int
    message_requests: int
    dollars: float
    prices_of: str


@functools.cache
def prices_of() -> dict[str, Any]:
    """The prices, with their date and where they are from."""
    found: dict[str, Any] = msgspec.json.decode(
        files("rewake.views").joinpath("prices.json").read_bytes()
    )
    return found


def dollars(used: Mapping[str, float]) -> dict[str, float]:
    """What each of these costs."""
    prices = prices_of()["dollars per million"]
    return {name: count * prices[name] / _MILLION for name, count in used.items()}


def cost_view(header: Header) -> CostView | None:
    """The view of what a run has used; None: where it is, nothing is billed by the request."""
    if not header.writes:
        return None
    requests = REQUESTS * header.sends
    used = {
        WRITES: header.writes,
        READS: header.reads,
        PUTS: header.puts,
        GETS: header.gets,
        MESSAGES: requests,
    }
    return CostView(
        write_units=header.writes,
        read_units=header.reads,
        large_values_put=header.puts,
        large_values_read=header.gets,
        message_requests=requests,
        dollars=round(sum(dollars(used).values()), 9),
        prices_of=prices_of()["date"],
    )
