"""The commands that a development server prints start a run as they are."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from rewake import Alert, event, every, on_failure, task, workflow
from rewake.app import App
from rewake.cli.dev.banner import banner, curl
from rewake.hosts.config import ServerConfig
from rewake.webhooks import anyone, webhook


class Colour(Enum):
    RED = "red"


@dataclass
class Line:
    sku: str
    quantity: int
    parts: list[Line] = field(default_factory=list)


@dataclass
class Order:
    id: int
    lines: list[Line]
    note: str = ""


@workflow
async def buy(
    order: Order,
    colour: Colour,
    kind: Literal["a", "b"],
    most: int | None,
    names: dict[str, int],
    when: str = "now",
) -> None:
    pass


def test_the_example_has_the_types_that_the_workflow_declares() -> None:
    """Required fields of classes, members of enums and the like: it is no 422."""
    *_, flag, body = shlex.split(curl(buy, "http://127.0.0.1:8000"))
    assert flag == "-d"
    assert json.loads(body) == {
        "order": {"id": 1, "lines": [{"sku": "...", "quantity": 1}]},
        "colour": "red",
        "kind": "a",
        "most": 1,
        "names": {},
    }
    assert buy.recorded(json.loads(body)) == json.loads(body)  # it is refused if it does not fit


@workflow(webhook=[webhook("a", verify=anyone()), webhook("b/c", verify=anyone())])
async def hooked() -> None:
    pass


def test_webhooks_are_named() -> None:
    """Each address that a provider can be given is there."""
    app = App()
    app.add(hooked)
    lines = banner(app, ServerConfig(), "http://127.0.0.1:8000").splitlines()
    assert "      POST http://127.0.0.1:8000/hooks/a" in lines
    assert "      POST http://127.0.0.1:8000/hooks/b/c" in lines


@task
async def tell(alert: Alert) -> None: ...


@workflow(
    schedule=every(600, name="often"),
    on_event="order.paid",
    cancel_on=event("order.off", where={"order": "order"}),
)
async def begun(order: int = 0) -> None: ...


def test_what_else_begins_runs_is_named() -> None:
    """Schedules and events stand with their workflow; what Rewake itself begins is no offer."""
    app = App()
    app.add(begun)
    app.add(on_failure(tell))
    lines = banner(app, ServerConfig(), "http://127.0.0.1:8000").splitlines()
    assert lines[lines.index("    begun") + 2 :] == [
        "      schedule often, every 0:10:00",
        "      event order.paid",
        "      cancelled by the event order.off",
    ]
    assert "tell-tell" in app.workflows
