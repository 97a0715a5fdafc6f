"""The view of a workflow: how it can be started."""

from __future__ import annotations

import inspect
from typing import Any

from rewake.authoring.hints import hints_of, signature_of
from rewake.authoring.input_schemas import with_definitions
from rewake.authoring.marking import hidden_in
from rewake.authoring.workflow import Workflow
from rewake.values.redaction import redacted
from rewake.views.values import rendered


def workflow_view(workflow: Workflow[Any, Any]) -> dict[str, Any]:
    """The view of a workflow: its name, its docstring, its parameters, and its webhooks' paths."""
    signature = signature_of(workflow.function)
    parameters = signature.parameters.values() if signature else ()
    hints = hints_of(workflow.function)
    return {
        "name": workflow.name,
        "description": inspect.getdoc(workflow.function),
        "parameters": [_parameter(each, hints.get(each.name)) for each in parameters],
        "webhooks": [f"/hooks/{each.path}" for each in workflow.webhooks],
    }


def detailed_view(workflow: Workflow[Any, Any]) -> dict[str, Any]:
    """The view of a workflow, with JSON Schemas of its input and its result."""
    function = workflow.function
    return {
        **workflow_view(workflow),
        "input": with_definitions(lambda schemas: schemas.of_input(function)),
        "result": with_definitions(lambda schemas: schemas.of_result(function)),
    }


def _parameter(parameter: inspect.Parameter, type_: Any) -> dict[str, Any]:
    declared = parameter.annotation is not parameter.empty
    hint = inspect.formatannotation(parameter.annotation).strip("'") if declared else None
    optional = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    if parameter.default is parameter.empty:
        return {"name": parameter.name, "type": hint, "required": not optional}
    default = redacted(rendered(parameter.default), hidden_in(type_))
    return {"name": parameter.name, "type": hint, "required": False, "default": default}
