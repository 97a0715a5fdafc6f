"""The view of one approval: who is asked, what each said, and a trail of what happened to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from rewake.authoring.ballots import Ballot, Delegation, Said, Vote
from rewake.authoring.notifying import Notice
from rewake.ledger import Audited, Seen
from rewake.records import Millis
from rewake.values.redaction import redacted
from rewake.views.approvals import ListedApprovalView
from rewake.views.moments import millis_at, moment


class SeatView(msgspec.Struct, frozen=True):
    """A person who has a vote, who gave it to them if somebody did, and what they said."""

    approver: str
    delegated_by: str | None = None
    action: str | None = None
    value: Any = None
    comment: str | None = None
    at: str | None = None


class SeenView(msgspec.Struct, frozen=True):
    """How often its page was looked at, to the minute."""

    first: str
    last: str
    times: int


class TrailEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened to an approval.

    `what`: asked, notified, voted, delegated, refused, decided, timed_out or withdrawn. `notice`:
    the kind of a notice, which told `people`.
    """

    at: str
    what: str
    who: str | None = None
    action: str | None = None
    delegate: str | None = None
    comment: str | None = None
    decision: str | None = None
    status: int | None = None
    more: int = 0
    """Of what was refused: so many before it were likewise, and have no entry."""
    notice: str | None = None
    people: list[str] = []


class InboxView(ListedApprovalView, frozen=True, kw_only=True):
    """An open approval of any run, and who has not decided yet (`waits_for`).

    `delegated_by`: who handed a vote on, by who has got it.
    """

    quorum: int
    approvals: int
    rejections: int
    waits_for: list[str]
    delegated_by: dict[str, str]


class ApprovalRecord(InboxView, frozen=True, kw_only=True):
    """One approval, open or not, with all that is known of it.

    `state`: open, approved, rejected, timed_out or withdrawn. `personal`: a vote is only that of
    whoever casts it.
    """

    state: str
    reject: str
    personal: bool
    groups: dict[str, list[str]]
    votes: list[SeatView]
    views: SeenView | None
    trail: list[TrailEntry]


def standing_of(ballot: Ballot) -> dict[str, Any]:
    """How a ballot stands, in numbers."""
    rejections = len(ballot.votes) - ballot.approvals
    return {"quorum": ballot.terms.quorum, "approvals": ballot.approvals, "rejections": rejections}


def held_in(ballot: Ballot, waits_for: list[str]) -> dict[str, Any]:
    """Whose turn it is, and who handed what on."""
    return {"waits_for": waits_for, "delegated_by": ballot.delegated_by}


def inbox_of(view: ListedApprovalView, ballot: Ballot) -> InboxView:
    """The view of an open approval among those of other runs, with how its ballot stands."""
    shown = msgspec.structs.asdict(view)
    return InboxView(**shown, **standing_of(ballot), **held_in(ballot, ballot.waits_for))


def seats_of(ballot: Ballot, hidden: Sequence[str]) -> list[SeatView]:
    """Who has a vote, in the order in which they were asked, then others who voted.

    `hidden`: the parts of what they filled in that are secret.
    """
    given = ballot.delegated_by
    said = {vote.approver: vote for vote in ballot.votes}
    others = [who for who in said if who not in ballot.holders]
    seats = []
    for who in [*ballot.holders, *others]:
        vote = said.get(who)
        told: dict[str, Any] = {}
        if vote is not None:
            value = redacted(msgspec.Raw(msgspec.json.encode(vote.value)), hidden)
            told = {"action": vote.action, "value": value, "comment": vote.comment}
            told["at"] = _shown(vote.at)
        seats.append(SeatView(who or "", given.get(who or ""), **told))
    return seats


def seen_view(seen: Seen | None) -> SeenView | None:
    """How often a page was looked at."""
    return None if seen is None else SeenView(moment(seen.first), moment(seen.last), seen.times)


def trail_of(
    asked_at: Millis,
    ballot: Ballot,
    end: tuple[str, Millis] | None,
    why: str,
    refusals: Sequence[Audited],
    notices: Sequence[tuple[Millis, Notice]] = (),
) -> list[TrailEntry]:
    """What happened to an approval, in order. `end`: how it ended, and when; `why`, if told."""
    trail = [TrailEntry(moment(asked_at), "asked"), *map(_entry_of, ballot.said)]
    trail += [
        TrailEntry(moment(at), "notified", notice=each.kind, people=each.people)
        for at, each in notices
    ]
    trail += [
        TrailEntry(moment(each.at), "refused", each.who, status=each.status, more=each.more)
        for each in refusals
    ]
    if end is not None:
        how, at = end
        decided = how in ("approved", "rejected")
        what, decision = ("decided", how) if decided else (how, None)
        trail.append(TrailEntry(moment(at), what, decision=decision, comment=why or None))
    return sorted(trail, key=lambda entry: entry.at)


def _entry_of(said: Said) -> TrailEntry:
    at = _shown(said.at)
    if isinstance(said, Vote):
        return TrailEntry(at, "voted", said.approver, said.action, comment=said.comment)
    assert isinstance(said, Delegation)
    return TrailEntry(at, "delegated", said.approver, delegate=said.delegate, comment=said.comment)


def _shown(at: datetime) -> str:
    return moment(millis_at(at))
