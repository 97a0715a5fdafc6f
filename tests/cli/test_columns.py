"""The columns of what is listed: a script, and a person, find them where they were."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from rewake.cli.columns import show_list
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server, listing
from rewake.cli.remote.tables import OPERATIONS, RUNS


def columns(shown: str) -> list[list[str]]:
    return [re.split(r"  +", line) for line in shown.splitlines()]


def test_the_columns_of_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """`rewake runs list`: what identifies a run comes first, why it failed last."""
    run = {
        "id": "r-1",
        "workflow": "main",
        "state": "failed",
        "created": "2026-01-02T03:04:05.000Z",
        "error": {"type": "ValueError", "message": "no\nmore"},
    }
    show_list(RUNS, [run, {**run, "id": "r-2", "state": "done", "error": None}], "runs")
    heads, failed, done = columns(capsys.readouterr().out)
    assert heads == ["RUN", "WORKFLOW", "STATE", "CREATED"]
    assert failed[:3] == ["r-1", "main", "failed"]
    assert failed[4:] == ["ValueError: no"]
    assert done[:3] == ["r-2", "main", "done"]
    assert len(done) == 4


def test_the_columns_of_operations(capsys: pytest.CaptureFixture[str]) -> None:
    """`rewake runs history`: an operation, how it stands, how long it took, its attempts."""
    operation = {
        "key": "parallel[3]/fetch",
        "kind": "task",
        "state": "timed_out",
        "asked": "2026-01-02T03:04:05.000Z",
        "duration": 1500,
        "attempts": 2,
    }
    waits = {**operation, "state": "waiting", "duration": None}
    show_list(OPERATIONS, [operation, waits], "operations")
    heads, ended, waiting = columns(capsys.readouterr().out)
    assert heads == ["KEY", "KIND", "STATE", "ASKED", "TOOK", "ATTEMPTS"]
    assert ended[:3] == ["parallel[3]/fetch", "task", "timed out"]
    assert ended[4:] == ["1.5 s", "2"]
    assert waiting[4:] == ["2"]


def test_a_list_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing goes to stdout, which scripts count; people are told on stderr."""
    show_list(RUNS, [], "runs")
    assert capsys.readouterr() == ("", "no runs\n")


@pytest.mark.parametrize(("query", "told"), [({}, True), ({"scheduled": "true"}, False)])
def test_a_list_that_runs_of_schedules_crowd(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    query: dict[str, object],
    told: bool,
) -> None:
    """How many there are is said, with what leaves them out, unless that was asked for."""
    run = {"id": "r", "workflow": "w", "state": "done", "created": "2026-01-02T03:04:05.000Z"}
    page = {"runs": [{**run, "schedule": "tick"}] * 2 + [run], "cursor": None}

    class Stand(Client):
        async def get(self, *_: str, **__: Any) -> Any:
            return SimpleNamespace(body=page)

    monkeypatch.setenv("REWAKE_TOKEN", "t")
    monkeypatch.setattr("rewake.cli.remote.runs.Client", Stand)
    listing(Server("http://127.0.0.1:9"), query)
    hint = "schedules have started 2 of these: --no-scheduled leaves them out"
    assert (hint in capsys.readouterr().err) is told
