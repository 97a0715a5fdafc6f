import pytest
from starlette.testclient import TestClient

PATH = "/v1/runs/a/approvals/approval"


@pytest.fixture
def asked(client: TestClient) -> TestClient:
    """A client, and a run `a` that waits for an approval."""
    arguments = {"question": "sure?", "seconds": 600}
    client.post("/v1/workflows/ask/runs?id=a&wait=0.05", json=arguments)
    return client


def test_what_is_asked(asked: TestClient) -> None:
    """A run shows the approvals it waits for: key, form, description, deadline, where to decide."""
    [approval] = asked.get("/v1/runs/a").json()["approvals"]

    assert approval.pop("deadline") > asked.get("/v1/runs/a").json()["created"]
    assert approval == {
        "key": "approval",
        "name": "approval",
        "form": {"amount": {"type": "integer"}},
        "description": "sure?",
        "decide": PATH,
    }


@pytest.mark.parametrize(("approved", "decision"), [(True, "approved"), (False, "rejected")])
def test_decide(asked: TestClient, approved: bool, decision: str) -> None:
    """A decision wakes the run, which sees it with its value and who decided."""
    body = {"approved": approved, "value": {"amount": 3}, "approver": "Ada", "comment": "fine"}
    response = asked.post(PATH, json=body)

    assert response.status_code == 200
    assert response.json() == {"run": "a", "key": "approval", "decision": decision}
    result = asked.get("/v1/runs/a/result?wait=10").json()["result"]
    assert result == {"decision": decision, "value": {"amount": 3}, "approver": "Ada"}
    assert asked.get("/v1/runs/a").json()["approvals"] == []


def test_the_first_decision_stands(asked: TestClient) -> None:
    """A second decision is a conflict and changes nothing."""
    asked.post(PATH, json={"approved": True})

    assert asked.post(PATH, json={"approved": False}).status_code == 409
    assert asked.get("/v1/runs/a/result?wait=10").json()["result"]["decision"] == "approved"


def test_an_approval_that_nobody_asked_for(asked: TestClient) -> None:
    """Deciding on what is not waited for is a 404, whatever slashes are in the key."""
    response = asked.post("/v1/runs/a/approvals/parallel[3]/other", json={"approved": True})

    assert response.status_code == 404
    assert "parallel[3]/other" in response.json()["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "approved"),
        ({"approved": "yes"}, "approved"),
        ({"approved": None}, "approved"),
        ({"approved": True, "approver": 3}, "approver"),
        ({"approved": True, "comment": []}, "comment"),
        ({"approved": True, "vlaue": 3}, "vlaue"),
        ({"approved": True, "approver": "Ada\nof another line"}, "approver"),
        ({"approved": True, "approver": "a" * 255}, "approver"),
        ({"approved": True, "comment": "x" * 10_001}, "comment"),
        ({"approved": True, "value": [0] * 3_000}, "value"),
    ],
)
def test_a_body_that_does_not_fit(asked: TestClient, body: object, field: str) -> None:
    """A decision that does not fit is refused, and the field is named."""
    response = asked.post(PATH, json=body)

    assert (response.status_code, response.json()["field"]) == (422, field)
    assert asked.get("/v1/runs/a").json()["state"] == "suspended"
