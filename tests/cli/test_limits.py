"""What `rewake limits` and `rewake runs show` print of limits and tenants."""

from __future__ import annotations

from typing import Any

import pytest

from rewake.cli.columns import Columns, show_list
from rewake.cli.remote import tables
from rewake.cli.remote.cached import RESULTS
from rewake.cli.remote.limits import LIMITS
from rewake.cli.remote.overdue import LATE

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


def cells(columns: Columns, item: dict[str, Any]) -> list[str]:
    return [cell(item) for _, cell in columns]


def test_a_limit_is_a_line() -> None:
    """It says what it is, who holds it, how many wait, and who is first."""
    name, key, kind, held, waiting, first, _ = cells(LIMITS, LIMIT)
    assert (name, key, kind, held) == ("call", "zoe", "concurrency", "1/2")
    assert (waiting, first) == ("1+", "r2 call")
    rate = {**LIMIT, "kind": "rate", "per": 60.0, "waiting": [], "more": False}
    assert cells(LIMITS, rate)[3:6] == ["2 in 60 s", "0", ""]


def test_what_is_cached_or_late_is_a_line() -> None:
    """Whose result it is, and who makes one; since when a run is late, and what helps."""
    made: dict[str, Any] = {"run": "r1", "until": "2026-01-31T12:00:00Z", "maker": None}
    task, call, run, _, maker = cells(RESULTS, {"task": "fetch", "key": "5f0c", **made})
    assert (task, call, run, maker) == ("fetch", "5f0c", "r1", "")
    made = {"run": None, "until": None, "maker": LINE}
    assert cells(RESULTS, {"task": "fetch", "key": "5f0c", **made})[2:] == ["", "", "r2 call"]
    reason = {"code": "no-room", "fix": "start more", "command": "rewake serve --tags gpu"}
    late: dict[str, Any] = {"run": "r1", "workflow": "w", "operation": None, "since": LINE["since"]}
    name, workflow, operation, _, *why = cells(LATE, {**late, "reason": reason})
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


def test_a_run_says_which_signals_it_has_not_read(capsys: pytest.CaptureFixture[str]) -> None:
    """How many of each name: one that is mistyped is found there."""
    moment = "2026-01-31T12:00:00Z"
    run = {"id": "r1", "workflow": "main", "state": "suspended", "wake": None}
    run |= {"created": moment, "updated": moment}
    tables.run_details(run, unread=[{"name": "payd"}, {"name": "add"}, {"name": "payd"}])
    assert "payd (2), add (1)" in capsys.readouterr().out


def test_what_is_open_says_what_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    """A wait for a signal, an event, a time or another run is a line; one that is over is none."""
    moment = "2026-01-31T12:00:00Z"
    run = {"id": "r1", "workflow": "main", "state": "suspended", "wake": moment}
    run |= {"created": moment, "updated": moment}
    opened: dict[str, Any] = {"state": "waiting", "due": None}
    operations = [
        {"key": "a[0]/pay", "kind": "signal", "name": "pay", **opened, "due": moment},
        {"key": "bank%2Ein", "kind": "event", "name": "bank.in", **opened},
        {"key": "sleep", "kind": "timer", "name": "sleep", **opened, "due": moment},
        {"key": "state:0af1", "kind": "signal", "name": "state:0af1", **opened},
        {"key": "run-timeout", "kind": "timer", "name": "run-timeout", **opened, "due": moment},
        {"key": "bill", "kind": "child", "name": "bill", **opened, "child": "r2"},
        {"key": "sleep.2", "kind": "timer", "name": "sleep", "state": "done", "due": moment},
    ]
    tables.run_details(run, {"operations": operations})
    told = capsys.readouterr().out
    assert "\nwaits for the signal pay: a[0]/pay, until 2026-" in told
    assert "\nwaits for the event bank.in: bank.in\n" in told
    assert "\nwaits for its moment: sleep, until 2026-" in told
    assert "\nwaits for run r2: bill\n" in told
    assert "\nwaits for its turn at a state: `rewake state list`" in told
    assert not any(key in told for key in ("sleep.2", "0af1", "run-timeout"))


def test_a_list_has_the_status_of_what_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """What a body has said last is beside its run; of one that is over it says nothing any more."""
    run = {"workflow": "w", "created": "2026-01-31T12:00:00Z", "error": None}
    told = [("r1", "suspended", "packing"), ("r2", "done", "packed"), ("r3", "running", {"n": 1})]
    runs = [{**run, "id": name, "state": state, "status": said} for name, state, said in told]
    show_list(tables.RUNS, runs, "runs")
    first, second, third = capsys.readouterr().out.splitlines()[1:]
    assert first.endswith("  packing")
    assert "packed" not in second
    assert third.endswith('  {"n": 1}')
