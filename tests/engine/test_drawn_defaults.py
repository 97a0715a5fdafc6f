"""What a run is sent gives each field whose default would be another one on each replay."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from typing import Annotated, Any

import msgspec
import pydantic
import pytest

from rewake import (
    callback,
    signals,
    sleep,
    task,
    updates,
    wait_for_approval,
    wait_for_event,
    workflow,
)
from rewake.authoring.approval import Approval, Decision
from rewake.engine.outside.approvals import Approvals
from rewake.engine.outside.callbacks import Callbacks
from rewake.engine.outside.events import Events
from rewake.engine.outside.signals import Signals
from rewake.errors import InvalidInput
from tests.support.virtual import Bench, virtually

SENT: list[str] = []


def drawn() -> str:
    return uuid.uuid4().hex


@dataclasses.dataclass
class Order:
    amount: int
    id: str = dataclasses.field(default_factory=drawn)
    tags: list[str] = dataclasses.field(default_factory=list)


class Struct(msgspec.Struct, rename={"id": "ID"}):
    amount: int
    id: str = msgspec.field(default_factory=drawn)


class Model(pydantic.BaseModel):
    amount: int
    id: Annotated[str, pydantic.Field(alias="ID", default_factory=drawn)]


KINDS: dict[str, Any] = {
    "dataclass": Order,
    "struct": Struct,
    "model": Model,
    "list": list[Order],
    "dict": dict[str, Order],
}
LACKS: dict[str, Any] = {
    "dataclass": {"amount": 1},
    "struct": {"amount": 1},
    "model": {"amount": 1},
    "list": [{"amount": 1, "id": "a"}, {"amount": 2}],
    "dict": {"a": {"amount": 1}},
}
WHOLE: dict[str, Any] = {
    "dataclass": {"amount": 1, "id": "a"},
    "struct": {"amount": 1, "ID": "a"},
    "model": {"amount": 1, "ID": "a"},
    "list": [{"amount": 1, "id": "a"}],
    "dict": {"a": {"amount": 1, "id": "a"}},
}
FIELDS = {"dataclass": "id", "struct": "ID", "model": "ID", "list": "[1].id", "dict": "a.id"}
everywhere = pytest.mark.parametrize("kind", KINDS)


@task
async def take(order: Any) -> str:
    return str(order)


@task
async def send(url: str) -> None:
    SENT.append(url.rpartition("/")[2])


@workflow
async def is_called(kind: str) -> str:
    wait = callback(result=KINDS[kind])
    await send(wait.url)
    return await take(await wait)


@workflow
async def is_signalled(kind: str) -> str:
    async for order in signals("order", type=KINDS[kind]):
        await take(order)
        await sleep(10)
        return await take(order)
    return ""


@workflow
async def is_updated(kind: str) -> None:
    async for request in updates("order", type=KINDS[kind]):
        request.accept(await take(request.value))
        return


@workflow
async def hears(kind: str) -> str:
    try:
        return await take(await wait_for_event("order", type=KINDS[kind]))
    except InvalidInput as error:
        return error.field


@workflow
async def asks() -> str:
    answer = await wait_for_approval("boss", form=Order)
    return await take(answer.value)


members = [take, send, is_called, is_signalled, is_updated, hears, asks]


def at_each_replay(body: Any) -> None:
    """Nothing is kept in memory: each turn replays."""
    virtually(members, body, cached=0, url="https://app.example")


@everywhere
def test_a_call_gives_what_is_drawn(kind: str) -> None:
    """Whoever calls is told which field it lacks, and may call again."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("is_called", kind=kind)).run
        await asyncio.sleep(1)
        door = Callbacks(bench.engine)
        with pytest.raises(InvalidInput, match="another one on each replay") as refused:
            await door.complete(SENT[-1], LACKS[kind])
        assert refused.value.field == FIELDS[kind]
        await door.complete(SENT[-1], WHOLE[kind])
        assert "'a'" in await bench.result(run)

    at_each_replay(body)


@everywhere
@pytest.mark.parametrize("name", ["is_signalled", "is_updated"])
def test_a_signal_gives_what_is_drawn(kind: str, name: str) -> None:
    """One that lacks it is refused where the wait is open, as any that does not fit."""

    async def body(bench: Bench) -> None:
        run = (await bench.start(name, kind=kind)).run
        await asyncio.sleep(1)
        door = Signals(bench.engine)
        with pytest.raises(InvalidInput, match="another one on each replay"):
            await door.send(run, "order", LACKS[kind])
        await door.send(run, "order", WHOLE[kind])
        await bench.result(run, 60)

    at_each_replay(body)


@pytest.mark.parametrize("kind", ["dataclass", "struct", "model"])
def test_an_event_gives_what_is_drawn(kind: str) -> None:
    """One that lacks it does not fit its type, which is an error of the body."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("hears", kind=kind)).run
        await asyncio.sleep(1)
        await Events(bench.engine).publish("order", LACKS[kind])
        assert await bench.result(run) == FIELDS[kind]
        await asyncio.sleep(1)
        run = (await bench.start("hears", kind=kind)).run
        await asyncio.sleep(1)
        await Events(bench.engine).publish("order", WHOLE[kind])
        assert "'a'" in await bench.result(run)

    at_each_replay(body)


def test_a_form_asks_for_what_is_drawn() -> None:
    """The field is required of who approves, by every process."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks")).run
        await asyncio.sleep(1)
        for engine in (bench.engine, bench.another()):
            with pytest.raises(InvalidInput) as refused:
                await Approvals(engine).decide(
                    run, "boss", Approval(Decision.APPROVED, {"amount": 1}), carry_on=False
                )
            assert "id" in str(refused.value)
        given = Approval(Decision.APPROVED, {"amount": 1, "id": "a"})
        await Approvals(bench.engine).decide(run, "boss", given)
        assert "'a'" in await bench.result(run)

    at_each_replay(body)
