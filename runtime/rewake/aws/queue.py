"""One SQS queue: what is sent, received, hidden for a while and deleted, in batches of ten."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from rewake.aws.client import TRIES, Asks
from rewake.errors import ConfigError, TransportUnavailable

T = TypeVar("T")

BATCH = 10
"""The most messages of one request."""
LARGEST = 262_144
"""The most bytes of a request that sends, of all its messages together."""
LONGEST_DELAY = 900
"""The most seconds by which a message can be delayed."""
LONGEST_POLL = 20
"""The most seconds that a request waits for a message."""
TARGET = "AmazonSQS"
"""What the actions of the service are prefixed with."""

_AT_ONCE = 16  # Batches of which something is asked at once.
_ANSWER = 5.0  # Seconds beyond a poll until it counts as failed.
_GONE = ("queuedoesnotexist", "nonexistentqueue", "invalidaddress")
_DENIED = ("accessdenied", "invalidclienttokenid", "signaturedoesnotmatch", "unrecognizedclient")


class Outgoing(NamedTuple):
    """A message to send: its text, and by how many seconds it is delayed."""

    body: str
    delay: int = 0
    notes: Mapping[str, str] = {}


class Letter(NamedTuple):
    """A message that was received, `times` so far. `handle` is of this receipt."""

    id: str
    body: str
    handle: str
    times: int
    sent: int
    """When it was sent, in milliseconds since the epoch."""
    notes: Mapping[str, str] = {}


class Queue:
    """A queue, by its URL or its name. All methods raise `TransportUnavailable`."""

    def __init__(self, asks: Asks, name: str) -> None:
        self.name = name
        self._asks = asks
        self._url = name if name.startswith(("http://", "https://")) else ""

    async def send(self, messages: Sequence[Outgoing]) -> list[Outgoing]:
        """Send messages, at most `BATCH`. Returns those that were not taken."""
        entries = [_entry(number, each) for number, each in enumerate(messages)]
        answer = await self._ask("SendMessageBatch", {"Entries": entries})
        return [messages[int(each["Id"])] for each in answer.get("Failed") or ()]

    async def receive(self, most: int, hidden: int, wait: int = LONGEST_POLL) -> list[Letter]:
        """Messages, at most `BATCH`, which others do not see for `hidden` seconds.

        It waits up to `wait` seconds for the first.
        """
        answer = await self._ask(
            "ReceiveMessage",
            {
                "MaxNumberOfMessages": most,
                "VisibilityTimeout": hidden,
                "WaitTimeSeconds": wait,
                "AttributeNames": ["ApproximateReceiveCount", "SentTimestamp"],
                "MessageAttributeNames": ["All"],
            },
            timeout=wait + _ANSWER,
            tries=1,  # what failed may have received some: they come back
        )
        return [_letter(each) for each in answer.get("Messages") or ()]

    async def hide(self, letters: Sequence[Letter], seconds: int) -> None:
        """Let others see these messages in so many seconds. Some may be gone already."""
        await self._ask_of("ChangeMessageVisibilityBatch", letters, {"VisibilityTimeout": seconds})

    async def delete(self, letters: Sequence[Letter]) -> None:
        """Delete messages. Those that could not be are received again."""
        await self._ask_of("DeleteMessageBatch", letters, {})

    async def attributes(self) -> dict[str, str]:
        """What the queue is set up with, and how much is in it."""
        answer = await self._ask("GetQueueAttributes", {"AttributeNames": ["All"]})
        found: dict[str, str] = answer.get("Attributes") or {}
        return found

    async def waiting(self) -> int:
        """About how many messages wait to be received; of those that are delayed, none."""
        names = ["ApproximateNumberOfMessages"]
        answer = await self._ask("GetQueueAttributes", {"AttributeNames": names})
        return int((answer.get("Attributes") or {}).get(names[0], 0))

    async def close(self) -> None:
        """Close the connections."""
        await self._asks.close()

    async def _ask_of(
        self, action: str, letters: Sequence[Letter], more: Mapping[str, Any]
    ) -> None:
        """Ask for something of messages, some batches at once: of many, the last cannot wait until
        all others are done, nor does one batch that fails keep any other from it.
        """
        few = asyncio.Semaphore(_AT_ONCE)

        async def ask(part: Sequence[Letter]) -> None:
            handles = enumerate(each.handle for each in part)
            entries = [{"Id": str(n), "ReceiptHandle": handle, **more} for n, handle in handles]
            async with few:
                await self._ask(action, {"Entries": entries})

        asked = await asyncio.gather(*map(ask, batched(letters)), return_exceptions=True)
        for each in asked:
            if isinstance(each, BaseException):
                raise each

    async def _ask(
        self, action: str, body: Mapping[str, Any], *, timeout: float = 0, tries: int = TRIES
    ) -> dict[str, Any]:
        try:
            if not self._url:
                found = await self._asks.json("GetQueueUrl", {"QueueName": self.name})
                self._url = found["QueueUrl"]
            asked = {"QueueUrl": self._url, **body}
            if timeout:
                return await self._asks.json(action, asked, timeout=timeout, tries=tries)
            return await self._asks.json(action, asked, tries=tries)
        except TransportUnavailable as error:
            kind = error.code.lower()
            if any(each in kind for each in _GONE):
                told = f"there is no queue {self.name} in this region and account: make it"
            elif any(each in kind for each in _DENIED):
                told = f"{action} on the queue {self.name} is not allowed to these credentials"
            else:
                raise
            raise TransportUnavailable(told, code=error.code) from error


async def check_queues(*queues: Queue) -> None:
    """Raise `ConfigError`, in one line, for a queue that is not there or does not fit."""

    async def wrong(queue: Queue) -> str:
        try:
            found = await queue.attributes()
        except TransportUnavailable as error:
            return str(error)
        if found.get("FifoQueue") == "true":
            return f"the queue {queue.name} is FIFO, and delays no single message: use another"
        return ""

    if told := "; ".join(filter(None, await asyncio.gather(*map(wrong, queues)))):
        raise ConfigError(told)


def batched(items: Sequence[T]) -> Iterator[tuple[T, ...]]:
    """The items in parts of at most `BATCH`."""
    rest = iter(items)
    while part := tuple(itertools.islice(rest, BATCH)):
        yield part


def fitting(letters: Sequence[Letter]) -> Iterator[list[Letter]]:
    """The letters in parts, each of which one request can send."""
    part, size = list[Letter](), 0
    for each in letters:
        more = len(each.body.encode(errors="surrogatepass"))
        if part and (len(part) == BATCH or size + more > LARGEST):
            yield part
            part, size = [], 0
        part.append(each)
        size += more
    if part:
        yield part


def _entry(number: int, message: Outgoing) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "Id": str(number),
        "MessageBody": message.body,
        "DelaySeconds": message.delay,  # also 0: else it is delayed as the queue is set to
    }
    if message.notes:
        entry["MessageAttributes"] = {
            name: {"DataType": "String", "StringValue": text}
            for name, text in message.notes.items()
        }
    return entry


def _letter(found: Mapping[str, Any]) -> Letter:
    facts = found.get("Attributes") or {}
    notes = found.get("MessageAttributes") or {}
    return Letter(
        found["MessageId"],
        found["Body"],
        found["ReceiptHandle"],
        int(facts.get("ApproximateReceiveCount", 1)),
        int(facts.get("SentTimestamp", 0)),
        {name: each.get("StringValue", "") for name, each in notes.items()},
    )
