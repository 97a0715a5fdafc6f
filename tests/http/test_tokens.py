"""API tokens: what each is let do, and that nothing else opens a door."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rewake.access import Scope
from rewake.engine.runs import listing
from rewake.errors import StoreUnavailable
from rewake.http import needs
from rewake.http.app import ROUTES
from rewake.http.gate import OPEN, SELF_CHECKED, SIGNED
from rewake.http.needs import NEEDS
from rewake.records import Started
from rewake.signing.api_tokens import id_of, new_token
from rewake.stores.cursors import place_of
from rewake.stores.tokens import Tokens
from tests.http.conftest import Stranger
from tests.support.server import TOKEN

Holder = Callable[..., httpx2.Response]
SCOPED = [(method, path, need) for (method, path), need in NEEDS.items() if not need.free]


def make(client: TestClient, name: str, *scopes: str, **more: Any) -> str:
    """A new token."""
    answer = client.post("/v1/tokens", json={"name": name, "scopes": scopes, **more})
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["token"]
    return token


@pytest.fixture
def holding(client: TestClient, stranger: Stranger) -> Callable[..., Holder]:
    """Makes a token, and sends requests with it."""

    def of(*scopes: str, name: str = "ci", **more: Any) -> Holder:
        authorization = {"Authorization": f"Bearer {make(client, name, *scopes, **more)}"}

        def ask(method: str, path: str, **sent: Any) -> httpx2.Response:
            return stranger(method, path, headers=authorization, **sent)

        return ask

    return of


# --- scopes ------------------------------------------------------------------------------------


def test_every_route_says_what_it_needs() -> None:
    """The table has each route and no other; only what is open or signed needs no token."""
    known = {(method, path) for method, path, _ in ROUTES}
    assert {each for each in known if not each[1].startswith(SELF_CHECKED)} == set(NEEDS)
    free = {path for (_, path), need in NEEDS.items() if need.free}
    assert free == OPEN | (SIGNED - {"/v1/sweep"})
    assert tuple(needs.SELF_CHECKED) == SELF_CHECKED
    assert all(need.free for need in needs.SELF_CHECKED.values())
    acts = {
        path: needs.needs_of(method, path).acts
        for method, path in (
            ("POST", "/approve/{token}"),
            ("GET", "/approve/{token}/"),
            ("POST", "/callback/{token}/heartbeat"),
        )
    }
    assert list(acts.values()) == [True, False, False]


def test_a_route_that_says_nothing_cannot_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever adds a route and forgets who may use it cannot start the server."""
    monkeypatch.setattr(needs, "NEEDS", {})
    with pytest.raises(AssertionError, match=r"needs\.py"):
        needs.needs_of("GET", "/v1/runs")


@pytest.mark.parametrize(("method", "path", "need"), SCOPED)
def test_a_scope_opens_its_own_routes_only(
    holding: Callable[..., Holder], method: str, path: str, need: needs.Need
) -> None:
    """Each route takes tokens of its scope and of admin; all others are told what they lack."""
    path = path.replace(":path", "").replace("{", "").replace("}", "")
    for scope in Scope:
        answer = holding(scope, name=f"t-{scope}")(method, path)
        if scope in (need.scope, Scope.ADMIN):
            assert answer.status_code not in (401, 403), answer.text
            continue
        assert answer.status_code == 403
        told = answer.json()
        assert told["type"] == "urn:rewake:problem:insufficient-scope"
        assert told["scope"] == need.scope
        assert str(need.scope) in told["detail"]
        assert "insufficient_scope" in answer.headers["WWW-Authenticate"]


