"""The whole way in a real browser: a run asks, a person opens the link and decides, it goes on."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import expect

from tests.pages.conftest import DESKTOP, PHONE, Opens
from tests.support.server import PATIENCE, ServerProcess

APP = """
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from rewake import approval, step, workflow


@dataclass
class Payee:
    name: str
    mail: str | None = None


@dataclass
class Refund:
    amount: float
    way: Literal["cash", "card"]
    payee: Payee
    tags: list[str]
    day: date | None = None
    urgent: bool = False


@workflow
async def refund(link: str) -> str:
    ask = approval(
        "manager",
        description="Refund order 55-1208?\\n\\nThe customer is with us since 2019.",
        form=Refund,
        approvers=["ann@example.com", "bob@example.com"],
    )
    url = ask.links["ann@example.com"]
    await step("tell", lambda: Path(link).write_text(url))
    answer = await ask
    return f"{answer.approver}: {answer.value!r} {answer.comment}"
"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def told(file: Path) -> str:
    """What a run has written."""
    until = time.monotonic() + PATIENCE
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return file.read_text()


@pytest.mark.parametrize(
    "options",
    [{"viewport": DESKTOP}, {"viewport": PHONE, "java_script_enabled": False}],
    ids=["desktop", "phone without scripts"],
)
def test_a_person_decides_and_the_run_goes_on(
    opens: Opens, tmp_path: Path, options: dict[str, Any]
) -> None:
    """After 20 looks of scanners the link still opens its page; the answer arrives typed, once."""
    app, link, port = tmp_path / "app.py", tmp_path / "link", free_port()
    app.write_text(APP)
    url = f"http://127.0.0.1:{port}"
    with ServerProcess(app, tmp_path / "rewake.db", port=port, url=url) as server:
        asked = {"link": str(link)}
        started = server.client.post("/v1/workflows/refund/runs", json=asked).json()
        address = told(link)
        for method in ("GET", "HEAD") * 10:
            with httpx2.Client(trust_env=False) as scanner:
                looked = scanner.request(method, address, headers={"Purpose": "prefetch"})
            assert looked.status_code == 200

        shown = opens(**options)
        shown.goto(address)
        expect(shown.get_by_role("heading", level=1)).to_have_text("Refund order 55-1208?")
        shown.get_by_label("Amount").fill("120.50")
        shown.get_by_label("cash").check()
        shown.get_by_label("Name").fill("Eve")
        shown.get_by_label("Tags").fill("vip\nlate")
        shown.get_by_label("Comment").fill("Fine.")
        shown.get_by_role("button", name="Approve").click()
        expect(shown.locator("h1 + .pill")).to_have_text("Approved")

        found = server.client.get(f"/v1/runs/{started['id']}/result", params={"wait": 10}).json()
        assert found["result"] == (
            "ann@example.com: Refund(amount=120.5, way='cash', payee=Payee(name='Eve', mail=None), "
            "tags=['vip', 'late'], day=None, urgent=False) Fine."
        )
        shown.goto(address)
        expect(shown.locator("h1 + .pill")).to_have_text("Approved")
        expect(shown.get_by_role("button")).to_have_count(0)
