"""Silence: a callback whose machine is heard of no more ends, and one that beats does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import callback, parallel, race, sleep, workflow
from rewake.engine.outside.callbacks import Callbacks
from rewake.engine.turns.deliveries import Deliveries
from rewake.errors import LinkExpired
from rewake.records import LATEST, Invocation, Operation
from rewake.testing.clock import EPOCH
from tests.engine.test_callbacks import SENT, URL, pays, send, token_of
from tests.support.counting import CountingTable
from tests.support.virtual import TABLES, Bench, Ended, die, virtually

SILENT = "late: nothing was heard of it for too long: no heartbeat came"


async def item_of(bench: Bench, run: str) -> Operation:
    """The item of the callback."""
    item = await bench.engine.services.store.operation(run, "payment")
    assert item is not None
    return item


@pytest.mark.parametrize("table", TABLES)
def test_silence_from_the_start_ends_it(table: str) -> None:
    """Nothing at all was heard: the wait ends when it may, in a `TimeoutError`."""

    async def body(bench: Bench) -> None:
        run, _ = await token_of(bench, heartbeat=10)
        assert await bench.result(run) == SILENT
        assert 10 <= bench.seconds < 11.5

    virtually([pays, send], body, table=table, url=URL)


@pytest.mark.parametrize("table", TABLES)
def test_each_beat_moves_the_end(table: str) -> None:
    """It lives as long as it beats, and is over one silence after the last beat, at a sweep."""

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, heartbeat=10)
        for _ in range(9):
            await asyncio.sleep(8)
            now = EPOCH + round(bench.seconds * 1000)
            assert await Callbacks(bench.engine).heartbeat(token) == now + 10_000
        last = bench.seconds
        assert await bench.result(run) == SILENT
        assert 10 <= bench.seconds - last < 11.5
        with pytest.raises(LinkExpired, match="time"):
            await Callbacks(bench.engine).heartbeat(token)

    virtually([pays, send], body, table=table, url=URL)


def test_a_beat_wakes_nobody() -> None:
    """Once the first silence has passed, the run is not claimed for it, however often it beats."""

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, heartbeat=10)
        headers = []
        for _ in range(50):
            await asyncio.sleep(5)
            await Callbacks(bench.engine).heartbeat(token)
            headers.append(await bench.engine.get(run))
        assert len({header.epoch for header in headers[3:]}) == 1
        assert len({header.arrivals for header in headers}) == 1
        assert headers[-1].due is None
        await Callbacks(bench.engine).complete(token, {"amount": 1})
        assert await bench.result(run) == [1, "card"]

    virtually([pays, send], body, url=URL)


def test_beats_that_come_at_once_are_one() -> None:
    """A machine that beats without a pause costs a write a second at most; the answer is true."""

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, heartbeat=10)
        seen = set()
        for _ in range(100):
            await asyncio.sleep(0.02)
            until = await Callbacks(bench.engine).heartbeat(token)
            assert until == (await item_of(bench, run)).lease
            seen.add(until)
        assert len(seen) <= 3

    virtually([pays, send], body, url=URL)


def test_without_a_silence_a_beat_is_only_answered() -> None:
    """It says until when the wait is open, and writes nothing."""

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, timeout=100)
        header = await bench.engine.get(run)
        assert await Callbacks(bench.engine).heartbeat(token) == header.wake
        assert await bench.engine.services.store.operation(run, "payment") is None

    virtually([pays, send], body, url=URL)


@pytest.mark.parametrize("end", ["kill", "pause"])
def test_silence_is_noticed_after_a_death_or_a_pause(end: str) -> None:
    """By any process, at its first sweep; what was heard meanwhile by another one counts."""

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, heartbeat=30)
        await asyncio.sleep(20)
        await Callbacks(bench.engine).heartbeat(token)
        if end == "kill":
            die(bench.engine)
        else:
            await bench.engine.close()
        other = bench.another()
        await asyncio.sleep(20)
        await Callbacks(other).heartbeat(token)
        await asyncio.sleep(20)  # past the silence that the dead one knew of
        other.open()
        bench.engine = other
        await asyncio.sleep(9)
        assert (await item_of(bench, run)).outcome is None
        assert await bench.result(run, 4) == SILENT

    virtually([pays, send], body, url=URL)


def test_what_comes_before_silence_is_noticed_counts() -> None:
    """Nobody could be heard while no process ran: a machine that comes back was not silent."""

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, heartbeat=10)
        await asyncio.sleep(5)
        await Callbacks(bench.engine).heartbeat(token)
        await bench.engine.close()
        other = bench.another()
        await asyncio.sleep(60)
        await Callbacks(other).heartbeat(token)
        other.open()
        bench.engine = other
        await asyncio.sleep(5)
        await Callbacks(other).complete(token, {"amount": 2})
        assert await bench.result(run) == [2, "card"]

    virtually([pays, send], body, url=URL)


def test_a_call_that_ends_it_is_looked_for_soon_although_it_has_beaten() -> None:
    """Its deliverer dies before the run hears of it: nobody waits until the silence would end."""

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, heartbeat=3600)
        callbacks = Callbacks(bench.engine)
        await callbacks.heartbeat(token)
        store: Any = bench.engine.services.store
        store._arrive = _never
        store._arrive_and_claim = _never
        calling = asyncio.ensure_future(callbacks.complete(token, {"amount": 2}))
        await asyncio.sleep(1)
        die(bench.engine)
        bench.engine = bench.another()
        bench.engine.open()
        assert await bench.result(run, 30) == [2, "card"]
        calling.cancel()

    virtually([pays, send], body, url=URL)


async def _never(*_: Any, **__: Any) -> None:
    await asyncio.Event().wait()


def test_a_silent_branch_ends_the_wait_for_all() -> None:
    """Its failure is observed at once, although others under the same barrier go on."""

    @workflow
    async def many() -> Any:
        async def one(silence: int) -> Any:
            wait = callback("one", heartbeat_timeout=silence)
            await send(wait.url)
            return await wait

        try:
            return await parallel([10, 5000, 5000], one)
        except TimeoutError:
            return "late"

    async def body(bench: Bench) -> None:
        run, _ = await token_of(bench, "many")
        assert await bench.result(run, 20) == "late"

    virtually([many, send], body, url=URL)


def test_silence_begins_anew_when_a_failed_run_goes_on() -> None:
    """Nobody could beat while the run had failed."""

    @workflow
    async def waits() -> Any:
        wait = callback("payment", heartbeat_timeout=10)
        await send(wait.url)
        await sleep(8)
        return await wait

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, "waits")
        await asyncio.sleep(5)
        await Callbacks(bench.engine).heartbeat(token)
        with pytest.raises(Ended, match="TimeoutError"):
            await bench.result(run)
        await asyncio.sleep(100)
        await bench.engine.retry(run)
        for _ in range(4):
            await asyncio.sleep(8)
            await Callbacks(bench.engine).heartbeat(token)
        await Callbacks(bench.engine).complete(token, "paid")
        assert await bench.result(run) == "paid"

    virtually([waits, send], body, url=URL)


def test_a_raced_silence_disturbs_nobody() -> None:
    """What was withdrawn after it had beaten leaves nothing due."""

    @workflow
    async def races() -> Any:
        async def beats() -> Any:
            wait = callback("payment", heartbeat_timeout=10)
            await send(wait.url)
            return await wait

        won = await race(beats(), sleep(15))
        await sleep(60)
        return won

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, "races")
        for _ in range(2):
            await asyncio.sleep(6)
            await Callbacks(bench.engine).heartbeat(token)
        await asyncio.sleep(10)
        with pytest.raises(LinkExpired):
            await Callbacks(bench.engine).heartbeat(token)
        assert await bench.result(run) is None
        await asyncio.sleep(30)
        assert not await bench.table.due(LATEST, limit=10)

    virtually([races, send], body, url=URL)


def test_a_beat_that_was_answered_is_not_overtaken() -> None:
    """A sweep had looked at the item before it came: it finds nothing to end."""

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, heartbeat=10)
        await asyncio.sleep(5)
        await Callbacks(bench.engine).heartbeat(token)
        seen = await item_of(bench, run)
        await asyncio.sleep(9)
        await Callbacks(bench.engine).heartbeat(token)
        await Deliveries(bench.engine.services).fall_silent(seen)
        assert (await item_of(bench, run)).outcome is None
        seen = await item_of(bench, run)
        await Deliveries(bench.engine.services).fall_silent(seen)
        assert await bench.result(run) == SILENT

    virtually([pays, send], body, url=URL)


def test_silence_waits_no_longer_after_the_clock_was_set_back() -> None:
    """A clock that was an hour ahead and is set right makes no silence an hour longer."""

    async def body(bench: Bench) -> None:
        clock: Any = bench.engine.services.clock
        right, ahead = clock.now, [3_600_000]
        clock.now = lambda: right() + ahead[0]
        run, token = await token_of(bench, heartbeat=30)
        await asyncio.sleep(10)
        await Callbacks(bench.engine).heartbeat(token)
        await asyncio.sleep(10)
        ahead[0] = 0
        await bench.result(run, 100)

    virtually([pays, send], body, url=URL)


def test_a_silence_of_millennia_is_no_silence() -> None:
    """It ends at the end of time, as each longer wait does."""

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, heartbeat=10.0**13)
        assert (await bench.engine.get(run)).wake == LATEST
        assert await Callbacks(bench.engine).heartbeat(token) == LATEST
        await Callbacks(bench.engine).complete(token, {"amount": 1})
        assert await bench.result(run) == [1, "card"]

    virtually([pays, send], body, url=URL)


def test_what_is_not_awaited_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """A callback that the body left behind, and that failed or fell silent, ends no run."""

    @workflow
    async def leaves() -> str:
        for silence in (None, 5):
            await send(callback("left", heartbeat_timeout=silence).url)
        await sleep(60)
        return "done"

    async def body(bench: Bench) -> None:
        run, _ = await token_of(bench, "leaves")
        await Callbacks(bench.engine).fail(SENT[0].rpartition("/")[2], "No")
        assert await bench.result(run) == "done"
        told = [each.getMessage() for each in caplog.records]
        assert len(told) == 2  # that nobody awaits them, and nothing else
        assert all("never awaited the callback 'left'" in each for each in told)

    with caplog.at_level("WARNING"):
        virtually([leaves, send], body, url=URL)


def test_silence_ends_a_wait_as_of_its_moment() -> None:
    """However late a process sees it: one silence after what was heard last."""

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, heartbeat=10)
        await asyncio.sleep(5)
        until = await Callbacks(bench.engine).heartbeat(token)
        await bench.engine.close()
        await asyncio.sleep(60)
        bench.engine = bench.another()
        # As where the index is behind: the run is looked at first, and not the callback.
        bench.engine.open()
        bench.engine._sweeper.close()
        await bench.engine.handle(Invocation(run))
        assert await bench.result(run) == SILENT
        assert (await item_of(bench, run)).at == until

    virtually([pays, send], body, url=URL)


def test_a_beat_costs_one_write() -> None:
    """And none of the due index but once a silence; the history is not read for it."""
    table = CountingTable()

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, heartbeat=100)
        await Callbacks(bench.engine).heartbeat(token)
        table.count_anew()
        for _ in range(9):
            await asyncio.sleep(10)
            await Callbacks(bench.engine).heartbeat(token)
        assert (table.writes, table.index, table.items) == (9, 0, 0)
        await bench.engine.kill(run)

    virtually([pays, send], body, table=table, url=URL)
