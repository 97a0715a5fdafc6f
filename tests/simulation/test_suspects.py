"""Suspects: whose death it was becomes clear, the innocent end, and a pause is no death."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.simulation.directed import GRACE, LEASE, Stage, directed

FOR_EVER = 99


async def begin(stage: Stage, run: str, program: list[Any]) -> None:
    await stage.ask(stage.p1, lambda e: e.start("main", {"program": program}, run=run))


def tasks(count: int, ms: int) -> list[Any]:
    return ["gather", False, *(["task", "work", f"n{n}", {"ms": ms}] for n in range(count))]


def kill_all(stage: Stage) -> None:
    for replica in stage.world.alive():
        replica.die("of nobody's fault")


def begun(stage: Stage) -> int:
    """How often the tasks of the fan-out were begun, in all."""
    return sum(times for (_, key), times in stage.world.begun.items() if key.endswith("/work"))


def operations(stage: Stage, run: str) -> list[Any]:
    return list(stage.world.watch.runs[run].operations.values())


@directed
async def test_one_poison_harms_itself_alone(stage: Stage) -> None:
    """It ends as lost; no neighbour, task or step, is blamed, and each comes to its result."""
    stage.world.replaces = True
    poison = ["task", "work", "p1", {"kills": FOR_EVER, "ms": 300}]
    await stage.start(["try", poison, None, None])
    await begin(stage, "r2", tasks(3, 3_000))
    await begin(stage, "r3", ["step", "s1", {"ms": 3_000}])
    strikes = set[int]()
    runs = stage.world.watch.runs

    def over() -> bool:
        strikes.update(each.strikes for each in operations(stage, "r2"))
        strikes.add(runs["r3"].header.strikes)
        return all(run.over for run in runs.values())

    await stage.within(120, over, "the end of all")
    assert await stage.result() == ["caught", "lost"]
    assert strikes == {0}
    assert {operation.outcome.kind for operation in operations(stage, "r2")} == {"ok"}
    assert runs["r3"].header.state == "done"
    assert stage.begun("work") == stage.world.crashes == 4


@directed
async def test_a_first_death_costs_nobody_more_than_a_lease(stage: Stage) -> None:
    """What was lost once is begun again all at once: a machine that dies blames nobody."""
    stage.world.replaces = True
    await stage.start(tasks(10, 2_000))
    await stage.within(1, lambda: begun(stage) == 10, "beginning")
    kill_all(stage)
    # A process is replaced within 7 s.
    await stage.within(7 + LEASE, lambda: begun(stage) == 20, "beginning again")
    assert {operation.deaths for operation in operations(stage, "r1")} == {1}
    await stage.within(7, stage.is_over, "the end")


@directed
async def test_long_suspects_do_not_wait_for_each_others_end(stage: Stage) -> None:
    """After two deaths they are begun one by one, and go on side by side for hours."""
    stage.world.replaces = True
    await stage.start(tasks(4, 1_000_000))
    await stage.within(1, lambda: begun(stage) == 4, "beginning")
    kill_all(stage)
    await stage.within(15, lambda: begun(stage) == 8, "beginning again")
    kill_all(stage)
    await stage.within(20, lambda: begun(stage) == 9, "beginning the first again")
    assert [operation.apart for operation in operations(stage, "r1")].count(True) <= 2
    await stage.within(60, lambda: begun(stage) == 12, "beginning all again")
    assert {operation.strikes for operation in operations(stage, "r1")} == {0}
    await stage.within(15, lambda: not any(o.apart for o in operations(stage, "r1")), "trust")


@directed
async def test_a_holder_that_wakes_up_was_not_dead(stage: Stage) -> None:
    """What was taken over from a process that paused is no suspect once that process says so."""
    stage.chaos.stalls = 9.0
    work = ["gather", False, ["task", "work", "n1", {"ms": 25_000}], ["step", "s1", {"ms": 25_000}]]
    await stage.start(work)
    owners = set[str]()
    for _ in range(6):
        await stage.within(5, lambda: bool(stage.world.begun["r1", "run[1]/s1"] and begun(stage)))
        owners.add(stage.header.owner)
        holder = stage.world.watch.holder("r1")
        stage.world.favourite = stage.p2 if holder is stage.p1 else stage.p1
        holder.pause()
        stage.chaos.fired["process", "pause"] += 1  # it may cost the step's attempt
        await asyncio.sleep(9 + GRACE)
        assert stage.header.deaths == 0
        assert all(operation.deaths == 0 for operation in operations(stage, "r1"))
    assert len(owners) == 6
    await stage.within(60, stage.is_over, "the end")
