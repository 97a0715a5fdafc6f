"""Tasks that tell people: by a webhook, in Slack, by mail. What they tell of is one path for all.

    from rewake import alerts
    from rewake.notify import slack

    ops = slack("SLACK_URL")  # an incoming webhook of Slack, in the environment
    hook = alerts(ops)

Each makes a task that takes an `Alert` (`on_failure`, `alerts`) or the `Notice` of an approval
(`notify=`). It has to stand in the app's module under a name. Where to send, and secrets, are read
from the environment when it is called: a variable that is missing fails the task, and says which.
What is sent carries an id that is the same in each repetition, by which who gets it knows it again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import smtplib
import ssl
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any, Final
from urllib.error import HTTPError

import msgspec

from rewake.authoring.alerting import Alert
from rewake.authoring.context import task_context
from rewake.authoring.notifying import Notice
from rewake.authoring.task import Task, task
from rewake.clock import SystemClock
from rewake.errors import NonRetryable, RetryAfter

__all__ = ["mail", "slack", "webhook"]

Told = Alert | Notice
_PATIENCE: Final = 20
_POLICY: Final[Mapping[str, Any]] = {
    "retries": 5,
    "delay": 2.0,
    "max_delay": 60.0,
    "timeout": timedelta(minutes=1),
}


def webhook(url: str, *, secret: str, name: str = "notify-webhook") -> Task[[Told], None]:
    """A task that posts what it is told of, as JSON, to the address in the variable `url`.

    It is signed by Standard Webhooks (standardwebhooks.com) with the secret in the variable
    `secret` (`whsec_…`, or any text): `webhook-id` is the same in each repetition. 2xx takes it,
    410 and other 4xx are for good, all else is tried again, also what leads elsewhere. `name`: of
    the task.
    """

    @task(name=name, **_POLICY)
    def tell(told: Told) -> None:
        kind = "alert" if isinstance(told, Alert) else "approval"
        now = SystemClock().now() // 1000
        at = datetime.fromtimestamp(now, UTC).isoformat()
        body = msgspec.json.encode({"type": f"{kind}.{told.kind}", "timestamp": at, "data": told})
        moment, id_ = str(now), _id_of(told)
        signed = f"{id_}.{moment}.".encode() + body
        digest = hmac.digest(_key(_setting(secret)), signed, hashlib.sha256)
        signature = f"v1,{base64.b64encode(digest).decode()}"
        headers = {"webhook-id": id_, "webhook-timestamp": moment, "webhook-signature": signature}
        _post(_setting(url), body, headers)

    return tell


def slack(url: str, *, name: str = "notify-slack") -> Task[[Told], None]:
    """A task that posts a line to the incoming webhook of Slack in the variable `url`.

    Slack knows no repetition: a message whose answer is lost comes twice.
    """

    @task(name=name, **_POLICY)
    def tell(told: Told) -> None:
        text = _text(told).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        _post(_setting(url), json.dumps({"text": text[:3_000]}).encode(), {})

    return tell


def mail(
    *to: str,
    sender: str,
    smtp: str = "REWAKE_SMTP",
    name: str = "notify-mail",
) -> Task[[Told], None]:
    """A task that mails it from `sender` to these, by the server in the variable `smtp`.

    That is `host:port`, or `user:password@host:port`, which goes over TLS with a certificate
    that is checked. The mail's id is the same in each repetition, so mail programs show it once.
    """
    if not to or any("\n" in each or "@" not in each for each in (*to, sender)):
        raise ValueError("mail() needs addresses: mail('ops@example.com', sender=...)")

    @task(name=name, **_POLICY)
    def tell(told: Told) -> None:
        text = _text(told)
        message = EmailMessage()
        message["From"], message["To"] = sender, ", ".join(to)
        message["Subject"] = " ".join(text.split())[:150]
        message["Message-ID"] = f"<{hashlib.sha256(_id_of(told).encode()).hexdigest()[:32]}@rewake>"
        message.set_content(text + "\n")
        login, _, address = _setting(smtp).rpartition("@")
        host, _, port = address.partition(":")
        with smtplib.SMTP(host, int(port or 25), timeout=_PATIENCE) as server:
            if login:
                # Without one, smtplib takes any certificate, and who answers gets the password.
                server.starttls(context=ssl.create_default_context())
                user, _, password = login.partition(":")
                server.login(user, password)
            server.send_message(message)

    return tell


def _text(told: Told) -> str:
    """A few lines for people."""
    if isinstance(told, Alert):
        return told.text
    asks = told.description or told.name
    lines = [f"{told.kind}: {asks}", told.call, *told.links.values()]
    if told.decision:
        lines.append(f"{told.decision} by {told.approver or 'nobody'}")
    return "\n".join(each for each in lines if each)


def _id_of(told: Told) -> str:
    return told.id if isinstance(told, Alert) else f"msg_{task_context().idempotency_key}"


def _key(secret: str) -> bytes:
    text = secret.removeprefix("whsec_")
    if text != secret:
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error:
            raise NonRetryable("the secret of the webhook is whsec_ and base64") from None
    return secret.encode()


def _setting(variable: str) -> str:
    found = os.environ.get(variable, "").strip()
    if not found:
        raise NonRetryable(f"{variable} is not set: nobody can be told")
    return found


class _Nowhere(urllib.request.HTTPRedirectHandler):
    """Follows nowhere: what is posted would go there as a GET, without all that it tells."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER: Final = urllib.request.build_opener(_Nowhere)


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Post JSON. Raises `NonRetryable`, `RetryAfter`, `OSError`."""
    if not url.startswith(("https://", "http://")):
        raise NonRetryable("the address to post to begins with https://")
    given = {"Content-Type": "application/json", "User-Agent": "rewake", **headers}
    asked = urllib.request.Request(url, body, given)  # noqa: S310 - its scheme is checked
    try:
        with _OPENER.open(asked, timeout=_PATIENCE):
            return
    except HTTPError as error:
        error.close()
        after = error.headers.get("Retry-After", "")
        if error.code in (429, 503):
            if after.isdecimal() and len(after) < 6:
                raise RetryAfter(int(after), f"it answered {error.code}") from None
        elif 400 <= error.code < 500 and error.code != 408:
            raise NonRetryable(f"it answered {error.code}") from None
        raise OSError(f"it answered {error.code}") from None
