"""The store protocol: what keeps a run safe, on top of single-item conditional writes.

Rules that every method here obeys; `docs/architecture.md` gives the reasons.

1. The header decides. Bodies (chunks, blobs) are written first, under a name of their own, and do
   not exist until the header names them.
2. A commit holds only if the run is running, and epoch, owner and count are what its writer
   holds: the fence. A writer that was overtaken changes nothing.
3. Delivering is settle (first outcome wins), then arrive (raise the arrival counter), and only then
   acknowledge. Parking holds only if the counter is what it was before the outcomes were
   read. So either parking fails, or the deliverer sees a parked run and wakes it.
4. Every write carries a token, and is repeated with the same token when the database does not say
   how it went: a success that was reported as failure is recognised by its token.
5. Custody: whatever is open is covered by a due time, its own or its run's; the new one is written
   before the old one is let go. An item is *guarded* when it has a due time of its own.

Each method is one operation of that protocol, run through `Table.together`: on SQLite it is one
transaction, elsewhere single writes in the order given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from rewake.errors import RunConflict, RunNotFound
from rewake.records import (
    AWAITED,
    TERMINAL,
    Chunk,
    Entry,
    Failure,
    Header,
    Kind,
    LogBatch,
    Millis,
    Operation,
    Outcome,
    OutcomeKind,
    RunState,
    Started,
    View,
    Withdrawn,
)
from rewake.stores.reads import VIEWS, StoreReads
from rewake.stores.results import (
    Arrived,
    Committed,
    Delivery,
    Fenced,
    History,
    Refused,
    Taken,
    TaskClaim,
    header_key,
    operation_key,
)
from rewake.stores.table import Check, Key, Table, When, Written

CHUNK_BYTES = 256 * 1024
"""How large a chunk of history may be: an item of DynamoDB holds 400 KB."""
TAIL_BYTES = 512
"""How much history stays inline in the header, so that it remains one small write."""
FORCE = 10**6
"""What a failure takes off the gap, so that it always wakes the run."""

LIVE = (RunState.READY, RunState.RUNNING, RunState.PARKED)


class Store(StoreReads):
    """The protocol. `token` makes random writer tokens; `margin` (ms) is the allowed clock skew."""

    def __init__(self, table: Table, *, token: Callable[[], str], margin: Millis = 250) -> None:
        super().__init__(table)
        self._token = token
        self._margin = margin

    async def close(self) -> None:
        """Let go of the database."""
        await self._table.close()

    async def offload(self, run: str, entries: Sequence[Entry]) -> list[Entry]:
        """The entries with their large values kept apart (written first: bodies before names)."""
        return [await self._blobs.without(run, entry) for entry in entries]

    # --- the run ---------------------------------------------------------------------------

    async def start(self, header: Header, started: Started) -> tuple[Header, bool]:
        """Create a run that is due at once; the run that is there, and whether it is new.

        Where the database denied the write that made it, the run is recognised by its seed, which
        stays: it may have gone on since, even to its end.
        """
        header.writer = self._token()
        [entry] = await self.offload(header.run, [started])

        async def work() -> tuple[Header, bool]:
            header.count = 1
            header.base, header.tail = await self._place(header.run, "", [], [entry], header.writer)
            view = View(header.run, header.workflow, header.created)
            # Written before the header: a view without a run is skipped, a run without one is lost.
            await self._put(Key(VIEWS, _view_sort(view)), view)
            written = await self._put(header_key(header.run), header, absent=True)
            current: Header = written.item
            mine = (current.seed, current.created) == (header.seed, header.created)
            return current, written.ok or mine

        return await self._table.together(work)

    async def claim(self, run: str, owner: str, now: Millis, lease: Millis) -> Header | None:
        """Hold the run until `now + lease` as `owner` (a token of this claim alone).

        None if it does not exist, is over, is stuck, or is held by a live owner.
        """
        when = [
            [Check("state", "in", (RunState.READY, RunState.PARKED))],
            [Check("state", "=", RunState.RUNNING), Check("lease", "<", now - self._margin)],
        ]
        written = await self._update(
            header_key(run),
            when=when,
            set={"state": RunState.RUNNING, "owner": owner, **self._lease(now, lease)},
            add={"epoch": 1, "strikes": 1},
        )
        header: Header | None = written.item
        won = written.ok or (header is not None and header.owner == owner)
        return header if won else None

    async def commit(
        self,
        held: Header,
        entries: Sequence[Entry],
        *,
        now: Millis,
        lease: Millis,
        progress: bool,
    ) -> Committed | Fenced:
        """Append entries and stay the holder. `progress`: a new outcome is among them."""
        # Renewed when half of it is gone: a lease that moves costs a write of the due index.
        changes = self._lease(now, lease) if held.lease - now < lease // 2 else {}
        if progress:
            changes["strikes"] = 0
        result = await self._append(held, entries, changes)
        assert not isinstance(result, Arrived)
        return result

    async def park(
        self,
        held: Header,
        entries: Sequence[Entry],
        *,
        gap: int,
        wake: Millis | None,
        look: Millis | None,
        take: Sequence[TaskClaim] = (),
    ) -> Committed | Fenced | Arrived:
        """Append entries and suspend, unless something arrived since `held.arrivals` was read.

        `wake`: when its next timer is due; `look`: when its tasks must be looked after. `take`:
        tasks among the entries that this process begins itself; they are claimed along.
        """
        changes = {
            "state": RunState.PARKED,
            "gap": gap,
            "due": _earliest(wake, look),
            "wake": wake,
            "look": look,
            "strikes": 0,
            **_UNOWNED,
        }

        async def work() -> Committed | Fenced | Arrived:
            result = await self._append(held, entries, changes, arrivals=held.arrivals)
            if isinstance(result, Committed):
                for claim in take:
                    taken = await self.claim_task(claim)
                    if isinstance(taken, Taken):
                        result.taken[claim.key] = taken.operation
            return result

        return await self._table.together(work)

    async def finish(
        self, held: Header, entries: Sequence[Entry], *, state: RunState, due: Millis | None
    ) -> Committed | Fenced | Arrived:
        """Append entries, the last of them `Finished`, and end the run; or it `Arrived`.

        `due`: when somebody must look whether what the workflow gave up was cancelled.
        """
        changes = {"state": state, "due": due, "wake": None, "look": None, **_UNOWNED}
        return await self._append(held, entries, changes, arrivals=held.arrivals)

    async def stick(self, held: Header, error: str) -> Committed | Fenced:
        """Set the run aside for a person, its history untouched."""
        changes = {"state": RunState.STUCK, "error": error[:400], "due": None, **_UNOWNED}
        result = await self._append(held, [], changes)
        assert not isinstance(result, Arrived)
        return result

    async def hand_over(self, run: str, owner: str, at: Millis) -> None:
        """Let another process go on with the run, from `at` on; this claim is no strike."""
        await self._update(
            header_key(run),
            when=[_running_as(owner)],
            set={"state": RunState.READY, "due": at, **_UNOWNED},
            add={"strikes": -1},
        )

    async def cancel(self, run: str, reason: str, now: Millis) -> Header | None:
        """Ask the run to cancel; the header after it, None if the run is over.

        It is due at once: whoever asked may die before anybody is told.

        A stuck run cannot run its cleanup: it is cancelled as it stands. Raises `RunNotFound`.
        """
        written = await self._update(
            header_key(run),
            when=[[Check("state", "in", LIVE), Check("cancel", "absent")]],
            set={"cancel": reason, "due": now},
            add={"arrivals": 1, "gap": -FORCE},
        )
        header: Header | None = written.item
        if header is None:
            raise RunNotFound(f"there is no run {run!r}")
        if header.state is RunState.STUCK:
            stuck = [[Check("state", "=", RunState.STUCK)]]
            ended = {"state": RunState.CANCELLED, "cancel": reason}
            return (await self._update(header_key(run), when=stuck, set=ended)).item  # type: ignore[no-any-return]
        return None if header.state in TERMINAL else header

    async def resume(self, run: str, python: str, now: Millis) -> Header:
        """Let a stuck run try again, under this Python. Raises `RunNotFound`, `RunConflict`."""
        written = await self._update(
            header_key(run),
            when=[[Check("state", "=", RunState.STUCK)]],
            set={"state": RunState.READY, "due": now, "strikes": 0, "error": "", "python": python},
        )
        header: Header | None = written.item
        if header is None:
            raise RunNotFound(f"there is no run {run!r}")
        if not written.ok:
            raise RunConflict(f"run {run!r} is not stuck, it is {header.state}")
        return header

    async def renew(self, held: Header, now: Millis, lease: Millis) -> Header | None:
        """Keep the run; None if it was lost to another holder."""
        written = await self._update(
            header_key(held.run), when=_fence(held, count=False), set=self._lease(now, lease)
        )
        return written.item if written.ok else None

    # --- its operations --------------------------------------------------------------------

    async def claim_task(self, claim: TaskClaim) -> Taken | Refused:
        """Hold a task for one attempt, if it has no outcome, no live owner, and need not wait.

        An owner whose lease ran out is counted as lost. From the second claim on the item
        guards itself, since its run may no longer look after it.
        """
        owner, now = claim.owner, claim.now
        where = operation_key(claim.run, claim.key)
        until = now + claim.lease
        first = Operation(claim.run, claim.key, Kind.TASK, name=claim.name, first=now)
        begin: dict[str, Any] = {"owner": owner, "lease": until}
        guarded = {**begin, "not_before": None, "due": until + self._margin}

        async def work() -> Taken | Refused:
            fresh = [[Check("run", "absent")]]
            written = await self._update(
                where, when=fresh, set=begin, add={"attempts": 1}, create=first
            )
            while not written.ok and (found := written.item).owner != owner:
                if not self._claimable(found, now):
                    return Refused(found)
                same = [Check("owner", "=", found.owner), Check("lease", "=", found.lease)]
                again = {"attempts": 1, "lost": 1 if found.owner else 0}
                written = await self._update(
                    where, when=[[Check("outcome", "absent"), *same]], set=guarded, add=again
                )
            return Taken(written.item)

        return await self._table.together(work)

    def _claimable(self, found: Operation, now: Millis) -> bool:
        if found.outcome is not None:
            return False
        if found.owner:
            return found.lease < now - self._margin
        return found.not_before is None or found.not_before <= now

    async def renew_task(self, run: str, key: str, owner: str, now: Millis, lease: Millis) -> bool:
        """Keep a task; False if it was cancelled or taken over. From now on it guards itself."""
        until = now + lease
        written = await self._update(
            operation_key(run, key),
            when=_held_by(owner),
            set={"lease": until, "due": until + self._margin},
        )
        return written.ok

    async def retry_task(
        self, run: str, key: str, owner: str, *, at: Millis, failure: Failure
    ) -> bool:
        """Record that the attempt failed, and give the task up until `at`."""
        return await self._put_off(run, key, owner, at, failure=failure)

    async def hand_over_task(self, run: str, key: str, owner: str, at: Millis) -> bool:
        """Let another process begin the task, from `at` on: this attempt was none."""
        return await self._put_off(run, key, owner, at, attempts=-1)

    async def _put_off(
        self, run: str, key: str, owner: str, at: Millis, attempts: int = 0, **more: Failure
    ) -> bool:
        written = await self._update(
            operation_key(run, key),
            when=_held_by(owner),
            set={"owner": "", "lease": 0, "not_before": at, "due": at, **more},
            add={"attempts": attempts},
        )
        return written.ok

    async def settle(
        self, operation: Operation, outcome: Outcome, at: Millis, *, owner: str | None = None
    ) -> tuple[bool, Operation]:
        """Record an outcome unless there is one; whether this one stands, and the item.

        With `owner`, only while that owner holds the task (how failures are settled).
        """
        token = self._token()
        check = [Check("outcome", "absent")]
        if owner is not None:
            check.append(Check("owner", "=", owner))
        written = await self._update(
            operation_key(operation.run, operation.key),
            when=[check],
            set={"outcome": outcome, "at": at, "writer": token, "owner": "", "lease": 0},
            create=operation,
        )
        found: Operation | None = written.item
        won = written.ok or (found is not None and found.writer == token)
        return won, found or operation

    async def cancel_withdrawn(self, run: str, history: History, now: Millis) -> None:
        """Settle as cancelled what the workflow gave up and what has no outcome."""
        for entry in history.entries:
            if isinstance(entry, Withdrawn) and entry.kind in AWAITED:
                item = history.operations.get(entry.key)
                if item is None or item.outcome is None:
                    operation = Operation(run, entry.key, entry.kind)
                    await self.settle(operation, Outcome(OutcomeKind.CANCELLED), now)

    async def deliver(
        self,
        operation: Operation,
        outcome: Outcome,
        at: Millis,
        *,
        owner: str | None = None,
        claim: tuple[str, Millis] | None = None,
        sole: bool = False,
    ) -> Delivery:
        """Settle, arrive, and if the run was waiting for just this, claim it.

        `operation` is what to create if no item is there. `claim` is an owner token and a lease
        (ms); without it a run that should wake is only reported. `sole`: the run probably waits
        for nothing else, so that arriving and claiming are tried as one write.
        """
        value = await self._blobs.offload(operation.run, outcome.value)
        outcome = msgspec.structs.replace(outcome, value=value)

        async def work() -> Delivery:
            won, found = await self.settle(operation, outcome, at, owner=owner)
            if found.outcome is None:  # a failure of an attempt that no longer counts
                return Delivery(won, found, None, False, False)
            force = found.outcome.failure is not None
            if claim is not None and (sole or force):
                header = await self._arrive_and_claim(found, force, at, claim)
                if header is not None:
                    await self._let_go(found)
                    return Delivery(won, found, header, True, True)
            return await self._arrive(won, found, force, at, claim)

        return await self._told(await self._table.together(work))

    async def _arrive_and_claim(
        self, operation: Operation, force: bool, now: Millis, claim: tuple[str, Millis]
    ) -> Header | None:
        """Both in one write, if the run is parked and this is all that it needs."""
        owner, lease = claim
        parked = [Check("state", "=", RunState.PARKED)]
        written = await self._update(
            header_key(operation.run),
            when=[parked if force else [*parked, Check("gap", "<=", 1)]],
            set={"state": RunState.RUNNING, "owner": owner, **self._lease(now, lease)},
            add={"arrivals": 1, "gap": -1, "epoch": 1, "strikes": 1},
        )
        header: Header | None = written.item
        return header if header is not None and header.owner == owner else None

    async def redeliver(
        self, operation: Operation, now: Millis, claim: tuple[str, Millis] | None = None
    ) -> Delivery:
        """Arrive for an outcome that is there already: its deliverer may have died in between."""

        async def work() -> Delivery:
            return await self._arrive(False, operation, True, now, claim)

        return await self._told(await self._table.together(work))

    async def _told(self, delivery: Delivery) -> Delivery:
        """With the outcome's value whole, if the deliverer goes on with the run."""
        if not delivery.claimed:
            return delivery
        whole = await self._whole(delivery.operation)
        return msgspec.structs.replace(delivery, operation=whole)

    async def _arrive(
        self,
        won: bool,
        operation: Operation,
        force: bool,
        now: Millis,
        claim: tuple[str, Millis] | None,
    ) -> Delivery:
        run = operation.run
        written = await self._update(
            header_key(run),
            when=[[Check("state", "in", LIVE)]],
            add={"arrivals": 1, "gap": -FORCE if force else -1},
        )
        header: Header | None = written.item
        if not written.ok or header is None:
            await self._let_go(operation)
            return Delivery(won, operation, None, False, False)
        wake = header.state is RunState.PARKED and header.gap <= 0
        claimed = await self.claim(run, claim[0], now, claim[1]) if wake and claim else None
        if claimed or not wake:
            await self._let_go(operation)
        return Delivery(won, operation, claimed or header, claimed is not None, wake)

    async def _let_go(self, operation: Operation) -> None:
        """The outcome is delivered: the run has custody, the item need not guard itself."""
        if operation.due is not None:
            await self._update(operation_key(operation.run, operation.key), set={"due": None})

    async def postpone(self, key: Key, seen: Millis, due: Millis | None) -> bool:
        """Move a due time, unless somebody else did; who moves it acts on it."""
        written = await self._update(key, when=[[Check("due", "=", seen)]], set={"due": due})
        return written.ok

    async def look_again(self, seen: Header, *, look: Millis | None, wake: Millis | None) -> bool:
        """Move the moment when a parked run's tasks are looked after, unless somebody else did.

        `seen` is what the look was at: the run may have gone on since, and parked with the same
        due time but other tasks. `wake`: when its next timer is due, if that is still to come.
        """
        same = [Check("due", "=", seen.due), Check("epoch", "=", seen.epoch)]
        written = await self._update(
            header_key(seen.run),
            when=[same],
            set={"look": look, "due": _earliest(wake, look)},
        )
        return written.ok

    async def log(self, batch: LogBatch, part: int) -> None:
        """Keep what an attempt logged. Written again, it takes the place of what was there."""
        sort = f"L#{batch.key}#{batch.attempt:04d}#{part:04d}"
        await self._put(Key(f"R#{batch.run}", sort), batch)

    # --- writing ---------------------------------------------------------------------------

    async def _append(
        self,
        held: Header,
        entries: Sequence[Entry],
        changes: Mapping[str, Any],
        *,
        arrivals: int | None = None,
    ) -> Committed | Fenced | Arrived:
        """The one commit point: bodies first, then the header, if the fence holds."""
        token = self._token()
        when = _fence(held)
        if arrivals is not None:
            when = [[*when[0], Check("arrivals", "=", arrivals)]]

        async def work() -> Written:
            placed: dict[str, Any] = {}
            if entries:
                base, tail = await self._place(held.run, held.base, held.tail, entries, token)
                placed = {"base": base, "tail": tail, "clock": _clock_of(entries, held.clock)}
            count = held.count + len(entries)
            return await self._update(
                header_key(held.run),
                when=when,
                set={**changes, **placed, "count": count, "writer": token},
            )

        written = await self._table.together(work)
        found: Header | None = written.item
        if written.ok or (found is not None and found.writer == token):
            assert found is not None
            return Committed(found)
        if found is not None and all(check.holds(found) for check in _fence(held)[0]):
            return Arrived(found)
        return Fenced()

    async def _place(
        self, run: str, base: str, tail: Sequence[Entry], entries: Sequence[Entry], token: str
    ) -> tuple[str, list[Entry]]:
        """Where the entries go: inline while they are few, else into a chunk of their own."""
        joined = [*tail, *entries]
        size = len(_encode(joined))
        if size <= TAIL_BYTES:
            return base, joined
        for part in _chunks(joined, size):
            number = int(base[2:10]) + 1 if base else 0
            sort = f"C#{number:08d}#{token}"
            await self._put(Key(f"R#{run}", sort), Chunk(base, part))
            base = sort
        return base, []

    def _lease(self, now: Millis, lease: Millis) -> dict[str, Any]:
        until = now + lease
        return {"lease": until, "due": until + self._margin}

    async def _update(
        self,
        key: Key,
        *,
        when: When = (),
        set: Mapping[str, Any] | None = None,
        add: Mapping[str, int] | None = None,
        create: Any = None,
    ) -> Written:
        return await self._again(
            lambda: self._table.update(key, when=when, set=set, add=add, create=create)
        )

    async def _put(self, key: Key, item: Any, *, absent: bool = False) -> Written:
        return await self._again(lambda: self._table.put(key, item, absent=absent))


