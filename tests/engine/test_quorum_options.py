"""Approvals of several people, with the other options: notices, escalation, bound calls."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import Approval, Decision, Notice, approval, bind, task, workflow
from rewake.engine.outside.approvals import Approvals
from rewake.errors import DecisionForbidden, InvalidInput, LinkExpired, UsageError
from rewake.http.ballots import others_of
from rewake.records import Scheduled
from rewake.signing.links import Links, LinkUse
from rewake.testing.clock import EPOCH
from tests.support.virtual import SECRET, TABLES, Bench, virtually

URL = "https://app.example"
told: list[Notice] = []
paid: list[int] = []


@pytest.fixture(autouse=True)
def nothing_told() -> None:
    told.clear()
    paid.clear()


@task
async def tell(notice: Notice) -> None:
    told.append(notice)


@workflow
async def asks(
    approvers: list[str],
    quorum: int = 2,
    reject: str = "any",
    self_approval: bool = True,
    later: list[str] | None = None,
) -> list[Any]:
    try:
        ask = approval(
            "pay",
            approvers=approvers,
            quorum=quorum,
            reject=reject,
            self_approval=self_approval,
            timeout=1000,
            notify=tell,
            escalate_after=100,
            escalate_to=["carol"] if later is None else later,
        )
    except UsageError as error:
        return [str(error)]
    answer = await ask
    return [answer.decision, [each.approver for each in answer.decisions], list(ask.links)]


APP = [asks, tell]


async def vote(bench: Bench, run: str, who: str, *, yes: bool = True, by: str = "") -> bool:
    """Whether that decided it."""
    answer = Approval(Decision.APPROVED if yes else Decision.REJECTED, approver=who)
    ballot = await Approvals(bench.engine).decide(run, "pay", answer, principal=by)
    return ballot.decision is not None


async def begin(bench: Bench, by: str = "", **arguments: Any) -> str:
    header, _ = await bench.engine.start("asks", arguments, by=by)
    await asyncio.sleep(1)
    return header.run


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("cached", [256, 0])
def test_who_is_asked_later_votes_like_all(table: str, cached: int) -> None:
    """Their link comes with the escalation; it counts for the quorum, and is in no `links`."""

    async def body(bench: Bench) -> None:
        run = await begin(bench, approvers=["ann", "bob"])
        assert await vote(bench, run, "ann") is False
        await asyncio.sleep(200)
        asked, escalated = told
        assert (list(asked.links), list(escalated.links)) == (["ann", "bob"], ["carol"])
        assert (asked.quorum, asked.approvals) == (2, 0)
        link = Links(SECRET).read(
            LinkUse.APPROVE, escalated.links["carol"].rpartition("/")[2], EPOCH
        )
        found = await Approvals(bench.engine).look(link)
        assert others_of(found.ballot, "carol", None) == [("ann", "approved"), ("bob", "")]
        assert await vote(bench, run, "carol") is True
        assert await bench.result(run) == ["approved", ["ann", "carol"], ["ann", "bob"]]
        end = told[-1]
        assert (end.kind, end.quorum, end.approvals, end.rejections) == ("decided", 2, 2, 0)
        assert end.people == ["ann", "bob", "carol"]

    virtually(APP, body, table=table, url=URL, cached=cached)


def test_a_majority_is_one_of_all_also_of_who_is_asked_later() -> None:
    """So no rejection that came early has decided what those who come later could turn."""

    async def body(bench: Bench) -> None:
        first = await begin(bench, approvers=["ann", "bob"], reject="majority")
        assert await vote(bench, first, "ann", yes=False) is False
        assert await vote(bench, first, "bob") is False
        await asyncio.sleep(200)
        assert await vote(bench, first, "carol") is True
        assert (await bench.result(first))[0] == "approved"
        second = await begin(bench, approvers=["ann", "bob"], reject="majority")
        assert await vote(bench, second, "ann", yes=False) is False
        assert await vote(bench, second, "bob", yes=False) is True
        assert (await bench.result(second))[:2] == ["rejected", ["ann", "bob"]]
        assert (told[-1].approvals, told[-1].rejections) == (0, 2)

    virtually(APP, body, url=URL)


def test_a_quorum_is_one_that_the_first_can_reach() -> None:
    """Nobody waits for an escalation that the approval cannot do without."""

    async def body(bench: Bench) -> None:
        run = await begin(bench, approvers=["ann"])
        assert "quorum=2, and it is asked of 1 people" in (await bench.result(run))[0]

    virtually(APP, body, url=URL)


def test_nobody_is_asked_later_who_is_asked_already_or_may_not() -> None:
    """By whatever case they are written in; and with none left there is no escalation."""

    async def body(bench: Bench) -> None:
        later = ["Dora", "BOB"]
        terms: dict[str, Any] = {"approvers": ["ann", "bob", "eve"], "self_approval": False}
        run = await begin(bench, by="token:dora", later=later, **terms)
        await asyncio.sleep(200)
        assert [notice.kind for notice in told] == ["asked"]
        with pytest.raises(DecisionForbidden):
            await vote(bench, run, "Dora")
        with pytest.raises(DecisionForbidden):
            await vote(bench, run, "ann", by="token:dora")
        run = await begin(bench, by="token:ann", later=["Ann", "zoe"], **terms)
        await asyncio.sleep(200)
        assert told[-1].people == ["zoe"]
        assert await vote(bench, run, "bob") is False
        assert await vote(bench, run, "zoe") is True

    virtually(APP, body, url=URL)


def test_who_is_asked_later_can_be_named_once() -> None:
    """Names are compared as those of approvers are."""

    async def body(bench: Bench) -> None:
        run = await begin(bench, approvers=["ann", "bob"], later=["carol", "Carol"])
        assert "none of them twice" in (await bench.result(run))[0]

    virtually(APP, body, url=URL)


def test_a_vote_that_was_handed_on_is_told_by_who_did() -> None:
    """The delegate's vote counts at the end; notices go to those who were asked."""

    async def body(bench: Bench) -> None:
        run = await begin(bench, approvers=["ann", "bob"])
        of = Approvals(bench.engine)
        await of.delegate(run, "pay", "ann", "dan")
        used = told[0].links["ann"].rpartition("/")[2]
        with pytest.raises(LinkExpired, match="handed on to dan"):
            await of.look(Links(SECRET).read(LinkUse.APPROVE, used, EPOCH))
        assert await vote(bench, run, "dan") is False
        assert await vote(bench, run, "bob") is True
        assert (await bench.result(run))[1] == ["dan", "bob"]
        assert (told[-1].people, told[-1].approvals) == (["ann", "bob"], 2)

    virtually(APP, body, url=URL)


