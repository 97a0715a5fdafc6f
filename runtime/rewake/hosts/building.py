"""The one composition root: the parts of a server, each by its address.

    a database    see `rewake.hosts.databases`
    a dispatcher  in-process                                   work stays in the process
                  http                                         to REWAKE_URL, any replica takes it

Another dispatcher is a row in a table here, its name in `config.DISPATCHERS`, and a module of its
own.
"""

from __future__ import annotations

import logging
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
from rewake.hosts.databases import Address, file_of, open_database
from rewake.hosts.hosts import refusals
from rewake.hosts.pausing import Pauses, Pausing, SecondsOf
from rewake.http.app import create_app
from rewake.http.bodies import LIMIT
from rewake.http.load import Limits
from rewake.signing.secret import Secret

log = logging.getLogger("rewake.server")

# --- dispatchers -------------------------------------------------------------------------------


_DISPATCHERS: Mapping[str, Callable[[ServerConfig, Secret, Clock], Dispatcher]] = {
    "in-process": lambda _config, _secret, clock: InProcessDispatcher(clock),
    "http": lambda config, secret, clock: HttpDispatcher(
        config.url, secret, clock, pauses=not config.runs_on.goes_on
    ),
}


# --- the whole ---------------------------------------------------------------------------------


def build_engine(app: App, config: ServerConfig, secret: Secret, clock: Clock) -> Engine:
    """An engine that serves `app` as configured. Raises `ConfigError`, `StoreError`."""
    _refuse(app, config)
    dispatcher = _DISPATCHERS[config.dispatcher](config, secret, clock)
    table, shelf = open_database(Address(config.db, config.blobs))
    settings = Settings(
        lease=round(config.lease * 1000),
        blocked=round(config.blocked * 1000),
        cached=config.cached,
        tasks=config.tasks,
        pauses=not config.runs_on.goes_on,
        url=config.url,
        keep=config.keep,
    )
    return Engine(app, table, dispatcher, secret, shelf=shelf, clock=clock, settings=settings)


def _refuse(app: App, config: ServerConfig) -> None:
    """Raise `ConfigError` for what the host cannot carry."""
    host = config.runs_on
    found = refusals(host, app, dispatcher=config.dispatcher, db=config.db)
    if (first := next(found, None)) is not None:
        raise ConfigError(first)
    if not host.keeps_files and file_of(Address(config.db, config.blobs)) is not None:
        told = (
            "%s: each instance has a disk of its own, and %s the runs of one alone: see REWAKE_DB"
        )
        log.warning(told, host.title, config.db)


def build_app(
    source: str | App,
    config: ServerConfig,
    *,
    development: bool = False,
    seconds_of: SecondsOf | None = None,
) -> Starlette:
    """The ASGI app that serves `source`. Raises `AppError`, `ConfigError`, `StoreError`.

    `development`: what is not set up yet is warned of, and shut. `seconds_of`: how many seconds a
    platform that ends requests has left for one.
    """
    secret = config.secret
    if secret is None:
        raise ConfigError("there is no secret: set REWAKE_SECRET to a long random text")
    app = load_app(source)[0] if isinstance(source, str) else source
    clock = SystemClock()
    engine, host = build_engine(app, config, secret, clock), config.runs_on
    made = create_app(
        engine,
        secret,
        tokens=config.tokens,
        grace=config.grace,
        sweep=host.goes_on,
        limit=min(LIMIT, host.largest_request or LIMIT),
        limits=Limits(config.waiting, config.backlog),
        clock=clock,
        development=development,
        cors=config.cors,
        identity=config.identity,
        streams=host.streams,
        platform=host.name,
    )
    if not host.goes_on:
        pauses = made.state.pauses = Pauses(made)
        made.add_middleware(Pausing, host=host, pauses=pauses, seconds_of=seconds_of)
    return made


def app_from_env(environ: Mapping[str, str] = os.environ, *, platform: str = "") -> Starlette:
    """The ASGI app that the environment describes. Raises as `build_app` does.

    `platform`: where it runs, if that is known: a name of `rewake.hosts.hosts`.
    """
    config = ServerConfig.from_env(environ, platform=platform or None)
    return build_app(config.app, config)
