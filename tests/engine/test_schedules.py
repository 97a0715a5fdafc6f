"""Schedules: which runs they start, when, and which not, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from rewake import Workflow, cron, every, rate, scheduled_at, sleep, workflow
from rewake.app import App
from rewake.engine.engine import Engine
from rewake.engine.schedules.schedules import PAUSED, Schedules
from rewake.errors import AppError, InvalidInput, RunNotFound, ScheduleConflict, ScheduleNotFound
from rewake.ledger import Schedule
from rewake.records import Header
from rewake.schedules.definition import Definition, due_of, run_of_moment, times_of
from rewake.schedules.times import many
from rewake.testing.clock import EPOCH
from tests.support.virtual import TABLES, Bench, die, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
HOUR, DAY = 3_600, 86_400
RARE: Any = {"sweep": 60_000, "lease": 300_000}
"""Settings under which days pass quickly."""


def report(*schedules: Definition, takes: float = 1) -> Workflow[..., str]:
    """A workflow of these schedules, whose runs take so many seconds."""

    @workflow(schedule=list(schedules))
    async def report(team: str = "all") -> str:
        await sleep(takes)
        moment = scheduled_at()
        return f"{team} {moment:%H:%M:%S}" if moment is not None else team

    return report


async def runs(bench: Bench) -> list[Header]:
    """All runs, oldest first."""
    found, _ = await bench.engine.list(limit=200)
    return found[::-1]


async def started(bench: Bench) -> list[float]:
    """When each run began, in seconds."""
    return [(each.created - EPOCH) / 1000 for each in await runs(bench)]


def told(schedule: Schedule) -> list[str]:
    """Why nominal times had no run."""
    return [each.why for each in schedule.became if each.why]


def play(
    members: list[object], body: Callable[[Bench, Schedules], Awaitable[None]], **how: Any
) -> None:
    async def main(bench: Bench) -> None:
        await asyncio.sleep(0.5)
        await body(bench, bench.engine.schedules)

    virtually(members, main, **{**RARE, **how})


@everywhere
def test_each_nominal_time_has_a_run_that_knows_it(table: str) -> None:
    """A run begins at its time, under an id that is made of it, with the arguments, and its body
    knows for which time it is, also on replay.
    """

    async def body(bench: Bench, schedules: Schedules) -> None:
        await asyncio.sleep(2 * HOUR + 120)
        found = await runs(bench)
        assert [each.run for each in found] == [
            "report:2023-11-14T23:00:00Z",
            "report:2023-11-15T00:00:00Z",
        ]
        bench.engine.services.cache.clear()
        assert await bench.result(found[0].run) == "x 23:00:00"
        schedule = await schedules.get("report")
        assert (schedule.started, schedule.skipped, schedule.last) == (2, 0, found[1].run)

    play([report(every(timedelta(hours=1), input={"team": "x"}))], body, table=table)


def test_a_cron_line_is_in_its_zone() -> None:
    """Nine o'clock in Zurich is at 08:00 UTC in winter."""

    async def body(bench: Bench, _: Schedules) -> None:
        await asyncio.sleep(DAY)
        [run] = await runs(bench)
        assert run.run == "report:2023-11-15T09:00"
        assert datetime.fromtimestamp(run.created / 1000, UTC).hour == 8

    play([report(cron("0 9 * * mon-fri", tz="Europe/Zurich"))], body)


@everywhere
def test_many_replicas_start_each_run_once(table: str) -> None:
    """Of five processes that sweep at the same moment, one starts the run; the others write
    nothing of it.
    """

    async def body(bench: Bench, schedules: Schedules) -> None:
        others = [bench.another() for _ in range(4)]
        for each in others:
            each.open()
        await asyncio.sleep(10 * 60 + 5)
        assert len(await runs(bench)) == 10
        assert (await schedules.get("report")).started == 10
        for each in others:
            await each.close()

    play([report(every(60))], body, table=table, sweep=1_000, lease=5_000)


