"""Durable workflows in plain async Python, run as stateless HTTP calls.

    from rewake import parallel, sleep, step, task, wait_for_approval, workflow

A workflow replays from its checkpoints and holds nothing while it waits; a task is a function that
runs as an invocation of its own; a step is one whose result is kept in place.
"""

from typing import TYPE_CHECKING, Any

from rewake.authoring.alerting import Alert, AlertKind, alerts, on_failure
from rewake.authoring.approval import (
    Approval,
    Decision,
    PendingApproval,
    approval,
    wait_for_approval,
)
from rewake.authoring.ballots import Vote
from rewake.authoring.binding import Call, bind
from rewake.authoring.block import block
from rewake.authoring.branches import parallel, race
from rewake.authoring.by_key import signal_or_start
from rewake.authoring.callback import Callback, callback
from rewake.authoring.child import RunHandle
from rewake.authoring.context import TaskContext, task_context
from rewake.authoring.continuing import continue_as_new
from rewake.authoring.emit import emit
from rewake.authoring.events import publish, wait_for_event
from rewake.authoring.keyed import state
from rewake.authoring.limits import batch, by_tenant, concurrency, debounce, rate, singleton
from rewake.authoring.marking import secret
from rewake.authoring.middleware import Around, AroundKind, middleware
from rewake.authoring.notifying import Notice, NoticeKind
from rewake.authoring.outcomes import Outcome, Outcomes
from rewake.authoring.polling import wait_until
from rewake.authoring.quorum import group, groups
from rewake.authoring.response import respond
from rewake.authoring.scheduling import cron, every, scheduled_at
from rewake.authoring.sending import send_signal
from rewake.authoring.showing import set_labels, set_progress, set_status
from rewake.authoring.signals import Update, signals, updates, wait_for_signal
from rewake.authoring.step import step
from rewake.authoring.task import Task, task
from rewake.authoring.time import now, random, sleep, sleep_until, uuid4
from rewake.authoring.triggers import Event, event
from rewake.authoring.workflow import Workflow, workflow
from rewake.errors import (
    AttemptOver,
    DeterminismWarning,
    ForbiddenInWorkflow,
    NonRetryable,
    NotInARun,
    RetryAfter,
    RewakeError,
    TaskError,
)

if TYPE_CHECKING:
    from rewake.client.async_client import AsyncClient
    from rewake.client.blocking_client import Client

__all__ = [
    "Alert",
    "AlertKind",
    "Approval",
    "Around",
    "AroundKind",
    "AsyncClient",
    "AttemptOver",
    "Call",
    "Callback",
    "Client",
    "Decision",
    "DeterminismWarning",
    "Event",
    "ForbiddenInWorkflow",
    "NonRetryable",
    "NotInARun",
    "Notice",
    "NoticeKind",
    "Outcome",
    "Outcomes",
    "PendingApproval",
    "RetryAfter",
    "RewakeError",
    "RunHandle",
    "Task",
    "TaskContext",
    "TaskError",
    "Update",
    "Vote",
    "Workflow",
    "alerts",
    "approval",
    "batch",
    "bind",
    "block",
    "by_tenant",
    "callback",
    "concurrency",
    "continue_as_new",
    "cron",
    "debounce",
    "emit",
    "event",
    "every",
    "group",
    "groups",
    "middleware",
    "now",
    "on_failure",
    "parallel",
    "publish",
    "race",
    "random",
    "rate",
    "respond",
    "scheduled_at",
    "secret",
    "send_signal",
    "set_labels",
    "set_progress",
    "set_status",
    "signal_or_start",
    "signals",
    "singleton",
    "sleep",
    "sleep_until",
    "state",
    "step",
    "task",
    "task_context",
    "updates",
    "uuid4",
    "wait_for_approval",
    "wait_for_event",
    "wait_for_signal",
    "wait_until",
    "workflow",
]

if not TYPE_CHECKING:  # else a type checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        """The clients, which are imported where they are used: a workflow needs no HTTP."""
        if name == "AsyncClient":
            from rewake.client.async_client import AsyncClient  # noqa: PLC0415

            return AsyncClient
        if name == "Client":
            from rewake.client.blocking_client import Client  # noqa: PLC0415

            return Client
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
