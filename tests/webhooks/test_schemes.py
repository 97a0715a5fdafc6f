"""How deliveries prove who sent them: providers' own vectors and code, and those who forge."""

from __future__ import annotations

import base64
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as some
from slack_sdk.signature import SignatureVerifier
from standardwebhooks.webhooks import Webhook
from stripe import WebhookSignature

from rewake.errors import Unauthentic
from rewake.webhooks import (
    Delivery,
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
)
from rewake.webhooks import schemes as schemes_module
from rewake.webhooks.schemes import Scheme

NOW = 1_700_000_000_000
SECOND = 1000
BODY = b'{"id": "evt_1", "event_id": "Ev1", "after": "c0ffee"}'


def of(headers: Mapping[str, str], body: bytes = BODY, **more: object) -> Delivery:
    """A delivery with these headers."""
    return Delivery("test", body=body, headers=headers.items(), **more)  # type: ignore[arg-type]


def is_let_in(scheme: Scheme, delivery: Delivery, *texts: str, now: int = NOW) -> bool:
    """Whether the scheme takes a delivery for genuine."""
    try:
        scheme.verify(delivery, scheme.secrets_of(each.encode() for each in texts), now)
    except Unauthentic:
        return False
    return True


# --- providers' own vectors and code --------------------------------------------------------------


def test_the_vector_that_github_publishes() -> None:
    """The example of GitHub's documentation."""
    signed = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    delivery = of({"X-Hub-Signature-256": signed}, b"Hello, World!")
    assert is_let_in(github("S"), delivery, "It's a Secret to Everybody")


def test_the_vector_that_slack_publishes() -> None:
    """The example of Slack's documentation."""
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow"
        b"&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner"
        b"&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554"
        b"%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121"
        b".803a0bc887a14d10d2c447fce8b6703c"
    )
    signed = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    headers = {"X-Slack-Signature": signed, "X-Slack-Request-Timestamp": "1531420618"}
    secret = "8f742231b10e8888abcd99yyyzzz85a5"
    assert is_let_in(slack("S"), of(headers, body), secret, now=1531420618_000)


def test_the_vector_that_standard_webhooks_publishes() -> None:
    """The example of the libraries of Standard Webhooks."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    delivery = of(headers, b'{"test": 2432232314}')
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert is_let_in(standard_webhooks("S"), delivery, secret, now=1614265330_000)
    assert is_let_in(standard_webhooks("S"), delivery, secret[6:], now=1614265330_000)


def test_the_example_of_rfc_7617() -> None:
    """Basic authentication as its standard shows it."""
    delivery = of({"Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="})
    assert is_let_in(basic("S"), delivery, "Aladdin:open sesame")


def _by_slack(body: bytes, secret: str) -> Mapping[str, str]:
    time = str(NOW // 1000)
    signed = SignatureVerifier(secret).generate_signature(timestamp=time, body=body)
    return {"X-Slack-Request-Timestamp": time, "X-Slack-Signature": signed or ""}


def _by_stripe(body: bytes, secret: str) -> Mapping[str, str]:
    signed = WebhookSignature.generate_signature_header(body.decode(), secret, NOW // 1000)
    return {"Stripe-Signature": signed}


def _by_standard_webhooks(body: bytes, secret: str) -> Mapping[str, str]:
    moment = datetime.fromtimestamp(NOW / 1000, UTC)
    signed = Webhook(secret).sign("msg_1", moment, body.decode())
    time = str(NOW // 1000)
    return {"webhook-id": "msg_1", "webhook-timestamp": time, "webhook-signature": signed}


@dataclass(frozen=True)
class Case:
    """A scheme, two secrets of it, and what signs: the provider's own code where there is any."""

    scheme: Scheme
    secret: str = "one secret that is long"
    other: str = "another secret of it"
    sign: Callable[[bytes, str], Mapping[str, str]] | None = None
    signed: bool = True
    timed: bool = False

    def headers(self, secret: str | None = None, body: bytes = BODY) -> dict[str, str]:
        """The headers of a genuine delivery."""
        if self.sign is not None:
            return dict(self.sign(body, secret or self.secret))
        (made,) = self.scheme.secrets_of([(secret or self.secret).encode()])
        return self.scheme.sign(body, made, NOW)


