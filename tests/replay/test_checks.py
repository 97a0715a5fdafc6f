"""The replay checks: code that no longer does what its history says is found out.

Every difference names its key, cannot be caught by user code, and never lets a run finish wrongly.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from rewake import parallel, race, sleep, step, task
from rewake.errors import CheckpointUnreadable, NonDeterminismError, StuckError
from rewake.kinds import OutcomeKind
from rewake.records import Completed, Fired, Outcome, Started
from tests.support.driver import START, Run

Body = Callable[..., Awaitable[Any]]


@task
async def fetch(x: Any) -> Any:
    return x


@task
async def store(x: Any) -> Any:
    return x


async def swallowing(body: Callable[[], Awaitable[Any]]) -> Any:
    """Catches all that a workflow body can catch, and ends well whatever happens."""
    try:
        return await body()
    except BaseException:
        return "swallowed"
    finally:
        await asyncio.gather(asyncio.sleep(0), return_exceptions=True)


def differs(before: Body, after: Body, *settle: str) -> NonDeterminismError:
    """The error from replaying a run of `before`, with these operations settled, on `after`."""
    run = Run(before)
    for key in settle:
        run.settle(key)

    async def careful() -> Any:
        return await swallowing(after)

    found = []
    for code in (after, careful):
        replayed = run.replayed(code)
        assert isinstance(replayed.error, NonDeterminismError), replayed.error
        assert replayed.finished is None
        assert not replayed.fresh
        found.append((replayed.error.key, str(replayed.error)))
        replayed.drop()
    run.close()
    assert found[0] == found[1]
    assert found[0][0] in found[0][1]
    return NonDeterminismError(found[0][1], key=found[0][0])


def test_changed_arguments() -> None:
    """Other arguments at a key are found, while the operation is open and after it ended."""

    async def before() -> Any:
        return [await fetch("a"), await fetch("b")]

    async def after() -> Any:
        return [await fetch("A"), await fetch("b")]

    for settled in ((), ("fetch",)):
        error = differs(before, after, *settled)
        assert error.key == "fetch"
        assert "other arguments" in str(error)


def test_changed_function() -> None:
    """A task of another name is found; the error says what is asked and what is recorded."""

    async def before() -> Any:
        return await fetch("a")

    async def after() -> Any:
        return await store("a")

    error = differs(before, after)
    assert error.key == "store"
    assert "'fetch'" in str(error)


def test_renamed_function_under_one_key() -> None:
    """A closure of the same short name but from another place is another function."""

    async def before() -> Any:
        async def work() -> int:
            return 1

        return await task(work)

    async def after() -> Any:
        class Other:
            async def work(self) -> int:
                return 2

        return await task(Other().work)

    error = differs(before, after)
    assert error.key == "work"
    assert "before.work" in str(error)
    assert "Other.work" in str(error)


def test_a_file_may_be_renamed() -> None:
    """The same code in a module of another name is the same code, closures and all."""
    code = """
from rewake import task

def plain():
    return 1

class Adder:
    def __call__(self):
        return 2

async def main():
    async def work():
        return 3

    found = [await task(plain)(), await task(Adder())(), await task(work)]
    return found + [await task(lambda: 4)]
