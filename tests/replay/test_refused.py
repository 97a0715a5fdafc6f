"""What has no meaning in a workflow is refused, and the message says what to use instead."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio.to_thread
import pytest
from starlette.concurrency import run_in_threadpool

from rewake import ForbiddenInWorkflow, task
from rewake.replay.loop import WorkflowLoop
from tests.support.driver import Run


@task
async def fetch(x: Any) -> Any:
    return x


async def to_thread() -> Any:
    await asyncio.to_thread(print)


async def executor() -> Any:
    await asyncio.get_running_loop().run_in_executor(None, print)


async def anyio_thread() -> Any:
    await anyio.to_thread.run_sync(print)


async def thread_of_a_library() -> Any:
    await run_in_threadpool(print)


async def connection() -> Any:
    await asyncio.open_connection("example.com", 80)


async def server() -> Any:
    await asyncio.start_server(lambda *_: None, "localhost", 0)


async def unix() -> Any:
    await asyncio.open_unix_connection("/nowhere")


async def names() -> Any:
    await asyncio.get_running_loop().getaddrinfo("example.com", 80)


async def raw_socket() -> Any:
    ours, theirs = socket.socketpair()
    try:
        await asyncio.get_running_loop().sock_recv(ours, 1)
    finally:
        ours.close()
        theirs.close()


async def reader() -> Any:
    asyncio.get_running_loop().add_reader(0, print)


async def pipe() -> Any:
    await asyncio.get_running_loop().connect_read_pipe(asyncio.Protocol, sys.stdin)


async def subprocess_exec() -> Any:
    await asyncio.create_subprocess_exec("true")


async def subprocess_shell() -> Any:
    await asyncio.create_subprocess_shell("true")


async def signals() -> Any:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print)


async def from_a_thread() -> Any:
    asyncio.get_running_loop().call_soon_threadsafe(print)


async def run_forever() -> Any:
    asyncio.get_running_loop().run_forever()


async def run_until_complete() -> Any:
    asyncio.get_running_loop().run_until_complete(asyncio.get_running_loop().create_future())


async def stop() -> Any:
    asyncio.get_running_loop().stop()


async def close() -> Any:
    asyncio.get_running_loop().close()


async def task_factory() -> Any:
    asyncio.get_running_loop().set_task_factory(None)


async def eager() -> Any:
    loop: Any = asyncio.get_running_loop()
    await loop.create_task(fetch("a"), eager_start=True)


async def task_by_hand() -> Any:
    await asyncio.Task(fetch("a"))


REFUSED = [
    to_thread,
    executor,
    anyio_thread,
    thread_of_a_library,
    connection,
    server,
    unix,
    names,
    raw_socket,
    reader,
    pipe,
    subprocess_exec,
    subprocess_shell,
    signals,
    from_a_thread,
    run_forever,
    run_until_complete,
    stop,
    close,
    task_factory,
    eager,
    task_by_hand,
]


@pytest.mark.parametrize("what", REFUSED, ids=lambda each: each.__name__)
def test_it_is_refused(what: Callable[[], Awaitable[Any]]) -> None:
    """It raises an error that can be caught, and that points to tasks and steps."""

    async def main() -> Any:
        try:
            await what()
        except ForbiddenInWorkflow as error:
            return [str(error), await fetch("b")]

    run = Run(main, cold=True).to_the_end()
    message, went_on = run.result
    assert went_on == "b"
    assert "a workflow body cannot" in message
    assert "@task" in message
    assert "step()" in message
    run.close()


def test_every_method_of_a_loop_is_there_or_refused() -> None:
    """No method of asyncio's abstract loop is left to raise `NotImplementedError`."""
    abstract = {
        name
        for name, found in vars(asyncio.AbstractEventLoop).items()
        if callable(found) and not name.startswith("__")
    }
    ours = {name for kind in WorkflowLoop.__mro__[:-2] for name in vars(kind)}
    assert abstract - ours == set()


def test_a_second_loop_is_refused_as_anywhere() -> None:
    """`asyncio.run` inside a body raises as it does inside any coroutine."""

    async def main() -> Any:
        coro = fetch("a")
        try:
            asyncio.run(coro)
        except RuntimeError as error:
            coro.close()
            return str(error)

    run = Run(main)
    assert "running event loop" in run.result
    run.close()


def test_debug_mode_is_ignored() -> None:
    """Asyncio's debug mode, which reads the real clock, does not reach a workflow."""

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        return [loop.get_debug(), loop.is_running(), loop.is_closed(), await fetch("a")]

    run = Run(main).to_the_end()
    assert run.result == [False, True, False, "a"]
    run.close()
