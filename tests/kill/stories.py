"""What the world does to the servers of a scenario: starts, answers, asks, and reads what came."""

from __future__ import annotations

import gzip
import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import httpx2

from tests.kill.fleet import APP, ARCHIVE, Fleet
from tests.kill.points import ADDRESS

T = TypeVar("T")

RUN = "the-run"
FORK = "the-fork"
DELAYED, AGAIN = "the-delayed", "the-rerun"
PATIENCE = 40.0
"""Seconds that a run may take, with a death in the middle."""
EMITTED = 4
"""How much the body of `everything` emits."""
MOST_LEFT_OUT = 2
"""So many alerts of one kind are told."""
_POLL = 0.1


class Story:
    """One story: `begin`, `tend` as long as its run goes on, and `end`. All of it may be repeated.

    `runs` are those whose histories are checked.
    """

    app: ClassVar[str]
    workflow: ClassVar[str]
    runs: ClassVar[tuple[str, ...]] = (RUN,)

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    def begin(self) -> None:
        """Start the run."""
        start(self.fleet, self.workflow)

    def tend(self, view: dict[str, Any]) -> None:
        """Do what the run, as it is now, asks for."""

    def end(self, result: Any) -> dict[str, Any]:
        """What is judged, now that the run has ended with this."""
        raise NotImplementedError

    def start(self, workflow: str, given: dict[str, Any]) -> str:
        """The run of a start, which may be sent again."""
        started = self.try_start(workflow, given)
        started.raise_for_status()
        return str(started.json()["id"])

    def try_start(self, workflow: str, given: dict[str, Any]) -> httpx2.Response:
        """The answer to a start, which may be sent again."""
        headers = {"Idempotency-Key": f"{workflow} {given}"}
        path = f"/v1/workflows/{workflow}/runs"
        return self.fleet.ask("POST", path, json=given, headers=headers)

    def signal(self, run: str, name: str, value: Any, id: str) -> httpx2.Response:
        """The answer to a signal, which may be sent again."""
        path, headers = f"/v1/runs/{run}/signals/{name}", {"Idempotency-Key": id}
        return self.fleet.ask("POST", path, json=value, headers=headers)

    def runs_of(self, workflow: str, enough: Callable[[list[str]], bool]) -> list[str]:
        """The ids of all runs of this workflow, oldest first, once there are enough."""

        def looked() -> list[str] | None:
            path = f"/v1/runs?workflow={workflow}&limit=100"
            runs = [each["id"] for each in self.fleet.ask("GET", path).json()["runs"]]
            return runs[::-1] if enough(runs) else None

        return until(looked, f"there are too few runs of {workflow}")


def start(fleet: Fleet, workflow: str) -> None:
    """Start the run, once, however often that takes."""
    fleet.ask("POST", f"/v1/workflows/{workflow}/runs?id={RUN}", json={}).raise_for_status()


def follow(
    fleet: Fleet, tend: Callable[[dict[str, Any]], None] | None = None, run: str = RUN
) -> Any:
    """The result of the run; what it asks for is done as soon as it does."""
    view = reach(fleet, run, "done", tend)
    assert view["state"] == "done", view["error"]
    return fleet.ask("GET", f"/v1/runs/{run}/result").json()["result"]


