"""What a service that carries messages answers, and what it is asked again.

Whatever is asked here may be done twice: a message is only a hint. So all that passes is tried
again: a service that is busy, a connection that breaks, credentials that are over.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, Protocol

import msgspec

from rewake.aws.account import Account
from rewake.aws.wire import TIMEOUT, Answer, Lost, NotSent, SignedWire
from rewake.errors import ConfigError, StoreError, TransportUnavailable

TRIES = 4
"""How often a request is sent before it counts as failed."""

_FIRST_PAUSE = 0.05  # Seconds; doubled each time, and a random part of it is waited.
_BUSY = ("throttl", "toomanyrequests", "slowdown", "requestlimit", "unavailable", "internal")
_STALE = (
    *("requesttimetooskewed", "requestexpired", "invalidsignature"),
    *("expiredtoken", "unrecognizedclient", "invalidclienttokenid"),
)


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


class AwsClient:
    """Asks one service, such as `sqs`; `target` is what its actions are prefixed with in headers.

    botocore, which knows where that is and who asks, is loaded by the first request, in a thread.
    """

    def __init__(self, service: str, target: str = "") -> None:
        self._service = service
        self._target = target
        self._wire: SignedWire | None = None
        self._finding = threading.Lock()

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
        try:
            return msgspec.json.decode(answer, type=dict[str, Any]) if answer else {}
        except msgspec.MsgspecError:  # something stands between, and answers in its place
            told = f"{self._service} answers {action} with what is no JSON object"
            raise TransportUnavailable(told) from None

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
        wire, pause = await self.find(), _FIRST_PAUSE
        for left in range(tries)[::-1]:
            try:
                answer = await wire.send(method, path, headers, data, timeout=timeout)
                if answer.status < 300:
                    return answer.body
                error = _refusal(self._service, answer)
            except (NotSent, Lost) as broken:
                error = TransportUnavailable(str(broken), passes=True)
            except StoreError as missing:  # there are no credentials
                error = TransportUnavailable(str(missing))
            if any(each in error.code.lower() for each in _STALE):
                with suppress(StoreError):  # there are none now: the next try says so
                    await wire.renew()  # after the last try too, for the next request
            if not left or not error.passes:
                raise error
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: TID251 - it decides nothing
            pause *= 2
        raise AssertionError("a request is tried at least once")

    async def find(self) -> SignedWire:
        """Find where the service is: it takes a while at first. Raises `ConfigError`."""
        return await asyncio.to_thread(self._found) if self._wire is None else self._wire

    def _found(self) -> SignedWire:
        with self._finding:  # one for all requests that come first: each has its connections
            self._wire = self._wire or _wire_to(self._service)
            return self._wire

    async def close(self) -> None:
        """Close the connections."""
        if self._wire is not None:
            await self._wire.close()


def check_installed() -> None:
    """Raise `ConfigError` if what AWS needs is not installed, without loading it."""
    if find_spec("botocore") is None:
        raise ConfigError("AWS needs boto3: pip install 'rewake[aws]'")


def _wire_to(service: str) -> SignedWire:
    account = Account()
    return SignedWire(account, service, account.place(service))


def _refusal(service: str, answer: Answer) -> TransportUnavailable:
    """What a service said instead of an answer."""
    try:
        told = msgspec.json.decode(answer.body)
    except msgspec.MsgspecError:
        told = {}
    told = told if isinstance(told, dict) else {}
    given = told.get("__type") or told.get("code") or answer.headers.get("x-amzn-errortype") or ""
    code = str(given).rpartition("#")[2].partition(":")[0]
    message = str(told.get("message") or told.get("Message") or "")[:300]
    kind, status = code.lower(), answer.status
    passes = status >= 500 or status == 429 or any(each in kind for each in (*_BUSY, *_STALE))
    shown = f"{service} answers {status} {code}".rstrip()
    told_whole = f"{shown}: {message}" if message else shown
    return TransportUnavailable(told_whole, code=code, passes=passes)
