"""Tokens of an issuer at the front door: who has one may do what it allows, and is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.http.app import create_app
from rewake.identity.oidc import OidcSettings, read_grants
from rewake.identity.settings import IdentitySettings
from rewake.signing.secret import Secret
from rewake.stores.sqlite.table import SqliteTable
from tests.support import app as workflows
from tests.support.issuer import AUDIENCE, NOW, URL, Issuer
from tests.support.server import SECRET, bearer

GRANTS = '{"groups": {"ops": ["read", "operate"], "dev": ["start", "read"], "boss": ["admin"]}}'


class Running(SystemClock):
    """The machine's clock, set to when the issuer makes its tokens."""

    def __init__(self) -> None:
        self._ahead = NOW * 1000 - super().now()

    def now(self) -> int:
        return super().now() + self._ahead


@pytest.fixture
def issuer() -> Issuer:
    """An issuer that is asked without a socket."""
    return Issuer()


@pytest.fixture
def app(tmp_path: Path, issuer: Issuer) -> Starlette:
    """The tests' app, which takes tokens of the issuer."""
    secret, clock = Secret(SECRET), Running()
    table = SqliteTable(tmp_path / "rewake.db", durable=False)
    engine = Engine(App(workflows), table, InProcessDispatcher(clock), secret, clock=clock)
    oidc = OidcSettings(URL, AUDIENCE, "sub", read_grants(GRANTS))
    served = create_app(
        engine, secret, grace=0.1, sweep=False, clock=clock, identity=IdentitySettings(oidc)
    )
    served.state.parts.people.oidc.jwks._fetch = issuer.fetch
    return served


@pytest.fixture
def door(app: Starlette) -> Iterator[TestClient]:
    """The front door; nobody is let in without a token."""
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def ask(door: TestClient, token: str, method: str, path: str, **more: Any) -> httpx2.Response:
    """A request with a token."""
    return door.request(method, path, headers=bearer(token), **more)


def test_a_token_allows_what_its_claims_say(door: TestClient, issuer: Issuer) -> None:
    """Its scopes follow from its groups; for anything else it is a 403 that names the scope."""
    ops, dev = issuer.token(groups=["ops"]), issuer.token(groups=["dev"])
    assert ask(door, ops, "GET", "/v1/runs").status_code == 200
    answer = ask(door, ops, "POST", "/v1/workflows/total/runs", json={"numbers": [1]})
    assert (answer.status_code, answer.json()["scope"]) == (403, "start")
    answer = ask(door, dev, "POST", "/v1/workflows/total/runs?wait=5", json={"numbers": [1]})
    assert answer.json()["result"] == 1
    assert ask(door, dev, "GET", "/v1/audit").json()["scope"] == "admin"
    assert ask(door, issuer.token(groups=["boss"]), "GET", "/v1/audit").status_code == 200
    nobody = ask(door, issuer.token(), "GET", "/v1/runs")
    assert (nobody.status_code, nobody.json()["scope"]) == (403, "read")


def test_who_it_was_is_recorded(door: TestClient, issuer: Issuer, app: Starlette) -> None:
    """The run says who started it, and the audit log who did what."""
    dev = issuer.token(groups=["dev"], sub="ann@example.com")
    started = ask(door, dev, "POST", "/v1/workflows/total/runs?id=r1&wait=5", json={"numbers": [1]})
    assert started.status_code == 200
    ask(door, dev, "POST", "/v1/runs/r1/kill")
    entries = door.get("/v1/audit", headers=bearer()).json()["entries"]
    told = [(each["who"], each["action"], each["outcome"]) for each in entries]
    assert ("oidc:ann@example.com", "run.start", "done") in told
    assert ("oidc:ann@example.com", "run.kill", "refused") in told


def test_what_is_no_token_of_the_issuer(door: TestClient, issuer: Issuer) -> None:
    """A forgery, an expired one, one of another key and an endless one are the same 401."""
    forged = issuer.token(key="evil", header={"kid": "RS256"}, groups=["boss"])
    none = "eyJhbGciOiJub25lIn0." + issuer.token(groups=["boss"]).split(".")[1] + "."
    for token in (forged, none, issuer.token(aud="x"), "a.b.c", "a.b." + "c" * 20_000):
        answer = ask(door, token, "GET", "/v1/runs")
        assert answer.status_code == 401
        assert "Bearer" in answer.headers["WWW-Authenticate"]
        assert "evil" not in answer.text
    expired = ask(door, issuer.token(exp=NOW - 600), "GET", "/v1/runs")
    assert (expired.status_code, "expired" in expired.json()["detail"]) == (401, True)


def test_an_operator_is_told_why(
    door: TestClient, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused token is a line of the log that says what is wrong, with nothing of the token; so
    many a minute as the audit log has. The sender is told no more than before.
    """
    caplog.set_level("INFO", logger="rewake.audit")
    aud, old = issuer.token(aud="another-app"), issuer.token(exp=NOW - 600)
    forged = issuer.token(key="evil", header={"kid": "RS256"})
    why = {
        aud: "it is for another audience than REWAKE_OIDC_AUDIENCE",
        issuer.token(iss="https://other.example"): "another issuer than REWAKE_OIDC_ISSUER",
        forged: "its signature is wrong",
        issuer.token(header={"kid": "gone"}): "has no key that it names",
        old: "has expired",
        issuer.token(sub=None): "it has no claim sub",
        "a.b.c": "its header cannot be read",
    }
    for token, told in why.items():
        caplog.clear()
        answer = ask(door, token, "GET", "/v1/runs")
        [record] = caplog.records
        line = record.getMessage()
        assert line.startswith("a stranger: ")
        assert told in line
        assert len(line) < 600
        assert "another-app" not in line
        assert all(part not in line for part in token.split(".") if len(part) > 9)
        assert token == old or "no claim sub" in told or told not in answer.text
    caplog.clear()
    for _ in range(50):
        ask(door, aud, "GET", "/v1/runs")
    assert len(caplog.records) <= 20


def test_an_issuer_that_is_down_shuts_out_its_own_only(door: TestClient, issuer: Issuer) -> None:
    """Its tokens are answered 503 and `Retry-After`; all others go on, and so does health."""
    issuer.down = True
    made = door.post("/v1/tokens", json={"name": "ci", "scopes": ["read"]}, headers=bearer())
    for _ in range(3):
        answer = ask(door, issuer.token(groups=["boss"]), "GET", "/v1/runs")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
        assert answer.json()["type"] == "urn:rewake:problem:issuer-unavailable"
        assert URL not in answer.text
    assert ask(door, made.json()["token"], "GET", "/v1/runs").status_code == 200
    assert door.get("/v1/runs", headers=bearer()).status_code == 200
    assert door.get("/readyz").status_code == 200
    assert ask(door, "x" * 40, "GET", "/v1/runs").status_code == 401


def test_without_an_issuer_none_is_let_in(tmp_path: Path, issuer: Issuer) -> None:
    """A server that is told of no issuer takes no token of one, and asks nobody."""
    secret = Secret(SECRET)
    table = SqliteTable(tmp_path / "plain.db", durable=False)
    engine = Engine(App(workflows), table, InProcessDispatcher(SystemClock()), secret)
    with TestClient(create_app(engine, secret, grace=0.1)) as client:
        token = issuer.token(groups=["boss"])
        assert ask(client, token, "GET", "/v1/runs").status_code == 401
    assert issuer.asked == []
