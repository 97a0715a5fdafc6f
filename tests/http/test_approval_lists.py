"""What is open in all runs, and fresh links to it."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from starlette.testclient import TestClient

from rewake.signing.links import LinkUse
from tests.http.conftest import Stranger
from tests.http.test_approving import ANN, BOB, Front, front  # noqa: F401 - a fixture
from tests.support.approving import link_path
from tests.support.server import bearer


def listed(front: Front, **query: Any) -> dict[str, Any]:  # noqa: F811
    answer = front.client.get("/v1/approvals", params=query, headers=bearer())
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_what_is_open_in_all_runs(front: Front) -> None:  # noqa: F811
    """Newest run first, in pages of runs, without what was decided and runs that are over."""
    front.start()
    for run in ("r2", "r3", "r4"):
        front.client.post(f"/v1/workflows/refund/runs?id={run}&wait=0.2", json={}, headers=bearer())
    front.client.post("/v1/runs/r3/kill", json={}, headers=bearer())
    path = "/v1/runs/r1/approvals/refund"
    front.client.post(path, json={"approved": False}, headers=bearer())
    found = listed(front)
    assert [each["run"] for each in found["approvals"]] == ["r4", "r2"]
    assert found["cursor"] is None
    newest = found["approvals"][0]
    assert (newest["workflow"], newest["approvers"]) == ("refund", [ANN, BOB])
    [same] = front.client.get("/v1/runs/r4", headers=bearer()).json()["approvals"]
    assert {**newest, **same} == newest
    first = listed(front, limit=1)
    assert [each["run"] for each in first["approvals"]] == ["r4"]
    rest = listed(front, limit=5, cursor=first["cursor"])
    assert [each["run"] for each in rest["approvals"]] == ["r2"]
    assert len(listed(front, approver=BOB)["approvals"]) == 2
    assert listed(front, approver="eve")["approvals"] == []
    assert listed(front, workflow="withdraws")["approvals"] == []


def test_a_run_that_cannot_be_read_hides_no_other(front: Front) -> None:  # noqa: F811
    """It is named, and what the others wait for is listed."""
    front.start()
    front.client.post("/v1/workflows/refund/runs?id=r2&wait=0.2", json={}, headers=bearer())
    services = front.engine.services
    services.cache.clear()
    with sqlite3.connect(front.database) as database:
        broken = "DELETE FROM items WHERE partition = 'R#r2' AND sort LIKE 'C#%'"
        assert database.execute(broken).rowcount
    database.close()
    found = listed(front)
    assert ([each["run"] for each in found["approvals"]], found["unread"]) == (["r1"], ["r2"])


def wanted(front: Front, **about: Any) -> Any:  # noqa: F811
    body = {"run": "r1", "key": "refund", **about}
    return front.client.post("/v1/links", json=body, headers=bearer())


def test_a_fresh_link_decides_as_those_of_the_workflow(front: Front) -> None:  # noqa: F811
    """It is another one, for whom and for what it was wanted, and good as long as the wait."""
    front.start(timeout=600.0)
    answer = wanted(front, approver=BOB, action="approve")
    assert answer.status_code == 200
    url, expires = answer.json()["url"], answer.json()["expires"]
    [asked] = listed(front)["approvals"]
    assert expires == asked["deadline"]
    assert url not in front.links.values()
    path = link_path(url)
    assert url == f"https://app.example/below{path}"
    assert front.client.post(path, json={"approved": False}).status_code == 403
    body = {"approved": True, "value": {"amount": 1}}
    assert front.client.post(path, json=body).json()["approver"] == BOB
    assert front.result()["approver"] == BOB
    read = front.read(LinkUse.APPROVE, path.rpartition("/")[2])
    assert (read.holder, read.action, read.round) == (BOB, "approve", 0)


@pytest.mark.parametrize(
    ("about", "status", "field"),
    [
        ({"approver": "eve"}, 422, "approver"),
        ({}, 422, "approver"),
        ({"approver": ANN, "action": "shrug"}, 422, "action"),
        ({"approver": "x" * 300}, 422, "approver"),
        ({"approver": "ann\nbob"}, 422, "approver"),
        ({"approver": ANN, "more": 1}, 422, "more"),
        ({"approver": ANN, "key": "other"}, 404, None),
        ({"approver": ANN, "run": "none"}, 404, None),
    ],
)
def test_links_that_are_not_made(
    front: Front,  # noqa: F811
    about: dict[str, Any],
    status: int,
    field: str | None,
) -> None:
    """The answer names the field, or what there is not."""
    front.start()
    answer = wanted(front, **about)
    assert (answer.status_code, answer.json().get("field")) == (status, field)


def test_there_is_no_link_to_what_is_closed(front: Front) -> None:  # noqa: F811
    """Neither to what was decided, nor of a run that is over: 409."""
    front.start()
    front.post(ANN, approved=False)
    front.result()
    assert wanted(front, approver=ANN).status_code == 409


def test_there_is_no_link_without_an_address(client: TestClient) -> None:
    """Without `REWAKE_URL` the answer says so."""
    client.post("/v1/workflows/ask/runs?id=a&wait=0.05", json={"question": "sure?"})
    answer = client.post("/v1/links", json={"run": "a", "key": "approval"})
    assert answer.status_code == 409
    assert "REWAKE_URL" in answer.json()["detail"]


def test_a_link_for_whoever_has_it(front: Front) -> None:  # noqa: F811
    """Where nobody was named, any name may be given to a link, or none."""
    front.client.post("/v1/workflows/anybody/runs?id=r1&wait=0.2", json={}, headers=bearer())
    for holder in ("", "carla"):
        url = wanted(front, key="approval", approver=holder).json()["url"]
        token = url.rpartition("/")[2]
        assert front.read(LinkUse.APPROVE, token).holder == holder
        assert front.client.get(f"/approve/{token}").status_code == 200


def test_a_stranger_makes_no_link(stranger: Stranger) -> None:
    """It takes a token to list what is open, and to make a link to it."""
    assert stranger("GET", "/v1/approvals").status_code == 401
    assert stranger("POST", "/v1/links", json={"run": "a", "key": "b"}).status_code == 401
