"""AWS Lambda: the real runtime client, a runtime API of our own, and functions that are frozen."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rewake.errors import UsageError
from rewake.hosts.aws_lambda import _encoded, _handler_of, _is_request
from tests.support.functions import ROOT, Failed, Function, held_in, request_event
from tests.support.server import SECRET, bearer

APP = ROOT / "tests" / "support" / "function_app.py"
HANDLER = "handlers.aws_lambda.handler"
HOOK = "It's a Secret to Everybody"
PATIENCE = 40.0


def environ(folder: Path, **more: object) -> dict[str, object]:
    """What a function is configured by."""
    return {
        "REWAKE_APP": APP,
        "REWAKE_DB": folder / "rewake.db",
        "REWAKE_DISPATCHER": "http",
        "REWAKE_LOG_LEVEL": "info",
        "GITHUB_SECRET": HOOK,
        **{f"REWAKE_{name.upper()}": value for name, value in more.items()},
    }


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    """A function that these tests share."""
    with Function(HANDLER, environ(tmp_path_factory.mktemp("function"))) as function:
        yield function


def eventually(found: Callable[[], Any], what: str) -> Any:
    """What is found once there is something."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if got := found():
            return got
        time.sleep(0.05)
    raise AssertionError(f"never: {what}")


def test_a_run_goes_on_from_invocation_to_invocation(function: Function) -> None:
    """A start is answered at once; its tasks are invocations of their own, in other instances."""
    begun = function.client.post("/v1/workflows/four/runs")

    assert begun.status_code == 202, function.logs()
    parts = eventually(lambda: done(function, begun.json()["id"]), "it ends")["result"]
    assert [part for part, _ in parts] == [0, 1, 2, 3]
    assert {pid for _, pid in parts} <= {each.process.pid for each in function.instances}


def test_a_warm_instance_opens_nothing_anew(function: Function) -> None:
    """An instance that was frozen answers from the same event loop, engine and connections."""
    function.client.get("/v1/workflows")
    before = [(each.process.pid, each.invocations) for each in function.instances]
    for _ in range(3):
        assert function.client.get("/readyz").json()["status"] == "ready"
    after = [(each.process.pid, each.invocations) for each in function.instances]

    assert [pid for pid, _ in before] == [pid for pid, _ in after]
    assert sum(n for _, n in after) - sum(n for _, n in before) == 3


