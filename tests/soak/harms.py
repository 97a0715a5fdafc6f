"""What comes to the servers, at random: death, pauses, restarts, locks, and a clock that jumps."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.soak import launcher
from tests.soak.notes import FOLDER
from tests.support.server import ServerProcess

LEASE, GRACE = 2.0, 2.0
"""Seconds."""
LONGEST = 8.0
"""Seconds of one pause, lock or wrong clock."""
LAST_WORDS = 8.0
"""Seconds from SIGTERM to the end, with grace."""


class Harm(NamedTuple):
    """What happened to the server `pid` (0: to all of them), in seconds of the monotonic clock."""

    kind: str
    pid: int
    began: float
    ended: float


class _Server(ServerProcess):
    module = "tests.soak.launcher"


class Servers:
    """Two servers on one file, and the harm that comes to them."""

    def __init__(self, folder: Path, seed: int, names: frozenset[str] | None = None) -> None:
        self.harms: list[Harm] = []
        self.faults: list[str] = []
        self.folder = folder
        self._random = random.Random(seed)
        self._names = sorted(KINDS if names is None else names)
        self._over = threading.Event()
        self._servers: list[ServerProcess] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        (self.folder / launcher.SET).write_text("0")
        self._servers = [self._started() for _ in range(2)]
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.relent()
        for server in self._servers:
            server.__exit__(kind, error, trace)

    @property
    def servers(self) -> list[ServerProcess]:
        """Those that are there; they may be paused."""
        return list(self._servers)

    def relent(self) -> None:
        """No more harm from now on."""
        self._over.set()
        self._thread.join()

    def logs(self) -> str:
        """What the living servers logged."""
        return "\n".join(server.logs() for server in self._servers)

    def _run(self) -> None:
        while not self._over.wait(self._random.uniform(1, 4)):
            name = self._random.choice(self._names)
            began = time.monotonic()
            try:
                pid = KINDS[name](self)
            except Exception as error:
                self.faults.append(f"{name}: {error!r}")
                self._over.set()
                return
            self.harms.append(Harm(name, pid, began, time.monotonic()))

    def _started(self) -> ServerProcess:
        settings = {"lease": LEASE, "grace": GRACE, FOLDER.removeprefix("REWAKE_"): self.folder}
        server = _Server("tests.soak.app", self.folder / "rewake.db", **settings)
        return server.__enter__()

    def _restart(self, server: ServerProcess) -> None:
        """One in its place, after a while in which the other is alone."""
        self._servers.remove(server)
        server.__exit__(None, None, None)
        (self.folder / f"log-{server.pid}").write_text(server.logs())
        self._over.wait(self._random.uniform(0, 3))
        self._servers.append(self._started())

    def _pick(self) -> ServerProcess:
        return self._random.choice(self._servers)

    # --- kinds: each returns whom it harmed ------------------------------------------------------

    def kill(self) -> int:
        server = self._pick()
        server.kill()
        self._restart(server)
        return server.pid

    def pause(self) -> int:
        server = self._pick()
        os.kill(server.pid, signal.SIGSTOP)
        locked = self._is_locked()
        time.sleep(self._random.uniform(0.2, LONGEST))
        os.kill(server.pid, signal.SIGCONT)
        time.sleep(LEASE)  # what it held is taken over in this time, if at all
        return 0 if locked else server.pid

    def _is_locked(self) -> bool:
        """Whether a server was paused within a transaction, which locks out all others."""
        file = self.folder / "rewake.db"
        with closing(sqlite3.connect(file, timeout=0.5)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            connection.execute("ROLLBACK")
        return False

    def stop(self) -> int:
        server = self._pick()
        began = time.monotonic()
        status = server.terminate()
        took = time.monotonic() - began
        if status or took > LAST_WORDS:
            self.faults.append(f"SIGTERM: status {status} after {took:.1f} s\n{server.logs()}")
        self._restart(server)
        return server.pid

    def lock(self) -> int:
        with closing(sqlite3.connect(self.folder / "rewake.db", timeout=30)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(self._random.uniform(0.2, LONGEST))
            connection.execute("ROLLBACK")
        time.sleep(LEASE)
        return 0

    def jump(self) -> int:
        by = self._random.choice((-1, 1)) * self._random.randint(500, 60_000)
        (self.folder / "new").write_text(str(by))
        (self.folder / "new").replace(self.folder / launcher.SET)
        time.sleep(self._random.uniform(0.2, LONGEST))
        (self.folder / "new").write_text("0")
        (self.folder / "new").replace(self.folder / launcher.SET)
        time.sleep(LEASE)
        return 0


KINDS: Mapping[str, Callable[[Servers], int]] = {
    "kill": Servers.kill,
    "pause": Servers.pause,
    "stop": Servers.stop,
    "lock": Servers.lock,
    "jump": Servers.jump,
}
"""By name. A jump or a lock is of the whole machine, and so is a pause in a transaction."""
