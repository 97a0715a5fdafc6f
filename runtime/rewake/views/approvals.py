"""The view of an approval that a run waits for.

The word for its waiting, in lists and progress lines, is a trait of its kind (`rewake.kinds`).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from rewake.kinds import Purpose
from rewake.records import Scheduled
from rewake.views.moments import moment_or_none
from rewake.views.values import Values


class ApprovalView(msgspec.Struct, frozen=True):
    """An approval that a run waits for; if `deadline` is null, it waits for ever."""

    key: str
    name: str
    form: Any
    description: Any
    deadline: str | None
    decide: str


def approval_view(asked: Scheduled, values: Values) -> ApprovalView:
    """The view of an approval."""
    shown: Any = {}
    if asked.args is not None:
        body = values.show(asked.args, key=asked.key, purpose=Purpose.APPROVAL)
        shown = msgspec.json.decode(body)
    return ApprovalView(
        key=asked.key,
        name=asked.name,
        form=shown.get("form"),
        description=shown.get("description"),
        deadline=moment_or_none(asked.due),
        decide=f"/v1/runs/{quote(values.run)}/approvals/{quote(asked.key)}",
    )
