"""What the functions of `serverless.yml` ask for, whatever workflows use: their roles allow it.

Three engines in virtual time, one a function, on one table, one shelf and one account of queues:
each may do what its role says, and is denied all else, as by AWS.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from rewake import (
    Alert,
    TaskError,
    alerts,
    concurrency,
    continue_as_new,
    parallel,
    publish,
    random,
    set_labels,
    sleep,
    state,
    step,
    task,
    wait_for_event,
    workflow,
)
from rewake.aws.queue import Queue
from rewake.aws.wire import Answer
from rewake.clock import Clock
from rewake.dispatchers.sqs import SqsDispatcher
from rewake.engine.engine import Engine
from rewake.errors import StoreUnavailable, TransportUnavailable
from rewake.hosts.lambda_events import handle_schedule
from rewake.stores.memory import MemoryTable
from tests.deploy.templates import read
from tests.docs.markdown import ROOT
from tests.support.emptied import emptied
from tests.support.policies import grants
from tests.support.queued import Function
from tests.support.small_dynamodb import SmallDynamo
from tests.support.small_table import SmallTable
from tests.support.sqs import FakeSqs, Held
from tests.support.virtual import SECRET, Bench, virtually

BIG = "x" * 60_000
told: list[Alert] = []
_emptied = emptied(told)


class Stack:
    """What the functions share. `denied`: which function was denied what."""

    def __init__(self) -> None:
        found = read(ROOT / "serverless.yml")["resources"]
        self._grants = {
            name: grants(found, f"{name.title()}Role") for name in ("http", "worker", "sweep")
        }
        self.denied: set[tuple[str, str, str]] = set()
        self.dynamo = SmallDynamo()
        self.values = MemoryTable()
        self.sqs = FakeSqs(lambda: 0, "Messages", "DeadLetters")
        self.function = "http"

    def may(self, function: str, action: str, place: str) -> bool:
        """Whether a function may do this, which is written down if not."""
        if any(each.covers(action, place) for each in self._grants[function]):
            return True
        self.denied.add((function, action, place))
        return False

    @property
    def waiting(self) -> list[Held]:
        """The messages in the queue."""
        return self.sqs.queues["Messages"]

    def carrier(self, clock: Clock) -> SqsDispatcher:
        """A dispatcher of the function that is made now."""
        asks = Asks(self, self.function)
        work, dead = (
            Queue(asks, f"https://sqs.test/{name}") for name in ("Messages", "DeadLetters")
        )
        return SqsDispatcher(work, dead, SECRET, clock, consumes=False)

    def engine(self, bench: Bench, function: str) -> Engine:
        """One more function."""
        self.function = function
        bench.table = Table(self, function)
        return bench.another()


class Asks:
    """The queues, as a function is let use them."""

    def __init__(self, stack: Stack, function: str) -> None:
        self._stack, self._function = stack, function

    async def json(self, action: str, body: Mapping[str, Any], **how: Any) -> dict[str, Any]:
        """Carry out an action that is allowed."""
        place = body["QueueUrl"].rpartition("/")[2]
        if not self._stack.may(self._function, f"sqs:{action.removesuffix('Batch')}", place):
            raise TransportUnavailable(f"{action} is denied", code="AccessDenied")
        return await self._stack.sqs.json(action, body, **how)

    async def close(self) -> None:
        """There are no connections."""


class Wire:
    """DynamoDB, as a function is let use it."""

    def __init__(self, stack: Stack, function: str) -> None:
        self._stack, self._function = stack, function

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to a request."""
        action, index = headers["X-Amz-Target"].partition(".")[2], json.loads(body).get("IndexName")
        place = f"Table/index/{index}" if index else "Table"
        if not self._stack.may(self._function, f"dynamodb:{action}", place):
            return Answer(400, {}, b'{"__type": "x#AccessDeniedException"}')
        return await self._stack.dynamo.send(method, path, headers, body)

    async def renew(self) -> None:
        """The credentials are always good."""

    async def close(self) -> None:
        """Nothing is open."""


class Table(SmallTable):
    """The table and the shelf, as a function is let use them."""

    def __init__(self, stack: Stack, function: str) -> None:
        super().__init__(stack.dynamo)
        self._client._wire = Wire(stack, function)
        self._stack, self._function = stack, function
        self.put_blob = self._allowed("s3:PutObject", stack.values.put_blob)
        self.get_blob = self._allowed("s3:GetObject", stack.values.get_blob)
        listed = self._allowed("s3:ListBucket", stack.values.delete_blobs)

        async def delete_blobs(run: str, *, limit: int) -> bool:
            if any(where == run for where, _ in stack.values._blobs):
                self._check("s3:DeleteObject", "Values/x")
            more: bool = await listed(run, limit=limit)
            return more

        self.delete_blobs = delete_blobs

    def _check(self, action: str, place: str) -> None:
        if not self._stack.may(self._function, action, place):
            raise StoreUnavailable(f"{action} is denied")

    def _allowed(self, action: str, call: Callable[..., Awaitable[Any]]) -> Any:
        place = "Values" if action == "s3:ListBucket" else "Values/x"

        async def allowed(*args: Any, **how: Any) -> Any:
            self._check(action, place)
            return await call(*args, **how)

        return allowed


