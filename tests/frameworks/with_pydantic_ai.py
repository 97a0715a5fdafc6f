"""An agent of pydantic-ai: a model that is asked in a step, tasks and plain functions as tools."""

from __future__ import annotations

from typing import Any

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

from rewake import step, workflow
from tests.frameworks.tools import TURNS, ask, note, refund, search, thinking


async def said(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """What the model says next."""
    turn = sum(isinstance(each, ModelResponse) for each in messages)
    await thinking(turn)
    if turn < len(TURNS):
        return ModelResponse(parts=[ToolCallPart(name, args) for name, args in TURNS[turn]])
    (told,) = [each for each in messages[-1].parts if isinstance(each, ToolReturnPart)]
    return ModelResponse(parts=[TextPart(str(told.content))])


class Kept(WrapperModel):
    """A model whose answers are kept."""

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        asked = (messages, model_settings, model_request_parameters)
        return await step("model", lambda: self.wrapped.request(*asked), retries=2)


agent: Agent[str, str] = Agent(
    Kept(FunctionModel(said)), deps_type=str, tools=[search, refund, ask, note]
)


@agent.instructions
def who(context: RunContext[str]) -> str:
    """Tell the model whom it works for: a sync function, which pydantic-ai calls in a thread."""
    return f"You work for {context.deps}."


@agent.output_validator
def checked(output: str) -> str:
    """See to it that it is no lie: another one."""
    assert "refunded" in output
    return output


@workflow(name="pydantic_ai")
async def main(goal: str) -> Any:
    return (await agent.run(goal, deps="a shop")).output
