"""What is kept of a delivery shows nothing by which it could be sent by another."""

from __future__ import annotations

import pytest

from rewake.values.redaction import REDACTED
from rewake.webhooks import (
    anyone,
    basic,
    bearer,
    github,
    meta,
    microsoft_graph,
    shared_hmac,
    slack,
    standard_webhooks,
    stripe,
    webhook,
)
from rewake.webhooks.hooks import Hook
from rewake.webhooks.redacting import (
    LONGEST_TEXT,
    MOST_TEXTS,
    hidden_headers,
    kept_body,
    kept_headers,
    kept_query,
)
from rewake.webhooks.schemes import Scheme


@pytest.mark.parametrize(
    ("scheme", "hidden"),
    [
        (github("S"), {"x-hub-signature-256"}),
        (meta("S", verify_token="T"), {"x-hub-signature-256"}),
        (stripe("S"), {"stripe-signature"}),
        (slack("S"), {"x-slack-signature"}),
        (standard_webhooks("S"), {"webhook-signature"}),
        (standard_webhooks("S", prefix="svix"), {"svix-signature"}),
        (shared_hmac("S", header="X-Proof", timestamp="X-At", id="X-Name"), {"x-proof"}),
        (bearer("S", header="X-Whoever"), {"x-whoever"}),
        (basic("S"), {"authorization"}),
        (microsoft_graph("S"), set()),
        (anyone(), set()),
    ],
)
def test_what_each_scheme_sends_as_proof_is_hidden(scheme: Scheme, hidden: set[str]) -> None:
    """Whatever its header is called; its time and its id stay, by which it is told again."""
    assert hidden_headers(scheme) == hidden
    hook = Hook(webhook("a", verify=scheme), "w", {})
    signed = scheme.sign(b"{}", b"a secret", 0)
    for name, text in kept_headers(hook, signed.items()):
        assert (text == REDACTED) == (name.lower() in hidden)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("Authorization", True),
        ("Proxy-Authorization", True),
        ("Cookie", True),
        ("X-Signature", True),
        ("X-Gitlab-Token", True),
        ("X-API-Key", True),
        ("X-Client-Secret", True),
        ("X-Amz-Security-Token", True),
        ("Cf-Access-Jwt-Assertion", True),
        ("X-Goog-Iap-Jwt-Assertion", True),
        ("X-Amzn-Oidc-Data", True),
        ("X-Functions-Key", True),
        ("Ocp-Apim-Subscription-Key", True),
        ("X-Access-Key", True),
        ("Paypal-Transmission-Sig", True),
        ("X-Event-Key", False),
        ("X-Design", False),
        ("X-Signature-Timestamp", False),
        ("X-Token-Id", False),
        ("Idempotency-Key", False),
        ("X-GitHub-Delivery", False),
        ("Content-Type", False),
        ("User-Agent", False),
    ],
)
def test_headers_by_their_names(name: str, secret: bool) -> None:
    """Those that are called a secret are hidden, also where no hook has the path."""
    assert kept_headers(None, [(name, "x")]) == [(name, REDACTED if secret else "x")]


def test_the_query() -> None:
    """So are those of the query, and what providers call a signature there."""
    names = ["token", "sig", "key", "code", "hub.verify_token", "access_token", "page", "id"]
    kept = dict(kept_query((name, "x") for name in names))
    assert [name for name, text in kept.items() if text == "x"] == ["page", "id"]


def test_a_secret_in_a_body() -> None:
    """A body that has the secret of its hook is kept without it; a very short one is left."""
    secrets = {"S": [b"a long secret", b"ab"]}
    hook = Hook(webhook("a", verify=bearer("S")), "w", secrets)  # type: ignore[arg-type]
    assert kept_body(hook, b'["a long secret", "ab"]') == b'["[redacted]", "ab"]'
    assert kept_body(None, b"a long secret") == b"a long secret"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b'{"value": [{"clientState": "S3", "a": 1}]}', b'{"value": [{"clientState": %, "a": 1}]}'),
        (
            b'[{"clientState" :"one"},{"clientState":"two"}]',
            b'[{"clientState" :%},{"clientState":%}]',
        ),
        (rb'{"clientState": "a\"b\\", "c": "d"}', b'{"clientState": %, "c": "d"}'),
        (b'{"clientState": "cut of', b'{"clientState": %'),
        (b'{"clientState": null, "c": "d"}', b'{"clientState": null, "c": "d"}'),
        (b'{"a": "clientState", "c": "d"}', b'{"a": "clientState", "c": "d"}'),
        (b"", b""),
    ],
)
def test_a_proof_in_a_body(sent: bytes, kept: bytes) -> None:
    """What a sender puts into its bodies as proof is hidden whatever it is: it may be right where
    the hook's secret is wrong, or comes from a function, and then nobody has it to look for.
    """
    hook = Hook(webhook("a", verify=microsoft_graph(lambda _: "S3")), "w", {})
    assert kept_body(hook, sent) == kept.replace(b"%", b'"[redacted]"')
    other = Hook(webhook("a", verify=anyone()), "w", {})
    assert kept_body(other, sent) == sent


def test_it_is_bounded() -> None:
    """However many headers there are, and however long, a few short ones are kept."""
    kept = kept_headers(None, [("X" * 10_000, "x" * 10_000)] * 1_000)
    assert len(kept) == MOST_TEXTS
    assert {len(each) for each in kept[0]} == {LONGEST_TEXT}
    assert len(kept_query([("a" * 10_000, "x")])[0][0]) == LONGEST_TEXT
