"""What every dispatcher promises, asked of each."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import msgspec
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from rewake.clock import SystemClock
from rewake.dispatchers.dispatcher import Dispatcher, Handler
from rewake.dispatchers.http import HttpDispatcher
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.http import internal
from rewake.http.inbox import Inbox
from rewake.http.parts import Parts
from rewake.records import Invocation, Value
from rewake.signing.tokens import Keys
from tests.support.queues import SECRET, over_lambda, over_sqs

CLOCK = SystemClock()
NOTHING = cast(Any, None)
PATIENCE = 10.0

Rig = Callable[[Handler], AbstractAsyncContextManager[Dispatcher]]


class Receiver:
    """A handler that keeps what it was given, and when. It fails as often as `failures` says."""

    def __init__(self, failures: int = 0) -> None:
        self.found: asyncio.Queue[tuple[Invocation, int]] = asyncio.Queue()
        self.failures = failures
        self.failed = asyncio.Event()

    async def __call__(self, invocation: Invocation) -> None:
        if self.failures:
            self.failures -= 1
            self.failed.set()
            raise RuntimeError("a handler that fails")
        self.found.put_nowait((invocation, CLOCK.now()))

    async def next(self) -> tuple[Invocation, int]:
        async with asyncio.timeout(PATIENCE):
            return await self.found.get()


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
        NOTHING, Keys(SECRET), inbox, CLOCK, *[NOTHING] * 4, people=NOTHING, views=NOTHING
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


@pytest.fixture(
    params=[in_process, over_http, over_sqs, over_lambda],
    ids=["in-process", "http", "sqs", "lambda"],
)
def rig(request: pytest.FixtureRequest) -> Rig:
    """Each way to carry messages."""
    found: Rig = request.param
    return found


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Play a scenario to its end, which must come."""

    async def bounded() -> None:
        async with asyncio.timeout(3 * PATIENCE):
            await scenario()

    asyncio.run(bounded())


def test_delivers(rig: Rig) -> None:
    """A message arrives whole."""
    args = Value("json", msgspec.Raw(b'[[1,"\xc3\xa4"],{}]'))
    sent = Invocation("a-run", "a.key", "a-task", args)

    async def scenario() -> None:
        receiver = Receiver()
        async with rig(receiver) as dispatcher:
            await dispatcher.dispatch([sent])
            received, _ = await receiver.next()
        assert msgspec.json.encode(received) == msgspec.json.encode(sent)

    run(scenario)


def test_delivers_each_of_many(rig: Rig) -> None:
    """Of many messages each arrives, in whatever order."""
    sent = {f"run-{number}" for number in range(300)}

    async def scenario() -> None:
        receiver = Receiver()
        async with rig(receiver) as dispatcher:
            await dispatcher.dispatch([Invocation(each, "key") for each in sent])
            received = {(await receiver.next())[0].run for _ in sent}
        assert received == sent

    run(scenario)


def test_not_before_its_time(rig: Rig) -> None:
    """A message that is delayed arrives then, not earlier, and holds up no other."""

    async def scenario() -> None:
        receiver = Receiver()
        async with rig(receiver) as dispatcher:
            at = CLOCK.now() + 100
            await dispatcher.dispatch([Invocation("late", not_before=at), Invocation("prompt")])
            assert (await receiver.next())[0].run == "prompt"
            late, when = await receiver.next()
        assert late.run == "late"
        assert when >= at

    run(scenario)


def test_a_time_that_is_over(rig: Rig) -> None:
    """A message whose time is over is sent at once."""

    async def scenario() -> None:
        receiver = Receiver()
        async with rig(receiver) as dispatcher:
            await dispatcher.dispatch([Invocation("a-run", not_before=CLOCK.now() - 1000)])
            await receiver.next()

    run(scenario)


def test_survives_a_handler_that_fails(rig: Rig) -> None:
    """A message whose handler fails takes no other with it."""

    async def scenario() -> None:
        receiver = Receiver(failures=1)
        async with rig(receiver) as dispatcher:
            await dispatcher.dispatch([Invocation("a-run")])
            await receiver.failed.wait()
            await dispatcher.dispatch([Invocation("another-run")])
            assert (await receiver.next())[0].run == "another-run"

    run(scenario)


def test_does_not_wait_for_the_work(rig: Rig) -> None:
    """Sending is over before the work is, and messages are worked on side by side."""

    async def scenario() -> None:
        both = asyncio.Barrier(3)  # this test is the third

        async def work(invocation: Invocation) -> None:
            await both.wait()

        async with rig(work) as dispatcher:
            await dispatcher.dispatch([Invocation("a-run", "key"), Invocation("b-run", "key")])
            async with asyncio.timeout(PATIENCE):
                await both.wait()

    run(scenario)


def test_close_drops_what_is_delayed(rig: Rig) -> None:
    """After closing, nothing is delivered that was not due before, unless it is on its way."""
    if rig is over_lambda:
        pytest.skip("what is due within two seconds waits in the function that it invokes")

    async def scenario() -> None:
        receiver = Receiver()
        async with rig(receiver) as dispatcher:
            await dispatcher.dispatch([Invocation("late", not_before=CLOCK.now() + 50)])
            await dispatcher.close()
            await dispatcher.dispatch([Invocation("too-late")])
            await asyncio.sleep(0.1)
        assert receiver.found.empty()

    run(scenario)
