"""What hosts are declared to carry, and what becomes of a process that stands still."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from rewake import task
from rewake.app import App
from rewake.engine.engine import Engine
from rewake.errors import ConfigError, StoreUnavailable
from rewake.hosts import building, lambda_events, pausing
from rewake.hosts.aws_lambda import LambdaHost
from rewake.hosts.config import ServerConfig
from rewake.hosts.hosts import HOSTS, refusals
from rewake.hosts.pausing import Pauses, Pausing, margin
from rewake.records import Invocation
from rewake.signing.secret import Secret
from tests.support.server import APP, SECRET

URL = "https://shop.example"


@task(timeout=timedelta(minutes=20))
async def renders() -> None: ...


@task(timeout=1200, tag="gpu")
async def renders_elsewhere() -> None: ...


def app_of(*members: object) -> App:
    app = App()
    for each in members:
        app.add(each)
    return app


def told(host: str, *members: object, dispatcher: str = "http", db: str = "a.db") -> list[str]:
    return [*refusals(HOSTS[host], app_of(*members), dispatcher=dispatcher, db=db)]


def test_what_a_host_cannot_carry_is_told_with_the_reason() -> None:
    """A task that a deadline would always cut, a dispatcher and a database that would stop."""
    [late] = told("aws-lambda", renders, renders_elsewhere)
    assert "the task 'renders' may take 1200 s, and AWS Lambda ends a request after 900 s" in late
    assert len(told("vercel", dispatcher="in-process", db="memory:")) == 2
    assert told("container", renders, dispatcher="in-process", db="memory:") == []


@pytest.mark.parametrize("name", HOSTS)
def test_a_host_says_what_follows_from_it(name: str) -> None:
    """A host that stands still has a deadline, and a lease that is far shorter."""
    host = HOSTS[name]
    if host.goes_on:
        assert (host.deadline, host.lease) == (None, 5)
    else:
        assert host.deadline is not None
        assert 30 <= host.lease < host.deadline


def config(**environ: str) -> ServerConfig:
    return ServerConfig.from_env({f"REWAKE_{k.upper()}": v for k, v in environ.items()})


def test_settings_follow_the_platform() -> None:
    """What is set stands; what is not is as usual there."""
    assert (config().lease, config(platform="cloud-run").lease) == (5, 30)
    assert config(platform="cloud-run", lease="60").lease == 60
    assert config(platform="cloud-run").runs_on.deadline == 300
    assert config(platform="cloud-run", deadline="3600").runs_on.deadline == 3600
    for wrong in ({"platform": "mainframe"}, {"deadline": "-1"}):
        with pytest.raises(ConfigError, match="must be"):
            config(**wrong)


@pytest.mark.parametrize(
    ("platform", "dispatcher", "warned"),
    [
        ("cloud-run", "sqs", True),
        ("cloud-run", "http", False),
        ("aws-lambda", "sqs", False),
        ("container", "sqs", False),
    ],
)
def test_a_queue_from_which_nobody_takes_is_warned_of(
    platform: str, dispatcher: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no process could wait for messages, and no platform brings them, no run would begin."""
    building._refuse(App(), config(platform=platform, dispatcher=dispatcher, queue="work", url=URL))
    assert ("takes no messages from a queue" in caplog.text) is warned


@pytest.mark.parametrize(
    ("environ", "port"),
    [({}, 8000), ({"PORT": "9000"}, 9000), ({"PORT": "9000", "REWAKE_PORT": "7"}, 7)],
)
def test_the_port_of_the_platform_is_taken(environ: dict[str, str], port: int) -> None:
    """`PORT` says where to listen, unless `REWAKE_PORT` does."""
    assert ServerConfig.from_env(environ).port == port


@pytest.mark.parametrize("seconds", [1, 3, 30, 900])
def test_a_margin_leaves_time_for_both(seconds: float) -> None:
    """Of any deadline most is for work, and something for releasing what it held."""
    assert 0 < margin(seconds) <= min(5, seconds / 2)


# --- standing still ------------------------------------------------------------------------------


