"""The schemes of well-known senders: what each signs, and by what it names a delivery."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from rewake.errors import Unauthentic
from rewake.records import Millis
from rewake.values.redaction import REDACTED
from rewake.webhooks.delivery import Delivery
from rewake.webhooks.schemes import (
    TOLERANCE,
    Answer,
    Scheme,
    Secrets,
    SecretSource,
    check_fresh,
    check_signature,
    decoded,
    encoded,
    is_one_of,
    mark,
    new_id,
    only_header,
    signature,
    tolerance_of,
    whole_seconds,
)


def github(secret: SecretSource) -> Scheme:
    """GitHub: `X-Hub-Signature-256`. The ping that it sends first starts nothing."""
    return _GitHub(secret)


def stripe(secret: SecretSource, *, tolerance: float = TOLERANCE) -> Scheme:
    """Stripe: `Stripe-Signature`. The id of the event names the delivery."""
    return _Stripe(secret, tolerance)


def slack(secret: SecretSource, *, tolerance: float = TOLERANCE) -> Scheme:
    """Slack: the Events API, slash commands and interactions. Its URL verification is answered."""
    return _Slack(secret, tolerance)


def standard_webhooks(
    secret: SecretSource, *, prefix: str = "webhook", tolerance: float = TOLERANCE
) -> Scheme:
    """Standard Webhooks, symmetric (`v1`). `prefix="svix"`: its headers as Svix names them."""
    return _StandardWebhooks(secret, prefix, tolerance)


def meta(secret: SecretSource, *, verify_token: SecretSource) -> Scheme:
    """Meta (WhatsApp, Instagram, Messenger): `X-Hub-Signature-256` by the app's secret.

    `verify_token`: where the text comes from that Meta sends when it asks for the hook by `GET`.
    """
    return _Meta(secret, handshake=verify_token)


def microsoft_graph(secret: SecretSource) -> Scheme:
    """Change notifications of Microsoft Graph: each has the `clientState` that you subscribed with.

    Its validation of the address is answered.
    """
    return _MicrosoftGraph(secret)


_HUB_HEADER = "X-Hub-Signature-256"
_HUB_PREFIX = "sha256="


class _Hub(Scheme):
    """An HMAC of the body in `X-Hub-Signature-256`."""

    def verify(self, delivery: Delivery, secrets: Secrets, now: Millis) -> None:
        given = only_header(delivery, _HUB_HEADER)
        if not given.startswith(_HUB_PREFIX):
            raise Unauthentic(f"the header {_HUB_HEADER} does not begin with {_HUB_PREFIX!r}")
        check_signature([decoded(given[len(_HUB_PREFIX) :])], secrets, delivery.body)

    def sign(self, body: bytes, secret: bytes, now: Millis) -> dict[str, str]:
        return {_HUB_HEADER: _HUB_PREFIX + signature(secret, body).hex()}


class _GitHub(_Hub):
    def id_of(self, delivery: Delivery) -> str | None:
        return delivery.headers.get("X-GitHub-Delivery")

    def challenge(self, delivery: Delivery) -> Answer | None:
        return Answer("pong") if delivery.headers.get("X-GitHub-Event") == "ping" else None

    def sign(self, body: bytes, secret: bytes, now: Millis) -> dict[str, str]:
        named = {"X-GitHub-Delivery": new_id(now, body), "X-GitHub-Event": "push"}
        return super().sign(body, secret, now) | named


class _Meta(_Hub):
    def verify(self, delivery: Delivery, secrets: Secrets, now: Millis) -> None:
        if delivery.method == "POST":
            super().verify(delivery, secrets, now)
        elif delivery.query.get("hub.mode") != "subscribe":
            raise Unauthentic("a GET that is no question for the hook (hub.mode=subscribe)")
        elif not is_one_of(secrets, delivery.query.get("hub.verify_token", "").encode()):
            raise Unauthentic("the verify token is another one")

    def mark_of(self, delivery: Delivery) -> str | None:
        return mark(delivery.body)  # each body has its own times and message ids

    def challenge(self, delivery: Delivery) -> Answer | None:
        if delivery.method == "POST":
            return None
        return Answer(delivery.query.get("hub.challenge", ""))


class _Stripe(Scheme):
    def __init__(self, secret: SecretSource, tolerance: float) -> None:
        super().__init__(secret)
        self._tolerance = tolerance_of(tolerance)

    def verify(self, delivery: Delivery, secrets: Secrets, now: Millis) -> None:
        pairs = [
            each.strip().partition("=")[::2]
            for each in only_header(delivery, "Stripe-Signature").split(",")
        ]
        times = [text for name, text in pairs if name == "t"]
        given = [decoded(text) for name, text in pairs if name == "v1"]  # others are weaker
        if len(times) != 1 or not given:
            raise Unauthentic("the header Stripe-Signature has one t= and one v1= or more")
        seconds = whole_seconds(times[0])
        check_signature(given, secrets, times[0].encode() + b"." + delivery.body)
        check_fresh(seconds, now, self._tolerance)

    def id_of(self, delivery: Delivery) -> str | None:
        return _text(delivery.part("id"))

    def mark_of(self, delivery: Delivery) -> str | None:
        return mark(delivery.body)  # without an id it is no event of Stripe's own

    def sign(self, body: bytes, secret: bytes, now: Millis) -> dict[str, str]:
        time = str(now // 1000)
        made = signature(secret, time.encode() + b"." + body)
        return {"Stripe-Signature": f"t={time},v1={made.hex()}"}


class _Slack(Scheme):
    _HEADER, _TIME = "X-Slack-Signature", "X-Slack-Request-Timestamp"

    def __init__(self, secret: SecretSource, tolerance: float) -> None:
        super().__init__(secret)
        self._tolerance = tolerance_of(tolerance)

    def verify(self, delivery: Delivery, secrets: Secrets, now: Millis) -> None:
        time = only_header(delivery, self._TIME)
        version, _, given = only_header(delivery, self._HEADER).partition("=")
        if version != "v0":
            raise Unauthentic(f"the header {self._HEADER} does not begin with 'v0='")
        seconds = whole_seconds(time)
        check_signature([decoded(given)], secrets, _slacks(time, delivery.body))
        check_fresh(seconds, now, self._tolerance)

    def id_of(self, delivery: Delivery) -> str | None:
        return _text(delivery.part("event_id"))

    def mark_of(self, delivery: Delivery) -> str | None:
        return mark(delivery.headers[self._TIME], delivery.body)

    def challenge(self, delivery: Delivery) -> Answer | None:
        if delivery.part("type") != "url_verification":
            return None
        return Answer(_text(delivery.part("challenge")) or "")

    def sign(self, body: bytes, secret: bytes, now: Millis) -> dict[str, str]:
        time = str(now // 1000)
        return {
            self._TIME: time,
            self._HEADER: f"v0={signature(secret, _slacks(time, body)).hex()}",
        }


class _StandardWebhooks(Scheme):
    def __init__(self, secret: SecretSource, prefix: str, tolerance: float) -> None:
        super().__init__(secret)
        self._id, self._time = f"{prefix}-id", f"{prefix}-timestamp"
        self._header = f"{prefix}-signature"
        self._tolerance = tolerance_of(tolerance)

    def secrets_of(self, texts: Iterable[bytes]) -> Secrets:
        return tuple(_unwrapped(each) for each in texts)

    def verify(self, delivery: Delivery, secrets: Secrets, now: Millis) -> None:
        name, time = only_header(delivery, self._id), only_header(delivery, self._time)
        if "." in name:
            # What is signed has dots between its parts: each must have one reading.
            raise Unauthentic(f"the header {self._id} has a dot")
        pairs = [each.partition(",") for each in only_header(delivery, self._header).split()]
        given = [decoded(text, "base64") for version, _, text in pairs if version == "v1"]
        if not given:
            raise Unauthentic(f"the header {self._header} has no signature of version v1")
        seconds = whole_seconds(time)
        check_signature(given, secrets, _standards(name, time, delivery.body))
        check_fresh(seconds, now, self._tolerance)

    def id_of(self, delivery: Delivery) -> str | None:
        return delivery.headers[self._id]

    def sign(self, body: bytes, secret: bytes, now: Millis) -> dict[str, str]:
        time = str(now // 1000)
        name = f"msg_{new_id(now, body)}"
        made = signature(secret, _standards(name, time, body))
        return {
            self._id: name,
            self._time: time,
            self._header: f"v1,{encoded(made, 'base64')}",
        }


class _MicrosoftGraph(Scheme):
    def verify(self, delivery: Delivery, secrets: Secrets, now: Millis) -> None:
        if self._asks(delivery):
            return  # it is answered with what it asked, and starts nothing
        told = delivery.part("value")
        if not isinstance(told, list) or not told:
            raise Unauthentic("the body has no list of notifications")
        right = True
        for each in told:
            state = each.get("clientState") if isinstance(each, dict) else None
            right &= is_one_of(secrets, (_text(state) or "").encode())
        if not right:
            raise Unauthentic("the clientState of a notification is another one")

    def challenge(self, delivery: Delivery) -> Answer | None:
        return Answer(delivery.query["validationToken"]) if self._asks(delivery) else None

    def sign(self, body: bytes, secret: bytes, now: Millis) -> dict[str, str]:
        return {}  # the secret is in the body

    def signed_body(self, body: bytes, secret: bytes) -> bytes:
        told = Delivery("", body=body).part("value")
        if not isinstance(told, list):
            return body
        state = secret.decode()
        return msgspec.json.encode(
            {"value": [{**each, "clientState": state} for each in told if isinstance(each, dict)]}
        )

    def without_proof(self, body: bytes) -> bytes:
        return _CLIENT_STATE.sub(rb'\1"%b"' % REDACTED.encode(), body)

    def _asks(self, delivery: Delivery) -> bool:
        return "validationToken" in delivery.query


_CLIENT_STATE = re.compile(rb'("clientState"\s*:\s*)"(?:[^"\\]|\\.)*+(?:"|$)', re.DOTALL)
"""The secret of a notification, also one that was cut off."""


def _slacks(time: str, body: bytes) -> bytes:
    return f"v0:{time}:".encode() + body


def _standards(name: str, time: str, body: bytes) -> bytes:
    return f"{name}.{time}.".encode("latin-1") + body


def _unwrapped(secret: bytes) -> bytes:
    """The bytes of a secret of Standard Webhooks, which is base64 behind a prefix."""
    text = secret.removeprefix(b"whsec_")
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError("a secret of Standard Webhooks is base64, perhaps behind whsec_") from None


def _text(found: Any) -> str | None:
    return found if isinstance(found, str) and found else None
