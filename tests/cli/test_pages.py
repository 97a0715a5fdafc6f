"""What a server answers in pages is shown as one."""

from __future__ import annotations

import asyncio
import copy
from typing import Any, cast

from rewake.cli.remote.client import Client
from rewake.cli.remote.pages import history_of, logs_of
from rewake.client.answers import Reply

ASKED = "2026-01-01T00:00:00.000Z"
ENDED = "2026-01-01T00:00:01.500Z"


class Paged:
    """A server whose answers are written down, a page each."""

    def __init__(self, *found: dict[str, Any]) -> None:
        self._pages = found
        self.asked: list[dict[str, object]] = []

    async def get(self, *path: str, query: dict[str, object]) -> Reply:
        self.asked.append({name: value for name, value in query.items() if value is not None})
        number = int(str(query["after"] or 0))
        more = number + 1 < len(self._pages)
        return Reply(
            200, {**copy.deepcopy(self._pages[number]), "cursor": str(number + 1) if more else None}
        )


def page(operations: list[Any], changed: list[Any], number: int) -> dict[str, Any]:
    run = {"updated": ASKED, "id": "r"}
    entries = [{"index": number, "type": "started"}]
    told = {"run": run, "entries": entries, "position": str(number)}
    return {**told, "operations": operations, "changed": changed}


def operation(key: str, state: str) -> dict[str, Any]:
    return {"key": key, "kind": "step", "state": state, "asked": ASKED, "attempts": 1}


SERVER = (
    page([operation("a", "waiting"), operation("b", "done")], [], 0),
    page([operation("c", "waiting")], [{"key": "a", "state": "retrying", "due": ENDED}], 1),
    page(
        [],
        [{"key": "a", "state": "done", "ended": ENDED}, {"key": "d", "state": "running"}],
        2,
    ),
)


def test_the_last_word_on_an_operation_stands() -> None:
    """What later pages say of an operation is said of it, and each is shown once, in order."""
    server = Paged(*SERVER)
    whole = asyncio.run(history_of(cast("Client", server), "r"))

    assert [each["index"] for each in whole["entries"]] == [0, 1, 2]
    told = {each["key"]: each["state"] for each in whole["operations"]}
    assert [*told.items()] == [("a", "done"), ("b", "done"), ("c", "waiting"), ("d", "running")]
    assert whole["operations"][0]["duration"] == 1_500
    assert (whole["cursor"], whole["changed"]) == (None, [])
    assert server.asked == [{}, {"after": "1"}, {"after": "2"}]


def test_so_many_pages_at_most() -> None:
    """A part of a history says that there is more."""
    whole = asyncio.run(history_of(cast("Client", Paged(*SERVER)), "r", 2))

    assert len(whole["entries"]) == 2
    assert whole["cursor"] == "2"


def test_lines_are_in_the_order_of_time() -> None:
    """Pages of a log come by operation, and what is shown by time."""
    lines = [{"at": f"2026-01-01T00:00:0{second}.000Z"} for second in (3, 1, 2)]
    server = Paged({"id": "r", "lines": lines[:2]}, {"id": "r", "lines": lines[2:]})
    whole = asyncio.run(logs_of(cast("Client", server), "r", "a"))

    assert whole["lines"] == sorted(lines, key=lambda each: each["at"])
    assert server.asked == [{"key": "a"}, {"key": "a", "after": "1"}]
