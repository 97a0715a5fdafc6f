"""`notify=`: a task that tells people of an approval, while it is open and at its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from rewake import (
    Approval,
    Decision,
    Notice,
    approval,
    race,
    sleep,
    task,
    task_context,
    workflow,
)
from rewake.engine.outside.approvals import Approvals
from rewake.errors import RunConflict
from rewake.records import LATEST, Scheduled
from rewake.states import LIVE, RunState
from rewake.testing.clock import EPOCH
from tests.support.virtual import TABLES, Bench, Ended, virtually

URL = "https://app.example/below"
YES = Approval(Decision.APPROVED, approver="ann")
told: list[Notice] = []
begun: list[str] = []
keys: list[str] = []
broken: set[str] = set()


@pytest.fixture(autouse=True)
def nothing_told() -> None:
    told.clear()
    begun.clear()
    keys.clear()
    broken.clear()


@task
async def tell(notice: Notice) -> int:
    begun.append(notice.kind)
    if notice.kind in broken or "all" in broken:
        raise ConnectionError("no mail today")
    await asyncio.sleep(0.5)
    told.append(notice)
    keys.append(task_context().idempotency_key)
    return len(told)


def kinds() -> list[str]:
    return [str(notice.kind) for notice in told]


@workflow
async def asks(
    timeout: float | None = None,
    every: float | None = None,
    after: float | None = None,
    then: float = 0,
    approvers: Sequence[str] = ("ann", "bob"),
) -> str:
    ask = approval(
        "boss",
        description="Refund?",
        approvers=approvers,
        timeout=timeout,
        notify=tell,
        remind_every=every,
        escalate_after=after,
        escalate_to=["carol"] if after else [],
    )
    answer = await ask
    await sleep(then)
    return str(answer.decision)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("cached", [256, 0])
def test_people_are_told_at_once_and_again_and_of_the_end(table: str, cached: int) -> None:
    """Each with the links of those who are asked then; each has what the call before returned."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks", every=100.0, after=250.0)).run
        await asyncio.sleep(400)
        await Approvals(bench.engine).decide(run, "boss", YES)
        assert await bench.result(run) == "approved"
        assert kinds() == ["asked", "reminder", "reminder", "escalated", "reminder", "decided"]
        assert [notice.previous for notice in told] == [None, 1, 2, 3, 4, 5]
        assert [notice.number for notice in told] == [0, 1, 2, 0, 3, 0]
        asked, first, _, escalated, last, decided = told
        assert list(asked.links) == list(first.links) == asked.people == ["ann", "bob"]
        assert asked.links == first.links
        assert list(escalated.links) == escalated.people == ["carol"]
        assert last.links == asked.links | escalated.links
        assert last.people == decided.people == ["ann", "bob", "carol"]
        assert (decided.links, decided.decision, decided.approver) == ({}, "approved", "ann")
        assert (asked.run, asked.key, asked.name) == (run, "boss", "boss")
        assert asked.description == "Refund?"

    virtually([asks, tell], body, table=table, cached=cached, url=URL)


def test_its_keys_are_its_own() -> None:
    """They are beneath the approval's name, and leave those of the body alone."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks", every=10.0, then=1.0)).run
        await asyncio.sleep(15)
        await Approvals(bench.engine).decide(run, "boss", YES)
        await bench.result(run)
        _, history = await bench.engine.history(run)
        keys = [each.key for each in history.entries if isinstance(each, Scheduled)]
        own = ("asked", "wait", "reminder", "wait.2", "decided")
        assert sorted(keys) == ["boss", *sorted(f"boss:notify[0]/{each}" for each in own), "sleep"]

    virtually([asks, tell], body, url=URL)


def test_without_approvers_there_is_one_link() -> None:
    """It is for whoever has it."""

    async def body(bench: Bench) -> None:
        await bench.start("asks", approvers=[])
        await asyncio.sleep(2)
        assert list(told[0].links) == [""]
        assert told[0].link.startswith(URL)
        assert told[0].people == []

    virtually([asks, tell], body, url=URL)


def test_its_time_is_told() -> None:
    """Also to the hour at which nobody is reminded any more: that at which the links are over."""

    async def body(bench: Bench) -> None:
        assert await bench.run("asks", timeout=250.0, every=100.0) == "timed_out"
        assert kinds() == ["asked", "reminder", "reminder", "decided"]
        assert told[-1].decision == "timed_out"
        assert 250 <= told[0].until.timestamp() - EPOCH / 1000 < 251
        told.clear()
        await bench.start("asks", every=9 * 86_400.0)
        await asyncio.sleep(2)
        assert 30 * 86_400 <= told[0].until.timestamp() - EPOCH / 1000 < 30 * 86_400 + 400
        await bench.engine.close()  # a sweep a second for 70 days takes long
        for _ in range(7):
            await asyncio.sleep(9.5 * 86_400)
            bench.engine = bench.another()
            bench.engine.open()
            await asyncio.sleep(5)
            await bench.engine.close()
        assert kinds() == ["asked", *["reminder"] * 3]

    virtually([asks, tell], body, url=URL)


def test_what_is_late_is_one_reminder() -> None:
    """However many moments have passed while nobody ran, and how long the call before took."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks", every=100.0)).run
        await asyncio.sleep(50)
        await bench.engine.close()
        await asyncio.sleep(1000)
        bench.engine = bench.another()
        bench.engine.open()
        await asyncio.sleep(90)
        assert kinds() == ["asked", "reminder"]
        await asyncio.sleep(50)
        assert kinds() == ["asked", "reminder", "reminder"]
        await Approvals(bench.engine).decide(run, "boss", YES)
        assert await bench.result(run) == "approved"

    virtually([asks, tell], body, url=URL)


