"""Bearer tokens of an issuer: which are genuine, and what they allow."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewake.access import Principal
from rewake.errors import ConfigError, Unauthentic
from rewake.identity.oidc import LONGEST, Oidc, OidcSettings, check_settings, read_grants
from rewake.signing.secret import Secret
from rewake.signing.tokens import Keys
from tests.support.issuer import AUDIENCE, NOW, URL, At, Issuer, private_key, public_jwk

GRANTS = '{"groups": {"ops": ["operate", "read"], "boss": ["admin"]}, "scope": {"runs": ["start"]}}'


def who(
    issuer: Issuer, token: str, *, at: float = NOW, name: str = "sub", grants: str = GRANTS
) -> Principal:
    """Who has the token, as a server finds."""
    oidc = Oidc(OidcSettings(URL, AUDIENCE, name, read_grants(grants)), At(at), issuer.fetch)
    assert oidc.is_formed(token)

    async def ask() -> Principal:
        try:
            return await oidc.principal(token)
        finally:
            await oidc.close()

    return asyncio.run(ask())


def refused(issuer: Issuer, token: str, **more: Any) -> str:
    """What is told of a token that is not accepted."""
    with pytest.raises(Unauthentic) as caught:
        who(issuer, token, **more)
    return str(caught.value)


def signed_by_hand(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token that the issuer signed, whatever it says."""
    text = f"{part(header)}.{part(claims)}"
    signature = jwt.get_algorithm_by_name("RS256").sign(text.encode(), private_key("RS256"))
    return f"{text}.{part(signature)}"


def part(data: Any) -> str:
    """A part of a token, as it is written."""
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_a_good_token_is_accepted(algorithm: str) -> None:
    """What the issuer signs with one of its keys says who asks, by each of the four algorithms."""
    found = who(Issuer(), Issuer().token(algorithm))
    assert (found.who, found.identity, found.person) == ("oidc:ann", "ann", "ann")
    assert found.scopes == frozenset()


@pytest.mark.parametrize("typ", [None, "JWT", "at+jwt", "application/AT+JWT"])
def test_what_a_token_may_say_that_it_is(typ: str | None) -> None:
    """A plain JWT and an access token are taken."""
    assert who(Issuer(), Issuer().token(header={"typ": typ})).identity == "ann"


@pytest.mark.parametrize("typ", ["logout+jwt", "dpop+jwt", "secevent+jwt", "JOSE", ""])
def test_a_token_for_something_else_is_refused(typ: str) -> None:
    """A token that its issuer made for another purpose opens nothing."""
    header = {"alg": "RS256", "kid": "RS256", "typ": typ}
    refused(Issuer(), signed_by_hand(header, Issuer().claims()))


def test_no_algorithm() -> None:
    """A token that says that it needs no signature is refused, however it says it."""
    payload = part(Issuer().claims())
    for name in ("none", "None", "NONE", "nOnE", ""):
        header = part({"alg": name, "typ": "JWT", "kid": "RS256"})
        refused(Issuer(), f"{header}.{payload}.")
        refused(Issuer(), f"{header}.{payload}.{part(b'x')}")


def test_a_published_key_is_no_shared_secret() -> None:
    """HS256 with the issuer's public key, which everybody has, is refused in each of its forms."""
    issuer = Issuer()
    public = private_key("RS256").public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem, der, json.dumps(issuer.keys[0]).encode(), b""):
        for name in ("HS256", "HS512", "hs256"):
            signed = f"{part({'alg': name, 'kid': 'RS256'})}.{part(issuer.claims())}"
            signature = hmac.digest(secret, signed.encode(), hashlib.sha256)
            refused(issuer, f"{signed}.{part(signature)}")


