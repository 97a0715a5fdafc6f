"""AWS Lambda as a deployment: the handler under the real runtime client, frozen between events.

A schedule calls the sweep, far more often than a minute, for tests wait for it. An instance is what
other deployments call a server; a deploy retires those that are there, and new ones are started.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.end_to_end.places import KEYS, LEASE, PAUSE, Place, a_file
from tests.support.functions import Failed, Function, Instance

HANDLER = "handlers.aws_lambda.handler"
INSTANCES = 12
"""The concurrency that is reserved: what is more waits."""
_SWEEP = 0.3


class _Bounded(Function):
    """A function with bounded concurrency, whose instances can be retired."""

    def __init__(self, environ: dict[str, object]) -> None:
        super().__init__(HANDLER, environ, timeout=30.0)
        self._room = threading.BoundedSemaphore(INSTANCES)

    @contextmanager
    def _instance(self) -> Iterator[Instance]:
        with self._room, super()._instance() as instance:
            yield instance

    def retire(self) -> None:
        """Let no instance that is there be used again once it has answered."""
        with self._lock:
            idle, self._idle = self._idle, []
        for each in idle:
            each.kill()


@dataclass
class Lambda:
    """A function on data in a place."""

    folder: Path
    dispatcher: str = "http"
    place: Place = a_file
    wait: float = 0.0

    def __post_init__(self) -> None:
        self.url = ""
        self.outside = self.folder / "outside"
        self._stack = ExitStack()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        try:
            given = self._stack.enter_context(self.place(self.folder))
            settings = {
                "app": "tests.end_to_end.app",
                "dispatcher": self.dispatcher,
                "consume": "no",  # Lambda brings the messages
                "lease": 3 * LEASE,
                "encryption_keys": KEYS,
                "test_outside": self.outside,
                **given,
            }
            environ = {f"REWAKE_{name.upper()}": value for name, value in settings.items()}
            self._function = self._stack.enter_context(_Bounded(environ))
            self.url = self._function.url
            threads = [threading.Thread(target=self._sweep)]
            if queue := given.get("queue"):
                threads += [threading.Thread(target=self._bring, args=(queue,)) for _ in range(4)]
            for each in threads:
                each.start()
                self._stack.callback(each.join)
            self._stack.callback(self._over.set)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def pause(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(PAUSE)
        finally:
            with suppress(ProcessLookupError):  # it took too long
                os.kill(pid, signal.SIGCONT)

    def roll(self) -> None:
        self._function.retire()
        time.sleep(1.0)  # under load, by new instances
        self._function.retire()

    def stored(self) -> bytes:
        return b"".join(each.read_bytes() for each in self.folder.glob("rewake.db*"))

    def logs(self) -> str:
        return self._function.logs()

    def _sweep(self) -> None:
        """The schedule: its event is that of the Scheduler."""
        while not self._over.wait(_SWEEP):
            with suppress(Failed):
                self._function.invoke({"rewake": "sweep"})

    def _bring(self, queue: str) -> None:
        """The event source mapping: what is in the queue is brought in batches."""
        import boto3  # noqa: PLC0415

        sqs = boto3.session.Session().client("sqs")
        url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        asked = {"QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 30}
        while not self._over.is_set():
            found = sqs.receive_message(**asked, WaitTimeSeconds=1, AttributeNames=["All"])
            if letters := found.get("Messages"):
                self._hand_on(sqs, url, letters)
        sqs.close()

    def _hand_on(self, sqs: Any, url: str, letters: list[dict[str, Any]]) -> None:
        """Messages of which it was not said that they are to come again are done."""
        event = {"Records": [_record(each) for each in letters]}
        try:
            failures = self._function.invoke(event)["batchItemFailures"]
        except Failed:
            return  # all of them come again, when their visibility is over
        again = {each["itemIdentifier"] for each in failures}
        for each in letters:
            if each["MessageId"] not in again:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])


def _record(letter: dict[str, Any]) -> dict[str, Any]:
    """A message, as the event of a queue has it."""
    return {
        "messageId": letter["MessageId"],
        "receiptHandle": letter["ReceiptHandle"],
        "body": letter["Body"],
        "attributes": letter.get("Attributes", {}),
        "eventSource": "aws:sqs",
    }
