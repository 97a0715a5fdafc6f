"""The endpoints of workflows and runs."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.engine.engine import Engine
from rewake.engine.outside.approvals import approvals_of
from rewake.engine.runs.listing import Wanted, said, sort_of_view
from rewake.engine.starts.delays import LONGEST, begin_at
from rewake.engine.starts.starting import IfFinished, IfRunning, check_key
from rewake.engine.turns.bounds import usage_of
from rewake.errors import InvalidInput, StuckError
from rewake.http.admission import act_of, principal_of, tell_done, tell_made, tenant_of
from rewake.http.bodies import (
    query_choice,
    query_choices,
    query_limit,
    query_moment,
    query_moment_or_none,
    query_number,
    query_whole,
    read_object,
    shaped,
    takes_query,
)
from rewake.http.cursors import next_cursor, place_in
from rewake.http.parts import located, parts_of, reply
from rewake.labels import labels_in
from rewake.limited import HIGHEST
from rewake.records import Header, Outcome
from rewake.states import TERMINAL, RunState
from rewake.stores.keys import is_view_place
from rewake.views.approvals import ApprovalView, approval_view
from rewake.views.runs import STATES, UsageView, result_view, run_view
from rewake.views.values import Values
from rewake.views.workflows import detailed_view, workflow_view

LONGEST_WAIT = 60.0
"""Seconds that a request may wait for a result."""
_NAMED: Mapping[str, RunState] = {name: state for state, name in STATES.items()}
_YES_OR_NO = {"true": True, "false": False}
_IF_RUNNING = {each.value: each for each in IfRunning}
_IF_FINISHED = {each.value: each for each in IfFinished}


async def workflows(request: Request) -> Response:
    """`GET /v1/workflows`: what can be started."""
    app, sees = parts_of(request).engine.app, principal_of(request).sees
    known = sorted(app.workflows.items())
    found = [workflow_view(workflow) for name, workflow in known if sees(name)]
    return reply({"workflows": found})


async def workflow(request: Request) -> Response:
    """`GET /v1/workflows/{name}`: a workflow, with schemas of what it takes and returns."""
    return reply(detailed_view(parts_of(request).engine.app.workflow(request.path_params["name"])))


@takes_query(
    "at", "delay", "id", "if_finished", "if_running", "label", "priority", "tenant", "wait"
)
async def start(request: Request) -> Response:
    """`POST /v1/workflows/{name}/runs`: start a run; with `wait=`, answer its result."""
    parts = parts_of(request)
    wait = query_number(request, "wait", 0, LONGEST_WAIT) or 0
    run, key = request.query_params.get("id"), idempotency_key(request)
    if run == "":
        raise InvalidInput("a run id is not empty", field="id")
    if run is not None and key is not None:
        raise InvalidInput("give either id= or Idempotency-Key, not both", field="id")
    if_running = query_choice(request, "if_running", _IF_RUNNING)
    if_finished = query_choice(request, "if_finished", _IF_FINISHED)
    at, delay = query_moment_or_none(request, "at"), query_number(request, "delay", 0, LONGEST)
    begin = begin_at(at, delay, parts.engine.services.clock.now())
    parts.load.check()
    arguments = await read_object(request, parts.limit)
    name = request.path_params["name"]
    with parts.load.waiting(wait):
        with parts.load.starting():
            header, new = await parts.engine.start(
                name,
                arguments,
                run=run,
                idempotency_key=key,
                if_running=if_running,
                if_finished=if_finished,
                at=begin,
                by=principal_of(request).who,
                tenant=tenant_of(request),
                priority=_priority(request),
                labels=_labels(request),
                noted=functools.partial(tell_made, request),  # before a body may keep the loop
            )
        act_of(request).within &= new
        await tell_done(request, header)
        replayed = {} if new else {"Idempotency-Replayed": "true"}
        outcome = None
        if wait:
            header, outcome = await _followed(request, header, wait)
    if outcome is not None:
        return reply(
            result_view(outcome, Values(parts.keys.secret, header.run, said=True)), headers=replayed
        )
    view = run_view(header, secret=parts.keys.secret)
    return reply(view, 202, {"Location": located(request, view.links.self), **replayed})


def _priority(request: Request) -> int | None:
    given = "priority" in request.query_params
    return query_whole(request, "priority", -HIGHEST, HIGHEST, 0) if given else None


@takes_query(
    *("children", "cursor", "key", "label", "limit", "q", "schedule", "scheduled", "since"),
    *("state", "tenant", "until", "workflow"),
)
async def listing(request: Request) -> Response:
    """`GET /v1/runs`: runs, newest first."""
    query, limit = request.query_params, query_limit(request)
    wanted = _wanted(request)
    place = place_in(request, "cursor", str, is_view_place)
    if "key" in query:
        return await _of_key(request, query["key"], wanted, limit, place or "")
    runs = parts_of(request).engine.listing
    headers, sort = await runs.page(wanted, limit, place)
    secret = parts_of(request).keys.secret
    shown = [run_view(each, secret=secret) for each in headers]
    return reply({"runs": shown, "cursor": next_cursor(sort)})


@takes_query(
    *("children", "cursor", "label", "q", "schedule", "scheduled", "since", "state", "tenant"),
    *("until", "workflow"),
)
async def counts(request: Request) -> Response:
    """`GET /v1/stats/runs`: how many runs are in each state, of the newest ones.

    A page looks at a bounded number; who adds pages up has them all.
    """
    place = place_in(request, "cursor", str, is_view_place)
    counted = await parts_of(request).engine.listing.count(_wanted(request), place)
    return reply({"counts": said(counted.states), "cursor": next_cursor(counted.cursor)})


def _wanted(request: Request) -> Wanted:
    """Which runs the query names."""
    query = request.query_params
    return Wanted(
        query.get("workflow"),
        query_choices(request, "state", _NAMED),
        query_moment(request, "since"),
        query_moment_or_none(request, "until"),
        query.get("q", ""),
        principal_of(request).workflows,
        query_choice(request, "children", _YES_OR_NO) or False,
        tenant_of(request),
        _labels(request),
        query.get("schedule", ""),
        query_choice(request, "scheduled", _YES_OR_NO),
    )


def _labels(request: Request) -> Mapping[str, str]:
    """The labels that the query names. Raises `InvalidInput`."""
    text = request.query_params.get("label")
    return {} if text is None else labels_in(text)


async def _of_key(request: Request, key: str, wanted: Wanted, limit: int, behind: str) -> Response:
    """The runs of an idempotency key, newest first, from behind a place on."""
    found = await parts_of(request).engine.of_key(
        key,
        wanted.workflow,
        limit + 1,
        workflows=wanted.workflows,
        tenant=wanted.tenant,
        has=lambda each: wanted.has(each) and sort_of_view(each) > behind,
    )
    secret, page = parts_of(request).keys.secret, found[:limit]
    shown = [run_view(header, secret=secret) for header in page]
    sort = sort_of_view(page[-1]) if len(found) > limit else None
    return reply({"runs": shown, "cursor": next_cursor(sort)})


async def get(request: Request) -> Response:
    """`GET /v1/runs/{run}`: where a run stands, and what it waits for."""
    parts, run = parts_of(request), request.path_params["run"]
    header = await parts.engine.get(run)
    outcome = None
    approvals: list[ApprovalView] = []
    unserved = await parts.engine.services.tags.unserved(header)
    if header.state in TERMINAL:
        outcome = await parts.engine.result(run)
    elif header.state is not RunState.STUCK:
        values = Values(parts.keys.secret, run, sealed=header.digest_key != "")
        asked = await approvals_of(parts.engine, header)
        approvals = [approval_view(each, values) for each in asked]
    usage = UsageView(*usage_of(header, parts.engine.settings))
    return reply(run_view(header, outcome, approvals, unserved, parts.keys.secret, usage))


@takes_query("wait")
async def result(request: Request) -> Response:
    """`GET /v1/runs/{run}/result`: how a run ended; 202 if it has not."""
    return await result_reply(request, request.path_params["run"])


async def result_reply(request: Request, run: str) -> Response:
    """The answer to who asks how a run ended."""
    parts = parts_of(request)
    wait = query_number(request, "wait", 0, LONGEST_WAIT) or 0
    with parts.load.waiting(wait):
        outcome = await parts.outcome(request, run, wait)
    if outcome is None:
        header = await parts.engine.get(run)
        return reply({"id": run, "state": STATES[header.state]}, 202, {"Retry-After": "1"})
    return reply(result_view(outcome, Values(parts.keys.secret, run, said=True)))


A = TypeVar("A", bound="Action")


class Action(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to act on a run. `dry_run`: only say whether it would be refused."""

    dry_run: bool = False


