"""A server of one's own: an app file, a database file, and uvicorn.

Everything can be set in the environment (`SETTINGS` is the table), so that a container needs no
arguments. When it is told to end, it stops accepting, lets requests that wait return, gives
work under way a grace period, hands the rest over and exits with 0.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rewake.app import App, load_app
from rewake.dispatchers.dispatcher import Dispatcher
from rewake.dispatchers.http import HttpDispatcher, checked_url
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.clock import SystemClock
from rewake.engine.engine import Engine
from rewake.engine.settings import Settings
from rewake.errors import ConfigError, UsageError
from rewake.secret import Secret

if TYPE_CHECKING:
    from starlette.applications import Starlette

log = logging.getLogger("rewake.server")

_LEVELS = ("debug", "info", "warning", "error")
_KEEP_ALIVE = 30  # Seconds; longer than the HTTP dispatcher keeps its connections.


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What a server is told. Durations in seconds.

    `app` is a file or module, `db` the SQLite file. With `dispatcher="http"` messages travel
    over HTTP to `url`, the one address of all replicas, so that any of them takes any message.
    `lease` is after how long a dead replica is noticed, `cached` how many suspended runs stay in
    memory, `tasks` how many attempts run at once, `grace` how long work may go on at the end.
    `tokens` are the bearer tokens, by default one that is derived from the secret.
    """

    app: str = "app.py"
    host: str = "127.0.0.1"
    port: int = 8000
    db: Path = Path(".rewake/rewake.db")
    dispatcher: str = "in-process"
    url: str = ""
    lease: float = 5.0
    cached: int = 256
    tasks: int = 100
    grace: float = 5.0
    log_level: str = "info"
    secret: Secret | None = None
    tokens: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **given: Any) -> ServerConfig:
        """What the environment says, and what is `given` (and not None) instead of it.

        Raises `ConfigError`, which names the variable.
        """
        known = {each.name for each in fields(cls)}
        values = {
            name: _read(variable, environ[variable], reader)
            for name, (variable, reader) in SETTINGS.items()
            if environ.get(variable)
        }
        values |= {k: v for k, v in given.items() if v is not None and k in known}
        config = cls(**values)
        _check(config)
        return config

    def with_secret(self, secret: Secret) -> ServerConfig:
        """The same, signing with this secret unless the environment named one."""
        return self if self.secret is not None else replace(self, secret=secret)


def _texts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _secret(text: str) -> Secret:
    current, *previous = _texts(text)
    return Secret(current, *previous)


SETTINGS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "app": ("REWAKE_APP", str),
    "host": ("REWAKE_HOST", str),
    "port": ("REWAKE_PORT", int),
    "db": ("REWAKE_DB", Path),
    "dispatcher": ("REWAKE_DISPATCHER", str),
    "url": ("REWAKE_URL", str),
    "lease": ("REWAKE_LEASE", float),
    "cached": ("REWAKE_CACHED", int),
    "tasks": ("REWAKE_TASKS", int),
    "grace": ("REWAKE_GRACE", float),
    "log_level": ("REWAKE_LOG_LEVEL", str.lower),
    "secret": ("REWAKE_SECRET", _secret),
    "tokens": ("REWAKE_TOKEN", _texts),
}
"""What each setting is called in the environment, and how its text is read."""


def _read(variable: str, text: str, reader: Callable[[str], Any]) -> Any:
    try:
        return reader(text)
    except ValueError:
        # The text is left out: a secret may have ended up in the wrong variable.
        raise ConfigError(f"{variable} cannot be read as {reader.__name__.strip('_')}") from None


def _check(config: ServerConfig) -> None:
    dispatchers = tuple(_DISPATCHERS)
    for name, holds, wanted in (
        ("port", 0 <= config.port <= 65535, "0 to 65535"),
        ("lease", 0.1 <= config.lease <= 3600, "0.1 to 3600 seconds"),
        ("grace", 0 <= config.grace <= 3600, "0 to 3600 seconds"),
        ("cached", config.cached >= 0, "0 or more"),
        ("tasks", config.tasks >= 1, "1 or more"),
        ("dispatcher", config.dispatcher in dispatchers, " or ".join(dispatchers)),
        ("log_level", config.log_level in _LEVELS, ", ".join(_LEVELS)),
    ):
        if not holds:
            raise ConfigError(f"{SETTINGS[name][0]} must be {wanted}")
    if config.url:
        checked_url(config.url)
    elif config.dispatcher == "http":
        raise ConfigError("the http dispatcher needs the address of all replicas: set REWAKE_URL")


