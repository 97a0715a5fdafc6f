"""Pausing, rerunning and forking over HTTP."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient


def ended(client: TestClient) -> str:
    """A run that has ended."""
    begun = client.post("/v1/workflows/total/runs", json={"numbers": [1, 2]}, params={"wait": 10})
    run: str = begun.json()["id"]
    return run


def test_a_run_is_started_anew(client: TestClient) -> None:
    """With its input or another one, once for each id; the new run says of which it is."""
    run = ended(client)
    made = client.post(f"/v1/runs/{run}/rerun", json={"input": {"numbers": [5]}, "id": "mine"})
    assert (made.status_code, made.json()["id"]) == (202, "mine")
    assert made.json()["origin"] == {"run": run, "key": None}
    assert made.headers["location"].endswith("/v1/runs/mine")
    again = client.post(f"/v1/runs/{run}/rerun", json={"input": {"numbers": [5]}, "id": "mine"})
    assert (again.status_code, again.json()["id"]) == (202, "mine")
    done = client.get("/v1/runs/mine/result", params={"wait": 10}).json()
    assert done["result"] == 5
    dry = client.post(f"/v1/runs/{run}/rerun", json={"dry_run": True})
    assert (dry.status_code, dry.json()["id"]) == (200, run)
    assert len(client.get("/v1/runs").json()["runs"]) == 2


def test_a_run_is_forked(client: TestClient) -> None:
    """From before one of its operations; a key that it has not asked for names those near to it."""
    run = ended(client)
    [first, *_] = client.get(f"/v1/runs/{run}/operations").json()["operations"]
    made = client.post(f"/v1/runs/{run}/fork", json={"at": first["key"]}).json()
    assert made["origin"] == {"run": run, "key": first["key"]}
    done = client.get(f"/v1/runs/{made['id']}/result", params={"wait": 10}).json()
    assert done["result"] == 3
    missing = client.post(f"/v1/runs/{run}/fork", json={"at": "nothing"})
    assert missing.status_code == 404
    assert repr(first["key"]) in missing.json()["detail"]


@pytest.mark.parametrize(
    ("action", "body", "status", "field"),
    [
        ("rerun", {"input": {"numbers": "x"}}, 422, "numbers"),
        ("rerun", {"input": [1]}, 422, "input"),
        ("rerun", {"id": "ü"}, 422, "id"),
        ("rerun", {"at": "x"}, 422, ""),
        ("fork", {}, 422, ""),
        ("fork", {"at": 5}, 422, "at"),
        ("pause", {}, 409, ""),
        ("pause", {"dry_run": True}, 409, ""),
        ("resume", {}, 409, ""),
    ],
)
def test_bad_requests_are_named(
    client: TestClient, action: str, body: object, status: int, field: str
) -> None:
    """Of a run that has ended: what does not fit is 422 with its field, what cannot be is 409."""
    refused = client.post(f"/v1/runs/{ended(client)}/{action}", json=body)
    assert refused.status_code == status
    assert not field or field in refused.json()["field"]
    asked = {"at": "x"} if action == "fork" else {}
    assert client.post(f"/v1/runs/none/{action}", json=asked).status_code == 404


def test_a_run_is_paused(client: TestClient) -> None:
    """Its state is `paused` until it is resumed; asked for twice it is the same."""
    run = client.post("/v1/workflows/nap/runs", json={"seconds": 600}).json()["id"]
    for _ in range(2):
        assert client.post(f"/v1/runs/{run}/pause", json={}).json()["pause"] is True
    shown = client.get("/v1/runs", params={"state": "paused"}).json()["runs"]
    assert [each["id"] for each in shown] == [run]
    assert client.post(f"/v1/runs/{run}/resume", json={}).json()["pause"] is False
    assert client.post(f"/v1/runs/{run}/kill", json={}).json()["state"] == "cancelled"
