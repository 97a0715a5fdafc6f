"""Deliveries by which a function of the app fails."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from rewake import workflow
from rewake.webhooks import Delivery, github, webhook
from tests.http.test_deliveries import SECRETS, made, send, signed
from tests.support.server import bearer


def _fails(delivery: Delivery) -> Any:
    return {}[delivery.json["word"]]


@workflow(
    webhook=[
        webhook("fails", verify=github("GITHUB_SECRET"), arguments=_fails),
        webhook("unnamed", verify=github("GITHUB_SECRET"), key=_fails),
    ]
)
async def failing() -> None:
    pass


def listed(operator: TestClient) -> list[dict[str, Any]]:
    """What is kept, newest first."""
    found: list[dict[str, Any]] = operator.get("/v1/deliveries").json()["deliveries"]
    return found


@pytest.mark.parametrize(("option", "path"), [("arguments", "fails"), ("key", "unnamed")])
def test_one_by_which_the_app_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, option: str, path: str
) -> None:
    """Who sends it again is told which function of the app has failed and where, and no value of
    it; the log has the error, and the try is kept.
    """
    for name, text in SECRETS.items():
        monkeypatch.setenv(name, text)
    with TestClient(made(failing), headers=bearer(), raise_server_exceptions=False) as operator:
        body = b'{"word": "canary"}'
        assert send(operator, path, body, headers=signed(body)).status_code == 500
        [kept] = listed(operator)
        caplog.clear()
        answer = operator.post(f"/v1/deliveries/{kept['id']}/replay").json()
        assert answer["verdict"] == "failed"
        assert (
            f"{option}= of the webhook {path} raised KeyError (test_failing_hooks.py, line"
            in (answer["reason"])
        )
        assert "canary" not in str(answer)
        assert "KeyError: 'canary'" in caplog.text
        assert [each["reason"] for each in listed(operator)] == [answer["reason"]] * 2
        assert [each.get("of") for each in listed(operator)] == [kept["id"], None]
