"""AWS Lambda: one event comes, one answer goes, and then the process stands still.

    a request       of a Function URL, or an HTTP API (payload format 2.0)    Mangum, to the app
    messages        of a queue (SQS), or with an asynchronous invocation      `lambda_events`
    a sweep         of a schedule                                             `lambda_events`

What is slow is done while the function starts: modules are imported, the app is loaded. What must
be a process's own is made with the first event: the event loop, the engine with its names, its
randomness and its connections. So a snapshot of a function that has started (SnapStart) can be
restored many times over, and no two of them have a name or a connection in common. From then on
both are kept: a warm function opens nothing.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, Protocol
from urllib.parse import quote

from starlette.applications import Starlette

from rewake.app import App, load_app
from rewake.engine.engine import Engine
from rewake.errors import ConfigError, UsageError
from rewake.hosts.building import build_app
from rewake.hosts.config import ServerConfig
from rewake.hosts.hosts import MIB
from rewake.hosts.log_formats import JsonFormat, configure_logging
from rewake.hosts.pausing import Pauses, too_large
from rewake.http.app import ROUTES

NAME: Final = "aws-lambda"

_MODULES: Mapping[str, tuple[str, ...]] = {"http": ("aiohttp",)}
"""By dispatcher: what it would import with the first message."""
_TEXTS = ("text/", "application/json", "application/problem+json", "application/x-ndjson")
"""What is no Base64 in an answer."""
_AS_ASCII = sys.version_info < (3, 12)  # So the runtime's client writes JSON.
_MOST_FOR_ONE = 12  # The most bytes that JSON has for one character.
_FUNCTION_URL = ".lambda-url."
_HTTP_API = ".execute-api."
_OURS = frozenset(path.split("/")[1] for _, path, _ in ROUTES)
"""What our own paths begin with: at a domain of its own an API may hand on no stage."""

Event = dict[str, Any]


class Context(Protocol):
    """What the platform says of an invocation."""

    def get_remaining_time_in_millis(self) -> int:
        """How long it may still take."""
        ...


class LambdaHost:
    """The handler of a function: `handler = LambdaHost.from_env()`."""

    def __init__(self, app: App, config: ServerConfig) -> None:
        try:
            from mangum import Mangum  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigError("AWS Lambda needs Mangum: pip install 'rewake[aws]'") from None
        self._app = app
        self._config = config
        self._adapter = Mangum
        self._loop: asyncio.AbstractEventLoop | None = None
        self._served: Starlette | None = None
        self._http: Callable[[Event, Any], Any] | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> LambdaHost:
        """The function that the environment describes. Raises `ConfigError`, `AppError`."""
        config = ServerConfig.from_env(environ, platform=NAME)
        _configure_logging(config)
        for name in _MODULES.get(config.dispatcher, ()):
            importlib.import_module(name)
        return cls(load_app(config.app)[0], config)

    def __call__(self, event: Event, context: Context) -> Any:
        """Answer one event. Raises `UsageError` for one that is none of these."""
        loop = self._opened()
        if _is_request(event):
            assert self._http is not None
            return self._carried(self._http(_encoded(event), context))
        handle = _handler_of(event)
        seconds = context.get_remaining_time_in_millis() / 1000
        return loop.run_until_complete(self._carry_out(handle, event, seconds))

    async def _carry_out(self, handle: Handle, event: Event, seconds: float) -> Any:
        assert self._served is not None
        pauses: Pauses = self._served.state.pauses
        async with pauses.working(seconds):
            return await handle(self._served.state.parts.engine, event)

    def _carried(self, answer: Event) -> Event:
        """The answer; another one if this one is too large as it travels: as a text in JSON."""
        host = self._config.runs_on
        most, size = host.largest_response, _size(answer)
        if most is None or size <= most:
            return answer
        start, body = too_large(host, size, most)
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return {
            "statusCode": start["status"],
            "headers": headers,
            "body": body["body"].decode(),
            "isBase64Encoded": False,
        }

    def _opened(self) -> asyncio.AbstractEventLoop:
        """The event loop, which is kept from event to event, and all that lives in it."""
        if self._loop is None:
            served = build_app(self._app, self._config, seconds_of=_seconds_of)
            self._loop, self._served = asyncio.new_event_loop(), served
            asyncio.set_event_loop(self._loop)  # where Mangum looks for it
            self._http = self._adapter(served, lifespan="off", text_mime_types=[*_TEXTS])
        return self._loop


Handle = Callable[[Engine, Event], Awaitable[dict[str, Any]]]
"""Acts on an event of AWS, in the time that there is (`within.ending_at`)."""


def _handler_of(event: Any) -> Handle:
    """What acts on an event that is no request."""
    from rewake.hosts import lambda_events as events  # noqa: PLC0415 - requests need no queue

    for holds, handle in (
        (events.is_batch, events.handle_sqs),
        (events.is_message, events.handle_invoke),
        (events.is_schedule, events.handle_schedule),
    ):
        if holds(event):
            return handle
    told = ", ".join(sorted(map(str, event))[:8]) if isinstance(event, Mapping) else ""
    raise UsageError(f"this event is none that Rewake knows (it has: {told or 'nothing'})")


def _configure_logging(config: ServerConfig) -> None:
    """Let the function's log have what a server's has; its runtime has a handler there already."""
    configure_logging(config.log_level, config.log_format)
    root = logging.getLogger()
    root.setLevel(config.log_level.upper())
    if config.log_format == "json":
        for each in root.handlers:
            each.setFormatter(JsonFormat())
    logging.getLogger("mangum").setLevel(logging.WARNING)  # else it tells each part of an answer


def _is_request(event: Any) -> bool:
    return isinstance(event, Mapping) and "http" in (event.get("requestContext") or {})


def _size(answer: Event) -> int:
    """How many bytes an answer has as the runtime's client sends it; of a small one, a bound."""
    bound = _MOST_FOR_ONE * len(str(answer))
    return bound if bound < MIB else len(json.dumps(answer, ensure_ascii=_AS_ASCII).encode())


def _encoded(event: Event) -> Event:
    """The event with a percent-encoded path, as Mangum expects it, without the name of a stage.

    A Function URL passes a path on as it is; an HTTP API has decoded it, and puts its stage in
    front, if that has a name.
    """
    about = event["requestContext"]
    domain, stage = about.get("domainName", ""), about.get("stage", "")
    if _FUNCTION_URL in domain:
        return event
    path: str = about["http"]["path"]
    if stage and (_HTTP_API in domain or stage not in _OURS) and path.startswith(f"/{stage}/"):
        path = path.removeprefix(f"/{stage}")
    asked = {**about["http"], "path": quote(path)}
    return {**event, "requestContext": {**about, "http": asked}}


def _seconds_of(scope: MutableMapping[str, Any]) -> float | None:
    context: Context | None = scope.get("aws.context")
    return None if context is None else context.get_remaining_time_in_millis() / 1000
