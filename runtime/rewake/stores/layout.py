"""Where items lie of which one partition would get too many writes.

A partition of DynamoDB takes 1,000 writes a second, and no more however large the table is. Two
kinds of items would meet at one. The views of all runs, newest first: they are spread by day and,
within a day, by run. And the operations of one wide run, with what their attempts log: they are
spread by their keys. What is few stays together, so that it is read by one query. A table of one
machine has no such bound, and all stays together there (`Spread.shards` is 1).

Where an operation lies follows from its key alone, since that is all that a message, a claim and a
delivery know. A key has numbers where the program repeats itself (`fetch.7`, `branch[3]/charge`),
and their product bounds how many operations come before it: as long as that is at most
`Spread.first`, an operation lies with its run. So the operations of a run that is not wide lie in
one partition, and of those of a wide one only some hundred. A step has an item only where an
attempt at it was interrupted, so all of these lie with their run; its log is spread as others are.

Who reads all operations of a run has its header, which says whether some lie elsewhere (`wide`):
the commit that asks for the first of them notes that, so before any of them has an item. To derive
it from the history would make a list of logs, or a look at a run that cannot be read, read that.

Limits and keyed states are spread by what they are called, so that all can be listed; who waits for
a limit lies beside no other. Runs that have one label are spread by run: many may have the same.

What is found under no field of an event, but among all of its name, is spread by run, or by event:
many may wait for any. What has certain values is few, and is asked for with each event.

The days on which runs were started are an item each, in one partition. A process notes a day
before it puts its first view there, so a crash between leaves a day without views, and never the
other way round. It does so once, so that partition is written rarely; a list reads the days from
the newest on, as far as it needs, and probes none on which nothing was started.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from math import prod

from rewake.keyed import State
from rewake.laps import within_lap
from rewake.ledger import Audited, Labelled, Limit, Received, ReceivedBody, Schedule, View
from rewake.limited import CACHED
from rewake.published import Mention, Subscription
from rewake.records import Entry, Header, Item, Operation, Scheduled
from rewake.stores.keys import (
    DAY,
    dealt_to,
    limit_key,
    log_key,
    number_in,
    operation_key,
    run_partition,
    schedule_sort,
    schedules_partition,
    series_partitions,
    shard_partition,
    view_key,
    views_partition,
)
from rewake.stores.named import LABELLED, label_in, labels_partition, state_sort, states_partition
from rewake.stores.table import Key, Spread
from rewake.streamed import LogBatch

TOGETHER = Spread()
NUMBERED = (Audited, Received, ReceivedBody)
"""The items of series: `stores/series.py` deals them out."""
_OF_ALL = "#all"
_SHARD_OF_ALL = re.compile(r"#all#[0-9]{2}$")
STEPS, OPERATIONS = 1, 2
"""What of a run lies elsewhere (`Header.wide`): logs of its steps, or operations as well."""
_NUMBER = re.compile(r"\.([0-9]+)|\[([0-9]+)\]")


class Layout:
    """Where the items lie of a table that spreads them so far."""

    def __init__(self, spread: Spread) -> None:
        self.shards = spread.shards
        self.first = spread.first

    def operation(self, run: str, key: str) -> Key:
        """Where the item of an operation is that ends from outside."""
        return self._beside(operation_key(run, key), run, key)

    def item(self, operation: Operation) -> Key:
        """Where this item is."""
        if operation.kind.traits.inline:
            return operation_key(operation.run, operation.key)
        return self.operation(operation.run, operation.key)

    def log(self, run: str, key: str, attempt: int, part: int) -> Key:
        """Where a batch of an attempt's log is."""
        return self._beside(log_key(run, key, attempt, part), run, key)

    def partitions(self, header: Header, what: int) -> list[str]:
        """The partitions of a run that have some of its operations; or of its logs (`STEPS`)."""
        own = [run_partition(header.run)]
        if self.shards == 1 or header.wide < what:
            return own
        return own + [shard_partition(header.run, shard) for shard in range(self.shards)]

    def partitions_of(self, run: str, keys: Iterable[str]) -> list[str]:
        """The partitions that have the operations of these keys."""
        return list(dict.fromkeys(self.operation(run, key).partition for key in keys))

    def wide(self, entries: Sequence[Entry], known: int) -> int:
        """What of a run lies elsewhere once these entries are committed, where that was `known`.

        It does not depend on the table, for runs may be copied to another.
        """
        if known < OPERATIONS:
            for entry in entries:
                if isinstance(entry, Scheduled) and not self._is_among_first(entry.key):
                    known = max(known, STEPS if entry.kind.traits.inline else OPERATIONS)
        return known

    def view(self, view: View) -> Key:
        """Where a run's view is."""
        place = view_key(view)
        if self.shards == 1:
            return place
        shard = _hash(view.run) % self.shards
        return Key(views_partition(place.partition, view.created // DAY, shard), place.sort)

    def views(self, day: int, lists: Sequence[str]) -> list[str]:
        """The partitions of the views, in these lists, of the runs that were started on a day."""
        return [views_partition(each, day, n) for each in lists for n in range(self.shards)]

    def schedule(self, name: str) -> Key:
        """Where the schedule of this name is. Many may be due at one moment."""
        shard = None if self.shards == 1 else _hash(name) % self.shards
        return Key(schedules_partition(shard), schedule_sort(name))

    @property
    def schedules(self) -> list[str]:
        """The partitions of all schedules."""
        shards = [None] if self.shards == 1 else range(self.shards)
        return [schedules_partition(shard) for shard in shards]

    def index(self, partition: str) -> list[str]:
        """The partitions of an index of events, by the one that it has where all is together."""
        if self.shards == 1 or not partition.endswith(_OF_ALL):
            return [partition]
        return [f"{partition}#{shard:02d}" for shard in range(self.shards)]

    def indexed(self, place: Key, item: Mention | Subscription) -> Key:
        """Where an item of an index of events is, which lies there where all is together."""
        if self.shards == 1 or not place.partition.endswith(_OF_ALL):
            return place
        shard = _hash(item.ref if isinstance(item, Mention) else item.run) % self.shards
        return Key(f"{place.partition}#{shard:02d}", place.sort)

    @staticmethod
    def together(key: Key) -> Key:
        """Where an item of an index of events lies where all is together."""
        return Key(_SHARD_OF_ALL.sub(_OF_ALL, key.partition), key.sort)

    def place(self, key: Key, item: Item) -> Key:
        """Where an item is that lies under this key in a table that keeps all together."""
        if isinstance(item, Operation):
            return self.item(item)
        if isinstance(item, LogBatch):
            return self._beside(key, item.run, item.key)
        if isinstance(item, Mention | Subscription):
            return self.indexed(key, item)
        if isinstance(item, NUMBERED):
            partitions = series_partitions(key.partition, self.shards)
            return Key(dealt_to(partitions, number_in(key)), key.sort)
        if isinstance(item, Schedule):
            return self.schedule(item.name)
        if isinstance(item, Limit):
            return self.limit(item.id)
        if isinstance(item, State):
            return self.state(item)
        if isinstance(item, Labelled):
            return self.labelled(item, *label_in(key.partition))
        return self.view(item) if isinstance(item, View) else key

    def labelled(self, run: Labelled, name: str, value: str) -> Key:
        """Where it is said that a run has this label. Many may have it."""
        shard = None if self.shards == 1 else _hash(run.run) % self.shards
        sort = LABELLED + view_key(View(run.run, run.workflow, run.created)).sort
        return Key(labels_partition(name, value, shard), sort)

    def labels(self, name: str, value: str) -> list[str]:
        """The partitions of the runs that have this label."""
        shards = [None] if self.shards == 1 else range(self.shards)
        return [labels_partition(name, value, shard) for shard in shards]

    def state(self, state: State) -> Key:
        """Where the keyed state is that this one names."""
        sort = state_sort(state.tenant, state.name, state.key)
        shard = None if self.shards == 1 else _hash(sort) % self.shards
        return Key(states_partition(shard), sort)

    @property
    def states(self) -> list[str]:
        """The partitions of all keyed states."""
        shards = [None] if self.shards == 1 else range(self.shards)
        return [states_partition(shard) for shard in shards]

    def limit(self, id: str) -> Key:
        """Where the limit of this id is."""
        return limit_key(id, None if self.shards == 1 else _hash(id) % self.shards)

    @property
    def limits(self) -> list[str]:
        """The partitions of all limits."""
        return self._limits("")

    @property
    def cached(self) -> list[str]:
        """The partitions of all that is cached."""
        return self._limits(CACHED)

    def _limits(self, first: str) -> list[str]:
        shards: list[int | None] = [None] if self.shards == 1 else [*range(self.shards)]
        return [limit_key(first, shard).partition for shard in shards]

    def shard(self, key: str) -> int | None:
        """The shard of its run in which an operation lies; None: it lies with its run."""
        if self.shards == 1 or self._is_among_first(key):
            return None
        return _hash(key) % self.shards

    def _beside(self, place: Key, run: str, key: str) -> Key:
        shard = self.shard(key)
        return place if shard is None else Key(shard_partition(run, shard), place.sort)

    def _is_among_first(self, key: str) -> bool:
        """Whether no more than `first` operations of its run come before this one."""
        key = within_lap(key)
        if "." not in key and "[" not in key:
            return not key.startswith("~")
        # The numbers of a path that was cut are not known any more.
        counts = [int(n) if n else int(branch) + 1 for n, branch in _NUMBER.findall(key)]
        return not key.startswith("~") and prod(counts) <= self.first


def _hash(text: str) -> int:
    return zlib.crc32(text.encode())
