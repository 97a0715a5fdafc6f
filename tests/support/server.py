"""Rewake servers as processes of their own, on 127.0.0.1: start, ask, stop, kill -9.

    with ServerProcess(APP, tmp_path / "rewake.db") as server:
        server.client.post("/v1/workflows/total/runs", json={"numbers": [1]})
        server.kill()

Whatever way a test ends, they are gone afterwards.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

import rewake
from rewake.signing.secret import Secret
from rewake.signing.tokens import app_token
from tests.support.forked import Forked

APP = Path(__file__).with_name("app.py")
SECRET = "a secret that only tests may know"
TOKEN = app_token(Secret(SECRET))
PATIENCE = 30.0
"""Seconds after which a test gives up waiting for a process."""

_SERVING = re.compile(r'serving on (http://[^\s"]+)')


def bearer(token: str = TOKEN) -> dict[str, str]:
    """The header that opens the door."""
    return {"Authorization": f"Bearer {token}"}


def client_of(url: str) -> httpx2.Client:
    """A client that is let in."""
    return httpx2.Client(base_url=url, headers=bearer(), timeout=PATIENCE, trust_env=False)


class ServerProcess:
    """A server on a free port, unless one is given; `settings` are its `REWAKE_*` variables.

    `module` is what Python runs. Entering starts it and waits until it is ready, leaving ends it
    in whatever way is left.
    """

    module = "rewake.hosts.server"
    roots = (Path(rewake.__file__).parents[1], Path(__file__).parents[2])
    """From where it imports Rewake, and the app."""

    def __init__(self, app: Path | str, db: Path | str, **settings: object) -> None:
        given = {"app": app, "db": db, "port": 0, "secret": SECRET, **settings}
        self._settings = {f"REWAKE_{name.upper()}": str(value) for name, value in given.items()}
        self._lines: list[str] = []
        self._told = threading.Event()
        self.url = ""

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.kill()
        self._reader.join()
        self._stderr.close()
        if hasattr(self, "client"):  # it was ready
            self.client.close()

    def start(self) -> None:
        """Start the process; it may not listen yet."""
        kept = {name: text for name, text in os.environ.items() if "REWAKE" not in name}
        roots = os.pathsep.join(map(str, self.roots))
        reading, writing = os.pipe()
        with os.fdopen(writing):
            self.process = self._begun({**kept, "PYTHONPATH": roots, **self._settings}, writing)
        self._stderr = os.fdopen(reading, errors="replace")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _begun(self, env: Mapping[str, str], stderr: int) -> subprocess.Popen[bytes] | Forked:
        command = [sys.executable, "-m", self.module]
        return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stderr=stderr)

    def wait_ready(self) -> None:
        """Wait until it answers. Fails with its log if it ends instead."""
        self._told.wait(PATIENCE)
        assert self.url, f"the server does not serve:\n{self.logs()}"
        self.client = client_of(self.url)
        # It listens before it is ready: the connection waits in the backlog.
        response = self.client.get("/readyz")
        assert response.status_code == 200, self.logs()

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """End it with SIGKILL: it gets to do nothing more."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def terminate(self) -> int:
        """Ask it to end with SIGTERM; its exit status."""
        self.process.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait until it ends by itself; its exit status."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def logs(self) -> str:
        """What it has written to stderr so far."""
        return "".join(self._lines)

    def _read(self) -> None:
        for line in self._stderr:
            self._lines.append(line)
            if found := _SERVING.search(line):
                self.url = found[1]
                self._told.set()
        self._told.set()
