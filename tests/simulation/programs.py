"""The one workflow of the simulation: it interprets small programs, drawn from a seed.

A program is a nested list, so that it is plain JSON: `[kind, ...]`. What each kind gives is written
next to how it is generated (`tests.simulation.generate`). A value that begins with `"~"` depends
on timing or chance; only that it stays the same on replay is checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
from collections.abc import Coroutine, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rewake import (
    NonRetryable,
    Notice,
    RetryAfter,
    TaskError,
    Update,
    approval,
    block,
    callback,
    concurrency,
    continue_as_new,
    emit,
    now,
    parallel,
    publish,
    race,
    random,
    respond,
    set_labels,
    set_progress,
    set_status,
    signals,
    sleep,
    state,
    step,
    task,
    task_context,
    updates,
    uuid4,
    wait_for_approval,
    wait_for_event,
    wait_for_signal,
    workflow,
)
from rewake.testing.loop import OWNER

if TYPE_CHECKING:
    from tests.simulation.world import Replica, World

WORLD: list[World] = []
"""The world that runs now: a workflow's body has no context to find its process by."""
NEVER = 4_000_000
"""Seconds: longer than anything that a simulation waits for, although clocks that are an hour apart
may take an hour from it whenever they observe something in turn."""
BIG = "x" * 40_000
KEPT = "count"
"""The name of the states that blocks count up."""


class Boom(Exception):
    """What a program raises on purpose; its text is `boom <name>`."""


async def body(name: str, plan: dict[str, Any], argument: Any) -> Any:
    """What tasks and steps do: fail or hang as planned, and in the end give a value."""
    tries = begin(argument)
    if plan.get("logs"):
        task_context().logger.info("try %d of %s", tries, name)
    half = plan.get("emits", 0) // 2
    tell(name, plan, range(half))
    if plan.get("ms"):
        await asyncio.sleep(plan["ms"] / 1000)
    if tries <= plan.get("kills", 0):
        die()
        await asyncio.sleep(NEVER)
    if plan.get("hangs", 0) < 0 or tries <= plan.get("hangs", 0):
        await asyncio.sleep(NEVER)
    tell(name, plan, range(half, plan.get("emits", 0)))
    fail(name, plan, tries)
    if plan.get("pad"):
        return [name, len(argument)]
    return [name, argument, BIG] if plan.get("big") else [name, argument]


def at_once(name: str, plan: dict[str, Any], argument: Any) -> list[Any]:
    """The same without waiting."""
    tries = begin(argument)
    tell(name, plan, range(plan.get("emits", 0)))
    fail(name, plan, tries)
    return [name, argument]


def tell(name: str, plan: dict[str, Any], numbers: range) -> None:
    """Emit the items of these numbers."""
    for number in numbers:
        context = task_context()
        context.emit([name, context.attempt, number, plan["emits"]])
        if WORLD:
            WORLD[-1].said[context.run, context.key] += 1


def fail(name: str, plan: dict[str, Any], tries: int) -> None:
    """Raise, if the plan says so for this try; -1 says always."""
    fails = plan.get("fails", 0)
    if fails < 0 or tries <= fails:
        if plan.get("final"):
            raise NonRetryable(f"boom {name}")
        if plan.get("after"):
            raise RetryAfter(plan["after"] / 1000, f"boom {name}")
        raise Boom(f"boom {name}")


def begin(argument: Any) -> int:
    """Note that a body began, and with what; how often it has, by now."""
    context = task_context()
    if OWNER.get() is None:
        return context.attempt  # plain Python, outside of any simulation
    replica = _replica()
    world = replica.world
    world.trace(replica.name, "begins", f"{context.run} {context.key}", "")
    if context.run not in world.watch.runs:
        return 1
    world.watch.began(context.run, context.key, argument, context.attempt)
    world.watch.runs_here(replica, context.run, context.key)
    world.begun[context.run, context.key] += 1
    begun = world.begun[context.run, context.key]
    origin = world.watch.runs[context.run].header.origin
    # A fork goes on from what was tried before it.
    return max(begun, context.attempt) if origin is not None and origin.key else begun


