"""Runs that are cancelled, run out of time, spin, or end in what cannot be stored."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from rewake import step, task
from rewake.errors import StuckError
from rewake.kinds import OutcomeKind
from rewake.noted import Attempted
from rewake.records import CancelRequested, Finished, Outcome, Started, Stepped
from rewake.replay import loop as loop_module
from rewake.values.failures import failure_of
from tests.support.driver import START, Failed, Run
from tests.support.tasks import fetch


@task
async def store(x: Any) -> Any:
    return x


def test_cancel_before_the_beginning() -> None:
    """A run that is cancelled before anything of it was committed never begins, on replay too."""
    began: list[int] = []

    async def main() -> Any:
        began.append(1)
        await fetch("a")

    run = Run(main, begin=False)
    started = run.history[0]
    assert isinstance(started, Started)
    run.execution.cancel_at_start(started, CancelRequested(START + 1, "no need"))
    assert run.execution.finished is not None
    assert run.execution.finished.kind is OutcomeKind.CANCELLED
    run._keep()
    assert [type(entry) for entry in run.history] == [Started, CancelRequested, Finished]
    replayed = run.replayed()
    assert replayed.error is None
    assert replayed.finished == run.execution.finished
    assert began == []
    replayed.drop()
    run.close()


def test_cancelling_a_run() -> None:
    """A cancelled run cleans up and ends as cancelled, with the reason."""

    async def main() -> Any:
        try:
            await fetch("a")
        finally:
            await store("undo")

    run = Run(main, cold=True)
    run.cancel("no need")
    assert run.withdrawn == ["fetch"]
    assert run.open == ["store"]
    run.settle("store")
    with pytest.raises(Failed, match="no need") as caught:
        _ = run.result
    assert caught.value.kind is OutcomeKind.CANCELLED
    run.close()


def test_cancelling_oneself_is_a_failure() -> None:
    """A `CancelledError` that nobody asked for fails the run."""

    async def main() -> Any:
        raise asyncio.CancelledError

    run = Run(main)
    with pytest.raises(Failed, match="CancelledError") as caught:
        _ = run.result
    assert caught.value.kind is OutcomeKind.ERROR
    run.close()


def test_the_time_of_a_run() -> None:
    """`@workflow(timeout=)` ends a run as timed out, after its cleanup; a timely end withdraws."""

    async def main() -> Any:
        try:
            return await fetch("a")
        finally:
            await store("undo")

    run = Run(main, timeout=5_000, cold=True)
    assert run.open == ["run-timeout", "fetch"]
    run.settle("run-timeout")
    run.settle("store")
    with pytest.raises(Failed) as caught:
        _ = run.result
    assert caught.value.kind is OutcomeKind.TIMEOUT
    run.close()

    run = Run(main, timeout=5_000, cold=True)
    run.settle("fetch")
    run.settle("store")
    assert run.result == "a"
    assert run.withdrawn == ["run-timeout"]
    run.close()


def test_a_busy_loop_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """A workflow that spins without waiting is stuck, and does not hold the server."""
    monkeypatch.setattr(loop_module, "BUSY_LIMIT", 1_000)

    async def main() -> Any:
        while True:  # noqa: ASYNC110 - that is the mistake
            await asyncio.sleep(0)

    run = Run(main)
    assert isinstance(run.execution.error, StuckError)
    assert "spins" in str(run.execution.error)
    run.close()


def test_steps_that_are_retried() -> None:
    """A failed attempt with a retry is not seen by the workflow, and survives a replay."""

    async def main() -> Any:
        return await step("charge", lambda: "paid", retries=2)

    run = Run(main, cold=True)
    failed = Outcome(OutcomeKind.ERROR, origin=failure_of(ValueError("no"), 1))
    run._observe(Stepped("charge", START + 5, failed, Attempted(START, START + 1_005)), None)
    assert run.execution.open["charge"].attempts == 1
    assert run.execution.open["charge"].not_before == START + 1_005
    run.settle("charge")
    assert run.result == "paid"
    run.close()


def test_nothing_is_seen_after_the_end() -> None:
    """Events that come after the end are not recorded."""

    async def main() -> Any:
        return await fetch("a")

    run = Run(main)
    run.settle("fetch")
    run.cancel("too late")
    assert isinstance(run.history[-1], Finished)
    assert run.result == "a"
    run.close()


def test_arguments_that_cannot_be_pickled() -> None:
    """An argument that cannot be stored raises where the task is called, live and on replay."""

    async def main() -> Any:
        try:
            await fetch(threading.Lock())
        except Exception as error:
            return [type(error).__name__, await fetch("b")]

    run = Run(main, cold=True).to_the_end()
    assert run.result == ["UsageError", "b"]
    assert run.asked == ["fetch.2"]
    run.close()


def test_results_that_cannot_be_stored_fail_the_run() -> None:
    """A body that returns what cannot be pickled fails with a message that says so."""

    async def main() -> Any:
        return (x for x in "abc")

    run = Run(main)
    with pytest.raises(Failed, match="cannot be pickled"):
        _ = run.result
    run.close()
