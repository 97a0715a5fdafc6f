"""Where the app runs: servers behind one address, one of which can be killed, paused, replaced."""

from __future__ import annotations

import os
import signal
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from tests.support.proxy import RoundRobin
from tests.support.server import ServerProcess

APP = "tests.end_to_end.app"
LEASE = 1.0
"""Seconds after which a dead server is noticed."""
KEYS = f"k1:{b64encode(bytes(32)).decode()}"
"""What encrypts the data of users."""
PAUSE = 2.5
"""Seconds that a server stands still: longer than its lease, and than others take to be sure."""

Settings = Mapping[str, object]
"""`REWAKE_*` settings, by their names in lower case."""
Place = Callable[[Path], AbstractContextManager[Settings]]
"""Where the data is: what a deployment's servers are told of it, while it is there."""


class Deployment(Protocol):
    """The app at an address, until the end of the block. Servers are numbered from 0."""

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

    @property
    def size(self) -> int:
        """How many servers it has."""
        ...

    def kill(self, number: int) -> None:
        """End a server with SIGKILL, and put another in its place."""
        ...

    def pause(self, number: int) -> int:
        """Let a server stand still for longer than its lease. Returns its process id."""
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
    place: Place | None = None
    files: tuple[str, ...] = ("rewake.db", "rewake.db-wal")
    settings: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.url = ""
        self.outside = self.folder / "outside"
        self._stack = ExitStack()
        self._servers: list[ServerProcess] = []
        self._ended: list[ServerProcess] = []

    def __enter__(self) -> Self:
        try:
            place = self.place(self.folder) if self.place else nullcontext({})
            given = self._stack.enter_context(place)
            self._balancer = self._stack.enter_context(RoundRobin())
            self.url = self._balancer.url
            self.settings = {
                "db": self.folder / "rewake.db",
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

    def kill(self, number: int) -> None:
        dead = self._servers[number]
        dead.kill()
        self._ended.append(dead)
        self._servers[number] = self._started(number)
        self._balance()

    def pause(self, number: int) -> int:
        pid = self._servers[number].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(PAUSE)
        finally:
            os.kill(pid, signal.SIGCONT)
        return pid

    def roll(self) -> None:
        for number, old in enumerate(list(self._servers)):
            self._servers[number] = self._started(number)
            self._balance()  # nothing new gets to the old one
            status = old.terminate()
            self._ended.append(old)
            assert status == 0, f"server {number} ended with {status}:\n{old.logs()}"

    def stored(self) -> bytes:
        files = [self.folder / name for name in self.files]
        return b"".join(each.read_bytes() for each in files if each.exists())

    def logs(self) -> str:
        every = [*self._ended, *self._servers]
        return "\n".join(f"--- server {each.pid}\n{each.logs()}" for each in every)

    def _started(self, number: int) -> ServerProcess:
        made: dict[str, Any] = dict(self.settings)
        db = made.pop("db")
        return self._stack.enter_context(ServerProcess(APP, db, **made))

    def _balance(self) -> None:
        self._balancer.ports = [server.port for server in self._servers]


DEPLOYMENTS: Mapping[str, Callable[[Path], Deployment]] = {
    "sqlite": lambda folder: Servers(folder, 1),
    "sqlite-two": lambda folder: Servers(folder, 2),
    "sqlite-http": lambda folder: Servers(folder, 3, "http"),
}
"""Each deployment, by its name."""
