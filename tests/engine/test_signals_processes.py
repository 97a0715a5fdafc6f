"""Signals where several processes serve one run, and die under it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from rewake import (
    continue_as_new,
    signals,
    sleep,
    step,
    wait_for_approval,
    wait_for_signal,
    workflow,
)
from rewake.authoring.approval import Approval, Decision
from rewake.codecs import AesGcm
from rewake.engine.outside.approvals import Approvals
from rewake.engine.outside.signals import Signals
from rewake.engine.turns.commits import Commits
from rewake.errors import RunConflict
from rewake.records import Started
from rewake.states import RunState
from rewake.stores.memory import MemoryTable
from tests.support.virtual import SECRET, Bench, die, virtually


@workflow
async def listens(number: int) -> list[int]:
    heard: list[int] = []
    async for line in signals("chat", type=int):
        heard.append(await step("note", lambda line=line: line))  # type: ignore[misc]
        if len(heard) == number:
            break
    return heard


@workflow
async def asks_and_listens() -> list[Any]:
    said = asyncio.ensure_future(wait_for_signal("chat"))
    answer = await wait_for_approval("boss")
    return [await said, answer.decision]


@pytest.mark.parametrize("cached", [0, 100])
def test_processes_in_turn_deliver_in_the_order_of_sending(cached: int) -> None:
    """Whichever process takes a signal and whichever goes on with the run, none is passed over."""

    async def body(bench: Bench) -> None:
        engines = bench.share_messages(3)
        doors = [Signals(engine) for engine in engines]
        run = (await bench.start("listens", number=30)).run
        for number in range(30):
            await doors[number % 3].send(run, "chat", number)
            await asyncio.sleep(0.4 if number % 7 == 0 else 0)
        assert await bench.result(run, 60) == list(range(30))

    virtually([listens], body, cached=cached)


def test_many_senders_at_once_lose_and_double_nothing() -> None:
    """Each of a hundred that come at the same moment, some of them twice, is delivered once."""

    async def body(bench: Bench) -> None:
        engines = bench.share_messages(3)
        doors = [Signals(engine) for engine in engines]
        run = (await bench.start("listens", number=100)).run
        sent = [
            doors[(number + again) % 3].send(run, "chat", number, id=f"{number}")
            for number in range(100)
            for again in range(1 + number % 2)
        ]
        await asyncio.gather(*sent)
        assert sorted(await bench.result(run, 60)) == list(range(100))

    virtually([listens], body)


@pytest.mark.parametrize("after", range(8))
def test_a_process_that_dies_takes_no_acknowledged_signal_with_it(after: int) -> None:
    """Another goes on with the run, whichever write of the first was its last."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("listens", number=3)).run
        await asyncio.sleep(1)
        other = bench.another()
        other.open()
        store: Any = bench.engine.services.store
        table, left = store._table, [after]
        write = table.update

        async def last(*args: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                die(bench.engine)
                await asyncio.Event().wait()
            return await write(*args, **more)

        table.update = last
        kept = 0
        for number in range(3):
            sending = asyncio.ensure_future(Signals(bench.engine).send(run, "chat", number))
            done, _ = await asyncio.wait([sending], timeout=1)
            if not done:
                sending.cancel()
                break
            kept += 1
        die(bench.engine)
        bench.engine, table.update = other, write
        for number in range(kept, 3):
            await Signals(other).send(run, "chat", number)
        outcome = await other.result(run, 120)
        assert outcome is not None
        assert (await other.get(run)).state is RunState.DONE
        told = (await Signals(other).sent_to(run)).signals
        assert [each.delivered for each in told].count(True) == 3

    virtually([listens], body)


def test_a_signal_of_a_dead_sender_hides_no_other() -> None:
    """It was never counted, and is got all the same: by how many were got nothing can be known."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("listens", number=3)).run
        dying = bench.another()
        store: Any = dying.services.store
        store._arrive_with = _never
        sending = asyncio.ensure_future(Signals(dying).send(run, "chat", 0))
        await asyncio.sleep(1)
        sending.cancel()
        await Signals(bench.engine).send(run, "chat", 1)
        await asyncio.sleep(1)
        bench.engine.services.cache.clear()
        await Signals(bench.another()).send(run, "chat", 2, carry_on=False)
        assert sorted(await bench.result(run, 60)) == [0, 1, 2]

    virtually([listens], body)


async def _never(*_: Any) -> None:
    await asyncio.Event().wait()


@workflow
async def laps(left: int, said: list[int]) -> list[int]:
    said = [*said, await wait_for_signal("x"), await wait_for_signal("x")]
    if left > 0:
        continue_as_new(left - 1, said)
    return said


def test_laps_go_on_where_the_last_one_was() -> None:
    """What a lap has not consumed is for the next one, and what it has consumed for none."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("laps", left=4, said=[])).run
        for number in range(7):
            await door.send(run, "x", number, id=f"{number}")
        await asyncio.sleep(5)
        assert (await bench.engine.get(run)).lap.number == 4
        for number in (4, 5, 6):  # of this lap and the one before: they are known still
            await door.send(run, "x", number, id=f"{number}")
        for number in range(7, 10):
            await door.send(run, "x", number)
        assert await bench.result(run, 60) == list(range(10))
        told = (await door.sent_to(run)).signals
        kept = [each.signal.id for each in told]
        assert "0" not in kept
        assert "6" in kept
        assert all(each.delivered for each in told)  # those of the lap before, too

    virtually([laps], body, cached=0)
    virtually([laps], body)


class Slow(MemoryTable):
    """A write of it takes longer than it takes until the next signal comes."""

    async def update(self, *where: Any, **changes: Any) -> Any:
        await asyncio.sleep(0.01)
        return await super().update(*where, **changes)


@workflow
async def noisy(kind: str, laps: int = 0) -> int:
    await wait_for_signal("go")
    if kind == "lap" and laps < 2:
        continue_as_new(kind, laps + 1)
    if kind == "sleep":
        await sleep(0.5)
    return laps


@pytest.mark.parametrize("kind", ["end", "lap", "sleep"])
def test_a_stream_of_signals_keeps_no_run_from_ending(kind: str) -> None:
    """Nor from suspending, or from its next lap; none that was acknowledged then is lost."""

    async def body(bench: Bench) -> None:
        run, door = (await bench.start("noisy", kind=kind)).run, Signals(bench.another())
        kept: list[int] = []

        async def send(number: int) -> None:
            with suppress(RunConflict):
                await door.send(run, "noise", number, id=f"{number}")
                kept.append(number)

        async def pour() -> None:
            for number in itertools.count():
                sending.append(asyncio.ensure_future(send(number)))
                await asyncio.sleep(0.004)

        sending: list[asyncio.Future[None]] = []
        pouring = asyncio.ensure_future(pour())
        for _ in range(3):
            await Signals(bench.engine).send(run, "go", None)
        assert await bench.result(run, 3) == (2 if kind == "lap" else 0)
        pouring.cancel()
        await asyncio.gather(*sending)
        told = (await door.sent_to(run)).signals
        assert {int(each.signal.id) for each in told if each.signal.name == "noise"} == {*kept}

    virtually([noisy], body, table=Slow())


@workflow
async def long_laps(number: int, left: int) -> int:
    heard = 0
    async for _ in signals("x"):
        heard += 1
        if heard == number:
            break
    if left:
        continue_as_new(number, left - 1)
    return heard


def test_a_lap_may_hear_of_more_signals_than_an_item_has_room_for() -> None:
    """What it passes on of them lies on the shelf once it is much, and counts all the same."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("long_laps", number=300, left=2)).run
        for lap in range(3):
            for number in range(300):
                await door.send(run, "x", number, id=f"{lap}-{number}-{'x' * 110}")
            await asyncio.sleep(1)
            bench.engine.services.cache.clear()
            await door.send(run, "x", 0, id=f"{lap}-0-{'x' * 110}")
            store = bench.engine.services.store
            [begun, *_] = (await store.entries(header := await store.header(run))).entries
            assert isinstance(begun, Started)
            assert (bool(begun.lap.blob), begun.lap.heard) == (header.lap.number > 1, [])
        assert await bench.result(run, 60) == 300
        kept = [told.signal.id[0] for told in (await door.sent_to(run)).signals]
        assert (kept.count("0"), kept.count("1"), kept.count("2")) == (0, 300, 300)

    virtually([long_laps], body)


@workflow
async def keeps_a_secret() -> str:
    return "".join([line async for line in _two()])


async def _two() -> AsyncIterator[str]:
    for _ in range(2):
        yield await wait_for_signal("said", type=str)


def test_with_a_codec_nothing_of_a_signal_can_be_read() -> None:
    """What it says is sealed in its item and in the history, and comes as it was sent."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("keeps_a_secret")).run
        await door.send(run, "said", "tell no", id="a")
        await asyncio.sleep(1)
        await door.send(run, "said", "body", id="b")
        assert await bench.result(run, 60) == "tell nobody"
        [told, _] = (await door.sent_to(run)).signals
        assert b"tell no" not in bytes(told.signal.value.body)
        again = await door.send(run, "said", "body", id="b")
        assert again.id == "b"

    codec = AesGcm({"k1": bytes(32)})
    virtually([keeps_a_secret], body, secret=SECRET.with_codec(codec), cached=0)


def test_a_signal_that_comes_as_a_turn_begins_is_not_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It counts from then on; the header from before it does not say that it is a signal.

    That shows where something else has come by another process, of which nothing was heard here.
    """
    armed: list[str] = []

    async def body(bench: Bench) -> None:
        other, door = bench.another(), Signals(bench.engine)
        run = (await bench.start("asks_and_listens")).run
        await asyncio.sleep(1)
        close_joins = Commits.close_joins

        async def late(commits: Commits) -> bool:
            while armed:
                await door.send(armed.pop(), "chat", 7)
            return await close_joins(commits)

        monkeypatch.setattr(Commits, "close_joins", late)
        armed.append(run)
        approved = Approval(Decision.APPROVED)
        await Approvals(other).decide(run, "boss", approved, carry_on=False)
        assert await bench.result(run, 60) == [7, "approved"]

    virtually([asks_and_listens], body)
