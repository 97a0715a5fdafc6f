"""Suites 8 and 9: branches side by side. There `parallel` and `map` are two; here both are one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from rewake import Outcomes, TaskError, parallel, sleep, step
from tests.requirements.asked import asked, called, work


def branches(number: str, *kinds: str, **options: Any) -> Awaitable[Any]:
    """`parallel` over these, one at a time: `ok` gives its place, `bad` fails."""

    async def branch(item: tuple[int, str]) -> int:
        called[number] += 1
        place, kind = item
        if kind == "bad":
            raise ValueError(f"branch {place}")
        return place

    made: Awaitable[Any] = parallel(enumerate(kinds), branch, **{"concurrency": 1, **options})
    return made


def told(ended: Outcomes[Any]) -> Any:
    """Why a group ended, and its counts."""
    return [ended.reason, ended.counts["ok"], ended.counts["failed"]]


async def until_it_fails(group: Awaitable[Any]) -> Any:
    """The error by which a group fails."""
    try:
        await group
    except ValueError as error:
        return str(error)


def stepping(number: str, by: Callable[[Any], Any] = lambda item: item) -> Any:
    """A branch of one step."""

    async def branch(item: Any) -> Any:
        return await step("inside", work(number, by(item)))

    return branch


@asked("8-1", gives=["one", "two"], called=2)
async def side_by_side() -> Any:
    """Branches give their results in the order of the items."""
    return await parallel(["one", "two"], stepping("8-1"), concurrency=1)


@asked("8-2", gives=[0, 1], keys=["parallel[0]/sleep", "parallel[1]/sleep"])
async def without_a_name() -> Any:
    """They need no name."""

    async def branch(item: int) -> int:
        await sleep(1)
        return item

    return await parallel(range(2), branch, concurrency=1)


@asked("8-3", gives=["one", "two"], keys=["first[0]/inside", "second[1]/inside"])
async def named() -> Any:
    """Each may have one of its own."""
    names = {"one": "first", "two": "second"}
    return await parallel(["one", "two"], stepping("8-3"), concurrency=1, name=names.__getitem__)


@asked("8-4", gives=["hello", 42, {"k": "v"}])
async def of_all_types() -> Any:
    """Their results keep their types."""
    return await parallel(["hello", 42, {"k": "v"}], stepping("8-4"), concurrency=1)


@asked("8-5", gives=[[], ["completed", 0, 0]])
async def of_none() -> Any:
    """Of no items the result is empty, at once."""
    return [await branches("8-5"), told(await branches("8-5", outcomes=True))]


@asked("8-6", gives="branch 1", called=2)
async def first_failure() -> Any:
    """With the first failure that is too much it ends, nothing more is begun, and it is raised."""
    return await until_it_fails(branches("8-6", "ok", "bad", "ok", tolerate=0))


@asked("8-7", fails="ValueError", called=1)
async def uncaught() -> Any:
    """Who does not catch it fails."""
    await branches("8-7", "bad", "ok")


@asked("8-8", gives=["min_successful", 2, 0], called=2)
async def enough() -> Any:
    """After so many successes as are enough nothing more is begun."""
    return told(await branches("8-8", "ok", "ok", "ok", "ok", min_successful=2))


@asked("8-9", gives=["completed", 2, 1], called=3)
async def tolerated() -> Any:
    """As many failures as are tolerated stop nothing."""
    return told(await branches("8-9", "ok", "bad", "ok", tolerate=1))


@asked("8-10", gives="branch 0", called=2)
async def too_many() -> Any:
    """With one more it ends, nothing more is begun, and the first failure is raised."""
    return await until_it_fails(branches("8-10", "bad", "bad", "ok", tolerate=1))


@asked("8-11", gives=[3, 2, 1])
async def in_the_order_of_the_items() -> Any:
    """Results are in the order of the items, not in that of their ends."""

    async def branch(item: int) -> int:
        await sleep(item)
        return item

    return await parallel([3, 2, 1], branch, concurrency=2)


@asked("8-13", gives="branch 0", called=2)
async def too_large_a_share() -> Any:
    """A share of the items is tolerated likewise: two of four are more than a quarter."""
    return await until_it_fails(branches("8-13", "bad", "bad", "ok", "ok", tolerate=0.25))


@asked("8-14", gives=["step", "wait"], called=1)
async def one_waits() -> Any:
    """While one branch waits, another that is done is not carried out again."""

    async def branch(item: str) -> str:
        if item == "wait":
            await sleep(2)
            return item
        value: str = await step("inside", work("8-14", item))
        return value

    return await parallel(["step", "wait"], branch, concurrency=1)


@asked("8-16", gives=["completed", 0, 3], called=3)
async def all_fail() -> Any:
    """If all may fail, all are carried out."""
    return told(await branches("8-16", "bad", "bad", "bad", tolerate=3))


@asked("8-17", gives="branch 1", called=2)
async def not_enough() -> Any:
    """Where so many successes as are needed cannot be any more, it ends at once."""
    return await until_it_fails(branches("8-17", "ok", "bad", "ok", min_successful=3))


@asked("8-18", gives="branch 0", called=2)
async def whichever_is_first() -> Any:
    """Of two conditions the one that is met first ends it."""
    how = {"min_successful": 3, "tolerate": 1}
    return await until_it_fails(branches("8-18", "bad", "bad", "ok", "ok", **how))


@asked("8-19", fails="ValueError", called=0)
async def none_at_a_time() -> Any:
    """None at a time cannot be: nothing is begun."""
    await branches("8-19", "ok", "ok", concurrency=0)


@asked("8-20", gives=[[0, 2], ["branch 1"], ["ok", "failed", "ok"]])
async def looked_at() -> Any:
    """The results, the errors and the state of each can be read."""
    ended = await branches("8-20", "ok", "bad", "ok", outcomes=True)
    return [ended.results, [str(error) for error in ended.errors], [one.state for one in ended]]


@asked("8-21", gives=[["one", "two"]], called=2)
async def within_another() -> Any:
    """A branch may have branches."""

    async def outer(_: int) -> Any:
        return await parallel(["one", "two"], stepping("8-21"), concurrency=1)

    return await parallel([0], outer, concurrency=1)


@asked("8-22", gives=["completed", 3, 1], called=4)
async def just_so_large_a_share() -> Any:
    """Just the share that is tolerated stops nothing: one of four is a quarter."""
    return told(await branches("8-22", "bad", "ok", "ok", "ok", tolerate=0.25))


@asked("9-1", gives=["Hello, Ada!", "Hello, Bob!"], called=2)
async def each() -> Any:
    """A function is called on each item."""
    return await parallel(["Ada", "Bob"], stepping("9-1", lambda name: f"Hello, {name}!"))


@asked("9-3", gives=[10, 21, 32])
async def with_its_place() -> Any:
    """It may know the place of its item."""
    return await parallel(enumerate([10, 20, 30]), stepping("9-3", sum))


@asked("9-13", gives=[10, 20], keys=["item 1[0]/inside", "item 2[1]/inside"])
async def named_by_the_item() -> Any:
    """Each call may have a name that is made of its item."""
    by = stepping("9-13", lambda item: 10 * item)
    return await parallel([1, 2], by, name=lambda item: f"item {item}")


@asked("9-15", gives=[0, 1], called=2)
async def each_waits() -> Any:
    """While the call on one item waits, others that are done are not made again."""

    async def branch(item: int) -> int:
        value: int = await step("inside", work("9-15", item))
        await sleep(3 * item)
        return value

    return await parallel(range(2), branch)


@asked("9-16", gives=[["completed", 4, 0], 400_000], called=4)
async def large_in_all() -> Any:
    """What came of all may be large."""
    large = stepping("9-16", lambda item: "x" * 100_000)
    ended = await parallel(range(4), large, outcomes=True)
    await sleep(2)
    return [told(ended), sum(map(len, ended.results))]


@asked("9-17", gives=["A", "B"], called=2)
async def before_a_wait() -> Any:
    """A replay behind them does not carry them out again."""
    value = await parallel(["a", "b"], stepping("9-17", str.upper))
    await sleep(2)
    return value


@asked("9-18", gives=[["completed", 1, 1], "Transient"], called=2)
async def failed_before_a_wait() -> Any:
    """Nor does it if one of them has failed, which has the same error then."""

    async def branch(item: int) -> Any:
        return await step("inside", work("9-18", item, fails=1 - item))

    ended = await parallel(range(2), branch, concurrency=1, outcomes=True)
    await sleep(2)
    (error,) = ended.errors
    assert isinstance(error, TaskError)
    return [told(ended), error.type]
