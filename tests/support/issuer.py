"""A stand-in for an OpenID Connect issuer: its keys, its documents, and tokens that it signs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from rewake.errors import IssuerUnavailable

URL = "https://login.example/realm"
AUDIENCE = "rewake-api"
NOW = 1_795_687_200
"""Seconds since the epoch, when tokens are made unless a test says otherwise."""


def private_key(algorithm: str, name: str = "") -> Any:
    """A key for an algorithm, made once; `name` tells one from another."""
    return _private_key(algorithm, name)


@cache
def _private_key(algorithm: str, name: str) -> Any:
    match algorithm:
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return rsa.generate_private_key(65537, 1024 if name == "short" else 2048)


def public_jwk(algorithm: str, name: str = "", **more: Any) -> dict[str, Any]:
    """The public part of a key, as an issuer publishes it."""
    public = private_key(algorithm, name).public_key()
    kinds: dict[str, Any] = {"ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}
    data: dict[str, Any] = kinds.get(algorithm, RSAAlgorithm).to_jwk(public, as_dict=True)
    data.pop("key_ops", None)
    return {**data, "kid": f"{algorithm}{name}", "alg": algorithm, "use": "sig", **more}


class Issuer:
    """An issuer with one key for each algorithm. `keys` are what it publishes."""

    def __init__(self, url: str = URL) -> None:
        self.url = url
        self.keys = [public_jwk(each) for each in ("RS256", "PS256", "ES256", "EdDSA")]
        self.discovery: Any = {"issuer": url, "jwks_uri": f"{url}/keys"}
        self.asked: list[str] = []
        self.down = False

    async def fetch(self, url: str) -> Any:
        """What the issuer answers, without a socket."""
        self.asked.append(url)
        if self.down:
            raise IssuerUnavailable("it is down")
        return self.document(url.removeprefix(self.url))

    def document(self, path: str) -> Any:
        """What is at a path below the issuer's address."""
        known = {"/.well-known/openid-configuration": self.discovery, "/keys": {"keys": self.keys}}
        return known[path]

    def claims(self, **changed: Any) -> dict[str, Any]:
        """The claims of a good token; those that are changed to None are left out."""
        whole = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ann",
            "iat": NOW,
            "exp": NOW + 600,
            **changed,
        }
        return {name: value for name, value in whole.items() if value is not None}

    def token(
        self,
        algorithm: str = "RS256",
        key: str = "",
        header: dict[str, Any] | None = None,
        **changed: Any,
    ) -> str:
        """A token that it signs."""
        headers = {"kid": f"{algorithm}{key}", **(header or {})}
        kept = {name: value for name, value in headers.items() if value is not None}
        signer = private_key(algorithm, key)
        return jwt.encode(self.claims(**changed), signer, algorithm, headers=kept)


class At:
    """A clock that a test sets."""

    def __init__(self, seconds: float = NOW) -> None:
        self.seconds = seconds

    def now(self) -> int:
        return int(self.seconds * 1000)

    async def sleep(self, duration: int) -> None:
        raise NotImplementedError


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def listening(answers: dict[str, Answer]) -> Iterator[str]:
    """An HTTP server on this machine that answers each path by a function; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers[self.path](self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def saying(found: Any, status: int = 200, **headers: str) -> Answer:
    """An answer: JSON data, or bytes as they are."""
    body = found if isinstance(found, bytes) else json.dumps(found).encode()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer
