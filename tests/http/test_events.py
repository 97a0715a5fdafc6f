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
from rewake.engine.outside.events import Events
from rewake.errors import EventConflict, InsufficientScope, InvalidInput, UsageError
from rewake.http import admission
from rewake.stores.memory import MemoryTable
from rewake.stores.table import Spread
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


async def _asks(client: AsyncClient, query: str = "") -> dict[str, Any]:
    asked = {"limit": 2, "cursor": query or None}
    return await client.do(flows.fetched(client.manner, "events", "paid", query=asked))


@pytest.mark.parametrize("shards", [1, 4])
def test_the_events_of_a_name_are_listed(shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest first, on pages, with their data; whether all were told, and none that is not."""

    async def main(bench: Bench) -> None:
        client = InProcess(served(bench)).client()
        for number in range(5):
            await client.publish("paid", {"order": number}, id=f"p{number}")
            await client.publish("other", {"order": number})
            await asyncio.sleep(1)
        monkeypatch.setattr(Events, "carry_out", _nothing)
        await client.publish("paid", {}, id="late")  # has no place yet
        found, cursor = [], ""
        for length in (2, 2, 1):
            page = await _asks(client, cursor)
            assert len(page["events"]) == length
            found += page["events"]
            cursor = page["cursor"] or ""
        assert [each["id"] for each in found] == ["p4", "p3", "p2", "p1", "p0"]
        assert [each["data"]["order"] for each in found] == [4, 3, 2, 1, 0]
        assert {each["told"] for each in found} == {True}
        with pytest.raises(InvalidInput):
            await _asks(client, "nonsense")

    virtually([order], main, table=MemoryTable(spread=Spread(shards)))


async def _nothing(*_: Any) -> None:
    pass


def test_who_may_look_at_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may read runs of any workflow and tenant."""

    async def body(client: AsyncClient) -> None:
        read = frozenset({Scope.READ})
        for who in (
            Principal("token:x", frozenset({Scope.START})),
            Principal("token:x", read, frozenset({"order"})),
            Principal("token:x", read, tenant="acme"),
        ):
            monkeypatch.setattr(admission, "principal_in", lambda _, who=who: who)
            with pytest.raises(InsufficientScope):
                await _asks(client)
        monkeypatch.setattr(admission, "principal_in", lambda _: Principal("token:x", read))
        assert await _asks(client) == {"events": [], "cursor": None}

    asked(body)
