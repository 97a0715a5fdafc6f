from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys

import msgspec
import pytest

from rewake.clock import SystemClock
from rewake.dispatchers.http import BACKLOG, HORIZON, HttpDispatcher
from rewake.errors import ConfigError
from rewake.http.bodies import LIMIT
from rewake.records import Invocation, Value
from rewake.signing.secret import Secret
from rewake.stores.blobs import BLOB_BYTES

CLOCK = SystemClock()
SECRET = Secret("a secret that only tests may know")


async def nothing(invocation: Invocation) -> None:
    """It is never called: messages arrive over HTTP."""


def test_nobody_answers(caplog: pytest.LogCaptureFixture) -> None:
    """Messages that nobody takes are given up, and told once, without what they hold."""

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        dispatcher = HttpDispatcher(f"http://127.0.0.1:{port}", SECRET, CLOCK)
        dispatcher.open(nothing)
        await dispatcher.dispatch([Invocation(f"run-{number}") for number in range(50)])
        await dispatcher.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())

    assert len(caplog.records) == 1
    assert "run-" not in caplog.text


def test_nobody_reads(caplog: pytest.LogCaptureFixture) -> None:
    """A replica that accepts and then hangs does not hold up the end of this one."""

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            dispatcher = HttpDispatcher(f"http://127.0.0.1:{mute.getsockname()[1]}", SECRET, CLOCK)
            dispatcher.open(nothing)
            await dispatcher.dispatch([Invocation("a-run")])
            async with asyncio.timeout(5):
                await dispatcher.close()

    asyncio.run(scenario())


def test_the_first_message_imports_nothing() -> None:
    """The client is loaded when the dispatcher opens: not with its module, nor with a message."""
    code = """
import asyncio, sys
from rewake.dispatchers.http import HttpDispatcher
from rewake.clock import SystemClock
from rewake.records import Invocation
from rewake.signing.secret import Secret

def client():
    return {name for name in sys.modules if name.startswith("aiohttp")}

async def main():
    dispatcher = HttpDispatcher("http://127.0.0.1:9", Secret("a secret of a test"), SystemClock())
    before = client()
    dispatcher.open(None)
    opened = client()
    await dispatcher.dispatch([Invocation("a-run")])
    await dispatcher.close()
    print(not before, bool(opened), client() == opened)

asyncio.run(main())
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "True", "True"]


def test_long_delays_are_left_to_the_due_index() -> None:
    """Nothing is held in memory for what is due later than the horizon."""

    async def scenario() -> None:
        dispatcher = HttpDispatcher("http://127.0.0.1:9", SECRET, CLOCK)
        dispatcher.open(nothing)
        loop = asyncio.get_running_loop()
        before = len(loop._scheduled)  # type: ignore[attr-defined]
        later = CLOCK.now() + HORIZON + 1000
        await dispatcher.dispatch([Invocation("a-run", not_before=later)])
        assert len(loop._scheduled) == before  # type: ignore[attr-defined]
        await dispatcher.close()

    asyncio.run(scenario())


def test_the_backlog_has_an_end(caplog: pytest.LogCaptureFixture) -> None:
    """More messages than the backlog holds are left to the due index."""

    async def scenario() -> None:
        dispatcher = HttpDispatcher("http://127.0.0.1:9", SECRET, CLOCK)
        dispatcher.open(nothing)
        await dispatcher.dispatch([Invocation("a-run")] * (BACKLOG + 1))
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await dispatcher.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())

    assert "too many" in caplog.text


def test_large_arguments_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica refuses a message that is larger than a request may be, and a sweep sends one with
    all that a task is called with: it would be refused for ever. Who takes it reads the history.
    """
    sent: list[bytes] = []

    class Answer:
        status = 202

        async def __aenter__(self) -> Answer:
            return self

        async def __aexit__(self, *_: object) -> None:
            """Nothing is left to do."""

    def post(*_: object, data: bytes, **__: object) -> Answer:
        sent.append(data)
        return Answer()

    async def scenario() -> None:
        dispatcher = HttpDispatcher("http://127.0.0.1:9", SECRET, CLOCK)
        dispatcher.open(nothing)
        monkeypatch.setattr(dispatcher._session, "post", post)
        for size in (BLOB_BYTES, LIMIT):
            args = Value("json", msgspec.Raw(msgspec.json.encode("x" * (size - 2))))
            await dispatcher.dispatch([Invocation("a-run", "a-task", args=args)])
        await dispatcher.flush()
        await dispatcher.close()

    asyncio.run(scenario())

    small, large = (msgspec.json.decode(each, type=Invocation) for each in sent)
    assert small.args is not None
    assert large == Invocation("a-run", "a-task")


@pytest.mark.parametrize("url", ["", "here", "ftp://here", "http://", "http://a:b@here"])
def test_unfit_addresses(url: str) -> None:
    """The base URL is an address, without a password in it."""
    with pytest.raises(ConfigError, match="REWAKE_URL"):
        HttpDispatcher(url, SECRET, CLOCK)
