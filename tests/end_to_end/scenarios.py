"""What is done to the app, and what must be true: one function a primitive, on any deployment.

Each is played several times, at the same moment as all others, also while servers die. So a
scenario says nothing of how long something takes, and asks again what was not answered.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
from standardwebhooks.webhooks import Webhook

from rewake.clock import SystemClock
from rewake.webhooks import github
from tests.end_to_end.app import ADA, BOB, CY
from tests.end_to_end.front import Front
from tests.support.hooks import SECRETS, WHSEC

Scenario = Callable[[Front], None]

SCENARIOS: dict[str, Scenario] = {}
"""All of them, by name."""

WORD = "xylophonist"
"""What is in no database that is encrypted."""
BIG = 450_000
"""Characters: more than an item of DynamoDB holds."""


def scenario(play: Scenario) -> Scenario:
    """Adds one."""
    SCENARIOS[play.__name__] = play
    return play


@scenario
def tasks(front: Front) -> None:
    """Async and sync tasks, closures, retries and failures."""
    *told, attempt, failed = front.run("tasks", number=4)
    assert (told, failed) == ([8, "LOUD", ["closure", 4]], "NonRetryable")
    # The second attempt may have died instead of succeeding.
    assert attempt == 2 or (attempt > 2 and not front.calm)


@scenario
def steps(front: Front) -> None:
    """Steps, facts that replay repeats, and a step that is begun once at most."""
    run = front.start("steps", number=4)
    first, once, same = front.result(run)
    assert (first, same) == (5, True)
    assert once == "kept" or (once == "lost" and not front.calm)
    assert len([each for each in front.told("begun", run) if each["key"] == "once"]) <= 1


@scenario
def heartbeats(front: Front) -> None:
    """A thread that hangs is given up, and the next attempt goes on from the page that it told."""
    run = front.start("crawls", pages=4)
    begin, pages = front.result(run)
    assert pages == 4
    if front.calm:  # else a pause may have been as long as the silence
        [operation] = front.get(f"/v1/runs/{run}/history")["operations"]
        first, second = operation["tries"]
        assert (begin, first["lost"], first["error"]["type"]) == (2, True, "silent")
        assert (second["lost"], second["error"]) == (False, None)


@scenario
def naps(front: Front) -> None:
    """A sleep and a sleep until take what they should, and not less."""
    assert front.run("naps", seconds=0.2) >= 0.4


@scenario
def branches(front: Front) -> None:
    """Branches, side by side and against each other."""
    many, gathered, won, lost, grouped = front.run("branches", count=4)
    assert many == [2, 4, 6, 8]
    assert gathered == [0, 2, 4, 6]
    assert (won, lost, grouped) == (42, None, [0, 2])


@scenario
def limits(front: Front) -> None:
    """Runs and tasks that share limits: all have their turn, however many wait."""
    runs = [front.start("turns", count=5) for _ in range(3)]
    for run in runs:
        assert front.result(run) == list(range(5))


@scenario
def a_cache(front: Front) -> None:
    """What one run has made others are given, also those that called it meanwhile."""
    name = uuid4().hex
    runs = [front.start("cached", name=name, count=4) for _ in range(3)]
    told = {each for run in runs for each in front.result(run)}
    assert len(told) == 1
    later = front.start("cached", name=name, count=1)
    assert {*front.result(later)} == told
    [given] = front.get(f"/v1/runs/{later}/history")["operations"]
    assert given["cached"] in runs


@scenario
def groups(front: Front) -> None:
    """What is retried as a whole, what may fail in part, and what begins anew."""
    assert front.run("groups", number=4) == [8, [0, 4], 1]


@scenario
def a_family(front: Front) -> None:
    """Runs of a run: awaited, left alone and cancelled; each names the one that began it."""
    run = front.start("family", count=3)
    assert front.result(run) == [[0, 2, 4], 14, "CancelledError"]
    operations = front.get(f"/v1/runs/{run}/history")["operations"]
    children = {each["child"] for each in operations if each["kind"] == "child"}
    assert len(children) == 3
    for child in children:
        assert front.get(f"/v1/runs/{child}")["parent"]["run"] == run


@scenario
def an_approval_by_link(front: Front) -> None:
    """A person gets a link, opens the page, and posts its form. Whoever comes later is told."""
    run = front.start("approves", amount=7)
    link = front.links(run)[ADA]
    filled = {"value.amount": "7", "value.note": "fine", "comment": "go"}
    front.decide(link, decision="approve", **filled)
    assert front.result(run) == ["approved", 7, "fine", ADA, "go"]


@scenario
def a_quorum(front: Front) -> None:
    """Two of three approve, by their own links."""
    run = front.start("agrees")
    links = front.links(run, people=3)
    for person in (ADA, CY):
        front.decide(links[person], decision="approve")
    assert front.result(run) == ["approved", [ADA, CY]]
    assert BOB in links


@scenario
def a_callback(front: Front) -> None:
    """A machine beats, and calls with a result; the same call again changes nothing."""
    run = front.start("called")
    url = front.told("address", run)[0]["url"]
    front.call(url, None, "/heartbeat")
    for _ in range(2):
        front.call(url, 7)
    assert front.result(run) == 7


@scenario
def a_basket_by_signals(front: Front) -> None:
    """The run of a key is begun by a signal, or gets it, once; an update is answered, the same."""
    name = uuid4().hex
    to, given = f"/v1/workflows/basket/signals/add?key={name}", {"customer": name}
    found = [
        front.ask(
            "POST", to, json={"value": n, "input": given}, headers={"Idempotency-Key": f"{n}"}
        )
        for n in (2, 2, 3)
    ]
    [run] = {each.json()["run"] for each in found}
    front.runs.append(run)
    price, headers = f"/v1/runs/{run}/signals/price", {"Idempotency-Key": "p"}
    for _ in range(2):
        front.ask("POST", price, json=10, headers=headers)
    told = front.until(lambda: front.get(f"/v1/runs/{run}/signals/p").get("result"))
    assert told == 60
    assert front.result(run) == [name, [1, 2, 3]]


@scenario
def events(front: Front) -> None:
    """What is published is heard, once, whoever publishes it; one starts a run, one cancels one."""
    name = uuid4().hex
    run, other = front.start("hears", name=name), front.start("hears", name=f"{name}-stopped")
    for event, body in (
        ("e2e.told", {"data": {"name": name, "number": 1}, "id": f"{name}-1"}),
        ("e2e.told", {"data": {"name": name, "number": 1}, "id": f"{name}-1"}),
        ("e2e.begin", {"data": {"name": name}, "id": name}),
        ("e2e.stop", {"data": {"name": f"{name}-stopped"}, "id": name}),
    ):
        front.ask("POST", f"/v1/events/{event}", json=body)
    assert front.result(run) == [[1, 2], True, 3]
    assert front.ended(other)["state"] == "cancelled"


@scenario
def a_stream(front: Front) -> None:
    """What a body and a task emit is told in order, page by page, by any server."""
    run = front.start("streams", count=5)
    told: list[Any] = []
    query, ended = "", False
    while not ended:
        page = front.get(f"/v1/runs/{run}/stream?only=item&limit=4{query}")
        told += page["items"]
        query, ended = f"&cursor={page['cursor']}", page["ended"]
    bodies = [each["value"]["body"] for each in told if "body" in each["value"]]
    assert bodies == list(range(6))
    last: dict[int, list[int]] = {}
    for each in told:
        if "task" in each["value"]:
            last.setdefault(each["attempt"], []).append(each["value"]["task"])
    # An attempt that died may have said less; the one that ended has said all.
    assert last[max(last)] == list(range(5))
    assert front.result(run) == 5


@scenario
def a_cancelled_run(front: Front) -> None:
    """A run is cancelled, and cleans up."""
    run = front.start("endless")
    front.told("begun", run)
    cancelled = frozenset({409})
    front.ask("POST", f"/v1/runs/{run}/cancel", json={"reason": "enough"}, again=cancelled)
    assert front.ended(run)["state"] == "cancelled"
    assert {each["key"] for each in front.told("ended", run)} == {"cleanup"}


@scenario
def a_failed_run(front: Front) -> None:
    """A failed run is retried, and what had succeeded is not done again."""
    run = front.start("mends", attempts=1)
    failed = front.ended(run)
    while failed["state"] == "failed":  # an attempt may have died instead of failing
        front.ask("POST", f"/v1/runs/{run}/retry", json={}, again=frozenset({409}))
        failed = front.ended(run)
    assert front.result(run) == ["charged", "mended"]


@scenario
def time_outs(front: Front) -> None:
    """Of a task, of a block, of an approval, of a run."""
    assert front.run("late") == ["TimeoutError", "slept", "timed_out"]
    assert front.ended(front.start("hurries"))["state"] == "failed"


@scenario
def large_values(front: Front) -> None:
    """Input, arguments and results that are large."""
    text = "y" * BIG
    assert front.run("large", text=text, size=BIG) == [BIG, BIG, 2 * BIG]


@scenario
def pickled_values(front: Front) -> None:
    """What JSON does not hold."""
    assert front.run("pickled", number=3) == ["Odd", 3, "set", [3]]


@scenario
def whispers(front: Front) -> None:
    """A word comes back; the database is looked into at the end."""
    assert front.run("whispers", word=WORD) == f"{WORD} {WORD}".upper()


@scenario
def idempotency_keys(front: Front) -> None:
    """Starts with one key are one run, before and after its end."""
    key = uuid4().hex
    first = front.start("chain", key, length=2)
    assert front.start("chain", key, length=2) == first
    assert front.result(first) == 2
    assert front.start("chain", key, length=2) == first
    front.runs[:] = [first]


@scenario
def webhooks(front: Front) -> None:
    """A delivery that GitHub signed starts one run, however often it is sent; a forged one none."""
    body = {"repository": f"a/{uuid4().hex}"}
    secret = SECRETS["GITHUB_SECRET"].encode()
    headers = github("GITHUB_SECRET").sign(json.dumps(body).encode(), secret, SystemClock().now())
    sent = [front.deliver("push?wait=20", body, headers) for _ in range(2)]
    [run] = {each.json()["id"] for each in sent}
    front.runs.append(run)
    assert front.result(run) == body["repository"].upper()
    forged = headers | {"X-Hub-Signature-256": "sha256=" + "0" * 64}
    content = json.dumps(body).encode()
    path = "/hooks/push"
    answer = front.until(lambda: _told(front, path, content, forged))
    assert answer == 401


def _told(front: Front, path: str, content: bytes, headers: dict[str, str]) -> int:
    """The status of what is refused; 0 while nobody answers."""
    try:
        sent = {"Authorization": "", "Content-Type": "application/json", **headers}
        status: int = front.client.post(path, content=content, headers=sent).status_code
    except httpx2.TransportError:
        return 0
    return 0 if status >= 500 else status


@scenario
def an_answer(front: Front) -> None:
    """A run answers the sender of its delivery, and goes on; the same delivery, the same answer."""
    body = {"id": uuid4().int % 1_000_000}
    name, now = f"msg_{uuid4().hex}", datetime.now(UTC).replace(microsecond=0)
    headers = {
        "webhook-id": name,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(WHSEC).sign(name, now, json.dumps(body)),
    }
    for _ in range(2):
        answer = front.deliver("order", body, headers)
        assert (answer.status_code, answer.json()) == (201, {"price": 2 * body["id"]})
        assert answer.headers["X-Order"] == str(body["id"])


@scenario
def laps(front: Front) -> None:
    """A run goes on as new; each lap has counted in its state once, and the run is found by it."""
    name = uuid4().hex
    run = front.start("laps", left=3, name=name)
    assert front.result(run) == [3, 4]
    found = front.ask("GET", f"/v1/runs?label=name={name}").json()["runs"]
    shown = [(each["id"], each["lap"], each["status"]) for each in found]
    assert shown == [(run, 4, {"left": 0})]


@scenario
def schedules(front: Front) -> None:
    """A schedule that is made starts its runs of the past, each once, for its time; and goes."""
    name, begin = f"s-{uuid4().hex}", datetime.now(UTC) - timedelta(minutes=4)
    body = {"name": name, "workflow": "timed", "every": 60, "start": begin.isoformat()}
    again = frozenset({409})
    front.ask("POST", "/v1/schedules", json={**body, "input": {"word": "a"}}, again=again)
    span = {"since": begin.isoformat(), "until": (begin + timedelta(minutes=3)).isoformat()}
    path = f"/v1/schedules/{name}"
    times = []
    for _ in range(2):
        times = front.ask("POST", f"{path}/backfill", json=span).json()["times"]
    assert len(times) == 3
    for each in times:
        _is_there(front, each["run"])
        word, moment = front.result(each["run"])
        assert (word, datetime.fromisoformat(moment)) == ("a", datetime.fromisoformat(each["at"]))
    front.ask("DELETE", path, again=frozenset({404}))


def _is_there(front: Front, run: str) -> None:
    """Wait for a run that something else starts."""

    def look() -> bool:
        try:
            return front.client.get(f"/v1/runs/{run}").status_code == 200
        except httpx2.TransportError:
            return False

    front.until(look)
    front.runs.append(run)
