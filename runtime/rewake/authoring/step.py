"""`step`: a function that runs inline, whose result is kept before the workflow goes on."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, Unpack, cast, overload

from rewake.authoring.attempt import in_place
from rewake.authoring.hints import return_hint
from rewake.authoring.policy import DEFAULT, Options, Policy
from rewake.authoring.task import result_of
from rewake.kinds import Kind
from rewake.records import Outcome
from rewake.replay.execution import current
from rewake.replay.operation import operation
from rewake.replay.program import Codec

R = TypeVar("R")


class StepOptions(Options, total=False):
    """The options of a step. `at_most_once`: never begin a try twice, not even after a crash.

    A try that is lost with its process has then failed, with type `lost`: it is followed by another
    one if `retries` are left, and else the step raises `TaskError`.
    """

    at_most_once: bool


@dataclass(frozen=True, slots=True)
class StepWork:
    """The work of a step, which the turn carries out in its process."""

    function: Callable[[], Any]
    policy: Policy
    at_most_once: bool

    @property
    def hint(self) -> Any:
        """The type hint of the function's result."""
        return return_hint(self.function)


@overload
async def step(
    name: str, function: Callable[[], Awaitable[R]], /, **options: Unpack[StepOptions]
) -> R: ...
@overload
async def step(name: str, function: Callable[[], R], /, **options: Unpack[StepOptions]) -> R: ...
@operation
async def step(name: str, function: Callable[[], Any], /, **options: Unpack[StepOptions]) -> Any:
    """Run `function` in this process, keep its result and return it; a replay only returns it.

        number = await step("number", next_invoice_number)
        sent = await step("mail", lambda: mail(number), retries=3, timeout=10)

    `function` takes no arguments and may be async, or sync (it then runs in a thread). It may
    run again if the process dies before its result is kept (with `at_most_once=True` that try has
    failed, with type `lost`). For the other options see `Options`.

    A failed step raises `TaskError`.
    """
    if "tag" in options:
        raise TypeError("a step runs in the process of its workflow: a tag is for tasks")
    if "heartbeat" in options:
        raise TypeError("a step has nothing that keeps its progress: heartbeat is for tasks")
    at_most_once = options.pop("at_most_once", False)
    policy = Policy(**cast("Options", options)) if options else DEFAULT
    execution = current()
    if execution is None:
        return await in_place(function, (), {}, policy)
    return await execution.request(
        Kind.STEP,
        name,
        resolve=functools.partial(_resolve, execution.codec, function),
        work=StepWork(function, policy, at_most_once),
    )


def _resolve(codec: Codec, function: Callable[[], Any], key: str, outcome: Outcome) -> Any:
    return result_of(codec, key, outcome, function)
