"""A value that cannot be stored is told by the name of the part that is to blame."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from rewake import TaskError, task, workflow
from rewake.values.culprits import told
from tests.support.virtual import Bench, virtually


def _closure() -> Callable[[], Any]:
    guard = threading.Lock()
    return lambda: guard


def _default() -> Callable[..., Any]:
    def inner(guard: Any = threading.Lock()) -> Any:  # noqa: B008 - that is the point
        return guard

    return inner


class Holder:
    def __init__(self) -> None:
        self.guard = threading.Lock()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (_closure(), ": lambda() captures 'guard', which is a _thread.lock"),
        (functools.partial(_closure()), ": lambda() captures 'guard', which is a _thread.lock"),
        (([_closure()], {}), ": lambda() captures 'guard', which is a _thread.lock"),
        (_default(), ": inner() captures a default, which is a _thread.lock"),
        ({"a": {"b": threading.Lock()}}, ": the part 'b' is a _thread.lock"),
        (Holder(), "the attribute 'guard' of a "),
        (3, ""),
    ],
    ids=["lambda", "partial", "in a list", "default", "in a dict", "attribute", "nothing"],
)
def test_the_part_that_is_to_blame_is_named(value: Any, said: str) -> None:
    """By the captured variable, the key or the attribute."""
    assert said in told(value)


@task
async def unready() -> Any:
    return unready()


@workflow
async def main(how: str) -> str:
    guard = threading.Lock()
    try:
        if how == "closure":
            await task(lambda: guard)
        elif how == "branch":
            await task(lambda value: value)(asyncio.create_task(unready()))
        elif how == "argument":
            held = unready()
            try:
                await task(lambda value: value)(held)
            finally:
                held.close()
        else:
            await unready()
    except (TaskError, Exception) as error:
        return str(error)
    return "?"


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("closure", "captures 'guard', which is a _thread.lock"),
        ("argument", "did you forget `await` before unready(...)?"),
        ("result", "did you forget `await`"),
        ("branch", "did you forget `await`?"),
    ],
)
def test_a_run_tells_it_so(how: str, said: str) -> None:
    """A closure, an argument and a result that cannot be stored: the error says what to mend."""

    async def body(bench: Bench) -> None:
        assert said in await bench.run("main", how=how)

    virtually([main, unready], body)
