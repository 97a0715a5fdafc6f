"""The stream of a run: what is emitted is there once, in order, and nothing is passed over."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest

from rewake import emit, step, task, task_context, workflow
from rewake.stores.places import cursor_of, first_place, place_of
from rewake.stores.told import Telling, Told
from rewake.views.stream import told_views
from rewake.views.values import Values
from tests.support.virtual import SECRET, TABLES, Bench, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
warm_and_cold = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])


async def told(bench: Bench, run: str, limit: int = 100) -> list[dict[str, Any]]:
    """All that a stream tells, page by page, each with a cursor as text."""
    streams, place = bench.engine.services.streams, first_place(run)
    found: list[Told] = []
    while True:
        page = await streams.follow(run, place, limit)
        found += page.told
        place = place_of(run, cursor_of(page.place))
        if not page.more:
            views = told_views(found, Values(SECRET, run))
            return cast("list[dict[str, Any]]", msgspec.json.decode(msgspec.json.encode(views)))


def items(shown: list[dict[str, Any]]) -> list[Any]:
    """The values of the items."""
    return [each["value"] for each in shown if each["type"] == Telling.ITEM]


@task
async def charges(amount: int) -> int:
    task_context().emit({"charging": amount})
    await emit("charged")
    return amount


@workflow
async def orders() -> int:
    await emit("begins")
    await charges(5)
    await step("ship", lambda: task_context().emit("shipped"))
    await emit(["ends", 1.5, None])
    return 1


@everywhere
@warm_and_cold
def test_what_is_emitted_is_told_once_and_in_order(table: str, cached: int) -> None:
    """Bodies, tasks and steps emit; each item is there once, with who has emitted it."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("orders")).run
        await bench.result(run)
        shown = await told(bench, run)
        found = [(e["key"], e["attempt"], e["value"]) for e in shown if e["type"] == "item"]
        assert found == [
            ("emit", 1, "begins"),
            ("charges", 1, {"charging": 5}),
            ("charges", 1, "charged"),
            ("ship", 1, "shipped"),
            ("emit.2", 1, ["ends", 1.5, None]),
        ]
        kinds = [(e["type"], e.get("key"), e["state"]) for e in shown if "state" in e]
        assert kinds == [
            ("state", None, "running"),
            ("operation", "charges", "started"),
            ("operation", "charges", "done"),
            ("operation", "ship", "started"),
            ("operation", "ship", "done"),
            ("state", None, "done"),
        ]
        assert await told(bench, run, limit=1) == shown

    virtually([orders, charges], body, table=table, cached=cached)
