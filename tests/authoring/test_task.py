"""What `@task`, `@workflow` and `step` make of functions of every kind."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import pickle
import subprocess
import sys
import textwrap
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from rewake import (
    Approval,
    Decision,
    Task,
    Workflow,
    sleep,
    step,
    task,
    wait_for_approval,
    workflow,
)
from rewake.authoring import hints
from rewake.errors import CheckpointUnreadable
from rewake.kinds import OutcomeKind
from rewake.records import Completed, Outcome, Scheduled
from rewake.values.digests import digest
from tests.support.driver import Run, TestProgram


@task
async def fetch(url: str, retries: int = 3, *, deep: bool = False) -> list[Any]:
    """Fetch a page."""
    return [url, retries, deep]


@task(name="renamed task")
def sync(x: int) -> int:
    return x


@workflow
async def module_workflow(x: int) -> int:
    return x


def plain(x: int) -> int:
    return x + 1


wrapped = task(plain)


class Service:
    """Methods as tasks."""

    def __init__(self, base: int) -> None:
        self.base = base

    @task
    async def add(self, x: int) -> int:
        """Add to the base."""
        return self.base + x

    @task(retries=1)
    def twice(self) -> int:
        return 2 * self.base

    @staticmethod
    @task
    async def alone(x: int) -> int:
        return x

    def undecorated(self, x: int) -> int:
        return self.base * x


class Adder:
    """An object that can be called."""

    def __init__(self, base: int) -> None:
        self.base = base

    async def __call__(self, x: int) -> int:
        return self.base + x


def returned(function: Callable[..., Awaitable[Any]], **options: Any) -> Any:
    run = Run(function, cold=True, **options).to_the_end()
    try:
        return run.result
    finally:
        run.close()


def asked(function: Callable[..., Awaitable[Any]], *tasks: Task[..., Any]) -> list[tuple[str, str]]:
    """Keys and recorded names of what a workflow asks for."""
    run = Run(TestProgram(function, tasks)).to_the_end()
    run.close()
    return [(e.key, e.name) for e in run.history if isinstance(e, Scheduled)]


# --- what can be a task --------------------------------------------------------------------------


def test_functions_of_every_kind_become_tasks() -> None:
    """Async, sync, nested, lambda, partial, callable object, built-in, method: all run the same."""

    async def main() -> Any:
        async def nested(x: int) -> int:
            return x * 10

        return [
            await fetch("u"),
            await sync(1),
            await task(nested)(2),
            await task(lambda: 3),
            await task(lambda: nested(4)),
            await task(functools.partial(plain, 5))(),
            await task(functools.partial(nested))(6),
            await task(Adder(7))(1),
            await task(len)([1, 2]),
            await task(str.upper)("x"),
            await task(Service(8).undecorated)(2),
            await task(int)("9"),
        ]

    assert returned(main) == [["u", 3, False], 1, 20, 3, 40, 6, 60, 8, 2, "X", 16, 9]


def test_methods_are_tasks_that_travel_with_their_object() -> None:
    """A decorated method is bound to its object, as it is where the task runs."""

    async def main() -> Any:
        service = Service(5)
        assert isinstance(service.add, Task)
        return [
            await service.add(1),
            await service.twice(),
            await service.twice,
            await Service.alone(2),
            await service.alone(3),  # type: ignore[call-arg]  # mypy binds it
            await Service.add(service, 4),
        ]

    assert returned(main) == [6, 10, 10, 2, 3, 9]
    assert asked(main)[0] == ("add", "Service.add")
    assert asyncio.run(_plainly(main)) == [6, 10, 10, 2, 3, 9]


async def _plainly(function: Callable[[], Awaitable[Any]]) -> Any:
    return await function()


def test_bound_methods_keep_their_policy_and_pickle() -> None:
    """A bound task is pickled as its object and the task of the class, once."""
    method: Any = pickle.loads(pickle.dumps(Service(5).twice))
    assert method.policy.retries == 1
    assert method.function() == 10
    assert not isinstance(method.function.__func__, Task)


def test_a_task_awaited_without_a_call() -> None:
    """`await task(function)` calls it without arguments."""

    async def main() -> Any:
        x = 5
        return [await task(lambda: x), await asyncio.gather(task(lambda: 1), task(lambda: 2))]

    assert returned(main) == [5, [1, 2]]


def test_tasks_look_like_their_functions() -> None:
    """Name, docstring, module and signature are the function's; coroutines carry its name."""
    assert fetch.__name__ == "fetch"  # type: ignore[attr-defined]
    assert fetch.__doc__ == "Fetch a page."
    assert fetch.__module__ == __name__
    assert list(inspect.signature(fetch).parameters) == ["url", "retries", "deep"]
    assert repr(fetch) == "<task fetch>"
    assert repr(module_workflow) == "<workflow module_workflow>"
    coro: Any = fetch("u")
    assert coro.__qualname__ == "fetch"
    coro.close()


