"""Lists of runs: what they have, how they go on, and what they read."""

from __future__ import annotations

import asyncio

import pytest

from rewake import sleep, workflow
from rewake.engine.runs import listing
from rewake.engine.runs.listing import Wanted
from rewake.states import RunState
from tests.support.counting import CountingTable
from tests.support.virtual import TABLES, Bench, virtually


@workflow
async def short() -> None:
    """End at once."""


@workflow
async def lasting() -> None:
    """Last for long."""
    await sleep(10**6)


@workflow
async def fails() -> None:
    """Fail."""
    raise ValueError("no")


async def runs(bench: Bench, *names: str) -> list[str]:
    """Runs of these workflows, a second apart."""
    found = []
    for number, name in enumerate(names):
        header, _ = await bench.engine.start(name, {}, run=f"{name}-{number}")
        found.append(header.run)
        await asyncio.sleep(1)
    return found


async def listed(bench: Bench, wanted: Wanted, limit: int = 50) -> list[str]:
    """All pages of a list."""
    found, cursor = list[str](), None
    while True:
        page, cursor = await bench.engine.listing.page(wanted, limit, cursor)
        found += [header.run for header in page]
        if cursor is None:
            return found


@pytest.mark.parametrize("table", TABLES)
def test_what_is_wanted(table: str) -> None:
    """Runs are chosen by workflow, state, moment and a part of their id, on pages of any size."""

    async def body(bench: Bench) -> None:
        every = await runs(bench, "short", "lasting", "fails", "short", "lasting", "fails")
        every.reverse()
        second = (await bench.engine.get(every[4])).created
        done, failed, parked = RunState.DONE, RunState.FAILED, RunState.PARKED
        for limit in (1, 2, 50):
            for wanted, places in (
                (Wanted(), [0, 1, 2, 3, 4, 5]),
                (Wanted(workflow="lasting"), [1, 4]),
                (Wanted(workflow="lasting", workflows=["short"]), []),
                (Wanted(workflows=["short", "fails"]), [0, 2, 3, 5]),
                (Wanted(states=(done,)), [2, 5]),
                (Wanted(states=(failed, parked)), [0, 1, 3, 4]),
                (Wanted(until=second), [4, 5]),
                (Wanted(until=second - 1), [5]),
                (Wanted(since=second), [0, 1, 2, 3, 4]),
                (Wanted(since=second, until=second), [4]),
                (Wanted(until=-1), []),
                (Wanted(text="ing-"), [1, 4]),
                (Wanted(text="-5"), [0]),
            ):
                assert await listed(bench, wanted, limit) == [every[n] for n in places], wanted

    virtually([short, lasting, fails], body, table=table)


def test_who_started_them() -> None:
    """Runs of one schedule, of any, or of none; also of those that are remembered to have ended."""

    async def body(bench: Bench) -> None:
        for name in ("own", "other"):
            made = (name, bench.engine.services.clock.now())
            await bench.engine.start("short", {}, run=f"of-{name}", scheduled=made)
            await asyncio.sleep(1)
        await runs(bench, "short")
        for _ in range(2):
            assert await listed(bench, Wanted()) == ["short-0", "of-other", "of-own"]
            assert await listed(bench, Wanted(schedule="own")) == ["of-own"]
            assert await listed(bench, Wanted(scheduled=True)) == ["of-other", "of-own"]
            assert await listed(bench, Wanted(scheduled=False)) == ["short-0"]
            assert await listed(bench, Wanted(schedule="own", scheduled=False)) == []

    virtually([short], body)


@pytest.mark.parametrize("looked_at", [1, 3, 1_000])
def test_who_may_not_know_of_all_reads_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, looked_at: int
) -> None:
    """A cursor for them goes on behind all that was looked at, though it names nothing of that."""
    monkeypatch.setattr(listing, "LOOKED_AT", looked_at)
    table = CountingTable()

    async def body(bench: Bench) -> None:
        ours = await runs(bench, *(["lasting"] * 5 + ["short"]) * 3)
        table.count_anew()
        wanted = Wanted(workflows=["short"], states=[RunState.DONE])
        assert await listed(bench, wanted, 1) == [run for run in ours[::-1] if "short" in run]
        assert table.gets <= 2 * 3

    virtually([short, lasting], body, table=table)


def test_many_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list goes on also where more runs were started at one moment than a page looks at."""
    monkeypatch.setattr(listing, "LOOKED_AT", 2)

    async def body(bench: Bench) -> None:
        for number in range(9):
            await bench.engine.start("lasting", {}, run=f"b{number}")
        await bench.engine.start("short", {}, run="z")
        assert await listed(bench, Wanted(workflows=["short"])) == ["z"]

    virtually([short, lasting], body)


def test_what_has_ended_for_good_is_read_once() -> None:
    """A list that does not want a run that is done or cancelled reads its header once."""
    table = CountingTable()

    async def body(bench: Bench) -> None:
        await runs(bench, *["short"] * 30, "fails", "lasting")
        wanted = Wanted(states=[RunState.STUCK])
        assert await listed(bench, wanted) == []
        table.count_anew()
        for _ in range(5):
            assert await listed(bench, wanted) == []
        assert table.gets == 5 * 2  # what failed may be retried, what lasts may end
        assert len(await listed(bench, Wanted(states=[RunState.DONE]))) == 30

    virtually([short, lasting, fails], body, table=table)


def test_counts_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run is counted on one page, in the state in which it is, and if it is wanted."""
    monkeypatch.setattr(listing, "LOOKED_AT", 4)

    async def body(bench: Bench) -> None:
        await runs(bench, *["short", "lasting", "fails"] * 5)
        for _ in range(2):  # also of what is remembered
            for wanted, expected in (
                (Wanted(), {RunState.DONE: 5, RunState.PARKED: 5, RunState.FAILED: 5}),
                (Wanted(workflow="short"), {RunState.DONE: 5}),
                (Wanted(workflows=["fails"]), {RunState.FAILED: 5}),
                (Wanted(states=[RunState.PARKED]), {RunState.PARKED: 5}),
            ):
                states: dict[RunState, int] = {}
                cursor, page = None, 0
                while page == 0 or cursor is not None:
                    counted = await bench.engine.listing.count(wanted, cursor)
                    for state, number in counted.states.items():
                        states[state] = states.get(state, 0) + number
                    cursor, page = counted.cursor, page + 1
                assert states == expected

    virtually([short, lasting, fails], body)
