"""Requests to one AWS service, over aiohttp and signed by botocore.

botocore finds the credentials, the region and the endpoint, as it does for every other program; so
AWS's own variables and files are all the configuration there is. It is an extra and slow to load:
it is imported, in a thread, by the first request. The requests themselves do not pass through its
clients, which cost several times as much of this process and hold a thread for each long poll.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from rewake.errors import ConfigError, TransportUnavailable

if TYPE_CHECKING:
    from aiohttp import ClientSession

TRIES = 4
"""How often a request is sent before it counts as failed."""
TIMEOUT = 10.0
"""Seconds until a request that is not answered is sent again."""
CONNECTIONS = 64
"""How many requests are under way at once."""
MISSING = "AWS needs packages that are not installed: pip install 'rewake[aws]'"

_KEEP_ALIVE = 15.0
_FIRST_PAUSE = 0.05  # Seconds; doubled each time, and a random part of it is waited.
_BUSY = ("throttl", "toomanyrequests", "slowdown", "requestlimit", "unavailable", "internal")
_STALE = ("expiredtoken", "expiredtokenexception", "requesttimetooskewed")


class Asks(Protocol):
    """What asks a service whose protocol is AWS JSON. Raises `TransportUnavailable`."""

    async def json(
        self, action: str, body: Mapping[str, Any], *, timeout: float = TIMEOUT, tries: int = TRIES
    ) -> dict[str, Any]:
        """The answer to an action; `timeout`: seconds for one try."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class _Place(NamedTuple):
    """Where a service is asked, and as whom."""

    endpoint: str
    region: str
    credentials: Any


class AwsClient:
    """Asks one service, such as `sqs`; `target` is what its actions are prefixed with in headers.

    For one event loop at a time: in another one it begins anew.
    """

    def __init__(self, service: str, target: str = "") -> None:
        self._service = service
        self._target = target
        self._place: _Place | None = None
        self._finding = asyncio.Lock()
        self._session: ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def json(
        self, action: str, body: Mapping[str, Any], *, timeout: float = TIMEOUT, tries: int = TRIES
    ) -> dict[str, Any]:
        """See `Asks`."""
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"{self._target}.{action}",
        }
        data = msgspec.json.encode(body)
        answer = await self.send("POST", "/", data, headers, timeout=timeout, tries=tries)
        found: dict[str, Any] = msgspec.json.decode(answer) if answer else {}
        return found

    async def send(
        self,
        method: str,
        path: str,
        data: bytes,
        headers: Mapping[str, str],
        *,
        timeout: float = TIMEOUT,
        tries: int = TRIES,
    ) -> bytes:
        """The body of the answer to a request. Raises `TransportUnavailable`, `ConfigError`."""
        pause = _FIRST_PAUSE
        for left in reversed(range(tries)):
            try:
                return await self._once(method, path, data, headers, timeout)
            except TransportUnavailable as error:
                if not left or not error.passes:
                    raise
                if error.code.lower() in _STALE:
                    self._place = None  # the credentials, and the clock's offset, are found again
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: TID251 - it decides nothing
            pause *= 2
        raise AssertionError("a request is tried at least once")

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _once(
        self, method: str, path: str, data: bytes, headers: Mapping[str, str], timeout: float
    ) -> bytes:
        from aiohttp import ClientError, ClientTimeout  # noqa: PLC0415 - `import rewake` stays light
        from yarl import URL  # noqa: PLC0415

        place = await self.find()
        url = place.endpoint.rstrip("/") + path
        signed = await self._signed(place, method, url, data, headers)
        try:
            async with self._opened().request(
                method,
                URL(url, encoded=True),
                data=data,
                headers=signed,
                allow_redirects=False,
                timeout=ClientTimeout(total=timeout),
            ) as response:
                body = await response.read()
                if response.status < 300:
                    return body
                raise _refusal(self._service, response.status, body, response.headers)
        except (ClientError, TimeoutError, OSError) as error:
            told = f"{self._service} cannot be reached: {type(error).__name__}"
            raise TransportUnavailable(told, passes=True) from error

    def _opened(self) -> ClientSession:
        from aiohttp import ClientSession, DummyCookieJar, TCPConnector  # noqa: PLC0415

        loop = asyncio.get_running_loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            self._loop = loop
            self._session = ClientSession(
                connector=TCPConnector(limit=CONNECTIONS, keepalive_timeout=_KEEP_ALIVE),
                cookie_jar=DummyCookieJar(),
                auto_decompress=True,
            )
        return self._session

    async def find(self) -> _Place:
        """Find where the service is, and as whom it is asked: it takes a while at first."""
        if self._place is None:
            async with self._finding:
                if self._place is None:
                    self._place = await asyncio.to_thread(_place_of, self._service)
        return self._place

    async def _signed(
        self, place: _Place, method: str, url: str, data: bytes, headers: Mapping[str, str]
    ) -> dict[str, str]:
        from botocore.auth import SigV4Auth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        credentials = place.credentials
        if getattr(credentials, "refresh_needed", bool)():
            frozen = await asyncio.to_thread(credentials.get_frozen_credentials)
        else:
            frozen = credentials.get_frozen_credentials()
        request = AWSRequest(method=method, url=url, data=data, headers=dict(headers))
        SigV4Auth(frozen, self._service, place.region).add_auth(request)
        return dict(request.headers.items())


def _place_of(service: str) -> _Place:
    """Where a service is, and who asks it, as botocore finds it. Raises `ConfigError`."""
    try:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415
        from botocore.session import Session  # noqa: PLC0415
    except ImportError:
        raise ConfigError(MISSING) from None
    try:
        session = Session()
        credentials = session.get_credentials()
        meta = session.create_client(service).meta
    except BotoCoreError as error:
        # It names a variable or a file, and no secret.
        raise ConfigError(f"AWS: {error}") from error
    if credentials is None:
        raise ConfigError("AWS: there are no credentials: set AWS_ACCESS_KEY_ID, or give a role")
    return _Place(meta.endpoint_url, meta.region_name, credentials)


def check_installed() -> None:
    """Raise `ConfigError` if what AWS needs is not installed, without loading it."""
    from importlib.util import find_spec  # noqa: PLC0415

    if find_spec("botocore") is None:
        raise ConfigError(MISSING)


def _refusal(
    service: str, status: int, body: bytes, headers: Mapping[str, str]
) -> TransportUnavailable:
    """What a service said instead of an answer."""
    try:
        told = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        told = {}
    told = told if isinstance(told, dict) else {}
    given = told.get("__type") or told.get("code") or headers.get("x-amzn-errortype") or ""
    code = str(given).rpartition("#")[2].partition(":")[0]
    message = str(told.get("message") or told.get("Message") or "")[:300]
    kind = code.lower()
    passes = status >= 500 or status == 429 or kind in _STALE or any(b in kind for b in _BUSY)
    shown = f"{service} answers {status} {code}".rstrip()
    return TransportUnavailable(
        f"{shown}: {message}" if message else shown, code=code, passes=passes
    )