def test_a_key_serves_its_own_algorithms_only() -> None:
    """A key that is published for one algorithm does not verify a signature of another."""
    issuer = Issuer()
    rsa = private_key("RS256")
    confused = jwt.encode(issuer.claims(), rsa, "PS256", headers={"kid": "RS256"})
    refused(issuer, confused)
    for name in ("RS512", "ES384", "ES256K"):
        refused(issuer, f"{part({'alg': name, 'kid': 'RS256'})}.{confused.partition('.')[2]}")


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://login.example/other"},
        {"iss": URL + "/"},
        {"iss": None},
        {"iss": [URL]},
        {"aud": "another-api"},
        {"aud": None},
        {"aud": []},
        {"aud": [AUDIENCE, 1]},
        {"aud": {AUDIENCE: 1}},
        {"aud": AUDIENCE.upper()},
        {"exp": None},
        {"exp": "never"},
        {"exp": True},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"nbf": "soon"},
        {"nbf": True},
        {"iat": [NOW]},
        {"sub": None},
        {"sub": 7},
        {"sub": ""},
        {"sub": " ann"},
        {"sub": "ann\nINFO forged"},
        {"sub": "ann\u202e"},
        {"sub": "a" * 255},
        {"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}},
    ],
    ids=str,
)
def test_a_genuine_token_that_is_not_for_here(changed: dict[str, Any]) -> None:
    """One of another issuer or audience, without an end, of nobody or bound to a key is refused."""
    claims = Issuer().claims(**changed)
    refused(Issuer(), signed_by_hand({"alg": "RS256", "kid": "RS256"}, claims))


def test_one_of_several_audiences() -> None:
    """A token that is for others as well is for this server too."""
    assert who(Issuer(), Issuer().token(aud=["other", AUDIENCE])).identity == "ann"


def test_it_is_good_for_its_time_only() -> None:
    """A minute of difference between two clocks is forgiven, in both directions, and no more."""
    token = Issuer().token(nbf=NOW)
    for at in (NOW - 60, NOW, NOW + 659):
        assert who(Issuer(), token, at=at).identity == "ann"
    assert "expired" in refused(Issuer(), token, at=NOW + 660)
    assert "not come yet" in refused(Issuer(), token, at=NOW - 61)
    assert "not come yet" in refused(Issuer(), Issuer().token(iat=NOW + 61))


def test_a_signature_of_another() -> None:
    """A token that another key signed, or that was changed or cut, is refused."""
    issuer, token = Issuer(), Issuer().token()
    refused(issuer, issuer.token(key="other", header={"kid": "RS256"}))
    head, payload, signature = token.split(".")
    refused(issuer, f"{head}.{part(issuer.claims(sub='eve'))}.{signature}")
    refused(issuer, f"{head}.{payload}.{signature[:-4]}")
    refused(issuer, f"{head}.{payload}.")
    refused(issuer, f"{head}.{payload}.{part(b'')}{signature}A")


def test_what_a_header_says_of_keys_is_not_read() -> None:
    """A token that brings its own key, or names a place of keys, is verified with the issuer's."""
    own = {
        "jwk": public_jwk("RS256", "evil"),
        "jku": "https://evil.example/keys",
        "x5u": "https://e",
    }
    issuer = Issuer()
    refused(issuer, issuer.token(key="evil", header=own))
    refused(issuer, issuer.token(key="evil", header={**own, "kid": "RS256"}))
    assert not any("evil" in each for each in issuer.asked)


def test_extensions_that_must_be_understood() -> None:
    """A token with `crit` is refused, for no extension is understood."""
    headers: list[dict[str, Any]] = [{"crit": ["exp"], "exp": 1}, {"crit": []}]
    for header in headers:
        issuer = Issuer()
        refused(issuer, issuer.token(header=header))
        assert issuer.asked == []


@pytest.mark.parametrize(
    "text",
    [
        "a.b.c",
        f"{part(b'{}')}.{part(b'{}')}.c",
        f"{part(b'[' * 9_000)}.{part(b'{}')}.c",
        f"{part({'alg': ['RS256']})}.e30.c",
        f"{part({'alg': 'RS256', 'kid': 'k' * 300})}.e30.c",
        f"{part({'alg': 'RS256', 'kid': {'$ne': 1}})}.e30.c",
        f"{part(b'null')}.e30.c",
        f"{part(bytes(range(256)))}.e30.c",
    ],
    ids=lambda text: text[:20],
)
def test_headers_that_are_none(text: str) -> None:
    """What has the form of a token, and a header that is none, asks the issuer nothing."""
    issuer = Issuer()
    refused(issuer, text)
    assert issuer.asked == []


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(head=st.binary(max_size=60), payload=st.binary(max_size=60), end=st.binary(max_size=300))
def test_whatever_is_sent_is_refused(head: bytes, payload: bytes, end: bytes) -> None:
    """No other bytes are a token, and none of them fail otherwise than by being refused."""
    genuine = part({"alg": "RS256", "kid": "RS256"})
    for first in (part(head) or "e30", genuine):
        refused(Issuer(), f"{first}.{part(payload) or 'e30'}.{part(end)}")


