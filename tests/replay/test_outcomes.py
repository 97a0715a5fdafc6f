"""`parallel` with a policy: when it ends, when it fails, and what it says of each item."""

from __future__ import annotations

import asyncio
import math
import pickle
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewake import Outcome, Outcomes, TaskError, parallel, sleep, step
from tests.support.driver import Run
from tests.support.tasks import fail, fetch, results, two


async def ship(x: str) -> str:
    """Fails for a capital letter, in a second operation."""
    await fetch(x)
    if x.isupper():
        await fail(x)
    return x


def states(done: Outcomes[Any]) -> str:
    return " ".join(each.state for each in done)


def test_outcomes_tolerates_everything() -> None:
    """Each item has its outcome, in item order, with the result or the error of its branch."""

    async def main() -> Any:
        done = await parallel("aBcD", ship, outcomes=True)
        assert [each.index for each in done] == [0, 1, 2, 3]
        assert [each.ok for each in done] == [True, False, True, False]
        assert [str(each.error) for each in done if not each.ok] == [
            "ValueError: B",
            "ValueError: D",
        ]
        assert done[0] == Outcome(0, "ok", "a")
        assert len(done.errors) == 2
        assert done.counts == {"ok": 2, "failed": 2, "cancelled": 0, "skipped": 0}
        with pytest.raises(TaskError):
            done.raise_first()
        return [done.results, done.reason, states(done)]

    assert results(main) == [[["a", "c"], "completed", "ok failed ok failed"]]


def test_enough_successes_end_it_and_cancel_the_others() -> None:
    """Their tasks are withdrawn, their cleanup is waited for, and items not begun are skipped."""

    async def main() -> Any:
        async def one(x: str) -> str:
            try:
                return await ship(x)
            except asyncio.CancelledError:
                await step("undo", lambda: None)
                raise

        done = await parallel("abcde", one, concurrency=3, min_successful=1)
        return [states(done), done.results, done.reason, done.errors]

    run = Run(main)
    run.settle("parallel[1]/fetch")
    assert run.withdrawn == ["parallel[0]/fetch", "parallel[2]/fetch"]
    assert run.open == ["parallel[0]/undo", "parallel[2]/undo"]
    expected = ["cancelled ok cancelled skipped skipped", ["b"], "min_successful", []]
    assert run.to_the_end().result == expected
    run.close()


@pytest.mark.parametrize(
    ("options", "result"),
    [
        ({"tolerate": 1}, "ValueError: B"),
        ({"tolerate": 2}, "ok failed ok failed"),
        ({"tolerate": 0}, "ValueError: B"),
        ({"tolerate": 0.5}, "ok failed ok failed"),
        ({"tolerate": 0.49}, "ValueError: B"),
        ({"tolerate": 1.0}, "ok failed ok failed"),
        ({"min_successful": 2}, "ok failed ok skipped"),
        ({"min_successful": 3}, "ValueError: B"),
        ({"min_successful": 2, "tolerate": 0}, "ValueError: B"),
        ({"tolerate": 1, "outcomes": True}, "ValueError: B"),
    ],
)
def test_policies(options: dict[str, Any], result: str) -> None:
    """It fails with the first failure as soon as it cannot end well; one after the other here."""

    async def main() -> Any:
        try:
            return states(await parallel("aBcD", ship, concurrency=1, **options))
        except TaskError as error:
            return str(error)

    assert results(main) == [result]


def test_it_fails_as_soon_as_success_is_impossible() -> None:
    """The items that are left are not begun, and what is under way is withdrawn."""

    async def main() -> Any:
        await parallel("abcdef", fail, concurrency=3, min_successful=5)

    run = Run(main)
    run.settle("parallel[2]/fail")
    assert not run.withdrawn
    run.settle("parallel[0]/fail")
    assert run.withdrawn == ["parallel[1]/fail", "parallel[3]/fail"]
    with pytest.raises(Exception, match="c") as raised:
        run.result  # noqa: B018
    assert raised.value.args[:2] == ("TaskError", "ValueError: c")
    run.close()


_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "min_successful": st.integers(1, 6),
        "tolerate": st.integers(0, 6) | st.floats(0, 1),
        "outcomes": st.just(True),
        "concurrency": st.integers(1, 4),
    },
)