# --- the app -----------------------------------------------------------------------------------


def build_app(source: str | App, config: ServerConfig) -> Starlette:
    """The ASGI app that serves `source`. Raises `AppError`, `ConfigError`, `StoreError`."""
    from rewake.http.app import create_app
    from rewake.stores.sqlite import SqliteTable

    secret = config.secret
    if secret is None:
        raise ConfigError("there is no secret: set REWAKE_SECRET to a long random text")
    app = load_app(source)[0] if isinstance(source, str) else source
    config.db.parent.mkdir(parents=True, exist_ok=True)
    settings = Settings(lease=round(config.lease * 1000), cached=config.cached, tasks=config.tasks)
    clock = SystemClock()
    dispatcher = _DISPATCHERS[config.dispatcher](config, secret, clock)
    engine = Engine(app, SqliteTable(config.db), dispatcher, secret, clock=clock, settings=settings)
    return create_app(engine, secret, tokens=config.tokens, grace=config.grace, clock=clock)


def _in_process(config: ServerConfig, secret: Secret, clock: SystemClock) -> Dispatcher:  # noqa: ARG001
    return InProcessDispatcher(clock)


def _over_http(config: ServerConfig, secret: Secret, clock: SystemClock) -> Dispatcher:
    return HttpDispatcher(config.url, secret, clock)


_DISPATCHERS: Mapping[str, Callable[[ServerConfig, Secret, SystemClock], Dispatcher]] = {
    "in-process": _in_process,
    "http": _over_http,
}


def app_from_env(environ: Mapping[str, str] = os.environ) -> Starlette:
    """The ASGI app that the environment describes. Raises as `build_app` does."""
    config = ServerConfig.from_env(environ)
    return build_app(config.app, config)


# --- the secret of a development server ----------------------------------------------------------


def dev_secret(folder: Path) -> Secret:
    """The secret in `folder`, made at first, readable by its owner only.

    Whoever is first decides, also among processes that start at once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "secret"
    if not path.exists():
        _write_once(path, secrets.token_urlsafe(32))
    return Secret(path.read_text().strip())


def _write_once(path: Path, text: str) -> None:
    """Write a file that others see whole or not at all, unless it is there."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
    finally:
        draft.unlink()


# --- the process -------------------------------------------------------------------------------


def serve(config: ServerConfig, source: str | App | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises `ConfigError` where it cannot listen.

    What a sync task left running keeps the process alive: end it with `leave`.
    """
    import uvicorn

    from rewake.http.app import begin_closing

    class Server(uvicorn.Server):
        """Ends with status 0 on a signal, and lets long polls return at once."""

        def handle_exit(self, sig: int, frame: object) -> None:  # noqa: ARG002
            self.force_exit = self.should_exit  # the second signal
            self.should_exit = True

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            begin_closing(app)
            await super().shutdown(sockets)

    logging.basicConfig(
        level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    listener = _listen(config.host, config.port)
    try:
        app = build_app(config.app if source is None else source, config)
    except BaseException:
        listener.close()
        raise
    host, port = listener.getsockname()[:2]
    log.info("serving on http://%s:%s", f"[{host}]" if ":" in host else host, port)
    Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=config.log_level == "debug",
            lifespan="on",
            ws="none",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=5,
        )
    ).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"cannot listen on {host} port {port}: {reason}") from error


def leave(status: int) -> NoReturn:
    """End the process, also when sync tasks that were abandoned still run in their threads."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    if any(thread.name.startswith("rewake-task") for thread in threading.enumerate()):
        os._exit(status)  # Python would wait for them
    sys.exit(status)


def main() -> NoReturn:
    """`python -m rewake.hosts.server`: serve what the environment describes."""
    try:
        serve(ServerConfig.from_env())
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - it is for the terminal
        leave(2)
    leave(0)


if __name__ == "__main__":
    main()
