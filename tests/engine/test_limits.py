"""Limits: never more at once than allowed, all get their turn, and what waits holds nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from rewake import TaskError, concurrency, rate, task, workflow
from rewake.records import Invocation
from rewake.signing.aes_gcm import AesGcm
from rewake.stores.items import encode
from rewake.stores.memory import MemoryTable
from tests.support.counting import CountingTable
from tests.support.emptied import emptied
from tests.support.virtual import SECRET, TABLES, Bench, die, virtually

now: Counter[str] = Counter()
most: Counter[str] = Counter()
begun: list[tuple[str, float]] = []
_emptied = emptied(now, most, begun)
everywhere = pytest.mark.parametrize("table", TABLES)


async def work(what: str, seconds: float = 1) -> None:
    begun.append((what, asyncio.get_running_loop().time()))
    now[what[:1]] += 1
    most[what[:1]] = max(most[what[:1]], now[what[:1]])
    try:
        await asyncio.sleep(seconds)
    finally:
        now[what[:1]] -= 1


@task(limits=concurrency(2))
async def two(n: int) -> int:
    await work("two")
    return n


@task(limits=[concurrency(1, key=lambda customer: customer), concurrency(3)])
async def each(customer: str, n: int) -> int:
    await work(customer)
    return n


@task(limits=rate(10, per=1))
async def often(n: int) -> int:
    await work("often", 0)
    return n


@task(throttle=rate(2, per=60))
async def refused(n: int) -> int:
    return n


@task(limits=concurrency(1), retries=1, delay=5, jitter=0)
async def failing(n: int) -> int:
    await work(f"f{n}")
    if begun.count((f"f{n}", begun[-1][1])) and sum(what == f"f{n}" for what, _ in begun) == 1:
        raise ValueError("once")
    return n


@task(limits=concurrency(1))
async def lasting(n: int) -> int:
    await work("lasting", 3600)
    return n


@task(limits=concurrency(1))
async def one(what: str) -> None:
    await work(what)


@task(limits=concurrency(1, name="shared"))
async def low() -> None:
    await work("low")


@task(limits=concurrency(1, name="shared"), priority=1)
async def high() -> None:
    await work("high")


@workflow
async def patient(n: int) -> None:
    await asyncio.gather(*(lasting(i) for i in range(n)))


@workflow
async def owned(what: str, n: int) -> int:
    return len(await asyncio.gather(*(one(what) for _ in range(n))))


@workflow
async def lowly(n: int) -> None:
    await asyncio.gather(*(low() for _ in range(n)))


@workflow
async def highly(n: int) -> None:
    await asyncio.gather(*(high() for _ in range(n)))


@workflow
async def wide(n: int) -> list[int]:
    return list(await asyncio.gather(*(two(i) for i in range(n))))


@workflow
async def keyed(n: int) -> list[int]:
    return list(await asyncio.gather(*(each("ab"[i % 2], i) for i in range(n))))


@workflow
async def rated(n: int) -> list[int]:
    return list(await asyncio.gather(*(often(i) for i in range(n))))


@workflow
async def throttled(n: int) -> list[str]:
    told = []
    for i in range(n):
        try:
            told.append(str(await refused(i)))
        except TaskError as error:
            told.append(error.type)
    return told


@workflow
async def retried() -> list[int]:
    return list(await asyncio.gather(*(failing(i) for i in range(2))))


members = [two, each, often, refused, failing, wide, keyed, rated, throttled, retried]


async def nobody(bench: Bench) -> None:
    """No place is taken, and nobody waits, once all has ended."""
    limits, _ = await bench.engine.services.store.limits(limit=100, cursor=None)
    assert not [limit for limit in limits if limit.holders]
    for limit in limits:
        assert not await bench.engine.services.store.line(limit.id, 10)


@everywhere
def test_no_more_at_once_than_the_limit(table: str) -> None:
    """Of ten tasks two run at a time, without a pause between, and all have their result."""

    async def body(bench: Bench) -> None:
        assert await bench.run("wide", n=10) == list(range(10))
        assert most["t"] == 2
        assert bench.seconds < 5.5
        await nobody(bench)

    virtually(members, body, table=table)


@everywhere
def test_each_key_has_its_own_limit(table: str) -> None:
    """Two keys go on side by side, each one at a time."""

    async def body(bench: Bench) -> None:
        assert await bench.run("keyed", n=8) == list(range(8))
        assert (most["a"], most["b"]) == (1, 1)
        assert bench.seconds < 4.5
        await nobody(bench)

    virtually(members, body, table=table)


@everywhere
def test_a_rate_spreads_what_begins(table: str) -> None:
    """Ten a second are one each tenth of a second, by moments that are reserved."""

    async def body(bench: Bench) -> None:
        assert await bench.run("rated", n=21) == list(range(21))
        at = sorted(at for _, at in begun)
        assert all(b - a >= 0.0999 for a, b in itertools.pairwise(at))
        assert at[-1] - at[0] < 2.2

    virtually(members, body, table=table)


def test_a_throttle_refuses_what_is_too_much() -> None:
    """A task over its throttle fails at once, with a type that says so; it is not retried."""

    async def body(bench: Bench) -> None:
        assert await bench.run("throttled", n=4) == ["0", "1", "Throttled", "Throttled"]

    virtually(members, body)


def test_who_dies_once_it_is_let_through_is_not_refused_for_it() -> None:
    """The process ends between a throttle and the attempt: the next one begins that task, and it
    counts once.
    """

    async def body(bench: Bench) -> None:
        other = bench.another()
        store: Any = bench.engine.services.store
        reserve = store.reserve

        async def reserve_and_die(*args: Any, **options: Any) -> Any:
            answer = await reserve(*args, **options)
            die(bench.engine)
            await asyncio.Event().wait()
            return answer

        store.reserve = reserve_and_die
        header, _ = await bench.engine.start("throttled", {"n": 3})
        await asyncio.sleep(1)
        other.open()
        bench.engine = other
        assert await bench.result(header.run) == ["0", "1", "Throttled"]

    virtually(members, body, lease=3_000)


def test_a_backoff_holds_nothing() -> None:
    """While a failed attempt waits for its retry, another task has the place."""

    async def body(bench: Bench) -> None:
        assert await bench.run("retried") == [0, 1]
        assert most["f"] == 1
        assert bench.seconds < 9
        await nobody(bench)

    virtually(members, body)


@everywhere
def test_a_dead_holder_gives_its_place_to_who_goes_on(table: str) -> None:
    """A task whose process died is begun again under the same place; then others have theirs."""

    async def body(bench: Bench) -> None:
        other = bench.another()
        header, _ = await bench.engine.start("wide", {"n": 5})
        await asyncio.sleep(0.5)
        die(bench.engine)
        other.open()
        outcome = await other.result(header.run, 10**6)
        assert outcome is not None
        assert outcome.failure is None
        assert most["t"] <= 4  # those of the dead process never heard of it
        bench.engine = other
        await nobody(bench)

    virtually(members, body, table=table, lease=3_000)


def test_a_lost_promotion_is_made_good() -> None:
    """A message that is lost for who was let in is sent again within a grace or two."""

    async def body(bench: Bench) -> None:
        dispatcher = bench.engine.services.dispatcher
        dispatch, lost = dispatcher.dispatch, 0

        async def forgetful(invocations: Sequence[Invocation]) -> None:
            nonlocal lost
            kept = [e for e in invocations if not (e.key and e.args is None and lost < 2)]
            lost += len(invocations) - len(kept)
            await dispatch(kept)

        dispatcher.dispatch = forgetful  # type: ignore[method-assign]
        assert await bench.run("wide", n=6) == list(range(6))
        assert lost == 2
        assert bench.seconds < 20
        await nobody(bench)

    virtually(members, body)


def test_who_gives_its_place_up_is_not_forgotten() -> None:
    """Who is let in and long does not begin queues up again, though its messages are lost too."""

    async def body(bench: Bench) -> None:
        dispatcher = bench.engine.services.dispatcher
        dispatch, first = dispatcher.dispatch, asyncio.get_running_loop().time()

        async def losing(invocations: Sequence[Invocation]) -> None:
            late = asyncio.get_running_loop().time() - first > 1
            lost = late and asyncio.get_running_loop().time() - first < 40
            await dispatch([e for e in invocations if not (lost and e.key)])

        dispatcher.dispatch = losing  # type: ignore[method-assign]
        assert await bench.run("wide", n=9) == list(range(9))
        assert asyncio.get_running_loop().time() - first < 120

    virtually([two, wide], body)


@everywhere
def test_what_is_cancelled_leaves_the_line(table: str) -> None:
    """A run that is cancelled while its tasks wait leaves no place and no waiter behind."""

    async def body(bench: Bench) -> None:
        first, second = await bench.start("wide", n=4), await bench.start("wide", n=3)
        await asyncio.sleep(0.5)
        await bench.engine.cancel(first.run)
        assert await bench.result(second.run) == list(range(3))
        assert bench.seconds < 10
        await asyncio.sleep(20)
        await nobody(bench)

    virtually(members, body, table=table)


def test_what_waits_costs_next_to_nothing() -> None:
    """While a hundred wait for half an hour, one item is looked at, less and less often."""
    counting = CountingTable()

    async def body(bench: Bench) -> None:
        header = await bench.start("patient", n=100)
        await asyncio.sleep(10)
        counting.count_anew()
        await asyncio.sleep(1800)
        places = counting.places.copy()
        await bench.engine.kill(header.run)
        assert sum(units for place, units in places.items() if place[0] == "F") < 40
        assert sum(units for place, units in places.items() if place[0] in "ROQ") < 10

    virtually([lasting, patient], body, table=counting)


def test_a_wide_run_is_woken_as_seldom_as_without_limits() -> None:
    """What waited is counted beside the header, as what did not: else reads grow with the square
    of what a run has in line.
    """

    @task(limits=concurrency(20))
    async def soon(n: int) -> int:
        return n

    @workflow
    async def very_wide(n: int) -> int:
        return len(await asyncio.gather(*(soon(i) for i in range(n))))

    async def body(bench: Bench) -> None:
        run = await bench.start("very_wide", n=700)
        assert await bench.result(run.run) == 700
        assert (await bench.engine.get(run.run)).epoch <= 3

    virtually([soon, very_wide], body)


def test_the_item_of_a_limit_stays_small() -> None:
    """With five hundred in line, from many shares, its item is as small as with a few."""
    counting = CountingTable()

    async def body(bench: Bench) -> None:
        for n in range(5):
            await bench.engine.start("patient", {"n": 100}, tenant=f"t{n}")
        await asyncio.sleep(10)
        found, _ = await bench.engine.services.store.limits(limit=9, cursor=None)
        assert [len(encode(limit)) < 1000 for limit in found] == [True]
        assert len(await bench.engine.services.store.line(found[0].id, 1000)) == 499

    virtually([lasting, patient], body, table=counting)


def test_shares_take_turns() -> None:
    """A tenant that comes late with a few is not kept waiting by the many of another."""

    async def body(bench: Bench) -> None:
        many, _ = await bench.engine.start("owned", {"what": "many", "n": 30}, tenant="big")
        await asyncio.sleep(0.5)
        few, _ = await bench.engine.start("owned", {"what": "few", "n": 3}, tenant="small")
        await bench.result(few.run)
        assert bench.seconds < 8
        assert await bench.result(many.run) == 30

    virtually([one, owned], body)


def test_a_higher_priority_goes_first() -> None:
    """Whoever is in line with a higher priority has its turn before all of a lower one."""

    async def body(bench: Bench) -> None:
        low = await bench.start("lowly", n=10)
        await asyncio.sleep(0.5)
        high = await bench.start("highly", n=3)
        await bench.result(high.run)
        assert sum(what == "low" for what, _ in begun) <= 2
        await bench.result(low.run)

    virtually([low, high, lowly, highly], body)


@everywhere
def test_a_cold_replay_knows_the_same_limits(table: str) -> None:
    """With no instance kept each turn replays, and nobody is let in twice."""

    async def body(bench: Bench) -> None:
        assert await bench.run("keyed", n=6) == list(range(6))
        assert (most["a"], most["b"]) == (1, 1)
        await nobody(bench)

    virtually(members, body, table=table, cached=0)


def test_limits_hold_across_processes() -> None:
    """Messages go to three processes in turn; two tasks run at once, in all of them together."""

    async def body(bench: Bench) -> None:
        engines = bench.share_messages(3)
        runs = [(await each.start("wide", {"n": 4}))[0] for each in engines]
        for each in runs:
            await bench.engine.result(each.run, 10**4)
        assert most["t"] == 2
        assert bench.seconds < 10
        await nobody(bench)
        for other in engines[1:]:
            await other.close()

    virtually(members, body)


def test_a_paused_run_keeps_nobody_waiting() -> None:
    """Its tasks that are let in give their places on, and queue up again when it is resumed."""

    async def body(bench: Bench) -> None:
        first, second = await bench.start("wide", n=5), await bench.start("wide", n=3)
        await asyncio.sleep(0.5)
        await bench.engine.pause(first.run)
        assert await bench.result(second.run) == list(range(3))
        assert bench.seconds < 15
        await bench.engine.resume(first.run)
        assert await bench.result(first.run) == list(range(5))
        assert most["t"] == 2
        await nobody(bench)

    virtually(members, body)


def test_a_key_is_not_readable_behind_a_codec() -> None:
    """Where values are encrypted no item says whose turn it is, and the limit holds."""
    table = MemoryTable()

    async def body(bench: Bench) -> None:
        header = await bench.start("keyed", n=4)
        await asyncio.sleep(0.5)
        [one, *others], _ = await bench.engine.services.store.limits(limit=9, cursor=None)
        assert all(len(each.key) in (0, 12) for each in (one, *others))
        assert await bench.result(header.run) == list(range(4))
        assert (most["a"], most["b"]) == (1, 1)

    virtually(members, body, table=table, secret=SECRET.with_codec(AesGcm({"k": bytes(32)})))


def test_a_late_message_of_an_ended_run_begins_nothing() -> None:
    """It is let in by no limit, so it is not begun, and it leaves nothing behind."""

    async def body(bench: Bench) -> None:
        header = await bench.start("patient", n=2)
        await asyncio.sleep(1)
        history = await bench.engine.services.store.history(await bench.engine.get(header.run))
        asked = history.dispatched()[1].message(header.run)
        await bench.engine.kill(header.run)
        count = len(begun)
        await bench.engine.handle(asked)
        await asyncio.sleep(70)
        assert len(begun) == count
        await nobody(bench)

    virtually([lasting, patient], body)
