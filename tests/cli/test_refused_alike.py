"""What cannot be is one clear error, by HTTP, by the client and on the command line."""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from rewake import AsyncClient, rate, task, wait_for_signal, workflow
from rewake.app import App
from rewake.cli.commands import app
from rewake.cli.remote import client as command_client
from rewake.client.answers import Answer
from rewake.client.asking import Ask
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.settings import Settings
from rewake.errors import InvalidInput, RewakeError, RunConflict, RunNotFound
from rewake.http.app import create_app
from rewake.signing.secret import Secret
from rewake.stores.memory import MemoryTable
from tests.support.server import SECRET, TOKEN, bearer


@dataclass
class Payment:
    amount: int


@task(tag="gpu")
async def render() -> None: ...


@workflow
async def ended() -> None: ...


@workflow
async def pays() -> int:
    payment: Payment = await wait_for_signal("paid", type=Payment)
    return payment.amount


@workflow
async def films() -> None:
    await render()


def by_owner(order: Mapping[str, str]) -> str:
    return order["owner"]


@workflow(limits=rate(5, per=60, key=by_owner))
async def limited(order: dict[str, str]) -> None: ...


class ToThisProcess:
    """Carries requests to an app of this process."""

    def __init__(self, http: TestClient) -> None:
        self._http = http

    async def send(self, ask: Ask, address: str, headers: Mapping[str, str]) -> Answer:
        found = self._http.request(
            ask.method, address, headers=dict(headers), content=ask.body or b""
        )
        return Answer(found.status_code, dict(found.headers), found.content)

    async def close(self) -> None:
        """Nothing is open."""


@contextmanager
def serving() -> Iterator[TestClient]:
    """A server of this process."""
    listed, secret = App(), Secret(SECRET)
    for member in (ended, pays, films, limited, render):
        listed.add(member)
    dispatcher, settings = InProcessDispatcher(SystemClock()), Settings(lease=600)
    engine = Engine(listed, MemoryTable(), dispatcher, secret, settings=settings)
    with TestClient(create_app(engine, secret, grace=0.1), headers=bearer()) as http:
        yield http


@pytest.fixture(scope="module")
def http() -> Iterator[TestClient]:
    """It has a run that has ended, and one that waits to be paid."""
    with serving() as http:
        http.post("/v1/workflows/ended/runs?wait=5&id=over", json={})
        http.post("/v1/workflows/pays/runs?id=open&wait=0.2", json={})
        http.post("/v1/runs/open/signals/other", json=1, headers={"Idempotency-Key": "once"})
        yield http


def rewake(http: TestClient, monkeypatch: pytest.MonkeyPatch, *command: str) -> Result:
    """A command that asks this server, carried out."""
    asks = functools.partial(AsyncClient, transport=ToThisProcess(http))
    monkeypatch.setattr(command_client, "AsyncClient", asks)
    where = {"REWAKE_SERVER": "http://127.0.0.1", "REWAKE_TOKEN": TOKEN}
    return CliRunner().invoke(app, command, prog_name="rewake", env=where)


@dataclass(frozen=True)
class Mistake:
    """The same mistake in three ways, and what is said of it. `field`: the part that is wrong."""

    name: str
    post: tuple[str, Any, Mapping[str, str]]
    call: Callable[[AsyncClient], Awaitable[object]]
    command: Sequence[str]
    status: int
    error: type[RewakeError]
    says: str
    field: str = ""


