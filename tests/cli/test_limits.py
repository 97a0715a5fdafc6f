"""What `rewake limits` and `rewake runs show` print of limits and tenants."""

from __future__ import annotations

from typing import Any

import pytest

from rewake.cli.remote import cached, overdue, tables
from rewake.cli.remote.limits import _cells

LINE: dict[str, Any] = {"run": "r2", "key": "call", "since": "2026-01-31T12:00:00Z"}
LIMIT: dict[str, Any] = {
    "id": "a",
    "kind": "concurrency",
    "name": "call",
    "key": "zoe",
    "count": 2,
    "per": None,
    "holders": [{"run": "r1", "key": None, "since": "2026-01-31T12:00:00Z"}],
    "waiting": [LINE],
    "more": True,
    "next": None,
}


def test_a_limit_is_a_line() -> None:
    """It says what it is, who holds it, how many wait, and who is first."""
    name, key, kind, held, waiting, first, _ = _cells(LIMIT)
    assert (name, key, kind, held) == ("call", "zoe", "concurrency", "1/2")
    assert (waiting, first) == ("1+", "r2 call")
    rate = {**LIMIT, "kind": "rate", "per": 60.0, "waiting": [], "more": False}
    assert _cells(rate)[3:6] == ("2 in 60 s", "0", "")


def test_what_is_cached_or_late_is_a_line() -> None:
    """Whose result it is, and who makes one; since when a run is late, and what helps."""
    made: dict[str, Any] = {"run": "r1", "until": "2026-01-31T12:00:00Z", "maker": None}
    task, call, run, _, maker = cached._cells({"task": "fetch", "key": "5f0c", **made})
    assert (task, call, run, maker) == ("fetch", "5f0c", "r1", "")
    made = {"run": None, "until": None, "maker": LINE}
    assert cached._cells({"task": "fetch", "key": "5f0c", **made})[2:] == ("", "", "r2 call")
    reason = {"code": "no-room", "fix": "start more", "command": "rewake serve --tags gpu"}
    late: dict[str, Any] = {"run": "r1", "workflow": "w", "operation": None, "since": LINE["since"]}
    name, workflow, operation, _, *why = overdue._cells({**late, "reason": reason})
    assert (name, workflow, operation) == ("r1", "w", "")
    assert why == ["no-room", "rewake serve --tags gpu"]


def test_a_run_says_for_what_it_waits(capsys: pytest.CaptureFixture[str]) -> None:
    """Its limit and its tenant are among its facts, and the limit of a task beside its key."""
    run: dict[str, Any] = {
        "id": "r1",
        "workflow": "main",
        "state": "suspended",
        "created": "2026-01-31T12:00:00Z",
        "updated": "2026-01-31T12:00:00Z",
        "wake": None,
        "cancel": None,
        "error": None,
        "tenant": "acme",
        "waits": "main [zoe]",
    }
    tables.run_details(run)
    told = capsys.readouterr().out
    assert "acme" in told
    assert "waiting for a limit" in told
    assert "main [zoe]" in told
