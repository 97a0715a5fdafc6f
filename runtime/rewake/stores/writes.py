"""The writing half of the store protocol: the one commit point, and how a write is repeated.

A commit appends entries to a history and changes the header, in one conditional write of the
header. What does not fit into the header is written before, into chunks that do not exist until
the header names them.

Every conditional write leaves a *mark* that no other write has. When the database does not say
how a write went it is repeated, and a success that was reported as a failure is recognised by its
mark.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from operator import attrgetter
from typing import Any, Protocol, TypeVar

import msgspec

from rewake.clock import Clock
from rewake.kinds import Kind
from rewake.laps import FIRST
from rewake.ledger import Limit, Process
from rewake.limited import Line
from rewake.published import Published
from rewake.records import (
    Chunk,
    Entry,
    Header,
    Millis,
    Operation,
    Scheduled,
)
from rewake.states import MOVES, Move, RunState
from rewake.stores.answers import Arrived, Committed, Fenced
from rewake.stores.blobs import fits
from rewake.stores.keys import (
    chunk_key,
    chunk_number,
    event_key,
    header_key,
    process_key,
    waiter_key,
)
from rewake.stores.paused import is_cleared
from rewake.stores.reads import Reads
from rewake.stores.responses import asked_response
from rewake.stores.set_back import MOMENTS, Dated, begun_again, is_ahead, unchanged
from rewake.stores.shelf import Shelf
from rewake.stores.table import Check, Key, Table, When, Written, holds
from rewake.values.matching import ref_of
from rewake.values.text import stored_size

CHUNK_BYTES = 256 * 1024
"""The most bytes of a chunk of history: an item of DynamoDB holds 400 KB."""
HEADER_BYTES = 1024
"""The most bytes of a header and its key: one unit of a write.

