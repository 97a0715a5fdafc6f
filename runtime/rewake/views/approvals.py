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


class ApprovalView(msgspec.Struct, frozen=True, omit_defaults=True):
    """An approval that a run waits for; if `deadline` is null, it waits for ever.

    `binds`: the `task` and the `arguments` that it is for, if it is for one call.
    """

    key: str
    name: str
    form: Any
    description: Any
    deadline: str | None
    decide: str
    binds: Any = None


class ListedApprovalView(ApprovalView, frozen=True, kw_only=True):
    """An open approval of any run; `approvers`: who has a link of their own."""

    run: str
    workflow: str
    approvers: list[str]


def listed_approval_view(asked: Scheduled, workflow: str, values: Values) -> ListedApprovalView:
    """The view of an approval among those of other runs."""
    view = msgspec.structs.asdict(approval_view(asked, values))
    approvers = _shown(asked, values).get("approvers") or []
    return ListedApprovalView(**view, run=values.run, workflow=workflow, approvers=approvers)


def approval_view(asked: Scheduled, values: Values) -> ApprovalView:
    """The view of an approval."""
    shown = _shown(asked, values)
    return ApprovalView(
        key=asked.key,
        name=asked.name,
        form=shown.get("form"),
        description=shown.get("description"),
        deadline=moment_or_none(asked.due),
        decide=f"/v1/runs/{quote(values.run)}/approvals/{quote(asked.key)}",
        binds=shown.get("binds"),
    )


def _shown(asked: Scheduled, values: Values) -> Any:
    """What it was asked with, as JSON."""
    if asked.args is None:
        return {}
    return msgspec.json.decode(values.show(asked.args, key=asked.key, purpose=Purpose.APPROVAL))
