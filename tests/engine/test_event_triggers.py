"""Events that start runs, and events that cancel them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from rewake import Event, event, sleep, wait_for_event, workflow
from rewake.engine.outside.events import Events
from rewake.errors import AppError, InvalidInput
from rewake.kinds import OutcomeKind
from rewake.records import Header
from rewake.states import RunState
from rewake.stores.events import Index
from rewake.values.matching import index_of, texts_of
from tests.support.virtual import SECRET, TABLES, Bench, virtually

everywhere = pytest.mark.parametrize("table", TABLES)


async def runs_of(bench: Bench, workflow: str) -> list[Header]:
    found, _ = await bench.engine.list(workflow=workflow)
    return list(found)


@workflow(on_event="order.placed")
async def ship(order: int, country: str = "CH") -> list[Any]:
    return [order, country]


def _arguments(event: Event) -> Mapping[str, Any] | None:
    if event.data["order"] == 0:
        return None
    assert event.published.tzinfo is not None
    return {"told": f"{event.name} {event.id} {event.data['order']}"}


@workflow(on_event=[event("order.placed", where={"country": "DE"}, arguments=_arguments)])
async def tell(told: str) -> str:
    return told


@everywhere
def test_an_event_starts_one_run_of_each_workflow(table: str) -> None:
    """However often it is published; what the workflow does not take is passed over."""

    async def body(bench: Bench) -> None:
        data = {"order": 1, "country": "DE", "more": [1]}
        for _ in range(3):
            await Events(bench.engine).publish("order.placed", data, id="e1")
            await asyncio.sleep(1)
        [shipped], [told] = await runs_of(bench, "ship"), await runs_of(bench, "tell")
        assert await bench.result(shipped.run, 5) == [1, "DE"]
        assert await bench.result(told.run, 5) == "order.placed e1 1"
        await Events(bench.engine).publish("order.placed", {"order": 2}, id="e2")
        await Events(bench.engine).publish("order.placed", {"order": 0, "country": "DE"})
        await asyncio.sleep(1)
        assert len(await runs_of(bench, "ship")) == 3
        assert len(await runs_of(bench, "tell")) == 1

    virtually([ship, tell], body, table=table)


def test_an_event_that_no_run_can_be_made_of(caplog: pytest.LogCaptureFixture) -> None:
    """It is told to an operator, and hinders neither the event nor other workflows."""

    @workflow(on_event=event("odd", arguments=lambda event: {"order": event.data["missing"]}))
    async def broken(order: int) -> int:
        return order

    @workflow(on_event="odd")
    async def strict(order: int) -> int:
        return order

    @workflow(on_event="odd")
    async def whole(other: str = "") -> str:
        return other

    async def body(bench: Bench) -> None:
        await Events(bench.engine).publish("odd", {"order": "no number"}, id="e")
        await Events(bench.engine).publish("odd", [1, 2], id="f")
        await asyncio.sleep(1)
        assert len(await runs_of(bench, "whole")) == 1

    with caplog.at_level(logging.ERROR):
        virtually([broken, strict, whole], body)
    told = [each.getMessage() for each in caplog.records]
    assert sum("starts no run of broken" in each for each in told) == 2
    assert sum("starts no run of strict" in each for each in told) == 2
    assert any("KeyError" in each for each in told)


@workflow(on_event="next")
async def chained() -> Any:
    return await wait_for_event("next", timeout=5)


def test_a_run_does_not_wait_for_the_event_that_started_it() -> None:
    """A run that an event began waits for the one after that."""

    async def body(bench: Bench) -> None:
        await Events(bench.engine).publish("next", {"n": 1}, id="e1")
        await asyncio.sleep(1)
        [first] = await runs_of(bench, "chained")
        await Events(bench.engine).publish("next", {"n": 2}, id="e2")
        assert await bench.result(first.run, 9) == {"n": 2}

    virtually([chained], body)


# --- cancelling -----------------------------------------------------------------------------------


@dataclass
class Order:
    id: int


cleaned: list[int] = []


@workflow(cancel_on=event("order.cancelled", where={"order": "order.id"}))
async def deliver(order: Order) -> str:
    try:
        await sleep(1000)
    except asyncio.CancelledError:
        cleaned.append(order.id)
        raise
    return "delivered"


@workflow(cancel_on=["stop", event("stop.some", where={"region": "region"})])
async def stoppable(region: str = "eu") -> None:
    await sleep(1000)


async def watched(bench: Bench, name: str, **where: Any) -> int:
    index = Index(name, index_of(SECRET, name, texts_of(where)))
    found = bench.engine.services.store.events.subscriptions(index)
    return sum([len(page) async for page in found])


@everywhere
def test_an_event_cancels_the_runs_that_it_is_about(table: str) -> None:
    """Those whose arguments it matches, with their cleanup; nothing is left of ended ones."""
    cleaned.clear()

    async def body(bench: Bench) -> None:
        one = (await bench.start("deliver", order={"id": 1})).run
        two = (await bench.start("deliver", order={"id": 2})).run
        await asyncio.sleep(1)
        for _ in range(2):
            await Events(bench.engine).publish("order.cancelled", {"order": 1}, id="c1")
            await asyncio.sleep(1)
        outcome = await bench.engine.result(one, 5)
        assert outcome is not None
        assert outcome.kind is OutcomeKind.CANCELLED
        assert cleaned == [1]
        assert "by the event order.cancelled c1" in (await bench.engine.get(one)).cancel  # type: ignore[operator]
        assert await watched(bench, "order.cancelled", order=1) == 0
        assert await bench.result(two) == "delivered"
        await asyncio.sleep(1)
        assert await watched(bench, "order.cancelled", order=2) == 0

    virtually([deliver], body, table=table)


def test_an_event_may_cancel_all_runs_of_a_workflow() -> None:
    """Without a `where`; one of several is enough, and a default counts as an argument."""

    async def body(bench: Bench) -> None:
        eu, us, both = [
            (await bench.start("stoppable", **given)).run
            for given in ({}, {"region": "us"}, {"region": "us"})
        ]
        await Events(bench.engine).publish("stop.some", {"region": "eu"})
        await asyncio.sleep(1)
        assert (await bench.engine.get(eu)).state is RunState.CANCELLED
        assert (await bench.engine.get(us)).state is RunState.PARKED
        await Events(bench.engine).publish("stop")
        await asyncio.sleep(1)
        for run in (us, both):
            assert (await bench.engine.get(run)).state is RunState.CANCELLED

    virtually([stoppable], body)


def test_an_argument_that_no_event_can_be_about() -> None:
    """The start is refused, and names the parameter."""

    @workflow(cancel_on=event("gone", where={"order": "order"}))
    async def odd(order: Any) -> None:
        await sleep(order)

    async def body(bench: Bench) -> None:
        with pytest.raises(InvalidInput) as refused:
            await bench.start("odd", order=[1])
        assert refused.value.field == "order"
        assert await runs_of(bench, "odd") == []

    virtually([odd], body)


OPTIONS: list[dict[str, Any]] = [
    {"on_event": "not a name"},
    {"on_event": 7},
    {"on_event": [None]},
    {"cancel_on": event("x", where={"a": "nobody"})},
    {"cancel_on": event("x", where={"a": 1})},
    {"cancel_on": event("x", arguments=lambda _: {})},
]


@pytest.mark.parametrize("options", OPTIONS, ids=range(len(OPTIONS)))
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    """They are refused as the app is loaded."""
    with pytest.raises(AppError):

        @workflow(**options)
        async def wrong(order: int) -> None: ...


@pytest.mark.parametrize("given", [{"where": {"a": []}}, {"arguments": 1}, {"where": 1}])
def test_a_trigger_that_cannot_be(given: dict[str, Any]) -> None:
    """Nor can it be made."""
    with pytest.raises(AppError):
        event("x", **given)
