"""The endpoints of signals: what senders are answered, and what they are refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from rewake import signals, updates, wait_for_signal, workflow
from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.http.app import create_app
from rewake.signing.secret import Secret
from rewake.stores.sqlite.table import SqliteTable
from tests.support.server import SECRET, bearer


@dataclass
class Payment:
    amount: int


@workflow
async def pays() -> int:
    payment = await wait_for_signal("paid", type=Payment)
    return payment.amount


@workflow
async def counts() -> int:
    total = 0
    async for request in updates("add", type=int):
        if request.value > 9:
            request.reject("too much")
            continue
        total += request.value
        request.accept(total)
        if total > 9:
            return total
    return 0


@workflow
async def listens(customer: str) -> list[str]:
    return [customer, *[line async for line in _until_done()]]


@workflow
async def hears_a_bank() -> int:
    return await wait_for_signal("bank.in", type=int)


async def _until_done() -> Any:
    async for line in signals("chat", type=str):
        if line == "done":
            return
        yield line


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    app = App()
    for each in (pays, counts, listens, hears_a_bank):
        app.add(each)
    folder: Path = tmp_path_factory.mktemp("signals")
    table = SqliteTable(folder / "a.db", durable=False)
    clock, secret = SystemClock(), Secret(SECRET)
    engine = Engine(app, table, InProcessDispatcher(clock), secret, clock=clock)
    with TestClient(create_app(engine, secret), headers=bearer()) as made:
        yield made


def started(client: TestClient, name: str, **given: Any) -> str:
    """A run of this workflow that waits."""
    run: str = client.post(f"/v1/workflows/{name}/runs", json=given).json()["id"]
    until = time.monotonic() + 5
    while client.get(f"/v1/runs/{run}").json()["state"] != "suspended":
        assert time.monotonic() < until
        time.sleep(0.002)
    return run


def test_a_signal_is_taken_and_delivered(client: TestClient) -> None:
    """It is answered 202 with its id, and so again by that id; a new one is late."""
    run = started(client, "pays")
    path, headers = f"/v1/runs/{run}/signals/paid", {"Idempotency-Key": "p1"}
    first = client.post(path, json={"amount": 3}, headers=headers)
    assert (first.status_code, first.json()["id"], first.json()["state"]) == (202, "p1", "sent")
    result = client.get(f"/v1/runs/{run}/result", params={"wait": 5}).json()
    assert result["result"] == 3
    again = client.post(path, json={"amount": 3}, headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())
    late = client.post(path, json={"amount": 3})
    assert (late.status_code, late.json()["type"]) == (409, "urn:rewake:problem:conflict")
    other = client.post(path, json={"amount": 4}, headers=headers)
    assert other.status_code == 409
    [shown] = client.get(f"/v1/runs/{run}/signals").json()["signals"]
    assert (shown["state"], shown["value"]) == ("delivered", {"amount": 3})


def test_a_name_that_nobody_waits_for_is_told(client: TestClient) -> None:
    """It is kept; its sender hears what is waited for instead, and it is listed as unread."""
    run = started(client, "pays")
    kept = client.post(f"/v1/runs/{run}/signals/payd", json={"amount": 3})
    assert (kept.status_code, kept.json()["state"]) == (202, "sent")
    assert kept.json()["waits_for"] == ["paid"]
    unread = client.get(f"/v1/runs/{run}/signals", params={"unread": "true"}).json()
    assert [each["name"] for each in unread["signals"]] == ["payd"]
    found = client.post(f"/v1/runs/{run}/signals/paid", json={"amount": 3})
    assert "waits_for" not in found.json()
    assert client.get(f"/v1/runs/{run}/result", params={"wait": 5}).json()["result"] == 3
    every, unread = (
        client.get(f"/v1/runs/{run}/signals", params={"unread": asked}).json()["signals"]
        for asked in ("false", "true")
    )
    assert [each["name"] for each in every] == ["payd", "paid"]
    assert [each["name"] for each in unread] == ["payd"]
    [line] = client.get(f"/v1/runs/{run}/logs").json()["lines"]
    assert line["level"] == "WARNING"
    assert line["message"] == "it has ended without reading these signals: payd (1)"


@pytest.mark.parametrize("key", ["bank.in", "bank%252Ein"])
def test_an_operation_is_found_by_its_key_spelled_out(client: TestClient, key: str) -> None:
    """Of a name with a dot it need not be escaped; nor what a run is forked at, or is below."""
    run = started(client, "hears_a_bank")
    found = client.get(f"/v1/runs/{run}/operations/{key}").json()
    assert (found["key"], found["state"]) == ("bank%2Ein", "waiting")
    meant = key.replace("%25", "%")
    below = client.get(f"/v1/runs/{run}/operations", params={"under": meant}).json()
    assert [each["key"] for each in below["operations"]] == ["bank%2Ein"]
    asked = {"at": meant, "dry_run": True}
    assert client.post(f"/v1/runs/{run}/fork", json=asked).status_code == 200


@pytest.mark.parametrize(
    ("name", "body", "headers", "field"),
    [
        ("paid", {"amount": "x"}, {}, "value.amount"),
        ("paid", {}, {}, "value.amount"),
        ("paid", None, {}, "value"),
        ("a b", {"amount": 3}, {}, "name"),
        ("*", {"amount": 3}, {}, "name"),
        ("x" * 65, {"amount": 3}, {}, "name"),
        ("paid", {"amount": 3}, {"Idempotency-Key": "x" * 200}, "id"),
    ],
)
def test_what_does_not_fit_is_refused_at_the_door(
    client: TestClient, name: str, body: Any, headers: dict[str, str], field: str
) -> None:
    """A value of another type, a name or an id that cannot be one: a 422 that names the part."""
    run = started(client, "pays")
    found = client.post(f"/v1/runs/{run}/signals/{name}", json=body, headers=headers)
    assert (found.status_code, found.json().get("field")) == (422, field), found.json()
    assert client.get(f"/v1/runs/{run}/signals").json()["signals"] == []


def test_a_run_or_a_signal_that_there_is_not(client: TestClient) -> None:
    """404 for each."""
    assert client.post("/v1/runs/nobody/signals/paid", json=1).status_code == 404
    run = started(client, "pays")
    assert client.get(f"/v1/runs/{run}/signals/none").status_code == 404


def test_an_update_is_answered(client: TestClient) -> None:
    """Its sender waits for what the workflow says, and gets the same when it asks again."""
    run = started(client, "counts")
    path = f"/v1/runs/{run}/signals/add"
    one = client.post(path, json=4, params={"wait": 5}, headers={"Idempotency-Key": "u1"})
    assert (one.status_code, one.json()["state"], one.json()["result"]) == (200, "accepted", 4)
    two = client.post(path, json=10, params={"wait": 5}, headers={"Idempotency-Key": "u2"})
    assert (two.json()["state"], two.json()["reason"]) == ("rejected", "too much")
    for known in (one, two):
        again = client.get(f"/v1/runs/{run}/signals/{known.json()['id']}")
        assert (again.status_code, again.json()) == (200, known.json())
    last = client.post(path, json=9, params={"wait": 5}, headers={"Idempotency-Key": "u3"})
    assert last.json()["result"] == 13
    same = client.post(path, json=9, params={"wait": 5}, headers={"Idempotency-Key": "u3"})
    assert same.json() == last.json()


def test_a_name_that_the_run_of_a_key_does_not_wait_for_is_told(client: TestClient) -> None:
    """As of a run that is named by its id; of one that begins with it nothing is known yet."""
    path, body = "/v1/workflows/pays/signals/payd?key=mistyped", {"value": 1}
    first = client.post(path, json=body).json()
    assert "waits_for" not in first
    until = time.monotonic() + 5
    while client.get(f"/v1/runs/{first['run']}").json()["state"] != "suspended":
        assert time.monotonic() < until
        time.sleep(0.002)
    again = client.post(path, json=body).json()
    assert (again["run"], again["waits_for"]) == (first["run"], ["paid"])


def test_the_run_of_a_key_gets_it_or_is_started_with_it(client: TestClient) -> None:
    """One run gets all signals of a key until it ends; the next signal begins another."""
    path = "/v1/workflows/listens/signals/chat"

    def say(line: str, **headers: str) -> Any:
        body = {"value": line, "input": {"customer": "c1"}}
        found = client.post(path, params={"key": "c1"}, json=body, headers=headers)
        assert found.status_code == 202, found.json()
        return found.json()["run"]

    runs = [say(line) for line in ("one", "two")]
    runs.append(say("done", **{"Idempotency-Key": "end"}))
    assert len(set(runs)) == 1
    result = client.get(f"/v1/runs/{runs[0]}/result", params={"wait": 5}).json()
    assert result["result"] == ["c1", "one", "two"]
    assert say("done", **{"Idempotency-Key": "end"}) == runs[0]
    assert say("three") not in runs
    assert client.post(path, json={}).status_code == 422
