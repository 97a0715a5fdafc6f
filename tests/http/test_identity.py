"""Who decides must be known: by a proxy's header, or by a token of an issuer, beside the link."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import msgspec
import pytest
from starlette.testclient import TestClient

from rewake import approval, step, workflow
from rewake.app import App
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.settings import Settings
from rewake.http.app import create_app
from rewake.identity.oidc import OidcSettings, read_grants
from rewake.identity.proxies import ProxySettings
from rewake.identity.settings import IdentitySettings, Proof
from rewake.signing.secret import Secret
from rewake.stores.sqlite.table import SqliteTable
from tests.http.test_oidc import Running
from tests.support.approving import BY_FORM, link_path, nonces_in
from tests.support.issuer import AUDIENCE, URL, Issuer
from tests.support.server import SECRET, bearer

ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.com"
SHARED, OLD = "what only the proxy knows", "what it knew before that"
PROXY = ProxySettings("x-forwarded-email", (SHARED, OLD))
OIDC = OidcSettings(URL, AUDIENCE, "email", read_grants('{"groups": {"deciders": ["decide"]}}'))
told: dict[str, Any] = {}


@workflow
async def refund() -> dict[str, Any]:
    ask = approval("refund", approvers=[ANN, BOB])
    links = dict(ask.links)
    await step("tell", lambda: told.update(links))
    shown: dict[str, Any] = msgspec.to_builtins(await ask)
    return shown


@workflow
async def anybody() -> dict[str, Any]:
    ask = approval("refund")
    link = ask.link()
    await step("tell", lambda: told.update(any=link))
    shown: dict[str, Any] = msgspec.to_builtins(await ask)
    return shown


@workflow
async def several() -> dict[str, Any]:
    ask = approval("refund", approvers=[ANN, BOB], quorum=2)
    links = dict(ask.links)
    await step("tell", lambda: told.update(links))
    shown: dict[str, Any] = msgspec.to_builtins(await ask)
    return shown


class Front:
    """A front door at which who decides must be known."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.issuer = Issuer()
        oidc = client.app.state.parts.people.oidc  # type: ignore[attr-defined]
        if oidc is not None:
            oidc.jwks._fetch = self.issuer.fetch

    def start(self, workflow: str = "refund", run: str = "r1") -> None:
        told.clear()
        path = f"/v1/workflows/{workflow}/runs?id={run}&wait=0.2"
        self.client.post(path, headers=bearer(), json={})
        assert told

    def path(self, who: str = ANN) -> str:
        return link_path(told[who])

    def post(self, who: str = ANN, /, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(self.path(who), json={"approved": True}, headers=named)

    def over_the_api(self, token: str, **body: Any) -> httpx2.Response:
        given = {"approved": True, **body}
        path = "/v1/runs/r1/approvals/refund"
        return self.client.post(path, json=given, headers=bearer(token))

    def token(self, email: str = ANN, **more: Any) -> str:
        return self.issuer.token(email=email, email_verified=True, **more)

    def result(self) -> Any:
        found = self.client.get("/v1/runs/r1/result?wait=10", headers=bearer())
        return found.json()["result"]

    def is_open(self, run: str = "r1") -> bool:
        found = self.client.get(f"/v1/runs/{run}", headers=bearer()).json()
        return bool(found["approvals"])

    def audited(self) -> list[tuple[str, int]]:
        entries = self.client.get("/v1/audit", headers=bearer()).json()["entries"]
        return [(e["who"], e["status"]) for e in entries if e["action"] == "approval.decide"]


Fronts = Callable[..., Front]


@pytest.fixture
def fronts(tmp_path: Path) -> Iterator[Fronts]:
    """Makes a front door; `proofs` are what a person must have one of."""
    opened = []

    @contextmanager
    def served(*proofs: Proof) -> Iterator[TestClient]:
        app, secret, clock = App(), Secret(SECRET), Running()
        for each in (refund, anybody, several):
            app.add(each)
        table = SqliteTable(tmp_path / "rewake.db", durable=False)
        url = Settings(url="https://app.example")
        dispatcher = InProcessDispatcher(clock)
        engine = Engine(app, table, dispatcher, secret, clock=clock, settings=url)
        proxy = PROXY if Proof.PROXY in proofs else None
        identity = IdentitySettings(OIDC, proxy, frozenset(proofs))
        asgi = create_app(engine, secret, grace=0.1, clock=clock, identity=identity)
        with TestClient(asgi, raise_server_exceptions=False) as client:
            yield client

    def make(*proofs: Proof) -> Front:
        context = served(*proofs)
        opened.append(context)
        return Front(context.__enter__())

    yield make
    for each in opened:
        each.__exit__(None, None, None)


def by_proxy(name: str = ANN, secret: str = SHARED) -> dict[str, str]:
    """The headers that the proxy sends."""
    return {"X-Forwarded-Email": name, "Rewake-Identity-Secret": secret}


# --- a proxy's header ----------------------------------------------------------------------------


def test_whom_the_proxy_names_decides(fronts: Fronts) -> None:
    """Who is logged in and has their own link sees the page, decides, and is recorded."""
    front = fronts(Proof.PROXY)
    front.start()
    headers = by_proxy("Ann@Example.com")
    page = front.client.get(front.path(), headers=headers)
    assert page.status_code == 200
    [nonce] = nonces_in(page.text)
    fields = {"nonce": nonce, "decision": "approve"}
    posted = front.client.post(
        front.path(), content=urlencode(fields), headers={**BY_FORM, **by_proxy(secret=OLD)}
    )
    assert posted.status_code == 200
    assert front.result()["approver"] == ANN
    assert front.audited() == [(f"proxy:{ANN}", 200)]


def test_a_link_of_somebody_else_is_refused_and_stays_usable(fronts: Fronts) -> None:
    """Who is not the one that it was made for gets a 403 that says so, by GET and POST."""
    front = fronts(Proof.PROXY)
    front.start()
    for method in ("GET", "HEAD"):
        answer = front.client.request(method, front.path(), headers=by_proxy(EVE))
        assert answer.status_code == 403
    page = front.client.get(front.path(), headers=by_proxy(EVE))
    assert ANN in page.text
    assert EVE in page.text
    assert "Approve" not in page.text
    answer = front.post(**by_proxy(EVE))
    assert answer.status_code == 403
    assert answer.json()["detail"] == f"This link is for {ANN}, and you are {EVE}."
    assert front.post(**by_proxy(BOB)).status_code == 403
    assert front.is_open()
    assert (f"proxy:{EVE}", 403) in front.audited()
    assert front.post(**by_proxy()).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("X-Forwarded-Email", ANN)],
        [("X-Forwarded-Email", ANN), ("Rewake-Identity-Secret", "guessed, and quite wrong")],
        [("X-Forwarded-Email", ANN), ("Rewake-Identity-Secret", "")],
        [("Rewake-Identity-Secret", SHARED)],
        [("Rewake-Identity-Secret", SHARED), ("X-Forwarded-Email", "")],
        [("Rewake-Identity-Secret", SHARED), *[("X-Forwarded-Email", e) for e in (EVE, ANN)]],
        [*[("Rewake-Identity-Secret", e) for e in ("x" * 20, SHARED)], ("X-Forwarded-Email", ANN)],
        [("Rewake-Identity-Secret", SHARED), ("X-Forwarded_Email", ANN)],
        [("Rewake-Identity-Secret", SHARED), ("X-Forwarded-User", ANN)],
        [("Rewake-Identity-Secret", SHARED), ("X-Forwarded-Email", f"{EVE},{ANN}")],
        [("Rewake-Identity-Secret", SHARED), ("X-Forwarded-Email", b"\xff\xfe")],
        [("Rewake-Identity-Secret", SHARED), ("X-Forwarded-Email", "a" * 300)],
    ],
    ids=str,
)
def test_nobody_else_says_who_somebody_is(fronts: Fronts, headers: Any) -> None:
    """Without the proxy's secret, with two of a header, or with another one, one is not Ann."""
    front = fronts(Proof.PROXY)
    front.start()
    raw = [(n.encode(), v if isinstance(v, bytes) else v.encode()) for n, v in headers]
    assert front.client.get(front.path(), headers=raw).status_code == 403
    answer = front.client.post(front.path(), json={"approved": True}, headers=raw)
    assert answer.status_code == 403
    assert SHARED not in answer.text
    assert front.is_open()


