"""Limits and tenants over HTTP: what is refused, what is shown, and to whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from rewake import concurrency, rate, sleep, task, workflow
from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.http.app import create_app
from rewake.signing.secret import Secret
from rewake.stores.sqlite.table import SqliteTable
from tests.http.test_tokens import make
from tests.support.server import SECRET, bearer


@workflow(limits=concurrency(1, key=lambda who: who))
async def nap(who: str) -> str:
    await sleep(3600)
    return who


@workflow(throttle=rate(1, per=60))
async def seldom() -> None:
    pass


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A client of an app with limited workflows."""
    secret, app = Secret(SECRET), App()
    app.add(nap)
    app.add(seldom)
    app.add(ask)
    app.add(look)
    table = SqliteTable(tmp_path / "rewake.db", durable=False)
    engine = Engine(app, table, InProcessDispatcher(SystemClock()), secret)
    face = create_app(engine, secret, grace=0.1)
    with TestClient(face, headers=bearer(), raise_server_exceptions=False) as client:
        yield client


def start(client: TestClient, who: str = "zoe", **more: Any) -> str:
    """A run of `nap`."""
    answer = client.post("/v1/workflows/nap/runs", json={"who": who}, **more)
    assert answer.status_code == 202, answer.text
    run: str = answer.json()["id"]
    return run


def test_a_throttled_start_says_when_to_try_again(client: TestClient) -> None:
    """It is a 429 with `Retry-After`, and nothing is started."""
    assert client.post("/v1/workflows/seldom/runs", json={}).status_code == 202
    answer = client.post("/v1/workflows/seldom/runs", json={})
    assert answer.status_code == 429
    assert answer.json()["type"] == "urn:rewake:problem:throttled"
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert len(client.get("/v1/runs").json()["runs"]) == 1


def test_it_is_shown_who_waits_for_what(client: TestClient) -> None:
    """A limit has its holders and its line; a run that waits says for which."""
    first, second = start(client), start(client)
    [found] = client.get("/v1/limits").json()["limits"]
    assert (found["name"], found["key"], found["kind"]) == ("nap", "zoe", "concurrency")
    assert [each["run"] for each in found["holders"]] == [first]
    assert [each["run"] for each in found["waiting"]] == [second]
    assert client.get(f"/v1/runs/{second}").json()["waits"] == "nap [zoe]"
    assert "waits" not in client.get(f"/v1/runs/{first}").json()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tenant", "a b"),
        ("tenant", "-"),
        ("priority", "101"),
        ("priority", "x"),
        ("priority", "1.5"),
    ],
)
def test_a_bad_wish_is_refused(client: TestClient, field: str, value: str) -> None:
    """The answer names the part that does not fit."""
    answer = client.post("/v1/workflows/nap/runs", json={"who": "a"}, params={field: value})
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_a_token_of_a_tenant_sees_its_runs_alone(client: TestClient) -> None:
    """What is of others does not exist for it; what it starts is its tenant's."""
    token = make(client, "t1", "read", "start", "operate", tenant="t1")
    mine: Any = {"headers": {"Authorization": f"Bearer {token}"}}
    other = start(client, params={"tenant": "t2"})
    own = start(client, "ann", **mine)
    assert client.get(f"/v1/runs/{own}", **mine).json()["tenant"] == "t1"
    for path in ("", "/result", "/history", "/logs", "/stream"):
        assert client.get(f"/v1/runs/{other}{path}", **mine).status_code == 404
    assert client.post(f"/v1/runs/{other}/cancel", json={}, **mine).status_code == 404
    shown = client.get("/v1/runs", **mine).json()["runs"]
    assert [each["id"] for each in shown] == [own]
    counts = client.get("/v1/stats/runs", **mine).json()["counts"]
    assert sum(counts.values()) == 1
    refused = client.get("/v1/runs", params={"tenant": "t2"}, **mine)
    assert (refused.status_code, refused.json()["field"]) == (422, "tenant")
    for path in ("/v1/limits", "/v1/deliveries"):
        assert client.get(path, **mine).status_code == 403


