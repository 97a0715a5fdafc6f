"""Where the app runs: servers behind one address, one of which can be killed, paused, replaced."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from tests.end_to_end.lambdas import Lambda
from tests.end_to_end.places import (
    KEYS,
    LEASE,
    PAUSE,
    Place,
    a_file,
    a_file_and_a_queue,
    a_queue,
    a_schema,
    a_table,
)
from tests.support.proxy import RoundRobin
from tests.support.server import ServerProcess

APP = "tests.end_to_end.app"


class Deployment(Protocol):
    """The app at an address, until the end of the block."""

    url: str
    """The one address of all servers."""
    outside: Path
    """What its bodies told the world."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    wait: float
    """For how many seconds a request may wait there for a result."""

    def kill(self, pid: int) -> None:
        """End a server with SIGKILL, and put another in its place."""
        ...

    def pause(self, pid: int) -> None:
        """Let a server stand still for longer than its lease."""
        ...

    def roll(self) -> None:
        """Replace all servers, one after the other, as a deploy does."""
        ...

    def stored(self) -> bytes:
        """All that is in its database, if that can be read from here."""
        ...

    def logs(self) -> str:
        """What all its servers have logged, those that ended too."""
        ...


@dataclass
class Servers:
    """`size` uvicorn processes behind a small balancer, on data in a place."""

    folder: Path
    size: int
    dispatcher: str = "in-process"
    place: Place = a_file
    settings: dict[str, object] = field(default_factory=dict)
    wait: float = 10.0

    def __post_init__(self) -> None:
        self.url = ""
        self.outside = self.folder / "outside"
        self._stack = ExitStack()
        self._servers: list[ServerProcess] = []
        self._ended: list[ServerProcess] = []

    def __enter__(self) -> Self:
        try:
            given = self._stack.enter_context(self.place(self.folder))
            self._balancer = self._stack.enter_context(RoundRobin())
            self.url = self._balancer.url
            self.settings = {
                "dispatcher": self.dispatcher,
                "url": self.url,
                "lease": LEASE,
                "encryption_keys": KEYS,
                "test_outside": self.outside,
                **self.settings,
                **given,
            }
            with ThreadPoolExecutor(self.size) as pool:
                self._servers = list(pool.map(self._started, range(self.size)))
            self._balance()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def kill(self, pid: int) -> None:
        number = [each.pid for each in self._servers].index(pid)
        dead = self._servers[number]
        dead.kill()
        self._ended.append(dead)
        self._servers[number] = self._started(number)
        self._balance()

    def pause(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(PAUSE)
        finally:
            os.kill(pid, signal.SIGCONT)

    def roll(self) -> None:
        for number, old in enumerate(list(self._servers)):
            self._servers[number] = self._started(number)
            self._balance()  # nothing new gets to the old one
            status = old.terminate()
            self._ended.append(old)
            assert status == 0, f"server {number} ended with {status}:\n{old.logs()}"

    def stored(self) -> bytes:
        return b"".join(each.read_bytes() for each in self.folder.glob("rewake.db*"))

    def logs(self) -> str:
        every = [*self._ended, *self._servers]
        return "\n".join(f"--- server {each.pid}\n{each.logs()}" for each in every)

    def server(self, number: int, db: Path, **settings: Any) -> ServerProcess:
        """The server of this number, which is not begun yet."""
        return ServerProcess(APP, db, **settings)

    def _started(self, number: int) -> ServerProcess:
        made: dict[str, Any] = dict(self.settings)
        db = made.pop("db")
        return self._stack.enter_context(self.server(number, db, **made))

    def _balance(self) -> None:
        self._balancer.ports = [server.port for server in self._servers]


DEPLOYMENTS: Mapping[str, Callable[[Path], Deployment]] = {
    "sqlite": lambda folder: Servers(folder, 1),
    "sqlite-two": lambda folder: Servers(folder, 2),
    "sqlite-http": lambda folder: Servers(folder, 3, "http"),
    "postgres": lambda folder: Servers(folder, 3, place=a_schema),
    "dynamodb": lambda folder: Servers(folder, 3, "http", a_table),
    "dynamodb-sqs": lambda folder: Servers(folder, 3, "sqs", a_queue),
    "lambda": Lambda,
    "lambda-sqs": lambda folder: Lambda(folder, "sqs", a_file_and_a_queue),
    "lambda-dynamodb": lambda folder: Lambda(folder, "sqs", a_queue),
}
"""Each deployment, by its name."""

FURTHER = {"dynamodb-sqs", "lambda-dynamodb", "postgres"}
"""Those that take the longest: `make long` plays them."""

LIKE_OTHERS = {"sqlite-two", "dynamodb", "lambda", "lambda-sqs"}
"""Those of which another has the most: they are played where all is asked for."""
