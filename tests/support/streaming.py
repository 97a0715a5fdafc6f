"""Following the streams of runs in tests."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from rewake.engine.engine import Engine
from rewake.stores.places import Place, cursor_of, first_place, place_of
from rewake.stores.told import Telling, Told
from rewake.views.stream import told_view
from rewake.views.values import Values
from tests.support.virtual import SECRET

Shown = list[dict[str, Any]]


class Follower:
    """Follows one run in one process, and goes on by its cursor as text."""

    def __init__(self, engine: Engine, run: str, cursor: str = "") -> None:
        self.engine = engine
        self.run = run
        self.cursor = cursor
        self.told: Shown = []
        self.cursors: list[str] = []
        """Behind each thing that was told."""
        self.ended = False

    @property
    def items(self) -> list[Any]:
        """The values of the items."""
        return [each["value"] for each in self.told if each["type"] == Telling.ITEM]

    async def look(self, limit: int = 500, wait: float = 0) -> Shown:
        """One page."""
        streams = self.engine.services.streams
        page = await streams.follow(self.run, self._place(), limit, wait=wait)
        shown = [shown_of(self.run, told) for told, _ in page.told]
        self.told += shown
        self.cursors += [cursor_of(place) for _, place in page.told]
        self.cursor, self.ended = cursor_of(page.place), page.ended
        self.more = page.more
        return shown

    async def read(self, limit: int = 500) -> Shown:
        """All that there is by now."""
        await self.look(limit)
        while self.more:
            await self.look(limit)
        return self.told

    async def follow(self, limit: int = 500) -> Shown:
        """All until the run has ended."""
        while not self.ended:
            await self.look(limit, wait=60)
        return self.told

    def _place(self) -> Place:
        return place_of(self.run, self.cursor) if self.cursor else first_place(self.run)


def shown_of(run: str, told: Told) -> dict[str, Any]:
    """What was told, as JSON shows it."""
    view = told_view(told, Values(SECRET, run))
    return cast("dict[str, Any]", msgspec.json.decode(msgspec.json.encode(view)))
