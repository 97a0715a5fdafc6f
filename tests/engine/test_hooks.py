"""Hooks: who is told of runs that fail, are stuck or wait, and of schedules, in virtual time."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest

from rewake import (
    Alert,
    NonRetryable,
    alerts,
    concurrency,
    every,
    on_failure,
    sleep,
    step,
    task,
    wait_for_approval,
    workflow,
)
from rewake.app import App
from rewake.dispatchers.dispatcher import Parked
from rewake.errors import TransportUnavailable, UsageError
from rewake.states import RunState
from rewake.tags import served
from tests.support.virtual import TABLES, Bench, die, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
HOUR = 3_600
TOLD: list[Alert] = []


@pytest.fixture(autouse=True)
def _nothing_is_told() -> None:
    TOLD.clear()


@task
async def tell(alert: Alert) -> None:
    TOLD.append(alert)


@task
async def page(alert: Alert) -> None:
    TOLD.append(alert)


@workflow(on_failure=tell)
async def breaks(message: str = "no") -> None:
    await sleep(1)
    raise ValueError(message)


@workflow
async def also_breaks() -> None:
    raise KeyError("x")


@workflow
async def waits() -> str:
    return (await wait_for_approval("end")).decision.value


MEMBERS = (tell, page, breaks, also_breaks, waits)


@everywhere
def test_a_run_that_fails_is_told_once(table: str) -> None:
    """The workflow's own task is called with what has failed, and why; the outcome stays, and
    nothing is left to do.
    """

    async def body(bench: Bench) -> None:
        run = await bench.start("breaks", message="all is lost")
        await asyncio.sleep(60)
        [alert] = TOLD
        assert (alert.kind, alert.run, alert.workflow) == ("failed", run.run, "breaks")
        assert alert.error == "ValueError: all is lost"
        assert "rewake runs retry" in alert.text
        header = await bench.engine.get(run.run)
        assert (header.state, header.tells) == (RunState.FAILED, False)
        found, _ = await bench.engine.list()
        assert {each.workflow for each in found} == {"breaks", "tell-tell"}

    virtually(MEMBERS, body, table=table)


def test_an_app_wide_hook_is_told_of_all_but_what_tells() -> None:
    """A hook that fails for ever tells nobody of itself."""

    @task
    async def fails(alert: Alert) -> None:
        TOLD.append(alert)
        raise NonRetryable("out of order")

    async def body(bench: Bench) -> None:
        run = await bench.start("also_breaks")
        await asyncio.sleep(40 * HOUR)
        assert [each.run for each in TOLD] == [run.run] * 6
        assert len({each.id for each in TOLD}) == 1
        found, _ = await bench.engine.list()
        assert {(each.workflow, str(each.state)) for each in found} == {
            ("also_breaks", "failed"),
            ("tell-fails", "failed"),
        }

    virtually((also_breaks, fails, on_failure(fails)), body, sweep=60_000, lease=300_000)


@everywhere
def test_a_death_between_a_failure_and_its_hook_loses_nothing(table: str) -> None:
    """Who finds the run that has failed tells of it; of two that do, each alert is told once."""

    async def body(bench: Bench) -> None:
        hooks: Any = bench.engine.services.hooks

        async def dies(_: object) -> bool:
            die(bench.engine)
            await asyncio.Event().wait()
            return False

        hooks.tell = dies
        await bench.start("breaks")
        second = bench.another()
        second.open()
        await asyncio.sleep(120)
        assert len(TOLD) == 1
        bench.engine = second

    virtually(MEMBERS, body, table=table)


def test_a_server_without_the_code_leaves_it_to_others() -> None:
    """It does not take the run for told."""

    async def body(bench: Bench) -> None:
        hooks: Any = bench.engine.services.hooks

        async def dies(_: object) -> bool:
            die(bench.engine)
            await asyncio.Event().wait()
            return False

        hooks.tell = dies
        await bench.start("breaks")
        await asyncio.sleep(2)
        members, bench._app = bench._app, App()
        stranger = bench.another()
        stranger.open()
        await asyncio.sleep(300)
        assert not TOLD
        bench._app = members
        last = bench.another()
        last.open()
        await asyncio.sleep(120)
        assert len(TOLD) == 1
        await stranger.close()
        bench.engine = last

    virtually(MEMBERS, body)


@everywhere
def test_a_run_that_is_stuck_is_told_and_stays_whole(table: str) -> None:
    """With the reason; once it is resumed and stuck again, once more."""

    async def body(bench: Bench) -> None:
        run = await bench.start("waits")
        await asyncio.sleep(1)
        store = bench.engine.services.store
        claimed = await store.claim(run.run, bench.engine.services.run_claim(run.run))
        assert claimed is not None
        await store.give_up(run.run, claimed.owner, "it differs")  # type: ignore[union-attr]
        await asyncio.sleep(30)
        [alert] = TOLD
        assert (alert.kind, alert.error, alert.run) == ("stuck", "it differs", run.run)
        header = await bench.engine.get(run.run)
        assert (header.state, header.due, header.tells) == (RunState.STUCK, None, False)
        await bench.engine.resume(run.run)
        assert (await bench.engine.get(run.run)).state is not RunState.STUCK

    virtually((*MEMBERS, alerts(page)), body, table=table)


def test_a_run_that_waits_too_long_is_told_once() -> None:
    """Whatever it waits for, and in whichever process it is looked at."""

    async def body(bench: Bench) -> None:
        run = await bench.start("waits")
        await asyncio.sleep(2 * HOUR - 120)
        assert not TOLD
        await asyncio.sleep(240)
        other = bench.another()
        other.open()
        await asyncio.sleep(10 * HOUR)
        assert [(each.kind, each.run) for each in TOLD] == [("waiting", run.run)]
        await other.close()

    hook = alerts(page, waiting=timedelta(hours=2))
    virtually((*MEMBERS, hook), body, sweep=20_000, lease=120_000)


def test_a_run_that_waits_for_a_limit_or_in_a_step_is_told_too() -> None:
    """It is late, whoever keeps it; and it has its turn all the same."""

    async def long() -> None:
        await asyncio.sleep(1800)

    @workflow(limits=concurrency(1))
    async def busy() -> None:
        await step("long", long)

    async def body(bench: Bench) -> None:
        runs = [await bench.start("busy") for _ in range(2)]
        await asyncio.sleep(480)
        assert not TOLD
        await asyncio.sleep(520)
        assert {each.run for each in TOLD} == {each.run for each in runs}
        for each in runs:
            await bench.result(each.run)
        assert bench.seconds < 3700
        assert len(TOLD) == 2

    hook = alerts(page, waiting=timedelta(minutes=10))
    virtually((*MEMBERS, busy, hook), body, sweep=20_000, lease=120_000)


def test_a_schedule_that_leaves_a_run_out_is_told() -> None:
    """With its reason, and once."""

    @workflow(schedule=every(HOUR))
    async def slow() -> None:
        await sleep(90 * 60)

    async def body(bench: Bench) -> None:
        await asyncio.sleep(2 * HOUR)
        [alert] = TOLD
        assert (alert.kind, alert.schedule) == ("skipped", "slow")
        assert "has not ended" in alert.text
        assert bench.seconds > HOUR

    virtually((page, slow, alerts(page)), body, sweep=60_000, lease=300_000)


def test_a_flood_is_cut_and_told() -> None:
    """Of thirty failures five are told; the last says that there are more, and the next one, when
    the time is over, how many were left out.
    """

    async def body(bench: Bench) -> None:
        for _ in range(30):
            await bench.start("also_breaks")
        await asyncio.sleep(60)
        assert [each.last for each in sorted(TOLD, key=lambda a: a.last)] == [False] * 4 + [True]
        await asyncio.sleep(HOUR)
        TOLD.clear()
        await bench.start("also_breaks")
        await asyncio.sleep(60)
        assert [each.left_out for each in TOLD] == [25]

    virtually((*MEMBERS, alerts(page, most=5, per=HOUR)), body)


def test_a_hook_that_cannot_be_is_refused() -> None:
    """No task, a task that takes nothing, kinds that are none, numbers that are none."""

    @task
    async def nothing() -> None: ...

    refused: list[Any] = [
        lambda: on_failure(print),  # type: ignore[arg-type]
        lambda: on_failure(nothing),
        alerts,
        lambda: alerts(tell, kinds="failed"),
        lambda: alerts(tell, kinds=["failing"]),
        lambda: alerts(tell, kinds=["waiting"]),
        lambda: alerts(tell, kinds=[]),
        lambda: workflow(on_failure=nothing)(waits.function),
    ]
    for made in refused:
        with pytest.raises(UsageError):
            made()
    for bad in ({"most": 0}, {"most": True}, {"most": 1.5}, {"per": 0}, {"waiting": -1}):
        with pytest.raises(ValueError, match="m"):
            alerts(tell, **bad)


@task(tag="gpu")
async def train() -> None:
    pass


@workflow
async def trains() -> None:
    await train()


def test_a_run_that_is_late_is_told_once() -> None:
    """If nobody takes its task, whoever is to be told of that is, with what helps."""

    async def body(bench: Bench) -> None:
        run = await bench.start("trains")
        await asyncio.sleep(HOUR)
        [alert] = TOLD
        assert (alert.kind, alert.run, alert.workflow) == ("overdue", run.run, "trains")
        assert alert.then == "rewake serve --tags gpu"
        assert "should have moved, and has not: unserved-tag" in alert.text

    virtually([page, train, trains, alerts(page, kinds=["overdue"])], body)


def test_what_is_found_is_counted_once_however_many_servers_look() -> None:
    """Of six late runs two are told, the second says that there are more, and the next one that
    four were left out. Once the server dies that looks, another one does.
    """

    async def body(bench: Bench) -> None:
        other = bench.another()
        other.open()
        for _ in range(6):
            await bench.start("trains")
        await asyncio.sleep(1500)
        assert [(each.left_out, each.last) for each in TOLD] == [(0, False), (0, True)]
        await bench.start("trains")
        await asyncio.sleep(600)
        assert (len(TOLD), TOLD[2].left_out) == (3, 4)
        looks = [cast("Any", each.services.hooks)._told for each in bench.made]
        assert sorted(map(len, looks)) == [0, 7]
        die(bench.made[0 if looks[0] else 1])
        bench.engine = bench.made[1 if looks[0] else 0]
        await asyncio.sleep(1200)
        assert len(TOLD) > 3

    hook = alerts(page, kinds=["overdue"], most=2, per=900)
    virtually([page, train, trains, hook], body)


@workflow
async def trains_long() -> None:
    async def soon(number: int) -> None:
        await asyncio.sleep(number)
        await shortly(number)

    await asyncio.gather(*(soon(number) for number in range(6)))


@task(tag="gpu")
async def shortly(number: int) -> None:
    await asyncio.sleep(400)


def test_a_run_whose_tasks_are_late_one_after_the_other_is_told_once() -> None:
    """Another one of them waits for longest all the time, while its servers have no room."""

    async def body(bench: Bench) -> None:
        other = bench.another(served=served(["gpu"]))
        other.open()
        await bench.start("trains_long")
        await asyncio.sleep(2000)
        assert [each.kind for each in TOLD] == ["overdue"]
        await other.close()

    hook = alerts(page, kinds=["overdue"])
    virtually([page, shortly, trains_long, hook], body, tasks=1)


class Parking:
    """A queue in which one message is parked, and that fails at first."""

    looks = 0

    async def page(self, most: int) -> tuple[list[Parked], bool]:
        self.looks += 1
        if self.looks == 1:
            raise TransportUnavailable("not now")
        return [Parked("m1", 0, "nobody could read it", "", "", 9, "{}")], False


def test_a_message_of_what_tells_is_not_told_of() -> None:
    """If no message can be handled, those that tell of that are parked as well: it ends there."""

    async def body(bench: Bench) -> None:
        parked = [Parked("m1", 0, "its signature is wrong", "other", "", 9, "{}")]

        class All:
            async def page(self, most: int) -> tuple[list[Parked], bool]:
                for header in (await bench.engine.list())[0]:
                    of_it = Parked(f"m-{header.run}", 0, "", header.run, "", 9, "{}")
                    parked.extend([] if of_it in parked else [of_it])
                return parked, False

        cast("Any", bench.engine.services.dispatcher).dead_letters = All()
        await asyncio.sleep(HOUR)
        assert [each.message for each in TOLD] == ["m1"]

    virtually([page, alerts(page, kinds=["dead_letter"])], body)


def test_a_message_that_is_parked_is_told_once() -> None:
    """Whoever is to be told of those is, however often it is seen; a look that fails is made again,
    and costs a request a minute.
    """

    async def body(bench: Bench) -> None:
        parking, dispatcher = Parking(), cast("Any", bench.engine.services.dispatcher)
        dispatcher.dead_letters = parking
        await asyncio.sleep(HOUR)
        [alert] = TOLD
        assert (alert.kind, alert.message, alert.run) == ("dead_letter", "m1", "")
        assert alert.then == "rewake deadletters show m1"
        assert alert.text.startswith("message m1 could be handled by nobody, and is parked: nobody")
        assert 55 <= parking.looks <= 61

    virtually([page, alerts(page, kinds=["dead_letter"])], body)
