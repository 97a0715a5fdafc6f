"""What the world does to the servers of a scenario: starts, answers, asks, and reads what came."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit

from tests.kill.fleet import APP, Fleet
from tests.kill.points import ADDRESS

RUN = "the-run"
FORK = "the-fork"
DELAYED, AGAIN = "the-delayed", "the-rerun"
PATIENCE = 40.0
"""Seconds that a run may take, with a death in the middle."""
EMITTED = 4
"""How much the body of `everything` emits."""
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


def start(fleet: Fleet, workflow: str) -> None:
    """Start the run, once, however often that takes."""
    fleet.ask("POST", f"/v1/workflows/{workflow}/runs?id={RUN}", json={}).raise_for_status()


def follow(
    fleet: Fleet, tend: Callable[[dict[str, Any]], None] | None = None, run: str = RUN
) -> Any:
    """The result of the run; what it asks for is done as soon as it does."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        view = fleet.ask("GET", f"/v1/runs/{run}").json()
        assert view["state"] not in ("failed", "cancelled", "stuck"), view["error"]
        if view["state"] == "done":
            return fleet.ask("GET", f"/v1/runs/{run}/result").json()["result"]
        if tend is not None:
            tend(view)
        time.sleep(_POLL)
    raise AssertionError(f"the run {run} does not end in {PATIENCE} s")


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
            started = [self._start(workflow, each) for each in inputs]
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
        path = f"/v1/runs/{RUN}/signals/{name}"
        sent = self.fleet.ask("POST", path, json=value, headers={"Idempotency-Key": id})
        # Whoever took it may have died before it could say so, and then the run may be over.
        assert sent.is_success or self._state() == "done", sent.text

    def _begin(self, verb: str, *, of: str, **asked: str) -> None:
        self.fleet.ask("POST", f"/v1/runs/{of}/{verb}", json=asked).raise_for_status()

    def _act(self, verb: str) -> None:
        done = self.fleet.ask("POST", f"/v1/runs/{RUN}/{verb}", json={})
        assert done.is_success or done.status_code == 409, done.text

    def _state(self) -> str:
        return str(self.fleet.ask("GET", f"/v1/runs/{RUN}").json()["state"])

    def _start(self, workflow: str, given: dict[str, Any]) -> str:
        headers = {"Idempotency-Key": f"{workflow} {given}"}
        path = f"/v1/workflows/{workflow}/runs"
        started = self.fleet.ask("POST", path, json=given, headers=headers)
        started.raise_for_status()
        return str(started.json()["id"])

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
        deadline = time.monotonic() + PATIENCE
        while True:
            path = f"/v1/runs?workflow={workflow}&limit=100"
            runs = [each["id"] for each in self.fleet.ask("GET", path).json()["runs"]]
            if enough(runs):
                return [follow(self.fleet, run=run) for run in reversed(runs)]
            assert time.monotonic() < deadline, f"{workflow}: only {runs}"
            time.sleep(_POLL)


def _are_seconds(ticks: list[str]) -> bool:
    """Whether these are seconds of which none is missing, and none is there twice."""
    found = sorted(map(datetime.fromisoformat, ticks))
    first = found[0]
    return found == [first + timedelta(seconds=number) for number in range(len(found))]


STORIES: tuple[type[Story], ...] = (Everything, Endless)
