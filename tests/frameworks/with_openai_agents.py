"""An agent of the OpenAI Agents SDK: a model that is asked in a step, tasks as tools."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from agents import Agent, ModelResponse, RunConfig, Runner, Usage, function_tool
from agents.items import TResponseStreamEvent
from agents.models.interface import Model
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

from rewake import step, workflow
from tests.frameworks.tools import TURNS, ask, note, refund, search, thinking


class Scripted(Model):
    """A model that calls the tools in these turns, and tells what came of the last."""

    async def get_response(self, system_instructions: Any, input: Any, *_: Any, **__: Any) -> Any:
        came = [] if isinstance(input, str) else _of(input, "function_call_output")
        turn = next(n for n in range(4) if len(came) == sum(map(len, TURNS[:n])))
        await thinking(turn)
        if turn < len(TURNS):
            calls = enumerate(TURNS[turn], len(came))
            return _response(*(_call(f"call-{n}", *each) for n, each in calls))
        text = ResponseOutputText(text=came[-1]["output"], type="output_text", annotations=[])
        return _response(
            ResponseOutputMessage(
                id="m", type="message", role="assistant", status="completed", content=[text]
            )
        )

    def stream_response(self, *_: Any, **__: Any) -> AsyncIterator[TResponseStreamEvent]:
        raise NotImplementedError


class Kept(Scripted):
    """A model whose answers are kept."""

    async def get_response(self, *asked: Any, **named: Any) -> ModelResponse:
        answer = super().get_response
        return await step("model", lambda: answer(*asked, **named), retries=2)


def _of(items: list[Any], kind: str) -> list[Any]:
    return [each for each in items if each.get("type") == kind]


def _call(call: str, name: str, arguments: dict[str, Any]) -> ResponseFunctionToolCall:
    return ResponseFunctionToolCall(
        call_id=call, name=name, arguments=json.dumps(arguments), type="function_call"
    )


def _response(*output: Any) -> ModelResponse:
    return ModelResponse(output=list(output), usage=Usage(), response_id=None)


agent = Agent(
    name="clerk",
    model=Kept(),
    instructions=lambda _, agent: f"You are the {agent.name} of a shop.",
    tools=[function_tool(each) for each in (search, refund, ask, note)],
)


@workflow(name="openai_agents")
async def main(goal: str) -> Any:
    run = await Runner.run(agent, goal, run_config=RunConfig(tracing_disabled=True))
    return run.final_output
