"""Runs that end with what has begun them, where that is less than a run."""

from __future__ import annotations

import types
from typing import Any

from rewake import RunHandle, TaskError, block, sleep, workflow
from rewake.testing import Environment

TOLD: list[str] = []


@workflow
async def naps(seconds: float) -> None:
    try:
        await sleep(seconds)
    finally:
        await sleep(1)
        TOLD.append("it cleaned up")


@workflow
async def ties() -> list[Any]:
    async def inside() -> RunHandle[None]:
        return await naps.start(100, on_parent_end="cancel")

    handle = await block("b", inside)
    told = [*TOLD]
    try:
        await handle.result()
    except TaskError as error:
        return [*told, error.type]
    return told


def test_a_run_that_is_tied_in_a_block_ends_with_it() -> None:
    """As all that an attempt at a block leaves open: it is asked to cancel, and waited for."""
    TOLD.clear()
    app = types.ModuleType("ties")
    vars(app).update(naps=naps, ties=ties)
    with Environment(app, replays=False) as env:
        assert env.start(ties).result() == ["it cleaned up", "CancelledError"]
