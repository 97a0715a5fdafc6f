"""Ending a run that does not end by itself: asking again, and killing it."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import pairwise
from typing import Any

import pytest

from rewake import sleep, task, wait_for_approval, workflow
from rewake.errors import (
    CheckpointUnreadable,
    InvalidInput,
    RunConflict,
    RunNotFound,
    StoreUnavailable,
)
from rewake.kinds import OutcomeKind
from rewake.records import LATEST, CancelRequested, Header
from rewake.states import RunState
from rewake.stores.ended import is_ended_due
from rewake.stores.keys import header_key
from rewake.stores.table import Key
from rewake.views.runs import ErrorView, run_view
from tests.support.virtual import TABLES, Bench, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
warm_and_cold = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])


@workflow
async def stubborn() -> str:
    """Swallows two cancellations."""
    for _ in range(2):
        with contextlib.suppress(asyncio.CancelledError):
            await sleep(3600)
    await sleep(3600)
    return "survived"


@everywhere
@warm_and_cold
def test_each_request_to_cancel_is_observed(table: str, cached: int) -> None:
    """A body that swallows two cancellations is ended by the third, as in asyncio."""

    async def body(bench: Bench) -> None:
        header = await bench.start("stubborn")
        for number in range(1, 4):
            assert (await bench.engine.get(header.run)).state is not RunState.CANCELLED
            await bench.engine.cancel(header.run, f"request {number}")
            await asyncio.sleep(1)
        outcome = await bench.engine.result(header.run)
        assert outcome is not None
        assert outcome.failure is not None
        assert (outcome.kind, outcome.failure.message) == (OutcomeKind.CANCELLED, "request 3")

    virtually([stubborn], body, table=table, cached=cached)


@everywhere
def test_a_request_whose_answer_was_lost_is_made_once(table: str) -> None:
    """A request that the store took and answered with an error is one request, not two."""

    async def body(bench: Bench) -> None:
        header = await bench.start("stubborn")
        await asyncio.sleep(1)
        update, failed = bench.table.update, list[Key]()

        async def forgetful(key: Key, **changes: object) -> object:
            written = await update(key, **changes)  # type: ignore[arg-type]
            if "cancels" in (changes.get("set") or ()) and not failed:  # type: ignore[operator]
                failed.append(key)
                raise StoreUnavailable("it was written, and nobody was told")
            return written

        bench.table.update = forgetful  # type: ignore[method-assign, assignment]
        await bench.engine.cancel(header.run)
        await asyncio.sleep(1)
        _, history = await bench.engine.history(header.run)
        assert failed
        assert sum(isinstance(entry, CancelRequested) for entry in history.entries) == 1

    virtually([stubborn], body, table=table)


ended: list[str] = []


@task
async def forever() -> None:
    try:
        await asyncio.sleep(10**6)
    finally:
        ended.append("task")


@workflow
async def holds_on() -> None:
    try:
        await asyncio.gather(forever(), wait_for_approval("boss"))
    finally:
        await sleep(10**6)


@everywhere
@warm_and_cold
def test_a_kill_ends_a_run_without_its_cleanup(table: str, cached: int) -> None:
    """A killed run is over at once, with the reason; what it has open is cancelled."""
    ended.clear()

    async def body(bench: Bench) -> None:
        header = await bench.start("holds_on")
        await asyncio.sleep(1)
        await bench.engine.kill(header.run, "too stubborn")
        found, history = await bench.engine.history(header.run)
        assert (found.state, found.cancel, is_ended_due(found.due)) == (
            RunState.CANCELLED,
            "too stubborn",
            True,
        )
        kinds = {key: outcome.kind for key, outcome in history.outcomes().items()}
        assert list(kinds.values()) == [OutcomeKind.CANCELLED] * 2
        outcome = await bench.engine.result(header.run)
        assert outcome is not None
        assert outcome.failure is not None
        assert (outcome.kind, outcome.failure.message) == (OutcomeKind.CANCELLED, "too stubborn")
        await asyncio.sleep(20)
        assert ended == ["task"]
        with pytest.raises(RunConflict, match="over"):
            await bench.engine.kill(header.run)

    virtually([holds_on, forever], body, table=table, cached=cached)


def test_a_kill_is_finished_by_a_sweep() -> None:
    """If the process that killed a run dies over it, a sweep cancels what the run has open."""

    async def body(bench: Bench) -> None:
        header = await bench.start("holds_on")
        await asyncio.sleep(1)
        store = bench.engine.services.store
        cancel_open = store.cancel_open

        async def dies(*_: object) -> None:
            raise StoreUnavailable("it dies here")

        store.cancel_open = dies  # type: ignore[method-assign, assignment]
        with pytest.raises(StoreUnavailable):
            await bench.engine.kill(header.run)
        store.cancel_open = cancel_open  # type: ignore[method-assign]
        await asyncio.sleep(20)
        found, history = await bench.engine.history(header.run)
        assert found.state is RunState.CANCELLED
        assert is_ended_due(found.due)
        assert len(history.outcomes()) == 2

    virtually([holds_on, forever], body)


@workflow
async def hangs() -> None:
    await asyncio.Event().wait()


def test_a_stuck_run_is_cancelled_only_when_told_to() -> None:
    """The cleanup of a stuck run cannot run: the caller is told so, and has to say it."""

    async def body(bench: Bench) -> None:
        header = await bench.start("hangs")
        await asyncio.sleep(1)
        with pytest.raises(RunConflict, match="its cleanup cannot run"):
            await bench.engine.cancel(header.run)
        assert (await bench.engine.get(header.run)).state is RunState.STUCK
        found = await bench.engine.cancel(header.run, "no more", even_stuck=True)
        assert (found.state, found.cancel) == (RunState.CANCELLED, "no more")

    virtually([hangs], body)


def test_what_cannot_be_killed() -> None:
    """A run that there is not, and a reason that the header has no room for, are refused."""

    async def body(bench: Bench) -> None:
        with pytest.raises(RunNotFound):
            await bench.engine.kill("gone")
        with pytest.raises(InvalidInput):
            await bench.engine.kill("gone", "é" * 101)

    virtually([hangs], body)


def test_the_log_says_who_ended_a_run(caplog: pytest.LogCaptureFixture) -> None:
    """A request to cancel and a kill are told, with their reasons."""
    caplog.set_level("INFO", "rewake.runs")

    async def body(bench: Bench) -> None:
        header = await bench.start("stubborn")
        await asyncio.sleep(1)
        await bench.engine.cancel(header.run, "please")
        await asyncio.sleep(1)
        await bench.engine.kill(header.run, "at once")

    virtually([stubborn], body)
    assert "is asked to cancel: please" in caplog.text
    assert "has ended: cancelled by kill: at once" in caplog.text


@workflow
async def asks(text: str) -> str:
    await wait_for_approval("boss")
    return text


def test_a_run_with_a_damaged_value_can_be_killed() -> None:
    """Nothing that a kill does needs the values: what is open is cancelled at once."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks", text="x" * 100_000)).run
        await asyncio.sleep(1)
        store: Any = bench.engine.services.store

        async def damaged(*_: object) -> bytes:
            return b"other"

        store._blobs._shelf.get_blob = damaged
        killed = await bench.engine.kill(run)
        assert killed.state is RunState.CANCELLED
        assert is_ended_due((await bench.engine.get(run)).due)

    virtually([asks], body)


