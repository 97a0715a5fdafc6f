"""The whole of a client against the app itself, in virtual time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pydantic
import pytest

from rewake import (
    AsyncClient,
    TaskError,
    batch,
    callback,
    emit,
    sleep,
    step,
    task_context,
    wait_for_approval,
    workflow,
)
from rewake.errors import (
    InvalidInput,
    LinkExpired,
    NotYet,
    RunConflict,
    RunNotFound,
    UsageError,
)
from rewake.testing.clock import EPOCH
from tests.client.transport import InProcess
from tests.support.asgi import served
from tests.support.virtual import Bench, virtually

URLS: list[str] = []


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Order:
    name: str
    size: Size = Size.SMALL
    at: datetime | None = None


class Card(pydantic.BaseModel):
    number: pydantic.SecretStr
    holder: str = pydantic.Field(alias="cardHolder")


class Where(NamedTuple):
    shelf: int
    row: int


@workflow
async def doubles(order: Order, *, times: int = 2) -> list[Order]:
    return [order] * times


@workflow
async def shows(card: Card, where: Where, path: PurePosixPath) -> str:
    return f"{card.holder} {len(card.number.get_secret_value())} {where.row} {path.name}"


@workflow
async def counts(to: int, pause: float = 10) -> int:
    for number in range(to):
        await emit(number)
        await sleep(pause)
    return to


@workflow
async def asks() -> tuple[str, str | None]:
    answer = await wait_for_approval("pay")
    return answer.decision, answer.approver


@workflow
async def breaks(message: str = "no") -> None:
    task_context_free = step("fails", lambda: _fail(message))
    await task_context_free


def _fail(message: str) -> None:
    task_context().logger.info("it will fail")
    raise ValueError(message)


@workflow
async def waits() -> object:
    wait = callback("payment", timeout=timedelta(days=1))
    URLS.append(wait.url)
    return await wait


class Piece:
    """What JSON cannot hold."""


@workflow
async def holds() -> Piece:
    return Piece()


@workflow(name="takes-any")
async def takes_any(first: int, /, *more: int, **rest: int) -> dict[str, int]:
    return {"first": first, **rest}


@workflow(singleton="skip")
async def alone(number: int) -> int:
    await sleep(10)
    return number


@workflow(batch=batch(2, within=10))
async def gathers(numbers: list[int]) -> list[int]:
    return numbers


MEMBERS = (doubles, shows, counts, asks, breaks, waits, holds, takes_any, alone, gathers)


def with_client(
    body: Callable[[AsyncClient, InProcess, Bench], Awaitable[None]], **settings: Any
) -> None:
    """A client of an app in virtual time."""

    async def work(bench: Bench) -> None:
        network = InProcess(served(bench))
        async with network.client() as client:
            await body(client, network, bench)

    virtually(MEMBERS, work, **settings)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is so."""
    while not await holds():  # noqa: ASYNC110 - another process would look, too
        await asyncio.sleep(0.1)


async def some(items: AsyncIterator[Any], number: int = 1000) -> list[Any]:
    found = []
    async for item in items:
        found.append(item)
        if len(found) == number:
            break
    return found


def test_a_workflow_is_started_as_it_is_called() -> None:
    """Positions, names and defaults are those of the function; arguments become its types there,
    and the result becomes its type here.
    """

    async def body(client: AsyncClient, network: InProcess, bench: Bench) -> None:
        order = Order("tea", Size.LARGE, datetime(2026, 1, 2, tzinfo=UTC))
        run = await client.start(doubles, order, times=3)
        assert await run.result() == [order] * 3
        assert (
            await client.result(run.id)
            == [{"name": "tea", "size": "l", "at": "2026-01-02T00:00:00Z"}] * 3
        )
        card = Card(number=pydantic.SecretStr("4111"), cardHolder="Ann")
        shown = await client.start(shows, card, Where(1, 2), path=PurePosixPath("/a/b"))
        assert await shown.result() == "Ann 4 2 b"
        loose = await client.start(takes_any, 1, b=2)
        assert await loose.result() == {"first": 1, "b": 2}
        with pytest.raises(UsageError, match="names only"):
            await client.start(takes_any, 1, 2)
        sent = network.sent
        with pytest.raises(TypeError, match="missing a required argument"):
            await client.start(doubles)  # type: ignore[call-overload]
        assert network.sent == sent

    with_client(body)


