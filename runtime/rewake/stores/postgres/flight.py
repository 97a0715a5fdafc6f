"""A flight: what waits to be written, worked out together and written by one statement.

Conditions are tested here, on items as this process last saw them, and each item is written only if
it is still the one that was tested (by the digest of its body): so a conditional write is one
statement that commits by itself, `together` is one as well, and no lock is held while anybody
thinks. All that waits shares a flight, and so one round trip and one commit. Where an item was
written by another process meanwhile nothing of the flight happens; the statement answers what is
there, and everything is worked out again on that. It is another's progress, so it ends. Rows are
written in the order of their keys by all, so no two flights wait for each other.

What a process has never seen it guesses to be missing, if that is what the write is for; a wrong
guess costs one more statement. A condition that does not hold is only believed of an item that was
read for this flight.

A job is a coroutine that may await nothing but its table. It is stepped here, so that all jobs of a
flight that need an item from the database get theirs by one statement. One that fails after it has
written something is left out, and the others are worked out again; before that, all of it is worked
out once on nothing but what was read, for what it believed may not be so any more.
"""

from __future__ import annotations

import contextvars
import hashlib
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from rewake.errors import StoreError, StoreUnavailable
from rewake.records import Item
from rewake.stores.items import change, decode, encode, proved
from rewake.stores.items import changed as changed_item
from rewake.stores.postgres.known import Known
from rewake.stores.table import Indexed, Key, When, Written, holds, indexed

T = TypeVar("T")

TRIES = 50
"""How often a flight is worked out; each time, others have written what it was about."""
ABSENT = b""
"""The base of an item that must not be there."""


class Row(NamedTuple):
    """An item to write, or with no body to remove.

    `base`: the digest of what must be there; empty: nothing may; None: whatever is there. `place`:
    where it stands in the due index.
    """

    key: Key
    base: bytes | None
    place: Indexed | None
    body: bytes | None


New = tuple[Indexed | None, bytes | None]
"""The place in the due index and the body; without one, the item is removed."""
Blobs = Mapping[tuple[str, str], bytes]
"""Large values, by run and name."""


