"""A queue service of our own, in the time of the event loop, which fails as it is told.

It keeps what SQS promises and no more: at least once, in no order, hidden while it is worked on.
It is asked through the same seam as the real one (`rewake.aws.client.Asks`).
"""

from __future__ import annotations

import asyncio
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rewake.aws.client import TRIES
from rewake.aws.queue import Queue
from rewake.aws.wire import TIMEOUT
from rewake.errors import TransportUnavailable
from rewake.records import Millis

LONGEST_HIDDEN = 12 * 3600
"""The most seconds for which a message is hidden after it was received, with all that is added."""
LIMIT = 262_144
"""Bytes of a request that sends: what the strictest service takes."""
REFUSED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no message may have: the characters that no XML document has."""


@dataclass
class Held:
    """A message in a queue. `visible`: from when on it is given out, in the loop's time."""

    id: str
    body: str
    visible: float
    sent: float
    notes: Mapping[str, Any]
    times: int = 0
    handle: str = ""
    taken: float = 0.0
    """When it was received last, in the loop's time."""


@dataclass
class Faults:
    """What goes wrong: each by how often it still does."""

    throttled: int = 0
    unanswered: int = 0
    """Requests that are carried out, and whose answer is lost."""
    refused: int = 0
    """Messages of batches that are refused alone."""
    doubled: int = 0
    lost: int = 0
    late: list[float] = field(default_factory=list)
    """By how many seconds the next messages come late."""


