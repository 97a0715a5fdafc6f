"""Ballots: who is asked for an approval, what was said, and what follows from that.

A ballot is a function of what was recorded when the approval was asked for (`Terms`), and of what
was said since, in the order in which it was written down. So every process comes to the same.

1. Each person who is asked has one vote. Who hands it on (`Delegation`) has none any more, and who
   got it has that one, and cannot be somebody who is or was asked: so nobody votes twice, and no
   vote goes round in a circle.
2. What was said stands. The same once more is no second vote, anything else is refused.
3. It is approved by the vote that completes the quorum. It is rejected by the first rejection, or
   with `reject="majority"` by that after which the quorum cannot be reached any more, or more than
   half of the people have rejected. Nothing counts after the vote that decides.
4. Names are compared without regard to case. Who may not decide since they started the run is
   compared with what a principal is called, without what it is known by (`token:ann` is ann).

An approval of quorum 1 is a ballot too. Only there somebody may decide who was not asked: whoever
has a token that may, since such a token is made for that.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec

from rewake.errors import DecisionForbidden, InvalidInput, LinkExpired, RunConflict
from rewake.records import Millis

LONGEST_APPROVER: Final = 254
"""The most bytes of an approver, such as an address."""
MOST_DELEGATIONS: Final = 100
"""How often one approval can be handed on."""
_KNOWN_BY = ("token", "oidc", "proxy", "local", "link")
"""What a principal is known by, which stands before its name (`rewake.access`)."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Action(StrEnum):
    """What a person can do with an approval; a link may allow one of them only."""

    APPROVE = "approve"
    REJECT = "reject"


class Reject(StrEnum):
    """When an approval that several decide is rejected."""

    ANY = "any"
    MAJORITY = "majority"


class Vote(msgspec.Struct, frozen=True):
    """What one person said. `value`: the form as they filled it in; `at`: when it was counted."""

    approver: str | None
    action: Action
    value: Any = None
    comment: str | None = None
    at: datetime = _EPOCH


class Delegation(msgspec.Struct, frozen=True):
    """One person handed their vote on to another."""

    approver: str
    delegate: str
    comment: str | None = None
    at: datetime = _EPOCH


Said = Vote | Delegation


class Terms(msgspec.Struct, frozen=True):
    """Whom an approval is asked of, and how they decide. `groups`: who of them is asked as what.

    `starter`: who started the run, if they may not decide.
    """

    approvers: list[str] = []
    quorum: int = 1
    reject: Reject = Reject.ANY
    groups: dict[str, list[str]] = {}
    starter: str = ""

    @property
    def counts(self) -> bool:
        """Whether one vote of somebody who is not asked would falsify what is counted."""
        return self.quorum > 1 or self.reject is Reject.MAJORITY

    @property
    def is_personal(self) -> bool:
        """Whether it matters who decides, so that nobody may do so in the name of others."""
        return self.counts or bool(self.starter)

    def recorded(self) -> dict[str, Any]:
        """What is recorded of them with the approval."""
        blank = Terms()
        told: dict[str, Any] = msgspec.to_builtins(self)
        return {name: each for name, each in told.items() if each != getattr(blank, name)}

    def bars(self, who: str) -> bool:
        """Whether this is who started the run, and may not decide."""
        return bool(self.starter) and same_person(who, self.starter)

    def check_person(self, *names: str | None) -> None:
        """Raise `DecisionForbidden` if one of these is who started the run, and may not decide."""
        if any(each and self.bars(each) for each in names):
            told = f"{person_in(self.starter)} started the run, and may not decide on it"
            raise DecisionForbidden(told)


def terms_of(shown: Mapping[str, Any]) -> Terms:
    """The terms that were recorded with an approval."""
    names = Terms.__struct_fields__
    return msgspec.convert({name: shown[name] for name in names if name in shown}, Terms)


