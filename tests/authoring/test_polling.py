"""`wait_until`: checked again and again, with nothing held in between."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from typing import Any

import pytest

from rewake import NotInARun, TaskError, task_context, wait_until, workflow
from tests.support.driver import Run
from tests.support.emptied import emptied
from tests.support.virtual import Bench, virtually

made: list[Any] = []
_emptied = emptied(made)


def later() -> list[int]:
    """What there is from the third look on."""
    made.append(asyncio.get_running_loop().time() if _in_loop() else 0)
    return [7] if len(made) >= 3 else []


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def again(state: int) -> int:
    made.append(state)
    return state + 1


def test_the_first_true_value_is_the_result() -> None:
    """False ones are asked again; each check and each wait has a key of its own."""

    async def main() -> Any:
        return await wait_until(later, every=5)

    run = Run(main, cold=True).to_the_end()
    assert run.result == [7]
    assert run.asked == ["later", "wait_until", "later.2", "wait_until.2", "later.3"]


def test_a_state_is_handed_on_until_it_is_done() -> None:
    """`check(state)` gives the next state, and `done` decides; the wait may grow with both."""
    waits: list[tuple[int, int]] = []

    def every(state: int, count: int) -> timedelta:
        waits.append((state, count))
        return timedelta(seconds=count)

    async def main() -> Any:
        return await wait_until(
            again, state=10, done=lambda state: state >= 13, every=every, name="rise"
        )

    run = Run(main).to_the_end()
    assert run.result == 13
    assert made == [10, 11, 12]
    assert waits == [(11, 1), (12, 2)]
    assert run.asked == ["rise", "wait_until", "rise.2", "wait_until.2", "rise.3"]


def test_a_state_of_none_is_a_state() -> None:
    """What is not given and what is None are two things."""

    async def main() -> Any:
        return await wait_until(lambda state: [state], state=None)

    assert Run(main).to_the_end().result == [None]


def test_a_bound_on_checks() -> None:
    """The last check that may be is made, no wait follows it, and the error says so."""

    async def main() -> Any:
        try:
            await wait_until(lambda: 0, max_checks=2, name="never")
        except TimeoutError as error:
            return str(error)

    run = Run(main, cold=True).to_the_end()
    assert run.result == "'never' was not done after 2 checks"
    assert run.asked == ["never", "wait_until", "never.2"]


def test_a_check_that_fails() -> None:
    """It is a step that failed; without retries the first one counts."""

    def fails() -> bool:
        raise LookupError("gone")

    async def main() -> Any:
        try:
            await wait_until(fails)
        except TaskError as error:
            return [error.type, error.message]

    assert Run(main).to_the_end().result == ["LookupError", "gone"]


@pytest.mark.parametrize(
    "options",
    [
        {"every": -1},
        {"every": math.nan},
        {"every": True},
        {"every": timedelta(seconds=-1)},
        {"timeout": 0},
        {"max_checks": 0},
        {"max_checks": True},
        {"max_checks": 2.0},
        {"retries": -1},
        {"every": lambda _state, _count: -1},
    ],
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    """They are refused by name, in plain Python as in a run."""

    async def main() -> Any:
        await wait_until(lambda: 0, **options)

    with pytest.raises(ValueError, match=next(iter(options))):
        asyncio.run(main())


def test_outside_a_run_it_is_plain_python() -> None:
    """The same code, called as it is: checks in place, and real waits."""

    async def main() -> Any:
        return await wait_until(later, every=0.001, timeout=10)

    assert asyncio.run(main()) == [7]
    with pytest.raises(NotInARun):
        task_context()


@workflow
async def patient(timeout: float | None = None) -> list[int] | str:
    try:
        return await wait_until(later, every=timedelta(hours=1), timeout=timeout)
    except TimeoutError as error:
        return str(error)


@workflow
async def hangs() -> str:
    try:
        await wait_until(lambda: asyncio.sleep(10**6), timeout=30, name="slow")
    except TimeoutError as error:
        return str(error)
    return "done"


@pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])
@pytest.mark.parametrize("table", ["memory", "sqlite"])
def test_a_run_is_parked_between_two_checks(table: str, cached: int) -> None:
    """Two hours pass in which nothing runs, and a run that forgets its instance goes on alike."""

    async def body(bench: Bench) -> None:
        assert await bench.run("patient") == [7]
        assert 7199.9 <= bench.seconds < 7210
        assert len(made) == 3

    virtually([patient], body, table=table, cached=cached)


def test_a_timeout_ends_the_wait_between_two_checks() -> None:
    """It is over when its time is, not at the check that would follow."""

    async def body(bench: Bench) -> None:
        assert await bench.run("patient", timeout=5400) == "'later' was not done within 5400 s"
        assert 5399.9 <= bench.seconds < 5401

    virtually([patient], body)


def test_a_timeout_ends_a_check_under_way() -> None:
    """A check that hangs does not keep its run."""

    async def body(bench: Bench) -> None:
        assert await bench.run("hangs") == "'slow' was not done within 30 s"
        assert 29.9 <= bench.seconds < 31

    virtually([hangs], body)


def test_a_poll_goes_on_in_the_next_process() -> None:
    """What was checked before the process ended is not checked again."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("patient")).run
        await asyncio.sleep(4000)
        await bench.engine.close(grace=0)
        bench.engine = bench.another()
        bench.engine.open()
        assert await bench.result(run) == [7]
        assert len(made) == 3

    virtually([patient], body)


def _size_of(checks: int) -> tuple[int, int]:
    """The entries of the history, and the open operations, after so many checks."""

    async def main() -> Any:
        return await wait_until(again, state=0, done=lambda state: state > checks, every=1)

    run, most = Run(main), 0
    while not run.finished:
        run.settle(run.eligible[0])
        most = max(most, len(run.open))
    return len(run.history), most


def test_a_long_poll_is_linear_and_holds_little() -> None:
    """Ten times the checks are ten times the history, and one open operation at a time."""
    (short, few), (long, many) = _size_of(100), _size_of(1000)
    assert (few, many) == (1, 1)
    assert long - short == 900 * 4