def test_what_is_not_even_looked_at() -> None:
    """A token that is endless, or has other characters, is none."""
    for text in (
        "a.b.c" * 9_999,
        "x" * (LONGEST - 3) + ".b.c",
        "a.b",
        "a.b.c.d",
        "ä.b.c",
        "a.b.c=",
        "",
    ):
        assert not Oidc.is_formed(text)


def test_a_server_takes_none_for_its_own() -> None:
    """A token of the issuer in the server's `REWAKE_TOKEN` would be admin: it does not start."""
    token = Issuer().token()
    with pytest.raises(ConfigError, match="issuer") as caught:
        Keys(Secret("a secret that is long enough"), [token])
    assert token not in str(caught.value)


# --- what claims allow ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({}, set()),
        ({"groups": ["ops", "others"]}, {"operate", "read"}),
        ({"groups": "boss"}, {"admin"}),
        ({"groups": "ops boss"}, set()),
        ({"groups": ["ops"], "scope": "openid runs"}, {"operate", "read", "start"}),
        ({"groups": [["ops"], {"ops": 1}, 5, None]}, set()),
        ({"groups": {"ops": True}}, set()),
        ({"scopes": "runs", "scope": "RUNS"}, set()),
    ],
)
def test_claims_give_scopes(claims: dict[str, Any], scopes: set[str]) -> None:
    """Each value that the settings name gives its scopes; no other gives any."""
    assert who(Issuer(), Issuer().token(**claims)).scopes == scopes


def test_a_claim_inside_of_another() -> None:
    """A claim may be named by its path, and one whose own name has dots is found by its name."""
    grants = json.dumps(
        {"realm_access.roles": {"ops": ["operate"]}, "https://x.example/roles": {"a": ["read"]}}
    )
    claims: dict[str, Any] = {"realm_access": {"roles": ["ops"]}, "https://x.example/roles": ["a"]}
    token = Issuer().token(**claims)
    assert who(Issuer(), token, grants=grants).scopes == {"operate", "read"}
    flat = Issuer().token(realm_access=["ops"])
    assert who(Issuer(), flat, grants=grants).scopes == set()


def test_an_address_counts_only_if_its_issuer_has_verified_it() -> None:
    """With `email` as the name, an address that anybody can write into their account is nobody."""
    mail: dict[str, Any] = {"email": "ann@example.com"}
    good = Issuer().token(**mail, email_verified=True)
    assert who(Issuer(), good, name="email").identity == "ann@example.com"
    for verified in (None, False, "false", 1):
        token = Issuer().token(**mail, email_verified=verified)
        assert "not verified" in refused(Issuer(), token, name="email")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"groups": ["ops"]}',
        '{"groups": {"ops": "read"}}',
        '{"g": {"ops": ["all"]}}',
        "{",
    ],
)
def test_scopes_that_cannot_be_read(text: str) -> None:
    """A mapping that is none, or that gives a scope that there is not, says what is wanted."""
    with pytest.raises(ConfigError, match="REWAKE_OIDC_SCOPES must be"):
        read_grants(text)


@pytest.mark.parametrize(
    "issuer",
    [
        "http://login.example",
        "http://localhost:8080",  # whatever a name server makes of it
        "login.example",
        "https://user:secret@login.example",
        "https://",
        "file:///etc/passwd",
        "https://login.example/#a",
        "https://login.example/ x",
    ],
)
def test_an_issuer_is_asked_over_tls_only(issuer: str) -> None:
    """An address of another kind is refused when the server starts; http is for this machine."""
    with pytest.raises(ConfigError, match="REWAKE_OIDC_ISSUER") as caught:
        check_settings(OidcSettings(issuer, AUDIENCE))
    assert "secret" not in str(caught.value)
    check_settings(OidcSettings("http://127.0.0.1:9/x", AUDIENCE))
    with pytest.raises(ConfigError, match="REWAKE_OIDC_AUDIENCE"):
        check_settings(OidcSettings(URL, ""))
