"""A queue carries the work: in virtual time, by processes that live and by a function."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from rewake import now, parallel, sleep, step, task, wait_for_approval, workflow
from rewake.authoring.approval import Approval, Decision
from rewake.aws.queue import Outgoing
from rewake.dispatchers import sqs
from rewake.engine import services
from rewake.engine.outside.approvals import Approvals
from rewake.records import Invocation
from rewake.signing.envelopes import enveloped
from rewake.signing.secret import Secret
from rewake.testing.clock import EPOCH
from tests.support.emptied import emptied
from tests.support.queued import QUEUE, Account, Function, cut_off
from tests.support.virtual import SECRET, Bench, virtually

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
async def wide(n: int, seconds: float) -> int:
    return len(await parallel(range(n), lambda number: work(str(number), seconds)))


@workflow
async def begins(seconds: float) -> float:
    return await sleeper(seconds)


@workflow
async def long_step() -> None:
    await step("long", partial(asyncio.sleep, 3000))


@workflow
async def then_long_step() -> None:
    await work("first")
    await step("long", partial(asyncio.sleep, 3000))


@workflow
async def bounded(seconds: float) -> str:
    async with asyncio.timeout(200):
        return await work("quick", seconds)


LONG = [long_step, then_long_step]
MEMBERS = [chain, wide, sleeper, begins, *LONG, large, mixed, bounded, work, flaky]


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

    virtually(MEMBERS, with_function, carrier=account, sweeps=False, **more)


both = pytest.mark.parametrize("drive", [queued, called], ids=["container", "function"])


def test_a_sequential_task_costs_one_message() -> None:
    """The process that delivers an outcome goes on with the run, so a task is one message.

    They are counted for the run that they are about.
    """

    async def body(bench: Bench, account: Account) -> None:
        assert await bench.run("chain", n=50) == 50
        # One starts the run, each task has one.
        assert len(account.sqs.sent) == 51
        page = await bench.engine.services.store.listed.page(limit=9, cursor=None)
        [run] = {view.run for _, view in page.items}
        assert account.bills.take(run) == {"sends": 51}

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
        assert seconds - 1e-6 <= took < seconds + 1

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
    """Whatever a queue does to messages, a run with a sleep and an approval ends as it would."""

    async def body(bench: Bench, account: Account) -> None:
        faults = account.sqs.faults
        for fault in ("throttled", "unanswered", "refused", "doubled", "lost"):
            setattr(faults, fault, 2)
            faults.late = [3.0, 0.0, 1.0]
            header = await bench.start("mixed")
            waits = await _asked(bench, header.run)
            await Approvals(bench.engine).decide(header.run, waits, Approval(Decision.APPROVED))
            assert await bench.result(header.run) == ["a", "b", "True"]
            assert (ran["a"], ran["b"]) == (1, 2), fault
            ran.clear()

    drive(body)


async def _asked(bench: Bench, run: str) -> str:
    """The approval that a run waits for, in the end."""
    while True:
        found = await bench.engine.services.waits.approvals(await bench.engine.get(run))
        if found:
            return found[0].entry.key
        await asyncio.sleep(1)


def test_a_message_that_meets_a_live_lease_is_put_back() -> None:
    """It is not acknowledged away: when its holder dies, it brings the task to another process,
    although no process sweeps.
    """

    async def body(bench: Bench, account: Account) -> None:
        header = await bench.start("bounded", seconds=8.0)
        await asyncio.sleep(1)
        assert ran["quick"] == 1
        other = bench.another()
        other.open(sweep=False)
        [message] = [each for each in account.waiting if '"key' in each.body.replace("\\", "")]
        message.visible = 0.0
        await asyncio.sleep(1)

        assert message in account.waiting
        assert message.visible > bench.seconds
        assert ran["quick"] == 1
        cut_off(bench.engine)
        bench.engine = other
        assert await bench.result(header.run, 60) == "quick"
        assert ran["quick"] == 2
        await other.close()

    queued(body, sweeps=False)


def test_a_message_that_is_a_day_early_is_hidden_for_long() -> None:
    """Its sender's clock was ahead. A queue hides none for more than twelve hours after it was
    received, and refuses to; it would come again each half a minute, until it counts as dead.
    """

    async def body(bench: Bench, account: Account) -> None:
        early = Invocation("r1", not_before=bench.engine.services.clock.now() + 86_400_000)
        await account.sqs.queue(QUEUE).send([Outgoing(enveloped(SECRET, early, EPOCH))])
        await asyncio.sleep(300)
        assert [each.times for each in account.waiting] == [1]

    queued(body)


def test_a_long_task_keeps_its_message_hidden() -> None:
    """While a task runs its message is hidden, however long that takes, and it is deleted after."""

    async def body(bench: Bench, account: Account) -> None:
        header = await bench.start("bounded", seconds=50.0)
        await asyncio.sleep(45)
        [message] = [each for each in account.waiting if each.times]
        assert message.times == 1
        assert message.visible > bench.seconds + 5
        await bench.result(header.run)
        await asyncio.sleep(1)
        assert not [each for each in account.waiting if each.times]
        assert ran["quick"] == 1

    queued(body)


def test_who_closes_gives_back_what_it_took() -> None:
    """A process that is told to end takes nothing more, and others see at once what it had."""

    async def body(bench: Bench, account: Account) -> None:
        header = await bench.start("bounded", seconds=30.0)
        await asyncio.sleep(1)
        await bench.engine.close(0)
        assert min(each.visible for each in account.waiting) <= bench.seconds
        bench.engine = bench.another()
        bench.engine.open(sweep=False)
        assert await bench.result(header.run, 40) == "quick"

    queued(body, sweeps=False)


def test_no_more_tasks_are_taken_than_there_is_room_for() -> None:
    """Messages that this process has no room for stay where others see them."""

    async def body(bench: Bench, account: Account) -> None:
        headers = [await bench.start("bounded", seconds=5.0) for _ in range(30)]
        await asyncio.sleep(4)
        assert ran["quick"] == 4
        hidden = [each for each in account.waiting if each.visible > bench.seconds and each.times]
        assert len(hidden) == 4
        for each in headers:
            assert await bench.result(each.run) == "quick"
        assert ran["quick"] == 30

    queued(body, Account(room=4), tasks=4)


def test_runs_do_not_wait_for_room_for_tasks() -> None:
    """While long tasks take all the room that there is, no message is taken; but runs need none.
    They wake, and end, and one that is cancelled gives back the room that its tasks have.
    """

    async def body(bench: Bench, account: Account) -> None:
        header = await bench.start("wide", n=9, seconds=3600.0)
        await asyncio.sleep(3)
        assert sum(ran.values()) == 4
        sleeps = await bench.start("sleeper", seconds=5.0)
        assert await bench.result(sleeps.run, 30) < 15
        parent = await bench.start("begins", seconds=5.0)
        assert await bench.result(parent.run, 60) < 15
        await bench.engine.cancel(header.run)
        outcome = await bench.engine.result(header.run, 30)
        assert outcome is not None
        assert await bench.run("chain", n=1) == 1

    queued(body, Account(room=4), tasks=4)


def test_tasks_do_not_wait_for_steps_of_their_runs() -> None:
    """A task's message lasts as long as its run goes on with it, but takes no room once the task
    has ended: what a slot is free for begins.
    """

    async def body(bench: Bench, account: Account) -> None:
        for _ in range(6):
            await bench.start("then_long_step")
        await asyncio.sleep(30)
        assert ran["first"] == 6
        assert await bench.run("chain", 60, n=2) == 2
        assert len(bench.engine.services.turns) == 6

    queued(body, Account(room=2), tasks=2)


async def _begun(times: int) -> None:
    """Wait until attempts were begun so often."""
    while True:
        if sum(ran.values()) >= times:
            return
        await asyncio.sleep(1)


def test_nothing_waits_for_suspects() -> None:
    """Tasks under which two processes have died are begun one by one: the messages of the others
    take no room meanwhile, as they take no slot. Runs go on, and other tasks.
    """

    async def body(bench: Bench, account: Account) -> None:
        await bench.start("wide", n=4, seconds=90.0)
        for number in (4, 8):
            await _begun(number)
            cut_off(bench.engine)
            bench.engine = bench.another()
            bench.engine.open()
        await _begun(9)
        await asyncio.sleep(3)
        assert bench.engine.free_slots
        sleeps = await bench.start("sleeper", seconds=2.0)
        assert await bench.result(sleeps.run, 15) < 10
        assert await bench.run("chain", 15, n=1) == 1

    queued(body, Account(room=4), tasks=4)


def test_a_sweep_begins_no_more_turns_than_there_is_memory_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where long tasks take all the room, runs with long steps begin, but not all of them."""
    monkeypatch.setattr(services, "MOST_TURNS", 3)

    async def body(bench: Bench, account: Account) -> None:
        await bench.start("wide", n=9, seconds=3600.0)
        await asyncio.sleep(3)
        for _ in range(8):
            await bench.start("long_step")
            await asyncio.sleep(20)
        assert 3 <= len(bench.engine.services.turns) < 6

    queued(body, Account(room=4), tasks=4)