class Functions(Function):
    """What is called with batches is another function than what is called once a minute."""

    def __init__(self, worker: Engine, sweep: Engine, stack: Any) -> None:
        super().__init__(worker, stack)
        self._sweep = sweep

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(60)
            await handle_schedule(self._sweep, {"rewake": "sweep"})


# --- what workflows use ------------------------------------------------------------------------


@task
async def tell(alert: Alert) -> None:
    told.append(alert)


@task(limits=concurrency(1))
async def one(n: int) -> int:
    await asyncio.sleep(1)
    return n


@workflow
async def limited() -> list[int]:
    return await parallel(range(3), one)


@workflow(limits=concurrency(1))
async def alone() -> int:
    await sleep(2)
    return 1


@task(cache=timedelta(seconds=5))
async def costly(n: float) -> str:
    return BIG


@workflow
async def cached() -> None:
    for n in (1.0, random().random()):
        await costly(n)
        await sleep(10)
        await costly(n)


@workflow
async def labelled() -> None:
    set_labels(stage="one")
    await sleep(2)
    set_labels(stage="two")
    await step("s", int)
    set_labels(stage=None)
    await sleep(2)


@task
async def adds_in_task() -> None:
    async with state("cart", "ann") as cart:
        cart.value = (cart.value or 0) + 1


@workflow
async def keyed() -> None:
    async with state("cart", "ann") as cart:
        await sleep(1)
        cart.value = (cart.value or 0) + 1
    await adds_in_task()


@workflow
async def laps(left: int = 4) -> None:
    await one(left)
    await step("b", lambda: BIG)
    if left:
        continue_as_new(left - 1)


@workflow
async def hears() -> Any:
    return await wait_for_event("paid", where={"order": 1})


@workflow
async def says() -> None:
    await sleep(5)
    await publish("paid", {"order": 1})


@workflow(on_failure=tell)
async def fails() -> None:
    raise ValueError("no")


@workflow
async def parent() -> Any:
    try:
        return await fails()
    except TaskError:
        return await alone()


USES: list[Any] = [limited, alone, cached, labelled, keyed, laps, hears, says, fails, parent]
MEMBERS = [*USES, tell, one, costly, adds_in_task, alerts(tell, kinds=["failed", "dead_letter"])]


def deployed(body: Callable[[Bench, Stack], Awaitable[None]]) -> None:
    """Run `body` with the three functions; it has that of requests."""
    stack = Stack()

    async def with_stack(bench: Bench) -> None:
        stack.sqs._now = bench.engine.services.clock.now
        worker, sweep = (stack.engine(bench, name) for name in ("worker", "sweep"))
        for each in (worker, sweep):
            each.open(sweep=False)
        functions = Functions(worker, sweep, stack)
        functions.open()
        try:
            await body(bench, stack)
        finally:
            await functions.close()
            for each in (worker, sweep):
                await each.close()

    table, settings = Table(stack, "http"), {"sweeps": False, "pauses": True, "lease": 30_000}
    virtually(MEMBERS, with_stack, table=table, carrier=stack.carrier, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [each.name for each in USES])
def test_whatever_a_workflow_uses_its_functions_may_do(name: str) -> None:
    """Twice at a time and once more, so that what is held is waited for, left and removed."""

    async def body(bench: Bench, stack: Stack) -> None:
        runs = [await bench.start(name) for _ in range(2)]
        if name == "hears":
            await asyncio.sleep(5)
            runs.append(await bench.start("says"))
        ended = [await bench.engine.result(each.run, 600) for each in runs]
        assert all(ended)
        await asyncio.sleep(200)
        assert not stack.denied

    deployed(body)


def test_what_is_parked_is_told() -> None:
    """By the function that looks once a minute."""

    async def body(bench: Bench, stack: Stack) -> None:
        stack.waiting.append(Held("m1", "nonsense", bench.seconds, bench.seconds, {}))
        await asyncio.sleep(300)
        assert [each.kind for each in told] == ["dead_letter"]
        assert not stack.denied

    deployed(body)
