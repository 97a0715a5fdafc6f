"""Signals: what is sent comes once, in order, whenever it is sent; and what its sender is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from rewake import (
    debounce,
    send_signal,
    signal_or_start,
    signals,
    sleep,
    step,
    task,
    updates,
    wait_for_signal,
    workflow,
)
from rewake.authoring.signals import Answer
from rewake.engine.outside.signals import Signals
from rewake.errors import InvalidInput, RunConflict, RunNotFound, TaskError
from rewake.states import RunState
from tests.support.virtual import TABLES, Bench, Ended, virtually


@dataclass
class Payment:
    amount: int
    by: str = "card"


@workflow
async def pays(timeout: float | None = None) -> Any:
    try:
        payment = await wait_for_signal("paid", type=Payment, timeout=timeout)
    except TimeoutError as error:
        return str(error)
    return [payment.amount, payment.by]


@workflow
async def listens(number: int, pause: float = 0) -> list[str]:
    await sleep(pause)
    heard: list[str] = []
    async for line in signals("chat", type=str):
        heard.append(line)
        if len(heard) == number:
            break
    return heard


@pytest.mark.parametrize("table", TABLES)
def test_a_signal_ends_the_wait_for_it(table: str) -> None:
    """It is converted to the type of the wait; the same again changes nothing, another is late."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("pays")).run
        await asyncio.sleep(1)
        sent = await door.send(run, "paid", {"amount": 3}, id="a")
        assert await bench.result(run, 60) == [3, "card"]
        again = await door.send(run, "paid", {"amount": 3}, id="a")
        assert again.mark == sent.mark
        with pytest.raises(RunConflict, match="has ended"):
            await door.send(run, "paid", {"amount": 4}, id="b")

    virtually([pays], body, table=table)


@pytest.mark.parametrize("table", TABLES)
def test_what_comes_early_is_kept_in_the_order_of_sending(table: str) -> None:
    """Signals are kept before anybody waits for them, without a wake, and come in order."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("listens", number=20, pause=9)).run
        await asyncio.sleep(1)
        epoch = (await bench.engine.get(run)).epoch
        for number in range(20):
            await door.send(run, "chat", f"{number}")
        assert (await bench.engine.get(run)).epoch == epoch
        assert await bench.result(run, 60) == [f"{number}" for number in range(20)]

    virtually([listens], body, table=table)


def test_its_time_is_over() -> None:
    """Without a signal the wait raises a `TimeoutError`, after that one is told that it is late."""

    async def body(bench: Bench) -> None:
        assert await bench.run("pays", timeout=60) == "no signal 'paid' came in time"
        assert bench.seconds == pytest.approx(60, abs=1)

    virtually([pays], body)


@workflow
async def takes_two() -> list[Any]:
    one, two = await asyncio.gather(wait_for_signal("x"), wait_for_signal("x"))
    return [one, two]


def test_of_two_waits_the_first_gets_what_was_sent_first() -> None:
    """Signals are dealt to waits of one name in the order in which those were asked for."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("takes_two")).run
        await asyncio.sleep(1)
        await door.send(run, "x", 1)
        await door.send(run, "y", 9)
        await door.send(run, "x", 2)
        assert await bench.result(run, 60) == [1, 2]
        assert [told.delivered for told in (await door.sent_to(run)).signals] == [True, False, True]

    virtually([takes_two], body)


def test_an_early_signal_that_does_not_fit_is_set_aside() -> None:
    """It harms neither the run nor the next one, and is shown with the reason."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("listens", number=1, pause=5)).run
        await asyncio.sleep(1)
        await door.send(run, "chat", 7, id="bad")
        await door.send(run, "chat", "good")
        assert await bench.result(run, 60) == ["good"]
        [bad, _] = (await door.sent_to(run)).signals
        assert bad.answer is not None
        assert (bad.signal.id, bad.delivered, bad.answer.accepted) == ("bad", False, False)

    virtually([listens], body)


def test_a_wait_that_was_cancelled_leaves_its_signal_to_the_next() -> None:
    """A time-out around a wait closes it: what comes later is for the next wait."""

    @workflow
    async def impatient() -> Any:
        found: list[Any] = []
        for _ in range(3):
            try:
                async with asyncio.timeout(10):
                    found.append(await wait_for_signal("x"))
            except TimeoutError:
                found.append("late")
        return found

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("impatient")).run
        await asyncio.sleep(15)
        await door.send(run, "x", 1)
        assert await bench.result(run, 60) == ["late", 1, "late"]

    virtually([impatient], body)


@workflow
async def adds(most: int) -> int:
    total = 0
    async for request in updates("add", type=int):
        if request.value < 0:
            request.reject("negative")
            continue
        total += request.value
        await step("think", lambda: None)
        request.accept(total)
        if total >= most:
            return total
    return total


@pytest.mark.parametrize("table", TABLES)
def test_an_update_is_answered_once(table: str) -> None:
    """Its sender gets the answer, the same each time, also after the end and from elsewhere."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("adds", most=5)).run
        await asyncio.sleep(1)
        await door.send(run, "add", -1, id="a")
        await door.send(run, "add", 5, id="b")
        one, two = await door.answer(run, "a", 20), await door.answer(run, "b", 20)
        assert one.answer is not None
        assert two.answer is not None
        assert (one.answer.accepted, one.answer.reason) == (False, "negative")
        assert (two.answer.accepted, two.answer.value) == (True, 5)
        assert await bench.result(run, 60) == 5
        again = await Signals(bench.another()).answer(run, "b")
        assert again.answer == two.answer
        with pytest.raises(RunNotFound):
            await door.answer(run, "c")

    virtually([adds], body, table=table)


