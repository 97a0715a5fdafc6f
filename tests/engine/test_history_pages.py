"""A history in pages: together they say what the whole says, and each reads little."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

import msgspec
import pytest

from rewake import parallel, race, sleep, step, task, wait_for_approval, workflow
from rewake.errors import InvalidInput
from rewake.kinds import Kind
from rewake.records import Chunk, Entry, Header
from rewake.states import RunState
from rewake.stores.keys import chunk_key, chunk_number
from rewake.stores.pages import Place
from rewake.stores.reads import Reads
from rewake.views import history_pages
from rewake.views.history_pages import Asked, HistoryPage, Only, history_page, one_operation
from rewake.views.log_pages import Lines, LogPlace, log_page
from rewake.views.timeline import timeline
from rewake.views.values import Values
from tests.support.counting import CountingTable
from tests.support.virtual import SECRET, TABLES, Bench, virtually

log = logging.getLogger("app.pages")


@task(retries=1, delay=1)
async def add(number: int) -> int:
    """Cheap work, of which each seventh fails."""
    log.warning("adding %d", number)
    log.warning("once more")
    if number % 7 == 6:
        raise ValueError(f"not {number}")
    return number


async def one(number: int) -> int:
    try:
        return await add(number)
    except Exception:
        return 0


@workflow
async def sequence(count: int) -> int:
    """Steps, one after another."""
    for number in range(count):
        await step("stamp", partial(int, number))
        log.warning("after %d", number)
        log.warning("once more")
    return count


@workflow
async def wide(count: int) -> int:
    """Tasks, all at once, within a time that is long enough."""
    async with asyncio.timeout(10**6):
        return sum(await parallel(range(count), one))


@workflow
async def steps_at_once(count: int) -> int:
    """Steps, all asked for before the first ends."""
    return sum(await asyncio.gather(*(step("stamp", partial(int, n)) for n in range(count))))


@workflow
async def losers(count: int) -> str:
    """Races, of which one side is withdrawn."""

    async def late() -> str:
        await sleep(100)
        return "late"

    async def soon() -> str:
        await sleep(1)
        return "soon"

    for _ in range(count):
        await race(late(), soon())
    return "raced"


@workflow
async def asks(count: int) -> None:
    """Work, and then a person."""
    for number in range(count):
        await step("stamp", partial(int, number))
    await wait_for_approval("manager")


failures = {"left": 0}


@workflow
async def fails_once(count: int) -> int:
    """Work that is retried by a person."""
    for number in range(count):
        await step("stamp", partial(int, number))
    if failures["left"]:
        failures["left"] -= 1
        raise ValueError("not yet")
    return await sequence(count)


ALL = [sequence, wide, steps_at_once, losers, asks, fails_once]


async def pages(store: Reads, header: Header, asked: Asked) -> list[HistoryPage]:
    """All pages of a history."""
    found, place = [], Place(round=header.round)
    while True:
        page = await history_page(store, header, place, asked)
        found.append(page)
        assert page.place.index > place.index or not page.more
        place = page.place
        if not page.more:
            return found


def merged(found: list[HistoryPage]) -> tuple[list[dict[str, Any]], dict[str, tuple[Any, ...]]]:
    """The entries, and by key in order the state and end of each operation: the last word."""
    entries = [entry for page in found for entry in page.entries]
    operations: dict[str, tuple[Any, ...]] = {}
    for page in found:
        for view in page.operations:
            assert view.key not in operations, "an operation is listed once"
            operations[view.key] = (view.state, view.ended)
        for changed in page.changed:
            operations[changed.key] = (changed.state, changed.ended)
    return entries, operations


async def ran(bench: Bench, name: str, count: int) -> str:
    """A run that has done all that it can."""
    failures["left"] = 1
    run = (await bench.start(name, count=count)).run
    await asyncio.sleep(50)
    if name == "fails_once":
        await bench.engine.retry(run)
        await asyncio.sleep(50)
    return run


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", [each.name for each in ALL])
def test_pages_say_what_the_whole_says(
    name: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the size of a page, all entries come once, in order and with their moments and
    values, each operation is listed once, and the last word on it is how it stands.
    """

    async def body(bench: Bench) -> None:
        run, store = await ran(bench, name, 12), bench.engine.services.store
        header, history = await bench.engine.history(run, whole=True)
        values = Values(SECRET, run)
        whole, views = timeline(history, values)
        assert header.base
        found: list[HistoryPage] = []

        for limit, ahead in ((1, 0), (7, 0), (7, 1_000), (1_000, 0)):
            monkeypatch.setattr(history_pages, "AHEAD", ahead)
            found = await pages(store, header, Asked(limit, values=values))
            entries, operations = merged(found)
            assert msgspec.json.encode(entries) == msgspec.json.encode(whole)
            assert list(operations.items()) == [(v.key, (v.state, v.ended)) for v in views]
        assert msgspec.json.encode(found[0].operations) == msgspec.json.encode(views)

    virtually(ALL, body, table=table)


