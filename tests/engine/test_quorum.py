"""Approvals that several people decide: quorum, groups, delegation, and who may not."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from rewake import Approval, Decision, approval, group, groups, task, workflow
from rewake.authoring.ballots import same_person
from rewake.engine.outside.approvals import Approvals, approvals_of
from rewake.errors import (
    AppError,
    DecisionForbidden,
    InvalidInput,
    LinkExpired,
    RunConflict,
    UsageError,
)
from rewake.signing.links import Link, Links, LinkUse
from rewake.testing.clock import EPOCH
from tests.support.virtual import SECRET, TABLES, Bench, virtually

URL = "https://app.example"
FOLK = {"finance": ["ann", "bob", "eve"], "board": ["Ann", "zoe"]}
sent: list[dict[str, str]] = []


@groups
def members(name: str) -> list[str]:
    return FOLK[name]


@task
async def send(links: dict[str, str]) -> None:
    sent.append(links)


@pytest.fixture(autouse=True)
def nothing_sent() -> None:
    sent.clear()


@workflow
async def asks(
    approvers: list[str],
    quorum: int = 2,
    reject: str = "any",
    self_approval: bool = True,
    timeout: float | None = None,
) -> list[Any]:
    people = [group(each[1:]) if each.startswith("@") else each for each in approvers]
    ask = approval(
        "pay",
        form={"n": {"type": "integer"}},
        approvers=people,
        quorum=quorum,
        reject=reject,
        self_approval=self_approval,
        timeout=timeout,
    )
    await send(ask.links)
    answer = await ask
    said = [(each.approver, each.action.value, each.value) for each in answer.decisions]
    return [answer.decision, answer.approver, answer.value, said]


APP = [asks, send, members]


def yes(who: str, n: int = 0) -> Approval:
    return Approval(Decision.APPROVED, {"n": n}, who)


def no(who: str) -> Approval:
    return Approval(Decision.REJECTED, None, who)


class Desk:
    """One approval, and people before it."""

    def __init__(self, bench: Bench, run: str) -> None:
        self.bench, self.run = bench, run

    @classmethod
    async def ask(cls, bench: Bench, *approvers: str, by: str = "", **terms: Any) -> Desk:
        given = {"approvers": list(approvers), **terms}
        header, _ = await bench.engine.start("asks", given, by=by)
        await asyncio.sleep(1)
        return cls(bench, header.run)

    async def vote(self, answer: Approval, principal: str = "") -> bool:
        """Whether that decided it."""
        of = Approvals(self.bench.engine)
        ballot = await of.decide(self.run, "pay", answer, principal=principal)
        return ballot.decision is not None

    async def delegate(self, who: str, to: str) -> str:
        return await Approvals(self.bench.engine).delegate(self.run, "pay", who, to)

    async def look(self, url: str) -> Any:
        return await Approvals(self.bench.engine).look(read(url))

    async def result(self) -> list[Any]:
        found: list[Any] = await self.bench.result(self.run)
        return found


def read(url: str) -> Link:
    return Links(SECRET).read(LinkUse.APPROVE, url.rpartition("/")[2], EPOCH)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("cached", [256, 0])
def test_as_many_as_are_needed_approve(table: str, cached: int) -> None:
    """The vote that completes the quorum decides; `value` is of who gave it, and all are there."""

    async def body(bench: Bench) -> None:
        desk = await Desk.ask(bench, "ann", "bob", "eve", quorum=2)
        assert await desk.vote(yes("eve", 1)) is False
        assert len(await approvals_of(bench.engine, await bench.engine.get(desk.run))) == 1
        assert await desk.vote(yes("ann", 2)) is True
        said = [("eve", "approve", {"n": 1}), ("ann", "approve", {"n": 2})]
        assert await desk.result() == ["approved", "ann", {"n": 2}, said]
        with pytest.raises(RunConflict):
            await desk.vote(yes("bob"))

    virtually(APP, body, table=table, url=URL, cached=cached)


@pytest.mark.parametrize(
    ("reject", "quorum", "votes", "decided"),
    [
        ("any", 2, [yes("a"), no("b")], "rejected"),
        ("any", 1, [no("a")], "rejected"),
        ("majority", 2, [no("a"), yes("b"), yes("c")], "approved"),
        ("majority", 2, [no("a"), no("b")], "rejected"),
        ("majority", 3, [yes("b"), no("a")], "rejected"),
        ("majority", 1, [no("a"), yes("b")], "approved"),
        ("majority", 1, [no("a"), no("b")], "rejected"),
    ],
)
def test_when_it_is_rejected(reject: str, quorum: int, votes: list[Approval], decided: str) -> None:
    """By any rejection, or only once a majority rejects or the quorum is out of reach: at once."""

    async def body(bench: Bench) -> None:
        desk = await Desk.ask(bench, "a", "b", "c", quorum=quorum, reject=reject)
        told = [await desk.vote(vote) for vote in votes]
        assert told == [False] * (len(votes) - 1) + [True]
        found = await desk.result()
        assert found[:2] == [decided, votes[-1].approver]
        assert len(found[3]) == len(votes)

    virtually(APP, body, url=URL)


def test_each_votes_once() -> None:
    """The same vote again counts once and is no error; another one is refused; strangers are."""

    async def body(bench: Bench) -> None:
        desk = await Desk.ask(bench, "ann", "bob")
        for _ in range(3):
            assert await desk.vote(yes("ann")) is False
        for other in (no("ann"), yes("ann", 7)):
            with pytest.raises(RunConflict, match="has voted already"):
                await desk.vote(other)
        with pytest.raises(DecisionForbidden, match="not asked"):
            await desk.vote(yes("eve"))
        with pytest.raises(InvalidInput):
            await desk.vote(Approval(Decision.APPROVED, {"n": "x"}, "bob"))
        assert await desk.vote(yes("bob")) is True
        assert len((await desk.result())[3]) == 2

    virtually(APP, body, url=URL)


@pytest.mark.parametrize("table", TABLES)
def test_all_vote_at_once(table: str) -> None:
    """Each is counted behind those before it; what comes too late is told so."""

    async def body(bench: Bench) -> None:
        people = [f"p{number}" for number in range(9)]
        desk = await Desk.ask(bench, *people, quorum=5)
        others = [Desk(bench, desk.run) for _ in people]
        votes = [each.vote(yes(who)) for each, who in zip(others, people, strict=True)]
        told = await asyncio.gather(*votes, return_exceptions=True)
        assert told.count(False) == 4
        assert told.count(True) == 1
        assert sum(isinstance(each, RunConflict) for each in told) == 4
        assert len((await desk.result())[3]) == 5

    virtually(APP, body, table=table, url=URL)


def test_a_group_is_who_is_in_it_at_the_call() -> None:
    """Its people have links of their own, recorded; who is in two groups is asked once."""

    async def body(bench: Bench) -> None:
        desk = await Desk.ask(bench, "@finance", "ida", "@board", quorum=2)
        assert list(sent[0]) == ["ann", "bob", "eve", "ida", "zoe"]
        FOLK["finance"].append("new")
        try:
            with pytest.raises(DecisionForbidden):
                await desk.vote(yes("new"))
            await desk.vote(yes("bob"))
            await desk.vote(yes("zoe"))
            assert (await desk.result())[0] == "approved"
        finally:
            FOLK["finance"].remove("new")

    virtually(APP, body, url=URL, cached=0)


def test_a_vote_is_handed_on() -> None:
    """The delegate gets a link, and has the vote; the delegator's is used up. No circles."""

    async def body(bench: Bench) -> None:
        desk = await Desk.ask(bench, "ann", "bob")
        url = await desk.delegate("ann", "carla")
        assert read(url).holder == "carla"
        assert read(await desk.delegate("ann", "carla")).holder == "carla"  # said again
        with pytest.raises(LinkExpired, match="handed on to carla"):
            await desk.look(sent[0]["ann"])
        with pytest.raises(RunConflict, match="handed it on"):
            await desk.vote(yes("ann"))
        with pytest.raises(RunConflict):
            await desk.delegate("ann", "dora")
        for to in ("bob", "ann", "ANN ", "carla"):
            with pytest.raises(InvalidInput, match="asked already"):
                await desk.delegate("carla", to)
        with pytest.raises(InvalidInput):
            await desk.delegate("carla", "a\nb")
        with pytest.raises(DecisionForbidden):
            await desk.delegate("eve", "dora")
        await desk.delegate("carla", "dora")
        assert (await desk.look(url_of(bench, desk, "dora"))).ballot.holders == ["dora", "bob"]
        await desk.vote(yes("dora"))
        with pytest.raises(RunConflict, match="voted already"):
            await desk.delegate("dora", "emil")
        await desk.vote(yes("bob"))
        assert [each[0] for each in (await desk.result())[3]] == ["dora", "bob"]

    def url_of(bench: Bench, desk: Desk, holder: str) -> str:
        links = Links(SECRET, URL)
        link = read(sent[0]["bob"])
        made = Link(link.use, desk.run, "pay", 0, holder, "", link.expires, "n", links.signer)
        return links.url(URL, made)

    virtually(APP, body, url=URL)


