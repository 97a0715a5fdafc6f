"""An approval that binds one call, as whoever has its link finds it, and the API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.testclient import TestClient

from rewake import Notice, approval, bind, task, workflow
from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.settings import Settings
from rewake.http.app import create_app
from rewake.signing.secret import Secret
from rewake.stores.sqlite.table import SqliteTable
from tests.support.approving import BY_FORM, link_path, nonces_in
from tests.support.server import SECRET, bearer

PATH: list[str] = []
HOSTILE = '"><script>alert(1)</script>\u202etxt'


@task
async def send(to: str, text: str, copies: int = 1) -> str:
    return f"{to}: {text} x{copies}"


@task
async def tell(notice: Notice) -> None:
    if notice.link:
        PATH[:] = [link_path(notice.link), notice.call]


@workflow
async def sends(text: str) -> str:
    call = bind(send, "eve", text)
    answer = await approval("send", binds=call, approvers=["ann"], notify=tell)
    return await call.run(answer) if answer.approved else f"no: {answer.comment}"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    app, clock = App(), SystemClock()
    for each in (sends, send, tell):
        app.add(each)
    table = SqliteTable(tmp_path / "rewake.db", durable=False)
    url = Settings(url="https://app.example")
    secret = Secret(SECRET)
    engine = Engine(app, table, InProcessDispatcher(clock), secret, clock=clock, settings=url)
    with TestClient(create_app(engine, secret, grace=0.1, clock=clock)) as client:
        yield client


def start(client: TestClient, text: str) -> None:
    PATH.clear()
    path = "/v1/workflows/sends/runs?id=r1&wait=0.3"
    started = client.post(path, json={"text": text}, headers=bearer())
    assert started.status_code == 202, started.text
    assert PATH


def result(client: TestClient) -> str:
    found = client.get("/v1/runs/r1/result?wait=10", headers=bearer())
    return str(found.json()["result"])


def test_the_page_shows_what_is_called(client: TestClient) -> None:
    """With all arguments, as text: none becomes markup, and none turns the order around."""
    start(client, HOSTILE)
    shown = client.get(PATH[0]).text
    assert "<script" not in shown
    [called] = re.findall(r"<dt>Calls</dt>(.*?)</dd>", shown)
    assert "\u202e" not in called
    assert 'send(to="eve", text=' in unescape(called)
    assert PATH[1].startswith('send(to="eve", text="\\"><script>')
    [listed] = client.get("/v1/approvals", headers=bearer()).json()["approvals"]
    arguments = {"to": "eve", "text": HOSTILE, "copies": 1}
    assert listed["binds"] == {"task": "send", "arguments": arguments}


@pytest.mark.parametrize("edited", [False, True])
def test_the_form_of_the_page_edits_the_arguments(client: TestClient, edited: bool) -> None:
    """Sent back untouched, it is the call as it was bound."""
    start(client, "a\nb")
    page = client.get(PATH[0]).text
    [nonce] = nonces_in(page)
    fields = {"value.to": "eve", "value.text": "a\r\nb", "value.copies": "2" if edited else "1"}
    for name, value in fields.items():
        assert f'name="{name}"' in page
        assert edited or value.replace("\r\n", "\n") in unescape(page)
    body = {"nonce": nonce, "decision": "approve", "comment": "", **fields}
    decided = client.post(PATH[0], content=urlencode(body), headers=BY_FORM)
    assert decided.status_code == 200
    assert f"copies={2 if edited else 1})" in decided.text
    assert f"copies={2 if edited else 1})" in client.get(PATH[0]).text
    assert result(client) == f"eve: a\nb x{2 if edited else 1}"
    assert client.post(PATH[0], content=urlencode(body), headers=BY_FORM).status_code == 409


def test_json_approves_it_as_it_is_or_edited(client: TestClient) -> None:
    """Nothing filled in is the call as it was bound; what does not fit is a 422."""
    start(client, "hello")
    wrong: list[Any] = [{"copies": 2}, {"to": "eve", "text": "x", "copies": "many"}, [], "x"]
    for value in wrong:
        refused = client.post(PATH[0], json={"approved": True, "value": value})
        assert refused.status_code == 422
    assert client.post(PATH[0], json={"approved": True}).status_code == 200
    assert result(client) == "eve: hello x1"


def test_a_denial_says_why(client: TestClient) -> None:
    """Its comment is for whoever asked."""
    start(client, "hello")
    denied = client.post(PATH[0], json={"approved": False, "comment": "not to her"})
    assert denied.status_code == 200
    assert result(client) == "no: not to her"


@pytest.mark.parametrize("character", ["a", "\n", "漢", "\U0001f600"])
def test_the_longest_comment_can_be_typed(client: TestClient, character: str) -> None:
    """Whatever it is written in, and however a browser sends it; it is recorded as it was meant."""
    start(client, "hello")
    [nonce] = nonces_in(client.get(PATH[0]).text)
    comment = f"|{character * 9_998}|"
    sent = comment.replace("\n", "\r\n")
    body = urlencode({"nonce": nonce, "decision": "reject", "comment": sent})
    assert client.post(PATH[0], content=body, headers=BY_FORM).status_code == 200
    assert result(client) == f"no: {comment}"
