"""Heartbeats of tasks: silence gives an attempt up, and the next one goes on from what was told."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Any

import msgspec
import pytest

from rewake import TaskError, block, sleep, step, task, task_context, workflow
from rewake.authoring.heartbeat import Beats
from rewake.cli.remote.tables import _told
from rewake.codecs import Context
from rewake.errors import InvalidInput, NotInARun, UsageError
from rewake.kinds import Kind, Purpose
from rewake.noted import Try
from rewake.records import Invocation, Operation
from rewake.stores.suspects import CLEARED
from rewake.values import emitted
from rewake.views.timeline import OperationView, timeline
from rewake.views.values import Values
from tests.engine.test_encryption import CANARY, CODEC, SEALING
from tests.support.counting import CountingTable
from tests.support.virtual import SECRET, TABLES, Bench, die, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
found: list[Any] = []
"""What each attempt found of the one before."""


@pytest.fixture(autouse=True)
def _nothing_found() -> None:
    found.clear()


@task(heartbeat=10, delay=1, jitter=0)
async def index(pages: int, hangs: int, told: int = 1) -> int:
    """Take a second a page; the first `hangs` attempts hang once they told of `told` more."""
    context = task_context()
    found.append(context.progress)
    done = context.progress or 0
    for number in itertools.count(1):
        if context.attempt <= hangs and number > told:
            await asyncio.sleep(10**6)
        if done >= pages:
            return done
        await asyncio.sleep(1)
        done += 1
        context.heartbeat(done)
    raise AssertionError


@workflow
async def indexes(pages: int, hangs: int = 0, told: int = 1) -> int:
    return await index(pages, hangs, told)


async def shown(bench: Bench, run: str) -> OperationView:
    _, history = await bench.engine.history(run)
    _, [operation] = timeline(history, Values(bench.secret, run))
    return operation


async def item_of(bench: Bench, run: str, key: str = "index") -> Operation:
    item = await bench.engine.services.store.operation(run, key)
    assert item is not None
    return item


@everywhere
def test_a_silent_attempt_is_given_up(table: str, caplog: pytest.LogCaptureFixture) -> None:
    """Ten seconds after its last beat another one follows, from there; no retry is used up.

    It counts as lost, with the reason, and is a warning in the log.
    """

    async def body(bench: Bench) -> None:
        run = (await bench.start("indexes", pages=5, hangs=1, told=2)).run
        await asyncio.sleep(12.5)
        operation = await shown(bench, run)
        assert (operation.state, operation.lost) == ("retrying", 1)
        assert operation.progress == msgspec.Raw(b"2")
        said = list(_told(msgspec.json.decode(msgspec.json.encode(operation)), None))
        assert "  progress: 2" in said
        assert any("lost: silent: no heartbeat came for 10 s" in line for line in said)
        assert await bench.result(run) == 5
        assert bench.seconds == pytest.approx(2 + 10 + 1 + 3, abs=0.1)
        operation = await shown(bench, run)
        assert [(t.lost, t.error and t.error.type) for t in operation.tries] == [
            (True, "silent"),
            (False, None),
        ]
        assert not isinstance(operation.progress, msgspec.Raw)

    with caplog.at_level(logging.WARNING):
        virtually([indexes, index], body, table=table)
    assert found == [None, 2]
    assert "fell silent and is given up: no heartbeat came for 10 s; the next one" in caplog.text


def test_who_beats_may_take_as_long_as_it_likes() -> None:
    """Silence counts from the last beat; there is no bound of the whole."""

    async def body(bench: Bench) -> None:
        assert await bench.run("indexes", pages=300) == 300

    virtually([indexes, index], body)
    assert found == [None]


def test_silence_of_attempts_that_come_no_further_fails_the_task() -> None:
    """The third in a row does; and so does a task that never says anything."""

    async def body(bench: Bench) -> None:
        with pytest.raises(Exception, match="error: TaskError"):
            await bench.run("indexes", pages=5, hangs=9, told=0)

    virtually([indexes, index], body)
    assert found == [None, None, None]


@task(heartbeat=10, retries=4, delay=0)
async def patient() -> None:
    found.append(task_context().attempt)
    await asyncio.sleep(10**6)


@workflow
async def waits() -> list[Any]:
    try:
        await patient()
    except TaskError as error:
        return [error.type, error.message, error.attempts]
    return []


def test_as_many_attempts_may_be_silent_as_there_may_be() -> None:
    """`retries=4` allows five, and the error says what they were."""

    async def body(bench: Bench) -> None:
        said = "5 attempts in a row fell silent; the last: no heartbeat came for 10 s"
        assert await bench.run("waits") == ["lost", said, 5]

    virtually([waits, patient], body)
    assert found == [1, 2, 3, 4, 5]


def test_silence_after_progress_is_the_first_again() -> None:
    """A long task may hang now and then, as long as each attempt comes further."""

    async def body(bench: Bench) -> None:
        assert await bench.run("indexes", pages=9, hangs=7, told=1) == 9

    virtually([indexes, index], body)
    assert found == [None, 1, 2, 3, 4, 5, 6, 7]


@everywhere
def test_the_next_process_reads_what_was_told(table: str) -> None:
    """What a process told until a third of a lease before it died is there in the next one."""

    async def body(bench: Bench) -> None:
        first, second = bench.share_messages(2)
        bench.takers = itertools.repeat(second)
        run = (await bench.start("indexes", pages=40)).run
        await asyncio.sleep(20.5)
        die(second)
        bench.takers = itertools.repeat(first)
        assert await bench.result(run) == 40
        assert (await item_of(bench, run)).lost == 1

    virtually([indexes, index], body, table=table)
    assert len(found) == 2
    assert 18 <= found[1] <= 20


def test_what_is_told_is_written_with_the_beats_of_the_heart() -> None:
    """However often an attempt tells something, it is one write for each look at its claim."""

    @task
    async def busy(beats: int) -> None:
        for number in range(600):
            await asyncio.sleep(0.1)
            for _ in range(beats):
                task_context().heartbeat(number)

    @workflow
    async def works(beats: int) -> None:
        await busy(beats)

    def writes_of(beats: int) -> tuple[int, int]:
        table = CountingTable()

        async def body(bench: Bench) -> None:
            await bench.run("works", beats=beats)

        virtually([works, busy], body, table=table)
        return table.writes, table.gets

    (quiet, looks), (told_once, fewer), (told_often, _) = map(writes_of, (0, 1, 20))
    assert told_often == told_once
    assert 0 < told_once - quiet == looks - fewer <= 60 / (5 / 3)


@task(retries=1, delay=1, jitter=0)
async def fails(finally_: bool) -> Any:
    context = task_context()
    found.append(context.progress)
    context.heartbeat({"page": context.attempt})
    if finally_ or context.attempt == 1:
        raise ConnectionError("no answer")
    return context.progress


@workflow
async def tries(finally_: bool = False) -> Any:
    return await fails(finally_)


def test_what_a_failing_attempt_told_goes_with_its_failure() -> None:
    """It needs no `heartbeat=`."""

    async def body(bench: Bench) -> None:
        assert await bench.run("tries") == {"page": 1}

    virtually([tries, fails], body)
    assert found == [None, {"page": 1}]


def test_a_retry_of_the_run_goes_on_from_there() -> None:
    """A task that has failed for good keeps what it told; the keys of its service stay, too."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("tries", finally_=True)).run
        assert await bench.engine.result(run, 100) is not None
        operation = await shown(bench, run)
        assert operation.progress == msgspec.Raw(b'{"page":2}')
        await bench.engine.retry(run)
        assert await bench.engine.result(run, 100) is not None

    virtually([tries, fails], body)
    assert found == [None, {"page": 1}, {"page": 2}, {"page": 3}]


