"""`rewake doctor --host`: what a host carries is found out, and compared with what was told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rewake.clock import SystemClock
from rewake.doctor import host
from rewake.doctor.findings import Finding, Status, carried_out
from rewake.doctor.host import Probed, Ticks, _Door, checks_of_host
from tests.cli.shell import Shell
from tests.support.functions import Function
from tests.support.server import APP, SECRET, TOKEN, ServerProcess


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of seconds instead of minutes."""
    monkeypatch.setattr(host, "BREAK", 1.5)


def found(url: str) -> dict[str, Finding]:
    return {
        each.check: each for each in asyncio.run(carried_out(checks_of_host(url, TOKEN, 2.0), 60))
    }


def test_a_server_that_goes_on(tmp_path: Path) -> None:
    """A server by itself carries everything, and does not stand still."""
    with ServerProcess(APP, tmp_path / "rewake.db") as server:
        told = found(server.url)
    assert {name: each.status for name, each in told.items()} == dict.fromkeys(told, Status.OK)
    assert "between two requests a process goes on" in told["standing still"].told
    assert "arrives in the parts" in told["parts"].told
    assert "may take 2 s" in told["time"].told


def test_a_function_that_is_frozen(tmp_path: Path) -> None:
    """A function stands still and answers as a whole, as it was told; bytes stay what they are."""
    environ = {"REWAKE_APP": APP, "REWAKE_DB": tmp_path / "x.db", "REWAKE_DISPATCHER": "http"}
    with Function("handlers.aws_lambda.handler", environ) as function:
        told = found(function.url)
    assert {name: each.status for name, each in told.items()} == dict.fromkeys(told, Status.OK)
    assert (
        "aws-lambda: between two requests a process stood still for" in told["standing still"].told
    )
    assert "only when it is whole" in told["parts"].told
    assert "a body of 1,000,000 bytes arrives as it was sent" in told["requests"].told


def test_a_host_that_was_not_declared() -> None:
    """What stands still although it was told to go on is a failure, with what to do."""

    class Door(_Door):
        async def _probe(self) -> Probed:
            gap = next(gaps)
            return Probed("p", gap, "", "container", goes_on=True, streams=True)

    gaps = iter([0, 1_400])
    [finding] = asyncio.run(Door("http://x", {}).standing_still())
    assert finding.status is Status.FAIL
    assert "stood still for 1.4 s" in finding.told
    assert "REWAKE_PLATFORM" in finding.do


def test_many_processes_are_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each request meets another process, none was seen to stand still."""
    monkeypatch.setattr(host, "BREAK", 0)

    class Door(_Door):
        async def _probe(self) -> Probed:
            return Probed(next(names), 9_999, "", "vercel", goes_on=False, streams=True)

    names = map(str, range(100))
    [finding] = asyncio.run(Door("http://x", {}).standing_still())
    assert finding.status is Status.WARN


def test_a_proxy_in_the_way() -> None:
    """One that has small bounds, changes bytes, gathers parts or does not wait is found out."""

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        if len(body) > 100_000:
            return web.Response(status=413)
        if "answer" in request.query:
            return web.Response(body=b"\xef\xbf\xbd" * 100)
        if "stream" in request.query:
            return web.Response(body=b"one\ntwo\n")
        if "hold" in request.query:
            return web.Response(status=504)
        seen = {"process": "p", "gap": 0, "digest": "", "platform": "container"}
        return web.json_response({**seen, "goes_on": True, "streams": True})

    async def main() -> dict[str, Finding]:
        app = web.Application(client_max_size=2**22)
        app.router.add_post("/v1/probe", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server: Any = site._server
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        told = {each.check: each for each in await carried_out(checks_of_host(url, TOKEN, 2.0), 60)}
        await runner.cleanup()
        return told

    told = asyncio.run(main())
    assert {name: each.status for name, each in told.items()} == {
        "standing still": Status.OK,
        "requests": Status.FAIL,
        "answers": Status.FAIL,
        "parts": Status.WARN,
        "time": Status.WARN,
    }
    assert "504 after 0 s" in told["time"].told


def test_ticks_find_a_gap() -> None:
    """A pause of the whole process is a gap, and is forgotten by whoever asks much later."""

    class Clock(SystemClock):
        ahead = 0

        def now(self) -> int:
            return super().now() + self.ahead

    async def main() -> None:
        clock = Clock()
        ticks = Ticks(clock)
        assert ticks.gap() < 500
        clock.ahead = 5_000
        await asyncio.sleep(0.1)
        assert ticks.gap() >= 5_000
        clock.ahead = 50_000
        await asyncio.sleep(0.1)  # the ticking is over
        assert ticks.gap() < 500
        ticks.close()

    asyncio.run(main())


def test_the_command(tmp_path: Path) -> None:
    """`rewake doctor --host` asks the server that it is told, and needs one."""
    shell = Shell(tmp_path, REWAKE_SECRET=SECRET)
    lost = shell.rewake("doctor", "--host")
    assert (lost.returncode, "--server" in lost.stderr) == (2, True)