def test_a_workflow_is_started_by_its_name() -> None:
    """Its input is then data, its result JSON, and what does not fit names the field."""

    async def body(client: AsyncClient, network: InProcess, bench: Bench) -> None:
        run = await client.start("doubles", {"order": {"name": "tea"}}, wait=20)
        assert await run.result() == [{"name": "tea", "size": "s", "at": None}] * 2
        with pytest.raises(InvalidInput) as caught:
            await client.start("doubles", input={"order": {"name": 5}})
        assert caught.value.field == "order.name"
        with pytest.raises(RunNotFound, match="there is no workflow 'gone'"):
            await client.start("gone")

    with_client(body)


def test_an_id_and_a_key_name_a_run() -> None:
    """The same start again is the same run, with other arguments a conflict that names it; a
    workflow's own arguments may be called as the options are.
    """

    async def body(client: AsyncClient, network: InProcess, bench: Bench) -> None:
        keyed = client.with_options(key="order-7")
        first = await keyed.start(doubles, Order("tea"))
        again = await keyed.start(doubles, Order("tea"))
        assert (first.is_new, again.is_new) == (True, False)
        assert first.id == again.id
        with pytest.raises(RunConflict) as caught:
            await keyed.start(doubles, Order("milk"))
        assert caught.value.run == first.id
        await first.result()
        anew = client.with_options(key="order-7", if_finished="restart")
        assert (await anew.start(doubles, Order("milk"))).id == f"{first.id}.2"
        known = [each["id"] async for each in client.list(key="order-7")]
        assert sorted(known) == [first.id, f"{first.id}.2"]
        german = await client.with_options(key="schlüssel").start(doubles, Order("tea"))
        assert [each["id"] async for each in client.list(key="schlüssel")] == [german.id]
        assert (await german.get())["key"] == "schlüssel"
        named = await client.with_options(id="mine").start(takes_any, 1, id=5, key=6, wait=7)
        assert named.id == "mine"
        assert await named.result() == {"first": 1, "id": 5, "key": 6, "wait": 7}

    with_client(body)


def test_an_answer_that_got_lost_starts_nothing_twice() -> None:
    """The start is sent again, and is the run that was started: new, and the only one."""

    async def body(client: AsyncClient, network: InProcess, bench: Bench) -> None:
        network.lost = 3
        run = await client.start(doubles, Order("tea"))
        assert run.is_new
        assert network.sent == 4
        assert await run.result() == [Order("tea")] * 2
        assert [each["id"] async for each in client.list(doubles)] == [run.id]

    with_client(body)


def test_a_start_that_becomes_a_run_of_before_is_not_new() -> None:
    """Also one without a name of its own, where there is one run at a time, or several are one."""

    async def body(client: AsyncClient, network: InProcess, bench: Bench) -> None:
        network.lost = 1
        first = await client.start(alone, 1)
        second = await client.start(alone, 2)
        assert (first.id, first.is_new, second.is_new) == (second.id, True, False)
        pair = [await client.start(gathers, [1]) for _ in range(2)]
        assert [each.is_new for each in pair] == [True, False]
        assert await pair[1].result() == [1, 1]

    with_client(body)


