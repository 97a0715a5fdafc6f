"""What of each primitive has happened in a simulation, as what was written tells.

It counts in the table of firings where something went wrong as well: a primitive that nobody uses
under faults is not simulated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rewake.kinds import Kind
from rewake.limited import LimitKind
from rewake.noted import BlockEnded
from rewake.records import Completed, Scheduled, Signalled
from rewake.states import RunState
from tests.simulation.crowding import answer, called, newest

if TYPE_CHECKING:
    from tests.simulation.known import Run
    from tests.simulation.world import World

UNDER_FAULTS = "under faults"
KINDS: Mapping[Kind, str] = {
    Kind.APPROVAL: "approval",
    Kind.CALLBACK: "callback",
    Kind.EVENT: "event",
    Kind.CHILD: "child",
    Kind.CHILD_RESULT: "handle",
}
LIMITS: Mapping[str, str] = {
    LimitKind.CONCURRENCY: "limit",
    LimitKind.RATE: "rate",
    LimitKind.CACHE: "cache",
    LimitKind.THROTTLE: "throttle",
    LimitKind.SINGLETON: "singleton",
    LimitKind.DEBOUNCE: "debounce",
    LimitKind.BATCH: "batch",
}
STARTS: Mapping[tuple[str, RunState], str] = {
    (newest.name, RunState.CANCELLED): "take over",
    (answer.name, RunState.DONE): "begun by an event",
    (called.name, RunState.CANCELLED): "ended by an event",
}
PRIMITIVES = (
    *KINDS.values(),
    *("signal", "update", "block", "lap", "heartbeat", "response", "emit", "labels", "tag"),
    *("state", "state of a task", "state from outside"),
    *LIMITS.values(),
    *STARTS.values(),
    *("skip", "refuse", "join", "circle"),
)
"""What is counted."""


def happened(world: World) -> Counter[tuple[str, str]]:
    """What has happened, by `PRIMITIVES`; nothing if nothing went wrong."""
    if not (world.chaos.fired or world.crashes):
        return Counter()
    watch, found = world.watch, Counter[str]()
    for run in watch.runs.values():
        found.update(_of_run(run))
    found["emit"] = world.said.total()
    found["heartbeat"] = len(watch.beats.told)
    found += watch.states.used + watch.doors.used
    found["circle"] = len(watch.circles.told)
    found.update({LIMITS[kind]: number for kind, number in watch.limits.used.items()})
    return Counter({(UNDER_FAULTS, what): number for what, number in found.items()})


def _of_run(run: Run) -> Iterator[str]:
    """What is told by the header and the history of a run."""
    header, asked = run.header, {each.key: each for each in run.all_asked}
    yield from ["lap"] * (header.lap.number - 1)
    if header.answer:
        yield "response"
    if header.labels:
        yield "labels"
    begun = STARTS.get((header.workflow, header.state))
    if begun:
        yield begun
    for entry in run.entries:
        match entry:
            case Completed(key=key) if key in asked and asked[key].kind in KINDS:
                yield KINDS[asked[key].kind]
            case Signalled():
                yield "signal"
            case BlockEnded():
                yield "block"
            case Scheduled(kind=Kind.ANSWER):
                yield "update"
            case Scheduled() if entry.tag:
                yield "tag"
