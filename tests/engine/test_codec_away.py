"""A payload codec of the app's own that fails, as a key service does that is out of reach."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from rewake import (
    approval,
    block,
    continue_as_new,
    emit,
    set_status,
    sleep,
    state,
    step,
    task,
    wait_for_event,
    wait_for_signal,
    workflow,
)
from rewake.codecs import CheckpointForged, Context
from rewake.states import LIVE
from rewake.stores.places import first_place
from rewake.stores.told import Telling
from rewake.views.stream import told_view
from rewake.views.values import Values
from tests.support.emptied import emptied
from tests.support.virtual import SECRET, Bench, virtually

begun: list[str] = []
_emptied = emptied(begun)
ASKED = ("input", "output", "call", "result", "approval", "emitted", "event", "signal")


class Locked:
    """A codec of the app's own, whose key service can be out of reach."""

    def __init__(self) -> None:
        self.is_open = True
        self.refused, self.times = "", 0

    def encode(self, data: bytes, context: Context) -> bytes:
        if context.purpose == self.refused:
            self.times += 1
            raise ConnectionError("the key service does not answer")
        return context.purpose.encode() + b"|" + data[::-1]

    def decode(self, data: bytes, context: Context) -> bytes:
        if not self.is_open:
            raise ConnectionError("the key service does not answer")
        purpose, _, rest = data.partition(b"|")
        if purpose.decode() != context.purpose:
            raise CheckpointForged("of another purpose")
        return rest[::-1]


@workflow
async def waits(word: str) -> str:
    found = await echoes(word)
    await sleep(100)
    return await echoes(found)


def test_a_codec_that_fails_is_waited_for() -> None:
    """What the app's own codec raises is no outcome: the run waits until it works again."""
    codec = Locked()

    async def body(bench: Bench) -> None:
        run = (await bench.start("waits", word="a word")).run
        await asyncio.sleep(20)
        bench.engine.services.cache.clear()
        codec.is_open = False
        await asyncio.sleep(500)
        assert (await bench.engine.get(run)).state in LIVE
        codec.is_open = True
        assert await bench.result(run) == "a word"

    virtually([waits, echoes], body, secret=SECRET.with_codec(codec))


@task
async def echoes(word: str) -> str:
    return word


@workflow
async def shouts(word: str) -> str:
    return word.upper()


@workflow
async def swallows() -> list[Any]:
    async def within() -> str:
        return await echoes("in a block")

    asks: list[Callable[[], Awaitable[Any]]] = [
        lambda: echoes("a task"),
        lambda: shouts("a child"),
        lambda: step("says", lambda: "a step"),
        lambda: block("b", within),
        lambda: approval("ask", timeout=5),
        lambda: wait_for_signal("s", type=int, timeout=5),
        lambda: wait_for_event("e", where={"word": "x"}, timeout=5),
    ]
    said: list[Any] = []
    for ask in asks:
        try:
            await emit("next")
            said.append(str(await ask()))
        except Exception as error:
            said.append(type(error).__name__)
    return said


@pytest.mark.parametrize("purpose", ASKED)
def test_a_codec_that_cannot_encode_is_no_error_of_a_body(purpose: str) -> None:
    """No body can catch it: what it asks for is asked for once more when the codec works."""
    codec = Locked()

    async def body(bench: Bench) -> None:
        right = await bench.run("swallows")
        run = (await bench.start("swallows")).run
        codec.refused = purpose
        await asyncio.sleep(200)
        assert codec.times > 1
        assert (await bench.engine.get(run)).state in LIVE
        codec.refused = ""
        assert await bench.result(run) == right

    virtually([swallows, shouts, echoes], body, secret=SECRET.with_codec(codec))


@task
async def counts_up() -> int:
    begun.append("task")
    async with state("count", "up") as count:
        count.value = (count.value or 0) + 1
    return int(count.value)


@workflow
async def goes_on(lap: int = 1) -> list[Any]:
    async def once() -> str:
        begun.append("step")
        return "a step"

    said = [await step("once", once), await counts_up()]
    if lap < 2:
        continue_as_new(lap + 1)
    return said


@pytest.mark.parametrize("times", [1, 6])
@pytest.mark.parametrize("way", ["encode", "decode"])
def test_a_codec_that_fails_at_any_call_ends_no_run(way: str, times: int) -> None:
    """Neither what begins a lap, nor a state that was entered, makes an error of it."""
    calls, number = 1, 0
    while number < calls:
        codec, told = Failing(way, number, times), list[Any]()

        async def body(bench: Bench, told: list[Any] = told, codec: Failing = codec) -> None:
            run = (await bench.start("goes_on")).run
            codec.counts = True
            await bench.engine.result(run, 10**6)
            codec.counts = False
            told.append(await bench.result(run))

        begun.clear()
        virtually([goes_on, counts_up], body, secret=SECRET.with_codec(codec), cached=0)
        assert told == [["a step", 2]], number
        assert begun.count("task") == 2, number
        calls, number = codec.calls - times, number + 1
    assert number > 5


