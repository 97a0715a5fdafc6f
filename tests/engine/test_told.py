"""What a server's log says of attempts and runs, and about whom."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest

from rewake import Approval, Decision, race, sleep, step, task, wait_for_approval, workflow
from rewake.engine.attempts.losses import tell_loss
from rewake.engine.outside.approvals import Approvals
from rewake.hosts.log_formats import JsonFormat, TextFormat
from rewake.kinds import Kind
from rewake.records import Invocation, Operation
from rewake.views.timeline import timeline
from tests.support.virtual import Bench, Ended, virtually


class Heard(logging.Handler):
    """What the process logs."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def about(self, level: int) -> list[tuple[object, object, object]]:
        """What the records of a level are about."""
        found = [record.__dict__ for record in self.records if record.levelno == level]
        return [(each.get("run"), each.get("key"), each.get("attempt")) for each in found]


@pytest.fixture(autouse=True)
def heard() -> Iterator[Heard]:
    """Everything that is logged from INFO on."""
    handler, root = Heard(), logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


@task(retries=1, delay=2, jitter=0)
async def charge(order: str) -> None:
    logging.getLogger("app").info("charging")
    raise ValueError(f"no card for {order}")


@workflow
async def buy(order: str) -> None:
    logging.getLogger("app").info("buying")
    await charge(order)


@workflow
async def stepped() -> None:
    def draw() -> None:
        raise KeyError("x")

    await step("draw", draw, retries=1, delay=2, jitter=0)


@pytest.mark.parametrize(("name", "key"), [("buy", "charge"), ("stepped", "draw")])
def test_a_failed_attempt_is_a_warning(heard: Heard, name: str, key: str) -> None:
    """It says which attempt of what failed, with what, and when the next one begins."""

    async def body(bench: Bench) -> None:
        arguments = {"order": "B1"} if name == "buy" else {}
        header = await bench.start(name, **arguments)
        with pytest.raises(Ended):
            await bench.result(header.run)
        run = header.run
        assert heard.about(logging.WARNING) == [(run, f"{key}", 1), (run, f"{key}", 2)]
        first, last = [r.getMessage() for r in heard.records if r.levelno == logging.WARNING]
        assert f"attempt 1 at {key} of run {run} failed: " in first
        assert first.endswith("the next one is in 2 s")
        assert last.endswith("there is no next one")

    virtually([buy, stepped, charge], body)


def test_a_failed_run_is_an_error_with_the_users_frames(heard: Heard) -> None:
    """The log has the frames of the task, then those of the body, and none of the runtime's."""

    async def body(bench: Bench) -> None:
        with pytest.raises(Ended):
            await bench.run("buy", order="B1")
        [error] = [r.getMessage() for r in heard.records if r.levelno == logging.ERROR]
        assert "ValueError: no card for B1" in error
        assert error.index("in charge") < error.index("direct cause") < error.index("in buy")
        assert "runtime/rewake" not in error
        assert "_Traced" not in error

    virtually([buy, charge], body)


def test_every_record_says_what_it_is_about(heard: Heard) -> None:
    """Records of a body and of attempts have `run`, `key` and `attempt`, whoever makes them."""

    async def body(bench: Bench) -> None:
        header = await bench.start("buy", order="B1")
        with pytest.raises(Ended):
            await bench.result(header.run)
        said = [r for r in heard.records if r.name == "app"]
        assert [(r.getMessage(), r.__dict__["run"], r.__dict__["key"]) for r in said] == [
            ("buying", header.run, ""),
            ("charging", header.run, "charge"),
            ("charging", header.run, "charge"),
        ]
        assert [r.__dict__["attempt"] for r in said] == [None, 1, 2]

    virtually([buy, charge], body)


def test_an_apps_own_attributes_stay(heard: Heard) -> None:
    """A record that has a `run` of the app's own keeps it, and fails nothing."""

    @workflow
    async def extra() -> None:
        logging.getLogger("app").info("mine", extra={"run": "a marathon"})

    async def body(bench: Bench) -> None:
        await bench.run("extra")
        [said] = [r for r in heard.records if r.name == "app"]
        assert said.__dict__["run"] == "a marathon"

    virtually([extra], body)