def die() -> None:
    """Kill the process that this runs in."""
    _replica().die("its own work")


def _replica() -> Replica:
    owner = OWNER.get()
    assert owner is not None
    return owner  # type: ignore[return-value]


@task
async def work(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await body(name, plan, argument)


@task(retries=1, delay=0.3)
async def retried(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await body(name, plan, argument)


@task(retries=8, delay=0.5, max_delay=1, timeout=1.5)  # a pause may use up a try, so some are spare
async def timed(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await body(name, plan, argument)


@task(retries=50, delay=0.5, total_timeout=2)
async def limited(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await body(name, plan, argument)


@task(retries=2, delay=0.1)
def blocking(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return at_once(name, plan, argument)


@task(retries=2, delay=0.2)
async def tells(notice: Notice) -> list[str]:
    """Tell people; what was told so far is the result, and what is told next goes on from it."""
    about = [str(notice.kind), notice.number, sorted(notice.links), notice.previous]
    tries = begin(about)
    if tries == 1 and notice.number % 2:
        raise Boom(f"boom {notice.name}")
    return [*(notice.previous or []), str(notice.kind)]


@task(tag="gpu")
async def work_gpu(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await body(name, plan, argument)


@task(tag="gpu", retries=1, delay=0.3)
async def retried_gpu(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await body(name, plan, argument)


@task(tag="gpu", retries=8, delay=0.5, max_delay=1, timeout=1.5)
async def timed_gpu(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await body(name, plan, argument)


TAGGED = {"work": work_gpu, "retried": retried_gpu, "timed": timed_gpu}
LIMITED, CACHED = dict[str, Any](), dict[str, Any]()
BEATING, HOLDING = dict[str, Any](), dict[str, Any]()
"""Those with limits or a cache, that beat or have a state: `limiting.py` and others enter them."""
_SORTS = {"tag": TAGGED, "limited": LIMITED, "cached": CACHED, "beats": BEATING, "holds": HOLDING}
TASKS = {"work": work, "retried": retried, "timed": timed, "limited": limited, "blocking": blocking}


says = logging.getLogger("tests.simulation.says")
"""What bodies log: lines that count from 0, so that a lost or repeated one is seen."""
says.setLevel(logging.INFO)
says.propagate = False
says.addHandler(logging.NullHandler())


@workflow
async def main(program: list[Any]) -> Any:
    return await Interpreter().run(program)


@workflow
async def part(program: list[Any]) -> Any:
    return await Interpreter().run(program)


@workflow(limits=concurrency(1, name="one"))
async def in_turn(program: list[Any]) -> Any:
    return await Interpreter().run(program)


@workflow(timeout=15)
async def bounded(program: list[Any]) -> Any:
    return await Interpreter().run(program)


class Interpreter:
    """Runs a program. `last` is the newest value, `item` that of the enclosing `parallel`.

    `lines` counts what the run has logged, `items` what its body has emitted.
    """

    def __init__(
        self,
        item: Any = None,
        lines: Iterator[int] | None = None,
        items: Iterator[int] | None = None,
    ) -> None:
        self.item = item
        self.last: Any = None
        self.lines = lines or itertools.count()
        self.items = items or itertools.count()

    async def run(self, node: list[Any]) -> Any:
        kind, *rest = node
        self.last = await getattr(self, f"do_{kind}")(*rest)
        return self.last

    def branch(self, node: list[Any], item: Any = None) -> Coroutine[Any, Any, Any]:
        there = self.item if item is None else item
        return Interpreter(there, self.lines, self.items).run(node)

    async def do_value(self, value: Any) -> Any:
        return value

    async def do_item(self) -> Any:
        return self.item

    async def do_task(self, kind: str, name: str, plan: dict[str, Any]) -> Any:
        argument = self.last if plan.get("feed") else BIG if plan.get("pad") else self.item
        if kind == "closure":
            retries = plan.get("retries", 0)
            tag: Any = {"tag": plan["tag"]} if "tag" in plan else {}
            chosen = task(lambda: body(name, plan, argument), retries=retries, delay=0.2, **tag)
            result = await chosen
        else:
            tasks = next((made for sort, made in _SORTS.items() if sort in plan), TASKS)
            result = await tasks[kind](name, plan, argument)
        return short(result)

    async def do_step(self, name: str, plan: dict[str, Any]) -> Any:
        argument = self.last if plan.get("feed") else self.item
        if plan.get("sync"):
            return await step(name, lambda: at_once(name, plan, argument))
        options = {"retries": plan["retries"], "delay": 0.2} if "retries" in plan else {}
        if not plan.get("once"):
            return short(await step(name, lambda: body(name, plan, argument), **options))
        again: Any = {"retries": plan["again"], "delay": 0.2} if "again" in plan else {}
        try:
            return short(
                await step(name, lambda: body(name, plan, argument), at_most_once=True, **again)
            )
        except TaskError as error:
            if error.type != "lost":
                raise
            return [name, argument]

    async def do_sleep(self, ms: int) -> Any:
        before = now()
        await self.do_nap(ms)
        return (now() - before) // timedelta(milliseconds=1) >= ms

    async def do_nap(self, ms: int) -> Any:
        """A sleep under clocks that jump: while one that was set back is behind, `now()` stands."""
        await (sleep(ms / 1000) if ms % 2 else asyncio.sleep(ms / 1000))
        return True

    async def do_approve(self, name: str, timeout: float | None) -> Any:
        answer = await wait_for_approval(name, timeout=timeout)
        return ["approval", str(answer.decision), answer.value]

    async def do_approve_meanwhile(self, name: str, node: list[Any], told: str) -> Any:
        """An approval that is open while something else is done, and whose link is handed on."""
        ask = approval(name, approvers=["ann", "bob"])
        link = ask.links["bob"]
        given = await work(told, {}, link)
        done = await self.branch(node)
        answer = await ask
        same = given == [told, link] and ask.link("bob") == link
        return [done, ["approval", str(answer.decision), answer.value], same]

    async def do_approve_told(self, name: str, options: dict[str, Any]) -> Any:
        """An approval of which people are told, reminded and told again."""
        after = options.get("after")
        answer = await approval(
            name,
            approvers=["ann"],
            timeout=options.get("timeout"),
            notify=tells,
            remind_every=options["every"],
            escalate_after=after,
            escalate_to=["bob"] if after else [],
        )
        return ["approval", str(answer.decision), answer.value]

    async def do_several(self, name: str, options: dict[str, Any]) -> Any:
        ask = approval(
            name,
            approvers=options["people"],
            quorum=options["quorum"],
            reject=options["reject"],
            timeout=options["timeout"],
        )
        return ["ballot", str((await ask).decision)]

    async def do_edge(self, name: str, timeout: float) -> Any:
        answer = await wait_for_approval(name, timeout=timeout)
        return ["~", str(answer.decision)]

    async def do_call(self, name: str, options: dict[str, Any]) -> Any:
        timeout, silence = options.get("timeout"), options.get("silence")
        wait = callback(name, result=str, timeout=timeout, heartbeat_timeout=silence)
        plan, _, value = name.partition("-")
        await work(f"{value}u", {}, wait.url)  # another address would be another argument
        if "early" in options:
            await self.do_nap(options["early"])
        try:
            told = await wait
        except TimeoutError:
            told = "late"
        except TaskError as error:
            told = error.type
        return ["~", told] if plan == "edge" else ["call", value, told]

    async def do_tells(self, name: str, count: int, options: dict[str, Any]) -> Any:
        for number in range(count):
            if options["pause"]:
                await self.do_nap(options["pause"])
            await publish("news", {"of": name, "number": number})
        return ["told", name]

    async def do_hears(self, name: str, count: int, options: dict[str, Any]) -> Any:
        heard: list[int] = []
        while len(heard) < count:
            if options["pause"]:
                await self.do_nap(options["pause"])
            with contextlib.suppress(TimeoutError):
                of, limit = {"of": name}, options["timeout"]
                told = await wait_for_event("news", where=of, timeout=limit)
                heard.append(told["number"])
        return ["heard", name, sorted(heard)]

    async def do_hear(self, name: str, count: int) -> Any:
        plan, heard = name.partition("-")[0], list[Any]()
        if plan == "edge":
            with contextlib.suppress(TimeoutError):
                heard.append(await wait_for_signal(name, timeout=3))
            return ["~", *heard]
        coming = updates(name, type=int) if plan == "ask" else signals(name, type=int)
        async for each in coming:
            heard.append(each.value if isinstance(each, Update) else each)
            if isinstance(each, Update):
                each.accept(each.value + 100)
            if len(heard) == count:
                break
        return ["heard", name, heard]

    async def do_keyed(self, key: str, node: list[Any]) -> Any:
        """Count a state up around the node."""
        async with state(KEPT, key, timeout=NEVER) as held:
            value = await self.run(node)
            held.value = (held.value or 0) + 1
        return value

    async def do_same(self, times: int, node: list[Any]) -> Any:
        values = await asyncio.gather(*map(self.branch, [node] * times))
        return values[0] if all(each == values[0] for each in values) else values

    async def do_shows(self, name: str, node: list[Any]) -> Any:
        set_status([name, "begins"])
        set_labels(at=name)
        await self.run(node)
        set_progress(1, 2)
        return self.last

    async def do_respond(self, name: str) -> Any:
        await respond(name)
        return True

    async def do_noise(self) -> Any:
        return ["~", str(uuid4()), random().random(), now().isoformat()]

    async def do_fail(self, name: str) -> Any:
        raise Boom(f"boom {name}")

    async def do_stubborn(self, times: int) -> Any:
        """Go on after so many cancellations."""
        for _ in range(times):
            with contextlib.suppress(asyncio.CancelledError):
                await sleep(NEVER)
        await sleep(NEVER)

    async def do_kill(self, run: str, times: int) -> Any:
        if WORLD and WORLD[-1].crashes < times:
            WORLD[-1].kill_holder(run)
        return "alive"

    async def do_emitting(self, node: list[Any]) -> Any:
        """Emit before and behind something else."""
        await self.emit()
        try:
            return await self.run(node)
        finally:
            await self.emit()

    async def emit(self) -> None:
        await emit(["body", next(self.items)])

    async def do_seq(self, *nodes: list[Any]) -> Any:
        results = []
        for node in nodes:
            says.info("%d", next(self.lines))
            results.append(await self.run(node))
        return results

    async def do_gather(self, keep: bool, *nodes: list[Any]) -> Any:
        results = await asyncio.gather(*map(self.branch, nodes), return_exceptions=keep)
        return [told(each) if isinstance(each, BaseException) else each for each in results]

    async def do_fan(self, *tasks: list[Any]) -> Any:
        """Tasks without branches around them: the run waits for all of them at once."""
        calls = (TASKS[kind](name, plan, self.item) for kind, name, plan in tasks)
        return [short(each) for each in await asyncio.gather(*calls)]

    async def do_outcomes(self, *nodes: list[Any]) -> Any:
        done = await parallel(nodes, self.branch, outcomes=True)
        return [each.result if each.error is None else told(each.error) for each in done]

    async def do_block(self, name: str, fails: int, node: list[Any]) -> Any:
        """A block whose first attempts fail behind what they do."""
        attempts = itertools.count()

        async def inside() -> Any:
            found = await self.branch(node)
            if next(attempts) < fails:
                raise Boom(f"boom {name}")
            return found

        try:
            return await block(name, inside, retries=fails, delay=0.3)
        except TaskError as error:
            if not error.message.startswith("boom "):
                raise
            raise Boom(error.message) from error

    async def do_group(self, *nodes: list[Any]) -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.branch(node)) for node in nodes]
        return [each.result() for each in tasks]

    async def do_first(self, *nodes: list[Any]) -> Any:
        tasks = [asyncio.ensure_future(self.branch(node)) for node in nodes]
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        return [each.result() for each in tasks if each in done]

    async def do_race(self, *nodes: list[Any]) -> Any:
        return await race(*map(self.branch, nodes))

    async def do_duel(self, *nodes: list[Any]) -> Any:
        return ["~", await race(*map(self.branch, nodes))]

    async def do_order(self, *nodes: list[Any]) -> Any:
        order: list[Any] = []

        async def note(node: list[Any]) -> None:
            order.append(await self.branch(node))

        await asyncio.gather(*map(note, nodes))
        return ["~", *order]

    async def do_parallel(self, items: list[Any], concurrency: int | None, node: Any) -> Any:
        return await parallel(items, lambda item: self.branch(node, item), concurrency=concurrency)

    async def do_timeout(self, ms: int, node: list[Any]) -> Any:
        try:
            async with asyncio.timeout(ms / 1000):
                return await self.run(node)
        except TimeoutError:
            return "late"

    async def do_try(self, node: list[Any], handler: Any, last: Any) -> Any:
        try:
            return await self.run(node)
        except Exception as error:
            what = told(error)
            return ["caught", what, await self.run(handler)] if handler else ["caught", what]
        finally:
            if last:
                await self.run(last)

    async def do_undo(self, node: list[Any], undo: list[Any]) -> Any:
        """Undo what was done before an error, and fail with it."""
        try:
            return await self.run(node)
        except Exception:
            await self.run(undo)
            raise

    async def do_deadline(self, ms: int, node: list[Any]) -> Any:
        async with asyncio.timeout(ms / 1000):
            return await self.run(node)

    async def do_child(self, node: list[Any]) -> Any:
        return await part(node)

    async def do_kin(self, name: str, node: list[Any], then: str) -> Any:
        tied = then == "tied"
        handle = await part.start(node, on_parent_end="cancel" if tied else "leave")
        return name if tied else await handle.result()

    async def do_laps(self, left: int, node: list[Any], open_: Any) -> Any:
        """Go on as new, so many times, perhaps with something open."""
        behind = asyncio.ensure_future(self.branch(open_)) if open_ and left > 1 else None
        value = await self.run(node)
        if left > 1:
            assert behind is None or not behind.done()
            continue_as_new(["laps", left - 1, node, open_])
        return value

    async def do_meanwhile(self, node: list[Any], other: list[Any]) -> Any:
        behind = asyncio.ensure_future(self.branch(other))
        front = await self.run(node)
        return [front, await behind]

    async def do_queue(self, names: list[str], size: int) -> Any:
        queue: asyncio.Queue[str] = asyncio.Queue(size)
        results: dict[str, Any] = {}

        async def consume() -> None:
            while True:
                name = await queue.get()
                results[name] = await work(name, {}, None)
                queue.task_done()

        consumers = [asyncio.ensure_future(consume()) for _ in range(2)]
        for name in names:
            await queue.put(name)
        await queue.join()
        for each in consumers:
            each.cancel()
        return [results[name] for name in names]


def short(result: list[Any]) -> list[Any]:
    """A result with the length of its large part, if it has one."""
    return [*result[:2], len(result[2])] if len(result) > 2 else result


def told(error: BaseException) -> str:
    """The name that an error of the program carries, however it was wrapped."""
    if isinstance(error, BaseExceptionGroup):
        return told(error.exceptions[0])
    found = re.search(r"boom (\w+)", str(error))
    if found is not None:
        return found[1]
    kind = getattr(error, "type", "")
    return kind or type(error).__name__
