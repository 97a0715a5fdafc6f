"""Callbacks: what machines send, when it comes, and what becomes of silence."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from rewake import TaskError, callback, race, sleep, step, task, workflow
from rewake.engine.outside.callbacks import Callbacks
from rewake.errors import InvalidInput, LinkExpired, NotYet, RunConflict, Unauthentic
from rewake.kinds import OutcomeKind
from tests.support.virtual import TABLES, Bench, Ended, virtually

URL = "https://app.example"
SENT: list[str] = []
"""The addresses that workflows of these tests have handed on."""


@dataclass
class Payment:
    amount: int
    by: str = "card"


@task
async def send(url: str) -> None:
    SENT.append(url)


@workflow
async def pays(timeout: float | None = None, heartbeat: float | None = None) -> Any:
    wait = callback("payment", result=Payment, timeout=timeout, heartbeat_timeout=heartbeat)
    await send(wait.url)
    try:
        payment = await wait
    except TimeoutError as error:
        return f"late: {error}"
    except TaskError as error:
        return [error.type, error.message]
    return [payment.amount, payment.by]


async def token_of(bench: Bench, workflow: str = "pays", /, **arguments: Any) -> tuple[str, str]:
    """A run that was just started, and the token of the address that it has handed on."""
    SENT.clear()
    run = (await bench.start(workflow, **arguments)).run
    await asyncio.sleep(0.5)
    assert SENT[-1].startswith(f"{URL}/callback/")
    return run, SENT[-1].rpartition("/")[2]


@pytest.mark.parametrize("table", TABLES)
def test_the_first_call_stands(table: str) -> None:
    """The same call again gets the same answer, another one is refused and changes nothing."""

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench)
        callbacks = Callbacks(bench.engine)
        assert await callbacks.complete(token, {"amount": 3}) is OutcomeKind.OK
        assert await bench.result(run) == [3, "card"]
        assert await callbacks.complete(token, {"amount": 3}) is OutcomeKind.OK
        with pytest.raises(RunConflict, match="completed by an earlier call"):
            await callbacks.complete(token, {"amount": 4})
        with pytest.raises(RunConflict):
            await callbacks.fail(token, "Declined", "no")
        with pytest.raises(RunConflict):
            await callbacks.heartbeat(token)

    virtually([pays, send], body, table=table, url=URL)


@pytest.mark.parametrize("how", ["complete", "fail"])
def test_a_call_before_it_is_awaited_is_not_lost(how: str) -> None:
    """It is there when the body comes to await it: after a step, in another process."""

    @workflow
    async def busy() -> Any:
        wait = callback("early", result=int)
        await send(wait.url)
        await sleep(60)
        await step("work", lambda: asyncio.sleep(60))
        try:
            return await wait
        except TaskError as error:
            return error.type

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, "busy")
        callbacks = Callbacks(bench.engine)
        await (callbacks.complete(token, 7) if how == "complete" else callbacks.fail(token, "No"))
        await asyncio.sleep(70)
        await bench.engine.close()
        bench.engine = bench.another()
        bench.engine.open()
        assert await bench.result(run) == (7 if how == "complete" else "No")

    virtually([busy, send], body, url=URL)


def test_a_failure_is_a_task_error() -> None:
    """Its type and message are what the machine said, and are bounded."""

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench)
        await Callbacks(bench.engine).fail(token, "Declined" + "x" * 300, "no cover")
        kind, message = await bench.result(run)
        assert kind.startswith("Declinedxxx")
        assert len(kind.encode()) <= 200
        assert message == "no cover"

    virtually([pays, send], body, url=URL)


def test_a_result_that_does_not_fit_leaves_it_open() -> None:
    """The error names the field; a field that the type does not have is passed over."""

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench)
        callbacks = Callbacks(bench.engine)
        for wrong, field in (
            ({"amount": "a lot"}, "amount"),
            ({}, "amount"),
            (None, ""),
            ([1], ""),
        ):
            with pytest.raises(InvalidInput) as refused:
                await callbacks.complete(token, wrong)
            assert refused.value.field == field
        await callbacks.complete(token, {"amount": 3, "by": "cash", "fee": 1})
        assert await bench.result(run) == [3, "cash"]

    virtually([pays, send], body, url=URL)


@pytest.mark.parametrize("open_", [True, False], ids=["live", "down"])
def test_a_call_after_the_time_is_over_changes_nothing(open_: bool) -> None:
    """The wait has ended as of its deadline, whether any process saw that or not."""

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, timeout=10)
        if not open_:
            await bench.engine.close()
            bench.engine = bench.another()
        await asyncio.sleep(20)
        with pytest.raises(LinkExpired, match="time"):
            await Callbacks(bench.engine).complete(token, {"amount": 3}, carry_on=open_)
        if not open_:
            bench.engine.open()
        assert (await bench.result(run)).startswith("late: the time of the callback 'payment'")

    virtually([pays, send], body, url=URL)


def test_a_call_in_time_counts_although_it_is_seen_late() -> None:
    """No process ran between the call and the deadline."""

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, timeout=10)
        await bench.engine.close()
        late = bench.another()
        await Callbacks(late).complete(token, {"amount": 3}, carry_on=False)
        await asyncio.sleep(20)
        late.open()
        bench.engine = late
        assert await bench.result(run) == [3, "card"]

    virtually([pays, send], body, url=URL)


def test_what_is_withdrawn_or_over_can_not_be_called() -> None:
    """The link of a wait that was given up, or whose run has ended, is gone."""

    @workflow
    async def gives_up() -> str:
        wait, other = callback("given up"), callback("left open")
        await send(wait.url)
        await send(other.url)
        try:
            async with asyncio.timeout(5):
                await wait
        except TimeoutError:
            await sleep(60)
        return "gave up"

    async def body(bench: Bench) -> None:
        run, _ = await token_of(bench, "gives_up")
        given_up, left = (each.rpartition("/")[2] for each in SENT)
        callbacks = Callbacks(bench.engine)
        await asyncio.sleep(10)
        with pytest.raises(LinkExpired, match="any more"):
            await callbacks.complete(given_up, 1)
        await asyncio.sleep(60)
        assert await bench.result(run) == "gave up"
        for call in (callbacks.complete(left, 1), callbacks.heartbeat(left)):
            with pytest.raises(LinkExpired):
                await call

    virtually([gives_up, send], body, url=URL)


def test_a_forged_link_opens_nothing() -> None:
    """Neither one that was cut, nor that of another run under another secret."""

    async def body(bench: Bench) -> None:
        _, token = await token_of(bench)
        for forged in (token[:-1], token[1:], "", ".", token + "A", "ü." + token):
            with pytest.raises(Unauthentic):
                await Callbacks(bench.engine).complete(forged, {"amount": 3})

    virtually([pays, send], body, url=URL)


@pytest.mark.parametrize("late", [0.5, 5.0])
def test_a_call_that_is_quicker_than_the_commit_is_told_to_wait(late: float) -> None:
    """A body may say its address before that is written down: the call waits, or comes again."""

    @workflow
    async def says() -> Any:
        wait = callback("payment")
        SENT.append(wait.url)
        return await wait

    async def body(bench: Bench) -> None:
        store: Any = bench.engine.services.store
        park = store.park

        async def slow(*args: Any, **more: Any) -> Any:
            await asyncio.sleep(late)
            return await park(*args, **more)

        store.park = slow
        SENT.clear()
        run = (await bench.start("says")).run
        await asyncio.sleep(0.01)
        token = SENT[0].rpartition("/")[2]
        if late > 1:
            with pytest.raises(NotYet):
                await Callbacks(bench.engine).complete(token, "paid")
            await asyncio.sleep(late)
        await Callbacks(bench.engine).complete(token, "paid")
        assert await bench.result(run) == "paid"

    virtually([says], body, url=URL)


def test_it_is_awaited_as_anything_is() -> None:
    """In `gather`, `race`, `wait_for` and a group, twice, and in any order."""

    @workflow
    async def awaits() -> Any:
        waits = [callback(f"w{number}") for number in range(6)]
        for wait in waits:
            await send(wait.url)
        both = await asyncio.gather(waits[1], waits[0])
        first = await race(waits[2], waits[3])
        within = await asyncio.wait_for(waits[4], 100)
        try:
            await asyncio.wait_for(waits[5], 1)
        except TimeoutError:
            return [both, first, within, await waits[0]]

    async def body(bench: Bench) -> None:
        run, _ = await token_of(bench, "awaits")
        tokens = [url.rpartition("/")[2] for url in SENT]
        callbacks = Callbacks(bench.engine)
        for number in (4, 0, 1, 3):
            await callbacks.complete(tokens[number], number)
            await asyncio.sleep(0.1)
        assert await bench.result(run) == [[1, 0], 3, 4, 0]
        for lost in (2, 5):
            with pytest.raises(LinkExpired):
                await callbacks.complete(tokens[lost], lost)

    virtually([awaits, send], body, url=URL)


# --- one that nobody awaits, as an approval that nobody awaits -----------------------------------


@workflow
async def drops(how: str) -> str:
    async def branch() -> None:
        wait = callback("payment")
        await send(wait.url)
        await sleep(5)
        if how == "branch":
            raise ValueError("no")
        if how == "cancel":
            wait.cancel()
        elif how == "race":
            await race(wait, sleep(5))
        elif how == "again":
            await race(wait, sleep(5))
            await wait

    if how == "branch":
        await asyncio.wait([asyncio.create_task(branch())])
    else:
        await branch()
    await sleep(20)
    return "done"


@pytest.mark.parametrize("cached", [256, 0])
@pytest.mark.parametrize(
    ("how", "warned"), [("end", True), ("cancel", False), ("race", False), ("branch", False)]
)
def test_what_nobody_awaits_is_taken_back(
    how: str, warned: bool, cached: int, caplog: pytest.LogCaptureFixture
) -> None:
    """By `cancel()`, by a race, by the end of what asked; a body that forgot it is warned."""

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, "drops", how=how)
        with caplog.at_level("WARNING", "rewake.workflow"):
            await asyncio.sleep(15)
            if how != "end":
                with pytest.raises(LinkExpired):
                    await Callbacks(bench.engine).complete(token, 1)
            assert await bench.result(run) == "done"
        assert caplog.text.count("never awaited the callback 'payment'") == warned

    virtually([drops, send], body, url=URL, cached=cached)


def test_what_was_taken_back_cannot_be_awaited_again() -> None:
    """The error says so; it is not taken for a cancellation."""

    async def body(bench: Bench) -> None:
        with pytest.raises(Ended) as ended:
            await bench.run("drops", how="again")
        assert ended.value.failure is not None
        assert "asyncio.shield" in ended.value.failure.message

    virtually([drops, send], body, url=URL)
