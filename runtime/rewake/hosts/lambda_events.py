"""The events by which AWS Lambda brings messages, each as a pure function of an engine.

    handle_sqs       a batch of a queue: answers which messages are to come again
    handle_invoke    a message of the Lambda dispatcher
    handle_schedule  once a minute: sends what is due before the next one, and checks the rest

A host calls these between opening an engine, whose dispatcher takes nothing itself
(`REWAKE_CONSUME=no`), and letting its process stand still. Each returns when all its work is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from rewake.aws.queue import Letter, Queue
from rewake.dispatchers.dead_letters import DeadLetterQueue
from rewake.dispatchers.dispatcher import Closing
from rewake.dispatchers.receiving import TRIES, Again, Done, Fate, Park, Receiver, seconds
from rewake.dispatchers.routes import every_dead_letters
from rewake.engine.engine import Engine
from rewake.errors import InvalidInput, RewakeError
from rewake.records import Invocation, Millis
from rewake.signing.envelopes import NAME, Refusal, written

log = logging.getLogger("rewake.dispatcher")

AHEAD: Millis = 90_000
"""How far ahead a sweep sends: a minute until the next one, and half of one for its being late."""

Event = Mapping[str, Any]


def is_batch(event: Any) -> bool:
    """Whether this event is a batch of a queue."""
    records = event.get("Records") if isinstance(event, Mapping) else ()
    some = [each for each in records or () if isinstance(each, Mapping)]
    return any(each.get("eventSource") == "aws:sqs" for each in some)


def is_message(event: Any) -> bool:
    """Whether this event is a message of the Lambda dispatcher."""
    return isinstance(event, Mapping) and NAME in event and "message" in event


def is_schedule(event: Any) -> bool:
    """Whether this event is that of a schedule: of the Scheduler, or a rule of EventBridge."""
    if not isinstance(event, Mapping):
        return False
    return event.get(NAME) == "sweep" or event.get("detail-type") == "Scheduled Event"


async def handle_sqs(engine: Engine, event: Event) -> dict[str, Any]:
    """Act on the messages of a batch, side by side. Returns those that are not done.

    These come again when their visibility is over, which is set here to when they are of use.
    """
    receiver, records = _receiver(engine), event["Records"]
    letters = [_letter(each) for each in records]
    queues = [_queue_of(engine, each.get("eventSourceARN") or "") for each in records]
    pairs = zip(queues, letters, strict=True)
    done = await asyncio.gather(*(_carry(receiver, *pair) for pair in pairs))
    left = [each.id for each, is_done in zip(letters, done, strict=True) if not is_done]
    return {"batchItemFailures": [{"itemIdentifier": each} for each in left]}


async def handle_invoke(engine: Engine, event: Event) -> dict[str, Any]:
    """Act on one message. What is to come again is sent again.

    Raises `InvalidInput` for what cannot be handled and not be parked: Lambda tries that twice more
    and then puts it where the function is configured to.
    """
    receiver = _receiver(engine)
    found = receiver.read(event)
    fate = await _fate(receiver, found, TRIES)  # nobody counts here
    if isinstance(fate, Park):
        queue = _queue_of(engine)
        if queue is not None and await queue.park(written(event), fate.reason):
            return {}
        raise InvalidInput(fate.reason)
    if isinstance(fate, Again) and isinstance(found, Invocation):
        at = engine.services.clock.now() + fate.wait
        again = msgspec.structs.replace(found, not_before=at)
        await engine.services.dispatcher.dispatch([again])
    return {}


async def handle_schedule(engine: Engine, event: Event, ahead: Millis = AHEAD) -> dict[str, Any]:  # noqa: ARG001
    """Check all that is due, and send what will be before the next such event."""
    await engine.sweep(ahead)
    return {}


def _receiver(engine: Engine) -> Receiver:
    services = engine.services
    return Receiver(engine.take, services.secret, services.clock)


def _queue_of(engine: Engine, arn: str = "") -> DeadLetterQueue | None:
    """What parks messages of the queue of this ARN, which may be that of a route."""
    every = every_dead_letters(engine.services.dispatcher)
    found = [each for each in every if isinstance(each, DeadLetterQueue)]
    name = arn.rpartition(":")[2]
    same = [each for each in found if each.origin.name.rpartition("/")[2] == name]
    return next(iter(same or ([] if name else found)), None)


async def _carry(receiver: Receiver, queue: DeadLetterQueue | None, letter: Letter) -> bool:
    """Whether a message is done, or parked. Raises nothing: else all of its batch came again."""
    try:
        return await _carried(receiver, queue, letter)
    except Exception:
        log.exception("a message of a batch failed; it comes again")
        return False


async def _carried(receiver: Receiver, queue: DeadLetterQueue | None, letter: Letter) -> bool:
    fate = await _fate(receiver, receiver.read(letter.body), letter.times)
    if isinstance(fate, Done):
        return True
    if isinstance(fate, Park):
        return queue is not None and await queue.park(letter.body, fate.reason)
    if queue is not None:
        await _hide(queue.origin, letter, fate.wait)
    return False


async def _fate(receiver: Receiver, found: Invocation | Refusal, count: int) -> Fate:
    try:
        return await receiver.take(found, count)
    except Closing:
        return Again(0)


async def _hide(queue: Queue, letter: Letter, wait: Millis) -> None:
    with suppress(RewakeError):  # else it comes again when the visibility of its batch is over
        await queue.hide([letter], seconds(wait))


def _letter(record: Event) -> Letter:
    facts = record.get("attributes") or {}
    count, sent = facts.get("ApproximateReceiveCount", 1), facts.get("SentTimestamp", 0)
    return Letter(
        record["messageId"], record["body"], record["receiptHandle"], int(count), int(sent)
    )