What a request or a loss adds later (`cancel`, `hold`, `lost_turn`) may make it longer, to the next
commit. What it has used (`stores/bills.py`) has no room of its own: it is counted in JSON here, and
where that is billed a number takes half of its digits.
"""
FIXED_BYTES = 582
"""Room for all fields of a header but its names and its tail, at their longest."""
CHANGED_BYTES = 24
"""Room for `changed`, which few have. It comes as nobody holds the run: what that frees is more."""
SENT_BYTES = 21
"""Room for `sent`, which only runs have whose messages a queue keeps."""
ASKS_BYTES, WIDE_BYTES, JOINS_BYTES = 12, 9, 16
"""Room for `asks`, `wide` and `joins`, which few have."""
SPARED_BYTES, NEEDS_BYTES = 21, 19
"""Room for `spared` and `needs`, which few have."""
LINE_BYTES = 200
"""Room for where a run waits in line, which only those do that are limited."""
SIGNALS_BYTES, HEARS_BYTES = 20, 11
"""Room for `signals`, and beside the name in it for `hears`, which few have."""
TELLS_BYTES = 13
"""Room for `tells`, which few have."""
HOLD_BYTES = 12
"""Room for `hold`, which few have."""
SCHEDULE_BYTES = 14
"""Room for `schedule`, which runs have that one has started, beside its name."""
RESPONSE_BYTES = 12
"""Room for `answer`, which few have, beside its name."""

PARENT_BYTES = 60
"""Room for `parent`, `depth` and `watched`, which child runs have, beside their names."""
_FEW_HAVE: Mapping[str, int] = {
    "changed": CHANGED_BYTES,
    "hold": HOLD_BYTES,
    "asks": ASKS_BYTES,
    "wide": WIDE_BYTES,
    "signals": SIGNALS_BYTES,
    "hears": HEARS_BYTES,
    "joins": JOINS_BYTES,
    "answer": RESPONSE_BYTES,
    "sent": SENT_BYTES,
    "parent": PARENT_BYTES,
    "spared": SPARED_BYTES,
    "needs": NEEDS_BYTES,
    "tells": TELLS_BYTES,
    "schedule": SCHEDULE_BYTES,
}
"""Room for fields that few have; some of them have names beside it."""
_SOME_SIZE = (
    "tenant",
    "admission",
    "status",
    "labels",
    "digest_key",
    "cancel",
    "error",
    "lost_turn",
)
"""Fields of no fixed size that few have."""
_rare = attrgetter(*_FEW_HAVE, *_SOME_SIZE)  # those that have a room of their own come first
_NONE_RARE = _rare(Header("", "", 0, 0, 0))
HELD_OFF = "!"
"""Instead of what a run hears: signals wait a moment, so that its holder can end or suspend it."""
FORCE = 10**6
"""By how much a failure or a cancellation lowers the gap, so that it always wakes the run."""

UNOWNED: Mapping[str, Any] = {
    "owner": "",
    "lease": 0,
    "process": "",
    "over": 0,
    "apart": False,
}
"""The fields of an item that nobody holds."""

SET_ASIDE: Mapping[str, Any] = {"pause": False, "due": None, "check_at": None}
"""The fields of a run that is paused: who resumes it looks after all that it has open."""

T = TypeVar("T", bound=Header | Operation | Process | Limit | Published)


class Here(Protocol):
    """The runs that this process has an instance of."""

    def has(self, run: str) -> bool:
        """Whether a turn of this process has the run."""
        ...

    def hear(self, run: str, number: int, key: str) -> None:
        """Told of an arrival that was written here: its number, and the key of its operation."""
        ...

    def called_off(self, run: str) -> None:
        """Told of a run that another one has asked to cancel, which may have to be woken."""
        ...


_READ = "@"
_RARE = frozenset({"sent", "spared", "hears", "needs"})
"""The fields that a commit may give a header which have to have room in it."""
_encode = msgspec.json.Encoder().encode


class Writes(Reads):
    """Writes to a table. `mark` makes the marks, `margin` (ms) is the clocks' allowed skew.

    `patience` (ms): how long a lease that was found to be over may still be renewed.

    `here` knows, and is told, what has arrived for the runs that this process has.
    """

    def __init__(
        self,
        table: Table,
        shelf: Shelf,
        *,
        mark: Callable[[], str],
        clock: Clock,
        here: Here,
        margin: Millis = 250,
        patience: Millis = 2_000,
    ) -> None:
        super().__init__(table, shelf)
        self._here = here
        self._taking: set[str] = set()
        self._mark = mark
        self._clock = clock
        self._margin = margin
        self._patience = patience

    async def offload(self, run: str, entries: Sequence[Entry]) -> list[Entry]:
        """The entries with their large values on the shelf, where they are put first."""
        if all(map(fits, entries)):
            return list(entries)
        return [await self._blobs.without(run, entry) for entry in entries]

    async def _append(
        self,
        held: Header,
        entries: Sequence[Entry],
        changes: Mapping[str, Any],
        name: str = "",
        *,
        arrivals: int | None = None,
        due: Millis | None = None,
        onto: Header | None = None,
        within: bool = False,
    ) -> Committed | Fenced | Arrived:
        """The one commit point: bodies first, then the header, if the fence holds.

        `name`: the mark, by whoever may repeat all of this.

        `arrivals`: nothing has arrived since that many were read. The mark says so (`read_at`).
        `due`: the stored due time stays if it is not later than this, else it becomes this.
        `onto`: the header to whose history they are appended, if not that of `held`.
        `within`: it is a part of what runs together.
        """
        mark = name = name or self._mark()
        when = self._fence(held)
        if arrivals is not None:
            when = [[*when[0], Check("arrivals", "=", arrivals)]]
            mark = f"{mark}{_READ}{arrivals}"

        last = ""

        async def work() -> Written:
            nonlocal last
            changed = await self._changed(onto or held, entries, changes, name)
            changed["mark"], last = mark, changed.get("base", "")
            return await self._update_due(header_key(held.run), when, changed, due)

        written = await (work() if within else self._together(work))
        came = self._came_to(written, mark, held)
        if last and isinstance(came, Fenced):
            await self._remove_late(onto or held, last, name, written.item)
        return came

    async def _update_due(
        self, where: Key, when: list[list[Check]], changed: dict[str, Any], due: Millis | None
    ) -> Written:
        """Write a header; `due` as in `_append`."""
        if due is not None:
            early = [[*when[0], Check("due", "<=", due)]]
            written = await self._update(where, when=early, set=changed)
            # A sweep may have moved it since the claim.
            if written.ok or written.item is None or not holds(when, written.item):
                return written
            changed["due"] = due
        return await self._update(where, when=when, set=changed)

    async def _remove_late(self, held: Header, last: str, mark: str, now: Header | None) -> None:
        """Remove the chunks of a write that came late, if their lap or run is over: nobody else
        does. While it is not they may be in the history, of a write that was told as failed.
        """
        lap, numbers = held.lap.number, range(chunk_number(held.base) + 1, chunk_number(last) + 1)
        is_over = now is None or now.state is RunState.REMOVED or now.lap.number > lap
        if numbers and is_over:
            late = [chunk_key(held.run, number, mark, lap) for number in numbers]
            await self._again(self._table.delete, late)

    def _came_to(self, written: Written, mark: str, held: Header) -> Committed | Fenced | Arrived:
        """What came of a write of this mark, by whoever holds the run as `held`."""
        found: Header | None = written.item
        if written.ok or (found is not None and found.mark == mark):
            assert found is not None
            return Committed(found)
        if found is not None and all(check.holds(found) for check in self._fence(held)[0]):
            return Arrived(found)
        return Fenced()

    async def _changed(
        self, held: Header, entries: Sequence[Entry], changes: Mapping[str, Any], mark: str
    ) -> dict[str, Any]:
        """The changes of a header by which entries are appended, whose bodies are put first."""
        noted: dict[str, Any] = {}
        if (asked := asked_response(entries)) is not None:
            noted |= await self._answered(held, asked, mark)
        if held.joins:
            changes = {"joins": held.joins, **changes}
        if held.lap.number > FIRST:
            noted["lap"] = held.lap
        if held.admission is not None:
            changes = {"admission": held.admission, **changes}
        if held.status is not None:
            noted["status"] = held.status
        if held.labels is not None:
            noted["labels"] = held.labels
        if (wide := self.layout.wide(entries, held.wide)) != held.wide:
            noted["wide"] = wide
        noted |= {name: changes[name] for name in _RARE & changes.keys()}
        if not held.asks and asks(entries):
            noted["asks"] = True
        new = msgspec.structs.replace(held, **noted) if noted else held
        placed = await self._placed(new, entries, changes.get("error", held.error), mark)
        return {**placed, **noted, **changes, "count": held.count + len(entries)}

    async def _answered(self, held: Header, asked: Scheduled, mark: str) -> Mapping[str, str]:
        """The change of a header by which the run answers its caller, if it has not before."""
        if held.answer:
            return {}
        return {"answer": await self.responses.put(held.run, asked, mark)}

    async def _placed(
        self, held: Header, entries: Sequence[Entry], error: str, mark: str
    ) -> Mapping[str, Any]:
        """The changes of a header that place entries, and make room for its error."""
        if not entries and not (held.tail and error):
            return {}
        new = held if error == held.error else msgspec.structs.replace(held, error=error)
        base, tail = await self._place(new, entries, mark)
        return {"base": base, "tail": tail, "clock": _clock_of(entries, held.clock)}

    async def _place(
        self, header: Header, entries: Sequence[Entry], mark: str
    ) -> tuple[str, list[Entry]]:
        """Place entries inline while there is room, else in new chunks. Returns base and tail."""
        base, joined = header.base, [*header.tail, *entries]
        size = len(_encode(joined))
        if size <= room_for_tail(header):
            return base, joined
        for part in _chunks(joined, size):
            key = chunk_key(header.run, chunk_number(base) + 1, mark, header.lap.number)
            await self._put(key, Chunk(base, part))
            base = key.sort
        return base, []

    def _fence(self, held: Header, *, count: bool = True) -> list[list[Check]]:
        """The condition that the claim holds; with `count`, that nothing was committed since."""
        checks = [*self._held_by(held.owner), Check("epoch", "=", held.epoch)]
        if not count:
            return [checks]
        # A new lap counts anew, and a write of the one before may come late.
        return [[*checks, Check("count", "=", held.count), Check("round", "=", held.round)]]

    def _held_by(self, owner: str) -> list[Check]:
        """The checks that the run is running, and that this owner holds it."""
        # The state as well: a run that was parked or has ended has no owner to compare.
        return [begins(Move.COMMIT), Check("owner", "=", owner)]

    def _leased(self, now: Millis, lease: Millis) -> dict[str, Any]:
        """A lease of `lease` milliseconds from `now` on, and the due time for checking it."""
        until = now + lease
        return {"lease": until, "due": until + self._margin, "written": now}

    def _update(
        self,
        key: Key,
        *,
        when: When = (),
        set: Mapping[str, Any] | None = None,
        add: Mapping[str, int] | None = None,
        create: Any = None,
    ) -> Coroutine[Any, Any, Written]:
        stamped = set
        if set is not None and any(map(set.get, MOMENTS)):
            # A claim says itself of which moment it is: the clock may have been set back since.
            stamped = {"written": self._clock.now(), **set}
        return self._again(self._table.update, key, when=when, set=stamped, add=add, create=create)

    async def _update_item(self, of: Operation, since: Millis, **write: Any) -> Written:
        """Write the item of an operation that was wanted `since` then, and may have none.

        Who stood still meanwhile may make one anew that went with its run or lap.
        """
        where = self.layout.item(of)
        written = await self._update(where, **write)
        if written.item is None or not self._stood_still(since):
            return written
        if is_cleared(await self._again(lambda: self.find(of.run)), of.key):
            await self._again(self._table.delete, [where])
            return Written(False, None)
        return written

    def _stood_still(self, since: Millis) -> bool:
        """Whether so much time has passed since then that others may have gone on meanwhile."""
        return not 0 <= self._clock.now() - since <= self._margin

    async def _out_of_line(self, line: Line) -> None:
        """Take a task that has ended out of the line in which it waited for a limit."""
        await self._again(self._table.delete, [waiter_key(line)])

    async def set_right(self, item: T) -> T:
        """Let the waits of an item begin again if it is ahead of the clock. Returns it as it is."""
        now = self._clock.now()
        if not is_ahead(item, now, self._margin):
            return item
        where = self._key_of(item)
        changes = begun_again(item, now)
        written = await self._update(where, when=[unchanged(item)], set=changes)
        found: T = written.item
        return found

    def _key_of(self, item: Dated) -> Key:
        """Where an item is stored."""
        if isinstance(item, Limit):
            return self.layout.limit(item.id)
        if isinstance(item, Published):
            return event_key(ref_of(item.name, item.id))
        if isinstance(item, Process):
            return process_key(item.name)
        return self.layout.item(item) if isinstance(item, Operation) else header_key(item.run)

    def _put(self, key: Key, item: Any, *, absent: bool = False) -> Coroutine[Any, Any, Written]:
        return self._again(self._table.put, key, item, absent=absent)


def room_for_tail(header: Header) -> int:
    """How many bytes of history fit into a header, beside its names and what was said of it."""
    run = 2 * len(header.run)  # It is in the item's key as well.
    names = stored_size(header.workflow) + stored_size(header.key)
    if (rare := _rare(header)) == _NONE_RARE and header.lap.number == FIRST:
        return HEADER_BYTES - FIXED_BYTES - run - names
    changed = sum(compress(_FEW_HAVE.values(), rare))
    changed += len(_encode(_whose(header))) if header.tenant or header.admission else 0
    changed += stored_size(header.hears) if header.hears else 0
    changed += len(header.answer) + len(header.schedule)
    changed += 0 if header.parent is None else len(_encode(header.parent))
    changed += len(_encode({"lap": header.lap})) if header.lap.number > FIRST else 0
    changed += 0 if header.status is None else len(_encode({"status": header.status}))
    changed += 0 if header.labels is None else len(_encode({"labels": header.labels}))
    keyed = len(_encode({"digest_key": header.digest_key})) if header.digest_key else 0
    return HEADER_BYTES - FIXED_BYTES - changed - keyed - run - names - _told(header)


def _whose(header: Header) -> Mapping[str, Any]:
    """What a header has of a run that is somebody's, or limited."""
    room = {"": " " * LINE_BYTES} if header.admission else {}
    found = {name: getattr(header, name) for name in ("tenant", "admission")}
    return found | room


