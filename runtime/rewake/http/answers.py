"""The bodies of answers that are more than one view: what pages of lists look like."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from rewake.doctor.findings import Finding
from rewake.views.access import AuditedView, TokenView
from rewake.views.ballots import InboxView
from rewake.views.deliveries import DeliveryView
from rewake.views.events import EventView
from rewake.views.history_pages import ChangedView
from rewake.views.limits import CachedView, LimitView
from rewake.views.runs import Links, ReasonView, RunView
from rewake.views.schedules import ComingView, ScheduleView
from rewake.views.signals import SignalView
from rewake.views.timeline import OperationView


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a list; `cursor` is that of the next one, null: there is none."""

    cursor: str | None


class RunsPage(Page, frozen=True, kw_only=True):
    """Runs, newest first."""

    runs: list[RunView]


class PurgedPage(Page, frozen=True, kw_only=True):
    """The ended runs of a page that are removed, or would be, and those that somebody holds."""

    runs: list[RunView]
    held: list[RunView]


class CountsPage(Page, frozen=True, kw_only=True):
    """How many runs are in each state, of those that a page has looked at."""

    counts: dict[str, int]


class TokensPage(Page, frozen=True, kw_only=True):
    """API tokens."""

    tokens: list[TokenView]


class SchedulesPage(Page, frozen=True, kw_only=True):
    """Schedules, by name."""

    schedules: list[ScheduleView]


class Coming(msgspec.Struct, frozen=True):
    """Nominal times of a schedule."""

    times: list[ComingView]


class Filled(msgspec.Struct, frozen=True):
    """The nominal times of a backfill, and how many they are."""

    count: int
    times: list[ComingView]


class AuditPage(Page, frozen=True, kw_only=True):
    """Entries of the audit log, newest first."""

    entries: list[AuditedView]


class ApprovalsPage(Page, frozen=True, kw_only=True):
    """Open approvals. `unread`: runs whose approvals this server cannot read."""

    approvals: list[InboxView]
    unread: list[str]


class DeliveriesPage(Page, frozen=True, kw_only=True):
    """Deliveries to webhooks, newest first."""

    deliveries: list[DeliveryView]


