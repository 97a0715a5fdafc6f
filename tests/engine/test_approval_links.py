"""Approvals that are open from the call, and their links: recorded facts."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest

from rewake import (
    Approval,
    Decision,
    TaskError,
    approval,
    race,
    sleep,
    task,
    uuid4,
    wait_for_approval,
    workflow,
)
from rewake.engine.outside.approvals import Approvals, open_approvals
from rewake.errors import LinkExpired, RunConflict
from rewake.kinds import Purpose
from rewake.records import Scheduled
from rewake.signing.links import Link, Links, LinkUse
from rewake.signing.secret import Secret
from rewake.states import LIVE
from rewake.testing.clock import EPOCH
from rewake.values.run_codec import RunCodec
from tests.support.virtual import SECRET, TABLES, Bench, Ended, virtually

URL = "https://app.example/below"
YES, NO = Approval(Decision.APPROVED), Approval(Decision.REJECTED)
sent: list[Any] = []


def read(url: str, now: int = EPOCH) -> Link:
    base, _, token = url.rpartition("/approve/")
    assert base == URL
    return Links(SECRET).read(LinkUse.APPROVE, token, now)


@task
async def send(links: Any) -> None:
    sent.append(links)


@pytest.fixture(autouse=True)
def nothing_sent() -> None:
    sent.clear()


@workflow
async def asks(timeout: float | None = None, pause: float = 0) -> str:
    ask = approval("boss", approvers=["ann", "bob"], timeout=timeout)
    await send([ask.links, ask.link("ann", action="reject")])
    await sleep(pause)
    answer = await ask
    return f"{answer.decision} by {answer.approver}"


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("cached", [256, 0])
def test_links_are_there_before_the_wait(table: str, cached: int) -> None:
    """Each is for one approver, and for one action if that is said; it ends with the wait."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks", timeout=60.0)).run
        await asyncio.sleep(1)
        [[links, reject]] = sent
        ann, bob, only = read(links["ann"]), read(links["bob"]), read(reject)
        assert list(links) == [ann.holder, bob.holder] == ["ann", "bob"]
        assert (ann.run, ann.key, ann.action, only.holder, only.action) == (
            *(run, "boss", ""),
            *("ann", "reject"),
        )
        assert EPOCH + 60_000 <= (ann.expires or 0) < EPOCH + 61_000
        assert len({*links.values(), reject}) == 3
        answer = Approval(Decision.APPROVED, approver="bob")
        await Approvals(bench.engine).decide(run, "boss", answer, round=bob.round)
        assert await bench.result(run) == "approved by bob"

    virtually([asks, send], body, table=table, url=URL, cached=cached)


@pytest.mark.parametrize("cached", [256, 0])
def test_time_counts_from_the_call(cached: int) -> None:
    """What is decided before the body awaits it counts; so does a time-out of before."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks", pause=100.0)).run
        await asyncio.sleep(1)
        await Approvals(bench.engine).decide(run, "boss", NO)
        assert await bench.result(run) == "rejected by None"
        assert await bench.run("asks", timeout=10.0, pause=100.0) == "timed_out by None"

    virtually([asks, send], body, url=URL, cached=cached)


def test_links_without_a_time_out_end_after_30_days() -> None:
    """The approval stays open, and only the link is over."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks")).run
        await asyncio.sleep(1)
        day = 24 * 3_600_000
        expires = read(sent[0][1]).expires or 0
        assert EPOCH + 30 * day <= expires < EPOCH + 30 * day + 1000
        with pytest.raises(LinkExpired):
            read(sent[0][1], expires)
        await bench.engine.close()  # a sweep a second for 40 days takes long
        await asyncio.sleep(40 * 24 * 3600)
        bench.engine = bench.another()
        bench.engine.open()
        await Approvals(bench.engine).decide(run, "boss", YES)
        assert await bench.result(run) == "approved by None"

    virtually([asks, send], body, url=URL)


@workflow
async def reads_twice() -> bool:
    ask = approval("boss", timeout=timedelta(days=9))
    before = ask.link()
    await sleep(60)
    await send(ask.link())
    await sleep(60)
    return before == ask.link()