class FakeSqs:
    """All queues of an account. `asked` counts the requests by action, `sent` the messages."""

    def __init__(self, now: Callable[[], Millis], *names: str) -> None:
        self._now = now
        self.queues: dict[str, list[Held]] = {name: [] for name in names}
        self.asked: Counter[str] = Counter()
        self.sent: list[tuple[float, str, int]] = []
        self.faults = Faults()
        self.down = False
        self.delay = 0
        """By how many seconds the queues delay messages that do not say."""
        self._ids = map(str, itertools.count())

    def queue(self, name: str) -> Queue:
        """A queue, as the runtime uses it."""
        return Queue(self, name)

    async def close(self) -> None:
        """There are no connections."""

    async def json(
        self, action: str, body: Mapping[str, Any], *, timeout: float = TIMEOUT, tries: int = TRIES
    ) -> dict[str, Any]:
        """Carry out an action, tried again as the client does."""
        for left in range(tries)[::-1]:
            self.asked[action] += 1
            try:
                return await self._once(action, body, timeout)
            except TransportUnavailable as error:
                if not left or not error.passes:
                    raise
                await asyncio.sleep(0.05)
        raise AssertionError

    async def _once(self, action: str, body: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        await asyncio.sleep(0.005)
        faults = self.faults
        if self.down:
            raise TransportUnavailable("sqs cannot be reached", passes=True)
        if faults.throttled:
            faults.throttled -= 1
            raise TransportUnavailable("throttled", code="RequestThrottled", passes=True)
        if action == "GetQueueUrl":
            if body["QueueName"] not in self.queues:
                raise TransportUnavailable("no queue", code="QueueDoesNotExist")
            return {"QueueUrl": f"https://sqs.test/{body['QueueName']}"}
        queue = self.queues[body["QueueUrl"].rpartition("/")[2]]
        if action == "GetQueueAttributes":
            waiting = sum(each.visible <= self._time() for each in queue)
            return {"Attributes": {"ApproximateNumberOfMessages": str(waiting)}}
        if action == "ReceiveMessage":
            return await self._receive(queue, body)
        act = {
            "SendMessageBatch": self._send,
            "DeleteMessageBatch": self._delete,
            "ChangeMessageVisibilityBatch": self._hide,
        }
        done = act[action](queue, body["Entries"])
        if faults.unanswered:
            faults.unanswered -= 1
            raise TransportUnavailable("the answer is lost", passes=True)
        return done

    def _delete(self, queue: list[Held], entries: list[dict[str, Any]]) -> dict[str, Any]:
        handles = {each["ReceiptHandle"] for each in entries}
        queue[:] = [each for each in queue if each.handle not in handles]
        return {}

    def _hide(self, queue: list[Held], entries: list[dict[str, Any]]) -> dict[str, Any]:
        waits = {each["ReceiptHandle"]: each["VisibilityTimeout"] for each in entries}
        for each in queue:
            until = self._time() + waits.get(each.handle, math.inf)
            if until <= each.taken + LONGEST_HIDDEN:  # else only this one is refused
                each.visible = until
        return {}

    def _send(self, queue: list[Held], entries: list[dict[str, Any]]) -> dict[str, Any]:
        assert 1 <= len(entries) <= 10
        if sum(map(_size, entries)) > LIMIT:
            raise TransportUnavailable("too long", code="BatchRequestTooLong")
        failed = []
        for entry in entries:
            if REFUSED.search(entry["MessageBody"]):
                failed.append({"Id": entry["Id"], "Code": "InvalidMessageContents"})
                continue
            if self.faults.refused:
                self.faults.refused -= 1
                failed.append({"Id": entry["Id"], "Code": "InternalError", "SenderFault": False})
                continue
            delay = entry.get("DelaySeconds", self.delay)
            assert 0 <= delay <= 900
            self.sent.append((self._time(), entry["MessageBody"], delay))
            if self.faults.lost:
                self.faults.lost -= 1
                continue
            late = self.faults.late.pop(0) if self.faults.late else 0.0
            twice = 1 + (self.faults.doubled > 0)
            self.faults.doubled -= twice - 1
            for _ in range(twice):
                at = self._time()
                notes = entry.get("MessageAttributes", {})
                made = Held(next(self._ids), entry["MessageBody"], at + delay + late, at, notes)
                queue.append(made)
        return {"Failed": failed} if failed else {}

    async def _receive(self, queue: list[Held], body: Mapping[str, Any]) -> dict[str, Any]:
        until = self._time() + body["WaitTimeSeconds"]
        if not body["WaitTimeSeconds"]:
            return {}  # only some of its servers are asked then, and none of them need have any
        while True:
            ready = [each for each in queue if each.visible <= self._time() + 1e-9]
            if ready or self._time() >= until:
                break
            await asyncio.sleep(0.05)
        taken = ready[::-1][: body["MaxNumberOfMessages"]]  # in no order that was promised
        for each in taken:
            each.times += 1
            each.handle = f"{each.id}/{each.times}"
            each.taken = self._time()
            each.visible = each.taken + body["VisibilityTimeout"]
        return {"Messages": [self._given(each) for each in taken]}

    def _given(self, held: Held) -> dict[str, Any]:
        sent = self._now() - int((self._time() - held.sent) * 1000)
        return {
            "MessageId": held.id,
            "Body": held.body,
            "ReceiptHandle": held.handle,
            "Attributes": {
                "ApproximateReceiveCount": str(held.times),
                "SentTimestamp": str(sent),
            },
            "MessageAttributes": held.notes,
        }

    def record(self, held: Held, hidden: float = 30.0) -> dict[str, Any]:
        """A message as Lambda gives it to a function, with which it is hidden from others."""
        held.times += 1
        held.handle = f"{held.id}/{held.times}"
        held.taken = self._time()
        held.visible = held.taken + hidden
        found = self._given(held)
        return {
            "messageId": found["MessageId"],
            "body": found["Body"],
            "receiptHandle": found["ReceiptHandle"],
            "attributes": found["Attributes"],
            "messageAttributes": {},
            "eventSource": "aws:sqs",
        }

    @staticmethod
    def _time() -> float:
        return asyncio.get_running_loop().time()


def _size(entry: Mapping[str, Any]) -> int:
    notes = entry.get("MessageAttributes", {}).items()
    said = sum(len(name) + len("String") + len(note["StringValue"]) for name, note in notes)
    return said + len(entry["MessageBody"].encode())
