"""The one composition root: the parts of a server, each by its address.

    a database    see `rewake.hosts.databases`
    a dispatcher  in-process                                   work stays in the process
                  http                                         to REWAKE_URL, any replica takes it
    sqs                                          into a queue, from which any replica takes it
    lambda                                       to a function, and what has to wait into a queue

    a route       https://HOST[/PATH]                          messages for a tag's tasks go there

Another dispatcher is a row in a table here, its name in `config.DISPATCHERS`, and a module of its
own; another kind of route is a row, by what its address begins with.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from starlette.applications import Starlette

from rewake.app import App, load_app
from rewake.aws.client import AwsClient, check_installed
from rewake.aws.queue import Queue, check_queues
from rewake.clock import Clock, SystemClock
from rewake.dispatchers.aws_lambda import LambdaDispatcher
from rewake.dispatchers.dispatcher import Dispatcher
from rewake.dispatchers.http import HttpDispatcher
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.dispatchers.routes import Router
from rewake.dispatchers.sqs import SqsDispatcher, open_queue, parked_name
from rewake.engine.engine import Engine
from rewake.engine.settings import Settings
from rewake.errors import ConfigError
from rewake.hosts.archives import check_archive, fill, open_archive
from rewake.hosts.config import ServerConfig
from rewake.hosts.databases import Address, file_of, open_database
from rewake.hosts.hosts import refusals
from rewake.hosts.pausing import Pauses, Pausing, SecondsOf
from rewake.http.app import create_app
from rewake.http.bodies import LIMIT
from rewake.http.load import Limits
from rewake.signing.secret import Secret
from rewake.stores.bills import Bills
from rewake.tags import EVERY, UNTAGGED, Served

_UNTAGGED = Served()

log = logging.getLogger("rewake.server")

# --- dispatchers -------------------------------------------------------------------------------


class Given(NamedTuple):
    """What dispatchers are made of."""

    config: ServerConfig
    secret: Secret
    clock: Clock
    tell: Callable[[Iterable[str]], object] = list
    """Told of which runs the messages are that are billed."""


def _over_sqs(given: Given, tag: str = UNTAGGED) -> SqsDispatcher:
    """A queue for messages of a tag, from which those take that serve it."""
    check_installed()
    config, secret, clock, tell = given
    queue = open_queue(config.queue)
    parked = open_queue(config.dead_letters or parked_name(config.queue))
    serves = tag in (config.served or _UNTAGGED)
    takes = serves and config.consume and config.runs_on.goes_on  # else its host brings them
    return SqsDispatcher(
        queue, parked, secret, clock, consumes=takes, room=config.tasks, count=tell
    )


def _over_lambda(given: Given) -> LambdaDispatcher:
    check_installed()
    function, later = given.config.function, _over_sqs(given) if given.config.queue else None
    return LambdaDispatcher(function, AwsClient("lambda"), given.secret, given.clock, later)


def _over_http(address: str, given: Given) -> HttpDispatcher:
    pauses = not given.config.runs_on.goes_on
    return HttpDispatcher(address, given.secret, given.clock, pauses=pauses)


_DISPATCHERS: Mapping[str, Callable[[Given], Dispatcher]] = {
    "in-process": lambda given: InProcessDispatcher(given.clock),
    "http": lambda given: _over_http(given.config.url, given),
    "sqs": _over_sqs,
    "lambda": _over_lambda,
}


def check_dispatcher(dispatcher: Dispatcher) -> None:
    """Raise `ConfigError`, in one line, if what carries messages is not there or does not fit."""
    asyncio.run(look_at_dispatcher(dispatcher))


async def look_at_dispatcher(dispatcher: Dispatcher) -> None:
    """The same in an event loop."""
    queues: Sequence[Queue] = getattr(dispatcher, "queues", ())
    try:
        await check_queues(*queues)
    finally:
        for queue in queues:
            await queue.close()


def _sqs_route(address: str, tag: str, given: Given) -> Dispatcher:
    config = replace(given.config, queue=address.partition(":")[2], dead_letters="")
    return _over_sqs(given._replace(config=config), tag)


def _lambda_route(address: str, _tag: str, given: Given) -> Dispatcher:
    check_installed()
    function = address.partition(":")[2]
    return LambdaDispatcher(function, AwsClient("lambda"), given.secret, given.clock)


_ROUTES: Mapping[str, Callable[[str, str, Given], Dispatcher]] = {
    "https": lambda address, _tag, given: _over_http(address, given),
    "http": lambda address, _tag, given: _over_http(address, given),
    "sqs": _sqs_route,
    "lambda": _lambda_route,
}
"""By what stands before the first colon of its address: what makes a route."""


def _dispatcher(given: Given) -> Dispatcher:
    """The dispatcher, with the routes that messages of tags take. Raises `ConfigError`."""
    config = given.config
    main = _DISPATCHERS[config.dispatcher](given)
    routes = {tag: _route(tag, to, given) for tag, to in config.routes.items()}
    return Router(main, routes) if routes else main


def _route(tag: str, address: str, given: Given) -> Dispatcher:
    kind, _, _ = address.partition(":")
    make = _ROUTES.get(kind.lower())
    if make is None:
        known = ", ".join(f"{each}:" for each in _ROUTES)
        raise ConfigError(f"REWAKE_ROUTES: the address for {tag} begins with none of {known}")
    try:
        return make(address, tag, given)
    except ConfigError:
        if not kind.lower().startswith("http"):
            raise
        told = f"REWAKE_ROUTES: the address for {tag} must be http(s)://host[:port][/path]"
        raise ConfigError(told) from None


# --- the whole ---------------------------------------------------------------------------------


def build_engine(
    app: App, config: ServerConfig, secret: Secret, clock: Clock, *, unless_said: Served = _UNTAGGED
) -> Engine:
    """An engine that serves `app` as configured. Raises `ConfigError`, `StoreError`.

    `unless_said`: what it serves if the settings do not say.
    """
    _refuse(app, config)
    table, shelf = open_database(Address(config.db, config.blobs))
    bills: Bills = getattr(table, "bills", None) or Bills()
    dispatcher = _dispatcher(Given(config, secret, clock, bills.sent))
    settings = Settings(
        lease=round(config.lease * 1000),
        blocked=round(config.blocked * 1000),
        cached=config.cached,
        tasks=config.tasks,
        entries=config.entries,
        value=config.value,
        pauses=not config.runs_on.goes_on,
        url=config.url,
        keep=config.keep,
        events_kept=round(config.events_kept * 1000),
        served=config.served or unless_said,
    )
    engine = Engine(app, table, dispatcher, secret, shelf=shelf, clock=clock, settings=settings)
    if config.archive:
        fill(open_archive(config.archive, config.blobs), engine, secret)
    return engine


def _refuse(app: App, config: ServerConfig) -> None:
    """Raise `ConfigError` for what the host cannot carry."""
    host = config.runs_on
    found = refusals(host, app, dispatcher=config.dispatcher, db=config.db)
    if (first := next(found, None)) is not None:
        raise ConfigError(first)
    check_archive(app, config)
    if not host.keeps_files and file_of(Address(config.db, config.blobs)) is not None:
        told = (
            "%s: each instance has a disk of its own, and %s the runs of one alone: see REWAKE_DB"
        )
        log.warning(told, host.title, config.db)
    if not host.goes_on and not host.has_queues and config.dispatcher == "sqs":
        told = "%s takes no messages from a queue: a server that goes on has to, or AWS Lambda"
        log.warning(told, host.title)


def build_app(
    source: str | App,
    config: ServerConfig,
    *,
    development: bool = False,
    seconds_of: SecondsOf | None = None,
) -> Starlette:
    """The ASGI app that serves `source`. Raises `AppError`, `ConfigError`, `StoreError`.

    `development`: what is not set up yet is warned of, and shut; tasks of all tags are served.
    `seconds_of`: how many seconds a platform that ends requests has left for one.
    """
    secret = config.secret
    if secret is None:
        raise ConfigError("there is no secret: set REWAKE_SECRET to a long random text")
    app = load_app(source)[0] if isinstance(source, str) else source
    clock = SystemClock()
    serves = EVERY if development else _UNTAGGED
    engine = build_engine(app, config, secret, clock, unless_said=serves)
    host = config.runs_on
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
