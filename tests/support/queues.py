"""Queues on an emulator in this process, and what Lambda does with an asynchronous invocation.

The emulator (moto) is started once, on a free port of 127.0.0.1, in a thread.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from unittest import mock

import boto3
from aiohttp import web
from moto.server import ThreadedMotoServer

from rewake.aws.client import AwsClient
from rewake.aws.queue import check_queues
from rewake.clock import SystemClock
from rewake.dispatchers.aws_lambda import LambdaDispatcher
from rewake.dispatchers.dispatcher import Dispatcher, Handler
from rewake.dispatchers.receiving import TRIES, Receiver
from rewake.dispatchers.sqs import SqsDispatcher, open_queue
from rewake.signing.secret import Secret

SECRET = Secret("a secret that only tests may know")
CLOCK = SystemClock()

_numbers = itertools.count()


@functools.cache
def endpoint() -> str:
    """The address of the emulator."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


def environment(address: str = "") -> dict[str, str]:
    """AWS's own variables for an emulator: both names of the region, for a process may have one."""
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": address or endpoint(),
    }


@contextmanager
def two_queues() -> Iterator[tuple[str, str]]:
    """The names of a new queue and of its dead letters, in an environment that leads to them."""
    name = f"work-{os.getpid()}-{next(_numbers)}"
    with mock.patch.dict(os.environ, environment()):
        sqs = boto3.client("sqs")
        for each in (name, f"{name}-dead"):
            sqs.create_queue(QueueName=each)
        yield name, f"{name}-dead"
        sqs.close()


@asynccontextmanager
async def over_sqs(handler: Handler) -> AsyncIterator[Dispatcher]:
    """A dispatcher that sends to a queue, and takes from it."""
    with two_queues() as (name, dead):
        queues = open_queue(name), open_queue(dead)
        dispatcher = SqsDispatcher(*queues, SECRET, CLOCK)
        await check_queues(*queues)  # the first request takes as long as botocore does
        dispatcher.open(handler)
        try:
            yield dispatcher
        finally:
            await dispatcher.close()


@asynccontextmanager
async def over_lambda(handler: Handler) -> AsyncIterator[Dispatcher]:
    """A dispatcher that invokes a function, which a server of ours stands for."""
    receiver, work = Receiver(handler, SECRET, CLOCK), set[asyncio.Task[object]]()

    async def invoke(request: web.Request) -> web.Response:
        assert request.headers["X-Amz-Invocation-Type"] == "Event"
        assert request.headers["Authorization"].startswith("AWS4-HMAC-SHA256 ")
        found = receiver.read(await request.json())
        task: asyncio.Task[object] = asyncio.ensure_future(receiver.take(found, TRIES))
        work.add(task)
        task.add_done_callback(work.discard)
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/2015-03-31/functions/worker/invocations", invoke)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    with mock.patch.dict(os.environ, environment(f"http://127.0.0.1:{port}")):
        client = AwsClient("lambda")
        await client.find()
        dispatcher = LambdaDispatcher("worker", client, SECRET, CLOCK)
        dispatcher.open(handler)
        try:
            yield dispatcher
        finally:
            await dispatcher.close()
            await asyncio.gather(*work, return_exceptions=True)
            await runner.cleanup()
