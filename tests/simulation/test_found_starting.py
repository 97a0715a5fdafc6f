"""What the simulation found of starts that are refused, gathered, or take another's place."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake.errors import Throttled
from rewake.records import Header
from rewake.states import RunState
from tests.simulation.crowding import LONG, NAP, PACK, SETTLE, newest, pack, ration, settle
from tests.simulation.directed import GRACE, LEASE, Gate, Stage, directed
from tests.simulation.world import Replica


async def start(stage: Stage, replica: Replica, workflow: Any, item: str, ms: int = 1) -> str:
    """Start a run under an id that its item gives. Returns the id of the run that has it."""
    given: dict[str, Any] = {"key": "a", "item": item, "ms": ms}
    if workflow is pack:
        given = {"items": [["a", item]]}
    found, _ = await stage.ask(
        replica, lambda engine: engine.start(workflow.name, given, run=f"run-{item}")
    )
    return found.run


def header(stage: Stage, run: str) -> Header:
    """How a run stands."""
    return stage.world.watch.runs[run].header


def is_over(stage: Stage, run: str) -> bool:
    """Whether it has ended."""
    runs = stage.world.watch.runs
    return run in runs and runs[run].over


@directed
async def test_who_stood_still_before_a_throttle_has_no_clock_that_was_set_back(
    stage: Stage,
) -> None:
    """It is refused as anybody is, and gives nobody else a moment that is taken."""
    gate = stage.hold(stage.p1, "reserve")
    late = asyncio.ensure_future(start(stage, stage.p1, ration, "late"))
    await gate.reached.wait()
    await asyncio.sleep(1)
    for item in ("one", "two"):
        await start(stage, stage.p2, ration, item)
    await asyncio.sleep(3)
    await start(stage, stage.p2, ration, "three")
    gate.release()
    with pytest.raises(Throttled):
        await late
    assert "run-late" not in stage.world.watch.runs


@directed
async def test_two_newer_runs_at_once_cancel_an_older_one_once(stage: Stage) -> None:
    """Who asks twice cancels the cleanup too: so of several that take its place, one asks."""
    old = await start(stage, stage.p1, newest, "old", NAP)
    slow = stage.hold(stage.p1, "cancel")
    await start(stage, stage.p2, newest, "newer")
    await slow.reached.wait()
    quick = stage.hold(stage.p1, "cancel", after=True)
    await start(stage, stage.p2, newest, "newest")
    await quick.reached.wait()
    slow.release()
    await asyncio.sleep(0.1)
    quick.release()
    await stage.within(GRACE + LEASE, lambda: is_over(stage, "run-newest"), "the newest")
    assert header(stage, old).cancels == 1
    assert header(stage, old).state is RunState.CANCELLED


@directed
async def test_a_start_that_is_sent_again_is_not_behind_what_came_since(stage: Stage) -> None:
    """Whoever died over it has left it an earlier place in line, by which nobody cancels it."""
    old = await start(stage, stage.p2, newest, "old", LONG)
    stage.world.favourite = stage.p2
    gate = stage.hold(stage.p1, "start")
    stage.p1.spawn(start(stage, stage.p1, newest, "again", LONG))
    await gate.reached.wait()
    stage.p1.die("a plug was pulled")
    looks = stage.hold(stage.p2, "places")
    between = await start(stage, stage.p2, newest, "between", LONG)
    await looks.reached.wait()
    again = await start(stage, stage.p2, newest, "again", LONG)
    looks.release()
    await stage.within(60, lambda: is_over(stage, again), "the one that came last")
    assert header(stage, again).state is RunState.DONE
    assert header(stage, between).state is RunState.CANCELLED
    assert header(stage, old).state is RunState.CANCELLED


@directed
async def test_a_run_that_is_made_behind_a_newer_one_gives_way(stage: Stage) -> None:
    """It had the place of a singleton before it was there, so the newer one found nobody."""
    gate = stage.hold(stage.p1, "start")
    slow = asyncio.ensure_future(start(stage, stage.p1, newest, "slow", LONG))
    await gate.reached.wait()
    quick = await start(stage, stage.p2, newest, "quick")
    stopped = lambda: header(stage, quick).state is RunState.PARKED  # noqa: E731
    await stage.within(GRACE, stopped, "that it waits")
    gate.release()
    old = await slow
    await stage.within(GRACE + LEASE, lambda: is_over(stage, quick), "the newer one")
    assert header(stage, quick).state is RunState.DONE
    assert header(stage, old).state is RunState.CANCELLED


@directed
async def test_of_two_that_look_at_each_other_one_gives_way_the_one_behind_first(
    stage: Stage,
) -> None:
    """One was made after its place was given away, and queues up behind a newer one, which took it
    for older when it looked. Cancelled before it has said where it stands, it cancels nobody.
    """
    slow, (quick, looks, stands) = "run-slow", await _made_too_late(stage)
    looks.release()
    asked = lambda: bool(header(stage, slow).cancels)  # noqa: E731
    await stage.within(1, asked, "that the one behind is asked to cancel")
    stands.release()
    await stage.within(60, lambda: is_over(stage, quick), "the other one")
    assert header(stage, slow).state is RunState.CANCELLED
    assert header(stage, quick).state is RunState.DONE


@directed
async def test_of_two_that_look_at_each_other_one_gives_way_the_one_before_first(
    stage: Stage,
) -> None:
    """The one behind has said where it stands: who has not seen that does not cancel it."""
    slow, (quick, looks, stands) = "run-slow", await _made_too_late(stage)
    cancels = stage.hold(stage.p2, "cancel")
    looks.release()
    await cancels.reached.wait()
    stands.release()
    asked = lambda: bool(header(stage, quick).cancels)  # noqa: E731
    await stage.within(1, asked, "that the one before is asked to cancel")
    cancels.release()
    await stage.within(60, lambda: is_over(stage, slow), "the other one")
    assert header(stage, slow).state is RunState.DONE
    assert header(stage, quick).state is RunState.CANCELLED


def _holds(stage: Stage, run: str) -> bool:
    """Whether a run has a place of some limit."""
    books = stage.world.watch.limits.known.values()
    return any(holder.run == run for book in books for holder in book.holders)


async def _made_too_late(stage: Stage) -> tuple[str, Gate, Gate]:
    """A newer run that is held, after it has read who has the place, before it looks at that; and
    the older one, which was made too late for its place, before it says where it stands now.
    """
    gate = stage.hold(stage.p1, "start")
    stage.p1.spawn(start(stage, stage.p1, newest, "slow", LONG))
    await gate.reached.wait()
    stage.world.favourite = stage.p2
    quick = await start(stage, stage.p2, newest, "quick", LONG)
    looks = stage.hold(stage.p2, "find")
    await looks.reached.wait()
    stage.add()  # it sweeps
    await stage.within(2 * GRACE + LEASE, lambda: not _holds(stage, "run-slow"), "its place to go")
    stage.world.favourite = stage.p1
    stands = stage.hold(stage.p1, "note_admission")
    gate.release()
    await stands.reached.wait()
    return quick, looks, stands


@directed
async def test_of_a_start_that_is_sent_twice_at_once_one_fills_the_batch(stage: Stage) -> None:
    """The other one was about to join it, and is told of that batch, which has begun by then."""
    first = await start(stage, stage.p1, pack, "0")
    for number in range(1, PACK - 1):
        assert await start(stage, stage.p1, pack, f"{number}") == first
    gate = stage.hold(stage.p1, "last")
    slow = asyncio.ensure_future(start(stage, stage.p1, pack, "last"))
    await gate.reached.wait()
    assert await start(stage, stage.p2, pack, "last") == first
    await stage.within(GRACE + LEASE, lambda: is_over(stage, first), "the batch")
    gate.release()
    assert await slow == first
    assert set(stage.world.watch.runs) == {first}
    assert [len(items) for items in stage.world.watch.doors.begins[first]] == [1, 2, 3, 4]


@directed
async def test_a_start_that_named_its_own_run_is_told_where_it_is_by_now(stage: Stage) -> None:
    """It stood still before its run was made; sent again, it has joined what came in between."""
    gate = stage.hold(stage.p1, "name_gatherer", after=True)
    slow = asyncio.ensure_future(start(stage, stage.p1, settle, "slow"))
    await gate.reached.wait()
    await asyncio.sleep(GRACE)
    other = await start(stage, stage.p2, settle, "other")
    assert await start(stage, stage.p2, settle, "slow") == other
    gate.release()
    assert await slow == other
    await stage.within(GRACE + LEASE, lambda: is_over(stage, other), "what was gathered")
    assert set(stage.world.watch.runs) == {other}
    assert stage.world.watch.doors.begins[other] == [["other"], ["slow"]]


@directed
async def test_what_is_put_off_as_it_was_to_begin_begins_later(stage: Stage) -> None:
    """Who came to carry it on had read of the moment before: it waits for what else may come."""
    run = await start(stage, stage.p1, settle, "one")
    gate = stage.hold(stage.p1, "claim")
    stage.p2.offset = stage.p1.offset - 200
    await gate.reached.wait()
    assert await start(stage, stage.p2, settle, "two") == run
    gate.release()
    await asyncio.sleep(SETTLE / 2)
    assert header(stage, run).state is RunState.DELAYED
    await stage.within(GRACE + LEASE, lambda: is_over(stage, run), "what was gathered")
    assert stage.world.watch.doors.begins[run] == [["one"], ["two"]]
