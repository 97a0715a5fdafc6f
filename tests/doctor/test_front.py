"""What stands between the world and a server, told by a signed call through it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.doctor.findings import Finding, Status
from rewake.doctor.front import FAR, NOBODY, SKEW, Door, Seen, _passed, front_door
from rewake.engine.engine import Engine
from rewake.http.app import create_app
from rewake.identity.proxies import ProxySettings
from rewake.identity.settings import IdentitySettings, Proof
from rewake.signing.secret import Secret
from rewake.stores.sqlite.table import SqliteTable
from tests.support import app as workflows
from tests.support.server import SECRET, TOKEN

Scope = MutableMapping[str, Any]
Asgi = Callable[[Scope, Any, Any], Awaitable[None]]
Way = Callable[[Asgi, Scope, Any, Any], Awaitable[None]]
SHARED = "what only the proxy knows"
HEADER = "x-forwarded-email"


class Clock(SystemClock):
    """A clock that is ahead."""

    def __init__(self, ahead: int = 0) -> None:
        self.ahead = ahead

    def now(self) -> int:
        return super().now() + self.ahead


class Proxied:
    """A server behind a proxy that a test makes (`way`)."""

    def __init__(self, app: Asgi) -> None:
        self._app = app
        self.way: Way | None = None
        self.url = ""

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" or self.way is None:
            await self._app(scope, receive, send)
        else:
            await self.way(self._app, scope, receive, send)

    def found(self, way: Way | None = None, **more: Any) -> dict[str, Finding]:
        """What is found by way of this proxy, by check."""
        self.way = way
        given = {"url": self.url, "secret": Secret(SECRET), "token": TOKEN, **more}
        clock = given.pop("clock", SystemClock())
        findings: Sequence[Finding] = asyncio.run(front_door(Door(**given), clock))
        by_check = {each.check: each for each in findings}
        assert len(by_check) == len(findings)
        assert all(each.do for each in findings if each.status is not Status.OK)
        assert all(SECRET not in str(each) and TOKEN not in str(each) for each in findings)
        return by_check

    def refused(self, way: Way | None = None, **more: Any) -> str:
        """What is told of an address that does not lead to the server."""
        found = self.found(way, **more)["address"]
        assert found.status is Status.FAIL
        return f"{found.told}: {found.do}"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """A server on a free port of this machine."""
    secret = Secret(SECRET)
    file: Path = tmp_path_factory.mktemp("front") / "rewake.db"
    table, dispatcher = SqliteTable(file, durable=False), InProcessDispatcher(SystemClock())
    identity = IdentitySettings(None, ProxySettings(HEADER, (SHARED,)), frozenset({Proof.PROXY}))
    engine = Engine(App(workflows), table, dispatcher, secret)
    served = Proxied(create_app(engine, secret, grace=0.1, identity=identity))
    config = uvicorn.Config(served, host="127.0.0.1", port=0, log_level="error", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
            assert thread.is_alive()
        served.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        yield served
    finally:
        server.should_exit = True
        thread.join()


def answering(make: Callable[[Scope], Response]) -> Way:
    """A proxy that answers by itself."""

    async def way(app: Asgi, scope: Scope, receive: Any, send: Any) -> None:
        await make(scope)(scope, receive, send)

    return way


def changing(**changed: Callable[[Any], Any]) -> Way:
    """A proxy that changes parts of what it passes on."""

    async def way(app: Asgi, scope: Scope, receive: Any, send: Any) -> None:
        await app({**scope, **{n: make(scope[n]) for n, make in changed.items()}}, receive, send)

    return way


def without(*names: str) -> Way:
    """A proxy that takes headers away."""
    return changing(headers=lambda given: [h for h in given if h[0].decode() not in names])


def test_nothing_is_in_the_way(proxied: Proxied) -> None:
    """Address, clock, headers and bearer tokens are well where nothing changes them."""
    found = proxied.found()
    assert {each.status for each in found.values()} == {Status.OK}
    assert set(found) == {"address", "clock", "headers", "authorization"}


def test_a_proxy_that_ends_tls(proxied: Proxied) -> None:
    """An address with TLS that arrives without is told, and is well."""
    found = _passed("https", Seen("http", "app.example", "/v1/echo", [], 0))
    assert (found.status, "TLS ends before it" in found.told) == (Status.OK, True)


def test_a_prefix_that_is_not_taken_away(proxied: Proxied) -> None:
    """A server that sees another path than was asked for says so; one below a prefix is well."""
    url = f"{proxied.url}/below/here"
    assert "another path" in proxied.refused(url=url)
    strips = changing(path=lambda path: path.removeprefix("/below/here"))
    assert proxied.found(strips, url=url)["address"].status is Status.OK
    mounts = changing(root_path=lambda _: "/below/here")
    assert proxied.found(mounts, url=url)["address"].status is Status.OK


def test_headers_that_are_taken_away(proxied: Proxied) -> None:
    """What does not arrive is named: signatures, keys, and the one that authorizes."""
    lost = proxied.found(without("x-hub-signature-256", "prefer"))["headers"]
    assert lost.status is Status.FAIL
    assert "Prefer, X-Hub-Signature-256" in lost.told
    found = proxied.found(without("authorization"))["authorization"]
    assert (found.status, "401" in found.told) == (Status.FAIL, True)
    assert "Rewake-Signature does not arrive" in proxied.refused(without("rewake-signature"))


def test_what_is_there_instead(proxied: Proxied) -> None:
    """Redirects, logins, proxies without a server and other programs are told apart."""
    tells = proxied.refused
    moved = answering(lambda scope: RedirectResponse("https://app.example/v1/echo", 301))
    assert "301 to 'https://app.example'" in tells(moved)
    assert "asks who is there" in tells(answering(lambda _: PlainTextResponse("login", 401)))
    assert "no server is behind" in tells(answering(lambda _: PlainTextResponse("bad", 502)))
    for body in ("<html>", "[" * 50_000, '{"scheme": 1}'):
        other = answering(lambda _, body=body: PlainTextResponse(body))  # type: ignore[misc]
        assert "another program" in tells(other)
    assert "another program" in tells(answering(lambda _: JSONResponse({}, 404)))
    assert "another REWAKE_SECRET" in tells(secret=Secret("another secret, which is long"))


def test_an_address_at_which_nobody_is(proxied: Proxied) -> None:
    """A port that is shut is told, and so is an address that is not set."""
    assert "cannot be reached" in proxied.refused(url="http://127.0.0.1:1")
    assert proxied.found(url="")["address"].status is Status.WARN


def test_a_server_that_has_not_begun(proxied: Proxied) -> None:
    """Before a server is started, that none is there is no fault; what is there instead is one."""

    def found(url: str, way: Way | None = None) -> Finding:
        proxied.way = way
        door = Door(url, Secret(SECRET), TOKEN)
        [asked] = asyncio.run(front_door(door, SystemClock(), running=False))
        return asked

    for asked in (
        found("http://127.0.0.1:1"),
        found(proxied.url, answering(lambda _: PlainTextResponse("bad", 502))),
    ):
        assert (asked.status, "no server is there yet" in asked.told) == (Status.WARN, True)
        assert "--server" in asked.do
    other = found(proxied.url, answering(lambda _: PlainTextResponse("<html>")))
    assert (other.status, "another program" in other.told) == (Status.FAIL, True)


def test_an_address_without_tls(proxied: Proxied) -> None:
    """Over http elsewhere than on this machine, links can be overheard."""
    found = proxied.found(url="http://rewake.invalid")
    assert found["TLS"].status is Status.WARN
    assert found["address"].status is Status.FAIL


def test_clocks_that_differ(proxied: Proxied) -> None:
    """Seconds are warned of, a minute is wrong; with more than five no signature is good."""
    for ahead in (-SKEW - 1_500, SKEW + 1_500):
        assert proxied.found(clock=Clock(ahead))["clock"].status is Status.WARN
    for ahead in (-FAR - 1_500, FAR + 1_500):
        assert proxied.found(clock=Clock(ahead))["clock"].status is Status.FAIL
    assert "more than five minutes" in proxied.refused(clock=Clock(600_000))


def test_a_proxy_that_lets_anybody_say_who_they_are(proxied: Proxied) -> None:
    """One that adds its secret and leaves the name that a browser sent is found."""
    secret = (b"rewake-identity-secret", SHARED.encode())
    careless = changing(headers=lambda given: [*given, secret])
    found = proxied.found(careless, header=HEADER)["names"]
    assert (found.status, "anybody can say" in found.told) == (Status.FAIL, True)
    taken = [(HEADER.encode(), NOBODY.encode())]
    careful = changing(headers=lambda given: [*(h for h in given if h not in taken), secret])
    logs_in = answering(lambda _: RedirectResponse("/login"))

    async def guarded(app: Asgi, scope: Scope, receive: Any, send: Any) -> None:
        below = scope["path"].startswith("/approve/")
        await (logs_in(app, scope, receive, send) if below else app(scope, receive, send))

    for way in (careful, guarded, None):
        assert proxied.found(way, header=HEADER)["names"].status is Status.OK


def test_no_token_is_sent_to_who_only_says_that_it_is_the_server(proxied: Proxied) -> None:
    """An answer without the secret, or to another request, is that of another program."""
    asked: list[Scope] = []

    def pretending(made: Seen) -> Way:
        def pretends(scope: Scope) -> Response:
            asked.append(scope)
            return Response(msgspec.json.encode(made), media_type="application/json")

        return answering(pretends)

    seen = Seen("http", "app.example", "/v1/echo", [], SystemClock().now())
    others = seen.proved(Secret("guessed, and wrong"), ""), seen.proved(Secret(SECRET), "another")
    for each in (seen, *others):
        assert "another program answers" in proxied.refused(pretending(each))
    assert len(asked) == 3
    assert all(b"authorization" not in dict(each["headers"]) for each in asked)