@everywhere
def test_a_stale_attempt_tells_nothing(table: str) -> None:
    """What an attempt that was overtaken tells is refused: its successor's progress stands."""

    async def body(bench: Bench) -> None:
        bench.lose_first_messages()
        run = (await bench.start("indexes", pages=30)).run
        await bench.engine.result(run, 1)
        services = bench.engine.services
        old = services.task_claim(run, Invocation(run, "index", "index"))
        await services.store.claim_task(old)
        await services.store.lose_task(run, "index", old.owner, 0, failure())
        await bench.engine.result(run, 12)
        before = (await item_of(bench, run)).progress
        assert before is not None
        assert not await services.store.report_task(run, "index", old.owner, {"progress": None})
        assert (await item_of(bench, run)).progress == before
        assert await bench.result(run) == 30

    virtually([indexes, index], body, table=table)


def failure() -> Any:
    from rewake.records import Failure  # noqa: PLC0415

    return Failure("blocked", "it blocked the event loop")


def test_a_process_that_stops_keeps_what_was_told() -> None:
    """The attempt is handed over, and the next process begins where it was."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("indexes", pages=40)).run
        await asyncio.sleep(7.4)
        await bench.engine.close(grace=0)
        second = bench.another()
        second.open()
        assert await second.result(run, 100) is not None
        await second.close()

    virtually([indexes, index], body)
    assert found == [None, 7]


def test_a_codec_seals_what_is_told() -> None:
    """Progress is a value: behind a codec nobody reads it in the database."""
    bodies: list[Any] = []

    async def body(bench: Bench) -> None:
        run = (await bench.start("secretly")).run
        await asyncio.sleep(8)
        item = await item_of(bench, run, "tells")
        assert item.progress is not None
        bodies.append(item.progress)
        assert (await shown(bench, run)).progress == msgspec.Raw(f'"{CANARY}"'.encode())
        assert await bench.result(run) == CANARY

    @task(heartbeat=5, delay=0)
    async def tells() -> Any:
        task_context().heartbeat(CANARY)
        if task_context().attempt == 1:
            await asyncio.sleep(4)
            task_context().heartbeat()
            await asyncio.sleep(100)
        return task_context().progress

    @workflow
    async def secretly() -> Any:
        return await tells()

    virtually([secretly, tells], body, secret=SEALING)
    assert CANARY.encode() not in bytes(bodies[0].body)


@pytest.mark.parametrize(("before", "cleared"), [("deadline", True), ("", False)])
def test_what_kills_its_processes_is_to_blame_whatever_it_tells(before: str, cleared: bool) -> None:
    """Only that a host has cut the attempt before off is forgotten for progress."""

    async def body(bench: Bench) -> None:
        beats = Beats(b"1", asyncio.get_running_loop().time)
        heartbeats = bench.engine.services.beats
        tries = [Try(1, 0, 1, type=before, lost=True)]
        held = Operation("r", "k", Kind.TASK, deaths=2, strikes=1, tries=tries, silent=1)
        heartbeats.begin(held, "me", beats)
        beats.beat(2)
        changes = heartbeats.changes("me")
        assert changes.pop("progress") is not None
        assert changes == {"silent": 0, **(CLEARED if cleared else {})}
        heartbeats.end("me")

    virtually([indexes, index], body)


def test_time_in_which_nobody_could_be_heard_is_nobodys() -> None:
    """A pause of the whole process, or of its event loop, is no silence of its tasks."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("indexes", pages=5)).run
        await asyncio.sleep(2.5)
        bench.loop.seconds += 60  # nothing ran meanwhile
        assert await bench.result(run) == 5

    virtually([indexes, index], body, lease=200_000)
    assert found == [None]


