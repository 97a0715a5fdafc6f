"""What must be true of runs, whatever happened to the servers, beside what they returned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.end_to_end import outside
from tests.end_to_end.front import Front


@dataclass
class World:
    """What bodies told of themselves, by run."""

    begun: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    ended: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @classmethod
    def seen(cls, file: Path) -> World:
        """All that was told so far."""
        world = cls()
        for what, by_run in (("begun", world.begun), ("ended", world.ended)):
            for each in outside.told(file, what):
                by_run.setdefault(each["run"], []).append(each)
        return world


def faults(
    front: Front, runs: Sequence[str], world: World, *, paused: Collection[int] = (), calm: bool
) -> Iterator[str]:
    """What is wrong with these runs, a line each. `paused`: servers that stood still meanwhile.

    `calm`: nothing happened to any process, or only what a deploy does.
    """
    for run in runs:
        history = front.get(f"/v1/runs/{run}/history")
        operations = {each["key"]: each for each in history["operations"]}
        for told in (
            _outcomes(history["entries"]),
            _attempts(world.begun.get(run, []), paused),
            _repetitions(world.begun.get(run, []), operations),
            _often(world.ended.get(run, [])) if calm else (),
        ):
            yield from (f"run {run}: {each}" for each in told)


def _outcomes(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each operation has one outcome."""
    over = Counter(each["key"] for each in entries if each["type"] == "completed")
    yield from (f"{key} has {count} outcomes" for key, count in over.items() if count > 1)


def _attempts(begun: Sequence[Mapping[str, Any]], paused: Collection[int]) -> Iterator[str]:
    """No attempt begins twice: one that stood still may not know that it was overtaken."""
    known = [each for each in begun if each["pid"] not in paused]
    often = Counter((each["key"], each["attempt"]) for each in known)
    yield from (f"attempt {each} began {count} times" for each, count in often.items() if count > 1)


def _repetitions(
    begun: Sequence[Mapping[str, Any]], operations: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """Nothing that has ended begins again: of all that began, the newest on record is the last."""
    for each in begun:
        operation = operations.get(each["key"], {})
        tries = [one["attempt"] for one in operation.get("tries", ())]
        if operation.get("ended") and tries and each["attempt"] > max(tries):
            yield f"{each['key']} began again after it had ended: {each}, {operation}"


def _often(ended: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Where nobody dies, each body ends once."""
    often = Counter(each["key"] for each in ended)
    yield from (f"{key} ended {count} times" for key, count in often.items() if count > 1)
