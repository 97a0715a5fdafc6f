"""Keyed states over HTTP: read, written on a version, removed; and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.http.test_tokens import make

PLACE = "/v1/state/cart/ann%2Fhome"


def test_a_state_is_written_on_its_version_and_removed(client: TestClient) -> None:
    """Who has read an older one is told so, and changes nothing."""
    assert client.get(PLACE).status_code == 404
    first = client.put(PLACE, json={"value": ["tea"], "version": 0})
    assert first.status_code == 200, first.text
    assert first.json() == {
        "name": "cart",
        "key": "ann/home",
        "value": ["tea"],
        "version": 1,
        "held_by": None,
        "waiting": 0,
    }
    assert client.get(PLACE).json() == first.json()
    late = client.put(PLACE, json={"value": [], "version": 0})
    assert (late.status_code, "version 1" in late.json()["detail"]) == (409, True)
    assert client.put(PLACE, json={"value": None}).json()["version"] == 2
    assert client.delete(PLACE).json()["version"] == 2
    assert client.delete(PLACE).status_code == 404


@pytest.mark.parametrize(
    ("place", "body", "status"),
    [
        ("/v1/state/1/k", {"value": 1}, 422),
        ("/v1/state/n/" + "x" * 201, {"value": 1}, 422),
        ("/v1/state/n/two%0Alines", {"value": 1}, 422),
        ("/v1/state/n/k", {}, 422),
        ("/v1/state/n/k", {"value": "x" * 70_000}, 422),
        ("/v1/state/n/k", {"value": 1, "version": "1"}, 422),
        ("/v1/state/n/k", {"value": 1, "more": 1}, 422),
    ],
)
def test_what_cannot_be_kept_is_refused(
    client: TestClient, place: str, body: dict[str, object], status: int
) -> None:
    """With a problem that names the field, and nothing written."""
    answer = client.put(place, json=body)
    assert answer.status_code == status, answer.text
    assert client.get("/v1/state/n/k").status_code == 404


def test_states_are_listed_and_those_of_a_tenant_are_its_own(client: TestClient) -> None:
    """By name and key, in pages, without their values; a tenant's token sees and writes its own."""
    token = make(client, "t1", "read", "start", tenant="t1")
    mine: Any = {"headers": {"Authorization": f"Bearer {token}"}}
    for place in ("cart/b", "cart/a#", "cart/a", "zoo/x"):
        client.put(f"/v1/state/{place.replace('#', '%23')}", json={"value": "secret"})
    assert client.put("/v1/state/cart/a", json={"value": "own"}, **mine).json()["version"] == 1
    assert client.get("/v1/state/cart/a", **mine).json()["value"] == "own"
    assert client.get("/v1/state/cart/a").json()["value"] == "secret"
    assert client.get("/v1/state/cart/a?tenant=t1").json()["value"] == "own"
    assert client.get("/v1/state/cart/b", **mine).status_code == 404
    assert client.get("/v1/state/cart/b?tenant=t2", **mine).status_code == 422
    found: list[str] = []
    query: dict[str, str] = {"limit": "1"}
    while len(found) < 5:
        page = client.get("/v1/state", params=query).json()
        found += [f"{each['name']}/{each['key']}" for each in page["states"]]
        assert "secret" not in str(page)
        if page["cursor"] is None:
            break
        query["cursor"] = page["cursor"]
    assert found == ["cart/a", "cart/a#", "cart/b", "zoo/x"]
    assert len(client.get("/v1/state", **mine).json()["states"]) == 1
    assert len(client.get("/v1/state?name=zoo").json()["states"]) == 1
    assert client.get("/v1/state?name=zo").json()["states"] == []
    assert client.get("/v1/state?name=z%23").json()["field"] == "name"
    limited = make(client, "w", "read", workflows=["nap"])
    refused = client.get("/v1/state", headers={"Authorization": f"Bearer {limited}"})
    assert refused.status_code == 403
