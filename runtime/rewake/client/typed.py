"""What a workflow object says of its runs: the names of its arguments, the type of its result."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict, cast

from rewake.authoring.conversion import Converters
from rewake.authoring.hints import return_hint
from rewake.authoring.inputs import arguments_of
from rewake.authoring.workflow import Workflow
from rewake.errors import AppError, InvalidInput, NotYet, TaskError, UsageError
from rewake.labels import checked as checked_labels
from rewake.labels import said

AnyWorkflow = Workflow[..., Any]


def value_of(view: Mapping[str, Any], workflow: AnyWorkflow | None) -> Any:
    """What a run returned: as the workflow's type hint says, without a workflow as JSON.

    Raises `TaskError` if it did not succeed, `NotYet` if it has not ended, and `InvalidInput` if
    its result is not of that type.
    """
    if "error" in view:
        error = view["error"]
        more = {name: error[name] for name in ("type", "traceback", "attempts") if name in error}
        raise TaskError(error["message"], **more)
    if "result" not in view:
        raise NotYet(f"run {view['id']} has not ended: it is {view['state']}")
    hint = None if workflow is None else return_hint(workflow.function)
    if workflow is None or hint is None:
        return view["result"]
    try:
        return Converters().of(hint)(view["result"], "result", False)
    except (AppError, InvalidInput) as error:
        told = f"the result of run {view['id']} is not what {workflow!r} returns here ({error})"
        field = getattr(error, "field", "result")
        raise InvalidInput(f"{told}; get it as JSON by the run's id", field=field) from None


class StartOptions(TypedDict, total=False):
    """`id`: of the run, for ever. `key`: an idempotency key. `if_running`, `if_finished`: what a
    start does that finds a run of that name. `at`: when it begins, by default at once; or `delay`:
    in how many seconds, or after which `timedelta`. `wait`: seconds for its result. `connection`:
    one of psycopg, asyncpg or SQLAlchemy, in whose transaction the run is started.
    `tenant`: whose run it is. `priority`: -100 to 100, instead of its workflow's, where it waits in
    line. `labels`: those of a new run.
    """

    id: str
    key: str
    if_running: Literal["attach", "reject"]
    if_finished: Literal["attach", "reject", "restart", "restart_failed"]
    at: datetime
    delay: float | timedelta
    wait: float
    connection: object
    tenant: str
    priority: int
    labels: Mapping[str, str]


def options_of(given: Mapping[str, Any]) -> StartOptions:
    """The options of a start by name. Raises `TypeError` for what is none."""
    for name in given.keys() - StartOptions.__annotations__.keys():
        told = f"{name!r} is no option of a start; arguments by name are one mapping"
        raise TypeError(f'{told}: start("name", {{"{name}": …}}, id=…)')
    return cast("StartOptions", given)


def arguments_given(
    workflow: AnyWorkflow, args: tuple[Any, ...], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of a workflow object by name. Raises `TypeError`, as its call would."""
    try:
        return arguments_of(workflow, args, given)
    except TypeError as error:
        options = [name for name in given if name in StartOptions.__annotations__]
        if not options:
            raise
        told = f"{error}; as an option of the start it is said before"
        raise TypeError(f"{told}: with_options({options[0]}=…).start(…)") from None


class RunsWanted(TypedDict, total=False):
    """`state`: one, or several with commas. `since`, `until`: started then or later, or earlier.
    `key`: of this idempotency key. `tenant`: of this tenant. `labels`: with all of these.
    `schedule`: started by this one. `scheduled`: started by any, or (False) by none.
    """

    state: str
    since: datetime
    until: datetime
    key: str
    tenant: str
    labels: Mapping[str, str]
    schedule: str
    scheduled: bool


class SignalOptions(TypedDict, total=False):
    """`input`: of a run that is started. `id`: the signal's. `tenant`: whose run it is."""

    input: Mapping[str, Any]
    id: str
    tenant: str


def first_signal(
    workflow: AnyWorkflow | str, value: Any, args: tuple[Any, ...], given: Mapping[str, Any]
) -> tuple[str, dict[str, Any], str | None, str | None]:
    """The workflow's name, what is sent with a first signal, and its `id` and `tenant`.

    `given`: the keyword arguments of the workflow, or of one by its name `SignalOptions`.
    """
    if isinstance(workflow, Workflow):
        body = {"value": value, "input": arguments_of(workflow, args, given)}
        return workflow.name, body, None, None
    options = SignalOptions(**given)  # type: ignore[typeddict-item]
    body = {"value": value, "input": dict(options.get("input") or {})}
    return checked_name(workflow), body, options.get("id"), options.get("tenant")


def checked(view: Mapping[str, Any], workflow: AnyWorkflow) -> None:
    """Raise `UsageError` unless a run is of this workflow."""
    if view["workflow"] != workflow.name:
        raise UsageError(f"run {view['id']} is of {view['workflow']!r}, not of {workflow!r}")


def checked_name(workflow: object) -> str:
    """What was given to `start` instead of a workflow object. Raises `UsageError`."""
    if isinstance(workflow, str):
        return workflow
    raise UsageError(f"start takes a workflow or the name of one, and not {workflow!r}")


def name_of(workflow: AnyWorkflow | str | None) -> str | None:
    """The name of a workflow, as the server knows it."""
    return workflow.name if isinstance(workflow, Workflow) else workflow


def query_of_runs(
    workflow: AnyWorkflow | str | None, wanted: RunsWanted, limit: int
) -> dict[str, object]:
    """The query of a list of runs. Raises `InvalidInput`."""
    named: dict[str, object] = {**wanted, "workflow": name_of(workflow), "limit": limit}
    named["label"] = labelled(wanted.get("labels"))
    named.pop("labels", None)
    if "scheduled" in wanted:
        named["scheduled"] = str(wanted["scheduled"]).lower()
    return query_of(**named)


def labelled(labels: Mapping[str, str] | None) -> str | None:
    """Labels as a query says them. Raises `InvalidInput`."""
    return said(checked_labels(labels)) if labels else None


def query_of(**query: object) -> dict[str, object]:
    """The query of a list; a moment is one whose zone is known, as it is here if none is said."""
    return {
        name: value.astimezone().isoformat() if isinstance(value, datetime) else value
        for name, value in query.items()
    }