@workflow
async def asks() -> list[str]:
    said = []
    try:
        task_context().heartbeat()
    except NotInARun:
        said.append("not in a body")

    def beats() -> None:
        task_context().heartbeat(1)

    try:
        await step("beats", beats)
    except TaskError as error:
        said.append(f"{error.type}: {error.message}")
    try:
        await odd()
    except TaskError as error:
        said.append(f"{error.type}: {error.message}")
    await sleep(1)
    return said


@task
async def odd() -> None:
    with pytest.raises(InvalidInput, match=r"16,384 bytes"):
        task_context().heartbeat("x" * 20_000)
    task_context().heartbeat({"when": {1, 2}})


def test_what_cannot_be_told_is_refused_where_it_is() -> None:
    """In a body, in a step, and for what is no JSON or too large: one clear line each."""

    async def body(bench: Bench) -> None:
        assert await bench.run("asks") == [
            "not in a body",
            "UsageError: heartbeat() is for tasks: a step has nothing that keeps its progress",
            "InvalidInput: progress is JSON, and when is of type set: give what JSON has for it",
        ]

    virtually([asks, odd], body)


@pytest.mark.parametrize("wrong", [0, -1, True, "10"])
def test_a_heartbeat_that_cannot_be_is_refused_at_the_decorator(wrong: Any) -> None:
    """It says which option, and what it wants."""
    with pytest.raises((TypeError, ValueError), match=r"heartbeat(: a duration is a| must be )"):
        task(heartbeat=wrong)(asyncio.sleep)


