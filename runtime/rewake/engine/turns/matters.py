"""Matters: approvals as they are stored, with what was said about each.

What was said is kept as values of the run, so that it is as private as all of the run. Votes of
another approval that was asked for at the same key, before a retry, are not of this one: each says
in which round its approval was first asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from rewake.authoring.approval import Approval, Decision
from rewake.authoring.ballots import (
    Action,
    Ballot,
    Delegation,
    Said,
    Vote,
    moment_of,
    terms_of,
)
from rewake.authoring.linking import LinkFacts
from rewake.engine.services import Services
from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.records import Header, Millis, Operation, Outcome, Scheduled, Value
from rewake.stores.history import of_round
from rewake.values.pointers import pointer
from rewake.values.redaction import ANY, hidden_in_schema
from rewake.values.run_codec import RunCodec
from rewake.values.schemas import schema_of

DECIDED = {Action.APPROVE: Decision.APPROVED, Action.REJECT: Decision.REJECTED}
"""What a vote is called that decides."""
ACTIONS = {decision: action for action, decision in DECIDED.items()}


@dataclass(frozen=True, slots=True)
class Matter:
    """An approval as it was found: what asks for it, what it was asked with, and its item.

    `digest_key`: that of its run's header. Nothing that is not encrypted counts in a run with one.
    """

    run: str
    digest_key: str
    asked: Scheduled
    shown: dict[str, Any]
    item: Operation | None

    @property
    def outcome(self) -> Outcome | None:
        """Its outcome, if it has one."""
        item = of_round(self.item, self.asked.round)
        return None if item is None else item.outcome

    @property
    def first_round(self) -> int:
        """The round in which it was first asked for: a retry of the run may have opened it again.

        What was said since counts.
        """
        recorded = self.shown.get("link")
        return self.asked.round if recorded is None else _facts(recorded).round

    @property
    def hidden(self) -> tuple[str, ...]:
        """The parts of an answer that are secret, as its form and its type say."""
        form = self.shown.get("form")
        marked = hidden_in_schema(schema_of(form)) if isinstance(form, dict) else ()
        return tuple(dict.fromkeys((*marked, *self.shown.get("hidden", ()))))

    def blank(self) -> Operation:
        """Its item, if there is none."""
        asked = self.asked
        return Operation(self.run, asked.key, Kind.APPROVAL, asked.name, asked.round)


def _facts(recorded: Any) -> LinkFacts:
    return msgspec.convert(recorded, LinkFacts)


class _Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was said, as it is encoded. `id`: no other has it; `round`: see `Matter.first_round`."""

    id: str
    round: int
    at: Millis
    by: str | None
    action: Action | None = None
    value: Any = None
    comment: str | None = None
    to: str = ""

    def said(self) -> Said:
        at = moment_of(self.at)
        if self.action is None:
            return Delegation(self.by or "", self.to, self.comment, at)
        return Vote(self.by, self.action, self.value, self.comment, at)


def decided_by(ballot: Ballot) -> Approval:
    """The decision that the last vote has made."""
    last = ballot.votes[-1]
    votes = tuple(ballot.votes)
    return Approval(DECIDED[last.action], last.value, last.approver, last.comment, votes)


