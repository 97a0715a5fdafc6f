from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.http.app import create_app
from rewake.signing.secret import Secret
from rewake.stores.sqlite.table import SqliteTable
from tests.support import app as workflows
from tests.support.server import SECRET, bearer

Stranger = Callable[..., httpx2.Response]


@pytest.fixture
def app(tmp_path: Path) -> Starlette:
    """The HTTP face of the tests' app, on a database of its own."""
    secret = Secret(SECRET)
    table = SqliteTable(tmp_path / "rewake.db", durable=False)
    dispatcher = InProcessDispatcher(SystemClock())
    return create_app(Engine(App(workflows), table, dispatcher, secret), secret, grace=0.1)


@pytest.fixture
def client(app: Starlette) -> Iterator[TestClient]:
    """A client of the running app that has a token."""
    with TestClient(app, headers=bearer(), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def stranger(client: TestClient) -> Stranger:
    """Sends a request without a token."""

    def ask(method: str, path: str, **more: Any) -> httpx2.Response:
        request = client.build_request(method, path, **more)
        if "Authorization" not in (more.get("headers") or {}):
            del request.headers["Authorization"]
        return client.send(request)

    return ask
