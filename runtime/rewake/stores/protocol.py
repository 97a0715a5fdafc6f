"""The store protocol: rules that keep a run safe, on top of single-item conditional writes.

Every method obeys these rules; `docs/architecture.md` gives the reasons.

1. The header decides. Bodies (chunks, blobs) are written first, under a name of their own, and do
   not exist until the header names them.
2. A commit holds only if the run is running, and epoch, owner and count are what its writer
   holds: the fence. A writer that was overtaken changes nothing.
3. Delivering is settle (first outcome wins), then arrive (raise the arrival counter), and only then
   acknowledge. Parking holds only if the counter is what it was before the outcomes were
   read. So either parking fails, or the deliverer sees a parked run and wakes it.
4. Every write carries a mark, and is repeated with the same mark when the database does not say
   how it went: a success that was reported as failure is recognised by its mark.
5. Custody. Everything that is open has a due time, on its own item or on its run's header. When
   that duty moves, the new due time is written before the old one is removed. An item is *guarded*
   when it has a due time of its own.

The protocol is one class in twelve rooms, each on top of the one before: `reads`, `writes` (the
commit point: rules 1, 2 and 4), `processes` (who lives), `operations` (one item each), `attempts`
(at tasks), `votes`, `requests` (of people), `joins`, `removal` (of what has ended), `turns` (of a
run, and its claims), `signals`, and here delivery. Each method is one operation, run through
`Table.together`: on SQLite it is one transaction, elsewhere single writes in the order given. The
states between which it moves a run are in `rewake.states`.
"""

from __future__ import annotations

import msgspec

from rewake.laps import FIRST, lap_of
from rewake.records import (
    Header,
    Millis,
    Operation,
    Outcome,
)
from rewake.states import Move, RunState
from rewake.stores.answers import (
    Delivery,
    RunClaim,
)
from rewake.stores.history import is_withdrawn
from rewake.stores.keys import header_key
from rewake.stores.operations import SOON
from rewake.stores.set_back import Dated
from rewake.stores.signals import Signals
from rewake.stores.table import Check, Key
from rewake.stores.turns import earliest
from rewake.stores.writes import FORCE, begins

FEW_ENDS = 100
"""Circles of more runs than that are not looked for (`engine/sweeping/deadlocks.py`)."""


