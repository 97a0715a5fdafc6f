"""What runs log and print: kept with the run, once, and still sent where logs go."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rewake import (
    Around,
    middleware,
    parallel,
    send_signal,
    sleep,
    step,
    task,
    task_context,
    wait_for_signal,
    workflow,
)
from rewake.app import load_app
from rewake.authoring.context import current_context
from rewake.values.loglines import LIMIT
from tests.support.virtual import TABLES, Bench, Ended, virtually

log = logging.getLogger("app.orders")

everywhere = pytest.mark.parametrize("table", TABLES)
warm_and_cold = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])


class Heard(logging.Handler):
    """What the app's own handlers are given."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture(autouse=True)
def heard() -> Iterator[Heard]:
    """The handlers of the app, which lets everything from INFO on pass."""
    handler = Heard()
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)


async def kept(bench: Bench, run: str, key: str | None = None) -> dict[tuple[str, int], list[str]]:
    """The lines of a run, by operation and attempt."""
    batches = await bench.engine.logs(run, key)
    found: dict[tuple[str, int], list[str]] = {}
    for batch in batches:
        lines = [f"{line.level} {line.message}" for line in batch.lines]
        found.setdefault((batch.key, batch.attempt), []).extend(lines)
    return found


async def helper() -> None:
    log.info("from a helper")


@task
async def charges(amount: int) -> int:
    log.info("charging %d", amount)
    log.debug("not for this app's handlers")
    print("printed", end=" ")
    print("in pieces")
    await asyncio.create_task(helper())
    print("to stderr", file=sys.stderr)
    sys.stdout.writelines(["one\n", "unfinished"])
    return amount


@task
def counts() -> None:
    log.warning("in a thread")
    print("also here")


@workflow
async def orders() -> None:
    await charges(5)
    await counts()
    await step("ship", lambda: log.info("shipped"))


