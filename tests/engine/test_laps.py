"""Endless workflows: `continue_as_new` begins another lap of a run, with an empty history."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from rewake import (
    callback,
    continue_as_new,
    emit,
    parallel,
    random,
    sleep,
    step,
    task,
    task_context,
    updates,
    uuid4,
    wait_for_approval,
    workflow,
)
from rewake.authoring.approval import Approval, Decision
from rewake.authoring.signals import Answer
from rewake.engine.outside.approvals import Approvals
from rewake.engine.outside.callbacks import Callbacks
from rewake.engine.outside.signals import Signals
from rewake.errors import LinkExpired, RunConflict, StoreUnavailable
from rewake.kinds import Kind, OutcomeKind
from rewake.laps import lap_of, prefix_of, within_lap
from rewake.noted import LapState
from rewake.records import (
    Header,
    Invocation,
    Logged,
    Operation,
    Outcome,
    Scheduled,
    Value,
    Withdrawn,
)
from rewake.states import RunState
from rewake.stores.answers import Fenced
from rewake.stores.history import History
from rewake.stores.keys import run_partition
from rewake.stores.places import first_place
from tests.support.virtual import TABLES, Bench, Ended, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
warm_and_cold = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])
KEYS: list[str] = []
CLEANED: list[int] = []
DRAWN: list[Any] = []
BIG = "x" * 40_000


@pytest.fixture(autouse=True)
def fresh() -> None:
    for each in (KEYS, CLEANED, DRAWN):
        each.clear()


@task
async def charge(month: int) -> str:
    KEYS.append(task_context().idempotency_key)
    return BIG if month < 0 else f"paid {month}"


@task
async def hang() -> None:
    await asyncio.Event().wait()


@workflow
async def subscription(months: int, month: int = 1, told: str = "") -> str:
    told = await charge(month)
    await sleep(10)
    if month < months:
        try:
            continue_as_new(months, month + 1, told=told)
        finally:
            CLEANED.append(month)
            await step("bye", lambda: None)
    return f"{told} of {months}"


def lapping(body: Callable[[Bench], Awaitable[None]], *members: object, **options: Any) -> None:
    virtually([*members, charge, hang], body, **options)


async def sorts(bench: Bench, header: Header) -> list[str]:
    page = await bench.table.query(run_partition(header.run))
    return [key.sort for key, _ in page.items]


@everywhere
@warm_and_cold
def test_a_run_goes_on_as_new_to_its_last_lap(table: str, cached: int) -> None:
    """Its id stays, whoever waits gets the last lap's result, and cleanup runs in each lap."""

    async def body(bench: Bench) -> None:
        header, new = await bench.engine.start("subscription", {"months": 5}, idempotency_key="c1")
        assert new
        assert await bench.result(header.run) == "paid 5 of 5"
        found = await bench.engine.get(header.run)
        assert (found.lap.number, found.created, found.key) == (5, header.created, "c1")
        assert set(CLEANED) == {1, 2, 3, 4}
        assert len(set(KEYS)) == 5
        again, new = await bench.engine.start("subscription", {"months": 5}, idempotency_key="c1")
        assert (again.run, new) == (header.run, False)

    lapping(body, subscription, table=table, cached=cached)


@everywhere
def test_a_run_is_never_larger_than_two_laps(table: str) -> None:
    """Entries, items and values do not grow with the number of laps."""

    @workflow
    async def big(left: int, value: str) -> None:
        await charge(-left)
        if left:
            continue_as_new(left - 1, value)

    async def body(bench: Bench) -> None:
        seen = []
        for laps in (3, 12):
            header = await bench.start("big", left=laps, value=BIG)
            await bench.result(header.run)
            header, history = await bench.engine.history(header.run)
            items = await sorts(bench, header)
            assert {lap_of(each[2:]) for each in items if each[0] == "O"} == {laps, laps + 1}
            seen.append((len(items), len(history.entries), header.count))
        assert seen[0] == seen[1]

    lapping(body, big, table=table)


