"""What a link to an approval opens: its page shows, a POST decides once, all else is refused."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from rewake import approval, pages, step, wait_for_approval, workflow
from rewake.app import App
from rewake.authoring.approval import Approval, Decision
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.outside.approvals import Approvals
from rewake.engine.settings import Settings
from rewake.errors import StoreUnavailable
from rewake.http.app import create_app
from rewake.http.link_headers import HEADERS
from rewake.http.problems import HANDLERS
from rewake.signing.links import Link, Links, LinkUse
from rewake.signing.nonces import GOOD_FOR, new_nonce
from rewake.signing.secret import Secret
from rewake.stores.sqlite.table import SqliteTable
from tests.support.approving import BY_FORM, link_path, nonces_in
from tests.support.server import SECRET, bearer

FORM = {
    "type": "object",
    "properties": {"amount": {"type": "integer", "maximum": 100}},
    "required": ["amount"],
}
ANN, BOB = "ann@example.com", "bob@example.com"
told: dict[str, Any] = {}


@workflow
async def refund(timeout: float | None = None) -> dict[str, Any]:
    ask = approval(
        "refund",
        description="Refund <b>?",
        form=FORM,
        approvers=[ANN, BOB],
        timeout=timeout,
    )
    links = {**ask.links, "yes": ask.link(ANN, "approve"), "no": ask.link(ANN, "reject")}
    await step("tell", lambda: told.update(links))
    answer = await ask
    shown: dict[str, Any] = msgspec.to_builtins(answer)
    del shown["decisions"]
    return shown


@workflow
async def withdraws() -> str:
    ask = approval("refund")
    link = ask.link()
    await step("tell", lambda: told.update({"any": link}))
    ask.cancel()
    return "ended"


@workflow
async def anybody() -> str:
    return (await wait_for_approval()).decision


class Clock(SystemClock):
    ahead = 0

    def now(self) -> int:
        return super().now() + self.ahead


class Front:
    """A server's front door, and a stranger before it."""

    def __init__(self, client: TestClient, engine: Engine, clock: Clock, database: Path) -> None:
        self.client, self.engine, self.clock = client, engine, clock
        self.database = database
        self.secret = engine.services.secret

    def start(self, **arguments: Any) -> None:
        told.clear()
        started = self.client.post(
            "/v1/workflows/refund/runs?id=r1&wait=0.2", json=arguments, headers=bearer()
        )
        assert started.status_code == 202, started.text
        assert told

    @property
    def links(self) -> dict[str, str]:
        return dict(told)

    def read(self, use: LinkUse, token: str) -> Link:
        return Links(self.secret).read(use, token, 0)

    def path(self, who: str = ANN) -> str:
        return link_path(told[who])

    def state(self) -> str:
        return str(self.client.get("/v1/runs/r1", headers=bearer()).json()["state"])

    def result(self) -> Any:
        found = self.client.get("/v1/runs/r1/result?wait=10", headers=bearer())
        return found.json()["result"]

    def post(self, who: str = ANN, /, **body: Any) -> httpx2.Response:
        return self.client.post(self.path(who), json=body)

    def submit(
        self, who: str = ANN, /, *, nonce: str | None = None, **fields: str
    ) -> httpx2.Response:
        path = self.path(who)
        if nonce is None:
            nonce = next(iter(nonces_in(self.client.get(path).text)), "")
        fields = {"nonce": nonce, **fields}
        return self.client.post(path, content=urlencode(fields), headers=BY_FORM)


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    app, secret, clock = App(), Secret(SECRET), Clock()
    for each in (refund, withdraws, anybody):
        app.add(each)
    table = SqliteTable(tmp_path / "rewake.db", durable=False)
    dispatcher = InProcessDispatcher(clock)
    url = Settings(url="https://app.example/below")
    engine = Engine(app, table, dispatcher, secret, clock=clock, settings=url)
    served = create_app(engine, secret, grace=0.1, clock=clock)
    with TestClient(served, raise_server_exceptions=False) as client:
        yield Front(client, engine, clock, tmp_path / "rewake.db")


def stored(database: Path) -> list[Any]:
    """All that is kept of the run."""
    with closing(sqlite3.connect(database)) as file:
        return list(file.execute("SELECT * FROM items WHERE partition LIKE 'R#%' ORDER BY 1, 2"))


