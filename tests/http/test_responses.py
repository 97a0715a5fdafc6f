"""What a sender is told by the run itself (`respond`), by its end, or by its failure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rewake import respond, sleep, workflow
from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.http.app import create_app
from rewake.signing.secret import Secret
from rewake.stores.memory import MemoryTable
from rewake.webhooks import anyone, webhook
from tests.support.server import SECRET, bearer

NAMED = {"Idempotency-Key": "d-1"}


@workflow(webhook=webhook("command", verify=anyone(), wait=20))
async def command(text: str = "", headers: dict[str, str] | None = None) -> str:
    await respond({"said": text}, 201, headers)
    await sleep(3600)
    return "the end"


@workflow(webhook=webhook("quiet", verify=anyone()))
async def quiet(status: int = 200) -> str:
    await respond(b"\xff" if status == 200 else None, status)
    return "the end"


@workflow(webhook=webhook("fails", verify=anyone(), wait=20))
async def fails() -> None:
    raise ValueError("the password is hunter2")


@workflow(webhook=webhook("answers-and-fails", verify=anyone(), wait=20))
async def answers_and_fails() -> None:
    await respond("taken")
    raise ValueError("too late to be told")


@workflow(webhook=webhook("twice", verify=anyone(), wait=20))
async def twice() -> None:
    await respond("one")
    await respond("two")


MEMBERS = (command, quiet, fails, answers_and_fails, twice)


@pytest.fixture
def app() -> Starlette:
    """The HTTP face of an app whose runs answer."""
    app = App()
    for each in MEMBERS:
        app.add(each)
    secret = Secret(SECRET)
    engine = Engine(app, MemoryTable(), InProcessDispatcher(SystemClock()), secret)
    return create_app(engine, secret, grace=0.1)


@pytest.fixture
def client(app: Starlette) -> Iterator[TestClient]:
    """A sender, without a token."""
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def result(app: Starlette, run: str) -> httpx2.Response:
    """The result of a run, as who has a token waits for it."""
    return TestClient(app, headers=bearer()).get(f"/v1/runs/{run}/result", params={"wait": 20})


def test_a_run_answers_its_sender(client: TestClient) -> None:
    """Who waits is given what the body says, as it says it, long before the end."""
    response = client.post("/hooks/command", json={"text": "hi", "headers": {"X-A": "b"}})
    assert (response.status_code, response.json()) == (201, {"said": "hi"})
    assert response.headers["X-A"] == "b"
    assert response.headers["Content-Type"] == "application/json"


def test_an_answer_is_no_page_of_this_server(client: TestClient) -> None:
    """Unless the run says otherwise it is not cached, sniffed, or let run scripts."""
    response = client.post("/hooks/command", json={"headers": {"Content-Type": "text/html"}})
    assert response.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    said = {"cache-control": "max-age=60"}
    response = client.post("/hooks/command", json={"headers": said})
    assert response.headers.get_list("Cache-Control") == ["max-age=60"]


def test_an_answer_is_that_of_later_deliveries(app: Starlette, client: TestClient) -> None:
    """It is kept where nobody waited, and the same delivery gets it, waiting or not."""
    first = client.post("/hooks/quiet", headers=NAMED)
    assert first.status_code == 202
    result(app, first.json()["id"])
    for path in ("/hooks/quiet", "/hooks/quiet?wait=5"):
        again = client.post(path, headers=NAMED)
        assert (again.status_code, again.content) == (200, b"\xff")
        assert again.headers["Idempotency-Replayed"] == "true"


def test_an_answer_without_a_body(client: TestClient) -> None:
    """A status alone is an answer."""
    response = client.post("/hooks/quiet?wait=20", json={"status": 204})
    assert (response.status_code, response.content) == (204, b"")


def test_a_run_that_failed_before_it_answered(app: Starlette, client: TestClient) -> None:
    """Its sender is told a 500 with the run's id, also by a later delivery; and not why."""
    for _ in range(2):
        response = client.post("/hooks/fails", headers=NAMED)
        assert response.status_code == 500
        told = response.json()
        assert told["type"] == "urn:rewake:problem:run-failed"
        assert "hunter2" not in response.text
        assert "hunter2" in result(app, told["run"]).text


@pytest.mark.parametrize(("path", "told"), [("answers-and-fails", "taken"), ("twice", "one")])
def test_a_run_that_failed_after_it_answered(client: TestClient, path: str, told: str) -> None:
    """Its answer stands: that it fails then, as by a second answer, is not its sender's."""
    response = client.post(f"/hooks/{path}")
    assert (response.status_code, response.text) == (200, told)


def test_an_answer_is_for_senders_only(app: Starlette, client: TestClient) -> None:
    """Who starts a run by the API and waits is given its result, which has one shape for all."""
    assert client is not None
    api = TestClient(app, headers=bearer())
    response = api.post("/v1/workflows/quiet/runs?wait=20", json={})
    told: dict[str, Any] = response.json()
    assert (told["state"], told["result"]) == ("done", "the end")


def test_an_answer_is_in_the_history(app: Starlette, client: TestClient) -> None:
    """Who reads the run sees that, and when, it was given."""
    first = client.post("/hooks/quiet")
    result(app, first.json()["id"])
    url = f"/v1/runs/{first.json()['id']}/history"
    [operation] = TestClient(app, headers=bearer()).get(url).json()["operations"]
    assert (operation["key"], operation["kind"], operation["state"]) == (
        "respond",
        "response",
        "done",
    )
