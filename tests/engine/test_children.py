"""Child runs: begun, waited for, left alone, cancelled; live, and with no instance kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest

from rewake import RunHandle, TaskError, parallel, sleep, task, wait_for_signal, workflow
from rewake.engine.engine import Engine
from rewake.kin import DEEPEST, child_of
from rewake.kinds import Kind, OutcomeKind
from rewake.records import Scheduled
from rewake.states import RunState
from tests.support.virtual import TABLES, Bench, Ended, virtually

TOLD: list[str] = []
"""What bodies and tasks of these tests have said."""
WARM_AND_COLD = [("memory", 256), ("sqlite", 0)]
both = pytest.mark.parametrize(("table", "cached"), WARM_AND_COLD)


@dataclass
class Order:
    number: int
    lines: tuple[str, ...] = ()


@task
async def price(line: str) -> int:
    TOLD.append(f"price {line}")
    return len(line)


@workflow
async def bill(order: Order) -> Order:
    total = sum([await price(line) for line in order.lines])
    return Order(total, order.lines)


@workflow
async def bills(number: int) -> Any:
    one = await bill(Order(number, ("ab", "c")))
    assert type(one) is Order
    rest = await asyncio.gather(*(bill(Order(n, ("x" * n,))) for n in range(number)))
    return [one.number, *(each.number for each in rest)]


@workflow
async def fails(after: float = 1) -> None:
    await sleep(after)
    raise LookupError("nothing there")


@workflow
async def sees_failure() -> Any:
    try:
        await fails(2)
    except TaskError as error:
        return [error.type, error.message]


@workflow
async def naps(seconds: float, name: str = "nap") -> str:
    try:
        await sleep(seconds)
    except asyncio.CancelledError:
        await sleep(3)
        TOLD.append(f"{name} cleaned up")
        raise
    TOLD.append(f"{name} slept")
    return name


@workflow
async def waits_for_nap(seconds: float) -> str:
    try:
        return await naps(seconds)
    except asyncio.CancelledError:
        TOLD.append("parent cleans up")
        raise


@workflow
async def gives_up(seconds: float) -> str:
    try:
        async with asyncio.timeout(seconds):
            return await naps(60)
    except TimeoutError:
        return f"late {TOLD}"


ALL = [bill, bills, price, fails, sees_failure, naps, waits_for_nap, gives_up]


def run(
    body: Any, table: str = "memory", cached: int = 256, more: Any = (), **settings: Any
) -> None:
    TOLD.clear()
    virtually([*ALL, *more], body, table=table, cached=cached, **settings)


async def child_ids(bench: Bench, run: str) -> list[str]:
    """The runs that a run has begun, in the order asked."""
    _, history = await bench.engine.history(run)
    about = [e.about for e in history.entries if isinstance(e, Scheduled) and e.about]
    return [each.run for each in about]


@both
def test_a_call_is_a_run_of_its_own(table: str, cached: int) -> None:
    """It has an id, a parent and a history; its result is as it returned it, typed and whole."""

    async def body(bench: Bench) -> None:
        parent = await bench.start("bills", number=3)
        assert await bench.result(parent.run) == [3, 0, 1, 2]
        children = await child_ids(bench, parent.run)
        assert len(set(children)) == 4
        header, history = await bench.engine.history(children[0])
        assert header.parent is not None
        assert (header.parent.run, header.parent.key, header.depth) == (parent.run, "bill", 1)
        assert (header.workflow, header.state) == ("bill", RunState.DONE)
        assert [e.name for e in history.entries if isinstance(e, Scheduled)] == ["price", "price"]

    run(body, table, cached)


@both
def test_a_failed_child_is_an_error_of_its_type(table: str, cached: int) -> None:
    """A child that failed raises `TaskError`, with the type and message of its error."""

    async def body(bench: Bench) -> None:
        assert await bench.run("sees_failure") == ["LookupError", "nothing there"]

    run(body, table, cached)


@both
def test_who_is_cancelled_cancels_its_child_first(table: str, cached: int) -> None:
    """The child's cleanup runs, and ends, before the parent's own begins."""

    async def body(bench: Bench) -> None:
        parent = await bench.start("waits_for_nap", seconds=100)
        await asyncio.sleep(1)
        await bench.engine.cancel(parent.run, "enough")
        with pytest.raises(Ended) as ended:
            await bench.result(parent.run)
        assert ended.value.kind is OutcomeKind.CANCELLED
        assert TOLD == ["nap cleaned up", "parent cleans up"]
        assert 4 <= bench.seconds < 6
        (child, *_) = await child_ids(bench, parent.run)
        assert (await bench.engine.get(child)).state is RunState.CANCELLED

    run(body, table, cached)


def test_a_second_cancellation_waits_no_longer() -> None:
    """Cancelled again, a parent ends without its child, which has been asked to cancel too."""

    async def body(bench: Bench) -> None:
        parent = await bench.start("waits_for_nap", seconds=100)
        await asyncio.sleep(1)
        await bench.engine.cancel(parent.run)
        await asyncio.sleep(1)
        await bench.engine.cancel(parent.run)
        with pytest.raises(Ended):
            await bench.result(parent.run)
        assert TOLD == ["parent cleans up"]
        await asyncio.sleep(5)
        assert TOLD == ["parent cleans up", "nap cleaned up"]

    run(body)


@both
def test_a_timeout_around_a_child_reaches_it(table: str, cached: int) -> None:
    """`asyncio.timeout` around a call asks the child to cancel, and goes on once that has ended."""

    async def body(bench: Bench) -> None:
        assert await bench.run("gives_up", seconds=5) == "late ['nap cleaned up']"

    run(body, table, cached)


@both
def test_a_killed_parent_cancels_what_it_waits_for(table: str, cached: int) -> None:
    """The child of a killed run is asked to cancel; its cleanup runs, the parent's does not."""

    async def body(bench: Bench) -> None:
        parent = await bench.start("waits_for_nap", seconds=100)
        await asyncio.sleep(1)
        (child,) = await child_ids(bench, parent.run)
        await bench.engine.kill(parent.run)
        await asyncio.sleep(5)
        assert TOLD == ["nap cleaned up"]
        assert (await bench.engine.get(child)).state is RunState.CANCELLED

    run(body, table, cached)


