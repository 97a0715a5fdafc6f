"""A queue carries the work: in virtual time, by processes that live and by a function."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from rewake import now, sleep, task, wait_for_approval, workflow
from rewake.authoring.approval import Approval, Decision
from rewake.engine.approvals import Approvals
from rewake.records import Invocation
from rewake.signing.envelopes import enveloped
from rewake.signing.secret import Secret
from tests.support.emptied import emptied
from tests.support.queued import Account, Function
from tests.support.virtual import EPOCH, SECRET, Bench, die, virtually

ran: Counter[str] = Counter()
_emptied = emptied(ran)
YEAR = 365 * 86_400.0


@task
async def work(name: str, seconds: float = 0.0) -> str:
    ran[name] += 1
    await asyncio.sleep(seconds)
    return name


@task(retries=3, delay=20, jitter=0)
async def flaky(name: str) -> str:
    ran[name] += 1
    if ran[name] < 2:
        raise ValueError("not yet")
    return name


@workflow
async def chain(n: int) -> int:
    for number in range(n):
        await work(str(number))
    return n


@workflow
async def sleeper(seconds: float) -> float:
    begun = now()
    await sleep(seconds)
    return (now() - begun).total_seconds()


@workflow
async def large(text: str) -> int:
    return len(await work(text))


@workflow
async def mixed() -> list[str]:
    first = await work("a")
    await sleep(2)
    answer = await wait_for_approval()
    return [first, await flaky("b"), str(answer.approved)]


@workflow
async def bounded() -> str:
    async with asyncio.timeout(60):
        return await work("quick")


MEMBERS = [chain, sleeper, large, mixed, bounded, work, flaky]


def queued(
    body: Callable[[Bench, Account], Awaitable[None]], account: Account | None = None, **more: Any
) -> None:
    """Run `body` with one process whose messages go through a queue."""
    account = account or Account()

    async def with_account(bench: Bench) -> None:
        await body(bench, account)

    virtually(MEMBERS, with_account, carrier=account, **more)


def called(body: Callable[[Bench, Account], Awaitable[None]], **more: Any) -> None:
    """The same where no process lives: a function is called."""
    account = Account(consumes=False)

    async def with_function(bench: Bench) -> None:
        function = Function(bench.engine, account)
        function.open()
        await body(bench, account)
        await function.close()

    virtually(MEMBERS, with_function, carrier=account, sweep=False, **more)


both = pytest.mark.parametrize("drive", [queued, called], ids=["container", "function"])


def test_a_sequential_task_costs_one_message() -> None:
    """The process that delivers an outcome goes on with the run, so a task is one message."""

    async def body(bench: Bench, account: Account) -> None:
        assert await bench.run("chain", n=50) == 50
        # One starts the run, each task has one.
        assert len(account.sqs.sent) == 51

    queued(body)


@both
@pytest.mark.parametrize("seconds", [0.2, 1.0, 61.5, 14 * 60 + 59, 15 * 60 + 1, 3600, YEAR])
def test_a_sleep_ends_when_it_should(drive: Callable[..., None], seconds: float) -> None:
    """Whether a queue keeps its message all the time or a sweep sends it: never early, not late.

    Where it is long nobody lives in the middle of it, and no message is under way.
    """

    async def body(bench: Bench, account: Account) -> None:
        begun = bench.seconds
        header = await bench.start("sleeper", seconds=seconds)
        if seconds > 7200:
            await asyncio.sleep(60)
            assert not account.waiting
            bench.loop.seconds += seconds - 600
        outcome = await bench.result(header.run, wait=seconds + 100)

        took = bench.seconds - begun
        assert outcome >= seconds
        assert seconds <= took < seconds + 1

    drive(body)


@both
def test_a_sleep_costs_one_message(drive: Callable[..., None]) -> None:
    """What was sent ahead is sent by nobody else, and a sleep of a year is one message as well."""

    async def body(bench: Bench, account: Account) -> None:
        for seconds in (30.0, 600.0, 4000.0):
            before = len(account.sqs.sent)
            await bench.run("sleeper", seconds=seconds)
            assert len(account.sqs.sent) - before == 2  # one starts the run

    drive(body)


@both
def test_a_message_that_was_sent_ahead_is_lost(drive: Callable[..., None]) -> None:
    """The due index is the net: the run wakes all the same, a grace or a minute late."""

    async def body(bench: Bench, account: Account) -> None:
        header = await bench.start("sleeper", seconds=100)
        await asyncio.sleep(10)
        account.waiting.clear()
        assert await bench.result(header.run) < 100 + 66

    drive(body)


@both
def test_messages_are_lost_doubled_late_refused(drive: Callable[..., None]) -> None:
    """Whatever a queue does to messages, a run of tasks, sleeps and an approval ends as it would."""

    async def body(bench: Bench, account: Account) -> None:
        faults = account.sqs.faults
        for fault in ("throttled", "unanswered", "refused", "doubled", "lost"):
            setattr(faults, fault, 2)
            faults.late = [3.0, 0.0, 1.0]
            header = await bench.start("mixed")
            while not (waits := await _open(bench, header.run)):
                await asyncio.sleep(1)
            await Approvals(bench.engine).decide(header.run, waits, Approval(Decision.APPROVED))
            assert await bench.result(header.run) == ["a", "b", "True"]
            assert (ran["a"], ran["b"]) == (1, 2), fault
            ran.clear()

    drive(body)


async def _open(bench: Bench, run: str) -> str:
    found = await bench.engine.services.waits.approvals(await bench.engine.get(run))
    return found[0].entry.key if found else ""


def test_a_process_dies_under_a_task() -> None:
    """Its message comes back and meets a live lease, so it is put back, and not deleted; another
    process takes it when the lease is over.
    """

    async def body(bench: Bench, account: Account) -> None:
        header = await bench.start("bounded")
        while not ran["quick"]:
            await asyncio.sleep(0.05)
        assert len(account.waiting) >= 1

    queued(body)


def test_large_arguments_are_left_out() -> None:
    """A message stays small, whatever a task is called with: who takes it reads the history."""

    async def body(bench: Bench, account: Account) -> None:
        for size in (10, 20_000, 31_000, 300_000):
            assert await bench.run("large", text="x" * size) == size
        assert max(len(body) for _, body, _ in account.sqs.sent) < 25_000

    queued(body)


def test_messages_share_requests() -> None:
    """Runs that go on at one moment send their messages in requests of ten."""

    async def body(bench: Bench, account: Account) -> None:
        await asyncio.gather(*(bench.run("chain", n=3) for _ in range(100)))
        assert len(account.sqs.sent) == 400
        assert account.sqs.asked["SendMessageBatch"] < 100

    queued(body)


@both
def test_what_nobody_signed_is_parked(drive: Callable[..., None]) -> None:
    """A forged message is never acted on: it is parked, with the reason, and holds up no other."""
    forged = enveloped(Secret("somebody else's secret"), Invocation("r1"), EPOCH)
    newer = enveloped(SECRET, Invocation("r1"), EPOCH).replace('"rewake":1', '"rewake":2')
    reasons = {"not json": "no message", forged: "signature", newer: "newer"}

    async def body(bench: Bench, account: Account) -> None:
        queue = account.sqs.queue("work")
        for each in reasons:
            await account.sqs.json(
                "SendMessageBatch",
                {"QueueUrl": "/work", "Entries": [{"Id": "0", "MessageBody": each}]},
            )
        assert await bench.run("chain", n=2) == 2
        await asyncio.sleep(60)
        assert not account.waiting
        shown, more = await bench.engine.services.dispatcher.dead_letters.page(10)
        assert not more
        assert len(shown) == 3
        for each in shown:
            text = next(text for text in reasons if each.body in text or each.run in text)
            assert reasons[text] in each.reason

    drive(body)