class Cancel(Action):
    """The body of a request to cancel."""

    reason: str = "cancelled by a caller"
    even_stuck: bool = False


class Kill(Action):
    """The body of a request to kill."""

    reason: str = "killed by a caller"


class Retry(Action):
    """The body of a request to retry a failed run."""

    discard_cleanup: bool = False


class Rerun(Action):
    """The body of a request to start a run anew. `input`: another one; `id`: of the new run."""

    input: dict[str, Any] | None = None
    id: str | None = None


class Fork(Rerun, kw_only=True):
    """The body of a request to fork a run before the operation of the key `at`."""

    at: str


async def kill(request: Request) -> Response:
    """`POST /v1/runs/{run}/kill`: end a run here and now, without its cleanup."""
    engine, run, asked = await action_of(request, Kill)
    return reply(run_view(await engine.kill(run, asked.reason, dry_run=asked.dry_run)))


async def cancel(request: Request) -> Response:
    """`POST /v1/runs/{run}/cancel`: let a run clean up and end."""
    engine, run, asked = await action_of(request, Cancel)
    header = await engine.cancel(
        run, asked.reason, even_stuck=asked.even_stuck, dry_run=asked.dry_run
    )
    return _accepted(header, asked)


async def resume(request: Request) -> Response:
    """`POST /v1/runs/{run}/resume`: let a stuck or paused run go on."""
    engine, run, asked = await action_of(request, Action)
    return _accepted(await engine.resume(run, dry_run=asked.dry_run), asked)


