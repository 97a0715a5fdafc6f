"""What is sent to `/hooks/...`: what starts a run, what does not, and what the sender is told."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.errors import ConfigError
from rewake.http import bodies
from rewake.http.app import create_app
from rewake.http.bodies import LIMIT
from rewake.signing.secret import Secret
from rewake.stores.memory import MemoryTable
from rewake.webhooks import github
from tests.support import hooks as workflows
from tests.support.server import SECRET, bearer

JSON = {"Content-Type": "application/json"}
PUSH = b'{"repository": {"full_name": "a/b"}, "after": "c0ffee"}'
Send = Callable[..., httpx2.Response]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Starlette:
    """The HTTP face of an app with webhooks."""
    for name, text in workflows.SECRETS.items():
        monkeypatch.setenv(name, text)
    return made()


def made(**more: Any) -> Starlette:
    """The same, with the secrets that there are."""
    secret = Secret(SECRET)
    dispatcher = InProcessDispatcher(SystemClock())
    engine = Engine(App(workflows), MemoryTable(), dispatcher, secret)
    return create_app(engine, secret, grace=0.1, **more)


@pytest.fixture
def send(app: Starlette) -> Iterator[Send]:
    """Sends a delivery, as somebody without a token."""
    with TestClient(app, raise_server_exceptions=False) as client:

        def deliver(path: str, content: bytes | None = None, **more: Any) -> httpx2.Response:
            more.setdefault("method", "POST")
            return client.request(url=f"/hooks/{path}", content=content, **more)

        yield deliver


@pytest.fixture
def runs(app: Starlette, send: Send) -> Callable[[], list[str]]:
    """The ids of all runs, as who has a token sees them."""
    assert send is not None
    client = TestClient(app, headers=bearer())

    def listed() -> list[str]:
        return [each["id"] for each in client.get("/v1/runs").json()["runs"]]

    return listed


def pushed(body: bytes = PUSH, name: str = "d-1") -> dict[str, str]:
    """The headers of a push that GitHub signed."""
    signed = github("S").sign(body, workflows.SECRETS["GITHUB_SECRET"].encode(), 0)
    return {**JSON, **signed, "X-GitHub-Delivery": name}


# --- what starts a run ----------------------------------------------------------------------------


def test_a_delivery_starts_a_run(app: Starlette, send: Send) -> None:
    """It is answered at once with the run's id and links, and the run gets what it says."""
    response = send("github/push", PUSH, headers=pushed())
    assert response.status_code == 202
    told = response.json()
    assert set(told) == {"id", "links"}
    assert response.headers["Location"] == told["links"]["self"] == f"/v1/runs/{told['id']}"
    client = TestClient(app, headers=bearer())
    assert client.get(told["links"]["result"], params={"wait": 20}).json()["result"] == "a/b@c0ffee"


@pytest.mark.parametrize("by", ["query", "prefer", "several", "webhook"])
def test_a_sender_that_waits_is_given_the_result(app: Starlette, send: Send, by: str) -> None:
    """By `?wait=`, `Prefer: wait=`, or as the webhook says: the answer is that of `/result`."""
    path = {"query": "github/push?wait=20", "webhook": "hmac"}.get(by, "github/push")
    wishes = {"prefer": ['respond-async, wait="20"'], "several": ["return=minimal", "Wait=20"]}
    headers = [*pushed().items(), *(("Prefer", each) for each in wishes.get(by, []))]
    if by == "webhook":
        signed = workflows.tell.webhooks[3].verify.sign(PUSH, b"one secret that is long", 0)
        headers = [*JSON.items(), *signed.items()]
    response = send(path, PUSH, headers=headers)
    assert response.status_code == 200
    result = TestClient(app, headers=bearer()).get(f"/v1/runs/{response.json()['id']}/result")
    assert response.json() == result.json()
    assert response.json()["state"] == "done"


def test_a_sender_that_waits_in_vain(send: Send) -> None:
    """Of a run that has not ended in time it is given the id, and the run goes on."""
    response = send("slow?wait=0.05", headers=JSON)
    assert response.status_code == 202
    assert set(response.json()) == {"id", "links"}


