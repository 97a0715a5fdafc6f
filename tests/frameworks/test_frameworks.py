"""Agents and graphs of others run unmodified in the body of a workflow."""

from __future__ import annotations

import asyncio
import importlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rewake import Workflow, workflow
from rewake.engine.outside.signals import Signals
from rewake.records import Scheduled
from tests.frameworks import tools
from tests.support.emptied import emptied
from tests.support.virtual import Bench, Ended, die, virtually

pytestmark = pytest.mark.filterwarnings(  # LangGraph's own, from Python 3.14 on
    "ignore:'asyncio.iscoroutinefunction' is deprecated:DeprecationWarning"
)

FRAMEWORKS = ("pydantic_ai", "openai_agents", "langgraph")
ONCE = {"search o1": 1, "search o2": 1, "refund o1": 1}
_emptied = emptied(tools.called)


def agent_of(framework: str) -> Workflow[Any, Any]:
    """Its workflow. Imported here: it takes a second, which not every process has to spend."""
    module = importlib.import_module(f"tests.frameworks.with_{framework}")
    found: Workflow[Any, Any] = module.main
    return found


def carried_out(
    agent: Workflow[Any, Any], *, cached: int = 256, dies: bool = False
) -> tuple[list[str], Counter[str]]:
    """The keys of a run of this agent, and what it called. `dies`: while it asks its model again,
    between two calls of tools, the process does.
    """
    keys: list[str] = []

    async def body(bench: Bench) -> None:
        run = (await bench.start(agent.name, goal="refund o1")).run
        await asyncio.sleep(600)
        assert tools.called["model 1"] == 1
        assert tools.called["refund o1"] == 0
        await Signals(bench.engine).send(run, "answer", "yes")
        if dies:
            await asyncio.sleep(tools.THINKS / 2)
            other = bench.another()
            other.open()
            die(bench.engine)
            bench.engine = other
        assert await bench.result(run) == "refunded 120.00 of o1"
        _, history = await bench.engine.history(run)
        keys.extend(each.key for each in history.entries if isinstance(each, Scheduled))

    tools.called.clear()
    virtually([agent, tools.search, tools.refund], body, cached=cached)
    return keys, Counter(tools.called)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_agent_survives_its_process(framework: str) -> None:
    """Suspended, replayed from nothing at each step, or killed between two calls of tools: it asks
    for the same under the same keys, and calls each tool once.
    """
    agent = agent_of(framework)
    keys, warm = carried_out(agent)
    assert {name: warm[name] for name in ONCE} == ONCE
    assert [warm[f"model {turn}"] for turn in range(4)] == [1] * 4

    again, cold = carried_out(agent, cached=0)
    assert again == keys
    assert {**cold, "note": 0} == {**warm, "note": 0}  # that is pure, and called in the body

    after, killed = carried_out(agent, dies=True)
    assert after == keys
    assert killed["model 2"] == 2  # in the second half of which the process died
    assert {name: killed[name] for name in ONCE} == ONCE


def test_what_a_sync_function_may_not_do_is_refused() -> None:
    """A sync node is called in the body, where it does no I/O; its error is that of the run."""
    graph = importlib.import_module("langgraph.graph")

    def reads(state: dict[str, str]) -> dict[str, str]:
        return {"told": Path(__file__).read_text()}

    builder = graph.StateGraph(dict)
    builder.add_node("reads", reads)
    builder.add_edge(graph.START, "reads")
    compiled = builder.compile()

    @workflow
    async def main() -> None:
        await compiled.ainvoke({"told": ""})

    async def body(bench: Bench) -> None:
        with pytest.raises(Ended, match="ForbiddenInWorkflow") as caught:
            await bench.run("main")
        assert "pathlib.Path.read_text" in str(caught.value.failure)

    virtually([main], body)
