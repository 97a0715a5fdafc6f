"""`block`: a group of durable operations that is retried, bounded and kept as one."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar, Unpack, cast

from rewake.authoring.attempt import in_place
from rewake.authoring.branches import end_branches
from rewake.authoring.hints import return_hint
from rewake.authoring.marking import hidden_in
from rewake.authoring.policy import DEFAULT, Options, Policy, millis
from rewake.authoring.task import result_of
from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.records import Outcome
from rewake.replay.blocks import Inside
from rewake.replay.execution import Execution, current
from rewake.replay.loop import WorkflowFuture, WorkflowLoop, WorkflowTask
from rewake.replay.operation import OpFuture, operation
from rewake.replay.program import Codec
from rewake.replay.scope import Group, Scope
from rewake.values.failures import described, unwrapped

R = TypeVar("R")

RETRY = "retry"
"""What the wait before a further attempt is called in its key."""


@operation
async def block(
    name: str, function: Callable[[], Awaitable[R]], /, **options: Unpack[Options]
) -> R:
    """Run a group of durable operations as one: retried as a whole, its result kept as one.

        async def trip() -> str:
            flight = await book_flight(day)
            return await book_hotel(flight)

        booking = await block("book trip", trip, retries=3, timeout=timedelta(hours=1))

    `function` is async, takes no arguments, and does whatever a workflow does. If it raises, all of
    it begins anew after a durable wait, with new idempotency keys; what the failed attempt has
    finished is not undone. `timeout` bounds an attempt, `total_timeout` all of them; for the other
    options see `Options`. At its end, branches that it has left are cancelled.

    Once it has succeeded its inside is not replayed, and its code may change: so what it tells the
    rest of the workflow it has to return, and a list outside that it appends to is no such thing.

    Raises `TaskError` if it fails for good, with the type and the message of the last error.
    """
    if not callable(function):
        raise TypeError(f"a block needs an async function without arguments, not {function!r}")
    if "heartbeat" in options:
        raise TypeError("a block is no attempt that could fall silent: heartbeat is for tasks")
    policy = Policy(**options) if options else DEFAULT
    execution = current()
    if execution is None:
        return cast("R", await in_place(functools.partial(_called, function), (), {}, policy))
    return cast("R", await _Block(execution, name, function, policy).run())


class _Block:
    """One block of a run: its attempts, one after the other."""

    def __init__(
        self,
        execution: Execution,
        name: str,
        function: Callable[[], Awaitable[Any]],
        policy: Policy,
    ) -> None:
        self._execution = execution
        self._function = function
        self._policy = policy
        resolve = functools.partial(_resolve, execution.codec, function)
        self._op, self._scopes = execution.blocks.enclose(name, resolve)
        self._failed = 0

    async def run(self) -> Any:
        future = self._op.future
        assert future is not None
        if self._scopes is not None:
            await self._carry_out(self._scopes, future)
        return await future

    async def _carry_out(self, scopes: Group, future: OpFuture) -> None:
        """Make attempts until one succeeds, or none may follow."""
        scope, wait = scopes.next(), None
        while True:
            inside = scope.inside = Inside(f"{self._execution.seed}/{scope.path}")
            before = _seen_by(self._function)
            attempt = self._execution.spawn(self._attempt(inside, wait), scope)
            try:
                await _end_of(attempt, self._execution.loop)
            except asyncio.CancelledError:
                future.cancel()
                await end_branches([attempt])
                raise
            error = asyncio.CancelledError() if attempt.cancelled() else attempt.exception()
            if error is None:
                self._warn_of_changes(before)
                succeeded = functools.partial(self._succeeded, attempt.result())
                return self._execution.blocks.end(self._op, succeeded)
            self._failed += 1
            scope = scopes.next()
            wait = self._wait(error, scope, inside)
            if wait is None:
                failed = functools.partial(self._outcome_of, error)
                return self._execution.blocks.end(self._op, failed, error)

    def _warn_of_changes(self, before: Mapping[str, tuple[object, object]]) -> None:
        after = _seen_by(self._function)
        for name, (value, copied) in before.items():
            if after[name][0] is not value or _differ(after[name][1], copied):
                told = f"{name!r} has changed while the block {self._op.name!r} ran; if it"
                then = "did that, a replay does not know of it; let the block return what it tells"
                self._execution.log("WARNING", f"{told} {then}")

    async def _attempt(self, inside: Inside, wait: float | None) -> Any:
        execution = self._execution
        try:
            if wait is not None:
                due = execution.machine + millis(wait)
                await execution.request(Kind.TIMER, RETRY, due=due)
            try:
                result = await self._within_limit()
            finally:
                await execution.blocks.leave(inside)
            inside.mistakes.check("block")
            return result
        finally:
            inside.mistakes.end()

    async def _within_limit(self) -> Any:
        timer = asyncio.timeout(self._policy.limit(self._elapsed))
        try:
            async with timer:
                return await _called(self._function)
        except TimeoutError:
            if timer.expired():
                raise TimeoutError(self._policy.late(self._elapsed, "")) from None
            raise

    @property
    def _elapsed(self) -> float:
        """Seconds since the block was asked for."""
        return max(0, self._execution.machine - self._op.asked_at) / 1000

    def _wait(self, error: BaseException, scope: Scope, inside: Inside) -> float | None:
        """How long to wait for the next attempt, in this scope; None: there is none."""
        if not isinstance(error, Exception):
            return None
        chance = inside.chance.numbers.random()
        wait = self._policy.next(error, self._failed, elapsed=self._elapsed, chance=chance)
        if self._execution.replaying:  # what the options were then, stands
            recorded = self._execution.recorded(f"{scope.path}{RETRY}")
            wait = None if recorded is None else wait or 0.0
        then = "there is no next one" if wait is None else f"the next one begins in {wait:.3g} s"
        told = f"attempt {self._failed} at the block {self._op.name!r} failed"
        self._execution.log("WARNING", f"{told}: {described(error)}; {then}")
        return wait

    def _succeeded(self, result: Any) -> Outcome:
        hint = return_hint(self._function)
        value = self._execution.codec.encode(
            result,
            key=self._op.key,
            purpose=Purpose.RESULT,
            hint=hint,
            hidden=hidden_in(hint),
        )
        return Outcome(OutcomeKind.OK, value=value)

    def _outcome_of(self, error: BaseException) -> Outcome:
        kind = OutcomeKind.TIMEOUT if isinstance(error, TimeoutError) else OutcomeKind.ERROR
        return Outcome(kind, origin=unwrapped(error, self._failed))


async def _end_of(attempt: WorkflowTask, loop: WorkflowLoop) -> None:
    """Wait for an attempt, by a future that counts as of its inside: a replay may not make it."""
    over = WorkflowFuture(loop=loop, scope=attempt.scope)

    def end(_: object) -> None:
        if not over.done():
            over.set_result(None)

    attempt.add_done_callback(end)
    await over


def _seen_by(function: Callable[..., object]) -> Mapping[str, tuple[object, object]]:
    """The variables around a function by name: their values, and copies of what may change."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    found: dict[str, tuple[object, object]] = {}
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=True):
        with suppress(ValueError):  # it has no value yet
            value = cell.cell_contents
            found[name] = (value, _state_of(value))
    return found


def _state_of(value: object) -> object:
    """What is in a value that may change, as it is now; None of one of which that is not known."""
    if type(value) is random.Random:
        return value.getstate()
    return copy.copy(value) if type(value) in _CHANGEABLE else None


_CHANGEABLE = (list, dict, set, bytearray, deque, defaultdict, Counter, OrderedDict)


def _differ(one: object, other: object) -> bool:
    try:
        return bool(one != other)
    except Exception:  # an __eq__ of the user's own
        return False


async def _called(function: Callable[[], Awaitable[Any]]) -> Any:
    made = function()
    if not inspect.isawaitable(made):
        raise TypeError(f"the function of a block is async; {function!r} gave {made!r}")
    return await made


def _resolve(
    codec: Codec, function: Callable[[], Awaitable[Any]], key: str, outcome: Outcome
) -> Any:
    return result_of(codec, key, outcome, function)