# --- bound calls -------------------------------------------------------------------------------


@task
async def pay(amount: int) -> int:
    paid.append(amount)
    return amount


@workflow
async def pays(quorum: int) -> int:
    call = bind(pay, amount=10)
    answer = await approval("pay", binds=call, approvers=["ann", "bob"], quorum=quorum)
    return await call.run(answer)


def edited(who: str, value: Any = None) -> Approval:
    return Approval(Decision.APPROVED, value, who)


@pytest.mark.parametrize("cached", [256, 0])
def test_several_approve_the_call_that_all_have_seen(cached: int) -> None:
    """With a quorum its arguments cannot be edited: the others would not have approved that."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("pays", quorum=2)).run
        await asyncio.sleep(1)
        of = Approvals(bench.engine)
        with pytest.raises(InvalidInput, match="cannot be edited"):
            await of.decide(run, "pay", edited("ann", {"amount": 1}))
        await of.decide(run, "pay", edited("ann"))
        with pytest.raises(InvalidInput, match="cannot be edited"):
            await of.decide(run, "pay", edited("bob", {"amount": 1}))
        assert not paid
        await of.decide(run, "pay", edited("bob"))
        assert await bench.result(run) == 10
        _, history = await bench.engine.history(run)
        asked = [each for each in history.entries if isinstance(each, Scheduled)]
        assert asked[0].name == "pay"
        run = (await bench.start("pays", quorum=1)).run
        await asyncio.sleep(1)
        await of.decide(run, "pay", edited("ann", {"amount": 1}))
        assert await bench.result(run) == 1
        assert paid == [10, 1]

    virtually([pays, pay], body, cached=cached)