def test_a_delivery_is_verified_over_its_raw_bytes(function: Function) -> None:
    """A webhook's signature is over the bytes as they came: Base64 on the way changes nothing."""
    body = '{"ref":  "ünïcode"}'.encode()
    sign = "sha256=" + hmac.new(HOOK.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": sign, "X-GitHub-Delivery": "d-1"}
    event = request_event(
        "POST", "/hooks/push", {**headers, "Content-Type": "application/json"}, b""
    )
    told = {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}

    plain = function.invoke({**event, "body": body.decode()})
    again = function.invoke({**event, **told})
    forged = function.invoke({**event, "body": body.decode() + " "})

    assert (plain["statusCode"], again["statusCode"]) == (202, 202)
    assert json.loads(plain["body"])["id"] == json.loads(again["body"])["id"]
    assert forged["statusCode"] == 401


@pytest.mark.parametrize(
    "domain", ["x.lambda-url.eu-west-1.on.aws", "x.execute-api.eu-west-1.amazonaws.com"]
)
def test_a_path_is_decoded_once(function: Function, domain: str) -> None:
    """A Function URL hands a path on as it was sent, an HTTP API decoded: both arrive alike."""
    run = function.client.post("/v1/workflows/four/runs", params={"wait": 20}).json()["id"]
    path = f"/v1/runs/{run}/operations/parallel[2]/mark"
    sent = path.replace("[", "%5B").replace("]", "%5D")
    event = request_event(
        "GET", path if "execute-api" in domain else sent, bearer(), b"", domain=domain
    )

    assert function.invoke(event)["statusCode"] == 200
    lost = request_event("GET", path + "%255B", bearer(), b"", domain=domain)
    assert function.invoke(lost)["statusCode"] == 404


@pytest.mark.parametrize(
    ("domain", "stage", "sent", "comes"),
    [
        ("x.execute-api.eu-west-1.amazonaws.com", "$default", "/v1/runs", "/v1/runs"),
        ("x.execute-api.eu-west-1.amazonaws.com", "dev", "/dev/v1/runs/a b", "/v1/runs/a%20b"),
        ("x.execute-api.eu-west-1.amazonaws.com", "v1", "/v1/v1/runs", "/v1/runs"),
        ("x.execute-api.eu-west-1.amazonaws.com", "dev", "/dev/dev/v1/runs", "/dev/v1/runs"),
        ("api.example.com", "dev", "/dev/v1/runs", "/v1/runs"),
        ("api.example.com", "v1", "/v1/runs", "/v1/runs"),
        ("api.example.com", "dev", "/v1/runs", "/v1/runs"),
        ("x.lambda-url.eu-west-1.on.aws", "$default", "/dev/v1/a%20b", "/dev/v1/a%20b"),
    ],
)
def test_a_stage_is_no_part_of_a_path(domain: str, stage: str, sent: str, comes: str) -> None:
    """An HTTP API with a stage of a name hands it on in front of each path. At a domain of one's
    own it may not: there what is one of ours is none.
    """
    event = request_event("GET", sent, {}, b"", domain=domain)
    event["requestContext"]["stage"] = stage

    assert _encoded(event)["requestContext"]["http"]["path"] == comes


def test_queries_and_answers_are_whole(function: Function) -> None:
    """A key that is given twice arrives twice, and an answer says what it is."""
    event = request_event("GET", "/v1/runs?limit=1&limit=2", bearer(), b"")
    twice = function.invoke(event)
    assert twice["statusCode"] == 422
    assert "more than once" in twice["body"]
    assert twice["headers"]["content-type"] == "application/problem+json"


def test_what_the_platform_would_cut_is_told(function: Function) -> None:
    """An answer travels as a text in JSON: what fits before may not fit then."""

    def result(n: int) -> httpx2.Response:
        asked: Any = {"params": {"wait": 20}, "json": {"n": n}}
        return function.client.post("/v1/workflows/quotes/runs", **asked)

    assert result(1_000_000).json()["result"] == '"' * 1_000_000
    large = result(1_700_000)  # 3.4 MB, and 6.8 MB as it travels
    assert (large.status_code, large.json()["title"]) == (507, "Answer too large")
    assert "AWS Lambda carries 6,291,456" in large.json()["detail"]


def test_approve_by_link(function: Function) -> None:
    """A person opens a link, and the run goes on in an invocation of its own."""
    run = function.client.post("/v1/workflows/asks/runs").json()["id"]
    [asked] = eventually(
        lambda: function.client.get(f"/v1/runs/{run}").json()["approvals"], "it asks"
    )
    about = {"run": run, "key": asked["key"], "approver": "ada@example.com"}
    link = function.client.post("/v1/links", json=about).json()["url"]
    page = function.client.get(link, headers={"Accept": "text/html"})
    assert "May I?" in page.text
    decided = function.client.post(link, json={"approved": True})
    assert decided.status_code == 200, decided.text
    result = function.client.get(f"/v1/runs/{run}/result", params={"wait": 20})
    assert result.json()["result"]["decision"] == "approved"


def test_a_stream_comes_as_far_as_it_goes(function: Function) -> None:
    """Where an answer is not sent in parts, events end with the first that there are."""
    run = function.client.post("/v1/workflows/four/runs", params={"wait": 20}).json()["id"]
    path, headers = f"/v1/runs/{run}/stream", {"Accept": "text/event-stream"}
    events = function.client.get(path, headers=headers)

    assert events.status_code == 200
    cursor = [each for each in events.text.splitlines() if each.startswith("id: ")][-1]
    rest = function.client.get(path, headers={**headers, "Last-Event-ID": cursor[4:]})
    assert rest.status_code == 204


def test_nothing_is_held_while_functions_are_frozen(tmp_path: Path) -> None:
    """Whoever looks into the database between two invocations finds nobody's lease in it."""
    with Function(HANDLER, environ(tmp_path)) as function:
        for name, body in (("four", {}), ("asks", {}), ("naps", {"seconds": 600})):
            function.client.post(f"/v1/workflows/{name}/runs", json=body)
        eventually(
            lambda: (
                {each["state"] for each in function.client.get("/v1/runs").json()["runs"]}
                == {"done", "suspended"}
            ),
            "all at rest",
        )
        eventually(lambda: all(each.asked.is_set() for each in function.instances), "all frozen")
        assert held_in(tmp_path) == []


def test_what_is_late_is_handed_over_before_the_deadline(tmp_path: Path) -> None:
    """Work that does not fit goes on in another invocation, before the platform would kill it."""
    trace = tmp_path / "trace"
    with Function(HANDLER, environ(tmp_path), timeout=6) as function:
        arguments = {"trace": str(trace), "seconds": 60}
        run = function.client.post("/v1/workflows/lifts/runs", json=arguments).json()["id"]
        result = eventually(lambda: done(function, run), "it ends")
        [operation] = function.client.get(f"/v1/runs/{run}/history").json()["operations"]

        assert result["result"] == "done"
        assert len(trace.read_text().split()) == 2
        assert [each["lost"] for each in operation["tries"]] == [True, False]
        assert "not over in the" in function.logs()
        assert all(each.process.poll() is None for each in function.instances)


def test_an_instance_that_is_killed_is_made_up_for(tmp_path: Path) -> None:
    """The platform ends what takes too long; a sweep finds it once its lease is over."""
    trace = tmp_path / "trace"
    with Function(HANDLER, environ(tmp_path, lease=1), timeout=4) as function:
        run = function.client.post("/v1/workflows/sticks/runs", json={"trace": str(trace)}).json()[
            "id"
        ]
        eventually(
            lambda: any(each.process.poll() is not None for each in function.instances), "a kill"
        )

        def swept() -> Any:
            function.client.post("/v1/sweep", json={})
            return done(function, run)

        assert eventually(swept, "it ends")["result"] == "done"
        assert len(trace.read_text().split()) == 2


def done(function: Function, run: str) -> Any:
    """How a run ended, once it has."""
    result = function.client.get(f"/v1/runs/{run}/result")
    return result.json() if result.status_code == 200 else None


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"dispatcher": "in-process"}, "stands still once it has answered"),
        ({"db": "memory:"}, "a database in memory is one instance's own"),
        ({"secret": "short"}, "REWAKE_SECRET"),
        ({"deadline": "0.5"}, ""),
    ],
)
def test_what_it_cannot_carry_is_refused(
    tmp_path: Path, settings: dict[str, str], told: str
) -> None:
    """A function that could not work does not start, or refuses its first event with the reason."""
    with Function(HANDLER, environ(tmp_path, **settings)) as function:
        if not told:
            assert function.invoke(request_event("GET", "/healthz", {}, b""))["statusCode"] == 200
            return
        with pytest.raises(Failed, match=told):
            function.invoke(request_event("GET", "/healthz", {}, b""))


