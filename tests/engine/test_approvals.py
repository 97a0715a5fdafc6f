"""Decisions on what runs wait for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import Approval, Decision, wait_for_approval, workflow
from rewake.engine.outside.approvals import Approvals, open_approvals
from rewake.errors import InvalidInput, RunConflict, RunNotFound
from rewake.kinds import OutcomeKind
from tests.support.virtual import Bench, virtually

YES, NO = Approval(Decision.APPROVED), Approval(Decision.REJECTED)


@workflow
async def asks(timeout: float | None = None) -> str:
    return (await wait_for_approval("boss", timeout=timeout)).decision


def test_the_first_decision_stands() -> None:
    """A second one is refused and changes nothing."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks")).run
        await asyncio.sleep(1)
        _, history = await bench.engine.history(run)
        assert list(open_approvals(history)) == ["boss"]
        await Approvals(bench.engine).decide(run, "boss", YES)
        with pytest.raises(RunConflict):
            await Approvals(bench.engine).decide(run, "boss", NO)
        assert await bench.result(run) == "approved"
        _, history = await bench.engine.history(run)
        assert open_approvals(history) == {}

    virtually([asks], body)


def test_a_decision_after_the_deadline_ends_the_wait_as_of_the_deadline() -> None:
    """No process had seen the deadline pass: it counts all the same."""

    async def body(bench: Bench) -> None:
        header = await bench.start("asks", timeout=10)
        await asyncio.sleep(1)
        await bench.engine.close()
        await asyncio.sleep(60)
        late = bench.another()
        with pytest.raises(RunConflict, match="the time to decide"):
            await Approvals(late).decide(header.run, "boss", YES, carry_on=False)
        _, history = await late.history(header.run)
        operation = history.operations["boss"]
        assert operation.outcome is not None
        assert operation.outcome.kind is OutcomeKind.TIMEOUT
        assert operation.at == header.created + 10_000
        late.open()
        bench.engine = late
        assert await bench.result(header.run) == "timed_out"

    virtually([asks], body)


@pytest.mark.parametrize(("key", "error"), [("nobody", RunNotFound), ("boss", RunConflict)])
def test_what_cannot_be_decided(key: str, error: type[Exception]) -> None:
    """An approval that was never asked for is not found; in a run that is over, it conflicts."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks", timeout=1)).run
        assert await bench.result(run) == "timed_out"
        with pytest.raises(error):
            await Approvals(bench.engine).decide(run, key, YES)

    virtually([asks], body)


def test_a_decision_may_be_left_for_another_process() -> None:
    """With `carry_on=False` an engine that is never opened decides; a sweep finds it."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks")).run
        await asyncio.sleep(1)
        closed = bench.another()
        await Approvals(closed).decide(run, "boss", NO, carry_on=False)
        assert await bench.result(run, 2) == "rejected"

    virtually([asks], body)


@pytest.mark.parametrize(
    "decided",
    [
        "approved",
        None,
        Approval(Decision.TIMED_OUT),
        Approval("maybe"),  # type: ignore[arg-type]
        Approval(Decision.APPROVED, 1j),
    ],
    ids=repr,
)
def test_what_is_no_decision_of_a_person_is_refused(decided: Any) -> None:
    """It names the field, and the approval still waits."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks")).run
        await asyncio.sleep(1)
        with pytest.raises(InvalidInput) as refused:
            await Approvals(bench.engine).decide(run, "boss", decided)
        assert refused.value.field == "approval"
        await Approvals(bench.engine).decide(run, "boss", NO)
        assert await bench.result(run) == "rejected"

    virtually([asks], body)
