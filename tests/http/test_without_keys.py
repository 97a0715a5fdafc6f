"""A server that lacks the keys, on a database that others have encrypted."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from rewake import task, task_context, wait_for_approval, workflow
from rewake.app import App
from rewake.clock import SystemClock
from rewake.codecs import AesGcm
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.http.app import create_app
from rewake.signing.secret import Secret
from rewake.stores.memory import MemoryTable
from rewake.webhooks import anyone, webhook
from tests.support.server import SECRET, bearer

CANARY = "canary-4711"


@task(retries=1, delay=0.01)
async def tries(word: str) -> str:
    context = task_context()
    assert context is not None
    context.logger.info("tries %s", word)
    if context.attempt == 1:
        raise ValueError(f"no {word}")
    return word


@workflow
async def ends(word: str) -> str:
    return await tries(word)


@workflow(webhook=webhook("told", verify=anyone(), wait=1))
async def told(word: str) -> str:
    return word


@workflow
async def fails(word: str) -> str:
    raise ValueError(word)


@workflow
async def asks(word: str) -> str:
    await wait_for_approval("boss", description=word)
    return word


def server(table: MemoryTable, codec: AesGcm | None) -> TestClient:
    """A client of a server of its own on this table."""
    module: Any = types.ModuleType("without_keys")
    for member in (ends, fails, asks, tries, told):
        setattr(module, member.name, member)
    secret = Secret(SECRET, codec=codec)
    engine = Engine(App(module), table, InProcessDispatcher(SystemClock()), secret)
    app = create_app(engine, secret, grace=0.1)
    return TestClient(app, headers=bearer(), raise_server_exceptions=False)


@pytest.fixture(params=[None, AesGcm({"other": bytes(32)})], ids=["none", "other"])
def found(request: pytest.FixtureRequest) -> Iterator[tuple[TestClient, dict[str, str]]]:
    """A server without the keys, and the runs of one that has had them."""
    table, runs = MemoryTable(), dict[str, str]()
    with server(table, AesGcm({"k": bytes(32)})) as client:
        for name in ("ends", "fails", "asks"):
            path = f"/v1/workflows/{name}/runs?wait=0.5"
            answer = client.post(path, json={"word": CANARY}, headers={"Idempotency-Key": name})
            runs[name] = answer.json()["id"]
        client.post(f"/v1/runs/{runs['asks']}/cancel", json={"reason": "x"})
        again = client.post("/v1/workflows/asks/runs?wait=0.2", json={"word": CANARY})
        runs["asks"] = again.json()["id"]
    with server(table, request.param) as client:
        yield client, runs


def test_it_shows_what_it_can_read(found: tuple[TestClient, dict[str, str]]) -> None:
    """Each run is listed and looked at, and what cannot be read says why; nothing is a 500."""
    client, runs = found
    listed = client.get("/v1/runs")
    assert listed.status_code == 200
    assert len(listed.json()["runs"]) == 4
    for name, run in runs.items():
        for part in ("", "/history", "/logs"):
            answer = client.get(f"/v1/runs/{run}{part}")
            assert answer.status_code == 200, answer.text
            assert CANARY not in answer.text
        history = client.get(f"/v1/runs/{run}/history").json()
        assert "cannot read the input" in history["entries"][0]["input"]["$unreadable"], name
    failed = client.get(f"/v1/runs/{runs['fails']}/result")
    assert failed.json()["error"]["message"].startswith("[unreadable: ")
    assert "\uffff" not in failed.text
    logs = client.get(f"/v1/runs/{runs['ends']}/logs")
    assert "[unreadable: " in logs.text


def test_it_does_nothing_to_what_it_cannot_read(found: tuple[TestClient, dict[str, str]]) -> None:
    """A decision, and a start that would have to compare arguments, are for another server: 503."""
    client, runs = found
    decided = client.post(f"/v1/runs/{runs['asks']}/approvals/boss", json={"approved": True})
    again: Any = {"json": {"word": CANARY}, "headers": {"Idempotency-Key": "ends"}}
    started = client.post("/v1/workflows/ends/runs", **again)
    for answer in (decided, started):
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:rewake:problem:readable-elsewhere"
        assert "Retry-After" in answer.headers


def test_no_sender_is_given_what_it_cannot_read() -> None:
    """The result of a delivery that comes again is for another server: 503, and the sender, which
    would take for it whatever it is given, comes again.
    """
    table = MemoryTable()

    def send(client: TestClient) -> Any:
        again = {"Idempotency-Key": "d"}
        return client.post("/hooks/told", json={"word": CANARY}, headers=again)

    with server(table, AesGcm({"k": bytes(32)})) as client:
        assert send(client).json()["result"] == CANARY
    with server(table, None) as client:
        answer = send(client)
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:rewake:problem:readable-elsewhere"
        assert answer.headers["Retry-After"] == "1"
        assert "unreadable" not in answer.text


def test_what_it_cannot_read_is_one_line_of_its_log(caplog: pytest.LogCaptureFixture) -> None:
    """A delivery that needs another key is a 503, and the log says which in a line: no trace-back,
    for nothing went wrong in the server.
    """
    table = MemoryTable()
    with server(table, AesGcm({"k": bytes(32)})) as client:
        client.post("/hooks/told", json={"word": CANARY})
        [kept] = client.get("/v1/deliveries").json()["deliveries"]
    with server(table, AesGcm({"other": bytes(32)})) as client:
        caplog.clear()
        assert client.get(f"/v1/deliveries/{kept['id']}").status_code == 503
    [record] = [each for each in caplog.records if each.levelname == "ERROR"]
    assert record.exc_info is None
    assert "key k encrypted it" in record.getMessage()
    assert "\n" not in record.getMessage()
