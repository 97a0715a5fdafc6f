"""The audit log: who did what, to which run, from where, and what was refused."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rewake import batch, workflow
from rewake.access import Scope
from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.errors import StoreUnavailable
from rewake.hosts.log_formats import JsonFormat
from rewake.http import auditor as auditing
from rewake.http.app import create_app
from rewake.http.auditor import FEW, Auditor, client_of
from rewake.ledger import Audited
from rewake.records import Header
from rewake.signing.secret import Secret
from rewake.stores.audit import Audit, Wanted
from rewake.stores.memory import MemoryTable
from rewake.stores.sqlite.table import SqliteTable
from tests.http.conftest import Stranger
from tests.http.test_tokens import make
from tests.support.server import SECRET, TOKEN, bearer


def entries(client: TestClient, **query: Any) -> list[dict[str, Any]]:
    """What the audit log has, newest first, without the moments."""
    answer = client.get("/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["entries"]
    for each in found:
        assert each.pop("at") > "2020"
    return found


def test_what_is_done_is_written(client: TestClient, stranger: Stranger) -> None:
    """Each action has an entry: who, what, on which run or token, and from where."""
    headers = {"Authorization": f"Bearer {make(client, 'ci', 'start', 'decide', 'operate')}"}
    start = "/v1/workflows/ask/runs?id=a&wait=0.05"
    stranger("POST", start, headers=headers, json={"question": "?"})
    stranger("POST", "/v1/runs/a/approvals/approval", headers=headers, json={"approved": True})
    stranger("POST", "/v1/workflows/nap/runs?id=b", headers=headers, json={"seconds": 600})
    stranger("POST", "/v1/runs/b/cancel", headers=headers, json={"reason": "a secret reason"})
    client.delete("/v1/tokens/ci")
    found = entries(client)
    assert {each.pop("client", "") for each in found} == {""}  # it is called `testclient` here
    assert found == [
        _done("bootstrap", "token.revoke", 200, about="ci"),
        _done("token:ci", "run.cancel", 202, run="b"),
        _done("token:ci", "run.start", 202, run="b", about="nap"),
        _done("token:ci", "approval.decide", 200, run="a", about="approval"),
        _done("token:ci", "run.start", 202, run="a", about="ask"),
        _done("bootstrap", "token.create", 201, about="ci"),
    ]
    assert len(entries(client, who="token:ci")) == 4
    assert [each["action"] for each in entries(client, run="b")] == ["run.cancel", "run.start"]
    assert entries(client, since="2999-01-01") == []


def _done(who: str, action: str, status: int, **more: str) -> dict[str, Any]:
    return {"who": who, "action": action, "outcome": "done", "status": status, **more}


def test_what_only_looks_is_not_written(client: TestClient) -> None:
    """Reading, and asking what would be, are no actions."""
    client.post("/v1/workflows/nap/runs?id=a", json={"seconds": 600})
    before = entries(client)
    client.post("/v1/runs/a/kill", json={"dry_run": True})
    client.post("/v1/runs/a/resume", json={"dry_run": True})
    for path in ("runs", "runs/a", "runs/a/history", "runs/none", "tokens", "audit", "none"):
        client.get(f"/v1/{path}")
    client.post("/v1/sweep")
    assert entries(client) == before


def test_what_is_refused_is_written(client: TestClient, stranger: Stranger) -> None:
    """A refusal has its status: for want of a token or a scope also where one only looks."""
    headers = {"Authorization": f"Bearer {make(client, 'ci', 'start')}"}
    stranger("GET", "/v1/runs")
    stranger("GET", "/v1/secret?token=x", headers={"Authorization": "Bearer wrong"})
    stranger("POST", "/v1/runs/a/kill", headers=headers)
    stranger("GET", "/v1/runs/a", headers=headers)
    stranger("POST", "/v1/invoke")
    client.post("/v1/runs/none/kill")
    client.post("/v1/workflows/total/runs", json={"numbers": "x"})
    found = [
        (each["who"], each["action"], each["outcome"], each["status"], each.get("run", ""))
        for each in entries(client)
    ]
    assert found[:-1] == [
        ("bootstrap", "run.start", "refused", 422, ""),
        ("bootstrap", "run.kill", "refused", 404, "none"),
        (None, "invoke", "refused", 401, ""),
        ("token:ci", "run.get", "refused", 403, "a"),
        ("token:ci", "run.kill", "refused", 403, "a"),
        (None, "request", "refused", 401, ""),
        (None, "run.list", "refused", 401, ""),
    ]


def test_it_has_no_secret_and_no_body(
    client: TestClient, stranger: Stranger, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither tokens, bodies, queries nor headers are in the audit log or on its lines."""
    caplog.set_level(logging.INFO)
    token = make(client, "ci", "start")
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "a-private-key"}
    body = {"numbers": [4711]}
    stranger("POST", "/v1/workflows/total/runs?wait=3", headers=headers, json=body)
    stranger("POST", "/v1/workflows/total/runs?token=a-private-query", headers=headers, json=body)
    stranger("GET", f"/v1/x/{token}")
    client.delete(f"/v1/tokens/{token}")  # a slip: the token instead of its name
    client.post(f"/v1/runs/{TOKEN}/kill")
    ours = [each.getMessage() for each in caplog.records if each.name.startswith("rewake")]
    told = json.dumps([entries(client), ours])
    for secret in (token.rpartition("_")[2], TOKEN, SECRET, "private", "4711"):
        assert secret not in told