@pytest.mark.parametrize("name", [each.name for each in ALL])
def test_one_operation(name: str) -> None:
    """One operation is shown as it is in the whole history, from wherever it is looked for."""

    async def body(bench: Bench) -> None:
        run, store = await ran(bench, name, 8), bench.engine.services.store
        header, history = await bench.engine.history(run, whole=True)
        asked = Asked(1, values=Values(SECRET, run))
        by_key = {view.key: view for view in timeline(history, asked.values)[1]}

        begin = Place(round=header.round)
        for page in await pages(store, header, Asked(5)):
            for key in [view.key for view in page.operations]:
                for place in (Place(round=header.round), begin):
                    found = await one_operation(store, header, place, key, asked)
                    assert msgspec.json.encode(found) == msgspec.json.encode(by_key[key])
            begin = page.place
        assert await one_operation(store, header, Place(round=header.round), "no", asked) is None

    virtually(ALL, body)


def test_what_is_on_a_later_page_is_not_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that another process may be at is said to run only where nothing later says more."""
    monkeypatch.setattr(history_pages, "AHEAD", 0)

    async def body(bench: Bench) -> None:
        run, store = await ran(bench, "steps_at_once", 40), bench.engine.services.store
        header = await bench.engine.get(run)
        found = await pages(store, header, Asked(1, elsewhere="host:1"))
        states = {view.state for page in found for view in page.operations}
        assert "waiting" in states
        assert "running" not in states

    virtually(ALL, body)


def test_what_failed_commits_left_behind_is_not_shown() -> None:
    """Chunks that no header leads to are passed over, however many and wherever they are."""

    async def body(bench: Bench) -> None:
        run, store = await ran(bench, "sequence", 40), bench.engine.services.store
        header = await bench.engine.get(run)
        whole = (await store.entries(header)).entries
        stored = (await bench.table.query(f"R#{run}", "C#")).items
        assert len(stored) > 3
        for key, chunk in stored:
            number = chunk_number(key.sort)
            for mark in ("!", "~"):  # before and behind those that count
                first, second = (chunk_key(run, number + n, f"{mark}{number}") for n in (0, 1))
                await bench.table.put(first, Chunk(chunk.previous, chunk.entries[:1]))
                await bench.table.put(second, Chunk(first.sort, chunk.entries[:1]))

        found: list[Entry] = []
        for limit in (1, 3, 1_000):
            entries, _ = merged(await pages(store, header, Asked(limit)))
            assert len(entries) == len(whole)
        parts = store.parts(header, Place())
        while (part := await parts.next()) is not None:
            assert part.start == len(found)
            found += part.entries
        assert found == whole

    virtually(ALL, body)


def test_a_page_reads_little() -> None:
    """What a page reads depends on its size, not on how long the history is or where it stands."""
    table = CountingTable()

    async def body(bench: Bench) -> None:
        run, store = await ran(bench, "sequence", 600), bench.engine.services.store
        header = await bench.engine.get(run)
        assert header.count > 1_200
        place, read = Place(), []
        while place.index < header.count:
            table.count_anew()
            place = (await history_page(store, header, place, Asked(50))).place
            read.append(table.items + table.gets)
        assert max(read) < 120, read

    virtually(ALL, body, table=table)


def test_a_page_of_large_values_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values end a page before they fill the memory; one entry it has in any case."""
    monkeypatch.setattr(history_pages, "MOST_BYTES", 10)

    async def body(bench: Bench) -> None:
        run, store = await ran(bench, "sequence", 30), bench.engine.services.store
        header = await bench.engine.get(run)
        found = await pages(store, header, Asked(1_000, values=Values(SECRET, run)))
        assert len(found) > 3
        assert sum(len(page.entries) for page in found) == header.count

    virtually(ALL, body)