def reach(
    fleet: Fleet, run: str, state: str, tend: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """A run once it is in this state, or has ended or is stuck."""

    def looked() -> dict[str, Any] | None:
        view: dict[str, Any] = fleet.ask("GET", f"/v1/runs/{run}").json()
        if view["state"] in (state, "done", "failed", "cancelled", "stuck"):
            return view
        if tend is not None:
            tend(view)
        return None

    return until(looked, f"the run {run} does not end")


def until(look: Callable[[], T | None], otherwise: str) -> T:
    """What is found by looking again and again."""
    deadline = time.monotonic() + PATIENCE
    while (found := look()) is None:
        assert time.monotonic() < deadline, f"{otherwise} in {PATIENCE} s"
        time.sleep(_POLL)
    return found


# --- everything ---------------------------------------------------------------------------------


class Everything(Story):
    """Approve, call back, and read what was emitted."""

    app = APP
    workflow = "everything"

    def tend(self, view: dict[str, Any]) -> None:
        for approval in view["approvals"]:
            if approval["name"] == "sign-off":
                self._decide(approval["key"])
        self._call_back()

    def end(self, result: Any) -> dict[str, Any]:
        self._check_stream()
        return dict(result)

    def _call_back(self) -> None:
        """Be the machine that the address was handed to, once it was. A call may be made twice."""
        history = self.fleet.ask("GET", f"/v1/runs/{RUN}/history").json()
        operations = {each["key"]: each for each in history["operations"]}
        if "hand on" not in operations or "result" not in operations["hand on"]:
            return
        if operations["paid"]["state"] != "waiting":
            return
        path = urlsplit((self.fleet.folder / ADDRESS).read_text()).path
        beat = self.fleet.ask("POST", f"{path}/heartbeat")
        assert beat.status_code == 200, beat.text
        answer = self.fleet.ask("POST", path, json=7)
        assert (answer.status_code, answer.json()) == (200, {"state": "completed"}), answer.text

    def _decide(self, key: str) -> None:
        """Approve by links, as people do."""
        for who in ("Ada", "Bob"):
            asked = {"run": RUN, "key": key, "approver": who}
            made = self.fleet.ask("POST", "/v1/links", json=asked)
            if made.status_code == 409:  # it is decided by now
                return
            path = made.json()["url"].removeprefix(self.fleet.address)
            answer = self.fleet.ask("POST", path, json={"approved": True, "value": {"amount": 3}})
            # Whoever decided may have died before it could say so, or the run may be over.
            assert answer.status_code in (200, 409, 410), answer.text

    def _check_stream(self) -> None:
        """What was emitted is told once, by whichever server each page comes from."""
        told: list[dict[str, Any]] = []
        query, ended = "", False
        while not ended:
            path = f"/v1/runs/{RUN}/stream?only=item&limit=7{query}"
            page = self.fleet.ask("GET", path).json()
            told += page["items"]
            query, ended = f"&cursor={page['cursor']}", page["ended"]
        body = [each["value"] for each in told if each["value"][0] == "body"]
        assert body == [["body", number] for number in range(len(body))], told
        assert len(body) == EMITTED, told
        of_tasks = [each for each in told if each["value"][0] != "body"]
        said = Counter((each["key"], each["attempt"]) for each in of_tasks)
        assert set(said.values()) == {1}, told
        history = self.fleet.ask("GET", f"/v1/runs/{RUN}/history").json()
        doubled = {each["key"] for each in history["operations"] if each["name"] == "double"}
        assert doubled == {key for key, _ in said}, told


# --- endless ------------------------------------------------------------------------------------


class Endless(Story):
    """Send signals, start, ask for an answer, pause, resume, fork, rerun; read what it came to."""

    app = "tests.kill.endless"
    workflow = "endless"
    runs = (RUN, FORK, AGAIN)

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet)
        self._gathered: dict[str, dict[str, None]] = {}
        self._cart = ""
        self._resumed = False

    def begin(self) -> None:
        super().begin()
        for number in (1, 2, 3):
            self._send("note", number, f"note {number}")
        for workflow, inputs in (
            ("collecting", [{"items": [1]}, {"items": [2]}]),
            ("settling", [{"version": 1}, {"version": 2}]),
        ):
            started = [self.start(workflow, each) for each in inputs]
            self._gathered[workflow] = dict.fromkeys(started)
        for number in (1, 2):
            self._add(number)
        path = f"/v1/workflows/delayed/runs?id={DELAYED}&delay=0.3"
        self.fleet.ask("POST", path, json={"number": 5}).raise_for_status()

    def tend(self, view: dict[str, Any]) -> None:
        if view.get("status") == "to be asked":
            self._send("change", 1, "the change")
        if view.get("status") != "to be paused" or self._resumed:
            return
        if not view["pause"]:
            self._act("pause")
        elif view["state"] == "paused":
            self._send("go", "on", "the go")
            self._act("resume")
            self._resumed = True

    def end(self, result: Any) -> dict[str, Any]:
        delayed = follow(self.fleet, run=DELAYED)
        self._begin("fork", of=RUN, at="lap3/last", id=FORK)
        self._begin("rerun", of=DELAYED, id=AGAIN)
        answer = self.fleet.ask("GET", f"/v1/runs/{RUN}/signals/the change").json()
        collected = [follow(self.fleet, run=run) for run in self._gathered["collecting"]]
        settled = [follow(self.fleet, run=run) for run in self._gathered["settling"]]
        return {
            "result": result,
            "fork": follow(self.fleet, run=FORK),
            "delayed": [delayed, follow(self.fleet, run=AGAIN)],
            "answer": [answer["state"], answer["result"]],
            # Who dies between two starts may be so late that there are two runs.
            "collected": [item for items in collected for item in items],
            "settled": settled[-1],
            "cart": follow(self.fleet, run=self._cart),
            "heard": sorted(self._results("hearing", lambda runs: len(runs) >= 2)),
            "ticked": _are_seconds(self._results("ticking", bool)),
        }

    def _send(self, name: str, value: Any, id: str) -> None:
        sent = self.signal(RUN, name, value, id)
        # Whoever took it may have died before it could say so, and then the run may be over.
        assert sent.is_success or self._state() == "done", sent.text

    def _begin(self, verb: str, *, of: str, **asked: str) -> None:
        self.fleet.ask("POST", f"/v1/runs/{of}/{verb}", json=asked).raise_for_status()

    def _act(self, verb: str) -> None:
        done = self.fleet.ask("POST", f"/v1/runs/{RUN}/{verb}", json={})
        assert done.is_success or done.status_code == 409, done.text

    def _state(self) -> str:
        return str(self.fleet.ask("GET", f"/v1/runs/{RUN}").json()["state"])

    def _add(self, number: int) -> None:
        path, headers = (
            "/v1/workflows/cart/signals/add?key=Ann",
            {"Idempotency-Key": f"add {number}"},
        )
        sent = self.fleet.ask("POST", path, json={"value": number}, headers=headers)
        sent.raise_for_status()
        run = sent.json()["run"]
        assert self._cart in ("", run), "a second run of one key"
        self._cart = run

    def _results(self, workflow: str, enough: Callable[[list[Any]], bool]) -> list[Any]:
        """Of all runs of this workflow, oldest first, once there are enough."""
        return [follow(self.fleet, run=run) for run in self.runs_of(workflow, enough)]