"""
    before: dict[str, Any] = {"__name__": "app"}
    after: dict[str, Any] = {"__name__": "package.renamed"}
    for module in (before, after):
        exec(code, module)
    run = Run(before["main"])
    for key in ("plain", "Adder", "work", "lambda"):
        run.settle(key)
    replayed = run.replayed(after["main"])
    assert replayed.error is None
    assert replayed.finished is not None
    replayed.drop()
    run.close()


def test_changed_kind() -> None:
    """A step where the history has a task is found."""

    async def before() -> Any:
        return await fetch("a")

    async def after() -> Any:
        return await step("fetch", lambda: "a")

    error = differs(before, after)
    assert error.key == "fetch"
    assert "the history has the task" in str(error)


def test_an_extra_operation_at_the_frontier() -> None:
    """An operation that was not asked for then is found, where the history ends and before."""

    async def before() -> Any:
        await fetch("a")
        await fetch("b")

    async def after() -> Any:
        await fetch("a")
        await asyncio.gather(fetch("b"), store("c"))

    async def after_start() -> Any:
        other = asyncio.create_task(store("c"))
        await fetch("a")
        await fetch("b")
        await other

    assert differs(before, after_start).key == "store[0]/store"
    error = differs(before, after, "fetch")
    assert "ran past the history" in str(error)


def test_a_removed_operation() -> None:
    """An operation that is not asked for any more is found, while open and after it ended."""

    async def before() -> Any:
        await asyncio.gather(fetch("a"), store("b"))

    async def after() -> Any:
        await asyncio.gather(fetch("a"))

    for settled in ((), ("store[0]/store",)):
        error = differs(before, after, *settled)
        assert error.key == "store[0]/store"
        assert "ended before the history" in str(error)


def test_finished_early() -> None:
    """Code that ends where its history goes on is found, and has no result."""

    async def before() -> Any:
        return [await fetch("a"), await fetch("b")]

    async def after() -> Any:
        return await fetch("a")

    for settled in (("fetch",), ("fetch", "fetch.2")):
        assert "ends the workflow" in str(differs(before, after, *settled))


def test_finished_late() -> None:
    """Code that goes on where its history ended is found."""

    async def before() -> Any:
        return await fetch("a")

    async def after() -> Any:
        return [await fetch("a"), await fetch("b")]

    assert differs(before, after, "fetch").key == "fetch.2"


def test_finished_otherwise() -> None:
    """Code that now fails where it returned then is found, and the error told."""

    async def before() -> Any:
        return await fetch("a")

    async def after() -> Any:
        await fetch("a")
        raise ValueError

    run = Run(before)
    run.settle("fetch")
    replayed = run.replayed(after)
    assert "ends the workflow (error: ValueError: " in str(replayed.error)
    replayed.drop()
    run.close()


def test_a_missing_withdrawal() -> None:
    """Code that no longer cancels what it cancelled then is found."""

    async def before() -> Any:
        await race(fetch("a"), fetch("b"))
        await sleep(1)

    async def after() -> Any:
        tasks = [asyncio.create_task(fetch(x)) for x in "ab"]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await sleep(1)

    run = Run(before)
    run.settle("race[0]/fetch")
    replayed = run.replayed(after)
    assert isinstance(replayed.error, NonDeterminismError)
    replayed.drop()
    run.close()


def test_completing_what_was_never_asked_for() -> None:
    """A completion of an unknown key is found, live and on replay."""

    async def main() -> Any:
        return await swallowing(lambda: fetch("a"))

    run = Run(main)
    ok = Outcome(OutcomeKind.OK)
    for event in (Completed("other", START + 1), Fired("other", START + 1)):
        live = run.replayed()
        live.observe(event, ok)
        assert isinstance(live.error, NonDeterminismError)
        assert live.error.key == "other"
        live.drop()
        cold = run.instance()
        cold.replay([*run.history, event], {"other": ok})
        assert isinstance(cold.error, NonDeterminismError)
        assert cold.error.key == "other"
        cold.drop()
    run.close()


def test_a_missing_outcome_is_an_error_and_never_an_empty_one() -> None:
    """A completion whose outcome is not there makes the run stuck."""

    async def main() -> Any:
        return await swallowing(lambda: fetch("a"))

    run = Run(main)
    run.settle("fetch")
    run.outcomes.clear()
    replayed = run.replayed()
    assert isinstance(replayed.error, CheckpointUnreadable)
    assert "fetch" in str(replayed.error)
    assert replayed.finished is None
    replayed.drop()
    run.close()


def test_a_damaged_outcome_is_not_raised_into_the_workflow() -> None:
    """A value that cannot be read makes the run stuck; no `except` sees it."""

    async def main() -> Any:
        return await swallowing(lambda: fetch(("a", 1)))

    run = Run(main)
    run.settle("fetch")
    good = run.outcomes["fetch"]
    assert good.value is not None
    assert good.value.codec == "pickle"
    run.outcomes["fetch"] = Outcome(good.kind, type(good.value)("pickle", b'"AAAA"'))  # type: ignore[arg-type]
    replayed = run.replayed()
    assert isinstance(replayed.error, CheckpointUnreadable)
    assert replayed.finished is None
    replayed.drop()
    run.close()


def test_unreadable_arguments_make_the_run_stuck() -> None:
    """A run whose own input cannot be read is stuck, not failed."""

    async def main(x: Any) -> Any:
        return x

    run = Run(main, ("a", 1), begin=False)
    started = run.history[0]
    assert isinstance(started, Started)
    bad = type(started.args)("pickle", b'"AAAA"')  # type: ignore[arg-type]
    run.execution.replay([Started(START, bad)], {})
    assert isinstance(run.execution.error, CheckpointUnreadable)
    assert run.execution.finished is None
    assert run.execution.fresh == []
    run.close()


def test_the_first_difference_counts() -> None:
    """What code does between a difference and its next wait does not replace the error."""

    async def before() -> Any:
        await asyncio.gather(fetch("a"), store("b"))

    async def after() -> Any:
        await asyncio.gather(fetch("A"), store("B"))

    assert differs(before, after).key == "fetch[0]/fetch"


def test_the_first_difference_of_one_callback_counts() -> None:
    """Several differences before the next wait are reported as the first of them."""

    def asking(*given: int) -> Body:
        async def main() -> Any:
            asked = [fetch(each) for each in given]
            for coro in asked:
                coro.send(None)
            await store("a")

        return main

    error = differs(asking(5, 6), asking(7, 8))
    assert error.key == "fetch"
    assert "fetch.2" not in str(error)


def test_a_stopped_instance_does_nothing_more() -> None:
    """After a difference no further code of the workflow runs, whatever it is fed."""
    went_on: list[str] = []

    async def before() -> Any:
        await fetch("a")
        await fetch("b")

    async def after() -> Any:
        await fetch("A")
        went_on.append("a")

    run = Run(before)
    run.settle("fetch")
    replayed = run.replayed(after)
    replayed.observe(Completed("fetch", START + 9), Outcome(OutcomeKind.OK))
    assert went_on == []
    assert isinstance(replayed.error, NonDeterminismError)
    replayed.drop()
    run.close()


def test_a_history_without_a_beginning() -> None:
    """Entries that do not begin with an event are refused."""

    async def main() -> Any:
        await fetch("a")

    run = Run(main)
    replayed = run.instance()
    replayed.replay(run.history[1:], {})
    assert isinstance(replayed.error, StuckError)
    replayed.drop()
    run.close()


def test_set_order_of_strings_is_found_out() -> None:
    """Iterating over a set of strings, which differs between processes, does not go unseen."""
    order = ["b", "a"]

    async def main() -> Any:
        return [await fetch(x) for x in order]

    run = Run(main)
    order.reverse()
    assert isinstance(run.replayed().error, NonDeterminismError)
    run.close()


@pytest.fixture(autouse=True)
def no_pending() -> Iterator[None]:
    """What a test leaves behind must not complain later."""
    yield
    gc.collect()


def test_groups_and_branches_of_one_name_do_not_share_keys() -> None:
    """A coroutine of the user's named like one of ours has keys of its own."""

    async def inner(x: Any) -> Any:
        return await parallel([x], fetch)

    async def main() -> Any:
        first = await parallel(["a"], inner)
        (second,) = await asyncio.gather(parallel(["b"], fetch))
        third = await parallel(["c"], inner)
        (fourth,) = await asyncio.gather(parallel(["d"], fetch))
        return [first, second, third, fourth]

    run = Run(main, cold=True).to_the_end()
    assert run.result == [[["a"]], ["b"], [["c"]], ["d"]]
    assert len(set(run.asked)) == 4
    run.close()
