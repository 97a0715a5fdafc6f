"""A Rewake server in a process of its own: start it, ask it, kill it."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

PATIENCE = 30.0
"""Seconds that a server may take to start."""
_SERVING = re.compile(r"serving on (http://\S+)")
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Server:
    """`rewake serve app`, on a free port of 127.0.0.1; all that it keeps is in `folder`."""

    def __init__(self, app: Path, folder: Path, *options: str, **environ: str) -> None:
        self._command = [sys.executable, "-m", "rewake", "serve", str(app), *options]
        self._log = folder / "server.log"
        self._token = secrets.token_urlsafe(24)
        others = {k: v for k, v in os.environ.items() if not k.startswith("REWAKE_")}
        self._environ = {
            **others,
            **environ,
            "REWAKE_DB": str(folder / "rewake.db"),
            "REWAKE_SECRET": secrets.token_urlsafe(32),
            "REWAKE_TOKEN": self._token,
        }
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = str(free.getsockname()[1])
        self.url = self._environ["REWAKE_URL"] = f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, always at the same address, and wait until it is ready."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - it is ourselves
                self._command,
                env={**self._environ, "REWAKE_PORT": self._port},
                stdin=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends it
            )
        give_up = time.monotonic() + PATIENCE
        while not _SERVING.search(self._log.read_text()):
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"the server does not start:\n{self._log.read_text()}")
            time.sleep(0.02)
        self.get("/readyz")  # the connection waits until it is answered

    def kill(self) -> None:
        """End it with SIGKILL: it gets to do nothing more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def get(self, path: str) -> Any:
        return self._ask(urllib.request.Request(self.url + path))  # noqa: S310

    def post(self, path: str, body: object) -> Any:
        headers = {"Content-Type": "application/json"}
        data = json.dumps(body).encode()
        return self._ask(urllib.request.Request(self.url + path, data, headers))  # noqa: S310

    def page(self, link: str, form: dict[str, str] | None = None) -> str:
        """What a browser gets that opens a link, or sends the form of its page."""
        data = None if form is None else urlencode(form).encode()
        with _direct.open(link, data, timeout=PATIENCE) as response:
            return str(response.read().decode())

    def _ask(self, request: urllib.request.Request) -> Any:
        request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with _direct.open(request, timeout=PATIENCE) as response:
                return json.load(response)
        except HTTPError as error:
            raise RuntimeError(f"{request.full_url}: {error.read().decode()}") from None
