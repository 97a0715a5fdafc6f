"""The keys of an issuer: when they are read, how long they stand, and what is no key."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from jwt.algorithms import RSAAlgorithm

from rewake.errors import IssuerUnavailable
from rewake.identity.fetching import LARGEST, fetch_json, is_fetched
from rewake.identity.jwks import AGAIN, FRESH, KEPT, Jwks
from tests.support.issuer import URL, At, Issuer, listening, private_key, public_jwk, saying

SECOND = 1 / 1000


def trial(work: Callable[[Jwks, Issuer, At], Awaitable[None]]) -> None:
    """Do `work` with the keys of an issuer, and a clock."""
    issuer, clock = Issuer(), At()

    async def whole() -> None:
        jwks = Jwks(URL, clock, issuer.fetch)
        try:
            await work(jwks, issuer, clock)
        finally:
            await jwks.close()

    asyncio.run(whole())


async def settled() -> None:
    """Let what was begun be done."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_keys_are_read_once() -> None:
    """Nothing is asked before a token comes; then discovery and keys, once for all that come."""

    async def work(jwks: Jwks, issuer: Issuer, clock: At) -> None:
        assert issuer.asked == []
        asked = [jwks.key("RS256", "RS256") for _ in range(50)]
        assert all(await asyncio.gather(*asked))
        assert await jwks.key("ES256", "ES256")
        assert issuer.asked == [f"{URL}/.well-known/openid-configuration", f"{URL}/keys"]

    trial(work)


def test_unknown_keys_do_not_flood_the_issuer() -> None:
    """Tokens with keys that nobody knows, however many, have it asked once in ten seconds."""

    async def work(jwks: Jwks, issuer: Issuer, clock: At) -> None:
        for _ in range(100):
            for number in range(20):
                assert await jwks.key("RS256", f"made-up-{number}") is None
            clock.seconds += 0.3
        assert len(issuer.asked) / 2 <= 30 / (AGAIN * SECOND) + 1

    trial(work)


def test_a_rotated_key_is_found() -> None:
    """A key that is new is read as soon as a token names it, and one that was withdrawn ends."""

    async def work(jwks: Jwks, issuer: Issuer, clock: At) -> None:
        assert await jwks.key("RS256", "RS256")
        issuer.keys = [public_jwk("RS256", "new")]
        clock.seconds += AGAIN * SECOND
        assert await jwks.key("RS256", "RS256new")
        assert await jwks.key("RS256", "RS256") is None

    trial(work)


def test_a_withdrawn_key_ends_by_itself() -> None:
    """Keys are read again every five minutes, and nobody waits for it."""

    async def work(jwks: Jwks, issuer: Issuer, clock: At) -> None:
        assert await jwks.key("RS256", "RS256")
        issuer.keys = [public_jwk("RS256", "new")]
        clock.seconds += FRESH * SECOND
        assert await jwks.key("RS256", "RS256")
        await settled()
        assert await jwks.key("RS256", "RS256") is None

    trial(work)


def test_an_issuer_that_is_down_from_the_start() -> None:
    """Nobody is let in whom nobody can vouch for; it is asked again every ten seconds."""

    async def work(jwks: Jwks, issuer: Issuer, clock: At) -> None:
        issuer.down = True
        for _ in range(20):
            with pytest.raises(IssuerUnavailable):
                await jwks.key("RS256", "RS256")
        assert len(issuer.asked) == 1
        issuer.down = False
        with pytest.raises(IssuerUnavailable):
            await jwks.key("RS256", "RS256")
        clock.seconds += AGAIN * SECOND
        assert await jwks.key("RS256", "RS256")

    trial(work)


def test_an_issuer_that_goes_down() -> None:
    """Its known keys stand for an hour and no longer; of an unknown one nobody can say."""

    async def work(jwks: Jwks, issuer: Issuer, clock: At) -> None:
        assert await jwks.key("RS256", "RS256")
        issuer.down = True
        for _ in range(5):
            clock.seconds += (KEPT - 1000) / 5 * SECOND
            assert await jwks.key("RS256", "RS256")
            await settled()
            with pytest.raises(IssuerUnavailable):
                await jwks.key("RS256", "made-up")
        clock.seconds += 2
        with pytest.raises(IssuerUnavailable):
            await jwks.key("RS256", "RS256")

    trial(work)


def test_a_clock_that_was_set_back() -> None:
    """Keys that were read in the future are read again, and asking is not put off by it."""

    async def work(jwks: Jwks, issuer: Issuer, clock: At) -> None:
        assert await jwks.key("RS256", "RS256")
        clock.seconds -= 10 * KEPT * SECOND
        issuer.keys = [public_jwk("RS256", "new")]
        assert await jwks.key("RS256", "RS256new")

    trial(work)


def test_who_gives_up_does_not_end_it_for_others() -> None:
    """A request that is cut off while keys are read leaves the others what they wait for."""

    async def work(jwks: Jwks, issuer: Issuer, clock: At) -> None:
        gate = asyncio.Event()

        async def slowly(url: str) -> Any:
            await gate.wait()
            return await issuer.fetch(url)

        slow = Jwks(URL, clock, slowly)
        one, other = (asyncio.ensure_future(slow.key("RS256", "RS256")) for _ in range(2))
        await settled()
        one.cancel()
        await settled()
        gate.set()
        assert await other

    trial(work)


