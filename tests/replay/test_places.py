"""A difference names the line of the user's code, wherever that asks for the operation."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from rewake import parallel, sleep, step
from tests.support.driver import Body, Run
from tests.support.tasks import fetch


async def short() -> None:
    await fetch("a")


async def helper(text: str) -> Any:
    return await fetch(text)  # asks


async def straight() -> None:
    await helper("b")


async def gathers() -> None:
    await asyncio.gather(
        fetch("b"),  # asks
        sleep(9),
    )


async def branches() -> None:
    await parallel(["b"], helper)


async def goes_on() -> None:
    await asyncio.gather(
        fetch("a"),  # asks
        step("more", lambda: None),
    )


async def waits_for_less() -> None:
    await asyncio.sleep(60)  # asks


async def gathers_at_first() -> None:
    await asyncio.gather(fetch("a"), sleep(9))


async def branches_at_first() -> None:
    await parallel(["a"], helper)


async def sleeps_and_fetches() -> None:
    await asyncio.gather(asyncio.sleep(60), fetch("a"))


def line_of(function: Callable[..., Any]) -> int:
    """The line of a function that is marked."""
    lines, first = inspect.getsourcelines(function)
    return first + next(number for number, line in enumerate(lines) if "# asks" in line)


@pytest.mark.parametrize(
    ("before", "after", "marked"),
    [
        (short, straight, helper),
        (gathers_at_first, gathers, gathers),
        (branches_at_first, branches, helper),
        (short, goes_on, goes_on),
    ],
)
def test_the_line_that_asks_is_named(before: Body, after: Body, marked: Body) -> None:
    """In the body, in a helper, in a branch, or where the coroutine of a branch was made."""
    run = Run(before)
    run.execution.drop()
    replayed = run.replayed(after)
    assert str(replayed.error).endswith(f"({__file__}, line {line_of(marked)})")
    replayed.drop()
    run.close()


def test_where_the_code_asks_for_less_the_line_that_it_waits_at_is_named() -> None:
    """Nothing asks there, so it is told where the body has come to instead."""
    run = Run(sleeps_and_fetches)
    run.execution.drop()
    replayed = run.replayed(waits_for_less)
    assert f"({__file__}, line {line_of(waits_for_less)})" in str(replayed.error)
    replayed.drop()
    run.close()
