"""Rewake mounted in apps of other frameworks, as the examples do it."""

from __future__ import annotations

import importlib
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from rewake.embed import app_from_env, running
from tests.support.server import SECRET, bearer

HOST = "http://127.0.0.1:8000"
FRAMEWORKS = ("starlette", "fastapi", "django")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment that the examples name."""
    monkeypatch.setenv("REWAKE_APP", "examples/mounted/order.py")
    monkeypatch.setenv("REWAKE_SECRET", SECRET)
    monkeypatch.setenv("REWAKE_URL", f"{HOST}/runs")
    monkeypatch.setenv("REWAKE_DB", "memory:")
    monkeypatch.setenv("ORDER_TOKEN", "a token of the shop")
    return monkeypatch


def _example(framework: str) -> Any:
    """A fresh app of an example."""
    module = importlib.import_module(f"examples.mounted.with_{framework}")
    return module.app


def _whole_way(client: TestClient, prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A webhook in, a link decided, the result out; everything below the prefix."""
    headers = {"Authorization": "Bearer a token of the shop"}
    come = client.post(f"{prefix}/hooks/order", json={"item": "tea"}, headers=headers)
    assert come.status_code == 202, come.text
    place = come.headers["location"]
    assert place == f"{prefix}/v1/runs/{come.json()['id']}"
    run = client.get(place, headers=bearer())
    assert run.status_code == 200
    assert client.get(place).status_code == 401
    while not (links := re.findall(r"http\S+/approve/\S+", capsys.readouterr().out)):
        client.get(f"{place}/result?wait=0.1", headers=bearer())
    assert links[0].startswith(f"{HOST}{prefix}/approve/")
    path = urlsplit(links[0]).path
    page = client.get(path)
    assert page.status_code == 200
    assert "Buy tea?" in page.text
    for address in re.findall(r'(?:href|src|action)="([^"]*)"', page.text):
        assert not address.startswith("/") or address.startswith(f"{prefix}/"), address
    assert client.post(path, json={"approved": True}).status_code == 200
    ended = client.get(f"{place}/result?wait=20", headers=bearer())
    assert ended.json()["result"] == "tea: approved"
    started = client.post(
        f"{prefix}/v1/workflows/order/runs", json={"item": "milk"}, headers=bearer()
    )
    assert started.headers["location"] == f"{prefix}/v1/runs/{started.json()['id']}"
    assert client.get(f"{prefix}/healthz").status_code == 200
    assert client.get("/v1/runs", headers=bearer()).status_code == 404


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.usefixtures("settings")
def test_an_example_serves_both_apps(framework: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Below the prefix is Rewake, with its hooks and links, beside it the app that was there; a
    lifespan that does not run is told of, once it runs all works.
    """
    app = _example(framework)
    early = TestClient(app, base_url=HOST)
    assert early.get("/runs/v1/runs", headers=bearer()).status_code == 503
    assert "lifespan" in early.get("/runs/readyz").text
    with TestClient(app, base_url=HOST) as client:
        assert "the shop" in client.get("/").text
        assert client.get("/nowhere").status_code == 404
        _whole_way(client, "/runs", capsys)


def test_any_prefix_will_do(
    settings: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mounts in mounts, and a prefix that looks like a path of Rewake."""
    settings.setenv("REWAKE_URL", f"{HOST}/a/v1/runs/hooks")
    runs = app_from_env()
    inner = FastAPI()
    inner.mount("/v1/runs/hooks", runs)
    app = Starlette(routes=[Mount("/a", inner)], lifespan=lambda _: running(runs))
    with TestClient(app, base_url=HOST) as client:
        _whole_way(client, "/a/v1/runs/hooks", capsys)


def test_behind_a_proxy_that_takes_the_prefix_away(
    settings: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is outside is said by `REWAKE_URL`, and no `root_path` need be."""
    settings.setenv("REWAKE_URL", f"{HOST}/outside/runs")
    runs = app_from_env()
    app = Starlette(routes=[Mount("/runs", runs)], lifespan=lambda _: running(runs))

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            path = scope["path"].removeprefix("/outside")
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await app(scope, receive, send)

    with TestClient(proxy, base_url=HOST) as client:
        _whole_way(client, "/outside/runs", capsys)


def test_a_server_may_say_its_root_path(
    settings: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`uvicorn --root-path`, which apps need for links of their own behind such a proxy."""
    settings.setenv("REWAKE_URL", f"{HOST}/outside/runs")
    runs = app_from_env()
    app = FastAPI(lifespan=lambda _: running(runs))
    app.mount("/runs", runs)
    with TestClient(app, base_url=HOST, root_path="/outside") as client:
        _whole_way(client, "/outside/runs", capsys)
