import logging
import re
from typing import Any

import pytest
from starlette.testclient import TestClient

JSON = dict[str, Any]


def start(client: TestClient, workflow: str, arguments: JSON | None = None, **query: Any) -> JSON:
    """Start a run and wait for it."""
    path = f"/v1/workflows/{workflow}/runs"
    response = client.post(path, json=arguments or {}, params={"wait": 10, **query})
    assert response.status_code in (200, 202), response.text
    found: JSON = response.json()
    return found


def test_start_answers_at_once(client: TestClient) -> None:
    """Starting a run answers 202 with its id, its links and its place."""
    response = client.post("/v1/workflows/total/runs", json={"numbers": [1, 2]})

    assert response.status_code == 202
    run = response.json()
    assert run["workflow"] == "total"
    assert run["state"] in ("ready", "running", "done")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", run["created"])
    assert response.headers["Location"] == run["links"]["self"] == f"/v1/runs/{run['id']}"
    assert run["links"].keys() == {
        "self",
        "result",
        "history",
        "logs",
        "cancel",
        "stream",
    }
    assert "Idempotency-Replayed" not in response.headers


def test_start_and_wait(client: TestClient) -> None:
    """With wait=, starting answers the result once it is there."""
    response = client.post("/v1/workflows/total/runs?wait=10", json={"numbers": [1, 2, 3]})

    assert response.status_code == 200
    assert (response.json()["state"], response.json()["result"]) == ("done", 6)


def test_start_and_wait_in_vain(client: TestClient) -> None:
    """A wait that ends before the run does answers 202, as without it."""
    response = client.post("/v1/workflows/nap/runs?wait=0.05", json={"seconds": 600})

    assert response.status_code == 202
    assert response.json()["state"] == "suspended"


def test_no_body_is_no_arguments(client: TestClient) -> None:
    """A start without a body is one without arguments."""
    response = client.post("/v1/workflows/broken/runs?wait=10")

    assert response.json()["state"] == "failed"


@pytest.mark.parametrize("by", ["id", "key"])
def test_start_again(client: TestClient, by: str) -> None:
    """Starting again under one id or key gives the run that is there, and says so."""
    query, headers = ({"id": "mine"}, {}) if by == "id" else ({}, {"Idempotency-Key": "mine"})

    def again(numbers: list[int], **more: Any) -> Any:
        path = "/v1/workflows/total/runs"
        return client.post(
            path, json={"numbers": numbers}, params={**query, **more}, headers=headers
        )

    first, second = again([1, 2]), again([1, 2], wait=10)
    other = again([3])

    assert "Idempotency-Replayed" not in first.headers
    assert second.status_code == 200
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.json()["id"] == first.json()["id"]
    assert second.json()["result"] == 3
    assert other.status_code == 409
    assert other.json()["type"] == "urn:rewake:problem:conflict"


def test_one_key_for_two_workflows(client: TestClient) -> None:
    """An idempotency key belongs to one workflow."""
    headers = {"Idempotency-Key": "mine"}
    one = client.post("/v1/workflows/total/runs", json={"numbers": []}, headers=headers)
    other = client.post("/v1/workflows/broken/runs", headers=headers)

    assert one.json()["id"] != other.json()["id"]


def test_workflows(client: TestClient) -> None:
    """The list of workflows tells their parameters."""
    found = {each["name"]: each for each in client.get("/v1/workflows").json()["workflows"]}

    assert found["total"] == {
        "name": "total",
        "description": "Add numbers up, one task each.",
        "parameters": [{"name": "numbers", "type": "list[int]", "required": True}],
        "webhooks": [],
    }
    assert found["ask"]["parameters"][1] == {
        "name": "seconds",
        "type": "float | None",
        "required": False,
        "default": None,
    }


