"""One invocation of a run: what it observes, when, and how it leaves the run behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec import structs

from rewake import Approval, Decision, now, sleep, step, task, wait_for_approval, workflow
from rewake.engine.outside.approvals import Approvals
from rewake.engine.turns.turn import Turn
from rewake.errors import StoreUnavailable
from rewake.kinds import Kind, OutcomeKind
from rewake.records import Event, Header, Invocation
from rewake.states import RunState
from rewake.stores.answers import RunClaim
from tests.support.emptied import emptied
from tests.support.stores import take_over
from tests.support.virtual import TABLES, Bench, Ended, virtually

LEASE = 5_000
APPROVED = Approval(Decision.APPROVED)
everywhere = pytest.mark.parametrize("table", TABLES)
begun: list[str] = []
_emptied = emptied(begun)


async def long() -> str:
    begun.append("long")
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        begun.append("cut off")
        raise
    return "long"


@task
async def quick(name: str) -> str:
    begun.append(name)
    await asyncio.sleep(1)
    return name


def at_rest(bench: Bench) -> bool:
    """Whether no turn is left in this process."""
    services = bench.engine.services
    return not services.turns


# --- what a turn observes ----------------------------------------------------------------------


@workflow
async def asks_four() -> list[str]:
    seen: list[str] = []

    async def one(name: str, timeout: float | None = None) -> None:
        answer = await wait_for_approval(name, timeout=timeout)
        seen.append(f"{name} {answer.decision.value}")

    async def slept() -> None:
        await sleep(3)
        seen.append("slept")

    await asyncio.gather(one("a"), one("b", 4), slept(), one("c"), one("d"))
    return seen


def test_what_arrived_is_observed_in_the_order_in_which_it_happened() -> None:
    """Decisions count as of their moment, timers and deadlines as of theirs, in a single turn."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks_four")).run
        await asyncio.sleep(1)
        _, history = await bench.engine.history(run)
        keys = {asked.name: asked.key for asked in history.open(Kind.APPROVAL)}
        await bench.engine.close()
        decides = Approvals(bench.another())
        for wait, name in ((1, "d"), (1.5, "c"), (1.5, "a")):
            await asyncio.sleep(wait)
            await decides.decide(run, keys[name], APPROVED, carry_on=False)
        await asyncio.sleep(60)
        before = await bench.engine.get(run)
        bench.engine = bench.another()
        bench.engine.open()
        seen = ["d approved", "slept", "c approved", "b timed_out", "a approved"]
        assert await bench.result(run) == seen
        assert (await bench.engine.get(run)).epoch == before.epoch + 1

    virtually([asks_four], body)


@workflow
async def watches() -> bool:
    before = now()
    await step("long", long)
    return now() >= before


def test_the_clock_of_a_run_never_goes_back() -> None:
    """`now()` stands when the machine's clock is set back; the history has the machine's clock."""

    async def body(bench: Bench) -> None:
        clock: Any = bench.engine.services.clock
        told = clock.now
        run = (await bench.start("watches")).run
        await asyncio.sleep(10)
        clock.now = lambda: told() - 3_600_000
        assert await bench.result(run) is True
        _, history = await bench.engine.history(run)
        clocks = [each.clock for each in history.entries if isinstance(each, Event)]
        assert max(clocks) == clocks[0] > clocks[-1]

    virtually([watches], body)


@workflow
async def three_at_once() -> list[str]:
    seen: list[str] = []
    start = now()

    def note(what: str) -> None:
        seen.append(f"{what} {(now() - start).total_seconds():.0f}")

    async def inline() -> None:
        note(await step("long", long))

    async def tasks() -> None:
        note(await quick("first"))
        note(await quick("second"))

    async def timer() -> None:
        await sleep(4)
        note("slept")

    await asyncio.gather(inline(), tasks(), timer())
    return seen