WHSEC = [f"whsec_{base64.b64encode(each * 24).decode()}" for each in (b"a", b"b")]
CASES = {
    "github": Case(github("S")),
    "meta": Case(meta("S", verify_token="T")),
    "stripe": Case(stripe("S"), sign=_by_stripe, timed=True),
    "slack": Case(slack("S"), sign=_by_slack, timed=True),
    "standard": Case(
        standard_webhooks("S"), WHSEC[0], WHSEC[1], sign=_by_standard_webhooks, timed=True
    ),
    "svix": Case(standard_webhooks("S", prefix="svix"), WHSEC[0], WHSEC[1], timed=True),
    "hmac": Case(shared_hmac("S", header="X-Signature")),
    "hmac-of-all": Case(
        shared_hmac(
            "S",
            header="X-Signature",
            algorithm="sha512",
            encoding="base64",
            prefix="hmac ",
            timestamp="X-Time",
            id="X-Id",
            signed="{id}/{timestamp}/{body}",
        ),
        timed=True,
    ),
    "bearer": Case(bearer("S"), signed=False),
    "gitlab": Case(bearer("S", header="X-Gitlab-Token"), signed=False),
    "basic": Case(basic("S"), "ann:secret", "ann:other", signed=False),
}


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    """Each scheme."""
    found: Case = request.param
    return found


def test_what_is_genuine_is_let_in(case: Case) -> None:
    """What the provider's own code signs, and what `sign` does, is verified."""
    assert is_let_in(case.scheme, of(case.headers()), case.secret)
    (secret,) = case.scheme.secrets_of([case.secret.encode()])
    assert is_let_in(case.scheme, of(case.scheme.sign(BODY, secret, NOW)), case.secret)


def test_what_sign_makes_is_let_in_by_the_providers_own_code() -> None:
    """A test delivery is one that the provider's library would take."""
    secret = b"one secret that is long"
    signed = stripe("S").sign(BODY, secret, NOW)["Stripe-Signature"]
    assert WebhookSignature.verify_header(BODY.decode(), signed, secret.decode(), None)
    headers = slack("S").sign(BODY, secret, NOW)
    made = SignatureVerifier(secret.decode()).generate_signature(
        timestamp=headers["X-Slack-Request-Timestamp"], body=BODY
    )
    assert headers["X-Slack-Signature"] == made
    standard = standard_webhooks("S")
    headers = standard.sign(BODY, standard.secrets_of([WHSEC[0].encode()])[0], NOW)
    moment = datetime.fromtimestamp(NOW / 1000, UTC)
    made = Webhook(WHSEC[0]).sign(headers["webhook-id"], moment, BODY.decode())
    assert headers["webhook-signature"] == made


# --- those who forge ------------------------------------------------------------------------------


def test_another_secret(case: Case) -> None:
    """What was signed with another secret is refused, and so is everything without one."""
    assert not is_let_in(case.scheme, of(case.headers(case.other)), case.secret)
    assert not is_let_in(case.scheme, of(case.headers()))


def test_rotation(case: Case) -> None:
    """While several secrets are good, what any of them signed is let in."""
    for secret in (case.secret, case.other):
        delivery = of(case.headers(secret))
        assert is_let_in(case.scheme, delivery, case.secret, case.other)
        assert is_let_in(case.scheme, delivery, case.other, case.secret)


def test_another_body(case: Case) -> None:
    """A signature is worth nothing for another body, not even with one more space."""
    if case.signed:
        for body in (BODY + b" ", BODY[:-1], b"", BODY.replace(b"c0ffee", b"deadbe")):
            assert not is_let_in(case.scheme, of(case.headers(), body), case.secret)