def _are_seconds(ticks: list[str]) -> bool:
    """Whether these are seconds of which none is missing, and none is there twice."""
    found = sorted(map(datetime.fromisoformat, ticks))
    first = found[0]
    return found == [first + timedelta(seconds=number) for number in range(len(found))]


# --- guarded ------------------------------------------------------------------------------------


class Guarded(Story):
    """Start too often, and what takes another's place; fill in years; purge; read who was told."""

    app = "tests.kill.guarded"
    workflow = "guarded"

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet)
        self._found: dict[str, Any] = {}

    def begin(self) -> None:
        super().begin()
        alone = [self.start("alone", {"number": number}) for number in (1, 2, 1)]
        refused = [self.try_start("rare", {"number": number}).is_success for number in (1, 2, 1)]
        self._found |= {"alone": len({*alone}), "rare": refused}
        self._alone = alone[0]
        self._older = self.start("newest", {"document": "a", "version": 1})
        self._doomed = self.start("doomed", {})
        self._kept = self.start("kept", {"number": 5})
        years = {"since": "2001-01-01T00:00:00Z", "until": "2003-01-01T00:00:00Z"}
        self.fleet.ask("POST", "/v1/schedules/yearly/backfill", json=years).raise_for_status()

    def end(self, result: Any) -> dict[str, Any]:
        self.signal(self._alone, "go", 3, "go").raise_for_status()
        return {
            **self._found,
            "result": result,
            "singleton": follow(self.fleet, run=self._alone),
            "newest": self._made_way(),
            "told": [self._told(each) for each in ("tell_owner", "tell_people")],
            "left out": len(self.runs_of("tell-tell_operators", bool)) <= MOST_LEFT_OUT,
            "years": [follow(self.fleet, run=run) for run in self.runs_of("yearly", _are_two)],
            "archived": self._archived(),
        }

    def _made_way(self) -> list[Any]:
        until(lambda: self._view(self._older).get("status"), "the older one does not begin")
        newer = self.start("newest", {"document": "a", "version": 2})
        made = follow(self.fleet, run=newer)
        return [self._view(self._older)["state"], made]

    def _told(self, task: str) -> list[bool]:
        """Of each that was told: whether it is the run that has failed."""
        runs = self.runs_of(f"tell-{task}", bool)
        return [self._operation(run, task)["result"] == self._doomed for run in runs]

    def _archived(self) -> list[Any]:
        """What is archived of the run that is purged, once and whole."""
        follow(self.fleet, run=self._kept)
        asked = {"before": datetime.now(UTC).isoformat(), "workflow": "kept"}
        self.fleet.ask("POST", "/v1/purge", json=asked).raise_for_status()
        gone = self.fleet.ask("GET", f"/v1/runs/{self._kept}").status_code
        found = (self.fleet.folder / ARCHIVE).rglob("*.gz")
        told = [json.loads(gzip.decompress(path.read_bytes())) for path in found]
        return [gone, *(each["operations"][0]["result"] for each in told)]

    def _operation(self, run: str, key: str) -> dict[str, Any]:
        reach(self.fleet, run, "done")
        history = self.fleet.ask("GET", f"/v1/runs/{run}/history").json()
        return next(each for each in history["operations"] if each["key"] == key)

    def _view(self, run: str) -> dict[str, Any]:
        view: dict[str, Any] = self.fleet.ask("GET", f"/v1/runs/{run}").json()
        return view


def _are_two(runs: list[str]) -> bool:
    return len(runs) == 2


STORIES: tuple[type[Story], ...] = (Everything, Endless, Guarded)
