"""Fetching a JSON document of an issuer: over TLS, in bounded time and size, and from nowhere else.

No redirect is followed, so what is asked is what was configured, or what the issuer itself named.
No proxy, cookie or credential of the environment is used.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from rewake.errors import IssuerUnavailable

LARGEST: Final = 262_144
"""The most bytes of a document."""
PATIENCE: Final = 4.0
"""Seconds that a document may take."""


def is_fetched(url: str) -> bool:
    """Whether this is asked: https, or http on this machine itself, without a name and password."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        good = bool(host) and parts.port != 0 and "@" not in parts.netloc and url.isprintable()
    except ValueError:
        return False
    if not good or parts.fragment or " " in url:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_here(host))


async def fetch_json(url: str) -> Any:
    """The document at an address. Raises `IssuerUnavailable`."""
    import aiohttp  # noqa: PLC0415 - slow to import, and seldom needed

    if not is_fetched(url):
        raise IssuerUnavailable("an address of the issuer is neither https nor on this machine")
    limits = aiohttp.ClientTimeout(total=PATIENCE)
    # Not unpacked, so that a small answer cannot become a large one.
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    try:
        async with (
            aiohttp.ClientSession(
                timeout=limits,
                headers=headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            ) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise IssuerUnavailable(f"{url} answers {response.status}")
            body = await _read(response.content)
    except TimeoutError:
        raise IssuerUnavailable(f"{url} does not answer within {PATIENCE:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise IssuerUnavailable(f"{url} cannot be reached: {type(error).__name__}") from None
    if body is None:
        raise IssuerUnavailable(f"{url} answers more than {LARGEST:,} bytes")
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise IssuerUnavailable(f"{url} does not answer JSON") from None


async def _read(content: Any) -> bytes | None:
    """The body; None if it is too large."""
    body = bytearray()
    async for part in content.iter_chunked(16_384):
        body += part
        if len(body) > LARGEST:
            return None
    return bytes(body)


def is_here(host: str) -> bool:
    """Whether this is an address of this machine itself, which no name server can change."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