@given(st.lists(st.booleans(), max_size=6), _OPTIONS, st.randoms(use_true_random=False))
def test_any_policy_by_its_definition(
    fails: list[bool], options: dict[str, Any], chance: Any
) -> None:
    """Whatever the order: what was decided follows from the ends until then, and no sooner."""
    count, enough, share = len(fails), options.get("min_successful"), options.get("tolerate")
    if enough is not None and enough > count:
        return
    bears = count if enough is None else count - enough
    if isinstance(share, float):
        bears = min(bears, math.floor(share * count + 1e-9))
    elif share is not None:
        bears = min(bears, share)
    elif enough is None and "outcomes" not in options:
        bears = 0

    async def main() -> Any:
        async def one(number: int) -> int:
            await (fail(number) if fails[number] else fetch(number))
            return number

        return await parallel(range(count), one, name=str, **options)

    ended: list[int] = []
    with closing(Run(main)) as run:
        while not run.finished:
            succeeded = [n for n in ended if not fails[n]]
            assert len(ended) - len(succeeded) <= bears
            assert len(ended) < count
            assert enough is None or len(succeeded) < enough
            key = chance.choice(run.open)
            ended.append(int(key.partition("[")[0]))
            run.settle(key)
        failed = [n for n in ended if fails[n]]
        if len(failed) > bears:
            with pytest.raises(Exception, match=str(failed[0])):
                run.result  # noqa: B018
        elif isinstance(run.result, Outcomes):
            assert run.result.results == sorted(n for n in ended if not fails[n])
            counts = run.result.counts
            assert (counts["ok"], counts["failed"]) == (len(ended) - len(failed), len(failed))
            assert sum(counts.values()) == count
        else:
            assert run.result == [*range(count)]
        check = run.replayed()
        assert check.error is None
        check.drop()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"min_successful": 0}, ValueError),
        ({"min_successful": 3}, ValueError),
        ({"min_successful": True}, TypeError),
        ({"min_successful": 1.5}, TypeError),
        ({"tolerate": True}, TypeError),
        ({"tolerate": -1}, ValueError),
        ({"tolerate": -0.1}, ValueError),
        ({"tolerate": 1.1}, ValueError),
        ({"tolerate": math.nan}, ValueError),
        ({"tolerate": math.inf}, ValueError),
        ({"tolerate": "1"}, TypeError),
        ({"concurrency": 0}, ValueError),
        ({"concurrency": -1}, ValueError),
        ({"concurrency": True}, TypeError),
        ({"concurrency": 1.5}, TypeError),
        ({"name": ""}, ValueError),
        ({"name": 7}, TypeError),
        ({"name": int}, TypeError),
        ({"name": lambda _: ""}, ValueError),
    ],
    ids=[*"abcdefghijklmnopqrs"],
)
def test_options_out_of_range(options: dict[str, Any], error: type[Exception]) -> None:
    """They are refused before anything is asked for, also outside a run."""

    async def main() -> Any:
        with pytest.raises(error):
            await parallel([1, 2], fetch, **options)

    run = Run(main)
    assert run.finished
    assert not run.asked
    run.close()
    asyncio.run(main())


def test_of_nothing() -> None:
    """No items are an end at once, whatever is tolerated; enough of them there cannot be."""

    async def main() -> Any:
        done = await parallel([], fetch, tolerate=0.5)
        assert (len(done), done.reason, done.results) == (0, "completed", [])
        done.raise_first()
        with pytest.raises(ValueError, match="min_successful is 1"):
            await parallel([], fetch, min_successful=1)

    assert results(main) == [None]
    asyncio.run(main())


def test_a_branch_that_cancels_itself_counts_as_failed() -> None:
    """Tolerated it is `cancelled`; plain, it cancels, as it always has."""

    async def main() -> Any:
        async def one(x: str) -> str:
            await fetch(x)
            if x == "b":
                raise asyncio.CancelledError
            return x

        return states(await parallel("abc", one, tolerate=1))

    assert results(main) == ["ok cancelled ok"]


def test_the_end_of_a_program_is_not_tolerated() -> None:
    """A `SystemExit` in a branch is no failure of an item."""

    async def main() -> Any:
        async def one(x: str) -> str:
            await fetch(x)
            raise SystemExit(x)

        try:
            await parallel("a", one, outcomes=True)
        except SystemExit as error:
            return f"exit {error}"

    assert results(main) == ["exit a"]


def test_names() -> None:
    """A text names the group; a function names each branch, and its number stays in its key."""

    async def main() -> Any:
        await parallel("ab", fetch, name="pages")
        await parallel("ab", fetch, name="pages")
        await parallel("aab", fetch, name=lambda x: f"page {x}")
        await parallel("a", two, name=lambda x: f"page {x}")

    run = Run(main, cold=True).to_the_end()
    assert run.asked == [
        *("pages[0]/fetch", "pages[1]/fetch", "pages.2[0]/fetch", "pages.2[1]/fetch"),
        *("page a[0]/fetch", "page a.2[1]/fetch", "page b[2]/fetch"),
        *("page a.3[0]/fetch", "page a.3[0]/fetch.2"),
    ]
    run.close()


def test_odd_names_are_escaped() -> None:
    """A name is any text, and never runs into the path of a key."""

    async def main() -> Any:
        await parallel(["a/b[0]", "ü" * 200, "x.2"], fetch, name=str)

    run = Run(main, cold=True).to_the_end()
    assert run.asked[0] == "a%2Fb%5B0%5D[0]/fetch"
    assert run.asked[2] == "x%2E2[2]/fetch"
    assert all(key.isascii() and len(key) < 150 for key in run.asked)
    run.close()


def test_outcomes_can_be_returned_and_handed_on() -> None:
    """They are kept as any value is: in a result, or in a task's arguments."""

    async def main() -> Any:
        done = await parallel("aB", ship, outcomes=True)
        again = await step("keep", lambda: done)
        return [again.results, str(again.errors[0]), states(again), again.reason]

    assert results(main) == [[["a"], "ValueError: B", "ok failed", "completed"]]
    done: Outcomes[str] = Outcomes((Outcome(0, "ok", "a"), Outcome(1, "skipped")), "min_successful")
    assert pickle.loads(pickle.dumps(done)) == done
    assert repr(done) == "<Outcomes: 1 ok, 1 skipped; min_successful>"


def test_outside_a_run() -> None:
    """The same functions in plain Python end alike."""

    async def main() -> list[Any]:
        done = await parallel([0.0, 9.0], sleep, min_successful=1, name=str)
        return [states(done), done.reason]

    assert asyncio.run(main()) == ["ok cancelled", "min_successful"]