@workflow
async def answers_elsewhere() -> str:
    async for request in updates("add"):
        with pytest.raises(TaskError, match="in the body"):
            await step("answers", request.accept)
        request.reject("not there")
        break
    return "ended"


def test_an_update_is_answered_in_the_body_alone() -> None:
    """What a step answers would not be there as its run is replayed."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("answers_elsewhere")).run
        await door.send(run, "add", 1, id="a")
        assert (await door.answer(run, "a", 20)).answer == Answer(False, reason="not there")
        assert await bench.result(run, 60) == "ended"

    virtually([answers_elsewhere], body)


def test_an_answer_is_found_that_was_committed_and_not_copied() -> None:
    """A death between the commit and the copy beside the signal takes no answer away."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("adds", most=5)).run
        await asyncio.sleep(1)

        async def dies(*_: Any) -> None:
            return None

        store: Any = bench.engine.services.store
        store.answer = dies
        await door.send(run, "add", 5, id="a")
        told = await door.answer(run, "a", 20)
        assert told.answer is not None
        assert told.answer.value == 5

    virtually([adds], body)


def test_an_update_without_an_answer_at_the_end() -> None:
    """Its sender is told that the run has ended."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("pays", timeout=5)).run
        await door.send(run, "change", 1, id="a")
        with pytest.raises(RunConflict, match="has not answered"):
            await door.answer(run, "a", 60)

    virtually([pays], body)


@workflow
async def fails_behind() -> Any:
    first = await wait_for_signal("x")
    if not FIXED:
        raise RuntimeError("a mistake")
    return [first, await wait_for_signal("x")]


FIXED: list[bool] = []


def test_a_retry_gives_back_what_was_consumed_behind_the_cut() -> None:
    """The history says what was consumed, so a run that goes on from before gets it again."""

    async def body(bench: Bench) -> None:
        FIXED.clear()
        door, run = Signals(bench.engine), (await bench.start("fails_behind")).run
        await asyncio.sleep(1)
        await door.send(run, "x", 1, id="a")
        with pytest.raises(Ended):
            await bench.result(run, 60)
        with pytest.raises(RunConflict):
            await door.send(run, "x", 2, id="b")
        FIXED.append(True)
        await bench.engine.retry(run)
        await asyncio.sleep(1)
        await door.send(run, "x", 2, id="b")
        assert await bench.result(run, 60) == [1, 2]

    virtually([fails_behind], body)


@task
async def tells(run: str, text: str) -> None:
    await send_signal(run, "chat", text)


@workflow
async def speaks(run: str) -> str:
    await send_signal(run, "chat", "from a body")
    await tells(run, "from a task")
    await sleep(1)
    return "said"


@pytest.mark.parametrize("cached", [0, 100])
def test_a_workflow_and_its_tasks_send_once(cached: int) -> None:
    """Replayed at each wake or kept, each call sends one signal."""

    async def body(bench: Bench) -> None:
        listening = (await bench.start("listens", number=2)).run
        assert await bench.run("speaks", 60, run=listening) == "said"
        assert await bench.result(listening, 60) == ["from a body", "from a task"]
        with pytest.raises(Ended) as raised:
            await bench.run("speaks", 60, run=listening)
        assert raised.value.failure is not None
        assert raised.value.failure.type == "TaskError"
        assert "RunConflict" in raised.value.failure.message

    virtually([listens, speaks, tells], body, cached=cached)


@workflow
async def room(name: str) -> list[Any]:
    said = [name]
    async for line in signals("line"):
        if line == "bye":
            return said
        said.append(line)
    return said


@workflow
async def visits(lines: list[str]) -> list[str]:
    return [await signal_or_start(room, "r1", "line", line, "r1") for line in lines]


@pytest.mark.parametrize("table", TABLES)
def test_a_key_finds_its_run_or_starts_it(table: str) -> None:
    """Each signal is got by one run, the next one begins another run, sent at once or in turn."""

    async def body(bench: Bench) -> None:
        door = Signals(bench.engine)
        runs = await bench.run("visits", 60, lines=["a", "b", "bye", "c"])
        assert len(set(runs[:3])) == 1
        assert runs[3] != runs[0]
        assert await bench.result(runs[0], 60) == ["r1", "a", "b"]
        sent = [door.signal_or_start("room", "r2", "line", n, {"name": "r2"}) for n in range(9)]
        found = await asyncio.gather(*sent)
        assert len({header.run for header, _, _ in found}) == 1
        assert sum(new for _, _, new in found) == 1
        await door.send(found[0][0].run, "line", "bye")
        [name, *said] = await bench.result(found[0][0].run, 60)
        assert (name, sorted(said)) == ("r2", list(range(9)))

    virtually([room, visits], body, table=table)


def test_the_same_signal_to_a_key_again_is_got_once() -> None:
    """Also if its run has ended since: no other is begun with it."""

    async def body(bench: Bench) -> None:
        door = Signals(bench.engine)
        header, _, new = await door.signal_or_start(
            "room", "k", "line", "bye", {"name": "k"}, id="s"
        )
        assert new
        assert await bench.result(header.run, 60) == ["k"]
        again, _, new = await door.signal_or_start(
            "room", "k", "line", "bye", {"name": "k"}, id="s"
        )
        assert (again.run, new) == (header.run, False)
        with pytest.raises(RunConflict, match="another signal"):
            await door.signal_or_start("room", "k", "line", "x", {"name": "k"}, id="s")

    virtually([room], body)


def test_a_signal_that_an_ended_run_never_got_begins_the_next() -> None:
    """Whose sender died as the run ended, and sends it again; of ten runs none is read in turn."""

    async def body(bench: Bench) -> None:
        door, dying = Signals(bench.engine), bench.another()
        for number in range(10):
            await door.signal_or_start("room", "k", "line", "bye", {"name": "k"}, id=f"{number}")
            await asyncio.sleep(1)
        last, _, _ = await door.signal_or_start("room", "k", "line", "a", {"name": "k"}, id="a")
        store: Any = dying.services.store
        store._arrive_with = _never
        sending = asyncio.ensure_future(
            Signals(dying).signal_or_start("room", "k", "line", "b", {"name": "k"}, id="b")
        )
        await asyncio.sleep(0.1)
        sending.cancel()
        await bench.engine.kill(last.run)
        first, _, new = await door.signal_or_start("room", "k", "line", "b", {"name": "k"}, id="b")
        again, _, _ = await door.signal_or_start("room", "k", "line", "b", {"name": "k"}, id="b")
        assert (new, again.run) == (True, first.run)
        assert first.run.endswith(".12")
        await door.send(first.run, "line", "bye")
        assert await bench.result(first.run, 60) == ["k", "b"]

    virtually([room], body)


async def _never(*_: Any) -> None:
    await asyncio.Event().wait()


@workflow(singleton="skip")
async def only() -> None:
    await wait_for_signal("line")


@workflow(debounce=debounce(5))
async def gathered() -> None:
    await wait_for_signal("line")


def test_a_signal_to_a_key_is_for_no_run_of_another() -> None:
    """A run that stands for those that are skipped has another key; gathered ones have none."""

    async def body(bench: Bench) -> None:
        door = Signals(bench.engine)
        header, _, _ = await door.signal_or_start("only", "one", "line2", 1, {})
        again, _, _ = await door.signal_or_start("only", "one", "line2", 1, {})
        assert again.run == header.run
        with pytest.raises(RunConflict, match="stands for"):
            await door.signal_or_start("only", "two", "line", 1, {})
        assert (await bench.engine.get(header.run)).signals == 2
        with pytest.raises(InvalidInput, match="debounce"):
            await door.signal_or_start("gathered", "one", "line", 1, {})

    virtually([only, gathered], body)


@workflow
async def adds_to(key: str) -> str:
    return await signal_or_start(room, key, "line", "a", key)


def test_a_key_is_one_of_its_tenant() -> None:
    """Of the same key each tenant has a run; what a run sends is for runs of its own tenant."""

    async def body(bench: Bench) -> None:
        door, given = Signals(bench.engine), {"name": "k"}
        none, _, _ = await door.signal_or_start("room", "k", "line", 1, given)
        acme, _, _ = await door.signal_or_start("room", "k", "line", 1, given, tenant="acme")
        assert (none.tenant, acme.tenant) == ("", "acme")
        run, _ = await bench.engine.start("adds_to", {"key": "k"}, tenant="acme")
        assert await bench.result(run.run, 60) == acme.run

    virtually([room, adds_to], body)


def test_what_cannot_be_sent_is_refused() -> None:
    """A name or an id that cannot be one, a run that there is not, another signal of the id."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("listens", number=9)).run
        for name in ("", "*", "a b", "ü", "x" * 65):
            with pytest.raises(InvalidInput) as refused:
                await door.send(run, name, 1)
            assert refused.value.field == "name"
        for bad in ("", "a\nb", "x" * 129):
            with pytest.raises(InvalidInput) as refused:
                await door.send(run, "chat", 1, id=bad)
            assert refused.value.field == "id"
        for nobody in ("nobody", "", "ü", "\ud800"):
            with pytest.raises(RunNotFound):
                await door.send(nobody, "chat", "x")
        await door.send(run, "chat", "x", id="ü")
        with pytest.raises(RunConflict, match="another signal"):
            await door.send(run, "chat", "y", id="ü")

    virtually([listens], body, table="sqlite")


