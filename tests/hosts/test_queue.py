"""Servers that take their work from a queue: processes of their own, on an emulator of SQS."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx2
import pytest

from rewake.errors import ConfigError
from rewake.hosts.building import build_app, check_dispatcher
from rewake.hosts.config import ServerConfig
from tests.support.queues import two_queues
from tests.support.server import SECRET, ServerProcess

APP = Path(__file__).parents[1] / "support" / "queued_app.py"
RUNS = 6


@pytest.fixture
def queue() -> Iterator[str]:
    """The name of a queue, in an environment that leads to it."""
    with two_queues() as (name, _):
        yield name


def test_one_of_two_servers_is_killed(queue: str, tmp_path: Path) -> None:
    """Runs of tasks, a sleep and an approval end right, and no task that had ended is repeated."""
    trace = tmp_path / "trace"
    given = {"dispatcher": "sqs", "queue": queue, "lease": 1}
    with contextlib.ExitStack() as stack:
        first, second = (
            stack.enter_context(ServerProcess(APP, tmp_path / "a.db", **given)) for _ in range(2)
        )
        runs = []
        for number in range(RUNS):
            body = {"trace": str(trace), "number": number}
            started = first.client.post("/v1/workflows/order/runs", json=body)
            runs.append(started.json()["id"])
        _until(lambda: len(trace.read_text().splitlines()) >= RUNS // 2 if trace.exists() else 0)
        first.kill()
        for run in runs:
            key = _until(lambda run=run: _asked(second.client, run))
            decided = second.client.post(f"/v1/runs/{run}/approvals/{key}", json={"approved": True})
            assert decided.status_code == 200, decided.text
        ended = [
            second.client.get(f"/v1/runs/{run}/result", params={"wait": 20}).json() for run in runs
        ]
    for number, found in enumerate(ended):
        parts = [f"{number}.{each}" for each in ("first", 1, 2, 3)]
        assert found["result"] == [*parts, "True"]
    done = Counter(line.split()[0] for line in trace.read_text().splitlines())
    assert set(done) == {f"{n}.{each}" for n in range(RUNS) for each in ("first", 1, 2, 3)}
    # Only what was under way when its process died is begun again.
    assert all(count == 1 for name, count in done.items() if not name.endswith("first"))
    assert max(done.values()) <= 2


def test_what_cannot_be_handled_is_shown_and_sent_again(queue: str, tmp_path: Path) -> None:
    """The API shows what was parked and why, and sends it again as it was; it stays forged."""
    with ServerProcess(APP, tmp_path / "a.db", dispatcher="sqs", queue=queue) as server:
        sqs = boto3.client("sqs")
        url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody='{"rewake": 1, "what": "is this"}')
        sqs.close()

        def parked() -> Any:
            return server.client.get("/v1/dead-letters").json()["messages"]

        [message] = _until(parked)
        assert message["reason"] == "it is no message of Rewake"
        whole = server.client.get(f"/v1/dead-letters/{message['id']}").json()
        assert whole["message"] == '{"rewake": 1, "what": "is this"}'
        again = server.client.post("/v1/dead-letters", json={"id": message["id"]})
        assert again.json() == {"sent": 1}
        [second] = _until(parked)
        assert second["id"] != message["id"]
        missing = server.client.get("/v1/dead-letters/nothing")
        assert missing.status_code == 404


def test_without_a_queue_there_are_no_dead_letters(tmp_path: Path) -> None:
    """A server whose messages no queue carries says so."""
    with ServerProcess(APP, tmp_path / "a.db") as server:
        found = server.client.get("/v1/dead-letters")
    assert found.status_code == 404
    assert "no queue" in found.json()["detail"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"queue": "nowhere"}, "there is no queue nowhere"),
        ({"queue": "works.fifo"}, "there is no queue works.fifo"),
        ({"dispatcher": "lambda", "function": "f", "queue": "nowhere"}, "no queue nowhere"),
    ],
)
def test_a_queue_that_does_not_fit(
    queue: str, tmp_path: Path, given: dict[str, Any], told: str
) -> None:
    """A server that could neither send nor receive does not begin, and says why in one line."""
    config = ServerConfig.from_env(
        {"REWAKE_SECRET": SECRET, "REWAKE_DB": str(tmp_path / "a.db")},
        **{"dispatcher": "sqs", "app": str(APP), **given},
    )
    app = build_app(str(APP), config)
    with pytest.raises(ConfigError, match=told):
        check_dispatcher(app.state.parts.engine.services.dispatcher)


def test_all_queues_that_are_missing_are_named_at_once(queue: str, tmp_path: Path) -> None:
    """Who makes what a server asks for is not told of one queue after the other."""
    given = {"REWAKE_SECRET": SECRET, "REWAKE_DB": str(tmp_path / "a.db")}
    config = ServerConfig.from_env(given, dispatcher="sqs", app=str(APP), queue="nowhere")
    app = build_app(str(APP), config)
    with pytest.raises(ConfigError, match=r"no queue nowhere .*; .*no queue nowhere-dead"):
        check_dispatcher(app.state.parts.engine.services.dispatcher)


@pytest.mark.parametrize(
    ("dispatcher", "told"), [("sqs", "REWAKE_QUEUE"), ("lambda", "REWAKE_FUNCTION")]
)
def test_settings_that_are_missing(dispatcher: str, told: str) -> None:
    """Each dispatcher says which setting it lacks."""
    with pytest.raises(ConfigError, match=told):
        ServerConfig.from_env({"REWAKE_DISPATCHER": dispatcher})


def _asked(client: httpx2.Client, run: str) -> str:
    approvals = client.get(f"/v1/runs/{run}").json()["approvals"]
    return approvals[0]["key"] if approvals else ""


def _until(found: Any) -> Any:
    """What is found, once there is anything."""
    ends = time.monotonic() + 30
    while not (result := found()):
        assert time.monotonic() < ends
        time.sleep(0.1)
    return result
