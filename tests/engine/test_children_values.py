"""What goes between runs: errors by the types that they began with, and handles that are kept."""

from __future__ import annotations

from typing import Any

import pytest

from rewake import RunHandle, TaskError, block, parallel, sleep, task, task_context, workflow
from rewake.codecs import AesGcm
from rewake.errors import UsageError
from rewake.signing.secret import Secret
from tests.engine.test_children import both
from tests.support.virtual import SECRET, Bench, virtually


class CardDeclined(Exception):
    """A task's own error."""


@task
async def charge(amount: int) -> int:
    raise CardDeclined(f"no {amount}")


@workflow
async def pays(amount: int) -> int:
    return await charge(amount)


@workflow
async def passes_on(amount: int) -> int:
    return await pays(amount)


@workflow
async def notes(amount: int) -> int:
    try:
        return await charge(amount)
    except TaskError as error:
        raise LookupError(f"for {error.message}") from error


@workflow
async def asks(amount: int) -> list[Any]:
    told = []
    for each in (pays, passes_on, notes):
        try:
            await each(amount)
        except TaskError as error:
            told.append([error.type, error.message])
    return told


@workflow
async def naps(seconds: float) -> tuple[int, float]:
    await sleep(seconds)
    return (1, seconds)


@workflow
async def waits_for(handle: Any) -> Any:
    return await handle.result()


@task
async def uses(handle: Any) -> str:
    try:
        await handle.result()
    except UsageError:
        return str(task_context().attempt)
    return "there is a result"


@workflow
async def keeps() -> Any:
    async def starts() -> list[RunHandle[tuple[int, float]]]:
        return await parallel([1.5, 2.5], naps.start)

    one, two = await block("starts", starts)
    await sleep(1)
    return [await one.result(), await waits_for(two), await uses(one), one.id != two.id]


ALL = [charge, pays, passes_on, notes, asks, naps, waits_for, uses, keeps]
SEALED = Secret("a secret of the virtual world", codec=AesGcm({"k1": b"k" * 32}))


@pytest.mark.parametrize("secret", [SECRET, SEALED], ids=["plain", "sealed"])
def test_an_error_of_a_task_has_its_own_type_wherever_it_is_seen(secret: Secret) -> None:
    """However many runs it goes through; one that a body raises instead has the type of that."""

    async def body(bench: Bench) -> None:
        declined = ["CardDeclined", "no 3"]
        assert await bench.run("asks", amount=3) == [
            declined,
            declined,
            ["LookupError", "for no 3"],
        ]
        outcome = await bench.engine.result((await bench.start("pays", amount=3)).run, 10)
        assert outcome is not None
        assert outcome.failure is not None
        assert (outcome.failure.type, outcome.failure.message) == (
            "TaskError",
            "CardDeclined: no 3",
        )

    virtually(ALL, body, secret=secret)


@both
def test_a_handle_is_kept_and_handed_on(table: str, cached: int) -> None:
    """A block may return it, and a run be given it; in a task there is nothing to wait with."""

    async def body(bench: Bench) -> None:
        assert await bench.run("keeps") == [(1, 1.5), (1, 2.5), "1", True]

    virtually(ALL, body, table=table, cached=cached)