def test_pages_while_a_run_goes_on() -> None:
    """Who goes on from where a page ended is told of all that came since, and of nothing twice."""

    async def body(bench: Bench) -> None:
        store, run = bench.engine.services.store, (await bench.start("losers", count=9)).run
        place, entries = Place(), []
        while True:
            header = await bench.engine.get(run)
            page = await history_page(store, header, place, Asked(1_000))
            entries += page.entries
            place = page.place
            if header.state is RunState.DONE:
                break
            await asyncio.sleep(1.5)
        history = (await bench.engine.history(run, whole=True))[1]
        assert entries == timeline(history)[0]

    virtually(ALL, body)


def test_a_place_in_another_history() -> None:
    """A place from before a retry, or of no history, is refused, and is never another run's."""

    async def body(bench: Bench) -> None:
        store, run = bench.engine.services.store, (await bench.start("fails_once", count=30)).run
        failures["left"] = 1
        await asyncio.sleep(50)
        before = await history_page(store, await bench.engine.get(run), Place(), Asked(20))
        await bench.engine.retry(run)
        await asyncio.sleep(50)
        header = await bench.engine.get(run)
        assert header.round == 1
        for place in (
            before.place,
            Place(3),
            Place(5, "C#99999999#x", 2, 1),
            Place(5, "C#00000000#none", 2, 1),
        ):
            with pytest.raises(InvalidInput):
                await history_page(store, header, place, Asked(1_000))

    virtually(ALL, body)


@pytest.mark.parametrize("table", TABLES)
def test_pages_of_logs(table: str) -> None:
    """Each line comes once, whatever the size of a page; one page has all in the order of time."""

    async def body(bench: Bench) -> None:
        store = bench.engine.services.store
        for name in ("sequence", "wide"):
            header = await bench.engine.get(await ran(bench, name, 10))
            for key in (None, "", "parallel[6]/add"):
                whole = await lines(store, header, Lines(key), 1_000)
                assert len(whole) == 1
                assert [each["at"] for each in whole[0]] == sorted(e["at"] for e in whole[0])
                kept = await bench.engine.logs(header.run, key)
                assert len(whole[0]) == sum(len(batch.lines) for batch in kept)
                for limit in (1, 3):
                    found = await lines(store, header, Lines(key), limit)
                    assert all(len(page) <= limit for page in found)
                    told = [msgspec.json.encode(line) for page in found for line in page]
                    assert sorted(told) == sorted(map(msgspec.json.encode, whole[0]))

    virtually([*ALL, add], body, table=table)


def test_lines_that_are_wanted() -> None:
    """Lines are chosen by their level and by a text."""

    async def body(bench: Bench) -> None:
        store, run = bench.engine.services.store, await ran(bench, "sequence", 10)
        header = await bench.engine.get(run)
        [page] = await lines(store, header, Lines(level="WARNING", text="after 3"), 10)
        assert [line["message"] for line in page] == ["after 3"]
        assert await lines(store, header, Lines(level="ERROR"), 10) == [[]]

    virtually(ALL, body)


async def lines(
    store: Reads, header: Header, wanted: Lines, limit: int
) -> list[list[dict[str, Any]]]:
    """All pages of a log."""
    found, place = [], LogPlace()
    while True:
        page = await log_page(store, header, place, wanted, limit)
        found.append(page.lines)
        if page.place is None:
            return found
        place = page.place


def test_operations_that_are_wanted() -> None:
    """Operations are chosen by kind, by where they are, and by a text in their key."""

    async def body(bench: Bench) -> None:
        store, run = bench.engine.services.store, await ran(bench, "wide", 12)
        header = await bench.engine.get(run)
        for only, number in (
            (Only(Kind.TASK), 12),
            (Only(Kind.TIMER), 1),
            (Only(under="parallel[1]"), 1),
            (Only(under="parallel"), 12),
            (Only(under="para"), 0),
            (Only(text="[1"), 3),
        ):
            found = await pages(store, header, Asked(5_000, 3, only))
            assert len(merged(found)[1]) == number, only
            assert all(len(page.operations) <= 3 for page in found)

    virtually([*ALL, add], body)
