"""Runs that are held, erased and purged over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rewake import workflow
from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.errors import StoreUnavailable
from rewake.http.app import create_app
from rewake.records import Header
from rewake.signing.secret import Secret
from rewake.stores.memory import MemoryTable
from rewake.stores.protocol import Store
from rewake.stores.reads import Reads
from rewake.webhooks import anyone, webhook
from tests.support.server import SECRET, bearer

_ADA = b"Ada"
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


@pytest.mark.parametrize("part", ["history", "operations", "result"])
def test_what_is_removed_while_it_is_read_is_not_there(
    client: TestClient, app: Starlette, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """It is neither damaged nor stuck: nobody is called for it."""
    engine: Engine = app.state.parts.engine
    if part == "result":  # too large for the header, which would have all that it takes
        engine.services.app.add(greet)
        run = done(client, "greet", json={"who": "x" * 300_000})
    else:
        run = done(client, json={"numbers": [1] * 50})
    header = Reads.header

    async def removed_then(self: Reads, name: str) -> Header:
        found = await header(self, name)
        monkeypatch.setattr(Reads, "header", header)
        await engine.erase(run)
        return found

    monkeypatch.setattr(Reads, "header", removed_then)
    answer = client.get(f"/v1/runs/{run}/{part}")
    assert answer.status_code == 404, answer.text


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


@contextmanager
def hooked() -> Iterator[tuple[TestClient, Callable[[], list[str]]]]:
    """A server with a webhook, and how to see in what is stored something of Ada is."""
    table, app = MemoryTable(), App()
    app.add(greet)
    engine = Engine(app, table, InProcessDispatcher(SystemClock()), Secret(SECRET))

    def left() -> list[str]:
        parts = table._partitions.items()
        return [f"{at}/{sort}" for at, part in parts for sort, each in part.items() if _ADA in each]

    face = create_app(engine, Secret(SECRET), grace=0.1)
    with TestClient(face, headers=bearer(), raise_server_exceptions=False) as client:
        yield client, left


def delivered(client: TestClient) -> str:
    """The run that a delivery has started, and that has ended."""
    assert client.post("/hooks/in?wait=20", json={"who": "Ada"}).json()["result"] == "hello Ada"
    run: str = client.get("/v1/runs").json()["runs"][0]["id"]
    return run


def test_a_delivery_outlives_its_run() -> None:
    """What was sent is erased with the run; sent again by its provider, it starts nothing.

    Nor is it kept again.
    """
    with hooked() as (client, left):
        found = delivered(client)
        assert client.post(f"/v1/runs/{found}/erase", json={}).status_code == 200
        assert client.get("/v1/deliveries").json()["deliveries"] == []
        assert left() == []
        again = client.post("/hooks/in?wait=20", json={"who": "Ada"})
        assert (again.status_code, again.json()["id"]) == (202, found)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert client.get("/v1/runs").json()["runs"] == []
        [shown] = client.get("/v1/deliveries").json()["deliveries"]
        assert (shown["run"], shown["verdict"]) == (found, "repeated")
        assert client.post(f"/v1/deliveries/{shown['id']}/replay", json={}).status_code == 409
        assert left() == []


def test_a_death_over_an_erasure_leaves_no_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run that nobody could erase any more: its deliveries go before it does."""

    async def die(*_: object, **__: object) -> None:
        raise StoreUnavailable("gone")

    with hooked() as (client, _):
        found = delivered(client)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "remove", die)
            assert client.post(f"/v1/runs/{found}/erase", json={}).status_code == 503
        assert client.get("/v1/deliveries").json()["deliveries"] == []
        assert client.post(f"/v1/runs/{found}/erase", json={}).status_code == 200


def test_what_came_to_a_run_that_is_removed_can_be_erased() -> None:
    """Whatever has removed it: there is no such run any more, and then no such delivery."""
    with hooked() as (client, left):
        found = delivered(client)
        assert client.post("/v1/purge", json={"before": SOON}).json()["runs"][0]["id"] == found
        assert len(client.get("/v1/deliveries").json()["deliveries"]) == 1
        trial = client.post(f"/v1/runs/{found}/erase", json={"dry_run": True})
        assert (trial.status_code, len(client.get("/v1/deliveries").json()["deliveries"])) == (
            404,
            1,
        )
        assert client.post(f"/v1/runs/{found}/erase", json={}).status_code == 404
        assert client.get("/v1/deliveries").json()["deliveries"] == []
        assert not any(each.startswith("D") for each in left())
