"""What is kept of deliveries, who sees it, and what sending one again does."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rewake import secret, workflow
from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.http import keeping
from rewake.http.app import create_app
from rewake.http.bodies import LIMIT
from rewake.http.keeping import FEW, LARGEST_KEPT
from rewake.signing.secret import Secret
from rewake.stores.memory import MemoryTable
from rewake.webhooks import (
    anyone,
    bearer,
    github,
    microsoft_graph,
    shared_hmac,
    standard_webhooks,
    webhook,
)
from tests.support import server
from tests.support.server import SECRET

SECRETS = {
    "GITHUB_SECRET": "It's a Secret to Everybody",
    "TOKEN_SECRET": "a token of a sender",
    "GRAPH_SECRET": "the client state",
    "HMAC_SECRET": "one secret that is long",
    "STANDARD_SECRET": "whsec_YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh",
}


@workflow(webhook=webhook("github/push", verify=github("GITHUB_SECRET")))
async def push(number: int) -> int:
    return number


@workflow(webhook=webhook("typed", verify=github("GITHUB_SECRET")))
async def typed(number: int) -> int:
    return number


@workflow(webhook=webhook("open", verify=anyone(), arguments=lambda d: d.json or None))
async def opened(number: int = 0) -> int:
    return number


@workflow(
    webhook=[
        webhook("bearer", verify=bearer("TOKEN_SECRET", header="X-Whoever")),
        webhook("graph", verify=microsoft_graph("GRAPH_SECRET")),
        webhook(
            "tenants", verify=microsoft_graph(lambda delivery: f"hidden {delivery.query['t']}")
        ),
        webhook("hmac", verify=shared_hmac("HMAC_SECRET", header="X-Proof")),
        webhook("standard", verify=standard_webhooks("STANDARD_SECRET")),
    ]
)
async def tell(**said: Any) -> list[str]:
    return sorted(said)


def made(*more: object) -> Starlette:
    app = App()
    for each in (push, typed, opened, tell, *more):
        app.add(each)
    secret = Secret(SECRET)
    engine = Engine(app, MemoryTable(), InProcessDispatcher(SystemClock()), secret)
    return create_app(engine, secret, grace=0.1)


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Starlette:
    """The HTTP face of an app with webhooks."""
    for name, text in SECRETS.items():
        monkeypatch.setenv(name, text)
    return made()


@pytest.fixture
def client(app: Starlette) -> Iterator[TestClient]:
    """A sender, without a token."""
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def operator(app: Starlette, client: TestClient) -> TestClient:
    """Somebody with a token."""
    assert client is not None
    return TestClient(app, headers=server.bearer(), raise_server_exceptions=False)


Listed = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def listed(operator: TestClient) -> Listed:
    """What is kept, as the operator sees it."""

    def listing(**query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = operator.get("/v1/deliveries", params=query).json()[
            "deliveries"
        ]
        return found

    return listing


def signed(body: bytes, name: str = "d-1", **more: str) -> dict[str, str]:
    """The headers of what GitHub sends."""
    headers = github("S").sign(body, SECRETS["GITHUB_SECRET"].encode(), 0)
    return {"Content-Type": "application/json", **headers, "X-GitHub-Delivery": name, **more}


def send(
    client: TestClient, path: str = "github/push", body: bytes = b'{"number": 1}', **more: Any
) -> httpx2.Response:
    more.setdefault("headers", signed(body))
    return client.post(f"/hooks/{path}", content=body, **more)


# --- what is kept ---------------------------------------------------------------------------------


def test_a_delivery_is_kept(client: TestClient, operator: TestClient, listed: Listed) -> None:
    """As soon as its sender is answered, what it was and what became of it can be read."""
    run = send(client).json()["id"]
    [found] = listed()
    assert (found["hook"], found["verdict"], found["run"]) == ("github/push", "started", run)
    assert (found["workflow"], found["size"]) == ("push", 13)
    whole = operator.get(f"/v1/deliveries/{found['id']}").json()
    assert {name: whole[name] for name in found} == found
    assert (whole["method"], whole["body"]) == ("POST", '{"number": 1}')
    assert ["x-github-delivery", "d-1"] in whole["headers"]


def test_each_verdict_is_kept(client: TestClient, listed: Listed) -> None:
    """A delivery that was repeated, ignored, answered or refused is one too."""
    send(client)
    send(client)
    send(client, "typed", b'{"number": "x"}', headers=signed(b'{"number": "x"}', "d-2"))
    send(client, headers=signed(b'{"number": 1}', "d-3", **{"X-GitHub-Event": "ping"}))
    send(client, "open", b"0", headers={"Content-Type": "application/json"})
    send(client, headers={})
    found = [(each["verdict"], each.get("status")) for each in listed()]
    assert sorted(found) == [
        ("answered", 200),
        ("ignored", 204),
        ("refused", 401),
        ("refused", 422),
        ("repeated", None),
        ("started", None),
    ]
    for verdict in ("started", "repeated", "ignored", "answered"):
        assert [each["verdict"] for each in listed(verdict=verdict)] == [verdict]
    assert {each["hook"] for each in listed(hook="typed")} == {"typed"}
    assert {each["workflow"] for each in listed(workflow="opened")} == {"opened"}


def test_the_list_goes_on(client: TestClient, operator: TestClient) -> None:
    """Pages, one after another, have each delivery once, newest first."""
    for number in range(5):
        send(client, headers=signed(b'{"number": 1}', f"d-{number}"))
        send(client, headers={})
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = operator.get("/v1/deliveries", params=query).json()
        seen += [each["id"] for each in page["deliveries"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 10
    wrong = operator.get("/v1/deliveries", params={"cursor": "x"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "cursor")
    wrong = operator.get("/v1/deliveries", params={"verdict": "good"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "verdict")


@pytest.mark.parametrize("id", ["started-9", "started-0", "x-1", "started", "..%2f", "started-1x"])
def test_a_delivery_that_is_not_there(operator: TestClient, id: str) -> None:
    """It is a 404, whatever its id looks like."""
    assert operator.get(f"/v1/deliveries/{id}").status_code == 404
    assert operator.post(f"/v1/deliveries/{id}/replay").status_code == 404


def test_no_secret_is_kept(client: TestClient, operator: TestClient, listed: Listed) -> None:
    """Signatures, tokens, cookies and secrets in the query or body are gone before it is stored."""
    body = b'{"value": [{"clientState": "the client state"}]}'
    more = {"Cookie": "a=hidden-1", "Authorization": "Basic hidden-2", "X-Api-Key": "hidden-3"}
    query = "?token=hidden-4&sig=hidden-5&code=hidden-6&page=7"
    good = signed(b'{"number": 1}', **more)
    send(client, f"github/push{query}", headers=good)
    send(client, "bearer", headers={"X-Whoever": SECRETS["TOKEN_SECRET"]})
    send(client, "graph", body, headers={"Content-Type": "application/json"})
    send(client, "hmac", headers=shared_hmac("S", header="X-Proof").sign(body, b"hidden-7", 0))
    shown = [operator.get(f"/v1/deliveries/{each['id']}").json() for each in listed()]
    assert len(shown) == 4
    text = json.dumps(shown)
    for each in (*SECRETS.values(), "hidden", good["X-Hub-Signature-256"]):
        assert each not in text
    assert "page" in text
    assert "d-1" in text
    proof = [text for each in shown for name, text in each["headers"] if name == "x-proof"]
    assert proof == ["[redacted]"]


def test_a_proof_in_a_body_is_not_kept(
    client: TestClient, operator: TestClient, listed: Listed
) -> None:
    """It is in no delivery, right or wrong, nor in what the run is started with and stores; and
    what is sent again starts the same.
    """

    def sent(state: str) -> int:
        body = json.dumps({"value": [{"clientState": state, "resource": "mail"}]}).encode()
        return send(
            client, "tenants?t=a", body, headers={"Content-Type": "application/json"}
        ).status_code

    assert [sent("hidden a"), sent("hidden before")] == [202, 401]
    refused, good = listed()
    operator.post(f"/v1/deliveries/{good['id']}/replay")
    operator.post(f"/v1/deliveries/{refused['id']}/replay")
    shown = [operator.get(f"/v1/deliveries/{each['id']}").json() for each in listed()]
    runs = {each["run"] for each in shown} - {None}
    assert len(runs) == 3
    told = [operator.get(f"/v1/runs/{run}/history").json()["entries"][0] for run in runs]
    inputs = [each["input"] for each in told]
    assert inputs == [inputs[0]] * 3
    assert "hidden" not in json.dumps([shown, told])
    assert json.dumps([shown, told]).count("mail") == 7


@workflow(
    webhook=[
        webhook("marked", verify=anyone()),
        webhook("marked/other", verify=anyone(), arguments=lambda delivery: {"pin": "1"}),
    ]
)
async def marked(pin: Annotated[str, secret], place: str = "") -> int:
    return len(pin)


@pytest.mark.parametrize(
    ("path", "given", "shown"),
    [
        ("marked", {"json": {"pin": "4711", "place": "x"}}, '{"pin":"[redacted]","place":"x"}'),
        ("marked", {"data": {"pin": "4711"}}, "[redacted]"),
        ("marked/other", {"json": {"hidden": "4711"}}, "[redacted]"),
    ],
)
def test_what_is_marked_as_secret_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, path: str, given: Any, shown: str
) -> None:
    """A field that the workflow marks is hidden from who looks at a delivery; else all of it is."""
    for name, text in SECRETS.items():
        monkeypatch.setenv(name, text)
    with TestClient(made(marked), headers=server.bearer()) as client:
        assert client.post(f"/hooks/{path}", **given).status_code == 202
        found = client.get("/v1/deliveries").json()["deliveries"][0]
        assert client.get(f"/v1/deliveries/{found['id']}").json()["body"] == shown


def test_a_large_body_is_not_kept(client: TestClient, operator: TestClient, listed: Listed) -> None:
    """Its size is; it cannot be sent again, and that is said."""
    body = json.dumps({"number": 1, "x": "x" * LARGEST_KEPT}).encode()
    assert send(client, body=body, headers=signed(body)).status_code == 202
    [found] = listed()
    assert found["size"] == len(body)
    assert operator.get(f"/v1/deliveries/{found['id']}").json()["body"] is None
    again = operator.post(f"/v1/deliveries/{found['id']}/replay")
    assert (again.status_code, "too large" in again.json()["detail"]) == (409, True)


def test_what_was_not_read_is_not_sent_again(
    client: TestClient, operator: TestClient, listed: Listed
) -> None:
    """A delivery that was refused before its body was read is not taken for an empty one."""
    send(client, "open", b"x" * (LIMIT + 1))
    [found] = listed()
    assert (found["verdict"], found["status"]) == ("refused", 413)
    assert operator.get(f"/v1/deliveries/{found['id']}").json()["body"] is None
    assert operator.post(f"/v1/deliveries/{found['id']}/replay").status_code == 409


def test_bytes_are_kept(client: TestClient, operator: TestClient, listed: Listed) -> None:
    """A body that is no text is shown as base64."""
    send(client, "open", b"\xff", headers={"Content-Type": "application/octet-stream"})
    shown = operator.get(f"/v1/deliveries/{listed()[0]['id']}").json()
    assert (shown["body"], shown["encoding"]) == ("/w==", "base64")


# --- why it was refused ---------------------------------------------------------------------------

GOOD = b'{"number": 1, "text": "gr\xc3\xbc\xc3\x9fe"}'


@pytest.mark.parametrize(
    ("path", "body", "headers", "reason"),
    [
        ("github/push", b"{}", signed(b"{ }"), "the secret is another one"),
        ("github/push", b"{}", {}, "x-hub-signature-256 is missing"),
        (
            "github/push",
            json.dumps(json.loads(GOOD)).encode(),
            signed(json.dumps(json.loads(GOOD), ensure_ascii=False).encode()),
            "the signature is right for the same JSON",
        ),
        ("github/push", b'{"a":1}', signed(b'{"a": 1}'), "is right for the same JSON"),
        ("github/push", b"{}", signed(b"{}\n"), "is right for the same text"),
        ("api/github/push", b"{}", {}, "/hooks/github/push is one: does a proxy add to paths?"),
        ("nowhere", b"{}", {}, "no workflow has a webhook of this path"),
        (
            "open",
            b"payload=%7B%7D",
            {"Content-Type": "application/x-www-form-urlencoded"},
            "the body is a form and not JSON",
        ),
    ],
)
def test_an_operator_sees_why(
    client: TestClient, listed: Listed, path: str, body: bytes, headers: Any, reason: str
) -> None:
    """The reason is kept, as exactly as it can be told, and not told to the sender."""
    response = send(client, path, body, headers=headers)
    [found] = listed()
    assert reason.lower() in found["reason"].lower()
    assert found["status"] == response.status_code
    if response.status_code == 401:
        assert "secret" not in response.text
        assert "changed" not in response.text


def test_a_path_below_a_proxys_prefix(client: TestClient, listed: Listed) -> None:
    """A hook that is called by another path, as by a proxy that does not take its own off, is told
    nothing but 401; and an operator, which prefix it was.
    """
    response = client.post("/below/hooks/github/push", content=b"{}", headers=signed(b"{}"))
    assert response.status_code == 401
    [found] = listed()
    assert (found["hook"], found["verdict"]) == ("github/push", "refused")
    assert "take off the prefix /below" in found["reason"]
    client.post("/below/hooks/nowhere")
    client.post("/hooks/../hooks")
    assert len(listed()) == 1


# --- what strangers cannot do ---------------------------------------------------------------------


def test_a_flood_of_strangers_costs_no_write_each(
    client: TestClient, listed: Listed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few a minute of each hook are kept, and the next one says how many were left out; what is
    verified is kept all the same.
    """
    moment = [1_700_000_000_000]
    app: Any = client.app
    monkeypatch.setattr(
        app.state.parts.keeper, "_clock", type("C", (), {"now": lambda _: moment[0]})()
    )
    for _ in range(FEW + 7):
        send(client, headers={})
        send(client, "nowhere", headers={})
        send(client, f"nowhere/{_}", headers={})
    send(client)
    assert len(listed(limit=200)) == 2 * FEW + 1
    moment[0] += 60_000
    send(client, headers={})
    [newest] = listed(limit=1)
    assert newest["more"] == 7
    assert len(listed(verdict="started")) == 1


