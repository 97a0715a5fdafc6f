"""The agent: it refunds only what was approved."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from examples import agent
from rewake import Approval, Decision
from rewake.engine.outside.approvals import Approvals
from tests.support.virtual import Bench, virtually

MEMBERS = [agent.main, agent.think, agent.search, agent.refund, agent.tell]
EDITED = {"order": "o1", "amount": 60.0, "reason": "late"}


@pytest.mark.parametrize("cached", [256, 0])
@pytest.mark.parametrize(
    ("answer", "came_of_it"),
    [
        (Approval(Decision.APPROVED), "refunded 120.00 EUR of o1, late"),
        (Approval(Decision.APPROVED, EDITED), f"60.00 EUR of o1, late (edited to {EDITED})"),
        (Approval(Decision.REJECTED, comment="too much"), "Done: denied: too much"),
    ],
)
def test_a_person_decides_on_the_call(answer: Approval, came_of_it: str, cached: int) -> None:
    """As it is, edited, or not at all; the model is told what came of it."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("main", goal="Refund o1", approvers=["ann"])).run
        await asyncio.sleep(5)
        await Approvals(bench.engine).decide(run, "refund", answer)
        assert came_of_it in await bench.result(run)

    virtually(MEMBERS, body, url="https://app.example", cached=cached)


@pytest.mark.parametrize("wanted", [{"tool": "rm", "arguments": {}}, {"tool": "refund"}])
def test_a_call_that_there_is_not_is_told_to_the_model(wanted: Any) -> None:
    """Nothing is asked, and nothing is called."""
    wanted = {"arguments": {"nonsense": 1}, **wanted}
    assert "no such call" in asyncio.run(agent.carry_out(wanted, ["ann"]))