@pytest.mark.parametrize("wait", ["soon", "-1", "61", "nan", ""])
def test_a_wait_that_is_none(send: Send, runs: Callable[[], list[str]], wait: str) -> None:
    """It is refused before anything starts, and named; a preference that is none is ignored."""
    response = send(f"slow?wait={wait}", headers=JSON)
    assert (response.status_code, response.json()["field"]) == (422, "wait")
    assert runs() == []
    assert send("slow", headers={**JSON, "Prefer": f"wait={wait or 'x'}0000000000"}).is_success


def test_a_delivery_that_is_not_for_us(send: Send, runs: Callable[[], list[str]]) -> None:
    """If the app says so it is a 204, and nothing has started."""
    response = send("github/push", PUSH, headers={**pushed(), "X-GitHub-Event": "issues"})
    assert (response.status_code, response.content) == (204, b"")
    assert runs() == []


def test_how_a_run_failed_is_not_told(app: Starlette, send: Send) -> None:
    """A sender learns that the run failed and where to look; why is for who holds a token."""
    response = send("broken", headers=JSON)
    assert response.status_code == 500
    assert "hunter2" not in response.text
    assert response.json()["run"] in response.json()["detail"]
    result = TestClient(app, headers=bearer()).get(f"/v1/runs/{response.json()['run']}/result")
    assert "hunter2" in result.text


def test_below_a_prefix(app: Starlette) -> None:
    """Mounted in another app, a webhook is below its path; another path of it is no way in."""
    outer = Starlette(routes=[Mount("/durable", app)], lifespan=app.router.lifespan_context)
    with TestClient(outer) as client:
        taken = client.post("/durable/hooks/github/push", content=PUSH, headers=pushed())
        assert taken.status_code == 202
        assert client.post("/hooks/github/push", content=PUSH).status_code == 404
        assert client.get("/durable/v1/runs").status_code == 401


# --- the same delivery again ----------------------------------------------------------------------


def test_the_same_delivery_is_one_run(send: Send, runs: Callable[[], list[str]]) -> None:
    """The first of an id stands: its run and its answer, although the body differs by then."""
    first = send("github/push", PUSH, headers=pushed())
    other = PUSH.replace(b"c0ffee", b"deadbe")
    second = send("github/push", other, headers=pushed(other))
    assert (second.status_code, second.json()) == (202, first.json())
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    waited = send("github/push?wait=20", other, headers=pushed(other))
    assert waited.json()["result"] == "a/b@c0ffee"
    assert send("github/push", PUSH, headers=pushed(name="d-2")).json()["id"] != waited.json()["id"]
    assert len(runs()) == 2


def test_the_same_delivery_that_has_become_unreadable(send: Send) -> None:
    """What the first of an id started is the answer to a later one that could start nothing: that
    does not fit, is no JSON, or is not for us by now. Under another id it is refused.
    """
    first = send("github/push", PUSH, headers=pushed())
    wrong = b'{"repository": {"full_name": 7}, "after": "c0ffee"}'
    issue = {"X-GitHub-Event": "issues"}
    for body, more, status in ((wrong, {}, 422), (b"{", {}, 400), (PUSH, issue, 204)):
        again = send("github/push", body, headers=pushed(body) | more)
        assert (again.status_code, again.json()) == (202, first.json())
        assert again.headers["Idempotency-Replayed"] == "true"
        other = send("github/push", body, headers=pushed(body, "d-2") | more)
        assert other.status_code == status


def test_the_same_delivery_many_times_at_once(app: Starlette) -> None:
    """However many copies come at once, one run is started and all are told of it."""
    transport = httpx2.ASGITransport(app=app)

    async def all_at_once() -> set[str]:
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            asked = [
                client.post("/hooks/github/push", content=PUSH, headers=pushed()) for _ in range(20)
            ]
            return {each.json()["id"] for each in await asyncio.gather(*asked)}

    with TestClient(app) as client:
        assert client.portal is not None
        assert len(client.portal.call(all_at_once)) == 1


