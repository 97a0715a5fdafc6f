"""The one composition root: the parts of a server, each by its address.

    a database    see `rewake.hosts.databases`
    a dispatcher  in-process                                   work stays in the process
                  http                                         to REWAKE_URL, any replica takes it

Another dispatcher is a row in a table here, its name in `config.DISPATCHERS`, and a module of its
own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from starlette.applications import Starlette

from rewake.app import App, load_app
from rewake.clock import Clock, SystemClock
from rewake.dispatchers.dispatcher import Dispatcher
from rewake.dispatchers.http import HttpDispatcher
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.settings import Settings
from rewake.errors import ConfigError
from rewake.hosts.config import ServerConfig
from rewake.hosts.databases import Address, open_database
from rewake.http.app import create_app
from rewake.http.load import Limits
from rewake.signing.secret import Secret

# --- dispatchers -------------------------------------------------------------------------------


_DISPATCHERS: Mapping[str, Callable[[ServerConfig, Secret, Clock], Dispatcher]] = {
    "in-process": lambda _config, _secret, clock: InProcessDispatcher(clock),
    "http": lambda config, secret, clock: HttpDispatcher(config.url, secret, clock),
}


# --- the whole ---------------------------------------------------------------------------------


def build_engine(app: App, config: ServerConfig, secret: Secret, clock: Clock) -> Engine:
    """An engine that serves `app` as configured. Raises `ConfigError`, `StoreError`."""
    dispatcher = _DISPATCHERS[config.dispatcher](config, secret, clock)
    table, shelf = open_database(Address(config.db, config.blobs))
    settings = Settings(
        lease=round(config.lease * 1000),
        blocked=round(config.blocked * 1000),
        cached=config.cached,
        tasks=config.tasks,
        url=config.url,
        keep=config.keep,
    )
    return Engine(app, table, dispatcher, secret, shelf=shelf, clock=clock, settings=settings)


def build_app(source: str | App, config: ServerConfig, *, development: bool = False) -> Starlette:
    """The ASGI app that serves `source`. Raises `AppError`, `ConfigError`, `StoreError`.

    `development`: what is not set up yet is warned of, and shut.
    """
    secret = config.secret
    if secret is None:
        raise ConfigError("there is no secret: set REWAKE_SECRET to a long random text")
    app = load_app(source)[0] if isinstance(source, str) else source
    clock = SystemClock()
    engine = build_engine(app, config, secret, clock)
    return create_app(
        engine,
        secret,
        tokens=config.tokens,
        grace=config.grace,
        limits=Limits(config.waiting, config.backlog),
        clock=clock,
        development=development,
        cors=config.cors,
        identity=config.identity,
    )


def app_from_env(environ: Mapping[str, str] = os.environ) -> Starlette:
    """The ASGI app that the environment describes. Raises as `build_app` does."""
    config = ServerConfig.from_env(environ)
    return build_app(config.app, config)
