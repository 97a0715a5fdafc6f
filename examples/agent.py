"""An agent that may search on its own, and refunds only what a person has approved.

    REWAKE_URL=http://127.0.0.1:8000 rewake dev examples/agent.py
    rewake start main --input '{"goal": "Refund order o1", "approvers": ["ann@example.com"]}'

This is the loop that an agent framework runs: ask the model, carry out the tools that it calls,
give it what came of them. Each of these is durable here. `think` is where pydantic-ai's
`model.request()` or a node of LangGraph stands; this one follows a script, so that the example
needs no key of anybody.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, TypedDict

from rewake import Notice, Task, TaskError, approval, bind, task, workflow

log = logging.getLogger(__name__)


class ToolCall(TypedDict):
    tool: str
    arguments: dict[str, Any]


class Message(TypedDict, total=False):
    role: str
    text: str
    calls: list[ToolCall]


@task(retries=3)
async def search(order: str) -> dict[str, Any]:
    return {"order": order, "paid": 120.0}


@task
async def refund(order: str, amount: float, reason: str = "") -> str:
    return f"refunded {amount:.2f} EUR of {order}, {reason}"


TOOLS: Mapping[str, Task[..., Any]] = {"search": search, "refund": refund}
ASK_FIRST = {"refund"}


@task(retries=3)
async def think(messages: list[Message]) -> Message:
    """What the model says next."""
    said = len([each for each in messages if each["role"] == "assistant"])
    calls: list[ToolCall] = [
        {"tool": "search", "arguments": {"order": "o1"}},
        {"tool": "refund", "arguments": {"order": "o1", "amount": 120.0, "reason": "late"}},
    ]
    if said < len(calls):
        return {"role": "assistant", "calls": [calls[said]]}
    return {"role": "assistant", "text": f"Done: {messages[-1]['text']}"}


@task
async def tell(notice: Notice) -> None:
    for person, link in notice.links.items():
        log.info("%s decides on %s: %s", person, notice.call, link)


@workflow
async def main(goal: str, approvers: list[str]) -> str:
    messages: list[Message] = [{"role": "user", "text": goal}]
    while True:
        reply = await think(messages)
        messages.append(reply)
        if not reply.get("calls"):
            return reply["text"]
        for call in reply["calls"]:
            came_of_it = await carry_out(call, approvers)
            messages.append({"role": "tool", "text": came_of_it})


async def carry_out(wanted: ToolCall, approvers: list[str]) -> str:
    """What came of a tool call, for the model."""
    try:
        tool = TOOLS[wanted["tool"]]
        call = bind(tool, **wanted["arguments"])
    except (KeyError, TypeError) as error:  # models err, too
        return f"there is no such call: {error}"
    try:
        if wanted["tool"] not in ASK_FIRST:
            return str(await tool(**wanted["arguments"]))
        answer = await approval(wanted["tool"], binds=call, approvers=approvers, notify=tell)
        if not answer.approved:
            return f"denied: {answer.comment or 'no reason was given'}"
        edited = f" (edited to {answer.value})" if answer.value else ""
        return f"{await call.run(answer)}{edited}"
    except TaskError as error:
        return f"it failed: {error}"