def test_a_token_that_may_read_starts_nothing(
    client: TestClient, holding: Callable[..., Holder]
) -> None:
    """What is refused for its scope is not done."""
    read = holding("read")
    assert read("POST", "/v1/workflows/nap/runs", json={"seconds": 600}).status_code == 403
    assert client.get("/v1/runs").json()["runs"] == []
    client.post("/v1/workflows/nap/runs?id=a", json={"seconds": 600})
    for action in ("cancel", "kill", "resume", "retry", "approvals/approval"):
        assert read("POST", f"/v1/runs/a/{action}", json={"approved": True}).status_code == 403
    assert client.get("/v1/runs/a").json()["state"] == "suspended"


def test_scopes_add_up(holding: Callable[..., Holder]) -> None:
    """A token of several scopes may do what each of them allows, and no more."""
    ask = holding("start", "read")
    run = ask("POST", "/v1/workflows/total/runs?wait=10", json={"numbers": [1, 2]}).json()
    assert ask("GET", f"/v1/runs/{run['id']}/result").json()["result"] == 3
    assert ask("POST", f"/v1/runs/{run['id']}/kill").json()["scope"] == "operate"


def test_an_unknown_scope_in_the_store_allows_nothing(
    app: Starlette, client: TestClient, holding: Callable[..., Holder]
) -> None:
    """A scope that only a newer Rewake knows is none here, and does no harm to the others."""
    ask = holding("read")
    tokens = app.state.parts.engine.services.store.tokens

    async def change() -> None:
        token = await tokens.revoke("ci")
        await tokens.create(msgspec.structs.replace(token, scopes=["read", "everything"]))

    assert client.portal is not None
    client.portal.call(change)
    assert ask("GET", "/v1/runs").status_code == 200
    assert ask("POST", "/v1/runs/a/kill").status_code == 403


# --- limits to workflows -----------------------------------------------------------------------


@pytest.fixture
def limited(client: TestClient, holding: Callable[..., Holder]) -> Holder:
    """Whoever may do all but administer, with workflow `total` only; there are runs of others."""
    ask = holding("start", "read", "decide", "operate", workflows=["total"])
    client.post("/v1/workflows/ask/runs?id=theirs&wait=0.1", json={"question": "?"})
    client.post("/v1/workflows/total/runs?id=ours&wait=10", json={"numbers": [1]})
    return ask


@pytest.mark.parametrize(
    ("method", "part", "body"),
    [
        ("GET", "", None),
        ("GET", "/result", None),
        ("GET", "/result?wait=1", None),
        ("GET", "/history", None),
        ("GET", "/logs", None),
        ("GET", "/stream", None),
        ("POST", "/links", {}),
        ("POST", "/cancel", {}),
        ("POST", "/cancel", {"dry_run": True}),
        ("POST", "/kill", {}),
        ("POST", "/resume", {}),
        ("POST", "/retry", {}),
        ("POST", "/approvals/approval", {"approved": True}),
    ],
)
def test_a_run_of_another_workflow_does_not_exist(
    client: TestClient, limited: Holder, method: str, part: str, body: Any
) -> None:
    """Whatever is asked about it, the answer is that of a run that there is not."""
    theirs = limited(method, f"/v1/runs/theirs{part}", json=body)
    nobodys = limited(method, f"/v1/runs/nobodys{part}", json=body)
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.text.replace("theirs", "nobodys") == nobodys.text
    assert client.get("/v1/runs/theirs").json()["state"] == "suspended"
    assert limited("GET", "/v1/runs/ours").status_code == 200


def test_lists_have_what_is_theirs(limited: Holder) -> None:
    """Lists of runs and workflows are those of a server that has nothing else."""
    assert [each["name"] for each in limited("GET", "/v1/workflows").json()["workflows"]] == [
        "total"
    ]
    for query in ("", "?workflow=total", "?state=done"):
        found = limited("GET", f"/v1/runs{query}").json()
        assert [run["id"] for run in found["runs"]] == ["ours"]
    assert limited("GET", "/v1/runs?workflow=ask").json() == {"runs": [], "cursor": None}