@workflow
async def only_once() -> str:
    async def once() -> str:
        begun.append("step")
        return "a step"

    return await step("once", once, at_most_once=True)


async def started_while_refused(bench: Bench, codec: Locked, purpose: str, name: str) -> str:
    """A run that has waited for a codec which refused what it kept, and works again."""
    codec.refused = purpose
    run = (await bench.start(name)).run
    await asyncio.sleep(100)
    assert codec.times > 1
    codec.refused = ""
    return run


def test_a_step_whose_result_cannot_be_encoded_yet_is_not_repeated() -> None:
    """It waits for the codec with what it came to, as a task does."""
    codec = Locked()

    async def body(bench: Bench) -> None:
        run = await started_while_refused(bench, codec, "result", "only_once")
        assert await bench.result(run) == "a step"
        assert begun == ["step"]

    virtually([only_once], body, secret=SECRET.with_codec(codec))


@workflow
async def has_steps_only_once() -> list[str]:
    async def says(name: str, seconds: float) -> str:
        begun.append(name)
        await asyncio.sleep(seconds)
        return name

    def once(name: str, seconds: float) -> Awaitable[str]:
        return step(name, lambda: says(name, seconds), at_most_once=True)

    long = asyncio.ensure_future(once("long", 300))
    heard = asyncio.ensure_future(wait_for_event("paid"))
    said = [await once("first", 1)]
    set_status(said)
    said.append(await echoes(await once("second", 2)))
    await emit(said)
    said.append(await echoes(await once("third", 0)))
    return [*said, await heard, await long]


@pytest.mark.parametrize(("way", "times"), [("encode", 20), ("decode", 5)])
def test_a_codec_that_fails_cuts_off_no_step(way: str, times: int) -> None:
    """A body that is halted right behind a step, or beside one, is replayed and goes on with it."""
    calls, number = 1, 0
    while number < calls:
        codec = Failing(way, number, times)

        async def body(bench: Bench, codec: Failing = codec, number: int = number) -> None:
            run = (await bench.start("has_steps_only_once")).run
            await bench.engine.services.events.publish("paid", "paid")
            codec.counts = True
            await bench.engine.result(run, 1_000)
            codec.counts = False
            said = await bench.result(run)
            assert said == ["first", "second", "third", "paid", "long"], number
            assert sorted(begun) == ["first", "long", "second", "third"], number

        begun.clear()
        virtually([has_steps_only_once, echoes], body, secret=SECRET.with_codec(codec))
        calls, number = codec.calls - times, number + 1
    assert number > 10


@task
async def tells() -> str:
    begun.append("task")
    await emit("of a task")
    return "told"


@workflow
async def has_told() -> str:
    async def once() -> str:
        begun.append("step")
        await emit("of a step")
        return str(await tells.function())

    return await tells() + await step("once", once, at_most_once=True)


def test_what_an_attempt_emits_waits_for_the_codec() -> None:
    """It is no error of the attempt, which it could catch: it is kept when the codec works."""
    codec = Locked()

    async def body(bench: Bench) -> None:
        run = await started_while_refused(bench, codec, "emitted", "has_told")
        assert await bench.result(run) == "toldtold"
        assert begun == ["task", "step", "task"]
        values = Values(SECRET.with_codec(codec), run)
        page = await bench.engine.services.streams.follow(run, first_place(run))
        told = [told_view(each, values) for each, _ in page.told if each.what is Telling.ITEM]
        said = [msgspec.json.decode(each["value"]) for each in told]
        assert said == ["of a task", "of a step", "of a task"]

    virtually([has_told, tells], body, secret=SECRET.with_codec(codec))


class Failing(Locked):
    """A codec that fails some times in a row, one way, from one of its calls on."""

    def __init__(self, way: str, first: int, times: int) -> None:
        super().__init__()
        self.counts, self.calls = False, 0
        self._way, self._failing = way, range(first, first + times)

    def _count(self, way: str) -> None:
        if self.counts and way == self._way:
            self.calls += 1
            if self.calls - 1 in self._failing:
                raise ConnectionError("the key service does not answer")

    def encode(self, data: bytes, context: Context) -> bytes:
        self._count("encode")
        return super().encode(data, context)

    def decode(self, data: bytes, context: Context) -> bytes:
        self._count("decode")
        return super().decode(data, context)
