"""One scenario: a story, one SIGKILL, and what must be true."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from rewake.app import App, load_app
from rewake.engine.instances.program import new_execution
from rewake.hosts.databases import Address, open_existing
from rewake.records import Finished
from rewake.signing.secret import Secret
from rewake.stores.reads import Reads
from tests.kill.fleet import Fleet
from tests.kill.points import Kill
from tests.kill.stories import Everything, Story, follow
from tests.support.server import SECRET

AT_MOST_ONCE = "once"
"""The key of the step that runs at most once."""
LOSER = "race.2[0]/stall"
"""The key of a task that is withdrawn, perhaps before it begins."""
CLEANUP = "cancelled"
"""Of a child that may have died before it had committed anything: then it is cancelled unbegun."""
_PARSING = threading.Lock()
"""Python 3.11's parser, asked by several threads at once, may raise `SystemError`."""
_LAST = frozenset({"completed", "stepped", "block", "fired", "signalled", "withdrawn"})


@dataclass(frozen=True)
class Seen:
    """What was seen from outside: of a run and, by key, how often a body began and ended."""

    result: Any
    begun: Counter[str]
    ended: Counter[str]
    calls: dict[str, int]
    killed: int
    seconds: float


def carry_out(
    folder: Path,
    shape: str,
    kills: Sequence[Kill] = (),
    pause: float | None = None,
    place: Callable[[], Address] | None = None,
    story: type[Story] = Everything,
) -> Seen:
    """Carry out a story, see its run to its end, and check all but its result.

    `place` makes a database, where it is not a file in the folder.
    """
    db, blobs = place() if place else ("", "")
    with Fleet(folder, shape, kills, story.app, pause=pause, db=db, blobs=blobs) as fleet:
        began = time.monotonic()
        told = story(fleet)
        told.begin()
        result = told.end(follow(fleet, told.tend))
        took = time.monotonic() - began
        for run in story.runs:
            check_history(fleet, run)
        begun, ended = bodies(folder)
        calls = {unquote(path.name): path.stat().st_size for path in (folder / "calls").iterdir()}
        seen = Seen(result, begun, ended, calls, fleet.killed, took)
    check_replay(Address(fleet.db, blobs), story)
    return seen


def carry_out_all(
    folder: Path,
    points: Sequence[tuple[str, Sequence[Kill]]],
    pause: float | None = None,
    place: Callable[[], Address] | None = None,
    story: type[Story] = Everything,
) -> list[Seen]:
    """Several scenarios at once, each a shape and points: mostly, they wait for leases."""
    with ThreadPoolExecutor(len(points)) as pool:
        waiting = [
            pool.submit(carry_out, folder / f"{number}-{shape}", shape, kills, pause, place, story)
            for number, (shape, kills) in enumerate(points)
        ]
        return [each.result() for each in waiting]


def bodies(folder: Path) -> tuple[Counter[str], Counter[str]]:
    """How often each body began and ended, by key, from the notes."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for line in (folder / "notes").read_text().splitlines():
        what, _, key = line.split(" ", 2)
        found[what][key] += 1
    return found["begun"], found["ended"]


def check_history(fleet: Fleet, run: str) -> None:
    """Each key was asked for once, and has one outcome."""
    history = fleet.ask("GET", f"/v1/runs/{run}/history").json()
    asked: Counter[str] = Counter()
    over: Counter[str] = Counter()
    for entry in history["entries"]:
        if entry.get("kind") in ("emit", "answer"):
            continue  # nobody waits for it
        if entry["type"] == "scheduled":
            asked[entry["key"]] += 1
        elif entry["type"] in _LAST and "retry_at" not in entry:
            over[entry["key"]] += 1
    assert set(asked.values()) == {1}, asked
    assert over == asked


def check_replay(address: Address, story: type[Story]) -> None:
    """A cold replay of what is on disk, in this process, ends as each run did."""
    with _PARSING:
        app, _ = load_app(story.app)
    asyncio.run(_check_replay(address, app, story.runs))


async def _check_replay(address: Address, app: App, runs: Sequence[str]) -> None:
    table, shelf = open_existing(address)
    try:
        store = Reads(table, shelf)
        headers = [await store.header(run) for run in runs]
        histories = [await store.history(header) for header in headers]
    finally:
        await table.close()
    for header, history in zip(headers, histories, strict=True):
        execution = new_execution(app, header, Secret(SECRET))
        execution.replay(history.entries, history.outcomes())
        last = history.entries[-1]
        assert execution.error is None, execution.error
        assert isinstance(last, Finished)
        assert execution.finished == last.outcome
        execution.drop()


def judge(seen: Seen, unkilled: Seen, where: str) -> None:
    """The promise: as if nobody had died, but for bodies that were begun again."""
    result, expected = dict(seen.result), dict(unkilled.result)
    once = result.pop("once", None), expected.pop("once", None)
    assert once[0] == once[1] or (seen.killed and once == ("lost", "kept")), where
    other = {name: result.get(name) for name in expected if result.get(name) != expected[name]}
    assert not other, f"{where}: another result: {other}"
    often = {AT_MOST_ONCE, LOSER, CLEANUP}  # these may begin or not, in either
    differ = seen.begun.keys() ^ unkilled.begun.keys()
    assert differ <= often, f"{where}: bodies that begin in one alone: {differ}"
    again = {key: n for key, n in seen.begun.items() if n > unkilled.begun[key] + seen.killed}
    assert not again, f"{where}: begun too often: {again}"
    assert seen.begun[AT_MOST_ONCE] <= 1, where
    lost = {key for key in unkilled.ended if not seen.ended[key]} - {AT_MOST_ONCE, CLEANUP}
    assert not lost, f"{where}: an outcome, but no body that ended: {lost}"
