"""What AWS Lambda brings, as events, in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rewake import RetryAfter, sleep, task, workflow
from rewake.clock import Clock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.dispatchers.receiving import LONGEST_WAIT, Again, Done, Receiver
from rewake.dispatchers.routes import Router
from rewake.dispatchers.sqs import SqsDispatcher
from rewake.errors import InvalidInput, TransportUnavailable
from rewake.hosts.lambda_events import (
    AHEAD,
    handle_invoke,
    handle_schedule,
    handle_sqs,
    is_batch,
    is_message,
    is_schedule,
)
from rewake.records import Invocation
from rewake.signing.envelopes import enveloped
from rewake.signing.secret import Secret
from rewake.testing.clock import EPOCH
from tests.support.emptied import emptied
from tests.support.queued import DEAD, Account, Function
from tests.support.sqs import FakeSqs, Held
from tests.support.virtual import SECRET, Bench, virtually

ran: Counter[str] = Counter()
_emptied = emptied(ran)


@task
async def work(seconds: float) -> str:
    ran["work"] += 1
    await asyncio.sleep(seconds)
    return "done"


@task(retries=2)
async def patient() -> str:
    ran["patient"] += 1
    if ran["patient"] == 1:
        raise RetryAfter(3000)
    return "done"


@workflow
async def once(seconds: float) -> str:
    return await work(seconds)


@workflow
async def again() -> str:
    return await patient()


@workflow
async def nap(seconds: float) -> None:
    await sleep(seconds)


MEMBERS = [once, again, nap, work, patient]


def called(body: Callable[[Bench, Account], Awaitable[None]]) -> None:
    """Run `body` with a function's engine, which neither sweeps nor takes messages by itself."""
    account = Account(consumes=False)

    async def with_account(bench: Bench) -> None:
        await body(bench, account)

    virtually(MEMBERS, with_account, carrier=account, sweeps=False)


def batch(account: Account) -> dict[str, Any]:
    """An event with all messages that can be seen now."""
    now = asyncio.get_running_loop().time()
    seen = [each for each in account.waiting if each.visible <= now]
    return {"Records": [account.sqs.record(each) for each in seen]}


def test_events_are_told_apart() -> None:
    """Each event is of one kind, and a request over HTTP of none."""
    records = {"Records": [{"eventSource": "aws:sqs"}]}
    message = json.loads(enveloped(SECRET, Invocation("r1"), EPOCH))
    rule = {"source": "aws.events", "detail-type": "Scheduled Event"}
    kinds = (is_batch, is_message, is_schedule)

    assert [kind(records) for kind in kinds] == [True, False, False]
    assert [kind(message) for kind in kinds] == [False, True, False]
    assert [kind({"rewake": "sweep"}) for kind in kinds] == [False, False, True]
    assert [kind(rule) for kind in kinds] == [False, False, True]
    others: list[Any] = [{"version": "2.0", "requestContext": {}}, {"Records": []}, [], None, ""]
    for other in others:
        assert [kind(other) for kind in kinds] == [False, False, False]


def test_a_batch_says_which_messages_are_done() -> None:
    """One that meets the live lease of another process comes again, when that lease is over."""

    async def body(bench: Bench, account: Account) -> None:
        await bench.start("once", seconds=10.0)
        await handle_sqs(bench.engine, batch(account))
        account.waiting.pop(0)  # Lambda deletes the one that started the run
        event = batch(account)
        first = asyncio.ensure_future(handle_sqs(bench.engine, event))
        await asyncio.sleep(1)
        other = bench.another()
        other.open(sweep=False)

        answer = await handle_sqs(other, event)

        [message] = account.waiting
        assert answer == {"batchItemFailures": [{"itemIdentifier": message.id}]}
        assert 0 < message.visible - bench.seconds < 10
        assert await first == {"batchItemFailures": []}
        assert await handle_sqs(other, event) == {"batchItemFailures": []}
        assert ran["work"] == 1
        await other.close()

    called(body)


