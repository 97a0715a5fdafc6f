"""The deliveries that are kept: some series beside each other, read as one.

Each series has what the others must not push out. Of what strangers send and is refused there may
be any number, so it has a small one; it is not even written each time (`rewake.http.keeping`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from rewake.ledger import Received, ReceivedBody
from rewake.records import Millis
from rewake.stores.beside import Beside, Numbered
from rewake.stores.blobs import Again
from rewake.stores.series import Bounds
from rewake.stores.table import Table

_DAY: Millis = 86_400_000
_MIB = 1024 * 1024
STARTED, PASSED, FAILED, STRANGERS = "started", "passed", "failed", "strangers"
BOUNDS = (
    (STARTED, Bounds(items=5_000, age=30 * _DAY, size=64 * _MIB)),
    (PASSED, Bounds(items=1_000, age=7 * _DAY, size=16 * _MIB)),
    (FAILED, Bounds(items=5_000, age=30 * _DAY, size=64 * _MIB)),
    (STRANGERS, Bounds(items=500, age=7 * _DAY, size=8 * _MIB)),
)
"""By series: what started a run; what was verified and started none; what was verified, and could
not be taken; what was refused to whom nobody knows.
"""

_ID = re.compile(r"([a-z]{1,10})-([1-9][0-9]{0,11})", re.ASCII)
_LOOK = 200
"""How many are looked at together for those of one run."""
Wanted = Callable[[Received], bool]


class Kept(NamedTuple):
    """A delivery, with the id that it has here."""

    id: str
    delivery: Received


class DeliveryPage(NamedTuple):
    """Deliveries, newest first, and from where to go on (None: there is no more)."""

    deliveries: list[Kept]
    cursor: str | None


class Deliveries(Beside):
    """The deliveries in one table."""

    def __init__(
        self, table: Table, again: Again, bounds: tuple[tuple[str, Bounds], ...] = BOUNDS
    ) -> None:
        super().__init__(table, again, "D", bounds, "a list of deliveries", "B")

    async def append(self, delivery: Received, body: bytes, series: str) -> str:
        """Keep a delivery and its body. Returns its id."""
        large = ReceivedBody(body) if body else None
        return f"{series}-{await self.add(series, delivery, large)}"

    async def get(self, id: str) -> Received | None:
        """The delivery of this id; None if there is none, or none any more."""
        parts = _ID.fullmatch(id)
        if parts is None:
            return None
        found: Received | None = await self.find(parts[1], int(parts[2]))
        return found

    async def body(self, kept: Kept) -> bytes | None:
        """The body of this delivery; None if it is not kept."""
        found: ReceivedBody | None = None
        parts = _ID.fullmatch(kept.id)
        if parts is not None and kept.delivery.whole and kept.delivery.size:
            found = await self.find_apart(parts[1], int(parts[2]))
        if found is not None:
            return found.data
        return b"" if kept.delivery.whole and not kept.delivery.size else None

    async def erase(self, run: str) -> None:
        """Remove all deliveries that came to a run, bodies and all."""
        for series in self._series.values():
            number: int | None = None
            while found := await series.before(number, _LOOK):
                number = found[-1][0]
                await series.remove([at for at, item in found if item.run == run])

    async def page(
        self, wanted: Wanted, *, since: Millis = 0, limit: int, cursor: str | None = None
    ) -> DeliveryPage:
        """A page of those that are wanted, newest first. Raises `ValueError` for a cursor."""
        found = await self.select(wanted, since=since, limit=limit, cursor=cursor)
        return DeliveryPage([_kept(each) for each in found.items], found.cursor)


def _kept(found: Numbered) -> Kept:
    return Kept(f"{found.series}-{found.number}", found.item)