def test_an_idempotency_key_names_a_delivery(send: Send, runs: Callable[[], list[str]]) -> None:
    """Where the provider gives no id; two hooks share no keys, nor does the API."""
    headers = {**JSON, "Idempotency-Key": "k"}
    body = b'{"order": {"id": 1}}'
    ids = [
        send(path, body, headers=headers).json()["id"] for path in ("orders", "orders", "strict")
    ]
    assert ids[0] == ids[1] != ids[2]
    assert len(runs()) == 2


def test_what_is_signed_names_a_delivery(send: Send, runs: Callable[[], list[str]]) -> None:
    """A command of Slack that was overheard is the same delivery, whatever key is put to it."""
    body, scheme = b"command=%2Fgo", workflows.tell.webhooks[1].verify
    signed = scheme.sign(body, workflows.SECRETS["SLACK_SECRET"].encode(), SystemClock().now())
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for key in ({}, {"Idempotency-Key": "a"}, {"Idempotency-Key": "b"}):
        assert send("slack", body, headers={**form, **signed, **key}).status_code == 200
    assert len(runs()) == 1


def test_without_an_id_each_is_a_run(send: Send, runs: Callable[[], list[str]]) -> None:
    """Nothing tells two deliveries of the same text apart from one that was sent twice."""
    for _ in range(3):
        send("orders", b'{"order": {"id": 1}}', headers=JSON)
    assert len(runs()) == 3


def test_an_id_may_be_long(send: Send, runs: Callable[[], list[str]]) -> None:
    """However long a provider's id is, it names its delivery, and no other."""
    for name in ("x" * 300, "x" * 300, "x" * 301):
        assert send("github/push", PUSH, headers=pushed(name=name)).status_code == 202
    assert len(runs()) == 2


def test_a_tenant_does_not_get_at_anothers_delivery(send: Send) -> None:
    """With `key=` that holds the tenant, the same number is another run; each has its secrets."""

    def bill(tenant: str, token: str) -> httpx2.Response:
        headers = {**JSON, "Authorization": f"Bearer {token}"}
        return send(f"tenants?tenant={tenant}", b'{"number": 7}', headers=headers)

    a, b = bill("a", "the secret of tenant a"), bill("b", "and its next one")
    assert (a.status_code, b.status_code) == (202, 202)
    assert a.json()["id"] != b.json()["id"]
    assert bill("b", "the secret of tenant b").json()["id"] == b.json()["id"]
    for tenant, token in (("a", "and its next one"), ("c", "the secret of tenant a"), ("a", "")):
        assert bill(tenant, token).status_code == 401


# --- who is not let in ----------------------------------------------------------------------------