def test_an_event_that_is_none_of_these_is_refused() -> None:
    """What nobody knows is an error, which the platform retries and puts aside; it names fields."""
    with pytest.raises(UsageError, match=r"none that Rewake knows \(it has: detail, version\)"):
        _handler_of({"version": "0", "detail": {}})
    odd: list[Any] = [None, [], "ping", 7, {"requestContext": None}, {"Records": ["a"]}]
    for event in odd:
        assert not _is_request(event)
        with pytest.raises(UsageError, match="none that Rewake knows"):
            _handler_of(event)


def test_what_a_function_imports_before_its_first_event(tmp_path: Path) -> None:
    """No part of the command line, and no client of AWS, is paid for by a cold start."""
    code = "import sys, rewake.hosts.aws_lambda; print(*sys.modules)"
    given = {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}
    found = subprocess.run(
        [sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True
    )
    heavy = {"typer", "rich", "boto3", "botocore", "uvicorn", "mangum", "aiohttp", "cryptography"}
    assert not heavy & set(found.stdout.split())


SNAPSHOT = """
import json, os, sys
from handlers.aws_lambda import handler

class Context:
    def get_remaining_time_in_millis(self):
        return 20000

pipes = []
for _ in range(2):
    reader, writer = os.pipe()
    if os.fork() == 0:
        answer = handler(json.loads(os.environ["EVENT"]), Context())
        services = handler._served.state.parts.engine.services
        drawn = [services.unique(), services.heart.name, services.chance.random()]
        os.write(writer, json.dumps([answer["statusCode"], answer["body"], drawn]).encode())
        os._exit(0)
    os.close(writer)
    pipes.append(reader)
print(json.dumps([json.loads(os.fdopen(each).read()) for each in pipes]))
"""


def test_a_snapshot_that_is_restored_twice_is_two_processes(tmp_path: Path) -> None:
    """What a function has after it has started (forked here) is nothing that two must not share."""
    event = request_event("POST", "/v1/workflows/naps/runs", bearer(), b'{"seconds": 60}')
    event["headers"]["content-type"] = "application/json"
    given = {k: str(v) for k, v in environ(tmp_path, url="http://127.0.0.1:9").items()}
    path = os.pathsep.join([str(ROOT / "runtime"), str(ROOT)])
    given |= {"PYTHONPATH": path, "EVENT": json.dumps(event), "REWAKE_SECRET": SECRET}
    found = subprocess.run(
        [sys.executable, "-c", SNAPSHOT],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = json.loads(found.stdout.splitlines()[-1])

    assert (first[0], second[0]) == (202, 202), found.stderr
    assert json.loads(first[1])["id"] != json.loads(second[1])["id"]
    assert not set(map(str, first[2])) & set(map(str, second[2]))