@pytest.mark.parametrize(
    ("overlap", "begins", "skipped"),
    [
        ("allow", [400, 1000, 1600, 2200, 2800, 3400], 0),
        ("skip", [400, 2200], 4),
        ("queue", [400, 2000], 0),
        ("cancel", [400, 1000, 1600, 2200, 2800, 3400], 0),
    ],
)
def test_the_policy_says_what_overlapping_runs_do(
    overlap: str, begins: list[int], skipped: int
) -> None:
    """Runs of 25 minutes, every ten: beside each other, left out, one after the other, or each
    ends the one before.
    """

    async def body(bench: Bench, schedules: Schedules) -> None:
        await asyncio.sleep(HOUR - 1)
        assert await started(bench) == pytest.approx(begins, abs=200)
        found = await schedules.get("report")
        assert found.skipped == skipped
        assert all("has not ended" in why for why in told(found))
        ended = [each for each in await runs(bench) if each.state == "cancelled"]
        assert len(ended) == (5 if overlap == "cancel" else 0)

    play([report(every(600, overlap=overlap), takes=1500)], body)


def test_a_queue_moves_on_where_a_sweep_comes_each_minute() -> None:
    """Runs that are short follow one another as long as a process may wait that stands still then:
    one a sweep would fall behind for ever.
    """

    async def body(bench: Bench, _: Schedules) -> None:
        for _minute in range(10):
            await asyncio.sleep(60)
            await bench.engine.sweep()
            await bench.engine.rest(20)
        assert len(await runs(bench)) >= 27

    short = report(every(20, overlap="queue"), takes=0.1)
    play([short], body, sweeps=False, pauses=True)


def test_what_was_missed_is_caught_up_within_the_window() -> None:
    """A server was away for ten hours: what is not older than the window is started, the rest is
    passed over in one step, with its reason.
    """

    async def body(bench: Bench, _: Schedules) -> None:
        die(bench.engine)
        await asyncio.sleep(10 * HOUR)
        bench.engine = bench.another()
        bench.engine.open()
        await asyncio.sleep(60)
        assert len(await runs(bench)) == 3
        found = await bench.engine.schedules.get("report")
        assert (found.started, found.skipped) == (3, 1)
        [why] = told(found)
        assert "no server could start it in time" in why

    play([report(every(HOUR, overlap="allow", catch_up=timedelta(hours=3)))], body)


def test_a_look_at_what_is_not_due_reads_nothing() -> None:
    """A thousand schedules that are due next year cost the sweeps of an hour no read and no
    write; one that is due costs one read, two writes, and its run.
    """

    async def body(bench: Bench, schedules: Schedules) -> None:
        far = datetime(2025, 1, 1, tzinfo=UTC)
        for number in range(1_000):
            await schedules.create("report", every(HOUR, start=far, name=f"s{number}"))
        counted = Counting(bench.table)
        bench.engine.services.store.schedules._table = counted
        bench.engine.services.store._table = counted
        await asyncio.sleep(40 * 60)
        assert not counted.schedules
        await asyncio.sleep(10 * 60)
        assert counted.schedules == ["get", "update", "update"]

    play([report(every(HOUR))], body)


