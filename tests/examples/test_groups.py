"""The examples of groups: a saga, a transfer of money, and a batch of which some may fail."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from examples import batch, money_transfer, order_saga
from rewake.testing import Environment


def played(module: ModuleType, name: str, **arguments: Any) -> Any:
    """The result of a run of one workflow of a module."""
    with Environment(module) as server:
        return server.start(name, arguments).result()


def test_an_order_is_shipped_or_undone() -> None:
    """What was reserved is released, in reverse, and what was charged goes back."""
    shipped = played(order_saga, "fulfil", order="o", items=["book", "lamp"])
    assert shipped == {"state": "shipped", "total": 52, "label": "label for slot-o"}
    undone = played(order_saga, "fulfil", order="o", items=["book", "lamp", "moon"])
    assert undone["why"] == "moon is sold out, so order o is off"
    assert undone["undone"] == ["released lamp of o", "released book of o"]


def test_money_is_moved_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum of all accounts stays as it was."""
    monkeypatch.setattr(money_transfer, "ACCOUNTS", {"alice": 100, "bob": 0})
    monkeypatch.setattr(money_transfer, "SEEN", {})
    for target, said in [("bob", "30 moved"), ("nobody", "the money went back"), ("bob", "30")]:
        arguments = {"source": "alice", "target": target, "amount": 30}
        assert played(money_transfer, "transfer", **arguments).startswith(said)
        monkeypatch.setattr(money_transfer, "SEEN", {})
    assert money_transfer.ACCOUNTS == {"alice": 40, "bob": 60}
    arguments = {"source": "alice", "target": "bob", "amount": 50}
    assert "not enough" in played(money_transfer, "transfer", **arguments)


def test_a_batch_names_what_failed_or_is_given_up() -> None:
    """A tenth may fail, and not more."""
    done = played(batch, "main", pages=40)
    assert done == {"state": "done", "converted": 37, "failed": [0, 6, 23]}
    given_up = played(batch, "main", pages=40, broken=12)
    assert given_up["state"] == "given up"
