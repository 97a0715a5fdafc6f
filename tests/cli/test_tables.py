from __future__ import annotations

import pytest

from rewake.cli.remote.tables import run_details, when

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
