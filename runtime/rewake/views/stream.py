"""What a run's stream tells, for those who follow it."""

from __future__ import annotations

from typing import Any

from rewake.kinds import Purpose
from rewake.stores.told import Telling, Told
from rewake.views.moments import moment
from rewake.views.runs import error_view, line_view
from rewake.views.values import Values


def told_view(told: Told, values: Values) -> dict[str, Any]:
    """One thing that was told: its `type`, its moment, who has said it, and what it says."""
    shown: dict[str, Any] = {"type": told.what, "at": moment(told.at)}
    match told.what:
        case Telling.ITEM if told.value is not None:
            value = values.show(told.value, key=told.key, purpose=Purpose.EMITTED)
            return {**shown, "key": told.key, "attempt": told.attempt, "value": value}
        case Telling.LOG if told.line is not None:
            line = line_view(told.line)
            return {"type": told.what, "key": told.key, "attempt": told.attempt, **line}
        case Telling.OPERATION:
            shown |= {"key": told.key, "kind": told.kind, "state": told.state}
            shown |= {"name": told.name} if told.name else {}
        case _:
            shown |= {"state": told.state, "attempt": told.attempt}
            shown |= {"reason": told.reason} if told.reason else {}
    if told.failure is not None:
        shown["error"] = error_view(told.failure)
    return shown