class Rests:
    """An app whose parts only note when they are opened and at rest."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, endpoint: Any, host: str) -> None:
        self.noted: list[str] = []
        self.failures = 0
        self.opened_by = itertools.count(1)
        self.app = Starlette(routes=[Route("/{path:path}", endpoint, methods=["GET", "POST"])])
        self.app.state.parts = self.engine = self
        self.is_open = False
        made = HOSTS[host]
        self.app.add_middleware(Pausing, host=made, pauses=Pauses(self.app))

        async def rest(app: Starlette, seconds: float) -> None:
            self.noted.append("rest")

        monkeypatch.setattr(pausing, "rest", rest)
        monkeypatch.setattr(pausing, "running", self.running)

    def opened(self) -> bool:
        return self.is_open

    async def settle(self, seconds: float) -> None:
        assert seconds >= 0

    def running(self, app: Starlette) -> Any:
        rests = self

        class Running:
            async def __aenter__(self) -> None:
                await asyncio.sleep(0.01)
                if rests.failures:
                    rests.failures -= 1
                    raise StoreUnavailable("away")
                rests.noted.append("open")
                rests.is_open = True

        return Running()

    def client(self) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx2.AsyncClient(transport=transport, base_url="http://x")


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


def test_it_is_opened_once_and_rests_when_nobody_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests side by side open one engine; only the last of them waits for its rest."""
    go = asyncio.Event()

    async def endpoint(request: Request) -> Response:
        if request.url.path == "/slow":
            await go.wait()
        return Response(request.url.path)

    rests = Rests(monkeypatch, endpoint, "cloud-run")

    async def scenario() -> None:
        async with rests.client() as client:
            slow = asyncio.ensure_future(client.get("/slow"))
            await asyncio.sleep(0.05)
            assert (await client.get("/quick")).text == "/quick"
            assert rests.noted == ["open"]
            go.set()
            assert (await slow).text == "/slow"
            assert rests.noted == ["open", "rest"]
            await client.get("/again")
            assert rests.noted == ["open", "rest", "rest"]

    play(scenario)


def test_what_cannot_be_opened_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is away for the first request is there for the next one."""

    async def endpoint(request: Request) -> Response:
        return Response("here")

    rests = Rests(monkeypatch, endpoint, "vercel")
    rests.failures = 1

    async def scenario() -> None:
        async with rests.client() as client:
            assert (await client.get("/")).status_code == 500
            assert (await client.get("/")).text == "here"

    play(scenario)


def test_an_answer_ends_when_the_process_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where answers stream, their parts go at once, but for the end, which is held back."""
    sent: list[Any] = []

    async def endpoint(request: Request) -> Response:
        async def parts() -> Any:
            yield b"one"
            yield b"two"

        return StreamingResponse(parts())

    for host, before in (("cloud-run", 3), ("aws-lambda", 0)):
        rests = Rests(monkeypatch, endpoint, host)

        async def scenario(rests: Rests = rests) -> None:
            async def receive() -> Any:
                await asyncio.sleep(60)

            async def send(message: Any) -> None:
                sent.append((message["type"], len(rests.noted)))

            scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "headers": []}
            await rests.app({**scope, "query_string": b""}, receive, send)

        play(scenario)
        assert [at for _, at in sent] == [1] * before + [2] * (4 - before)
        sent.clear()


def test_an_answer_that_is_too_large_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the host would cut off or refuse is a 507 that says how much it carries."""

    async def endpoint(request: Request) -> Response:
        return Response(bytes(7 * 1024 * 1024))

    async def scenario() -> None:
        async with Rests(monkeypatch, endpoint, "aws-lambda").client() as client:
            answer = await client.get("/")
            assert answer.status_code == 507
            assert "AWS Lambda carries 6,291,456" in answer.json()["detail"]
        async with Rests(monkeypatch, endpoint, "cloud-run").client() as client:
            assert len((await client.get("/")).content) == 7 * 1024 * 1024

    play(scenario)


# --- events of AWS -------------------------------------------------------------------------------


def test_each_event_of_aws_is_acted_on_and_the_process_rests_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch, a message and a schedule reach what acts on them, in one event loop."""
    events, loops = list[str](), set[Any]()

    def acting(name: str) -> Any:
        async def act(engine: Engine, event: dict[str, Any]) -> dict[str, Any]:
            events.append(name)
            loops.add(asyncio.get_running_loop())
            await engine.handle(Invocation("a-run"))
            return {"by": name}

        return act

    for name in ("handle_sqs", "handle_invoke", "handle_schedule"):
        monkeypatch.setattr(lambda_events, name, acting(name))
    settings = config(
        app=str(APP),
        db=str(tmp_path / "a.db"),
        secret=SECRET,
        dispatcher="http",
        url="http://127.0.0.1:9",
        platform="aws-lambda",
    ).with_secret(Secret(SECRET))

    class Context:
        def get_remaining_time_in_millis(self) -> int:
            return 20_000

    host = LambdaHost(app_of(), settings)
    answers = [
        host(event, Context())
        for event in (
            {"Records": [{"eventSource": "aws:sqs", "body": "{}"}]},
            {"rewake": 1, "message": "{}", "signature": ""},
            {"rewake": "sweep"},
            {"version": "0", "detail-type": "Scheduled Event", "detail": {}},
        )
    ]
    assert host._loop is not None
    assert host._served is not None
    host._loop.run_until_complete(host._served.state.parts.engine.close())
    host._loop.close()
    asyncio.set_event_loop(None)

    names = ["handle_sqs", "handle_invoke", "handle_schedule", "handle_schedule"]
    assert events == names
    assert answers == [{"by": name} for name in names]
    assert len(loops) == 1
