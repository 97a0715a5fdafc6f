from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rewake.http.bodies import LIMIT
from tests.http.conftest import Stranger
from tests.support.server import TOKEN

START = "/v1/workflows/total/runs"


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("POST", f"{START}?wait=soon", "wait"),
        ("POST", f"{START}?wait=-1", "wait"),
        ("POST", f"{START}?wait=61", "wait"),
        ("POST", f"{START}?wait=nan", "wait"),
        ("POST", f"{START}?wait=inf", "wait"),
        ("POST", f"{START}?wait=", "wait"),
        ("POST", f"{START}?id=", "id"),
        ("POST", f"{START}?id=a/b", "id"),
        ("POST", f"{START}?id={'x' * 129}", "id"),
        ("POST", f"{START}?if_running=attach", "if_running"),
        ("POST", f"{START}?if_finished=restart", "if_finished"),
        ("POST", f"{START}?id=a&if_finished=restart", "if_finished"),
        ("POST", f"{START}?id=a&if_finished=restart_failed", "if_finished"),
        ("POST", f"{START}?id=key-{'0' * 32}.2", "id"),
        ("GET", "/v1/runs?limit=0", "limit"),
        ("GET", "/v1/runs?limit=201", "limit"),
        ("GET", "/v1/runs?limit=1.5", "limit"),
        ("GET", "/v1/runs?limit=many", "limit"),
        ("GET", "/v1/runs?state=parked", "state"),
        ("GET", "/v1/runs/none/result?wait=1e9", "wait"),
        ("POST", f"{START}?wiat=3", "wiat"),
        ("POST", f"{START}?wait=1&wait=2", "wait"),
        ("GET", "/v1/runs?wait=3", "wait"),
        ("GET", "/v1/runs/none?wait=3", "wait"),
        ("GET", "/v1/runs/none/history?key=a", "key"),
        ("GET", "/v1/workflows?x", "x"),
        ("POST", "/v1/runs/none/cancel?reason=x", "reason"),
        ("POST", "/v1/sweep?all=1", "all"),
    ],
)
def test_a_bad_query(client: TestClient, method: str, path: str, field: str) -> None:
    """A query parameter that does not fit, or that there is not, is refused, and named."""
    response = client.request(method, path, json={"numbers": []} if method == "POST" else None)

    assert (response.status_code, response.json()["field"]) == (422, field)
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("if_running", "attach, reject"),
        ("if_finished", "attach, reject, restart, restart_failed"),
        ("state", "ready, running, suspended, delayed, paused, done, failed, cancelled, stuck"),
    ],
)
@pytest.mark.parametrize("value", ["", "ATTACH", "attach,reject", "kill"])
def test_a_bad_choice(client: TestClient, name: str, choices: str, value: str) -> None:
    """A value that is not among the choices is refused with all of them, and starts nothing."""
    method, path = ("GET", "/v1/runs") if name == "state" else ("POST", START)
    headers = {"Idempotency-Key": "k"}
    response = client.request(method, path, params={name: value}, headers=headers)

    assert (response.status_code, response.json()["field"]) == (422, name)
    assert response.json()["detail"] == f"{name} must be one of {choices}"
    assert client.get("/v1/runs").json()["runs"] == []


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({}, "numbers"),
        ({"numbers": [1, "2"]}, "numbers[1]"),
        ({"numbers": 3}, "numbers"),
        ({"numbers": [], "other": 1}, "other"),
    ],
)
def test_bad_arguments(client: TestClient, arguments: object, field: str) -> None:
    """An argument that is missing, unknown or does not fit is named, down to the element."""
    response = client.post(START, json=arguments)

    assert (response.status_code, response.json()["field"]) == (422, field)


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"{}", "text/plain", 415),
        (b"{}", "application/x-www-form-urlencoded", 415),
        (b"{}", "", 415),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"null", "application/json", 400),
        (b"3", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"numbers": NaN}', "application/json", 400),
        (b'{"numbers": [1e999]}', "application/json", 400),
        (b'{"numbers": "\\ud800"}', "application/json", 400),
        (b'{"numbers": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "application/json", 400),
        (b'{"numbers": ' + b"[" * 64 + b"]" * 64 + b"}", "application/json", 400),
        (b'{"numbers": ' + b"[" * 63 + b"]" * 63 + b"}", "application/json", 422),
        (b'{"numbers": [1]} trailing', "application/json", 400),
        (b'{"numbers": []}', "application/json; charset=utf-8", 202),
        (b'{"numbers": []}', "application/vnd.some+json", 202),
        (b'{"numbers": [123456789012345678901234567890]}', "application/json", 202),
    ],
)
def test_bodies(client: TestClient, body: bytes, media_type: str, status: int) -> None:
    """A body must be a JSON object that says so; nothing else gets further, nothing breaks."""
    response = client.post(START, content=body, headers={"Content-Type": media_type})

    assert response.status_code == status, response.text
    if status >= 400:
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.json()["status"] == status


