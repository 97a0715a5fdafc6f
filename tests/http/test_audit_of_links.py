"""What comes by a link or a hook is in the audit log too: by whose link, or which hook, it came."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from rewake import approval, callback, task, workflow
from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.settings import Settings
from rewake.http.app import create_app
from rewake.signing.secret import Secret
from rewake.stores.sqlite.table import SqliteTable
from rewake.webhooks import anyone, bearer, webhook
from tests.support.server import SECRET
from tests.support.server import bearer as admin

URL = "http://testserver"
SENT: list[str] = []


@task
async def send(url: str) -> None:
    SENT.append(url)


@workflow(webhook=webhook("orders", verify=anyone()))
async def orders() -> bool:
    ask, wait = approval("boss", approvers=["ann"]), callback("paid", heartbeat_timeout=60)
    await send(ask.link("ann"))
    await send(wait.url)
    return (await ask).approved and bool(await wait)


@workflow(webhook=webhook("closed", verify=bearer(secret="CLOSED")))
async def closed() -> None:
    pass


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A client without any token."""
    SENT.clear()
    monkeypatch.setenv("CLOSED", "a secret of a sender")
    app, secret = App(), Secret(SECRET)
    for member in (orders, closed, send):
        app.add(member)
    table = SqliteTable(tmp_path / "rewake.db", durable=False)
    dispatcher, settings = InProcessDispatcher(SystemClock()), Settings(url=URL)
    engine = Engine(app, table, dispatcher, secret, settings=settings)
    with TestClient(create_app(engine, secret, grace=0.1), base_url=URL) as client:
        yield client


def entries(client: TestClient) -> list[tuple[str | None, str, str, int]]:
    """Who did what about which part of a run, oldest first, and what it was answered."""
    found = client.get("/v1/audit", headers=admin()).json()["entries"]
    return [
        (each["who"], each["action"], each.get("about", ""), each["status"])
        for each in reversed(found)
    ]


def test_each_is_written_with_who_it_came_from(client: TestClient) -> None:
    """A hook starts, a holder decides, a machine calls; a beat and a look leave nothing."""
    run = client.post("/hooks/orders", json={}).json()["id"]
    deadline = time.monotonic() + 10
    while len(SENT) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    link, call = SENT
    assert client.get(link).status_code == 200
    assert client.post(f"{call}/heartbeat").status_code == 200
    assert client.post(link, json={"approved": True}).status_code == 200
    assert client.post(call, json=7).status_code == 200
    assert client.post("/hooks/closed", json={}).status_code == 401
    assert entries(client) == [
        ("hook:orders", "hook", "", 202),
        ("link:ann", "approval.decide", "boss", 200),
        ("link", "callback", "paid", 200),
        (None, "hook", "", 401),
    ]
    history: Any = client.get(f"/v1/runs/{run}/history", headers=admin()).json()
    assert history["entries"][0]["by"] == "hook:orders"