MISTAKES = [
    Mistake(
        "a signal to a run that has ended",
        ("/v1/runs/over/signals/paid", {"amount": 1}, {}),
        lambda client: client.signal("over", "paid", {"amount": 1}),
        ["runs", "signal", "over", "paid", "--value", '{"amount": 1}'],
        409,
        RunConflict,
        "run 'over' has ended (done): it takes no signals",
    ),
    Mistake(
        "a signal of the wrong type",
        ("/v1/runs/open/signals/paid", {"amount": "x"}, {}),
        lambda client: client.signal("open", "paid", {"amount": "x"}),
        ["runs", "signal", "open", "paid", "--value", '{"amount": "x"}'],
        422,
        InvalidInput,
        "value.amount: Expected `int`, got `str`",
        "value.amount",
    ),
    Mistake(
        "another signal of an id that was sent",
        ("/v1/runs/open/signals/other", 2, {"Idempotency-Key": "once"}),
        lambda client: client.signal("open", "other", 2, id="once"),
        ["runs", "signal", "open", "other", "--value", "2", "--id", "once"],
        409,
        RunConflict,
        "'once'",
    ),
    Mistake(
        "a cron line that cannot be",
        ("/v1/schedules", {"name": "x", "workflow": "ended", "cron": "0 0 30 2 *"}, {}),
        lambda client: client.schedules.create("x", "ended", cron="0 0 30 2 *"),
        ["schedules", "create", "x", "ended", "--cron", "0 0 30 2 *"],
        422,
        InvalidInput,
        "'0 0 30 2 *' is no cron line: Bad day-of-month",
        "cron",
    ),
    Mistake(
        "a limit whose key cannot be made",
        ("/v1/workflows/limited/runs", {"order": {}}, {}),
        lambda client: client.start("limited", {"order": {}}),
        ["start", "limited", "--input", '{"order": {}}'],
        422,
        InvalidInput,
        "key= of rate of limited failed: KeyError: 'owner'",
        "order",
    ),
    Mistake(
        "a limit whose key is nothing",
        ("/v1/workflows/limited/runs", {"order": {"owner": ""}}, {}),
        lambda client: client.start("limited", {"order": {"owner": ""}}),
        ["start", "limited", "--input", '{"order": {"owner": ""}}'],
        422,
        InvalidInput,
        "key= of rate of limited has 1 to",
        "order",
    ),
    Mistake(
        "a fork from a key that there is not",
        ("/v1/runs/open/fork", {"at": "payed"}, {}),
        lambda client: client.fork("open", "payed"),
        ["runs", "fork", "open", "--at", "payed"],
        404,
        RunNotFound,
        "run 'open' has asked for no operation 'payed'; the nearest are 'paid'",
    ),
]


def all_of_it(http: TestClient) -> Any:
    """What there is."""
    asked = ("/v1/runs", "/v1/runs/open/signals", "/v1/runs/over/signals", "/v1/schedules")
    return [http.get(path).json() for path in asked]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_one_error(
    http: TestClient, monkeypatch: pytest.MonkeyPatch, mistake: Mistake
) -> None:
    """However it is made: it says what is wrong, names the part, and changes nothing."""
    before = all_of_it(http)

    path, body, headers = mistake.post
    answer = http.post(path, json=body, headers=headers)
    assert (answer.status_code, answer.json().get("field", "")) == (mistake.status, mistake.field)
    assert mistake.says in answer.json()["detail"]

    async def call() -> None:
        carrier = ToThisProcess(http)
        async with AsyncClient("http://127.0.0.1", TOKEN, transport=carrier) as client:
            await mistake.call(client)

    with pytest.raises(mistake.error, match=re.escape(mistake.says)) as caught:
        asyncio.run(call())
    assert getattr(caught.value, "field", "") == mistake.field

    done = rewake(http, monkeypatch, *mistake.command)
    assert done.exit_code == 2
    [line] = done.stderr.splitlines()
    assert mistake.says in line
    assert line.count(mistake.field or mistake.says) == 1 or mistake.field in mistake.says

    assert all_of_it(http) == before


def test_a_tag_that_nobody_serves_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its run is taken, and waits: each of the three says for which tag, and nothing is lost."""
    with serving() as http:
        http.post("/v1/workflows/films/runs?id=film", json={})
        deadline = time.monotonic() + 20
        while "unserved_tags" not in (seen := http.get("/v1/runs/film").json()):
            assert time.monotonic() < deadline, seen
            time.sleep(0.05)
        assert (seen["state"], seen["unserved_tags"]) == ("suspended", ["gpu"])
        assert asyncio.run(shown(http))["unserved_tags"] == ["gpu"]
        done = rewake(http, monkeypatch, "runs", "show", "film")
        assert re.search(r"^waits for +a server of the tag gpu: render$", done.stdout, re.MULTILINE)


async def shown(http: TestClient) -> Mapping[str, Any]:
    """The run, as a client shows it."""
    carrier = ToThisProcess(http)
    async with AsyncClient("http://127.0.0.1", TOKEN, transport=carrier) as client:
        return await client.get("film")