def test_a_killed_child_is_told_of() -> None:
    """A child that is killed ends its parent's call with a `TaskError` of the type `killed`."""

    async def body(bench: Bench) -> None:
        parent = await bench.start("waits_for_nap", seconds=100)
        await asyncio.sleep(1)
        (child,) = await child_ids(bench, parent.run)
        await bench.engine.kill(child, "not needed")
        with pytest.raises(Ended) as ended:
            await bench.result(parent.run)
        assert ended.value.failure is not None
        assert ended.value.failure.type == "TaskError"
        assert "killed" in ended.value.failure.message or "not needed" in str(ended.value.failure)

    run(body)


# --- started, and left to itself -----------------------------------------------------------------


@workflow
async def starts(
    seconds: float,
    id: str | None = None,
    on_parent_end: Any = "leave",
    then: str = "end",
    if_running: Any = "attach",
    if_finished: Any = "attach",
) -> Any:
    handle: RunHandle[str] = await naps.start(
        seconds,
        "it",
        id=id,
        on_parent_end=on_parent_end,
        if_running=if_running,
        if_finished=if_finished,
    )
    match then:
        case "result":
            return [handle.id, await handle.result(), await handle.result()]
        case "cancel":
            await handle.cancel()
            try:
                await handle.result()
            except TaskError as error:
                return [handle.id, error.type]
        case "sleep":
            await sleep(1000)
        case "late":
            try:
                async with asyncio.timeout(1):
                    await handle.result()
            except TimeoutError:
                await sleep(seconds)
                return [handle.id, await handle.result()]
    return handle.id


@both
def test_a_detached_run_goes_on_after_its_parent(table: str, cached: int) -> None:
    """`start` returns once the run is there; what becomes of the parent is nothing to it."""

    async def body(bench: Bench) -> None:
        left = await bench.run("starts", seconds=50)
        assert (await bench.engine.get(left)).state is RunState.PARKED
        assert await bench.result(left) == "it"

    run(body, table, cached, [starts])


@both
def test_the_result_of_a_handle_can_be_waited_for(table: str, cached: int) -> None:
    """`result` waits for the end, gives it again, and giving it up leaves the run alone."""

    async def body(bench: Bench) -> None:
        assert (await bench.run("starts", seconds=5, then="result"))[1:] == ["it", "it"]
        assert await bench.run("starts", seconds=5, then="late", id="a") == ["a", "it"]

    run(body, table, cached, [starts])


@both
def test_a_handle_cancels(table: str, cached: int) -> None:
    """`cancel` asks the run to cancel; `result` then raises a `TaskError` of that type."""

    async def body(bench: Bench) -> None:
        assert (await bench.run("starts", seconds=50, then="cancel"))[1] == "CancelledError"
        assert TOLD == ["it cleaned up"]

    run(body, table, cached, [starts])


