"""What each operation uses of DynamoDB, S3 and a queue, counted from the requests of an engine.

    python -m tests.bench.units

The engine runs in virtual time, on a table whose server counts as DynamoDB bills
(`tests/support/small_dynamodb.py`), and with messages between processes. An operation is what a run
with more of it uses beyond one with fewer, so a run's own use is in none but the first.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewake import every
from rewake.authoring.approval import Approval, Decision
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.dispatchers.sqs import REACH
from rewake.engine.outside.approvals import Approvals, approvals_of
from rewake.engine.outside.events import Events
from rewake.engine.outside.signals import Signals
from rewake.records import Header, Invocation
from rewake.states import ENDED, RunState
from rewake.views.costs import MESSAGES as REQUESTED
from rewake.views.costs import REQUESTS, prices_of
from tests.bench.counted import PROGRAMS
from tests.support.small_dynamodb import SmallDynamo
from tests.support.small_table import SmallTable
from tests.support.virtual import Bench, virtually

WRITES, INDEX, READS, MESSAGES = "write units", "of the index", "read units", "messages"
PUTS, GETS = "large values put", "large values read"
USES = (WRITES, INDEX, READS, MESSAGES, PUTS, GETS)
"""What is counted. The write units have those of the index in them."""
IDLE = 600
GONE = 65 * 86_400
"""Until an ended run, and then its stone, are gone."""
RARELY = {"sweep": 6 * 3_600_000, "lease": 12 * 3_600_000}
"""Settings where a measurement takes months, in ms."""
LOOK = 0.5
"""Read units of a look at a part of the due index that finds little."""

Used = Mapping[str, float]


class Network(InProcessDispatcher):
    """Messages as between processes, which a queue keeps for as long as one does; counted."""

    local = False
    reach = REACH
    messages = 0

    async def dispatch(self, invocations: Sequence[Invocation]) -> None:
        self.messages += len(invocations)
        await super().dispatch(invocations)


@dataclass
class Measured:
    """A table, the engine on it, and what was used of both so far."""

    bench: Bench
    table: SmallTable
    network: Network
    large: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        put, get = self.table.put_blob, self.table.get_blob

        async def put_blob(run: str, name: str, data: bytes) -> None:
            self.large[PUTS] += 1
            await put(run, name, data)

        async def get_blob(run: str, name: str) -> bytes:
            self.large[GETS] += 1
            return await get(run, name)

        self.table.put_blob, self.table.get_blob = put_blob, get_blob

    def used(self) -> Counter[str]:
        """All that was used so far."""
        table = self.table
        whole = {WRITES: table.units, INDEX: table.index, READS: table.reads}
        return Counter({**whole, MESSAGES: self.network.messages, **self.large})


Body = Callable[[Measured], Awaitable[Mapping[str, float]]]


def measured(body: Body, server: SmallDynamo, **settings: Any) -> Used:
    """What a body says was used, on a table of this server."""
    found: dict[str, float] = {}
    table = SmallTable(server)

    async def main(bench: Bench) -> None:
        network = bench.engine.services.dispatcher
        assert isinstance(network, Network)
        found.update(await body(Measured(bench, table, network)))

    virtually(PROGRAMS, main, table=table, carrier=Network, **settings)
    return found


async def run(on: Measured, workflow: str, n: int) -> Header:
    """A run to its end."""
    return await over(on, await on.bench.start(workflow, n=n))


async def over(on: Measured, header: Header) -> Header:
    """Wait until a run has ended, and ask nobody: who waits for a result asks again and again."""
    items = on.table.server.items[f"R#{header.run}"]
    while RunState(items["H"].get("state", {"S": RunState.READY})["S"]) not in ENDED:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    return header


async def decided(on: Measured, workflow: str, n: int) -> Header:
    """A run to its end, whose approvals are decided one after another."""
    header = await on.bench.start(workflow, n=n)
    for _ in range(n):
        await asyncio.sleep(1)
        reads = on.table.server.reads
        header = await on.bench.engine.get(header.run)
        [asked] = await approvals_of(on.bench.engine, header)
        on.table.server.reads = reads  # it is the measurement that looks
        await Approvals(on.bench.engine).decide(
            header.run, asked.key, Approval(Decision.APPROVED), principal="ada"
        )
    return await over(on, header)


async def told_by_signals(on: Measured, workflow: str, n: int) -> Header:
    """A run to its end that is sent its signals one after another."""
    header = await on.bench.start(workflow, n=n)
    for number in range(n):
        await asyncio.sleep(1)
        await Signals(on.bench.engine).send(header.run, "told", number)
    return await over(on, header)


async def heard(on: Measured, workflow: str, n: int) -> Header:
    """A run to its end, for which events are published one after another."""
    header = await on.bench.start(workflow, n=n)
    for number in range(n):
        await asyncio.sleep(1)
        await Events(on.bench.engine).publish("told", {"number": number})
    return await over(on, header)


async def events(on: Measured) -> Used:
    """An event that is published to one that waits; the first wait of all makes an index."""
    await heard(on, "event_waits", 1)
    await asyncio.sleep(60)
    return await each("event_waits", 5, 25, heard)(on)


async def forked(on: Measured) -> Used:
    """What a fork uses for one more task in front of it."""
    used = []
    for n in (5, 25):
        first = await run(on, "sequence", n)
        before = on.used()
        await over(on, await on.bench.engine.fork(first.run, f"quick.{n}"))
        used.append(_less(on.used(), before))
    return {name: (used[1][name] - used[0][name]) / 20 for name in USES}


async def further(on: Measured) -> Used:
    """One more of those who wait for an event, as it is published; what they do then included."""
    _, few, many = [await _told(on, n) for n in (1, 20, 120)]  # the first makes an index
    return {name: (many[name] - few[name]) / 100 for name in USES}


async def _told(on: Measured, n: int) -> Counter[str]:
    await asyncio.sleep(60)
    runs = [await on.bench.start("event_waits", n=1) for _ in range(n)]
    await asyncio.sleep(60)

    async def told() -> None:
        await Events(on.bench.engine).publish("told", {"number": 0})
        for run in runs:
            await over(on, run)

    return await _of(on, told())


async def found(on: Measured) -> Used:
    """A task whose result is there: the first call of all makes it."""
    await run(on, "finds", 1)
    return await each("finds", 5, 25)(on)


def each(workflow: str, few: int, many: int, play: Callable[..., Awaitable[Header]] = run) -> Body:
    """What one more of what a workflow does uses."""

    async def body(on: Measured) -> Used:
        await run(on, "nothing", 0)  # what comes with the first run of a process
        used = []
        for n in (few, many):
            before = on.used()
            await play(on, workflow, n)
            used.append(_less(on.used(), before))
        return {name: (used[1][name] - used[0][name]) / (many - few) for name in USES}

    return body


async def whole_run(on: Measured) -> Used:
    """A run that does nothing, from its start to its end."""
    await run(on, "nothing", 0)
    before = on.used()
    await run(on, "nothing", 0)
    return _less(on.used(), before)


async def waiting(on: Measured) -> Used:
    """Some minutes in the middle of a wait."""
    await on.bench.start("approvals", n=1)
    await asyncio.sleep(IDLE)
    return await _of(on, asyncio.sleep(IDLE))


async def idle(on: Measured) -> Used:
    """An hour of a server that has nothing to do: it looks at the parts of the index."""
    looks = on.table.server.looks
    used = await _of(on, asyncio.sleep(IDLE))
    reads = used[READS] + LOOK * (on.table.server.looks - looks)
    return {**used, READS: reads * 3_600 / IDLE}


async def asleep(on: Measured) -> Used:
    """A sleep that is too long for a queue."""
    await run(on, "nothing", 0)
    own = await _of(on, run(on, "nothing", 0))
    return _less(await _of(on, run(on, "long_sleeps", 1)), own)


async def asking(on: Measured) -> Used:
    """A second of waiting for the result of a run that goes on."""
    header = await on.bench.start("minutes", n=1)
    await asyncio.sleep(10)
    waits = on.bench.engine.result(header.run, 20)
    used = await _of(on, waits)
    return {name: used[name] / 20 for name in USES}


async def status(on: Measured) -> Used:
    """A look at how a run stands."""
    header = await run(on, "sequence", 50)
    return await _of(on, on.bench.engine.get(header.run))


async def removed(on: Measured) -> Used:
    """The removal of a run that did nothing, and of the stone in its place."""
    await run(on, "nothing", 0)
    await asyncio.sleep(GONE)
    alone = await _of(on, asyncio.sleep(GONE))
    await run(on, "nothing", 0)
    return _less(await _of(on, asyncio.sleep(GONE)), alone)


def removal(workflow: str, few: int, many: int) -> Body:
    """What the removal of a run uses for one more of what it did."""

    async def body(on: Measured) -> Used:
        used = []
        for n in (few, many):
            await run(on, workflow, n)
            used.append(await _of(on, asyncio.sleep(GONE)))
        return {name: (used[1][name] - used[0][name]) / (many - few) for name in USES}

    return body


async def at_once(on: Measured) -> Used:
    """A task that finds a place; the first of all makes the item of its limit."""
    await run(on, "lets_in", 1)
    return await each("lets_in", 5, 25)(on)


async def scheduled(on: Measured) -> Used:
    """A nominal time beside the run that it starts."""
    own, schedules = await whole_run(on), on.bench.engine.schedules
    alone, times = await _of(on, asyncio.sleep(IDLE)), IDLE // 60
    await schedules.create("nothing", every(60, name="each", input={"n": 0}))
    await asyncio.sleep(90)
    used = _less(await _of(on, asyncio.sleep(IDLE)), alone)
    return {name: used[name] / times - own[name] for name in USES}


async def gathers(on: Measured) -> Used:
    """A start that joins a batch of a few."""

    async def play(on: Measured, workflow: str, n: int) -> Header:
        items, start = [[number] for number in range(n)], on.bench.engine.start
        made = [await start(workflow, {"items": each}, run=f"{n}-{each[0]}") for each in items]
        return await over(on, made[0][0])

    return await each("batched", 2, 12, play)(on)


async def _of(on: Measured, work: Awaitable[object]) -> Counter[str]:
    before = on.used()
    await work
    return _less(on.used(), before)


def _less(after: Mapping[str, int], before: Mapping[str, int]) -> Counter[str]:
    return Counter({name: after.get(name, 0) - before.get(name, 0) for name in USES})


SERVER: Body = idle
"""What counts an hour of a server."""
COLD = "a task in a sequence of 120, where no server has its run in memory"

OPERATIONS: Mapping[str, Body] = {
    "a run, from its start to its end": whole_run,
    "an inline step": each("steps", 20, 120),
    "a block around an inline step, both": each("blocks", 20, 120),
    "a block with a step, that fails once and is tried again": each("blocks_again", 5, 25),
    "a task in a sequence": each("sequence", 20, 120),
    COLD: each("sequence", 20, 120),
    "a task of a fan-out": each("fan_out", 100, 1_100),
    "a child run in a sequence": each("call_runs", 5, 25),
    "a child run of a fan-out": each("fan_out_runs", 100, 600),
    "a task that fails once and is tried again": each("retries", 5, 25),
    "a cached task that is carried out": each("makes", 5, 25),
    "a cached task whose result is there": found,
    "a minute of a task": each("long_tasks", 5, 15),
    "a minute of a task that tells how far it is": each("telling", 5, 15),
    "a task with a limit, let in at once": at_once,
    "a task with a limit, that waits its turn": each("queues", 5, 25),
    "a start that joins a batch of ten": gathers,
    "a time of a schedule, beside its run": scheduled,
    "a sleep of a minute": each("minutes", 5, 15),
    "a sleep of more than 15 minutes": asleep,
    "an approval, asked for and decided": each("approvals", 5, 25, decided),
    "a signal that a run waits for": each("signalled", 5, 25, told_by_signals),
    "a signal that is sent early": each("signalled_early", 5, 25, told_by_signals),
    "an update that a run waits for, answered": each("updated", 5, 25, told_by_signals),
    "an event, waited for and published": events,
    "a further run that waits for the same event, as it is published": further,
    "a check of a poll, each minute": each("polls", 5, 15),
    "a lap of an endless run": each("laps", 5, 25),
    "a block of a keyed state that nobody else has": each("states", 5, 25),
    "a task that a fork copies": forked,
    "an emitted value": each("emits", 20, 120),
    "a result of 300 kB": each("large_values", 5, 25),
    "a run that waits, for as long as that takes": waiting,
    "a second of waiting for a result": asking,
    "a look at the status of a run": status,
    "the removal of a run": removed,
    "the removal of a task": removal("sequence", 20, 120),
    "the removal of a task of a fan-out": removal("fan_out", 100, 1_100),
}
"""Each operation, and what counts it."""


def used_by(name: str) -> Used:
    """What one of `OPERATIONS` uses."""
    given: dict[str, Any] = dict(RARELY) if "removal" in name else {}
    if name == COLD:
        given["cached"] = 0
    return measured(OPERATIONS[name], SmallDynamo(), **given)


def main() -> None:
    """Print the table of `docs/cost.md`."""
    prices = prices_of()["dollars per million"]
    for name in OPERATIONS:
        used = used_by(name)
        cells = " | ".join(told(used.get(use, 0)) for use in USES)
        sys.stdout.write(f"| {name} | {cells} | {dollars(used, prices):,.2f} |\n")
    sys.stdout.write(
        f"an hour of a server: {measured(SERVER, SmallDynamo())[READS]:,.0f} read units\n"
    )


def dollars(used: Used, prices: Mapping[str, float]) -> float:
    """What a million of it costs. A message is sent, received and deleted."""
    billed = {name: used.get(name, 0) for name in (WRITES, READS, PUTS, GETS)}
    billed[REQUESTED] = REQUESTS * used.get(MESSAGES, 0)
    return sum(count * prices[name] for name, count in billed.items())


def told(count: float) -> str:
    """A count, as the table has it."""
    return f"{count:,.2f}".rstrip("0").rstrip(".")


if __name__ == "__main__":
    main()