def test_what_cannot_be_handled_is_parked_and_done() -> None:
    """A message that nobody can read holds up no batch."""

    async def body(bench: Bench, account: Account) -> None:
        await bench.start("once", seconds=0.1)
        event = batch(account)
        event["Records"].append({**event["Records"][0], "messageId": "bad", "body": "nonsense"})
        assert await handle_sqs(bench.engine, event) == {"batchItemFailures": []}
        [dead] = account.sqs.queues[DEAD]
        assert dead.body == "nonsense"

    called(body)


def test_what_nobody_foresaw_about_a_message_fails_that_one_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch that failed as a whole would bring all of it again, when its visibility is over."""

    async def body(bench: Bench, account: Account) -> None:
        once = account.sqs._once

        async def oddly(action: str, asked: Any, timeout: float) -> dict[str, Any]:
            if asked.get("QueueUrl", "").endswith(DEAD):
                raise KeyError(action)
            return await once(action, asked, timeout)

        header = await bench.start("once", seconds=0.1)
        monkeypatch.setattr(account.sqs, "_once", oddly)
        event = batch(account)
        event["Records"].append({**event["Records"][0], "messageId": "bad", "body": "nonsense"})
        answer = await handle_sqs(bench.engine, event)
        assert answer == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
        assert (await bench.engine.get(header.run)).epoch == 1

    called(body)


def test_a_message_is_put_back_into_the_queue_that_it_came_from() -> None:
    """Also if that is the queue of a route: it is hidden there, and parked beside it."""
    sqs = FakeSqs(lambda: EPOCH)
    names = ("work", "work-dead", "gpu", "gpu-dead")

    def carrier(clock: Clock) -> Router:
        sqs.queues.update({name: [] for name in names})
        made = [
            SqsDispatcher(
                sqs.queue(f"https://sqs.test/{a}"), sqs.queue(b), SECRET, clock, consumes=False
            )
            for a, b in (names[:2], names[2:])
        ]
        return Router(made[0], {"gpu": made[1]})

    async def body(bench: Bench) -> None:
        dispatcher = bench.engine.services.dispatcher
        at = bench.engine.services.clock.now() + 100_000
        early = enveloped(SECRET, Invocation("r1", "k", tag="gpu", not_before=at), EPOCH)
        for text in (early, "nonsense"):
            sqs.queues["gpu"].append(Held(text[:9], text, bench.seconds, bench.seconds, {}))
        arn = {"eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:gpu"}
        event = {"Records": [sqs.record(each) | arn for each in sqs.queues["gpu"]]}

        answer = await handle_sqs(bench.engine, event)

        assert answer == {"batchItemFailures": [{"itemIdentifier": early[:9]}]}
        assert sqs.queues["gpu"][0].visible == pytest.approx(bench.seconds + 100, abs=2)
        assert [each.body for each in sqs.queues["gpu-dead"]] == ["nonsense"]
        assert sqs.queues["work-dead"] == []
        letters = dispatcher.dead_letters
        assert letters is not None
        [shown], more = await letters.page(10)
        assert (shown.body, more) == ("nonsense", False)
        assert await letters.find(shown.id) is not None
        assert await letters.redrive(shown.id) == 1
        assert sqs.queues["gpu"][-1].body == "nonsense"

    virtually(MEMBERS, body, carrier=carrier, sweeps=False)


def test_an_invocation_is_a_message() -> None:
    """It is acted on before the function returns; written anew as JSON it is still genuine."""

    async def body(bench: Bench, account: Account) -> None:
        header = await bench.start("once", seconds=2.0)
        for _ in range(2):
            message = json.loads(account.waiting.pop(0).body)
            assert await handle_invoke(bench.engine, dict(reversed(message.items()))) == {}
        assert await bench.result(header.run) == "done"
        assert ran["work"] == 1

    called(body)


def test_a_clock_that_is_behind_puts_no_message_off() -> None:
    """Who sends a message at once since it is waited for may be ahead of who receives it."""

    async def body(bench: Bench, account: Account) -> None:
        clock, came = bench.engine.services.clock, list[float]()

        async def handler(_: Invocation) -> None:
            came.append(bench.seconds)

        receiver, at = Receiver(handler, SECRET, clock), clock.now() + LONGEST_WAIT + 300
        assert await receiver.take(Invocation("r1", not_before=at)) == Done()
        assert came == [pytest.approx(2.3, abs=0.01)]
        assert isinstance(await receiver.take(Invocation("r1", not_before=at + 9_000)), Again)

    called(body)


def test_an_invocation_that_nobody_signed_is_parked() -> None:
    """Where there is a queue for it; without one, Lambda is told, which keeps what fails."""
    forged = json.loads(enveloped(Secret("of somebody else, and long"), Invocation("r1"), EPOCH))

    async def body(bench: Bench, account: Account) -> None:
        assert await handle_invoke(bench.engine, forged) == {}
        assert len(account.dead) == 1

    called(body)

    async def alone(bench: Bench) -> None:
        with pytest.raises(InvalidInput, match="signature"):
            await handle_invoke(bench.engine, forged)

    virtually(MEMBERS, alone, carrier=InProcessDispatcher)


def test_a_sweep_sends_what_is_due_before_the_next() -> None:
    """Each run once, with its exact moment, and none that a queue keeps already."""

    async def body(bench: Bench, account: Account) -> None:
        for seconds in (20.0, 880.0, 1000.0, 1060.0, 5000.0):
            await bench.start("nap", seconds=seconds)
        await handle_sqs(bench.engine, batch(account))
        assert [delay for *_, delay in account.sqs.sent if delay] == [20 - 1, 880 - 1]
        account.sqs.sent.clear()
        await asyncio.sleep(940)

        for _ in range(3):  # as of a schedule that is late, early, or comes twice
            await handle_schedule(bench.engine, {"rewake": "sweep"})
        sent = account.sqs.sent
        # The first two were sent before, and lost: they are overdue by far.
        assert sorted(delay for *_, delay in sent) == [0, 0, 59]
        await asyncio.sleep(60)
        await handle_schedule(bench.engine, {"rewake": "sweep"})
        # Nobody has taken those that are overdue, so they are sent again.
        assert sorted(delay for *_, delay in sent) == [0, 0, 0, 0, 59, 59]
        assert AHEAD > 60_000

    called(body)


def test_a_queue_that_does_not_answer_takes_no_function_its_time() -> None:
    """What cannot be sent is left to due times: a function that waited for that would be killed."""

    async def body(bench: Bench, account: Account) -> None:
        async def silent(*_: Any, **__: Any) -> dict[str, Any]:
            await asyncio.sleep(12)  # four tries of three seconds
            raise TransportUnavailable("sqs did not answer", passes=True)

        account.sqs.json = silent  # type: ignore[method-assign]
        await bench.engine.services.dispatcher.dispatch([Invocation(f"r{n}") for n in range(400)])
        begun = bench.seconds
        await bench.engine.rest(2)
        assert bench.seconds - begun == pytest.approx(2, abs=0.1)
        begun = bench.seconds
        await bench.engine.rest(0)
        assert bench.seconds - begun == pytest.approx(1, abs=0.1)

    called(body)


def test_a_long_wait_for_a_retry_ends_on_time() -> None:
    """Longer than a queue delays: a sweep sends it, and before that nothing is in the queue."""

    async def body(bench: Bench, account: Account) -> None:
        function = Function(bench.engine, account)
        function.open()
        header = await bench.start("again")
        await asyncio.sleep(600)
        assert not account.waiting
        assert await bench.result(header.run) == "done"
        assert 3000 <= bench.seconds < 3002
        await function.close()

    called(body)