def test_who_may_read_it(client: TestClient, stranger: Stranger) -> None:
    """The audit log is for admins."""
    for scope in Scope:
        headers = {"Authorization": f"Bearer {make(client, f't-{scope}', scope)}"}
        status = stranger("GET", "/v1/audit", headers=headers).status_code
        assert status == (200 if scope is Scope.ADMIN else 403)


def test_it_is_read_in_pages(client: TestClient) -> None:
    """A page goes on from the cursor of the one before; what is no cursor is refused."""
    for number in range(5):
        make(client, f"t{number}", "read")
    names, cursor = list[str](), None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = client.get("/v1/audit", params=query).json()
        names += [each["about"] for each in page["entries"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert names == ["t4", "t3", "t2", "t1", "t0"]
    for query, field in (({"cursor": "x"}, "cursor"), ({"limit": 0}, "limit"), ({"a": 1}, "a")):
        wrong = client.get("/v1/audit", params=query)
        assert (wrong.status_code, wrong.json()["field"]) == (422, field)


def test_an_entry_that_cannot_be_written_fails_nothing(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was done is done and answered; the log says that the entry is missing, and has it."""
    caplog.set_level(logging.INFO, "rewake.audit")

    async def fail(*_: Any) -> None:
        raise StoreUnavailable("it does not answer")

    async def hang(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(auditing, "_PATIENCE", 0.01)
    monkeypatch.setattr(Audit, "append", fail)
    started = client.post("/v1/workflows/nap/runs?id=r0", json={"seconds": 600})
    monkeypatch.setattr(Audit, "append", hang)
    held = client.post("/v1/runs/r0/hold")
    assert (started.status_code, held.status_code) == (202, 200)
    [run] = client.get("/v1/runs").json()["runs"]
    assert (run["id"], run["hold"]) == ("r0", True)
    [missing] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "could not be written" in missing.getMessage()
    assert vars(missing)["audit"]["run"] == "r0"


def test_an_action_is_written_before_its_result_is_waited_for(
    app: Starlette, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start is in the audit log as soon as it is made, however long its caller waits."""
    seen: list[list[Audited]] = []
    parts = app.state.parts
    outcome = type(parts).outcome

    async def looked(self: Any, request: Any, run: str, wait: float) -> Any:
        page = await parts.engine.services.store.audit.page(Wanted(run=run), limit=5)
        seen.append(page.entries)
        return await outcome(self, request, run, wait)

    monkeypatch.setattr(type(parts), "outcome", looked)
    client.post("/v1/workflows/total/runs?id=a&wait=10", json={"numbers": [1]})
    assert [each.action for each in seen[0]] == ["run.start"]
    assert len(entries(client, run="a")) == 1


def test_a_run_that_is_begun_once_more_has_one_entry(client: TestClient) -> None:
    """Whether it is started, begun anew or forked: one action is one entry, of the run it made."""
    client.post("/v1/workflows/total/runs?id=a&wait=10", json={"numbers": [1]})
    again = client.post("/v1/runs/a/rerun", json={"id": "b"})
    assert again.status_code < 300, again.text
    [first, *_] = client.get("/v1/runs/a/operations").json()["operations"]
    made = client.post("/v1/runs/a/fork", json={"at": first["key"], "id": "c"})
    assert made.status_code < 300, made.text
    told = client.get("/v1/audit").json()["entries"]
    assert [(each["action"], each["run"]) for each in told] == [
        ("run.fork", "c"),
        ("run.rerun", "b"),
        ("run.start", "a"),
    ]


@workflow(batch=batch(3, within=600))
async def gathers(items: list[int]) -> list[int]:
    return items


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_each_start_that_is_gathered_has_an_entry(kind: str, tmp_path: Path) -> None:
    """Of the run that it is in, by whoever sent it, also as it is sent again."""
    app, secret, clock = App(), Secret(SECRET), SystemClock()
    app.add(gathers)
    table = MemoryTable() if kind == "memory" else SqliteTable(tmp_path / "a.db", durable=False)
    engine = Engine(app, table, InProcessDispatcher(clock), secret, clock=clock)
    with TestClient(create_app(engine, secret), headers=bearer()) as client:
        headers = {"Authorization": f"Bearer {make(client, 'ci', 'start')}"}
        start, runs = "/v1/workflows/gathers/runs", list[str]()
        for number, more in enumerate([{}, headers, headers]):
            given = {**more, "Idempotency-Key": str(number)}
            for _ in range(2):
                answer = client.post(start, json={"items": [number]}, headers=given)
                assert answer.status_code == 202, answer.text
                runs.append(answer.json()["id"])
        assert client.get(f"/v1/runs/{runs[0]}/result?wait=5").json()["result"] == [0, 1, 2]
        told = [each for each in entries(client) if each["action"] == "run.start"]
    assert set(runs) == {runs[0]}
    assert {(each["outcome"], each["about"], each["run"]) for each in told} == {
        ("done", "gathers", runs[0])
    }
    assert [each["who"] for each in told] == ["token:ci"] * 4 + ["bootstrap"] * 2


def test_a_start_that_the_database_refuses_has_the_entry_of_a_failure(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one commit was to have, the run and its entry, is not there; that it failed is."""
    committed = SqliteTable.together

    async def refused(self: SqliteTable, work: Any) -> Any:
        async def undone() -> Any:
            made = await work()
            if isinstance(made, tuple) and isinstance(made[0], Header):
                raise StoreUnavailable("the disk is full")
            return made

        return await committed(self, undone)

    monkeypatch.setattr(SqliteTable, "together", refused)
    client.post("/v1/workflows/nap/runs?id=r0", json={"seconds": 600})
    assert client.get("/v1/runs").json()["runs"] == []
    [entry] = entries(client, run="r0")
    assert entry["status"] == 503


# --- refusals are bounded ----------------------------------------------------------------------


class _Clock:
    def __init__(self) -> None:
        self.time = 1_000_000

    def now(self) -> int:
        return self.time

    async def sleep(self, duration: int) -> None:
        raise NotImplementedError


def _audited(body: Callable[[Auditor, _Clock], Any]) -> list[Audited]:
    """The entries that `body` lets be written, oldest first."""

    async def again(call: Any) -> Any:
        return await call()

    async def main() -> list[Audited]:
        audit, clock = Audit(MemoryTable(), again), _Clock()
        auditor = Auditor(audit, clock)
        await body(auditor, clock)
        await auditor.close()
        return (await audit.page(Wanted(), limit=10_000)).entries[::-1]

    return asyncio.run(main())


def test_refusals_fill_no_disk(caplog: pytest.LogCaptureFixture) -> None:
    """Of a flood of refusals a few a minute are written, and the next one says how many more."""
    caplog.set_level(logging.INFO, "rewake.audit")

    async def flood(auditor: Auditor, clock: _Clock) -> None:
        for _ in range(3):
            for _ in range(1_000):
                await auditor.tell(Scope.READ, "run.list", 401)
            clock.time += 60_000

    found = _audited(flood)
    assert len(found) == 3 * FEW
    assert [each.more for each in found if each.more] == [1_000 - FEW, 1_000 - FEW]
    assert len(caplog.records) == 3 * FEW + 1
    assert f"{1_000 - FEW} more" in caplog.text


def test_a_flood_hides_nobody_else() -> None:
    """Strangers' refusals leave room for those of principals, and none is for what is done."""

    async def flood(auditor: Auditor, clock: _Clock) -> None:
        del clock
        for _ in range(100):
            await auditor.tell(Scope.READ, "run.list", 401)
            await auditor.tell(Scope.OPERATE, "run.kill", 403, who="token:bad")
        await auditor.tell(Scope.OPERATE, "run.kill", 403, who="token:ci")
        for _ in range(50):
            await auditor.tell(Scope.START, "run.start", 202, who="token:bad")

    found = [(each.who, each.status) for each in _audited(flood)]
    assert found.count(("", 401)) == found.count(("token:bad", 403)) == FEW
    assert found.count(("token:ci", 403)) == 1
    assert found.count(("token:bad", 202)) == 50


def test_a_clock_that_was_set_back_lets_refusals_be_written() -> None:
    """A minute that is ahead of the clock is over."""

    async def set_back(auditor: Auditor, clock: _Clock) -> None:
        for _ in range(2):
            for _ in range(FEW):
                await auditor.tell(Scope.READ, "run.list", 401)
            clock.time -= 500_000

    assert len(_audited(set_back)) == 2 * FEW


# --- lines and addresses -----------------------------------------------------------------------


def test_an_entry_is_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """In JSON an entry stands whole in its line; what somebody sent cannot begin another line."""
    caplog.set_level(logging.INFO, "rewake.audit")

    async def one(auditor: Auditor, _: _Clock) -> None:
        about = "x\n2026 INFO forged\x1b[0m" + "y" * 500
        done = (Scope.START, "run.start", 202)
        await auditor.tell(*done, who="token:ci", client="10.0.0.1", run="a", about=about)

    [entry] = _audited(one)
    [record] = caplog.records
    line = json.loads(JsonFormat().format(record))
    assert line["logger"] == "rewake.audit"
    assert line["audit"] == {
        "at": 1_000_000,
        "who": "token:ci",
        "action": "run.start",
        "status": 202,
        "run": "a",
        "about": entry.about,
        "client": "10.0.0.1",
    }
    assert len(entry.about) <= 255
    assert record.getMessage().isprintable()


@pytest.mark.parametrize(
    ("client", "told"),
    [
        (("10.0.0.1", 80), "10.0.0.1"),
        (("fe80::1%eth0", 80), "fe80::1"),
        (("testclient", 80), ""),
        (("x\ny", 0), ""),
        (None, ""),
    ],
)
def test_an_address_is_one_or_nothing(client: Any, told: str) -> None:
    """Where a request came from is an address, or is not said."""
    assert client_of({"client": client}) == told