def test_keys_and_chance_are_of_the_lap() -> None:
    """Operations say their lap, and each lap draws and makes ids of its own."""

    @workflow
    async def draws(left: int) -> None:
        DRAWN.append((random().random(), uuid4()))
        await charge(1)
        if left:
            continue_as_new(left - 1)

    async def body(bench: Bench) -> None:
        header = await bench.start("draws", left=2)
        await bench.result(header.run)
        _, history = await bench.engine.history(header.run)
        assert [e.key for e in history.entries if isinstance(e, Scheduled)] == ["lap3/charge"]

    lapping(body, draws, cached=0)
    assert len(set(DRAWN)) == 3


def test_keys_of_laps() -> None:
    """What tells the lap is a part of its own, which no other key begins with."""
    assert [prefix_of(1), prefix_of(12)] == ["", "lap12/"]
    assert [lap_of("lap12/a"), lap_of("lap12"), lap_of("lap12[0]/a"), lap_of("a")] == [12, 1, 1, 1]
    assert [within_lap("lap2/one[3]/a"), within_lap("one[3]/a")] == ["one[3]/a"] * 2


@everywhere
def test_what_is_open_is_cancelled_with_its_lap(table: str) -> None:
    """An attempt hears of it; a decision, a call of a machine and a late message find its end."""
    urls: list[str] = []

    @workflow
    async def leaves_open(lap: int = 1) -> str:
        if lap == 1:
            left = [asyncio.ensure_future(hang()), asyncio.ensure_future(wait_for_approval("ok"))]
            urls.append(callback("done", result=str).url)
            await sleep(5)
            assert not any(each.done() for each in left)
            continue_as_new(2)
        await sleep(100)
        return "over"

    async def body(bench: Bench) -> None:
        header, engine = await bench.start("leaves_open"), bench.engine
        await asyncio.sleep(2)
        _, history = await engine.history(header.run)
        [asked] = [each.key for each in history.open(Kind.APPROVAL)]
        assert engine.services.attempts
        await asyncio.sleep(20)
        assert engine.services.attempts == {}
        with pytest.raises(LinkExpired):
            await Approvals(engine).decide(header.run, asked, Approval(Decision.APPROVED))
        with pytest.raises(LinkExpired):
            await Callbacks(engine).complete(urls[0].rpartition("/")[2], "late")
        await engine.handle(Invocation(header.run, "charge", "charge"))
        assert KEYS == []
        assert await bench.result(header.run) == "over"

    lapping(body, leaves_open, table=table, url="https://app.example")


@everywhere
def test_a_late_outcome_of_an_earlier_lap_changes_nothing(table: str) -> None:
    """Of the lap before it is one that nobody reads; of an older one nothing is kept at all."""

    async def body(bench: Bench) -> None:
        header, store = await bench.start("subscription", months=4), bench.engine.services.store
        await asyncio.sleep(35)
        assert (await store.header(header.run)).lap.number == 4
        before = await sorts(bench, header)
        for key in ("lap2/charge", "lap3/charge"):
            late = Operation(header.run, key, Kind.TASK, "charge", lap_of(key) - 1)
            found = await store.deliver(late, Outcome(OutcomeKind.OK), 0)
            assert not found.won
        assert await sorts(bench, header) == before
        assert await bench.result(header.run) == "paid 4 of 4"

    lapping(body, subscription, table=table)


def test_the_last_lap_can_be_retried() -> None:
    """A retry goes back to before the error, in the lap that failed."""
    fails = [True]

    @task
    async def pay(lap: int) -> int:
        if lap == 3 and fails:
            raise ValueError("no money")
        return lap

    @workflow
    async def pays(lap: int = 1) -> int:
        await pay(lap)
        if lap < 4:
            continue_as_new(lap + 1)
        return lap

    async def body(bench: Bench) -> None:
        header = await bench.start("pays")
        with pytest.raises(Ended):
            await bench.result(header.run)
        fails.clear()
        await bench.engine.retry(header.run)
        assert await bench.result(header.run) == 4
        found = await bench.engine.get(header.run)
        assert (found.lap.number, found.round) == (4, 4)

    lapping(body, pays, pay)


