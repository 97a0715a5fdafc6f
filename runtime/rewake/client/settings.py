"""Which server a client asks, and with which token: as given, else as the environment says."""

from __future__ import annotations

import os

from rewake.client.asking import Ask
from rewake.dispatchers.http import is_base_url
from rewake.errors import ConfigError

URL = "http://127.0.0.1:8000"
"""Where a server is that nothing is said of."""


def server_url(given: str | None) -> str:
    """The URL of the server, without a slash at its end. Raises `ConfigError`."""
    url = (given or os.environ.get("REWAKE_SERVER") or URL).rstrip("/")
    if is_base_url(url):
        return url
    shown = "this" if "@" in url else url
    raise ConfigError(f"{shown} is no URL of a server: it needs http:// or https:// and a host")


def server_token(given: str | None) -> str:
    """The token; none is empty. Raises `ConfigError` for one that no header can have."""
    token = given or os.environ.get("REWAKE_TOKEN", "").partition(",")[0].strip()
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError("the token has characters that no token has: see REWAKE_TOKEN")
    return token


def headers_of(ask: Ask, token: str) -> dict[str, str]:
    """The headers of a request. Raises `ConfigError` where there is no token and one is needed."""
    headers = {"Accept": "application/json", **ask.headers}
    if ask.body is not None:
        headers["Content-Type"] = "application/json"
    if not ask.at:
        if not token:
            raise ConfigError("there is no token: set REWAKE_TOKEN, or give token=")
        headers["Authorization"] = f"Bearer {token}"
    return headers