def test_a_step_takes_none() -> None:
    """A step has no item in which progress could be kept, and ends with its process anyway."""

    async def called() -> None:
        await step("x", lambda: None, heartbeat=10)  # type: ignore[call-overload]

    async def grouped() -> None:
        await block("x", called, heartbeat=10)  # type: ignore[call-arg]

    for each in (called, grouped):
        with pytest.raises(TypeError, match="heartbeat is for tasks"):
            asyncio.run(each())
    assert issubclass(NotInARun, UsageError)


class Failing:
    """A payload codec that cannot seal data for some purposes for a while, as its service is down.

    `for_what`: the purposes.
    """

    def __init__(self) -> None:
        self.for_what: tuple[str, ...] = ()

    def encode(self, data: bytes, context: Context) -> bytes:
        if context.purpose in self.for_what:
            raise OSError("no answer")
        return CODEC.encode(data, context)

    def decode(self, data: bytes, context: Context) -> bytes:
        return CODEC.decode(data, context)


@pytest.mark.parametrize("purpose", [Purpose.PROGRESS, "text", Purpose.RESULT])
def test_a_codec_that_fails_is_no_death_of_a_process(purpose: str) -> None:
    """How an attempt ended is written down without what it told, or once its error or its result
    can be: it is not made again.
    """
    codec = Failing()

    async def body(bench: Bench) -> None:
        codec.for_what = (purpose,)
        run = (await bench.start("tries")).run
        await asyncio.sleep(20)
        codec.for_what = ()
        await bench.result(run)
        assert (await item_of(bench, run, "fails")).lost == 0

    virtually([tries, fails], body, secret=SECRET.with_codec(codec))
    assert found == [None, None if purpose == Purpose.PROGRESS else {"page": 1}]


def test_who_cannot_keep_its_progress_still_hears_that_it_is_over() -> None:
    """A codec that fails for what is told hides no cancellation from the attempt."""
    codec = Failing()

    async def body(bench: Bench) -> None:
        run = (await bench.start("indexes", pages=100)).run
        await asyncio.sleep(5)
        codec.for_what = (Purpose.PROGRESS,)
        await bench.engine.cancel(run)
        await asyncio.sleep(5)
        assert not bench.engine.services.attempts

    virtually([indexes, index], body, secret=SECRET.with_codec(codec))


def test_what_was_cancelled_beside_a_failure_goes_on_where_it_was() -> None:
    """A retry of its run asks for it again, and it finds what it had told."""

    @task
    async def breaks() -> None:
        await asyncio.sleep(8)
        if len(found) == 1:
            raise ConnectionError("no answer")

    @workflow
    async def beside() -> Any:
        return (await asyncio.gather(index(20, 0), breaks()))[0]

    async def body(bench: Bench) -> None:
        run = (await bench.start("beside")).run
        await bench.engine.result(run, 100)
        await bench.engine.retry(run)
        assert await bench.result(run) == 20

    virtually([beside, index, breaks], body)
    assert (len(found), found[0]) == (2, None)
    assert 5 <= found[1] <= 8


def test_a_beat_of_what_is_called_in_place_is_one_of_its_caller() -> None:
    """A task that calls another one goes on as long as that says so."""

    @task(heartbeat=10)
    async def calls(pages: int) -> int:
        found.append(task_context().attempt)
        return await index(pages, 0)

    @workflow
    async def nested() -> int:
        return await calls(30)

    async def body(bench: Bench) -> None:
        assert await bench.run("nested") == 30

    virtually([nested, calls, index], body)
    assert found == [1, None]


def test_what_contains_itself_many_times_is_refused_as_soon_as_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each part of it is looked at once, however many ways lead there."""
    looked, parts = list[str](), emitted._parts

    def counted(place: str, value: Any) -> Any:
        looked.append(place)
        return parts(place, value)

    monkeypatch.setattr(emitted, "_parts", counted)
    twice: list[Any] = [1, 2]
    for _ in range(21):
        twice = [twice, twice]
    with pytest.raises(InvalidInput, match="nested too deeply, or too large"):
        Beats(b"", lambda: 0.0).beat(twice)
    assert len(looked) < 30


def test_a_child_process_is_told_that_it_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a forked child tells would be heard by its copy of the context, and by nobody else."""
    beats = Beats(b"", lambda: 0.0)
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(UsageError, match="let its parent call it"):
        beats.beat(1)