def test_a_refused_delivery_is_told_nothing(
    send: Send, runs: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is wrong with its signature, the sender sees one and the same 401; an operator sees
    what it was.
    """
    good = pushed()
    forged = {
        "is missing": JSON,
        "the signature is wrong": {**good, "X-Hub-Signature-256": f"sha256={'0' * 64}"},
        "does not begin with": {**good, "X-Hub-Signature-256": "sha1=00"},
        "is not hex": {**good, "X-Hub-Signature-256": "sha256=zz"},
    }
    answers = {}
    for reason, headers in forged.items():
        caplog.clear()
        response = send("github/push", PUSH, headers=headers)
        assert response.status_code == 401
        answers[response.text] = {k: v for k, v in response.headers.items() if k != "date"}
        assert reason in caplog.text
    assert len(answers) == 1
    assert runs() == []
    headers = {**good, "Authorization": bearer()["Authorization"]}
    assert send("github/push", b"{}", headers=headers).status_code == 401  # it is no signature


def test_nothing_is_parsed_before_it_is_verified(send: Send) -> None:
    """A stranger learns nothing of what a hook takes: what cannot be parsed is a 401, too."""
    for body in (b"{", b"\xff", b"[" * 100_000, b"[1]"):
        assert send("github/push", body, headers=JSON).status_code == 401
    assert send("github/push?wait=soon", PUSH, headers=JSON).status_code == 401
    assert send("github/push", b"x", headers={"Content-Type": "text/plain"}).status_code == 401


def test_a_path_that_no_hook_has(send: Send) -> None:
    """It is a 404, also where it would lead elsewhere if it were read as a path."""
    for path in ("none", "github", "github/push/", "github//push", "", "%2e%2e/v1/runs"):
        assert send(path, PUSH, headers=pushed()).status_code == 404, path


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_another_method(send: Send, runs: Callable[[], list[str]], method: str) -> None:
    """A hook takes `POST` alone, unless its provider asks for it by `GET`."""
    response = send("github/push", headers=pushed(), method=method)
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]
    assert runs() == []


# --- what is sent ---------------------------------------------------------------------------------


def test_the_fields_of_a_body_are_the_arguments(send: Send) -> None:
    """Of JSON, each becomes what the workflow declares: dataclass, TypedDict, Struct, model, enum.

    What the workflow or a class does not have is ignored, for a provider adds fields at any time.
    """
    body = {
        "order": {"id": 7, "items": [{"sku": "a", "new": 1}], "size": "large", "new": 2},
        "note": {"text": "hello", "new": 3},
        "to": {"city": "Bonn", "new": 4},
        "by": {"name": "Ann", "new": 5},
        "new": 6,
    }
    response = send("orders", json.dumps(body).encode(), headers=JSON)
    assert response.json()["result"] == {
        "id": 7,
        "items": [["a", 1]],
        "size": "L",
        "note": "hello",
        "city": "Bonn",
        "payer": "Ann",
        "tags": None,
        "gift": False,
    }
    refused = send("strict", json.dumps(body).encode(), headers=JSON)
    assert (refused.status_code, refused.json()["field"]) == (422, "new")
    del body["new"]
    refused = send("strict", json.dumps(body).encode(), headers=JSON)
    assert (refused.status_code, refused.json()["field"]) == (422, "order.new")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "order"),
        ({"order": 1}, "order"),
        ({"order": {"id": "x"}}, "order.id"),
        ({"order": {"id": 1, "items": [{"sku": "a"}, {"sku": 2}]}}, "order.items[1].sku"),
        ({"order": {"id": 1, "size": "huge"}}, "order.size"),
        ({"order": {"id": 1}, "to": {}}, "to.city"),
        ([1], ""),
        ("text", ""),
    ],
)
def test_what_does_not_fit(
    send: Send, runs: Callable[[], list[str]], body: object, field: str
) -> None:
    """It is refused, with the path of the field, and starts nothing."""
    response = send("orders", json.dumps(body).encode(), headers=JSON)
    assert (response.status_code, response.json().get("field", "")) == (422, field)
    assert runs() == []


def test_a_form(send: Send) -> None:
    """Texts become what the workflow declares; a field that is there often is a list."""
    form = 'order={"id":7,"items":[{"sku":"a","count":2}]}&tags=x&tags=12&gift=true&new=1&note='
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    told = send("orders", form.encode(), headers=headers).json()["result"]
    assert (told["id"], told["items"]) == (7, [["a", 2]])
    assert (told["tags"], told["gift"], told["note"]) == (["x", "12"], True, None)
    one = send("orders", b'order={"id":7}&tags=12', headers=headers).json()["result"]
    assert one["tags"] == ["12"]
    wrong = send("orders", b'order={"id":"x"}', headers=headers)
    assert (wrong.status_code, wrong.json()["field"]) == (422, "order.id")


def test_a_form_with_files(send: Send) -> None:
    """A file is an argument as bytes, and in the delivery with its name."""
    response = send(
        "files", data={"title": "T", "pages": "3"}, files={"page": ("a.bin", b"\0\xff")}
    )
    assert response.json()["result"] == ["T", "00ff", 3]
    response = send("raw", data={"title": "T"}, files={"page": ("a.bin", b"\0\xff\r\n--")})
    assert response.json()["result"]["files"] == {"page": 6}


def test_a_body_of_any_type_is_the_apps_to_read(send: Send) -> None:
    """With `arguments=` the app reads the raw body, and the id; without, its type must be known."""
    headers = {"Content-Type": "application/x-protobuf"}
    named = send("raw", b"\0\1\2", headers={**headers, "Idempotency-Key": "k"}).json()
    assert (named["result"]["size"], named["result"]["id"]) == (3, "k")
    assert send("raw", b"\0\1\2", headers=headers).json()["result"]["id"] is None
    refused = send("orders", b"\0\1\2", headers=headers)
    assert refused.status_code == 415


def test_a_body_that_is_compressed(send: Send, runs: Callable[[], list[str]]) -> None:
    """It is verified as it was sent. Nobody unpacks it but an app that reads bodies itself; else it
    is told how to send it.
    """
    body = gzip.compress(b'{"order": {"id": 7}}')
    headers = {**JSON, "Content-Encoding": "gzip"}
    refused = send("orders", body, headers=headers)
    assert (refused.status_code, refused.headers["Accept-Encoding"]) == (415, "identity")
    assert "Content-Encoding" in refused.json()["detail"]
    assert runs() == []
    assert send("raw", body, headers=headers).json()["result"]["size"] == len(body)
    plain = {**JSON, "Content-Encoding": "Identity"}
    assert send("orders", b'{"order": {"id": 7}}', headers=plain).json()["result"]["id"] == 7


def test_json_behind_a_byte_order_mark(send: Send) -> None:
    """It is read, as some platforms send it; the mark is passed over."""
    body = b'\xef\xbb\xbf{"order": {"id": 7}}'
    assert send("orders", body, headers=JSON).json()["result"]["id"] == 7


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"order": NaN}', 400),
        (b'{"order": ' + b"[" * 70 + b"]" * 70 + b"}", 400),
        (b'{"a":' * 60_000, 400),
        (b'{"order": "' + b"x" * LIMIT + b'"}', 413),
    ],
)
def test_a_body_that_is_no_use(
    send: Send, runs: Callable[[], list[str]], body: bytes, status: int
) -> None:
    """What is no JSON, nested too deep, or too large is refused as such, and starts nothing."""
    assert send("orders", body, headers=JSON).status_code == status
    assert runs() == []


def test_a_body_that_does_not_come(app: Starlette, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends a byte now and then is not waited for: after a while it is a 408."""
    monkeypatch.setattr(bodies, "BODY_TIME", 0.01)
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(0.004)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def kept(message: Any) -> None:
        sent.append(message)

    async def trickle() -> None:
        async with app.router.lifespan_context(app):
            scope = {
                "type": "http",
                "method": "POST",
                "path": "/hooks/orders",
                "query_string": b"",
                "headers": [],
            }
            await app(scope, receive, kept)

    asyncio.run(trickle())
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


def test_who_sent_what_the_app_cannot_do(app: Starlette, send: Send) -> None:
    """The audit log has it under the webhook's name: whoever was verified is no stranger."""
    assert send("github/push", b"{}", headers=pushed(b"{}")).status_code == 500
    [entry] = TestClient(app, headers=bearer()).get("/v1/audit").json()["entries"]
    assert (entry["who"], entry["status"]) == ("hook:github/push", 500)


def test_what_the_app_cannot_do(send: Send, runs: Callable[[], list[str]]) -> None:
    """A function of the app that fails is a 500, so that a provider sends the delivery again."""
    response = send("wrong", b"{}", headers=JSON)
    assert response.status_code == 500
    assert "KeyError" not in response.text
    assert runs() == []


# --- every scheme, through the door ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "variable", "index"),
    [
        ("stripe", "STRIPE_SECRET", 0),
        ("stripe", "STRIPE_SECRET", 1),
        ("slack", "SLACK_SECRET", 0),
        ("standard", "STANDARD_SECRET", 0),
        ("hmac", "HMAC_SECRET", 0),
        ("bearer", "TOKEN_SECRET", 0),
        ("basic", "BASIC_SECRET", 0),
        ("meta", "META_SECRET", 0),
    ],
)
def test_each_scheme(send: Send, path: str, variable: str, index: int) -> None:
    """What is signed with any of the secrets in its variable starts a run; nothing else does."""
    hook = next(each for each in workflows.tell.webhooks if each.path == path)
    text = workflows.SECRETS[variable].split(",")[index].encode()
    (secret,) = hook.verify.secrets_of([text])
    now = SystemClock().now()
    body = b'{"id": "evt_1", "name": "Ann"}'
    signed = hook.verify.sign(body, secret, now)
    assert send(path, body, headers={**JSON, **signed}).json()["result"] == ["id", "name"]
    (other,) = hook.verify.secrets_of([base64.b64encode(b"another secret !")])
    forged = hook.verify.sign(body, other, now)
    assert send(path, body, headers={**JSON, **forged}).status_code == 401