@pytest.mark.parametrize("looked_at", [4, 1_000])
def test_a_cursor_names_no_run_of_others(
    client: TestClient, limited: Holder, monkeypatch: pytest.MonkeyPatch, looked_at: int
) -> None:
    """Pages go on to the last of the runs, and none says which others lie between."""
    monkeypatch.setattr(listing, "LOOKED_AT", looked_at)
    for number in range(12):
        client.post(f"/v1/workflows/nap/runs?id=secret-{number}", json={"seconds": 600})
        if number % 6 == 0:
            client.post(f"/v1/workflows/total/runs?id=mine-{number}", json={"numbers": []})
    found, cursor = list[str](), None
    while True:
        query = {"limit": "1"} | ({"cursor": cursor} if cursor else {})
        answer = limited("GET", "/v1/runs", params=query)
        assert "secret" not in answer.text
        assert "theirs" not in answer.text
        page = answer.json()
        found += [run["id"] for run in page["runs"]]
        cursor = page["cursor"]
        if cursor is None:
            break
        assert "secret" not in place_of(cursor, str)
    assert found == ["mine-6", "mine-0", "ours"]


@pytest.mark.parametrize("path", ["/v1/runs", "/v1/stats/runs"])
def test_a_cursor_names_no_run_of_another_tenant(
    client: TestClient,
    holding: Callable[..., Holder],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
) -> None:
    """Nor do the pages of a tenant's token, which go on to the last of its runs all the same."""
    monkeypatch.setattr(listing, "LOOKED_AT", 3)
    ask = holding("start", "read", tenant="acme")
    for number in range(9):
        client.post(f"/v1/workflows/nap/runs?id=secret-{number}", json={"seconds": 600})
        if number % 6 == 0:
            ask("POST", f"/v1/workflows/nap/runs?id=mine-{number}", json={"seconds": 600})
    found, query = list[str](), dict[str, str]()
    while True:
        page = ask("GET", path, params=query).json()
        found += [run["id"] for run in page.get("runs", ())]
        if page["cursor"] is None:
            break
        assert "secret" not in place_of(page["cursor"], str)
        query = {"cursor": page["cursor"]}
    assert found == ([] if "stats" in path else ["mine-6", "mine-0"])


def test_keys_of_others_are_not_told(client: TestClient, limited: Holder) -> None:
    """The runs of an idempotency key are those of the workflows that one may see."""
    headers = {"Idempotency-Key": "k"}
    client.post("/v1/workflows/nap/runs", json={"seconds": 600}, headers=headers)
    client.post("/v1/workflows/total/runs", json={"numbers": []}, headers=headers)
    for query in ("", "&workflow=total"):
        [run] = limited("GET", f"/v1/runs?key=k{query}").json()["runs"]
        assert run["workflow"] == "total"
    assert limited("GET", "/v1/runs?key=k&workflow=nap").json()["runs"] == []


def test_another_workflow_cannot_be_started(
    limited: Holder, holding: Callable[..., Holder]
) -> None:
    """It answers as one that there is not, and names no other; so does one's own that is gone."""
    theirs = limited("POST", "/v1/workflows/nap/runs", json={"seconds": 1})
    nobodys = limited("POST", "/v1/workflows/nobodys/runs", json={"seconds": 1})
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.text.replace("nap", "nobodys") == nobodys.text
    gone = holding("start", name="gone", workflows=["gone"])("POST", "/v1/workflows/gone/runs")
    assert gone.text.replace("gone", "nobodys") == nobodys.text


def test_the_id_of_a_run_of_others_tells_only_that_it_is_taken(limited: Holder) -> None:
    """Starting under an id that is taken says nothing of how that run stands."""
    answers = [
        limited("POST", f"/v1/workflows/total/runs?id=theirs{policy}", json={"numbers": []})
        for policy in ("", "&if_running=reject", "&if_finished=reject")
    ]
    assert {(each.status_code, each.json()["detail"]) for each in answers} == {
        (409, "run 'theirs' was started with other arguments")
    }


