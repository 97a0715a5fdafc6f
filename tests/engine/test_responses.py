"""`respond`: what a run answers its caller, once, before it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import NotInARun, TaskError, respond, sleep, step, task, workflow
from rewake.authoring.response import (
    LARGEST_BODY,
    LONGEST_HEADER,
    MOST_HEADERS,
    Response,
    recorded_response,
    response_of,
)
from rewake.engine.engine import Engine
from rewake.errors import InvalidInput, UsageError
from rewake.kinds import Kind
from rewake.states import RunState
from rewake.stores.places import first_place
from rewake.stores.told import read_page
from rewake.values.run_codec import RunCodec
from tests.support.virtual import SECRET, TABLES, Bench, Ended, die, virtually

BROKEN: list[str] = []


@task
async def asked(what: str) -> str:
    return what


@task
async def flaky() -> str:
    if BROKEN:
        raise ValueError(BROKEN[0])
    return "well"


@workflow
async def early() -> str:
    await sleep(60)
    await respond({"told": "early"}, 201, {"X-A": "b"})
    await sleep(3600)
    return "the end"


@workflow
async def at_the_end() -> str:
    await sleep(60)
    await respond("the last word")
    return "the end"


@workflow
async def before_a_step() -> list[str]:
    seen: list[str] = []
    await respond("first")
    await step("look", lambda: seen.append("looked"))
    await sleep(60)
    return seen


@workflow
async def twice() -> str:
    await respond("one")
    await asked("between")
    try:
        await respond("two")
    except UsageError as error:
        return str(error)
    return "no error"


@workflow
async def answers_as_it_fails() -> str:
    try:
        told = await flaky()
    except TaskError:
        await respond("failed")
        raise
    await respond("well")
    return told


@workflow
async def fails_then_responds() -> str:
    await flaky()
    await respond("late")
    return "well"


async def answer(engine: Engine, run: str) -> Response | None:
    """What this run has answered."""
    header = await engine.get(run)
    kept = await engine.services.store.responses.of(header)
    if kept is None:
        return None
    return recorded_response(RunCodec(SECRET, run), kept.key, kept.value)


@pytest.mark.parametrize("table", TABLES)
def test_it_is_told_as_what_it_is(table: str) -> None:
    """To who follows a run it begins and ends as a response, and not as a timer."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("early")).run
        await bench.result(run)
        page = await read_page(bench.engine.services.store, run, first_place(run), 500)
        told = [(each.kind, each.state) for each, _ in page.told if each.key == "respond"]
        assert told == [(Kind.RESPONSE, "started"), (Kind.RESPONSE, "done")]
        timers = [each.state for each, _ in page.told if each.kind is Kind.TIMER]
        assert timers == ["started", "done"] * 2

    virtually([early], body, table=table)


# --- when it is given -----------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_an_answer_comes_long_before_the_end(table: str) -> None:
    """Who waits for it is woken by the commit that asks for it, and the run goes on."""

    async def body(bench: Bench) -> None:
        header = await bench.start("early")
        assert await bench.engine.result(header.run, 100, or_response=True) is None
        assert bench.seconds == 60
        told = await answer(bench.engine, header.run)
        assert told == Response(
            201, [("X-A", "b"), ("Content-Type", "application/json")], '{"told":"early"}'
        )
        assert await bench.result(header.run) == "the end"
        assert await answer(bench.engine, header.run) == told

    virtually([early], body, table=table)


def test_an_answer_costs_no_write() -> None:
    """It is named by the commit that was needed anyway: of the wait, or of the end."""

    async def body(bench: Bench) -> None:
        header = await bench.start("at_the_end")
        assert await bench.result(header.run) == "the end"
        told = await answer(bench.engine, header.run)
        assert told is not None
        assert told.body == b"the last word"
        kept = await bench.engine.get(header.run)
        # One turn before the sleep and one after it, which asked for it, went on, and ended.
        assert (kept.count, kept.epoch) == (6, 2)

    virtually([at_the_end], body)


def test_an_answer_is_durable_before_a_step_begins() -> None:
    """What the body does next is not done before the answer is written down."""

    async def body(bench: Bench) -> None:
        engine, seen = bench.engine, list[bool]()
        header = await bench.start("before_a_step")
        start = bench.engine.services.store.commit

        async def noted(held: Any, entries: Any, **more: Any) -> Any:
            result = await start(held, entries, **more)
            seen.append(bool((await engine.get(header.run)).answer))
            return result

        engine.services.store.commit = noted  # type: ignore[method-assign]
        await bench.result(header.run)
        assert seen[0]

    virtually([before_a_step], body)


def test_an_answer_of_a_run_in_another_process() -> None:
    """The process that was asked finds out although another one carries the run."""

    async def body(bench: Bench) -> None:
        other = bench.another()
        header = await bench.start("early")
        assert await other.result(header.run, 100, or_response=True) is None
        assert 60 <= bench.seconds < 61
        assert await answer(other, header.run) is not None

    virtually([early], body)


def test_an_answer_outlives_its_process() -> None:
    """What was given stands when another process takes the run over, and is not asked for anew."""

    async def body(bench: Bench) -> None:
        other = bench.another()
        other.open()
        header, _ = await other.start("early", {})
        await other.result(header.run, 100, or_response=True)
        told = await answer(other, header.run)
        die(other)
        assert await bench.result(header.run) == "the end"
        assert await answer(bench.engine, header.run) == told is not None

    virtually([early], body)


