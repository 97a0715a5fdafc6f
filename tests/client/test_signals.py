"""Signals by a client: sent, answered, and to the run of a key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from rewake import AsyncClient, signals, updates, wait_for_signal, workflow
from rewake.client.typed import SignalOptions
from rewake.errors import InvalidInput, NotYet, RunConflict, UpdateRejected, UsageError
from tests.client.transport import InProcess
from tests.support.asgi import served
from tests.support.virtual import Bench, virtually


@dataclass
class Item:
    name: str
    price: int = 1


@workflow
async def cart(customer: str) -> list[str]:
    items: list[str] = [customer]
    async for item in signals("add", type=Item):
        if item.name == "":
            return items
        items.append(item.name)
    return items


@workflow
async def counts() -> int:
    total = 0
    async for request in updates("add", type=int):
        if request.value < 0:
            request.reject("negative")
            continue
        total += request.value
        request.accept({"total": total})
        if total > 9:
            break
    return total


@workflow
async def silent() -> str:
    told: str = await wait_for_signal("end", type=str)
    return told


def with_client(work: Callable[[AsyncClient], Awaitable[None]]) -> None:
    """Do this with a client of a server that serves these workflows."""

    async def body(bench: Bench) -> None:
        async with InProcess(served(bench)).client() as client:
            await work(client)

    virtually([cart, counts, silent], body)


def test_a_signal_is_sent_as_what_it_is() -> None:
    """Objects become JSON, what does not fit is refused with its field, the id makes it one."""

    async def body(client: AsyncClient) -> None:
        run = await client.start(cart, "ada")
        first = await run.signal("add", Item("tea"), id="t")
        again = await run.signal("add", Item("tea"), id="t")
        assert (first["id"], again) == ("t", first)
        await run.signal("add", {"name": "", "price": 0})
        assert await run.result() == ["ada", "tea"]
        with pytest.raises(RunConflict):
            await run.signal("add", Item("late"))
        with pytest.raises(InvalidInput) as refused:
            await client.signal(run.id, "no name", 1)
        assert refused.value.field == "name"
        with pytest.raises(UsageError):
            await client.signal(run.id, "add", object())

    with_client(body)


def test_an_update_is_answered_or_rejected() -> None:
    """A rejection is an error with its reason; without an answer in time there is none yet."""

    async def body(client: AsyncClient) -> None:
        run = await client.start(counts)
        assert await run.update("add", 4, id="a", wait=5) == {"total": 4}
        assert await client.answer(run.id, "a") == {"total": 4}
        with pytest.raises(UpdateRejected) as rejected:
            await run.update("add", -1)
        assert rejected.value.reason == "negative"
        other = await client.start(silent)
        with pytest.raises(NotYet):
            await other.update("change", 1, wait=2)
        await other.signal("end", "over")
        assert await other.result() == "over"

    with_client(body)


def test_a_key_finds_its_run() -> None:
    """The first starts it, the second finds it, and what follows its end begins another."""

    async def body(client: AsyncClient) -> None:
        one = await client.signal_or_start(cart, "k", "add", Item("tea"), "ada")
        two = await client.signal_or_start(cart, "k", "add", Item(""), "bob")
        assert one.id == two.id
        assert (one.is_new, two.is_new) == (True, False)
        assert await one.result() == ["ada", "tea"]
        three = await client.signal_or_start(cart, "k", "add", Item(""), "bob")
        assert three.id != one.id
        assert three.is_new
        assert await three.result() == ["bob"]
        named: SignalOptions = {"input": {"customer": "eve"}, "id": "s", "tenant": "acme"}
        four = await client.signal_or_start("cart", "k", "add", Item(""), **named)
        again = await client.signal_or_start("cart", "k", "add", Item(""), **named)
        assert again.id == four.id != three.id
        assert (await four.result(), (await four.get())["tenant"]) == (["eve"], "acme")

    with_client(body)