def test_json_decides(front: Front) -> None:
    """The decision is the holder's, whoever sends it, with what was filled in."""
    front.start()
    answer = front.post(BOB, approved=True, value={"amount": 3}, comment="fine")
    assert answer.status_code == 200
    assert answer.json() == {
        "run": "r1",
        "key": "refund",
        "decision": "approved",
        "approver": BOB,
    }
    assert front.result() == {
        "decision": "approved",
        "value": {"amount": 3},
        "approver": BOB,
        "comment": "fine",
    }


def test_the_form_of_the_page_decides(front: Front) -> None:
    """What the page posts needs its nonce; a rejection needs nothing filled in."""
    front.start()
    assert "Refund &lt;b&gt;?" in front.client.get(front.path()).text
    answer = front.submit(decision="reject", comment="no", **{"value.amount": ""})
    assert answer.status_code == 200
    assert "rejected" in answer.text.lower()
    assert ANN in answer.text
    assert front.result() == {
        "decision": "rejected",
        "value": None,
        "approver": ANN,
        "comment": "no",
    }


def test_what_the_page_is_told(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked, of whom else, since and until when; and afterwards who decided what."""
    seen: list[pages.Asked] = []
    shown = {"page": pages.page, "done": pages.done}
    for name, draw in shown.items():

        def noting(asked: pages.Asked, _draw: Any = draw, **more: Any) -> str:
            seen.append(asked)
            return str(_draw(asked, **more))

        monkeypatch.setattr(pages, name, noting)
    front.start(timeout=600.0)
    for who in (ANN, "yes"):
        front.client.get(front.path(who))
    front.post(BOB, approved=False)
    front.client.get(front.path())
    one, bound, done = seen
    assert (one.title, one.description, one.schema) == ("refund", "Refund <b>?", FORM)
    assert (one.run, one.workflow, one.approver) == ("r1", "refund", ANN)
    assert (one.action, bound.action) == ("", "approve")
    assert one.others == [(BOB, "")]
    assert done.others == [(BOB, "rejected")]
    assert (one.expires or 0) - one.asked_at == 600_000
    assert 0 <= front.clock.now() - one.asked_at < 60_000


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_looking_decides_nothing(front: Front, method: str) -> None:
    """Twenty previews and scanners change not one byte of the database, nor what the link does."""
    front.start()
    before = stored(front.database)
    assert before
    for number in range(20):
        headers = {"Sec-Purpose": "prefetch", "Purpose": "preview", "X-Moz": "prefetch"}
        who = [ANN, BOB, "yes", "no"][number % 4]
        query = "?approved=true&decision=approve"
        answer = front.client.request(method, front.path(who) + query, headers=headers)
        assert answer.status_code == 200
    assert stored(front.database) == before
    assert front.post(approved=True, value={"amount": 1}).status_code == 200


def test_the_first_decision_stands(front: Front) -> None:
    """Any other, by whichever link and way, is a 409 that says who decided."""
    front.start()
    front.post(BOB, approved=False)
    for answer in (
        front.post(ANN, approved=True, value={"amount": 1}),
        front.post(BOB, approved=False),
        front.submit(ANN, nonce="", decision="approve"),
    ):
        assert answer.status_code == 409
        assert "rejected" in answer.text.lower()
        assert BOB in answer.text
    shown = front.client.get(front.path())
    assert (shown.status_code, "nonce" in shown.text) == (200, False)
    assert BOB in shown.text
    assert front.result()["decision"] == "rejected"


def test_who_is_faster_by_a_hair(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two that both saw it open, the second is told what the first has decided."""
    front.start()
    look, looks = Approvals.look, []

    async def slow(self: Approvals, link: Link) -> Any:
        found = await look(self, link)
        looks.append(link)
        if len(looks) == 1:
            await self.decide(link.run, link.key, Approval(Decision.REJECTED, approver=BOB))
        return found

    monkeypatch.setattr(Approvals, "look", slow)
    answer = front.post(ANN, approved=True, value={"amount": 1})
    assert (answer.status_code, len(looks)) == (409, 2)
    assert f"rejected by {BOB}" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "approved"),
        ({"approved": "yes"}, "approved"),
        ({"approved": True}, "value.amount"),
        ({"approved": True, "value": {"amount": "much"}}, "value.amount"),
        ({"approved": True, "value": {"amount": 101}}, "value.amount"),
        ({"approved": True, "value": []}, "value"),
        ({"approved": False, "value": {"amount": "much"}}, "value.amount"),
        ({"approved": True, "value": {"amount": 1}, "approver": BOB}, "approver"),
        ({"approved": False, "comment": 3}, "comment"),
        ({"approved": False, "comment": "x" * 10_001}, "comment"),
    ],
)
def test_what_does_not_fit_leaves_the_link_usable(
    front: Front, body: dict[str, Any], field: str
) -> None:
    """It is a 422 that names the field; nothing is decided."""
    front.start()
    answer = front.post(**body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert front.post(approved=True, value={"amount": 100}).status_code == 200


@pytest.mark.parametrize("value", ["{", "much", "", "101"])
def test_what_does_not_fit_comes_back_on_the_page(front: Front, value: str) -> None:
    """With what was typed and why, and can be sent again."""
    front.start()
    typed = {"value.amount": value, "comment": "<i>typed</i>"}
    answer = front.submit(decision="approve", **typed)
    assert answer.status_code == 422
    assert "&lt;i&gt;typed&lt;/i&gt;" in answer.text
    assert f'value="{value}"' in answer.text
    assert front.submit(decision="approve", **{"value.amount": "5"}).status_code == 200
    assert front.result()["value"] == {"amount": 5}


def test_a_link_allows_its_action_only(front: Front) -> None:
    """One that approves cannot reject, in either way, and the other way round."""
    front.start()
    assert front.post("yes", approved=False).status_code == 403
    assert front.post("no", approved=True, value={"amount": 1}).status_code == 403
    assert front.submit("no", decision="approve").status_code == 403
    assert "approve</button>" not in front.client.get(front.path("no")).text.lower()
    assert front.submit("no", decision="reject").status_code == 200


# --- what is over --------------------------------------------------------------------------------


def test_a_link_whose_time_is_over(front: Front) -> None:
    """It is gone, for looking and for deciding, from its deadline on."""
    front.start(timeout=600.0)
    front.clock.ahead = 600_000
    assert front.client.get(front.path()).status_code == 410
    assert front.submit(nonce="", decision="approve").status_code == 410
    answer = front.post(approved=False)
    assert (answer.status_code, answer.json()["type"]) == (410, "urn:rewake:problem:gone")
    assert front.result()["decision"] == "timed_out"


def test_a_run_that_is_over(front: Front) -> None:
    """It asks nobody any more: 410."""
    front.start()
    front.client.post("/v1/runs/r1/kill", json={}, headers=bearer())
    assert front.client.get(front.path()).status_code == 410
    assert front.post(approved=False).status_code == 410


def test_what_was_withdrawn(front: Front) -> None:
    """An approval that the workflow cancelled is gone."""
    front.client.post("/v1/workflows/withdraws/runs?wait=10", json={}, headers=bearer())
    assert front.client.get(front.path("any")).status_code == 410
    assert front.post("any", approved=True).status_code == 410


# --- what is not genuine -------------------------------------------------------------------------


def forged(front: Front) -> Iterator[str]:
    """Tokens that open nothing."""
    token = front.path().rpartition("/")[2]
    payload, _, signature = token.partition(".")
    link = Links(front.secret).read(LinkUse.APPROVE, token, 0)
    other = Links(Secret("the secret of another app"))
    yield from (token[:-1], token + "A", payload, f".{signature}", f"{payload}.", "x", "a" * 9_000)
    yield f"{payload}.{signature[:-1]}{'A' if signature[-1] != 'A' else 'B'}"
    yield other.token(msgspec.structs.replace(link, signer=other.signer))
    for use in (LinkUse.CALLBACK, LinkUse.STREAM):
        yield Links(front.secret).token(msgspec.structs.replace(link, use=use))
    from_elsewhere = msgspec.json.encode(msgspec.structs.replace(link, holder=BOB))
    yield from (f"{text}.{signature}" for text in (payload[::-1], from_elsewhere.hex()))


def test_no_forgery_is_told_from_another(front: Front) -> None:
    """Each is the same 404 in each way of asking, without a challenge, and changes nothing."""
    front.start()
    answers: dict[str, set[tuple[int, bytes]]] = {"GET": set(), "JSON": set(), "FORM": set()}
    for token in forged(front):
        path = f"/approve/{token}"
        for way, answer in (
            ("GET", front.client.get(path)),
            ("JSON", front.client.post(path, json={"approved": True})),
            ("FORM", front.client.post(path, content="decision=approve", headers=BY_FORM)),
        ):
            answers[way].add((answer.status_code, answer.content))
            assert "www-authenticate" not in answer.headers
    assert [{status for status, _ in found} for found in answers.values()] == [{404}] * 3
    assert [len(found) for found in answers.values()] == [1, 1, 1]
    assert front.state() == "suspended"


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.one_of(st.binary(max_size=300), st.text(max_size=100).map(str.encode)),
    st.sampled_from(
        ["application/json", "application/x-www-form-urlencoded", "text/plain", "", "\x00"]
    ),
)
def test_whatever_is_posted_is_no_500(front: Front, body: bytes, kind: str) -> None:
    """Any body under any type is a 4xx, and decides nothing."""
    if front.client.get("/v1/runs/r1", headers=bearer()).status_code == 404:
        front.start()
    headers = {"Content-Type": kind} if kind.strip() and kind.isprintable() else {}
    answer = front.client.post(front.path(), content=body, headers=headers)
    assert 400 <= answer.status_code < 500
    assert front.state() == "suspended"


