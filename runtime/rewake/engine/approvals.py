"""Approvals: which of them are open, and a decision on one.

`rewake.authoring.approval` asks for an approval. The first decision that is made in time ends it,
or else its deadline does (`rewake.engine.deadlines`). Either outcome is settled in the operation's
item and delivered to the run like the outcome of a task.
"""

from __future__ import annotations

import msgspec

from rewake.authoring.approval import Approval, Decision
from rewake.engine.deadlines import timed_out
from rewake.engine.deliveries import Deliveries
from rewake.engine.runs import Runs
from rewake.errors import InvalidInput, RunConflict, RunNotFound
from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.records import Header, Operation, Outcome, Scheduled
from rewake.states import TERMINAL
from rewake.stores.history import History, of_round
from rewake.values.run_codec import RunCodec


class Approvals:
    """Decides on approvals, by way of an engine (which need not be open)."""

    def __init__(self, engine: Runs) -> None:
        self._services = engine.services
        self._deliveries = Deliveries(engine.services)

    async def decide(
        self, run: str, key: str, approval: Approval, *, carry_on: bool = True
    ) -> None:
        """Record a decision on an approval; the first one stands, and wakes the run.

        With `carry_on=False` another process goes on with the run, within a sweep.

        Raises:
            InvalidInput: it is no decision that a person can make.
            RunNotFound: no such run, or it waits for no approval of that key.
            RunConflict: decided already, withdrawn, out of time, or the run is over.
        """
        _check_decision(approval)
        services, store = self._services, self._services.store
        header = await store.header(run)
        asked = await self._asked(header, key)
        if header.state in TERMINAL:
            raise RunConflict(f"run {run!r} is over")
        now = services.clock.now()
        late = timed_out(asked.due, now)
        outcome, at = late or (self._outcome(run, key, approval), now)
        due = now + services.settings.grace if carry_on else now
        blank = Operation(run, key, Kind.APPROVAL, asked.name, asked.round, due=due)
        claim = services.run_claim(run) if carry_on else None
        with services.claims.making(run, "", "" if claim is None else claim.owner):
            delivery = await store.deliver(blank, outcome, at, claim=claim)
        if carry_on:
            services.work.begin(run, self._deliveries.follow(delivery))
        if late is not None:
            raise RunConflict(f"the time to decide on {key!r} is over")
        if not delivery.won:
            raise RunConflict(f"{key!r} was decided already")

    async def _asked(self, header: Header, key: str) -> Scheduled:
        """The entry that asks for the approval at this key. Raises `RunNotFound`, `RunConflict`."""
        execution = self._services.cache.at(header)
        here = None if execution is None else execution.open.get(key)
        if here is not None and here.kind is Kind.APPROVAL:
            # A run may wait for thousands, and each decision would read them all.
            return here.scheduled()
        return _asked(await self._services.store.entries(header), key)

    def _outcome(self, run: str, key: str, approval: Approval) -> Outcome:
        decided = msgspec.to_builtins(approval)
        codec = RunCodec(self._services.secret, run)
        return Outcome(OutcomeKind.OK, codec.encode(decided, key=key, purpose=Purpose.APPROVAL))


def _check_decision(approval: object) -> None:
    try:
        if isinstance(approval, Approval):
            decided = msgspec.convert(msgspec.to_builtins(approval), Approval).decision
            if decided is not Decision.TIMED_OUT:
                return
    except (msgspec.MsgspecError, TypeError) as error:
        raise InvalidInput(f"a decision cannot be stored: {error}", field="approval") from None
    raise InvalidInput("a decision is an Approval, approved or rejected", field="approval")


def open_approvals(history: History) -> dict[str, Scheduled]:
    """The open approvals of a run that have no outcome yet, by key."""
    asked = history.open(Kind.APPROVAL)
    return {entry.key: entry for entry in asked if not _is_decided(history.item(entry))}


def _is_decided(item: Operation | None) -> bool:
    return item is not None and item.outcome is not None


async def approvals_of(engine: Runs, header: Header) -> list[Scheduled]:
    """The open approvals of a run, with nothing read of what its other operations came to."""
    store, run = engine.services.store, header.run
    asked = (await store.entries(header)).open(Kind.APPROVAL)
    items = await store.outcomes(run, [entry.key for entry in asked])
    decided = {entry.key for entry in asked if of_round(items.get(entry.key), entry.round)}
    return [await store.whole(run, entry) for entry in asked if entry.key not in decided]


def _asked(history: History, key: str) -> Scheduled:
    """The entry that asks for the approval at this key. Raises `RunNotFound`, `RunConflict`."""
    for asked in history.open(Kind.APPROVAL):
        if asked.key == key:
            return asked
    for entry in history.entries:
        if isinstance(entry, Scheduled) and entry.key == key and entry.kind is Kind.APPROVAL:
            raise RunConflict(f"{key!r} was decided, ran out of time or was cancelled")
    raise RunNotFound(f"the run waits for no approval {key!r}")
