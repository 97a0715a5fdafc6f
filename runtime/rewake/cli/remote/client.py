"""A client of a Rewake server: requests, and its problem details as errors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import aiohttp
import msgspec

from rewake.cli.home import find_token
from rewake.dispatchers.http import is_base_url
from rewake.errors import (
    ConfigError,
    InsufficientScope,
    RewakeError,
    RunConflict,
    ServerUnavailable,
    StuckError,
    UsageError,
)

URL = "http://127.0.0.1:8000"
_TIMEOUT = 30.0
_STUCK = "urn:rewake:problem:stuck"


class Reply(NamedTuple):
    """The status and the JSON of an answer."""

    status: int
    body: Any


class Client:
    """Talks to the server at `url`; to be used as an async context manager."""

    def __init__(self, url: str | None) -> None:
        self.url = (url or os.environ.get("REWAKE_SERVER") or URL).rstrip("/")
        if not is_base_url(self.url):
            shown = "this" if "@" in self.url else self.url
            raise ConfigError(
                f"{shown} is no URL of a server: it needs http:// or https:// and a host"
            )
        self._token = find_token()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        authorization = {"Authorization": f"Bearer {self._token}"}
        self._session = aiohttp.ClientSession(headers=authorization)
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(
        self, *path: str, query: Mapping[str, object] | None = None, wait: float = 0
    ) -> Reply:
        """GET; the server may `wait` so many seconds. Raises `RewakeError` if it fails."""
        return await self._send("GET", path, query=query, wait=wait)

    async def post(
        self,
        *path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, object] | None = None,
    ) -> Reply:
        """POST a JSON body. Raises `RewakeError` if it fails."""
        return await self._send("POST", path, body, headers=headers, query=query)

    async def get_at(self, path: str) -> Reply:
        """GET what is not below `/v1`. Raises `RewakeError` if it fails."""
        return await self._send("GET", (), at=path)

    async def delete(self, *path: str) -> Reply:
        """DELETE. Raises `RewakeError` if it fails."""
        return await self._send("DELETE", path)

    async def _send(
        self,
        method: str,
        path: tuple[str, ...],
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, object] | None = None,
        wait: float = 0,
        at: str = "",
    ) -> Reply:
        assert self._session is not None
        given = {**(query or {}), "wait": wait or None}
        data = None if body is None else _encoded(body)
        try:
            async with self._session.request(
                method,
                f"{self.url}/{at}" if at else self._address(path),
                params={k: str(v) for k, v in given.items() if v is not None},
                data=data,
                headers={"Content-Type": "application/json", **(headers or {})},
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT + wait),
                allow_redirects=False,
            ) as response:
                return self._answer(response.status, await response.read())
        except TimeoutError:
            raise ServerUnavailable(f"{self.url} does not answer") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ServerUnavailable(f"cannot reach {self.url}: {_reason(error)}") from None

    def _address(self, path: tuple[str, ...]) -> str:
        return "/".join([self.url, "v1", *(quote(part, safe="") for part in path)])

    def _answer(self, status: int, body: bytes) -> Reply:
        try:
            found = msgspec.json.decode(body)
        except (msgspec.DecodeError, ValueError):
            raise ServerUnavailable(
                f"{self.url} is not a Rewake server (status {status})"
            ) from None
        if status < 300:
            return Reply(status, found)
        raise _error_of(self.url, status, found if isinstance(found, dict) else {})


def _encoded(body: object) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError as error:  # an argument from the shell is not UTF-8
        raise UsageError(f"{error.object!r} is no text in UTF-8") from None


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) and number > 0 else str(error)


def _error_of(url: str, status: int, problem: Mapping[str, Any]) -> RewakeError:
    """A problem (RFC 9457) as an error."""
    told = str(problem.get("detail") or problem.get("title") or f"status {status}")
    field = problem.get("field")
    if field and str(field) not in told:
        told = f"{field}: {told}"
    if status == 401:
        return ConfigError(f"{url} does not accept this token (see `rewake token`)")
    if status == 403:
        return InsufficientScope(told, scope=str(problem.get("scope", "")))
    if problem.get("type") == _STUCK:
        return StuckError(told)
    if status >= 500:
        return ServerUnavailable(f"{url} failed: {told}")
    if status == 409:
        return RunConflict(told, run=str(problem.get("run", "")))
    return UsageError(told)