@pytest.mark.parametrize("table", TABLES)
def test_a_link_is_a_recorded_fact(table: str) -> None:
    """With the secret rotated and the address moved, a replay makes the link of before."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("reads_twice")).run
        await asyncio.sleep(90)
        services = bench.engine.services
        services.cache.clear()
        services.secret = Secret("a new secret of this virtual world", SECRET._accepted[0])
        object.__setattr__(services.settings, "url", "https://moved.example")
        assert await bench.result(run) is True
        assert read(sent[0]).signer == SECRET.id

    virtually([reads_twice, send], body, table=table, url=URL, cached=0)


@pytest.mark.parametrize("table", TABLES)
def test_without_its_key_a_run_waits(table: str, caplog: pytest.LogCaptureFixture) -> None:
    """What reads a link whose key is not known here is put back for who knows it, not stuck."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("reads_twice")).run
        await asyncio.sleep(10)
        services = bench.engine.services
        services.secret = Secret("another secret of some length")
        services.cache.clear()
        with caplog.at_level(logging.WARNING, "rewake.engine"):
            await asyncio.sleep(300)
        kept = await bench.engine.get(run)
        assert kept.state in LIVE
        assert kept.strikes == 0
        assert f"the key {SECRET.id}" in kept.error
        assert f"key {SECRET.id}" in caplog.text
        services.secret = SECRET
        assert await bench.result(run) is True

    virtually([reads_twice, send], body, table=table, url=URL, cached=0)


@workflow
async def stubborn(late: bool) -> str:
    ask = approval("boss")
    if late:
        await sleep(5)
    try:
        await send(ask.link())
    except Exception:
        return "swallowed"
    return str((await ask).decision)


