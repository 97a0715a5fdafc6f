"""Deliveries to real servers, over real sockets: by the providers' own code, and with deaths."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from slack_sdk.signature import SignatureVerifier
from standardwebhooks.webhooks import Webhook
from stripe import WebhookSignature

from rewake.webhooks import github
from tests.support import hooks as workflows
from tests.support.server import ServerProcess

APP = Path(workflows.__file__)
PUSH = b'{"repository": {"full_name": "a/b"}, "after": "c0ffee"}'


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment of a server holds."""
    for name, text in workflows.SECRETS.items():
        monkeypatch.setenv(name, text)


@pytest.fixture
def server(tmp_path: Path, secrets: None) -> Iterator[ServerProcess]:
    """A server of an app with webhooks."""
    with ServerProcess(APP, tmp_path / "rewake.db") as server:
        yield server


def send(server: ServerProcess, path: str, body: bytes, headers: Any) -> Any:
    """A delivery, by somebody without a token."""
    sent = {"Authorization": "", "Content-Type": "application/json", **headers}
    return server.client.post(f"/hooks/{path}", content=body, headers=sent)


def pushed(name: str, body: bytes = PUSH) -> dict[str, str]:
    """The headers of a push that GitHub signed."""
    signed = github("S").sign(body, workflows.SECRETS["GITHUB_SECRET"].encode(), 0)
    return {**signed, "X-GitHub-Delivery": name}


def test_the_providers_own_code_is_understood(server: ServerProcess) -> None:
    """What Stripe's, Slack's and Standard Webhooks' libraries sign starts a run, and its result is
    the answer; with one more byte it is refused.
    """
    body = json.dumps({"id": "evt_1", "type": "invoice.paid", "ü": 1}, ensure_ascii=False)
    now = int(time.time())
    slacks = SignatureVerifier(workflows.SECRETS["SLACK_SECRET"])
    signed = {
        "stripe": {
            "Stripe-Signature": WebhookSignature.generate_signature_header(body, "whsec_of_stripe")
        },
        "slack": {
            "X-Slack-Request-Timestamp": str(now),
            "X-Slack-Signature": slacks.generate_signature(timestamp=str(now), body=body),
        },
        "standard": {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(now),
            "webhook-signature": Webhook(workflows.WHSEC).sign(
                "msg_1", datetime.fromtimestamp(now, UTC), body
            ),
        },
    }
    for path, headers in signed.items():
        response = send(server, path, body.encode(), headers)
        assert response.json()["result"] == ["id", "type", "ü"], (path, response.text)
        refused = send(server, path, body.encode() + b" ", headers)
        assert refused.status_code == 401
    for secret in ("whsec_before_it", "whsec_of_stripe"):
        headers = {"Stripe-Signature": WebhookSignature.generate_signature_header(body, secret)}
        assert send(server, "stripe", body.encode(), headers).status_code == 200
    logged = server.logs()
    assert not any(text in logged for text in (*workflows.SECRETS.values(), "whsec_", "invoice"))


def test_a_delivery_that_was_taken_is_carried_out_after_a_death(tmp_path: Path) -> None:
    """What was answered with 202 is on disk: after kill -9 its run ends, and the same delivery,
    sent again to the next server, is told of the same run.
    """
    db = tmp_path / "rewake.db"
    with ServerProcess(APP, db) as server:
        taken = send(server, "github/push", PUSH, pushed("d-1"))
        server.kill()
    with ServerProcess(APP, db) as server:
        again = send(server, "github/push?wait=20", PUSH, pushed("d-1"))
        assert (taken.status_code, again.status_code) == (202, 200)
        assert (again.json()["id"], again.json()["result"]) == (taken.json()["id"], "a/b@c0ffee")
        assert again.headers["Idempotency-Replayed"] == "true"
        assert len(server.client.get("/v1/runs").json()["runs"]) == 1


def test_copies_that_two_servers_take_at_once(tmp_path: Path) -> None:
    """A provider that sends a delivery again, to another server, starts one run of each."""
    db = tmp_path / "rewake.db"
    with ServerProcess(APP, db) as one, ServerProcess(APP, db) as other:
        sent = [(server, f"d-{number}") for number in range(10) for server in (one, other) * 2]
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(
                lambda each: send(each[0], "github/push?wait=20", PUSH, pushed(each[1])), sent
            )
            ids: dict[str, set[str]] = {}
            for (_, name), answer in zip(sent, answers, strict=True):
                assert answer.status_code == 200, answer.text
                ids.setdefault(name, set()).add(answer.json()["id"])
        assert [len(each) for each in ids.values()] == [1] * 10
        assert len(one.client.get("/v1/runs").json()["runs"]) == 10


def test_a_server_without_a_secret_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with 2 and one line, which says what to set."""
    monkeypatch.delenv("SLACK_SECRET")
    server = ServerProcess(APP, tmp_path / "rewake.db")
    server.start()
    assert server.wait() == 2
    server.__exit__(None, None, None)
    lines = [each for each in server.logs().splitlines() if each.startswith("error:")]
    assert lines == ["error: the secret of the hook slack is missing: set SLACK_SECRET"]


def test_what_libraries_log_of_requests(tmp_path: Path) -> None:
    """Also at the level that logs each request, what Meta sends in the query is not there; a form
    that is wrong is told in one line.
    """
    with ServerProcess(APP, tmp_path / "rewake.db", log_level="debug") as server:
        asked = {
            "hub.mode": "subscribe",
            "hub.verify_token": "the verify token",
            "hub.challenge": "1158201444",
        }
        response = server.client.get("/hooks/meta", params=asked)
        assert (response.status_code, response.text) == (200, "1158201444")
        form = {"Content-Type": "multipart/form-data; boundary=x"}
        assert send(server, "files", b"--zzz", form).status_code == 422
        assert server.terminate() == 0
        logged = server.logs()
    assert "/hooks/meta?…" in logged
    assert not [each for each in ("hub.", "verify_token", "verify+token") if each in logged]
    told = [each for each in logged.splitlines() if "boundary" in each or "zzz" in each]
    assert not [each for each in told if "rewake.hooks" not in each]
