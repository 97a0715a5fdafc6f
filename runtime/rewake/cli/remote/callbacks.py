"""Calling a callback by its address, which is all that this needs: no token, and no setting."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import aiohttp

from rewake.cli.exits import Exit
from rewake.cli.output import write_json
from rewake.cli.remote.client import Client, Reply
from rewake.dispatchers.http import is_base_url
from rewake.errors import Unauthentic, UsageError
from rewake.signing.links import LinkUse
from rewake.signing.redacting import without_tokens

_ADDRESS = re.compile(rf".+/{LinkUse.CALLBACK}/[^/]+/?")


class _Caller(Client):
    """Posts to one callback. What it says of its address is redacted."""

    def __init__(self, address: str) -> None:
        if not (is_base_url(address) and _ADDRESS.fullmatch(address)):
            raise UsageError("URL is no address of a callback: https://HOST/callback/TOKEN")
        self._whole = address.rstrip("/")
        self.url = without_tokens(self._whole)
        self._session = None

    async def __aenter__(self) -> _Caller:
        self._session = aiohttp.ClientSession()
        return self

    def _address(self, path: tuple[str, ...]) -> str:
        return "/".join([self._whole, *path])

    def _answer(self, status: int, body: bytes) -> Reply:
        if status == 401:
            raise Unauthentic(f"{self.url} is no link that this server has made")
        return super()._answer(status, body)


def call(address: str, body: Any, *path: str, json: bool) -> Exit:
    """End the callback at this address."""

    async def ask() -> Reply:
        async with _Caller(address) as caller:
            return await caller.post(*path, body=body)

    found = asyncio.run(ask()).body
    if json:
        write_json(found)
    else:
        print(f"the callback is {found['state']}")
    return Exit.DONE