def test_attributes_of_a_function_do_not_leak_in() -> None:
    """A function's own attributes cannot replace those of its task."""

    def odd() -> int:
        return 1

    odd.policy = odd.name = odd._invoke = "mine"  # type: ignore[attr-defined]
    made = task(odd)
    assert made.name == "odd"
    assert asyncio.run(_plainly(made)) == 1


# --- keys and names ------------------------------------------------------------------------------


def test_names_in_keys() -> None:
    """Keys carry short names; `name=` and step names are escaped; counts follow a dot."""

    async def main() -> None:
        await fetch("u")
        await fetch("v")
        await sync(1)
        await task(lambda: 1)
        await task(lambda: 2)
        await step("a/b.c[0] 100%", lambda: 1)
        await step("größe", lambda: 1)
        await step("fetch", lambda: 1)
        await task(functools.partial(plain, 1))()

    assert [key for key, _ in asked(main)] == [
        "fetch",
        "fetch.2",
        "renamed task",
        "lambda",
        "lambda.2",
        "a%2Fb%2Ec%5B0%5D 100%25",
        "gr%C3%B6%C3%9Fe",
        "fetch.3",
        "plain",
    ]


def test_empty_and_endless_names() -> None:
    """An empty name is refused; a long one is cut, and stays apart from its like."""

    async def main() -> Any:
        for empty in (step("", lambda: 1), wait_for_approval("")):
            with pytest.raises(ValueError, match="name"):
                await empty
        await step("x" * 5_000, lambda: 1)
        await step("x" * 4_999 + "y", lambda: 1)
        await step("\ud800", lambda: 1)

    keys = [key for key, _ in asked(main)]
    assert len(set(keys)) == 3
    assert all(len(key) <= 100 and key.isascii() for key in keys)


def test_recorded_names() -> None:
    """A registered task is recorded by its name, any other by its qualified name."""

    async def main() -> None:
        await sync(1)
        await task(plain)(1)
        await task(lambda: 1)
        await task(Adder(1))(1)
        await task(str.upper)("x")

    names = [name for _, name in asked(main, sync)]
    assert names[0] == "renamed task"
    assert names[1] == "plain"
    assert names[2] == "test_recorded_names.main.<lambda>"
    assert names[3] == "Adder"
    assert names[4] == "str.upper"


# --- arguments and digests -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda: fetch.arguments(("u",), {}),
        lambda: fetch.arguments(("u", 3), {}),
        lambda: fetch.arguments((), {"url": "u"}),
        lambda: fetch.arguments(("u",), {"deep": False}),
        lambda: fetch.arguments((), {"deep": False, "retries": 3, "url": "u"}),
    ],
)
def test_one_call_has_one_digest(call: Callable[[], dict[str, Any]]) -> None:
    """Arguments count by parameter name, defaults left out, however they were passed."""
    assert call() == {"url": "u"}
    assert digest(call()) == digest({"url": "u"})


def test_other_arguments_have_other_digests() -> None:
    """A value that only equals a default is another value: types count."""
    assert fetch.arguments(("u", 4), {}) == {"url": "u", "retries": 4}
    assert fetch.arguments(("u", 3.0), {}) == {"url": "u", "retries": 3.0}
    assert fetch.arguments(("u",), {"deep": 0}) == {"url": "u", "deep": 0}


