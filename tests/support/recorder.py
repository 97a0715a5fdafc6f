"""A proxy before AWS's services that writes down who asks for what, as IAM names it.

    with Recorder() as recorder:
        recorder.target = url
        ...                         # processes whose AWS_ENDPOINT_URL is recorder.url
        recorder.calls

Requests pass as they are, host and all, so that their signatures hold.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import ClientSession, DummyCookieJar, web
from yarl import URL

_SIGNED = re.compile(r"Credential=([^/]+)/\d+/[^/]+/([^/]+)/")
_KEY = re.compile(r"<Key>([^<]*)</Key>")
_OBJECT = {"PUT": "PutObject", "GET": "GetObject", "HEAD": "GetObject", "DELETE": "DeleteObject"}
_HOP = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})
_LARGEST = 64 * 1024**2


class Call(NamedTuple):
    """What somebody, known by the id of an access key, asked for."""

    who: str
    action: str
    """As a policy names it: `dynamodb:GetItem`."""
    resource: str
    """`TABLE`, `TABLE/index/NAME`, `QUEUE`, `BUCKET` or `BUCKET/KEY`."""
    status: int


class Recorder:
    """Passes requests on to `target`; `url` is its own address."""

    def __init__(self) -> None:
        self.target = ""
        self.calls: list[Call] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> None:
        self._session = ClientSession(cookie_jar=DummyCookieJar(), auto_decompress=False)
        app = web.Application(client_max_size=_LARGEST)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _close(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _pass(self, request: web.Request) -> web.Response:
        body = await request.read()
        url = URL(f"{self.target}{request.raw_path}", encoded=True)
        headers = {name: text for name, text in request.headers.items() if name.lower() not in _HOP}
        async with self._session.request(
            request.method,
            url,
            data=body or None,
            headers=headers,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            allow_redirects=False,
        ) as answer:
            self.calls += _calls(request, body, answer.status)
            told = {name: text for name, text in answer.headers.items() if name.lower() not in _HOP}
            return web.Response(status=answer.status, headers=told, body=await answer.read())


def _calls(request: web.Request, body: bytes, status: int) -> Iterator[Call]:
    signed = _SIGNED.search(request.headers.get("Authorization", ""))
    if signed is None:
        return
    who, service = signed.groups()
    _, _, action = request.headers.get("X-Amz-Target", "").partition(".")
    if service == "s3":
        asked = _of_s3(request, body)
    elif service == "dynamodb":
        asked = ((action, each) for each in _tables(json.loads(body)))
    elif service == "sqs":
        asked = iter([(action.removesuffix("Batch"), json.loads(body)["QueueUrl"].split("/")[-1])])
    else:
        asked = iter([(action, request.path)])
    for done, resource in asked:
        yield Call(who, f"{service}:{done}", resource, status)


def _tables(asked: dict[str, Any]) -> Iterator[str]:
    for name in asked.get("RequestItems") or [asked["TableName"]]:
        index = asked.get("IndexName")
        yield f"{name}/index/{index}" if index else name


def _of_s3(request: web.Request, body: bytes) -> Iterator[tuple[str, str]]:
    bucket, _, key = request.path.removeprefix("/").partition("/")
    if key:
        yield _OBJECT[request.method], f"{bucket}/{key}"
    elif "delete" in request.query:
        for each in _KEY.findall(body.decode()):
            yield "DeleteObject", f"{bucket}/{each}"
    else:
        yield "ListBucket", bucket
