import asyncio
from collections.abc import Callable

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.errors import RewakeError, StoreFull, StoreUnavailable, Unauthentic
from rewake.http.app import begin_closing, create_app
from rewake.http.inbox import Inbox
from rewake.kinds import Kind
from rewake.records import Invocation
from rewake.signing.messages import HEADER, WINDOW, check, sign
from rewake.signing.secret import Secret
from rewake.stores.table import Spread
from tests.http.conftest import Stranger
from tests.support import app as workflows
from tests.support.counting import CountingTable
from tests.support.server import SECRET, bearer

PATH = "/v1/invoke"
MESSAGE = Invocation("some-run", "some.key", "some-task")
BODY = msgspec.json.encode(MESSAGE)
NOW = SystemClock().now()


@pytest.fixture
def taken(app: Starlette) -> list[Invocation]:
    """What the inbox handed on."""
    taken: list[Invocation] = []

    async def take(invocation: Invocation) -> None:
        taken.append(invocation)

    app.state.parts.inbox = Inbox(take, SystemClock())
    return taken


@pytest.fixture
def replica(taken: list[Invocation], client: TestClient) -> TestClient:
    """A client of a server that takes messages into `taken`."""
    return client


def signed(
    body: bytes = BODY,
    *,
    secret: str = SECRET,
    method: str = "POST",
    path: str = PATH,
    past: int = 0,
) -> dict[str, str]:
    """The header of a message that was signed like this, so many milliseconds ago."""
    return {HEADER: sign(Secret(secret), method, path, body, SystemClock().now() - past)}


def test_a_signed_message_is_taken(
    replica: TestClient, taken: list[Invocation], stranger: Stranger
) -> None:
    """A signed message is answered at once and handed to the engine."""
    assert stranger("POST", PATH, content=BODY, headers=signed()).status_code == 202
    assert stranger("GET", "/healthz").status_code == 200  # the loop has turned
    assert taken == [MESSAGE]


@pytest.mark.parametrize(
    ("body", "made"),
    [
        pytest.param(BODY, dict, id="unsigned"),
        pytest.param(BODY, lambda: {HEADER: ""}, id="empty"),
        pytest.param(BODY, lambda: {HEADER: "t=1,v1=ff"}, id="malformed"),
        pytest.param(BODY.replace(b"some-run", b"someXrun"), signed, id="other body"),
        pytest.param(b"", signed, id="no body"),
        pytest.param(BODY, lambda: signed(path="/v1/sweep"), id="other path"),
        pytest.param(BODY, lambda: signed(method="PUT"), id="other method"),
        pytest.param(BODY, lambda: signed(secret="the secret of another app"), id="other secret"),
        pytest.param(BODY, lambda: signed(past=WINDOW + 60_000), id="too old"),
        pytest.param(BODY, lambda: signed(past=-WINDOW - 60_000), id="of the future"),
        pytest.param(
            BODY, lambda: {HEADER: signed()[HEADER].replace("t=1", "t=2")}, id="another time"
        ),
    ],
)
def test_what_is_not_authentic(
    replica: TestClient,
    taken: list[Invocation],
    stranger: Stranger,
    body: bytes,
    made: Callable[[], dict[str, str]],
) -> None:
    """A message that was not signed just so, with the app's secret and just now, is refused."""
    headers = made()
    for request_headers in (headers, {**headers, **dict(replica.headers)}):
        response = stranger("POST", PATH, content=body, headers=request_headers)
        assert response.status_code == 401
        assert response.json()["type"] == "urn:rewake:problem:unauthentic"
    assert taken == []


def test_every_character_of_a_signature_counts() -> None:
    """No character of a signature can be changed."""
    header = sign(Secret(SECRET), "POST", PATH, BODY, NOW)
    check(Secret(SECRET), header, "POST", PATH, BODY, NOW)

    for index, character in enumerate(header):
        forged = f"{header[:index]}{'0' if character != '0' else '1'}{header[index + 1 :]}"
        with pytest.raises(Unauthentic):
            check(Secret(SECRET), forged, "POST", PATH, BODY, NOW)


@pytest.mark.parametrize("off", [-WINDOW, 0, WINDOW])
def test_the_window(off: int) -> None:
    """A signature holds for five minutes in either direction, and not a millisecond more."""
    header = sign(Secret(SECRET), "POST", PATH, BODY, NOW + off)
    check(Secret(SECRET), header, "POST", PATH, BODY, NOW)

    beyond = NOW + off + (WINDOW + 1) * (-1 if off > 0 else 1)
    with pytest.raises(Unauthentic, match="stale"):
        check(Secret(SECRET), header, "POST", PATH, BODY, beyond)