def test_a_link_that_is_not_genuine_asks_nobody_who_they_are(fronts: Fronts) -> None:
    """A forgery is the same 404 as ever, logged in or not."""
    front = fronts(Proof.PROXY, Proof.OIDC)
    front.start()
    bodies = set()
    for headers in ({}, by_proxy(), bearer(front.token())):
        answer = front.client.get("/approve/" + "a" * 80, headers=headers)
        assert answer.status_code == 404
        bodies.add(answer.text)
    assert len(bodies) == 1
    assert front.issuer.asked == []


def test_a_link_for_anybody_is_for_anybody_who_is_known(fronts: Fronts) -> None:
    """Where no approvers are named, whoever is logged in decides, and it is recorded who."""
    front = fronts(Proof.PROXY)
    front.start("anybody")
    assert front.post("any").status_code == 403
    assert front.post("any", **by_proxy(EVE)).status_code == 200
    assert front.result()["approver"] == EVE


def test_the_form_of_a_page_is_for_who_opened_it(fronts: Fronts) -> None:
    """Who can open a link makes nobody else's browser decide by it (CSRF): its form is theirs."""
    front = fronts(Proof.PROXY)
    front.start("anybody")
    page = front.client.get(front.path("any"), headers=by_proxy(EVE)).text
    [nonce] = nonces_in(page)
    fields = urlencode({"nonce": nonce, "decision": "approve"})
    for who, status in ((BOB, 403), (EVE, 200)):
        headers = {**BY_FORM, **by_proxy(who)}
        posted = front.client.post(front.path("any"), content=fields, headers=headers)
        assert posted.status_code == status
    assert front.result()["approver"] == EVE


