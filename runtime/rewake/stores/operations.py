"""Operations in the store: each is an item that is claimed, renewed, released and settled.

An item is *guarded* when it has a due time of its own; without one its run's header covers it. The
first outcome that is settled stands for ever, in its *round*: how often the run had been retried
when the operation was asked for. Whoever acts for a later round puts the item in order for that
round first, as if there were none; whoever acts for an earlier one changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rewake.errors import CheckpointUnreadable
from rewake.kinds import Kind, OutcomeKind
from rewake.limited import FREE
from rewake.noted import Try
from rewake.records import (
    Failure,
    Finished,
    Header,
    Invocation,
    Millis,
    Operation,
    Outcome,
    Scheduled,
    Withdrawn,
)
from rewake.stores.answers import Refused, Taken, TaskClaim
from rewake.stores.families import Families, begins_in_vain
from rewake.stores.history import History, is_open
from rewake.stores.merging import side_by_side
from rewake.stores.patience import gathered
from rewake.stores.paused import is_past, is_paused
from rewake.stores.suspects import is_suspect, losing
from rewake.stores.table import Check, Written
from rewake.stores.writes import UNOWNED
from rewake.values.sealing import for_people

MOST_TRIES = 8
"""How many attempts that are over are kept with an operation: the newest."""
SOON: Millis = 5_000
"""When a sweep checks that an outcome was delivered, in milliseconds."""
_MESSAGE, _ONE_MORE = 160, {"attempts": 1, "number": 1}
DISCARDED = Failure("discarded", "it worked, and its run was retried from before that")
"""What is kept of an attempt that worked, once its run goes on as if it had not been made."""
_GONE = Outcome(OutcomeKind.CANCELLED)
"""What came of an operation that was withdrawn, or whose run is there no more."""
_HELD = ("owner", "lease", "process", "number", "round")
"""What a claim, or a renewal, of a task changes, and stays changed when it is let go."""


class Operations(Families):
    """The writes of the protocol to the item of one operation."""

    async def claim_task(
        self, claim: TaskClaim, *, sure: bool = True, within: bool = False
    ) -> Taken | Refused:
        """Claim a task for one attempt, if it has no outcome, no live owner, and need not wait.

        Unless it is `sure` that its run is there, and is not paused: what asks for it may have been
        long on its way. `within`: it is a part of what runs together.

        An attempt whose lease ran out is counted as lost; a suspect is claimed apart only. From the
        second claim on the item is guarded, since its run's header may no longer cover it.
        In a new round it waits until an attempt that was cancelled must have heard of that.
        """
        owner, where = claim.owner, self.layout.operation(claim.run, claim.key)
        first = Operation(claim.run, claim.key, Kind.TASK, claim.name, claim.round, first=claim.now)
        first.tag, first.terms = claim.tag, claim.terms
        begin: dict[str, Any] = {"owner": owner, "lease": claim.now + claim.lease}
        begin |= {"began": claim.now, "written": claim.now, "where": claim.where}

        async def work() -> Taken | Refused:
            header = None if sure else await self.find(claim.run)
            if not sure and is_past(header, claim.key):
                return Refused(_gone(first))
            if header is not None and is_paused(header):  # who resumes it sends another message
                return Refused(first)
            fresh = [[Check("run", "absent"), *_seen(claim.seen or None)]]
            written = await self._update(where, when=fresh, set=begin, add=_ONE_MORE, create=first)
            lost = False
            if written.ok and await self._came_late(claim):
                same = [[Check("owner", "=", owner)]]
                await self._again(lambda: self._table.delete([where], when=same))
                return Refused(_gone(first))
            while not written.ok and (found := written.item or _gone(first)).owner != owner:
                if not self._claimable(found, claim):
                    return Refused(found)
                if found.round < claim.round:
                    written = await self._renew_item(found, first, begin)
                    continue
                lost = bool(found.owner)
                again = await self._take_again(found, claim, begin)
                if isinstance(again, Refused):
                    return again
                written = again
            return Taken(written.item, lost)

        return await (work() if within else self._together(work))

    async def _came_late(self, claim: TaskClaim) -> bool:
        """Whether run or lap is gone by now: who stood still makes an item anew that went."""
        if not self._stood_still(claim.now):
            return False  # nobody else has begun what was just asked for
        return is_past(await self._again(lambda: self.find(claim.run)), claim.key)

    async def _take_again(
        self, found: Operation, claim: TaskClaim, begin: Mapping[str, Any]
    ) -> Written | Refused:
        """Claim a task that was claimed before, if its owner is dead and it need not be apart."""
        guarded = {**begin, "process": "", "not_before": None, "due": begin["lease"] + self._margin}
        guarded |= {"tag": claim.tag, "first": found.first or claim.now}
        guarded |= {} if claim.terms is FREE else {"terms": claim.terms, "line": None}
        more: Mapping[str, int] = {}
        if found.owner:
            ended = await self.ended(found, claim.now)
            if ended is None:
                return Refused(found)
            more = {**losing(found), "lost": 1}
            guarded["tries"] = tries_of(found, ended, lost=True)
        deaths = found.deaths + more.get("deaths", 0)
        if is_suspect(deaths) and not claim.apart:
            return Refused(found, suspect=deaths)
        guarded |= {"apart": is_suspect(deaths), "taken": found.owner or found.taken}
        same = [Check(name, "=", getattr(found, name)) for name in _HELD]
        same += _seen(claim.seen)
        # Who let go of it before it began gave the number back, and may have put it off.
        at = found.not_before
        same.append(Check("not_before", "absent" if at is None else "=", at))
        return await self._update(
            self.layout.operation(claim.run, claim.key),
            when=[[Check("outcome", "absent"), *same]],
            set=guarded,
            add={**_ONE_MORE, **more},
        )

    async def _renew_item(
        self, found: Operation, blank: Operation, more: Mapping[str, Any]
    ) -> Written:
        """Put an item of an earlier round in order for this one; what was tried stays on record."""
        changes = msgspec.structs.asdict(blank)
        del changes["written"]  # it is of this write
        changes |= {"number": found.number, "before": found.before + found.attempts}
        changes |= {"tries": tries_so_far(found)[-MOST_TRIES:], "votes": found.votes}
        changes |= {"progress": found.progress, **more}
        if more.get("owner"):  # it is claimed with that
            changes |= {"attempts": 1, "number": found.number + 1}
        names = ("round", "number", "mark", "owner", "lease")
        same = [Check(name, "=", getattr(found, name)) for name in names]
        return await self._update(self.layout.item(blank), when=[same], set=changes)

    async def offer(
        self, tasks: Sequence[Invocation], now: Millis, lease: Millis, *, sure: bool = True
    ) -> None:
        """Let the servers of their tags find tasks that nobody cares for, by the due index.

        They are guarded from then on, with their arguments, so that nobody reads a history for
        them. `sure`: as in `claim_task`.
        """

        async def work() -> None:
            for task in tasks:
                await self._offer(task, now, lease, sure)

        if self.joins:
            await self._together(work)
        else:
            await gathered(self._offer(task, now, lease, sure) for task in tasks)

    async def _offer(self, task: Invocation, now: Millis, lease: Millis, sure: bool) -> None:
        if not sure and is_past(await self.find(task.run), task.key):
            return
        run, since, now = task.run, now, max(now, task.not_before or 0)
        new: dict[str, Any] = {
            "due": now,
            "args": await self._blobs.offload(run, task.args, key=task.key),
        }
        blank = Operation(run, task.key, Kind.TASK, task.name, task.round, tag=task.tag)
        free = [Check(name, "absent") for name in ("outcome", "due")]
        free.append(Check("round", "=", task.round))
        create = msgspec.structs.replace(blank, written=now)
        written = await self._update_item(
            blank,
            since,
            when=[[Check("run", "absent")], free],
            set={**new, "tag": task.tag, "terms": task.terms},
            create=create,
        )
        found: Operation | None = written.item
        while not written.ok and found is not None and found.round < task.round:
            # An attempt of the round before may run on, and must be over when this one begins.
            begin = max(now, free_at(found, now, lease, self._margin))
            later = {**new, "due": begin, "not_before": begin}
            written = await self._renew_item(found, blank, later)
            found = written.item

    def _claimable(self, found: Operation, claim: TaskClaim) -> bool:
        if claim.seen is not None and found.mark != claim.seen:
            return False
        if found.round < claim.round:
            return free_at(found, claim.now, claim.lease, self._margin) <= claim.now
        if found.outcome is not None or found.round > claim.round:
            return False
        if found.owner:
            return True  # if its lease is over
        return found.not_before is None or found.not_before <= claim.now

    async def interrupt_step(self, found: Operation, over: Try, *, counts: bool) -> bool:
        """Keep an attempt at a step that did not end; False: the item is not as it was `found`.

        `counts`: it is one of the `attempts`, and was not handed over to another process. Nothing
        holds a step's item: each number is taken once, by whoever writes it first.
        """
        mark = self._mark()
        same = Check("number", "=", found.number) if found.number else Check("run", "absent")
        written = await self._update_item(
            found,
            over.began or 0,
            when=[[same]],
            set={
                "number": over.attempt,
                "tries": [*found.tries, over][-MOST_TRIES:],
                "attempts": found.attempts + counts,
                "lost": found.lost + over.lost,
                "mark": mark,
            },
            create=found,
        )
        kept: Operation | None = written.item
        return written.ok or (kept is not None and kept.mark == mark)

    async def keep_tries(self, run: str, key: str, tries: Sequence[Try]) -> None:
        """Keep attempts at a step that its history will no longer have, those that are not kept."""
        for over in tries:
            found = await self.step(run, key) or Operation(run, key, Kind.STEP)
            if found.number < over.attempt:
                await self.interrupt_step(found, over, counts=True)

    async def hear(self, operation: Operation, until: Millis) -> Operation:
        """Let what is waited for be silent until then. Returns the item, unchanged once it ended.

        From the first time on the item is guarded, and its run need not wake for this. Its due time
        stays, though it is early: moving it with each beat would cost writes of the index.
        """
        blank = msgspec.structs.replace(operation, due=until)
        create = msgspec.structs.replace(blank, written=self._clock.now())
        open_ = [Check("outcome", "absent"), Check("round", "=", operation.round)]
        written = await self._update_item(
            operation,
            create.written,
            when=[open_, [Check("run", "absent")]],
            set={"lease": until},
            create=create,
        )
        found: Operation | None = written.item
        while not written.ok and found is not None and found.round < operation.round:
            written = await self._renew_item(found, blank, {"lease": until})
            found = written.item
        return operation if found is None else found

    async def cover(self, operation: Operation) -> None:
        """Note that the run that an operation is about is there: it tells of its end by itself."""
        written = await self._update_item(
            operation,
            self._clock.now(),
            when=[[Check("run", "absent")], as_read(operation)],
            set={"covered": True},
            create=operation,
        )
        found: Operation | None = written.item
        while not written.ok and found is not None and found.round < operation.round:
            written = await self._renew_item(found, operation, {"covered": True})
            found = written.item

    async def settle(
        self,
        operation: Operation,
        outcome: Outcome,
        at: Millis,
        *,
        owner: str | None = None,
        due: Millis | None = None,
        silent: Millis | None = None,
        mark: str = "",
    ) -> tuple[bool, Operation]:
        """Record an outcome unless there is one. Returns whether this one stands, and the item.

        With `owner`, only while that owner holds the task (so failures are recorded). `due`: when a
        sweep must check that it arrived, though guarded until later. `silent`: only if it may be so
        no longer than until then. `mark`: of who may repeat this. Votes are kept: see `as_read`.
        """
        where, check, mark = self.layout.item(operation), as_read(operation), mark or self._mark()
        since = self._clock.now()
        check += [] if silent is None else [Check("lease", "<=", silent)]
        new = {"at": at, "mark": mark, **_settling(operation, outcome, due)}
        # What a process holds, or waits in line, is not due for long: its deliverer may die before.
        near = [[*check, Check("process", "=", "")]]
        create = None
        if owner is None:
            near[0] += [] if outcome.kind is OutcomeKind.CANCELLED else [Check("line", "absent")]
            near.append([Check("run", "absent")])
            create = msgspec.structs.replace(operation, written=since)
        else:
            check.append(Check("owner", "=", owner))
            near[0].append(check[-1])
        written = await self._update_item(operation, since, when=near, set=new, create=create)
        found: Operation | None = written.item
        if found is not None and found.outcome is None and (found.process or found.line):
            soon = {**new, "due": self._clock.now() + SOON}
            written = await self._update(where, when=[check], set=soon)
            found = written.item
        while not written.ok and found is not None and may_renew(found, operation):
            written = await self._renew_item(found, operation, new)
            found = written.item
        won = written.ok or (found is not None and found.mark == mark)
        ended = found or operation
        if won and ended.line is not None:
            await self._out_of_line(ended.line)
        return won, ended

    async def cancel_withdrawn(self, run: str, history: History, now: Millis) -> None:
        """Settle as cancelled the operations that were withdrawn and have no outcome."""
        gone = [entry for entry in history.entries if type(entry) is Withdrawn]
        await self._cancel_all(run, gone, history, now)

    async def cancel_open(self, run: str, history: History, now: Millis) -> None:
        """Settle as cancelled what an ended run has withdrawn, or has left open as it was ended."""
        await self.cancel_withdrawn(run, history, now)
        if not isinstance(history.entries[-1], Finished):
            await self._cancel_all(run, history.awaited(), history, now)

    async def cancel_left(self, header: Header, now: Millis) -> History | None:
        """Settle as cancelled what an ended run has left open. Returns its history, in outline.

        Of entries that cannot be read nothing is known but what has an item of its own: None.
        """
        try:
            history = await self.outline(header)
        except CheckpointUnreadable:
            for item in filter(is_open, (await self._operations(header)).values()):
                await self.settle(item, _GONE, now)
            return None
        await self.cancel_open(header.run, history, now)
        return history

    async def _cancel_all(
        self, run: str, entries: Sequence[Scheduled | Withdrawn], history: History, now: Millis
    ) -> None:
        async def cancel(entry: Scheduled | Withdrawn) -> None:
            item = Operation(run, entry.key, entry.kind, round=entry.round)
            to_settle = is_open(history.item(entry) or item)
            if to_settle or begins_in_vain(entry):
                await self.disown(run, entry)
            if to_settle:
                await self.settle(item, _GONE, now)

        await side_by_side(cancel, [each for each in entries if each.kind.traits.awaited])

    async def _unguard(self, operation: Operation) -> None:
        """Remove the due time of a delivered outcome: the run's header covers it now."""
        if operation.due is not None:
            await self._update(self.layout.item(operation), set={"due": None})


