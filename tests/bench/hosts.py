"""Where workflows run while they are measured: an engine in this process, or a server over HTTP."""

from __future__ import annotations

import asyncio
import gc
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any, Protocol

import aiohttp

from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine, running
from rewake.engine.settings import Settings
from rewake.hosts.databases import Address, open_database
from rewake.hosts.garbage import settle
from rewake.kinds import OutcomeKind
from rewake.records import Header
from rewake.signing.secret import Secret
from rewake.signing.tokens import app_token
from tests.bench import children, durability, programs, stores

_SECRET = Secret(secrets.token_hex(32))
_PATIENCE = 600


class Host(Protocol):
    """Runs workflows of `programs`."""

    async def run(self, workflow: str, **arguments: Any) -> None:
        """Start a run and wait for its result; raises unless it succeeds."""


class InProcess:
    """An engine in this process."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def start(self, workflow: str, *, run: str | None = None, **arguments: Any) -> Header:
        header, _ = await self.engine.start(workflow, arguments, run=run)
        return header

    async def end(self, run: str) -> None:
        """Wait until a run has succeeded."""
        outcome = await self.engine.result(run, _PATIENCE)
        if outcome is None or outcome.kind is not OutcomeKind.OK:
            raise AssertionError(f"run {run} ended as {outcome}")

    async def run(self, workflow: str, **arguments: Any) -> None:
        header = await self.start(workflow, **arguments)
        await self.end(header.run)


class OverHttp:
    """A server in another process, which sends itself its messages over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def run(self, workflow: str, **arguments: Any) -> None:
        await self.result(workflow, **arguments)

    async def result(self, workflow: str, **arguments: Any) -> Any:
        """What a run of the workflow returned."""
        path = f"/v1/workflows/{workflow}/runs?wait=60"
        while True:
            async with self._session.request(
                "GET" if path.startswith("/v1/runs/") else "POST",
                self._url + path,
                json=arguments,
            ) as response:
                answer = await response.json()
            if response.status == 200 and "result" in answer:
                return answer["result"]
            if response.status != 202:
                raise AssertionError(f"{path} answered {response.status}: {answer}")
            path = f"/v1/runs/{answer['id']}/result?wait=60"

    async def get(self, path: str) -> Any:
        """What is answered at this path."""
        async with self._session.get(self._url + path) as response:
            return await response.json()

    async def suspended(self, workflow: str, **arguments: Any) -> str:
        """Start a run of the workflow, and wait until it waits for approvals. Returns its id."""
        path = f"{self._url}/v1/workflows/{workflow}/runs"
        async with self._session.post(path, json=arguments) as response:
            run: str = (await response.json())["id"]
        while not (await self.get(f"/v1/runs/{run}"))["approvals"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        return run


@asynccontextmanager
async def in_process(
    *, cached: int = 256, address: Address | None = None
) -> AsyncIterator[InProcess]:
    """An engine as in a server, on a database of its own (or at `address`).

    A SQLite file is proved to be durable at the end.
    """
    with nullcontext(address) if address is not None else stores.new() as place:
        table, shelf = open_database(place)
        dispatcher = InProcessDispatcher(SystemClock())
        settings = Settings(cached=cached)
        engine = Engine(App(programs), table, dispatcher, _SECRET, shelf=shelf, settings=settings)
        async with running(engine):
            settle()
            yield InProcess(engine)
            if stores.is_sqlite():
                durability.demand(durability.settings())
    gc.unfreeze()


@asynccontextmanager
async def over_http(*, cached: int = 256) -> AsyncIterator[OverHttp]:
    """A server of its own with the HTTP dispatcher; a SQLite file is proved to be durable."""
    port = children.free_port()
    url = f"http://127.0.0.1:{port}"
    with stores.new() as address:
        env = {
            "REWAKE_DB": address.db,
            "REWAKE_BLOBS": address.blobs,
            "REWAKE_PORT": str(port),
            "REWAKE_URL": url,
            "REWAKE_DISPATCHER": "http",
            "REWAKE_CACHED": str(cached),
            "REWAKE_SECRET": "bench " * 8,
            "REWAKE_LOG_LEVEL": "error",
        }
        headers = {"Authorization": f"Bearer {app_token(Secret(env['REWAKE_SECRET'].strip()))}"}
        with children.running(children.module("server"), env):
            async with aiohttp.ClientSession(headers=headers) as session:
                await children.answering(session, f"{url}/readyz")
                host = OverHttp(session, url)
                yield host
                if stores.is_sqlite():
                    durability.demand(await host.result("durability_check"))