def test_strangers_fill_a_series_of_their_own(client: TestClient, listed: Listed) -> None:
    """So do those that nobody verifies and that start nothing: theirs cannot push out the rest."""
    body = b'{"number": "x"}'
    send(client, "open", b"{", headers={"Content-Type": "application/json"})
    send(client, "github/push", headers={})
    send(client, "graph?validationToken=x", b"")
    send(client, "typed", body, headers=signed(body))
    send(client)
    kinds = [(each["id"].partition("-")[0], each["verdict"]) for each in listed()]
    assert sorted(kinds) == [
        ("failed", "refused"),
        ("started", "started"),
        ("strangers", "answered"),
        ("strangers", "refused"),
        ("strangers", "refused"),
    ]


def test_a_store_that_fails_fails_no_delivery(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That it could not be kept is logged; its sender is answered, and its run goes on."""

    async def broken(*_: object) -> None:
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr("rewake.stores.deliveries.Deliveries.append", broken)
    assert send(client).status_code == 202
    assert send(client, headers={}).status_code == 401
    assert "could not be kept: the disk is gone" in caplog.text


def test_a_store_that_stands_still_holds_no_delivery_up(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer waits for its entry a little; where too many are being written, none is begun."""
    monkeypatch.setattr(keeping, "_PATIENCE", 0.01)
    monkeypatch.setattr(keeping, "MOST_UNDER_WAY", 1)

    async def slow(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("rewake.stores.deliveries.Deliveries.append", slow)
    for name in ("d-1", "d-2"):
        assert send(client, headers=signed(b'{"number": 1}', name)).status_code == 202
    assert "the database is behind" in caplog.text


# --- sending one again ----------------------------------------------------------------------------


def replay(operator: TestClient, id: str) -> dict[str, Any]:
    response = operator.post(f"/v1/deliveries/{id}/replay")
    assert response.status_code == 202, response.text
    found: dict[str, Any] = response.json()
    return found


def test_one_that_started_a_run_starts_another(
    client: TestClient, operator: TestClient, listed: Listed
) -> None:
    """Each time it is sent again; and the provider, sending it again, is told of the first."""
    first = send(client).json()["id"]
    kept = listed()[0]["id"]
    second, third = replay(operator, kept)["id"], replay(operator, kept)["id"]
    assert len({first, second, third}) == 3
    assert send(client).json()["id"] == first
    keys = [
        operator.get("/v1/runs", params={"key": f"hook:github/push:{name}"}).json()["runs"][0]["id"]
        for name in ("d-1", "d-1#2", "d-1#3")
    ]
    assert keys == [first, second, third]
    copies = [each for each in listed() if each.get("of")]
    assert [(each["of"], each["by"], each["run"]) for each in copies] == [
        (kept, "bootstrap", third),
        (kept, "bootstrap", second),
    ]
    fourth = replay(operator, copies[1]["id"])["id"]
    assert (
        operator.get("/v1/runs", params={"key": "hook:github/push:d-1#4"}).json()["runs"][0]["id"]
        == fourth
    )


def test_a_refused_one_starts_the_first(
    client: TestClient, operator: TestClient, listed: Listed
) -> None:
    """After the cause is mended; and the provider that sends it again is told of that run."""
    forged = signed(b'{"number": 1}') | {"X-Hub-Signature-256": f"sha256={'0' * 64}"}
    assert send(client, headers=forged).status_code == 401
    kept = listed()[0]["id"]
    first = replay(operator, kept)["id"]
    assert replay(operator, kept)["id"] == first
    assert send(client).json()["id"] == first


def test_one_that_started_meanwhile_is_not_started_twice(
    client: TestClient, operator: TestClient, listed: Listed
) -> None:
    """The provider sent it again by itself, before somebody did so by hand."""
    send(client, headers=signed(b"x"))
    [kept] = listed()
    first = send(client).json()["id"]
    assert replay(operator, kept["id"])["id"] == first


def test_one_that_still_does_not_fit(
    client: TestClient, operator: TestClient, listed: Listed
) -> None:
    """Who sends it again is told what is wrong with it, and the try is kept."""
    body = b'{"number": "x"}'
    send(client, "typed", body, headers=signed(body))
    [kept] = listed()
    response = operator.post(f"/v1/deliveries/{kept['id']}/replay")
    assert (response.status_code, response.json()["field"]) == (422, "number")
    assert [each.get("of") for each in listed()] == [kept["id"], None]


def test_one_without_an_id(client: TestClient, operator: TestClient, listed: Listed) -> None:
    """What no id names starts a run each time it is sent, by whomever."""
    first = send(client, "open", headers={"Content-Type": "application/json"}).json()["id"]
    kept = listed()[0]["id"]
    assert len({first, replay(operator, kept)["id"], replay(operator, kept)["id"]}) == 3


def test_one_that_is_not_for_us(client: TestClient, operator: TestClient, listed: Listed) -> None:
    """Sent again, it is not for us either."""
    send(client, "open", b"0", headers={"Content-Type": "application/json"})
    response = operator.post(f"/v1/deliveries/{listed()[0]['id']}/replay")
    assert (response.status_code, response.json()) == (200, {"verdict": "ignored"})


def test_a_handshake(client: TestClient, operator: TestClient, listed: Listed) -> None:
    """Sent again, it starts no run, as it did not when it came."""
    send(client, headers=signed(b'{"number": 1}', **{"X-GitHub-Event": "ping"}))
    response = operator.post(f"/v1/deliveries/{listed()[0]['id']}/replay")
    assert (response.status_code, response.json()) == (200, {"verdict": "answered"})


def test_one_that_lacks_its_name(client: TestClient, operator: TestClient, listed: Listed) -> None:
    """What was refused for it can start nothing that a provider's own would not start again."""
    send(client, "standard", headers={"Content-Type": "application/json"})
    response = operator.post(f"/v1/deliveries/{listed()[0]['id']}/replay")
    assert (response.status_code, "webhook-id" in response.json()["detail"]) == (409, True)


def test_one_whose_hook_is_gone(client: TestClient, operator: TestClient, listed: Listed) -> None:
    """It can be looked at, and starts nothing."""
    send(client, "nowhere")
    response = operator.post(f"/v1/deliveries/{listed()[0]['id']}/replay")
    assert (response.status_code, "nowhere" in response.json()["detail"]) == (404, True)


# --- who may --------------------------------------------------------------------------------------


def token(operator: TestClient, name: str, scopes: Sequence[str], *workflows: str) -> TestClient:
    made = operator.post(
        "/v1/tokens", json={"name": name, "scopes": list(scopes), "workflows": list(workflows)}
    ).json()["token"]
    return TestClient(operator.app, headers={"Authorization": f"Bearer {made}"})


def test_who_may_do_what(client: TestClient, operator: TestClient, listed: Listed) -> None:
    """Nobody without a token; who may read looks; only who may operate sends one again."""
    send(client)
    kept = f"/v1/deliveries/{listed()[0]['id']}"
    assert client.get("/v1/deliveries").status_code == 401
    assert client.get(kept).status_code == client.post(f"{kept}/replay").status_code == 401
    reader = token(operator, "reader", ["read"])
    assert reader.get(kept).status_code == 200
    assert reader.post(f"{kept}/replay").status_code == 403
    assert token(operator, "starter", ["start"]).get("/v1/deliveries").status_code == 403
    assert token(operator, "operator", ["operate"]).post(f"{kept}/replay").status_code == 202


def test_a_limit_hides_deliveries(client: TestClient, operator: TestClient, listed: Listed) -> None:
    """For a token of some workflows, those to hooks of others are not there, nor to no hook."""
    send(client)
    send(client, "open", b"1", headers={"Content-Type": "application/json"})
    send(client, "nowhere")
    limited = token(operator, "limited", ["read", "operate"], "opened")
    shown = limited.get("/v1/deliveries").json()["deliveries"]
    assert [each["hook"] for each in shown] == ["open"]
    for each in listed():
        status = 200 if each["hook"] == "open" else 404
        assert limited.get(f"/v1/deliveries/{each['id']}").status_code == status
        if status == 404:
            assert limited.post(f"/v1/deliveries/{each['id']}/replay").status_code == 404


def test_sending_again_is_audited(client: TestClient, operator: TestClient, listed: Listed) -> None:
    """Who did so, with which delivery, and the run it came to."""
    send(client)
    kept = listed()[0]["id"]
    run = replay(operator, kept)["id"]
    entries = operator.get("/v1/audit").json()["entries"]
    [entry] = [each for each in entries if each["action"] == "delivery.replay"]
    assert (entry["who"], entry["about"], entry["run"]) == ("bootstrap", kept, run)


def test_the_log_is_no_way_in(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    """No line of what a stranger sends becomes a line of the log."""
    with caplog.at_level(logging.INFO):
        client.post("/below%0aforged/hooks/github/push")
        client.post("/hooks/no%0aforged")
    assert not any("\n" in record.getMessage() for record in caplog.records)