def _seen(mark: str | None) -> list[Check]:
    """That a task has not been put off since it was let in. An item that was there is not made."""
    return [] if mark is None else [Check("mark", "=", mark)]


def _settling(operation: Operation, outcome: Outcome, due: Millis | None) -> dict[str, Any]:
    """The changes by which an outcome is recorded."""
    # Anybody may look after an outcome, and nobody waits for one of what was withdrawn.
    new = {"outcome": outcome, "args": None, "tag": "", **UNOWNED}
    new |= _progress_after(operation, outcome)
    if operation.votes:
        new["votes"] = operation.votes
    if due is not None or outcome.kind is OutcomeKind.CANCELLED:
        new["due"] = due
    return new


def _progress_after(operation: Operation, outcome: Outcome) -> Mapping[str, Any]:
    """What a task has told stays with what did not succeed, for a retry goes on from there."""
    stays = outcome.kind is not OutcomeKind.OK and operation.progress is None
    return {} if stays else {"progress": operation.progress}


def _gone(blank: Operation) -> Operation:
    """The item of what went with its run or lap, perhaps since it was found."""
    return msgspec.structs.replace(blank, outcome=_GONE)


def as_read(operation: Operation) -> list[Check]:
    """The condition that it has no outcome; with votes, that the item is as who voted read it."""
    checks = [Check("outcome", "absent"), Check("round", "=", operation.round)]
    return [*checks, Check("mark", "=", operation.mark)] if operation.votes else checks


