"""Starts that are gathered: nothing that was answered is lost, whoever dies, and one run has it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from rewake import batch, concurrency, debounce, step, workflow
from rewake.app import App
from rewake.engine.starts.gathering import Gathering
from rewake.engine.starts.starting import IfFinished
from rewake.errors import RunConflict
from rewake.kinds import Purpose
from rewake.records import Header
from rewake.states import RunState
from rewake.testing.clock import EPOCH
from rewake.values.run_codec import RunCodec
from tests.support.emptied import emptied
from tests.support.virtual import TABLES, Bench, die, virtually

begun: list[object] = []
most: Counter[str] = Counter()
_emptied = emptied(begun, most)
everywhere = pytest.mark.parametrize("table", TABLES)


@workflow(debounce=debounce(10, longest=25, key=lambda page: page))
async def index(page: str, version: int) -> int:
    await step("index", lambda: begun.append((page, version)))
    return version


@workflow(batch=batch(4, within=30))
async def send(items: list[int]) -> list[int]:
    await step("send", lambda: begun.append(list(items)))
    return items


@workflow(batch=batch(3, within=5, key=lambda items: items[0] % 2), limits=concurrency(1))
async def paired(items: list[int]) -> list[int]:
    return items


@workflow(batch=batch(100, within=5))
async def pages(items: list[str]) -> int:
    return len(items)


members = [index, send, paired, pages]


def test_a_run_that_is_started_anew_gathers_nothing() -> None:
    """Each has the input of its run, whole, and begins at once; none joins what is gathered now."""

    async def body(bench: Bench) -> None:
        runs = [await bench.start("send", items=[n, n]) for n in range(2)]
        assert await bench.result(runs[0].run) == [0, 0, 1, 1]
        other = await bench.start("send", items=[7, 7, 7, 7])
        assert await bench.result(other.run) == [7, 7, 7, 7]
        open_ = await bench.start("send", items=[9])
        before = bench.seconds
        made = [await bench.engine.rerun(run) for run in (runs[0].run, other.run, runs[0].run)]
        results = [await bench.result(each.run) for each in made]
        assert results == [[0, 0, 1, 1], [7, 7, 7, 7], [0, 0, 1, 1]]
        assert bench.seconds - before < 5
        assert await bench.result(open_.run) == [9]

    virtually(members, body)


@everywhere
def test_the_last_start_within_the_time_wins(table: str) -> None:
    """Starts within ten seconds of the one before are one run, which has the newest input."""

    async def body(bench: Bench) -> None:
        runs = []
        for version in range(3):
            runs.append(await bench.engine.start("index", {"page": "a", "version": version}))
            await asyncio.sleep(5)
        assert len({header.run for header, _ in runs}) == 1
        assert [new for _, new in runs] == [True, False, False]
        assert await bench.result(runs[0][0].run) == 2
        assert 20 <= bench.seconds < 21
        assert begun == [("a", 2)]
        later, new = await bench.engine.start("index", {"page": "a", "version": 9})
        assert new
        assert await bench.result(later.run) == 9

    virtually(members, body, table=table)


def test_a_debounce_begins_in_the_end() -> None:
    """However often it is started, it begins after the longest time, and the next one gathers."""

    async def body(bench: Bench) -> None:
        runs = []
        for version in range(10):
            runs.append(await bench.start("index", page="a", version=version))
            await asyncio.sleep(4)
        await asyncio.sleep(30)
        assert len({header.run for header in runs}) == 2
        assert begun == [("a", 6), ("a", 9)]

    virtually(members, body)


def test_each_key_gathers_for_itself() -> None:
    """Another page is another run."""

    async def body(bench: Bench) -> None:
        one = await bench.start("index", page="a", version=1)
        two = await bench.start("index", page="b", version=2)
        assert one.run != two.run
        assert [await bench.result(each.run) for each in (one, two)] == [1, 2]
        other, _ = await bench.engine.start("index", {"page": "c", "version": 1}, tenant="t1")
        third, _ = await bench.engine.start("index", {"page": "c", "version": 2}, tenant="t2")
        assert other.run != third.run  # nobody gathers what another tenant has sent

    virtually(members, body)


@everywhere
def test_a_batch_begins_when_it_is_full(table: str) -> None:
    """Four items are one run, from however many starts; the fifth is of the next one."""

    async def body(bench: Bench) -> None:
        made = [await bench.start("send", items=[n]) for n in range(5)]
        assert len({header.run for header in made}) == 2
        assert await bench.result(made[0].run) == [0, 1, 2, 3]
        assert bench.seconds < 1
        assert await bench.result(made[4].run) == [4]
        assert 30 <= bench.seconds < 31

    virtually(members, body, table=table)


def test_starts_at_once_lose_nothing() -> None:
    """Of thirty starts side by side each item is in one run, and in one only."""

    async def body(bench: Bench) -> None:
        made = await asyncio.gather(*(bench.start("send", items=[n]) for n in range(30)))
        for run in {header.run for header in made}:
            await bench.result(run)
        assert sorted(n for each in begun for n in each) == list(range(30))  # type: ignore[attr-defined]

    virtually(members, body)


@everywhere
def test_a_run_keeps_no_more_than_it_begins_with(table: str) -> None:
    """What a start has replaced is gone, so that what is read does not grow with all that was."""

    async def body(bench: Bench) -> None:
        made = await asyncio.gather(
            *(bench.start("pages", items=["x" * 500]) for _ in range(20)),
            bench.start("pages", items=[]),
        )
        [run] = {header.run for header in made}
        page = await bench.table.query(f"R#{run}", limit=100)
        assert len([key for key, _ in page.items if key.sort.startswith("C#")]) == 1
        assert await bench.result(run) == 20

    virtually(members, body, table=table)


def test_a_start_that_is_sent_twice_is_in_its_batch_once() -> None:
    """It is known by its id, the first one and those that have joined."""

    async def body(bench: Bench) -> None:
        for n, run in enumerate(["a", "a", "b", "b", "c", "b"]):
            del n
            await bench.engine.start("send", {"items": [ord(run)]}, run=run)
        assert await bench.result("a") == [97, 98, 99]

    virtually(members, body)


def test_a_start_that_is_sent_twice_as_its_batch_is_due_is_in_one_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever found that gathering may join it until it has begun, though its time is over."""
    go, add, slow = asyncio.Event(), Gathering._add, ["b"]

    async def late(gathering: Gathering, pending: Header, start: str, *more: Any) -> Header | None:
        if slow and start == slow.pop():
            await go.wait()
        return await add(gathering, pending, start, *more)

    async def body(bench: Bench) -> None:
        other = bench.another()
        await bench.engine.start("send", {"items": [1]}, run="a")
        monkeypatch.setattr(Gathering, "_add", late)
        first = asyncio.ensure_future(bench.engine.start("send", {"items": [2]}, run="b"))
        await asyncio.sleep(31)
        found, _ = await other.start("send", {"items": [2]}, run="b")
        go.set()
        assert (await first)[0].run == found.run == "a"
        await bench.engine.sweep()
        assert await bench.result("a") == [1, 2]

    virtually(members, body, sweeps=False)