def test_listing(client: TestClient) -> None:
    """Runs are listed newest first, page by page, by workflow, state and time."""
    made = [start(client, "total", {"numbers": []}, id=f"r{n}")["id"] for n in range(5)]
    start(client, "nap", {"seconds": 600}, id="asleep", wait=0.01)

    seen, cursor = [], None
    while True:
        query = {"limit": 2} if cursor is None else {"limit": 2, "cursor": cursor}
        page = client.get("/v1/runs", params=query).json()
        assert len(page["runs"]) <= 2
        seen += [run["id"] for run in page["runs"]]
        cursor = page["cursor"]
        if cursor is None:
            break

    assert sorted(seen) == sorted([*made, "asleep"])
    only = client.get("/v1/runs", params={"workflow": "nap"}).json()["runs"]
    assert [run["id"] for run in only] == ["asleep"]
    only = client.get("/v1/runs", params={"state": "suspended"}).json()["runs"]
    assert [run["id"] for run in only] == ["asleep"]
    started = {run["id"]: run["created"] for run in client.get("/v1/runs").json()["runs"]}
    only = client.get("/v1/runs", params={"since": started["r3"]}).json()
    assert {run["id"] for run in only["runs"]} >= {"r3", "r4", "asleep"}
    assert all(run["created"] >= started["r3"] for run in only["runs"])
    assert only["cursor"] is None
    later = client.get("/v1/runs", params={"since": "2999-01-01T00:00:00+01:00"}).json()
    assert later["runs"] == []
    wrong = client.get("/v1/runs", params={"since": "2h"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "since")


def test_a_suspended_run(client: TestClient) -> None:
    """A run that sleeps is suspended, and says when it wakes."""
    start(client, "nap", {"seconds": 600}, id="asleep", wait=0.01)

    run = client.get("/v1/runs/asleep").json()
    assert run["state"] == "suspended"
    assert run["wake"] > run["created"]
    assert (run["approvals"], run["error"], run["cancel"]) == ([], None, None)

    result = client.get("/v1/runs/asleep/result", params={"wait": 0.05})
    assert result.status_code == 202
    assert result.json() == {"id": "asleep", "state": "suspended"}
    assert result.headers["Retry-After"] == "1"


def test_a_failed_run(client: TestClient) -> None:
    """A run that failed says what was raised and where, in its result and in itself."""
    run = start(client, "broken", id="b")
    assert (run["state"], run["error"]["type"]) == ("failed", "ValueError")

    again = client.get("/v1/runs/b/result")
    assert (again.status_code, again.json()) == (200, run)
    assert "result" not in run
    assert "raise ValueError" in run["error"]["traceback"]
    assert client.get("/v1/runs/b").json()["error"] == run["error"]


def test_a_result_that_json_cannot_hold(client: TestClient) -> None:
    """What JSON cannot hold is described, and the rest of the result is as it is."""
    result = start(client, "odd")["result"]

    assert result["set"] == [1]
    assert result["odd"]["$type"].endswith("Odd")
    assert result["odd"]["repr"] == "<odd>"


def test_a_stuck_run(client: TestClient) -> None:
    """A stuck run says why; it has no result, and starting it was no error."""
    started = client.post("/v1/workflows/deadlocked/runs?id=s&wait=10")
    assert (started.status_code, started.json()["state"]) == (202, "stuck")
    assert "deadlock" in started.json()["error"]["message"]

    result = client.get("/v1/runs/s/result?wait=10")
    assert (result.status_code, result.json()["type"]) == (409, "urn:rewake:problem:stuck")
    assert client.get("/v1/runs/s").json()["error"]["type"] == "StuckError"

    assert client.post("/v1/runs/s/resume").status_code == 202


def test_resume_of_a_run_that_is_not_stuck(client: TestClient) -> None:
    """Only what is stuck can be resumed."""
    start(client, "total", {"numbers": []}, id="t")

    assert client.post("/v1/runs/t/resume").status_code == 409


def test_retry_of_a_failed_run(client: TestClient) -> None:
    """It goes on from before its error; one that has not failed is refused, and odd fields too."""
    start(client, "total", {"numbers": []}, id="t")
    assert client.post("/v1/runs/t/retry").status_code == 409
    start(client, "broken", {}, id="f")
    assert client.get("/v1/runs/f/result?wait=10").json()["state"] == "failed"
    odd = client.post("/v1/runs/f/retry", json={"discard": True})
    assert (odd.status_code, odd.json()["field"]) == (422, "discard")
    assert client.post("/v1/runs/f/retry", json={"dry_run": True}).status_code == 200
    assert client.post("/v1/runs/f/kill", json={"dry_run": True}).status_code == 409
    assert client.post("/v1/runs/f/retry", json={"discard_cleanup": False}).status_code == 202
    assert client.get("/v1/runs/f/result?wait=10").json()["state"] == "failed"


def test_history(client: TestClient) -> None:
    """The history has every entry in order, and each operation with its attempts and times."""
    start(client, "patient", id="p")

    found = client.get("/v1/runs/p/history").json()
    entries, operations = found["entries"], {each["key"]: each for each in found["operations"]}
    assert [each["index"] for each in entries] == list(range(len(entries)))
    assert (entries[0]["type"], entries[-1]["type"]) == ("started", "finished")
    assert entries[-1]["result"] == 2
    assert found["run"]["state"] == "done"
    stamp, flaky = operations["stamp"], operations["flaky"]
    assert (stamp["kind"], stamp["state"], stamp["result"]) == ("step", "done", 42)
    assert (flaky["kind"], flaky["state"], flaky["result"]) == ("task", "done", 2)
    assert flaky["attempts"] == 2
    assert flaky["duration"] > 0
    assert flaky["asked"] <= flaky["started"] <= flaky["ended"]


def test_history_of_a_timer(client: TestClient) -> None:
    """A timer is an operation with a due time; it is over when it fired."""
    start(client, "nap", {"seconds": 0.05}, id="n")

    [timer] = client.get("/v1/runs/n/history").json()["operations"]
    assert (timer["kind"], timer["state"]) == ("timer", "done")
    assert timer["due"] <= timer["ended"]


def test_logs(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """What attempts logged is kept by operation and attempt."""
    caplog.set_level(logging.INFO)
    start(client, "patient", id="p")

    lines = client.get("/v1/runs/p/logs").json()["lines"]
    assert [(line["key"], line["attempt"]) for line in lines] == [("flaky", 1), ("flaky", 2)]
    assert lines[0]["message"] == "attempt 1"
    assert lines[0]["level"] == "INFO"
    assert client.get("/v1/runs/p/logs?key=flaky").json()["lines"] == lines
    assert client.get("/v1/runs/p/logs?key=other").json()["lines"] == []


def test_cancel(client: TestClient) -> None:
    """A run that is cancelled ends as cancelled with the reason; one that is over conflicts."""
    start(client, "nap", {"seconds": 600}, id="n", wait=0.01)

    cancelled = client.post("/v1/runs/n/cancel", json={"reason": "enough"})
    assert (cancelled.status_code, cancelled.json()["cancel"]) == (202, "enough")
    assert not cancelled.json()["killed"]
    result = client.get("/v1/runs/n/result?wait=10").json()
    assert (result["state"], result["error"]["message"]) == ("cancelled", "enough")
    assert client.post("/v1/runs/n/cancel").status_code == 409


def test_kill(client: TestClient) -> None:
    """A killed run is over when the request is answered; one that is over conflicts."""
    start(client, "nap", {"seconds": 600}, id="k", wait=0.01)

    killed = client.post("/v1/runs/k/kill", json={"reason": "enough"})
    assert (killed.status_code, killed.json()["state"]) == (200, "cancelled")
    assert killed.json()["killed"]
    result = client.get("/v1/runs/k/result").json()
    assert (result["state"], result["error"]["message"]) == ("cancelled", "enough")
    assert result["error"]["type"] == "killed"
    assert client.post("/v1/runs/k/kill").status_code == 409
    wrong = client.post("/v1/runs/k/kill", json={"even_stuck": True})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "even_stuck")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/runs/none"),
        ("GET", "/v1/runs/none/result"),
        ("GET", "/v1/runs/none/history"),
        ("GET", "/v1/runs/none/logs"),
        ("GET", "/v1/runs/none/stream"),
        ("POST", "/v1/runs/none/links"),
        ("POST", "/v1/runs/none/cancel"),
        ("POST", "/v1/runs/none/resume"),
        ("POST", "/v1/runs/none/retry"),
        ("POST", "/v1/workflows/none/runs"),
    ],
)
def test_what_does_not_exist(client: TestClient, method: str, path: str) -> None:
    """What does not exist is a 404 that names it."""
    response = client.request(method, path)

    assert response.status_code == 404
    assert response.json()["type"] == "urn:rewake:problem:not-found"
    assert "'none'" in response.json()["detail"]


def test_head(client: TestClient) -> None:
    """What can be got can be asked for its head."""
    assert client.head("/v1/runs").status_code == 200
