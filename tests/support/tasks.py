"""Tasks, and what a workflow made of them, for tests of the replay core."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from rewake import task
from tests.support.driver import Failed, same_in_every_order


@task
async def fetch(x: Any) -> Any:
    return x


@task
async def fail(x: Any) -> Any:
    raise ValueError(x)


async def two(x: Any) -> Any:
    """A branch of two operations."""
    return [await fetch(x), await fetch(x)]


def results(function: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> list[Any]:
    """What a workflow returns over all orders, without repeats, sorted as text."""
    found: list[Any] = []
    for run in same_in_every_order(function, *args, **options):
        try:
            result = run.result
        except Failed as error:
            result = error.args[:2]
        if result not in found:
            found.append(result)
    return sorted(found, key=str)
