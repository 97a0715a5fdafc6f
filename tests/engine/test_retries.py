"""A failed run goes on from before what ended it, with all that was recorded."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import Any

import pytest

from rewake import (
    Approval,
    Decision,
    TaskError,
    now,
    parallel,
    sleep,
    step,
    task,
    task_context,
    wait_for_approval,
    workflow,
)
from rewake.engine.outside.approvals import Approvals
from rewake.engine.starts.starting import IfFinished
from rewake.errors import RunConflict
from rewake.records import Header
from rewake.states import RunState
from rewake.views.timeline import OperationView, timeline
from tests.support.virtual import TABLES, Bench, Ended, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
warm_and_cold = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])
broken: dict[str, bool] = {}
done: list[str] = []
keys: set[str] = set()


@pytest.fixture(autouse=True)
def _as_new() -> None:
    broken.clear()
    broken.update(charge=True, body=True, step=True, slow=True)
    done.clear()
    keys.clear()


def note(what: str) -> None:
    done.append(what)


@task
async def reserve(n: int) -> str:
    note(f"reserve {n}")
    return f"seat {n}"


@task
async def charge(amount: int) -> str:
    note(f"charge {amount} {task_context().attempt}")
    keys.add(task_context().idempotency_key)
    if broken["charge"]:
        raise ConnectionError("no bank")
    return f"paid {amount}"


@task
async def refund() -> str:
    note("refund")
    return "refunded"


@task
async def slow() -> str:
    await asyncio.sleep(100 if broken["slow"] else 1)
    note("slow")
    return "slow"


@workflow
async def buys(amount: int) -> list[str]:
    seat = await reserve(amount)
    receipt = await charge(amount)
    return [seat, receipt, await reserve(amount + 1)]


async def failed(bench: Bench, workflow: str, /, **arguments: Any) -> Header:
    """A run of it that has failed."""
    header = await bench.start(workflow, **arguments)
    with pytest.raises(Ended):
        await bench.result(header.run)
    return await bench.engine.get(header.run)


async def mended(bench: Bench, workflow: str, *, discard: bool = False, **arguments: Any) -> Any:
    """The result of a run that failed, and was retried once nothing was broken any more."""
    header = await failed(bench, workflow, **arguments)
    await asyncio.sleep(500)
    broken.update(dict.fromkeys(broken, False))
    await bench.engine.retry(header.run, discard_cleanup=discard)
    return await bench.result(header.run)


async def operations(bench: Bench, run: str) -> dict[str, OperationView]:
    _, history = await bench.engine.history(run)
    return {each.key: each for each in timeline(history)[1]}


@everywhere
@warm_and_cold
def test_a_failed_task_runs_again_and_nothing_before_it(table: str, cached: int) -> None:
    """What succeeded stays, the task that failed has the next number, and the run goes on."""

    async def body(bench: Bench) -> None:
        result = await mended(bench, "buys", amount=7)
        assert result == ["seat 7", "paid 7", "seat 8"]
        assert done == ["reserve 7", "charge 7 1", "charge 7 2", "reserve 8"]
        assert len(keys) == 1
        header = (await bench.engine.list())[0][0]
        assert (header.round, header.state) == (1, RunState.DONE)
        charged = (await operations(bench, header.run))["charge"]
        assert [(each.attempt, bool(each.error)) for each in charged.tries] == [
            (1, True),
            (2, False),
        ]
        assert charged.attempts == 2

    virtually([buys, reserve, charge], body, table=table, cached=cached)


@everywhere
@warm_and_cold
def test_it_fails_again_and_is_retried_again(table: str, cached: int) -> None:
    """Each retry is a round of its own; the history shows each with the error it mends."""

    async def body(bench: Bench) -> None:
        header = await failed(bench, "buys", amount=1)
        for _ in range(3):
            await bench.engine.retry(header.run)
            with pytest.raises(Ended):
                await bench.result(header.run)
        broken["charge"] = False
        await bench.engine.retry(header.run)
        assert await bench.result(header.run) == ["seat 1", "paid 1", "seat 2"]
        assert [line for line in done if "charge" in line] == [f"charge 1 {n}" for n in range(1, 6)]
        _, history = await bench.engine.history(header.run)
        entries, _ = timeline(history)
        shown = [each for each in entries if each["type"] == "retried"]
        assert [each["error"].type for each in shown] == ["TaskError"] * 4

    virtually([buys, reserve, charge], body, table=table, cached=cached)


def one(each: int) -> int:
    note(f"step {each}")
    return 1


@workflow
async def adds(n: int) -> int:
    total = 0
    for each in range(n):
        total += await step("one", partial(one, each))
    if broken["body"]:
        raise ValueError("a bug")
    return total + await step("last", lambda: 100)


@everywhere
@warm_and_cold
def test_the_last_segment_of_a_body_that_raised_runs_again(table: str, cached: int) -> None:
    """The step before a bug is not repeated; what follows it is asked for anew."""

    async def body(bench: Bench) -> None:
        assert await mended(bench, "adds", n=3) == 103
        assert done == ["step 0", "step 1", "step 2"]

    virtually([adds], body, table=table, cached=cached)


@everywhere
@warm_and_cold
def test_a_body_that_raised_at_once_begins_anew(table: str, cached: int) -> None:
    """Nothing was recorded but the arguments: these are the same."""

    async def body(bench: Bench) -> None:
        assert await mended(bench, "adds", n=0) == 100

    virtually([adds], body, table=table, cached=cached)


@workflow
async def stumbles(after: str) -> str:
    match after:
        case "task":
            await reserve(1)
        case "sleep":
            await sleep(3600)
        case "asyncio":
            await asyncio.sleep(3600)
        case "approval":
            await wait_for_approval("ok")
        case "caught":
            with contextlib.suppress(TaskError):
                await charge(1)
    if broken["body"]:
        raise ValueError("a bug")
    return f"fine after {after}"


@everywhere
@warm_and_cold
@pytest.mark.parametrize("after", ["task", "sleep", "asyncio", "approval", "caught"])
def test_what_a_body_had_observed_before_its_bug_stands(
    table: str, cached: int, after: str
) -> None:
    """No task runs again, no sleep begins anew, no person is asked again."""

    async def body(bench: Bench) -> None:
        header = await bench.start("stumbles", after=after)
        if after == "approval":
            await asyncio.sleep(1)
            await Approvals(bench.engine).decide(header.run, "ok", Approval(Decision.APPROVED))
        with pytest.raises(Ended):
            await bench.result(header.run)
        broken.update(charge=False, body=False)
        before, work = bench.seconds, list(done)
        await bench.engine.retry(header.run)
        assert await bench.result(header.run) == f"fine after {after}"
        assert bench.seconds - before < 1
        assert done == work

    virtually([stumbles, reserve, charge], body, table=table, cached=cached)


async def fragile() -> str:
    note(f"fragile {task_context().attempt}")
    if broken["step"]:
        raise OSError("broken")
    return "whole"


@workflow
async def steps(retries: int = 2, once: bool = False) -> str:
    return await step("fragile", fragile, retries=retries, delay=1, at_most_once=once)


@everywhere
@warm_and_cold
def test_a_failed_step_has_all_its_attempts_again(table: str, cached: int) -> None:
    """The numbers go on; each attempt of each round is on record, with its log."""

    async def body(bench: Bench) -> None:
        header = await failed(bench, "steps")
        await bench.engine.retry(header.run)
        with pytest.raises(Ended):
            await bench.result(header.run)
        broken["step"] = False
        await bench.engine.retry(header.run)
        assert await bench.result(header.run) == "whole"
        assert done == [f"fragile {n}" for n in range(1, 8)]
        tries = (await operations(bench, header.run))["fragile"].tries
        assert [each.attempt for each in tries] == [1, 2, 3, 4, 5, 6, 7]
        assert [bool(each.error) for each in tries] == [True] * 6 + [False]

    virtually([steps], body, table=table, cached=cached)


@everywhere
@warm_and_cold
def test_a_step_that_runs_at_most_once_is_begun_again_if_that_is_said(
    table: str, cached: int
) -> None:
    """It was begun once already, and may have done half of its work: a person must agree."""

    async def body(bench: Bench) -> None:
        header = await failed(bench, "steps", retries=0, once=True)
        broken["step"] = False
        with pytest.raises(RunConflict, match=r"fragile.*discard_cleanup"):
            await bench.engine.retry(header.run)
        assert done == ["fragile 1"]
        await bench.engine.retry(header.run, discard_cleanup=True)
        assert await bench.result(header.run) == "whole"
        assert done == ["fragile 1", "fragile 2"]

    virtually([steps], body, table=table, cached=cached)


@workflow
async def sleeps() -> None:
    await sleep(3600)


@workflow
async def compensates(wrap: bool = False, finally_: bool = False) -> str:
    seat = await reserve(1)
    try:
        return seat + await charge(1)
    except TaskError as error:
        await refund()
        if wrap:
            raise RuntimeError("not bought") from error
        raise


@everywhere
@warm_and_cold
@pytest.mark.parametrize("wrap", [False, True])
def test_a_compensation_is_forgotten_only_when_told(table: str, cached: int, wrap: bool) -> None:
    """A retry goes back before the task that failed; it names what was done since, and refuses."""

    async def body(bench: Bench) -> None:
        header = await failed(bench, "compensates", wrap=wrap)
        broken["charge"] = False
        with pytest.raises(RunConflict, match=r"the task refund \(refund\); .*discard_cleanup"):
            await bench.engine.retry(header.run)
        same = await bench.engine.get(header.run)
        assert (same.mark, same.state) == (header.mark, RunState.FAILED)
        await bench.engine.retry(header.run, discard_cleanup=True)
        assert await bench.result(header.run) == "seat 1paid 1"
        assert done == ["reserve 1", "charge 1 1", "refund", "charge 1 2"]

    virtually([compensates, reserve, charge, refund], body, table=table, cached=cached)


def test_a_dry_run_is_refused_what_would_be() -> None:
    """It says so in the same words, and changes nothing, whatever is asked for."""

    async def body(bench: Bench) -> None:
        header = await failed(bench, "compensates")
        engine, run = bench.engine, header.run
        with pytest.raises(RunConflict, match=r"the task refund \(refund\); .*discard_cleanup"):
            await engine.retry(run, dry_run=True)
        await engine.retry(run, discard_cleanup=True, dry_run=True)
        for refused, told in (
            (engine.kill(run, dry_run=True), "is over"),
            (engine.cancel(run, dry_run=True), "is over"),
            (engine.resume(run, dry_run=True), "is neither stuck nor paused: it is failed"),
        ):
            with pytest.raises(RunConflict, match=told):
                await refused
        assert await engine.get(run) == header
        going = await bench.start("sleeps")
        await asyncio.sleep(1)
        header = await engine.get(going.run)
        await engine.kill(going.run, dry_run=True)
        await engine.cancel(going.run, dry_run=True)
        with pytest.raises(RunConflict, match="has not failed"):
            await engine.retry(going.run, dry_run=True)
        assert await engine.get(going.run) == header

    virtually([compensates, reserve, charge, refund, sleeps], body)


@everywhere
@warm_and_cold
def test_what_was_forgotten_runs_again_in_the_new_round(table: str, cached: int) -> None:
    """The compensation of the second round is not taken for that of the first."""

    async def body(bench: Bench) -> None:
        header = await failed(bench, "compensates")
        await bench.engine.retry(header.run, discard_cleanup=True)
        with pytest.raises(Ended):
            await bench.result(header.run)
        assert done == ["reserve 1", "charge 1 1", "refund", "charge 1 2", "refund"]
        _, history = await bench.engine.history(header.run)
        [retried] = [each for each in timeline(history)[0] if each["type"] == "retried"]
        assert retried["forgot"] == ["refund"]
        refunded = (await operations(bench, header.run))["refund"]
        assert (refunded.state, refunded.attempts) == ("done", 2)
        discarded, worked = refunded.tries
        assert discarded.error is not None
        assert (discarded.error.type, worked.error) == ("discarded", None)

    virtually([compensates, reserve, charge, refund], body, table=table, cached=cached)


@workflow
async def tidies() -> str:
    try:
        await sleep(10)
        if broken["body"]:
            raise ValueError("a bug")
        return "tidy"
    finally:
        await refund()


@everywhere
@warm_and_cold
def test_an_error_of_the_body_is_found_before_its_cleanup(table: str, cached: int) -> None:
    """The segment in which it was raised runs again, not that in which the cleanup ended."""

    async def body(bench: Bench) -> None:
        assert await mended(bench, "tidies", discard=True) == "tidy"
        assert done == ["refund", "refund"]

    virtually([tidies, refund], body, table=table, cached=cached)


@workflow
async def races(how: str) -> str:
    if how == "asyncio":
        async with asyncio.timeout(50):
            return await slow()
    if how == "group":
        async with asyncio.TaskGroup() as group:
            first = group.create_task(slow())
            second = group.create_task(charge(1))
        return f"{first.result()} {second.result()}"
    if how == "gather":
        return " ".join(await asyncio.gather(slow(), charge(1)))
    return " ".join(await parallel([1, 2], lambda n: slow() if n == 1 else charge(1)))


@everywhere
@warm_and_cold
@pytest.mark.parametrize("how", ["asyncio", "group", "gather", "parallel"])
def test_what_was_open_at_the_error_is_opened_again(table: str, cached: int, how: str) -> None:
    """A deadline begins anew; a sibling that was cancelled for the error runs again."""

    async def body(bench: Bench) -> None:
        result = await mended(bench, "races", how=how)
        assert result == ("slow" if how == "asyncio" else "slow paid 1")
        assert done.count("slow") == 1

    virtually([races, slow, charge], body, table=table, cached=cached)


@workflow(timeout=60)
async def hurries() -> str:
    return await slow()


@everywhere
@warm_and_cold
def test_a_run_whose_time_was_over_has_it_again(table: str, cached: int) -> None:
    """The deadline of the whole run begins anew, and what was open is opened again."""

    async def body(bench: Bench) -> None:
        assert await mended(bench, "hurries") == "slow"

    virtually([hurries, slow], body, table=table, cached=cached)


@workflow
async def asks() -> str:
    other = asyncio.ensure_future(wait_for_approval("other", timeout=1000))
    decided = await wait_for_approval("boss", timeout=100)
    if decided.decision == "timed_out":
        raise TimeoutError("nobody decided")
    await charge(1)
    return f"{decided.decision} {(await other).decision}"


@everywhere
@warm_and_cold
def test_an_approval_that_was_cancelled_by_the_error_can_be_decided(
    table: str, cached: int
) -> None:
    """It is open again, for as long as it was when the run failed; what was decided stands."""

    async def body(bench: Bench) -> None:
        header = await bench.start("asks")
        await asyncio.sleep(1)
        approvals = Approvals(bench.engine)
        await approvals.decide(header.run, "boss", Approval(Decision.APPROVED))
        with pytest.raises(Ended):
            await bench.result(header.run)
        await asyncio.sleep(5000)
        broken["charge"] = False
        [other] = [key for key in await operations(bench, header.run) if key.endswith("other")]
        with pytest.raises(RunConflict):
            await approvals.decide(header.run, other, Approval(Decision.APPROVED))
        await bench.engine.retry(header.run)
        await asyncio.sleep(900)
        await approvals.decide(header.run, other, Approval(Decision.REJECTED))
        assert await bench.result(header.run) == "approved rejected"

    virtually([asks, charge], body, table=table, cached=cached)


@workflow
async def waits() -> str:
    napped = asyncio.ensure_future(sleep(100))
    await sleep(10)
    await charge(1)
    before = now()
    await napped
    return f"{(now() - before).total_seconds():.0f}"


@everywhere
@warm_and_cold
def test_open_sleeps_wait_on_as_if_the_time_between_had_not_been(table: str, cached: int) -> None:
    """A hundred seconds of which ten had passed: ninety are left after a retry."""

    async def body(bench: Bench) -> None:
        assert await mended(bench, "waits") == "90"

    virtually([waits, charge], body, table=table, cached=cached)


def test_only_a_failed_run_is_retried() -> None:
    """One that goes on, succeeded or was cancelled is left as it is."""

    async def body(bench: Bench) -> None:
        broken["charge"] = False
        header = await bench.start("buys", amount=1)
        assert await bench.result(header.run)
        with pytest.raises(RunConflict, match="has not failed, it is done"):
            await bench.engine.retry(header.run)
        header = await bench.start("tidies")
        with pytest.raises(RunConflict, match="has not failed"):
            await bench.engine.retry(header.run)
        await bench.engine.cancel(header.run)
        with pytest.raises(Ended):
            await bench.result(header.run)
        with pytest.raises(RunConflict, match="has not failed, it is cancelled"):
            await bench.engine.retry(header.run)

    virtually([buys, reserve, charge, tidies, refund], body)


@everywhere
def test_a_run_with_a_newer_one_of_its_key_is_not_retried(table: str) -> None:
    """Two runs of one key at once is what a key excludes; the newer one is named."""

    async def body(bench: Bench) -> None:
        engine = bench.engine
        begun = {"idempotency_key": "k", "if_finished": IfFinished.RESTART_FAILED}
        first, _ = await engine.start("buys", {"amount": 1}, **begun)  # type: ignore[arg-type]
        with pytest.raises(Ended):
            await bench.result(first.run)
        await engine.retry(first.run)
        again, new = await engine.start("buys", {"amount": 1}, **begun)  # type: ignore[arg-type]
        assert (again.run, new) == (first.run, False)  # it goes on, so there is no other
        with pytest.raises(Ended):
            await bench.result(first.run)
        second, new = await engine.start("buys", {"amount": 1}, **begun)  # type: ignore[arg-type]
        assert (second.run, new) == (f"{first.run}.2", True)
        with pytest.raises(RunConflict) as refused:
            await engine.retry(first.run)
        assert refused.value.run == second.run

    virtually([buys, reserve, charge], body, table=table)


@everywhere
def test_of_two_who_retry_at_once_one_is_refused(table: str) -> None:
    """The run begins one new round, not two."""

    async def body(bench: Bench) -> None:
        header = await failed(bench, "buys", amount=1)
        broken["charge"] = False
        both = [bench.engine.retry(header.run), bench.engine.retry(header.run)]
        results = await asyncio.gather(*both, return_exceptions=True)
        assert sorted(type(each).__name__ for each in results) == ["Header", "RunConflict"]
        assert await bench.result(header.run) == ["seat 1", "paid 1", "seat 2"]
        assert (await bench.engine.get(header.run)).round == 1

    virtually([buys, reserve, charge], body, table=table)


@everywhere
@warm_and_cold
def test_what_the_body_logged_stays(table: str, cached: int) -> None:
    """The lines of the part that was cut off are kept, and said once."""

    async def body(bench: Bench) -> None:
        result = await mended(bench, "talks")
        assert result == "said"
        header = (await bench.engine.list())[0][0]
        _, history = await bench.engine.history(header.run)
        lines = [line for entry in history.entries for line in getattr(entry, "lines", ())]
        assert [line.message for line in lines] == ["before", "a bug comes", "fine"]

    virtually([talks, reserve], body, table=table, cached=cached)


@workflow
async def talks() -> str:
    logging.getLogger("app").warning("before")
    await reserve(1)
    if broken["body"]:
        logging.getLogger("app").warning("a bug comes")
        raise ValueError("a bug")
    logging.getLogger("app").warning("fine")
    return "said"