class Store(Signals):
    """The whole protocol, as the engine uses it."""

    # --- delivery --------------------------------------------------------------------------

    async def deliver(
        self,
        operation: Operation,
        outcome: Outcome,
        at: Millis,
        *,
        owner: str | None = None,
        claim: RunClaim | None = None,
        sole: bool = False,
        joined: bool = False,
        spared: bool = False,
        due: Millis | None = None,
        silent: Millis | None = None,
    ) -> Delivery:
        """Deliver an outcome: settle, arrive, and if the run was waiting for just this, claim it.

        `operation` is the item to create if there is none; `at` is when the outcome came to be,
        perhaps long ago. `due` and `silent` are as in `settle`. Without a `claim`, a run that
        should go on is reported, and due at once for another process. `sole`, `joined`, `spared`:
        the hints of its message (`Invocation`); with `sole` arriving and claiming are one write.
        """
        lap = lap_of(operation.key)
        if lap > FIRST and await self._is_removed(operation.run, lap):
            return Delivery(False, operation, None, False, False)
        value = await self._blobs.offload(operation.run, outcome.value, key=operation.key)
        outcome, mark = msgspec.structs.replace(outcome, value=value), self._mark()

        async def work() -> Delivery:
            won, found = await self.settle(
                operation, outcome, at, owner=owner, due=due, silent=silent, mark=mark
            )
            if found.outcome is None or is_withdrawn(found):
                return await self._unheard(won, found)
            force = found.outcome.failure is not None
            quiet = spared if force else joined
            if quiet and (told := await self._arrive_quietly(won, found, force, joined, claim)):
                return told
            if claim is not None and (sole or force) and not self._has(found.run):
                header, arrival = await self._arrive_and_claim(found, force, claim)
                if header is not None:
                    await self._unguard(found)
                    return Delivery(won, found, header, True, True, arrival)
            return await self._arrive(won, found, force, claim)

        return await self._of_lap(lap, await self._told(await self._together(work)))

    async def _of_lap(self, lap: int, delivery: Delivery) -> Delivery:
        """The delivery. If it came to a first lap that is removed, so is what it has left.

        It is not asked before whether a first lap is removed, since few runs have others.
        """
        header = delivery.header
        if lap == FIRST and header is not None and header.lap.number > lap + 1:
            await self._again(self._table.delete, [self.layout.item(delivery.operation)])
        return delivery

    async def _arrive_and_claim(
        self, operation: Operation, force: bool, claim: RunClaim
    ) -> tuple[Header | None, int]:
        """Arrive and claim in one write, if the run is parked and needs nothing more."""
        parked = [begins(Move.CONTINUE)]
        when = [parked if force else [*parked, Check("gap", "<=", 1)]]
        add = {"arrivals": 1, "gap": -1, "epoch": 1}
        taking = self._take(operation.run, claim, when, Move.CONTINUE, add)
        written = await self._taking_it(operation.run, taking)
        header: Header | None = written.item
        if header is None or header.owner != claim.owner:
            return None, 0
        # Where it was written before, others may have arrived since.
        return header, header.arrivals if written.ok else 0

    async def redeliver(self, operation: Operation, claim: RunClaim | None = None) -> Delivery:
        """Arrive for an outcome that is settled: its deliverer may have died before it arrived.

        Nobody waits for one that was withdrawn.
        """
        if is_withdrawn(operation):
            return await self._unheard(False, operation)

        async def work() -> Delivery:
            return await self._arrive(False, operation, True, claim)

        return await self._told(await self._together(work))

    async def _unheard(self, won: bool, operation: Operation) -> Delivery:
        """Tell nobody: it was withdrawn, or is a failure of an attempt that no longer counts."""
        if operation.outcome is not None:
            await self._unguard(operation)
        return Delivery(won, operation, None, False, False)

    async def _told(self, delivery: Delivery) -> Delivery:
        """The delivery, with the outcome's value whole if the deliverer goes on with the run."""
        if delivery.arrival:  # only now is it committed, and can be read
            operation = delivery.operation
            self._here.hear(operation.run, delivery.arrival, operation.key)
        if not delivery.claimed:
            return delivery
        whole = await self._whole(delivery.operation)
        if whole is delivery.operation:
            return delivery
        return msgspec.structs.replace(delivery, operation=whole)

    async def _arrive_quietly(
        self, won: bool, found: Operation, failed: bool, joined: bool, claim: RunClaim | None
    ) -> Delivery | None:
        """Arrive where that may be no reason to wake the run; None if it is, or nothing was told.

        A failure arrives so if the run bears it. Where a join item has counted it, the header only
        counts how many more it bears.
        """
        counted = await self._count_down(found) if joined else None
        if counted is not None and (counted.spared or not failed):
            await self._unguard(found)
            return Delivery(won, found, None, False, False)
        if not failed:
            return None
        written = await self._update(
            header_key(found.run),
            when=[[begins(Move.ARRIVE), Check("spared", "<", 0)]],
            add={"arrivals": 1, "gap": -int(counted is None), "spared": 1},
        )
        return await self._arrived(won, found, written.item, claim) if written.ok else None

    async def _arrive(
        self,
        won: bool,
        operation: Operation,
        force: bool,
        claim: RunClaim | None,
    ) -> Delivery:
        written = await self._update(
            header_key(operation.run),
            when=[[begins(Move.ARRIVE)]],
            add={"arrivals": 1, "gap": -FORCE if force else -1},
        )
        if written.ok and written.item is not None:
            return await self._arrived(won, operation, written.item, claim)
        await self._unguard(operation)
        return Delivery(won, operation, None, False, False)

    async def _arrived(
        self, won: bool, operation: Operation, header: Header, claim: RunClaim | None
    ) -> Delivery:
        """What follows an arrival, after which the header stood so."""
        run, arrival = header.run, header.arrivals
        # Its own claim may have been made by an earlier try, which seemed to fail.
        claimed = header if claim is not None and header.owner == claim.owner else None
        wake = claimed is not None or (header.state is RunState.PARKED and header.gap <= 0)
        # What was parked is no suspect; if it has become one since, it must be begun apart.
        if wake and claim and not claimed and not self._has(run):
            found = await self._taking_it(run, self.claim(run, claim, header))
            claimed = found if isinstance(found, Header) else None
        # What guards the outcome else finds a run that nobody has claimed, as whoever was to do so
        # died: of a child that tells of its end by itself, nothing does.
        unguarded = operation.due is None and operation.kind.traits.of_run
        if wake and not claimed and (claim is None or unguarded):
            await self.hand_on(header)
        if claimed or not wake or claim is None:
            await self._unguard(operation)
        if not wake:
            await self._look_soon_at(header)
        return Delivery(won, operation, claimed or header, claimed is not None, wake, arrival)

    async def _look_soon_at(self, header: Header) -> None:
        """Let a run be looked at that nothing looks at, and that goes on by a few more ends alone.

        The last that might have come by itself may have come: else it would wait for what waits for
        it, and nobody would notice.
        """
        outside = header.due is not None or header.asks or header.hears
        if outside or header.state is not RunState.PARKED or header.gap > FEW_ENDS:
            return
        soon, same = self._clock.now() + SOON, Check("epoch", "=", header.epoch)
        await self._update(
            header_key(header.run),
            when=[[begins(Move.CONTINUE), same, Check("due", "absent")]],
            set={"due": soon, "check_at": soon},
        )

    # --- due times -------------------------------------------------------------------------

    async def postpone(
        self, key: Key, seen: Millis, due: Millis | None, *, of: Dated | None = None
    ) -> bool:
        """Postpone a due time, unless another process did; the one that did acts on the item.

        `of`: the item as it was read, if that is why. It may have gone on and left its due time as
        it was, early for what it waits for now, which the later one need not be.

        A write that was reported as failed is recognised by what it wrote. If two write the same at
        the same moment both act, which is harmless; if none did, the item would wait once more.
        """
        same = [Check("due", "=", seen), *([] if of is None else _stands(of))]
        written = await self._update(key, when=[same], set={"due": due})
        found: Header | Operation | None = written.item
        return written.ok or (found is not None and due is not None and found.due == due)

    async def recheck(
        self,
        seen: Header,
        *,
        check_at: Millis | None,
        wake: Millis | None,
        arrived: bool = False,
    ) -> bool:
        """Postpone the check of a parked run's tasks, unless the run has changed since.

        `seen` is the header that was checked: the run may have gone on since, and parked with the
        same due time but other tasks. `wake`: when its next timer is due, if that is still to come.
        `arrived`: an outcome did, of whatever; the next turn reads all that is open.

        What arrives leaves a due time that is over as it is (`hand_on`): if the run is to wake for
        it, it stays so.
        """
        due = earliest(wake, check_at)
        while True:
            same = [Check(name, "=", getattr(seen, name)) for name in ("due", "epoch", "arrivals")]
            written = await self._update(
                header_key(seen.run),
                when=[same],
                set={"check_at": check_at, "due": due},
                add={"arrivals": int(arrived)},
            )
            found: Header | None = written.item
            if written.ok or found is None:
                return written.ok
            if (found.epoch, found.check_at, found.due) == (seen.epoch, check_at, due):
                return True  # as in `postpone`
            if (found.epoch, found.due) != (seen.epoch, seen.due) or found.gap <= 0 < seen.gap:
                return False
            seen = found


def _stands(item: Dated) -> list[Check]:
    """The checks that nobody has claimed or suspended it since it was read."""
    if isinstance(item, Header):
        names: tuple[str, ...] = ("state", "epoch")
    elif isinstance(item, Operation):
        names = ("owner", "number", "round")
    else:
        return []  # their due times are of them alone
    return [Check(name, "=", getattr(item, name)) for name in names]