async def pause(request: Request) -> Response:
    """`POST /v1/runs/{run}/pause`: let nothing of a run begin any more, until it is resumed."""
    engine, run, asked = await action_of(request, Action)
    return _accepted(await engine.pause(run, dry_run=asked.dry_run), asked)


async def rerun(request: Request) -> Response:
    """`POST /v1/runs/{run}/rerun`: start a run anew, with its input or another one."""
    engine, run, asked = await action_of(request, Rerun)
    by, noted = principal_of(request).who, functools.partial(tell_made, request)
    made = await engine.rerun(
        run, asked.input, id=asked.id, by=by, noted=noted, dry_run=asked.dry_run
    )
    return _begun(request, made, asked)


async def fork(request: Request) -> Response:
    """`POST /v1/runs/{run}/fork`: begin a new run from before an operation of this one."""
    engine, run, asked = await action_of(request, Fork)
    noted = functools.partial(tell_made, request)
    made = await engine.fork(
        run, asked.at, asked.input, id=asked.id, noted=noted, dry_run=asked.dry_run
    )
    return _begun(request, made, asked)


async def retry(request: Request) -> Response:
    """`POST /v1/runs/{run}/retry`: let a failed run go on from before what ended it."""
    engine, run, asked = await action_of(request, Retry)
    header = await engine.retry(run, discard_cleanup=asked.discard_cleanup, dry_run=asked.dry_run)
    return _accepted(header, asked)


async def action_of(request: Request, form: type[A]) -> tuple[Engine, str, A]:
    """The engine, the run, and what is asked of it."""
    parts = parts_of(request)
    asked = shaped(await read_object(request, parts.limit), form)
    act_of(request).skip = asked.dry_run
    return parts.engine, request.path_params["run"], asked


def _begun(request: Request, made: Header, asked: Action) -> Response:
    view = run_view(made)
    where = {} if asked.dry_run else {"Location": located(request, view.links.self)}
    return reply(view, 200 if asked.dry_run else 202, where)


def _accepted(header: Header, asked: Action) -> Response:
    return reply(run_view(header), 200 if asked.dry_run else 202)


async def _followed(request: Request, header: Header, wait: float) -> tuple[Header, Outcome | None]:
    """The run after the wait. A run that got stuck is no error here: it was started."""
    parts = parts_of(request)
    try:
        outcome = await parts.outcome(request, header.run, wait)
    except StuckError:
        outcome = None
    return (header if outcome else await parts.engine.get(header.run)), outcome


def idempotency_key(request: Request) -> str | None:
    """The key that a request names, if it does. Raises `InvalidInput`."""
    text = request.headers.get("idempotency-key")
    if text is None:
        return None
    try:
        key = text.encode("latin-1").decode()  # headers are bytes, and a query is UTF-8, too
    except UnicodeDecodeError:
        raise InvalidInput("a key is a text in UTF-8", field="Idempotency-Key") from None
    check_key(key)
    return key
