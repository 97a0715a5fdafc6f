"""What a simulation costs on the table with DynamoDB's limits, in its units, and a bound on that.

The bound is for what is quadratic or spins: it is some twice of what the worst case costs today, in
which a run's operations lie in four partitions, and each read of all of them asks all four.
What an operation costs when nothing goes wrong is kept by `tests/engine/test_units.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rewake.kinds import Kind
from rewake.records import Scheduled
from tests.support.counting import CountingTable
from tests.support.small_table import SmallTable

if TYPE_CHECKING:
    from tests.simulation.world import World

MOST: Mapping[str, int] = {"writes": 4, "index": 6, "reads": 8}
"""Units for each thing that happened, and each second: leases are renewed, and three who wait for
an answer look for it."""
LOOKED_THROUGH = 3
STARTS = 6
LOOKS = 2
"""Looks at the due index for each second of a process."""


def units_of(world: World) -> Counter[str]:
    """The operations of all runs, and what they cost; nothing on a table that does not count."""
    table = world.base
    if not isinstance(table, CountingTable | SmallTable):
        return Counter()
    return Counter(
        operations=sum(len(run.asked) for run in world.watch.runs.values()),
        writes=table.writes,
        index=table.index,
        reads=table.reads,
        looks=table.looks,
    )


def too_many(world: World, units: Counter[str]) -> list[str]:
    """The units that are more than anything that happened can explain."""
    happened = _happened(world) + int(world.seconds)
    most = {name: each * happened for name, each in MOST.items()}
    looks = int(LOOKS * (world.seconds + 1)) * len(world.replicas)
    most["looks"] = (looks + len(world.watch.runs)) * len(world.tags)  # the judge looks for each
    return [
        f"it costs {units[name]} {name}, and at most {limit} are explained"
        for name, limit in most.items()
        if units[name] > limit
    ]


def told(units: Counter[str]) -> str:
    """The units of each operation, for people."""
    operations = max(1, units["operations"])
    each = {name: units[name] / operations for name in ("writes", "index", "reads", "looks")}
    return (
        f"with DynamoDB's limits, an operation of {operations} costs {each['writes']:.2f} write "
        f"units, {each['index']:.2f} of the due index, {each['reads']:.2f} read units and "
        f"{each['looks']:.2f} looks, deaths and all"
    )


def _happened(world: World) -> int:
    """All that costs something: entries, bodies, claims, and what went wrong."""
    runs = world.watch.runs.values()
    entries = sum(len(run.entries) + run.cut for run in runs)
    claims = sum(run.header.epoch + run.claims.total() for run in runs)
    told = world.said.total() + world.followed + STARTS * world.watch.doors.asks
    # Who waits for an event looks through the parts of two indexes.
    waits = [e for run in runs for e in run.entries if isinstance(e, Scheduled)]
    told += LOOKED_THROUGH * sum(each.kind is Kind.EVENT for each in waits)
    return entries + claims + world.begun.total() + world.chaos.fired.total() + world.crashes + told