def test_the_handshakes(send: Send, runs: Callable[[], list[str]]) -> None:
    """Slack's, Meta's and Microsoft's are answered as plain text that is no page; none is a run."""
    asked = {"hub.mode": "subscribe", "hub.challenge": "42"}
    right = {**asked, "hub.verify_token": "the verify token"}
    met = send("meta", method="GET", params=right)
    assert (met.status_code, met.text) == (200, "42")
    wrong = send("meta", method="GET", params={**asked, "hub.verify_token": "the secret of an app"})
    assert wrong.status_code == 401
    graph = send("graph", params={"validationToken": "<script>"})
    assert (graph.status_code, graph.text) == (200, "<script>")
    for each in (met, graph):
        assert each.headers["Content-Type"].startswith("text/plain")
        assert each.headers["X-Content-Type-Options"] == "nosniff"
    told = send("graph", b'{"value": [{"clientState": "the client state"}]}', headers=JSON)
    assert told.json()["result"] == ["value"]
    assert len(runs()) == 1


# --- secrets --------------------------------------------------------------------------------------


def test_a_missing_secret(app: Starlette, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """A server does not begin without one, and says which; in development that hook is shut."""
    assert app is not None
    for text in ("", " , "):
        monkeypatch.setenv("GITHUB_SECRET", text)
        with pytest.raises(ConfigError, match=r"github/push is missing: set GITHUB_SECRET"):
            made()
    monkeypatch.setenv("STANDARD_SECRET", "no base64!")
    with pytest.raises(ConfigError, match=r"set GITHUB_SECRET|STANDARD_SECRET cannot be a secret"):
        made()
    with TestClient(made(development=True)) as client:
        assert "set GITHUB_SECRET" in caplog.text
        assert "no base64!" not in caplog.text
        response = client.post("/hooks/github/push", content=PUSH, headers=pushed())
        assert (response.status_code, response.headers["Retry-After"]) == (503, "60")
        assert "GITHUB_SECRET" not in response.text
        assert client.post("/hooks/slow", headers=JSON).status_code == 202


def test_no_secret_and_no_body_in_the_log(send: Send, caplog: pytest.LogCaptureFixture) -> None:
    """What is logged of deliveries has neither secrets nor tokens, and is one line each."""
    caplog.set_level(logging.INFO)
    send("bearer", b"{}", headers={**JSON, "Authorization": "Bearer some-wrong-token"})
    send("bearer", b"{}", headers={**JSON, "Authorization": "Bearer a token of a sender"})
    send("x%1b[2K%c2%85WARNING forged line", b"{}", headers=JSON)
    send("meta", method="GET", params={"hub.mode": "x", "hub.verify_token": "some-wrong-token"})
    lines = [each.getMessage() for each in caplog.records if each.name == "rewake.hooks"]
    assert any("x\\x1b[2K\\x85WARNING forged line" in each for each in lines)
    assert all(each.isprintable() for each in lines)
    whole = "\n".join(lines)
    assert not any(text in whole for text in ("some-wrong-token", *workflows.SECRETS.values()))


def test_who_may_do_so_is_logged_at_the_start(
    app: Starlette, caplog: pytest.LogCaptureFixture
) -> None:
    """A server says which workflows anyone may start; in development nobody else is there."""
    assert app is not None
    caplog.clear()
    made()
    assert "anyone may start rest at /hooks/slow" in caplog.text
    assert "/hooks/github/push" not in caplog.text
    caplog.clear()
    made(development=True)
    assert "anyone may start" not in caplog.text
