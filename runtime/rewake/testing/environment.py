"""`Environment` and `AsyncEnvironment`: a client, and the server that it asks, in virtual time."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, Self, TypeVar

from rewake.app import App, app_of, load_app
from rewake.authoring.policy import Seconds, seconds
from rewake.client.asking import Flow, Manner
from rewake.client.async_client import AsyncClient
from rewake.client.blocking_client import Client
from rewake.errors import UsageError
from rewake.records import Millis
from rewake.testing.clock import EPOCH
from rewake.testing.fakes import Faked, Fakes
from rewake.testing.outsider import Response, request_of, response_of
from rewake.testing.process import FOREVER, TOKEN, URL
from rewake.testing.transport import InWorld
from rewake.testing.world import World

T = TypeVar("T")


class _Within:
    """What both kinds of environment have beside a client."""

    _world: World
    _fakes: Fakes
    _carrier: InWorld

    def _make(
        self,
        app: App | ModuleType | str,
        start: datetime | None,
        *,
        replays: bool,
        schedules: bool,
    ) -> InWorld:
        made = _app_of(app)
        if not schedules:
            made.schedules = {}
        epoch = EPOCH if start is None else _moment(start)
        self._world, self._fakes = World(made, epoch, replays=replays), Fakes(made)
        self._carrier = InWorld(self._world)
        return self._carrier

    @property
    def now(self) -> datetime:
        """The time in the environment."""
        return datetime.fromtimestamp(self._world.clock.now() / 1000, UTC)

    def fake(
        self, of: Faked, function: Callable[..., Any] | None = None
    ) -> list[Mapping[str, Any]]:
        """Let `function` be called instead of a task or a child; without one, its own.

        Returns a list that gets the arguments of each call, by parameter. Raises `UsageError` for
        what the app does not list.
        """
        return self._fakes.put(of, function)

    def crash(self, *, before: int | None = None, after: int | None = None) -> None:
        """Kill the process and begin another: now, or before or after its next n-th commit.

        What was not committed is lost, what was running begins again once a lease is over.
        """
        number = before if before is not None else after
        if (before is not None and after is not None) or (number is not None and number < 1):
            raise UsageError("a crash is now, or before= or after= a commit, counted from 1")
        if number is None:
            self._world.crash()
        else:
            self._world.crash_at(number, before=before is not None)

    def _end(self, *, failed: bool) -> None:
        self._fakes.undo()
        self._world.close(quiet=failed)


class Environment(_Within, Client):
    """An app and its server in memory, in virtual time; a `Client` of it. Used by `with`.

    `app`: a module with workflows, an `App`, or what `rewake serve` takes. Time stands until
    something is waited for, and then jumps to what is due next. `start`: when it begins.
    `replays`: each run is replayed from nothing after each commit, and a body that does otherwise
    then fails the test. `schedules`: those of the app start runs.
    """

    def __init__(
        self,
        app: App | ModuleType | str,
        *,
        start: datetime | None = None,
        replays: bool = True,
        schedules: bool = False,
    ) -> None:
        """Raises `AppError`."""
        carrier = self._make(app, start, replays=replays, schedules=schedules)
        super().__init__(URL, TOKEN)
        self._asking = AsyncClient(URL, TOKEN, transport=carrier)
        self.manner = self._asking.manner = _manner(self._world)

    def __repr__(self) -> str:
        return f"<Environment at {self.now}>"

    def do(self, flow: Flow[T]) -> T:
        return self._world.drive(self._asking.do(flow))

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | str = b"",
        json: Any = None,
        form: Mapping[str, str] | None = None,
    ) -> Response:
        """Send what others send: a webhook's delivery, a form of an approval's page, a callback.

        `url`: a path of this server, or a link to it. It has one body at most, and no token unless
        a header has it. Raises `UsageError`, and `ServerUnavailable` if the process dies before it
        answers.
        """
        asked = request_of(method, url, headers, content, json, form)
        return response_of(self._world.drive(self._carrier.request(asked)))

    def advance(self, time: Seconds) -> None:
        """Let so much time pass (seconds or a `timedelta`), and all happen that is due in it."""
        self._world.drive(self._world.pass_time(_span(time)))

    def close(self) -> None:
        """End the environment. Raises what has failed in it, and was not told yet."""
        self._end(failed=False)

    def __exit__(self, kind: object = None, *_: object) -> None:
        self._end(failed=kind is not None)


class AsyncEnvironment(_Within, AsyncClient):
    """The same for tests that are coroutines, in whatever event loop; used by `async with`.

    It takes what `Environment` takes. While its time passes, other coroutines of the test may ask
    it too, as with `asyncio.gather`.
    """

    def __init__(
        self,
        app: App | ModuleType | str,
        *,
        start: datetime | None = None,
        replays: bool = True,
        schedules: bool = False,
    ) -> None:
        carrier = self._make(app, start, replays=replays, schedules=schedules)
        super().__init__(URL, TOKEN, transport=carrier)
        self.manner = _manner(self._world)

    def __repr__(self) -> str:
        return f"<AsyncEnvironment at {self.now}>"

    async def do(self, flow: Flow[T]) -> T:
        """Carry out a flow. Raises `RewakeError`."""
        return await self._world.carry(super().do(flow))

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | str = b"",
        json: Any = None,
        form: Mapping[str, str] | None = None,
    ) -> Response:
        """Send what others send, as `Environment.request`."""
        asked = request_of(method, url, headers, content, json, form)
        return response_of(await self._world.carry(self._carrier.request(asked)))

    async def advance(self, time: Seconds) -> None:
        """Let so much time pass (seconds or a `timedelta`), and all happen that is due in it."""
        await self._world.carry(self._world.pass_time(_span(time)))

    async def close(self) -> None:
        """End the environment. Raises what has failed in it, and was not told yet."""
        self._end(failed=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object = None, *_: object) -> None:
        self._end(failed=kind is not None)


def _manner(world: World) -> Manner:
    """How it is asked: by its own time, in one request, with ids that are the same each time."""
    return Manner(
        URL,
        30,
        lambda: world.loop.seconds,
        chance=random.Random(URL),
        longest=FOREVER / 1000,
        unique=map("test-{}".format, itertools.count(1)).__next__,
    )


def _moment(start: datetime) -> Millis:
    if start.tzinfo is None:
        raise UsageError("start= is a moment, and needs a time zone: datetime(..., tzinfo=UTC)")
    return round(start.timestamp() * 1000)


def _span(time: Seconds) -> float:
    if seconds(time) < 0:
        raise UsageError(f"time goes on, by a number of seconds or a timedelta, not by {time}")
    if seconds(time) > FOREVER / 1000:
        raise UsageError(f"time goes on by a hundred years at most, not by {time}")
    return seconds(time)


def _app_of(app: App | ModuleType | str) -> App:
    if isinstance(app, App):
        return copy.copy(app)
    return load_app(app)[0] if isinstance(app, str) else app_of(app)