# --- making, listing, revoking -----------------------------------------------------------------


def test_a_token_is_shown_once(client: TestClient) -> None:
    """Only the answer that makes it has the token; what is listed does not help to guess it."""
    token = make(client, "ci", "start", "read", workflows=["total"], expires="2999-01-01T00:00:00Z")
    listed = client.get("/v1/tokens")
    assert token.rpartition("_")[2] not in listed.text
    [found] = listed.json()["tokens"]
    assert found.pop("created") > "2020"
    assert found == {
        "name": "ci",
        "scopes": ["read", "start"],
        "workflows": ["total"],
        "tenant": None,
        "expires": "2999-01-01T00:00:00.000Z",
        "used": None,
        "by": "bootstrap",
    }


def test_a_token_is_revoked_at_once(client: TestClient, holding: Callable[..., Holder]) -> None:
    """The next request with it is refused, its name is free, and the old one stays worthless."""
    ask = holding("read")
    assert ask("GET", "/v1/runs").status_code == 200
    assert client.delete("/v1/tokens/ci").json()["name"] == "ci"
    assert ask("GET", "/v1/runs").status_code == 401
    again = client.delete("/v1/tokens/ci")
    assert (again.status_code, again.json()["type"]) == (404, "urn:rewake:problem:token-not-found")
    make(client, "ci", "read")
    assert ask("GET", "/v1/runs").status_code == 401


def test_a_name_is_that_of_one_token(client: TestClient) -> None:
    """A second one of the name is refused, and the first one stays as it is."""
    make(client, "ci", "read")
    answer = client.post("/v1/tokens", json={"name": "ci", "scopes": ["admin"]})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:rewake:problem:token-exists")
    [token] = client.get("/v1/tokens").json()["tokens"]
    assert token["scopes"] == ["read"]


def test_a_workflow_that_there_is_not_is_told(client: TestClient) -> None:
    """A token may be for what is not deployed now; who makes it sees what may be misspelt."""
    body = {"name": "ci", "scopes": ["read"], "workflows": ["total", "nope"]}
    made = client.post("/v1/tokens", json=body)
    assert (made.status_code, made.json()["unknown"]) == (201, ["nope"])
    known = client.post("/v1/tokens", json={**body, "name": "other", "workflows": ["total"]})
    assert "unknown" not in known.json()