def test_a_result_and_a_stream_outlive_a_server() -> None:
    """While the server is away they wait, and go on without a gap or a repetition."""

    async def body(client: AsyncClient, network: InProcess, bench: Bench) -> None:
        app = network.app
        run = await client.start(counts, 12)
        bench.loop.call_later(35, setattr, network, "app", None)
        bench.loop.call_later(50, setattr, network, "app", app)
        bench.loop.call_later(80, setattr, network, "lost", 2)
        told = [item["value"] async for item in run.watch(only=["item"])]
        assert told == list(range(12))
        again = await client.start(counts, 12)
        bench.loop.call_later(35, setattr, network, "app", None)
        bench.loop.call_later(50, setattr, network, "app", app)
        assert await again.result() == 12
        with pytest.raises(NotYet, match="suspended"):
            await (await client.start(counts, 12)).result(wait=70)

    with_client(body)


def test_a_run_that_failed_is_an_error_and_can_be_retried() -> None:
    """The error has the type, the message and the traceback; what was logged is there."""

    async def body(client: AsyncClient, network: InProcess, bench: Bench) -> None:
        run = await client.start(breaks, "out of tea")
        with pytest.raises(TaskError) as caught:
            await run.result()
        assert (caught.value.type, caught.value.message) == ("TaskError", "ValueError: out of tea")
        assert "_fail" in caught.value.traceback or "breaks" in caught.value.traceback
        assert [line["message"] async for line in client.logs(run.id)] == ["it will fail"]
        assert [line async for line in client.logs(run.id, "other")] == []
        entries = [entry["type"] async for entry in client.history(run.id)]
        assert (entries[0], entries[-1]) == ("started", "finished")
        assert (await client.retry(run.id))["id"] == run.id
        with pytest.raises(TaskError):
            await run.result()
        with pytest.raises(RunConflict, match="neither stuck nor paused"):
            await client.resume(run.id)

    with_client(body)


def test_a_run_is_delayed_paused_and_resumed() -> None:
    """It begins later, in seconds or at a moment; what is paused goes on when it is resumed."""

    async def body(client: AsyncClient, network: InProcess, bench: Bench) -> None:
        run = await client.with_options(delay=timedelta(hours=1)).start(counts, 2)
        assert (await run.get())["state"] == "delayed"
        assert (await client.pause(run.id))["state"] == "paused"
        assert (await client.resume(run.id))["state"] == "delayed"
        at = datetime.fromtimestamp(bench.engine.services.clock.now() / 1000 + 60, UTC)
        soon = await client.with_options(at=at).start(counts, 2)
        assert (await soon.get())["state"] == "delayed"
        for bad in ({"at": at, "delay": 1}, {"delay": -1}, {"delay": math.nan}):
            with pytest.raises(UsageError, match="delay="):
                await client.with_options(**bad).start(counts, 2)

    with_client(body)


def test_a_run_is_ended() -> None:
    """Cancelled, by the run or its id, or killed; the reason is told."""

    async def body(client: AsyncClient, network: InProcess, bench: Bench) -> None:
        run = await client.start(counts, 1000)
        assert (await run.get())["workflow"] == "counts"
        await run.cancel("enough")
        with pytest.raises(TaskError, match="enough"):
            await run.result()
        other = await client.start(counts, 1000)
        assert (await client.kill(other.id, "now"))["state"] == "cancelled"
        with pytest.raises(RunConflict):
            await client.cancel(other.id)

    with_client(body)


def test_an_approval_is_decided() -> None:
    """It is found among those of all runs, and decided once."""

    async def body(client: AsyncClient, network: InProcess, bench: Bench) -> None:
        runs = [await client.start(asks) for _ in range(2)]

        async def asked() -> bool:
            return len(await some(client.approvals())) == 2

        await until(asked)
        open_ones = [each["run"] async for each in client.approvals(asks)]
        assert sorted(open_ones) == sorted(run.id for run in runs)
        await client.approve(runs[0].id, "pay", approver="ann", comment="fine")
        await client.reject(runs[1].id, "pay", approver="bob")
        assert await runs[0].result() == ("approved", "ann")
        assert await runs[1].result() == ("rejected", "bob")
        with pytest.raises(RunConflict):
            await client.approve(runs[0].id, "pay", approver="bob")
        assert await some(client.approvals()) == []

    with_client(body)