def without(name: str) -> dict[str, Any]:
    """A key that lacks something."""
    return {key: value for key, value in public_jwk("RS256").items() if key != name}


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "RS256"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "RS256", "alg": "RS256"},
        {**public_jwk("RS256"), "use": "enc"},
        {**public_jwk("RS256"), "key_ops": ["encrypt"]},
        {**public_jwk("RS256"), "key_ops": "verify"},
        {**public_jwk("RS256"), "alg": "RSA-OAEP"},
        RSAAlgorithm.to_jwk(private_key("RS256"), as_dict=True)
        | {"kid": "RS256", "key_ops": ["verify"]},
        {**public_jwk("RS256"), "kid": 7},
        {**public_jwk("RS256"), "n": "!!!"},
        {**public_jwk("RS256"), "n": 5},
        public_jwk("RS256", "short", kid="RS256"),
        without("n"),
        without("kty"),
        {**public_jwk("ES256"), "crv": "P-384"},
        "RS256",
        None,
    ],
)
def test_what_is_no_key(key: Any) -> None:
    """A key that is for something else, short, secret or broken is left out; the others stand."""

    async def work(jwks: Jwks, issuer: Issuer, clock: At) -> None:
        issuer.keys = [key, public_jwk("EdDSA")]
        for name in ("RS256", "PS256", "ES256"):
            assert await jwks.key(name, name) is None
        assert await jwks.key("EdDSA", "EdDSA")

    trial(work)


def test_which_key_is_meant() -> None:
    """Without a name it is the only one that there is; of two that fit, neither is taken."""

    async def work(jwks: Jwks, issuer: Issuer, clock: At) -> None:
        plain = {k: v for k, v in public_jwk("RS256").items() if k not in ("alg", "kid", "use")}
        issuer.keys = [plain, public_jwk("ES256"), public_jwk("ES256", "2", kid="ES256")]
        assert await jwks.key("RS256", None)
        assert await jwks.key("PS256", None)
        assert await jwks.key("EdDSA", None) is None
        assert await jwks.key("ES256", None) is None
        assert await jwks.key("ES256", "ES256") is None

    trial(work)


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": URL + "/", "jwks_uri": f"{URL}/keys"},
        {"issuer": "https://evil.example", "jwks_uri": f"{URL}/keys"},
        {"issuer": URL},
        {"issuer": URL, "jwks_uri": "http://169.254.169.254/latest"},
        {"issuer": URL, "jwks_uri": "file:///etc/passwd"},
        {"issuer": URL, "jwks_uri": ["https://login.example/keys"]},
        [],
        None,
    ],
    ids=str,
)
def test_a_discovery_document_that_is_none(discovery: Any) -> None:
    """It must be the configured issuer's, and name a place of keys over TLS."""

    async def work(jwks: Jwks, issuer: Issuer, clock: At) -> None:
        issuer.discovery = discovery
        with pytest.raises(IssuerUnavailable):
            await jwks.key("RS256", "RS256")
        assert len(issuer.asked) == 1

    trial(work)


# --- over a socket -------------------------------------------------------------------------------


def test_what_is_fetched() -> None:
    """JSON, as it is; no redirect is followed, nothing large or packed is taken, nor other text."""

    async def told(url: str) -> str:
        with pytest.raises(IssuerUnavailable) as caught:
            await fetch_json(url)
        return str(caught.value)

    async def work(url: str) -> None:
        assert await fetch_json(f"{url}/good") == {"keys": []}
        assert "answers 302" in await told(f"{url}/moved")
        assert "answers 500" in await told(f"{url}/broken")
        assert "more than" in await told(f"{url}/large")
        assert "not answer JSON" in await told(f"{url}/text")
        assert "not answer JSON" in await told(f"{url}/deep")
        assert "not answer JSON" in await told(f"{url}/packed")

    answers = {
        "/good": saying({"keys": []}),
        "/moved": saying({}, 302, Location="/good"),
        "/broken": saying({}, 500),
        "/large": saying(b" " * (LARGEST + 1) + b"{}"),
        "/text": saying(b"<html>"),
        "/deep": saying(b"[" * 100_000),
        "/packed": saying(b"\x1f\x8b\x08\x00rest", Content_Encoding="gzip"),
    }
    with listening(answers) as url:
        asyncio.run(work(url))
    with pytest.raises(IssuerUnavailable, match="cannot be reached"):
        asyncio.run(fetch_json(f"{url}/good"))


def test_an_issuer_that_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that sends a byte now and then is given up after some seconds."""
    monkeypatch.setattr("rewake.identity.fetching.PATIENCE", 0.2)

    given_up = threading.Event()

    def trickle(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not given_up.wait(0.05):
            handler.wfile.write(b" ")

    with listening({"/slow": trickle}) as url:
        with pytest.raises(IssuerUnavailable, match="within"):
            asyncio.run(fetch_json(f"{url}/slow"))
        given_up.set()


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "http://127.0.0.1.evil.example/", "//x", ""])
def test_where_nothing_is_fetched_from(url: str) -> None:
    """Without TLS only this machine itself is asked."""
    assert not is_fetched(url)
    with pytest.raises(IssuerUnavailable):
        asyncio.run(fetch_json(url))
    assert is_fetched("http://[::1]:8080/")
