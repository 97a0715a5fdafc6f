"""Whatever is sent to a webhook is taken or refused: nothing makes it fail."""

from __future__ import annotations

import json
from typing import Any

import httpx2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tests.http.test_hooks import JSON, Send, app, send
from tests.support import hooks as workflows

__all__ = ["app", "send"]

FINE = {200, 202, 204, 400, 401, 404, 405, 413, 415, 422}
PATHS = ["orders", "strict", "files", "raw", "broken", "github/push", "graph", "meta", "x"]
TYPES = [
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=a",
    "multipart/form-data; boundary=\xff",
    "text/plain",
    "application/x+json",
    "",
    ";",
]
_json = some.recursive(
    some.none() | some.booleans() | some.floats() | some.integers() | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=8,
)
_fields = some.dictionaries(
    some.sampled_from(["order", "note", "to", "by", "tags", "gift", "id", "value"]), _json
)
fuzzed = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def is_fine(response: httpx2.Response) -> bool:
    """Whether it was taken or refused, or is of a run that was taken and has failed by itself."""
    if response.status_code == 500:
        return bool(response.json()["type"] == "urn:rewake:problem:run-failed")
    return response.status_code in FINE


@fuzzed
@given(body=_fields | _json, path=some.sampled_from(PATHS))
def test_any_json(send: Send, body: Any, path: str) -> None:
    """JSON of any kind, in place of what the workflow takes."""
    response = send(path, json.dumps(body).encode(), headers=JSON)
    assert is_fine(response)


@fuzzed
@given(body=_json)
def test_any_arguments(send: Send, body: Any) -> None:
    """Arguments of any name and value, from a sender who is let in, become a run that ends."""
    headers = {**JSON, "Authorization": f"Bearer {workflows.SECRETS['TOKEN_SECRET']}"}
    response = send("bearer", json.dumps(body).encode(), headers=headers)
    assert is_fine(response)
    if isinstance(body, dict) and response.status_code == 200:
        assert response.json()["result"] == sorted(body)


@fuzzed
@given(
    body=some.binary(max_size=80),
    path=some.sampled_from(PATHS),
    kind=some.sampled_from(TYPES) | some.text(some.characters(max_codepoint=255), max_size=30),
    name=some.text(some.characters(min_codepoint=32, max_codepoint=255), max_size=300),
)
def test_any_bytes(send: Send, body: bytes, path: str, kind: str, name: str) -> None:
    """Bytes of any type, under any name."""
    shown = "".join(each for each in kind if each.isprintable()).encode("latin-1")
    headers = {
        b"Content-Type": shown,
        b"Idempotency-Key": name.encode("latin-1"),
        b"Prefer": b"wait=" + name.encode("latin-1"),
        b"X-Hub-Signature-256": name.encode("latin-1"),
    }
    response = send(path, body, headers=headers)
    assert is_fine(response)