def test_arguments_by_name_agree_with_inspect() -> None:
    """The quick way to bind arguments and `inspect` agree on every shape of function."""

    def one(a: Any, b: Any = 1, c: Any = None) -> None: ...
    def two(a: Any, /, b: Any = 1, *more: Any, c: Any = 2, **rest: Any) -> None: ...
    def none() -> None: ...

    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {}),
        ((1,), {}),
        ((5,), {"b": 1}),
        ((5,), {"c": 7}),
        ((5, 6), {"c": None}),
        ((), {"c": 1, "a": 2}),
        ((1, 2, 3), {}),
        ((1, 2, 3, 4), {}),
        ((1,), {"a": 2}),
        ((1,), {"z": 2}),
    ]
    for function in (one, two, none):
        made, signature = task(function), inspect.signature(function)
        for args, kwargs in calls:
            try:
                expected = {
                    name: value
                    for name, value in signature.bind(*args, **kwargs).arguments.items()
                    if type(value) is not type(signature.parameters[name].default)
                    or value != signature.parameters[name].default
                }
            except TypeError:
                with pytest.raises(TypeError):
                    made.arguments(args, kwargs)
            else:
                assert made.arguments(args, kwargs) == expected


def test_values_with_an_equality_of_their_own() -> None:
    """A value whose `==` raises, or gives no truth, is never taken for a default."""

    class Odd:
        def __eq__(self, other: object) -> bool:
            raise ValueError

        __hash__ = None  # type: ignore[assignment]

    odd, other = Odd(), Odd()

    def work(x: Any = odd) -> None: ...

    assert task(work).arguments((odd,), {}) == {}
    assert list(task(work).arguments((other,), {})) == ["x"]


# --- pickles -------------------------------------------------------------------------------------


def test_importable_tasks_and_workflows_are_pickled_by_reference() -> None:
    """What a module has under its name is pickled as a reference to it, alone and in closures."""
    for each in (fetch, sync, module_workflow, Service.add):
        assert pickle.loads(pickle.dumps(each)) is each
        assert cloudpickle.loads(cloudpickle.dumps(each)) is each
        assert cloudpickle.loads(cloudpickle.dumps(lambda each=each: each))() is each


def test_other_tasks_and_workflows_are_pickled_by_value() -> None:
    """Closures, and tasks that hide behind another name, are pickled with what they captured."""
    base = 10

    @task(retries=4)
    async def closure(x: int) -> int:
        return base + x

    @workflow(name="inner", timeout=5)
    async def local(x: int) -> int:
        return base + x

    copy = cloudpickle.loads(cloudpickle.dumps(closure))
    assert copy is not closure
    assert (copy.name, copy.policy, copy.label) == (closure.name, closure.policy, closure.label)
    assert asyncio.run(_plainly(lambda: copy(1))) == 11
    flow = cloudpickle.loads(cloudpickle.dumps(local))
    assert isinstance(flow, Workflow)
    assert (flow.name, flow.timeout) == ("inner", 5)
    assert asyncio.run(_plainly(lambda: flow(1))) == 11
    assert cloudpickle.loads(cloudpickle.dumps(wrapped)).function is plain
    partial = task(functools.partial(plain, 1))
    assert cloudpickle.loads(cloudpickle.dumps(partial)).function() == 2


