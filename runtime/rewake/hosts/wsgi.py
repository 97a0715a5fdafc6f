"""For servers that speak WSGI: the app runs in an event loop of its own, in a thread (a2wsgi).

It is made with the first request, in the process that answers it: one that was made before a fork
would have its thread in another process.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread  # noqa: F401 - it registers how its pools end before us
import os
import threading
from collections.abc import Callable, Generator, Mapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from rewake.app import App, load_app
from rewake.errors import ConfigError
from rewake.hosts.building import build_app
from rewake.hosts.config import ServerConfig
from rewake.http.app import running

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Generator[bytes]]
_at_the_end: Callable[[Callable[[], object]], object] = getattr(
    threading, "_register_atexit", atexit.register
)
"""Has something called while the process ends; before the pools of threads do, as `atexit` is not:
what is closed may need one, and the last that was registered is the first to be called.
"""
_TASK = "rewake.task"
"""Where the environment of a request has the task that answers it."""


class WsgiApp:
    """A WSGI app: `application = WsgiApp.from_env()`."""

    def __init__(self, app: App, config: ServerConfig) -> None:
        try:
            import a2wsgi  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigError("a WSGI server needs a2wsgi: pip install 'rewake[wsgi]'") from None
        self._app = app
        self._config = config
        self._adapter = a2wsgi.ASGIMiddleware
        self._lock = threading.Lock()
        self._made: Any = None
        self.served: Any = None
        """The ASGI app, once the first request has made it."""
        self._served: Wsgi | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, *, platform: str = "") -> WsgiApp:
        """The app that the environment describes. Raises `ConfigError`, `AppError`.

        `platform`: where it runs, if that is known, as of `app_from_env`.
        """
        usual = None if environ.get("REWAKE_PLATFORM") else "wsgi"
        config = ServerConfig.from_env(environ, platform=platform or usual)
        return cls(load_app(config.app)[0], config)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Answer one request."""
        with self._lock:
            served = self._served = self._served or self._open()
        return _Answer(served(environ, start_response), environ, self._made.loop)

    def _open(self) -> Wsgi:
        if self._made is None:  # once: what cannot be opened is tried again by the next request
            self.served = build_app(self._app, self._config)
            adapter: Any = self._adapter
            self._made = adapter(_noting_tasks(self.served))
        made = self._made
        if self._config.runs_on.goes_on:  # else each request sees to it
            life = running(self.served)
            asyncio.run_coroutine_threadsafe(life.__aenter__(), made.loop).result()
            _at_the_end(
                lambda: asyncio.run_coroutine_threadsafe(
                    life.__aexit__(None, None, None), made.loop
                ).result()
            )
        served: Wsgi = made
        return served


class _Answer:
    """The parts of an answer. A server closes it, also if nobody reads on: then its request ends.

    The adapter would let it wait for ever for somebody who takes the next part.
    """

    def __init__(
        self, parts: Generator[bytes], environ: Mapping[str, Any], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._parts = parts
        self._environ = environ
        self._loop = loop

    def __iter__(self) -> _Answer:
        return self

    def __next__(self) -> bytes:
        return next(self._parts)

    def close(self) -> None:
        """Read no more."""
        self._parts.close()
        task = self._environ.get(_TASK)
        if task is not None:
            self._loop.call_soon_threadsafe(task.cancel)


def _noting_tasks(app: ASGIApp) -> ASGIApp:
    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        scope["wsgi_environ"][_TASK] = asyncio.current_task()
        await app(scope, receive, send)

    return noting