@pytest.mark.parametrize("late", [False, True])
def test_without_an_address_who_reads_a_link_waits(
    late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever its `except` catches; the log says why. Once there is an address, it goes on."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("stubborn", late=late)).run
        with caplog.at_level(logging.WARNING, "rewake.engine"):
            await asyncio.sleep(300)
        assert (await bench.engine.get(run)).state in LIVE
        assert "REWAKE_URL" in caplog.text
        assert sent == []
        object.__setattr__(bench.engine.services.settings, "url", URL)
        await asyncio.sleep(120)
        link = read(sent[0])
        await Approvals(bench.engine).decide(run, "boss", YES, round=link.round)
        assert await bench.result(run) == "approved"

    virtually([stubborn, send], body)


@workflow
async def reads_none() -> str:
    first = await approval("first", approvers=["ann"])
    second = await wait_for_approval("second")
    return f"{first.decision} {second.decision}"


def test_approvals_work_without_an_address() -> None:
    """Nothing but reading a link needs `REWAKE_URL`."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("reads_none")).run
        for key in ("first", "second"):
            await asyncio.sleep(1)
            await Approvals(bench.engine).decide(run, key, YES)
        assert await bench.result(run) == "approved approved"

    virtually([reads_none], body)


@workflow
async def old_and_new() -> list[str]:
    drawn = str(uuid4())
    await wait_for_approval("old", form={"n": {"type": "integer"}}, description="?")
    ask = approval("new")
    return [drawn, str(uuid4()), ask.link()]


def test_what_a_plain_wait_records_is_as_it_was() -> None:
    """`wait_for_approval` records no link, and links draw nothing from what a body draws from."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("old_and_new")).run
        await asyncio.sleep(1)
        _, history = await bench.engine.history(run)
        [asked] = [entry for entry in history.entries if isinstance(entry, Scheduled)]
        assert asked.args is not None
        codec = RunCodec(SECRET, run)
        assert codec.decode(asked.args, key="old", purpose=Purpose.APPROVAL) == {
            "form": {"n": {"type": "integer"}},
            "description": "?",
        }
        execution: Any = bench.engine.services.cache.at(await bench.engine.get(run))
        twin = execution.blocks.outside.chance._ids
        state = twin.getstate()
        await Approvals(bench.engine).decide(run, "old", Approval(Decision.APPROVED, {"n": 1}))
        drawn = (await bench.result(run))[1]
        twin.setstate(state)
        assert drawn == str(execution.blocks.outside.chance.uuid4())

    virtually([old_and_new], body, url=URL)


# --- what becomes of it --------------------------------------------------------------------------


@workflow
async def drops(how: str) -> str:
    ask = approval("boss")
    await send(ask.link())
    if how == "cancel":
        ask.cancel()
    elif how == "race":
        await race(ask, sleep(5))
    elif how == "shield":
        await race(asyncio.shield(ask), sleep(5))
        return str((await ask).decision)
    elif how == "again":
        await race(ask, sleep(5))
        await ask
    if how != "end":
        await sleep(100)
    return "done"


async def standing(bench: Bench, number: int = 0) -> str:
    """What the holder of a link is told."""
    try:
        found = await Approvals(bench.engine).look(read(sent[number]))
    except LinkExpired as error:
        return str(error)
    return "open" if found.decided is None else str(found.decided.decision)


@pytest.mark.parametrize("cached", [256, 0])
@pytest.mark.parametrize("how", ["cancel", "race"])
def test_what_is_withdrawn_is_closed(how: str, cached: int) -> None:
    """By its own `cancel()`, or with its wait: it can be decided no more, and its link says so."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("drops", how=how)).run
        await asyncio.sleep(1)
        if how == "race":
            assert await standing(bench) == "open"
        await asyncio.sleep(20)
        assert "taken back" in await standing(bench)
        with pytest.raises(LinkExpired, match="taken back"):
            await Approvals(bench.engine).decide(run, "boss", YES, round=0)
        assert await bench.result(run) == "done"
        assert "over" in await standing(bench)

    virtually([drops, send], body, url=URL, cached=cached)


def test_a_shielded_wait_withdraws_nothing() -> None:
    """So one can remind, and wait on."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("drops", how="shield")).run
        await asyncio.sleep(20)
        assert await standing(bench) == "open"
        await Approvals(bench.engine).decide(run, "boss", YES)
        assert await bench.result(run) == "approved"
        assert await standing(bench) == "approved"

    virtually([drops, send], body, url=URL)


def test_what_was_withdrawn_cannot_be_awaited_again() -> None:
    """The error says why, and what to do; it is not taken for a cancellation of the run."""

    async def body(bench: Bench) -> None:
        with pytest.raises(Ended) as ended:
            await bench.run("drops", how="again")
        assert ended.value.failure is not None
        assert "asyncio.shield" in ended.value.failure.message

    virtually([drops, send], body, url=URL)


@pytest.mark.parametrize(("how", "warned"), [("end", True), ("cancel", False), ("race", False)])
def test_what_is_never_awaited_is_warned_of(
    how: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A body that ends before it awaits its approval has withdrawn it: a warning says so, once."""

    async def body(bench: Bench) -> None:
        with caplog.at_level(logging.WARNING, "rewake.workflow"):
            assert await bench.run("drops", how=how) == "done"
        assert ("never awaited the approval 'boss'" in caplog.text) == warned
        assert "over" in await standing(bench)

    virtually([drops, send], body, url=URL)


@workflow
async def branches(how: str) -> str:
    async def asks_and_fails() -> None:
        ask = approval("boss")
        await send(ask.link())
        await sleep(5)
        if how == "handed on":
            given.append(ask)
        elif how == "fails":
            raise ValueError("no")
        await sleep(5)
        await ask

    given: list[Any] = []
    asked = asyncio.create_task(asks_and_fails())
    await sleep(6)
    decision = ""
    if how == "cancelled":
        asked.cancel()
    if how == "handed on":
        waits = asyncio.create_task(asyncio.wait_for(asyncio.shield(given[0]), 100))
        await sleep(0.5)
        asked.cancel()
        decision = str((await waits).decision)
    await asyncio.wait([asked])
    await sleep(50)
    return decision or "done"


@pytest.mark.parametrize("cached", [256, 0])
@pytest.mark.parametrize("how", ["cancelled", "fails"])
def test_a_branch_takes_back_what_it_asked(
    how: str, cached: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One that failed or was cancelled before it awaited its approval withdraws it, silently."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("branches", how=how)).run
        await asyncio.sleep(2)
        assert await standing(bench) == "open"
        await asyncio.sleep(20)
        assert "taken back" in await standing(bench)
        assert await bench.result(run) == "done"
        assert "never awaited" not in caplog.text

    virtually([branches, send], body, url=URL, cached=cached)


@pytest.mark.parametrize("cached", [256, 0])
def test_what_another_branch_awaits_is_not_taken_back(cached: int) -> None:
    """The branch that asked may end in any way."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("branches", how="handed on")).run
        await asyncio.sleep(20)
        assert await standing(bench) == "open"
        link = read(sent[0])
        await Approvals(bench.engine).decide(run, link.key, YES, round=link.round)
        assert await bench.result(run) == "approved"

    virtually([branches, send], body, url=URL, cached=cached)


def test_a_run_that_is_killed_closes_its_links() -> None:
    """They say that the run is over."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks", pause=100.0)).run
        await asyncio.sleep(1)
        await bench.engine.kill(run)
        sent[:] = [sent[0][1]]
        assert "over" in await standing(bench)

    virtually([asks, send], body, url=URL)


broken = {"charge": True}


@task(retries=0)
async def charge() -> None:
    if broken["charge"]:
        raise ValueError("no")


@workflow
async def fails() -> str:
    ask = approval("boss")
    await send(ask.link())
    await charge()
    return str((await ask).decision)


@workflow
async def asks_after() -> str:
    try:
        await charge()
    except TaskError:
        ask = approval("boss")
        await send(ask.link())
        await sleep(1)
        raise
    ask = approval("boss")
    await send(ask.link())
    return str((await ask).decision)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("cached", [256, 0])
def test_a_retried_run_keeps_the_links_of_what_it_keeps(table: str, cached: int) -> None:
    """What was open when the run failed is decided by the same link, once the run goes on."""

    async def body(bench: Bench) -> None:
        broken["charge"] = True
        run = (await bench.start("fails")).run
        with pytest.raises(Ended):
            await bench.result(run)
        assert "over" in await standing(bench)
        broken["charge"] = False
        await bench.engine.retry(run)
        await asyncio.sleep(10)
        assert await standing(bench) == "open"
        await Approvals(bench.engine).decide(run, "boss", YES, round=read(sent[0]).round)
        assert await bench.result(run) == "approved"

    virtually([fails, charge, send], body, table=table, url=URL, cached=cached)


@pytest.mark.parametrize("cached", [256, 0])
def test_a_link_from_before_a_retry_is_worth_nothing(cached: int) -> None:
    """What was forgotten by the retry is asked anew, under another link."""

    async def body(bench: Bench) -> None:
        broken["charge"] = True
        run = (await bench.start("asks_after")).run
        with pytest.raises(Ended):
            await bench.result(run)
        broken["charge"] = False
        await bench.engine.retry(run, discard_cleanup=True)
        await asyncio.sleep(10)
        old, new = read(sent[0]), read(sent[1])
        assert (old.key, old.round, new.key, new.round) == ("boss", 0, "boss", 1)
        assert "taken back" in await standing(bench, 0)
        assert await standing(bench, 1) == "open"
        with pytest.raises(RunConflict):
            await Approvals(bench.engine).decide(run, "boss", NO, round=old.round)
        await Approvals(bench.engine).decide(run, "boss", YES, round=new.round)
        assert await bench.result(run) == "approved"

    virtually([asks_after, charge, send], body, url=URL, cached=cached)


def test_looking_changes_nothing() -> None:
    """Twenty looks write nothing, and the link still decides."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks")).run
        await asyncio.sleep(1)
        header = await bench.engine.get(run)
        sent[:] = [sent[0][1]]
        for _ in range(20):
            assert await standing(bench) == "open"
        _, history = await bench.engine.history(run)
        assert await bench.engine.get(run) == header
        assert list(open_approvals(history)) == ["boss"]

    virtually([asks, send], body, url=URL)