@pytest.mark.parametrize("workflow", ["send", "index"])
def test_a_start_whose_answer_got_lost_is_that_run_also_once_it_has_begun(workflow: str) -> None:
    """However many have joined after it; and after a death between its two writes, the newest."""

    async def body(bench: Bench) -> None:
        def given(n: int) -> dict[str, object]:
            return {"items": [n]} if workflow == "send" else {"page": "a", "version": n}

        async def again(n: int) -> str:
            return (await bench.engine.start(workflow, given(n), idempotency_key=f"{n}"))[0].run

        runs = [await again(n) for n in range(3)]
        store: Any = bench.engine.services.store
        keep, store.keep_gathered = store.keep_gathered, _nothing
        runs.append(await again(3))
        store.keep_gathered = keep
        await bench.result(runs[0])
        assert len({*runs}) == 1
        assert [await again(n) for n in range(4)] == runs
        later = [await again(n) for n in range(4, 8)]
        await bench.result(later[0])
        assert [await again(n) for n in (*range(3), *range(4, 8))] == runs[:3] + later
        assert len(begun) == 2
        await asyncio.sleep(86_500)
        assert await store.gathered((await bench.engine.get(runs[0])).run) is None
        assert not await store.due(EPOCH + 2 * 86_400_000, limit=9)

    virtually(members, body, sweep=20_000, lease=60_000)


