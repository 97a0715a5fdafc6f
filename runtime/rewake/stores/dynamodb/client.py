"""Requests to DynamoDB: what an answer means, and what is asked again.

An answer that says that nothing was done (throttled, in conflict, signed by a clock that is wrong
or with credentials that are over) is followed by another try, after a pause that grows and that
chance spreads (`rewake.aws.tries`). So is every read. A write of which nobody knows is not repeated
here: who wrote it knows the mark by which a success is recognised (`rewake.stores.protocol`). It is
told `StoreUnavailable`, after a pause too, for it repeats at once.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from rewake.aws.tries import Tries, pause
from rewake.aws.wire import Answer, Lost, NotSent, Wire
from rewake.errors import StoreError, StoreUnavailable
from rewake.stores.dynamodb.attributes import Raws

_VERSION = "DynamoDB_20120810"
_HEADERS = {"Content-Type": "application/x-amz-json-1.0"}

_REFUSED = "ConditionalCheckFailedException"
_THROTTLED = frozenset(
    {
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "ReplicatedWriteConflictException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "TransactionConflictException",
    }
)
"""Nothing was done: try again, and not too soon."""
_SKEWED = frozenset({"InvalidSignatureException", "RequestTimeTooSkewed", "RequestExpired"})
"""The signature is wrong: by now the wire has seen what time it is there."""
_EXPIRED = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId"}
)
"""The credentials are not good any more."""
_OURS = frozenset(
    {
        "ItemCollectionSizeLimitExceededException",
        "SerializationException",
        "ValidationException",
    }
)
"""The request is wrong, or the item too large: nothing else than that will help. All else is a
matter of permissions, credentials or the table, which somebody sets right: it is an outage."""
_TOLD = 400
"""The most characters of an error that are told."""
_SIGN_AGAIN = 2
"""How often a request is signed again: more do not help."""

Meter = Callable[[str, Any], None]
"""Told the name of each operation, and what DynamoDB says that it consumed.

None: it does not say, as of a write whose condition did not hold.
"""


class Reply(msgspec.Struct, rename="pascal"):
    """What DynamoDB answers, of all operations that are used here."""

    item: Raws | None = None
    attributes: Raws | None = None
    items: list[Raws] = []
    last_evaluated_key: dict[str, Any] | None = None
    responses: dict[str, list[Raws]] = {}
    unprocessed_keys: dict[str, Any] = {}
    unprocessed_items: dict[str, Any] = {}
    consumed_capacity: Any = None
    refused: bool = False
    """Whether the condition did not hold; `item` is then what was found."""


class _Fault(msgspec.Struct):
    """What an answer says that is an error."""

    type: str = msgspec.field(name="__type", default="")
    message: str = ""
    said: str = msgspec.field(name="Message", default="")
    item: Raws | None = msgspec.field(name="Item", default=None)

    def __str__(self) -> str:
        # Of a wrong signature the other lines repeat the request, with its session token.
        text = (self.message or self.said).partition("\n")[0][:_TOLD]
        return f"{self.type}: {text}" if text else self.type


_encode = msgspec.json.Encoder().encode
_reply = msgspec.json.Decoder(Reply).decode
_fault = msgspec.json.Decoder(_Fault).decode


class Client:
    """Asks DynamoDB over a wire. `chance` spreads what is tried again; `meter` is told of costs."""

    def __init__(
        self, wire: Wire, *, chance: random.Random | None = None, meter: Meter | None = None
    ) -> None:
        self._wire = wire
        self._chance = chance or random.Random()
        self._meter = meter
        self._lost = 0

    async def read(self, operation: str, request: Mapping[str, Any]) -> Reply:
        """The answer to what only reads, or may be done twice."""
        return await self._ask(operation, request, repeats=True)

    async def write(self, operation: str, request: Mapping[str, Any]) -> Reply:
        """The answer to a write. Raises `StoreUnavailable` if nobody knows whether it happened."""
        return await self._ask(operation, request, repeats=False)

    def tries(self) -> Tries:
        """The tries at something that takes several requests."""
        return Tries(self._chance)

    async def close(self) -> None:
        """End the connections."""
        await self._wire.close()

    async def _ask(self, operation: str, request: Mapping[str, Any], *, repeats: bool) -> Reply:
        asked = {**request, "ReturnConsumedCapacity": "INDEXES"} if self._meter else request
        headers, body = {**_HEADERS, "X-Amz-Target": f"{_VERSION}.{operation}"}, _encode(asked)
        tries, signed = self.tries(), 0
        while True:
            try:
                answer = await self._wire.send("POST", "/", headers, body)
                if answer.status == 200:
                    return self._replied(operation, answer)
                fault = _fault_in(answer)
            except NotSent as error:
                await tries.again(f"{operation}: {error}")
                continue
            except Lost as error:
                if not repeats:
                    await self._hand_back(operation, error)
                await tries.again(f"{operation}: {error}")
                continue
            if fault.type == _REFUSED:
                if self._meter is not None:
                    self._meter(operation, None)
                return Reply(item=fault.item, refused=True)
            signed += await self._refused(operation, fault, signed)
            await tries.again(f"{operation}: {fault}")

    async def _refused(self, operation: str, fault: _Fault, signed: int) -> bool:
        """Whether what was refused, and not done, is signed again; raises if it is given up."""
        if fault.type in _THROTTLED:
            return False
        if fault.type in _OURS:
            raise StoreError(f"{operation}: {fault}")
        if signed >= _SIGN_AGAIN or fault.type not in _SKEWED | _EXPIRED:
            raise StoreUnavailable(f"{operation}: {fault}")
        if fault.type in _EXPIRED:
            await self._wire.renew()
        return True

    def _replied(self, operation: str, answer: Answer) -> Reply:
        """The answer to a request that was carried out. Raises `Lost` if it is damaged."""
        told = answer.headers.get("x-amz-crc32")
        if told is not None and told != str(zlib.crc32(answer.body)):
            raise Lost("what DynamoDB answered was damaged on its way")
        try:
            reply = _reply(answer.body)
        except msgspec.MsgspecError as error:
            raise Lost(f"what answers is not DynamoDB ({error})") from error
        self._lost = 0
        if self._meter is not None and reply.consumed_capacity is not None:
            self._meter(operation, reply.consumed_capacity)
        return reply

    async def _hand_back(self, operation: str, error: Lost) -> None:
        """Say that nobody knows what became of a write, later the longer that is so of all."""
        self._lost += 1
        await pause(self._chance, self._lost)
        raise StoreUnavailable(f"{operation}: {error}") from error


def _fault_in(answer: Answer) -> _Fault:
    """The error in an answer. Raises `Lost` for one that says nothing of what was done."""
    if answer.status >= 500:
        raise Lost(f"DynamoDB fails ({answer.status})")
    try:
        fault = _fault(answer.body)
    except msgspec.MsgspecError as error:
        raise Lost(f"what answers is not DynamoDB ({answer.status})") from error
    return msgspec.structs.replace(fault, type=fault.type.rpartition("#")[2])
