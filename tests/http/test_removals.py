"""Runs that are held, erased and purged over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from rewake import workflow
from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.http.app import create_app
from rewake.signing.secret import Secret
from rewake.stores.memory import MemoryTable
from rewake.webhooks import anyone, webhook
from tests.support.server import SECRET, bearer

SOON = "2999-01-01T00:00:00Z"


@workflow(webhook=webhook("in", verify=anyone(), key=lambda d: d.json["who"]))
async def greet(who: str) -> str:
    return f"hello {who}"


def done(client: TestClient, workflow: str = "total", **more: Any) -> str:
    """The id of a run that has ended."""
    given = {"json": {"numbers": [1, 2]}, **more}
    started = client.post(f"/v1/workflows/{workflow}/runs?id={workflow}-1", **given)
    assert client.get(f"/v1/runs/{started.json()['id']}/result?wait=20").status_code == 200
    run: str = started.json()["id"]
    return run


def test_a_run_says_until_when_it_is_kept(client: TestClient) -> None:
    """Once it has ended; and nothing while somebody holds it."""
    run = done(client)
    shown = client.get(f"/v1/runs/{run}").json()
    assert shown["kept_until"] > shown["updated"]
    assert shown["hold"] is False
    held = client.post(f"/v1/runs/{run}/hold", json={})
    assert (held.status_code, held.json()["hold"], held.json()["kept_until"]) == (200, True, None)
    free = client.post(f"/v1/runs/{run}/unhold", json={}).json()
    assert (free["hold"], free["kept_until"]) == (False, shown["kept_until"])


def test_an_erased_run_is_gone(client: TestClient) -> None:
    """At once; and its id starts no other."""
    run = done(client)
    trial = client.post(f"/v1/runs/{run}/erase", json={"dry_run": True})
    assert (trial.status_code, client.get(f"/v1/runs/{run}").status_code) == (200, 200)
    assert client.post(f"/v1/runs/{run}/erase", json={}).json()["state"] == "done"
    for part in ("", "/result", "/history", "/logs", "/stream"):
        assert client.get(f"/v1/runs/{run}{part}").status_code == 404, part
    for action in ("cancel", "kill", "resume", "retry", "hold", "unhold", "erase"):
        assert client.post(f"/v1/runs/{run}/{action}", json={}).status_code == 404, action
    assert client.get("/v1/runs").json()["runs"] == []
    again = client.post(f"/v1/workflows/total/runs?id={run}", json={"numbers": [1, 2]})
    assert (again.status_code, again.json()["type"]) == (409, "urn:rewake:problem:removed")
    assert again.json()["run"] == run


def test_what_is_held_or_goes_on_is_not_erased(client: TestClient) -> None:
    """It is refused, and nothing is changed."""
    run = done(client)
    client.post(f"/v1/runs/{run}/hold", json={})
    assert client.post(f"/v1/runs/{run}/erase", json={}).status_code == 409
    napping = client.post("/v1/workflows/nap/runs", json={"seconds": 60}).json()["id"]
    refused = client.post(f"/v1/runs/{napping}/erase", json={})
    assert "has not ended" in refused.json()["detail"]
    assert client.get(f"/v1/runs/{run}").json()["state"] == "done"


def test_a_purge_removes_what_is_named(client: TestClient) -> None:
    """Runs of a workflow and of states that ended before a moment, and that nobody holds."""
    run = done(client)
    client.post("/v1/workflows/broken/runs?id=bad&wait=20", json={})
    client.post("/v1/workflows/nap/runs?id=naps", json={"seconds": 60})
    client.post("/v1/workflows/total/runs?id=kept&wait=20", json={"numbers": []})
    client.post("/v1/runs/kept/hold", json={})

    def purge(**asked: Any) -> tuple[list[str], list[str]]:
        found = client.post("/v1/purge", json={"before": SOON, **asked})
        assert found.status_code == 200, found.text
        page = found.json()
        assert page["cursor"] is None
        return [each["id"] for each in page["runs"]], [each["id"] for each in page["held"]]

    assert purge(before="2001-01-01T00:00:00Z") == ([], [])
    assert purge(dry_run=True) == (["bad", run], ["kept"])
    assert purge(states=["failed"]) == (["bad"], [])
    assert purge(workflow="total") == ([run], ["kept"])
    assert [each["id"] for each in client.get("/v1/runs").json()["runs"]] == ["kept", "naps"]


@pytest.mark.parametrize(
    "body",
    [{}, {"before": "soon"}, {"before": SOON, "states": ["ready"]}, {"before": SOON, "more": 1}],
)
def test_a_purge_that_is_mistyped_removes_nothing(client: TestClient, body: Any) -> None:
    """A field that is missing or unknown is told."""
    done(client)
    assert client.post("/v1/purge", json=body).status_code == 422
    assert len(client.get("/v1/runs").json()["runs"]) == 1


def test_a_delivery_outlives_its_run() -> None:
    """What was sent is erased with the run; sent again by its provider, it starts nothing."""
    table = MemoryTable()
    app = App()
    app.add(greet)
    engine = Engine(app, table, InProcessDispatcher(SystemClock()), Secret(SECRET))
    with TestClient(create_app(engine, Secret(SECRET), grace=0.1), headers=bearer()) as client:
        body: Any = {"json": {"who": "Ada"}}
        run = client.post("/hooks/in?wait=20", **body)
        found = client.get("/v1/runs").json()["runs"][0]["id"]
        assert run.json()["result"] == "hello Ada"
        assert client.post(f"/v1/runs/{found}/erase", json={}).status_code == 200
        assert client.get("/v1/deliveries").json()["deliveries"] == []
        assert b"Ada" not in b"".join(
            each for part in table._partitions.values() for each in part.values()
        )
        again = client.post("/hooks/in?wait=20", **body)
        assert (again.status_code, again.json()["id"]) == (202, found)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert client.get("/v1/runs").json()["runs"] == []
