"""What a server refuses when it has too much to do, and what it keeps."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rewake import step, wait_for_approval, workflow
from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.services import TurnHere
from rewake.http.app import create_app
from rewake.http.load import Limits
from rewake.signing.secret import Secret
from rewake.states import LIVE
from rewake.stores.audit import Wanted
from rewake.stores.memory import MemoryTable
from rewake.webhooks import anyone, webhook
from tests.support.asgi import URL, Exchange, ask, parts, served
from tests.support.server import SECRET, bearer
from tests.support.virtual import Bench, virtually

BEGUN: Counter[int] = Counter()
GATE: list[asyncio.Event] = []


@workflow(webhook=[webhook("waits", verify=anyone(), wait=20), webhook("plain", verify=anyone())])
async def waits() -> str:
    await wait_for_approval("go")
    return "gone"


@workflow(webhook=webhook("counted", verify=anyone()))
async def counted(number: int) -> int:
    BEGUN[number] += 1
    return await step("look", lambda: number)


@workflow
async def busy() -> None:
    async def look() -> None:
        await GATE[0].wait()

    await step("look", look)


def made(**limits: int) -> Starlette:
    """The HTTP face of an app that can take so much."""
    app = App()
    for each in (waits, counted, busy):
        app.add(each)
    secret = Secret(SECRET)
    engine = Engine(app, MemoryTable(), InProcessDispatcher(SystemClock()), secret)
    return create_app(engine, secret, grace=0.1, limits=Limits(**limits))


def serving(app: Starlette, body: Callable[[httpx2.AsyncClient], Awaitable[None]]) -> None:
    """Let clients of a server do something at once."""

    async def main() -> None:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://test", headers=bearer()
        ) as client:
            await body(client)

    with TestClient(app) as client:
        assert client.portal is not None
        client.portal.call(main)


async def runs(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get("/v1/runs?limit=200")).json()["runs"]
    return found


async def suspended(client: httpx2.AsyncClient) -> dict[str, Any]:
    """The one run that there is, once it waits."""
    for _ in range(1_000):
        found = await runs(client)
        if found and found[0]["state"] == "suspended":
            return found[0]
        await asyncio.sleep(0.01)
    raise AssertionError("it was never suspended")


def is_refused(response: httpx2.Response) -> bool:
    """Whether it is a 503 that says when to come again, and that nothing was done."""
    told = response.json()
    return (response.status_code, response.headers.get("Retry-After"), told.get("type")) == (
        503,
        "1",
        "urn:rewake:problem:overloaded",
    )


# --- waiting --------------------------------------------------------------------------------------


def test_waiting_requests_are_bounded() -> None:
    """Beyond the bound whoever would wait is told a 503 before anything is started, everywhere
    where one can wait; whoever does not wait is served, and a place that is left is free again.
    """

    async def body(client: httpx2.AsyncClient) -> None:
        first = asyncio.ensure_future(client.post("/hooks/waits"))
        run = await suspended(client)
        for refused in (
            await client.post("/hooks/waits"),
            await client.post("/hooks/plain?wait=1"),
            await client.post("/hooks/plain", headers={"Prefer": "wait=1"}),
            await client.post("/v1/workflows/waits/runs?wait=1", json={}),
            await client.get(f"/v1/runs/{run['id']}/result?wait=1"),
        ):
            assert is_refused(refused)
        assert len(await runs(client)) == 1
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get(f"/v1/runs/{run['id']}/result?wait=0")).status_code == 202
        assert (await client.post("/hooks/plain")).status_code == 202
        decided = await client.post(f"/v1/runs/{run['id']}/approvals/go", json={"approved": True})
        assert decided.status_code == 200
        assert (await first).json()["result"] == "gone"
        again = await client.get(f"/v1/runs/{run['id']}/result?wait=1")
        assert again.json()["result"] == "gone"

    serving(made(waiting=1), body)


def test_a_request_that_fails_leaves_its_place() -> None:
    """However a request ends that had a place, another one can have it."""

    async def body(client: httpx2.AsyncClient) -> None:
        for _ in range(3):
            assert (await client.get("/v1/runs/nothing/result?wait=1")).status_code == 404
            response = await client.post("/hooks/counted?wait=1", json={"number": "x"})
            assert response.status_code == 422
            gone = asyncio.ensure_future(client.post("/hooks/waits?wait=20"))
            await asyncio.sleep(0.05)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
        assert (await client.post("/hooks/counted?wait=20", json={"number": 1})).status_code == 200

    serving(made(waiting=1), body)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/hooks/waits"),
        ("POST", "/v1/workflows/waits/runs?wait=60"),
        ("GET", "/v1/runs/{run}/result?wait=60"),
        ("GET", "/stream/{link}/result?wait=60"),
        ("GET", "/v1/runs/{run}/stream?wait=60&cursor={cursor}"),
    ],
)
def test_a_client_that_goes_away_leaves_its_place(method: str, path: str) -> None:
    """Whoever gives up, as senders do after seconds, and asks again, takes one place and not one
    for each time: it is free at once. The run that was started goes on.
    """

    async def body(bench: Bench) -> None:
        app = served(bench, limits=Limits(waiting=1))
        run = (await bench.start("waits")).run
        await asyncio.sleep(1)
        link = (await ask(app, "POST", f"/v1/runs/{run}/links")).json["url"].split("/")[-1]
        cursor = (await ask(app, "GET", f"/v1/runs/{run}/stream")).json["cursor"]
        there = path.format(run=run, link=link, cursor=cursor)
        begun = bench.seconds
        for _ in range(3):
            asked = Exchange(app, method, there, headers={"content-type": "application/json"})
            await asyncio.sleep(1)
            assert not asked.task.done()
            assert parts(app).load._waiting + parts(app).readers._by.total() > 0
            await asked.leave()
            assert asked.status < 500
            assert parts(app).load._waiting + parts(app).readers._by.total() == 0
        assert bench.seconds - begun < 5
        known, _ = await bench.engine.list()
        assert {each.state in LIVE for each in known} == {True}

    virtually([waits], body, url=URL)


def test_a_sender_that_hangs_up() -> None:
    """One that goes away before its body has come is refused, with that for a reason: nothing has
    failed, as an operator, or the audit log, would look for.
    """
    app = made()

    async def send(path: str) -> None:
        parts = [
            {"type": "http.request", "body": b'{"numb', "more_body": True},
            {"type": "http.disconnect"},
        ]

        async def receive() -> Any:
            return parts.pop(0)

        async def heard(message: Any) -> None:
            assert message.get("status", 400) == 400

        headers = [(b"authorization", bearer()["Authorization"].encode())]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b""}
        await app({**scope, "headers": headers}, receive, heard)

    async def main() -> None:
        async with app.router.lifespan_context(app):
            store = app.state.parts.engine.services.store
            await send("/hooks/plain")
            [kept] = (await store.deliveries.page(lambda _: True, limit=5)).deliveries
            assert (kept.delivery.verdict, kept.delivery.whole) == ("refused", False)
            assert "went away" in kept.delivery.reason
            await send("/v1/workflows/waits/runs")
            [told] = (await store.audit.page(Wanted(), limit=5)).entries
            assert (told.action, told.status) == ("run.start", 400)

    asyncio.run(main())


# --- starting -------------------------------------------------------------------------------------


def test_a_server_that_is_behind_starts_nothing() -> None:
    """While turns wait for it, a start is a 503 before anything is read or written; it is healthy,
    and answers all else. A refused delivery costs no write each.
    """
    app = made(backlog=2)
    turns = app.state.parts.engine.services.turns

    async def body(client: httpx2.AsyncClient) -> None:
        turns.update({name: TurnHere("", lambda: None, {}) for name in "ab"})
        try:
            for _ in range(30):
                assert is_refused(await client.post("/hooks/plain", content=b"{"))
            assert is_refused(await client.post("/v1/workflows/waits/runs", json={}))
            assert await runs(client) == []
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/v1/workflows")).status_code == 200
        finally:
            turns.clear()
        kept = (await client.get("/v1/deliveries")).json()["deliveries"]
        assert len(kept) == 20
        assert {each["verdict"] for each in kept} == {"refused"}
        assert "more to do" in kept[0]["reason"]
        assert (await client.post("/hooks/plain")).status_code == 202

    serving(app, body)


def test_runs_that_wait_are_no_load() -> None:
    """A turn whose step waits for something else, and a run that is suspended, hold up no start."""

    async def body(client: httpx2.AsyncClient) -> None:
        GATE[:] = [asyncio.Event()]
        for _ in range(4):
            assert (await client.post("/v1/workflows/busy/runs", json={})).status_code == 202
            assert (await client.post("/hooks/plain")).status_code == 202
            await asyncio.sleep(0.05)
        assert (await client.post("/hooks/counted?wait=20", json={"number": 0})).status_code == 200
        GATE[0].set()

    serving(made(backlog=2), body)


@pytest.mark.parametrize("backlog", [1, 5])
def test_each_start_that_was_accepted_runs_once(backlog: int) -> None:
    """In a flood some are refused; those that are not run, each once, and no other does."""
    BEGUN.clear()

    async def body(client: httpx2.AsyncClient) -> None:
        sent = [client.post("/hooks/counted", json={"number": n}) for n in range(60)]
        answers = await asyncio.gather(*sent)
        accepted = {n for n, answer in enumerate(answers) if answer.status_code == 202}
        refused = [answer for answer in answers if answer.status_code != 202]
        assert accepted
        assert refused
        assert all(map(is_refused, refused))
        found = await runs(client)
        results = [
            (await client.get(f"/v1/runs/{each['id']}/result?wait=20")).json()["result"]
            for each in found
        ]
        assert sorted(results) == sorted(accepted)
        assert set(BEGUN) == accepted

    serving(made(backlog=backlog), body)
