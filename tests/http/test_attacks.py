"""Attacks on the front door that are not of one feature: headers, hosts, forms, logs, time."""

from __future__ import annotations

import hmac
import logging
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from rewake.errors import StoreUnavailable, Unauthentic
from rewake.hosts.log_formats import LOG_FORMATS
from rewake.signing.links import Link, Links, LinkUse
from rewake.signing.secret import Secret
from rewake.stores.reads import Reads
from tests.http.conftest import Stranger
from tests.support.server import TOKEN

EVIL = "evil.example"
BREAKS = ("\r\nX-Evil: 1", "\nX-Evil: 1", "\r\n\r\n<script>", "\u2028X-Evil: 1", "\x00")


@pytest.mark.parametrize("text", BREAKS)
def test_no_header_is_made_of_what_is_sent(client: TestClient, text: str) -> None:
    """Ids, names and keys with line breaks make no line of an answer's head."""
    numbers = {"numbers": [1]}
    for method, path, query in (
        ("POST", "/v1/workflows/total/runs", {"id": f"a{text}"}),
        ("POST", f"/v1/workflows/total{text}/runs", {}),
        ("GET", f"/v1/runs/a{text}", {}),
        ("GET", "/v1/runs", {"cursor": f"a{text}"}),
        ("GET", f"/approve/a{text}", {}),
        ("POST", f"/callback/a{text}", {}),
        ("POST", f"/hooks/a{text}", {}),
    ):
        sent = numbers if method == "POST" else None
        answer = client.request(method, quote(path), params=query, json=sent)
        assert answer.status_code < 500, path
        assert "x-evil" not in answer.headers
        assert not any(text in value for value in answer.headers.values())


def test_a_host_is_not_believed(client: TestClient, stranger: Stranger) -> None:
    """Whatever `Host` and its like say, no address of an answer is made of it."""
    headers = {"Host": EVIL, "X-Forwarded-Host": EVIL, "Forwarded": f"host={EVIL}"}
    started = client.post(
        "/v1/workflows/ask/runs?id=r1&wait=0.2", json={"question": "?"}, headers=headers
    )
    assert started.status_code == 202
    for path in ("/v1/runs/r1", "/v1/runs", "/v1/approvals", "/v1/workflows"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 200
        assert EVIL not in answer.text + str(answer.headers)
    assert EVIL not in started.text + str(started.headers)
    assert EVIL not in stranger("GET", "/approve/a", headers=headers).text


@pytest.mark.parametrize(
    "path",
    ["/v1/runs/", "/healthz/", f"//{EVIL}/v1/runs", f"/\\{EVIL}", f"/v1/runs/?next=//{EVIL}"],
)
def test_nothing_redirects(client: TestClient, path: str) -> None:
    """No path leads elsewhere: an answer is no redirect, and names no place."""
    for verb in ("GET", "POST"):
        answer = client.request(verb, f"http://testserver{path}", follow_redirects=False)
        assert answer.status_code in (401, 404, 405)
        assert "location" not in answer.headers


def test_a_page_of_others_can_do_nothing(client: TestClient, stranger: Stranger) -> None:
    """No cookie is set or read, no other origin may read answers, and forms are refused."""
    origin = {"Origin": f"https://{EVIL}", "Cookie": f"token={TOKEN}; Authorization={TOKEN}"}
    kinds = ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x")
    for kind in kinds:
        sent = {**origin, "Content-Type": kind}
        assert stranger("POST", "/v1/runs/a/kill", headers=sent, content=b"{}").status_code == 401
        answer = client.post("/v1/workflows/nap/runs", headers=sent, content=b'{"seconds": 1}')
        assert answer.status_code == 415
        assert "set-cookie" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
    asked = {**origin, "Access-Control-Request-Method": "POST"}
    assert stranger("OPTIONS", "/v1/runs/a/kill", headers=asked).status_code in (401, 405)
    assert client.get("/v1/runs").json()["runs"] == []


@pytest.mark.parametrize("form", sorted(LOG_FORMATS))
def test_no_line_of_the_log_is_made_of_a_path(
    client: TestClient,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    """A path with line breaks is one line of the log, in each of its forms."""

    async def fails(*_: Any) -> None:
        raise StoreUnavailable("it is locked")

    monkeypatch.setattr(Reads, "header", fails)
    forged = "2026-01-01 00:00:00 ERROR forged"
    monkeypatch.setattr("rewake.http.approving.Links.read", lambda *_: 1 / 0)
    with caplog.at_level(logging.INFO):
        for path, status in (("/v1/runs/a", 503), ("/approve/a", 500)):
            answer = client.get(quote(f"{path}\r\n{forged}\x1b[2J"))
            assert answer.status_code == status
    formatter = LOG_FORMATS[form]()
    ours = [record for record in caplog.records if record.name.startswith("rewake")]
    written = [formatter.format(record) for record in ours]
    assert len([each for each in written if "failed" in each]) == 2
    assert not any(forged in each for each in written if "/approve/" in each)
    for each in written:
        assert not any(line.startswith(forged) for line in each.splitlines())
        assert "\x1b" not in each


def test_links_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a refusal takes says nothing: all accepted keys are tried, by one comparison."""
    secrets = ["a secret that signs", "one before it, which is long", "and one before that one"]
    links, compared = Links(Secret(*secrets)), []
    genuine = hmac.compare_digest

    def noted(one: bytes, other: bytes) -> bool:
        compared.append(len(one))
        return genuine(one, other)

    link = Link(LinkUse.APPROVE, "r", "k", 0, "", "", None, "n", links.signer)
    token = links.token(link)
    monkeypatch.setattr("rewake.signing.secret.hmac.compare_digest", noted)
    links.read(LinkUse.APPROVE, token, 0)
    assert compared == [32, 32, 32]
    for at in (0, 20, 42):
        payload, _, signature = token.partition(".")
        other = "B" if signature[at] == "A" else "A"
        compared.clear()
        with pytest.raises(Unauthentic):
            links.read(
                LinkUse.APPROVE, f"{payload}.{signature[:at]}{other}{signature[at + 1 :]}", 0
            )
        assert compared in ([32, 32, 32], [])  # not even compared: it is not how one is written