def test_a_callback_is_called() -> None:
    """By its address alone; the same call twice is one, also if an answer got lost."""

    async def body(client: AsyncClient, network: InProcess, bench: Bench) -> None:
        URLS.clear()
        run = await client.start(waits)

        async def has_begun() -> bool:
            return bool(URLS)

        await until(has_begun)
        assert (await client.heartbeat(URLS[0]))["state"] == "waiting"
        network.lost = 1
        assert await client.complete(URLS[0], {"ok": [1]}) == {"state": "completed"}
        assert await run.result() == {"ok": [1]}
        with pytest.raises(RunConflict):
            await client.fail(URLS[0], "Declined", "no cover")
        URLS.clear()
        withdrawn = await client.start(waits)
        await until(has_begun)
        await withdrawn.cancel()
        with pytest.raises(TaskError):
            await withdrawn.result()
        with pytest.raises(LinkExpired):
            await client.complete(URLS[0], 1)

    with_client(body, url="http://127.0.0.1")


def test_lists_are_read_page_by_page() -> None:
    """All of them, with filters, and no more pages than are asked for."""

    async def body(client: AsyncClient, network: InProcess, bench: Bench) -> None:
        for number in range(210):
            await client.with_options(id=f"r{number}").start(doubles, Order("tea"), times=0)
        await client.start(breaks)
        assert len(await some(client.list("doubles"))) == 210
        sent = network.sent
        newest = [run async for run in client.list(doubles, state="done")]
        assert len({run["id"] for run in newest}) == 210
        pages = network.sent - sent
        sent = network.sent
        await some(client.list(), 1)
        assert (pages, network.sent - sent) == (2, 1)
        now = datetime.fromtimestamp(EPOCH / 1000, UTC)
        assert await some(client.list(since=now + timedelta(days=9))) == []
        assert len(await some(client.list(since=now.astimezone().replace(tzinfo=None)))) == 211
        with pytest.raises(InvalidInput) as caught:
            await some(client.list(state="odd"))
        assert caught.value.field == "state"

    with_client(body)


def test_a_run_from_elsewhere_is_of_the_workflow_that_is_said() -> None:
    """A run that is found by its id has the type of its workflow, and is not taken for another."""

    async def body(client: AsyncClient, network: InProcess, bench: Bench) -> None:
        started = await client.start(doubles, Order("tea"), times=1)
        run = await client.run(doubles, started.id)
        assert await run.result() == [Order("tea")]
        assert not run.is_new
        with pytest.raises(UsageError, match="is of 'doubles', not of <workflow counts>"):
            await client.run(counts, started.id)
        with pytest.raises(RunNotFound):
            await client.run(doubles, "gone")

    with_client(body)


def test_a_result_of_another_type_says_so() -> None:
    """Where client and server have other code, a result that does not fit is an error with the
    field, and can be had as JSON.
    """

    @workflow(name="counts")
    async def newer(to: int) -> list[Order]:
        return []

    async def body(client: AsyncClient, network: InProcess, bench: Bench) -> None:
        run = await client.start(newer, 1)
        with pytest.raises(InvalidInput, match="is not what <workflow counts> returns here"):
            await run.result()
        assert await client.result(run.id) == 1
        pieces = await client.start(holds)
        with pytest.raises(InvalidInput, match="no JSON can become Piece"):
            await pieces.result()
        assert (await client.result(pieces.id))["$type"].endswith("Piece")
        with pytest.raises(UsageError, match="start takes a workflow"):
            await client.start(len)  # type: ignore[call-overload]

    with_client(body)


def test_a_closed_client_asks_nothing() -> None:
    """It says that it is closed, and one that no loop has used can be closed."""

    async def body() -> None:
        client = AsyncClient("http://127.0.0.1:1", "x" * 20)
        await client.close()
        with pytest.raises(UsageError, match="closed"):
            await client.get("r")

    asyncio.run(body())
