"""What each route takes and answers: the table that the OpenAPI document is made of.

A test compares it with the routes, and names those that it lacks. What a route needs
(`http/needs.py`) and the query parameters that it knows (`takes_query`) stand where they are
enforced, so the document cannot tell otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rewake.access import TENANT
from rewake.doctor.front import Seen
from rewake.doctor.host import LARGEST, LONGEST, Probed
from rewake.engine.outside.signals import LONGEST_ID
from rewake.engine.schedules.schedules import MOST_SHOWN
from rewake.engine.starts.delays import LONGEST as LONGEST_DELAY
from rewake.engine.starts.starting import LONGEST_KEY, IfFinished, IfRunning
from rewake.http import (
    answers,
    approvals,
    approving,
    cached,
    callbacks,
    dead_letters,
    events,
    histories,
    internal,
    keyed,
    removals,
    runs,
    schedules,
    signals,
    streams,
    tokens,
    trails,
)
from rewake.http.ballots import DelegationBody
from rewake.http.bodies import LARGEST_PAGE, PAGE
from rewake.http.keeping import Became
from rewake.kinds import Kind
from rewake.limited import HIGHEST
from rewake.records import Invocation
from rewake.stores.told import MOST, Telling
from rewake.views.access import TokenView
from rewake.views.ballots import ApprovalRecord
from rewake.views.deliveries import WholeDeliveryView
from rewake.views.events import EventView
from rewake.views.runs import STATES, ResultView, RunView
from rewake.views.schedules import ScheduleView
from rewake.views.signals import SignalView
from rewake.views.timeline import OPERATION_STATES, OperationView

JSON = "application/json"
HTML = "text/html"
FORM = "application/x-www-form-urlencoded"


class Parameter(NamedTuple):
    """A parameter of a query, or a header: its schema, and what it says."""

    schema: Mapping[str, Any]
    told: str


class Answer(NamedTuple):
    """A body that is answered. `type` is None for one that is no JSON."""

    type: Any
    media: str = JSON
    also: tuple[str, ...] = ()
    """Other content that it may have, as is asked for."""


class Described(NamedTuple):
    """A route. `answers` by status; `problems`: what it may be refused with beside what any may.

    `query` overrides what `QUERY` says of a parameter. `forms`: it takes a browser's form as well.
    `whole`: it takes no path of its own, since each workflow's has one.
    """

    answers: Mapping[int, Answer]
    body: Any = None
    problems: tuple[int, ...] = ()
    query: Mapping[str, Parameter] = {}
    headers: Mapping[str, Parameter] = {}
    forms: bool = False
    whole: bool = True


def text(**more: Any) -> Mapping[str, Any]:
    """The schema of a text."""
    return {"type": "string", **more}


def whole(least: int, most: int, default: int) -> Mapping[str, Any]:
    """The schema of a whole number."""
    return {"type": "integer", "minimum": least, "maximum": most, "default": default}


def _values(choices: Any) -> Mapping[str, Any]:
    return text(enum=[each.value for each in choices])


QUERY: Mapping[str, Parameter] = {
    "after": Parameter(text(), "Where the page begins: `cursor` or `position` of the one before."),
    "approver": Parameter(text(), "Only what waits for this person."),
    "asked_before": Parameter(text(format="date-time"), "Only what was asked for before then."),
    "cursor": Parameter(text(), "Where the page begins: the `cursor` of the page before."),
    "format": Parameter(text(enum=["columns"]), "Rows of columns instead of objects."),
    "group": Parameter(text(), "Only what is asked of this group."),
    "at": Parameter(text(format="date-time"), "When the run begins; by default at once."),
    "delay": Parameter(
        {"type": "number", "minimum": 0, "maximum": LONGEST_DELAY},
        "In how many seconds the run begins; not with `at`.",
    ),
    "hook": Parameter(text(), "Only deliveries to the hook of this path."),
    "id": Parameter(text(pattern="^.{1,128}$"), "The id of the new run."),
    "if_finished": Parameter(_values(IfFinished), "What to do if the run of the key has ended."),
    "if_running": Parameter(_values(IfRunning), "What to do if the run of the key goes on."),
    "key": Parameter(text(), "Only runs of this idempotency key, the newest first."),
    "kind": Parameter(_values(Kind), "Only those of this kind."),
    "label": Parameter(text(), "Labels, as `name=value`, several with commas: all of them."),
    "level": Parameter(text(enum=[*histories.LEVELS]), "Only lines of this level."),
    "limit": Parameter(whole(1, LARGEST_PAGE, PAGE), "The most items of a page."),
    "priority": Parameter(whole(-HIGHEST, HIGHEST, 0), "Higher ones go first in a line."),
    "run": Parameter(text(), "Only what is about this run."),
    "since": Parameter(text(format="date-time"), "Only what began then or later."),
    "state": Parameter(text(), "Only those in this state."),
    "tenant": Parameter(text(pattern=TENANT), "Whose runs."),
    "q": Parameter(text(), "Only those with this text in their id."),
    "until": Parameter(text(format="date-time"), "Only what began then or earlier."),
    "under": Parameter(text(), "Only this operation, or those below this key."),
    "verdict": Parameter(_values(Became), "Only deliveries of which this became."),
    "wait": Parameter(
        {"type": "number", "minimum": 0, "maximum": runs.LONGEST_WAIT, "default": 0},
        "How many seconds to wait for the end.",
    ),
    "unread": Parameter(text(enum=["true", "false"]), "Only those that nothing has taken."),
    "who": Parameter(text(), "Only what this principal did, such as `token:ci`."),
    "workflow": Parameter(text(), "Only runs of this workflow."),
}
"""The query parameters, by name, where a route does not say otherwise."""

_KEY = Parameter(
    text(minLength=1, maxLength=LONGEST_KEY),
    "Starts at most one run of the workflow: a repetition attaches to it.",
)
_MANY = Parameter(whole(1, histories.LARGEST_PAGE, histories.LARGEST_PAGE), QUERY["limit"].told)
_STATE = "|".join(STATES.values())
_OF_RUNS = {
    "children": Parameter(text(enum=["true", "false"]), "Also runs that other runs have begun."),
    "schedule": Parameter(text(), "Only runs that this schedule has started."),
    "scheduled": Parameter(
        text(enum=["true", "false"]), "Only runs that schedules have started, or none of them."
    ),
    "state": Parameter(
        text(pattern=f"^({_STATE})(,({_STATE}))*$"), "Only runs in this state, or in one of these."
    ),
}
_RESULT = {200: Answer(ResultView), 202: Answer(answers.NotEnded)}
_STREAM = {200: Answer(answers.StreamPage, also=(streams.EVENTS,)), 204: Answer(None, "")}
_TOLD = "|".join(Telling)
_OF_STREAM = {
    "limit": Parameter(whole(1, MOST, MOST), QUERY["limit"].told),
    "only": Parameter(text(pattern=f"^({_TOLD})(,({_TOLD}))*$"), "Only these."),
    "wait": Parameter(
        {**QUERY["wait"].schema, "default": streams.DEFAULT_WAIT},
        "How many seconds to wait for what is new.",
    ),
}
_SIGNAL = {200: Answer(SignalView), 202: Answer(SignalView)}
_SIGNAL_ID = Parameter(
    text(minLength=1, maxLength=LONGEST_ID),
    "The id of the signal: it is delivered once, however often it is sent.",
)
_OF_SIGNAL = {
    "wait": Parameter(QUERY["wait"].schema, "How many seconds to wait for the answer to an update.")
}
_VIEW = {200: Answer(RunView)}
_ACCEPTED = {200: Answer(RunView), 202: Answer(RunView)}

CONTRACT: Mapping[tuple[str, str], Described] = {
    ("GET", "/healthz"): Described({200: Answer(answers.Up)}),
    ("GET", "/readyz"): Described({200: Answer(answers.Ready)}),
    ("GET", "/openapi.json"): Described({200: Answer(dict)}),
    ("GET", "/v1/limits"): Described({200: Answer(answers.LimitsPage)}),
    ("GET", "/v1/overdue"): Described({200: Answer(answers.OverduePage)}),
    ("GET", "/v1/cache"): Described({200: Answer(answers.CachedPage)}),
    ("POST", "/v1/cache/clear"): Described({200: Answer(answers.ClearedPage)}, body=cached.Clear),
    ("GET", "/v1/workflows"): Described({200: Answer(answers.WorkflowsPage)}),
    ("GET", "/v1/workflows/{name}"): Described(
        {200: Answer(answers.WorkflowDetails)}, problems=(404,)
    ),
    ("POST", "/v1/workflows/{name}/runs"): Described(
        {200: Answer(ResultView), 202: Answer(RunView)},
        body=dict[str, Any],
        problems=(404, 409, 429),
        headers={"Idempotency-Key": _KEY},
    ),
    ("GET", "/v1/events/{event}"): Described({200: Answer(answers.EventsPage)}),
    ("POST", "/v1/events/{event}"): Described(
        {202: Answer(EventView)}, body=events.EventBody, problems=(409,)
    ),
    ("GET", "/v1/runs"): Described({200: Answer(answers.RunsPage)}, query=_OF_RUNS),
    ("GET", "/v1/stats/runs"): Described({200: Answer(answers.CountsPage)}, query=_OF_RUNS),
    ("GET", "/v1/runs/{run}"): Described(_VIEW, problems=(404, 409)),
    ("GET", "/v1/runs/{run}/result"): Described(_RESULT, problems=(404, 409)),
    ("GET", "/v1/runs/{run}/history"): Described(
        {200: Answer(answers.HistoryPage)}, problems=(404, 409), query={"limit": _MANY}
    ),
    ("GET", "/v1/runs/{run}/operations"): Described(
        {200: Answer(answers.OperationsPage)},
        problems=(404, 409),
        query={
            "limit": Parameter(whole(1, histories.LARGEST_PAGE, 200), QUERY["limit"].told),
            "q": Parameter(text(), "Only those with this text in their key."),
            "state": Parameter(text(enum=[*OPERATION_STATES]), "Only those in this state."),
        },
    ),
    ("GET", "/v1/runs/{run}/operations/{key:path}"): Described(
        {200: Answer(OperationView)}, problems=(404, 409)
    ),
    ("GET", "/v1/runs/{run}/logs"): Described(
        {200: Answer(answers.LogsPage)},
        problems=(404, 409),
        query={
            "limit": _MANY,
            "key": Parameter(text(), "Only of this operation; empty: of the workflow's body."),
            "q": Parameter(text(), "Only lines with this text."),
        },
    ),
    ("GET", "/v1/runs/{run}/stream"): Described(_STREAM, problems=(404,), query=_OF_STREAM),
    ("POST", "/v1/runs/{run}/links"): Described(
        {200: Answer(answers.StreamLink)}, body=streams.LinkBody, problems=(404, 409)
    ),
    ("GET", "/stream/{token}"): Described(_STREAM, problems=(403, 404, 410, 422), query=_OF_STREAM),
    ("GET", "/stream/{token}/result"): Described(_RESULT, problems=(404, 409, 410, 422)),
    ("POST", "/v1/runs/{run}/cancel"): Described(_ACCEPTED, body=runs.Cancel, problems=(404, 409)),
    ("POST", "/v1/runs/{run}/kill"): Described(_VIEW, body=runs.Kill, problems=(404, 409)),
    ("POST", "/v1/runs/{run}/pause"): Described(_ACCEPTED, body=runs.Action, problems=(404, 409)),
    ("POST", "/v1/runs/{run}/rerun"): Described(
        _ACCEPTED, body=runs.Rerun, problems=(404, 409, 429)
    ),
    ("POST", "/v1/runs/{run}/fork"): Described(_ACCEPTED, body=runs.Fork, problems=(404, 409, 429)),
    ("POST", "/v1/runs/{run}/resume"): Described(_ACCEPTED, body=runs.Action, problems=(404, 409)),
    ("POST", "/v1/runs/{run}/retry"): Described(_ACCEPTED, body=runs.Retry, problems=(404, 409)),
    ("POST", "/v1/runs/{run}/hold"): Described(_VIEW, body=runs.Action, problems=(404,)),
    ("POST", "/v1/runs/{run}/unhold"): Described(_VIEW, body=runs.Action, problems=(404,)),
    ("POST", "/v1/runs/{run}/erase"): Described(_VIEW, body=runs.Action, problems=(404, 409)),
    ("POST", "/v1/purge"): Described({200: Answer(answers.PurgedPage)}, body=removals.Purge),
    ("GET", "/v1/runs/{run}/signals"): Described(
        {200: Answer(answers.SignalsPage)}, problems=(404,)
    ),
    ("GET", "/v1/runs/{run}/signals/{signal}"): Described(
        _SIGNAL, problems=(404, 409), query=_OF_SIGNAL
    ),
    ("POST", "/v1/runs/{run}/signals/{signal}"): Described(
        _SIGNAL,
        body=Any,
        problems=(404, 409),
        query=_OF_SIGNAL,
        headers={"Idempotency-Key": _SIGNAL_ID},
    ),
    ("POST", "/v1/workflows/{name}/signals/{signal}"): Described(
        _SIGNAL,
        body=signals.FirstSignal,
        problems=(404, 409),
        query={**_OF_SIGNAL, "key": Parameter(_KEY.schema, "The idempotency key of the run.")},
        headers={"Idempotency-Key": _SIGNAL_ID},
    ),
    ("GET", "/v1/runs/{run}/approvals/{key:path}"): Described(
        {200: Answer(ApprovalRecord, also=(trails.LINES,))}, problems=(404, 409)
    ),
    ("POST", "/v1/runs/{run}/approvals/{key:path}"): Described(
        {200: Answer(answers.DecidedView | answers.HandedOn)},
        body=approvals.DecisionBody | DelegationBody,
        problems=(404, 409, 410),
    ),
    ("GET", "/v1/approvals"): Described({200: Answer(answers.ApprovalsPage)}),
    ("POST", "/v1/links"): Described(
        {200: Answer(answers.Linked)}, body=approvals.LinkBody, problems=(404, 409, 410)
    ),
    ("GET", "/approve/{token}"): Described(
        {200: Answer(None, HTML)}, problems=(401, 403, 404, 410)
    ),
    ("POST", "/approve/{token}"): Described(
        {200: Answer(answers.DecidedView | answers.HandedOn)},
        body=approving.Answer | DelegationBody,
        problems=(401, 403, 404, 409, 410),
        forms=True,
    ),
    ("GET", "/v1/schedules"): Described(
        {200: Answer(answers.SchedulesPage)},
        query={"workflow": Parameter(text(), "Only schedules of this workflow.")},
    ),
    ("POST", "/v1/schedules"): Described(
        {201: Answer(ScheduleView)}, body=schedules.NewSchedule, problems=(404, 409)
    ),
    ("GET", "/v1/schedules/{schedule}"): Described({200: Answer(ScheduleView)}, problems=(404,)),
    ("POST", "/v1/schedules/{schedule}"): Described(
        {200: Answer(ScheduleView)}, body=schedules.Times, problems=(404, 409)
    ),
    ("DELETE", "/v1/schedules/{schedule}"): Described(
        {200: Answer(ScheduleView)}, problems=(404, 409)
    ),
    ("GET", "/v1/schedules/{schedule}/next"): Described(
        {200: Answer(answers.Coming)},
        problems=(404,),
        query={
            "after": Parameter(text(format="date-time"), "Only later ones; by default than now."),
            "count": Parameter(whole(1, MOST_SHOWN, schedules.SHOWN), "How many."),
        },
    ),
    ("POST", "/v1/schedules/{schedule}/pause"): Described(
        {200: Answer(ScheduleView)}, body=schedules.Pause, problems=(404, 409)
    ),
    ("POST", "/v1/schedules/{schedule}/resume"): Described(
        {200: Answer(ScheduleView)}, body=schedules.Nothing, problems=(404, 409)
    ),
    ("POST", "/v1/schedules/{schedule}/trigger"): Described(
        {202: Answer(RunView)}, body=schedules.Trigger, problems=(404, 409)
    ),
    ("POST", "/v1/schedules/{schedule}/backfill"): Described(
        {200: Answer(answers.Filled), 202: Answer(answers.Filled)},
        body=schedules.Fill,
        problems=(404, 409),
    ),
    ("GET", "/v1/tokens"): Described({200: Answer(answers.TokensPage)}),
    ("POST", "/v1/tokens"): Described(
        {201: Answer(answers.Made)}, body=tokens.TokenBody, problems=(409,)
    ),
    ("DELETE", "/v1/tokens/{name}"): Described({200: Answer(TokenView)}, problems=(404,)),
    ("GET", "/v1/audit"): Described({200: Answer(answers.AuditPage)}),
    ("GET", "/hooks/{path:path}"): Described({}, whole=False),
    ("POST", "/hooks/{path:path}"): Described({}, whole=False),
    ("POST", "/callback/{token}"): Described(
        {200: Answer(answers.Called)}, body=Any, problems=(401, 409, 410)
    ),
    ("POST", "/callback/{token}/fail"): Described(
        {200: Answer(answers.Called)}, body=callbacks.FailureBody, problems=(401, 409, 410)
    ),
    ("POST", "/callback/{token}/heartbeat"): Described(
        {200: Answer(answers.Beaten)}, problems=(401, 409, 410, 422)
    ),
    ("GET", "/v1/deliveries"): Described(
        {200: Answer(answers.DeliveriesPage)},
        query={"workflow": Parameter(text(), "Only deliveries to hooks of this workflow.")},
    ),
    ("GET", "/v1/deliveries/{id}"): Described({200: Answer(WholeDeliveryView)}, problems=(404,)),
    ("POST", "/v1/deliveries/{id}/replay"): Described(
        {200: Answer(answers.Replayed), 202: Answer(answers.Replayed)},
        problems=(400, 404, 409, 415),
    ),
    ("GET", "/v1/state"): Described(
        {200: Answer(keyed.StatesPage)},
        query={"name": Parameter(text(), "Only those of this name.")},
    ),
    ("GET", "/v1/state/{state}/{key:path}"): Described(
        {200: Answer(keyed.StateView)}, problems=(404,)
    ),
    ("PUT", "/v1/state/{state}/{key:path}"): Described(
        {200: Answer(keyed.StateView)}, body=keyed.StateBody, problems=(409,)
    ),
    ("DELETE", "/v1/state/{state}/{key:path}"): Described(
        {200: Answer(keyed.ListedState)}, problems=(404, 409)
    ),
    ("GET", "/v1/dead-letters"): Described(
        {200: Answer(answers.DeadLettersPage)}, problems=(404, 503)
    ),
    ("GET", "/v1/dead-letters/{id}"): Described(
        {200: Answer(answers.DeadLetter)}, problems=(404, 503)
    ),
    ("POST", "/v1/dead-letters"): Described(
        {200: Answer(answers.Redriven)}, body=dead_letters.RedriveBody, problems=(404, 503)
    ),
    ("POST", "/v1/echo"): Described({200: Answer(Seen)}, problems=(401, 408, 413, 422)),
    ("POST", "/v1/doctor"): Described({200: Answer(answers.Examined)}, body=internal.Nothing),
    ("POST", "/v1/probe"): Described(
        {200: Answer(Probed, also=("application/octet-stream", "text/plain"))},
        problems=(408, 413, 422, 503),
        query={
            "answer": Parameter(whole(0, LARGEST, 0), "So many bytes are answered."),
            "hold": Parameter(
                {"type": "number", "minimum": 0, "maximum": LONGEST, "default": 0},
                "After so many seconds.",
            ),
            "stream": Parameter(text(enum=["yes"]), "In two parts, a second apart."),
        },
    ),
    ("POST", "/v1/invoke"): Described(
        {202: Answer(answers.Nothing)}, body=Invocation, problems=(401,)
    ),
    ("POST", "/v1/sweep"): Described({200: Answer(answers.Nothing)}, body=internal.Nothing),
}
"""Every route, by its method and its path."""
