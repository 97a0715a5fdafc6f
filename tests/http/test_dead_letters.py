"""What people see of messages that were parked."""

from __future__ import annotations

import base64
from collections.abc import Callable

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rewake.dispatchers.dispatcher import Parked
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.http.parts import Parts
from rewake.records import Invocation, Value
from rewake.signing.links import LinkUse

TOKEN = base64.urlsafe_b64encode(f'["{next(iter(LinkUse))}","run"]'.encode()).decode().rstrip("=")
LINK = f"https://app.example/approve/{TOKEN}.signature"


Shown = Callable[[str], str]


class _Letters:
    """One message that was parked."""

    def __init__(self, body: str) -> None:
        self.parked = Parked("id1", 0, "it failed", "r1", "k", len(body), body)

    async def find(self, id: str) -> Parked | None:
        """It, by its id."""
        return self.parked if id == self.parked.id else None


@pytest.fixture
def shown(client: TestClient, app: Starlette, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Shows a message."""

    def show(body: str) -> str:
        parts: Parts = app.state.parts
        assert isinstance(parts.engine.services.dispatcher, InProcessDispatcher)
        monkeypatch.setattr(InProcessDispatcher, "dead_letters", _Letters(body))
        answer = client.get("/v1/dead-letters/id1")
        assert answer.status_code == 200, answer.text
        message: str = answer.json()["message"]
        return message

    return show


@pytest.mark.parametrize("hidden", [("/0/0",), ()])
def test_nobody_is_shown_a_secret(shown: Shown, hidden: tuple[str, ...]) -> None:
    """What a task marks as one is hidden as in a history, and no link can be used."""
    args = Value("json", msgspec.Raw(msgspec.json.encode([["pw-4711", LINK], {}])), hidden=hidden)
    body = msgspec.json.encode(Invocation("r1", "k", "send", args)).decode()
    message = shown(body)
    assert ("pw-4711" in message) == (not hidden)
    assert TOKEN not in message
    assert msgspec.json.decode(message)["key"] == "k"


@pytest.mark.parametrize(
    "body",
    [
        f"no message {LINK}",
        '{"run":"r1","args":["pickle","c2VjcmV0"]}',
        '{"run":"r1","args":["new",{"a":1},"",["/a"]]}',
        '{"run":"r1","args":["json",null,"blob"]}',
        '{"run":"r1","args":["sealed","x"]}',
        '{"run":"r1","args":7}',
    ],
)
def test_what_is_forged_is_shown_all_the_same(shown: Shown, body: str) -> None:
    """Whatever somebody put into the queue."""
    assert TOKEN not in shown(body)