def test_a_body_over_the_limit(client: TestClient) -> None:
    """A body that is declared too large is refused, and the connection closed."""
    headers = {"Content-Type": "application/json"}
    response = client.post(START, content=b" " * (LIMIT + 1), headers=headers)

    assert response.status_code == 413
    assert response.headers["Connection"] == "close"


def test_an_endless_body(client: TestClient) -> None:
    """A body that does not say how large it is, is read no further than the limit."""
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += LIMIT
            yield b" " * LIMIT

    headers = {"Content-Type": "application/json"}
    assert client.post(START, content=endless(), headers=headers).status_code == 413


def test_both_an_id_and_a_key(client: TestClient) -> None:
    """A run cannot be named in two ways at once."""
    response = client.post(f"{START}?id=a", headers={"Idempotency-Key": "b"})

    assert (response.status_code, response.json()["field"]) == (422, "id")


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_an_unfit_idempotency_key(client: TestClient, key: str) -> None:
    """An idempotency key has a length."""
    response = client.post(START, headers={"Idempotency-Key": key})

    assert (response.status_code, response.json()["field"]) == (422, "Idempotency-Key")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"reason": 3}, "reason"),
        ({"reason": "x" * 201}, "reason"),
        ({"reason": "é" * 101}, "reason"),
        ({"why": "so"}, "why"),
    ],
)
def test_a_bad_reason(client: TestClient, body: object, field: str) -> None:
    """The reason of a cancellation is a short text."""
    response = client.post("/v1/runs/none/cancel", json=body)

    assert (response.status_code, response.json()["field"]) == (422, field)


def test_unknown_paths(client: TestClient) -> None:
    """A path that does not exist is a problem like any other, with a type."""
    for path in ("/", "/v1/none", "/v1/runs/", "/v1/runs/a/b/c"):
        response = client.get(path, follow_redirects=False)
        assert response.status_code == 404
        assert response.json() == {
            "title": "Not Found",
            "status": 404,
            "type": "about:blank",
        }


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/runs", "GET, HEAD"),
        ("GET", "/v1/runs/a/cancel", "POST"),
        ("DELETE", "/healthz", "GET, HEAD"),
    ],
)
def test_wrong_methods(client: TestClient, method: str, path: str, allowed: str) -> None:
    """A method that a path does not have is refused with those that it has."""
    response = client.request(method, path)

    assert response.status_code == 405
    assert response.headers["Allow"] == allowed
    assert response.json()["title"] == "Method Not Allowed"


def test_what_nobody_expected(
    client: TestClient, app: Starlette, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of ours is a 500 that gives nothing away."""

    async def fail(run: str) -> None:
        raise RuntimeError(f"a bug, with {TOKEN} in it")

    monkeypatch.setattr(app.state.parts.engine, "get", fail)
    response = client.get("/v1/runs/a")

    assert response.status_code == 500
    assert response.json() == {
        "title": "Internal Server Error",
        "status": 500,
        "type": "about:blank",
    }


def test_the_body_of_a_stranger_is_not_read(stranger: Stranger) -> None:
    """Whoever is not let in cannot make the server read either."""

    def never() -> Iterator[bytes]:
        yield b"{"

    assert stranger("POST", START, content=never()).status_code == 401


@pytest.mark.parametrize(
    "path",
    [f"runs/none/{each}" for each in ("cancel", "kill", "resume", "retry", "approvals/boss")]
    + ["sweep"],
)
def test_an_unknown_field_of_a_body(client: TestClient, path: str) -> None:
    """A field that a request does not have is refused, and named."""
    response = client.post(f"/v1/{path}", json={"approved": True, "raeson": "x"})

    assert response.status_code == 422
    assert response.json()["field"] in {"approved", "raeson"}
