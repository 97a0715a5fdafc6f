"""Ids of child runs: whose they are, and which may be given."""

from __future__ import annotations

from typing import Any

import pytest

from rewake import TaskError, sleep, workflow
from rewake.authoring.child import other_run
from rewake.errors import InvalidInput, UsageError
from rewake.kin import child_of
from rewake.states import RunState
from tests.support.virtual import Bench, virtually


@workflow
async def answers(number: int) -> int:
    await sleep(5)
    return number


@workflow
async def starts(id: Any, then: str) -> Any:
    try:
        handle = await answers.start(1, id=id)
        return await (handle.cancel() if then == "cancel" else handle.result())
    except (TaskError, UsageError) as error:
        return [getattr(error, "type", ""), str(error)]


@workflow
async def starts_itself(id: str) -> Any:
    return await (await starts_itself.start(id, id=id)).result()


@workflow
async def calls(number: int) -> int:
    return await answers(number)


def run(body: Any) -> None:
    virtually([answers, starts, starts_itself, calls], body)


@pytest.mark.parametrize("then", ["result", "cancel"])
def test_a_run_of_another_tenant_is_not_met(then: str) -> None:
    """One that starts its id is refused: it neither gets its result, nor can it cancel it."""

    async def body(bench: Bench) -> None:
        theirs, _ = await bench.engine.start("answers", {"number": 1}, run="o1", tenant="one")
        asked = {"id": "o1", "then": then}
        other, _ = await bench.engine.start("starts", asked, tenant="two")
        kind, told = await bench.result(other.run)
        assert (kind, "was started with other arguments" in told) == ("RunConflict", True)
        assert await bench.result(theirs.run) == 1
        own, _ = await bench.engine.start("starts", {**asked, "then": "result"}, tenant="one")
        assert await bench.result(own.run) == 1

    run(body)


@pytest.mark.parametrize("id", ["", " ", "a b", "é", "\ud800", "a/b", "x" * 129, 5, True])
def test_an_id_that_cannot_be_is_refused_at_the_call(id: Any) -> None:
    """With what an id is, before anything is asked of another run."""
    with pytest.raises(UsageError, match="a run id is 1 to 128"):
        other_run(id, "attach", "attach", "leave")


def test_a_run_does_not_wait_for_itself() -> None:
    """To start one's own id is refused: its result would never come."""

    async def body(bench: Bench) -> None:
        made, _ = await bench.engine.start("starts_itself", {"id": "me"}, run="me")
        outcome = await bench.engine.result(made.run, 100)
        assert outcome is not None
        assert outcome.failure is not None
        assert outcome.failure.type == "UsageError"
        assert "cannot start itself" in outcome.failure.message

    run(body)


def test_nobody_can_be_there_before_a_child() -> None:
    """The id that a run will give its child cannot be given to another run."""

    async def body(bench: Bench) -> None:
        taken = child_of("parent", "answers", 0)
        with pytest.raises(InvalidInput, match="those of child runs"):
            await bench.engine.start("answers", {"number": 2}, run=taken)
        parent, _ = await bench.engine.start("calls", {"number": 1}, run="parent")
        assert await bench.result(parent.run) == 1
        assert (await bench.engine.get(taken)).state is RunState.DONE

    run(body)
