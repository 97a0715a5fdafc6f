"""The history of a run, its operations and its logs over HTTP, a page at a time."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some
from starlette.testclient import TestClient

from rewake.http import histories
from rewake.stores.cursors import cursor_of
from rewake.stores.pages import Place
from rewake.views.log_pages import LogPlace

START = "/v1/workflows/total/runs"
RUN = "/v1/runs/r"


@pytest.fixture(autouse=True)
def run(client: TestClient) -> None:
    """A run of twelve tasks, and another."""
    client.post(f"{START}?id=r&wait=20", json={"numbers": [*range(12)]})
    client.post("/v1/workflows/patient/runs?id=other&wait=20", json={})


def pages(client: TestClient, path: str, **query: str) -> list[Any]:
    """All pages of what is at a path."""
    found = [client.get(path, params=query).json()]
    while found[-1]["cursor"] is not None:
        found.append(client.get(path, params={**query, "after": found[-1]["cursor"]}).json())
    return found


def test_a_short_history_is_one_page(client: TestClient) -> None:
    """Without a limit a history has all of a run, as long as that fits a page."""
    found = client.get(f"{RUN}/history").json()

    assert found["cursor"] is None
    assert [each["index"] for each in found["entries"]] == [*range(len(found["entries"]))]
    assert [each["key"] for each in found["operations"]][:2] == ["add", "add.2"]
    assert found["operations"][3]["arguments"] == [[3, 3], {}]
    assert {each["state"] for each in found["operations"]} == {"done"}
    assert found["changed"] == []


def test_pages_of_a_history(client: TestClient) -> None:
    """Pages are as long as is asked, and together they are the whole."""
    whole = client.get(f"{RUN}/history").json()
    found = pages(client, f"{RUN}/history", limit="5")

    assert all(len(page["entries"]) <= 5 for page in found)
    for name in ("entries", "operations"):
        assert [each for page in found for each in page[name]] == whole[name]
    # From where the last one ended there is nothing, until there is.
    after = client.get(f"{RUN}/history", params={"after": found[-1]["position"]}).json()
    assert (after["entries"], after["cursor"]) == ([], None)


def test_operations(client: TestClient) -> None:
    """Operations are listed without what they took and came to, as objects or as columns."""
    found = pages(client, f"{RUN}/operations", limit="5")
    rows = pages(client, f"{RUN}/operations", limit="5", format="columns")

    views = [each for page in found for each in page["operations"]]
    assert len(views) == 12
    assert not any("result" in each or "arguments" in each for each in views)
    for page, columns in zip(found, rows, strict=True):
        assert columns["columns"] == [*histories.COLUMNS]
        assert columns["rows"] == [
            [view[name] for name in histories.COLUMNS] for view in page["operations"]
        ]
    assert found[0]["entries"] == len(client.get(f"{RUN}/history").json()["entries"])


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ({"kind": "task"}, 12),
        ({"kind": "timer"}, 0),
        ({"state": "done"}, 12),
        ({"state": "failed"}, 0),
        ({"q": "add.1"}, 3),
        ({"under": "add"}, 1),
    ],
)
def test_operations_that_are_wanted(client: TestClient, query: dict[str, str], number: int) -> None:
    """A filter passes what fits it, on pages of any size."""
    for limit in ("2", "200"):
        found = pages(client, f"{RUN}/operations", limit=limit, **query)
        assert sum(len(page["operations"]) for page in found) == number


def test_one_operation(client: TestClient) -> None:
    """An operation is shown with what it took and came to, wherever it is looked for from."""
    page = pages(client, f"{RUN}/operations", limit="3")
    shown = client.get(f"{RUN}/operations/add.5").json()

    assert (shown["result"], shown["arguments"]) == (10, [[6, 4], {}])
    near = client.get(f"{RUN}/operations/add.5", params={"after": page[0]["cursor"]})
    assert near.json() == shown
    for key in ("none", "add.99", "a/b"):
        assert client.get(f"{RUN}/operations/{key}").status_code == 404
    assert client.get("/v1/runs/none/operations/add").status_code == 404


def test_logs(client: TestClient) -> None:
    """Lines come in pages, chosen by operation, level and text."""
    [page] = pages(client, "/v1/runs/other/logs")
    assert [line["message"] for line in page["lines"]] == ["attempt 1", "attempt 2"]
    found = pages(client, "/v1/runs/other/logs", limit="1")
    assert [len(each["lines"]) for each in found] == [1, 1]
    for query, number in (
        ({"key": "flaky"}, 2),
        ({"key": ""}, 0),
        ({"level": "INFO"}, 2),
        ({"level": "ERROR"}, 0),
        ({"q": "2"}, 1),
    ):
        [page] = pages(client, "/v1/runs/other/logs", **query)
        assert len(page["lines"]) == number


PARTS = ("history", "operations", "operations/add", "logs")
_number = some.integers(-(2**70), 2**70)
_text = some.text(max_size=30) | some.sampled_from(
    ["C#", "C#00000000#x", "C#99999999#", "O#add", "H", "C#-0000001#", "\x00"]
)
_place = some.tuples(_number, _text, _number, _number, _number, _text)
_places = (
    _place
    | some.builds(Place, some.integers(0, 99), some.just(""), some.just(0), some.just(0))
    | some.tuples(_number, some.none() | _text, some.none() | _place)
    | some.builds(LogPlace, _number, some.none() | _text, some.none())
    | some.recursive(some.none() | _number | _text, some.lists, max_leaves=4)
)


@example("logs", [-1])
@example("logs", [-(2**70)])
@example("history", [-1])
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(part=some.sampled_from(PARTS), place=_places)
def test_a_cursor_that_somebody_made_up(client: TestClient, part: str, place: Any) -> None:
    """It is refused, or shows a part of the same run: it is never a failure of the server."""
    try:
        cursor = cursor_of(place)
    except (msgspec.MsgspecError, UnicodeEncodeError, OverflowError):
        return  # JSON does not have it
    run = "other" if part == "logs" else "r"
    answer = client.get(f"/v1/runs/{run}/{part}", params={"after": cursor})

    assert answer.status_code in (200, 404, 422), answer.text
    if answer.status_code == 422:
        assert answer.json()["field"] == "after"


@pytest.mark.parametrize(
    "cursor",
    ["", "-", "W10", "e30", "bnVsbA", "Ww", "%00", "é", "W" * 5_000, "W1tb" * 500, "=", "W10="],
)
@pytest.mark.parametrize("part", PARTS)
def test_a_cursor_that_is_none(client: TestClient, part: str, cursor: str) -> None:
    """Any text at all is refused, or is the beginning."""
    answer = client.get(f"{RUN}/{part}?after={cursor}")

    assert answer.status_code in (200, 422), answer.text


def test_a_cursor_of_another_run(client: TestClient) -> None:
    """It is no place in this one, and shows nothing of the other."""
    place = base64.urlsafe_b64encode(msgspec.json.encode([3, "C#00000007#other", 2])).decode()
    answer = client.get(f"{RUN}/history", params={"after": place})

    assert (answer.status_code, answer.json()["field"]) == (422, "after")
