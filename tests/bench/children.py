"""Child processes: the bench's own modules, servers, and where they listen."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import aiohttp

from tests.bench import machine


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def module(name: str, *arguments: object) -> list[str]:
    """The command that runs a module of this package."""
    return [sys.executable, "-m", f"tests.bench.{name}", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """This process's environment, importing what this process imports, and `more`."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}


def output(command: Sequence[str], *, seconds: float) -> str:
    """What a command prints. Raises if it fails or takes too long."""
    return _finished(command, seconds).stdout


def errors(command: Sequence[str], *, seconds: float) -> str:
    """What a command prints to its standard error. Raises if it fails or takes too long."""
    return _finished(command, seconds, stderr=subprocess.PIPE).stderr


def _finished(
    command: Sequence[str], seconds: float, stderr: int | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=machine.ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=seconds,
        check=True,
    )


@contextmanager
def running(command: Sequence[str], env: Mapping[str, str] = {}) -> Iterator[int]:
    """A process that runs while the block does; its id."""
    process = subprocess.Popen(command, cwd=machine.ROOT, env=environment(**env))
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


async def answering(session: aiohttp.ClientSession, url: str, seconds: float = 20) -> None:
    """Wait until a server answers at `url`."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                async with session.get(url):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.02)
