"""Keyed states over HTTP: read, written on a version, removed; and what is refused."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

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
    assert client.delete(PLACE).status_code == 204
    assert client.delete(PLACE).status_code == 404


@pytest.mark.parametrize(
    ("place", "body", "status"),
    [
        ("/v1/state/1/k", {"value": 1}, 422),
        ("/v1/state/n/" + "x" * 201, {"value": 1}, 422),
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
