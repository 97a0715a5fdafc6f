"""What clients are shown of attempts, also of those that go on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from rewake import step, task_context, workflow
from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.http.app import create_app
from rewake.signing.secret import Secret
from rewake.stores.sqlite.table import SqliteTable
from tests.support.server import SECRET, bearer


async def never() -> None:
    await asyncio.Event().wait()


async def second() -> int:
    if task_context().attempt == 1:
        raise ConnectionError("no answer")
    return task_context().attempt


@workflow
async def held() -> int:
    number = await step("second", second, retries=1, delay=0)
    await step("never", never)
    return number


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A client of an app with a step that does not end."""
    app, secret = App(), Secret(SECRET)
    app.add(held)
    table = SqliteTable(tmp_path / "rewake.db", durable=False)
    engine = Engine(app, table, InProcessDispatcher(SystemClock()), secret)
    with TestClient(create_app(engine, secret, grace=0), headers=bearer()) as client:
        yield client


def test_tries_of_steps_are_shown(client: TestClient) -> None:
    """One that failed, one that worked and one that goes on, each with where; so is the run."""
    run = client.post("/v1/workflows/held/runs", json={}).json()["id"]
    operations: dict[str, Any] = {}
    for _ in range(500):
        found = client.get(f"/v1/runs/{run}/history").json()
        operations = {each["key"]: each for each in found["operations"]}
        if "never" in operations and operations["never"]["state"] == "running":
            break
        client.get(f"/v1/runs/{run}/result?wait=0.01")
    failed, worked = operations["second"]["tries"]
    assert "in second" in failed["error"].pop("traceback")
    assert failed["error"] == {"type": "ConnectionError", "message": "no answer", "attempts": 1}
    assert (worked["attempt"], worked["error"], worked["lost"]) == (2, None, False)
    [goes_on] = operations["never"]["tries"]
    assert (goes_on["attempt"], goes_on["ended"]) == (1, None)
    here = goes_on["where"]
    assert here.endswith(f":{os.getpid()}")
    assert (failed["where"], worked["where"]) == (here, here)
    view = client.get(f"/v1/runs/{run}").json()
    assert (view["state"], view["where"]) == ("running", here)
    client.post(f"/v1/runs/{run}/kill", json={})
    assert client.get(f"/v1/runs/{run}").json()["where"] is None