def may_renew(found: Operation, wanted: Operation) -> bool:
    """Whether an item is of an earlier round, and nothing was said that `wanted` lacks."""
    more = bool(wanted.votes) and found.mark != wanted.mark
    return found.round < wanted.round and not more


def tries_of(
    held: Operation, ended: Millis | None, failure: Failure | None = None, *, lost: bool = False
) -> list[Try]:
    """The attempts of an operation that are over, once its newest one is over without outcome."""
    over = Try(held.number, held.began, ended, held.where, lost=lost)
    return [*held.tries, failed_try(over, failure)][-MOST_TRIES:]


def tries_so_far(item: Operation) -> list[Try]:
    """The attempts of an operation, also the newest one if there was one."""
    if not item.number or (item.tries and item.tries[-1].attempt == item.number):
        return item.tries
    over = Try(item.number, item.began, item.at, item.where)
    return [*item.tries, over if item.outcome is None else ended_try(over, item.outcome)]


def ended_try(over: Try, outcome: Outcome) -> Try:
    """The attempt that came to this outcome, which its run has forgotten."""
    return failed_try(over, DISCARDED if outcome.kind is OutcomeKind.OK else outcome.failure)


def free_at(item: Operation, now: Millis, lease: Millis, margin: Millis) -> Millis:
    """When no attempt of this item's round can run any more, though nobody says that it is over.

    One that was cancelled hears of that by its next beat, or else ends with its lease. What is
    further away than that was written before the clock was set back, and is not waited for.
    """
    over = bool(item.tries) and item.tries[-1].attempt == item.number
    until = item.lease if item.owner else 0
    if item.outcome is not None and item.outcome.kind is OutcomeKind.CANCELLED:
        until = (item.at or 0) + lease if item.number and not over else 0
    return until + margin if until <= now + lease + margin else 0


def blank_of(item: Operation) -> Operation:
    """The item of this operation as it is before anything is known of it."""
    return Operation(item.run, item.key, item.kind, item.name, item.round)


def failed_try(over: Try, failure: Failure | None) -> Try:
    """The attempt with its failure, if it failed; of a long message the beginning."""
    if failure is None:
        return over
    message = for_people(failure.message)[:_MESSAGE]
    return msgspec.structs.replace(over, type=for_people(failure.type), message=message)
