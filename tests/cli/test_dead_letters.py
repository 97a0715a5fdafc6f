"""`rewake deadletters`: what a queue has put aside is listed, shown and sent again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rewake.cli.exits import Exit
from rewake.cli.remote import dead_letters
from rewake.cli.remote.client import Client
from rewake.client.answers import Reply
from rewake.errors import RunNotFound

MESSAGE = {
    "id": "m1",
    "at": "2026-01-31T12:00:00Z",
    "run": "r1",
    "key": "charge",
    "size": 12,
    "reason": "nobody could read it",
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What a server is asked, which has one such message."""
    asked: list[tuple[Any, ...]] = []

    async def get(_: Client, *path: str, query: Any = None) -> Reply:
        asked.append(("GET", path, query))
        if path[1:] == ("none",):
            raise RunNotFound("there is no message 'none'")
        if len(path) > 1:
            return Reply(200, {**MESSAGE, "message": '{"run": "r1"}'}, {})
        return Reply(200, {"messages": [MESSAGE], "more": True}, {})

    async def post(_: Client, *path: str, body: Any = None) -> Reply:
        asked.append(("POST", path, body))
        return Reply(200, {"sent": 1}, {})

    monkeypatch.setattr(Client, "get", get)
    monkeypatch.setattr(Client, "post", post)
    monkeypatch.setenv("REWAKE_TOKEN", "a-token")
    return asked


def test_they_are_listed(asked: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    """A line each, with the reason; that there may be more is said beside it."""
    assert dead_letters.listing("http://x", False, 1) is Exit.DONE
    told = capsys.readouterr()
    assert ("m1" in told.out, "nobody could read it" in told.out) == (True, True)
    assert told.err == "there may be more: --limit 2\n"
    for limit, more in ((150, ": --limit 200"), (200, "")):  # a command lists no more
        assert dead_letters.listing("http://x", False, limit) is Exit.DONE
        assert capsys.readouterr().err == f"there may be more{more}\n"
    assert dead_letters.listing("http://x", True, 1) is Exit.DONE
    assert json.loads(capsys.readouterr().out)["messages"] == [MESSAGE]
    assert asked[0] == ("GET", ("dead-letters",), {"limit": 1})


def test_one_is_shown(asked: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    """What is in it is the one thing on stdout; one that is not there is named."""
    assert dead_letters.show("http://x", False, "m1") is Exit.DONE
    told = capsys.readouterr()
    assert told.out == '{"run": "r1"}\n'
    assert "nobody could read it" in told.err
    with pytest.raises(RunNotFound, match="none"):
        dead_letters.show("http://x", False, "none")


@pytest.mark.parametrize("id", ["m1", None])
def test_they_are_sent_again(
    asked: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str], id: str | None
) -> None:
    """One of them, or all."""
    assert dead_letters.redrive("http://x", False, id) is Exit.DONE
    assert capsys.readouterr().err == "sent again: 1\n"
    assert asked == [("POST", ("dead-letters",), {"id": id})]
