"""What every dispatcher promises, asked of each kind: the contract that is published."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from rewake.clock import SystemClock
from rewake.conformance import DispatcherContract
from rewake.dispatchers.dispatcher import Dispatcher, Handler
from rewake.dispatchers.http import HttpDispatcher
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.dispatchers.routes import Router
from rewake.http import internal
from rewake.http.inbox import Inbox
from rewake.http.parts import Parts
from rewake.signing.tokens import Keys
from tests.support.queues import SECRET, over_lambda, over_sqs

CLOCK = SystemClock()
NOTHING = cast(Any, None)


@asynccontextmanager
async def in_process(handler: Handler) -> AsyncIterator[Dispatcher]:
    """A dispatcher that hands messages to `handler` in this process."""
    dispatcher = InProcessDispatcher(CLOCK)
    dispatcher.open(handler)
    try:
        yield dispatcher
    finally:
        await dispatcher.close()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield  # they belong to pytest


@asynccontextmanager
async def over_http(handler: Handler) -> AsyncIterator[Dispatcher]:
    """A dispatcher, and the endpoint that it sends to on a real socket."""
    inbox = Inbox(handler, CLOCK)
    inbox.open()
    app = Starlette(routes=[Route("/v1/invoke", internal.invoke, methods=["POST"])])
    app.state.parts = Parts(
        NOTHING,
        Keys(SECRET),
        inbox,
        CLOCK,
        *[NOTHING] * 4,
        people=NOTHING,
        views=NOTHING,
        ticks=NOTHING,
    )
    listener = socket.create_server(("127.0.0.1", 0))
    server = _Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none"))
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    dispatcher = HttpDispatcher(url, SECRET, CLOCK)
    dispatcher.open(handler)
    try:
        yield dispatcher
    finally:
        await dispatcher.close()
        server.should_exit = True
        await serving
        await inbox.close()


@asynccontextmanager
async def routed(handler: Handler) -> AsyncIterator[Dispatcher]:
    """What carries messages without a tag, among others that carry those of tags."""
    dispatcher = Router(InProcessDispatcher(CLOCK), {"gpu": InProcessDispatcher(CLOCK)})
    dispatcher.open(handler)
    try:
        yield dispatcher
    finally:
        await dispatcher.close()


class TestInProcess(DispatcherContract):
    """The contract, in one process."""

    def dispatcher(self, handler: Handler) -> AbstractAsyncContextManager[Dispatcher]:
        return in_process(handler)


class TestHttp(DispatcherContract):
    """The contract, over HTTP."""

    def dispatcher(self, handler: Handler) -> AbstractAsyncContextManager[Dispatcher]:
        return over_http(handler)


class TestRouted(DispatcherContract):
    """The contract, beside routes."""

    def dispatcher(self, handler: Handler) -> AbstractAsyncContextManager[Dispatcher]:
        return routed(handler)


class TestSqs(DispatcherContract):
    """The contract, through a queue."""

    patience = 20.0

    def dispatcher(self, handler: Handler) -> AbstractAsyncContextManager[Dispatcher]:
        return over_sqs(handler)


class TestLambda(DispatcherContract):
    """The contract, by invocations of a function."""

    keeps = True

    def dispatcher(self, handler: Handler) -> AbstractAsyncContextManager[Dispatcher]:
        return over_lambda(handler)