def test_a_header_that_is_missing_or_doubled(case: Case) -> None:
    """Each header that a scheme asks for must be there, once: of two, no one knows which counts."""
    headers = case.headers()
    needed = [
        name
        for name in headers
        if name not in {"X-GitHub-Delivery", "X-GitHub-Event"}  # it does not sign these
    ]
    for name in needed:
        rest = [(key, text) for key, text in headers.items() if key != name]
        without = Delivery("test", body=BODY, headers=rest)
        assert not is_let_in(case.scheme, without, case.secret), name
        twice = [*headers.items(), (name.upper(), headers[name])]
        doubled = Delivery("test", body=BODY, headers=twice)
        assert not is_let_in(case.scheme, doubled, case.secret), name


def test_a_signature_that_was_cut_or_changed(case: Case) -> None:
    """However a header is shortened or a character of it changed, it is refused."""
    headers = case.headers()
    for name, text in headers.items():
        if name in {"X-GitHub-Delivery", "X-GitHub-Event"}:
            continue
        for cut in range(len(text)):
            shorter = of({**headers, name: text[:cut]})
            assert not is_let_in(case.scheme, shorter, case.secret), (name, text[:cut])
        for place in range(len(text) - 2):  # the last of base64 may stand for the same bytes
            changed = f"{text[:place]}{'0' if text[place] != '0' else '1'}{text[place + 1 :]}"
            if changed.lower() != text.lower():
                delivery = of({**headers, name: changed})
                assert not is_let_in(case.scheme, delivery, case.secret), (name, changed)


def test_a_stale_signature(case: Case) -> None:
    """A signature with a time is good for five minutes before and after it, and not longer."""
    if case.timed:
        delivery = of(case.headers())
        for seconds in (-300, 0, 300):
            assert is_let_in(case.scheme, delivery, case.secret, now=NOW + seconds * SECOND)
        for seconds in (-302, 301, 86_400):
            assert not is_let_in(case.scheme, delivery, case.secret, now=NOW + seconds * SECOND)


@pytest.mark.parametrize("time", ["", "soon", "1e9", "-1", "1_7", "١٧", "NaN", "9" * 400, "1.7"])
def test_a_time_that_is_none(time: str) -> None:
    """A time is a whole number in plain digits, also if it was signed."""
    body = time.encode() + b"." + BODY
    signed = schemes_module.signature(b"secret", body).hex()
    delivery = of({"Stripe-Signature": f"t={time},v1={signed}"})
    assert not is_let_in(stripe("S"), delivery, "secret")


def test_what_decides_is_not_in_the_delivery() -> None:
    """Another algorithm, version or scheme than the app's is refused, though it is named."""
    secret = b"secret"
    md5 = schemes_module.signature(secret, BODY, "sha1").hex()
    for prefix in ("sha1=", "SHA256=", "none=", ""):
        assert not is_let_in(github("S"), of({"X-Hub-Signature-256": prefix + md5}), "secret")
    time = NOW // 1000
    v1 = schemes_module.signature(secret, f"{time}.".encode() + BODY).hex()
    for header in (f"t={time},v0={v1}", f"t={time},t=1,v1={v1}", f"v1={v1}", f"t={time}"):
        assert not is_let_in(stripe("S"), of({"Stripe-Signature": header}), "secret")


def test_several_signatures_of_one_delivery() -> None:
    """A provider that rotates signs twice; one good signature is enough, of sixteen at most."""
    time = NOW // 1000
    good = f"v1={schemes_module.signature(b'secret', f'{time}.'.encode() + BODY).hex()}"
    bad = f"v1={'0' * 64}"
    for signatures, right in (([bad, good], True), ([bad] * 16 + [good], False)):
        header = ",".join([f"t={time}", *signatures])
        assert is_let_in(stripe("S"), of({"Stripe-Signature": header}), "secret") is right


def test_an_id_with_a_dot_is_refused() -> None:
    """What is signed is read in one way only: no part of it can be taken for the next."""
    scheme = standard_webhooks("S")
    (secret,) = scheme.secrets_of([WHSEC[0].encode()])
    time = NOW // 1000
    signed = schemes_module.signature(secret, f"a.b.{time}.".encode() + BODY)
    headers = {
        "webhook-id": "a.b",
        "webhook-timestamp": str(time),
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }
    assert not is_let_in(scheme, of(headers), WHSEC[0])