def test_what_attempts_log_and_print_is_kept_with_them(
    heard: Heard, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that an attempt logs or prints, in threads too, is kept with it, and still sent on."""

    async def body(bench: Bench) -> None:
        header = await bench.start("orders")
        await bench.result(header.run)
        assert await kept(bench, header.run) == {
            ("charges", 1): [
                "INFO charging 5",
                "STDOUT printed in pieces",
                "INFO from a helper",
                "STDERR to stderr",
                "STDOUT one",
                "STDOUT unfinished",
            ],
            ("counts", 1): ["WARNING in a thread", "STDOUT also here"],
            ("ship", 1): ["INFO shipped"],
        }

    virtually([orders, charges, counts], body)
    printed = capsys.readouterr()
    assert printed.out == "printed in pieces\none\nunfinishedalso here\n"
    assert printed.err == "to stderr\n"
    assert heard.messages == ["charging 5", "from a helper", "in a thread", "shipped"]


@workflow
async def narrates(rounds: int) -> int:
    log.info("begins")
    for number in range(rounds):
        print(f"round {number}")
        await sleep(60)
        await charges(number)
    log.info("ends after %d", rounds)
    return rounds


@everywhere
@warm_and_cold
def test_what_a_body_logs_is_there_once(
    table: str, cached: int, heard: Heard, capsys: pytest.CaptureFixture[str]
) -> None:
    """However often it is replayed, what a body logs and prints is kept and heard once."""

    async def body(bench: Bench) -> None:
        header = await bench.start("narrates", rounds=3)
        await bench.result(header.run)
        rounds = [f"STDOUT round {number}" for number in range(3)]
        said = ["INFO begins", *rounds, "INFO ends after 3"]
        assert (await kept(bench, header.run))["", 1] == said
        assert await kept(bench, header.run, "") == {("", 1): said}
        assert list(await kept(bench, header.run, "charges")) == [("charges", 1)]

    virtually([narrates, charges], body, table=table, cached=cached)
    times = Counter(heard.messages)
    assert (times["begins"], times["ends after 3"]) == (1, 1)
    printed = capsys.readouterr().out
    assert [printed.count(f"round {number}") for number in range(3)] == [1, 1, 1]


@workflow
async def branches() -> None:
    async def one(item: int) -> None:
        log.info("branch %d begins", item)
        await charges(item)
        log.info("branch %d ends", item)

    await parallel(range(3), one)


def test_branches_log_under_the_run() -> None:
    """Branches of a workflow log in the order in which they went on."""

    async def body(bench: Bench) -> None:
        header = await bench.start("branches")
        await bench.result(header.run)
        begin = [f"INFO branch {number} begins" for number in range(3)]
        end = [f"INFO branch {number} ends" for number in range(3)]
        said = (await kept(bench, header.run))["", 1]
        assert said[:3] == begin
        assert sorted(said[3:]) == end

    virtually([branches, charges], body, cached=0)


@middleware
def around_waits(around: Around) -> Iterator[None]:
    if around.name == "waits":
        log.info("around %s", around.run)
        OUTSIDE.append(current_context())
    yield


@workflow
async def waits() -> int:
    return await wait_for_signal("go", type=int)


@task
async def sends() -> None:
    await send_signal("waits", "go", 1)
    log.info("it is sent")
    await asyncio.sleep(5)


@workflow
async def wakes() -> None:
    await sends()


OUTSIDE: list[object] = []


def test_what_an_attempt_leads_to_is_no_part_of_it(caplog: pytest.LogCaptureFixture) -> None:
    """A task sends a signal: what the run that it wakes says, or is around it, is not the task's;
    so no line of it is kept with the task, is said to be about it, or lets it be blamed.
    """
    caplog.set_level(logging.INFO, "rewake")

    async def body(bench: Bench) -> None:
        OUTSIDE.clear()
        await bench.engine.start("waits", {}, run="waits")
        await asyncio.sleep(1)
        await bench.engine.start("wakes", {}, run="wakes")
        await bench.result("wakes")
        assert (await kept(bench, "wakes"))["sends", 1] == ["INFO it is sent"]
        assert OUTSIDE == [None, None]
        ends = {each.message: each for each in caplog.records}
        end: Any = ends["run waits of waits has ended: done"]
        assert (end.run, end.key) == ("waits", "")

    virtually([waits, sends, wakes, around_waits], body)


@workflow
async def fails() -> None:
    try:
        await step("breaks", breaks)
    except Exception:
        log.exception("it broke")
        raise


def breaks() -> None:
    raise ValueError("broken")


def test_a_traceback_is_kept_with_its_message() -> None:
    """`logger.exception` keeps the traceback, as a handler would write it."""

    async def body(bench: Bench) -> None:
        header = await bench.start("fails")
        with pytest.raises(Ended):
            await bench.result(header.run)
        [said] = (await kept(bench, header.run))["", 1]
        assert said.startswith("ERROR it broke\nTraceback")
        assert "ValueError: broken" in said

    virtually([fails], body)


@task
async def prints_by_handler() -> None:
    logger = logging.getLogger("app.prints")
    handler = logging.StreamHandler(sys.stdout)
    logger.addHandler(handler)
    logger.propagate = False  # pytest's own handler raises what does not fit
    try:
        logger.warning("once")
        logger.warning("not %d", "numbers")
        task_context().logger.info("and this")
    finally:
        logger.removeHandler(handler)


@workflow
async def by_handler() -> None:
    await prints_by_handler()


def test_what_a_handler_prints_is_not_kept_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """A record that a handler writes to stdout is one line, also if its arguments do not fit."""

    async def body(bench: Bench) -> None:
        header = await bench.start("by_handler")
        await bench.result(header.run)
        said = (await kept(bench, header.run))["prints_by_handler", 1]
        assert said[0] == "WARNING once"
        assert said[1].startswith("WARNING not %d (TypeError")
        assert said[2] == "INFO and this"
        assert len(said) == 3

    virtually([by_handler, prints_by_handler], body)
    assert capsys.readouterr().out.startswith("once\n")


class Unsayable:
    def __init__(self, mistake: type[BaseException]) -> None:
        self.mistake = mistake

    def __str__(self) -> str:
        raise self.mistake


@task
async def says_what_has_no_text() -> str:
    logger = logging.Logger("unsayable")  # noqa: LOG001 - pytest's handlers raise what has no text
    logger.addHandler(logging.NullHandler())
    for mistake in (ValueError, SystemExit):
        logger.warning(Unsayable(mistake))
        logger.warning("it is %s", Unsayable(mistake))
    return "done"


@workflow
async def unsayable() -> str:
    return await says_what_has_no_text()


@everywhere
def test_a_line_that_has_no_text_fails_no_work(table: str) -> None:
    """Whatever the `__str__` of what is logged raises, the line is kept, with what is known."""

    async def body(bench: Bench) -> None:
        header = await bench.start("unsayable")
        assert await bench.result(header.run) == "done"
        said = (await kept(bench, header.run))["says_what_has_no_text", 1]
        assert len(said) == 4
        assert all(line.startswith("WARNING ") for line in said)

    virtually([unsayable, says_what_has_no_text], body, table=table)


@task
async def floods() -> None:
    for _ in range(100):
        print("x" * 20_000)


@workflow
async def flood() -> None:
    for _ in range(100):
        print("y" * 20_000)
    await floods()
    print("heard by nobody")


@everywhere
@warm_and_cold
def test_a_flood_of_logs_is_bounded(table: str, cached: int) -> None:
    """Lines and logs of any size are cut with a notice; the run ends as it would."""

    async def body(bench: Bench) -> None:
        header = await bench.start("flood")
        await bench.result(header.run)
        for key, letter in (("", "y"), ("floods", "x")):
            said = (await kept(bench, header.run))[key, 1]
            assert said[0].startswith(f"STDOUT {letter}{letter}")
            assert said[0].endswith("(and 3,616 characters more)")
            assert said[-1].startswith("STDOUT (cut here")
            assert LIMIT - 20_000 < sum(map(len, said)) < LIMIT + 20_000

    virtually([flood, floods], body, table=table, cached=cached)


@workflow
async def interrupted() -> str:
    log.info("begins")
    await step("long", lambda: asyncio.sleep(30))
    log.info("ends")
    return "done"


def test_what_was_said_before_a_commit_was_lost_is_not_kept_twice(heard: Heard) -> None:
    """A body that was lost before it was committed says everything again; it is kept once."""

    async def body(bench: Bench) -> None:
        header = await bench.start("interrupted")
        await asyncio.sleep(5)
        bench.another().open()
        await bench.engine.close(0)
        bench.engine = bench.made[-1]
        assert await bench.result(header.run) == "done"
        assert (await kept(bench, header.run))["", 1] == ["INFO begins", "INFO ends"]
        await bench.engine.close()

    virtually([interrupted], body)
    assert heard.messages == ["begins", "begins", "ends"]


class Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError(f"no connection for {record.name}")


@task(retries=1, delay=1)
async def fails_once() -> str:
    context = task_context()
    if context.attempt == 1:
        raise ValueError("once")
    return f"attempt {context.attempt}"


@workflow
async def meets_a_broken_handler() -> str:
    return await fails_once()


@pytest.mark.parametrize("table", TABLES)
def test_a_handler_that_raises_fails_no_work(
    table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The runtime's own lines of log harm no run; the error is reported as `logging` reports."""
    logger = logging.getLogger("rewake")
    broken = Broken()

    async def body(bench: Bench) -> None:
        logger.addHandler(broken)
        try:
            assert await bench.run("meets_a_broken_handler", wait=60) == "attempt 2"
        finally:
            logger.removeHandler(broken)

    virtually([meets_a_broken_handler, fails_once], body, table=table)
    assert "no connection for rewake.engine" in capsys.readouterr().err


def test_the_process_is_left_as_it_was() -> None:
    """After the last engine has closed, logging and the standard streams are what they were."""
    before = (logging.Logger.callHandlers, sys.stdout, sys.stderr)

    async def body(bench: Bench) -> None:
        assert logging.Logger.callHandlers is not before[0]
        other = bench.another()
        other.open()
        await other.close()
        await bench.another().close()  # it never opened
        assert sys.stdout is not before[1]

    virtually([orders], body)
    assert (logging.Logger.callHandlers, sys.stdout, sys.stderr) == before


CONFIGURES = """
import logging.config
logging.config.dictConfig({"version": 1})
from rewake import workflow
@workflow
async def main() -> None: ...
"""


def test_an_app_that_configures_logging_silences_no_server(tmp_path: Path) -> None:
    """`dictConfig` disables what it does not name; the server still says what it does."""
    (tmp_path / "rwk_configures.py").write_text(CONFIGURES)
    known = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    before = [(each, each.disabled) for each in known]
    left_alone = logging.getLogger("rewake.test_left_alone")
    left_alone.disabled = True
    try:
        load_app(str(tmp_path / "rwk_configures.py"))
        said = {each.name: not each.disabled for each in known}
        assert not said["app.orders"]
        assert said["rewake.engine"]
        assert all(is_said for name, is_said in said.items() if name.startswith("rewake"))
        assert left_alone.disabled
    finally:
        for each, disabled in before:
            each.disabled = disabled
        sys.modules.pop("rwk_configures", None)
        sys.path.remove(str(tmp_path))