def test_who_started_the_run_may_not_decide() -> None:
    """They are not asked; neither their token nor a delegation to them helps."""

    async def body(bench: Bench) -> None:
        desk = await Desk.ask(
            bench, "ann", "bob", "eve", quorum=2, self_approval=False, by="token:Ann"
        )
        assert list(sent[0]) == ["bob", "eve"]
        with pytest.raises(DecisionForbidden, match="started the run"):
            await desk.vote(yes("ann"))
        with pytest.raises(DecisionForbidden, match="started the run"):
            await desk.vote(yes("bob"), principal="token:ann")
        with pytest.raises(DecisionForbidden, match="started the run"):
            await desk.delegate("bob", "ANN")
        await desk.vote(yes("bob"), principal="token:bob")
        await desk.vote(yes("eve"))
        assert (await desk.result())[0] == "approved"

    virtually(APP, body, url=URL)


def test_who_is_known_by_what() -> None:
    """A token is who it is named after; what an approver is called is not taken apart."""
    assert same_person("token:Ann@Example.com", "ann@example.com")
    assert same_person("oidc:ann", "ANN ")
    assert not same_person("slack:ann", "mail:ann")
    assert not same_person("token:ann", "slack:ann")


@pytest.mark.parametrize("table", TABLES)
def test_votes_outlive_a_retry_of_their_run(table: str) -> None:
    """What was said of an approval that a retry opens again counts."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("fails_meanwhile")).run
        await asyncio.sleep(1)
        desk = Desk(bench, run)
        await desk.vote(yes("ann"))
        await asyncio.sleep(60)
        await bench.engine.retry(run)
        await asyncio.sleep(1)
        assert await desk.vote(yes("ann")) is False
        with pytest.raises(RunConflict):
            await desk.vote(no("ann"))
        assert await desk.vote(yes("bob")) is True
        assert await bench.result(run) == ["ann", "bob"]

    tried.clear()
    virtually([fails_meanwhile], body, table=table, url=URL)


tried: list[int] = []


@task
async def fails_once() -> None:
    await asyncio.sleep(30)
    tried.append(1)
    if len(tried) == 1:
        raise ValueError


@workflow
async def fails_meanwhile() -> list[str | None]:
    ask = approval("pay", form={"n": {"type": "integer"}}, approvers=["ann", "bob"], quorum=2)
    await fails_once()
    return [each.approver for each in (await ask).decisions]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("cached", [256, 0])
def test_a_time_out_ends_it_whatever_was_said(table: str, cached: int) -> None:
    """Too few have voted by then: it is timed out, with what they said, and nothing more counts."""

    async def body(bench: Bench) -> None:
        desk = await Desk.ask(bench, "ann", "bob", timeout=60.0)
        await desk.vote(yes("ann", 1))
        await asyncio.sleep(60)
        with pytest.raises(RunConflict):
            await desk.vote(yes("bob"))
        said = [("ann", "approve", {"n": 1})]
        assert await desk.result() == ["timed_out", None, None, said]

    virtually(APP, body, table=table, url=URL, cached=cached)


def test_a_late_voter_ends_it_with_what_was_said() -> None:
    """Who comes too late may find out first that the time is over."""

    async def body(bench: Bench) -> None:
        desk = await Desk.ask(bench, "ann", "bob", timeout=60.0)
        await desk.vote(yes("ann", 1))
        await bench.engine.close()
        await asyncio.sleep(90)
        other = bench.another()
        with pytest.raises(RunConflict, match="time to decide"):
            await Approvals(other).decide(desk.run, "pay", yes("bob"), carry_on=False)
        bench.engine = other
        other.open()
        assert (await desk.result())[3] == [("ann", "approve", {"n": 1})]

    virtually(APP, body, url=URL)


@pytest.mark.parametrize("table", TABLES)
def test_what_is_said_may_be_large(table: str) -> None:
    """It is kept apart: the item of a hundred long votes stays below what a database can hold."""

    async def body(bench: Bench) -> None:
        people = [f"person-{number}@example.com" for number in range(100)]
        desk = await Desk.ask(bench, *people, quorum=100)
        for who in people:
            comment = f"{who} " * 400
            answer = Approval(Decision.APPROVED, {"n": 1}, who, comment)
            await desk.vote(answer)
        item = await bench.engine.services.store.operation(desk.run, "pay")
        assert item is not None
        kept = msgspec.structs.replace(item, outcome=None)
        assert len(msgspec.json.encode(kept)) < 350_000
        assert len((await desk.result())[3]) == 100

    virtually(APP, body, table=table, url=URL)


@workflow
async def fails_then_times_out() -> list[str | None]:
    ask = approval("pay", approvers=["ann", "bob"], quorum=2, timeout=300.0)
    await fails_once()
    return [each.approver for each in (await ask).decisions]


def test_a_time_out_after_a_retry_tells_what_was_said_before() -> None:
    """Votes of the round before are those of the same approval."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("fails_then_times_out")).run
        await asyncio.sleep(1)
        await Approvals(bench.engine).decide(run, "pay", Approval(Decision.APPROVED, None, "ann"))
        await asyncio.sleep(60)
        await bench.engine.retry(run)
        assert await bench.result(run) == ["ann"]

    tried.clear()
    virtually([fails_then_times_out, fails_once], body, url=URL)


