"""`rewake deliveries sign`: a delivery as its provider would sign it, sent to a server."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl

import aiohttp

from rewake.app import load_app
from rewake.cli.exits import Exit, tell
from rewake.client.settings import URL
from rewake.clock import SystemClock
from rewake.dispatchers.http import is_base_url
from rewake.errors import (
    ConfigError,
    InvalidInput,
    RunNotFound,
    ServerUnavailable,
    Unauthentic,
    UsageError,
)
from rewake.values.nested import json_of
from rewake.webhooks.delivery import Delivery
from rewake.webhooks.schemes import Scheme
from rewake.webhooks.secrets import secrets_for, secrets_from

_TIMEOUT = 90.0


class Wish(NamedTuple):
    """A delivery that is wished for: the app, the hook's path, a file, and more headers."""

    app: str
    path: str
    file: str
    headers: Sequence[str]


def send(wish: Wish, url: str | None) -> Exit:
    """Sign a delivery and send it; what it is answered goes to stdout, its status to stderr."""
    path, _, query = wish.path.strip("/").removeprefix("hooks/").partition("?")
    app, _ = load_app(wish.app)
    if path not in app.webhooks:
        known = ", ".join(sorted(app.webhooks)) or "none"
        raise RunNotFound(f"{wish.app} has no webhook {path!r} (there is: {known})")
    webhook, _ = app.webhooks[path]
    body, more = _read(wish.file), dict(map(_header, wish.headers))
    delivery = Delivery(path, body=body, headers=more.items(), query=parse_qsl(query))
    base = (url or os.environ.get("REWAKE_SERVER") or URL).rstrip("/")
    if not is_base_url(base):
        raise ConfigError("--server is the URL of a server, with http:// or https:// and a host")
    address = f"{base}/hooks/{wish.path.strip('/').removeprefix('hooks/')}"
    return asyncio.run(_sent(address, webhook.verify, delivery, more))


async def _sent(address: str, scheme: Scheme, delivery: Delivery, more: dict[str, str]) -> Exit:
    secret = await _secret(scheme, delivery)
    body = scheme.signed_body(delivery.body, secret)
    signed = scheme.sign(body, secret, SystemClock().now())
    given = {name.lower() for name in more}  # they stand, however they are written
    made = {"Content-Type": _type_of(body), **signed}
    headers = {name: text for name, text in made.items() if name.lower() not in given} | more
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT)) as session,
            session.post(address, data=body, headers=headers, allow_redirects=False) as response,
        ):
            told = await response.read()
    except TimeoutError:
        raise ServerUnavailable(f"{address} does not answer") from None
    except (aiohttp.ClientError, OSError) as error:
        raise ServerUnavailable(f"cannot reach {address}: {error}") from None
    tell(f"answered with {response.status}")
    sys.stdout.write(told.decode(errors="replace") + ("\n" if told else ""))
    return Exit.DONE if response.status < 300 else Exit.FAILED


async def _secret(scheme: Scheme, delivery: Delivery) -> bytes:
    """The first secret of the hook. Raises `ConfigError`, `UsageError`."""
    if isinstance(scheme.secret, str):
        return secrets_from(scheme.secret, scheme, os.environ, delivery.path)[0]
    if scheme.secret is None:
        return b""
    try:
        return (await secrets_for(scheme.secret, scheme, delivery))[0]
    except Unauthentic as error:
        raise UsageError(f"there is no secret for this delivery: {error}") from None


def _type_of(body: bytes) -> str:
    try:
        json_of(body)
    except ValueError:
        return "application/octet-stream"
    return "application/json"


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise InvalidInput(f"--body: {file}: {error.strerror}") from None


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not text.isprintable() or not text.isascii():
        raise InvalidInput("--header is one line 'Name: text'")
    return name.strip(), value.strip()
