"""The endpoints of `rewake doctor`: who may ask them, and what they tell."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from rewake.doctor.front import PATH, SENT
from rewake.signing.messages import HEADER, WINDOW, sign
from rewake.signing.secret import Secret
from tests.http.conftest import Stranger
from tests.support.server import SECRET

BODY = b'{"from":"doctor"}'


def now(client: TestClient) -> int:
    """The server's time."""
    found: int = client.app.state.parts.clock.now()  # type: ignore[attr-defined]
    return found


def test_an_echo_says_what_arrived(client: TestClient, stranger: Stranger) -> None:
    """Of a signed request it has the scheme, the host, the path and the names of headers."""
    signature = {HEADER: sign(Secret(SECRET), "POST", PATH, BODY, now(client))}
    answer = stranger("POST", PATH, content=BODY, headers={**SENT, **signature})
    seen = answer.json()
    assert answer.status_code == 200
    assert (seen["scheme"], seen["path"], seen["host"]) == ("http", PATH, "testserver")
    assert {name.lower() for name in SENT} <= set(seen["headers"])
    assert "doctor" not in str(seen["headers"])


@pytest.mark.parametrize("change", ["none", "key", "method", "path", "body", "time", "cut"])
def test_an_echo_is_for_the_secret_only(
    client: TestClient, stranger: Stranger, change: str
) -> None:
    """Nobody without the secret learns anything: each other signature is a 401."""
    key = Secret("another secret, which is long" if change == "key" else SECRET)
    verb, path = "PUT" if change == "method" else "POST", "/v1/sweep" if change == "path" else PATH
    at = now(client) - (WINDOW + 1_000 if change == "time" else 0)
    signature = sign(key, verb, path, b"{}" if change == "body" else BODY, at)
    headers = {HEADER: signature[:-2] if change == "cut" else signature}
    given = {} if change == "none" else headers
    answer = stranger("POST", PATH, content=BODY, headers=given)
    assert answer.status_code == 401
    assert "testserver" not in answer.text


def test_a_server_examines_itself(client: TestClient, stranger: Stranger) -> None:
    """It says what it finds, to admins only, and writes that it was asked."""
    assert stranger("POST", "/v1/doctor").status_code == 401
    made = client.post("/v1/tokens", json={"name": "ops", "scopes": ["operate", "read"]}).json()
    held = {"Authorization": f"Bearer {made['token']}"}
    assert client.post("/v1/doctor", headers=held).json()["scope"] == "admin"
    answer = client.post("/v1/doctor")
    found = {each["check"]: each for each in answer.json()["findings"]}
    assert found["database"]["status"] in ("ok", "warn")
    assert found["address"]["status"] == "warn"  # it has none
    assert {"secret", "disk", "versions", "keys of links", "webhooks"} <= set(found)
    assert SECRET not in answer.text
    assert client.post("/v1/doctor", json={"fix": True}).status_code == 422
    entries = client.get("/v1/audit").json()["entries"]
    assert "doctor" in {each["action"] for each in entries}
