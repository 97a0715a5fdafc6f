"""Answers that one has already, requests that come too early, and bodies that come too late."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.testclient import TestClient

from rewake.http import bodies
from rewake.http.app import ROUTES
from rewake.http.bodies import read_body
from rewake.testing.loop import VirtualLoop

START = "/v1/workflows/total/runs"


@pytest.fixture
def run(client: TestClient) -> str:
    """A run that has ended."""
    return str(client.post(f"{START}?id=r&wait=20", json={"numbers": [1, 2]}).json()["id"])


@pytest.mark.parametrize(
    "path",
    [
        "/openapi.json",
        "/v1/workflows",
        "/v1/workflows/total",
        "/v1/runs",
        "/v1/runs/r",
        "/v1/runs/r/result",
        "/v1/runs/r/history",
        "/v1/runs/r/logs",
        "/v1/tokens",
    ],
)
def test_what_one_has_is_not_sent_again(client: TestClient, run: str, path: str) -> None:
    """Who names the tag of an answer is told that it is still so, without the answer."""
    first = client.get(path)
    tag = first.headers["ETag"]

    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = client.get(path, headers={"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        assert "Content-Type" not in again.headers
    for given in ('"other"', "", tag.strip('"'), f'"{tag}"'):
        other = client.get(path, headers={"If-None-Match": given})
        assert (other.status_code, other.content) == (200, first.content)
    assert client.head(path).headers["ETag"] == tag


def test_a_change_has_another_tag(client: TestClient, run: str) -> None:
    """The tag of a list changes when the list does, and a new run is not hidden by an old tag."""
    tag = client.get("/v1/runs").headers["ETag"]
    client.post(f"{START}?wait=20", json={"numbers": []})

    again = client.get("/v1/runs", headers={"If-None-Match": tag})
    assert again.status_code == 200
    assert len(again.json()["runs"]) == 2


def test_a_tag_hides_no_error(client: TestClient) -> None:
    """An error has no tag, and `*` stands for no error."""
    gone = client.get("/v1/runs/none", headers={"If-None-Match": "*"})

    assert gone.status_code == 404
    assert "ETag" not in gone.headers


@pytest.mark.parametrize("path", [START, "/v1/runs/r/cancel", "/v1/tokens", "/v1/sweep"])
def test_a_request_that_comes_too_early(client: TestClient, run: str, path: str) -> None:
    """What a TLS server got in early data, which a stranger may have sent again, does nothing."""
    early = client.post(path, json={}, headers={"Early-Data": "1"})

    assert (early.status_code, early.json()["status"]) == (425, 425)
    assert len(client.get("/v1/runs", headers={"Early-Data": "1"}).json()["runs"]) == 1


def test_a_body_that_comes_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that drips is waited for only so long, however much of it has come."""
    monkeypatch.setattr(bodies, "BODY_TIME", 30.0)
    loop = VirtualLoop()

    async def drip() -> dict[str, object]:
        await asyncio.sleep(7)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def main() -> None:
        with pytest.raises(Exception, match="30 seconds") as raised:
            await read_body(Request({"type": "http", "headers": []}, drip))
        assert getattr(raised.value, "status_code", 0) == 408
        assert loop.seconds == 30

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


@pytest.mark.parametrize("length", ["9" * 18, "9" * 5_000])
def test_a_body_that_says_it_is_huge(client: TestClient, length: str) -> None:
    """A length of any number of digits is a length that is too large."""
    headers = {"Content-Type": "application/json", "Content-Length": length}

    assert client.post(START, content=b"{}", headers=headers).status_code == 413


PATHS = sorted({path for _, path, _ in ROUTES if path.startswith(("/v1", "/openapi"))})


@pytest.mark.parametrize("path", PATHS)
def test_other_methods(app: Starlette, client: TestClient, path: str) -> None:
    """A method that a path does not know is a 405 that names those that it does; a slash more is
    another path.
    """
    there = path.replace("{name}", "total").replace("{run}", "r").replace("{key:path}", "k")
    known = {method for method, each, _ in ROUTES if each == path}
    known |= {"HEAD"} if "GET" in known else set()

    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"} - known:
        refused = client.request(method, there)
        assert (refused.status_code, method) == (405, method)
        assert set(refused.headers["Allow"].split(", ")) == known
    if "key" not in path:
        assert client.get(f"{there}/").status_code == 404
