"""The cursors of all lists: what clients pass back, as it stands."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from rewake.stores.cursors import LONGEST, cursor_of
from tests.http.test_tokens import make

LISTS = ("/v1/runs", "/v1/stats/runs", "/v1/approvals", "/v1/tokens", "/v1/audit", "/v1/deliveries")
LISTED = (("/v1/runs", "runs"), ("/v1/approvals", "approvals"), ("/v1/tokens", "tokens"))
TOKEN_PLACE, VIEW_PLACE = "T#0123456789abcdef", "998204313950014#r"


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "cursor",
    [
        "nonsense",
        "",
        VIEW_PLACE,
        cursor_of("zzz"),
        cursor_of(7),
        cursor_of(VIEW_PLACE[:15]),
        cursor_of("V#"),
        "A" * (LONGEST + 4),
    ],
)
def test_what_is_no_cursor_is_refused(client: TestClient, path: str, cursor: str) -> None:
    """A list says that it was given no cursor of its own, instead of an end that is none."""
    answer = client.get(path, params={"cursor": cursor})

    assert (answer.status_code, answer.json()["field"]) == (422, "cursor")


def test_a_cursor_of_another_list_is_refused(client: TestClient) -> None:
    """A place among tokens is none among runs, and the other way round."""
    for path in LISTS:
        place = VIEW_PLACE if path == "/v1/tokens" else TOKEN_PLACE
        assert client.get(path, params={"cursor": cursor_of(place)}).status_code == 422, path
    assert client.get("/v1/runs", params={"key": "k", "cursor": "x"}).status_code == 422


def test_a_cursor_needs_no_quotes(client: TestClient) -> None:
    """A client that puts a cursor into a URL as it was told comes to the next page, though a list
    goes on behind keys that have signs of their own.
    """
    for number in range(3):
        path = f"/v1/workflows/ask/runs?id=r{number}"
        assert client.post(path, json={"question": "?"}).status_code == 202
        make(client, f"t{number}", "read")
    for path, name in LISTED:
        seen, at = list[str](), ""
        while len(seen) < 3:
            page = client.get(f"{path}?limit=1{at}").json()
            seen += [each.get("run") or each.get("id") or each["name"] for each in page[name]]
            at = f"&cursor={page['cursor']}"
            assert page["cursor"] is None or re.fullmatch(r"[\w.~-]+", page["cursor"], re.ASCII)
        assert len(set(seen)) == 3, path