# --- its end -------------------------------------------------------------------------------------


@task
async def slow(notice: Notice) -> None:
    if notice.kind == "withdrawn" and "hangs" in broken:
        await asyncio.sleep(10**5)
    await asyncio.sleep(20)
    told.append(notice)


@workflow
async def drops(how: str) -> str:
    async def branch() -> str:
        ask = approval("boss", approvers=["ann"], notify=slow, remind_every=1000)
        if how == "at once":
            ask.cancel()
        if how in ("branch", "run"):
            await sleep(50)
            raise ValueError("no")
        if how == "end":
            await sleep(50)
            return "done"
        if how == "race":
            await race(ask, sleep(50))
            return "done"
        return str((await ask).decision)

    if how == "branch":
        await asyncio.wait([asyncio.create_task(branch())])
        await sleep(100)
        return "done"
    done = await branch()
    await sleep(5)
    return done


@pytest.mark.parametrize("cached", [256, 0])
@pytest.mark.parametrize(
    ("how", "state"),
    [
        *(("end", RunState.DONE), ("race", RunState.DONE)),
        *(("branch", RunState.DONE), ("run", RunState.FAILED)),
    ],
)
def test_what_is_taken_back_is_told(
    how: str, state: RunState, cached: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, before the run ends: by whatever it was taken back. It is nobody's mistake."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("drops", how=how)).run
        with caplog.at_level(logging.WARNING, "rewake.workflow"):
            await bench.engine.result(run, 10**6)
        assert (await bench.engine.get(run)).state is state
        assert kinds() == ["asked", "withdrawn"]
        assert ("never awaited" in caplog.text) == (how == "end")
        assert "which nobody awaits" not in caplog.text

    virtually([drops, slow], body, url=URL, cached=cached)


def test_what_is_taken_back_at_once_is_not_told() -> None:
    """Nobody knows of it."""

    async def body(bench: Bench) -> None:
        with pytest.raises(Ended, match=r"CancelledError|UsageError"):
            await bench.run("drops", how="at once")
        assert told == []

    virtually([drops, slow], body, url=URL)


@pytest.mark.parametrize("cached", [256, 0])
@pytest.mark.parametrize("early", [True, False])
def test_a_cancelled_run_tells_so_and_a_killed_one_nobody(early: bool, cached: int) -> None:
    """A call that is under way is finished first."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("drops", how="")).run
        await asyncio.sleep(5 if early else 50)
        await bench.engine.cancel(run, "enough")
        await bench.engine.result(run, 10**6)
        assert (await bench.engine.get(run)).state is RunState.CANCELLED
        assert kinds() == ["asked", "withdrawn"]
        run = (await bench.start("drops", how="")).run
        await asyncio.sleep(50)
        await bench.engine.kill(run)
        await asyncio.sleep(100)
        assert kinds() == ["asked", "withdrawn", "asked"]

    virtually([drops, slow], body, url=URL, cached=cached)


@pytest.mark.parametrize("cached", [256, 0])
def test_calls_are_one_after_the_other(cached: int) -> None:
    """What was under way at the decision is finished; then the end is told, and no reminder."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("drops", how="")).run
        await asyncio.sleep(5)
        await Approvals(bench.engine).decide(run, "boss", YES)
        assert await bench.result(run) == "approved"
        assert 40 <= bench.seconds < 50
        assert kinds() == ["asked", "decided"]

    virtually([drops, slow], body, url=URL, cached=cached)


@pytest.mark.parametrize("cached", [256, 0])
def test_a_run_waits_a_minute_for_its_last_notice(
    cached: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One that does not end is given up, with a warning."""
    broken.add("hangs")

    async def body(bench: Bench) -> None:
        with caplog.at_level(logging.WARNING, "rewake.workflow"):
            assert await bench.run("drops", how="end") == "done"
        assert 115 <= bench.seconds < 120
        assert caplog.text.count("it is given up") == 1
        await asyncio.sleep(70)
        left = [each.key for each in await bench.table.due(LATEST, limit=9)]
        assert not [key for key in left if key.partition.startswith("R")]

    virtually([drops, slow], body, url=URL, cached=cached)


# --- what fails ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cached", [256, 0])
def test_if_nobody_can_be_told_who_awaits_it_gets_the_error(cached: int) -> None:
    """It is taken back. A retry of the run goes on from before it."""
    broken.add("asked")

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks")).run
        with pytest.raises(Ended) as ended:
            await bench.result(run)
        assert ended.value.failure is not None
        assert "no mail today" in ended.value.failure.message
        with pytest.raises(RunConflict):
            await Approvals(bench.engine).decide(run, "boss", YES)
        broken.clear()
        await bench.engine.retry(run)
        await asyncio.sleep(5)
        assert kinds() == ["asked"]
        await Approvals(bench.engine).decide(run, "boss", YES)
        assert await bench.result(run) == "approved"
        assert kinds() == ["asked", "decided"]

    virtually([asks, tell], body, url=URL, cached=cached)


@pytest.mark.parametrize("cached", [256, 0])
def test_a_reminder_is_the_next_try(cached: int, caplog: pytest.LogCaptureFixture) -> None:
    """What failed is warned of, once; the approval stays open, and can be decided all the time."""
    broken.add("all")

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks", every=100.0)).run
        with caplog.at_level(logging.WARNING, "rewake.workflow"):
            await asyncio.sleep(150)
            broken.clear()
            await asyncio.sleep(100)
            broken.add("reminder")
            await asyncio.sleep(100)
            broken.clear()
            await asyncio.sleep(100)
            await Approvals(bench.engine).decide(run, "boss", YES)
            assert await bench.result(run) == "approved"
        assert begun == ["asked", "asked", "asked", "reminder", "reminder", "decided"]
        assert kinds() == ["asked", "reminder", "decided"]
        assert caplog.text.count("is not out: TaskError: ") == 3
        assert "'boss' (reminder)" in caplog.text

    virtually([asks, tell], body, url=URL, cached=cached)


def test_a_failed_last_notice_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The decision stands, and the run ends as it would have."""
    broken.add("decided")

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks")).run
        await asyncio.sleep(5)
        await Approvals(bench.engine).decide(run, "boss", YES)
        with caplog.at_level(logging.WARNING, "rewake.workflow"):
            assert await bench.result(run) == "approved"
        assert "(decided) is not out" in caplog.text

    virtually([asks, tell], body, url=URL)


def test_without_an_address_the_run_waits() -> None:
    """As one that reads its links, it goes on once `REWAKE_URL` is set."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks")).run
        await asyncio.sleep(100)
        kept = await bench.engine.get(run)
        assert kept.state in LIVE
        assert "REWAKE_URL" in kept.error
        object.__setattr__(bench.engine.services.settings, "url", URL)
        await asyncio.sleep(120)
        assert told[0].link.startswith(URL)

    virtually([asks, tell], body)


# --- what is recorded ----------------------------------------------------------------------------

setup: dict[str, Any] = {}


@workflow
async def deployed() -> str:
    return str((await approval("boss", **setup)).decision)


BEFORE = {
    "approvers": ["ann"],
    "description": "Refund?",
    "notify": tell,
    "remind_every": 100,
    "escalate_after": 150,
    "escalate_to": ["carol"],
}
AFTER = {
    "approvers": ["bob"],
    "description": "Refund it?",
    "notify": tell,
    "remind_every": 7,
    "escalate_after": 1,
    "escalate_to": ["dora"],
}


@pytest.mark.parametrize("after", [AFTER, {"notify": tell}])
def test_a_deploy_changes_nothing_of_what_was_asked(after: dict[str, Any]) -> None:
    """Moments, people and texts stand as they were recorded."""
    setup.clear()
    setup.update(BEFORE)

    async def body(bench: Bench) -> None:
        run = (await bench.start("deployed")).run
        await asyncio.sleep(50)
        setup.clear()
        setup.update(after)
        await asyncio.sleep(350)
        await Approvals(bench.engine).decide(run, "boss", YES)
        assert await bench.result(run) == "approved"
        assert kinds() == ["asked", "reminder", "escalated", "reminder", "reminder", "decided"]
        assert {notice.description for notice in told} == {"Refund?"}
        assert told[-1].people == ["ann", "carol"]

    virtually([deployed, tell], body, url=URL, cached=0)


def test_notices_that_are_new_are_for_new_approvals() -> None:
    """An approval that was asked for without them stays without."""
    setup.clear()

    async def body(bench: Bench) -> None:
        run = (await bench.start("deployed")).run
        await asyncio.sleep(50)
        setup.update(BEFORE)
        await asyncio.sleep(350)
        await Approvals(bench.engine).decide(run, "boss", YES)
        assert await bench.result(run) == "approved"
        assert told == []

    virtually([deployed, tell], body, url=URL, cached=0)


@workflow
async def fails_later() -> str:
    ask = approval("boss", approvers=["ann"], timeout=5000, notify=tell, remind_every=100)
    await sleep(150)
    if "body" in broken:
        raise ValueError("no")
    return str((await ask).decision)


def test_who_was_told_of_an_end_is_asked_again_by_a_retry() -> None:
    """It was forgotten; what was told before the error stands, although its time is later now."""
    broken.add("body")

    async def body(bench: Bench) -> None:
        run = (await bench.start("fails_later")).run
        with pytest.raises(Ended):
            await bench.result(run)
        assert kinds() == ["asked", "reminder", "withdrawn"]
        broken.clear()
        await asyncio.sleep(1000)
        await bench.engine.retry(run, discard_cleanup=True)
        await asyncio.sleep(110)
        assert kinds() == ["asked", "reminder", "withdrawn", "asked", "reminder"]
        assert told[3].links == told[0].links
        assert told[3].previous == 2
        assert len(set(keys)) == len(told)  # a message that was posted is no other message
        await Approvals(bench.engine).decide(run, "boss", YES)
        assert await bench.result(run) == "approved"

    virtually([fails_later, tell], body, url=URL, cached=0)


# --- how it is asked for -------------------------------------------------------------------------


def test_who_is_asked_already_is_not_asked_again() -> None:
    """Where all of them are, nothing is escalated."""
    setup.clear()
    setup.update(approvers=["ann"], notify=tell, escalate_after=5)

    async def body(bench: Bench) -> None:
        for to, escalated in ((["ann"], []), (["ann", "bob"], ["bob"])):
            told.clear()
            setup.update(escalate_to=to)
            await bench.start("deployed")
            await asyncio.sleep(20)
            assert [each.people for each in told] == [["ann"], escalated][: 1 + len(escalated)]

    virtually([deployed, tell], body, url=URL)


@task
async def takes_nothing() -> None: ...


@pytest.mark.parametrize(
    ("options", "told_of"),
    [
        ({"notify": print}, "@task"),
        ({"notify": takes_nothing}, "TypeError"),
        ({"remind_every": 5}, "remind_every= needs notify="),
        ({"escalate_to": ["carol"]}, "escalate_to= needs notify="),
        ({"notify": tell, "remind_every": 0}, "remind_every must be"),
        ({"notify": tell, "escalate_after": 5}, "go together"),
        ({"notify": tell, "escalate_to": ["carol"]}, "go together"),
        ({"notify": tell, "escalate_to": "carol", "escalate_after": 5}, "list of texts"),
        ({"notify": tell, "escalate_to": ["c"], "escalate_after": 5}, "needs approvers="),
        (
            {
                "approvers": ["c"],
                "notify": tell,
                "escalate_after": 5,
                "escalate_to": [f"p{number}" for number in range(100)],
            },
            "at most 100 people",
        ),
        (
            {"approvers": ["c"], "notify": tell, "escalate_to": [" "], "escalate_after": 5},
            "list of texts",
        ),
        (
            {
                "approvers": ["c"],
                "notify": tell,
                "escalate_to": ["d", "d"],
                "escalate_after": 5,
            },
            "none of them twice",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], told_of: str) -> None:
    """At the call, and the sentence names the option."""
    setup.clear()
    setup.update(options)

    async def body(bench: Bench) -> None:
        with pytest.raises(Ended) as ended:
            await bench.run("deployed")
        assert ended.value.failure is not None
        assert told_of in f"{ended.value.failure.type}: {ended.value.failure.message}"

    virtually([deployed, tell], body, url=URL)


@workflow
async def many(n: int) -> list[str]:
    async def one(number: int) -> str:
        ask = approval(f"a{number}", approvers=["ann"], notify=tell, remind_every=50)
        return str((await ask).decision)

    return await asyncio.gather(*map(one, range(n)))


def test_many_are_as_much_as_each() -> None:
    """Entries and wakes grow with the approvals, and with what is told."""

    async def body(bench: Bench) -> None:
        counts = []
        for n in (20, 40):
            told.clear()
            run = (await bench.start("many", n=n)).run
            await asyncio.sleep(120)
            for number in range(n):
                await Approvals(bench.engine).decide(run, f"one[{number}]/a{number}", YES)
            assert len(await bench.result(run)) == n
            header, history = await bench.engine.history(run)
            assert len(told) == 4 * n
            counts.append((len(history.entries), header.epoch))
        (few, _), (much, _) = counts
        assert much < 2.1 * few

    virtually([many, tell], body, url=URL)