def _told(header: Header) -> int:
    """How many bytes of a header are what was said of the run; mostly nothing was."""
    if not (header.cancel or header.error or header.lost_turn):
        return 0
    said = {"cancel": header.cancel, "error": header.error, "lost_turn": header.lost_turn}
    return sum(len(_encode({name: text})) for name, text in said.items() if text)


def asks(entries: Iterable[Entry]) -> bool:
    """Whether an approval is asked for by these entries."""
    return any(type(entry) is Scheduled and entry.kind is Kind.APPROVAL for entry in entries)


def read_at(header: Header) -> int | None:
    """How many arrivals its newest commit had read; None: it does not say.

    It is told by the mark, which every change of a history replaces.
    """
    _, _, arrivals = header.mark.partition(_READ)
    return int(arrivals) if arrivals else None


def begins(move: Move) -> Check:
    """The check that the run is in a state in which this move may begin."""
    return Check("state", "in", MOVES[move].sources)


def _chunks(entries: list[Entry], size: int) -> Iterator[list[Entry]]:
    """The entries in parts, each small enough for an item; almost always one part."""
    if len(entries) == 1 or size <= CHUNK_BYTES:
        yield entries
        return
    half = len(entries) // 2
    for part in (entries[:half], entries[half:]):
        yield from _chunks(part, len(_encode(part)))


def _clock_of(entries: Sequence[Entry], clock: Millis) -> Millis:
    return max([clock, *[getattr(entry, "clock", 0) for entry in entries]])


def is_near(stored: Millis | None, due: Millis | None, near: Millis) -> bool:
    """Whether a stored due time is early by so little that it stays."""
    return stored is not None and due is not None and 0 <= due - stored <= near
