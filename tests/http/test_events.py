"""Events over HTTP, as the client of programs publishes them, in virtual time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rewake import AsyncClient, wait_for_event, workflow
from rewake.access import Principal, Scope
from rewake.client import flows
from rewake.errors import EventConflict, InsufficientScope, InvalidInput, UsageError
from rewake.http import admission
from tests.client.transport import InProcess
from tests.support.asgi import served
from tests.support.virtual import Bench, virtually


@workflow
async def order(number: int) -> Any:
    return await wait_for_event("order.paid", where={"order": number})


def asked(body: Callable[[AsyncClient], Awaitable[None]]) -> None:
    async def main(bench: Bench) -> None:
        await body(InProcess(served(bench)).client())

    virtually([order], main)


def test_an_event_is_published_by_a_client() -> None:
    """The run that waits for it goes on; the same again is answered alike, another one is not."""

    async def body(client: AsyncClient) -> None:
        run = await client.start(order, 7)
        await asyncio.sleep(1)
        told = await client.publish("order.paid", {"order": 7}, id="p-1")
        assert (told["name"], told["id"]) == ("order.paid", "p-1")
        assert await client.publish("order.paid", {"order": 7}, id="p-1") == told
        with pytest.raises(EventConflict, match="p-1"):
            await client.publish("order.paid", {"order": 8}, id="p-1")
        assert await run.result(wait=9) == {"order": 7}
        ids = [(await client.publish("order.paid"))["id"] for _ in range(2)]
        assert len(set(ids)) == 2

    asked(body)


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("no name", {}, "name"),
        ("ok", {"id": ""}, "id"),
        ("ok", {"id": 7}, "id"),
        ("ok", {"id": "x" * 200}, "id"),
        ("ok", {"more": 1}, "more"),
        ("ok", {"data": "x" * 70_000}, ""),
    ],
)
def test_what_cannot_be_published(name: str, body: dict[str, Any], field: str) -> None:
    """It is a 422 that names the field."""

    async def refused(client: AsyncClient) -> None:
        with pytest.raises(InvalidInput) as error:
            await client.do(flows.done(client.manner, "events", name, body=body))
        assert error.value.field == field

    asked(refused)


def test_data_that_is_no_json() -> None:
    """It does not leave the client."""

    async def refused(client: AsyncClient) -> None:
        with pytest.raises(UsageError):
            await client.publish("ok", math.nan)

    asked(refused)


def test_who_may_publish(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may start runs of any workflow: an event is for all of them."""

    async def body(client: AsyncClient) -> None:
        for scopes, workflows in (({Scope.READ}, set[str]()), ({Scope.START}, {"order"})):
            who = Principal("token:x", frozenset(scopes), frozenset(workflows))
            monkeypatch.setattr(admission, "principal_in", lambda _, who=who: who)
            with pytest.raises(InsufficientScope):
                await client.publish("order.paid")
        who = Principal("token:x", frozenset({Scope.START}))
        monkeypatch.setattr(admission, "principal_in", lambda _: who)
        await client.publish("order.paid")

    asked(body)