async def _nothing(*_: object) -> None: ...


def test_a_key_that_is_started_anew_is_gathered_anew() -> None:
    """A policy is for the run that has the start, also where that has another id."""

    async def body(bench: Bench) -> None:
        async def start(key: str) -> str:
            given = {"page": "a", "version": 1}
            found, _ = await bench.engine.start(
                "index", given, idempotency_key=key, if_finished=IfFinished.RESTART
            )
            return found.run

        first, second = await start("one"), await start("two")
        assert first == second
        await bench.result(first)
        third, fourth = await start("two"), await start("one")
        assert third == fourth != first
        await bench.result(third)
        with pytest.raises(RunConflict, match="if_finished=reject"):
            await bench.engine.start(
                "index",
                {"page": "a", "version": 1},
                idempotency_key="one",
                if_finished=IfFinished.REJECT,
            )

    virtually(members, body)


@pytest.mark.parametrize("named", [False, True])
def test_a_list_that_a_deploy_has_renamed_takes_nothing_out_of_a_batch(named: bool) -> None:
    """Servers of both versions take starts, and each of these is in a run of its own version."""

    @workflow(name="send", batch=batch(4, within=30))
    async def renamed(numbers: list[int]) -> list[int]:
        return numbers

    async def body(bench: Bench) -> None:
        app = App()
        app.workflows["send"] = renamed
        newer = bench.another()
        newer.services.app = app
        taken: dict[str, dict[str, Any]] = {}
        for n in [*range(7), 3, 4] if named else range(7):
            engine, name = [(bench.engine, "items"), (newer, "numbers")][n % 2]
            key = f"{n}" if named else None
            run = (await engine.start("send", {name: [n]}, idempotency_key=key))[0].run
            _, history = await bench.engine.history(run)
            begins: Any = history.entries[0]
            codec = RunCodec(bench.secret, run)
            taken[run] = codec.decode(begins.args, key="", purpose=Purpose.INPUT)
        found: dict[str, list[int]] = {"items": [], "numbers": []}
        for given in taken.values():
            ((name, numbers),) = given.items()
            found[name] += numbers
        assert {name: sorted(some) for name, some in found.items()} == {
            "items": [0, 2, 4, 6],
            "numbers": [1, 3, 5],
        }

    virtually(members, body)


def test_a_start_that_fills_a_batch_alone_begins_at_once() -> None:
    """Nobody waits for more than is enough."""

    async def body(bench: Bench) -> None:
        assert await bench.run("send", items=list(range(7))) == list(range(7))
        assert bench.seconds < 1

    virtually(members, body)


def test_what_gathers_can_be_cancelled() -> None:
    """A run that has not begun ends at once, and what comes then is of a new one."""

    async def body(bench: Bench) -> None:
        first = await bench.start("index", page="a", version=1)
        await bench.engine.cancel(first.run)
        await asyncio.sleep(0.5)
        assert (await bench.engine.get(first.run)).state is RunState.CANCELLED
        second = await bench.start("index", page="a", version=2)
        assert second.run != first.run
        assert await bench.result(second.run) == 2

    virtually(members, body)


def test_a_gathered_run_is_limited_as_any_other() -> None:
    """Two batches of two keys are let in one after the other."""

    async def body(bench: Bench) -> None:
        made = [await bench.start("paired", items=[n]) for n in (1, 2, 3, 4)]
        found = {header.run for header in made}
        assert sorted([await bench.result(run) for run in found]) == [[1, 3], [2, 4]]

    virtually(members, body)


@everywhere
def test_a_dead_process_loses_nothing_that_was_gathered(table: str) -> None:
    """Another process begins what was gathered, at its time."""

    async def body(bench: Bench) -> None:
        other = bench.another()
        made = [await bench.start("send", items=[n]) for n in range(2)]
        die(bench.engine)
        other.open()
        await other.start("send", {"items": [2]})
        outcome = await other.result(made[0].run, 100)
        assert outcome is not None
        assert begun == [[0, 1, 2]]
        bench.engine = other

    virtually(members, body, table=table)
