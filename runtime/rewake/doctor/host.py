"""What the host of a server really carries, found out by requests through its front door.

`POST /v1/probe` answers as it is asked: late, with many bytes, in parts that are a second apart. It
also says what the process saw between two requests. A process that ticks all the time finds a gap
there if its host lets it stand still.

What is found is compared with what the server was told (`REWAKE_PLATFORM`).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from rewake.clock import Clock
from rewake.doctor.findings import Checks, Finding, failure, warning, well
from rewake.records import Millis

PATH: Final = "/v1/probe"
LARGEST: Final = 1_000_000
"""Bytes of a body: as many as the API takes, or nearly."""
LONGEST: Final = 60.0
"""Seconds that an answer may take: as long as one may wait for a result."""
PATIENCE: Final = 75.0
"""Seconds that a check may take."""
APART: Final = 1.0
"""Seconds between the parts of an answer that is sent in parts."""
BREAK: Final = 3.0
"""Seconds without a request of ours, in which a process may stand still."""
STILL: Final[Millis] = 1_000
"""A gap from which on it did."""
TRIES: Final = 6


class Probed(msgspec.Struct):
    """What the process saw. `gap`: the longest time in which it did not tick, in milliseconds."""

    process: str
    gap: Millis
    digest: str
    """The SHA-256 of the body, as it arrived."""
    platform: str
    goes_on: bool
    """Whether it was told that it goes on between requests."""
    streams: bool
    """Whether it was told that parts of an answer arrive by themselves."""


class Ticks:
    """Ticks for a while, and knows how long it did not."""

    EVERY: Final[Millis] = 50
    LONGEST: Final[Millis] = 30_000

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.process = secrets.token_hex(8)
        """A name that no other process has."""
        self._ticking: asyncio.Task[None] | None = None
        self._last: Millis = 0
        self._gap: Millis = 0

    def gap(self) -> Millis:
        """The longest time without a tick since this was first asked, or a while ago."""
        now = self._clock.now()
        if self._ticking is None or self._ticking.done():
            self._last, self._gap = now, 0
            self._ticking = asyncio.ensure_future(self._tick(now + self.LONGEST))
        self._note(now)
        return self._gap

    def close(self) -> None:
        """Tick no more."""
        if self._ticking is not None:
            self._ticking.cancel()

    async def _tick(self, until: Millis) -> None:
        while (now := self._clock.now()) < until:
            self._note(now)
            await self._clock.sleep(self.EVERY)

    def _note(self, now: Millis) -> None:
        self._gap, self._last = max(self._gap, now - self._last), now


def pattern(size: int) -> bytes:
    """So many bytes, of all kinds: no text, and no valid UTF-8."""
    return (bytes(range(255, -1, -1)) * (size // 256 + 1))[:size]


def checks_of_host(url: str, token: str, longest: float = LONGEST) -> Checks:
    """What can be found out of the host of the server at that address.

    `longest`: how many seconds an answer is let take.
    """
    door = _Door(url.rstrip("/") + PATH, {"Authorization": f"Bearer {token}"}, longest)
    return {
        "standing still": door.standing_still,
        "requests": door.requests,
        "answers": door.answers,
        "parts": door.parts,
        "time": door.time,
    }


class _Door:
    """The front door, and the checks that go through it. Each has a connection of its own."""

    def __init__(self, url: str, headers: Mapping[str, str], longest: float = LONGEST) -> None:
        self._url = url
        self._longest = longest
        self._headers = {**headers, "Content-Type": "application/octet-stream"}

    async def standing_still(self) -> Sequence[Finding]:
        name, first = "standing still", await self._probe()
        for _ in range(TRIES):
            await asyncio.sleep(BREAK)
            found = await self._probe()
            if found.process == first.process:
                break
        else:
            told = f"{first.platform}: each request meets another process"
            return [warning(name, f"{told}, so it was not seen", "ask again while it is idle")]
        still = found.gap > STILL
        told = f"{found.platform}: between two requests a process " + (
            f"stood still for {found.gap / 1000:.1f} s" if still else "goes on"
        )
        if still and found.goes_on:
            do = "set REWAKE_PLATFORM to what it runs on, so that nothing is begun there by itself"
            return [failure(name, told, do)]
        return [well(name, told)]

    async def requests(self) -> Sequence[Finding]:
        name, body = "requests", pattern(LARGEST)
        status, answer, _ = await self._ask(body=body)
        if status != 200:
            told = f"a body of {LARGEST:,} bytes is answered {status}"
            return [failure(name, told, "let what is before the server pass a megabyte on")]
        if msgspec.json.decode(answer, type=Probed).digest != hashlib.sha256(body).hexdigest():
            do = "let it pass bytes on as they are: webhooks are signed over them (isBase64Encoded)"
            return [failure(name, "a body does not arrive as it was sent", do)]
        return [well(name, f"a body of {LARGEST:,} bytes arrives as it was sent")]

    async def answers(self) -> Sequence[Finding]:
        name = "answers"
        status, answer, _ = await self._ask(answer=LARGEST)
        if status != 200 or answer != pattern(LARGEST):
            told = f"an answer of {LARGEST:,} bytes comes as {len(answer):,} others ({status})"
            return [failure(name, told, "see what changes or cuts answers on their way")]
        return [well(name, f"an answer of {LARGEST:,} bytes comes as it was sent")]

    async def parts(self) -> Sequence[Finding]:
        name, told = "parts", (await self._probe()).streams
        status, _, times = await self._ask(stream="yes")
        if status != 200:
            return [failure(name, f"an answer in parts is answered {status}", "see its log")]
        if len(times) > 1 and times[-1] - times[0] > APART / 2:
            return [well(name, "an answer arrives in the parts in which it is sent")]
        if told:
            do = "let no proxy hold answers back, or browsers get events of streams late"
            return [warning(name, "an answer arrives only when it is whole", do)]
        return [well(name, "an answer arrives only when it is whole, as is known of this host")]

    async def time(self) -> Sequence[Finding]:
        name, begun = "time", time.monotonic()
        try:
            status, _, _ = await self._ask(hold=self._longest)
        except (OSError, TimeoutError) as error:
            status = type(error).__name__
        took = time.monotonic() - begun
        if status != 200:
            told = f"an answer is not waited for: {status} after {took:.0f} s"
            do = f"let what is before the server wait for {self._longest:g} s, or wait= for less"
            return [warning(name, told, do)]
        return [well(name, f"an answer may take {took:.0f} s")]

    async def _probe(self) -> Probed:
        _, answer, _ = await self._ask()
        return msgspec.json.decode(answer, type=Probed)

    async def _ask(
        self, *, body: bytes = b"", **query: Any
    ) -> tuple[int | str, bytes, Sequence[float]]:
        """The status, the body, and when its parts came."""
        import aiohttp  # noqa: PLC0415 - slow to import, and seldom needed

        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        parts, times = list[bytes](), list[float]()
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session,
            session.post(self._url, data=body, params=query, allow_redirects=False) as answer,
        ):
            async for part in answer.content.iter_any():
                parts.append(part)
                times.append(time.monotonic())
            return answer.status, b"".join(parts), times