@everywhere
def test_a_step_holds_nothing_up(table: str) -> None:
    """While it runs, outcomes and timers are observed, and lead to more, at their time."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("three_at_once")).run
        await asyncio.sleep(5)
        assert begun == ["long", "first", "second"]
        assert await bench.result(run) == ["first 1", "second 2", "slept 4", "long 30"]
        assert 30 <= bench.seconds < 31

    virtually([three_at_once, quick], body, table=table)


@workflow
async def both() -> list[str]:
    return list(await asyncio.gather(step("long", long), quick("told")))


def test_a_message_that_was_lost_is_sent_again_while_a_step_runs() -> None:
    """No sweep looks after the tasks of a run that is running: its turn does, within a grace."""

    async def body(bench: Bench) -> None:
        lost = bench.lose_first_messages()
        run = (await bench.start("both")).run
        await asyncio.sleep(4 + 1)
        assert (len(lost), begun) == (1, ["long", "told"])
        assert await bench.result(run) == ["long", "told"]

    virtually([both, quick], body)


# --- how it leaves the run ---------------------------------------------------------------------


@workflow
async def naps() -> str:
    begun.append("body")
    await sleep(1)
    return "rested"


@everywhere
def test_a_cancellation_is_observed_before_the_end(table: str) -> None:
    """If it came before the end was committed, the end is taken back, and the run cancels."""

    async def body(bench: Bench) -> None:
        store: Any = bench.engine.services.store
        finish, asked = store.finish, list[str]()

        async def just_before(held: Header, *args: Any, **named: Any) -> Any:
            if not asked:
                asked.append(held.run)
                await bench.engine.cancel(held.run, "enough")
            return await finish(held, *args, **named)

        store.finish = just_before
        with pytest.raises(Ended) as ended:
            await bench.run("naps")
        assert ended.value.kind is OutcomeKind.CANCELLED
        assert begun == ["body", "body"]  # the instance that had ended was of no more use
        assert at_rest(bench)

    virtually([naps], body, table=table)


@workflow
async def works() -> str:
    return await step("long", long)


@everywhere
def test_a_turn_that_was_overtaken_lets_go(table: str) -> None:
    """It ends its steps within a third of a lease, and leaves the run alone.

    All that it writes is that it lives, so that no death is counted.
    """

    async def body(bench: Bench) -> None:
        services = bench.engine.services
        run = (await bench.start("works")).run
        await asyncio.sleep(1)
        over = services.clock.now() + 2 * LEASE
        other = await take_over(services.store, run, RunClaim("other", over, 10 * LEASE))
        assert (other.deaths, other.strikes) == (1, 0)
        await asyncio.sleep(LEASE / 3000)
        assert begun == ["long", "cut off"]
        assert at_rest(bench)
        assert await bench.engine.get(run) == structs.replace(other, deaths=0, taken="")
        await services.store.release(run, "other", services.clock.now())
        assert await bench.result(run) == "long"

    virtually([works], body, table=table, lease=LEASE)


def test_nothing_is_begun_under_a_claim_that_is_over() -> None:
    """A claim that took longer than its lease may be another's: it is asked for once more."""

    async def body(bench: Bench) -> None:
        services = bench.engine.services
        run = (await bench.start("naps")).run
        await asyncio.sleep(0.5)
        services.cache.clear()
        begun.clear()
        late = await services.store.claim(run, RunClaim("late", services.clock.now() - 9_000, 1))
        assert isinstance(late, Header)
        claim = RunClaim("other", services.clock.now(), LEASE)
        other = await take_over(services.store, run, claim)
        await Turn(services, late).run()
        assert begun == []
        assert await bench.engine.get(run) == structs.replace(other, deaths=0, taken="")
        await services.store.release(run, "other", services.clock.now())
        assert await bench.result(run) == "rested"

    virtually([naps], body)


def test_a_process_that_closes_hands_its_turn_over_at_once() -> None:
    """The run is free without a wait for the lease, and the end of the process was no death."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("works")).run
        await asyncio.sleep(2)
        await bench.engine.close(grace=0)
        assert begun == ["long", "cut off"]
        assert at_rest(bench)
        left = await bench.engine.get(run)
        assert (left.state, left.owner, left.strikes) == (RunState.READY, "", 0)
        bench.engine = bench.another()
        bench.engine.open()
        assert await bench.result(run) == "long"
        assert 32 <= bench.seconds < 33

    virtually([works], body)


def test_a_wake_that_comes_during_a_claim_is_not_forgotten() -> None:
    """The claim may be refused because of what was before: then it is made once more, for all."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks_four")).run
        await asyncio.sleep(1)
        store: Any = bench.engine.services.store
        claims = [0]

        async def refused(*_: Any) -> None:
            claims[0] += 1
            await asyncio.sleep(1)

        store.claim = refused
        waking = [asyncio.ensure_future(bench.engine.handle(Invocation(run)))]
        await asyncio.sleep(0.5)
        waking += [asyncio.ensure_future(bench.engine.handle(Invocation(run))) for _ in range(9)]
        await asyncio.gather(*waking)
        assert claims == [2]
        del store.claim

    virtually([asks_four], body)


@workflow
async def sleeps() -> None:
    await sleep(100)


@pytest.mark.parametrize("error", [StoreUnavailable("away"), RuntimeError("unforeseen")])
def test_a_turn_that_is_cut_off_as_it_lets_go_holds_nothing(error: Exception) -> None:
    """A process that ends while a turn releases its run, or makes it stuck, still releases that."""

    async def body(bench: Bench) -> None:
        store: Any = bench.engine.services.store

        async def fails(*_: Any, **__: Any) -> None:
            raise error

        async def slow(*_: Any, **__: Any) -> None:
            await asyncio.sleep(10)

        store.park, store.rest, store.stick = fails, slow, slow
        run = await bench.start("sleeps")
        await asyncio.sleep(1)
        other = bench.another()
        await bench.engine.close(0)
        assert not (await other.get(run.run)).owner

    virtually([sleeps], body)