def test_tokens_are_listed_in_pages(client: TestClient) -> None:
    """A list goes on from its cursor."""
    for number in range(3):
        make(client, f"t{number}", "read")
    first = client.get("/v1/tokens?limit=2").json()
    rest = client.get("/v1/tokens", params={"limit": 2, "cursor": first["cursor"]}).json()
    names = [each["name"] for each in (*first["tokens"], *rest["tokens"])]
    assert sorted(names) == ["t0", "t1", "t2"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": ["read"]}, "name"),
        ({"name": "x"}, "scopes"),
        ({"name": "x", "scopes": "read"}, "scopes"),
        ({"name": "x", "scopes": ["all"]}, "scopes"),
        ({"name": "x y", "scopes": ["read"]}, "name"),
        ({"name": "x", "scopes": ["read"], "expires": "soon"}, "expires"),
        ({"name": "x", "scopes": ["read"], "expires": "2020-01-01T00:00:00Z"}, "expires"),
        ({"name": "x", "scopes": ["read"], "expires": 3}, "expires"),
        ({"name": "x", "scopes": ["admin"], "workflows": ["total"]}, "workflows"),
        ({"name": "x", "scopes": ["read"], "digest": "0" * 64}, "digest"),
        ({"name": "x", "scopes": ["read"], "id": "0" * 16}, "id"),
        ({"name": "x", "scopes": ["read"], "token": TOKEN}, "token"),
        ({"name": "x", "scopes": ["read"], "by": "bootstrap"}, "by"),
        ({"name": "x", "scopes": ["read"], "used": 1}, "used"),
    ],
)
def test_what_no_token_is_made_of(client: TestClient, body: Any, field: str) -> None:
    """What does not fit is named; what is not for whoever asks to say cannot be said."""
    answer = client.post("/v1/tokens", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert client.get("/v1/tokens").json()["tokens"] == []


# --- attacks -----------------------------------------------------------------------------------


def test_what_is_no_token_of_ours(client: TestClient, stranger: Stranger) -> None:
    """Forged, cut, lengthened or mangled tokens, other schemes and several headers open nothing."""
    good = make(client, "ci", "read")
    other = make(client, "other", "read")
    head, _, secret = good.rpartition("_")
    bad = [
        f"Bearer {new_token(id_of('ci'))}",
        f"Bearer {new_token(id_of('nobody'))}",
        f"Bearer {head}_{other.rpartition('_')[2]}",
        f"Bearer {good[:-1]}",
        f"Bearer {good}0",
        f"Bearer {good.swapcase()}",
        f"Bearer {secret}",
        f"Bearer {good},",
        f"Bearer {good} {good}",
        f"Bearer {good * 100}",
        f"Bearer {'rewake_' + '0' * 60_000}",
        f"Basic {good}",
        f"Token {good}",
        good,
        f"Bearer:{good}",
    ]
    for each in bad:
        answer = stranger("GET", "/v1/runs", headers={"Authorization": each})
        assert answer.status_code == 401, each
        assert secret not in answer.text
    several = [("Authorization", f"Bearer {good}"), ("Authorization", "Bearer wrong")]
    for headers in (several, several[::-1], [several[0]] * 2):
        with_both = httpx2.Request("GET", "http://testserver/v1/runs", headers=headers)
        assert client.send(with_both).status_code == 401
    for raw in (f"Bearer {good[:-1]}é".encode(), f"Bearer {good}\xa0".encode("latin-1")):
        answer = stranger("GET", "/v1/runs", headers=[(b"Authorization", raw)])
        assert answer.status_code == 401
    assert stranger("GET", "/v1/runs", headers={"Authorization": f"Bearer {good}"}).is_success


@pytest.mark.parametrize("name", ["access_token", "token", "authorization", "bearer"])
def test_a_token_in_the_address_is_none(client: TestClient, stranger: Stranger, name: str) -> None:
    """A token is taken from the header only: addresses end up in logs and histories."""
    token = make(client, "ci", "read")
    for given in (token, TOKEN):
        assert stranger("GET", f"/v1/runs?{name}={given}").status_code == 401
        assert stranger("GET", "/v1/runs", cookies={name: given}).status_code == 401
        body = {"numbers": [], name: given}
        assert stranger("POST", "/v1/workflows/total/runs", json=body).status_code == 401


def test_an_expired_token(client: TestClient, app: Starlette, stranger: Stranger) -> None:
    """From the moment on at which it expires, it is refused, and only its holder is told why."""
    token = make(client, "ci", "read", expires="2999-01-01T00:00:00Z")
    headers = {"Authorization": f"Bearer {token}"}
    assert stranger("GET", "/v1/runs", headers=headers).status_code == 200
    tokens = app.state.parts.engine.services.store.tokens

    async def age() -> None:
        found = await tokens.revoke("ci")
        now = app.state.parts.clock.now()
        await tokens.create(msgspec.structs.replace(found, expires=now))

    assert client.portal is not None
    client.portal.call(age)
    refused = stranger("GET", "/v1/runs", headers=headers)
    assert refused.status_code == 401
    assert "expired" in refused.json()["detail"]
    forged = stranger("GET", "/v1/runs", headers={"Authorization": f"Bearer {token[:-1]}"})
    assert "expired" not in forged.text


def test_nobody_is_let_in_while_it_cannot_be_known_who_asks(
    client: TestClient, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the store does not answer, a token is neither good nor wrong: 503, and nothing is done."""
    token = make(client, "ci", "read", "start")

    async def fail(*_: Any) -> None:
        raise StoreUnavailable("it does not answer")

    monkeypatch.setattr(Tokens, "find", fail)
    headers = {"Authorization": f"Bearer {token}"}
    answer = stranger("POST", "/v1/workflows/total/runs", headers=headers, json={"numbers": []})
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert client.get("/v1/runs").json()["runs"] == []
    assert stranger("GET", "/v1/runs", headers={"Authorization": "Bearer x"}).status_code == 401


def test_what_an_outer_app_says_of_the_principal_is_not_believed(app: Starlette) -> None:
    """Who asks is what the gate found, also where the app is mounted in another one."""
    seen: list[Any] = []

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = state = {"rewake_principal": "somebody", "own": 1}
        await app(scope, receive, send)
        seen.append(state)

    with TestClient(app):
        client = TestClient(outer)
        assert client.get("/v1/runs").status_code == 401
        assert client.post("/v1/sweep").status_code == 401
        assert client.post("/v1/invoke").status_code == 401
        assert client.get("/healthz").status_code == 200
    assert seen == [{"rewake_principal": "somebody", "own": 1}] * 4


# --- what is noted -----------------------------------------------------------------------------


def test_the_use_of_a_token_is_noted_once_a_minute(
    client: TestClient, holding: Callable[..., Holder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many requests in a minute one is noted; that a note fails, or hangs, harms none."""
    notes: list[str] = []
    used = Tokens.used

    async def counted(self: Tokens, *given: Any) -> None:
        notes.append("noted")
        await used(self, *given)

    monkeypatch.setattr(Tokens, "used", counted)
    ask = holding("read")
    for _ in range(5):
        assert ask("GET", "/v1/runs").status_code == 200
    assert len(notes) == 1
    [token] = client.get("/v1/tokens").json()["tokens"]
    assert token["used"] > token["created"]

    async def broken(*_: Any) -> None:
        raise StoreUnavailable("it does not answer")

    async def hanging(*_: Any) -> None:
        await asyncio.Event().wait()

    for number, wrong in enumerate((broken, hanging)):
        monkeypatch.setattr(Tokens, "used", wrong)
        assert holding("read", name=f"t{number}")("GET", "/v1/runs").status_code == 200


def test_a_run_says_who_started_it(
    app: Starlette, client: TestClient, holding: Callable[..., Holder]
) -> None:
    """Who starts a run is in its history; who starts it again and is given it is not."""
    body: Any = {"numbers": []}
    holding("start")("POST", "/v1/workflows/total/runs?id=a", json=body)
    client.post("/v1/workflows/total/runs?id=a", json=body)
    client.post("/v1/workflows/total/runs?id=b", json=body)
    for run, who in (("a", "token:ci"), ("b", "bootstrap")):
        assert client.get(f"/v1/runs/{run}/history").json()["entries"][0]["by"] == who

    async def started() -> Any:
        _, history = await app.state.parts.engine.history("a")
        return history.entries[0]

    assert client.portal is not None
    entry = client.portal.call(started)
    assert isinstance(entry, Started)
    assert entry.by == "token:ci"


@pytest.mark.parametrize(("said", "approver"), [({}, "token:ci"), ({"approver": "Ada"}, "Ada")])
def test_a_decision_says_who_made_it(
    client: TestClient, holding: Callable[..., Holder], said: dict[str, str], approver: str
) -> None:
    """A decision that names nobody is put down to the token that made it."""
    client.post("/v1/workflows/ask/runs?id=a&wait=0.05", json={"question": "?"})
    decide = holding("decide")
    body = {"approved": True, **said}
    assert decide("POST", "/v1/runs/a/approvals/approval", json=body).status_code == 200
    assert client.get("/v1/runs/a/result?wait=10").json()["result"]["approver"] == approver
