"""The endpoints that machines call."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from rewake import TaskError, callback, task, workflow
from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.outside.callbacks import Callbacks
from rewake.engine.settings import Settings
from rewake.errors import StoreUnavailable
from rewake.hosts.request_logs import NoTokens
from rewake.http.app import create_app
from rewake.http.bodies import LIMIT
from rewake.signing.secret import Secret
from rewake.stores.sqlite.table import SqliteTable
from tests.support.server import SECRET, bearer

URL = "http://testserver"
SENT: list[str] = []


@dataclass
class Payment:
    amount: int


@task
async def send(url: str) -> None:
    SENT.append(url)


@workflow
async def pays(heartbeat: float | None = None, timeout: float | None = None) -> Any:
    wait = callback("payment", result=Payment, heartbeat_timeout=heartbeat, timeout=timeout)
    await send(wait.url)
    try:
        return (await wait).amount
    except TaskError as error:
        return [error.type, error.message]


@workflow
async def takes_anything() -> Any:
    wait = callback()
    await send(wait.url)
    return await wait


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A machine: a client without any bearer token."""
    app, secret = App(), Secret(SECRET)
    for member in (pays, takes_anything, send):
        app.add(member)
    table = SqliteTable(tmp_path / "rewake.db", durable=False)
    dispatcher = InProcessDispatcher(SystemClock())
    engine = Engine(app, table, dispatcher, secret, settings=Settings(url=URL))
    served = create_app(engine, secret, grace=0.1)
    with TestClient(served, base_url=URL, raise_server_exceptions=False) as client:
        yield client


def started(client: TestClient, workflow: str = "pays", **arguments: Any) -> str:
    """The path of the callback of a run `a`, which was started with these arguments."""
    SENT.clear()
    path = f"/v1/workflows/{workflow}/runs?id=a"
    assert client.post(path, json=arguments, headers=bearer()).status_code == 202
    deadline = time.monotonic() + 10
    while not SENT and time.monotonic() < deadline:
        time.sleep(0.01)
    return SENT[0].removeprefix(URL)


def result(client: TestClient) -> Any:
    """What the run came to."""
    return client.get("/v1/runs/a/result?wait=10", headers=bearer()).json()["result"]


def test_the_same_call_twice_is_one(client: TestClient) -> None:
    """A machine that did not hear the answer asks again, and hears it; another call conflicts."""
    path = started(client)

    for body in ('{"amount": 3}', ' { "amount":3 }\n'):
        headers = {"Content-Type": "application/json"}
        response = client.post(path, content=body, headers=headers)
        assert (response.status_code, response.json()) == (200, {"state": "completed"})
        assert response.headers["Cache-Control"] == "no-store"
        assert result(client) == 3
    other = client.post(path, json={"amount": 4})
    assert (other.status_code, other.json()["type"]) == (409, "urn:rewake:problem:conflict")
    assert client.post(f"{path}/fail", json={"type": "No"}).status_code == 409
    assert client.post(f"{path}/heartbeat").status_code == 409


def test_a_failure(client: TestClient) -> None:
    """Its type and message are what the workflow sees, and the same failure twice is one."""
    path, told = started(client), {"type": "Declined", "message": "no cover"}

    for _ in range(2):
        response = client.post(f"{path}/fail", json=told)
        assert (response.status_code, response.json()) == (200, {"state": "failed"})
    assert client.post(f"{path}/fail", json={"type": "Declined"}).status_code == 409
    assert result(client) == ["Declined", "no cover"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("end", ["", "/fail", "/heartbeat"])
def test_nothing_but_a_post_does_anything(client: TestClient, method: str, end: str) -> None:
    """What previews or scans links is told 405, as often as it asks, and the callback waits."""
    path = started(client)

    for _ in range(3):
        response = client.request(method, path + end, headers={"Purpose": "prefetch"})
        assert response.status_code == 405
        assert response.headers["Allow"] == "POST"
    assert client.post(path, json={"amount": 3}).status_code == 200


@pytest.mark.parametrize(
    ("end", "sent", "field"),
    [
        ("", {"amount": "much"}, "amount"),
        ("", {}, "amount"),
        ("", [3], ""),
        ("", None, ""),
        ("/fail", {}, "type"),
        ("/fail", {"type": ""}, "type"),
        ("/fail", {"type": 3}, "type"),
        ("/fail", {"type": "No", "message": []}, "message"),
        ("/fail", {"type": "No", "reason": ""}, "reason"),
    ],
)
def test_what_does_not_fit_leaves_it_open(
    client: TestClient, end: str, sent: Any, field: str
) -> None:
    """It is a 422 that names the field, and the next call may do better."""
    path = started(client)

    response = client.post(path + end, json=sent)
    assert (response.status_code, response.json().get("field", "")) == (422, field)
    assert client.post(path, json={"amount": 3}).status_code == 200


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'"\xff"', "application/json", 400),
        (b"NaN", "application/json", 400),
        (b"amount=3", "application/x-www-form-urlencoded", 415),
        (b'{"amount": 3}', "text/plain", 415),
        (b'{"amount": 3}', "", 415),
        (b'"' + b"x" * LIMIT + b'"', "application/json", 413),
    ],
    ids=range(8),
)
def test_a_body_that_is_none(
    client: TestClient, content: bytes, media_type: str, status: int
) -> None:
    """Broken, deep, large or foreign: it is refused, and the callback waits."""
    path = started(client)

    headers = {"Content-Type": media_type} if media_type else {}
    for end in ("", "/fail"):
        assert client.post(path + end, content=content, headers=headers).status_code == status
        coded = {**headers, "Content-Encoding": "gzip"}
        assert client.post(path + end, content=content, headers=coded).status_code in (413, 415)
    assert client.post(path, json={"amount": 3}).status_code == 200


