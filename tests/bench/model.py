"""What bounds a deployment on AWS: what each service takes, and what the protocol asks of it.

    python -m tests.bench.model

A bound is a place that takes so much a second, and so much that each task, run or sleep wants of
it; the least of them is what there can be. `LIMITS` are published, and as they are for a new
account. What is wanted of each place follows from the protocol, in write units:

- a task is written as it is asked for (and claimed), as it ends, and as its arrival;
- a wide run (`stores/layout.py`) has its first tasks in its own partition, and the others in
  `SHARDS` more; where these are many, their arrivals are counted there (`stores/joins.py`);
- two entries of the history for each task are in the run's own partition, many in a write;
- a due time that appears, moves or goes is written to the index, in a part by hash.

`test_model.py` compares this with what an engine asks of a table in this process, and the time it
predicts with that which passes where each partition takes only so much.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from rewake.stores.dynamodb import attributes
from rewake.stores.dynamodb.table import DynamoTable

PARTS = attributes.SHARDS
SHARDS, FIRST = DynamoTable.spread.shards, DynamoTable.spread.first


@dataclass(frozen=True)
class Limits:
    """What there is, a second or at once."""

    partition_writes: float = 1_000
    partition_reads: float = 3_000
    table_writes: float = 40_000
    new_table_writes: float = 4_000
    in_flight: float = 120_000
    functions: float = 1_000
    schedules: float = 10_000_000


LIMITS = Limits()

# Write units, by the protocol; the history is the bytes of two entries of a short key.
RUN_WRITES, RUN_INDEX = 7.0, 3.0
TASK_WRITES = 3.0
SEQUENCE_WRITES = 4.34
HISTORY = 0.147
LONG_SLEEP_WRITES, LONG_SLEEP_INDEX = 7.0, 4.0


@dataclass(frozen=True)
class Wide:
    """One run that waits for all of `tasks` tasks at once: what its partitions are asked for."""

    tasks: int

    @property
    def near(self) -> int:
        """The tasks whose items lie with the run."""
        return min(self.tasks, FIRST)

    @property
    def joined(self) -> bool:
        """Whether the arrivals of the others are counted in their shards."""
        return self.tasks - self.near > FIRST

    @property
    def own(self) -> float:
        """The write units of the run's own partition."""
        far = self.tasks - self.near
        arrivals = self.near + (SHARDS if self.joined else far)
        return 2 * self.near + arrivals + HISTORY * self.tasks + RUN_WRITES - RUN_INDEX

    @property
    def shard(self) -> float:
        """The write units of each of its shards; they are not quite even."""
        each = TASK_WRITES if self.joined else TASK_WRITES - 1
        return each * (self.tasks - self.near) / SHARDS

    def seconds(self, limits: Limits = LIMITS) -> float:
        """The least that it takes, if only partitions bound it."""
        return max(self.own, self.shard) / limits.partition_writes


def starts(limits: Limits = LIMITS) -> Mapping[str, float]:
    """Runs that can be started a second, by what bounds them."""
    return {
        "the due index": PARTS * limits.partition_writes / RUN_INDEX,
        "the views of a day": SHARDS * limits.partition_writes,
    }


def tasks(of_a_run: float, seconds: float = 0.1, limits: Limits = LIMITS) -> Mapping[str, float]:
    """Tasks a second where each run has so many in a sequence, of so many seconds each."""
    a_task = SEQUENCE_WRITES + RUN_WRITES / of_a_run
    return {
        "the table's quota": limits.table_writes / a_task,
        "a table that is new": limits.new_table_writes / a_task,
        "the due index": starts(limits)["the due index"] * of_a_run,
        "functions at once": limits.functions / seconds,
        "messages in flight": limits.in_flight / seconds,
    }


def wakes(limits: Limits = LIMITS) -> Mapping[str, float]:
    """Long sleeps that can end a second, if all end at once."""
    return {
        "the due index": PARTS * limits.partition_writes / LONG_SLEEP_INDEX,
        "the table's quota": limits.table_writes / LONG_SLEEP_WRITES,
    }


def least(bounds: Mapping[str, float]) -> tuple[str, float]:
    """What bounds it, and to how many a second."""
    return min(bounds.items(), key=lambda bound: bound[1])


def main() -> None:
    """Print the numbers of `docs/scale.md`."""
    for title, bounds in (
        ("tasks a second, in runs of ten", tasks(10)),
        ("tasks a second, in runs of one", tasks(1)),
        ("starts a second", starts()),
        ("long sleeps that end a second", wakes()),
    ):
        sys.stdout.write(f"{title}\n")
        sys.stdout.writelines(f"  {name:24}{rate:>12,.0f}\n" for name, rate in bounds.items())
    for n in (1_000, 10_000, 100_000):
        wide = Wide(n)
        sys.stdout.write(
            f"a run of {n:,} tasks: {wide.own:,.0f} units of its own partition, "
            f"{wide.shard:,.0f} of a shard, {wide.seconds():.1f} s\n"
        )


if __name__ == "__main__":
    main()
