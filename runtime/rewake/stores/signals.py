"""Signals: what is sent to a run by name, kept until the run asks for it, in the order of sending.

1. A signal is an item of its own under its run, by the id that its sender gave it: of two that have
   the same id only one is there, for as long as the run is. So a sender that heard no answer sends
   it again, and nothing is delivered twice.
2. Sending is: read the header, put the item with the `number` of signals that have arrived so far
   and one more, arrive (raise the counters on the header), and only then acknowledge. So a signal
   that is sent after another one was acknowledged has a higher number, by whichever server and by
   whichever clock. Those sent at once may have the same; their ids then decide.
3. A run gets them by name, the lowest number first, and only while it waits for that name. That
   is an event of its history (`Signalled`), and nothing else says that a signal was consumed: a
   retry that cuts the event off gives the signal back. The value is in the event, so that a replay
   reads no item.
4. While a run is parked, its header says which signals wake it (`hears`). Arriving holds on the
   condition that this is as it was read: it wakes the run if it waits for the signal, and else only
   raises the counters. If the run parks between, either its park fails (rule 3 of the protocol), or
   the arrival does, and is tried again by what the header then says. So what comes early costs
   no wake, however much of it there is.
   Who ends or suspends a run does so on the condition that nothing has arrived since it looked. If
   signals keep coming it writes first that they are to wait a moment (`HELD_OFF`): else a stream of
   them would keep the run from ending for ever.
5. A sender has custody of what it sends until it is told that it arrived: the item has no due time.
   What wakes a run and cannot be carried on here makes the run due before it is acknowledged.
6. A run that has ended takes none. If it ends while one is on its way the item is taken back, on
   the condition that it is still as it was put, and its sender is told.

The cursor of a run is so what its history has consumed. A lap that begins carries the ids of the
lap before it on, in the write that begins it, and removes the items of the one before that.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Sequence

import msgspec

from rewake.records import Entry, Header, Signal, Value
from rewake.states import MOVES, Move, RunState
from rewake.stores.answers import RunClaim
from rewake.stores.forks import Forks
from rewake.stores.keys import (
    SIGNALS,
    header_key,
    run_partition,
    signal_key,
    signal_place,
)
from rewake.stores.table import Check, Key, Page
from rewake.stores.writes import FORCE, HELD_OFF, begins

ANY = "*"
"""Of a run that is parked: it waits for signals of several names."""
_HOLDS_OFF = 10
"""So often a sender waits for that; whoever has held it off may have died."""
_MOMENT = 100
"""For how many milliseconds each time."""
_ONE_MORE = {"arrivals": 1, "signals": 1}


class Sent(msgspec.Struct, frozen=True):
    """How sending a signal went.

    `signal`: the one of that id, None if the run has ended and knows none. `new`: it was not there
    before. `claimed`: the run waited for it, and the sender holds it now. `wake`: it should go on.
    `arrival`: its number among the arrivals of the run; 0: unknown.
    """

    signal: Signal | None
    header: Header
    new: bool = False
    claimed: bool = False
    wake: bool = False
    arrival: int = 0


class Signals(Forks):
    """The writes of the protocol to signals, and the reads."""

    async def send(self, signal: Signal, claim: RunClaim | None = None) -> Sent:
        """Send a signal, unless the run has one of that id, which then is returned as it is.

        Its number, its mark and where its value is are set here. Without a `claim`, a run that
        should go on is due at once for another process. Raises `RunNotFound`.
        """
        value = await self._blobs.offload(signal.run, signal.value)
        assert value is not None
        mark = self._mark()

        async def work(waits: bool) -> Sent | None:
            header = await self.header(signal.run)
            if waits and header.hears == HELD_OFF:
                return None
            where = signal_key(signal.run, signal.id)
            if header.state not in MOVES[Move.SIGNAL].sources:
                return Sent(await self._table.get(where), header)
            number = header.signals + 1
            made = msgspec.structs.replace(signal, value=value, number=number, mark=mark)
            written = await self._put(where, made, absent=True)
            found: Signal = written.item
            if not written.ok and not found.stands(header.seed):
                await self.drop_signal(found)
                written = await self._put(where, made, absent=True)
                found = written.item
            if not written.ok and found.mark != mark:
                return Sent(found, header)
            sent = await self._arrive_with(header, found, claim)
            if sent.signal is None:
                await self.drop_signal(made)
            return sent

        tries = 0
        while (sent := await self._together(functools.partial(work, tries < _HOLDS_OFF))) is None:
            await self._clock.sleep(_MOMENT)
            tries += 1
        return self._heard(sent)

    async def hold_off(self, held: Header) -> Header | None:
        """Let signals wait until the holder has suspended or ended the run, or begun its next lap.

        Those that are on their way arrive. Returns the header; None if somebody else has the run.
        """
        where, change = header_key(held.run), {"hears": HELD_OFF}
        written = await self._update(where, when=self._fence(held), set=change)
        found: Header | None = written.item
        return found if written.ok else None

    async def send_again(self, signal: Signal, claim: RunClaim | None = None) -> Sent:
        """Arrive with a signal that is there: who sent it may have died before. As `send`."""

        async def work() -> Sent:
            header = await self.header(signal.run)
            if header.state not in MOVES[Move.SIGNAL].sources:
                return Sent(signal, header)
            sent = await self._arrive_with(header, signal, claim)
            return msgspec.structs.replace(sent, new=False, signal=signal)

        return self._heard(await self._together(work))

    async def _arrive_with(self, header: Header, signal: Signal, claim: RunClaim | None) -> Sent:
        """Raise the counters of the run, and wake it if it waits for this; `None` if it is over."""
        while True:
            same = Check("hears", "=", header.hears)
            wakes = header.hears in (ANY, signal.name)
            add = {**_ONE_MORE, "gap": -FORCE} if wakes else _ONE_MORE
            if wakes and claim is not None and header.state is RunState.PARKED:
                sent = await self._arrive_and_take(header, signal, claim, same)
                if sent is not None:
                    return sent
            when = [[begins(Move.SIGNAL), same]]
            written = await self._update(header_key(signal.run), when=when, add=add)
            found: Header | None = written.item
            if written.ok and found is not None:
                wake = found.state is RunState.PARKED and found.gap <= 0
                if wake:  # whoever has it meanwhile has read what had arrived
                    await self.hand_on(found)
                return Sent(signal, found, True, False, wake, found.arrivals)
            if found is None or found.state not in MOVES[Move.SIGNAL].sources:
                return Sent(None, found or header)
            header = found

    async def _arrive_and_take(
        self, header: Header, signal: Signal, claim: RunClaim, same: Check
    ) -> Sent | None:
        """Arrive and claim in one write, if the run is parked and no turn is here."""
        run = signal.run
        if self._has(run):
            return None
        when = [[begins(Move.CONTINUE), same, Check("epoch", "=", header.epoch)]]
        add = {**_ONE_MORE, "gap": -FORCE, "epoch": 1}
        taking = self._take(run, claim, when, Move.CONTINUE, add)
        written = await self._taking_it(run, taking)
        found: Header | None = written.item
        if found is None or found.owner != claim.owner:
            return None
        return Sent(signal, found, True, True, True, found.arrivals if written.ok else 0)

    def _heard(self, sent: Sent) -> Sent:
        if sent.arrival and sent.signal is not None:  # only now is it committed, and can be read
            place = signal_place(sent.signal.id)
            self._here.hear(sent.signal.run, sent.arrival, place)
        return sent

    async def refuse(self, signal: Signal, why: str) -> None:
        """Set a signal aside that does not fit what the run waits for. The first reason stands."""
        where = signal_key(signal.run, signal.id)
        await self._update(where, when=[[Check("refused", "=", "")]], set={"refused": why})

    async def answer(self, run: str, id: str, key: str, answer: Value) -> None:
        """Keep what an update was answered, where its sender finds it. The first answer stands."""
        where = signal_key(run, id)
        changes = {"answered": key, "answer": answer}
        await self._update(where, when=[[Check("answered", "=", "")]], set=changes)

    # --- reading ---------------------------------------------------------------------------

    async def signal(self, run: str, id: str) -> Signal | None:
        """The signal of this id; a large value is only named."""
        found: Signal | None = await self._table.get(signal_key(run, id))
        return found

    async def signals_at(self, run: str, places: Sequence[str]) -> list[Signal]:
        """The signals with these sort keys that are there."""
        partition = run_partition(run)
        found = await self._table.get_many([Key(partition, place) for place in places])
        return [each for each in found if each is not None]

    async def backwards(self, header: Header, chunks: int) -> AsyncIterator[Entry]:
        """The newest entries of a history, the newest first: those of so many chunks at most."""
        for entry in reversed(header.tail):
            yield entry
        name = header.base
        for _ in range(chunks):
            chunk = None
            if name:
                chunk = await self._table.get(Key(run_partition(header.run), name))
            if chunk is None:
                return
            for entry in reversed(chunk.entries):
                yield entry
            name = chunk.previous

    async def signals(self, run: str) -> list[Signal]:
        """All signals of a run."""
        found: list[Signal] = []
        cursor: str | None = None
        while True:
            page = await self.signals_page(run, cursor=cursor)
            found += [signal for _, signal in page.items]
            if page.cursor is None:
                return found
            cursor = page.cursor

    async def signals_page(self, run: str, *, limit: int = 1000, cursor: str | None = None) -> Page:
        """A page of a run's signals, in no order that means anything."""
        return await self._table.query(run_partition(run), SIGNALS, limit=limit, cursor=cursor)
