"""Events: published, waited for, and what they start and cancel."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from rewake import TaskError, continue_as_new, publish, sleep, step, task, wait_for_event, workflow
from rewake.engine.outside.events import Events
from rewake.errors import EventConflict, InvalidInput, NotInARun
from rewake.states import RunState
from rewake.stores.events import Index
from rewake.stores.keys import event_key
from rewake.values.matching import index_of, ref_of, texts_of
from tests.support.counting import CountingTable
from tests.support.virtual import SECRET, TABLES, Bench, Ended, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
warm_and_cold = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])


@dataclass
class Paid:
    order: int
    amount: int = 0


@workflow
async def order(order: Any, timeout: float | None = None) -> Any:
    try:
        return await wait_for_event("order.paid", where={"order": order}, timeout=timeout)
    except TimeoutError as error:
        return str(error)


@workflow
async def any_payment() -> Any:
    return await wait_for_event("order.paid")


async def left(bench: Bench, letter: str, name: str = "order.paid", **where: Any) -> int:
    """How many subscriptions (`U`) or mentions (`M`) there are in an index of events."""
    index = Index(name, index_of(SECRET, name, texts_of(where)))
    stored = bench.engine.services.store.events
    if letter == "M":
        return len([each async for each in stored.mentions(index, 0)])
    return sum([len(page) async for page in stored.subscriptions(index)])


@everywhere
@warm_and_cold
def test_an_event_goes_to_who_waits_for_it(table: str, cached: int) -> None:
    """The wait whose field is that of the event gets its data, and no other one does."""

    async def body(bench: Bench) -> None:
        runs = [(await bench.start("order", order=n)).run for n in (1, 2)]
        await asyncio.sleep(1)
        await Events(bench.engine).publish("order.paid", {"order": 2, "amount": 9})
        assert await bench.result(runs[1], 5) == {"order": 2, "amount": 9}
        assert (await bench.engine.get(runs[0])).state is RunState.PARKED

    virtually([order], body, table=table, cached=cached)


@everywhere
def test_an_event_goes_to_all_who_wait(table: str) -> None:
    """However many, and once the runs have gone on nothing of their waits is left."""

    async def body(bench: Bench) -> None:
        runs = [(await bench.start("any_payment")).run for _ in range(250)]
        await asyncio.sleep(2)
        assert await left(bench, "U") == 250
        await Events(bench.engine).publish("order.paid", 7)
        assert [await bench.result(run, 60) for run in runs] == [7] * 250
        await asyncio.sleep(1)
        assert await left(bench, "U") == 0

    virtually([any_payment], body, table=table)


@workflow
async def busy(order: int) -> Any:
    await sleep(120)
    return await wait_for_event("order.paid", where={"order": order}, timeout=10)


@everywhere
@warm_and_cold
def test_an_event_before_its_wait_is_not_lost(table: str, cached: int) -> None:
    """What was published since the run began is there when it comes to wait."""

    async def body(bench: Bench) -> None:
        await Events(bench.engine).publish("order.paid", {"order": 1, "of": "before the run"})
        await asyncio.sleep(10)
        run = (await bench.start("busy", order=1)).run
        await asyncio.sleep(30)
        await Events(bench.engine).publish("order.paid", {"order": 2})
        await Events(bench.engine).publish("order.paid", {"order": 1, "of": "this run"})
        assert await bench.result(run) == {"order": 1, "of": "this run"}
        assert bench.seconds < 200

    virtually([busy], body, table=table, cached=cached)


def test_an_event_is_kept_for_a_while_only() -> None:
    """A wait that is asked for later than that is one for later events; nothing is left of it."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("busy", order=1)).run
        await Events(bench.engine).publish("order.paid", {"order": 1}, id="e")
        await asyncio.sleep(1)
        assert await bench.table.get(event_key(ref_of("order.paid", "e"))) is not None
        with pytest.raises(Ended, match="TimeoutError"):
            await bench.result(run)
        await asyncio.sleep(60)
        assert await bench.table.get(event_key(ref_of("order.paid", "e"))) is None
        assert await left(bench, "M") == await left(bench, "M", order=1) == 0

    virtually([busy], body, events_kept=60_000)


