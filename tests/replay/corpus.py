"""Programs whose keys and order must be the same on every Python minor, and what they ask for.

`python -m tests.replay.corpus` writes what they do on this Python to `corpus.json`. A change of
that file strands runs that are under way, so there must be a reason.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from rewake import (
    Notice,
    TaskError,
    approval,
    block,
    concurrency,
    continue_as_new,
    now,
    parallel,
    publish,
    race,
    random,
    rate,
    signals,
    sleep,
    state,
    step,
    task,
    updates,
    uuid4,
    wait_for_approval,
    wait_for_event,
    wait_for_signal,
    wait_until,
    workflow,
)
from rewake.records import Scheduled, ScheduledFor, ScheduledRun
from tests.support.driver import Run, TestProgram, World
from tests.support.tasks import fail, fetch

RECORDED = Path(__file__).with_name("corpus.json")
ORDERS = 12
"""Orders of completions that each program is driven in."""


async def two(x: Any) -> Any:
    return [await fetch(x), await fetch([x])]


async def tried(awaitable: Any) -> Any:
    """What it comes to, by name if that is an error."""
    try:
        return await awaitable
    except (Exception, asyncio.CancelledError) as error:
        return type(error).__name__


async def waits_for() -> Any:
    """`wait_for` around an operation, a coroutine, a task and a future, and within one another."""
    other = asyncio.create_task(two("t"))
    found = [
        await tried(asyncio.wait_for(fetch(1), 5)),
        await tried(asyncio.wait_for(two(2), 5)),
        await tried(asyncio.wait_for(asyncio.wait_for(two(3), 3), 5)),
        await tried(asyncio.wait_for(other, 5)),
        await tried(asyncio.wait_for(fetch(4), None)),
        await tried(asyncio.wait_for(fetch(5), 0)),
    ]
    return [*found, await fetch("last")]


async def races_of_waits() -> Any:
    """Branches with time-outs that race, and what is asked for after each end."""

    async def one(n: int) -> Any:
        first = await tried(asyncio.wait_for(two(n), 2 + n))
        return [first, await fetch(n), await tried(asyncio.wait_for(fail(n), 3))]

    winner = await race(one(0), one(1), one(2))
    rest = await asyncio.gather(*(one(n) for n in range(3)), return_exceptions=True)
    return [winner, rest]


async def first_of_many() -> Any:
    waiting = {asyncio.create_task(two(n), name=str(n)) for n in range(4)}
    order = []
    while waiting:
        done, waiting = await asyncio.wait(waiting, timeout=4, return_when=asyncio.FIRST_COMPLETED)
        order.append(sorted(each.get_name() for each in done))
        await fetch(len(waiting))
        for late in sorted(waiting, key=lambda each: each.get_name())[2:]:
            late.cancel()
    return order


async def as_they_complete() -> Any:
    found = []
    for each in asyncio.as_completed([two(n) for n in range(4)], timeout=9):
        found.append(await tried(each))
        await fetch(len(found))
    return found


async def groups() -> Any:
    async def member(n: int) -> Any:
        try:
            return await (fail(n) if n == 1 else two(n))
        finally:
            await fetch(f"cleanup {n}")

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(member(n)) for n in range(3)]
            await fetch("in the group")
    except ExceptionGroup as errors:
        found = [type(error).__name__ for error in errors.exceptions]
    else:
        found = [each.result() for each in tasks]
    return [found, await fetch("after")]


async def timeouts() -> Any:
    found: list[Any] = []
    try:
        async with asyncio.timeout(4) as outer:
            found.append(await tried(asyncio.wait_for(fetch(1), 2)))
            outer.reschedule(asyncio.get_running_loop().time() + 3)
            async with asyncio.timeout(None):
                found.append(await two(2))
            found.append(await asyncio.gather(two(3), fetch(4)))
    except TimeoutError:
        found.append("late")
    return [*found, await fetch(5)]


async def shielded() -> Any:
    inner = asyncio.create_task(two("inner"))
    found = await tried(asyncio.wait_for(asyncio.shield(inner), 2))
    return [found, await inner, await tried(asyncio.wait_for(asyncio.shield(two("x")), 2))]


async def queues() -> Any:
    queue: asyncio.Queue[Any] = asyncio.Queue(2)
    seen: list[Any] = []

    async def worker(name: str) -> None:
        while (item := await queue.get()) is not None:
            seen.append([name, await fetch(item)])
            queue.task_done()

    workers = [asyncio.create_task(worker(f"w{n}")) for n in range(3)]
    for n in range(6):
        await queue.put(n)
    await queue.join()
    for _ in workers:
        await queue.put(None)
    await asyncio.gather(*workers)
    return seen


async def locks() -> Any:
    lock, gate, room = asyncio.Lock(), asyncio.Event(), asyncio.Semaphore(2)
    condition = asyncio.Condition()
    log: list[Any] = []

    async def one(n: int) -> None:
        async with room:
            log.append(await fetch(n))
        async with lock:
            log.append(await tried(asyncio.wait_for(fetch(-n), 4)))
        if n == 2:
            gate.set()
        await gate.wait()
        async with condition:
            log.append(n)
            condition.notify_all()

    tasks = [asyncio.create_task(one(n)) for n in range(4)]
    async with condition:
        await condition.wait_for(lambda: len(log) == 12)
    await asyncio.gather(*tasks)
    return log


async def cancels() -> Any:
    async def stubborn() -> Any:
        try:
            return await two("a")
        except asyncio.CancelledError:
            return await fetch("stays")

    async def waits() -> Any:
        return await asyncio.wait_for(stubborn(), 3)

    tasks = [asyncio.create_task(each()) for each in (stubborn, waits, waits)]
    await fetch("before")
    tasks[0].cancel()
    tasks[1].cancel()
    found = await asyncio.gather(*map(tried, tasks))
    return [found, [each.cancelled() for each in tasks]]


async def generators() -> Any:
    async def pages() -> AsyncIterator[Any]:
        try:
            for n in range(3):
                yield await fetch(n)
        finally:
            await fetch("closed")

    found = []
    async for page in pages():
        found.append(page)
        if len(found) == 2:
            break
    return found


async def of_our_own() -> Any:
    drawn = [random().random(), random().randint(1, 9), random().choice("abc")]
    drawn.append(random().sample(range(99), 4))
    pages = await parallel(range(5), two, concurrency=2)
    stamp = await step("stamp", lambda: 7)
    answer = await race(wait_for_approval("boss", timeout=timedelta(seconds=5)), sleep(3))
    started = now()
    await sleep(0.5)
    shuffled = list("abcdef")
    random().shuffle(shuffled)
    return [drawn, pages, stamp, answer is None, str(uuid4()), (now() - started).seconds, shuffled]


async def all_of_them() -> Any:
    async def one(n: int) -> Any:
        return await fetch(n)

    others = [asyncio.create_task(one(n), name=f"t{n}") for n in range(20)]
    await fetch("x")
    alive = [each.get_name() for each in asyncio.all_tasks() if each in others]
    for each in asyncio.all_tasks() - {asyncio.current_task()}:
        await tried(asyncio.wait_for(each, 2))
    return alive


@task
async def tell(notice: Notice) -> int:
    return notice.number


async def told_of() -> Any:
    """Two approvals of which people are told; one is decided, the other is taken back."""
    boss = approval(
        "boss",
        approvers=["ann"],
        notify=tell,
        remind_every=4,
        escalate_after=9,
        escalate_to=["bob"],
    )
    other = approval("other", notify=tell, remind_every=3)
    await fetch("between")
    first = await race(boss, other)
    return [str(first.decision), await fetch("last")]


async def of_groups() -> Any:
    """Blocks that fail and are retried, side by side, and a group that has enough."""

    async def unlucky() -> float:
        if await fetch("luck") and random().random() < 0.6:
            raise ValueError("again")
        return random().random()

    async def one(number: int) -> float:
        return await block("unlucky", unlucky, retries=4, delay=2, timeout=60)

    try:
        done = await parallel(range(4), one, min_successful=3, name=lambda number: f"try {number}")
    except TaskError as error:
        return error.type
    return [round(each, 6) for each in done.results]


async def polls() -> Any:
    """Polls side by side: with a state, bounded, and out of time."""

    async def one(n: int) -> Any:
        return await wait_until(
            lambda state: state + 1, state=0, done=lambda state: state > n, every=n + 1, name="rise"
        )

    found = await asyncio.gather(
        one(0),
        one(2),
        tried(wait_until(lambda: 0, every=2, max_checks=3, name="few")),
        tried(wait_until(lambda: 0, every=lambda _, count: count, timeout=7, name="late")),
    )
    return [*found, await fetch("last")]


@workflow
async def bill(order: int) -> Any:
    """A child, whose end the world makes up."""


async def of_children() -> Any:
    """Runs that are awaited, given up, started and left, and tied to the end of the body."""
    left = await bill.start(1)
    tied = await bill.start(2, id="b-2", on_parent_end="cancel")
    found = [await tried(asyncio.wait_for(bill(3), 4)), await race(bill(4), sleep(2))]
    found += await parallel(range(5, 8), bill, concurrency=2)
    await tied.cancel()
    return [*found, await tried(left.result()), await fetch("last")]


async def of_signals() -> Any:
    """Streams of signals and updates side by side, and one that does not come."""
    seen: list[Any] = []

    async def chat() -> None:
        async for word in signals("chat", type=str):
            seen.append(await fetch(word))
            if len(seen) > 2:
                return

    async def changes() -> Any:
        async for request in updates("change", type=int):
            if len(seen) < 2:
                request.reject("too early")
                continue
            request.accept(request.value)
            return request.value
        return None

    found = await asyncio.gather(chat(), changes(), tried(wait_for_signal("never", timeout=9)))
    return [*found, seen, await race(wait_for_signal("chat"), sleep(1))]


async def of_events() -> Any:
    """Waits for events of one name, with and without fields, one of them in vain."""

    async def one(order: int) -> Any:
        paid = await wait_for_event("paid", where={"order": order}, timeout=20)
        await publish("seen", {"order": order})
        return [paid, await tried(wait_for_event("refused", timeout=3))]

    async def both() -> Any:
        async with asyncio.timeout(30):
            return [await wait_for_event("paid"), await wait_for_event("paid")]

    return [await parallel(range(3), one), await tried(both())]


@task(limits=[concurrency(2, key=lambda number: number % 2), rate(9, per=60)], priority=3)
async def limited(number: int) -> int:
    return number


async def of_limits() -> Any:
    """Tasks under limits, which are recorded with them."""
    found = await asyncio.gather(*(limited(number) for number in range(4)))
    return [*found, await race(limited(4), sleep(1)), await limited(5)]


async def of_states() -> Any:
    """Two branches that want one state: one of them stands in line first."""

    async def one(number: int) -> Any:
        async with state("total", "of all", timeout=90) as total:
            before = total.value
            total.value = await fetch(number)
        return before

    return [await parallel(range(2), one), await fetch("last")]


async def of_laps(lap: int = 1, seen: tuple[Any, ...] = ()) -> Any:
    """Three laps; what is open as one ends is taken back, and cleanup runs."""
    open_ = asyncio.create_task(two("left open"))
    drawn = random().randint(1, 99)
    first = await race(wait_for_signal("go"), wait_for_event("paid", where={"order": 1}), sleep(2))
    try:
        if lap < 3:
            continue_as_new(lap + 1, (*seen, drawn, first))
    finally:
        await fetch(f"cleanup {lap}")
    return [*seen, drawn, first, await open_, str(uuid4())]


async def of_blocks() -> Any:
    """Blocks within a block, with branches, a time limit, a child and a signal inside."""

    async def leg(number: int) -> Any:
        found = await asyncio.gather(two(number), tried(asyncio.wait_for(fetch(-number), 2)))
        return [found, random().randint(1, 99)]

    async def trip(number: int) -> Any:
        legs = await parallel(range(2), lambda each: block("leg", lambda: leg(number + each)))
        return [legs, await bill(number), await race(wait_for_signal("go"), sleep(3))]

    async def tried_trip(number: int) -> Any:
        return await tried(block("trip", lambda: trip(number), timeout=20))

    return [await parallel((10, 20), tried_trip), random().randint(1, 99)]


async def paused() -> Any:
    """Waits of which many are over at once, for the run stood still for longer than they last."""

    async def one(number: int) -> Any:
        first = await tried(asyncio.wait_for(two(number), 600))
        await sleep(60 * number)
        return [first, now().timestamp(), await tried(wait_for_signal("never", timeout=60))]

    found = await parallel(range(1, 4), one)
    return [*found, await race(sleep(60), sleep(30)), await fetch("last")]


PROGRAMS = [
    waits_for, races_of_waits, first_of_many, as_they_complete, groups, timeouts, shielded, queues,
    locks, cancels, generators, of_our_own, all_of_them, told_of,
    of_groups, polls, of_children, of_signals, of_events, of_limits, of_states, of_laps, of_blocks,
    paused,
]  # fmt: skip


_YES = {"decision": "approved"}
_HELD = {"held": True, "value": 5, "version": 1, "holder": ""}
_NOT_HELD = {"held": False, "value": None, "version": 0, "holder": "another run"}
ANSWERS = {
    "race[0]/boss": _YES,
    "boss": _YES,
    "other": _YES,
    "parallel[1]/enter total": _NOT_HELD,
}
"""By key; by name:"""
NAMED = {
    "bill": 30,
    "chat": "hello",
    "change": 3,
    "never": TimeoutError("never"),
    "paid": {"order": 1},
    "refused": TimeoutError("refused"),
    "publish seen": None,
    "enter total": _HELD,
    "leave total": None,
    "state": None,
    "go": "on",
}
PAUSE = 3_600_000
"""For how long `paused` stands still now and then, in milliseconds."""


def driven(program: Any, order: int) -> list[str]:
    """What a program does: each event, and what was then asked for; last its result."""
    made = TestProgram(program, (bill, limited))
    run = Run(made, world=World(ANSWERS, NAMED, [limited]))
    told, count, on = [], 0, True
    while on:
        while run.execution.finished is None:
            assert run.execution.error is None, run.execution.error
            eligible = run.eligible
            drawn = hashlib.sha256(f"{program.__name__} {order} {count}".encode()).digest()
            run.clock += PAUSE if program is paused and drawn[4] % 4 == 0 else 0
            run.settle(eligible[int.from_bytes(drawn[:4]) % len(eligible)])
            count += 1
        told += [_told(entry) for entry in run.history]
        replayed = run.replayed()
        assert replayed.error is None, replayed.error
        replayed.drop()
        on = run.next_lap()
    run.close()
    return told


def _told(entry: Any) -> str:
    tag = entry.__struct_config__.tag
    if tag == "finished":
        outcome = entry.outcome
        value = None if outcome.value is None else bytes(outcome.value.body).decode()
        return f"{tag} {outcome.kind} {value or outcome.failure}"
    due = f" due {entry.due}" if isinstance(entry, Scheduled) and entry.due else ""
    other = f" of {entry.other.run}" if isinstance(entry, ScheduledRun) and entry.other else ""
    under = [each.key for each in entry.terms.limits] if isinstance(entry, ScheduledFor) else []
    limits = f" under {under}" if under else ""
    return f"{tag} {getattr(entry, 'key', '')}{due}{other}{limits}"


def all_driven() -> dict[str, list[str]]:
    """By program and order: a digest of each history, in pieces that show where it differs."""
    return {
        f"{program.__name__} {order}": driven(program, order)
        for program in PROGRAMS
        for order in range(ORDERS)
    }


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(all_driven(), indent=0) + "\n")
