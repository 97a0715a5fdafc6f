"""Runs under way, at most so many at once, and how they end."""

from __future__ import annotations

import itertools
import random
import time
from typing import Any, NamedTuple

import httpx2

from tests.soak.app import ENDS
from tests.soak.harms import Servers

AT_ONCE = 25
PATIENCE = 90.0
"""Seconds for all to end once no more harm comes."""
_SHORT = 3.0
_OVER = ("done", "failed", "cancelled", "stuck")


class Ended(NamedTuple):
    """A run that ended, and what it should have come to."""

    run: str
    state: str
    result: Any
    expected: Any
    error: Any


class Load:
    """Starts runs, each once whatever is answered, and decides what they ask."""

    def __init__(self, servers: Servers, seed: int) -> None:
        self.ended: list[Ended] = []
        self._servers = servers
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._open: dict[str, tuple[str, int]] = {}

    def carry_on(self, seconds: float) -> None:
        """Keep runs under way for that long, or until a fault."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._servers.faults:
            while len(self._open) < AT_ONCE:
                number = next(self._numbers)
                self._open[f"run-{number}"] = (self._random.choice(list(ENDS)), number)
            self._look()

    def end(self) -> list[str]:
        """Let all end. Those that do not."""
        deadline = time.monotonic() + PATIENCE
        while self._open and time.monotonic() < deadline:
            self._look()
        return list(self._open)

    def _look(self) -> None:
        for run, (workflow, number) in list(self._open.items()):
            try:
                self._look_at(run, workflow, number)
            except httpx2.HTTPError:
                continue  # dead, paused or ending: the next look asks again
        time.sleep(0.2)

    def _look_at(self, run: str, workflow: str, number: int) -> None:
        view = self._ask("GET", f"/v1/runs/{run}")
        if view is None:
            path = f"/v1/workflows/{workflow}/runs?id={run}"
            self._ask("POST", path, json={"number": number})
            return
        for approval in view["approvals"]:
            decided = {"approved": True, "value": number}
            self._ask("POST", approval["decide"], json=decided)
        if view["state"] not in _OVER:
            return
        done = view["state"] == "done"
        result = self._ask("GET", f"/v1/runs/{run}/result") if done else {"result": None}
        if result is not None:
            end = Ended(
                run, view["state"], result["result"], ENDS[workflow](number), view.get("error")
            )
            self.ended.append(end)
            del self._open[run]

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        """The answer of some server; None for what is refused, not there, or not answered now."""
        server = self._random.choice(self._servers.servers)
        answer = server.client.request(method, path, timeout=_SHORT, **more)
        return answer.json() if answer.is_success else None
