"""Status, progress and labels: what a body says of its run, with the commit that comes next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from rewake import (
    NotInARun,
    continue_as_new,
    set_labels,
    set_progress,
    set_status,
    sleep,
    step,
    task,
    workflow,
)
from rewake.engine.runs.listing import Wanted
from rewake.errors import InvalidInput
from rewake.labels import checked, labels_in, said
from rewake.stores.named import labels_partition
from rewake.views.runs import run_view
from tests.support.virtual import SECRET, TABLES, Bench, Ended, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
warm_and_cold = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])


@task
async def work() -> None:
    pass


@workflow
async def shows() -> None:
    set_status("billing")
    set_labels(stage="one", customer="c1")
    await sleep(10)
    set_progress(1, 4)
    await work()
    set_status({"phase": 2})
    set_labels(stage=None, done="yes")
    await step("seen", lambda: None)
    await sleep(10)


async def shown(bench: Bench, run: str) -> dict[str, Any]:
    view = run_view(await bench.engine.get(run), secret=SECRET)
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(view))
    return {name: found.get(name) for name in ("status", "progress", "labels")}


async def labelled(bench: Bench, **labels: str) -> list[str]:
    found, _ = await bench.engine.listing.page(Wanted(labels=labels), 50, None)
    return [header.run for header in found]


@everywhere
@warm_and_cold
def test_what_a_body_says_is_seen_while_it_goes_on(table: str, cached: int) -> None:
    """The newest status and progress, and the labels; and the run is found by those it has now."""

    async def body(bench: Bench) -> None:
        header = await bench.start("shows")
        await asyncio.sleep(5)
        first = {"status": "billing", "progress": None}
        labels = {"customer": "c1", "stage": "one"}
        assert await shown(bench, header.run) == {**first, "labels": labels}
        assert await labelled(bench, stage="one") == [header.run]
        await asyncio.sleep(10)
        later = {"status": {"phase": 2}, "progress": {"done": 1, "total": 4}}
        labels = {"customer": "c1", "done": "yes"}
        assert await shown(bench, header.run) == {**later, "labels": labels}
        assert await labelled(bench, stage="one") == []
        assert await labelled(bench, customer="c1", done="yes") == [header.run]
        assert await labelled(bench, customer="c1", done="no") == []
        await bench.result(header.run)
        assert await labelled(bench, done="yes") == [header.run]

    virtually([shows, work], body, table=table, cached=cached)


def test_a_status_costs_no_write_of_its_own() -> None:
    """A run that shows a status as often as it commits makes as many writes as one without."""
    commits: list[int] = []

    @workflow
    async def plain(says: bool) -> None:
        for number in range(5):
            if says:
                set_status(number)
                set_progress(number, 5)
            await sleep(1)

    async def body(bench: Bench) -> None:
        store: Any = bench.engine.services.store
        update, counted = store._table.update, [0]

        async def counting(*args: Any, **more: Any) -> Any:
            counted[0] += 1
            return await update(*args, **more)

        store._table.update = counting
        for says in (False, True):
            counted[0] = 0
            await bench.run("plain", says=says)
            commits.append(counted[0])

    virtually([plain], body)
    assert commits[0] == commits[1]


def test_a_step_begins_once_the_status_is_there() -> None:
    """Who looks while it goes on sees what was said before it."""
    seen: list[Any] = []

    @workflow
    async def long() -> None:
        set_status("rendering")
        await step("render", render)

    async def render() -> None:
        bench = BENCH[0]
        [run] = await labelled(bench)
        seen.append((await shown(bench, run))["status"])

    async def body(bench: Bench) -> None:
        BENCH[:] = [bench]
        await bench.run("long")

    virtually([long], body)
    assert seen == ["rendering"]


BENCH: list[Bench] = []


@everywhere
def test_labels_of_a_start_are_those_of_its_run(table: str) -> None:
    """The body adds to them, a start that attaches changes none; a removed run is found no more."""

    @workflow
    async def adds() -> None:
        set_labels(more="x")

    async def body(bench: Bench) -> None:
        engine = bench.engine
        first, _ = await engine.start("adds", {}, idempotency_key="k", labels={"tenant": "t1"})
        await bench.result(first.run)
        again, new = await engine.start("adds", {}, idempotency_key="k", labels={"tenant": "t2"})
        assert not new
        assert again.labels == {"more": "x", "tenant": "t1"}
        assert await labelled(bench, tenant="t1", more="x") == [first.run]
        assert await labelled(bench, tenant="t2") == []
        await engine.erase(first.run)
        for name, value in (("tenant", "t1"), ("more", "x"), ("tenant", "t2")):
            page = await bench.table.query(labels_partition(name, value, None))
            assert page.items == []

    virtually([adds], body, table=table)


def test_labels_go_on_into_the_next_lap() -> None:
    """And the next lap can remove them."""

    @workflow
    async def laps(left: int) -> None:
        set_labels(lap=str(left), first="yes" if left == 3 else None)
        await work()
        if left:
            continue_as_new(left - 1)

    async def body(bench: Bench) -> None:
        header = await bench.start("laps", left=3)
        await bench.result(header.run)
        assert (await shown(bench, header.run))["labels"] == {"lap": "0"}
        assert await labelled(bench, lap="0") == [header.run]
        assert await labelled(bench, lap="3") == await labelled(bench, first="yes") == []

    virtually([laps, work], body, cached=0)


BAD: dict[str, Callable[[], None]] = {
    "a large status": lambda: set_status("x" * 511),
    "no JSON": lambda: set_status({1, 2}),
    "not finite": lambda: set_progress(float("nan"), 1),
    "negative": lambda: set_progress(-1),
    "a bool": lambda: set_progress(True, 2),
    "no text": lambda: set_labels(number=1),  # type: ignore[arg-type]
    "an empty label": lambda: set_labels(a=""),
    "two lines": lambda: set_labels(a="x\ny"),
    "a comma": lambda: set_labels(a="x,y"),
    "a long name": lambda: set_labels(**{"n" * 41: "x"}),
    "too many": lambda: set_labels(**{f"n{n}": "x" for n in range(9)}),
    "too large": lambda: set_labels(**{f"n{n}": "x" * 60 for n in range(5)}),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_cannot_be_kept_is_refused_at_the_call(bad: str) -> None:
    """In a body, and outside a run, where it is only checked."""
    with pytest.raises(InvalidInput):
        BAD[bad]()

    @workflow
    async def says() -> None:
        with pytest.raises(InvalidInput):
            BAD[bad]()

    async def body(bench: Bench) -> None:
        await bench.run("says")

    virtually([says], body)


def test_a_task_says_nothing_of_its_run() -> None:
    """It has `emit`, and its log."""

    @task
    async def talks() -> None:
        set_status("x")

    @workflow
    async def calls() -> None:
        await talks()

    async def body(bench: Bench) -> None:
        with pytest.raises(Ended) as ended:
            await bench.run("calls")
        assert ended.value.failure is not None
        assert ended.value.failure.type == "TaskError"
        assert NotInARun.__name__ in ended.value.failure.message

    virtually([calls, talks], body)


def test_labels_as_text() -> None:
    """A query says them as they are shown."""
    assert labels_in("a=1,b=x=y") == {"a": "1", "b": "x=y"}
    assert labels_in(said({"a": "1", "b": "x=y"})) == {"a": "1", "b": "x=y"}
    assert checked({"b": "1", "a": "ü"}) == {"a": "ü", "b": "1"}
    for wrong in ("", "a", "a=", "=x", "a=1,a=2", "a=1,,b=2"):
        with pytest.raises(InvalidInput):
            labels_in(wrong)
