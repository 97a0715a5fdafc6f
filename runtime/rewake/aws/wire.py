"""Signed requests to one service of AWS: one small client for what is asked all the time.

boto3 in threads takes several times the processor of this (`docs/architecture.md` has the numbers).
What is here only signs and sends: what an answer means, and whether to ask again, is for whoever
asks. Credentials are botocore's.

A connection belongs to an event loop, and the process has several. So each loop has a session of
its own, which is closed with it: an asynchronous generator holds it, and a loop that ends closes
these.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from rewake import forks
from rewake.aws.account import Account, Place
from rewake.aws.signing import Scope, sign_any, sign_root

if TYPE_CHECKING:
    from aiohttp import ClientSession

TIMEOUT = 3.0
"""Seconds until a request that is not answered counts as lost."""
SLOWEST = 512 * 1024
"""Bytes a second that are sent at least, of what is large, before it counts as lost."""
_CONNECT = 1.5
_KEEP_ALIVE = 8.0  # Shorter than AWS keeps idle connections, or a request meets a closed one.
_CONNECTIONS = 64
"""How many requests of one loop are under way at once; more wait."""
_STAMP = "%Y%m%dT%H%M%SZ"
_SKEWED = 120.0
"""Seconds by which a clock must be wrong before it is not believed; AWS allows five minutes."""


class Answer(NamedTuple):
    """What a service answers. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NotSent(Exception):
    """The request did not get to the service: nothing happened."""


class Lost(Exception):
    """There is no answer, or half of one: nobody knows what happened."""


class Wire(Protocol):
    """What carries requests to a service. Raises `NotSent` or `Lost`."""

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to a request, whatever it says."""
        ...

    async def renew(self) -> None:
        """Get other credentials: those there are were refused."""
        ...

    async def close(self) -> None:
        """End all connections."""
        ...


class SignedWire:
    """Requests to `service`, signed for it.

    `large`: what is sent and answered may be large, and takes as long as it moves.
    """

    def __init__(
        self, account: Account, service: str, place: Place, *, large: bool = False
    ) -> None:
        self._large = large
        self._account = account
        self._scope = Scope(service, place.region)
        self._place, self._url = place, place.url.rstrip("/")
        self._sessions: dict[asyncio.AbstractEventLoop, _Held] = {}
        self._lock = threading.Lock()
        self._skew = 0.0
        forks.withhold(self)

    async def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout: float = TIMEOUT,
    ) -> Answer:
        """The answer to a request. A clock that is wrong is set right by its `Date`."""
        from aiohttp import (  # noqa: PLC0415 - `import rewake` is free of it
            ClientConnectorError,
            ClientError,
            ClientTimeout,
            ConnectionTimeoutError,
        )
        from yarl import URL  # noqa: PLC0415

        keys, url = await self._account.keys(), self._url + path
        stamp = time.strftime(_STAMP, time.gmtime(self._now()))
        sign = sign_root if path == "/" else sign_any(self._scope.service)
        signed = sign(keys, self._scope, stamp, method, url, headers, body)
        session = await self._session()
        try:
            async with session.request(
                method,
                URL(url, encoded=True),
                data=body or None,
                headers=signed,
                allow_redirects=False,
                proxy=self._place.proxy,
                timeout=ClientTimeout(sock_connect=_CONNECT, **self._bounds(timeout, body)),
            ) as response:
                found = {name.lower(): text for name, text in response.headers.items()}
                answer = Answer(response.status, found, await response.read())
        except (ClientConnectorError, ConnectionTimeoutError) as error:
            raise NotSent(f"{self._url} cannot be reached: {error}") from error
        except TimeoutError as error:
            raise Lost(f"{self._url} did not answer within {timeout:g} s") from error
        except (ClientError, OSError) as error:
            raise Lost(f"{self._url}: {type(error).__name__}: {error}") from error
        if answer.status in (400, 403):
            self._set_right(answer)
        return answer

    async def renew(self) -> None:
        """Get other credentials: those there are were refused."""
        await self._account.renewed()

    async def close(self) -> None:
        """End the connections of all loops."""
        with self._lock:
            held = list(self._sessions.items())
            self._sessions.clear()
        here = asyncio.get_running_loop()
        for loop, each in held:
            if loop is here:
                await each.holder.aclose()
            elif loop.is_running():
                ended = asyncio.run_coroutine_threadsafe(each.holder.aclose(), loop)
                with suppress(Exception):
                    await asyncio.wait_for(asyncio.wrap_future(ended), 1.0)

    def after_fork(self) -> Iterable[int]:
        """The sockets, which a child must not use. See `rewake.forks`."""
        return [number for each in self._sessions.values() for number in _sockets(each.session)]

    def _bounds(self, timeout: float, body: bytes) -> Mapping[str, float]:
        """How long a request and its answer may take, in seconds."""
        if not self._large:
            return {"total": timeout}
        # What is sent stands in buffers for a while, and nothing comes meanwhile.
        return {"total": timeout + len(body) / SLOWEST} if body else {"sock_read": timeout}

    def _now(self) -> float:
        return time.time() + self._skew  # noqa: TID251 - a signature has the machine's time

    def _set_right(self, refused: Answer) -> None:
        """If the service's clock is far from this one, sign with that."""
        with suppress(KeyError, ValueError, TypeError):
            theirs = parsedate_to_datetime(refused.headers["date"]).astimezone(UTC).timestamp()
            if abs(off := theirs - self._now()) > _SKEWED:
                self._skew += off

    async def _session(self) -> ClientSession:
        loop = asyncio.get_running_loop()
        held = self._sessions.get(loop)
        if held is None:
            holder = _holder(self._place.authorities)
            held = _Held(await anext(holder), holder)  # it waits for nothing
            with self._lock:
                living = {each: its for each, its in self._sessions.items() if not each.is_closed()}
                self._sessions = {**living, loop: held}
        return held.session


class _Held(NamedTuple):
    session: ClientSession
    holder: AsyncGenerator[ClientSession, None]


async def _holder(authorities: str | None) -> AsyncGenerator[ClientSession, None]:
    import aiohttp  # noqa: PLC0415

    believed = True if authorities is None else ssl.create_default_context(cafile=authorities)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=_CONNECTIONS, keepalive_timeout=_KEEP_ALIVE, ssl=believed
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    )
    try:
        yield session
    finally:
        await session.close()


def _sockets(session: ClientSession) -> list[int]:
    """The numbers of the sockets that a session has open and idle, or in use."""
    connector: Any = session.connector
    if connector is None:
        return []
    idle = [each[0] for pool in connector._conns.values() for each in pool]
    sockets = [each.transport.get_extra_info("socket") for each in [*idle, *connector._acquired]]
    return [each.fileno() for each in sockets if each is not None]
