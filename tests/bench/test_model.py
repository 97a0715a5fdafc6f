"""What the model of `docs/scale.md` predicts is what an engine does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest

from rewake.aws.wire import Answer
from rewake.stores.dynamodb.attributes import SHARDS as PARTS
from tests.bench.model import (
    LONG_SLEEP_INDEX,
    LONG_SLEEP_WRITES,
    RUN_INDEX,
    RUN_WRITES,
    SEQUENCE_WRITES,
    Limits,
    Wide,
)
from tests.bench.units import INDEX, WRITES, Measured, Used, measured, run, used_by
from tests.support.small_dynamodb import Attributes, SmallDynamo

SCARCE = 200
"""What a partition takes a second here: little, so that a small run is bound by it."""


class Scarce(SmallDynamo):
    """A server each of whose partitions takes `SCARCE` write units a second, and saves none up."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = 0
        self._spent: dict[str, tuple[float, float]] = {}

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        request = json.loads(body)
        key = request.get("Key") or request.get("Item")
        writes = headers["X-Amz-Target"].endswith(("PutItem", "UpdateItem", "DeleteItem"))
        if writes and self._left(key["pk"]["S"]) <= 0:
            self.refused += 1
            told = {"__type": "x#ProvisionedThroughputExceededException"}
            return Answer(400, {}, json.dumps(told).encode())
        return await super().send(method, path, headers, body)

    def _wrote(self, key: Attributes, units: int) -> None:
        super()._wrote(key, units)
        place = key["pk"]["S"]
        self._spent[place] = (self._left(place) - units, asyncio.get_running_loop().time())

    def _left(self, place: str) -> float:
        now = asyncio.get_running_loop().time()
        left, at = self._spent.get(place, (float(SCARCE), now))
        return min(float(SCARCE), left + (now - at) * SCARCE)


def places(server: SmallDynamo, n: int) -> tuple[list[int], list[int]]:
    """The write units of a fan-out, of the run's own partition and of its shards."""
    own, shards = list[int](), list[int]()

    async def body(on: Measured) -> Used:
        header = await run(on, "fan_out", n)
        own.append(server.places[f"R#{header.run}"])
        shards.extend(units for place, units in server.places.items() if place.startswith("O#"))
        return {}

    measured(body, server)
    return own, shards


@pytest.mark.parametrize("n", [50, 256, 400, 1_000, pytest.param(3_000, marks=pytest.mark.long)])
def test_the_partitions_of_a_wide_run_take_what_the_model_says(n: int) -> None:
    """Its own to a tenth, narrow and wide; its shards too, all together, and none much more."""
    [own], shards = places(SmallDynamo(), n)
    wide = Wide(n)
    assert own == pytest.approx(wide.own, rel=0.1)
    assert sum(shards) == pytest.approx(wide.shard * 16, rel=0.1)
    assert max(shards, default=0) <= 1.25 * wide.shard + 10


@pytest.mark.parametrize("n", [400, 1_000])
def test_a_run_that_a_partition_bounds_takes_as_long_as_the_model_says(n: int) -> None:
    """Refused again and again, it comes to its end, and not much later than it could."""
    server, took = Scarce(), list[float]()

    async def body(on: Measured) -> Used:
        before = on.bench.seconds
        await run(on, "fan_out", n)
        took.append(on.bench.seconds - before)
        return {}

    measured(body, server)
    least = Wide(n).seconds(Limits(partition_writes=SCARCE))
    assert server.refused > 100
    assert least - 1 <= took[0] <= 1.5 * least


def test_the_due_index_is_even() -> None:
    """Its parts take the same, so that all of them together take what the model says."""
    server = SmallDynamo()

    async def body(on: Measured) -> Used:
        for _ in range(400):
            await run(on, "nothing", 0)
        return {}

    measured(body, server)
    assert len(server.parts) == PARTS
    assert server.parts.total() == pytest.approx(400 * RUN_INDEX, rel=0.02)
    assert max(server.parts.values()) <= 1.35 * server.parts.total() / PARTS


def test_the_model_begins_with_what_is_counted() -> None:
    """Its numbers of an operation are those of `docs/cost.md`."""
    whole = used_by("a run, from its start to its end")
    assert (whole[WRITES], whole[INDEX]) == (RUN_WRITES, RUN_INDEX)
    task = used_by("a task in a sequence")
    assert task[WRITES] == pytest.approx(SEQUENCE_WRITES, rel=0.05)
    long = used_by("a sleep of more than 15 minutes")
    assert (long[WRITES], long[INDEX]) == (LONG_SLEEP_WRITES, LONG_SLEEP_INDEX)