class DeadLetterView(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was parked. `run` and `key`: what it says that it is about."""

    id: str
    at: str
    reason: str
    run: str | None
    key: str
    size: int


class DeadLetter(DeadLetterView, frozen=True, kw_only=True):
    """One of them, with what is in it: its signature is left out."""

    message: str


class LateView(msgspec.Struct, frozen=True):
    """A run that should have moved, since when, and why it did not: by itself, or by a task."""

    run: str
    workflow: str
    state: str
    since: str
    operation: str | None
    tag: str | None
    reason: ReasonView


class OverduePage(msgspec.Struct, frozen=True):
    """Runs that are late. `more`: whether there may be others."""

    runs: list[LateView]
    more: bool


class DeadLettersPage(msgspec.Struct, frozen=True):
    """Messages that were parked, in no order. `more`: whether there may be others."""

    messages: list[DeadLetterView]
    more: bool


class Redriven(msgspec.Struct, frozen=True):
    """How many messages were sent again."""

    sent: int


class Replayed(msgspec.Struct, frozen=True):
    """What became of a delivery that was sent again; with the run that it started.

    `reason`: why the verdict is `failed`.
    """

    verdict: str
    id: str | UnsetType = UNSET
    links: Links | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class ParameterView(msgspec.Struct, frozen=True):
    """A parameter of a workflow, its type as it is written."""

    name: str
    type: str | None
    required: bool
    default: Any = None


class WorkflowView(msgspec.Struct, frozen=True):
    """A workflow: how it can be started. `webhooks`: the paths of its hooks."""

    name: str
    description: str | None
    parameters: list[ParameterView]
    webhooks: list[str]


class WorkflowsPage(msgspec.Struct, frozen=True):
    """The workflows of the app."""

    workflows: list[WorkflowView]


class LimitsPage(msgspec.Struct, frozen=True):
    """Limits that something holds, or held lately."""

    limits: list[LimitView]
    cursor: str | None


class CachedPage(Page, frozen=True, kw_only=True):
    """Results of tasks that are cached, and calls whose result will be."""

    results: list[CachedView]


class ClearedPage(Page, frozen=True, kw_only=True):
    """How many results of a page are cached no more."""

    cleared: int


class WorkflowDetails(WorkflowView, frozen=True, kw_only=True):
    """A workflow, with JSON Schemas of what it takes and returns."""

    input: dict[str, Any]
    result: dict[str, Any]


class HistoryPage(Page, frozen=True, kw_only=True):
    """A page of a run's history. `changed`: what its entries say of operations of earlier pages;
    the last word on a key stands. `position`: where the next page begins, also where `cursor` is
    null since nothing is there yet.
    """

    run: RunView
    entries: list[dict[str, Any]]
    operations: list[OperationView]
    changed: list[ChangedView]
    position: str


class OperationsPage(Page, frozen=True, kw_only=True):
    """A page of a run's operations, in the order in which they were asked for, without values.

    `columns` and `rows` stand for `operations` with `format=columns`. `entries`: how many entries
    the history has.
    """

    id: str
    state: str
    now: str
    entries: int
    changed: list[ChangedView]
    position: str
    operations: list[OperationView] | UnsetType = UNSET
    columns: list[str] | UnsetType = UNSET
    rows: list[list[str | int | None]] | UnsetType = UNSET


class LineView(msgspec.Struct, frozen=True):
    """A line that was logged; the empty key is that of the workflow's body."""

    key: str
    attempt: int
    at: str
    level: str
    message: str


class LogsPage(Page, frozen=True, kw_only=True):
    """A page of what a run logged, in the order of time."""

    id: str
    lines: list[LineView]


class Linked(msgspec.Struct, frozen=True):
    """A link to an approval."""

    url: str
    expires: str


class StreamPage(msgspec.Struct, frozen=True):
    """What a run has told; `cursor` is behind all of it, also when the run has `ended`."""

    items: list[dict[str, Any]]
    cursor: str
    ended: bool


class StreamLink(Linked, frozen=True, kw_only=True):
    """A link to the stream of a run."""

    only: list[str]


class NotEnded(msgspec.Struct, frozen=True):
    """A run that has not ended."""

    id: str
    state: str


class Made(TokenView, frozen=True, kw_only=True):
    """A new API token. `token` is told once. `unknown`: workflows that there are not here."""

    token: str
    unknown: list[str] | UnsetType = UNSET


class DecidedView(msgspec.Struct, frozen=True):
    """A decision that was taken, or a vote that was counted: then also how the ballot stands."""

    run: str
    key: str
    decision: str
    approver: str | None = None
    decided: bool | UnsetType = UNSET
    quorum: int | UnsetType = UNSET
    approvals: int | UnsetType = UNSET
    rejections: int | UnsetType = UNSET


class HandedOn(msgspec.Struct, frozen=True):
    """A vote that was handed on; `link`: that of the delegate, if links have an address here."""

    run: str
    key: str
    approver: str
    delegate: str
    link: str | None


class SignalsPage(msgspec.Struct, frozen=True):
    """The signals of a run, in the order of sending."""

    signals: list[SignalView]
    cursor: str | None


class EventsPage(msgspec.Struct, frozen=True):
    """The events of a name, the newest first."""

    events: list[EventView]
    cursor: str | None


class Called(msgspec.Struct, frozen=True):
    """What a callback came to. It may have been decided before."""

    state: Literal["completed", "failed"]


class Beaten(msgspec.Struct, frozen=True):
    """A sign of life that was taken; `until`: when the next one must have come."""

    state: Literal["waiting"]
    until: str | None


class Up(msgspec.Struct, frozen=True):
    """The process is up."""

    status: Literal["up"]


class Ready(msgspec.Struct, frozen=True):
    """The server takes work."""

    status: Literal["ready"]
    free_slots: int
    abandoned_threads: int = 0
    shortage: Any = None
    unserved_tags: list[str] = []


class Examined(msgspec.Struct, frozen=True):
    """What `rewake doctor` finds; `now` is the server's clock, in milliseconds."""

    findings: list[Finding]
    now: int


class Nothing(msgspec.Struct, frozen=True):
    """An empty object."""
