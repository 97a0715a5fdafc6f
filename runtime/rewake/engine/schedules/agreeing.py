"""What a schedule is where servers with two codes run beside each other.

What code says that has not been heard before wins at once: a deploy. What was replaced is said by
an older server that starts once more in a rolling deploy, or by a deploy that goes back, and these
look alike. So whoever says it asks, in the schedule's item, which becomes due; a server that has
the newer code answers that with its next sweep. Only if none does for `PATIENCE`, the code that
asks wins. While it is refused it asks again each `AGAIN`, for the others may be about to end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewake.app import App
from rewake.engine.settings import Settings
from rewake.ledger import Schedule
from rewake.records import Millis

PATIENCE: Millis = 30_000
LONGER: Millis = 180_000
"""So long others have to answer; where none lives between calls, their next sweep is a minute away.
"""
AGAIN: Millis = 300_000
"""So long a server whose code was refused waits before it asks again."""
KEPT = 8
"""So many things that code has said before are known again."""


def said(code: str, workflow: str) -> str:
    """What code says of a schedule, as it is compared."""
    return f"{code} {workflow}"


def was_replaced(seen: Schedule, code: str, workflow: str) -> bool:
    """Whether code has said this before, and other code something else since."""
    return said(code, workflow) in seen.earlier


def waits_until(
    seen: Schedule, code: str, workflow: str, now: Millis, settings: Settings
) -> Millis | None:
    """Until when whoever has the newer code can answer this one; None: this one has not asked."""
    asks = seen.asks == said(code, workflow) and seen.asked <= now
    return seen.asked + (LONGER if settings.pauses else PATIENCE) if asks else None


def asking(code: str, workflow: str, now: Millis) -> Mapping[str, Any]:
    """The changes by which a server asks."""
    return {"asks": said(code, workflow), "asked": now, "due": now}


def replacing(seen: Schedule, code: str, workflow: str) -> Mapping[str, Any]:
    """The changes of what is known of earlier code, if this one wins."""
    before = [each for each in seen.earlier if each != said(code, workflow)]
    before += [said(seen.code, seen.workflow)] if seen.code else []
    return {"earlier": before[-KEPT:], "asks": "", "asked": 0}


def refuses(app: App, seen: Schedule) -> bool:
    """Whether this app has the newer code that is asked for."""
    if not seen.asks or seen.name not in app.schedules:
        return False
    definition, workflow = app.schedules[seen.name]
    return said(definition.digest, workflow.name) == said(seen.code, seen.workflow)
