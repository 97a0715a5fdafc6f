"""The view of an approval that a run waits for.

The word for its waiting, in lists and progress lines, is a trait of its kind (`rewake.kinds`).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from rewake.kinds import Purpose
from rewake.records import Millis, Scheduled
from rewake.views.moments import moment, moment_or_none
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
    """An approval of any run. `approvers`: who has a link of their own; `asked`: when it was."""

    run: str
    workflow: str
    approvers: list[str]
    asked: str


def listed_approval_view(
    asked: Scheduled, at: Millis, workflow: str, values: Values
) -> ListedApprovalView:
    """The view of an approval among those of other runs, asked for `at` that moment."""
    view = msgspec.structs.asdict(approval_view(asked, values))
    approvers = _shown(asked, values).get("approvers") or []
    about = {"run": values.run, "workflow": workflow, "asked": moment(at)}
    return ListedApprovalView(**view, **about, approvers=approvers)


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
