"""Approvals: which of them are open, and a decision on one.

`rewake.authoring.approval` asks for an approval. The first decision that is made in time ends it,
or else its deadline does (`rewake.engine.deadlines`). Either outcome is settled in the operation's
item and delivered to the run like the outcome of a task.

An answer is checked against the form here, whichever way it came. What holds a link is told what
became of its approval (`look`); the link of an earlier round of a retried run is of no use.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from rewake.authoring.approval import GOOD_FOR, Approval, Decision
from rewake.authoring.linking import LinkFacts, nonce_of
from rewake.engine.deadlines import timed_out
from rewake.engine.deliveries import Deliveries
from rewake.engine.runs import Runs
from rewake.errors import InvalidInput, LinkExpired, RunConflict, RunNotFound
from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.records import Header, Millis, Operation, Outcome, Scheduled
from rewake.signing.links import Link, Links, LinkUse
from rewake.states import TERMINAL
from rewake.stores.history import History, StepTries, of_round
from rewake.values.redaction import hidden_in_schema, pointer
from rewake.values.run_codec import RunCodec
from rewake.values.schemas import misfits, schema_of

_OVER = "the run that asked for it is over"
_LATE = "the time to decide is over"
_TAKEN_BACK = "it was taken back: no decision is needed any more"


class Standing(NamedTuple):
    """An approval as the holder of a link finds it."""

    workflow: str
    name: str
    description: str
    schema: dict[str, Any] | None
    approvers: list[str]
    asked_at: Millis
    decided: Approval | None
    """The decision, if there is one."""
    decided_at: Millis
    binds: dict[str, Any] | None = None
    """The call that it binds, if it does."""


class Approvals:
    """Decides on approvals, by way of an engine (which need not be open)."""

    def __init__(self, engine: Runs) -> None:
        self._services = engine.services
        self._deliveries = Deliveries(engine.services)

    async def decide(
        self,
        run: str,
        key: str,
        approval: Approval,
        *,
        round: int | None = None,
        carry_on: bool = True,
    ) -> None:
        """Record a decision on an approval; the first one stands, and wakes the run.

        With `carry_on=False` another process goes on with the run, within a sweep. `round`: only
        if it was first asked for in this round of the run.

        Raises:
            InvalidInput: it is no decision that a person can make, or does not fit the form.
            RunNotFound: no such run, or it waits for no approval of that key.
            RunConflict: decided already, withdrawn, out of time, or the run is over.
        """
        _check_decision(approval)
        asked = await self._asked(run, key)
        shown = await self._shown(run, asked)
        if round is not None and _first_round(asked, shown) != round:
            raise RunConflict(f"{key!r} was asked for anew, since the run was retried")
        approval = fitting(shown, approval)
        now = self._services.clock.now()
        late = timed_out(asked.due, now)
        outcome, at = late or (self._outcome(run, key, approval, shown), now)
        blank = Operation(run, key, Kind.APPROVAL, asked.name, asked.round)
        delivery = await self._deliveries.end_wait(blank, outcome, at, carry_on=carry_on)
        if late is not None:
            raise RunConflict(f"the time to decide on {key!r} is over")
        if not delivery.won:
            raise RunConflict(f"{key!r} was decided already")

    async def approvers(self, run: str, key: str) -> list[str]:
        """Whom it is asked of; empty: whoever may decide. Raises `RunNotFound`, `RunConflict`."""
        shown = await self._shown(run, await self._asked(run, key))
        return shown.get("approvers") or []

    async def link(
        self, run: str, key: str, holder: str = "", action: str = ""
    ) -> tuple[str, Millis]:
        """A fresh link to an open approval, and until when it is good.

        Raises:
            InvalidInput: it was not asked of this `holder`.
            RunNotFound: no such run, or it waits for no approval of that key.
            RunConflict: it is not open any more; or there is no address for links here.
        """
        services = self._services
        asked = await self._asked(run, key)
        if not services.settings.url:
            raise RunConflict("there is no address for links: set REWAKE_URL")
        shown, now = await self._shown(run, asked), services.clock.now()
        approvers = shown.get("approvers") or []
        if approvers and holder not in approvers:
            told = f"it is asked of {', '.join(approvers)}: say for whom of them the link is"
            raise InvalidInput(told, field="approver")
        if not holder.isprintable():
            raise InvalidInput("who a link is for is one line of text", field="approver")
        expires = now + GOOD_FOR if asked.due is None else asked.due
        nonce = nonce_of(services.chance)
        about = (key, _first_round(asked, shown), holder, action, expires, nonce)
        links = Links(services.secret, services.settings.url)
        link = Link(LinkUse.APPROVE, run, *about, links.signer)
        return links.url(links.base, link), expires

    async def look(self, link: Link) -> Standing:
        """What a link shows. Raises `LinkExpired` if nothing can be, or was, decided by it."""
        services, store = self._services, self._services.store
        header = await store.find(link.run)
        if header is None:
            raise LinkExpired(_OVER)
        over = LinkExpired(_OVER if header.state in TERMINAL else _TAKEN_BACK)
        found = await self._asked_at(header, link.key)
        if found is None:
            raise over
        asked, asked_at, is_open = found
        shown = await self._shown(link.run, asked)
        if _first_round(asked, shown) != link.round:
            raise over
        item = of_round(await store.operation(link.run, link.key), asked.round)
        outcome, at = (None, None) if item is None else (item.outcome, item.at)
        if outcome is None and timed_out(asked.due, services.clock.now()) is not None:
            raise LinkExpired(_LATE)
        if outcome is None and (not is_open or header.state in TERMINAL):
            raise over
        if outcome is not None and outcome.kind is not OutcomeKind.OK:
            raise LinkExpired(_LATE) if outcome.kind is OutcomeKind.TIMEOUT else over
        decided = None if outcome is None else self._decision(link, outcome)
        form, told = shown.get("form"), str(shown.get("description") or "")
        schema = schema_of(form) if isinstance(form, dict) and form else None
        approvers = shown.get("approvers") or []
        about = (header.workflow, asked.name, told, schema, approvers, asked_at)
        return Standing(*about, decided, at or 0, shown.get("binds"))

    async def _asked_at(self, header: Header, key: str) -> tuple[Scheduled, Millis, bool] | None:
        """The entry that asks for the approval, when that was, and whether it is still open."""
        here = self._services.cache.open_at(header, key, Kind.APPROVAL)
        if here is not None:
            return here.scheduled(), here.asked_at, True
        history, moments = await self._services.store.entries(header), StepTries()
        is_open = key in {entry.key for entry in history.open(Kind.APPROVAL)}
        for entry in history.entries:
            moments.read(entry)
            if isinstance(entry, Scheduled) and (entry.key, entry.kind) == (key, Kind.APPROVAL):
                return entry, moments.clock, is_open
        return None

    def _decision(self, link: Link, outcome: Outcome) -> Approval | None:
        if outcome.value is None:
            return None
        codec = RunCodec(self._services.secret, link.run)
        told = codec.decode(outcome.value, key=link.key, purpose=Purpose.APPROVAL)
        return msgspec.convert(told, Approval)

    async def _shown(self, run: str, asked: Scheduled) -> dict[str, Any]:
        """What an approval was asked with."""
        whole = await self._services.store.whole(run, asked)
        if whole.args is None:
            return {}
        codec = RunCodec(self._services.secret, run)
        shown: dict[str, Any] = codec.decode(whole.args, key=asked.key, purpose=Purpose.APPROVAL)
        return shown

    async def _asked(self, run: str, key: str) -> Scheduled:
        """The entry that asks for the approval at this key, of a run that is not over.

        Raises `RunNotFound`, `RunConflict`.
        """
        store = self._services.store
        header = await store.header(run)
        here = self._services.cache.open_at(header, key, Kind.APPROVAL)
        asked = _asked(await store.entries(header), key) if here is None else here.scheduled()
        if header.state in TERMINAL:
            raise RunConflict(f"run {run!r} is over")
        return asked

    def _outcome(self, run: str, key: str, approval: Approval, shown: dict[str, Any]) -> Outcome:
        decided, codec = msgspec.to_builtins(approval), RunCodec(self._services.secret, run)
        form = shown.get("form")
        marked = hidden_in_schema(schema_of(form)) if isinstance(form, dict) else ()
        marked = (*marked, *shown.get("hidden", ()))
        hidden = tuple(pointer("value") + path for path in dict.fromkeys(marked))
        value = codec.encode(decided, key=key, purpose=Purpose.APPROVAL, hidden=hidden)
        return Outcome(OutcomeKind.OK, value)


def _check_decision(approval: object) -> None:
    try:
        if isinstance(approval, Approval):
            decided = msgspec.convert(msgspec.to_builtins(approval), Approval).decision
            if decided is not Decision.TIMED_OUT:
                return
    except (msgspec.MsgspecError, TypeError) as error:
        raise InvalidInput(f"a decision cannot be stored: {error}", field="approval") from None
    raise InvalidInput("a decision is an Approval, approved or rejected", field="approval")


def fitting(shown: dict[str, Any], approval: Approval) -> Approval:
    """The decision, whose value fits the form. Raises `InvalidInput`, which names the field.

    Who approves and fills in nothing has filled in an empty object, if that fits. Who rejects, or
    approves a call as it is, need fill in nothing.
    """
    form = shown.get("form")
    is_whole = "binds" in shown or not approval.approved
    if form is None and "binds" in shown and approval.value is not None:
        raise InvalidInput("the arguments of this call cannot be edited", field="value")
    if not isinstance(form, dict) or (approval.value is None and is_whole):
        return approval
    schema = schema_of(form)
    wrong = misfits(schema, approval.value)
    if wrong and approval.value is None:
        approval = msgspec.structs.replace(approval, value={})
        wrong = misfits(schema, {})
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        field, message = wrong[0]
        raise InvalidInput(f"{field}: {message}{more}", field=field)
    return approval


def _first_round(asked: Scheduled, shown: dict[str, Any]) -> int:
    """The round in which it was first asked for: a retry of the run may have opened it again."""
    recorded = shown.get("link")
    return asked.round if recorded is None else msgspec.convert(recorded, LinkFacts).round


def open_approvals(history: History) -> dict[str, Scheduled]:
    """The open approvals of a run that have no outcome yet, by key."""
    asked = history.open(Kind.APPROVAL)
    return {entry.key: entry for entry in asked if not _is_decided(history.item(entry))}


def _is_decided(item: Operation | None) -> bool:
    return item is not None and item.outcome is not None


async def approvals_of(engine: Runs, header: Header) -> list[Scheduled]:
    """The open approvals of a run, with nothing read of what its other operations came to."""
    store, run = engine.services.store, header.run
    asked = [each.entry for each in await engine.services.waits.approvals(header)]
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