def test_a_key_is_one_of_its_tenant(client: TestClient) -> None:
    """Two tenants that use one idempotency key have a run each, and an id of another is taken."""
    key: Any = {"headers": {"Idempotency-Key": "k", **bearer()}}
    runs = {start(client, params={"tenant": t}, **key) for t in ("t1", "t2", "t1")}
    assert len(runs) == 2
    start(client, params={"id": "r1", "tenant": "t1"})
    query = {"id": "r1", "tenant": "t2"}
    taken = client.post("/v1/workflows/nap/runs", json={"who": "zoe"}, params=query)
    assert taken.status_code == 409


def test_a_signal_to_a_key_is_for_runs_of_its_tenant(client: TestClient) -> None:
    """A token of a tenant reaches no run of another by its key, and starts none."""
    own = {"Authorization": f"Bearer {make(client, 't1', 'start', tenant='t1')}"}
    to, body = "/v1/workflows/nap/signals/wake", {"value": 1, "input": {"who": "ada"}}
    sent = [client.post(to, json=body, params={"key": "k", "tenant": t}) for t in ("t1", "t2")]
    runs = [each.json()["run"] for each in sent]
    mine = client.post(to, json=body, params={"key": "k"}, headers=own)
    assert (mine.status_code, mine.json()["run"]) == (202, runs[0])
    refused = client.post(to, json=body, params={"key": "k", "tenant": "t2"}, headers=own)
    assert (refused.status_code, refused.json()["field"]) == (422, "tenant")


def test_runs_are_listed_and_purged_by_tenant(client: TestClient) -> None:
    """Of a purge, what is of other tenants stays."""
    runs = {t: start(client, t, params={"tenant": t}) for t in ("t1", "t2")}
    for run in runs.values():
        client.post(f"/v1/runs/{run}/kill", json={})
    listed = client.get("/v1/runs", params={"tenant": "t1"}).json()["runs"]
    assert [each["id"] for each in listed] == [runs["t1"]]
    body = {"before": "2100-01-01T00:00:00Z", "tenant": "t1"}
    purged = client.post("/v1/purge", json=body).json()["runs"]
    assert [each["id"] for each in purged] == [runs["t1"]]
    assert client.get(f"/v1/runs/{runs['t2']}").status_code == 200


def test_a_token_of_a_tenant_cannot_be_an_admins(client: TestClient) -> None:
    """It could make itself one without the limit."""
    body = {"name": "x", "scopes": ["admin"], "tenant": "t1"}
    answer = client.post("/v1/tokens", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, "tenant")


@task(cache=3600)
async def look(what: str) -> str:
    return what


@workflow
async def ask(what: str) -> str:
    return await look(what)


def test_what_is_cached_is_shown_and_cleared(client: TestClient) -> None:
    """An operation says whose result it was given; the list has all, until it is cleared."""
    runs = []
    for _ in range(2):
        answer = client.post("/v1/workflows/ask/runs?wait=10", json={"what": "a"})
        assert answer.json()["result"] == "a"
        runs.append(answer.json()["id"])
    [given] = client.get(f"/v1/runs/{runs[1]}/operations").json()["operations"]
    assert (given["cached"], given["attempts"]) == (runs[0], 0)
    [made] = client.get(f"/v1/runs/{runs[0]}/operations").json()["operations"]
    assert "cached" not in made
    assert client.get("/v1/limits").json()["limits"] == []
    [found] = client.get("/v1/cache").json()["results"]
    assert (found["task"], found["run"], found["operation"]) == ("look", runs[0], "look")
    for task_, cleared in (("other", 0), ("look", 1), (None, 0)):
        answer = client.post("/v1/cache/clear", json={"task": task_})
        assert answer.json() == {"cleared": cleared, "cursor": None}
    assert client.get("/v1/cache").json()["results"] == []
    assert client.post("/v1/cache/clear", json={"tsk": "look"}).status_code == 422
    assert client.get("/v1/overdue").json() == {"runs": [], "more": False}
    limited = make(client, "limited", "read", "operate", workflows=["ask"])
    for answer in (
        client.get("/v1/overdue", headers=bearer(limited)),
        client.get("/v1/cache", headers=bearer(limited)),
        client.post("/v1/cache/clear", json={}, headers=bearer(limited)),
    ):
        assert answer.status_code == 403
