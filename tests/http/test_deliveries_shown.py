"""What of a delivery is shown by a server whose code is another than that which took it."""

from __future__ import annotations

from typing import Annotated

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rewake import secret, workflow
from rewake.app import App
from rewake.authoring.workflow import Workflow
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.http.app import create_app
from rewake.signing.secret import Secret
from rewake.stores.memory import MemoryTable
from rewake.webhooks import anyone, webhook
from tests.support import server
from tests.support.server import SECRET


@workflow(name="takes", webhook=webhook("takes", verify=anyone()))
async def marked(pin: Annotated[str, secret], place: str = "") -> int:
    return len(pin)


@workflow(name="takes", webhook=webhook("takes", verify=anyone()))
async def unmarked(pin: str, place: str = "") -> int:
    return len(pin)


@workflow
async def other() -> None: ...


def served(table: MemoryTable, only: Workflow[..., object]) -> Starlette:
    app, key = App(), Secret(SECRET)
    app.add(only)
    engine = Engine(app, table, InProcessDispatcher(SystemClock()), key)
    return create_app(engine, key, grace=0.1)


@pytest.mark.parametrize(
    ("later", "shown"),
    [(other, "[redacted]"), (unmarked, '{"pin":"[redacted]","place":"x"}')],
)
def test_what_was_marked_as_secret_stays_hidden(later: Workflow[..., object], shown: str) -> None:
    """Also from who looks by a server that has its workflow no more, or one that marks less."""
    table = MemoryTable()
    with TestClient(served(table, marked), headers=server.bearer()) as client:
        given = {"pin": "4711", "place": "x"}
        assert client.post("/hooks/takes", json=given).status_code == 202
    with TestClient(served(table, later), headers=server.bearer()) as client:
        [found] = client.get("/v1/deliveries").json()["deliveries"]
        assert client.get(f"/v1/deliveries/{found['id']}").json()["body"] == shown