_UNOWNED: dict[str, Any] = {"owner": "", "lease": 0}
_encode = msgspec.json.Encoder().encode


def _fence(held: Header, *, count: bool = True) -> list[list[Check]]:
    checks = [*_running_as(held.owner), Check("epoch", "=", held.epoch)]
    return [[*checks, Check("count", "=", held.count)] if count else checks]


def _running_as(owner: str) -> list[Check]:
    # Whoever has parked or ended the run holds it no more, with no owner to tell that by.
    return [Check("state", "=", RunState.RUNNING), Check("owner", "=", owner)]


def _held_by(owner: str) -> When:
    """A task that has no outcome and is still this owner's."""
    return [[Check("owner", "=", owner), Check("outcome", "absent")]]


def _chunks(entries: list[Entry], size: int) -> Iterator[list[Entry]]:
    """The entries in parts that an item has room for. Almost always there is one part."""
    if len(entries) == 1 or size <= CHUNK_BYTES:
        yield entries
        return
    half = len(entries) // 2
    for part in (entries[:half], entries[half:]):
        yield from _chunks(part, len(_encode(part)))


def _earliest(*moments: Millis | None) -> Millis | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _clock_of(entries: Sequence[Entry], clock: Millis) -> Millis:
    return max([clock, *(getattr(entry, "clock", 0) for entry in entries)])


def _view_sort(view: View) -> str:
    """Sorts newest first."""
    return f"{10**15 - view.created:015d}#{view.run}"