@workflow
async def loop(count: int) -> list[Any]:
    found = []
    for _ in range(count):
        found.append(await wait_for_event("tick", where={"of": "x"}))
        if len(found) % 3 == 0:
            await sleep(20)
    return [each["n"] for each in found]


@everywhere
@warm_and_cold
def test_a_loop_gets_each_event_once_in_order(table: str, cached: int) -> None:
    """Those that came while the loop was busy as well as those that it waited for."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("loop", count=20)).run
        for n in range(20):
            await asyncio.sleep(1.7 if n % 5 else 0.004)
            await Events(bench.engine).publish("tick", {"of": "x", "n": n}, id=f"t{n}")
            await Events(bench.engine).publish("tick", {"of": "x", "n": n}, id=f"t{n}")
        assert await bench.result(run) == list(range(20))
        await asyncio.sleep(1)
        assert await left(bench, "U", "tick", of="x") == 0

    virtually([loop], body, table=table, cached=cached)


@workflow
async def laps(number: int = 0, so_far: list[int] = []) -> list[int]:  # noqa: B006
    told = await wait_for_event("tick", where={"of": "x"})
    await sleep(3)
    so_far = [*so_far, told["n"]]
    if len(so_far) < 12:
        continue_as_new(number + 1, so_far)
    return so_far


@everywhere
@warm_and_cold
def test_an_endless_workflow_hears_each_event_once(table: str, cached: int) -> None:
    """What comes while a lap is busy is for the next one, and what a lap had is not."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("laps")).run
        for n in range(12):
            await asyncio.sleep(1.3 if n % 4 else 11)
            await Events(bench.engine).publish("tick", {"of": "x", "n": n})
        assert await bench.result(run) == list(range(12))

    virtually([laps], body, table=table, cached=cached)


@workflow
async def burst(count: int) -> int:
    for _ in range(count):
        await wait_for_event("tick")
    return count


def test_a_loop_reads_each_event_once_however_many_come_at_once() -> None:
    """A wait looks at what came within seconds, and reads nothing of it that its run has had."""

    async def body(bench: Bench) -> None:
        gets: list[float] = []
        for number in (20, 100):
            run = (await bench.start("burst", count=number)).run
            await asyncio.sleep(60)
            before = table.gets
            for order in range(number):
                await Events(bench.engine).publish("tick", {"n": order})
            await asyncio.sleep(60)
            assert (await bench.engine.get(run)).state is RunState.DONE
            gets.append((table.gets - before) / number)
        assert gets[1] < 1.2 * gets[0]

    table = CountingTable()
    virtually([burst], body, table=table)


@workflow
async def twice() -> tuple[Any, Any]:
    async def one() -> Any:
        return await wait_for_event("go")

    return await asyncio.gather(one(), one())


