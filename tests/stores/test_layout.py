"""Where items lie that are spread: few together, many evenly, and all found again."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewake.keyed import State
from rewake.kinds import Kind
from rewake.ledger import Day, Labelled, View
from rewake.published import Subscription
from rewake.records import Header, Operation, Scheduled
from rewake.replay.scope import Scope
from rewake.stores.keys import DAY, VIEWS, header_key, is_of_run, log_key, operation_key, run_of
from rewake.stores.layout import OPERATIONS, STEPS, Layout
from rewake.stores.memory import MemoryTable
from rewake.stores.table import Key, Spread
from rewake.stores.views import Views
from rewake.streamed import LogBatch
from tests.support.counting import CountingTable

SPREAD, TOGETHER = Layout(Spread(16)), Layout(Spread())


def keys_of_branches(*widths: int) -> list[str]:
    """The keys of a task in branches inside of branches, so many in each."""
    scopes = [Scope()]
    for width in widths:
        groups = [scope.group("branch") for scope in scopes]
        scopes = [group.next() for group in groups for _ in range(width)]
    return [scope.key("charge") for scope in scopes]


@pytest.mark.parametrize("widths", [(20_000,), (200, 100), (30, 30, 22)])
def test_a_wide_run_is_spread_evenly(widths: tuple[int, ...]) -> None:
    """Some hundred operations lie with the run, more where branches are nested; the others are
    spread, and no shard has much more than its part.
    """
    keys = keys_of_branches(*widths)
    places = Counter(SPREAD.operation("r", key).partition for key in keys)
    with_run = places.pop("R#r")
    assert 256 <= with_run <= 256 * (1 + math.log(256)) ** (len(widths) - 1)
    assert max(places.values()) < 1.2 * (len(keys) - with_run) / 16


@pytest.mark.parametrize("widths", [(256,), (16, 16), (4, 8, 8), ()])
def test_a_run_that_is_not_wide_lies_together(widths: tuple[int, ...]) -> None:
    """So one query reads all of its operations."""
    scope = Scope()
    keys = [*keys_of_branches(*widths), *(scope.key("fetch") for _ in range(256))]
    assert {SPREAD.operation("r", key).partition for key in keys} == {"R#r"}
    asked = [Scheduled(key, Kind.TASK, "f", "") for key in keys]
    assert SPREAD.wide(asked, 0) == 0


def test_nothing_is_spread_where_a_table_does_not_want_it() -> None:
    """One partition for a run, and one for all views, as they always were."""
    for key in (*keys_of_branches(1_000), "~0123/fetch"):
        assert TOGETHER.operation("r", key) == operation_key("r", key)
        assert TOGETHER.log("r", key, 1, 2) == log_key("r", key, 1, 2)
    assert TOGETHER.view(View("r", "main", 5)).partition == VIEWS
    assert TOGETHER.partitions(Header("r", "main", 1, 1, 1, wide=OPERATIONS), OPERATIONS) == ["R#r"]


def test_a_path_that_was_cut_is_spread() -> None:
    """Nobody can tell from it any more how many come before it."""
    assert SPREAD.operation("r", "~0123/fetch").partition != "R#r"


@given(st.lists(st.integers(1, 20), max_size=3), st.sampled_from([Kind.TASK, Kind.STEP]))
def test_whoever_reads_a_run_looks_where_its_operations_are(widths: list[int], kind: Kind) -> None:
    """What a header says of the entries that it has is enough to find the items and the logs."""
    keys = keys_of_branches(*widths)[-50:]
    header = Header("r", "main", 1, 1, 1)
    for key in keys:  # in commits of their own
        header.wide = SPREAD.wide([Scheduled(key, kind, "f", "")], header.wide)
    items = {SPREAD.item(Operation("r", key, kind)) for key in keys}
    assert {each.partition for each in items} <= set(SPREAD.partitions(header, OPERATIONS))
    logs = {SPREAD.log("r", key, 1, 0) for key in keys}
    assert {each.partition for each in logs} <= set(SPREAD.partitions(header, STEPS))
    for place in items | logs:
        assert is_of_run(place)
        assert run_of(place) == "r"


@given(st.lists(st.integers(0, 400), min_size=1, max_size=3))
def test_a_copy_finds_the_place_of_an_item(branches: list[int]) -> None:
    """An item that lay together with all of its run lies in a table that spreads where it must."""
    key = "".join(f"branch[{number}]/" for number in branches) + "charge.2"
    item, batch = Operation("r", key, Kind.TASK), LogBatch("r", key, 1, [])
    view, header = View("r", "main", 7), Header("r", "main", 7, 1, 1)
    assert SPREAD.place(operation_key("r", key), item) == SPREAD.operation("r", key)
    assert SPREAD.place(log_key("r", key, 1, 0), batch) == SPREAD.log("r", key, 1, 0)
    assert SPREAD.place(TOGETHER.view(view), view) == SPREAD.view(view)
    assert SPREAD.place(header_key("r"), header) == header_key("r")


def test_a_copy_finds_what_is_spread_by_its_name() -> None:
    """Into either kind of table, from either: states, labels, waits for events."""
    state, labelled = State("cart", "a#b", "t1"), Labelled("r", "main", 7)
    wait = Subscription("r", "paid")
    waits = Key("I#paid#all", "U#r#0#paid")
    for source in (SPREAD, TOGETHER):
        for target in (SPREAD, TOGETHER):
            assert target.place(source.state(state), state) == target.state(state)
            label = source.labelled(labelled, "customer", "=#01#")
            assert target.place(label, labelled) == target.labelled(labelled, "customer", "=#01#")
            together = Layout.together(source.indexed(waits, wait))
            assert target.place(together, wait) == target.indexed(waits, wait)


def test_runs_of_one_label_and_states_are_spread_and_listed() -> None:
    """No partition takes all runs that have one label, nor all states; a list asks them all."""
    runs = [SPREAD.labelled(Labelled(f"run-{n}", "main", 5), "a", "b") for n in range(16_000)]
    states = [SPREAD.state(State("cart", f"key-{n}")) for n in range(16_000)]
    for found, listed in ((runs, SPREAD.labels("a", "b")), (states, SPREAD.states)):
        places = Counter(key.partition for key in found)
        assert {*places} == {*listed}
        assert max(places.values()) < 1_200


# --- views -------------------------------------------------------------------------------------


async def _again(call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()


def views_of(table: MemoryTable) -> Views:
    return Views(table, Layout(table.spread), _again)


MOMENTS = st.integers(1, 30 * DAY) | st.sampled_from([1, DAY - 1, DAY, 7 * DAY, 400 * DAY])


@given(st.lists(MOMENTS, max_size=20), st.integers(1, 9), st.sampled_from([1, 2, 5]))
def test_pages_of_views_are_one_list(moments: list[int], limit: int, shards: int) -> None:
    """Newest first, each once, whatever day and shard it lies in, on pages of any size."""

    async def main() -> None:
        table = MemoryTable(spread=Spread(shards))
        expected = [View(f"r{n}", "main", at) for n, at in enumerate(moments)]
        for view in expected:
            await views_of(table).put(view)
        found: list[View] = []
        cursor: str | None = None
        while True:
            page = await views_of(table).page(limit=limit, cursor=cursor)
            assert len(page.items) <= limit
            found += [view for _, view in page.items]
            cursor = page.cursor
            if cursor is None:
                break
            assert cursor == page.items[-1][0].sort
        assert found == sorted(expected, key=lambda view: (-view.created, view.run))

    asyncio.run(main())


def test_a_list_reads_days_on_which_something_was_started() -> None:
    """And an empty store answers at once, as does one whose runs are years apart."""

    async def main() -> None:
        table = CountingTable(spread=Spread(16))
        assert (await views_of(table).page(limit=50, cursor=None)).items == []
        assert table.queries == 1
        for year in range(10):
            await views_of(table).put(View(f"r{year}", "main", year * 365 * DAY))
        table.count_anew()
        assert len((await views_of(table).page(limit=50, cursor=None)).items) == 10
        assert table.queries == 1 + 10 * 16
        table.count_anew()
        assert len((await views_of(table).page(limit=1, cursor=None)).items) == 1
        assert table.queries == 1 + 16

    asyncio.run(main())


def test_a_day_is_noted_before_its_views_and_once() -> None:
    """Whoever dies between has lost nothing; a process notes a day once, and most find it noted."""

    async def main() -> None:
        table, written = CountingTable(spread=Spread(4)), list[Key]()

        views, put = views_of(table), table.put

        async def watched(key: Key, item: Any, **more: Any) -> Any:
            written.append(key)
            return await put(key, item, **more)

        table.put = watched  # type: ignore[method-assign]
        for n in range(5):
            await views.put(View(f"r{n}", "main", 3 * DAY + n))
        assert written[0].partition == "Y"
        assert sum(key.partition == "Y" for key in written) == 1
        assert await table.get(written[0]) == Day(3)
        table.count_anew()
        await views_of(table).put(View("other", "main", 3 * DAY))  # by another process
        assert (table.gets, table.writes) == (1, 1)

    asyncio.run(main())


def test_no_partition_of_views_takes_all_of_a_day() -> None:
    """Runs that are started at one moment are spread evenly."""
    places = Counter(SPREAD.view(View(f"run-{n}", "main", 5)).partition for n in range(16_000))
    assert len(places) == 16
    assert max(places.values()) < 1_200
