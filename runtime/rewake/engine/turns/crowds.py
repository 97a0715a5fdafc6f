"""Signals that come so fast that a turn finds no moment to end, or to suspend, its run.

Either is written on the condition that nothing has arrived since the turn looked, and a signal
arrives whether or not it is waited for. So after some tries the turn has signals wait for a moment
(`HELD_OFF` in `stores/writes.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable

from rewake.engine.services import Services
from rewake.engine.turns.commits import Commits, Overtaken
from rewake.stores.writes import HELD_OFF

PATIENCE = 3
"""So many tries fail before signals have to wait."""


class Crowd:
    """How often in a row signals have come before one turn could end or suspend its run."""

    def __init__(self, services: Services, commits: Commits) -> None:
        self._store = services.store
        self._commits = commits
        self._met = 0

    async def passes(self, ending: Awaitable[bool]) -> bool:
        """Whether the turn is over by this; if signals have kept it from that, they wait.

        Raises `Overtaken`.
        """
        before = self._commits.header
        if await ending:
            return True
        found = self._commits.header
        self._met = self._met + 1 if found.signals > before.signals else 0
        if self._met >= PATIENCE and found.hears != HELD_OFF:
            held = await self._store.hold_off(found)
            if held is None:
                raise Overtaken
            self._commits.adopt(held)
        return False
