"""Callbacks: what a machine sends to the link of one, and what becomes of it.

`rewake.authoring.callback` asks for a callback. A link opens just the wait whose recorded facts
make that link: one that was cut off by a retry of its run and asked for anew has another.
The first call that comes in time decides, and is settled in the operation's item and delivered to
the run like the outcome of a task, also before the workflow awaits it. The same call again gets the
same answer, for a machine that did not hear the first answer sends it again; another one is told
that it comes too late, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from rewake.authoring.callback import Asked, asked_of, fitted
from rewake.authoring.linking import link_of
from rewake.authoring.marking import hidden_in
from rewake.engine.outside.late import caught_up
from rewake.engine.runs.runs import Runs
from rewake.engine.turns.deadlines import timed_out
from rewake.engine.turns.deliveries import Deliveries
from rewake.errors import LinkExpired, NotYet, RunConflict
from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.laps import LAP_OVER, lap_of
from rewake.records import LATEST, Header, Millis, Operation, Outcome, Scheduled, Withdrawn
from rewake.signing.links import Link, Links, LinkUse
from rewake.states import TERMINAL
from rewake.stores.history import of_round
from rewake.values.failures import told_failure
from rewake.values.run_codec import RunCodec

_WAITS: tuple[Millis, ...] = (50, 200, 750, 0)
"""Milliseconds between looks for a wait that its run has not written down yet."""
_MOST_APART: Millis = 1_000
_SHARE = 10
"""Beats that are closer than this share of the silence, and than `_MOST_APART`, are one."""


@dataclass(frozen=True, slots=True)
class _Wait:
    """A callback as its link found it. `is_open`: its workflow waits for it."""

    entry: Scheduled
    asked: Asked
    header: Header
    item: Operation | None
    is_open: bool


class Callbacks:
    """Takes the calls of machines, by way of an engine (which need not be open)."""

    def __init__(self, engine: Runs) -> None:
        self._services = engine.services
        self._deliveries = Deliveries(engine.services)
        self._links = Links(engine.services.secret)

    def check(self, token: str) -> Link:
        """What a link is for, before anything is read. Raises `Unauthentic`, `LinkExpired`."""
        return self._links.read(LinkUse.CALLBACK, token, self._services.clock.now())

    async def complete(self, token: str, result: Any, *, carry_on: bool = True) -> OutcomeKind:
        """End the callback with its result (JSON data). Returns how it was decided.

        `token` is the last part of the callback's `url`. With `carry_on=False` another process goes
        on with the run, within a sweep.

        Raises:
            InvalidInput: the result does not fit its type; the callback stays open.
            Unauthentic: the link is not genuine.
            LinkExpired: it was withdrawn, its time is over, or the run is.
            RunConflict: it was decided by another call.
            NotYet: its run has not written it down yet.
        """

        def made(wait: _Wait, codec: RunCodec, key: str) -> Outcome:
            if wait.item is None or wait.item.outcome is None:
                fitted(wait.asked.converter(codec, key), result)
            hidden = hidden_in(wait.asked.kind(codec, key))
            value = codec.encode(result, key=key, purpose=Purpose.CALLBACK, hidden=hidden)
            return Outcome(OutcomeKind.OK, value)

        return await self._decide(token, made, carry_on=carry_on)

    async def fail(
        self, token: str, type: str, message: str = "", *, carry_on: bool = True
    ) -> OutcomeKind:
        """End the callback with an error, a `TaskError` of this type. Else it is as `complete`."""
        outcome = Outcome(OutcomeKind.ERROR, origin=told_failure(type, message))
        return await self._decide(token, lambda *_: outcome, carry_on=carry_on)

    async def heartbeat(self, token: str) -> Millis | None:
        """Note that the machine lives. Returns until when it may be silent; None: for ever.

        Raises `Unauthentic`, `LinkExpired`, `RunConflict` and `NotYet` as `complete` does.
        """
        wait = await self._find(token)
        self._check_open(wait)
        now, silence, due = self._services.clock.now(), wait.asked.silence, wait.entry.due
        if timed_out(due, now) is not None:
            raise LinkExpired(_OVER)
        if silence is None:
            return due
        kept = 0 if wait.item is None else wait.item.lease
        if kept < now + silence - min(silence // _SHARE, _MOST_APART):
            until = min(now + silence, LATEST)
            item = await self._services.store.hear(_blank(wait), until)
            _check_undecided(item)
            kept = item.lease
        return kept if due is None else min(kept, due)

    async def _decide(
        self,
        token: str,
        made: Callable[[_Wait, RunCodec, str], Outcome],
        *,
        carry_on: bool,
    ) -> OutcomeKind:
        services = self._services
        wait = await self._find(token)
        run, key = wait.header.run, wait.entry.key
        codec = RunCodec(services.secret, run, sealed=wait.header.digest_key != "")
        outcome = made(wait, codec, key)
        if wait.item is not None and wait.item.outcome is not None:
            return _answer(codec, wait.item, outcome)
        self._check_open(wait)
        now = services.clock.now()
        late = timed_out(wait.entry.due, now)
        settled, at = late or (outcome, now)
        blank = _blank(wait)
        delivery = await self._deliveries.end_wait(blank, settled, at, carry_on=carry_on)
        if delivery.won and late is None:
            return outcome.kind
        # Read whole: a large result may be kept apart.
        item = await services.store.operation(run, key)
        return _answer(codec, item or delivery.operation, outcome)

    def _check_open(self, wait: _Wait) -> None:
        if wait.item is not None:
            _check_undecided(wait.item)
        if wait.header.state in TERMINAL:
            raise LinkExpired("the run that waited for it is over")
        if not wait.is_open:
            raise LinkExpired(_WITHDRAWN)

    # --- the wait of a link ----------------------------------------------------------------

    async def _find(self, token: str) -> _Wait:
        """The wait that this link opens, or opened. Raises as `complete` does."""
        services = self._services
        link = self._links.read(LinkUse.CALLBACK, token, services.clock.now())
        for left in _WAITS:
            header = await services.store.find(link.run)
            if header is None:
                raise LinkExpired("there is no such run any more")
            header = await caught_up(services, header)
            found = await self._asked(header, link)
            if found is not None:
                return found
            if header.state in TERMINAL or header.round != link.round:
                break
            await services.clock.sleep(left)
        else:
            raise NotYet(f"run {link.run!r} has not written this callback down yet; try again")
        if lap_of(link.key) < header.lap.number:
            raise LinkExpired(LAP_OVER)
        raise LinkExpired("its run was retried from before this was asked for")

    async def _asked(self, header: Header, link: Link) -> _Wait | None:
        """The wait of this link in the run as it stands; None if it does not ask for it."""
        services, run = self._services, header.run
        found = await self._entry(header, link.key)
        if found is None:
            return None
        entry, is_open = found
        entry = await services.store.whole(run, entry)
        assert entry.args is not None
        codec = RunCodec(services.secret, run, sealed=header.digest_key != "")
        asked = asked_of(codec, entry.key, entry.args)
        if link_of(asked.link, LinkUse.CALLBACK, run, entry.key) != link:
            return None
        item = of_round(await services.store.operation(run, entry.key), entry.round)
        return _Wait(entry, asked, header, item, is_open)

    async def _entry(self, header: Header, key: str) -> tuple[Scheduled, bool] | None:
        """The entry that asks for the callback at this key, and whether it was not withdrawn."""
        here = self._services.cache.open_at(header, key, Kind.CALLBACK)
        if here is not None:
            return here.scheduled(), True
        found: Scheduled | None = None
        is_open = False
        for entry in (await self._services.store.newest(header)).entries:
            if isinstance(entry, Scheduled) and entry.key == key:
                found, is_open = entry, True
            elif isinstance(entry, Withdrawn) and entry.key == key:
                is_open = False
        return None if found is None or found.kind is not Kind.CALLBACK else (found, is_open)


_OVER = "the time of this callback is over"
_WITHDRAWN = "the run does not wait for this callback any more"


def _answer(codec: RunCodec, item: Operation, outcome: Outcome) -> OutcomeKind:
    """How it was decided, if by a call like this one. Raises `LinkExpired`, `RunConflict`."""
    if item.outcome is None or not _same(codec, item.key, item.outcome, outcome):
        _check_undecided(item)
    return outcome.kind


def _check_undecided(item: Operation) -> None:
    """Raise what says why nothing can be done with it any more, if it has ended."""
    outcome = item.outcome
    if outcome is None:
        return
    match outcome.kind:
        case OutcomeKind.TIMEOUT:
            raise LinkExpired(_OVER)
        case OutcomeKind.CANCELLED:
            raise LinkExpired(_WITHDRAWN)
        case OutcomeKind.OK | OutcomeKind.ERROR:
            how = "completed" if outcome.kind is OutcomeKind.OK else "failed"
            raise RunConflict(f"this callback was {how} by an earlier call, which stands")


def _blank(wait: _Wait) -> Operation:
    entry = wait.entry
    return Operation(wait.header.run, entry.key, entry.kind, entry.name, entry.round)


def _same(codec: RunCodec, key: str, one: Outcome, other: Outcome) -> bool:
    """Whether two calls say the same, however their JSON is written."""
    if (one.kind, one.failure) != (other.kind, other.failure):
        return False
    return _told(codec, key, one) == _told(codec, key, other)


def _told(codec: RunCodec, key: str, outcome: Outcome) -> bytes:
    if outcome.value is None:
        return b""
    value = codec.opened(outcome.value, key=key, purpose=Purpose.CALLBACK)
    return msgspec.json.encode(msgspec.json.decode(value.body), order="sorted")