def test_what_waits_in_the_queue_is_not_sent_again() -> None:
    """Where there is more to do than gets done, messages that nobody lost are hardly repeated.

    With a message for each that waits, and each sweep, it would be more than 2,600.
    """

    async def body(bench: Bench, account: Account) -> None:
        header = await bench.start("wide", n=200, seconds=2.0)
        assert await bench.result(header.run) == 200
        assert sum(ran.values()) == 200
        assert len(account.sqs.sent) < 400

    queued(body, Account(room=4), tasks=4)


def test_a_run_may_ask_for_more_than_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its messages follow one another; none of them is left out because of all the others."""
    monkeypatch.setattr(sqs, "BACKLOG", 50)

    async def body(bench: Bench, account: Account) -> None:
        assert await bench.run("wide", n=180, seconds=0.01) == 180
        assert bench.seconds < 10
        assert account.sqs.asked["SendMessageBatch"] < 30

    queued(body)


def test_large_arguments_are_left_out() -> None:
    """A message stays small, whatever a task is called with: who takes it reads the history."""

    async def body(bench: Bench, account: Account) -> None:
        for size in (10, 20_000, 31_000, 300_000):
            assert await bench.run("large", text="x" * size) == size
        assert max(len(body) for _, body, _ in account.sqs.sent) < 25_000

    queued(body)


def test_any_text_is_carried() -> None:
    """Also one with characters that a queue refuses, in an argument of a task."""
    text = "".join(map(chr, (*range(0x20), 0x7F, 0x85, 0x2028, 0xFFFD, 0xFFFE, 0xFFFF, 0x1FFFF)))

    async def body(bench: Bench, account: Account) -> None:
        assert await bench.run("large", text=text) == len(text)
        assert len(account.sqs.sent) == 2

    queued(body)


def test_a_queue_that_delays_what_does_not_say_delays_nothing() -> None:
    """What is to be done at once says so: a queue may have a delay of its own."""

    async def body(bench: Bench, account: Account) -> None:
        account.sqs.delay = 60
        assert await bench.run("chain", n=3) == 3
        assert bench.seconds < 2
        assert {delay for *_, delay in account.sqs.sent} == {0}

    queued(body, sweeps=False)


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
    forged = enveloped(Secret("somebody else's secret"), Invocation("forged"), EPOCH)
    newer = enveloped(SECRET, Invocation("newer"), EPOCH).replace('"rewake":1', '"rewake":2')
    reasons = {"": "no message", "forged": "signature", "newer": "newer"}

    async def body(bench: Bench, account: Account) -> None:
        queue = account.sqs.queue(QUEUE)
        await queue.send([Outgoing(each) for each in ("no JSON", forged, newer)])
        assert await bench.run("chain", n=2) == 2
        await asyncio.sleep(60)
        assert not account.waiting
        letters = bench.engine.services.dispatcher.dead_letters
        assert letters is not None
        shown, more = await letters.page(10)
        assert not more
        assert {each.run for each in shown} == set(reasons)
        assert all(reasons[each.run] in each.reason for each in shown)
        assert not any("signature" in each.body for each in shown)

    drive(body)


def test_a_queue_that_cannot_be_reached_holds_up_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Runs go on by their due times, and one warning says so, and not with every message."""

    async def body(bench: Bench, account: Account) -> None:
        header = await bench.start("chain", n=2)
        account.sqs.down = True
        await asyncio.sleep(120)
        account.sqs.down = False
        assert await bench.result(header.run) == 2

    with caplog.at_level(logging.WARNING):
        queued(body)
    assert caplog.text.count("no message gets to") <= 1
    assert caplog.text.count("no message can be received") == 1


def test_an_answer_that_nobody_foresaw_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages are received, and kept hidden, after an error of any kind."""

    async def body(bench: Bench, account: Account) -> None:
        once, odd = account.sqs._once, Counter[str]()

        async def oddly(action: str, *more: Any) -> dict[str, Any]:
            if action in ("ReceiveMessage", "ChangeMessageVisibilityBatch") and odd[action] < 2:
                odd[action] += 1
                raise KeyError(action)
            return await once(action, *more)

        monkeypatch.setattr(account.sqs, "_once", oddly)
        header = await bench.start("bounded", seconds=90.0)
        await asyncio.sleep(75)
        assert odd.total() == 4
        assert [each.times for each in account.waiting if each.visible < bench.seconds] == []
        assert await bench.result(header.run) == "quick"
        assert ran["quick"] == 1

    queued(body, sweeps=False)