@everywhere
def test_a_follower_is_told_everything_once(table: str) -> None:
    """What a body emits as its lap ends is told in the next one, to whoever has not read it."""

    @workflow
    async def tells(left: int, number: int = 0) -> None:
        await emit(number)
        await sleep(3)
        await emit(number + 1)
        if left:
            continue_as_new(left - 1, number + 2)

    async def body(bench: Bench) -> None:
        header = await bench.start("tells", left=3)
        streams, place, told = bench.engine.services.streams, first_place(header.run), []
        while True:
            page = await streams.follow(header.run, place, wait=1)
            told += [each.value for each, _ in page.told if each.value is not None]
            place = page.place
            if page.ended:
                break
        assert [bytes(value.body) for value in told] == [b"%d" % n for n in range(8)]
        late = await streams.follow(header.run, first_place(header.run))
        items = [bytes(e.value.body) for e, _ in late.told if e.value is not None]
        assert items == [b"4", b"5", b"6", b"7"]

    lapping(body, tells, table=table)


@everywhere
def test_what_attempts_say_is_kept_for_two_laps(table: str) -> None:
    """Lines and items of tasks are there while their lap and the next one go on; then they go."""

    @task
    async def says(lap: int) -> None:
        task_context().emit(lap)
        task_context().logger.info("lap %d", lap)

    @workflow
    async def spoken(left: int, lap: int = 1) -> None:
        await says(lap)
        await sleep(5)
        if left:
            continue_as_new(left - 1, lap + 1)

    async def body(bench: Bench) -> None:
        header = await bench.start("spoken", left=5)
        streams, place, told = bench.engine.services.streams, first_place(header.run), []
        while not (page := await streams.follow(header.run, place, wait=1)).ended or page.told:
            told += [each.value for each, _ in page.told if each.value is not None]
            place = page.place
        assert [bytes(value.body) for value in told] == [b"%d" % n for n in range(1, 7)]
        logs = await bench.engine.logs(header.run)
        assert {batch.key for batch in logs} == {"lap5/says", "lap6/says"}
        batches = [each for each in await sorts(bench, header) if each.startswith("S#")]
        assert len(batches) <= 3

    lapping(body, says, spoken, table=table)


# --- where it is refused -------------------------------------------------------------------------


def test_a_branch_cannot_continue_as_new() -> None:
    """It is for the body itself: a clear error, which fails the run."""

    @workflow
    async def branches() -> None:
        await parallel([1, 2], again)

    async def again(_: int) -> None:
        continue_as_new()

    refused(branches, "UsageError: continue_as_new() is for the body of a workflow, not")


def test_a_step_cannot_continue_as_new() -> None:
    """Nor can a task: what it raises is told as its error."""

    async def again() -> None:
        continue_as_new()

    @workflow
    async def steps() -> None:
        await step("again", again)

    refused(steps, "NotInARun: continue_as_new() is for the body of a workflow")


def test_the_arguments_must_fit_the_workflow() -> None:
    """What does not fit is said at the call, as at a start, and the lap is not ended by it."""

    @workflow
    async def takes(number: int) -> None:
        with pytest.raises(TypeError):
            continue_as_new(1, 2)
        continue_as_new(number="many")

    refused(takes, "InvalidInput: number: Expected `int`, got `str`", number=1)


def refused(flow: Any, told: str, **arguments: Any) -> None:
    async def body(bench: Bench) -> None:
        with pytest.raises(Ended) as ended:
            await bench.run(flow.name, **arguments)
        failure = ended.value.failure
        assert failure is not None
        assert told in f"{failure.type}: {failure.message}"

    lapping(body, flow)


def test_a_task_group_may_be_left_by_it() -> None:
    """The group cancels its tasks and wraps what left it, which is found all the same."""

    @workflow
    async def grouped(lap: int = 1) -> int:
        async with asyncio.TaskGroup() as group:
            other = group.create_task(asyncio.sleep(lap))
            if lap < 3:
                continue_as_new(lap + 1)
        return lap if other.done() else 0

    async def body(bench: Bench) -> None:
        assert await bench.run("grouped") == 3
        assert bench.seconds < 4

    lapping(body, grouped)


def test_in_plain_python_the_workflow_is_called_again() -> None:
    """So a body can be tested without a runtime."""

    @workflow
    async def counts(left: int, done: int = 0) -> int:
        if left:
            continue_as_new(left - 1, done=done + 1)
        return done

    assert asyncio.run(counts(1_000)) == 1_000


