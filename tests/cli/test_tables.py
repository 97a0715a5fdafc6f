from __future__ import annotations

import pytest

from rewake.cli.remote.tables import log_lines, retries, run_details, when

SOON, LATER = "2026-01-02T03:04:05.678Z", "2026-01-03T03:04:05.678Z"


@pytest.mark.parametrize(
    ("deadline", "wake", "timer"),
    [
        (SOON, SOON, None),
        (LATER, SOON, SOON),
        (None, SOON, SOON),
        (None, None, None),
    ],
)
def test_a_deadline_is_shown_with_its_approval(
    capsys: pytest.CaptureFixture[str], deadline: str | None, wake: str | None, timer: str | None
) -> None:
    """What is shown as the next timer is one, and no approval's deadline."""
    about = {"workflow": "main", "state": "suspended", "created": SOON, "updated": SOON}
    asked = {"key": "release", "deadline": deadline}
    run_details({"id": "a", "wake": wake, "approvals": [asked], **about})
    *facts, approval = capsys.readouterr().out.splitlines()
    timers = [line for line in facts if line.startswith("next timer")]
    assert timers == ([] if timer is None else [f"next timer  {when(timer)}"])
    until = "" if deadline is None else f", until {when(deadline)}"
    assert approval == f"waits for a decision on release{until}"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_log_cannot_command_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    """On a terminal, control characters of a line are shown as escapes; a pipe gets them as is."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    line = {"key": "a", "attempt": 1, "at": SOON, "level": "INFO", "message": "x\x1b[2J\r\x9by\tz"}
    log_lines([line])
    said = capsys.readouterr().out
    assert (r"x\x1b[2J\x0d\x9by" in said) is terminal
    assert said.endswith("y\tz\n")


def test_what_runs_waits_and_was_decided_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A run's input, key, open attempts, decisions and, where it is stuck, the way on are shown."""
    failed = {"type": "ValueError", "message": "no"}
    decided = {"decision": "approved", "approver": "ada", "comment": "fine"}
    history = {
        "entries": [{"type": "started", "input": {"order": "B1"}}],
        "operations": [
            {"key": "a", "kind": "task", "state": "running", "attempts": 2},
            {
                "key": "b",
                "kind": "task",
                "state": "retrying",
                "attempts": 1,
                "due": SOON,
                "error": failed,
            },
            {"key": "ok", "kind": "approval", "state": "done", "attempts": 0, "result": decided},
            {"key": "pay", "kind": "callback", "state": "waiting", "attempts": 0, "due": SOON},
            {"key": "paid", "kind": "callback", "state": "done", "attempts": 0, "result": 3},
        ],
    }
    about = {"workflow": "main", "state": "stuck", "created": SOON, "updated": SOON, "key": "k-1"}
    run_details({"id": "r", **about}, history)
    said = capsys.readouterr().out
    assert "paid" not in said
    for line in (
        "k-1",
        '{"order": "B1"}',
        "a is running (attempt 2)",
        f"b is being retried (attempt 1 failed, again at {when(SOON)})",
        "ValueError: no",
        "ok was approved by ada: fine",
        f"waits to be called: pay, until {when(SOON)}",
        "rewake runs resume r",
    ):
        assert line in said


def test_the_attempts_of_what_took_more_than_one_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each with when, where and how it ended; what worked at once has no such lines."""

    def attempt(number: int, **more: object) -> dict[str, object]:
        at = {"began": SOON, "ended": LATER, "where": "web:7", "lost": False}
        return {"attempt": number, **at, **more}

    failed = {"error": {"type": "ValueError", "message": "no\nmore"}}
    goes_on = {"ended": None, "where": None}
    about = {"kind": "step", "attempts": 3}
    operations = [
        {**about, "key": "a", "state": "done", "tries": [attempt(1)]},
        {
            **about,
            "key": "b",
            "state": "done",
            "tries": [attempt(1, lost=True), attempt(2, **failed), attempt(3)],
        },
        {**about, "key": "c", "state": "running", "tries": [attempt(4), attempt(5, **goes_on)]},
    ]
    run = {"id": "r", "workflow": "w", "state": "running", "created": SOON, "updated": SOON}
    run_details(run, {"operations": operations})
    began = when(SOON)
    assert capsys.readouterr().out.splitlines()[5:] == [
        "attempts at b:",
        f"  attempt 1 {began} on web:7: lost with its process",
        f"  attempt 2 {began} on web:7: ValueError: no",
        f"  attempt 3 {began} on web:7: it worked",
        "c is running (attempt 5)",
        "  so far:",
        f"  attempt 4 {began} on web:7: interrupted",
        f"  attempt 5 {began}: it goes on",
    ]


def test_a_retry_names_what_it_forgot(capsys: pytest.CaptureFixture[str]) -> None:
    """A refund that was made, and is no longer in the history, is still told."""
    error = {"type": "TaskError", "message": "no bank"}
    one = {
        "type": "retried",
        "at": "2026-11-26T05:00:00.000Z",
        "error": error,
        "forgot": ["refund"],
    }
    other = {"type": "retried", "at": "2026-11-26T06:00:00.000Z", "error": error, "forgot": []}
    retries({"entries": [one, {"type": "completed", "key": "a"}, other]})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("retried at ")
    assert first.endswith("after TaskError: no bank; it forgot refund")
    assert second.endswith("after TaskError: no bank")