def test_a_lost_attempt_is_a_warning(heard: Heard) -> None:
    """Who takes a task over from a process that died says so, about the attempt that is lost."""

    async def body(bench: Bench) -> None:
        bench.lose_first_messages()
        header = await bench.start("buy", order="B1")
        await bench.engine.result(header.run, 1)
        services = bench.engine.services
        claim = services.task_claim(header.run, Invocation(header.run, "charge", "charge"))
        await services.store.claim_task(claim)  # by a process that dies here
        with pytest.raises(Ended):
            await bench.result(header.run)
        lost = next(r for r in heard.records if "was lost" in r.getMessage())
        assert lost.levelno == logging.WARNING
        assert (lost.__dict__["run"], lost.__dict__["attempt"]) == (header.run, 1)
        assert lost.getMessage().startswith("attempt 1 at charge of run ")
        assert lost.getMessage().endswith("; attempt 2 begins")

    virtually([buy, charge], body)


@pytest.mark.parametrize(
    ("last", "then"), [(True, "there is no next one"), (False, "attempt 5 begins")]
)
def test_the_warning_of_a_loss_says_what_is_next(last: bool, then: str, heard: Heard) -> None:
    """A task that killed too many processes is not said to begin; the record is of the lost one."""
    tell_loss(Operation("r1", "charge", Kind.TASK, number=5), last)
    [lost] = [record for record in heard.records if "was lost" in record.getMessage()]
    assert lost.getMessage().endswith(f"; {then}")
    assert lost.getMessage().startswith("attempt 4 at charge")


def test_the_two_formats() -> None:
    """Text has what a record is about in brackets; JSON has it as members, an object a line."""
    record = logging.LogRecord("app", logging.INFO, "a.py", 1, "two\nlines", (), None)
    assert TextFormat().format(record).endswith("INFO app two\nlines")
    record.__dict__.update(run="r1", key="charge", attempt=2)
    assert "INFO app [r1 charge#2] two" in TextFormat().format(record)
    line = JsonFormat().format(record)
    told = json.loads(line)
    assert "\n" not in line
    assert (told["level"], told["message"], told["run"]) == ("INFO", "two\nlines", "r1")
    assert (told["key"], told["attempt"]) == ("charge", 2)


@workflow
async def asks() -> None:
    await wait_for_approval("release")


def test_the_life_of_a_run_is_told(heard: Heard) -> None:
    """The log says that a run starts, what it waits for with the command, and how it ends."""

    async def body(bench: Bench) -> None:
        header = await bench.start("asks")
        await bench.engine.result(header.run, 1)
        await Approvals(bench.engine).decide(header.run, "release", Approval(Decision.APPROVED))
        await bench.result(header.run)
        said = [r.getMessage() for r in heard.records if r.name == "rewake.runs"]
        assert said == [
            f"run {header.run} of asks has started",
            f"run {header.run} waits for a decision: rewake runs approve {header.run} release",
            f"run {header.run} of asks has ended: done",
        ]

    virtually([asks], body)


@workflow
async def races() -> None:
    await race(slow(), sleep(1))


@task
async def slow() -> None:
    await asyncio.sleep(60)


def test_what_the_workflow_took_back_is_withdrawn() -> None:
    """The loser of a race is shown as withdrawn, whatever became of it."""

    async def body(bench: Bench) -> None:
        header = await bench.start("races")
        await bench.result(header.run)
        await asyncio.sleep(100)
        _, history = await bench.engine.history(header.run)
        states = {each.name: each.state for each in timeline(history)[1]}
        assert states["slow"] == "withdrawn"

    virtually([races, slow], body)


@workflow
async def waits_for_ever() -> None:
    await asyncio.get_running_loop().create_future()


def test_who_reads_that_a_run_is_stuck_reads_what_to_do(heard: Heard) -> None:
    """One line has the reason, the command that shows more, and the one that goes on."""

    async def body(bench: Bench) -> None:
        header = await bench.start("waits_for_ever")
        await asyncio.sleep(1)
        run = header.run
        [told] = [r.getMessage() for r in heard.records if r.levelno == logging.ERROR]
        assert told.startswith(f"run {run} is stuck: StuckError: it waits for something")
        assert told.endswith(
            f"see `rewake replay {run}`, and after a fix: rewake runs resume {run}"
        )

    virtually([waits_for_ever], body)