@both
@pytest.mark.parametrize("how", ["end", "cancel", "kill"])
def test_a_tied_run_is_cancelled_at_its_parents_end(table: str, cached: int, how: str) -> None:
    """With `on_parent_end="cancel"` the run is asked to cancel, however the parent ends."""

    async def body(bench: Bench) -> None:
        then = "end" if how == "end" else "sleep"
        asked = {"seconds": 100, "on_parent_end": "cancel", "then": then, "id": "tied"}
        parent = await bench.start("starts", **asked)
        await asyncio.sleep(1)
        if how != "end":
            await getattr(bench.engine, how)(parent.run)
        await bench.engine.result(parent.run, 100)
        assert ([] if how == "kill" else ["it cleaned up"]) == TOLD
        await asyncio.sleep(5)
        assert TOLD == ["it cleaned up"]
        assert (await bench.engine.get("tied")).state is RunState.CANCELLED

    run(body, table, cached, [starts])


@both
def test_an_id_is_one_run(table: str, cached: int) -> None:
    """Two parents that start one id have one run, and both hear of its end."""

    async def body(bench: Bench) -> None:
        asked: dict[str, Any] = {"seconds": 5, "id": "one", "then": "result"}
        first, second = [await bench.start("starts", **asked) for _ in range(2)]
        await asyncio.sleep(1)
        assert (await bench.engine.get("one")).watched
        assert [(await bench.result(each.run))[1] for each in (first, second)] == ["it", "it"]
        assert TOLD == ["it slept"]
        assert (await bench.run("starts", **asked))[1] == "it"

    run(body, table, cached, [starts])


@pytest.mark.parametrize("ended", [False, True])
def test_an_id_is_refused_where_asked(ended: bool) -> None:
    """`reject` refuses a run that goes on, or one that has ended; other arguments are refused."""

    async def body(bench: Bench) -> None:
        await bench.start("starts", seconds=5, id="one")
        await asyncio.sleep(10 if ended else 1)
        options: list[dict[str, Any]] = [{"if_running": "reject"}, {"if_finished": "reject"}]
        with pytest.raises(Ended) as refused:
            await bench.run("starts", seconds=5, id="one", **options[ended])
        assert refused.value.failure is not None
        assert refused.value.failure.type == "TaskError"
        assert await bench.run("starts", seconds=5, id="one", **options[not ended]) == "one"
        with pytest.raises(Ended) as refused:
            await bench.run("starts", seconds=6, id="one")
        assert "other arguments" in str(refused.value.failure)

    run(body, more=[starts])


@workflow
async def listens() -> Any:
    return await wait_for_signal("go")


@workflow
async def signals(value: str) -> Any:
    handle = await listens.start(id="listens")
    await handle.signal("go", value)
    return await handle.result()


@both
def test_a_handle_signals(table: str, cached: int) -> None:
    """`signal` sends a signal to the run, before or after it has come to wait for it."""

    async def body(bench: Bench) -> None:
        assert await bench.run("signals", value="now") == "now"

    run(body, table, cached, [listens, signals])


# --- mistakes ------------------------------------------------------------------------------------


@workflow
async def unlisted(n: int) -> int:
    return n


START: Any = naps.start
BAD: dict[str, Callable[[], Awaitable[Any]]] = {
    "unlisted": lambda: unlisted(1),
    "in place": lambda: unlisted.function(1),
    "arity": cast("Any", bill),
    "type": lambda: cast("Any", bill)("no order"),
    "nan": lambda: cast("Any", naps)("nan"),
    "id": lambda: START(1, id="no id!"),
    "empty id": lambda: START(1, id=""),
    "id of a key": lambda: START(1, id=f"key-{'0' * 32}"),
    "long id": lambda: START(1, id="é" * 200),
    "bool id": lambda: START(1, id=True),
    "no id": lambda: START(1, if_running="reject"),
    "option": lambda: START(1, on_parent_end="abandon"),
}
"""Calls, most of which are mistakes."""


@workflow
async def calls(what: str) -> Any:
    try:
        return await BAD[what]()
    except Exception as error:
        return [type(error).__name__, str(error)]


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("unlisted", "AppError"),
        ("arity", "TypeError"),
        ("type", "InvalidInput"),
        ("id", "UsageError"),
        ("empty id", "UsageError"),
        ("id of a key", "TaskError"),
        ("long id", "UsageError"),
        ("bool id", "UsageError"),
        ("nan", "InvalidInput"),
        ("no id", "UsageError"),
        ("option", "ValueError"),
    ],
)
def test_a_bad_call_is_an_error_where_it_is_made(what: str, kind: str) -> None:
    """What cannot be begun is an error that the body sees, at once; nothing is begun."""

    async def body(bench: Bench) -> None:
        found = await bench.run("calls", what=what)
        assert found[0] == kind, found
        assert found[1]

    run(body, more=[calls])


