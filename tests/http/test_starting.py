"""Starting again over HTTP: what a caller chooses, and is told."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from rewake.engine.starts.starting import name_of_key

KEY = {"Idempotency-Key": "k"}


def start(client: TestClient, workflow: str, arguments: Any = None, **query: Any) -> Any:
    """Start with the key `k`."""
    path = f"/v1/workflows/{workflow}/runs"
    return client.post(path, json=arguments or {}, params=query, headers=KEY)


def test_a_run_that_has_not_ended(client: TestClient) -> None:
    """It is given, or refused with a 409 that says where it is; nothing else is started."""
    first = start(client, "nap", {"seconds": 600})
    attached = start(client, "nap", {"seconds": 600}, if_running="attach", if_finished="restart")
    refused = start(client, "nap", {"seconds": 600}, if_running="reject")

    assert (attached.status_code, attached.json()["id"]) == (202, first.json()["id"])
    assert attached.headers["Idempotency-Replayed"] == "true"
    assert refused.status_code == 409
    assert refused.json() == {
        "title": "Its state does not allow this",
        "status": 409,
        "type": "urn:rewake:problem:conflict",
        "detail": f"run {first.json()['id']!r} has not ended (if_running=reject)",
        "run": first.json()["id"],
    }
    assert client.get(f"/v1/runs/{refused.json()['run']}").status_code == 200
    assert len(client.get("/v1/runs").json()["runs"]) == 1


@pytest.mark.parametrize("by", ["id", "key"])
def test_a_run_that_has_ended_is_refused(client: TestClient, by: str) -> None:
    """`if_finished=reject` is a 409 that names it, whether by id or by key."""
    query, headers = ({"id": "mine"}, {}) if by == "id" else ({}, KEY)

    def again(**more: Any) -> Any:
        path, params = "/v1/workflows/total/runs", {**query, **more}
        return client.post(path, json={"numbers": []}, params=params, headers=headers)

    run = again(wait=10).json()["id"]
    refused = again(if_finished="reject")

    assert (refused.status_code, refused.json()["run"]) == (409, run)
    assert refused.json()["detail"] == f"run {run!r} has ended already (if_finished=reject)"
    assert again(if_running="reject").status_code == 202


def test_a_run_that_has_ended_is_followed_by_another(client: TestClient) -> None:
    """`restart` starts a new run, with other arguments too; from then on the key means that one."""
    name = name_of_key("total", "k")
    first = start(client, "total", {"numbers": [1]}, wait=10)
    second = start(client, "total", {"numbers": [2]}, if_finished="restart", wait=10)
    attached = start(client, "total", {"numbers": [2]}, wait=10)
    conflict = start(client, "total", {"numbers": [1]})

    results = [(each.json()["id"], each.json()["result"]) for each in (first, second, attached)]
    newest = name.generation(2)
    assert results == [(name.first, 1), (newest, 2), (newest, 2)]
    assert "Idempotency-Replayed" not in second.headers
    assert attached.headers["Idempotency-Replayed"] == "true"
    assert (conflict.status_code, conflict.json()["run"]) == (409, newest)
    assert client.get(f"/v1/runs/{name.first}/result").json()["result"] == 1


def test_only_what_failed_is_started_anew(client: TestClient) -> None:
    """`restart_failed` gives a run that succeeded, and follows one that failed."""
    done = [start(client, "total", {"numbers": []}, wait=10) for _ in range(2)]
    spared = start(client, "total", {"numbers": []}, if_finished="restart_failed")
    failed = [start(client, "broken", if_finished="restart_failed", wait=10) for _ in range(3)]

    assert {each.json()["id"] for each in (*done, spared)} == {name_of_key("total", "k").first}
    assert spared.headers["Idempotency-Replayed"] == "true"
    name = name_of_key("broken", "k")
    assert [each.json()["id"] for each in failed] == [name.generation(n) for n in (1, 2, 3)]


def test_an_id_is_not_used_twice(client: TestClient) -> None:
    """Restarting under an id is refused, and the answer says what to use instead."""
    query = {"id": "mine", "if_finished": "restart"}
    response = client.post("/v1/workflows/total/runs", json={"numbers": []}, params=query)

    assert (response.status_code, response.json()["field"]) == (422, "if_finished")
    assert "use an idempotency key" in response.json()["detail"]


def test_a_stuck_run_is_not_replaced(client: TestClient) -> None:
    """A stuck run can be resumed, so it counts as running."""
    start(client, "deadlocked", wait=10)
    again = start(client, "deadlocked", if_finished="restart")
    refused = start(client, "deadlocked", if_running="reject", if_finished="restart")

    assert (again.status_code, again.json()["state"]) == (202, "stuck")
    assert refused.status_code == 409


def test_the_runs_of_a_key_are_listed(client: TestClient) -> None:
    """`key=` lists its runs and no others, newest first; each names its key."""
    start(client, "total", {"numbers": [1]}, wait=10)
    start(client, "total", {"numbers": [2]}, if_finished="restart", wait=10)
    client.post("/v1/workflows/total/runs", json={"numbers": []})
    name = name_of_key("total", "k")
    for query in ({"key": "k"}, {"key": "k", "workflow": "total"}):
        found = client.get("/v1/runs", params=query).json()["runs"]
        assert {each["id"] for each in found} == {name.first, name.generation(2)}
        assert {each["key"] for each in found} == {"k"}
    assert client.get("/v1/runs", params={"key": "none"}).json()["runs"] == []


def test_the_runs_of_a_key_come_in_pages(client: TestClient) -> None:
    """All of them are told, also where a filter passes only older ones, or a page has few."""
    for number in (1, 2, 3):
        start(client, "total", {"numbers": [number]}, if_finished="restart", wait=10)
    start(client, "broken", wait=10)
    name, found, page = name_of_key("total", "k"), list[str](), dict[str, Any](cursor="")
    while page["cursor"] is not None:
        query: dict[str, Any] = {"key": "k", "limit": 1, "workflow": "total"}
        query |= {"cursor": page["cursor"]} if page["cursor"] else {}
        page = client.get("/v1/runs", params=query).json()
        found += [each["id"] for each in page["runs"]]
    assert found == [name.generation(n) for n in (3, 2, 1)]
    query = {"key": "k", "limit": 1, "state": "done"}
    [newest] = client.get("/v1/runs", params=query).json()["runs"]
    assert newest["id"] == name.generation(3)


def test_a_run_begins_when_it_is_told_to(client: TestClient) -> None:
    """It is there, and delayed; a moment that has passed is now; two moments are refused."""
    path, body = "/v1/workflows/total/runs", {"numbers": [1]}
    later = client.post(path, json=body, params={"delay": 3600}).json()
    assert (later["state"], later["wake"] > later["created"]) == ("delayed", True)
    far = client.post(path, json=body, params={"at": "2999-01-01T00:00:00Z"})
    assert (far.status_code, far.json()["field"]) == (422, "at")
    past = client.post(path, json=body, params={"at": "1999-01-01T00:00:00Z", "wait": 10})
    assert past.json()["result"] == 1
    [listed] = client.get("/v1/runs", params={"state": "delayed"}).json()["runs"]
    assert listed["id"] == later["id"]
    for query in ({"delay": -1}, {"delay": "nan"}, {"delay": "x"}, {"at": "soon"}):
        refused = client.post(path, json=body, params=query)
        assert (refused.status_code, refused.json()["field"]) == (422, *query)
    both = client.post(path, json=body, params={"delay": 1, "at": "2030-01-01"})
    assert (both.status_code, both.json()["field"]) == (422, "delay")
    assert client.post(f"/v1/runs/{later['id']}/cancel", json={}).status_code == 202
