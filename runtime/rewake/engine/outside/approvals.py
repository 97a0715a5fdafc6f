"""Approvals: which of them are open, and a decision on one.

`rewake.authoring.approval` asks for an approval. The first decision that is made in time ends it,
or else its deadline does (`rewake.engine.turns.deadlines`). Either outcome is settled in the
operation's item and delivered to the run like the outcome of a task.

An answer is checked against the form here, whichever way it came, and counted in `voting.py`.
What holds a link is told what became of its approval (`look`); the link of an earlier round of a
retried run is of no use.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from rewake.authoring.approval import GOOD_FOR, Approval, Decision
from rewake.authoring.ballots import (
    LONGEST_APPROVER,
    Ballot,
    Delegation,
    Terms,
    Vote,
    is_name,
)
from rewake.authoring.linking import nonce_of
from rewake.engine.outside.late import caught_up
from rewake.engine.outside.voting import Voting
from rewake.engine.runs.runs import Runs
from rewake.engine.turns.deadlines import timed_out
from rewake.engine.turns.matters import ACTIONS, DECIDED, Matter, Matters, decided_by
from rewake.errors import CheckpointUnreadable, InvalidInput, LinkExpired, RunConflict, RunNotFound
from rewake.kinds import Kind, OutcomeKind
from rewake.laps import LAP_OVER, lap_of
from rewake.records import Header, Millis, Operation, Scheduled, Withdrawn
from rewake.signing.links import Link, Links, LinkUse
from rewake.states import TERMINAL
from rewake.stores.history import History, StepTries, of_round
from rewake.values.schemas import TOO_LARGE, is_too_large, misfits, schema_of
from rewake.values.sealing import for_people

LONGEST_COMMENT = 10_000
"""The most characters of a comment."""
_OVER = "the run that asked for it is over"
_LATE = "the time to decide is over"
TIMED_OUT, WITHDRAWN = "timed_out", "withdrawn"
_TAKEN_BACK = "it was taken back: no decision is needed any more"


class Standing(NamedTuple):
    """An approval as the holder of a link finds it."""

    workflow: str
    name: str
    description: str
    schema: dict[str, Any] | None
    ballot: Ballot
    asked_at: Millis
    decided: Approval | None
    """The decision, if there is one."""
    decided_at: Millis
    binds: dict[str, Any] | None = None
    """The call that it binds, if it does."""


class Record(NamedTuple):
    """An approval of a run, open or not.

    `end`: how it ended (approved, rejected, timed_out, withdrawn), and when. `why`: what the
    workflow said as it withdrew it.
    """

    workflow: str
    matter: Matter
    ballot: Ballot
    asked_at: Millis
    end: tuple[str, Millis] | None
    why: str


class _Asking(NamedTuple):
    """The entry that asks for an approval, when that was, and whether it still does."""

    entry: Scheduled
    at: Millis
    is_open: bool
    why: str = ""


class Approvals:
    """Decides on approvals, by way of an engine (which need not be open)."""

    def __init__(self, engine: Runs) -> None:
        self._services = engine.services
        self._matters = Matters(engine.services)
        self._voting = Voting(engine.services)

    async def decide(
        self,
        run: str,
        key: str,
        approval: Approval,
        *,
        round: int | None = None,
        principal: str = "",
        carry_on: bool = True,
    ) -> Ballot:
        """Count a vote on an approval. What decides it stands, and wakes the run.

        Mostly one vote decides; `Ballot.decision` says whether it is decided now. With
        `carry_on=False` another process goes on with the run, within a sweep. `round`: only if it
        was first asked for in this round of the run. `principal`: who sends it, if the server knows
        them otherwise than by the approval.

        Raises:
            DecisionForbidden: who decides is not asked, or started the run and may not.
            InvalidInput: it is no decision that a person can make, or does not fit the form.
            RunNotFound: no such run, or it waits for no approval of that key.
            RunConflict: decided already, out of time, or the run is over; or they said something
                else before.
            LinkExpired: it was taken back: its wait was cancelled, or its lap is over.
        """
        _check_decision(approval)
        _check_bounds(approval.approver, approval.value, approval.comment)
        found = await self._open(run, key, round)
        approval = fitting(found.shown, approval)
        action = ACTIONS[approval.decision]
        said = Vote(approval.approver, action, approval.value, approval.comment)
        return await self._voting.say(found, said, principal=principal, carry_on=carry_on)

    async def delegate(
        self,
        run: str,
        key: str,
        approver: str,
        to: str,
        comment: str | None = None,
        *,
        round: int | None = None,
        principal: str = "",
    ) -> str:
        """Hand a vote on to somebody else. Returns their link; empty: no address is known here.

        Raises as `decide` does.
        """
        _check_bounds(None, None, comment)
        found = await self._open(run, key, round)
        said = Delegation(approver, to, comment)
        await self._voting.say(found, said, principal=principal, carry_on=True)
        if not self._services.settings.url:
            return ""
        return self._link(found, to, "")[0]

    async def _open(self, run: str, key: str, round: int | None = None) -> Matter:
        """An open approval, if first asked for in this `round`."""
        header, asked = await self._asked(run, key)
        item = (await self._services.store.operations(run, [key])).get(key)
        found = await self._matters.find(header, asked, item)
        if round is not None and found.first_round != round:
            raise RunConflict(f"{key!r} was asked for anew, since the run was retried")
        return found

    async def link(
        self, run: str, key: str, holder: str = "", action: str = ""
    ) -> tuple[str, Millis]:
        """A fresh link to an open approval, and until when it is good.

        Raises:
            InvalidInput: it was not asked of this `holder`.
            RunNotFound: no such run, or it waits for no approval of that key.
            RunConflict: it is not open any more; or there is no address for links here.
        """
        found = await self._open(run, key)
        if not self._services.settings.url:
            raise RunConflict("there is no address for links: set REWAKE_URL")
        ballot = await self._matters.ballot(found)
        if ballot.holders and holder not in ballot.holders:
            told = f"it is asked of {', '.join(ballot.holders)}: say for whom of them the link is"
            raise InvalidInput(told, field="approver")
        if not holder.isprintable():
            raise InvalidInput("who a link is for is one line of text", field="approver")
        return self._link(found, holder, action)

    def _link(self, found: Matter, holder: str, action: str) -> tuple[str, Millis]:
        services, due = self._services, found.asked.due
        expires = services.clock.now() + GOOD_FOR if due is None else due
        nonce = nonce_of(services.chance)
        about = (found.asked.key, found.first_round, holder, action, expires, nonce)
        links = Links(services.secret, services.settings.url)
        link = Link(LinkUse.APPROVE, found.run, *about, links.signer)
        return links.url(links.base, link), expires

    async def ballot(self, run: str, key: str) -> Ballot:
        """What was said about an open approval. Raises `RunConflict`, `RunNotFound`."""
        return await self._matters.ballot(await self._open(run, key))

    async def look(self, link: Link) -> Standing:
        """What a link shows. Raises `LinkExpired` if nothing can be, or was, decided by it."""
        header = await self._services.store.find(link.run)
        found = None if header is None else await self._record(header, link.key)
        if header is None or found is None or found.matter.first_round != link.round:
            raise LinkExpired(_OVER if header is None or header.state in TERMINAL else _TAKEN_BACK)
        ended, at = found.end or ("", 0)
        if ended == TIMED_OUT:
            raise LinkExpired(_LATE)
        if ended == WITHDRAWN:
            over = _OVER if header.state in TERMINAL else _TAKEN_BACK
            raise LinkExpired(found.why or over)
        decided = decided_by(found.ballot) if ended else None
        if decided is None:
            found.ballot.check_link(link.holder)
        shown, asked = found.matter.shown, found.matter.asked
        form, told = shown.get("form"), str(shown.get("description") or "")
        schema = schema_of(form) if isinstance(form, dict) and form else None
        about = (header.workflow, asked.name, told, schema, found.ballot, found.asked_at)
        return Standing(*about, decided, at, shown.get("binds"))

    async def find(self, run: str, key: str) -> Record:
        """An approval of a run, open or not. Raises `RunNotFound`."""
        found = await self._record(await self._services.store.header(run), key)
        if found is None:
            raise RunNotFound(f"the run waits for no approval {key!r}")
        return found

    async def open_in(self, header: Header) -> list[Record]:
        """The approvals of a run that are open, in the order in which they were asked for."""
        asked = {
            each.entry.key: _Asking(each.entry, each.asked_at, is_open=True)
            for each in await self._services.waits.approvals(header)
        }
        items = await self._services.store.operations(header.run, list(asked), header.count)
        found = [await self._listed(header, each, items.get(key)) for key, each in asked.items()]
        return [each for each in found if each is not None and each.end is None]

    async def _listed(
        self, header: Header, asking: _Asking, item: Operation | None
    ) -> Record | None:
        """A record for a list, which one that cannot be read here must not spoil."""
        try:
            return await self._record_of(header, asking, item)
        except CheckpointUnreadable:
            matter = Matter(header.run, header.digest_key, asking.entry, {}, item)
            blank = Record(header.workflow, matter, Ballot(Terms()), asking.at, None, "")
            return blank if matter.outcome is None else None

    async def _record(self, header: Header, key: str) -> Record | None:
        here = self._services.cache.open_at(header, key, Kind.APPROVAL)
        if here is not None:
            asking: _Asking | None = _Asking(here.scheduled(), here.asked_at, True)
        else:
            asking = _asking(await self._services.store.newest(header)).get(key)
        if asking is None:
            return None
        items = await self._services.store.operations(header.run, [key])
        return await self._record_of(header, asking, items.get(key))

    async def _record_of(self, header: Header, asking: _Asking, item: Operation | None) -> Record:
        matter = await self._matters.find(header, asking.entry, item)
        ballot = await self._matters.ballot(matter)
        is_open = asking.is_open and header.state not in TERMINAL
        end = self._end(matter, ballot, header, is_open=is_open)
        return Record(header.workflow, matter, ballot, asking.at, end, asking.why)

    def _end(
        self, matter: Matter, ballot: Ballot, header: Header, *, is_open: bool
    ) -> tuple[str, Millis] | None:
        """How it ended, and when."""
        outcome, late = matter.outcome, timed_out(matter.asked.due, self._services.clock.now())
        if outcome is None:
            if late is not None:
                return TIMED_OUT, late[1]
            return None if is_open else (WITHDRAWN, max(header.clock, header.changed))
        assert matter.item is not None
        at = matter.item.at or 0
        if outcome.kind is not OutcomeKind.OK:
            return (TIMED_OUT if outcome.kind is OutcomeKind.TIMEOUT else WITHDRAWN), at
        assert ballot.decision is not None
        return DECIDED[ballot.decision], at

    async def _asked(self, run: str, key: str) -> tuple[Header, Scheduled]:
        """A run that is not over, and the entry that asks for the approval at this key.

        Raises `RunNotFound`, `RunConflict`, `LinkExpired` if it was taken back, or its lap is over.
        """
        store = self._services.store
        header = await caught_up(self._services, await store.header(run))
        if lap_of(key) < header.lap.number and header.state not in TERMINAL:
            raise LinkExpired(LAP_OVER)
        here = self._services.cache.open_at(header, key, Kind.APPROVAL)
        asked = None if here is None else here.scheduled()
        over = header.state in TERMINAL
        try:
            asked = asked or _asked(await store.newest(header), key)
        except LinkExpired:
            if not over:  # else a retry may open it again
                raise
        if over or asked is None:
            raise RunConflict(f"run {run!r} is over")
        return header, asked


def _asking(history: History) -> dict[str, _Asking]:
    """The entries that ask for approvals, by key, in the order asked."""
    is_open = {entry.key for entry in history.open(Kind.APPROVAL)}
    moments, found = StepTries(), dict[str, _Asking]()
    for entry in history.entries:
        moments.read(entry)
        if isinstance(entry, Scheduled) and entry.kind is Kind.APPROVAL:
            found[entry.key] = _Asking(entry, moments.clock, entry.key in is_open)
        elif isinstance(entry, Withdrawn) and entry.key in found:
            found[entry.key] = found[entry.key]._replace(why=for_people(entry.why))
    return found


def _check_decision(approval: object) -> None:
    try:
        if isinstance(approval, Approval):
            decided = msgspec.convert(msgspec.to_builtins(approval), Approval).decision
            if decided is not Decision.TIMED_OUT:
                return
    except (msgspec.MsgspecError, TypeError) as error:
        raise InvalidInput(f"a decision cannot be stored: {error}", field="approval") from None
    raise InvalidInput("a decision is an Approval, approved or rejected", field="approval")


def _check_bounds(approver: str | None, value: Any, comment: str | None) -> None:
    """Raise `InvalidInput` for what is said at too great a length, also where no form bounds it."""
    if approver is not None and not is_name(approver):
        told = f"who decides is one line of at most {LONGEST_APPROVER} bytes"
        raise InvalidInput(told, field="approver")
    if is_too_large(value):
        raise InvalidInput(TOO_LARGE, field="value")
    if comment is not None and len(comment) > LONGEST_COMMENT:
        told = f"a comment may have at most {LONGEST_COMMENT:,} characters"
        raise InvalidInput(told, field="comment")


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
    items = await store.outcomes(run, [entry.key for entry in asked], header.count)
    decided = {entry.key for entry in asked if of_round(items.get(entry.key), entry.round)}
    return [await store.whole(run, entry) for entry in asked if entry.key not in decided]


def _asked(history: History, key: str) -> Scheduled:
    """The entry that asks for the approval at this key, which is open.

    Raises `RunNotFound`, `LinkExpired` if it was taken back, else `RunConflict`.
    """
    for asked in history.open(Kind.APPROVAL):
        if asked.key == key:
            return asked
    for entry in reversed(history.entries):
        if isinstance(entry, Withdrawn) and entry.key == key and entry.kind is Kind.APPROVAL:
            raise LinkExpired(entry.why or _TAKEN_BACK)
        if isinstance(entry, Scheduled) and entry.key == key and entry.kind is Kind.APPROVAL:
            raise RunConflict(f"{key!r} was decided, or ran out of time")
    raise RunNotFound(f"the run waits for no approval {key!r}")
