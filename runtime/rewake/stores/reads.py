"""The reading half of the store protocol: nothing here writes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any, NamedTuple, ParamSpec, TypeVar

import msgspec

from rewake.errors import CheckpointUnreadable, RunNotFound, StoreUnavailable
from rewake.laps import lap_of, prefix_of
from rewake.ledger import Limit, Process, Schedule
from rewake.published import Published
from rewake.records import (
    Chunk,
    Entry,
    Header,
    Invocation,
    Logged,
    Millis,
    Operation,
    Outcome,
    Scheduled,
    Value,
)
from rewake.states import RunState
from rewake.stores import layout
from rewake.stores.audit import Audit
from rewake.stores.blobs import Blobs
from rewake.stores.cached import CachedResults
from rewake.stores.deliveries import Deliveries
from rewake.stores.events import Events
from rewake.stores.floods import Floods
from rewake.stores.history import History
from rewake.stores.keyed_states import KeyedStates
from rewake.stores.keys import (
    CHUNKS,
    LOGS,
    OPERATIONS,
    header_key,
    logs_of,
    operation_key,
    run_partition,
)
from rewake.stores.known_tags import KnownTags
from rewake.stores.labelled import LabelledRuns
from rewake.stores.layout import Layout
from rewake.stores.merging import everything, merged
from rewake.stores.pages import Parts, Place
from rewake.stores.responses import Responses
from rewake.stores.schedules import Schedules
from rewake.stores.seen import SeenPages
from rewake.stores.shelf import Shelf
from rewake.stores.streams import Streams
from rewake.stores.table import Due, Key, Page, Table
from rewake.stores.tokens import Tokens
from rewake.stores.trial import Trial
from rewake.stores.views import Views
from rewake.streamed import LogBatch

P = ParamSpec("P")
T = TypeVar("T")

Passes = Callable[[Sequence[Entry]], Callable[[Entry | Operation], bool]]

FEW = 32
"""So many operations are read one by one; to read more, all of their run are."""
MOST_CHUNKS = 32
"""The most chunks that are read one by one."""
_encode = msgspec.json.Encoder().encode

TRIES = 4
"""How often a call is repeated when the database does not say how it went."""


class Tail(NamedTuple):
    """The entries in an earlier header, told again without keeping them."""

    length: int
    digest: int


def tail_of(entries: Sequence[Entry]) -> Tail:
    """What tells these entries again in this process."""
    return Tail(len(entries), hash(_encode(entries)))


def _operations_of(lap: int) -> str:
    return OPERATIONS + prefix_of(lap)


def _is_apart(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.value is not None and bool(outcome.value.blob)


def _by_partition(due: Due) -> tuple[Millis, str]:
    return due.due, due.key.partition


def _behind(after: Due | None, partition: str) -> Due | None:
    """The entry behind which a partition's entries are behind `after`, in the order above.

    Only its table knows how entries of one partition and one moment are ordered.
    """
    if after is None or after.key.partition == partition:
        return after
    passed = partition < after.key.partition
    return Due(after.due + passed, Key("", ""))


class Reads:
    """Reads of a table, as the protocol lays it out. Large values come back whole."""

    def __init__(self, table: Table, shelf: Shelf) -> None:
        self._table = table
        self._shelf = shelf
        self.joins = table.joins
        """Whether what is written in one operation is one write of the table."""
        self._blobs = Blobs(shelf, self._again)
        self.layout = Layout(table.spread)
        self.listed = Views(table, self.layout, self._again)
        self.keyed = KeyedStates(table, self.layout, self._again)
        self.labelled = LabelledRuns(table, self.layout, self._again)
        self.tokens = Tokens(table, self._again)
        self.audit = Audit(table, self._again)
        self.deliveries = Deliveries(table, self._again)
        self.responses = Responses(self._blobs, shelf, self._again)
        self.streams = Streams(table, self.layout, self._blobs, self._again)
        self.trial = Trial(table)
        self.seen = SeenPages(table, self._again)
        self.known_tags = KnownTags(table, self._again)
        self.floods = Floods(table, self._again)
        self.cached = CachedResults(table, shelf, self.layout, self._blobs, self._again)
        self.schedules = Schedules(table, self.layout, self._again)
        self.events = Events(table, self.layout, self._again)

    async def close(self) -> None:
        """Close the database."""
        await self._table.close()

    async def header(self, run: str) -> Header:
        """A run's header. Raises `RunNotFound`."""
        found = await self.find(run)
        if found is None:
            raise RunNotFound(f"there is no run {run!r}")
        return found

    async def find(self, run: str) -> Header | None:
        """A run's header, None if there is no such run, or none any more."""
        found = await self.standing(run)
        return None if found is None or found.state is RunState.REMOVED else found

    async def standing(self, run: str) -> Header | None:
        """What stands in the place of a run's header: the run, or the stone of one that is removed.

        None if nothing does.
        """
        if (
            not run.isascii()
        ):  # no id has such letters, and not every table can look for all of them
            return None
        found: Header | None = await self._table.get(header_key(run))
        return found

    async def history(self, header: Header, passes: Passes | None = None) -> History:
        """The history that this header names, values and all. Raises `CheckpointUnreadable`.

        `passes`: says of these entries about what no value is wanted; large ones stay only named.
        """
        found = await self.outline(header)
        passed = passes(found.entries) if passes is not None else lambda _: False
        wanted = [each for each in found.operations.values() if not passed(each)]
        return History(
            await self._blobs.restore(header.run, found.entries, passed),
            found.operations | await self._by_key(wanted),
        )

    async def outline(self, header: Header) -> History:
        """The history that this header names, in which large values are only named.

        `resolve` fetches one. Raises `CheckpointUnreadable`.
        """
        operations = await self._operations(header)
        return History(await self._entries(header), operations)

    async def _operations(self, header: Header) -> dict[str, Operation]:
        """The items of a run's operations by key; large values are only named."""
        partitions = self.layout.partitions(header, layout.OPERATIONS)
        found = await everything(self._table, partitions, _operations_of(header.lap.number))
        return {each.key: each for each in found}

    async def entries(self, header: Header) -> History:
        """What the run asked for and observed, without its operations and large values."""
        return History(await self._entries(header), {})

    async def newest(self, header: Header) -> History:
        """The same for who does not hold the run: of its newest lap, if that of the header is gone.

        Raises `CheckpointUnreadable`, `RunNotFound`.
        """
        return (await self.as_it_stands(header, self.entries))[1]

    async def as_it_stands(
        self, header: Header, read: Callable[[Header], Awaitable[T]]
    ) -> tuple[Header, T]:
        """What is read by a header, and by which: laps of an endless run may go by meanwhile."""
        while True:
            try:
                return header, await read(header)
            except CheckpointUnreadable:
                newer = await self.header(header.run)
                if newer.lap.number == header.lap.number:
                    raise
                header = newer

    def parts(self, header: Header, place: Place) -> Parts:
        """The history that this header names from a place on, a part at a time."""
        return Parts(self._table, header, place)

    async def restored(self, run: str, entry: Entry) -> Entry:
        """An entry of an outline, with its value whole."""
        [whole] = await self._blobs.restore(run, [entry])
        return whole

    async def since(self, header: Header, base: str, tail: Tail) -> list[Entry] | None:
        """The entries behind those that an earlier header named, by `base` and `tail`.

        None if the history does not begin with those, or goes on for many chunks. The name of a
        chunk is of its write, so the same name is the same history up to there.
        """
        parts, name, left = [header.tail], header.base, MOST_CHUNKS
        while name != base:
            chunk = None
            if name and left:
                chunk = await self._table.get(Key(run_partition(header.run), name))
            if chunk is None:
                return None
            parts.append(chunk.entries)
            name, left = chunk.previous, left - 1
        entries = [entry for part in reversed(parts) for entry in part]
        if tail_of(entries[: tail.length]) != tail:
            return None
        return await self._blobs.restore(header.run, entries[tail.length :])

    async def last(self, header: Header) -> Entry:
        """The newest entry that this header names, with its value whole."""
        entries = header.tail
        if not entries:
            chunk = await self._table.get(Key(run_partition(header.run), header.base))
            if chunk is None:
                raise CheckpointUnreadable(
                    f"run {header.run!r}: the chunk {header.base!r} is missing"
                )
            entries = chunk.entries
        [entry] = await self._blobs.restore(header.run, entries[-1:])
        return entry

    async def message(self, header: Header, task: Scheduled) -> Invocation:
        """The message for a task that an outline names, whose arguments may be large."""
        whole = await self.whole(header.run, task)
        joined, spared = header.joins % 2 == 1, header.spared < 0
        return whole.message(header.run, joined=joined, spared=spared)

    async def whole(self, run: str, asked: Scheduled) -> Scheduled:
        """An entry of an outline, with its arguments."""
        if asked.args is None:
            return asked
        return msgspec.structs.replace(asked, args=await self.resolve(run, asked.args))

    async def _entries(self, header: Header) -> list[Entry]:
        """The entries that this header names, without their large values."""
        chunks: dict[str, Chunk] = {}
        cursor: str | None = None if header.base else ""
        while cursor != "":
            page = await self._table.query(run_partition(header.run), CHUNKS, cursor=cursor)
            chunks |= {key.sort: chunk for key, chunk in page.items}
            cursor = page.cursor or ""
        parts: list[Sequence[Entry]] = [header.tail]
        name = header.base
        while name:
            if name not in chunks:
                raise CheckpointUnreadable(f"run {header.run!r}: the chunk {name!r} is missing")
            parts.append(chunks[name].entries)
            name = chunks[name].previous
        return [entry for part in reversed(parts) for entry in part]

    async def views(self, *, limit: int, cursor: str | None, children: bool = False) -> Page:
        """A page of the views of runs, newest first; with `children`, also of those of runs."""
        return await self.listed.page(limit=limit, cursor=cursor, children=children)

    async def headers(self, runs: Sequence[str]) -> list[Header | None]:
        """The headers of these runs; None for each that does not exist."""
        return await self._table.get_many([header_key(run) for run in runs])

    async def outcomes(
        self, run: str, keys: Sequence[str], entries: int = 0
    ) -> dict[str, Operation]:
        """The operations with these keys that have an outcome, values and all.

        `entries`: how many the history of their run has, if that is known.
        """
        found = await self._items(run, keys, entries)
        wanted = set(keys)
        return await self._by_key(o for o in found if o.outcome is not None and o.key in wanted)

    async def operations(
        self, run: str, keys: Sequence[str], entries: int = 0
    ) -> dict[str, Operation]:
        """The items of these operations that exist, in which large values are only named.

        They end from outside; `steps` has those of steps. `entries`: as in `outcomes`.
        """
        return {each.key: each for each in await self._items(run, keys, entries)}

    async def _items(self, run: str, keys: Sequence[str], entries: int) -> list[Operation]:
        """The items of these operations, and perhaps of others beside them."""
        # A read of one small item costs as much as one of some fifteen that lie together.
        if len(keys) > max(FEW, entries // 8):
            prefix = _operations_of(lap_of(keys[0]))
            return await everything(self._table, self.layout.partitions_of(run, keys), prefix)
        found = await self._table.get_many([self.layout.operation(run, key) for key in keys])
        return [each for each in found if each is not None]

    async def steps(self, run: str, keys: Sequence[str]) -> dict[str, Operation]:
        """The items of these steps that exist: of those of which an attempt was interrupted."""
        if len(keys) > FEW:
            prefix = _operations_of(lap_of(keys[0]))
            found = await everything(self._table, [run_partition(run)], prefix)
        else:
            found = await self._table.get_many([operation_key(run, key) for key in keys])
        return {each.key: each for each in found if each is not None}

    async def step(self, run: str, key: str) -> Operation | None:
        """The item of one step; None if no attempt at it was interrupted."""
        return (await self.steps(run, [key])).get(key)

    async def operation(self, run: str, key: str) -> Operation | None:
        """The item of one operation that ends from outside."""
        found: Operation | None = await self._table.get(self.layout.operation(run, key))
        return None if found is None else await self._whole(found)

    async def with_result(self, operation: Operation) -> Operation:
        """An operation's item, with the value of its outcome whole."""
        return await self._whole(operation)

    async def batches(
        self, header: Header, key: str | None, *, limit: int, cursor: str | None
    ) -> Page:
        """A page of the logs of attempts, of all or of one operation, by key and attempt."""
        partitions, prefix = self._logs(header, key)
        return await merged(self._table, partitions, prefix, limit=limit, cursor=cursor)

    def _logs(self, header: Header, key: str | None) -> tuple[list[str], str]:
        """Where the logs of attempts are, of all or of one operation: partitions and a prefix."""
        if key is None:
            return self.layout.partitions(header, layout.STEPS), LOGS
        return self.layout.partitions_of(header.run, [key]), logs_of(key)

    async def logs(self, header: Header, key: str | None = None) -> list[LogBatch]:
        """The log of the workflow's body (its key is empty), then of attempts; or of one key."""
        run, found = header.run, []
        if not key:
            lines = [
                line
                for entry in await self._entries(header)
                if isinstance(entry, Logged)
                for line in entry.lines
            ]
            found = [LogBatch(run, "", 1, lines)] if lines else []
        if key == "":
            return found
        batches = await everything(self._table, *self._logs(header, key))
        return found + sorted(batches, key=lambda batch: f"{batch.key}#")

    async def due(
        self,
        until: Millis,
        *,
        limit: int,
        tag: str = "",
        runs: Collection[str] | None = None,
        after: Due | None = None,
    ) -> list[Due]:
        """The entries of a tag's due index until then, earliest first; with `runs`, only of those.

        With `after`, those behind that entry.
        """
        if runs is None:
            return await self._table.due(until, limit=limit, tag=tag, after=after)
        parts: list[str] = []
        for run in sorted(runs):
            header = await self.find(run)
            own = header and self.layout.partitions(header, layout.OPERATIONS)
            parts += own or [run_partition(run)]
        found: list[Due] = []
        for part in parts:
            last = _behind(after, part)
            found += await self._table.due(until, limit=limit, tag=tag, partition=part, after=last)
        return sorted(found, key=_by_partition)[:limit]

    async def item(
        self, key: Key
    ) -> Header | Operation | Process | Limit | Schedule | Published | None:
        """The item behind an entry of the due index."""
        found: (
            Header | Operation | Process | Limit | Schedule | Published | None
        ) = await self._table.get(key)
        return found

    def resolve(self, run: str, value: Value) -> Coroutine[Any, Any, Value]:
        """The value with its body, fetched if that is kept apart."""
        return self._blobs.resolve(run, value)

    async def _by_key(self, operations: Iterable[Operation]) -> dict[str, Operation]:
        return {
            each.key: await self._whole(each) if _is_apart(each.outcome) else each
            for each in operations
        }

    async def _whole(self, operation: Operation) -> Operation:
        outcome = operation.outcome
        if outcome is None or outcome.value is None or not outcome.value.blob:
            return operation
        value = await self._blobs.resolve(operation.run, outcome.value)
        whole = msgspec.structs.replace(outcome, value=value)
        return msgspec.structs.replace(operation, outcome=whole)

    async def _again(self, write: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
        tries = 1
        while True:
            try:
                return await write(*args, **named)
            except StoreUnavailable:
                if tries == TRIES:
                    raise
            tries += 1

    def _together(self, work: Callable[[], Awaitable[T]]) -> Coroutine[Any, Any, T]:
        """Run `work` as close together as the table can; what is one write is repeated as one.

        Marks are made before it, so that it recognises what it wrote.
        """
        if not self.joins:
            return self._table.together(work)
        return self._again(self._table.together, work)
