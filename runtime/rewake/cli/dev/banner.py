"""The text that a development server prints when it begins."""

from __future__ import annotations

import json
import shlex
import types
import typing
from collections.abc import Iterator
from enum import Enum
from typing import Any

from rewake.app import App
from rewake.authoring.fields import fields_of
from rewake.authoring.hints import hints_of, signature_of
from rewake.authoring.workflow import Workflow
from rewake.hosts.config import ServerConfig
from rewake.hosts.databases import Address

_EXAMPLES: dict[object, Any] = {str: "...", int: 1, float: 1.5, bool: True, list: [], dict: {}}


def banner(app: App, config: ServerConfig, url: str) -> str:
    """Where the server is, and how to use it."""
    lines = [
        f"Rewake serves {config.app} on {url}",
        f"  database   {Address(config.db)}",
        "  token      $(rewake token), sent as Authorization: Bearer",
        "  workflows",
    ]
    own = {teller.name for teller in app.tellers.values()}  # runs of these are begun by Rewake
    for name, workflow in sorted(app.workflows.items()):
        if name not in own:
            lines += [f"    {name}", f"      {curl(workflow, url)}", *_begun_by(workflow, url)]
    return "\n".join(lines)


def _begun_by(workflow: Workflow[Any, Any], url: str) -> Iterator[str]:
    """What else begins runs of a workflow, or cancels them."""
    for hook in workflow.webhooks:
        yield f"      POST {url}/hooks/{hook.path}"
    for name, definition in workflow.schedules.items():
        yield f"      schedule {name}, {definition.times}"
    for event in workflow.on_event:
        yield f"      event {event.name}"
    for event in workflow.cancel_on:
        yield f"      cancelled by the event {event.name}"


def curl(workflow: Workflow[Any, Any], url: str) -> str:
    """A command for any `curl` that starts a run, with made-up arguments."""
    body = shlex.quote(json.dumps(_example(workflow), default=str))
    return (
        f"curl {url}/v1/workflows/{workflow.name}/runs "
        f'-H "Authorization: Bearer $(rewake token)" -H "Content-Type: application/json" -d {body}'
    )


def _example(workflow: Workflow[Any, Any]) -> dict[str, Any]:
    signature, hints = signature_of(workflow.function), hints_of(workflow.function)
    parameters = signature.parameters.values() if signature else ()
    return {
        parameter.name: _value(hints.get(parameter.name))
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }


def _value(hint: Any, depth: int = 4) -> Any:
    """A made-up value of a type; None for a type that has no example."""
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Literal:
        return arguments[0]
    if origin in (typing.Union, types.UnionType):
        return _value(next(each for each in arguments if each is not types.NoneType), depth)
    if not isinstance(origin, type) or depth == 0:
        return None
    if origin is list and arguments:
        return [_value(arguments[0], depth - 1)]
    if issubclass(origin, Enum):
        return next(iter(origin)).value
    fields = None if origin in _EXAMPLES else fields_of(origin, arguments)
    if fields is None:
        return _EXAMPLES.get(origin)
    return {each.name: _value(each.hint, depth - 1) for each in fields if each.required}
