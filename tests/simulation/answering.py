"""Runs that answer their caller: programs that do, drawn apart, and whether the answer stands."""

from __future__ import annotations

import random
from typing import Any

from rewake.authoring.response import recorded_response
from rewake.errors import CheckpointUnreadable
from rewake.records import Header
from rewake.values.run_codec import RunCodec
from tests.simulation.generate import Drawn, Err
from tests.simulation.world import SECRET, World
from tests.support.stores import reads_of


def with_response(drawn: Drawn, chance: random.Random) -> Drawn:
    """The program, which answers before it, after it or beside it."""
    program, right = drawn
    answer = ["respond", f"a{chance.randint(1, 99)}"]
    parts, values = chance.choice(
        (
            ([answer, program], [True, right]),
            ([program, answer], [right, True]),
        )
    )
    kind = chance.choice((["seq"], ["seq"], ["gather", False]))
    return [*kind, *parts], right if isinstance(right, Err) else values


def asked_of(program: Any, *, failed: bool) -> str | None:
    """What this program answers first, if it does. `failed`: whether its run has, some time."""
    match program:
        case ["undo", part, _] if not failed:
            return asked_of(part, failed=failed)
        case ["respond", str() as name]:
            return name
        case list():
            parts = (asked_of(part, failed=failed) for part in program)
            return next(filter(None, parts), None)
        case _:
            return None


async def answer_of(world: World, header: Header) -> str | None:
    """What this run has answered, as whoever waited is told."""
    try:
        kept = await reads_of(world.base).responses.of(header)
    except CheckpointUnreadable as error:
        return f"nothing that can be read: {error}"
    if kept is None:
        return None
    return recorded_response(RunCodec(SECRET, header.run), kept.key, kept.value).text