class Ballot:
    """What was said about an approval so far."""

    def __init__(self, terms: Terms, said: Sequence[Said] = ()) -> None:
        self.terms = terms
        self.said: list[Said] = []
        self.votes: list[Vote] = []
        self.delegations: dict[str, Delegation] = {}
        """By who handed it on."""
        self._holders = dict.fromkeys(terms.approvers)
        self._known = {folded(each) for each in terms.approvers}
        for each in said:
            self.add(each)

    def add(self, said: Said) -> None:
        """Count it; whether it may be, `takes` says."""
        self.said.append(said)
        if isinstance(said, Vote):
            self.votes.append(said)
            return
        self.delegations[said.approver] = said
        self._known.add(folded(said.delegate))
        # In the place of who was asked: a page lists the seats.
        self._holders = dict.fromkeys(
            said.delegate if each == said.approver else each for each in self._holders
        )

    @property
    def holders(self) -> list[str]:
        """Who has a vote now, in the order in which they were asked."""
        return list(self._holders)

    @property
    def asked(self) -> list[str]:
        """Who is, or was, asked."""
        return [*self.terms.approvers, *(each.delegate for each in self.delegations.values())]

    @property
    def waits_for(self) -> list[str]:
        """Who has a vote and has not voted."""
        voted = {vote.approver for vote in self.votes}
        return [each for each in self._holders if each not in voted]

    @property
    def delegated_by(self) -> dict[str, str]:
        """Who handed a vote on, by who got it."""
        return {each.delegate: each.approver for each in self.delegations.values()}

    def named(self, who: str) -> str:
        """A person for people: with whom they got their vote from, and whom those from."""
        given, names = self.delegated_by, [who]
        while names[-1] in given:  # no vote goes round in a circle
            names.append(given[names[-1]])
        return ", for ".join(names)

    def of(self, who: str | None) -> Said | None:
        """What this person said, if anything."""
        if who is None:
            return None
        mine = [vote for vote in self.votes if vote.approver == who]
        return mine[0] if mine else self.delegations.get(who)

    @property
    def approvals(self) -> int:
        """How many have approved."""
        return sum(vote.action is Action.APPROVE for vote in self.votes)

    @property
    def decision(self) -> Action | None:
        """What is decided, if it is."""
        rejections, terms = len(self.votes) - self.approvals, self.terms
        if self.approvals >= terms.quorum:
            return Action.APPROVE
        people = max(1, len(terms.approvers))
        hopeless = rejections > people - terms.quorum or 2 * rejections > people
        if rejections and (terms.reject is Reject.ANY or hopeless):
            return Action.REJECT
        return None

    def check_link(self, holder: str) -> None:
        """Raise `LinkExpired` if who this link is for has handed their vote on."""
        if holder in self.delegations:
            told = f"it was handed on to {self.delegations[holder].delegate}"
            raise LinkExpired(told)

    def takes(self, said: Said) -> bool:
        """Whether it counts; False: just this was said before.

        Raises `RunConflict`, `DecisionForbidden`, `InvalidInput`.
        """
        who, before = said.approver, self.of(said.approver)
        if before is not None:
            if msgspec.structs.replace(before, at=said.at) == said:
                return False
            raise RunConflict(_told(before))
        if self.terms.is_personal or isinstance(said, Delegation):
            self._check_asked(who)
        if isinstance(said, Delegation):
            self._check_delegate(said)
        return True

    def _check_asked(self, who: str | None) -> None:
        if not self._holders:
            raise RunConflict("it is asked of nobody by name: pass the link itself on")
        if who not in self._holders:
            told = f"{who} is" if who else "you are"
            raise DecisionForbidden(f"{told} not asked for this approval")

    def _check_delegate(self, said: Delegation) -> None:
        to, field = said.delegate, "delegate"
        if not is_name(to):
            told = f"say to whom: one line of at most {LONGEST_APPROVER} bytes"
            raise InvalidInput(told, field=field)
        if folded(to) in self._known:
            raise InvalidInput(f"{to} is or was asked already, and has one vote", field=field)
        self.terms.check_person(to)
        if len(self.delegations) >= MOST_DELEGATIONS:
            raise RunConflict(f"it was handed on {MOST_DELEGATIONS} times, and cannot be again")


def _told(before: Said) -> str:
    if isinstance(before, Delegation):
        return f"{before.approver} has handed it on to {before.delegate}"
    return f"{before.approver} has voted already ({before.action}), and a vote stands"


def moment_of(at: Millis) -> datetime:
    """A moment of a record, for people and workflows."""
    return _EPOCH + timedelta(milliseconds=at)


# --- names -------------------------------------------------------------------------------------


def is_name(text: object) -> bool:
    """Whether this can be what an approver is called."""
    return (
        isinstance(text, str)
        and bool(text.strip())
        and text.isprintable()
        and len(text.encode()) <= LONGEST_APPROVER
    )


def folded(name: str) -> str:
    """A name as it is compared: people write addresses as they like."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


def person_in(principal: str) -> str:
    """Whom a principal names: `token:ann@example.com` is ann@example.com."""
    known, _, name = principal.partition(":")
    return name if name and known in _KNOWN_BY else principal


def same_person(one: str, other: str) -> bool:
    """Whether two principals or approvers have the name of one person."""
    return folded(person_in(one)) == folded(person_in(other))