def test_a_function_is_called_in_place() -> None:
    """`workflow.function(...)` is plain Python in a body, and a workflow is, outside of a run."""

    async def body(bench: Bench) -> None:
        assert await bench.run("calls", what="in place") == 1

    run(body, more=[calls])
    assert asyncio.run(unlisted(7)) == 7


@workflow
async def nests(left: int) -> int:
    return 0 if left == 0 else 1 + await nests(left - 1)


def test_runs_below_one_another_end_somewhere() -> None:
    """A workflow that begins itself for ever fails at a depth that is named."""

    async def body(bench: Bench) -> None:
        assert await bench.run("nests", left=DEEPEST) == DEEPEST
        with pytest.raises(Ended):
            await bench.run("nests", left=DEEPEST + 1)

    run(body, more=[nests])


# --- lost and doubled messages, deaths -----------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_a_lost_message_is_sent_again(table: str) -> None:
    """A child whose first message is lost begins all the same, once."""

    async def body(bench: Bench) -> None:
        lost = bench.lose_first_messages()
        assert await bench.run("sees_failure") == ["LookupError", "nothing there"]
        assert lost[0].kind is Kind.CHILD
        assert bench.seconds < 60

    run(body, table)


def test_a_doubled_message_begins_nothing() -> None:
    """A message that comes again, at any time, changes nothing."""

    async def body(bench: Bench) -> None:
        parent = await bench.start("waits_for_nap", seconds=20)
        await asyncio.sleep(1)
        _, history = await bench.engine.history(parent.run)
        (asked,) = [e for e in history.entries if isinstance(e, Scheduled)]
        message = asked.message(parent.run)
        for _ in range(5):
            await asyncio.sleep(7)
            await bench.engine.handle(message)
        assert await bench.result(parent.run) == "nap"
        assert TOLD == ["nap slept"]
        assert bench.seconds < 37

    run(body)


def test_who_dies_before_it_tells_is_made_good() -> None:
    """A child that has ended is due until its parent knows, whoever dies in between."""

    async def body(bench: Bench) -> None:
        engine: Engine = bench.engine

        async def silent(*_: Any) -> None:
            raise asyncio.CancelledError

        tell, engine.services.tell = engine.services.tell, silent
        parent = await bench.start("waits_for_nap", seconds=1)
        await asyncio.sleep(2)
        (child,) = await child_ids(bench, parent.run)
        assert (await engine.get(child)).state is RunState.DONE
        engine.services.tell = tell
        assert await bench.result(parent.run) == "nap"

    run(body)


def test_a_child_that_was_called_off_before_it_began_never_begins() -> None:
    """A message that comes after its parent's end finds that nobody wants the run any more."""

    async def body(bench: Bench) -> None:
        lost = bench.lose_first_messages()
        parent = await bench.start("waits_for_nap", seconds=20)
        await asyncio.sleep(0.1)
        await bench.engine.cancel(parent.run)
        with pytest.raises(Ended):
            await bench.result(parent.run)
        await bench.engine.handle(lost[0])
        await asyncio.sleep(100)
        assert TOLD == ["parent cleans up"]
        child = child_of(parent.run, "naps", 0)
        assert await bench.engine.services.store.find(child) is None

    run(body)


@both
def test_processes_share_a_family(table: str, cached: int) -> None:
    """Parents and children are carried on by whoever gets their messages."""

    async def body(bench: Bench) -> None:
        bench.share_messages(3)
        assert await bench.run("bills", number=4) == [3, 0, 1, 2, 3]

    run(body, table, cached)


def test_one_run_is_looked_after_with_its_family() -> None:
    """Who looks after one run alone goes on with those that it has begun, new or found."""

    async def body(bench: Bench) -> None:
        parent = await bench.start("waits_for_nap", seconds=30)
        other = await bench.start("naps", seconds=30)
        await asyncio.sleep(1)
        await bench.engine.close()
        alone = bench.another()
        alone.open(only=parent.run)
        (child,) = await alone.family(parent.run)
        await asyncio.sleep(40)
        assert [(await alone.get(e)).state for e in (parent.run, child.run, other.run)] == [
            RunState.DONE,
            RunState.DONE,
            RunState.PARKED,
        ]
        await alone.close()
        bench.engine.open()

    run(body)


# --- wide ----------------------------------------------------------------------------------------


@workflow
async def one(n: int) -> int:
    return n


@workflow
async def fans(width: int) -> int:
    return sum(await parallel(range(width), one))


def test_a_wide_fan_out_of_children_is_one_barrier() -> None:
    """The parent wakes for its last child, not for each."""

    async def body(bench: Bench) -> None:
        parent = await bench.start("fans", width=200)
        assert await bench.result(parent.run) == 19_900
        assert (await bench.engine.get(parent.run)).epoch < 10

    run(body, more=[one, fans])