@given(text=some.text(max_size=200), body=some.binary(max_size=50))
def test_whatever_is_sent_is_refused(text: str, body: bytes) -> None:
    """Nothing that can be in a header makes a scheme fail in another way."""
    shown = text.encode("latin-1", "replace").decode("latin-1")
    for each in CASES.values():
        delivery = of(dict.fromkeys(each.headers(), shown), body)
        assert not is_let_in(each.scheme, delivery, each.secret)


def test_secrets_are_compared_in_constant_time() -> None:
    """No scheme compares what is secret with `==`, or ends at the first secret that fits."""
    for name in ("is_one_of", "check_signature"):
        source = inspect.getsource(getattr(schemes_module, name))
        assert "compare_digest" in source
        assert "==" not in source
        assert not any(word in source for word in ("break", "return right or", "any("))


# --- handshakes and ids ---------------------------------------------------------------------------


def test_the_handshake_of_slack() -> None:
    """Its URL verification is answered with what it asks for, once it is verified."""
    body = json.dumps({"type": "url_verification", "challenge": "3eZbrw1aB"}).encode()
    assert is_let_in(slack("S"), of(_by_slack(body, "secret"), body), "secret")
    answer = slack("S").challenge(of({}, body))
    assert answer is not None
    assert answer.text == "3eZbrw1aB"
    assert slack("S").challenge(of({})) is None


def test_the_handshake_of_meta() -> None:
    """Its question by GET needs the verify token, and is answered with its challenge."""
    scheme = meta("S", verify_token="T")
    asked = {"hub.mode": "subscribe", "hub.verify_token": "token", "hub.challenge": "1158201444"}

    def asks(**changed: str) -> Delivery:
        named = {key.replace("_", ".", 1): text for key, text in changed.items()}
        return Delivery("m", method="GET", query={**asked, **named}.items())

    assert is_let_in(scheme, asks(), "token")
    answer = scheme.challenge(asks())
    assert answer is not None
    assert answer.text == "1158201444"
    for wrong in (asks(hub_verify_token="tokem"), asks(hub_verify_token=""), asks(hub_mode="x")):
        assert not is_let_in(scheme, wrong, "token")


def test_the_handshake_and_the_state_of_microsoft_graph() -> None:
    """A validation token is said back; a notification needs the state, each in it."""
    scheme = microsoft_graph("S")
    asks = Delivery("m", query=[("validationToken", "Validation: <b>")])
    answer = scheme.challenge(asks)
    assert answer is not None
    assert answer == ("Validation: <b>", "text/plain")
    for states, right in (
        (["state"], True),
        (["state", "state"], True),
        (["state", "other"], False),
        (["other"], False),
        ([None], False),
        ([], False),
    ):
        body = json.dumps({"value": [{"clientState": each} for each in states]}).encode()
        assert is_let_in(scheme, of({}, body), "state") is right
    for body in (b"", b"[]", b"{}", b'{"value": [1]}', b'{"value": {"clientState": "state"}}'):
        assert not is_let_in(scheme, of({}, body), "state")


def test_the_ping_of_github() -> None:
    """What GitHub sends first is answered, and is no delivery."""
    assert github("S").challenge(of({"X-GitHub-Event": "ping"})) is not None
    assert github("S").challenge(of({"X-GitHub-Event": "push"})) is None


def test_what_names_a_delivery() -> None:
    """The provider's id; without one, what was signed at that time; else nothing."""
    ids = {name: each.scheme.id_of(of(each.headers())) for name, each in CASES.items()}
    assert ids["stripe"] == "evt_1"
    assert ids["slack"] == "Ev1"
    assert ids["standard"] == "msg_1"
    assert ids["github"]
    assert ids["hmac-of-all"]
    assert [ids["hmac"], ids["bearer"], ids["basic"], anyone().id_of(of({}))] == [None] * 4
    command = _by_slack(b"command=%2Fgo", "secret")
    mark = slack("S").mark_of(of(command, b"command=%2Fgo"))
    assert mark is not None
    assert mark == slack("S").mark_of(of(command, b"command=%2Fgo"))
    assert mark != slack("S").mark_of(of(command, b"command=%2Fstop"))
    assert anyone().mark_of(of({})) is None
