"""The door for signals: what is sent to runs from outside, checked, kept, and answered.

`rewake.stores.signals` has the rules by which one is kept and delivered. Here is what senders see:

- An id tells its signals apart, for as long as the run is there. The same signal again is answered
  as the first was; another one of that id is refused.
- A run that waits for a name says what type it takes, and what does not fit is refused at once.
  A run that does not wait yet has not said so. What it is sent is kept and, should it not fit then,
  set aside with the reason, which its sender is told who asks for an answer.
- Who starts a run with a signal, or sends it to the run of a key, has it received by just one run:
  one that ends before it arrives takes none, and the next one of the key begins with it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from rewake.authoring.signals import (
    Answer,
    Asked,
    answer_of,
    asked_of,
    check_signal_name,
    hidden_parts,
    misfit,
)
from rewake.engine.instances.inbox import consumed, is_unread
from rewake.engine.runs.runs import POLL, Runs
from rewake.engine.starts.door import First
from rewake.engine.starts.starting import IfFinished
from rewake.engine.turns.deliveries import owner_of
from rewake.engine.turns.turn import Turn
from rewake.errors import CheckpointUnreadable, InvalidInput, RunConflict, RunNotFound
from rewake.keyed import TURN
from rewake.kinds import Kind, Purpose
from rewake.laps import FIRST
from rewake.records import (
    Fired,
    Header,
    Scheduled,
    Signal,
    Signalled,
    Started,
    Value,
    Withdrawn,
)
from rewake.states import TERMINAL, RunState
from rewake.stores.signals import ANY, Sent
from rewake.stores.writes import HELD_OFF
from rewake.values.run_codec import RunCodec
from rewake.values.sealing import for_people
from rewake.values.text import storable, stored_size

LONGEST_ID = 128
"""The most bytes of the id of a signal, as JSON writes it."""
MOST_CHUNKS = 8
"""The most chunks of a history that are searched for the type of an open wait."""


class Told(NamedTuple):
    """A signal, and what became of it. `answer`: of an update, None if there is none yet."""

    signal: Signal
    answer: Answer | None
    delivered: bool = False


class Kept(NamedTuple):
    """A signal as it is kept.

    `waits_for`: of which names its run waits for one instead; None: it waits for this, or that is
    not known.
    """

    signal: Signal
    waits_for: list[str] | None = None


class SentTo(NamedTuple):
    """Signals of a run, and whether there are more behind them."""

    signals: list[Told]
    more: bool


class Waits(NamedTuple):
    """The waits for signals that a run has open; `names`: of those that were not looked up.

    `known`: these are all.
    """

    open: list[Scheduled]
    known: bool
    names: Collection[str] = ()

    def of(self, name: str) -> list[Scheduled]:
        """Those for a name."""
        return [each for each in self.open if each.name == name]

    def instead_of(self, name: str) -> list[str] | None:
        """The names of all if this is none of them; else, or if they are not known, None."""
        names = {each.name for each in self.open}.union(self.names)
        if not self.known or name in names:
            return None
        return sorted(each for each in names if not each.startswith(TURN))


class Signals:
    """Takes signals, by way of an engine (which need not be open)."""

    def __init__(self, engine: Runs) -> None:
        self._engine = engine
        self._services = engine.services

    async def send(
        self,
        run: str,
        name: str,
        value: Any,
        *,
        id: str | None = None,
        by: str = "",
        carry_on: bool = True,
    ) -> Signal:
        """Send a signal (JSON data) to a run. Returns it as it is kept.

        Without an `id` it is given one. With `carry_on=False` another process goes on with the run,
        within a sweep.

        Raises:
            RunNotFound: no such run.
            InvalidInput: the name, the id or the value; `field` names it.
            RunConflict: the run has ended, or another signal of this id was sent before.
        """
        return (await self.keep(run, name, value, id=id, by=by, carry_on=carry_on)).signal

    async def keep(
        self,
        run: str,
        name: str,
        value: Any,
        *,
        id: str | None = None,
        by: str = "",
        carry_on: bool = True,
    ) -> Kept:
        """The same; says also what the run waits for if that is something else."""
        services = self._services
        signal = self._new(run, name, id, by)
        header = await services.store.header(run)
        if header.state in TERMINAL:
            return Kept(await self._known_to(header, signal, value))
        waits = await self._waits(header, name)
        made = self._made(header, signal, self._asked(header, waits.of(name)), value)
        sent = await self._send(made, again=False, carry_on=carry_on)
        if sent.signal is None:
            raise _over(sent.header)
        if sent.new:
            return Kept(sent.signal, waits.instead_of(name))
        await self._check_same(sent.header, sent.signal, made)
        sent = await self._send(sent.signal, again=True, carry_on=carry_on)
        return Kept(sent.signal or made)

    async def signal_or_start(
        self,
        workflow: str,
        key: str,
        name: str,
        value: Any,
        arguments: Mapping[str, Any],
        *,
        id: str | None = None,
        by: str = "",
        tenant: str = "",
    ) -> tuple[Header, Signal, bool]:
        """Send a signal to the run of a key, or start one with it if that has ended, or is none.

        Returns the run, the signal, and whether the run is new. Just one run gets it. The
        `arguments` are those of a new run. Again with the same `id`, it finds the run that has got
        the signal, until a newer one of the key is started; one that ended without is passed over.
        Raises as `send` and `Runs.start` do, and `RunConflict` where another run stands for it.
        """
        header, kept, new = await self.keep_or_start(
            workflow, key, name, value, arguments, id=id, by=by, tenant=tenant
        )
        return header, kept.signal, new

    async def keep_or_start(
        self,
        workflow: str,
        key: str,
        name: str,
        value: Any,
        arguments: Mapping[str, Any],
        *,
        id: str | None = None,
        by: str = "",
        tenant: str = "",
    ) -> tuple[Header, Kept, bool]:
        """The same; says also what the run waits for if that is something else."""
        unnamed = self._new("", name, id, by)
        self._check_starts(workflow)
        while True:
            header = await self._engine.newest_of_key(workflow, key, tenant)
            if header is not None and header.state in TERMINAL:
                signal = await self._got_by(header, unnamed, value)
                if signal is not None:
                    return header, Kept(signal), False
            if header is None or header.state in TERMINAL:
                first = functools.partial(self._first, unnamed, value)
                header, new = await self._begin(workflow, key, arguments, first, by, tenant)
                if new and (known := await self._services.store.signal(header.run, unnamed.id)):
                    return header, Kept(known), True
            try:
                kept = await self.keep(header.run, name, value, id=unnamed.id, by=by)
            except RunConflict:
                if (await self._engine.get(header.run)).state not in TERMINAL:
                    raise
            else:
                return header, kept, False

    async def answer(self, run: str, id: str, wait: float = 0) -> Told:
        """A signal, with its answer if it is an update; after `wait` seconds at most.

        Raises:
            RunNotFound: no such run, or no signal of this id.
            RunConflict: its run has ended, or its lap, without an answer to it.
        """
        services = self._services
        deadline = services.clock.now() + int(wait * 1000)
        looked = searched = (-1, -1)
        with services.streams.watchers.watching(run) as told:
            while True:
                told.clear()
                header = await services.store.header(run)
                signal = await services.store.signal(run, id)
                if signal is None or not signal.stands(header.seed):
                    raise RunNotFound(f"run {run!r} knows no signal {id!r}")
                left, over = deadline - services.clock.now(), header.state in TERMINAL
                # It is written once it is committed: a look at the history finds what was not.
                now = (header.round, header.count)
                search = (left <= 0 or over or now == looked) and now != searched
                answer = await self._answered(header, signal, search=search)
                looked, searched = now, now if search else searched
                past = search and wait > 0 and await self._is_past(header, signal)
                if answer is None and (over or past):
                    what = "ended" if over else "continued as new"
                    raise RunConflict(f"run {run!r} has {what}, and has not answered it")
                if answer is not None or left <= 0:
                    return Told(signal, answer)
                with suppress(TimeoutError):
                    await asyncio.wait_for(told.wait(), min(left, POLL) / 1000)

    async def sent_to(
        self, run: str, begin: int = 0, end: int | None = None, *, unread: bool = False
    ) -> SentTo:
        """The signals of a run in the order of their sending, those from one place to another.

        `unread`: of those that its body has not taken. Raises `RunNotFound`.
        """
        store = self._services.store
        header = await store.header(run)
        found = [each for each in await store.signals(run) if each.stands(header.seed)]
        entries = (await store.newest(header)).entries if found else []
        over = set(consumed(entries))
        if unread:
            found = [each for each in found if each.id not in over and is_unread(each)]
        found.sort(key=lambda each: (each.number, each.id))
        told: list[Told] = []
        for each in found[begin:end]:
            answer = await self._answered(header, each, search=False)
            whole = await store.resolve(run, each.value)
            shown = msgspec.structs.replace(each, value=whole)
            told.append(Told(shown, answer, each.id in over))
        return SentTo(told, end is not None and end < len(found))

    # --- inside ----------------------------------------------------------------------------

    def _new(self, run: str, name: str, id: str | None, by: str) -> Signal:
        """A signal that says nothing yet. Raises `InvalidInput`."""
        check_signal_name(name)
        unique = self._services.unique() if id is None else _checked_id(id)
        return Signal(run, unique, name, 0, self._services.clock.now(), _NOTHING, by)

    async def _begin(
        self,
        workflow: str,
        key: str,
        arguments: Mapping[str, Any],
        first: First,
        by: str,
        tenant: str,
    ) -> tuple[Header, bool]:
        return await self._engine.start(
            workflow,
            arguments,
            idempotency_key=key,
            if_finished=IfFinished.RESTART,
            by=by,
            tenant=tenant,
            compare=False,
            first=first,
        )

    def _check_starts(self, workflow: str) -> None:
        """Raise `InvalidInput` for a workflow whose runs are begun by several starts."""
        found = self._services.app.workflow(workflow)
        if found.rules is not None and found.rules.gathering is not None:
            told = "gathers its starts (debounce, batch), so no run of it begins with a signal"
            raise InvalidInput(f"workflow {workflow!r} {told}", field="workflow")

    async def _got_by(self, header: Header, unnamed: Signal, value: Any) -> Signal | None:
        """The signal of this id that a run has got which has ended, or that it has set aside.

        One that it has not got is taken from it: its sender may have died before it heard.
        """
        store = self._services.store
        known = await store.signal(header.run, unnamed.id)
        if known is None or not known.stands(header.seed):
            return None
        signal = await self._known_to(header, _to(unnamed, header.run), value)
        if known.refused or known.answered or header.lap.number != FIRST:
            return signal
        with suppress(CheckpointUnreadable):
            entries = (await store.entries(header)).entries
            if all(getattr(entry, "signal", "") != known.id for entry in entries):
                await store.drop_signal(known)
                return None
        return signal

    async def _send(self, signal: Signal, *, again: bool, carry_on: bool) -> Sent:
        """Keep a signal, and go on with its run if that waits for it."""
        services, run = self._services, signal.run
        carry_on = carry_on and services.carries_on()
        here = carry_on and not services.settings.pauses
        claim = services.run_claim(run) if here else None
        send = services.store.send_again if again else services.store.send
        with services.claims.making(run, "", owner_of(claim)):
            sent = await send(signal, claim)
        if sent.claimed:
            services.work.begin(run, self._carry_on(sent.header))
        elif sent.wake and carry_on:
            await services.wake(run)
        elif sent.arrival:
            services.poke(run)
        return sent

    async def _carry_on(self, header: Header) -> None:
        run = header.run
        if run in self._services.turns:
            with self._services.claims.making(run, "", header.owner):
                await self._services.end_overtaken_turn(run)
        await Turn(self._services, header).run()

    async def _known_to(self, header: Header, signal: Signal, value: Any) -> Signal:
        """The signal of this id in a run that has ended. Raises `RunConflict`."""
        known = await self._services.store.signal(header.run, signal.id)
        if known is None or not known.stands(header.seed):
            raise _over(header)
        await self._check_same(header, known, self._made(header, signal, [], value))
        return known

    async def _check_same(self, header: Header, known: Signal, made: Signal) -> None:
        """Raise `RunConflict` unless the two say the same, however their JSON is written."""
        store, codec = self._services.store, self._codec(header)
        then = await store.resolve(known.run, known.value)
        if known.name != made.name or _said(codec, known, then) != _said(codec, made, made.value):
            told = f"run {header.run!r} was sent another signal of the id {made.id!r} before"
            raise RunConflict(told, run=header.run)

    def _asked(self, header: Header, waits: Sequence[Scheduled]) -> list[tuple[str, Asked]]:
        """By key, what these waits take."""
        codec = self._codec(header)
        return [(each.key, asked_of(codec, each.key, each.args)) for each in waits]

    async def _waits(self, header: Header, name: str) -> Waits:
        """The waits of a parked run, as far as they are quickly found."""
        if header.state is not RunState.PARKED or header.hears == HELD_OFF:
            return Waits([], known=False)
        if header.hears not in (name, ANY):  # which are open matters to nobody
            return Waits([], known=True, names={header.hears} if header.hears else set())
        here = self._services.cache.at(header)
        if here is not None:
            open_ = [op.scheduled() for op in here.open.values() if op.kind is Kind.SIGNAL]
            return Waits(open_, known=True)
        found: list[Scheduled] = []
        closed: set[str] = set()
        begun = False
        async for entry in self._services.store.backwards(header, MOST_CHUNKS):
            begun = isinstance(entry, Started)
            if isinstance(entry, Signalled | Fired | Withdrawn):
                closed.add(entry.key)
            elif isinstance(entry, Scheduled) and _is_wait(entry, closed):
                found.append(await self._services.store.whole(header.run, entry))
        return Waits(found, known=begun)

    async def _answered(self, header: Header, signal: Signal, *, search: bool) -> Answer | None:
        """The answer to an update: as its item has it, or its history."""
        store, codec = self._services.store, self._codec(header)
        if signal.refused:
            return Answer(False, reason=for_people(signal.refused))
        key, value = signal.answered, signal.answer
        if value is None and search:
            for entry in (await store.newest(header)).entries:
                asked = isinstance(entry, Scheduled) and entry.kind is Kind.ANSWER
                if asked and isinstance(entry, Scheduled) and entry.name == signal.id:
                    key, value = entry.key, entry.args
        if value is None:
            return None
        return answer_of(codec, key, await store.resolve(header.run, value))

    async def _is_past(self, header: Header, signal: Signal) -> bool:
        """Whether an earlier lap of the run has taken this signal."""
        if header.lap.number == FIRST:
            return False
        first, *_ = (await self._services.store.newest(header)).entries
        return isinstance(first, Started) and signal.id in (*first.lap.heard, *first.lap.over)

    def _made(
        self, header: Header, signal: Signal, asked: list[tuple[str, Asked]], value: Any
    ) -> Signal:
        """The signal with its value, encoded for its run. Raises `InvalidInput`."""
        codec = self._codec(header)
        misfits = [misfit(each, codec, key, value) for key, each in asked]
        if misfits and all(misfits) and misfits[0] is not None:
            raise misfits[0]
        hidden = hidden_parts(asked[0][1], codec, asked[0][0]) if asked else ()
        return msgspec.structs.replace(signal, value=_encoded(codec, signal.id, value, hidden))

    def _first(self, signal: Signal, value: Any, run: str) -> Signal:
        """The signal with which a new run begins."""
        made, codec = _to(signal, run), RunCodec(self._services.secret, run)
        seed = int.from_bytes(
            self._services.secret.sign("seed", run.encode(), signal.id.encode())[:6]
        )
        return msgspec.structs.replace(
            made,
            value=_encoded(codec, signal.id, value, ()),
            number=1,
            at=self._services.clock.now(),
            began=seed + 1,
            mark=self._services.unique(),
        )

    def _codec(self, header: Header) -> RunCodec:
        return RunCodec(self._services.secret, header.run, sealed=header.digest_key != "")


_NOTHING = Value("json", msgspec.Raw(b"null"))


def _is_wait(entry: Scheduled, closed: Collection[str]) -> bool:
    return entry.kind is Kind.SIGNAL and entry.key not in closed


def _to(signal: Signal, run: str) -> Signal:
    return msgspec.structs.replace(signal, run=run)


def _checked_id(id: str) -> str:
    """The id. Raises `InvalidInput` unless it can be one."""
    size = stored_size(storable(id))
    if not 1 <= size <= LONGEST_ID or not id.isprintable():
        told = f"the id of a signal is one line of 1 to {LONGEST_ID} bytes of UTF-8"
        raise InvalidInput(told, field="id")
    return id


def _encoded(codec: RunCodec, id: str, value: Any, hidden: tuple[str, ...]) -> Value:
    return codec.encode(value, key=id, purpose=Purpose.SIGNAL, hidden=hidden)


def _said(codec: RunCodec, signal: Signal, value: Value) -> bytes:
    opened = codec.opened(value, key=signal.id, purpose=Purpose.SIGNAL)
    return msgspec.json.encode(msgspec.json.decode(opened.body), order="sorted")


def _over(header: Header) -> RunConflict:
    told = f"run {header.run!r} has ended ({header.state.said}): it takes no signals"
    return RunConflict(told, run=header.run)
