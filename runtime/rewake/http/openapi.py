"""The OpenAPI 3.1 document: made of the routes, of what they are told to take and answer, and of
each workflow's type hints. It says what is enforced elsewhere, and enforces nothing.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.authoring.input_schemas import Schemas
from rewake.authoring.workflow import Workflow
from rewake.http.admission import principal_of
from rewake.http.bodies import Endpoint
from rewake.http.contract import (
    CONTRACT,
    FORM,
    HTML,
    JSON,
    QUERY,
    Answer,
    Described,
    Parameter,
)
from rewake.http.hooks import Accepted
from rewake.http.needs import SELF_CHECKED, Need, needs_of
from rewake.http.parts import parts_of, reply
from rewake.http.problems import MEDIA_TYPE, PROBLEMS, Problem
from rewake.views.runs import ErrorView
from rewake.webhooks.trigger import LONGEST_WAIT, Webhook

Routes = Sequence[tuple[str, str, Endpoint]]
Workflows = Iterable[Workflow[Any, Any]]

_REFERENCE = "#/components/schemas/"
_START = ("POST", "/v1/workflows/{name}/runs")
_BODY = (400, 408, 413, 415, 422)
_GUARDED = (401, 403)
_ALWAYS = (503,)
_LINKS = {
    name: {"operationId": f"run.{name}", "parameters": {"run": "$response.body#/id"}}
    for name in ("get", "result", "history", "logs", "cancel")
}
_TAG = {"ETag": {"description": "Of this answer.", "schema": {"type": "string"}}}
_UNCHANGED = {"304": {"description": "It is as `If-None-Match` says", "headers": _TAG}}
_MOST_DOCUMENTS = 16
"""Documents that are kept: of one app, as tokens see it."""
_IF_NONE_MATCH = {
    "If-None-Match": Parameter({"type": "string"}, "The `ETag` of the answer that one has.")
}
_PREFER = Parameter({"type": "string"}, "`wait=20`: how many seconds to wait, like `wait`.")
_TEXT = {"type": "string"}
_UNDESCRIBED = Parameter(_TEXT, "")
_SHAPED = (JSON, FORM)
_FORMATS: Mapping[str, Any] = {
    JSON: {"schema": {}},
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
}
"""Any body. Generators pass over `*/*`, and with it the whole operation."""
_PARAMETER = re.compile(r"\{(\w+)(:path)?\}", re.ASCII)
_HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "How to say who asks."},
    429: {"Retry-After": "Seconds after which to try again."},
    503: {"Retry-After": "Seconds after which to try again."},
}
_ABOUT = """\
Durable workflows in plain async Python. Every error is a problem (RFC 9457), also those that are
not listed with an operation, such as a 404 of an unknown path or a 405. Lists are pages: `cursor`
of one is the `cursor` (or `after`) of the next, and null on the last."""


def document(workflows: Workflows, routes: Routes, *, url: str = "/") -> Any:
    """The document of a server at `url` that has these workflows."""
    made = _Document()
    for method, path, endpoint in routes:
        described = CONTRACT.get((method, path))
        if described is not None and described.whole:
            made.add(method, path, endpoint, described)
    for each in sorted(workflows, key=lambda each: each.name):
        made.add_workflow(each)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rewake", "version": _version(), "description": _ABOUT},
        "servers": [{"url": url}],
        "security": [{"bearer": []}],
        "paths": made.paths,
        "components": {
            "schemas": made.schemas.definitions,
            "responses": made.responses,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version("rewake")
    except PackageNotFoundError:
        return "0"


async def openapi(request: Request) -> Response:
    """`GET /openapi.json`: this API, with the workflows that one may see."""
    parts, root = parts_of(request), request.scope.get("root_path", "")
    url = parts.engine.services.settings.url or root or "/"
    known, sees = parts.engine.app.workflows.values(), principal_of(request).sees
    seen = {each.name: each for each in known if sees(each.name)}
    documents, asked = request.app.state.documents, (url, *sorted(seen))
    if asked not in documents:  # it takes long to make, and an app does not change
        if len(documents) >= _MOST_DOCUMENTS:
            documents.clear()
        documents[asked] = document(seen.values(), request.app.state.routes, url=url)
    return reply(documents[asked])


class _Document:
    """The parts of a document as they are made."""

    def __init__(self) -> None:
        self.schemas = Schemas(_REFERENCE)
        self.paths: dict[str, dict[str, Any]] = {}
        self.responses: dict[str, Any] = {}
        self._problem = self.schemas.of(Problem)

    def add(self, method: str, path: str, endpoint: Endpoint, described: Described) -> None:
        """Add a route."""
        need = needs_of(method, path)
        names: tuple[str, ...] = getattr(endpoint, "query", ())
        # What checks by itself who may call shares one need for several routes.
        shares = path.startswith(tuple(SELF_CHECKED))
        own = f"{need.action}.{endpoint.__name__}" if shares else need.action
        refusals = self._problems([*described.problems, *_common(method, path, need, described)])
        if described.forms or any(each.media == HTML for each in described.answers.values()):
            refusals = {status: self._as_page_too(status) for status in refusals}
        is_read = method == "GET" and not need.free
        headers = {**described.headers, **(_IF_NONE_MATCH if is_read else {})}
        operation: dict[str, Any] = {
            "operationId": own,
            "summary": _told(endpoint),
            "tags": [need.action.partition(".")[0]],
            "security": [] if need.free else [{"bearer": [need.scope]}],
            "parameters": [
                *_in_path(path),
                *(_parameter(name, "query", described.query.get(name)) for name in names),
                *(_parameter(n, "header", each) for n, each in headers.items()),
            ],
            "responses": self._answers(described) | (_UNCHANGED if is_read else {}) | refusals,
        }
        if described.body is not None:
            operation["requestBody"] = self._body(described)
        self._enter(path, method, operation)

    def add_workflow(self, workflow: Workflow[Any, Any]) -> None:
        """Add how a workflow is started, and its hooks."""
        path = _START[1].replace("{name}", quote(workflow.name, safe=""))
        described, need = CONTRACT[_START], needs_of(*_START)
        whole = self.paths[_START[1]]["post"]
        takes = self.schemas.of_input(workflow.function)
        accepted, ended = self._answers(described)["202"], self._ended(workflow)
        operation = {
            **whole,
            "operationId": f"{need.action}:{workflow.name}",
            "summary": (workflow.function.__doc__ or "").strip().partition("\n")[0]
            or f"Start a run of {workflow.name}.",
            "parameters": [each for each in whole["parameters"] if each["in"] != "path"],
            "requestBody": _json_body(takes, required=bool(takes.get("required"))),
            "responses": {**whole["responses"], "200": ended, "202": {**accepted, "links": _LINKS}},
        }
        self._enter(path, "POST", operation)
        for each in workflow.webhooks:
            self._add_hook(each, workflow, takes, ended)

    def _add_hook(
        self, hook: Webhook, workflow: Workflow[Any, Any], takes: Any, ended: Mapping[str, Any]
    ) -> None:
        # What a provider sends is the provider's; a function of the app makes arguments of it.
        takes_any = _FORMATS if hook.arguments else {media: {"schema": takes} for media in _SHAPED}
        wait = {**QUERY["wait"].schema, "maximum": LONGEST_WAIT, "default": hook.wait}
        started = {"description": "Accepted", "content": self._content(Answer(Accepted))}
        refusals = self._problems([400, 401, 404, 405, 408, 413, 415, 422, 429, 500, 503])
        operation = {
            "operationId": f"hook:{hook.path}",
            "summary": f"A delivery that starts a run of {workflow.name}.",
            "tags": ["hook"],
            "security": [],
            "parameters": [
                _parameter("wait", "query", Parameter(wait, QUERY["wait"].told)),
                _parameter("Prefer", "header", _PREFER),
            ],
            "requestBody": {"required": False, "content": takes_any},
            "responses": {
                "200": ended,
                "202": started,
                "204": {"description": "It is not for this app"},
                "default": {"description": "What the run answers by `respond`: anything"},
                **refusals,
            },
        }
        self._enter(f"/hooks/{hook.path}", "POST", operation)

    def _ended(self, workflow: Workflow[Any, Any]) -> dict[str, Any]:
        """The answer with the result of a run of this workflow."""
        schema = {
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "state": {"type": "string"},
                "result": self.schemas.of_result(workflow.function),
                "error": self.schemas.of(ErrorView),
            },
            "required": ["id", "state"],
        }
        return {"description": "How the run ended", "content": {JSON: {"schema": schema}}}

    def _enter(self, path: str, method: str, operation: dict[str, Any]) -> None:
        shown = _PARAMETER.sub(r"{\1}", path)
        self.paths.setdefault(shown, {})[method.lower()] = operation

    def _answers(self, described: Described) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for status, each in described.answers.items():
            content = self._content(each)
            if described.forms:
                content |= {HTML: {"schema": {"type": "string"}}}
            found[str(status)] = {"description": HTTPStatus(status).phrase}
            if content:
                found[str(status)]["content"] = content
        return found

    def _content(self, answer: Answer) -> dict[str, Any]:
        schema = _TEXT if answer.type is None else self.schemas.of(answer.type)
        found: dict[str, Any] = {answer.media: {"schema": schema}} if answer.media else {}
        return found | {media: {"schema": _TEXT} for media in answer.also}

    def _body(self, described: Described) -> dict[str, Any]:
        found = _json_body(self.schemas.of(described.body), required=_is_required(described.body))
        if described.forms:
            found["content"][FORM] = {"schema": {"type": "object"}}
        return found

    def _problems(self, statuses: Sequence[int]) -> dict[str, Any]:
        for status in statuses:
            kinds = [each.name for each in PROBLEMS.values() if each.status == status]
            types = ", ".join(f"`urn:rewake:problem:{kind}`" for kind in kinds)
            found: dict[str, Any] = {
                "description": HTTPStatus(status).phrase + (f" ({types})" if types else ""),
                "content": {MEDIA_TYPE: {"schema": self._problem}},
            }
            headers = _HEADERS.get(status, {})
            if headers:
                found["headers"] = {
                    header: {"description": told, "schema": {"type": "string"}}
                    for header, told in headers.items()
                }
            self.responses[str(status)] = found
        wanted = sorted(set(statuses))
        return {str(each): {"$ref": f"#/components/responses/{each}"} for each in wanted}

    def _as_page_too(self, status: str) -> dict[str, Any]:
        """A refusal, which who asks for a page is told on a page."""
        told = self.responses[status]
        return {**told, "content": {**told["content"], HTML: {"schema": {"type": "string"}}}}


def _common(method: str, path: str, need: Need, described: Described) -> list[int]:
    """What any route of this sort may be refused with."""
    found = list(_ALWAYS)
    if not need.free:
        found += [*_GUARDED, 422]  # an unknown query parameter
    if described.body is not None:
        found += _BODY
    if method != "GET" and not path.startswith(tuple(SELF_CHECKED)):
        found.append(425)
    if need.acts:
        found.append(507)
    return found


def _told(endpoint: Endpoint) -> str:
    """The first line of an endpoint's docstring, behind the name of its route."""
    line = (endpoint.__doc__ or "").strip().partition("\n")[0]
    told = line.partition("`: ")[2] or line
    return told[:1].upper() + told[1:]


def _in_path(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name, _ in _PARAMETER.findall(path)
    ]


def _parameter(name: str, where: str, given: Parameter | None) -> dict[str, Any]:
    found = given or QUERY.get(name, _UNDESCRIBED)  # a test names what is not described
    return {"name": name, "in": where, "description": found.told, "schema": dict(found.schema)}


def _json_body(schema: Any, *, required: bool) -> dict[str, Any]:
    return {"required": required, "content": {JSON: {"schema": schema}}}


def _is_required(body: Any) -> bool:
    """Whether an empty body would lack something."""
    kinds = typing.get_args(body) or (body,)
    if not all(isinstance(each, type) and issubclass(each, msgspec.Struct) for each in kinds):
        return False
    return all(any(f.required for f in msgspec.structs.fields(each)) for each in kinds)
