"""The app that runs on every deployment, unchanged: a small workflow for each primitive."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rewake import (
    NonRetryable,
    Notice,
    TaskError,
    approval,
    block,
    callback,
    concurrency,
    continue_as_new,
    emit,
    event,
    now,
    parallel,
    publish,
    race,
    random,
    respond,
    scheduled_at,
    send_signal,
    set_labels,
    set_status,
    signals,
    sleep,
    sleep_until,
    state,
    step,
    task,
    task_context,
    updates,
    uuid4,
    wait_for_approval,
    wait_for_event,
    wait_until,
    workflow,
)
from rewake.webhooks import github, standard_webhooks, webhook
from tests.end_to_end.outside import body, tell, within

ADA, BOB, CY = "ada@example.com", "bob@example.com", "cy@example.com"
NEVER = 3_600


class Odd:
    """What JSON does not hold."""

    def __init__(self, number: int) -> None:
        self.number = number


@dataclass
class Refund:
    """What an approver fills in."""

    amount: int
    note: str = ""


@task(limits=concurrency(2, name="few"), priority=1)
async def few(number: int) -> int:
    with body():
        await asyncio.sleep(0.05)
        return number


@task(cache=3600)
async def token_of(name: str) -> str:
    """Another one with each attempt."""
    with body():
        await asyncio.sleep(0.05)
        return secrets.token_hex(8)


@task
async def double(number: int) -> int:
    with body():
        return 2 * number


@task
def shout(text: str) -> str:
    """Sync."""
    with body():
        time.sleep(0.01)
        return text.upper()


@task
async def work(number: int) -> int:
    """Takes as long as a small request."""
    with body():
        await asyncio.sleep(0.03)
        return number + 1


@task
async def linger(seconds: float) -> float:
    """Takes long enough to be interrupted."""
    with body():
        await asyncio.sleep(seconds)
        return seconds


@task(retries=2, delay=0.05, jitter=0)
async def flaky() -> int:
    """Fails once."""
    with body():
        if task_context().attempt < 2:
            raise ValueError("not yet")
        return task_context().attempt


@task(timeout=0.1)
async def hang() -> None:
    """Runs out of time."""
    with body():
        await asyncio.sleep(NEVER)


@task(heartbeat=1, delay=0.05, jitter=0)
def crawl(pages: int) -> list[int]:
    """Sync; whoever begins at the first page hangs halfway, and hears at last that it is over."""
    context = task_context()
    with body():
        begin = context.progress or 0
        for page in range(begin, pages):
            if begin == 0 and page == pages // 2:
                time.sleep(2.5)
            context.heartbeat(page + 1)
        return [begin, pages]


@task
async def stall() -> None:
    """Ends only by being cancelled."""
    with body():
        await asyncio.sleep(NEVER)


@task
async def refuse(why: str) -> None:
    """Fails for good."""
    with body():
        raise NonRetryable(why)


@task
async def brittle(attempts: int) -> str:
    """Fails for good, before it has been tried more often than this."""
    with body():
        if task_context().attempt <= attempts:
            raise NonRetryable("it is broken")
        return "mended"


@task
async def much(size: int) -> str:
    with body():
        return "x" * size


@task
async def measure(text: str) -> int:
    with body():
        return len(text)


@task
async def odd(number: int) -> Odd:
    with body():
        return Odd(number)


@task
async def look(at: Odd) -> tuple[int, set[int]]:
    with body():
        return at.number, {at.number}


@task
async def mail(notice: Notice) -> None:
    """Tells people of an approval: the message gets outside."""
    with body():
        for person, link in notice.links.items():
            tell("mail", run=notice.run, person=person, link=link, kind=notice.kind)


@task
async def hand_over(url: str) -> None:
    """Tells a machine where to call."""
    with body():
        tell("address", run=task_context().run, url=url)


@task
async def report(count: int) -> int:
    with body():
        for number in range(count):
            task_context().emit({"task": number})
        return count


@workflow
async def tasks(number: int) -> list[Any]:
    """Async, sync, a closure, one that is retried, one that fails."""
    word, failed = "closure", ""
    try:
        await refuse("no")
    except TaskError as error:
        failed = error.type
    return [
        await double(number),
        await shout("loud"),
        await task(lambda: within([word, number])),
        await flaky(),
        failed,
    ]


@workflow
async def steps(number: int) -> list[Any]:
    facts = [now().isoformat(), random().random(), str(uuid4())]
    kept = await step("facts", lambda: within(facts))
    first = await step("add", lambda: within(number + 1))
    try:
        once = await step("once", lambda: within("kept"), at_most_once=True)
    except TaskError as error:
        once = error.type
    return [first, once, kept == facts]


@workflow
async def kin(number: int, seconds: float = 0.05) -> int:
    """A run of a run."""
    await sleep(seconds)
    return await double(number)


@workflow
async def family(count: int) -> list[Any]:
    """Runs that it awaits, one that it leaves and asks for later, one that it cancels."""
    left = await kin.start(7)
    endless = await kin.start(0, NEVER)
    many = await asyncio.gather(*(kin(number) for number in range(count)))
    await endless.cancel()
    try:
        await endless.result()
    except TaskError as error:
        return [many, await left.result(), error.type]
    return []


@workflow
async def crawls(pages: int) -> list[int]:
    return await crawl(pages)


@workflow
async def naps(seconds: float) -> float:
    began = now()
    await sleep(seconds)
    await sleep_until(now() + timedelta(seconds=seconds))
    return (now() - began).total_seconds()


@workflow
async def branches(count: int) -> list[Any]:
    async def one(number: int) -> int:
        return await double(await step("add", lambda: within(number + 1)))

    many = await parallel(range(count), one, concurrency=3)
    gathered = await asyncio.gather(*(double(each) for each in range(count)))
    won = await race(double(21), sleep(NEVER))
    lost: Any = await race(stall(), sleep(0.1))
    async with asyncio.TaskGroup() as group:
        grouped = [group.create_task(double(each)) for each in range(2)]
    return [many, gathered, won, lost, [each.result() for each in grouped]]


@workflow(retries=1, delay=0.05)
async def groups(number: int) -> list[Any]:
    """A block that is retried, branches of which one may fail, and a body that begins anew."""

    async def trip() -> int:
        key = await step("where", lambda: within(task_context().key))
        doubled = await double(number)
        if "trip[0]" in key:
            raise ValueError("once more")
        return doubled

    async def one(part: int) -> int:
        found = await double(part)
        if part == 1:
            raise ValueError("it is borne")
        return found

    booked = await block("trip", trip, retries=1, delay=0.05)
    done = await parallel(range(3), one, tolerate=1, name=lambda part: f"part {part}")
    lap = await step("lap", lambda: within(task_context().key))
    if not lap.startswith("lap2/"):
        raise ValueError("anew")
    return [booked, done.results, done.counts["failed"]]


@workflow
async def approves(amount: int) -> list[Any]:
    """One person, by a link."""
    ask = approval(
        "refund", form=Refund, description=f"Refund {amount}?", approvers=[ADA], notify=mail
    )
    answer = await ask
    value = answer.value
    return [answer.decision, value.amount, value.note, answer.approver, answer.comment]


@workflow
async def agrees() -> list[Any]:
    """Two of three."""
    answer = await approval("board", approvers=[ADA, BOB, CY], quorum=2, notify=mail)
    return [answer.decision, sorted(vote.approver or "" for vote in answer.decisions)]


@workflow
async def called() -> int:
    """A machine calls."""
    wait = callback("paid", result=int, heartbeat_timeout=NEVER)
    await hand_over(wait.url)
    return await wait


@workflow
async def basket(customer: str) -> list[Any]:
    """Filled by signals, one of which it sends itself, priced by an update."""
    await send_signal(await step("me", lambda: task_context().run), "add", 1)
    items: list[int] = []
    async for item in signals("add", type=int):
        items.append(item)
        if len(items) == 3:
            break
    async for request in updates("price", type=int):
        request.accept(sum(items) * request.value)
        break
    return [customer, sorted(items)]


@workflow(cancel_on=event("e2e.stop", where={"name": "name"}))
async def hears(name: str) -> list[Any]:
    """Two events from outside, and one of its own; and a poll."""
    told = [(await wait_for_event("e2e.told", where={"name": name}))["number"] for _ in range(2)]
    await publish("e2e.heard", {"name": name})
    own = await wait_for_event("e2e.heard", where={"name": name})
    polled = await wait_until(lambda n: n + 1, state=0, done=lambda n: n > 2, every=0.05)
    return [sorted(told), own["name"] == name, polled]


@workflow(on_event="e2e.begin")
async def begun_by(name: str) -> str:
    """An event starts it, and it tells that."""
    await publish("e2e.told", {"name": name, "number": 2})
    return name


@workflow
async def streams(count: int) -> int:
    for number in range(count):
        await emit({"body": number})
    await report(count)
    await emit({"body": count})
    return count


@workflow
async def endless() -> None:
    """Ends by being cancelled, and cleans up."""
    try:
        await stall()
    finally:
        await step("cleanup", lambda: within("clean"))


@workflow
async def mends(attempts: int) -> list[Any]:
    """Fails after something that must not happen again, until it is retried."""
    charged = await step("charge", lambda: within("charged"))
    return [charged, await brittle(attempts)]


@workflow
async def late() -> list[Any]:
    """Whatever has a time-out runs out of it."""
    found: list[Any] = []
    try:
        await hang()
    except TaskError as error:
        found.append(error.type)
    try:
        async with asyncio.timeout(0.1):
            await sleep(NEVER)
    except TimeoutError:
        found.append("slept")
    found.append((await wait_for_approval("nobody decides", timeout=0.1)).decision)
    return found


@workflow(timeout=0.2)
async def hurries() -> None:
    """The whole of it runs out of time."""
    await sleep(NEVER)


@workflow
async def large(text: str, size: int) -> list[int]:
    """Input, arguments and results that are larger than an item of a database may be."""
    made = await much(size)
    kept = await step("keep", lambda: within(made + text))
    return [len(text), await measure(made), len(kept)]


@workflow
async def pickled(number: int) -> list[Any]:
    """What JSON does not hold comes back as what it was."""
    made = await odd(number)
    found, together = await look(made)
    return [type(made).__name__, found, type(together).__name__, sorted(together)]


@workflow
async def whispers(word: str) -> str:
    """A word that nobody may read who looks at the database."""
    return await shout(await step("repeat", lambda: within(f"{word} {word}")))


@workflow(webhook=webhook("push", verify=github("GITHUB_SECRET"), arguments=lambda each: each.json))
async def pushed(repository: str) -> str:
    return await shout(repository)


@workflow(webhook=webhook("order", verify=standard_webhooks("STANDARD_SECRET"), wait=20))
async def ordered(id: int) -> int:
    """Answers its sender, and goes on."""
    price = await double(id)
    await respond({"price": price}, status=201, headers={"X-Order": str(id)})
    await sleep(0.1)
    return await double(price)


@workflow(limits=concurrency(2, name="turns"))
async def turns(count: int) -> list[int]:
    return list(await asyncio.gather(*(few(number) for number in range(count))))


@workflow
async def cached(name: str, count: int) -> list[str]:
    return list(await asyncio.gather(*(token_of(name) for _ in range(count))))


@workflow
async def laps(left: int, name: str, done: int = 0) -> list[Any]:
    """Some laps, each of which counts in a state."""
    set_status({"left": left})
    set_labels(name=name)
    async with state("laps", name) as counted:
        counted.value = (counted.value or 0) + 1
    number = await few(done)
    if left:
        continue_as_new(left - 1, name, number + 1)
    return [number, counted.value]


@workflow
async def chain(length: int) -> int:
    """Load: one task after the other."""
    number = 0
    for _ in range(length):
        number = await work(number)
    return number


@workflow
async def fan(width: int) -> int:
    """Load: tasks side by side, after a step."""
    first = await step("first", lambda: within(1))
    return first + sum(await asyncio.gather(*(work(each) for each in range(width))))


@workflow
async def lingers(seconds: float) -> float:
    """Load: one long task."""
    return await linger(seconds)


@workflow
async def timed(word: str = "") -> list[str]:
    moment = scheduled_at()
    return [word, "" if moment is None else moment.isoformat()]