def test_closures_run_in_another_process(tmp_path: Path) -> None:
    """A closure's captured values, and other tasks it uses, arrive in a process of their own."""
    base = {"rows": [1, 2]}
    path = tmp_path / "closure"
    path.write_bytes(cloudpickle.dumps(task(lambda: [*base["rows"], sync])))
    script = f"""
        import asyncio, pickle, pathlib
        made = pickle.loads(pathlib.Path({str(path)!r}).read_bytes())
        *rows, sync = made.function()
        assert rows == [1, 2] and sync.name == "renamed task"
    """
    root = Path(__file__).parents[2]
    # The pickle refers to this module by name, which pytest made up.
    package = f"import sys; sys.path[:0] = [{str(root)!r}, {str(root / 'runtime')!r}]"
    done = subprocess.run(
        [sys.executable, "-c", f"{package}\n{textwrap.dedent(script)}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# --- hints ---------------------------------------------------------------------------------------


def test_hints_are_those_of_the_function() -> None:
    """Return hints are found through partials, objects, async functions and awaitables."""

    def awaitable() -> Awaitable[int]:
        raise NotImplementedError

    def coroutine() -> Coroutine[Any, Any, str]:
        raise NotImplementedError

    def unknown() -> Nowhere: ...  # type: ignore[name-defined]  # noqa: F821

    assert hints.return_hint(plain) is int
    assert hints.return_hint(fetch.function) == list[Any]
    assert hints.return_hint(functools.partial(plain, 1)) is int
    assert hints.return_hint(Adder(1)) is int
    assert hints.return_hint(Service(1).undecorated) is int
    assert hints.return_hint(awaitable) is int
    assert hints.return_hint(coroutine) is str
    assert hints.return_hint(unknown) is None
    assert hints.return_hint(lambda: 1) is None
    assert hints.return_hint(len) is None


def test_closures_are_not_kept_alive() -> None:
    """What the runtime remembers of a function goes with it: a closure may hold a lot."""

    class Big: ...

    def use() -> weakref.ref[Big]:
        big = Big()

        def closure(x: int = 1) -> int:
            return x if repr(big) else 0

        made = task(closure)
        made.arguments((), {})
        hints.return_hint(closure)
        hints.signature_of(closure)
        return weakref.ref(big)

    kept = use()
    gc.collect()
    assert kept() is None


# --- approvals -----------------------------------------------------------------------------------


def test_approvals() -> None:
    """A decision arrives with its value, approver and comment; one never made as a time-out."""

    async def main() -> Any:
        first = await wait_for_approval("pay", form={"amount": {"type": "number"}}, timeout=60)
        assert isinstance(first, Approval)
        return [first.approved, first.decision, first.value, first.approver]

    decided = {"decision": "approved", "value": {"amount": 5}, "approver": "ann"}
    assert returned(main, answers={"pay": decided}) == [
        True,
        Decision.APPROVED,
        {"amount": 5},
        "ann",
    ]
    rejected = {"decision": "rejected"}
    assert returned(main, answers={"pay": rejected})[:2] == [False, Decision.REJECTED]
    run = Run(main)
    assert run.execution.open["pay"].due == run.clock + 60_000
    run.execution.observe(
        Completed("pay", run.clock + 60_000),
        Outcome(OutcomeKind.TIMEOUT),
    )
    run._keep()
    assert run.result[:2] == [False, Decision.TIMED_OUT]
    run.close()


def test_a_missing_decision_is_not_a_time_out() -> None:
    """An outcome without its decision makes the run stuck, rather than deciding."""

    async def main() -> Any:
        return await wait_for_approval()

    run = Run(main)
    run.execution.observe(Completed("approval", run.clock), Outcome(OutcomeKind.OK))
    assert isinstance(run.execution.error, CheckpointUnreadable)
    run.close()


def test_approvals_check_their_timeout() -> None:
    """A time-out that is not positive is refused."""

    async def main() -> Any:
        for wrong in (0, -5):
            with pytest.raises(ValueError, match="timeout"):
                await wait_for_approval(timeout=wrong)
        return await sleep(0)

    assert returned(main) is None


@pytest.mark.parametrize("made", [fetch, sync, wrapped, module_workflow], ids=repr)
def test_whoever_is_handed_one_awaits_it(made: Any) -> None:
    """Libraries that ask whether they are to await a function or call it in a thread are told so,
    also of a task whose function is sync. Its signature is that of the function.
    """
    assert inspect.iscoroutinefunction(made)
    assert inspect.signature(made) == inspect.signature(made.function)
    assert made.__code__.co_name == made.function.__name__


def test_a_task_of_what_is_no_function_is_no_coroutine_function() -> None:
    """Of a callable object nothing is claimed."""
    assert not inspect.iscoroutinefunction(task(functools.partial(plain, 1)))
