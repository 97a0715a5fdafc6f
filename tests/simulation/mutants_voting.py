"""Mutants of votes: one is lost, counts twice, or does not decide what it decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from rewake.authoring.ballots import Ballot, Said
from rewake.engine.outside.voting import Voting
from rewake.engine.turns.matters import Matter
from rewake.records import Operation
from rewake.stores import operations as stores_operations
from rewake.stores import votes as stores_votes
from rewake.stores.operations import Operations
from rewake.stores.table import Check, Written
from tests.simulation.mutants import Mutant


@contextmanager
def votes_overwrite_each_other() -> Iterator[None]:
    """Who votes does not look whether somebody else has voted since."""

    def blind(operation: Operation) -> list[Check]:
        return [Check("outcome", "absent"), Check("round", "=", operation.round)]

    with (
        patch.object(stores_votes, "as_read", blind),
        patch.object(stores_operations, "as_read", blind),
    ):
        yield


@contextmanager
def a_decision_follows_its_vote() -> Iterator[None]:
    """The vote that decides is written first, and then the outcome."""
    write = Voting._write

    async def apart(self: Voting, found: Matter, ballot: Ballot, *args: Any, **more: Any) -> bool:
        if ballot.decision is None:
            return await write(self, found, ballot, *args, **more)
        votes, _ = args
        mark = "" if found.item is None else found.item.mark
        after = msgspec.structs.replace(found.blank(), votes=votes, mark=mark)
        if not await self._services.store.vote(after):
            return False
        outcome = self._matters.outcome(found, ballot)
        await self._deliveries.end_wait(found.blank(), outcome, args[1], carry_on=True)
        return True

    with patch.object(Voting, "_write", apart):
        yield


@contextmanager
def who_handed_it_on_votes_too() -> Iterator[None]:
    """A delegation gives a vote, and takes none."""
    of = Ballot.of

    def forgetful(self: Ballot, who: str | None) -> Said | None:
        return None if who in self.delegations else of(self, who)

    with patch.object(Ballot, "of", forgetful), patch.object(Ballot, "_check_asked"):
        yield


@contextmanager
def a_retry_forgets_the_votes() -> Iterator[None]:
    """What was said of an approval that a retry opens again is gone."""
    renew = Operations._renew_item

    async def forgetful(self: Operations, found: Operation, blank: Operation, more: Any) -> Written:
        if "votes" in more:
            more = {**more, "votes": more["votes"][-1:]}
        return await renew(self, found, blank, more)

    with patch.object(Operations, "_renew_item", forgetful):
        yield


VOTING: Sequence[Mutant] = (
    votes_overwrite_each_other,
    a_decision_follows_its_vote,
    who_handed_it_on_votes_too,
    a_retry_forgets_the_votes,
)
