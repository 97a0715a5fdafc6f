"""Requests to AWS: signed, tried again where that helps, and told in one line where it does not."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from unittest import mock

import pytest
from aiohttp import web

from rewake.aws.client import AwsClient
from rewake.errors import ConfigError, TransportUnavailable
from tests.support.queues import environment

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
SECRET_KEY = "nobody-may-read-this-in-a-log"


def refusing(status: int, code: str) -> Answer:
    """An answer that says no."""

    async def answer(request: web.Request) -> web.StreamResponse:
        body = {"__type": f"com.amazonaws.sqs#{code}", "message": "no"}
        return web.json_response(body, status=status)

    return answer


async def hanging_up(request: web.Request) -> web.StreamResponse:
    """An answer that ends in the middle."""
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b'{"half":')
    assert request.transport is not None
    request.transport.close()
    return response


async def well(request: web.Request) -> web.StreamResponse:
    """An answer to a request that is signed for this service and region."""
    scope = request.headers["Authorization"]
    assert "/eu-west-1/sqs/aws4_request" in scope
    return web.json_response({"target": request.headers["X-Amz-Target"]})


def ask(*answers: Answer, tries: int = 4) -> tuple[object, int]:
    """What a client makes of these answers, and how often it asked."""
    asked = 0

    async def serve(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return await answers[min(asked, len(answers)) - 1](request)

    async def main() -> object:
        app = web.Application()
        app.router.add_post("/", serve)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        given = environment(url) | {"AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        with mock.patch.dict(os.environ, given):
            client = AwsClient("sqs", "AmazonSQS")
            try:
                return await client.json("ListQueues", {}, timeout=2, tries=tries)
            except TransportUnavailable as error:
                return error
            finally:
                await client.close()
                await runner.cleanup()

    return asyncio.run(main()), asked


@pytest.mark.parametrize(
    "trouble",
    [
        refusing(400, "RequestThrottled"),
        refusing(429, "TooManyRequestsException"),
        refusing(500, "InternalError"),
        refusing(503, "ServiceUnavailable"),
        refusing(403, "ExpiredToken"),
        hanging_up,
    ],
)
def test_what_passes_is_tried_again(trouble: Answer) -> None:
    """A service that is busy, a connection that breaks, and credentials that have expired."""
    answer, asked = ask(trouble, trouble, well)
    assert answer == {"target": "AmazonSQS.ListQueues"}
    assert asked == 3


@pytest.mark.parametrize(
    "code", ["ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId"]
)
@pytest.mark.parametrize("tries", [1, 4])
def test_credentials_that_were_replaced_are_read_anew(
    tmp_path: Path, code: str, tries: int
) -> None:
    """A file has others by now: also what is tried once, as a receipt is, has them next."""
    file = tmp_path / "credentials"

    def write(key: str) -> None:
        file.write_text(f"[default]\naws_access_key_id={key}\naws_secret_access_key={SECRET_KEY}\n")

    async def answer(request: web.Request) -> web.StreamResponse:
        old = "Credential=OLD/" in request.headers["Authorization"]
        return await (refusing(403, code) if old else well)(request)

    async def main() -> object:
        app = web.Application()
        app.router.add_post("/", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        given = environment(f"http://127.0.0.1:{runner.addresses[0][1]}")
        kept = {name: text for name, text in given.items() if "KEY" not in name}
        kept["AWS_SHARED_CREDENTIALS_FILE"] = str(file)
        write("OLD")
        with mock.patch.dict(os.environ, kept, clear=True):
            client = AwsClient("sqs", "AmazonSQS")
            await (await client.find())._account.keys()
            write("NEW")
            if tries == 1:
                with pytest.raises(TransportUnavailable, match=code):
                    await client.json("ReceiveMessage", {}, tries=tries)
            try:
                return await client.json("ReceiveMessage", {}, tries=tries)
            finally:
                await client.close()
                await runner.cleanup()

    assert asyncio.run(main()) == {"target": "AmazonSQS.ReceiveMessage"}


def test_what_lasts_is_told() -> None:
    """After a few tries; what does not pass at once."""
    answer, asked = ask(refusing(503, "ServiceUnavailable"))
    assert asked == 4
    assert str(answer) == "sqs answers 503 ServiceUnavailable: no"
    answer, asked = ask(refusing(403, "AccessDenied"))
    assert asked == 1
    assert isinstance(answer, TransportUnavailable)
    assert answer.code == "AccessDenied"
    assert SECRET_KEY not in repr(answer)


@pytest.mark.parametrize("body", ["<html>Sign in to the network</html>", "[]", "{"])
def test_what_is_no_answer_is_told(body: str) -> None:
    """Of a proxy, say, that answers in the place of the service."""

    async def strange(_: web.Request) -> web.StreamResponse:
        return web.Response(text=body)

    answer, _ = ask(strange)
    assert isinstance(answer, TransportUnavailable)
    assert str(answer) == "sqs answers ListQueues with what is no JSON object"


def test_requests_that_come_first_share_their_connections() -> None:
    """However many begin at once, one place is looked for, and closing ends all connections."""

    async def main() -> None:
        with mock.patch.dict(os.environ, environment("http://127.0.0.1:9")):
            client = AwsClient("sqs", "AmazonSQS")
            wires = await asyncio.gather(*(client.find() for _ in range(4)))
            assert len(set(map(id, wires))) == 1
            await client.close()

    asyncio.run(main())


def test_nobody_is_there() -> None:
    """An emulator that is down is told as that."""

    async def main() -> None:
        with mock.patch.dict(os.environ, environment("http://127.0.0.1:9")):
            client = AwsClient("sqs", "AmazonSQS")
            with pytest.raises(TransportUnavailable, match="cannot be reached"):
                await client.json("ListQueues", {}, tries=2)
            await client.close()

    asyncio.run(main())


def test_what_is_missing_of_the_configuration() -> None:
    """A region, or credentials, that nobody gave: one line that names it."""

    async def told(left_out: str) -> str:
        given = {k: v for k, v in environment("http://127.0.0.1:9").items() if left_out not in k}
        given |= {"HOME": "/nonexistent", "PATH": os.environ["PATH"]}
        with mock.patch.dict(os.environ, given, clear=True):
            client = AwsClient("sqs", "AmazonSQS")
            with pytest.raises((ConfigError, TransportUnavailable)) as error:
                await client.json("ListQueues", {})
        return str(error.value)

    assert "region" in asyncio.run(told("REGION"))
    assert "credentials" in asyncio.run(told("ACCESS_KEY"))


def test_without_the_extra(tmp_path: object) -> None:
    """A dispatcher that needs it says what to install; nothing of AWS is loaded by who does not."""
    code = """
import sys
sys.modules["botocore"] = None
import importlib.util
import rewake.hosts.building as building
from rewake.errors import ConfigError
from rewake.hosts.config import ServerConfig
from rewake.signing.secret import Secret

config = ServerConfig.from_env({}, dispatcher="sqs", queue="work")
try:
    building._DISPATCHERS["sqs"](building.Given(config, Secret("a secret of this test"), None))
except ConfigError as error:
    print(error)
print(sorted(name for name in sys.modules if name.startswith(("boto", "aiohttp"))))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == [
        "AWS needs boto3: pip install 'rewake[aws]'",
        "['botocore']",
    ]