def test_a_large_value_comes_whole() -> None:
    """What has no room in an item is kept apart, live and on replay."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("listens", number=2)).run
        await asyncio.sleep(1)
        await door.send(run, "chat", "x" * 100_000)
        await asyncio.sleep(1)
        await door.send(run, "chat", "y" * 100_000)
        assert await bench.result(run, 60) == ["x" * 100_000, "y" * 100_000]

    virtually([listens], body, cached=0)


def test_a_stuck_run_keeps_what_it_is_sent() -> None:
    """It gets it once it goes on."""
    broken = [True]

    @workflow
    async def odd() -> Any:
        await step("one" if broken else "other", lambda: None)
        await sleep(2)
        return await wait_for_signal("x")

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("odd")).run
        await asyncio.sleep(0.1)
        bench.engine.services.cache.clear()
        broken.clear()
        await asyncio.sleep(2)
        assert (await bench.engine.get(run)).state is RunState.STUCK
        await door.send(run, "x", 1)
        broken.append(True)
        await bench.engine.resume(run)
        assert await bench.result(run, 60) == 1

    virtually([odd], body)


@workflow
async def takes(number: int) -> list[Any]:
    return [await wait_for_signal("x") for _ in range(number)]


@pytest.mark.parametrize("cached", [0, 100])
def test_odd_values_come_as_they_were_sent(cached: int) -> None:
    """Whatever JSON has, live and on replay."""
    odd: list[Any] = [None, "", "\0ü😀", {"a": [1, {"b": None}]}, -0.0, 2**63 - 1]

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("takes", number=len(odd))).run
        await asyncio.sleep(1)
        for value in odd:
            await door.send(run, "x", value)
        assert await bench.result(run, 60) == odd

    virtually([takes], body, cached=cached)


def test_a_paused_run_keeps_what_it_is_sent() -> None:
    """It goes on with that as it is resumed, and not before."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("takes", number=1)).run
        await asyncio.sleep(1)
        await bench.engine.pause(run)
        await door.send(run, "x", 7)
        await asyncio.sleep(5)
        assert (await bench.engine.get(run)).state is RunState.PAUSED
        await bench.engine.resume(run)
        assert await bench.result(run, 60) == [7]

    virtually([takes], body)


@workflow
async def cleans_up() -> Any:
    try:
        return await wait_for_signal("x")
    except asyncio.CancelledError:
        return await wait_for_signal("x", timeout=30)


def test_a_cancelled_run_may_wait_for_a_signal_as_it_cleans_up() -> None:
    """The wait that was cancelled has taken none; a run that is killed takes none at all."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("cleans_up")).run
        await asyncio.sleep(1)
        await bench.engine.cancel(run)
        await asyncio.sleep(1)
        await door.send(run, "x", 5)
        assert await bench.result(run, 60) == 5
        other = (await bench.start("takes", number=1)).run
        await bench.engine.kill(other)
        with pytest.raises(RunConflict, match="has ended"):
            await door.send(other, "x", 1)

    virtually([cleans_up, takes], body)