def test_waits_side_by_side_get_the_same_event() -> None:
    """Each of them was open as it came."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("twice")).run
        await asyncio.sleep(1)
        await Events(bench.engine).publish("go", 1)
        assert await bench.result(run, 5) == [1, 1]

    virtually([twice], body)


def test_an_event_of_one_id_is_published_once() -> None:
    """The same again changes nothing, and one of other data is refused."""

    async def body(bench: Bench) -> None:
        events = Events(bench.engine)
        first, new = await events.publish("order.paid", {"order": 1, "a": 1.0}, id="e")
        again, other = await events.publish("order.paid", {"a": 1.0, "order": 1}, id="e")
        assert (new, other) == (True, False)
        assert (first.at, first.id) == (again.at, again.id)
        with pytest.raises(EventConflict, match="'e'"):
            await events.publish("order.paid", {"order": 2}, id="e")
        await events.publish("order.refunded", {"order": 2}, id="e")

    virtually([order], body)


def test_a_wait_that_ends_otherwise_is_forgotten() -> None:
    """A time-out of its own, one around it, and a cancelled run leave no subscription."""

    @workflow
    async def around() -> str:
        try:
            async with asyncio.timeout(5):
                await wait_for_event("order.paid")
        except TimeoutError:
            return "late"
        return "?"

    async def body(bench: Bench) -> None:
        assert await bench.run("order", order=1, timeout=5) == "no event 'order.paid' came in time"
        assert await bench.run("around") == "late"
        run = (await bench.start("order", order=1)).run
        await asyncio.sleep(1)
        assert await left(bench, "U", order=1) == 1
        await bench.engine.cancel(run)
        with pytest.raises(Ended):
            await bench.result(run)
        await asyncio.sleep(1)
        assert await left(bench, "U") + await left(bench, "U", order=1) == 0

    virtually([order, around], body)


# --- publishing from a run ------------------------------------------------------------------------

told: list[Any] = []


@task(retries=1, delay=0)
async def flaky_publisher() -> None:
    await publish("told", "a")
    await publish("told", "b")
    told.append(1)
    if len(told) == 1:
        raise ValueError("once more")


@task
def sync_publisher() -> None:
    asyncio.run(publish("told", "c"))


@workflow
async def publisher() -> Any:
    data = {"n": 1}
    await asyncio.gather(publish("told", data), _change(data))
    await flaky_publisher()
    await step("in a step", functools.partial(publish, "told", "d", id="d"))
    try:
        await publish("told", "other", id="d")
    except TaskError as error:
        return error.type


async def _change(data: dict[str, int]) -> None:
    data["n"] = 2


@workflow
async def listener(count: int) -> list[Any]:
    return [await wait_for_event("told") for _ in range(count)]


@everywhere
@warm_and_cold
def test_a_run_publishes_each_event_once(table: str, cached: int) -> None:
    """From a body, a task that is tried again, and a step; what it was told at the call."""
    told.clear()

    async def body(bench: Bench) -> None:
        run = (await bench.start("listener", count=4)).run
        assert await bench.run("publisher") == "EventConflict"
        assert await bench.result(run, 60) == [{"n": 1}, "a", "b", "d"]

    virtually([publisher, listener, flaky_publisher], body, table=table, cached=cached)


def test_outside_a_run_nothing_is_published_or_waited_for() -> None:
    """Plain Python has no app whose runs could hear of it."""
    with pytest.raises(NotInARun):
        asyncio.run(publish("told", 1))
    with pytest.raises(NotInARun):
        asyncio.run(wait_for_event("told"))


# --- deaths ---------------------------------------------------------------------------------------


def test_an_event_survives_its_publisher() -> None:
    """Its process ends as soon as it is written: another one tells those who wait."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("order", order=1)).run
        await asyncio.sleep(1)
        events: Any = Events(bench.engine)
        events._begin = _nothing
        await events.publish("order.paid", {"order": 1})
        await bench.engine.close(grace=0)
        bench.engine = bench.another()
        bench.engine.open()
        assert await bench.result(run, 30) == {"order": 1}

    virtually([order], body)


async def _nothing(*_: Any) -> None:
    """What a process does that has just died."""


def test_a_wait_survives_the_process_that_committed_it() -> None:
    """It is committed, and its process ends before events can find it: the next one sees to it."""

    async def body(bench: Bench) -> None:
        first: Any = bench.engine.services.events
        first.subscribe = _hang
        run = (await bench.start("order", order=1)).run
        await asyncio.sleep(1)
        await bench.engine.close(grace=0)
        bench.engine = bench.another()
        await Events(bench.engine).publish("order.paid", {"order": 1})
        bench.engine.open()
        assert await bench.result(run, 30) == {"order": 1}

    virtually([order], body)


async def _hang(*_: Any) -> None:
    await asyncio.Event().wait()


def test_a_clock_that_is_set_back_hides_no_event() -> None:
    """A wait that was asked for by a clock an hour ahead still gets what is published now."""

    async def body(bench: Bench) -> None:
        clock: Any = bench.engine.services.clock
        now = type(clock).now
        ahead = [3_600_000]
        clock_now = functools.partial(now, clock)
        bench.engine.services.clock = _Ahead(clock, clock_now, ahead)
        run = (await bench.start("order", order=1)).run
        await asyncio.sleep(1)
        ahead[0] = 0
        await asyncio.sleep(10)
        await Events(bench.engine).publish("order.paid", {"order": 1})
        assert await bench.result(run, 60) == {"order": 1}

    virtually([order], body)