def test_a_link_of_another_run_is_for_that_one(fronts: Fronts) -> None:
    """A link decides on the run and the approval that it was made for, and on no other."""
    front = fronts()
    front.start(run="r1")
    first = front.path()
    front.start(run="r2")
    assert front.path() != first
    assert front.client.post(first, json={"approved": False}).json()["run"] == "r1"
    assert front.client.post(first, json={"approved": False}).status_code == 409
    assert (front.is_open("r1"), front.is_open("r2")) == (False, True)


# --- a token of an issuer ------------------------------------------------------------------------


def test_whom_the_issuer_names_decides(fronts: Fronts) -> None:
    """A bearer token of whom the link is for decides; it needs no scope, for the link allows it."""
    front = fronts(Proof.OIDC)
    front.start()
    assert front.client.get(front.path(), headers=bearer(front.token())).status_code == 200
    assert front.post(Authorization=f"Bearer {front.token()}").status_code == 200
    assert front.result()["approver"] == ANN
    assert front.audited() == [(f"oidc:{ANN}", 200)]


def test_why_nobody_decides_by_a_token_is_in_the_log(
    fronts: Fronts, caplog: pytest.LogCaptureFixture
) -> None:
    """A token that a link's page refuses is told of as at the front door: to operators."""
    front = fronts(Proof.OIDC)
    front.start()
    caplog.set_level("INFO", logger="rewake.audit")
    token = front.token(aud="another-app")
    assert front.post(Authorization=f"Bearer {token}").status_code == 401
    told = [each.getMessage() for each in caplog.records if each.name == "rewake.audit"]
    assert any("REWAKE_OIDC_AUDIENCE" in line for line in told)


def test_a_token_of_somebody_else_or_of_nobody(fronts: Fronts) -> None:
    """Another person's is a 403; none, a forged or an expired one, and the server's own, a 401."""
    front = fronts(Proof.OIDC)
    front.start()
    assert front.post(Authorization=f"Bearer {front.token(EVE)}").status_code == 403
    expired, forged = front.token(exp=1), front.token(key="evil", header={"kid": "RS256"})
    for headers in ({}, bearer(), bearer(expired), bearer(forged), by_proxy()):
        answer = front.post(**headers)
        assert answer.status_code == 401
        assert "Bearer" in answer.headers["WWW-Authenticate"]
        assert front.client.get(front.path(), headers=headers).status_code == 401
    front.issuer.down = True
    front.client.app.state.parts.people.oidc.jwks._keys = None  # type: ignore[attr-defined]
    answer = front.post(Authorization=f"Bearer {front.token()}")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert front.is_open()


