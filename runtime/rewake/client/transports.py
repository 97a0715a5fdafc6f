"""How an `Ask` travels: what both transports share, and the one of `AsyncClient` (aiohttp).

No cookie is kept and no redirect followed: a token goes to nobody but the server that it is for.
Proxies are those of the environment (`HTTPS_PROXY`, `NO_PROXY`), but never for this machine: what
listens on 127.0.0.1 is not the proxy's to reach.
"""

from __future__ import annotations

import asyncio
import io
import ipaddress
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from rewake.client.answers import Answer, Lost
from rewake.client.asking import Ask
from rewake.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from aiohttp import ClientSession


IDLE = 4.0
"""Seconds for which an idle connection is kept: servers close them after five, and what is sent at
that moment is lost.
"""


class AsyncTransport(Protocol):
    """Sends requests in coroutines. An answer that does not come is `Lost`, and no error."""

    async def send(self, ask: Ask, address: str, headers: Mapping[str, str]) -> Answer | Lost: ...

    async def close(self) -> None: ...


class Transport(Protocol):
    """Sends requests in threads, of which several may do so at once."""

    def send(self, ask: Ask, address: str, headers: Mapping[str, str]) -> Answer | Lost: ...

    def close(self) -> None: ...


def proxy_for(address: str) -> str | None:
    """The proxy by which an address is reached, if by any. Raises `ConfigError`."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if is_this_machine(host) or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    known = getproxies()
    proxy = known.get(parts.scheme) or known.get("all")
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not proxy.startswith("http://") or not urlsplit(proxy).hostname:
        raise ConfigError(f"{parts.scheme}_proxy is no address of an HTTP proxy: http://HOST:PORT")
    return proxy


def is_this_machine(host: str) -> bool:
    """Whether a host is this machine, by its name or as an address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def reason_of(error: Exception) -> str:
    """Why a request did not come through, in the words of the system."""
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return str(error) or type(error).__name__


def distrusted(place: str, error: Exception) -> ConfigError:
    """The error for a server whose certificate is not accepted: trying again will not help."""
    return ConfigError(f"the certificate of {place} is not accepted: {error}")


class AiohttpTransport:
    """Sends by aiohttp, over connections that are kept; in one event loop."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._session: ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def send(self, ask: Ask, address: str, headers: Mapping[str, str]) -> Answer | Lost:
        """Send it, and read the answer whole. Raises `UsageError` in another event loop."""
        import aiohttp  # noqa: PLC0415 - it takes as long to import as all the rest
        from yarl import URL  # noqa: PLC0415

        session = self._opened()
        try:
            async with session.request(
                ask.method,
                URL(address, encoded=True),
                data=None if ask.body is None else io.BytesIO(ask.body),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=self._timeout + ask.wait),
                allow_redirects=False,
                proxy=proxy_for(address),
            ) as response:
                kept = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, kept, await response.read())
        except TimeoutError:
            return Lost(f"it takes longer than {self._timeout + ask.wait:g} seconds")
        except aiohttp.ClientConnectorCertificateError as error:
            raise distrusted(urlsplit(address).netloc, error.certificate_error) from None
        except aiohttp.ClientConnectorError as error:
            return Lost(reason_of(error), sent=False)
        except (aiohttp.ClientError, OSError) as error:
            return Lost(reason_of(error))

    async def close(self) -> None:
        """Close the connections; nothing can be sent any more."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> ClientSession:
        import aiohttp  # noqa: PLC0415

        loop = asyncio.get_running_loop()
        if self._closed:
            raise UsageError("this client is closed")
        if self._session is None:
            self._loop = loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(keepalive_timeout=IDLE),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        if self._loop is not loop:
            raise UsageError("an AsyncClient is used in one event loop: make one in each")
        return self._session