class Matters:
    """Reads and writes what was said about approvals as data."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def ballot(self, found: Matter) -> Ballot:
        """What was said about an approval so far."""
        _, ballot = await self.counted(found)
        return ballot

    async def counted(self, found: Matter) -> tuple[list[Value], Ballot]:
        """What was said of this approval, and not of another that was asked at its key.

        As it is kept, and as the ballot that it makes.
        """
        terms, first_round = terms_of(found.shown), found.first_round
        if found.item is None or not found.item.votes:
            return [], Ballot(terms)
        votes, codec = found.item.votes, self._codec(found.run, found.digest_key)
        whole = await self._services.store.said(found.run, votes)
        read = [_decoded(codec, found.asked.key, each) for each in whole]
        own = [pair for pair in zip(votes, read, strict=True) if pair[1].round == first_round]
        return [vote for vote, _ in own], Ballot(terms, [each.said() for _, each in own])

    # --- as data ---------------------------------------------------------------------------

    def encoded(self, found: Matter, said: Said, now: Millis) -> Value:
        """What is said now, as it is kept."""
        kept = _Kept(self._services.unique(), found.first_round, now, said.approver)
        if isinstance(said, Vote):
            kept = msgspec.structs.replace(kept, action=said.action, value=said.value)
        else:
            kept = msgspec.structs.replace(kept, to=said.delegate)
        kept = msgspec.structs.replace(kept, comment=said.comment)
        return self._as_value(found, msgspec.to_builtins(kept))

    def outcome(self, found: Matter, ballot: Ballot) -> Outcome:
        """The outcome that the last vote has made."""
        decided = msgspec.to_builtins(decided_by(ballot))
        return Outcome(OutcomeKind.OK, self._as_value(found, decided))

    def _as_value(self, found: Matter, told: Any) -> Value:
        codec, purpose = self._codec(found.run, found.digest_key), Purpose.APPROVAL
        places = pointer("value"), pointer("decisions", ANY, "value")
        hidden = tuple(place + path for path in found.hidden for place in places)
        return codec.encode(told, key=found.asked.key, purpose=purpose, hidden=hidden)

    def _codec(self, run: str, digest_key: str) -> RunCodec:
        return RunCodec(self._services.secret, run, digest_key)

    async def find(self, header: Header, asked: Scheduled, item: Operation | None) -> Matter:
        """An approval of a run, whose item is this."""
        whole, shown = await self._services.store.whole(header.run, asked), dict[str, Any]()
        if whole.args is not None:
            codec = self._codec(header.run, header.digest_key)
            shown = codec.decode(whole.args, key=asked.key, purpose=Purpose.APPROVAL)
        return Matter(header.run, header.digest_key, asked, shown, item)

    async def late(self, found: Matter) -> tuple[Operation, Outcome]:
        """How it ends as its time is over, with what was said until then, and the item for that."""
        votes, ballot = await self.counted(found)
        if not votes or found.item is None:
            return found.blank(), Outcome(OutcomeKind.TIMEOUT)
        ended = Approval(Decision.TIMED_OUT, decisions=tuple(ballot.votes))
        value = self._as_value(found, msgspec.to_builtins(ended))
        kept = await self._services.store.shelve(found.run, value, found.asked.key)
        after = msgspec.structs.replace(found.blank(), votes=votes, mark=found.item.mark)
        return after, Outcome(OutcomeKind.TIMEOUT, kept)


def _decoded(codec: RunCodec, key: str, value: Value) -> _Kept:
    return msgspec.convert(codec.decode(value, key=key, purpose=Purpose.APPROVAL), _Kept)


def _is_undecided(item: Operation, round: int) -> bool:
    """Whether it has no outcome in this round; that of an earlier one is none."""
    own = of_round(item, round)
    return own is None or own.outcome is None


async def time_out(
    services: Services, header: Header, blank: Operation, asked: Scheduled, due: Millis
) -> Operation:
    """Settle a wait whose time is over. An outcome that was settled before stands.

    What was said of it stands with the outcome; if more is said meanwhile, that too.
    """
    store, matters = services.store, Matters(services)
    while True:
        after, outcome = blank, Outcome(OutcomeKind.TIMEOUT)
        item = (await store.operations(blank.run, [blank.key])).get(blank.key)
        if item is not None and item.votes and _is_undecided(item, blank.round):
            after, outcome = await matters.late(await matters.find(header, asked, item))
        _, found = await store.settle(after, outcome, due)
        if not after.votes or found.round > blank.round:
            return found
        if found.outcome is not None:
            return await store.operation(blank.run, blank.key) or found