class _Ahead:
    def __init__(self, clock: Any, now: Any, ahead: list[int]) -> None:
        self._clock, self._now, self._ahead = clock, now, ahead

    def now(self) -> int:
        found: int = self._now() + self._ahead[0]
        return found

    async def sleep(self, duration: int) -> None:
        await self._clock.sleep(duration)


# --- what cannot be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "id", "field"),
    [
        ("", 1, None, "name"),
        ("a b", 1, None, "name"),
        ("x" * 101, 1, None, "name"),
        ("#", 1, None, "name"),
        ("é", 1, None, "name"),
        ("ok", 1, "", "id"),
        ("ok", 1, "i" * 129, "id"),
        ("ok", (1, 2), None, ""),
        ("ok", {"a": math.nan}, None, "a"),
        ("ok", "x" * 70_000, None, ""),
    ],
)
def test_what_cannot_be_published(name: str, data: Any, id: str | None, field: str) -> None:
    """It is refused by name, and nothing is written."""

    async def body(bench: Bench) -> None:
        with pytest.raises(InvalidInput) as refused:
            await Events(bench.engine).publish(name, data, id=id)
        assert refused.value.field == field
        assert await left(bench, "M", "ok") == 0

    virtually([order], body, sweeps=False)


WHERE: list[Mapping[str, Any]] = [
    {"order": [1]},
    {"order": math.inf},
    {"order": 2**70},
    {"": 1},
    {str(n): n for n in range(9)},
    {"order": "x" * 1001},
]


@pytest.mark.parametrize("where", WHERE, ids=range(len(WHERE)))
def test_a_where_that_cannot_be(where: Mapping[str, Any]) -> None:
    """The wait raises what the body can catch."""

    @workflow
    async def wrong() -> str:
        try:
            await wait_for_event("order.paid", where=where)
        except InvalidInput as error:
            return error.field
        return "?"

    async def body(bench: Bench) -> None:
        assert (await bench.run("wrong")).startswith("where")

    virtually([wrong], body)


@workflow
async def typed(field: str = "order") -> Any:
    try:
        paid = await wait_for_event("order.paid", where={field: 1}, type=Paid)
    except InvalidInput as error:
        return [error.field, str(error)]
    return [paid.order, paid.amount]


def test_an_event_becomes_the_type_that_is_waited_for() -> None:
    """Data that does not fit is an error of the body, which may wait for the next event."""

    async def body(bench: Bench) -> None:
        assert (await bench.run("typed", field="odor"))[0] == "where.odor"
        run = (await bench.start("typed")).run
        await Events(bench.engine).publish("order.paid", {"order": 1, "amount": 5, "more": 1})
        assert await bench.result(run, 9) == [1, 5]
        await asyncio.sleep(1)
        run = (await bench.start("typed")).run
        await asyncio.sleep(1)
        await Events(bench.engine).publish("order.paid", {"order": 1, "amount": "a lot"}, id="e")
        field, message = await bench.result(run, 9)
        assert field == "amount"
        assert "'order.paid' 'e'" in message

    virtually([typed], body)


@pytest.mark.parametrize(
    ("asked", "published", "fits"),
    [
        (1, 1.0, True),
        (1.0, 1, True),
        (1, True, False),
        ("1", 1, False),
        (None, None, True),
        (True, True, True),
        ("é😀", "é😀", True),
        ("", "", True),
        ("None", None, False),
        (2**53 + 1, 2**53 + 1, True),
    ],
)
def test_what_is_equal(asked: Any, published: Any, fits: bool) -> None:
    """A number is one number however it is written, and no text or truth value."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("order", order=asked, timeout=5)).run
        await asyncio.sleep(1)
        await Events(bench.engine).publish("order.paid", {"order": published})
        late = "no event 'order.paid' came in time"
        assert await bench.result(run) == ({"order": published} if fits else late)

    virtually([order], body)
