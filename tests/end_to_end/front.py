"""A caller before a deployment's address, who asks again while servers come and go."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import httpx2

from tests.end_to_end import outside
from tests.support.approving import BY_FORM, nonces_in

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds that anything may take, with deaths and pauses in between."""
_POLL = 0.1
_AWAY = frozenset({502, 503, 504})
_ENDED = frozenset({"done", "failed", "cancelled", "stuck"})


class Front:
    """One scenario's view of a deployment: it remembers the runs that it started.

    `calm`: nothing happens to any server meanwhile. `wait`: for how many seconds a request may wait
    for a result.
    """

    def __init__(
        self, client: httpx2.Client, told: Path, *, calm: bool = False, wait: float = 10.0
    ) -> None:
        self._wait = wait
        self.client = client
        self.calm = calm
        self.runs: list[str] = []
        self._told = told

    # --- requests ------------------------------------------------------------------------------

    def ask(
        self, method: str, path: str, *, again: frozenset[int] = frozenset(), **more: Any
    ) -> httpx2.Response:
        """An answer below 400, asked for until there is one.

        `again`: what else is right if it was asked before and nobody heard the answer.
        """
        deadline = time.monotonic() + PATIENCE
        for turn in itertools.count():
            try:
                answer = self.client.request(method, path, **more)
            except httpx2.TransportError:
                assert time.monotonic() < deadline, f"nobody answers {method} {path}"
            else:
                if answer.status_code < 400 or (turn and answer.status_code in again):
                    return answer
                assert answer.status_code in _AWAY, f"{method} {path}: {answer.text}"
                assert time.monotonic() < deadline, f"{method} {path}: {answer.text}"
            time.sleep(_POLL)
        raise AssertionError

    def get(self, path: str) -> Any:
        """What is answered at a path, as JSON."""
        return self.ask("GET", path).json()

    def start(self, workflow: str, key: str | None = None, **arguments: Any) -> str:
        """Start a run, once, however often that has to be said."""
        named = {"Idempotency-Key": key or uuid4().hex}
        path = f"/v1/workflows/{workflow}/runs"
        run: str = self.ask("POST", path, json=arguments, headers=named).json()["id"]
        self.runs.append(run)
        return run

    def ended(self, run: str) -> dict[str, Any]:
        """A run once it has ended."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            answer = self.ask("GET", f"/v1/runs/{run}/result", params={"wait": self._wait})
            found: dict[str, Any] = answer.json()
            if answer.status_code == 200:
                return found
            time.sleep(0 if self._wait else _POLL)
        raise AssertionError(f"run {run} does not end: {self.get(f'/v1/runs/{run}')}")

    def result(self, run: str) -> Any:
        """What a run returned, which has succeeded."""
        found = self.ended(run)
        assert found["state"] == "done", found
        return found["result"]

    def run(self, workflow: str, **arguments: Any) -> Any:
        """What a run of a workflow returns."""
        return self.result(self.start(workflow, **arguments))

    def until(self, look: Callable[[], T]) -> T:
        """What is seen as soon as anything is."""
        deadline = time.monotonic() + PATIENCE
        while not (seen := look()):
            assert time.monotonic() < deadline, "it is not seen in time"
            time.sleep(_POLL)
        return seen

    # --- people and machines -------------------------------------------------------------------

    def told(self, what: str, run: str) -> list[dict[str, Any]]:
        """What a run's bodies told the world, once they told anything."""
        return self.until(lambda: outside.told(self._told, what, run))

    def links(self, run: str, people: int = 1) -> dict[str, str]:
        """The links that people were sent, once all of so many were."""

        def sent() -> dict[str, str]:
            mails = outside.told(self._told, "mail", run)
            return {each["person"]: each["link"] for each in mails if each["kind"] == "asked"}

        return self.until(lambda: found if len(found := sent()) == people else {})

    def decide(self, link: str, **fields: str) -> httpx2.Response:
        """What a browser does that has no token: it opens the page, and posts its form."""
        path, stranger = urlsplit(link).path, {"Authorization": ""}
        page = self.ask("GET", path, headers=stranger)
        [nonce] = nonces_in(page.text)
        form = urlencode({"nonce": nonce, **fields})
        decided = frozenset({409, 410})
        return self.ask("POST", path, content=form, headers=BY_FORM | stranger, again=decided)

    def call(self, url: str, body: Any, more: str = "") -> httpx2.Response:
        """What a machine does that was given an address."""
        path, stranger = urlsplit(url).path + more, {"Authorization": ""}
        return self.ask("POST", path, json=body, headers=stranger, again=frozenset({409, 410}))

    def deliver(self, hook: str, body: Any, headers: Mapping[str, str]) -> httpx2.Response:
        """What a provider does: it sends a delivery until it is taken."""
        content = json.dumps(body).encode()
        sent = {"Authorization": "", "Content-Type": "application/json", **headers}
        return self.ask("POST", f"/hooks/{hook}", content=content, headers=sent)
