"""The HTTP dispatcher: each message is a signed POST to the one base URL that all replicas share.

Any replica behind that URL handles it, so work spreads over them by itself. A message is sent once.
If it is lost, or no replica has room for it, a sweep finds its work in the due index within
seconds. The due index alone covers delays beyond `HORIZON`: nothing is in memory for them.

Replicas that stand still between requests do the work of a message before they answer it. Such an
answer is not waited for: a message counts as delivered once it is sent, and was not refused within
a moment. One that is early is sent at once, for here nothing would wait: its receiver does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from rewake.clock import Clock
from rewake.dispatchers.delays import Delays
from rewake.dispatchers.dispatcher import Handler
from rewake.errors import ConfigError
from rewake.records import Invocation, Millis
from rewake.signing.messages import HEADER, sign
from rewake.signing.secret import Secret

if TYPE_CHECKING:
    from aiohttp import ClientSession

log = logging.getLogger("rewake.dispatcher")

PATH = "/v1/invoke"
"""Where a replica takes messages, below the base URL."""
HORIZON: Millis = 5_000
"""The longest delay that is kept as a timer."""
IN_FLIGHT = 64
"""How many messages are under way at once."""
BACKLOG = 10_000
"""How many messages may be under way or waiting; the due index covers all others."""
LARGEST = 64 * 1024
"""Bytes of a message above which arguments are left out: who takes it reads the history. A replica
refuses what is larger than a request may be.
"""
TIMEOUT = 10.0
"""Seconds until a message that is not answered counts as lost."""
REFUSAL = 0.25
"""Seconds in which a replica that works before it answers would have refused a message."""
_KEEP_ALIVE = 4.0  # Shorter than servers keep idle connections, or a message meets a closed one.
_LAST_WORDS = 1.0  # Seconds for messages that are under way when the dispatcher closes.

_encode = msgspec.json.Encoder().encode


class HttpDispatcher:
    """Sends messages to `base_url`, signed with `secret`.

    `pauses`: the replicas stand still between requests, this one too. Raises `ConfigError` for a
    base URL that is not http(s)://host[:port][/path].
    """

    local = False
    reach = 0
    dead_letters = None

    def __init__(
        self, base_url: str, secret: Secret, clock: Clock, *, pauses: bool = False
    ) -> None:
        self._pauses = pauses
        self._url = checked_url(base_url) + PATH
        self._secret = secret
        self._clock = clock
        self._session: ClientSession | None = None
        self._turns = asyncio.Semaphore(IN_FLIGHT)
        self._sending: set[asyncio.Task[None]] = set()
        self._delays = Delays(self._post)
        self._failing = False

    def open(self, handler: Handler) -> None:  # noqa: ARG002 - messages arrive over HTTP
        # Not with this module: `import rewake` is free of it. Nor with the first message: to import
        # it then would block this event loop for a quarter of a second.
        import aiohttp  # noqa: PLC0415

        # Over a pause the other side closes what is kept open, and nobody is there to hear it.
        kept = {"force_close": True} if self._pauses else {"keepalive_timeout": _KEEP_ALIVE}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=IN_FLIGHT, **kept),
            timeout=aiohttp.ClientTimeout(
                total=TIMEOUT, sock_read=REFUSAL if self._pauses else None
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def dispatch(self, invocations: Sequence[Invocation]) -> None:
        now = self._clock.now()
        for invocation in invocations:
            wait = 0 if invocation.not_before is None else invocation.not_before - now
            if wait <= 0 or (self._pauses and wait <= HORIZON):
                self._post(invocation)
            elif wait <= HORIZON:
                self._delays.add(invocation, wait)

    async def is_behind(self) -> bool:
        return False

    async def flush(self) -> None:
        while self._sending:
            await asyncio.wait(self._sending)

    async def close(self) -> None:
        session, self._session = self._session, None
        self._delays.clear()
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=_LAST_WORDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if session is not None:
            await session.close()

    def _post(self, invocation: Invocation) -> None:
        if self._session is None:
            return
        if len(self._sending) >= BACKLOG:
            self._failed("too many messages wait to be sent")
            return
        task = asyncio.ensure_future(self._send(self._session, invocation))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, session: ClientSession, invocation: Invocation) -> None:
        from aiohttp import ClientError, SocketTimeoutError  # noqa: PLC0415 - see `open`

        async with self._turns:
            body = _encode(invocation)
            if len(body) > LARGEST:
                body = _encode(msgspec.structs.replace(invocation, args=None))
            headers = {
                "Content-Type": "application/json",
                HEADER: sign(self._secret, "POST", PATH, body, self._clock.now()),
            }
            try:
                async with session.post(
                    self._url, data=body, headers=headers, allow_redirects=False
                ) as response:
                    if response.status == 202:
                        self._failing = False
                    else:
                        self._failed(f"it answers {response.status}")
            except SocketTimeoutError as error:
                if not self._pauses:
                    self._failed(f"{type(error).__name__}: {error}")
            except (ClientError, TimeoutError, OSError) as error:
                self._failed(f"{type(error).__name__}: {error}")

    def _failed(self, reason: str) -> None:
        """Warn once, not with every message, until one gets through again."""
        level = logging.DEBUG if self._failing else logging.WARNING
        self._failing = True
        log.log(level, "no message gets to %s: %s; due times cover them", self._url, reason)


def checked_url(url: str) -> str:
    """The base URL without a slash at its end. Raises `ConfigError`."""
    if not is_base_url(url):
        raise ConfigError("the base URL must be http(s)://host[:port][/path]: set REWAKE_URL")
    return url.rstrip("/")


def is_base_url(url: str) -> bool:
    """Whether this is http(s)://host[:port][/path], without a name and password."""
    try:
        parts = urlsplit(url)
        reachable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        (parts.hostname or "").encode("idna")  # as it is looked up: raises for an empty part
    except ValueError:
        return False
    # A name and password would end up in logs.
    return bool(reachable) and not ("@" in parts.netloc or parts.query or parts.fragment)
