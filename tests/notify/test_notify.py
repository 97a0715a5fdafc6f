"""Telling people: what is sent by each task, and what is tried again."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import msgspec
import pytest

from rewake import Alert, AlertKind, TaskError
from rewake.notify import mail, slack, webhook

ALERT = Alert(
    id="tell-1",
    kind=AlertKind.FAILED,
    at="2026-01-01T00:00:00.000+00:00",
    workflow="main",
    run="r<1>",
    error="ValueError: é & so",
    then="rewake runs retry r1",
)


class Receiver(HTTPServer):
    """Takes what is posted, and answers as it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/in"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.send_header("Retry-After", "0")
        self.send_header("Location", self.server.url)
        self.end_headers()

    def do_GET(self) -> None:
        """A page that anybody may look at."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """What is posted to, as the variable `TO` says."""
    server = Receiver()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("TO", server.url)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("secret", ["whsec_" + base64.b64encode(b"k" * 24).decode(), "any text"])
def test_a_webhook_is_signed_by_standard_webhooks(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    """Whoever has the secret can tell that it is ours, and by its id that it comes again."""
    monkeypatch.setenv("KEY", secret)
    asyncio.run(webhook("TO", secret="KEY")(ALERT))
    [(headers, body)] = receiver.got
    key = b"k" * 24 if secret.startswith("whsec_") else secret.encode()
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"
    assert headers["webhook-id"] == "tell-1"
    found = json.loads(body)
    assert (found["type"], found["data"]["error"]) == ("alert.failed", "ValueError: é & so")


def test_slack_gets_a_line_in_which_nothing_is_markup(receiver: Receiver) -> None:
    """A run's name and an error are texts of others."""
    asyncio.run(slack("TO")(ALERT))
    [(_, body)] = receiver.got
    text = json.loads(body)["text"]
    assert "run r&lt;1&gt; of main has failed: ValueError: é &amp; so" in text


def test_what_may_pass_is_tried_again(receiver: Receiver) -> None:
    """Too many, or a fault of theirs; what they refuse is not."""
    receiver.answers = [429, 503]
    asyncio.run(slack("TO")(ALERT))
    assert len(receiver.got) == 3
    receiver.answers = [404]
    with pytest.raises(TaskError, match="404"):
        asyncio.run(slack("TO")(ALERT))
    assert len(receiver.got) == 4


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_what_leads_elsewhere_has_taken_nothing(receiver: Receiver, status: int) -> None:
    """A page there would be read instead, and answered with 200; it is sent again."""
    receiver.answers = [status]
    asyncio.run(slack("TO")(ALERT))
    assert len(receiver.got) == 2


@pytest.mark.parametrize("address", ["", "file:///etc/passwd", "example.com"])
def test_an_address_that_is_none_says_so(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """It is not tried again, and nothing but HTTP is opened."""
    monkeypatch.setenv("TO", address)
    with pytest.raises(TaskError, match=r"TO is not set|begins with https"):
        asyncio.run(slack("TO")(ALERT))


def test_a_mail_has_an_id_that_is_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that mail programs show it once; nothing of an error gets into its headers."""
    got: list[EmailMessage] = []

    class Server:
        def __init__(self, host: str, port: int, timeout: float) -> None:
            assert (host, port) == ("mail.example", 25)
            assert timeout

        def __enter__(self) -> Server:
            return self

        def __exit__(self, *_: object) -> None: ...

        def send_message(self, message: EmailMessage) -> None:
            got.append(message)

    monkeypatch.setattr("smtplib.SMTP", Server)
    monkeypatch.setenv("REWAKE_SMTP", "mail.example")
    tell = mail("ops@example.com", sender="rewake@example.com")
    broken = msgspec.structs.replace(ALERT, error="a\r\nBcc: x@y")
    for each in (ALERT, broken):
        asyncio.run(tell(each))
    ids = {each["Message-ID"] for each in got}
    assert all(each["Bcc"] is None for each in got)
    assert len(got) == 2
    assert len(ids) == 1


def test_a_password_is_told_to_who_has_proved_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate of the server is checked, and that it is of its name, before it logs in."""
    done: list[str] = []

    class Server:
        def __init__(self, host: str, port: int, timeout: float) -> None: ...

        def __enter__(self) -> Server:
            return self

        def __exit__(self, *_: object) -> None: ...

        def starttls(self, *, context: ssl.SSLContext | None = None) -> None:
            assert context is not None
            assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
            done.append("starttls")

        def login(self, user: str, password: str) -> None:
            done.append(f"{user} {password}")

        def send_message(self, message: EmailMessage) -> None:
            done.append("sent")

    monkeypatch.setattr("smtplib.SMTP", Server)
    monkeypatch.setenv("REWAKE_SMTP", "me:p@ss@mail.example:587")
    asyncio.run(mail("ops@example.com", sender="rewake@example.com")(ALERT))
    assert done == ["starttls", "me p@ss", "sent"]


def test_a_mail_to_nobody_is_refused() -> None:
    """Also to what is no address, or more than one line."""
    for to in ((), ("ops",), ("a@b\nBcc: c@d",)):
        with pytest.raises(ValueError, match="addresses"):
            mail(*to, sender="rewake@example.com")