def test_either_will_do(fronts: Fronts) -> None:
    """Where both are accepted, a browser comes through the proxy and a program with its token."""
    front = fronts(Proof.PROXY, Proof.OIDC)
    front.start()
    assert front.client.get(front.path(BOB), headers=by_proxy(BOB)).status_code == 200
    assert front.post(Authorization=f"Bearer {front.token()}").status_code == 200


# --- over the API --------------------------------------------------------------------------------


def test_over_the_api_a_person_decides_as_who_they_are(fronts: Fronts) -> None:
    """An approver's token with the scope `decide` does; another's name in the body is a 422."""
    front = fronts(Proof.OIDC)
    front.start()
    ann = front.token(groups=["deciders"])
    wrong = front.over_the_api(ann, approver=BOB)
    assert (wrong.status_code, wrong.json()["field"]) == (422, "approver")
    assert front.over_the_api(front.token()).status_code == 403  # no scope
    assert front.over_the_api(ann, approver="ANN@example.com").status_code == 200
    assert front.result()["approver"] == ANN


def test_over_the_api_nobody_else_decides(fronts: Fronts) -> None:
    """Where who decides must be known, neither another person nor a token decides for approvers."""
    front = fronts(Proof.OIDC)
    front.start()
    eve = front.over_the_api(front.token(EVE, groups=["deciders"]))
    assert (eve.status_code, EVE in eve.json()["detail"]) == (403, True)
    for body in ({}, {"approver": ANN}):
        answer = front.over_the_api(bearer()["Authorization"].split()[1], **body)
        assert answer.status_code == 403
        assert ANN in answer.json()["detail"]
    assert front.is_open()


def test_over_the_api_what_names_nobody_is_anybodys(fronts: Fronts) -> None:
    """An approval without approvers is decided by the scope alone, and says by whom."""
    front = fronts(Proof.OIDC)
    front.start("anybody")
    assert front.over_the_api(front.token(EVE, groups=["deciders"])).status_code == 200
    assert front.result()["approver"] == EVE


def test_without_the_setting_a_person_is_recorded_all_the_same(fronts: Fronts) -> None:
    """Where links alone count, a token decides in the name that it says, and a person in theirs."""
    front = fronts()
    front.start()
    wrong = front.over_the_api(front.token(EVE, groups=["deciders"]), approver=ANN)
    assert wrong.status_code == 422
    assert front.over_the_api(bearer()["Authorization"].split()[1], approver=BOB).status_code == 200
    assert front.result()["approver"] == BOB


# --- where several decide ------------------------------------------------------------------------


def test_a_delegate_is_who_it_was_handed_to(fronts: Fronts) -> None:
    """Not who handed it on, though they see the link; and nobody hands on the vote of another."""
    front = fronts(Proof.PROXY)
    front.start("several")
    body = {"delegate": EVE}
    refused = front.client.post(front.path(), json=body, headers=by_proxy(BOB))
    assert refused.status_code == 403
    made = front.client.post(front.path(), json=body, headers=by_proxy(ANN))
    told[EVE] = made.json()["link"]
    assert front.post(EVE, **by_proxy(ANN)).status_code == 403
    assert front.post(BOB, **by_proxy(ANN)).status_code == 403
    counted = front.post(EVE, **by_proxy(EVE)).json()
    assert (counted["approver"], counted["approvals"], counted["decided"]) == (EVE, 1, False)
    assert front.post(BOB, **by_proxy(BOB)).json()["decided"] is True
    assert [each["approver"] for each in front.result()["decisions"]] == [EVE, BOB]


@pytest.mark.parametrize("proofs", [(Proof.OIDC,), ()])
def test_over_the_api_a_vote_is_that_of_the_person(fronts: Fronts, proofs: Any) -> None:
    """Of the approver who has the name that the issuer says, and of nobody else."""
    front = fronts(*proofs)
    front.start("several")
    ann, eve = (front.token(who, groups=["deciders"]) for who in ("Ann@example.com", EVE))
    assert front.over_the_api(eve).status_code == 403
    assert front.over_the_api(ann, approver=BOB).status_code == 422
    machine = bearer()["Authorization"].split()[1]
    assert front.over_the_api(machine, approver=BOB).status_code == 403
    assert front.over_the_api(ann).json()["approver"] == ANN
    assert front.over_the_api(ann).json()["approvals"] == 1
    assert front.post(BOB, **by_proxy(BOB)).status_code == (401 if proofs else 200)
