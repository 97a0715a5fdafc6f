"""A graph of LangGraph: its nodes call tasks and steps, and a signal answers its interrupt."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from rewake import step, workflow
from tests.frameworks.tools import ask, note, refund, search, thinking


class State(TypedDict, total=False):
    goal: str
    paid: Annotated[list[float], operator.add]
    turn: int
    answer: str
    told: str


async def first(state: State) -> State:
    return {"paid": [await search("o1")]}


async def second(state: State) -> State:
    return {"paid": [await search("o2")]}


async def model(state: State) -> State:
    turn = state.get("turn", 0)
    await step("model", lambda: thinking(turn), retries=2)
    return {"turn": turn + 1}


def permit(state: State) -> State:
    """A sync node, which LangGraph calls in a thread; it runs again once it is answered."""
    return {"answer": interrupt("All of o1?")}


def remember(state: State) -> State:
    note(state["answer"])
    return {}


def route(state: State) -> str | list[str]:
    """A sync function on an edge, likewise."""
    return [["first", "second"], "permit", "pay", END][state["turn"] - 1]  # type: ignore[return-value]


async def pay(state: State) -> State:
    return {"told": await refund("o1", max(state["paid"]))}


graph = StateGraph(State)
for node in (first, second, model, permit, remember, pay):
    graph.add_node(node)
graph.add_edge(START, "model")
graph.add_conditional_edges("model", route, ["first", "second", "permit", "pay", END])
graph.add_edge(["first", "second"], "model")
graph.add_edge("permit", "remember")
graph.add_edge("remember", "model")
graph.add_edge("pay", "model")


@workflow(name="langgraph")
async def main(goal: str) -> Any:
    compiled = graph.compile(checkpointer=InMemorySaver())  # the run's own: it starts empty
    thread: Any = {"configurable": {"thread_id": "one"}}
    state = await compiled.ainvoke({"goal": goal}, thread)
    while asked := state.get("__interrupt__"):
        answer = await ask(asked[0].value)
        state = await compiled.ainvoke(Command(resume=answer), thread)
    return state["told"]