class Backend:
    """What a flight asks of the database. Each is one statement."""

    async def fetch(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        """The bodies of these items, those that are there."""
        raise NotImplementedError

    async def write(self, rows: Sequence[Row], blobs: Blobs) -> dict[Key, bytes | None]:
        """Write all of it and commit. Else nothing, and those that are not as they must be."""
        raise NotImplementedError

    async def is_held(self, key: Key) -> bool:
        """Whether a transaction that goes on has locked this item, or changed it."""
        raise NotImplementedError


class Ask(Generic[T]):
    """Something that a job needs from the database; awaited, it is the answer."""

    def __init__(self, read: Callable[[], Awaitable[T]] | None, key: Key | None = None) -> None:
        self.read = read
        self.key = key

    def __await__(self) -> Generator[Ask[T], T, T]:
        return (yield self)


async def asked(read: Callable[[], Awaitable[T]]) -> T:
    """What a read of the database answers to a job."""
    answer: T = await Ask(read)
    return answer


class Job:
    """Work that is done in a flight, in its caller's context, and how it ended."""

    def __init__(self, work: Callable[[Flight], Awaitable[Any]]) -> None:
        self.work = work
        self.context = contextvars.copy_context()
        self.value: Any = None
        self.error: BaseException | None = None


class Flight:
    """One attempt at the jobs. `read`: what was read of items just before, for a former attempt.

    `careful`: nothing is believed that was not read.
    """

    def __init__(
        self, known: Known, read: Mapping[Key, bytes | None], *, careful: bool = False
    ) -> None:
        self._known = known
        self._careful = careful
        self._read: dict[Key, bytes | None] = dict(read)
        self._bases: dict[Key, bytes | None] = {}
        self._new: dict[Key, New] = {}
        self._writers: set[Job] = set()
        self.job: Job | None = None
        self.is_over = False
        self.blobs: dict[tuple[str, str], bytes] = {}

    # --- what jobs do --------------------------------------------------------------------------

    async def get(self, key: Key) -> Any:
        """The item, as this flight leaves it."""
        return _decoded(key, await self._sure(key))

    async def put(self, key: Key, item: Item, *, absent: bool) -> Written:
        """Write the whole item; with `absent`, only if there is none."""
        body = encode(item)
        stored = proved(key, body)
        if absent:
            found = await self._seen(key)
            if found is not None:
                found = await self._sure(key)
            if found is not None:
                return Written(False, decode(key, found))
            self._base(key, None)
        self._write(key, stored, body)
        return Written(True, stored)

    async def update(
        self,
        key: Key,
        when: When,
        set: Mapping[str, Any] | None,
        add: Mapping[str, int] | None,
        create: Item | None,
    ) -> Written:
        """As `Table.update`."""
        body = await self._seen(key)
        if body is None and create is None:
            body = await self._sure(key)
        found = _decoded(key, body)
        item = change(found, when=when, set=set, add=add, create=create)
        if item is None:
            body = await self._sure(key)
            found = _decoded(key, body)
            item = change(found, when=when, set=set, add=add, create=create)
            if item is None:
                return Written(False, found)
        new = changed_item(body, found, item)
        # Decoded before it is kept: an item that could not be read back is never written.
        stored = proved(key, new)
        self._base(key, body)
        self._write(key, stored, new)
        return Written(True, stored)

    async def delete(self, keys: Sequence[Key], when: When) -> None:
        """Remove items, each if `when` holds."""
        for key in keys:
            if when:
                body = await self._sure(key)
                if body is None or not holds(when, decode(key, body)):
                    continue
                self._base(key, body)
            self._write(key, None, None)

    def put_blob(self, run: str, name: str, data: bytes) -> None:
        """Keep a large value; what is there already stays."""
        self._note_writer()
        self.blobs.setdefault((run, name), bytes(data))

    def changed(self, partition: str | None) -> dict[Key, New]:
        """What was written so far, of one partition or all."""
        return {key: new for key, new in self._new.items() if partition in (None, key.partition)}

    # --- what is known -------------------------------------------------------------------------

    async def _seen(self, key: Key) -> bytes | None:
        """The body as far as is known; None: it is not there, or nothing is known of it."""
        if self._careful:
            return await self._sure(key)
        if key in self._new:
            return self._new[key][1]
        if key in self._read:
            return self._read[key]
        return self._known.get(key)

    async def _sure(self, key: Key) -> bytes | None:
        """The body as this flight leaves it, or was there when it was read for it."""
        if key in self._new:
            return self._new[key][1]
        if key not in self._read:
            self._read[key] = await Ask[bytes | None](None, key)
            self._known.note(key, self._read[key])
        # Another job may have written it while it was read.
        return self._new[key][1] if key in self._new else self._read[key]

    def _base(self, key: Key, body: bytes | None) -> None:
        """Write the item only if it still has this body (None: if there is none)."""
        if key not in self._new:
            self._bases[key] = ABSENT if body is None else hashlib.sha256(body).digest()

    def _write(self, key: Key, item: Item | None, body: bytes | None) -> None:
        self._note_writer()
        self._new[key] = (indexed(item), body)

    def _note_writer(self) -> None:
        if self.job is not None:
            self._writers.add(self.job)

    # --- carrying it out -----------------------------------------------------------------------

    def has_written(self, job: Job) -> bool:
        """Whether the job has written something."""
        return job in self._writers

    def rows(self) -> list[Row]:
        """What is to be written, in the order in which everybody writes."""
        found: list[Row] = []
        for key, (place, body) in sorted(self._new.items()):
            base = self._bases.get(key)
            # What was made and removed again need not have been missing.
            found.append(Row(key, base or None if body is None else base, place, body))
        return found

    def is_written(self) -> None:
        """Note what is there now."""
        for key, (_, body) in self._new.items():
            self._known.note(key, body)

    def is_in_doubt(self) -> None:
        """Note that nobody knows what is there now."""
        for key in self._new:
            self._known.note(key, None)


_FLIGHT: contextvars.ContextVar[tuple[object, Flight] | None] = contextvars.ContextVar(
    "flight", default=None
)


def flight_of(table: object) -> Flight | None:
    """The flight of this table that the caller is a job of, if it is one."""
    inside = _FLIGHT.get()
    if inside is None or inside[0] is not table or inside[1].is_over:
        return None  # what a job has begun and left behind has its context still
    return inside[1]


async def fly(table: object, jobs: Sequence[Job], backend: Backend, known: Known) -> Sequence[Row]:
    """Carry out jobs, each of which gets its value or its error. Returns what was written.

    Raises `StoreUnavailable` and the like, and then each may have happened or not.
    """
    left, read, careful = list(jobs), dict[Key, bytes | None](), False
    for _ in range(TRIES):
        flight = Flight(known, read, careful=careful)
        try:
            await _work_out(table, flight, left, backend)
        finally:
            flight.is_over = True
        failed = [job for job in left if job.error is not None]
        if failed and not careful:
            careful = True  # it may be the fault of what is not so any more
            continue
        left = [job for job in left if job.error is None]
        if any(map(flight.has_written, failed)):
            continue
        rows = flight.rows()
        if not rows and not flight.blobs:
            return rows
        try:
            stale = await backend.write(rows, flight.blobs)
        except BaseException:
            flight.is_in_doubt()
            raise
        if not stale:
            flight.is_written()
            return rows
        for key, body in stale.items():
            known.note(key, body)
        read = stale
    raise StoreUnavailable("other processes write the same items all the time")


async def _work_out(table: object, flight: Flight, jobs: Sequence[Job], backend: Backend) -> None:
    """Step the jobs to their ends; what several need at once is read at once."""
    waiting: list[tuple[Job, Any, Ask[Any] | None, Any]] = []
    for job in jobs:
        job.value = job.error = None
        job.context.run(_FLIGHT.set, (table, flight))
        steps = job.context.run(_begun, job.work, flight)
        waiting.append((job, steps, None, None))
    while waiting:
        asked = [
            (job, steps, ask)
            for job, steps, _, answer in waiting
            if (ask := _step(flight, job, steps, answer)) is not None
        ]
        keys = sorted({ask.key for _, _, ask in asked if ask.key is not None})
        found = await backend.fetch(keys) if keys else {}
        waiting = [(job, steps, ask, await _answered(ask, found)) for job, steps, ask in asked]


def _begun(work: Callable[[Flight], Awaitable[Any]], flight: Flight) -> Any:
    return work(flight).__await__()


class _Raised(NamedTuple):
    """Instead of an answer: what a job has asked for cannot be read, as a newer Rewake's."""

    error: Exception


async def _answered(ask: Ask[Any], found: Mapping[Key, bytes]) -> Any:
    if ask.read is None:
        return None if ask.key is None else found.get(ask.key)
    try:
        return await ask.read()
    except StoreError:
        raise  # it is of the database, and so of all jobs
    except Exception as error:
        return _Raised(error)


def _step(flight: Flight, job: Job, steps: Any, answer: Any) -> Ask[Any] | None:
    """Let a job go on; what it asks for, or None once it has ended."""
    flight.job = job
    try:
        if isinstance(answer, _Raised):
            asked = job.context.run(steps.throw, answer.error)
        else:
            asked = job.context.run(steps.send, answer)
    except StopIteration as end:
        job.value = end.value
        return None
    except BaseException as error:  # it is its caller's
        job.error = error
        return None
    finally:
        flight.job = None
    if isinstance(asked, Ask):
        return asked
    steps.close()
    job.error = RuntimeError("work that runs together may await nothing but its table")
    return None


def _decoded(key: Key, body: bytes | None) -> Any:
    return None if body is None else decode(key, body)