@task
async def waits_long() -> None:
    await asyncio.sleep(3600)


@workflow
async def asks_beside_a_task(text: str) -> None:
    await asyncio.gather(waits_long(), wait_for_approval("boss"))
    await waits_long()


@everywhere
def test_a_run_whose_entries_cannot_be_read_can_be_killed(table: str) -> None:
    """What it had open is cancelled as far as it is known, and nobody looks at it ever after."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks_beside_a_task", text="x" * 2_000)).run
        await asyncio.sleep(1)
        header = await bench.engine.get(run)
        assert header.base
        await bench.table.delete([Key(header_key(run).partition, header.base)])
        with pytest.raises(CheckpointUnreadable):
            await bench.engine.history(run)
        killed = await bench.engine.kill(run)
        assert killed.state is RunState.CANCELLED
        store: Any = bench.engine.services.store
        task_item = await store.operation(run, "waits_long[0]/waits_long")
        assert task_item.outcome.kind is OutcomeKind.CANCELLED
        await asyncio.sleep(60)
        assert await bench.table.due(LATEST, limit=9) == []

    virtually([asks_beside_a_task, waits_long], body, table=table)


@everywhere
def test_a_run_is_updated_when_it_gets_stuck_is_resumed_or_ends_from_outside(table: str) -> None:
    """No event tells of these; `updated` does, and never goes back. A killed run says so."""

    async def body(bench: Bench) -> None:
        engine, services = bench.engine, bench.engine.services
        moments, run = list[str](), (await bench.start("holds_on")).run

        async def note() -> None:
            await asyncio.sleep(60)
            moments.append(run_view(await engine.get(run)).updated)

        await note()
        held = await services.claims.run(run, services.run_claim(run))
        assert isinstance(held, Header)
        await services.store.stick(held, "it is stuck")
        await note()
        await engine.resume(run)
        await note()
        held = await services.claims.run(run, services.run_claim(run))
        assert isinstance(held, Header)
        await services.store.stick(held, "it is stuck again")
        await note()
        await engine.kill(run, "enough")
        await note()
        await note()
        assert moments == sorted(moments)
        assert [a != b for a, b in pairwise(moments)] == [True, True, True, True, False]
        shown = run_view(await engine.get(run))
        assert shown.killed
        assert shown.error == ErrorView("killed", "enough")
        outcome = await engine.result(run)
        assert outcome is not None
        assert outcome.failure is not None
        assert outcome.failure.type == "killed"

    virtually([holds_on, forever], body, table=table)