# --- once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cached", [0, 256])
def test_a_second_answer_is_a_mistake(cached: int) -> None:
    """It raises `UsageError`, on replay too, and the first answer stands."""

    async def body(bench: Bench) -> None:
        header = await bench.start("twice")
        assert "answers once" in await bench.result(header.run)
        told = await answer(bench.engine, header.run)
        assert told is not None
        assert told.body == b"one"

    virtually([twice, asked], body, cached=cached)


def test_an_answer_stands_when_its_run_is_retried() -> None:
    """A run that answers otherwise once it is retried does not take back what a caller was told."""

    async def body(bench: Bench) -> None:
        BROKEN[:] = ["not today"]
        header = await bench.start("answers_as_it_fails")
        with pytest.raises(Ended):
            await bench.result(header.run)
        BROKEN.clear()
        await bench.engine.retry(header.run)
        assert await bench.result(header.run) == "well"
        told = await answer(bench.engine, header.run)
        assert told is not None
        assert told.body == b"failed"

    virtually([answers_as_it_fails, flaky], body)


def test_a_run_that_failed_before_it_answers_when_it_is_retried() -> None:
    """It has answered nothing as it fails, and answers once it comes so far."""

    async def body(bench: Bench) -> None:
        BROKEN[:] = ["not today"]
        header = await bench.start("fails_then_responds")
        with pytest.raises(Ended):
            await bench.result(header.run)
        assert await answer(bench.engine, header.run) is None
        BROKEN.clear()
        await bench.engine.retry(header.run)
        await bench.result(header.run)
        told = await answer(bench.engine, header.run)
        assert told is not None
        assert told.body == b"late"

    virtually([fails_then_responds, flaky], body)


@workflow
async def in_a_step() -> str:
    async def inner() -> None:
        await respond("no")

    await step("inner", inner)
    return "no error"


@task
async def responding() -> None:
    await respond("no")


@workflow
async def in_a_task() -> None:
    await responding()


@pytest.mark.parametrize("name", ["in_a_step", "in_a_task"])
def test_only_a_body_answers(name: str) -> None:
    """In a task or a step it is a `UsageError`, and nothing is answered."""

    async def body(bench: Bench) -> None:
        header = await bench.start(name)
        with pytest.raises(Ended) as caught:
            await bench.result(header.run)
        assert caught.value.failure is not None
        assert "not for a task or a step" in caught.value.failure.message
        assert await answer(bench.engine, header.run) is None

    virtually([in_a_step, in_a_task, responding], body)


def test_outside_a_run() -> None:
    """A test that calls a body is told that this needs a run."""
    with pytest.raises(NotInARun, match="needs a run"):
        asyncio.run(respond("x"))


@workflow
async def cancelled() -> None:
    try:
        await sleep(3600)
    finally:
        await respond("cancelled")


def test_a_run_may_answer_as_it_is_cancelled() -> None:
    """Its cleanup answers like any other code of the body."""

    async def body(bench: Bench) -> None:
        header = await bench.start("cancelled")
        await bench.engine.result(header.run, 1)
        await bench.engine.cancel(header.run)
        await bench.engine.result(header.run, 60)
        assert (await bench.engine.get(header.run)).state is RunState.CANCELLED
        assert (await answer(bench.engine, header.run)) is not None

    virtually([cancelled], body)


# --- what can be sent -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "told", "media_type"),
    [
        ({"a": [1, None]}, b'{"a":[1,null]}', "application/json"),
        ("grüße", "grüße".encode(), "text/plain; charset=utf-8"),
        (b"\xff\x00", b"\xff\x00", "application/octet-stream"),
        (0, b"0", "application/json"),
        (None, b"", None),
    ],
)
def test_what_a_body_becomes(body: Any, told: bytes, media_type: str | None) -> None:
    """JSON data, text or bytes, each as what it is."""
    found = response_of(body, 200, {})
    assert found.body == told
    assert dict(found.headers).get("Content-Type") == media_type


@pytest.mark.parametrize(
    ("body", "status", "headers", "field"),
    [
        ("", 199, {}, "status"),
        ("", 600, {}, "status"),
        ("", True, {}, "status"),
        ("", "200", {}, "status"),
        ("x", 204, {}, "body"),
        (object(), 200, {}, "body"),
        ("\ud800", 200, {}, "body"),
        ("x" * (LARGEST_BODY + 1), 200, {}, "body"),
        ("", 200, {"X-A": "b\r\nSet-Cookie: c=d"}, "headers.X-A"),
        ("", 200, {"X-A": "b\n"}, "headers.X-A"),
        ("", 200, {"X-A": "ü"}, "headers.X-A"),
        ("", 200, {"X-A": 1}, "headers.X-A"),
        ("", 200, {"X-A": "x" * (LONGEST_HEADER + 1)}, "headers.X-A"),
        ("", 200, {"X A": "b"}, "headers"),
        ("", 200, {"X-A\r\nX-B": "b"}, "headers"),
        ("", 200, {"": "b"}, "headers"),
        ("", 200, {"Transfer-Encoding": "chunked"}, "headers.Transfer-Encoding"),
        ("", 200, {"content-length": "3"}, "headers.content-length"),
        ("", 200, {"X-A": "b", "x-a": "c"}, "headers.x-a"),
        ("", 200, {f"X-{n}": "" for n in range(MOST_HEADERS + 1)}, "headers"),
        ("", 200, ["X-A"], "headers"),
    ],
)
def test_what_cannot_be_sent(body: Any, status: Any, headers: Any, field: str) -> None:
    """It is refused as it is asked for, and the part is named: no header becomes two."""
    with pytest.raises(InvalidInput) as caught:
        response_of(body, status, headers)
    assert caught.value.field == field
