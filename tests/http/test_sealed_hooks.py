"""Where what is stored is encrypted, the body of a delivery is in no name either."""

from __future__ import annotations

import types
from typing import Any

import pytest
from starlette.testclient import TestClient

from rewake import workflow
from rewake.app import App
from rewake.clock import SystemClock
from rewake.codecs import AesGcm
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.http.app import create_app
from rewake.signing.secret import Secret
from rewake.stores.memory import MemoryTable
from rewake.webhooks import stripe, webhook
from rewake.webhooks.schemes import mark
from tests.support.server import SECRET, bearer

BODY = b'{"word": "canary-4711"}'
SIGNER = b"whsec_of_stripe_in_tests"


@workflow(webhook=webhook("pay", verify=stripe("STRIPE_SECRET")))
async def paid(word: str) -> str:
    return word


@pytest.mark.parametrize("codec", [None, AesGcm({"k": bytes(32)})], ids=["plain", "sealed"])
def test_a_delivery_without_an_id_is_named_by_no_digest_of_its_body(
    codec: AesGcm | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent twice it is one run, and its key is a digest of the body only where that is readable."""
    monkeypatch.setenv("STRIPE_SECRET", SIGNER.decode())
    module: Any = types.ModuleType("paying")
    module.paid = paid
    secret, table, clock = Secret(SECRET, codec=codec), MemoryTable(), SystemClock()
    engine = Engine(App(module), table, InProcessDispatcher(clock), secret)
    with TestClient(create_app(engine, secret, grace=0.1)) as client:
        for _ in range(2):
            signed = stripe("S").sign(BODY, SIGNER, clock.now())
            headers = {"Content-Type": "application/json", **signed}
            answer = client.post("/hooks/pay?wait=10", content=BODY, headers=headers)
            assert answer.json()["result"] == "canary-4711"
        (run,) = client.get("/v1/runs", headers=bearer()).json()["runs"]
    assert (mark(BODY) in run["key"]) is (codec is None)
    found = repr(vars(table)).encode()
    assert (mark(BODY).encode() in found) is (codec is None)
    assert (b"canary-4711" in found) is (codec is None)
