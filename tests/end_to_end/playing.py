"""How scenarios are played: all at once, each by a caller of its own; and load beside them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import httpx2

from tests.end_to_end.deployments import Deployment
from tests.end_to_end.front import Front
from tests.end_to_end.scenarios import SCENARIOS, Scenario
from tests.support.server import client_of

_LOADS: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("chain", {"length": 6}, 6),
    ("fan", {"width": 8}, 37),
    ("lingers", {"seconds": 1}, 1),
)
"""The runs of a load: workflows, their inputs and their results."""
_CALLERS = 4
"""So many callers start runs, each another one when its last has ended: a slow store has less."""


class Play:
    """All scenarios, played in threads from the beginning of the block to its end."""

    def __init__(self, deployment: Deployment, client: httpx2.Client, *, calm: bool) -> None:
        self.fronts = {name: front_of(deployment, client, calm=calm) for name in SCENARIOS}
        self._pool = ThreadPoolExecutor(len(SCENARIOS))
        self._played: dict[str, Future[None]] = {}

    def __enter__(self) -> Self:
        for name, play in SCENARIOS.items():
            self._played[name] = self._pool.submit(_named, name, play, self.fronts[name])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True)
        failed = [e for each in self._played.values() if (e := each.exception()) is not None]
        if failed:
            raise BaseExceptionGroup(f"{len(failed)} scenarios of {len(self._played)}", failed)

    @property
    def runs(self) -> list[str]:
        """The runs of all scenarios."""
        return [run for front in self.fronts.values() for run in front.runs]


def _named(name: str, play: Scenario, front: Front) -> None:
    try:
        play(front)
    except BaseException as error:
        error.add_note(f"in the scenario {name}, of the runs {front.runs}")
        raise


def under_load(deployment: Deployment, client: httpx2.Client, work: Callable[[], None]) -> Front:
    """Do `work` while runs are started all the time; each of them ends as it should."""
    front, over = front_of(deployment, client), threading.Event()
    turns = itertools.cycle(_LOADS)

    def call() -> None:
        while not over.is_set():
            workflow, given, result = next(turns)
            assert front.run(workflow, **given) == result

    with ThreadPoolExecutor(_CALLERS) as pool:
        calling = [pool.submit(call) for _ in range(_CALLERS)]
        try:
            work()
        finally:
            over.set()
        for each in calling:
            each.result()
    assert front.runs
    return front


def front_of(deployment: Deployment, client: httpx2.Client, *, calm: bool = False) -> Front:
    """A caller of its own."""
    return Front(client, deployment.outside, calm=calm, wait=deployment.wait)


def caller(deployment: Deployment) -> httpx2.Client:
    """A client for many threads."""
    return client_of(deployment.url)
