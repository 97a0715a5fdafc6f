"""`rewake dev`: a server that starts anew whenever its code changes.

This process watches the files and owns the socket; a child serves. After a change the next child
loads the new version while the last one still serves. If that fails, a line says why and nothing
else happens. If not, the old child releases its runs and ends, and the new one takes the socket.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from watchfiles import PythonFilter, awatch

from rewake.cli.dev.child import Orders
from rewake.cli.exits import Exit, tell
from rewake.errors import AppError
from rewake.hosts.config import ServerConfig
from rewake.hosts.server import listen

Ending = asyncio.Future[Any]

PATIENCE = 15.0
"""Seconds that a child gets to end."""


@dataclass(frozen=True, slots=True)
class DevOptions:
    """The options of the command. None: as in the environment."""

    source: str | None = None
    host: str | None = None
    port: int | None = None
    db: str | None = None
    log_format: str | None = None


def dev(options: DevOptions) -> Exit:
    """Serve until told to end. Raises `RewakeError` for wrong options."""
    config = ServerConfig.from_env(
        app=options.source,
        host=options.host,
        port=options.port,
        db=options.db,
        log_format=options.log_format,
    )
    folder = _folder(config.app)
    with listen(config.host, config.port) as listener:
        return asyncio.run(_Supervisor(config, listener, folder).run())


def _folder(source: str) -> Path:
    """The folder to watch: that of the app's file, or for a module, the working directory."""
    path = Path(source.rpartition(":")[0] if ":" in source else source)
    if path.suffix != ".py":
        return Path.cwd()
    if not path.is_file():
        raise AppError(f"there is no file {path}")
    return path.resolve().parent


class _Child:
    """One version of the app in a process of its own."""

    def __init__(self, config: ServerConfig, listener: socket.socket, *, first: bool) -> None:
        ready, its_ready = os.pipe()
        its_go, self._go = os.pipe()
        os.set_blocking(ready, False)
        host, port = listener.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        orders = Orders(
            config.app,
            url,
            config.log_format,
            *(listener.fileno(), its_ready, its_go),
            first,
        )
        self._ready = ready
        self._process = subprocess.Popen(  # noqa: S603 - it is ourselves
            [sys.executable, "-m", "rewake.cli.dev.child", msgspec.json.encode(orders).decode()],
            # Not among its arguments, which everybody sees: it may have a password in it.
            env=os.environ | {"REWAKE_DB": config.db},
            pass_fds=(listener.fileno(), its_ready, its_go),
        )
        os.close(its_ready)
        os.close(its_go)
        self.ended: Ending = asyncio.ensure_future(asyncio.to_thread(self._process.wait))

    async def loads(self) -> bool:
        """Wait until the app is loaded, or has failed to load (False)."""
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._ready, told.set)
        try:
            await told.wait()
            return bool(os.read(self._ready, 1))
        finally:
            loop.remove_reader(self._ready)
            os.close(self._ready)

    def serve(self) -> None:
        """Let the child serve."""
        with suppress(BrokenPipeError):
            os.write(self._go, b".")

    async def end(self) -> int:
        """Let the child release its runs and end; its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        done, _ = await asyncio.wait({self.ended}, timeout=PATIENCE)
        if not done:
            self._process.kill()
        code: int = await self.ended
        os.close(self._go)
        return code


class _Supervisor:
    """Replaces the child whenever a file changes."""

    def __init__(self, config: ServerConfig, listener: socket.socket, folder: Path) -> None:
        self._config = config
        self._listener = listener
        self._folder = folder
        self._changed = asyncio.Event()
        self._stop = asyncio.Event()
        self._child: _Child | None = None

    async def run(self) -> Exit:
        """Supervise until a signal, or until the first version does not work."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        watching = asyncio.ensure_future(self._watch())
        stopped: Ending = asyncio.ensure_future(self._stop.wait())
        try:
            await self._replace(stopped, first=True)
            if self._child is None:
                return Exit.DONE if stopped.done() else Exit.USAGE
            return await self._supervise(stopped)
        finally:
            watching.cancel()
            stopped.cancel()
            if self._child is not None:
                await self._child.end()

    async def _supervise(self, stopped: Ending) -> Exit:
        first = True
        while True:
            changed = asyncio.ensure_future(self._changed.wait())
            ends: set[Ending] = {changed, stopped}
            if self._child is not None:
                ends.add(self._child.ended)
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            if stopped.done():
                return Exit.DONE
            if self._changed.is_set():
                await self._replace(stopped, first=False)
                first = False
            elif self._child is not None:
                code = await self._child.end()
                self._child = None
                if code < 0:
                    tell(f"the server was ended by signal {-code}")
                if first and code != Exit.BLOCKED:
                    return Exit(code) if code in set(Exit) else Exit.FAILED
                tell("the server has ended; waiting for the next change")

    async def _replace(self, stopped: Ending, *, first: bool) -> None:
        """Replace the child with one that has the newest code, if that can be loaded."""
        self._changed.clear()
        child = _Child(self._config, self._listener, first=first)
        loads = asyncio.ensure_future(child.loads())
        await asyncio.wait({loads, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done() or not loads.result():
            loads.cancel()
            await child.end()
            if not first and not stopped.done():
                still = "the last version still serves" if self._child else "nothing serves"
                tell(f"{still}; waiting for the next change")
            return
        former, self._child = self._child, child
        if former is not None:
            await former.end()
        child.serve()

    async def _watch(self) -> None:
        async for _ in awatch(
            self._folder, watch_filter=PythonFilter(), ignore_permission_denied=True
        ):
            self._changed.set()
