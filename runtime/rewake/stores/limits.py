"""Limits in the store: each change is a conditional write of one item (`stores/books.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import msgspec

from rewake.kinds import Kind
from rewake.ledger import PATROL, Gathered, Holder, Kept, Limit, Waiter
from rewake.limited import Admission, Limited, LimitKind, Line, said
from rewake.records import Header, Invocation, Millis, Operation, Retried, Started
from rewake.states import MOVES, Move
from rewake.stores import books
from rewake.stores.answers import Arrived, Committed, Fenced
from rewake.stores.keys import (
    chunk_key,
    header_key,
    line_partition,
    run_partition,
    waiter_key,
)
from rewake.stores.laps import Laps
from rewake.stores.merging import merged
from rewake.stores.operations import free_at
from rewake.stores.suspects import absolved
from rewake.stores.table import Check, Key, Written
from rewake.stores.writes import UNOWNED

_FIELDS = ("count", "per", "holders", "waits", "turn", "ahead", "next", "lately", "run")
_KEPT = ("due", "kept", "cleared")
AT_ONCE = 500
"""So many of a line are told at once that what they wait for is there, where that was not heard."""


class Entry(NamedTuple):
    """What became of one who came to a limit. `came`: others, who were let in before it."""

    grant: str
    """By which it holds the limit; empty: it waits."""
    line: Line | None
    came: Sequence[Waiter]
    kept: Kept | None = None
    """Nobody need hold it: this is there."""
    held_by: Sequence[Holder] = ()
    """Who holds it, if it waits."""


class Limits(Laps):
    """The writes of the protocol to the items of limits, and of who waits for them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._alone: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def limit(self, id: str) -> Limit | None:
        """The item of a limit; None: nobody holds it."""
        found: Limit | None = await self._table.get(self.layout.limit(id))
        return found

    async def limits(self, *, limit: int, cursor: str | None) -> tuple[list[Limit], str | None]:
        """A page of all limits that somebody holds or held lately, by id, and the next cursor."""
        page = await merged(self._table, self.layout.limits, "F#", limit=limit, cursor=cursor)
        return [found for _, found in page.items], page.cursor

    async def line(self, id: str, most: int) -> list[Waiter]:
        """The first in the line of a limit."""
        return [who for _, who in await self.places(id, most)]

    async def places(self, id: str, most: int) -> list[tuple[Key, Waiter]]:
        """The same, with their places."""
        page = await self._table.query(line_partition(id), limit=most)
        return page.items

    async def enter(
        self,
        limit: Limited,
        who: Waiter,
        now: Millis,
        *,
        soon: Millis,
        known: Line | None = None,
        past: Kept | None = None,
    ) -> Entry:
        """Take a place of a limit, or wait in its line; `known`: where it waits already, perhaps.

        `soon`: when a sweep must look at it, if somebody waits. Where a result is kept, that is the
        answer, unless it is `past`, which cannot be read.
        """
        async with self.in_turn(limit.id):
            entry = await self._together(lambda: self._enter(limit, who, now, soon, known, past))
        others = [each for each in entry.came if (each.run, each.key) != (who.run, who.key)]
        return entry._replace(came=others)

    async def _enter(
        self,
        limit: Limited,
        who: Waiter,
        now: Millis,
        soon: Millis,
        known: Line | None,
        past: Kept | None,
    ) -> Entry:
        came: list[Waiter] = []
        while True:
            found = await self.limit(limit.id)
            book = books.asked(found, limit, past, self._clock.now(), self._margin)
            mark = self._mark()
            held = books.held_by(book, who.run, who.key)
            if book.kept is not None:
                if held is not None:
                    came += await self._leave(limit.id, held, now, soon, None)
                return Entry("", None, came, book.kept)
            if held is None and book.waits and books.is_free(book, limit.count):
                came += await self._let_in(found, book, now, soon)
                continue
            if held is not None or books.is_free(book, limit.count):
                new = books.entered(book, who, mark, now)
                if await self._swap(found, new, mark, now + PATROL):
                    return Entry(mark, None, came)
                continue
            if known is not None and await self._is_in(known, limit.id):
                return Entry("", known, came, held_by=book.holders)
            line = await self._queue(found, book, limit, who, mark, soon)
            if line is not None:
                return Entry("", line, came, held_by=book.holders)

    async def _is_in(self, line: Line, id: str) -> bool:
        """Whether somebody waits in the line of this limit, at that place."""
        return line.id == id and await self._table.get(waiter_key(line)) is not None

    async def _queue(
        self,
        found: Limit | None,
        book: Limit,
        limit: Limited,
        who: Waiter,
        mark: str,
        soon: Millis,
    ) -> Line | None:
        """Put somebody into the line, if the limit is still as it was found."""
        new, time = books.queued(book, who.terms.share)
        place = books.place_of(time, who.terms.priority, who.since, mark)
        line = Line(limit.id, place, said(limit))
        where = waiter_key(line)
        await self._put(where, msgspec.structs.replace(who, time=time))
        if await self._swap(found, new, mark, soon):
            return line
        await self._again(lambda: self._table.delete([where]))
        return None

    async def leave(
        self,
        id: str,
        holder: Holder | None,
        now: Millis,
        *,
        soon: Millis,
        kept: Kept | None = None,
    ) -> list[Waiter]:
        """Give a place back, if its grant is still the same; returns who is to go on.

        Without a `holder`, only let in whom there are places for. `kept`: what it has come to.
        """
        async with self.in_turn(id):
            return await self._together(lambda: self._leave(id, holder, now, soon, kept))

    async def _leave(
        self, id: str, holder: Holder | None, now: Millis, soon: Millis, kept: Kept | None
    ) -> list[Waiter]:
        came: list[Waiter] = []
        while (found := await self.limit(id)) is not None:
            book = found
            if holder is not None:
                book = books.left(book, holder.run, holder.key, holder.grant)
                if kept is not None and book is not found:
                    book = books.filled(book, holder, kept)
            if books.is_fresh(book, book.per, self._clock.now(), self._margin):
                told = await self._tell(found, book, soon)
                if told is None:
                    continue
                return came + told
            if not (book.waits and books.is_free(book, book.count)):
                if book is found or await self._swap(found, book, self._mark(), now + PATROL):
                    return came
                continue
            came += await self._let_in(found, book, now, soon)
        return came

    async def _tell(self, found: Limit, book: Limit, soon: Millis) -> list[Waiter] | None:
        """All who wait for what is kept, or of those who were told before the first; None: it has
        changed. They leave the line as they end.
        """
        told: list[Waiter] = []
        if book.waits:
            new = found.kept != book.kept
            told = await self._whole_line(book.id) if new else await self.line(book.id, AT_ONCE)
            book = msgspec.structs.replace(book, waits=bool(told))
        due = soon
        if not (told or book.holders):
            assert book.kept is not None
            due, book = book.kept.at + book.per, msgspec.structs.replace(book, due=None)
        if book == found or await self._swap(found, book, self._mark(), due):
            return told
        return None

    async def _whole_line(self, id: str) -> list[Waiter]:
        line: list[Waiter] = []
        cursor: str | None = None
        while True:
            page = await self._table.query(line_partition(id), limit=AT_ONCE, cursor=cursor)
            line += [who for _, who in page.items]
            if (cursor := page.cursor) is None:
                return line

    async def _let_in(
        self, found: Limit | None, book: Limit, now: Millis, soon: Millis
    ) -> list[Waiter]:
        """Let in the first of the line, as far as there are places; none if it has changed."""
        room = book.count - len(book.holders)
        line, mark = await self.places(book.id, room + 1), self._mark()
        new, came = books.let_in(book, [who for _, who in line], mark, now, book.count)
        gone = [key for key, who in line if books.held_by(new, who.run, who.key) is not None]
        if not line:
            new = msgspec.structs.replace(new, waits=False)
        if not await self._swap(found, new, mark, soon):
            return []
        if gone:
            await self._again(lambda: self._table.delete(gone))
        return came

    async def reserve(
        self, limit: Limited, now: Millis, *, wait: bool = True, who: str = ""
    ) -> tuple[bool, Millis]:
        """Reserve the next moment of a rate; without `wait` only if that is now.

        Returns whether it is reserved, and the moment. `who` may have died over it: it has one
        moment, however often it comes, unless many others have come since.
        """
        known = sha256(who.encode("utf-8", "surrogatepass")).hexdigest()[:16] if who else ""

        async def work() -> tuple[bool, Millis]:
            while True:
                found = await self.limit(limit.id)
                book = found or books.blank(limit)
                # Who has waited for this, or stood still, has no clock that was set back.
                read, margin = self._clock.now(), self._margin
                new, moment = books.reserved(
                    book, limit, now, wait=wait, margin=margin, read=read, who=known
                )
                if new is book:
                    return moment <= now, moment
                due = new.next // 1000 + PATROL
                if await self._swap(found, new, self._mark(), due):
                    return True, moment

        async with self.in_turn(limit.id):
            return await self._together(work)

    async def _swap(self, found: Limit | None, new: Limit, mark: str, due: Millis) -> bool:
        """Write a limit anew if it is as it was found. An early due time stays."""
        if new.due is None or new.due > due:
            new = msgspec.structs.replace(new, due=due)
        changes = {name: getattr(new, name) for name in (*_FIELDS, *_KEPT)} | {"mark": mark}
        changes["written"] = self._clock.now()
        same = [Check("id", "absent") if found is None else Check("mark", "=", found.mark)]
        where, create = self.layout.limit(new.id), new if found is None else None
        written: Written = await self._update(where, when=[same], set=changes, create=create)
        ok = written.ok or (written.item is not None and written.item.mark == mark)
        if ok and found is not None and found.kept is not None and new.kept is None:
            await self.cached.drop(found)  # it is over
        return ok

    async def look_later(self, found: Limit, due: Millis, now: Millis) -> bool:
        """Look at a limit again when `due`, or never where nothing is left of it.

        False: it has changed since, or another process looks.
        """
        where, same = self.layout.limit(found.id), [[Check("mark", "=", found.mark)]]
        if books.is_idle(found, now, self._margin):
            if found.kind == LimitKind.CACHE:
                await self.cached.drop(found)
            await self._again(lambda: self._table.delete([where], when=same))
            return False
        when = [[*same[0], Check("due", "=", found.due)]]
        new = {"due": due, "written": min(found.written, now)}  # it has not changed
        return (await self._update(where, when=when, set=new)).ok

    async def leave_line(self, line: Line) -> None:
        """Take somebody out of the line."""
        await self._again(lambda: self._table.delete([waiter_key(line)]))

    def in_turn(self, id: str) -> asyncio.Lock:
        """One after the other of this process: else they would only meet, and try again."""
        lock = self._alone.get(id)
        if lock is None:
            lock = self._alone[id] = asyncio.Lock()
        return lock

    # --- who waits -------------------------------------------------------------------------

    async def put_off(
        self,
        asked: Invocation,
        seen: Operation | None,
        *,
        at: Millis | None,
        due: Millis,
        lease: Millis,
        line: Line | None = None,
        reserved: bool = False,
    ) -> Operation | None:
        """Let a task wait, until `at` or in a `line`; None: it was begun, or has ended, meanwhile.

        `seen`: its item as it was read, if there was one of this round. It is guarded from then on.
        `reserved`: a moment is, or none is needed, for the attempt that waits. `lease`: as in
        `claim_task`.
        """
        blank = Operation(asked.run, asked.key, Kind.TASK, asked.name, asked.round, tag=asked.tag)
        blank = msgspec.structs.replace(blank, written=self._clock.now())
        kept = await self._blobs.offload(asked.run, asked.args)
        new: dict[str, Any] = {"due": due, "line": line, "terms": asked.terms, "tag": asked.tag}
        new |= {"mark": (mark := self._mark())} | ({} if kept is None else {"args": kept})
        new |= {} if at is None else {"not_before": at}
        number = 0 if seen is None else seen.number
        open_ = [Check("outcome", "absent"), Check("round", "=", asked.round)]
        open_ += [Check("owner", "=", ""), Check("number", "=", number)]
        # Who let go of it before it began gave the number back, and may have put it off.
        begins_at = None if seen is None else seen.not_before
        open_.append(Check("not_before", "absent" if begins_at is None else "=", begins_at))
        when = [open_] if number else [[Check("run", "absent")], open_]
        create = None if number else blank
        new |= {"reserved": number + 1} if reserved else {}
        since = blank.written
        written = await self._update_item(blank, since, when=when, set=new, create=create)
        found: Operation | None = written.item
        while not written.ok and found is not None and found.round < asked.round:
            # An attempt of the round before may run on, and must be over when this one begins.
            free = free_at(found, blank.written, lease, self._margin)
            begin = max(free, at or 0)
            later: dict[str, Any] = {**new, "due": max(due, free)}
            later |= {"not_before": begin} if begin > blank.written else {}
            later |= {"reserved": found.number + 1} if reserved else {}
            written = await self._renew_item(found, blank, later)
            found = written.item
        return found if found is not None and found.mark == mark else None

    async def look_at(self, run: str, key: str, due: Millis, **fence: str) -> bool:
        """Let a sweep find a task that waits, or was let in, when `due`; with another `mark` as a
        `fence`, nobody begins it who was let in before. False: it was begun.
        """
        free, where = [Check("outcome", "absent"), Check("owner", "=", "")], (run, key)
        new = {"due": due, **fence}
        return (await self._update(self.layout.operation(*where), when=[free], set=new)).ok

    async def hold_back(
        self,
        held: Header,
        admission: Admission,
        *,
        wake: Millis | None,
        due: Millis,
        check_at: Millis | None = None,
    ) -> Committed | Fenced | Arrived:
        """Suspend a run that is not let in yet, until `wake` or until it is; look at it when `due`,
        and at `check_at`.
        """
        changes = {
            "state": MOVES[Move.PARK].target,
            "gap": 1,
            "wake": wake,
            "check_at": check_at,
            "admission": admission,
            "due": due if check_at is None else min(due, check_at),
            # It has begun nothing: what the turn before has left open is open still.
            "rest": held.epoch if held.rest == held.epoch - 1 else held.rest,
            **absolved(held),
            **UNOWNED,
        }
        return await self._append(held, [], changes, arrivals=held.arrivals)

    async def note_admission(self, held: Header, admission: Admission) -> Header | None:
        """Write into the header of a held run what it waits for. None: it was fenced."""
        mark = self._mark()
        changes = {"mark": mark, "admission": admission}
        written = await self._update(header_key(held.run), when=self._fence(held), set=changes)
        return _kept(written, mark)

    async def let_begin(self, held: Header, admission: Admission, now: Millis) -> Header | None:
        """Let a run begin, or go on after a retry, that has waited: its time begins now.

        Else its body would see the moment of its start, and sleep for less. None: it was fenced.
        """
        entries = held.tail or (await self.entries(held)).entries
        last, mark = entries[-1], self._mark()
        if isinstance(last, Started | Retried) and last.clock < now:
            last = msgspec.structs.replace(last, clock=now)
        moved = [*entries[:-1], last]
        changes = {"mark": mark, "admission": admission, "clock": now if held.clock else 0}

        async def work() -> Written:
            base, tail = held.base, moved
            if not held.tail:
                blank = msgspec.structs.replace(held, base="", tail=[])
                base, tail = await self._place(blank, moved, mark)
            placed = {**changes, "base": base, "tail": tail}
            return await self._update(header_key(held.run), when=self._fence(held), set=placed)

        written = await self._together(work)
        return _kept(written, mark)

    # --- what gathers ----------------------------------------------------------------------

    async def name_gatherer(
        self, limit: Limited, found: Limit | None, run: str, until: Millis
    ) -> bool:
        """Name the run that gathers until then; False if another start was quicker."""
        book = found or books.blank(limit)
        new = msgspec.structs.replace(book, run=run, next=until * 1000, per=limit.per)
        return await self._swap(found, new, self._mark(), until + PATROL)

    async def gathered(self, start: str) -> Gathered | None:
        """Which run has a start that was gathered; None: it was not, as far as is known."""
        found: Gathered | None = await self._table.get(_gathered_key(start))
        return found

    async def keep_gathered(self, start: str, run: str, until: Millis) -> None:
        """Keep that this run has a start, until then."""
        await self._put(_gathered_key(start), Gathered(run, until, sure=True))

    async def take_start(
        self, start: str, run: str, until: Millis, past: Gathered | None
    ) -> Gathered:
        """Keep that a start is for this run, unless it is for another one; what is kept then.

        `past`: what is kept no more, if it is there still.
        """
        where, new = _gathered_key(start), Gathered(run, until)
        if past is not None:
            same = [[Check("run", "=", past.run), Check("due", "=", past.due)]]
            changes = {"run": run, "due": until, "sure": False}
            await self._again(lambda: self._table.update(where, when=same, set=changes))
        written = await self._put(where, new, absent=True)
        stands: Gathered | None = written.item
        return new if written.ok or stands is None else stands

    async def forget_gathered(self, key: Key, seen: Gathered, now: Millis) -> None:
        """Remove that if its time is over, and it says what it said."""
        if seen.due is None or seen.due > now:
            return
        same = [[Check("run", "=", seen.run), Check("due", "=", seen.due)]]
        await self._again(lambda: self._table.delete([key], when=same))

    async def gather(
        self,
        seen: Header,
        started: Started,
        *,
        wake: Millis,
        digest: str,
        admission: Admission | None,
    ) -> Header | None:
        """Change what a delayed run begins with, and when; None if it is not as it was seen."""
        mark = self._mark()
        [entry] = await self.offload(seen.run, [started])
        blank = msgspec.structs.replace(seen, base="", tail=[], admission=admission)
        same = [Check("state", "=", seen.state), Check("epoch", "=", 0)]
        same.append(Check("mark", "=", seen.mark))

        async def work() -> Written:
            base, tail = await self._place(blank, [entry], mark)
            changes = {"mark": mark, "base": base, "tail": tail, "clock": 0, "digest": digest}
            changes |= {"wake": wake, "due": wake, "sent": None, "admission": admission}
            return await self._update(header_key(seen.run), when=[same], set=changes)

        written = await self._together(work)
        after: Header | None = written.item
        won = written.ok or (after is not None and after.mark == mark)
        # What is named no more, or never was: else a run would keep all that it ever gathered.
        gone = seen.base if won else chunk_key(seen.run, 0, mark).sort
        if gone:
            await self._again(lambda: self._table.delete([Key(run_partition(seen.run), gone)]))
        return after if won else None


def _gathered_key(start: str) -> Key:
    """Where it is said which run has a start, by the id that its own run would have."""
    return Key(f"g#{sha256(start.encode()).hexdigest()[:32]}", "g")


def _kept(written: Written, mark: str) -> Header | None:
    """The header that a write of this mark came to; None: it did not."""
    after: Header | None = written.item
    return after if written.ok or (after is not None and after.mark == mark) else None
