"""Whatever is sent to the API, the answer is one that its document has: no 500, no other status, no
other content.

Requests are made from the document by schemathesis, in this process. `REWAKE_FUZZ` says how many
times as many (`make fuzz`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.generation.case import Case
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.settings import Settings
from rewake.http.app import ROUTES, create_app
from rewake.http.openapi import document
from rewake.signing.secret import Secret
from rewake.stores.sqlite.table import SqliteTable
from tests.support import contract_app
from tests.support.server import SECRET, bearer

TIMES = int(os.environ.get("REWAKE_FUZZ", "1"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
RUNS = ("ended", "failed", "sleeps", "asks")
KEYS = ("manager", "board", "director", "payment", "label", "sleep", "price")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of an app with a run of each sort."""
    os.environ["CONTRACT_SECRET"] = "secret " * 8
    secret, file = Secret(SECRET), tmp_path_factory.mktemp("documented") / "rewake.db"
    table = SqliteTable(Path(file), durable=False)
    settings = Settings(url="http://testserver")
    dispatcher = InProcessDispatcher(SystemClock())
    engine = Engine(App(contract_app), table, dispatcher, secret, settings=settings)
    app = create_app(engine, secret, grace=0.1)
    with TestClient(app, headers=bearer(), raise_server_exceptions=False) as client:
        for run, name, body in (
            ("ended", "send", {"parcel": {"weight": 1}, "note": "hello"}),
            ("failed", "fails", {}),
            ("sleeps", "nap", {}),
            ("asks", "ask", {}),
        ):
            query = {"id": run, "wait": "2" if run in ("ended", "failed") else "0"}
            answer = client.post(f"/v1/workflows/{name}/runs", params=query, json=body)
            assert answer.status_code in (200, 202)
        client.post("/v1/tokens", json={"name": "ci", "scopes": ["read"]})
        yield client
    del os.environ["CONTRACT_SECRET"]


def _schema() -> Any:
    """The document, whose parameters are often those of what there is, and never wait for long."""
    found = document(App(contract_app).workflows.values(), ROUTES, url="http://testserver")
    known = {"run": RUNS, "key": KEYS, "name": [*App(contract_app).workflows, "ci"]}
    for path in found["paths"].values():
        for operation in path.values():
            for each in operation.get("parameters", ()):
                if each["in"] == "path" and each["name"] in known:
                    schema = {"enum": [*known[each["name"]]]}
                    each["schema"] = {"anyOf": [schema, schema, each["schema"]]}
                if each["name"] in ("wait", "hold"):
                    each["schema"] = {"type": "number", "minimum": 0, "maximum": 0.01}
    return schemathesis.openapi.from_dict(json.loads(json.dumps(found)))


SCHEMA = _schema()
OPERATIONS = [each.ok() for each in SCHEMA.get_all_operations()]


def send(client: TestClient, case: Case[Any]) -> httpx2.Response:
    """What a request is answered, sent by who may do everything."""
    given: dict[str, Any] = case.as_transport_kwargs(base_url="http://testserver")
    sent = {**given.pop("headers"), **bearer()}
    headers = {k.encode("latin-1"): v.encode("latin-1", "replace") for k, v in sent.items()}
    given.pop("cookies", None)
    if isinstance(given.get("data"), bytes | str):
        given["content"] = given.pop("data")
    query = given.get("params")
    for name in ("wait", "hold"):
        if isinstance(query, dict) and name in query and len(str(query[name])) < 3:
            query[name] = "0"  # a wait that is allowed would be waited for
    return client.request(**given, headers=headers)


def _cases() -> Iterator[tuple[Any, GenerationMode]]:
    """Each operation with what fits it, and with what does not, if anything can be wrong."""
    for operation in OPERATIONS:
        yield operation, GenerationMode.POSITIVE
        raw = operation.definition.raw
        takes = raw.get("requestBody", {}).get("content", {}).values()
        can_be_wrong = any(each["in"] != "path" for each in raw.get("parameters", ()))
        if can_be_wrong or any(each["schema"] for each in takes):
            yield operation, GenerationMode.NEGATIVE


CASES = list(_cases())


@pytest.mark.parametrize(
    ("operation", "mode"), CASES, ids=[f"{each.label}-{mode.value}" for each, mode in CASES]
)
def test_every_answer_is_documented(
    client: TestClient, operation: Any, mode: GenerationMode
) -> None:
    """What fits the document and what does not are answered as the document says."""
    few = 6 if mode is GenerationMode.POSITIVE else 4

    @seeded(1)
    @settings(
        max_examples=few * TIMES,
        deadline=None,
        database=None,
        derandomize=TIMES == 1,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case[Any]) -> None:
        response = send(client, case)
        case.validate_response(response, checks=CHECKS)

    ask()