def test_rotation() -> None:
    """What the old secret signed is accepted as long as the new one names it."""
    old, new = "the old secret of a test", "the new secret of a test"
    header = sign(Secret(old), "POST", PATH, BODY, NOW)

    check(Secret(new, old), header, "POST", PATH, BODY, NOW)
    with pytest.raises(Unauthentic):
        check(Secret(new), header, "POST", PATH, BODY, NOW)


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b'{"run": 3}', b"[]", b'{"run": "\xff"}'])
def test_a_signed_body_that_is_no_message(
    replica: TestClient, taken: list[Invocation], body: bytes
) -> None:
    """Even a signed body must be a message."""
    response = replica.post(PATH, content=body, headers=signed(body))

    assert response.status_code == 422
    assert taken == []


def test_an_inbox_that_is_full(app: Starlette, stranger: Stranger, taken: list[Invocation]) -> None:
    """A replica that has no room says so, and the message is not lost: the due index has it."""
    app.state.parts.inbox = Inbox(app.state.parts.engine.handle, SystemClock(), room=0)

    response = stranger("POST", PATH, content=BODY, headers=signed())
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"


def test_what_needs_no_slot_has_room_of_its_own() -> None:
    """Tasks that wait for a slot, for hours perhaps, do not keep runs from going on."""
    asks = Invocation("r", "some.child", kind=Kind.CHILD)

    async def scenario() -> None:
        over = asyncio.Event()

        async def handler(_: Invocation) -> None:
            await over.wait()

        inbox = Inbox(handler, SystemClock(), room=2)
        inbox.open()
        for number in range(2):
            assert await inbox.take(Invocation("r", str(number)))
        await asyncio.sleep(0)
        assert not await inbox.take(MESSAGE)
        for each in (Invocation("r"), asks):
            assert await inbox.take(each)
            await asyncio.sleep(0)
        assert not await inbox.take(Invocation("another"))
        over.set()
        await inbox.close()
        assert await inbox.take(MESSAGE)

    asyncio.run(scenario())


def test_a_replica_that_closes(
    app: Starlette, replica: TestClient, taken: list[Invocation]
) -> None:
    """A replica that is closing is alive but not ready, takes no messages and lets waits return."""
    replica.post("/v1/workflows/nap/runs?id=n", json={"seconds": 600})
    begin_closing(app)

    assert replica.get("/healthz").status_code == 200
    assert replica.get("/readyz").status_code == 503
    assert replica.post(PATH, content=BODY, headers=signed()).status_code == 503
    assert replica.get("/v1/runs/n/result?wait=60").status_code == 202
    assert taken == []


@pytest.mark.parametrize("is_signed", [False, True])
def test_sweep(
    app: Starlette,
    stranger: Stranger,
    replica: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    is_signed: bool,
) -> None:
    """Whoever signs, or has a token, can ask for a sweep."""
    swept = []

    async def sweep() -> None:
        swept.append(True)

    monkeypatch.setattr(app.state.parts.engine, "sweep", sweep)
    if is_signed:
        headers = signed(b"", path="/v1/sweep")
        assert stranger("POST", "/v1/sweep", headers=headers).status_code == 200
    else:
        assert replica.post("/v1/sweep").status_code == 200
    assert swept == [True]


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [(StoreUnavailable("at /some/path"), 503, "1"), (StoreFull("at /some/path"), 507, None)],
)
def test_a_store_in_trouble(
    app: Starlette,
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    error: RewakeError,
    status: int,
    retry: str | None,
) -> None:
    """A database in trouble is told apart from an error of ours, without its details."""

    async def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(app.state.parts.engine, "get", fail)
    monkeypatch.setattr(app.state.parts.engine, "list", fail)
    response = client.get("/v1/runs/a")

    assert response.status_code == status
    assert response.headers.get("Retry-After") == retry
    assert "path" not in response.text
    assert client.get("/readyz").status_code == 503


READY = {"status": "ready", "free_slots": 100}


def test_readiness_counts_abandoned_threads(client: TestClient, app: Starlette) -> None:
    """Who watches a server learns how many threads its time-outs have left behind."""
    assert client.get("/readyz").json() == READY
    pools = app.state.parts.engine.services.threads
    pools._pools[0]._abandoned.add(object())
    assert client.get("/readyz").json()["abandoned_threads"] == 1
    pools._pools[0]._abandoned.clear()


def test_readiness_costs_one_read() -> None:
    """Balancers ask every few seconds, and where requests are billed a list of runs is many."""
    table = CountingTable(spread=Spread(16))
    engine = Engine(App(workflows), table, InProcessDispatcher(SystemClock()), Secret(SECRET))
    with TestClient(create_app(engine, Secret(SECRET), sweep=False), headers=bearer()) as client:
        client.post("/v1/workflows/nap/runs", json={"seconds": 600})
        before, asked = table.reads, table.queries
        assert client.get("/readyz").json() == READY
        assert (table.reads - before, table.queries - asked) == (1, 0)


def test_readiness_names_a_recent_shortage(client: TestClient, app: Starlette) -> None:
    """Who watches a server learns for a minute what its machine was short of; it takes work."""
    shortages = app.state.parts.engine.services.shortages
    shortages.meet("files")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, READY | {"shortage": "files"})
    shortages._last -= 60_000
    assert client.get("/readyz").json() == READY
