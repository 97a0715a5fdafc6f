"""The columns of what is listed: a script, and a person, find them where they were."""

from __future__ import annotations

import re

import pytest

from rewake.cli.columns import show_list
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
