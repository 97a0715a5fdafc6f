"""The servers of one scenario: one that is started again when it dies, or several on one file."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from tests.kill.points import SEPARATOR, Kill
from tests.support.forked import Forked, copied_from
from tests.support.proxy import RoundRobin
from tests.support.server import PATIENCE, ServerProcess

APP = "tests.kill.app"
copied_from("tests.kill.launcher", APP)
ARCHIVE = "archive"
"""The folder of what is archived."""
ONE, TWO, SPREAD = "one", "two", "spread"
SHAPES = (ONE, TWO, SPREAD)
"""`one` is started again when it dies. Of `two` on one file, the other goes on. `spread` is
two that send each other messages over HTTP, so that work is everywhere."""


class Server(ServerProcess):
    """A server that may die by itself, by SIGKILL."""

    module = "tests.kill.launcher"

    def _begun(self, env: Mapping[str, str], stderr: int) -> Forked:
        return Forked(self.module, env=env, cwd=Path.cwd(), handles=[0, 1, stderr])

    @property
    def died(self) -> bool:
        """Whether it was killed."""
        status = self.process.poll()
        assert status in (None, -signal.SIGKILL), f"it ended with {status}:\n{self.logs()}"
        return status is not None


class Fleet:
    """`shape` servers on a file in `folder`; the first to get to one of `kills` dies there.

    They serve `app`. With `pause` (seconds) it stops for so long instead. A shorter `lease` and
    `grace` (seconds) let others take over sooner. `db`: where they have it, if not in a file of
    their own.
    """

    def __init__(
        self,
        folder: Path,
        shape: str,
        kills: Sequence[Kill] = (),
        app: str = APP,
        lease: float = 1.0,
        grace: float = 1.0,
        pause: float | None = None,
        db: str = "",
        blobs: str = "",
    ) -> None:
        self.folder = folder
        self._app = app
        self.db = db or str(folder / "rewake.db")
        self.servers: list[Server] = []
        self._shape = shape
        self.address = "https://killed.example"
        self._settings: dict[str, object] = {
            "lease": lease,
            "test_folder": folder,
            "archive": folder / ARCHIVE,
            "url": self.address,
            "test_grace": round(grace * 1000),
        }
        if blobs:
            self._settings["blobs"] = blobs
        if kills:
            self._settings["test_kill"] = SEPARATOR.join(map(str, kills))
        if pause is not None:
            self._settings["test_pause"] = pause
        self._turn = 0
        self._stack = ExitStack()
        self._balancer: RoundRobin | None = None

    def __enter__(self) -> Self:
        (self.folder / "calls").mkdir(parents=True)
        (self.folder / ARCHIVE).mkdir()
        (self.folder / "notes").touch()
        try:
            if self._shape == SPREAD:
                self._balancer = self._stack.enter_context(RoundRobin())
                self.address = self._balancer.url
                self._settings |= {"dispatcher": "http", "url": self.address}
            self._start(1 if self._shape == ONE else 2)
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
        if error is not None:
            error.add_note(self.told())
        self._stack.close()

    @property
    def killed(self) -> int:
        """How many servers died, or were paused."""
        return len(list(self.folder.glob("dead-*")))

    def told(self) -> str:
        """What the servers logged, and what was noted."""
        logs = [f"--- server {server.pid}\n{server.logs()}" for server in self.servers]
        return "\n".join([*logs, "--- notes", (self.folder / "notes").read_text()])

    def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """The answer of some server, asked again and again while they die."""
        deadline = time.monotonic() + PATIENCE
        while True:
            living = [server for server in self.servers if not server.died]
            if not living:
                living = self._start(1)
            self._turn += 1
            server = living[self._turn % len(living)]
            try:
                return server.client.request(method, path, **more)
            except httpx2.TransportError:
                if time.monotonic() > deadline:
                    raise
                # The connection breaks before the process is seen to have ended.
                time.sleep(0.01)

    def _start(self, number: int) -> list[Server]:
        """Start servers; those that live to be ready."""
        deadline = time.monotonic() + PATIENCE
        while True:
            starting = [Server(self._app, self.db, **self._settings) for _ in range(number)]
            for server in starting:
                server.start()
                self._stack.push(server)
                self.servers.append(server)
            ready = [server for server in starting if _is_ready(server)]
            if self._balancer is not None:
                self._balancer.ports = [server.port for server in ready]
            if ready:
                return ready
            assert time.monotonic() < deadline, "no server gets ready"


def _is_ready(server: Server) -> bool:
    try:
        server.wait_ready()
    except (AssertionError, httpx2.TransportError):
        with suppress(subprocess.TimeoutExpired):
            server.process.wait(1)
        if not server.died:
            raise
        return False
    return True
