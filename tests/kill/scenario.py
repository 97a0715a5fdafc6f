"""One scenario: a run of the workflow that uses everything, one SIGKILL, and what must be true."""

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
from urllib.parse import unquote, urlsplit

from rewake.app import load_app
from rewake.engine.program import new_execution
from rewake.hosts.databases import Address, open_existing
from rewake.records import Finished
from rewake.signing.secret import Secret
from rewake.stores.reads import Reads
from tests.kill.fleet import APP, Fleet
from tests.kill.points import ADDRESS, Kill
from tests.support.server import SECRET

RUN = "the-run"
PATIENCE = 40.0
"""Seconds that a run may take, with a death in the middle."""
AT_MOST_ONCE = "once"
"""The key of the step that runs at most once."""
EMITTED = 4
"""How much the body emits."""
LOSER = "race.2[0]/stall"
"""The key of a task that is withdrawn, perhaps before it begins."""
_POLL = 0.1
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
) -> Seen:
    """Start a run, decide its approval, see it to its end, and check all but its result.

    `place` makes a database, where it is not a file in the folder.
    """
    db, blobs = place() if place else ("", "")
    with Fleet(folder, shape, kills, pause=pause, db=db, blobs=blobs) as fleet:
        began = time.monotonic()
        start(fleet, "everything")
        result = follow(fleet)
        took = time.monotonic() - began
        check_history(fleet)
        check_stream(fleet)
        begun, ended = bodies(folder)
        calls = {unquote(path.name): path.stat().st_size for path in (folder / "calls").iterdir()}
        seen = Seen(result, begun, ended, calls, fleet.killed, took)
    check_replay(Address(fleet.db, blobs))
    return seen


def carry_out_all(
    folder: Path,
    points: Sequence[tuple[str, Sequence[Kill]]],
    pause: float | None = None,
    place: Callable[[], Address] | None = None,
) -> list[Seen]:
    """Several scenarios at once, each a shape and points: mostly, they wait for leases."""
    with ThreadPoolExecutor(len(points)) as pool:
        waiting = [
            pool.submit(carry_out, folder / f"{number}-{shape}", shape, kills, pause, place)
            for number, (shape, kills) in enumerate(points)
        ]
        return [each.result() for each in waiting]


def start(fleet: Fleet, workflow: str) -> None:
    """Start the run, once, however often that takes."""
    fleet.ask("POST", f"/v1/workflows/{workflow}/runs?id={RUN}", json={}).raise_for_status()


def follow(fleet: Fleet, patience: float = PATIENCE) -> Any:
    """The result of the run. What it asks of a person is answered as soon as it does."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        view = fleet.ask("GET", f"/v1/runs/{RUN}").json()
        assert view["state"] not in ("failed", "cancelled", "stuck"), view["error"]
        if view["state"] == "done":
            return fleet.ask("GET", f"/v1/runs/{RUN}/result").json()["result"]
        for approval in view["approvals"]:
            if approval["name"] == "sign-off":
                _decide(fleet, approval["key"])
        call_back(fleet)
        time.sleep(_POLL)
    raise AssertionError(f"the run does not end in {patience} s")


def call_back(fleet: Fleet) -> None:
    """Be the machine that the address was handed to, once it was. A call may be made twice."""
    history = fleet.ask("GET", f"/v1/runs/{RUN}/history").json()
    operations = {each["key"]: each for each in history["operations"]}
    if "hand on" not in operations or "result" not in operations["hand on"]:
        return
    if operations["paid"]["state"] != "waiting":
        return
    path = urlsplit((fleet.folder / ADDRESS).read_text()).path
    beat = fleet.ask("POST", f"{path}/heartbeat")
    assert beat.status_code == 200, beat.text
    answer = fleet.ask("POST", path, json=7)
    assert (answer.status_code, answer.json()) == (200, {"state": "completed"}), answer.text


def _decide(fleet: Fleet, key: str) -> None:
    """Approve by links, as people do."""
    for who in ("Ada", "Bob"):
        made = fleet.ask("POST", "/v1/links", json={"run": RUN, "key": key, "approver": who})
        if made.status_code == 409:  # it is decided by now
            return
        path = made.json()["url"].removeprefix(fleet.address)
        answer = fleet.ask("POST", path, json={"approved": True, "value": {"amount": 3}})
        # Whoever decided may have died before it could say so, or the run may be over.
        assert answer.status_code in (200, 409, 410), answer.text


def bodies(folder: Path) -> tuple[Counter[str], Counter[str]]:
    """How often each body began and ended, by key, from the notes."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for line in (folder / "notes").read_text().splitlines():
        what, _, key = line.split(" ", 2)
        found[what][key] += 1
    return found["begun"], found["ended"]


def check_history(fleet: Fleet) -> None:
    """Each key was asked for once, and has one outcome."""
    history = fleet.ask("GET", f"/v1/runs/{RUN}/history").json()
    asked: Counter[str] = Counter()
    over: Counter[str] = Counter()
    for entry in history["entries"]:
        if entry.get("kind") == "emit":
            continue  # nobody waits for it
        if entry["type"] == "scheduled":
            asked[entry["key"]] += 1
        elif entry["type"] in _LAST and "retry_at" not in entry:
            over[entry["key"]] += 1
    assert set(asked.values()) == {1}, asked
    assert over == asked


def check_stream(fleet: Fleet) -> None:
    """What was emitted is told once, by whichever server each page comes from."""
    told: list[dict[str, Any]] = []
    query, ended = "", False
    while not ended:
        page = fleet.ask("GET", f"/v1/runs/{RUN}/stream?only=item&limit=7{query}").json()
        told += page["items"]
        query, ended = f"&cursor={page['cursor']}", page["ended"]
    body = [each["value"] for each in told if each["value"][0] == "body"]
    assert body == [["body", number] for number in range(len(body))], told
    assert len(body) == EMITTED, told
    said = Counter((each["key"], each["attempt"]) for each in told if each["value"][0] != "body")
    assert set(said.values()) == {1}, told
    history = fleet.ask("GET", f"/v1/runs/{RUN}/history").json()
    doubled = {each["key"] for each in history["operations"] if each["name"] == "double"}
    assert doubled == {key for key, _ in said}, told


def check_replay(address: Address) -> None:
    """A cold replay of what is on disk, in this process, ends as the run did."""
    asyncio.run(_check_replay(address))


async def _check_replay(address: Address) -> None:
    table, shelf = open_existing(address)
    try:
        store = Reads(table, shelf)
        header = await store.header(RUN)
        history = await store.history(header)
    finally:
        await table.close()
    with _PARSING:
        app, _ = load_app(APP)
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
    once = result.pop("once"), expected.pop("once")
    assert once == ("kept", "kept") or (seen.killed and once == ("lost", "kept")), where
    assert result == expected, where
    often = {AT_MOST_ONCE, LOSER}  # these may begin or not, in either
    assert seen.begun.keys() | often == unkilled.begun.keys() | often, where
    again = {key: n for key, n in seen.begun.items() if n > unkilled.begun[key] + seen.killed}
    assert not again, f"{where}: begun too often: {again}"
    assert seen.begun[AT_MOST_ONCE] <= 1, where
    lost = {key for key in unkilled.ended if not seen.ended[key]} - {AT_MOST_ONCE}
    assert not lost, f"{where}: an outcome, but no body that ended: {lost}"
