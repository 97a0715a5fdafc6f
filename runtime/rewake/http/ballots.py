"""What a ballot looks like on the page of an approval, and in the answers about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rewake.access import Principal
from rewake.authoring.approval import Approval
from rewake.authoring.ballots import Action, Ballot, Delegation, Reject, Vote, same_person
from rewake.engine.turns.matters import DECIDED
from rewake.errors import DecisionForbidden
from rewake.http.people import People
from rewake.views.ballots import standing_of


class DelegationBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a delegation: to whom a vote is handed on."""

    delegate: str
    comment: str | None = None


def is_delegation(body: Mapping[str, Any]) -> bool:
    """Whether a body hands a vote on, and does not decide."""
    return "delegate" in body


def voter(
    ballot: Ballot,
    people: People,
    principal: Principal,
    named: str | None = None,
    *,
    hands_on: bool = False,
) -> str | None:
    """As whom a principal votes, or `hands_on` a vote, by whom somebody is `named` who decides.

    That counts where it does not matter who decides. Else a vote is that of whoever casts it: of
    who is asked under the principal's name; and nobody hands on that of others. Raises as
    `People.decider` does, and `DecisionForbidden`.
    """
    who = people.decider(principal, ballot.asked if people.must_be_known else [], named)
    if people.must_be_known or not (ballot.terms.is_personal or hands_on):
        return who
    mine = [each for each in ballot.asked if same_person(each, principal.who)]
    if named in ballot.asked and named not in mine:
        told = f"a vote is that of whoever casts it: {principal.who} cannot vote as {named}"
        raise DecisionForbidden(told)
    return mine[0] if mine else principal.who


def counted(ballot: Ballot, run: str, key: str, action: Action, who: str | None) -> dict[str, Any]:
    """The answer to a vote that was counted: where it matters, as whose, and how it stands now."""
    told: dict[str, Any] = {"run": run, "key": key, "decision": DECIDED[action]}
    if ballot.terms.is_personal:
        told["approver"] = who
    if ballot.terms.counts:
        told |= {"decided": ballot.decision is not None, **standing_of(ballot)}
    return told


def handed_on(run: str, key: str, said: Delegation, link: str) -> dict[str, Any]:
    """The answer to a delegation. `link`: that of the delegate; null: it has no address here."""
    told = {"run": run, "key": key, "approver": said.approver, "delegate": said.delegate}
    return {**told, "link": link or None}


def progress_of(ballot: Ballot) -> str:
    """The same for people; empty where one person decides."""
    terms, rejections = ballot.terms, len(ballot.votes) - ballot.approvals
    if not terms.counts:
        return ""
    ends = "One rejection rejects."
    if terms.reject is Reject.MAJORITY:
        ends = "It is rejected by a majority, or once that can no longer be reached."
    told = f"{terms.quorum} of {len(terms.approvers)} must approve"
    return f"{told}. So far: {ballot.approvals} approved, {rejections} rejected. {ends}"


def others_of(ballot: Ballot, holder: str, decided: Approval | None) -> list[tuple[str, str]]:
    """Who else is asked, and what they said."""
    said = {vote.approver: str(DECIDED[vote.action]) for vote in ballot.votes}
    if decided is not None:
        said.setdefault(decided.approver, str(decided.decision))
    return [(ballot.named(who), said.get(who, "")) for who in ballot.holders if who != holder]


def own_vote(ballot: Ballot, holder: str) -> Vote | None:
    """What the holder of a link has voted."""
    said = ballot.of(holder)
    return said if isinstance(said, Vote) else None