class Counting:
    """A table that notes what is asked of it about schedules."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self.schedules: list[str] = []

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self._table, name)

        def noted(*given: Any, **how: Any) -> Any:
            if given and getattr(given[0], "partition", "").startswith("Z"):
                self.schedules.append(name)
            return asked(*given, **how)

        return noted if callable(asked) else asked


def test_jitter_is_the_same_for_each_time_and_differs_between_them() -> None:
    """It delays each run by chance that follows from schedule and time; none is lost by it."""

    async def body(bench: Bench, schedules: Schedules) -> None:
        await asyncio.sleep(5 * HOUR)
        found = await schedules.get("report")
        moments = many(times_of(found), EPOCH, EPOCH + 5 * HOUR * 1000, 10)
        expected = [(due_of(found, each) - EPOCH) / 1000 for each in moments]
        assert await started(bench) == pytest.approx(expected[: len(await runs(bench))], abs=1)
        late = [due_of(found, each) - each for each in moments]
        assert len({*late}) > 3
        assert all(0 <= each <= 600_000 for each in late)

    play([report(every(HOUR, jitter=600))], body, sweep=5_000, horizon=6_000, lease=60_000)


def test_a_paused_schedule_starts_nothing_and_what_passed_has_no_run() -> None:
    """Also what was due while it was paused; the note is kept until it is resumed."""

    async def body(bench: Bench, schedules: Schedules) -> None:
        paused = await schedules.pause("report", "an inventory", by="token:ops")
        assert (paused.noted, paused.by, paused.due) == ("an inventory", "token:ops", None)
        await asyncio.sleep(3 * HOUR)
        found = await schedules.resume("report")
        assert not await runs(bench)
        assert (found.skipped, [each.why for each in found.became]) == (1, [PAUSED])
        assert found.became[0].until == found.next
        await asyncio.sleep(HOUR)
        assert len(await runs(bench)) == 1

    play([report(every(HOUR))], body)


def test_what_waited_as_a_pause_began_is_told_to_have_no_run() -> None:
    """A time that was due before, and waited for the run before, does not get lost in silence."""

    async def body(bench: Bench, schedules: Schedules) -> None:
        await asyncio.sleep(2 * HOUR)
        waits = (await schedules.get("report")).next
        assert waits is not None
        await schedules.pause("report")
        await asyncio.sleep(60)
        await schedules.change("report", every(2 * HOUR, overlap="queue"))
        found = await schedules.resume("report")
        assert len(await runs(bench)) == found.started == found.skipped == 1
        assert [(each.at, each.why) for each in found.became[1:]] == [(waits, PAUSED)]

    play([report(every(HOUR, overlap="queue"), takes=DAY)], body)


def test_a_trigger_starts_a_run_now_paused_or_not() -> None:
    """It knows that its schedule started it, and the next nominal time stays."""

    async def body(bench: Bench, schedules: Schedules) -> None:
        before = await schedules.pause("report")
        header, new = await schedules.trigger("report", run="by-hand")
        assert new
        assert not (await schedules.trigger("report", run="by-hand"))[1]
        assert await bench.result(header.run) == "all 22:13:20"
        assert (await schedules.get("report")).next == before.next

    play([report(every(HOUR))], body)


@pytest.mark.parametrize("queue", [False, True])
def test_a_backfill_starts_runs_of_the_past_once(queue: bool) -> None:
    """All that have none, at once or one after the other; doing it again starts none."""

    async def body(bench: Bench, schedules: Schedules) -> None:
        since, until = EPOCH - 5 * HOUR * 1000, EPOCH
        _, moments = await schedules.backfill("report", since, until, queue=queue)
        await asyncio.sleep(600)
        found = await runs(bench)
        schedule = await schedules.get("report")
        assert {each.run for each in found} == {run_of_moment(schedule, n) for n in moments}
        spread = [later.created - sooner.created for sooner, later in pairwise(found)]
        assert all((each >= 40_000) is queue for each in spread)
        await schedules.backfill("report", since, until)
        await asyncio.sleep(60)
        assert len(await runs(bench)) == len(moments) == 5
        assert not (await schedules.get("report")).backfills

    play([report(every(HOUR), takes=40)], body)


def test_a_backfill_has_bounds_and_says_so() -> None:
    """More than a thousand runs, none, what is not over, or too many at a time are refused."""

    async def body(bench: Bench, schedules: Schedules) -> None:
        year = 365 * DAY * 1000
        with pytest.raises(InvalidInput, match="at most 1,000 runs"):
            await schedules.backfill("report", EPOCH - year, EPOCH)
        with pytest.raises(InvalidInput, match="no time between"):
            await schedules.backfill("report", EPOCH - 1000, EPOCH - 500)
        with pytest.raises(InvalidInput, match="later than now"):
            await schedules.backfill("report", EPOCH, EPOCH + year)
        with pytest.raises(ScheduleNotFound):
            await schedules.backfill("other", EPOCH - year, EPOCH)
        _, found = await schedules.backfill("report", EPOCH - DAY * 1000, EPOCH, dry_run=True)
        assert len(found) == 24
        assert not (await schedules.get("report")).backfills
        for _ in range(10):
            await schedules.backfill("report", EPOCH - DAY * 1000, EPOCH)
        with pytest.raises(ScheduleConflict, match="not done yet"):
            await schedules.backfill("report", EPOCH - DAY * 1000, EPOCH)

    play([report(every(HOUR))], body)


def test_a_deploy_replaces_what_was_overridden_and_says_so() -> None:
    """A request overrides what the code says until the code says something else; a pause stays."""

    async def body(bench: Bench, schedules: Schedules) -> None:
        await schedules.change("report", every(2 * HOUR, name="report"), by="token:ops")
        await schedules.pause("report")
        same = bench.another()
        await same.schedules.take_over()
        assert (await schedules.get("report")).period == 2 * HOUR * 1000
        app = App()
        app.add(report(every(30 * 60)))
        bench._app = app
        await bench.another().schedules.take_over()
        found = await schedules.get("report")
        assert (found.period, found.paused, found.by) == (30 * 60 * 1000, True, "")

    play([report(every(HOUR))], body)


def test_an_older_server_that_starts_again_changes_nothing_while_newer_ones_live() -> None:
    """In a rolling deploy the newer code stands; a deploy that goes back wins once it is alone."""
    often = 600

    def deploy(bench: Bench, period: float) -> Engine:
        bench._app = App()
        bench._app.add(report(every(period), takes=1))
        made = bench.another()
        made.open()
        return made

    async def period(schedules: Schedules) -> int:
        return (await schedules.get("report")).period // 1000

    async def body(bench: Bench, schedules: Schedules) -> None:
        newer = deploy(bench, 2 * often)
        await asyncio.sleep(15)
        assert await period(schedules) == 2 * often
        older = [deploy(bench, often), bench.engine]
        for _ in range(10):  # also while its runs are due
            await asyncio.sleep(often / 2)
            assert await period(schedules) == 2 * often
        begun = await started(bench)
        assert len(begun) == 3
        await newer.close()
        await asyncio.sleep(400)
        assert await period(schedules) == often
        again = deploy(bench, 2 * often)
        await asyncio.sleep(700)
        assert await period(schedules) == often
        assert not (await schedules.get("report")).trouble
        for each in older:
            await each.close()
        await asyncio.sleep(400)
        assert await period(again.schedules) == 2 * often
        third = deploy(bench, 3 * often)
        await asyncio.sleep(15)
        assert await period(again.schedules) == 3 * often
        await again.close()
        await third.close()

    play([report(every(often))], body, sweep=10_000)


def test_runs_of_a_schedule_of_the_code_are_its_tenants() -> None:
    """`tenant=` says whose they are; a deploy that names another one says so."""

    async def body(bench: Bench, schedules: Schedules) -> None:
        await asyncio.sleep(HOUR)
        [run] = await runs(bench)
        assert run.tenant == "acme"
        app = App()
        app.add(report(every(HOUR, tenant="other")))
        bench._app = app
        await bench.another().schedules.take_over()
        assert (await schedules.get("report")).tenant == "other"

    play([report(every(HOUR, tenant="acme"))], body)
    with pytest.raises(InvalidInput, match="a tenant is"):
        every(HOUR, tenant="a b")


def test_a_schedule_of_code_that_is_gone_is_shown_and_starts_nothing() -> None:
    """Neither of a workflow that the app has no more, nor one that its code has no more; it says
    why, and goes on once the code is back.
    """

    async def body(bench: Bench, _: Schedules) -> None:
        await bench.engine.close()
        gone = [report(), _other()]
        for each in gone:
            app = App()
            app.add(each)
            bench._app = app
            engine = bench.another()
            engine.open()
            await asyncio.sleep(2 * HOUR)
            found = await engine.schedules.get("report")
            assert found.trouble
            assert not engine.schedules.is_served(found)
            await engine.close()
        assert not await runs(bench)
        back = App()
        back.add(report(every(HOUR, overlap="allow")))
        bench._app = back
        bench.engine = bench.another()
        bench.engine.open()
        await asyncio.sleep(60)
        assert len(await runs(bench)) == 4

    play([report(every(HOUR, overlap="allow"))], body)


def _other() -> Workflow[..., None]:
    @workflow
    async def other() -> None: ...

    return other


def test_what_a_throttle_refuses_has_no_run_and_a_backfill_waits() -> None:
    """A nominal time at which a start is refused is left out, with the reason; those of the past,
    which nothing makes late, begin as the throttle allows.
    """

    @workflow(throttle=rate(1, per=2 * HOUR), schedule=every(HOUR))
    async def seldom() -> None: ...

    async def body(bench: Bench, schedules: Schedules) -> None:
        await asyncio.sleep(4 * HOUR)
        found = await schedules.get("seldom")
        assert (found.started, found.skipped) == (2, 2)
        assert all("started too often" in why for why in told(found))
        await schedules.pause("seldom")
        since = EPOCH - 3 * HOUR * 1000
        _, moments = await schedules.backfill("seldom", since, EPOCH)
        await asyncio.sleep(8 * HOUR)
        assert (await schedules.get("seldom")).started == 2 + len(moments) == 5
        assert not (await schedules.get("seldom")).backfills

    play([seldom], body)


def test_arguments_that_fit_no_more_start_nothing_and_are_told() -> None:
    """A deploy that changes a workflow's parameters strands its schedule; a fix within the window
    starts what was due.
    """

    async def body(bench: Bench, schedules: Schedules) -> None:
        made = every(HOUR, input={"team": "x"}, name="extra")
        await schedules.create("report", made, by="token:ops")
        found = await schedules.get("extra")
        await bench.engine.services.store.schedules.change(found, "m", {"inputs": '{"no": 1}'})
        await asyncio.sleep(HOUR)
        found = await schedules.get("extra")
        assert "do not fit" in found.trouble
        assert found.next is not None
        assert found.next < EPOCH + HOUR * 1000
        await schedules.change("extra", made)
        await asyncio.sleep(60)
        assert [each.run[:5] for each in await runs(bench)].count("extra") == 1

    play([report(every(HOUR))], body)


def test_a_request_for_a_schedule_that_cannot_be_is_refused() -> None:
    """A workflow that there is not, arguments that do not fit, a name that is taken."""

    async def body(_: Bench, schedules: Schedules) -> None:
        with pytest.raises(RunNotFound):
            await schedules.create("nothing", every(60, name="a"))
        with pytest.raises(InvalidInput) as refused:
            await schedules.create("report", every(60, name="a", input={"x": 1}))
        assert refused.value.field == "x"
        with pytest.raises(ScheduleConflict):
            await schedules.create("report", every(60, name="report"))
        with pytest.raises(ScheduleNotFound):
            await schedules.pause("a")
        await schedules.delete("report")
        with pytest.raises(ScheduleNotFound):
            await schedules.get("report")

    play([report(every(HOUR))], body)


def test_a_clock_that_is_set_back_starts_nothing_twice() -> None:
    """What is done with stays so: the schedule waits until its next time comes round."""

    async def body(bench: Bench, schedules: Schedules) -> None:
        await asyncio.sleep(2 * HOUR)
        clock: Any = bench.engine.services.clock
        now, back = clock.now, 5 * HOUR * 1000
        clock.now = lambda: now() - back
        await schedules.pause("report")
        await schedules.resume("report")
        await schedules.change("report", every(HOUR, overlap="allow"))
        await asyncio.sleep(6 * HOUR)
        found = await runs(bench)
        assert len({each.run for each in found}) == len(found) == 3
        assert [each.run[7:] for each in found][-1] == "2023-11-15T01:00:00Z"

    play([report(every(HOUR, overlap="allow"))], body)


@pytest.mark.parametrize(
    ("made", "field"),
    [
        (lambda: every(60, jitter=60), "jitter"),
        (lambda: cron("*/10 * * * *", jitter=timedelta(minutes=10)), "jitter"),
        (lambda: every(60, jitter=-1), "jitter"),
        (lambda: every(float("nan")), "every"),
        (lambda: every(True), "every"),
        (lambda: every(60, overlap="both"), "overlap"),
        (lambda: every(60, catch_up=float("inf")), "catch_up"),
        (lambda: every(60, name="a/b"), "name"),
        (lambda: every(60, input={"x": object()}), "input"),
        (lambda: every(60, input={"x": "y" * 20_000}), "input"),
        (lambda: every(60, start=datetime(2026, 1, 1)), "start"),  # noqa: DTZ001
        (lambda: cron("0 0 30 2 *"), "cron"),
        (lambda: cron("0 0 * * *", tz="Mars"), "tz"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_where_it_is_written(
    made: Callable[[], Definition], field: str
) -> None:
    """The error names the option."""
    with pytest.raises(InvalidInput) as refused:
        made()
    assert refused.value.field == field


def test_schedules_of_an_app_have_names_and_arguments_that_fit() -> None:
    """Two of one name, a workflow's name that can be none, and input that does not fit."""
    with pytest.raises(AppError, match="two schedules are named"):
        report(every(60), every(70))
    with pytest.raises(AppError, match="cron"):
        workflow(schedule="0 9 * * *")(report().function)  # type: ignore[arg-type]
    with pytest.raises(AppError, match="does not fit"):
        App().add(report(every(60, input={"nope": 1})))
    with pytest.raises(AppError, match="name= of its own"):
        workflow(name="bö", schedule=every(60))(report().function)