@pytest.mark.parametrize(
    "kind", ["text/plain", "multipart/form-data; boundary=x", "application/xml", "text/html"]
)
def test_other_content_types_are_refused(front: Front, kind: str) -> None:
    """What a page of others could send (`text/plain` with JSON in it) decides nothing: 415."""
    front.start()
    answer = front.client.post(
        front.path(), content='{"approved": false}', headers={"Content-Type": kind}
    )
    assert answer.status_code == 415
    assert front.state() == "suspended"


def test_bodies_are_bounded(front: Front) -> None:
    """Too long, too deep or too many fields: 413, 400 or 422, and nothing is decided."""
    front.start()
    long = front.client.post(front.path(), content=b"x=" + b"a" * 1_100_000, headers=BY_FORM)
    many = front.client.post(front.path(), content=b"a=&" * 3_000, headers=BY_FORM)
    deep = b'{"approved": true, "value": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    nested = front.client.post(
        front.path(), content=deep, headers={"Content-Type": "application/json"}
    )
    wide = front.post(approved=True, value=[0] * 5_000)
    front.client.post("/v1/workflows/anybody/runs?id=r2&wait=0.2", json={}, headers=bearer())
    about = {"run": "r2", "key": "approval"}
    link = front.client.post("/v1/links", json=about, headers=bearer()).json()["url"]
    for depth in (40, 300, 900, 990):  # where no form says what there may be
        body = b'{"approved": true, "value": ' + b"[" * depth + b"]" * depth + b"}"
        answer = front.client.post(
            f"/approve/{link.rpartition('/')[2]}",
            content=body,
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code in (400, 422), depth
    found = [each.status_code for each in (long, many, nested, wide)]
    assert found == [413, 400, 400, 422]
    assert front.state() == "suspended"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(front: Front, method: str) -> None:
    """They are 405, and decide nothing."""
    front.start()
    answer = front.client.request(method, front.path(), json={"approved": True})
    assert answer.status_code == 405
    assert front.state() == "suspended"


# --- the nonce -----------------------------------------------------------------------------------


def nonces(front: Front) -> dict[str, str]:
    secret, now = front.secret, front.clock.now()
    mine, other = (front.path(who).rpartition("/")[2] for who in (ANN, BOB))
    fresh = new_nonce(secret, mine, ANN, now)
    return {
        "none": "",
        "of another link": new_nonce(secret, other, ANN, now),
        "of another person": new_nonce(secret, mine, BOB, now),
        "of another secret": new_nonce(Secret("the secret of another app"), mine, ANN, now),
        "stale": new_nonce(secret, mine, ANN, now - GOOD_FOR - 1),
        "of the future": new_nonce(secret, mine, ANN, now + 3_600_000),
        "of another time": f"{now + 1}.{fresh.partition('.')[2]}",
        "cut off": fresh[:-1],
        "odd": "٣.٣",
        "long": "1" * 5_000 + ".0",
        "text": f"{now}.{'zz' * 32}",
    }


def test_a_form_that_comes_from_no_page_is_told_so(front: Front) -> None:
    """A form without a nonce, such as that of a script, is told how decisions are sent."""
    front.start()
    answer = front.client.post(front.path(), data={"approved": "true"})
    assert answer.status_code == 403
    assert "was not sent from this page" in answer.text
    assert "too long" not in answer.text


def test_a_form_needs_the_nonce_of_its_page(front: Front) -> None:
    """Without a fresh one for this link nothing is decided; the page comes back with a new one."""
    front.start()
    for name, nonce in nonces(front).items():
        answer = front.submit(nonce=nonce, decision="reject", comment="kept")
        assert answer.status_code == 403, name
        assert "kept" in answer.text
    assert front.state() == "suspended"
    fresh = new_nonce(front.secret, front.path().rpartition("/")[2], ANN, front.clock.now())
    assert front.submit(nonce=fresh, decision="reject").status_code == 200


# --- what leaks nothing --------------------------------------------------------------------------


def test_every_answer_is_kept_framed_and_indexed_nowhere(front: Front) -> None:
    """Whoever made it: the page, a problem, the router, what failed unforeseen, a closed app."""
    front.start()
    get, path = front.client.get, front.path()
    answers = [
        get(path),
        front.client.head(path),
        front.post(),
        front.submit(nonce="", decision="approve"),
        get("/approve/forged"),
        get("/approve/"),
        get(f"{path}/deeper"),
        front.client.put(path),
        front.post(approved=False),
        get(path),
    ]
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers.get_list(name) == [value], (answer.status_code, name)
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self'" in policy
    assert policy == pages.CSP
    assert "Content-Security-Policy" not in get("/healthz").headers


def test_what_fails_unforeseen_shows_no_token(
    front: Front, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a 500 with the headers, and the log has the error, without the link."""

    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    front.start()
    monkeypatch.setattr(Approvals, "look", fail)
    with caplog.at_level(logging.DEBUG):
        answer = front.client.get(front.path())
    assert answer.status_code == 500
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "ZeroDivisionError" in caplog.text
    mine = [each for each in caplog.records if not each.name.startswith("httpx")]
    token = front.path().rpartition("/")[2]
    assert not [each for each in mine if token in each.getMessage()]
    assert "/approve/***" in caplog.text


def test_a_database_that_does_not_answer(
    front: Front, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a 503 that says when to ask again, in each way; the log has why, and no link."""

    async def fail(*_: object) -> None:
        raise StoreUnavailable("no disk")

    front.start()
    monkeypatch.setattr(Approvals, "look", fail)
    answers = [front.client.get(front.path()), front.post(approved=False)]
    answers.append(front.submit(nonce="", decision="reject"))
    for answer in answers:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "no disk" not in answer.text
    mine = [each for each in caplog.records if not each.name.startswith("httpx")]
    token = front.path().rpartition("/")[2]
    assert len([each for each in mine if each.levelname == "ERROR"]) == len(answers)
    assert not [each for each in mine if token in each.getMessage()]


@pytest.mark.parametrize("use", LinkUse)
def test_no_link_of_any_use_is_logged_as_it_fails(
    use: LinkUse, caplog: pytest.LogCaptureFixture
) -> None:
    """What is told of a request that failed has no token, whatever its link is for."""

    async def fail(request: Request) -> Response:
        raise StoreUnavailable("no disk")

    routes = [Route(f"/{use}/{{token}}/beat", fail)]
    app = Starlette(routes=routes, exception_handlers=HANDLERS)
    assert TestClient(app).get(f"/{use}/to.ken/beat").status_code == 503
    told = [each.getMessage() for each in caplog.records if each.name == "rewake.http"]
    assert told == [f"GET /{use}/***/beat failed: no disk"]


def test_the_page_leads_nowhere_else(front: Front) -> None:
    """Its form posts to itself, below any prefix and whatever the `Host` says."""
    front.start()
    evil = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/x"}
    shown = front.client.get(front.path(), headers=evil)
    assert "evil" not in shown.text
    assert re.findall(r'action="([^"]*)"', shown.text) == [front.path().rpartition("/")[2]]
