"""The ports of peers' published samples do what these do, in an environment as users have it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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
from rewake.testing import Environment


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the samples have in place of the world is as it was."""
    monkeypatch.setattr(debounced_index, "INDEX", {})
    monkeypatch.setattr(render_polling, "_done", {})


@pytest.mark.parametrize("decides", range(4))
def test_expense_approval(decides: int) -> None:
    """Each person has two days, and then the next one is asked; in the end nobody has decided."""
    with Environment(expense_approval) as server:
        run = server.start(expense_approval.expense, "a desk", 400)
        server.advance(decides * expense_approval.PATIENCE)
        if decides == len(expense_approval.CHAIN):
            assert run.result() == "nobody has decided on a desk"
            return
        [asked] = list(server.approvals())
        server.approve(run.id, asked["key"])
        person = expense_approval.CHAIN[decides]
        assert run.result() == f"paid 400 for a desk, approved by {person}"


def test_render_polling() -> None:
    """It is looked at three times, each time later."""
    with Environment(render_polling) as server:
        run = server.start(render_polling.render, "intro")
        assert run.result() == "https://films.example/intro/100"
        assert render_polling._done == {"intro": 120}


def test_subscription() -> None:
    """It is charged each month, and ends as it is cancelled."""
    with Environment(subscription) as server:
        run = server.start(subscription.subscription, "ann")
        server.advance(2.5 * subscription.MONTH)
        run.signal("cancel")
        assert run.result() == "ann has left after 3 months"


def test_fan_out() -> None:
    """Each shop is a run; one that fails takes no other with it."""
    with Environment(fan_out) as server:
        shops = {"oslo": [3, 4], "rome": [5], "bonn": [-1]}
        bonn, oslo, rome = server.start(fan_out.night, shops).result()
        assert (oslo, rome) == ("oslo sold 7", "rome sold 5")
        assert "a sale of -1" in bonn


def test_debounced_index() -> None:
    """Five saves are one run, of the last."""
    with Environment(debounced_index) as server:
        runs = set()
        for version in range(1, 6):
            runs.add(server.start(debounced_index.index, "d1", version).id)
            server.advance(10)
        assert debounced_index.INDEX == {}
        server.advance(60)
        assert debounced_index.INDEX == {"d1": 5}
        assert len(runs) == 1


def test_rate_limited_api() -> None:
    """Thirty calls take three seconds, and none is refused."""
    with Environment(rate_limited_api) as server:
        before = server.now
        assert server.start(rate_limited_api.report, ["ann", "bob", "cid"], 10).result() == 30
        assert 2.8 <= (server.now - before).total_seconds() <= 4


def test_scheduled_report() -> None:
    """Once on each workday."""
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    with Environment(scheduled_report, start=monday, schedules=True) as server:
        server.advance(timedelta(days=7))
        assert len(list(server.list("report"))) == 5


def test_shopping_cart() -> None:
    """What was put in is paid at the checkout; nobody pays who does not come back."""
    with Environment(shopping_cart) as server:
        run = server.start(shopping_cart.cart, "ann")
        run.signal("add", {"name": "tea", "price": 20})
        server.advance(100)
        run.signal("add", {"name": "cup", "price": 5})
        run.signal("checkout")
        assert run.result() == "ann pays 25"
        assert server.start(shopping_cart.cart, "bob").result() == "bob did not come back"