def test_a_timeout_is_that_of_each_lap() -> None:
    """An endless workflow is not ended by the time-out of one lap."""

    @workflow(timeout=10)
    async def bounded(left: int) -> None:
        await sleep(6 if left else 60)
        continue_as_new(left - 1)

    async def body(bench: Bench) -> None:
        header = await bench.start("bounded", left=4)
        with pytest.raises(Ended) as ended:
            await bench.result(header.run)
        assert ended.value.kind is OutcomeKind.TIMEOUT
        assert bench.seconds < 40
        assert (await bench.engine.get(header.run)).lap.number == 5

    lapping(body, bounded)


@everywhere
def test_who_takes_a_lap_over_cancels_what_the_last_one_left(table: str) -> None:
    """A process that dies right behind the switch leaves that to whoever comes next."""

    @workflow
    async def leaves(lap: int = 1) -> int:
        left = asyncio.ensure_future(hang())
        await sleep(50)
        assert not left.done()
        if lap < 3:
            continue_as_new(lap + 1)
        return lap

    async def body(bench: Bench) -> None:
        store: Any = bench.engine.services.store
        cancel, failed = store.cancel_withdrawn, list[bool]()

        async def out(run: str, history: History, now: int) -> None:
            if history.entries[0] == Withdrawn("hang[0]/hang", Kind.TASK) and not failed:
                failed.append(True)
                raise StoreUnavailable
            await cancel(run, history, now)

        store.cancel_withdrawn = out
        header = await bench.start("leaves")
        assert await bench.result(header.run) == 3
        assert failed
        assert not [key for _, key in bench.engine.services.attempts if lap_of(key) < 3]
        items = await sorts(bench, header)
        assert {lap_of(each[2:]) for each in items if each[0] == "O"} == {2, 3}

    lapping(body, leaves, table=table)


@everywhere
def test_a_write_of_an_earlier_lap_that_comes_late_is_fenced(table: str) -> None:
    """A new lap counts its entries anew, and yet no write of the old one fits it."""

    async def body(bench: Bench) -> None:
        engine, seen = bench.engine, list[Header]()
        store: Any = engine.services.store
        park = store.park

        async def noting(held: Header, *args: Any, **more: Any) -> Any:
            if held.lap.number == 2 and not seen:
                seen.append(msgspec.structs.replace(held, round=0, lap=LapState()))
                assert isinstance(await store.commit(seen[0], [Logged([])], progress=False), Fenced)
            return await park(held, *args, **more)

        store.park = noting
        assert await bench.run("subscription", months=3) == "paid 3 of 3"
        assert seen

    lapping(body, subscription, table=table)


@workflow
async def decides(number: int = 1) -> None:
    async for request in updates("ask", type=int):
        if request.value:
            request.accept(number)
        continue_as_new(number + 1)


@warm_and_cold
@pytest.mark.parametrize("dies", [False, True], ids=["lives", "dies"])
def test_an_update_is_answered_by_its_lap_or_never(cached: int, dies: bool) -> None:
    """The answer outlives its lap, whoever dies before it is put; that there is none is told."""

    async def body(bench: Bench) -> None:
        signals, store = Signals(bench.engine), bench.engine.services.store
        put, asked = store.answer, list[str]()

        async def lost_first(run: str, id: str, key: str, answer: Value) -> None:
            asked.append(id)
            if not dies or len(asked) > 1:
                await put(run, id, key, answer)

        store.answer = lost_first  # type: ignore[method-assign]
        run = (await bench.start("decides")).run
        await signals.send(run, "ask", 1, id="one")
        assert (await signals.answer(run, "one", 60)).answer == Answer(True, 1)
        await signals.send(run, "ask", 0, id="two")
        with pytest.raises(RunConflict, match="continued as new"):
            await signals.answer(run, "two", 60)
        assert (await signals.answer(run, "two")).answer is None
        assert asked == ["one"] * (2 if dies else 1)

    virtually([decides], body, cached=cached)


@workflow
async def fills(size: int, text: str = "") -> int:
    await sleep(1)
    if not text:
        continue_as_new(size, "x" * size)
    return len(text)


def test_arguments_of_a_lap_are_bounded_as_all_values_are() -> None:
    """They are refused before they are written, and the lap goes on once there is room for them."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("fills", size=10_000)).run
        await asyncio.sleep(10)
        header = await bench.engine.get(run)
        assert (header.state, header.lap.number) == (RunState.STUCK, 1)
        assert "REWAKE_LARGEST_VALUE" in header.error

    virtually([fills], body, value=5_000)
