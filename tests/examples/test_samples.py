"""The ports of peers' published samples do what these do, warm and replayed from nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from examples import (
    debounced_index,
    expense_approval,
    fan_out,
    rate_limited_api,
    render_polling,
    scheduled_report,
    shopping_cart,
    subscription,
)
from rewake import Approval, Decision
from rewake.app import App
from rewake.engine.outside.approvals import Approvals
from rewake.engine.outside.signals import Signals
from rewake.engine.runs.listing import Wanted
from tests.support.virtual import Bench, virtually

DAYS: Mapping[str, Any] = {"sweep": 6 * 3_600_000, "lease": 12 * 3_600_000}
"""Settings (ms) of what takes days: looks and beats in between would take longer than all else."""
cached = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])


def members(module: Any) -> Sequence[Any]:
    """What an app has of a module."""
    app = App(module)
    return [*app.workflows.values(), *app.tasks.values()]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the samples have in place of the world is as it was."""
    monkeypatch.setattr(debounced_index, "INDEX", {})
    monkeypatch.setattr(render_polling, "_done", {})


@cached
@pytest.mark.parametrize("decides", range(4))
def test_expense_approval(decides: int, cached: int) -> None:
    """Each person has two days, and then the next one is asked; in the end nobody has decided."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("expense", what="a desk", amount=400)).run
        await asyncio.sleep(decides * expense_approval.PATIENCE.total_seconds() + 5)
        if decides == len(expense_approval.CHAIN):
            assert await bench.result(run) == "nobody has decided on a desk"
            return
        key = "approval" if decides == 0 else f"approval.{decides + 1}"
        await Approvals(bench.engine).decide(run, key, Approval(Decision.APPROVED))
        person = expense_approval.CHAIN[decides]
        assert await bench.result(run) == f"paid 400 for a desk, approved by {person}"

    how = {"url": "https://app.example", "cached": cached, **DAYS}
    virtually(members(expense_approval), body, **how)


@cached
def test_render_polling(cached: int) -> None:
    """It is looked at three times, each time later."""

    async def body(bench: Bench) -> None:
        assert await bench.run("render", film="intro") == "https://films.example/intro/100"
        assert render_polling._done == {"intro": 120}

    virtually(members(render_polling), body, cached=cached)


@cached
def test_subscription(cached: int) -> None:
    """It is charged each month, and ends as it is cancelled."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("subscription", customer="ann")).run
        await asyncio.sleep(2.5 * subscription.MONTH.total_seconds())
        await Signals(bench.engine).send(run, "cancel", None)
        assert await bench.result(run) == "ann has left after 3 months"

    virtually(members(subscription), body, cached=cached, **DAYS)


@cached
def test_fan_out(cached: int) -> None:
    """Each shop is a run; one that fails takes no other with it."""

    async def body(bench: Bench) -> None:
        shops = {"oslo": [3, 4], "rome": [5], "bonn": [-1]}
        bonn, oslo, rome = await bench.run("night", shops=shops)
        assert (oslo, rome) == ("oslo sold 7", "rome sold 5")
        assert "a sale of -1" in bonn

    virtually(members(fan_out), body, cached=cached)


@cached
def test_debounced_index(cached: int) -> None:
    """Five saves are one run, of the last."""

    async def body(bench: Bench) -> None:
        runs = set()
        for version in range(1, 6):
            runs.add((await bench.start("index", document="d1", version=version)).run)
            await asyncio.sleep(10)
        assert debounced_index.INDEX == {}
        await asyncio.sleep(60)
        assert debounced_index.INDEX == {"d1": 5}
        assert len(runs) == 1

    virtually(members(debounced_index), body, cached=cached)


@cached
def test_rate_limited_api(cached: int) -> None:
    """Thirty calls take three seconds, and none is refused."""

    async def body(bench: Bench) -> None:
        before = bench.seconds
        assert await bench.run("report", customers=["ann", "bob", "cid"], each=10) == 30
        assert 2.8 <= bench.seconds - before <= 4

    virtually(members(rate_limited_api), body, cached=cached)


@cached
def test_scheduled_report(cached: int) -> None:
    """Once on each workday."""

    async def body(bench: Bench) -> None:
        await asyncio.sleep(7 * 86_400)
        found, _ = await bench.engine.listing.page(Wanted(), 50, None)
        assert len(found) == 5

    virtually(members(scheduled_report), body, cached=cached, **DAYS)


@cached
def test_shopping_cart(cached: int) -> None:
    """What was put in is paid at the checkout; nobody pays who does not come back."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("cart", customer="ann")).run
        await Signals(bench.engine).send(run, "add", {"name": "tea", "price": 20})
        await asyncio.sleep(100)
        await Signals(bench.engine).send(run, "add", {"name": "cup", "price": 5})
        await Signals(bench.engine).send(run, "checkout", None)
        assert await bench.result(run) == "ann pays 25"
        assert await bench.run("cart", customer="bob") == "bob did not come back"

    virtually(members(shopping_cart), body, cached=cached)
