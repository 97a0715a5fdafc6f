"""The document that tells clients what the HTTP API takes and answers."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, TypedDict, Unpack

import msgspec
import pydantic
import pytest
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from rewake import secret, workflow
from rewake.app import App
from rewake.http.app import ROUTES
from rewake.http.bodies import Endpoint
from rewake.http.contract import CONTRACT, QUERY
from rewake.http.needs import needs_of
from rewake.http.openapi import document
from rewake.views.workflows import workflow_view
from rewake.webhooks import github, webhook
from tests.support import app as workflows


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Line:
    sku: str
    count: int = 1


class Address(pydantic.BaseModel):
    street: str
    zip: str | None = None


class Options(TypedDict, total=False):
    gift: bool


@workflow(webhook=webhook("shop/order", verify=github(secret="SHOP")))
async def order(
    lines: list[Line], to: Address, color: Color = Color.RED, **options: Unpack[Options]
) -> dict[str, Line | Address]:
    """Take an order."""
    raise NotImplementedError


@workflow
async def peculiar(one: Line | Address, *rest: int, **more: float) -> None:
    raise NotImplementedError


@dataclass
class Vault:
    name: str = "main"
    pin: Annotated[str, secret] = "hunter3"


VAULT = Vault(pin="hunter4")


@workflow
async def guarded(
    vault: Vault, password: Annotated[str, secret] = "hunter2", other: Vault = VAULT
) -> None:
    raise NotImplementedError


def _document(*added: Any) -> Any:
    app = App(workflows)
    for each in added:
        app.add(each)
    return json.loads(json.dumps(document(app.workflows.values(), ROUTES)))


def test_every_route_is_described() -> None:
    """No route is without a description of what it takes and answers, and none is described that
    there is not.
    """
    routes = {(method, path) for method, path, _ in ROUTES}

    assert routes - set(CONTRACT) == set(), "http/contract.py lacks these routes"
    assert set(CONTRACT) - routes == set(), "http/contract.py has routes that there are not"


@pytest.mark.parametrize(("method", "path", "endpoint"), ROUTES)
def test_every_query_parameter_is_described(method: str, path: str, endpoint: Endpoint) -> None:
    """Each query parameter that a route knows has a schema and is explained."""
    described = CONTRACT[method, path]
    known: tuple[str, ...] = getattr(endpoint, "query", ())

    assert set(known) <= {*QUERY, *described.query}
    assert set(described.query) <= set(known)


def test_it_is_openapi() -> None:
    """The document is valid OpenAPI 3.1, whatever types the workflows have."""
    found = _document(order, peculiar)

    assert found["openapi"].startswith("3.1.")
    validate(found)


def test_each_operation_has_a_name_of_its_own() -> None:
    """A generated client has a method for each operation."""
    operations = [each for path in _document(order)["paths"].values() for each in path.values()]

    names = [each["operationId"] for each in operations]
    assert len(names) == len(set(names))
    assert all(each["summary"] for each in operations)


def test_the_scope_of_each_operation() -> None:
    """What a token must allow is said of each operation; what checks by itself needs none."""
    paths = _document()["paths"]

    for method, path, _ in ROUTES:
        shown = paths.get(path.replace(":path", ""))
        if shown is None:
            continue  # hooks have operations of their own
        need = needs_of(method, path)
        wanted = [] if need.free else [{"bearer": [need.scope]}]
        assert shown[method.lower()]["security"] == wanted


def test_a_workflow_has_operations_of_its_own() -> None:
    """Its start takes its arguments, and answers its result; its hook is there."""
    found = _document(order)
    start = found["paths"]["/v1/workflows/order/runs"]["post"]

    body = start["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["lines", "to"]
    assert body["properties"]["lines"]["items"] == {"$ref": "#/components/schemas/Line"}
    assert body["properties"]["to"] == {"$ref": "#/components/schemas/Address"}
    assert found["components"]["schemas"]["Address"]["required"] == ["street"]
    assert body["properties"]["color"]["default"] == "red"
    assert body["properties"]["gift"] == {"type": "boolean"}
    assert body["additionalProperties"] is False
    ended = start["responses"]["200"]["content"]["application/json"]["schema"]
    assert ended["properties"]["result"]["type"] == "object"
    assert start["responses"]["202"]["links"]["result"]["operationId"] == "run.result"
    hook = found["paths"]["/hooks/shop/order"]["post"]
    assert hook["security"] == []


def test_two_classes_of_one_name_are_two() -> None:
    """Where two modules each have a class of one name, each workflow has its own."""

    def made(kind: type) -> Any:
        @dataclass
        class Line:
            value: kind  # type: ignore[valid-type]

        async def function(line: Line) -> None:
            raise NotImplementedError

        function.__annotations__ = {"line": Line, "return": None}
        return workflow(name=f"of_{kind.__name__}")(function)

    found = _document(made(int), made(str))
    schemas = found["components"]["schemas"]
    for kind, json_type in ((int, "integer"), (str, "string")):
        start = found["paths"][f"/v1/workflows/of_{kind.__name__}/runs"]["post"]
        body = start["requestBody"]["content"]["application/json"]["schema"]
        name = body["properties"]["line"]["$ref"].rpartition("/")[2]
        assert schemas[name]["properties"]["value"]["type"] == json_type


@dataclass
class _Parcel:
    """Its name is none in every language."""

    items: tuple[int, str] = (1, "b")
    default: str = "x"


@workflow(webhook=webhook("parcels", verify=github(secret="SHOP"), arguments=lambda _: {}))
async def send(parcel: _Parcel, to: Address, *, size: tuple[int, int] = (1, 1)) -> list[Address]:
    raise NotImplementedError


def _parts(found: Any) -> Iterator[Any]:
    """Every object in a document."""
    if isinstance(found, dict):
        yield found
    for each in found.values() if isinstance(found, dict) else found:
        if isinstance(each, dict | list):
            yield from _parts(each)


def test_generators_of_clients_understand_it() -> None:
    """Each schema has a name that is one in any language, by which it is also titled; none is a
    mere `false`, and no body is of a type that only `*/*` says: else generators drop operations.
    """
    found = _document(order, send, peculiar)
    schemas = found["components"]["schemas"]

    assert [name for name in schemas if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name)] == []
    assert {name: each["title"] for name, each in schemas.items()} == {
        name: name for name in schemas
    }
    assert len({name.replace("_", "").lower() for name in schemas}) == len(schemas)
    parts = [*_parts(found)]
    assert [each for each in parts if each.get("items") is False] == []
    assert [each for each in parts if "*/*" in each] == []
    known = {f"#/components/schemas/{name}" for name in schemas}
    references = {each["$ref"] for each in parts if "/schemas/" in str(each.get("$ref"))}
    assert references <= known
    pair = schemas["Parcel"]["properties"]["items"]
    assert (len(pair["prefixItems"]), pair["minItems"], pair["maxItems"]) == (2, 2, 2)


def test_what_no_schema_can_say_is_left_open() -> None:
    """A schema never refuses what would fit."""
    found = _document(peculiar)
    body = found["paths"]["/v1/workflows/peculiar/runs"]["post"]["requestBody"]
    schema = body["content"]["application/json"]["schema"]

    assert [*schema["properties"]] == ["one"]
    assert len(schema["properties"]["one"]["anyOf"]) == 2
    assert schema["additionalProperties"] == {"type": "number"}


def test_what_is_secret_has_no_default() -> None:
    """A default of what is marked as secret is told nowhere, and the field is known for one."""
    found = _document(guarded)
    shown = msgspec.json.encode([found, workflow_view(guarded)]).decode()
    schema = found["paths"]["/v1/workflows/guarded/runs"]["post"]["requestBody"]["content"]

    assert "hunter" not in shown
    fields = schema["application/json"]["schema"]["properties"]
    assert fields["password"] == {"type": "string", "writeOnly": True}
    assert found["components"]["schemas"]["Vault"]["properties"]["pin"]["writeOnly"]


def test_a_server_has_it(client: TestClient) -> None:
    """A server answers the document of its app, to who may read."""
    found = client.get("/openapi.json")

    assert found.status_code == 200
    validate(found.json())
    assert "/v1/workflows/total/runs" in found.json()["paths"]
    assert client.get("/openapi.json", headers={"Authorization": ""}).status_code == 401


def test_a_limited_token_sees_its_workflows(client: TestClient) -> None:
    """Who may know of some workflows only is told of no others."""
    asked = {"name": "ci", "scopes": ["read"], "workflows": ["total"]}
    token = client.post("/v1/tokens", json=asked).json()["token"]
    found = client.get("/openapi.json", headers={"Authorization": f"Bearer {token}"}).json()

    own = {path.split("/")[3] for path in found["paths"] if path.startswith("/v1/workflows/")}
    assert own == {"{name}", "total"}


def test_a_workflow_shows_its_schemas(client: TestClient) -> None:
    """A workflow is shown with schemas that stand by themselves."""
    found = client.get("/v1/workflows/total").json()

    assert found["input"]["properties"] == {"numbers": {"type": "array", "items": _INTEGER}}
    assert found["result"] == _INTEGER
    assert client.get("/v1/workflows/none").status_code == 404


_INTEGER = {"type": "integer"}
