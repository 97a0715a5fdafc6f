"""A process that stands still between messages: it holds nothing then, and hands over in time."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest

from rewake import (
    Approval,
    Decision,
    callback,
    step,
    task,
    task_context,
    wait_for_approval,
    workflow,
)
from rewake.app import App
from rewake.dispatchers.dispatcher import Handler
from rewake.engine.engine import Engine
from rewake.engine.handover.within import ending_at
from rewake.engine.outside.approvals import Approvals
from rewake.engine.outside.callbacks import Callbacks
from rewake.engine.settings import Settings
from rewake.errors import StoreUnavailable
from rewake.hosts.lambda_events import handle_schedule
from rewake.kinds import OutcomeKind
from rewake.ledger import Process
from rewake.records import Header, Invocation, Operation
from rewake.states import RunState
from rewake.stores.items import decode
from rewake.stores.memory import MemoryTable
from rewake.stores.table import Key
from rewake.tags import Served
from rewake.testing.clock import VirtualClock
from rewake.testing.loop import VirtualLoop
from tests.support.emptied import emptied
from tests.support.virtual import SECRET

LIMIT = 100.0
"""Seconds that an invocation is given."""
begun: Counter[str] = Counter()
handed: list[str] = []
_emptied = emptied(begun, handed)


class Mail:
    """A dispatcher whose messages wait until the test takes them."""

    local = False
    reach = 0
    dead_letters = None

    async def is_behind(self) -> bool:
        """Whatever is sent arrives."""
        return False

    def __init__(self) -> None:
        self.sent: list[Invocation] = []

    def open(self, handler: Handler) -> None:
        """Nobody is called by itself."""

    async def dispatch(self, invocations: Sequence[Invocation]) -> None:
        self.sent += invocations

    async def flush(self) -> None:
        """All of it is sent."""

    async def close(self) -> None:
        """Nothing is kept here."""


class Bench:
    """A function: its table, its messages, and one process, which only ever does one of them."""

    def __init__(self, loop: VirtualLoop, app: App, **settings: Any) -> None:
        self.loop = loop
        self.mail = Mail()
        self.table = MemoryTable()
        count = itertools.count()
        self.engine = Engine(
            app,
            self.table,
            self.mail,
            SECRET,
            clock=VirtualClock(loop),
            settings=Settings(pauses=True, lease=30_000, **settings),
            unique=lambda: f"{next(count):012x}",
            chance=random.Random(1),
            threads=False,
        )

    async def deliver(self, seconds: float = LIMIT) -> Invocation:
        """Do the next message as an invocation does, and come to rest."""
        invocation = self.mail.sent.pop(0)
        await self.handle(invocation, seconds)
        await self.engine.rest(1)
        self.holds_nothing()
        return invocation

    async def invoke(self) -> None:
        """Do the next message, or a sweep, and what begins with it for as long as there is."""
        until = self.loop.time() + LIMIT
        with ending_at(until):
            if self.mail.sent:
                await self.engine.handle(self.mail.sent.pop())
            else:
                await self.engine.sweep()
            await self.engine.rest(until - self.loop.time())
        self.holds_nothing()

    async def handle(self, invocation: Invocation, seconds: float) -> None:
        with ending_at(asyncio.get_running_loop().time() + seconds):
            await self.engine.handle(invocation)

    def holds_nothing(self) -> None:
        """No lease can run out, whoever looks and however long this process stands still."""
        held = [each for each in self.items() if getattr(each, "owner", "")]
        assert not held
        assert not [each for each in self.items() if isinstance(each, Process)]
        assert not self.engine.services.turns
        assert not self.engine.services.attempts

    def items(self) -> list[object]:
        parts = self.table._partitions.items()
        return [decode(Key(part, sort), item) for part, of in parts for sort, item in of.items()]

    async def start(self, workflow: str, **arguments: object) -> str:
        header, _ = await self.engine.start(workflow, arguments)
        await self.engine.rest(1)
        self.holds_nothing()
        return header.run


def in_function(
    members: Sequence[object], body: Callable[[Bench], Awaitable[None]], **settings: Any
) -> None:
    """Run `body` with a function that serves these workflows and tasks."""
    app, loop = App(), VirtualLoop()
    for member in members:
        app.add(member)

    async def main() -> None:
        bench = Bench(loop, app, **settings)
        bench.engine.open(sweep=False)
        try:
            await body(bench)
        finally:
            await bench.engine.close()

    try:
        loop.run_until_complete(main())
        assert not loop.errors, loop.errors
    finally:
        loop.close()


async def operation_of(bench: Bench, run: str) -> Operation:
    _, history = await bench.engine.history(run)
    [found] = history.operations.values()
    return found


@task
async def work(seconds: float) -> str:
    begun["task"] += 1
    await asyncio.sleep(seconds)
    return "done"


async def slow_step() -> str:
    begun["step"] += 1
    await asyncio.sleep(1000 if begun["step"] < 2 else 1)
    return "stepped"


@workflow
async def works(seconds: float) -> str:
    return await work(seconds)


@workflow
async def steps() -> str:
    return await step("slow", slow_step)


@workflow
async def quick_then_slow() -> str:
    await step("long", slow_part)
    return await step("short", slow_part)


async def slow_part() -> str:
    begun["part"] += 1
    await asyncio.sleep(60)
    return "part"


@workflow
async def asks() -> str:
    return str((await wait_for_approval()).decision)


def test_work_is_done_before_a_message_is_answered_and_nothing_is_held_then() -> None:
    """Each message leaves the process at rest, also after work that lasted many beats."""

    async def body(bench: Bench) -> None:
        run = await bench.start("works", seconds=80)
        assert [each.key for each in bench.mail.sent] == [""]
        await bench.deliver()
        assert (await bench.deliver()).name == "work"
        outcome = await bench.engine.result(run)
        assert outcome is not None
        assert outcome.kind is OutcomeKind.OK
        assert begun["task"] == 1

    in_function([work, works], body)


def test_a_request_begins_nothing_that_would_stand_still() -> None:
    """A decision sends a message to whoever goes on with the run."""

    async def body(bench: Bench) -> None:
        run = await bench.start("asks")
        await bench.deliver()
        bench.mail.sent.clear()
        await Approvals(bench.engine).decide(
            run, "approval", Approval(Decision.APPROVED, approver="Ada")
        )
        bench.holds_nothing()
        assert bench.mail.sent == [Invocation(run)]
        await bench.deliver()
        assert (await bench.engine.get(run)).state is RunState.DONE

    in_function([asks], body)


def test_what_is_late_is_handed_over_at_once() -> None:
    """A task that is cut off begins again by a message of its own, not by a lease that runs out."""

    async def body(bench: Bench) -> None:
        run = await bench.start("works", seconds=500)
        await bench.deliver()
        sent = await bench.deliver()
        assert LIMIT <= bench.loop.seconds < LIMIT + 3
        [again] = bench.mail.sent
        assert (again.run, again.key, again.name) == (run, sent.key, "work")
        found = await operation_of(bench, run)
        assert (found.lost, found.outcome) == (1, None)
        assert "not over in the 100 s" in str(found.failure)

    in_function([work, works], body)


def test_what_never_fits_fails_with_the_reason() -> None:
    """A task that takes longer than a host gives is tried a few times, and then says why."""

    async def body(bench: Bench) -> None:
        run = await bench.start("works", seconds=10_000)
        for _ in range(12):
            if bench.mail.sent:
                await bench.deliver()
        outcome = await bench.engine.result(run)
        assert outcome is not None
        assert outcome.failure is not None
        assert "not over in the 100 s that its host gives" in outcome.failure.message
        assert begun["task"] == 3

    in_function([work, works], body)


@task(tag="gpu")
async def tagged(seconds: float) -> str:
    begun["task"] += 1
    await asyncio.sleep(seconds)
    return "done"


@workflow
async def works_elsewhere(seconds: float) -> str:
    return await tagged(seconds)


def test_what_no_message_brings_has_the_same_end() -> None:
    """A task of a tag that is served here, which a turn or a sweep begins, is not cut off and begun
    again for ever either.
    """

    async def body(bench: Bench) -> None:
        header, _ = await bench.engine.start("works_elsewhere", {"seconds": 10_000})
        for _ in range(8):
            await bench.invoke()
        outcome = await bench.engine.result(header.run)
        assert outcome is not None
        assert outcome.failure is not None
        assert "not over in the 100 s that its host gives" in outcome.failure.message
        assert begun["task"] == 3

    in_function([tagged, works_elsewhere], body, served=Served(frozenset({"gpu"})))


@workflow
async def works_elsewhere_and_steps() -> str:
    await tagged(90)
    return await step("slow", slow_step)


def test_what_is_slow_to_let_go_is_waited_for() -> None:
    """A process does not stand still while what it has cut off releases its run."""

    async def body(bench: Bench) -> None:
        store: Any = bench.engine.services.store
        rest = store.rest

        async def slowly(*given: Any) -> Any:
            await asyncio.sleep(3)
            return await rest(*given)

        store.rest = slowly
        await bench.engine.start("works_elsewhere_and_steps", {})
        await bench.invoke()
        assert begun["step"] == 1

    in_function([tagged, works_elsewhere_and_steps], body, served=Served(frozenset({"gpu"})))


@pytest.mark.parametrize("seconds", [0, 4])
@pytest.mark.parametrize("which", ["works", "works_elsewhere", "steps"])
def test_what_cannot_be_counted_as_lost_is_released(which: str, seconds: int) -> None:
    """Where the store fails just then, or takes too long, no lease runs out either."""

    async def body(bench: Bench) -> None:
        async def away(*_: Any) -> bool:
            await asyncio.sleep(seconds)
            raise StoreUnavailable("away")

        store: Any = bench.engine.services.store
        store.lose_task = store.lose = away
        await bench.engine.start(which, {} if which == "steps" else {"seconds": 10_000})
        await bench.invoke()
        await bench.invoke()

    members = [tagged, work, works, works_elsewhere, steps]
    in_function(members, body, served=Served(frozenset({"gpu"})))


@task
async def counts(seconds: int) -> int:
    begun["task"] += 1
    for second in range(task_context().progress or 0, seconds):
        await asyncio.sleep(1)
        task_context().heartbeat(second + 1)
    return seconds


@workflow
async def counted(seconds: int) -> int:
    return await counts(seconds)


def test_a_task_that_comes_further_each_time_goes_on_over_many_invocations() -> None:
    """It takes as many as its length needs, and nothing twice: what was told last is kept."""

    async def body(bench: Bench) -> None:
        run = await bench.start("counted", seconds=750)
        while bench.mail.sent:
            await bench.deliver()
        outcome = await bench.engine.result(run)
        assert outcome is not None
        assert outcome.kind is OutcomeKind.OK
        assert begun["task"] == 8

    in_function([counts, counted], body)


def test_a_task_that_waited_for_room_has_had_no_whole_invocation() -> None:
    """What fits into one never fails for want of room: what began late is begun again in the next,
    and what had not begun has its own message again.
    """

    async def body(bench: Bench) -> None:
        runs = [await bench.start("works", seconds=70) for _ in range(4)]
        for _ in range(4):
            await bench.deliver()
        while bench.mail.sent:
            batch, bench.mail.sent = bench.mail.sent, []
            await asyncio.gather(*(bench.handle(each, LIMIT) for each in batch))
            await bench.engine.rest(1)
            bench.holds_nothing()
            if len(bench.mail.sent) == 3:
                assert {each.name for each in bench.mail.sent} == {"work"}
        for run in runs:
            assert (await bench.engine.get(run)).state is RunState.DONE
            found = await operation_of(bench, run)
            assert (found.lost, found.deaths, found.failure) == (0, 0, None)
        assert begun["task"] == 7  # the last of them began once

    in_function([work, works], body, tasks=1)


@workflow
async def works_and_steps() -> list[str]:
    return list(await asyncio.gather(work(1), step("long", slow_part)))


def test_what_waits_for_room_leaves_alone_a_turn_of_another_message() -> None:
    """Its own message is sent again, and a step of its run that another request carries out goes
    on: until when that may take is of no concern to this one.
    """

    async def body(bench: Bench) -> None:
        await bench.start("works", seconds=90)
        await bench.deliver()
        other = asyncio.ensure_future(bench.handle(bench.mail.sent.pop(), LIMIT))
        await asyncio.sleep(1)
        header, _ = await bench.engine.start("works_and_steps", {})
        turn = asyncio.ensure_future(bench.handle(bench.mail.sent.pop(), LIMIT))
        await asyncio.sleep(1)
        [waits] = bench.mail.sent
        bench.mail.sent.clear()
        await bench.handle(waits, 20)
        # Its run's turn looks after it as well.
        assert {(each.run, each.key) for each in bench.mail.sent} == {(waits.run, waits.key)}
        assert bench.mail.sent[-1] == msgspec.structs.replace(waits, sole=False)
        await asyncio.gather(other, turn)
        assert begun == {"task": 1, "part": 1}
        await bench.handle(waits, LIMIT)
        await bench.engine.rest(1)
        assert (await bench.engine.get(header.run)).state is RunState.DONE
        assert begun == {"task": 2, "part": 1}

    in_function([work, works, works_and_steps], body, tasks=1)


def test_a_suspect_that_waits_leaves_alone_a_turn_of_another_message() -> None:
    """One that is to be begun apart from others waits for that without a place in a queue."""

    async def body(bench: Bench) -> None:
        await bench.engine.start("works_and_steps", {})
        turn = asyncio.ensure_future(bench.handle(bench.mail.sent.pop(), LIMIT))
        await asyncio.sleep(1)
        [waits] = bench.mail.sent
        bench.mail.sent.clear()
        services = bench.engine.services
        await services.claims.task(services.task_claim(waits.run, waits))
        key = services.store.layout.operation(waits.run, waits.key)
        await bench.table.update(key, set={"owner": "", "lease": 0, "deaths": 9})
        async with services.apart.entering("another", "", 2):
            await bench.handle(waits, 20)
        # Its run's turn looks after it as well.
        assert {(each.run, each.key) for each in bench.mail.sent} == {(waits.run, waits.key)}
        await turn
        assert begun == {"part": 1}
        assert (await bench.engine.get(waits.run)).strikes == 0

    in_function([work, works_and_steps], body)


def test_a_step_that_had_most_of_the_time_gives_its_run_a_strike() -> None:
    """A step that fills an invocation counts as lost, and the run goes on in the next one."""

    async def body(bench: Bench) -> None:
        run = await bench.start("steps")
        await bench.deliver()
        header = await bench.engine.get(run)
        assert (header.state, header.strikes) == (RunState.READY, 1)
        assert "not over in the 100 s" in header.error
        assert bench.mail.sent == [Invocation(run)]
        await bench.deliver()
        assert (await bench.engine.get(run)).state is RunState.DONE

    in_function([steps], body)


def test_a_step_that_began_late_is_merely_handed_over() -> None:
    """A step that had the rest of an invocation has no strike: the next one gives it all."""

    async def body(bench: Bench) -> None:
        run = await bench.start("quick_then_slow")
        await bench.deliver()
        header = await bench.engine.get(run)
        assert (header.strikes, header.deaths, header.error) == (0, 0, "")
        assert begun["part"] == 2
        await bench.deliver()
        assert (await bench.engine.get(run)).state is RunState.DONE
        assert begun["part"] == 3

    in_function([quick_then_slow], body)


def test_what_a_sweep_begins_is_over_before_the_process_rests() -> None:
    """A timer that is due soon is waited for, so that no look at it stands still for ever."""

    async def body(bench: Bench) -> None:
        run = await bench.start("works", seconds=1)
        bench.mail.sent.clear()  # it got lost
        await asyncio.sleep(2)  # due in two seconds more
        await bench.engine.sweep()
        assert not bench.mail.sent
        await bench.engine.rest(10)
        assert bench.mail.sent == [Invocation(run)]
        bench.holds_nothing()

    in_function([work, works], body)


@workflow
async def falls_silent() -> str:
    wait = callback("machine", heartbeat_timeout=30)
    handed.append(wait.url)
    try:
        await wait
    except TimeoutError:
        return await step("long", slow_part, at_most_once=True)
    return "called"


def test_a_sweep_goes_on_with_no_run() -> None:
    """It sends a message: a step that began in it would be cut off with it, however much time the
    invocations have that messages bring.
    """

    async def body(bench: Bench) -> None:
        run = await bench.start("falls_silent")
        await bench.deliver()
        await Callbacks(bench.engine).heartbeat(handed[-1].rpartition("/")[2])
        for _ in range(4):
            await asyncio.sleep(15)
            until = bench.loop.time() + 20
            with ending_at(until):
                await bench.engine.sweep()
                await bench.engine.rest(until - bench.loop.time())
            bench.holds_nothing()
        assert begun["part"] == 0
        assert Invocation(run) in bench.mail.sent
        await bench.deliver()
        outcome = await bench.engine.result(run)
        assert outcome is not None
        assert outcome.kind is OutcomeKind.OK
        assert begun["part"] == 1

    in_function([falls_silent], body, url="https://here.test")


def test_a_sweep_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its host ends it: what it has not come to is for the next one."""

    async def body(bench: Bench) -> None:
        async def due(*_: object, **__: object) -> list[object]:
            await asyncio.sleep(1000)
            return []

        monkeypatch.setattr(bench.table, "due", due)
        with ending_at(bench.loop.time() + LIMIT):
            assert await handle_schedule(bench.engine, {"rewake": "sweep"}) == {}
        assert bench.loop.seconds == pytest.approx(LIMIT)

    in_function([works], body)


def test_a_process_that_stood_still_goes_on() -> None:
    """After hours the same process takes the next message, with another lease, and no strike."""

    async def body(bench: Bench) -> None:
        run = await bench.start("works", seconds=50)
        await bench.deliver()
        await asyncio.sleep(3 * 3600)
        await bench.deliver()
        assert (await bench.engine.get(run)).state is RunState.DONE
        found = await operation_of(bench, run)
        assert (found.deaths, found.lost) == (0, 0)

    in_function([work, works], body)


@pytest.mark.parametrize("when", [0.0, 40.0])
def test_one_that_is_told_to_end_hands_over_too(when: float) -> None:
    """An invocation that is cancelled releases what it holds."""

    async def body(bench: Bench) -> None:
        run = await bench.start("works", seconds=90)
        await bench.deliver()
        task = asyncio.ensure_future(bench.handle(bench.mail.sent.pop(), LIMIT))
        await asyncio.sleep(when)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await bench.engine.rest(1)
        bench.holds_nothing()
        assert isinstance(await bench.engine.get(run), Header)

    in_function([work, works], body)