@workflow
async def asks_group(name: str) -> list[str]:
    try:
        return list(approval("pay", approvers=[group(name)]).links)
    except Exception as error:
        return [type(error).__name__, str(error)]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (lambda _: [], "not of none"),
        (lambda _: "ann", "a list of texts"),
        (lambda _: [3], "a list of texts"),
        (lambda _: ["a\nb"], "a list of texts"),
        (lambda name: {}[name], "finance"),
        (lambda _: open("/etc/hostname").readlines(), "ForbiddenInWorkflow"),  # noqa: SIM115, PTH123
    ],
)
def test_what_is_no_group(found: Any, told: str) -> None:
    """The body gets an error that names the group, also where its function does I/O."""

    async def body(bench: Bench) -> None:
        assert told in " ".join(await bench.run("asks_group", name="finance"))

    virtually([asks_group, groups(found)], body, url=URL)


def test_an_app_has_one_function_of_groups() -> None:
    """Two of them are an error of the app, and so is one that would have to be awaited."""
    with pytest.raises(AppError, match="@groups"):
        virtually([members, groups(lambda _: ["ann"])], lambda _: asyncio.sleep(0))

    async def awaited(name: str) -> list[str]:
        return [name]

    with pytest.raises(UsageError, match="plain function"):
        groups(awaited)  # type: ignore[arg-type]