@pytest.mark.parametrize("sent", [None, 0, 2**63, 1.5, "x" * 300_000, [], {"a": [None, {}]}])
def test_any_json_is_a_result(client: TestClient, sent: Any) -> None:
    """Without a type it is what was sent, also when it is large; no body at all is null."""
    path = started(client, "takes_anything")

    body = {} if sent is None else {"json": sent}
    for _ in range(2):
        assert client.post(path, **body).status_code == 200
    assert result(client) == sent


def test_a_heartbeat(client: TestClient) -> None:
    """It says until when the next one must have come; without a silence, until when it is open."""
    path = started(client, heartbeat=60)

    response = client.post(f"{path}/heartbeat", content=b"anything", headers={})
    assert response.status_code == 200
    assert response.json()["state"] == "waiting"
    assert response.json()["until"] > "2026"
    run = client.get("/v1/runs/a", headers=bearer()).json()
    assert run["state"] == "suspended"


def test_a_heartbeat_without_a_silence(client: TestClient) -> None:
    """It is answered, and there is nothing to keep to."""
    path = started(client)

    assert client.post(f"{path}/heartbeat").json() == {"state": "waiting", "until": None}


def test_the_run_is_over(client: TestClient) -> None:
    """A killed run, or one whose wait ran out of time, is gone."""
    path = started(client)

    assert client.post("/v1/runs/a/kill", json={}, headers=bearer()).status_code == 200
    for end, sent in (("", {"amount": 3}), ("/fail", {"type": "No"}), ("/heartbeat", {})):
        response = client.post(path + end, json=sent)
        assert (response.status_code, response.json()["type"]) == (410, "urn:rewake:problem:gone")


def test_every_forgery_is_answered_alike(client: TestClient) -> None:
    """Whatever is wrong with a link, and whatever is sent to it, it is the same 401."""
    path = started(client)

    token = path.rpartition("/")[2]
    payload, _, signature = token.partition(".")
    forged = ["x", token[:-1], token + "A", f"{payload}.", f".{signature}", signature, "x" * 5000]
    answers = {
        (response.status_code, response.text, response.headers.get("WWW-Authenticate"))
        for each in forged
        for end in ("", "/fail", "/heartbeat")
        for response in (
            client.post(f"/callback/{each}{end}", json={"amount": 3}),
            client.post(f"/callback/{each}{end}", content=b"{", headers={"Content-Type": "x"}),
        )
    }
    assert len(answers) == 1
    assert answers.pop()[0] == 401
    assert client.post(f"/approve/{token}").status_code in (401, 404)
    assert client.post(path, json={"amount": 3}).status_code == 200


def test_a_link_is_no_key_to_anything_else(client: TestClient) -> None:
    """Neither as a bearer token, nor at a path of another operation."""
    path = started(client)

    token = path.rpartition("/")[2]
    headers = {"Authorization": f"Bearer {token}"}
    assert client.get("/v1/runs/a", headers=headers).status_code == 401
    assert client.post(f"{path}/cancel").status_code == 404


def test_no_log_has_the_token(
    client: TestClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither that of a request that failed, nor that of all requests."""
    path = started(client)
    token = path.rpartition("/")[2]

    async def down(*_: Any) -> None:
        raise StoreUnavailable("down")

    monkeypatch.setattr(Callbacks, "complete", down)
    access = logging.getLogger("uvicorn.access")
    for name, value in (("propagate", True), ("disabled", False)):  # a server may have set these
        monkeypatch.setattr(access, name, value)
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.INFO, "uvicorn.access"):
        assert client.post(path, json={"amount": 3}).status_code == 503
        access.addFilter(told := NoTokens())
        access.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "POST", f"{path}/fail", "1.1", 200)
        access.removeFilter(told)
    assert "POST /callback/*** failed" in caplog.text
    assert "POST /callback/***/fail HTTP/1.1" in caplog.text
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith(("httpx", "httpcore"))]
    assert token not in "\n".join(ours)


def test_the_address_is_what_is_configured(client: TestClient) -> None:
    """What the Host header of any request says has no part in it."""
    started(client)
    assert httpx2.URL(SENT[0]).host == "testserver"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.binary(max_size=200) | st.from_regex(r'[\[\{"0-9eE+\-.a\\u,:}\] ]{0,60}').map(str.encode),
    st.sampled_from(["", "/fail", "/heartbeat"]),
)
def test_whatever_is_posted_is_no_500(client: TestClient, content: bytes, end: str) -> None:
    """Any bytes at all, sent as JSON: they decide, or are refused as what they are."""
    path = f"/callback/{open_token(client)}"
    response = client.post(
        path + end, content=content, headers={"Content-Type": "application/json"}
    )
    assert response.status_code in (200, 400, 409, 422)


def open_token(client: TestClient) -> str:
    """The token of one callback that these calls share."""
    if client.get("/v1/runs/a", headers=bearer()).status_code == 404:
        started(client, "takes_anything")
    return SENT[0].rpartition("/")[2]
