"""People who vote: programs that wait for several of them, drawn apart, and what they do.

Who is asked, and what they do, is in the names of the approvers: `PLAN-NUMBER`.

    yes    they approve, and say so again if they are not sure that they were heard
    no     they reject
    hand   they hand their vote on, to somebody who approves; and then they try to vote all the same
    fickle they approve, and then try to reject
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import msgspec

from rewake.authoring.approval import Approval, Decision
from rewake.authoring.ballots import Action, Ballot, terms_of
from rewake.engine.outside.approvals import Approvals
from rewake.errors import LinkExpired, RunConflict
from rewake.kinds import OutcomeKind, Purpose
from rewake.records import Operation, Scheduled
from rewake.values.run_codec import RunCodec
from tests.simulation.calling import PASSING
from tests.simulation.generate import Drawn, Err
from tests.simulation.world import SECRET, World

if TYPE_CHECKING:
    from tests.simulation.judge import Judge

OVER = (LinkExpired, RunConflict)
_TERMS: tuple[tuple[list[str], int, str, str], ...] = (
    (["yes", "yes", "yes"], 2, "any", "approved"),
    (["yes", "yes", "hand", "fickle"], 3, "any", "approved"),
    (["hand", "fickle"], 2, "any", "approved"),
    (["no", "never"], 2, "any", "rejected"),
    (["yes", "no", "yes"], 2, "majority", "approved"),
    (["no", "hand", "no"], 2, "majority", "rejected"),
    (["no", "yes", "fickle", "no", "hand"], 3, "majority", "approved"),
    (["yes", "never", "yes"], 3, "any", "timed_out"),
)


def with_votes(drawn: Drawn, chance: random.Random) -> Drawn:
    """The program, beside or behind one that waits for several people."""
    program, right = drawn
    node, value = ballot(f"v{chance.randint(1, 9)}", chance)
    kind = chance.choice((["seq"], ["gather", False]))
    return [*kind, node, program], right if isinstance(right, Err) else [value, right]


def ballot(name: str, chance: random.Random, *, wide: bool = False) -> Drawn:
    """An approval of several people, and how it ends. `wide`: it takes three of them."""
    terms = [each for each in _TERMS if each[1] == 3 and each[3] == "approved"]
    plans, quorum, reject, ends = chance.choice(terms if wide else _TERMS)
    people = [f"{plan}-{number}" for number, plan in enumerate(plans)]
    timeout = 4 if ends == "timed_out" else None
    options = {"people": people, "quorum": quorum, "reject": reject, "timeout": timeout}
    return ["several", f"several-{name}", options], ["ballot", ends]


class Voters:
    """The people whom one approval was asked of."""

    def __init__(self, world: World, judge: Judge, run: str, asked: Scheduled) -> None:
        assert asked.args is not None
        self._world = world
        self._judge = judge
        self._run = run
        self._key = asked.key
        codec = RunCodec(SECRET, run)
        shown = codec.decode(asked.args, key=asked.key, purpose=Purpose.APPROVAL)
        self._people = terms_of(shown).approvers
        self._rush = world.random.random() < 0.4

    def vote(self) -> None:
        """Let each do as they will."""
        for person in self._people:
            self._world.spawn(self._vote(person))

    async def _vote(self, person: str) -> None:
        plan, chance = person.partition("-")[0], self._world.random
        if plan == "never":
            return
        await asyncio.sleep(0.5 if self._rush else chance.choice((0.0, 0.001, 0.05, 1.0, 2.0)))
        try:
            if plan == "hand":
                await self._hand_on(person)
            else:
                await self._say(person, "reject" if plan == "no" else "approve")
            if plan == "fickle":
                await self._must_be_refused(person, "reject")
        except OVER as error:
            self._world.trace("--", "refused", f"{self._run} {self._key} {person}", str(error))

    async def _hand_on(self, person: str) -> None:
        to = f"for-{person}"
        await self._insist(lambda e: Approvals(e).delegate(self._run, self._key, person, to))
        await self._must_be_refused(person, "approve")
        await asyncio.sleep(self._world.random.choice((0.0, 0.5)))
        await self._say(to, "approve")

    async def _must_be_refused(self, person: str, action: str) -> None:
        try:
            await self._say(person, action)
        except OVER:
            return
        self._world.watch.fail(f"run {self._run}: {person} has voted twice on {self._key}")

    async def _say(self, person: str, action: str) -> None:
        told = (self._run, self._key, person) in self._judge.voted
        if told and person.startswith(("yes", "for")):
            return  # it counts: it need not be said again where a retry opens this again
        decision = Decision.APPROVED if action == "approve" else Decision.REJECTED
        answer = Approval(decision, person if action == "approve" else None, person)
        counted: Ballot = await self._insist(
            lambda e: Approvals(e).decide(self._run, self._key, answer)
        )
        self._judge.voted.add((self._run, self._key, person))
        if counted.decision is not None:
            self._judge.approved.add((self._run, self._key))

    async def _insist(self, act: Any) -> Any:
        return await self._world.insist(act, *PASSING)


def judge_votes(item: Operation, asked: Scheduled, told: set[str]) -> str:
    """What is wrong with the votes on an approval, of which these people were told they count."""
    assert asked.args is not None
    codec = RunCodec(SECRET, item.run)
    terms = terms_of(codec.decode(asked.args, key=item.key, purpose=Purpose.APPROVAL))
    if item.outcome is None or item.outcome.value is None:
        kept = {
            codec.decode(each, key=item.key, purpose=Purpose.APPROVAL)["by"] for each in item.votes
        }
        return "" if told <= kept else f"of {told} only {kept} are kept"
    found = msgspec.convert(
        codec.decode(item.outcome.value, key=item.key, purpose=Purpose.APPROVAL), Approval
    )
    people = [vote.approver for vote in found.decisions]
    if not told <= set(people) or len(set(people)) < len(people):
        return f"{told} were told that they count, and counted were {people}"
    if item.outcome.kind is OutcomeKind.TIMEOUT:
        return "" if Ballot(terms, found.decisions).decision is None else "it was decided in time"
    *before, last = [Ballot(terms, found.decisions[: n + 1]).decision for n in range(len(people))]
    if any(before) or last is not (Action.APPROVE if found.approved else Action.REJECT):
        return f"it is {found.decision} by {found.decisions}"
    return ""
